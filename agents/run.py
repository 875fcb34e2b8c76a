"""`engage run`: an embedded broker, a worker and a made-up shop (or a file of events) on one screen, and an exact account at the end."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, Literal

import aiohttp
import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError
from rich.console import Console
from rich.live import Live

from agents import replay
from agents.admin import RefusedError
from agents.brokers import BrokerError, EmbeddedBroker
from agents.settings import Settings, not_listening
from agents.simulate import SimulateError, simulate
from agents.view import KEEPS_NOTHING, Status, View, can_redraw
from collector.keys import add_key, create_key
from simulator.faults import Sent
from simulator.incidents import Incident, parse_incident
from simulator.shop import Shop
from simulator.sites import SITES_YAML
from streams.admission import VERDICTS
from streams.panes import MINUTE
from streams.topics import EVENT_TOPICS

PARTITIONS: Final = 4
SPEED: Final = 6
"""The last minutes before the start are played so many times faster than the clock, until the shop's present has caught up with ours."""
LEAD: Final = 14 * MINUTE
"""So many of them (ms): an alert about them is still news."""
STORM: Final = "feedback_storm@2m+2m"
STORM_RULE: Final = "FeedbackStorm"
"""The rule (simulator/rules.yml) that the storm must set off."""
CODE: Final = Path(__file__).parent.parent
DEMO_RULES: Final = CODE / "simulator" / "rules.yml"
DEMO_SITE: Final = "shop"
"""Site of the key that is made for whoever wants to send something in."""
LINE_SECONDS: Final = 5.0
LOOK_SECONDS: Final = 0.5
SETTLE_SECONDS: Final = 60.0
STOP_SECONDS: Final = 15.0
ENOUGH_SECONDS: Final = 145.0
"""A run so long must have seen the storm begin and end."""


class RunError(RuntimeError):
    """The run cannot go on; the text says why."""


@dataclass(frozen=True)
class Options:
    """What the command line says."""

    rate: float = 50.0
    seed: int = 1
    duration: float | None = None
    file: Path | None = None
    incidents: tuple[Incident, ...] = (parse_incident(STORM),)
    """After the begin of the last minutes that are played fast."""

    @property
    def has_storm(self) -> bool:
        return self.file is None and any(incident.kind == "feedback_storm" for incident in self.incidents)


def run_demo(settings: Settings, options: Options) -> int:
    """Run until Ctrl-C or the duration is over; returns the exit code."""
    return asyncio.run(_Run(settings, options).go())


def end_with_standard_input() -> None:
    """In the worker: stop when whoever started us is gone, however it ended."""

    def wait() -> None:
        while os.read(0, 4096):
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, name="standard input", daemon=True).start()


class _Child:
    """`engage worker` or `engage collector` as a child, its log in a file."""

    def __init__(self, command: str, settings: Settings, directory: Path) -> None:
        self.command = command
        self.log_file = directory / f"{command}.log"
        environment = settings.environment(os.environ)
        # It runs where we do, so that a relative path names the same file there; and finds the code wherever that is, not in a folder of that name here.
        environment["PYTHONPATH"] = os.pathsep.join((str(CODE), *filter(None, (os.environ.get("PYTHONPATH"),))))
        with self.log_file.open("wb") as log:
            # A session of its own: Ctrl-C is for us, the child still has to finish what is on its way.
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-m", "agents", command, "--embedded"],
                env=environment, stdin=subprocess.PIPE, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip

    def check(self) -> None:
        """Raises RunError when it has ended."""
        if (code := self.process.poll()) is not None:
            lines = self.log_file.read_text(errors="replace").splitlines()[-15:]
            raise RunError("\n".join([f"The {self.command} ended with status {code}. Its last words:", *lines]))

    async def stop(self) -> int:
        """End it in order; returns its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return await asyncio.to_thread(self.process.wait, STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return await asyncio.to_thread(self.process.wait)
        finally:
            if self.process.stdin is not None:
                self.process.stdin.close()


class _Run:
    def __init__(self, settings: Settings, options: Options) -> None:
        self.options = options
        self.base = msgspec.structs.replace(settings, partitions=PARTITIONS)
        self.view = View()
        self.console = Console(highlight=False)
        self.on_screen = can_redraw(self.console)
        self.stop = asyncio.Event()
        self.started = time.monotonic()
        self.begun = 0.0
        """The same by the clock of the event loop."""
        self.failure: BaseException | None = None
        self._looks: list[tuple[float, int, int]] = []
        self._behind_since: float | None = None
        self._longest_behind = 0.0
        self._series = 0
        self._door_is_closed = False

    async def go(self) -> int:
        loop = asyncio.get_running_loop()
        self.begun = loop.time()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self.stop.set)
        try:
            code = await self._with_everything()
        except (RunError, BrokerError) as error:
            print(error, file=sys.stderr)
            self.failure, code = error, 1
        return code if self._print_result() else 1

    async def _with_everything(self) -> int:
        async with AsyncExitStack() as stack:
            directory = Path(stack.enter_context(TemporaryDirectory(prefix="engage-")))
            self.broker = broker = await stack.enter_async_context(EmbeddedBroker.of(self.base))
            settings = self._settings(broker, directory)
            settings = self._with_key(settings, directory)
            self.worker, self.collector = (_Child(command, settings, directory) for command in ("worker", "collector"))
            stack.push_async_callback(self.worker.stop)
            stack.push_async_callback(self.collector.stop)
            self.view.broker, self.url = broker.address, f"http://{settings.http_host}:{settings.http_port}"
            self.view.metrics = f"{self.url}/metrics"
            self._say(f"broker   {self.view.broker} (embedded)\nmetrics  {self.view.metrics}\nevents   {self.view.door}\n{KEEPS_NOTHING}")
            self.session = await stack.enter_async_context(aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=2)))
            consumer = await stack.enter_async_context(_consumer(settings))
            tasks = [asyncio.create_task(self._or_stop(work)) for work in (self._follow(consumer), self._show())]
            stack.push_async_callback(_cancel, tasks)
            await self._produce_until_stopped(settings)
            await self._settle(settings)
            await self._count_series()
            await _cancel(tasks)
            return await self.worker.stop()

    def _settings(self, broker: EmbeddedBroker, directory: Path) -> Settings:
        """Of the worker: the embedded broker, a free port, and the made-up shop's site unless the sites are given."""
        settings = broker.settings(self.base)
        sites = settings.sites
        if sites is None and self.options.file is None:
            (directory / "sites.yml").write_text(SITES_YAML, encoding="utf-8")
            sites = str(directory / "sites.yml")
        rules = settings.rules or (str(DEMO_RULES) if self.options.file is None else None)
        return msgspec.structs.replace(
            settings, sites=sites, rules=rules, http_port=_free_port(settings, "http"), collector_port=_free_port(settings, "collector"),
            collector_spool=str(directory / "spool"), collector_development=True,
        )  # fmt: skip

    def _with_key(self, settings: Settings, directory: Path) -> Settings:
        """With a key for the made-up shop, unless the keys are given; and both on the screen."""
        self.door_url = f"http://{settings.collector_host}:{settings.collector_port}"
        if settings.collector_keys is not None:
            self.view.door = f"{self.door_url} · keys of {settings.collector_keys}"
            return settings
        key, text = create_key("development", "write", DEMO_SITE)
        file = directory / "keys.yml"
        file.write_text(add_key("", key), encoding="utf-8")
        self.view.door = f"{self.door_url} · write key {text} (site {DEMO_SITE})"
        return msgspec.structs.replace(settings, collector_keys=str(file))

    # --- producing ---------------------------------------------------------------------------------------------------

    async def _produce_until_stopped(self, settings: Settings) -> None:
        """Until Ctrl-C, a failure or the end of the duration; a file that ends earlier stays on the screen."""
        work = self._produce(settings) if self.options.file is None else self._replay(settings, self.options.file)
        producing = asyncio.create_task(self._or_stop(work))
        try:
            async with asyncio.timeout_at(None if self.options.duration is None else self.begun + self.options.duration):
                await self.stop.wait()
        except TimeoutError:
            self.stop.set()
        self.view.phase = "finishing"
        if self.failure is None:
            await self._close_door()
        if self.options.file is not None or self.failure is not None:
            producing.cancel()
        await asyncio.wait((producing,), timeout=STOP_SECONDS)  # without a broker a producer would wait for ever
        if self.failure is not None:
            raise self.failure

    async def _produce(self, settings: Settings) -> None:
        """The shop's past as fast as it goes, its last minutes faster than the clock, then its present, until stopped."""
        options = self.options
        shop = Shop(options.seed, int(time.time() * 1000) - LEAD, rate=options.rate, incidents=options.incidents)
        live_since: float | None = None

        def shop_time() -> int:
            """What the clock in the shop says (ms); its past waits for nothing."""
            nonlocal live_since
            now = int(time.time() * 1000)
            if live_since is None:
                return shop.live
            return min(now, shop.live + int((time.monotonic() - live_since) * SPEED * 1000))

        def note(last: Sent) -> None:
            nonlocal live_since
            self.view.made = shop.tally.sent
            if live_since is None and last.due > shop.live - MINUTE:
                live_since = time.monotonic()
            before = (time.time() * 1000 - last.due) / MINUTE
            if live_since is None:
                self.view.phase = f"playing the past, {before / 60:.0f} h ago"
            else:
                self.view.phase = f"{SPEED} times faster than the clock, {before:.0f} min ago" if before > 1 else "live"

        await simulate(settings, shop, stop=self.stop, behind=self._behind, on_progress=note, clock=shop_time)
        self.view.made = shop.tally.sent

    async def _behind(self) -> int:
        """Records that were taken by the broker and not yet by the worker."""
        await self._look()
        return self.view.produced - self.view.status.counts["received"]

    async def _replay(self, settings: Settings, file: Path) -> None:
        """The events of a file, as fast as it goes, with their own times."""

        def show(lines: int, _share: float | None) -> None:
            self.view.made = lines

        self.view.phase = f"playing {file.name}"
        try:
            counts = await replay.publish(settings, [str(file)], None, False, show)
            self.view.made = sum(counts.values())
            self.view.phase = "all events sent"
        except asyncio.CancelledError:  # what was on its way has arrived or not: the log knows
            self.view.made = await _log_ends(settings) - self.view.sent_in
            raise

    # --- watching ----------------------------------------------------------------------------------------------------

    async def _or_stop(self, work: Coroutine[Any, Any, None]) -> None:
        """What fails in the background ends the run."""
        try:
            await work
        except Exception as error:
            known = isinstance(error, RunError | KafkaError | RefusedError | replay.ReplayError | SimulateError)
            self.failure = self.failure or (RunError(str(error)) if known else error)
            self.stop.set()

    async def _follow(self, consumer: Any) -> None:
        async for message in consumer:
            content = msgspec.json.decode(message.value)
            if message.topic.endswith("alerts"):
                self.view.take_alert(content)
            else:
                self.view.take(content)

    async def _show(self) -> None:
        """Look at the worker, and keep the screen (or the lines) up to date."""
        if not self.on_screen:
            next_line = LINE_SECONDS
            while True:
                await self._look()
                if self.view.seconds >= next_line:
                    print(self.view.lines(), flush=True)
                    next_line += LINE_SECONDS
                await asyncio.sleep(LOOK_SECONDS)
        with Live(console=self.console, auto_refresh=False) as live:
            while True:
                await self._look()
                live.update(self.view.screen(self.console), refresh=True)
                await asyncio.sleep(LOOK_SECONDS)

    async def _look(self) -> Any:
        """Ask the worker; returns what tells whether anything still moves, None while it does not answer."""
        self.worker.check()
        if not self._door_is_closed:
            self.collector.check()
            with suppress(aiohttp.ClientError, TimeoutError):
                async with self.session.get(f"{self.door_url}/v1/debug/all") as response:
                    seen = await response.json()
                    self.view.sent_in, self.view.refused_at_door = seen["good"], seen["bad"]
        if not self.broker.running:
            raise RunError("The embedded broker has ended, and with it everything it held.")
        now = time.monotonic()
        self.view.seconds = now - self.started
        try:
            async with self.session.get(f"{self.url}/status") as response:
                answer = await response.json()
        except (aiohttp.ClientError, TimeoutError):
            return None
        self.view.status = Status.of(answer)
        self._note_lag(now)
        self._looks = [*self._looks[-9:], (now, self.view.produced, self.view.status.counts["applied"])]
        (_, produced, applied), passed = self._looks[0], now - self._looks[0][0]
        if passed > 0:
            self.view.produced_rate, self.view.applied_rate = (self.view.produced - produced) / passed, (self.view.status.counts["applied"] - applied) / passed
        return [(number, partition["applied"], partition["state"]) for number, partition in answer["partitions"].items()]

    def _note_lag(self, now: float) -> None:
        """For how long the worker has had work waiting, once the past is played."""
        if self.view.status.lag == 0 or self.view.phase.startswith("playing"):
            self._behind_since = None
        elif self._behind_since is None:
            self._behind_since = now
        if self._behind_since is not None:
            self._longest_behind = max(self._longest_behind, now - self._behind_since)

    async def _count_series(self) -> None:
        """How many series the worker exports."""
        try:
            async with self.session.get(self.view.metrics) as response:
                lines = (await response.text()).splitlines()
        except (aiohttp.ClientError, TimeoutError):
            return
        self._series = sum(1 for line in lines if line and not line.startswith("#"))

    async def _close_door(self) -> None:
        """From here on nobody sends anything, and what the broker has of it is known exactly."""
        self.collector.check()
        self._door_is_closed = True
        code = await self.collector.stop()
        if code == -signal.SIGTERM:
            return  # it had not opened yet
        last = self.collector.log_file.read_text(errors="replace").rstrip().rpartition("\n")[2]
        try:
            counts = json.loads(last)
            self.view.sent_in = sum(counts.get(topic, 0) for topic in EVENT_TOPICS)
            self.view.refused_at_door = counts.get("failed", 0)  # the collector puts there what it refuses, and nothing else
            waiting = counts["spooled"]
        except (ValueError, KeyError, AttributeError):
            raise RunError(f"The collector ended with status {code} and did not account for what was sent to it: {last}") from None
        if waiting:
            print(f"{waiting} events that were sent in did not reach the broker.", file=sys.stderr)

    async def _settle(self, settings: Settings) -> None:
        """Until the worker has applied all that is in the event topics, also what others produced, and two looks see the same."""
        deadline = time.monotonic() + SETTLE_SECONDS
        with suppress(KafkaError):  # without its broker the next look ends the run
            self.view.on_log = await _log_ends(settings)
        before: Any = None
        while time.monotonic() < deadline:
            seen = await self._look()
            if seen and seen == before and self.view.status.lag == 0 and self.view.missing == 0:
                return
            before = seen
            await asyncio.sleep(LOOK_SECONDS)
        print(f"The worker was not done after {SETTLE_SECONDS:.0f} s.", file=sys.stderr)

    # --- the end -----------------------------------------------------------------------------------------------------

    def _say(self, text: str) -> None:
        if not self.on_screen:
            print(text, flush=True)

    def _is_exact(self) -> bool:
        return self.view.status.unaccounted == 0 and self.view.missing == 0

    def _has_told(self) -> bool:
        """Whether the storm, where there was one and time enough, was told of and called off."""
        if not self.options.has_storm or self.view.seconds < ENOUGH_SECONDS:
            return True
        return {"firing", "resolved"} <= {state for rule, state in self.view.transitions if rule == STORM_RULE}

    def _print_result(self) -> bool:
        """The account, and what is wrong with a run that came to its end; returns whether nothing is."""
        view, is_exact, has_told = self.view, self._is_exact(), self._has_told()
        print(f"{view.accounting()}\nThe embedded broker has stopped; nothing is kept.")
        if not is_exact and self.failure is None:
            print(f"Not exact: {view.missing:,} of {max(view.produced, view.on_log):,} events were not received.", file=sys.stderr)
        result: dict[str, float] = {name: view.status.counts[name] for name in ("received", *VERDICTS)}
        if not has_told and self.failure is None:
            print("The feedback storm was not told of and called off in time.", file=sys.stderr)
        states = [state for _, state in view.transitions]
        result |= {
            "unaccounted": view.status.unaccounted, "alerts_fired": states.count("firing"), "alerts_resolved": states.count("resolved"),
            "readings": view.readings_seen, "series": self._series, "max_lag_s": round(self._longest_behind, 1), "produced": view.produced,
            "sent_in": view.sent_in, "refused_at_door": view.refused_at_door, "elsewhere": view.elsewhere,
        }  # fmt: skip
        print(json.dumps(result | {"seconds": round(time.monotonic() - self.started, 1)}), flush=True)
        return is_exact and has_told


@asynccontextmanager
async def _consumer(settings: Settings) -> AsyncIterator[Any]:
    """Reads the topics `readings` and `alerts` from their begin."""
    consumer = AIOKafkaConsumer(**settings.client_kwargs(), auto_offset_reset="earliest", enable_auto_commit=False)
    await consumer.start()
    try:
        consumer.assign([TopicPartition(settings.topic(name), partition) for name in ("readings", "alerts") for partition in range(settings.partitions)])
        yield consumer
    finally:
        await asyncio.wait((asyncio.create_task(consumer.stop()),), timeout=STOP_SECONDS)  # raises when the broker is gone


async def _log_ends(settings: Settings) -> int:
    """Records on the event topics."""
    consumer = AIOKafkaConsumer(**settings.client_kwargs())
    await consumer.start()
    try:
        partitions = [TopicPartition(settings.topic(topic), partition) for topic in EVENT_TOPICS for partition in range(settings.partitions)]
        return sum((await consumer.end_offsets(partitions)).values())
    finally:
        await consumer.stop()


async def _cancel(tasks: list["asyncio.Task[None]"]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _free_port(settings: Settings, server: Literal["http", "collector"]) -> int:
    """The port that the settings of a server name if it is free, else any free one. Raises SettingsError for a host that cannot be listened on."""
    host, wanted = getattr(settings, f"{server}_host"), getattr(settings, f"{server}_port")
    for port in (wanted, 0):
        try:
            with socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
                return int(probe.getsockname()[1])
        except OSError as error:
            why = error
    raise not_listening(settings, server, why)
