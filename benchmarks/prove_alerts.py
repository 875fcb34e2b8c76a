"""From a storm of bad texts to the webhook, while workers, receiver and Alertmanager are killed: `python benchmarks/prove_alerts.py --help`.

Progress goes to stderr; the last line of stdout is one JSON object. Exit code 0 if nothing is missed, double or unexpected.
docs/alerting.md tells what that proves.
"""

import argparse
import asyncio
import hashlib
import hmac
import json
import math
import os
import platform
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import aiohttp
from aiohttp import web
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from msgspec.structs import replace

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
sys.path.insert(0, str(ROOT))

from agents import admin  # noqa: E402
from agents.settings import Settings  # noqa: E402
from benchmarks.runs import prove, say  # noqa: E402
from deploy.kafka import kafka as local_kafka  # noqa: E402
from streams.topics import partition_of  # noqa: E402

PARTITIONS = 4
SESSION_TIMEOUT = 5.0
MINUTE = 60.0
BEHIND = 5.0
"""Seconds by which a watermark is behind the newest event."""
SETTLED = 12.0
"""Seconds behind the clock up to which a minute is complete for every partition: the watermark's delay, the pulse, and room."""
CLEAN_SECONDS = 5.0
"""A decision is without a fault in its way if none was for so long from it on."""
SECRET = "the secret of the proof"
HOOK, PAGER = "webhook", "alertmanager"
State = Literal["firing", "resolved"]
Kind = Literal["batch", "live"]
NEGATIVE = ("I hate this, it is terrible", "Broken on arrival, awful service", "The worst shop I know, never again", "Horrible quality and a rude answer")
POSITIVE = ("I love it, great service", "Perfect, thank you so much", "Very happy with these shoes", "Wonderful, quick and friendly")
STORM = (14, 6)
"""Negative and positive texts: exactly as many as the rule asks for, so the last one decides, whatever the order."""
CALM = (0, 20)
RULES = """groups:
  - name: proof
    rules:
      - alert: FeedbackTurned
        kpi: negative_share
        window: 5m
        above: 0.5
        clear: 0.4
        least: 20
        cooldown: 0s
        labels: {severity: page}
        annotations: {summary: "{site}: {value} of {n} texts are negative"}
"""
ALERTMANAGER = """
route: {receiver: us, group_by: [alertname, site], group_wait: 0s, group_interval: 1s, repeat_interval: 4h}
receivers: [{name: us, webhook_configs: [{url: "%s", send_resolved: true}]}]
"""


# --- the scenarios ---------------------------------------------------------------------------------------------------


@dataclass
class Scenario:
    """One site that turns bad and calms down again. Instants are monotonic seconds."""

    site: str
    kind: Kind
    """`batch`: texts of a complete minute arrive, the last one decides. `live`: texts of the running minute, its end decides."""
    partitions: tuple[int, ...]
    """Where its people are."""
    fault: str = ""
    """What happens to it on purpose."""
    minute: float = 0.0
    """Begin of the minute of a live storm, in seconds of the clock."""
    decided: dict[State, float] = field(default_factory=dict)
    """When the events that decide were produced."""
    heard: dict[tuple[str, State], float] = field(default_factory=dict)
    """When a channel accepted the notification first."""
    ids: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    """Alert ids by where they were seen."""
    brief: bool = False
    """It calmed down before Alertmanager had told that it fires: then Alertmanager may keep silent about it altogether."""

    def latency(self, state: State, channel: str = HOOK) -> float | None:
        heard, decided = self.heard.get((channel, state)), self.decided.get(state)
        return None if heard is None or decided is None else heard - decided

    def missed(self, since: float = 0.0, before: float = math.inf) -> Iterator[tuple[str, State]]:
        """Channels that have not accepted what was decided between two instants."""
        for state, decided in self.decided.items():
            for channel in (HOOK, PAGER):
                excused = channel == PAGER and self.brief and (PAGER, "firing") not in self.heard
                if since <= decided < before and (channel, state) not in self.heard and not excused:
                    yield channel, state


class Book:
    """What was asked for and what came."""

    def __init__(self) -> None:
        self.scenarios: dict[str, Scenario] = {}
        self.published: set[tuple[str, State]] = set()
        """Sites and states seen on the topic `alerts`."""
        self.unexpected: list[str] = []
        self.repeats: Counter[str] = Counter()
        self._contents: dict[str, bytes] = {}
        self.last_page = 0.0
        """When Alertmanager told something last."""
        self.changed: list[str] = []
        """Idempotency keys that came with different contents."""

    def hear(self, channel: str, site: str, state: State, id_: str) -> None:
        scenario = self.scenarios.get(site)
        if scenario is None or state not in scenario.decided:
            self.unexpected.append(f"{channel}: {site} {state}")
            return
        scenario.ids[channel].add(id_)
        if (channel, state) in scenario.heard:
            self.repeats[channel] += 1
        elif channel == HOOK and state == "resolved" and (HOOK, "firing") not in scenario.heard:
            self.unexpected.append(f"{channel}: {site} resolved before it fired")
        scenario.heard.setdefault((channel, state), time.monotonic())

    def take_hook(self, headers: Any, body: bytes) -> tuple[str, State] | None:
        """A request of the product; None if it is not signed as docs/notifiers.md says."""
        signed = headers.get("X-Engagement-Timestamp", "").encode() + b"." + body
        expected = "v1=" + hmac.new(SECRET.encode(), signed, hashlib.sha256).hexdigest()
        if not hmac.compare_digest(headers.get("X-Engagement-Signature", ""), expected):
            self.unexpected.append(f"{HOOK}: a request without a valid signature")
            return None
        [alert] = json.loads(body)["alerts"]
        key = headers.get("Idempotency-Key", "")
        if key != f"{alert['fingerprint']}-{alert['status']}":
            self.unexpected.append(f"{HOOK}: idempotency key {key}")
        if self._contents.setdefault(key, body) != body:
            self.changed.append(key)
        self.hear(HOOK, alert["labels"]["site"], alert["status"], alert["fingerprint"])
        return alert["labels"]["site"], alert["status"]

    def take_pager(self, body: bytes) -> None:
        """A request of Alertmanager."""
        self.last_page = time.monotonic()
        for alert in json.loads(body)["alerts"]:
            self.hear(PAGER, alert["labels"]["site"], alert["status"], alert["generatorURL"].rpartition("/")[2])

    def take_topic(self, alert: dict[str, Any]) -> None:
        self.published.add((alert["site"], alert["state"]))
        if (scenario := self.scenarios.get(alert["site"])) is None:
            self.unexpected.append(f"topic: {alert['site']} {alert['state']}")
        else:
            scenario.ids["topic"].add(alert["id"])

    def missing(self, since: float = 0.0, before: float = math.inf) -> list[tuple[Scenario, str, State]]:
        return [(scenario, *missed) for scenario in self.scenarios.values() for missed in scenario.missed(since, before)]

    def duplicate_ids(self) -> int:
        """Ids beyond the one of each scenario, and keys whose content changed."""
        several = {scenario.site: ids for scenario in self.scenarios.values() if len(ids := set().union(*scenario.ids.values())) > 1}
        for site, ids in several.items():
            say(f"{site} has the ids {sorted(ids)}")
        return sum(len(ids) - 1 for ids in several.values()) + len(self.changed)


# --- who is told -----------------------------------------------------------------------------------------------------


class Receiver:
    """The HTTP server that is told, and its ailments."""

    def __init__(self, book: Book, port: int) -> None:
        self.book, self.port = book, port
        self.mode: Literal["open", "refuse", "hang"] = "open"
        self.hold: tuple[str, State] | None = None
        """Of this notification the answer is kept back: the sender cannot know that it was taken."""
        self.held = asyncio.Event()
        self._runner: web.AppRunner | None = None

    async def up(self) -> None:
        app = web.Application()
        app.router.add_post(f"/{HOOK}", self._answer)
        app.router.add_post(f"/{PAGER}", self._answer)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port).start()

    async def down(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    def url(self, channel: str) -> str:
        return f"http://127.0.0.1:{self.port}/{channel}"

    async def _answer(self, request: web.Request) -> web.Response:
        body = await request.read()
        if self.mode == "refuse":
            return web.Response(status=503)
        if self.mode == "hang":
            await asyncio.sleep(30)
            return web.Response(status=504)
        if request.path == f"/{PAGER}":
            self.book.take_pager(body)
            return web.Response()
        taken = self.book.take_hook(request.headers, body)
        if taken is not None and taken == self.hold:
            self.held.set()
            await asyncio.sleep(30)
        return web.Response(status=200 if taken else 401)


class Alertmanager:
    """A real one. Its log of what it told is written each second, so that a kill does not make it forget more."""

    def __init__(self, directory: Path, port: int, receiver: str) -> None:
        self.directory, self.port = directory, port
        directory.mkdir()
        (directory / "alertmanager.yml").write_text(ALERTMANAGER % receiver)
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with (self.directory / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [alertmanager_binary(), f"--config.file={self.directory / 'alertmanager.yml'}", f"--storage.path={self.directory}",
                 f"--web.listen-address=127.0.0.1:{self.port}", "--cluster.listen-address=", "--data.maintenance-interval=1s"],
                stdout=log, stderr=log,
            )  # fmt: skip

    async def up(self) -> None:
        self.start()
        async with aiohttp.ClientSession() as session:
            await until(lambda: answers(session, f"http://127.0.0.1:{self.port}/-/ready"), "Alertmanager to be ready", 20)

    async def kill(self, book: Book) -> None:
        """kill -9, once it has written what it told: what it told in its last second it may have forgotten, whoever asks."""
        await until(lambda: time.monotonic() - book.last_page > 1.5, "a moment without a page", 30)
        self.end(signal.SIGKILL)

    def end(self, number: signal.Signals) -> None:
        if self.process is not None:
            self.process.send_signal(number)
            self.process.wait()


def alertmanager_binary() -> str:
    found = shutil.which("prometheus-alertmanager") or shutil.which("alertmanager")
    if found is None:
        sys.exit("Alertmanager is missing; install Debian's package prometheus-alertmanager.")
    return found


async def answers(session: aiohttp.ClientSession, url: str) -> bool:
    try:
        async with session.get(url, timeout=aiohttp.ClientTimeout(total=2)) as answer:
            return answer.status == 200
    except (aiohttp.ClientError, TimeoutError):
        return False


async def until(is_so: Callable[[], Awaitable[bool] | bool], what: str, seconds: float) -> bool:
    """Wait for something; a wait in vain is said, and the run goes on: what did not come is counted."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = is_so()
        if found if isinstance(found, bool) else await found:
            return True
        await asyncio.sleep(0.05)
    say(f"waited {seconds:g} s in vain for {what}")
    return False


# --- the run ---------------------------------------------------------------------------------------------------------


class Run:
    """A broker, two workers, an Alertmanager, a receiver, and what happens to them."""

    def __init__(self, options: argparse.Namespace, directory: Path) -> None:
        self.options, self.directory = options, directory
        self.random = random.Random(options.seed)
        self.book = Book()
        self.number = 0
        self.spans: list[tuple[float, float]] = []
        """From when to when a fault was in the way."""
        self.done: Counter[str] = Counter()
        self.workers: dict[int, subprocess.Popen[bytes]] = {}
        self.background: set[asyncio.Task[None]] = set()
        self.kafka_version = local_kafka.kafka_version
        self.kafka = local_kafka.Kafka(directory / "kafka", port=0, dies_with_me=True)
        self.ports = [local_kafka.free_port() for _ in range(2)]
        self.receiver = Receiver(self.book, local_kafka.free_port())
        self.alertmanager = Alertmanager(directory / "alertmanager", local_kafka.free_port(), self.receiver.url(PAGER))

    async def run(self) -> dict[str, Any]:
        (self.directory / "rules.yml").write_text(RULES)
        await asyncio.to_thread(self.kafka.start)
        self.settings = Settings(broker=self.kafka.address, app_id="prove", topic_prefix="prove.", partitions=PARTITIONS)
        await admin.create_topics(self.settings)
        connection = self.settings.client_kwargs()
        self.producer = AIOKafkaProducer(**connection, enable_idempotence=True, acks="all")
        self.consumer = AIOKafkaConsumer(self.settings.topic("alerts"), **connection, auto_offset_reset="earliest")
        try:
            await asyncio.gather(self.producer.start(), self.consumer.start(), self.receiver.up(), self.alertmanager.up())
            for number in range(2):
                self.start_worker(number)
            for work in (self.supervise, self.listen, self.pulse, self.background_load):
                self.spawn(work())
            async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=2)) as self.session:
                await until(self.ready, "both workers to be ready", 60)
                await asyncio.sleep(2)
                say(f"Kafka on {self.kafka.address}, workers on {self.ports}, Alertmanager on {self.alertmanager.port}, receiver on {self.receiver.port}")
                await self.go()
            return self.result()
        finally:
            for task in self.background:
                task.cancel()
            await asyncio.gather(*self.background, return_exceptions=True)
            self.end_workers()
            self.alertmanager.end(signal.SIGKILL)
            await self.receiver.down()
            await asyncio.gather(self.producer.stop(), self.consumer.stop(), return_exceptions=True)
            self.kafka.kill()

    async def go(self) -> None:
        """Quiet sites; scenarios in peace, then at any time beside the faults, which have scenarios of their own."""
        faults = self.faults()
        rest = self.options.scenarios - sum(number for _, number in faults)
        kinds: list[Kind] = ["live" if number < self.options.live else "batch" for number in range(rest)]
        self.random.shuffle(kinds)
        calm, stormy = self.options.calm, self.options.calm + 18.0 * len(faults)
        ambient = [
            asyncio.create_task(self.play(self.scenario(kind=kind), self.random.uniform(*((0, 0.9 * calm) if number < 0.6 * rest else (calm, stormy)))))
            for number, kind in enumerate(kinds)
        ]
        await self.play_quiet()
        await asyncio.sleep(calm)
        for fault, _ in faults:
            await asyncio.sleep(self.random.uniform(4, 10))
            begin = time.monotonic()
            await fault()
            await self.until_clear(begin)
            self.spans.append((begin, time.monotonic()))
            say(f"{fault.__name__}: clear after {time.monotonic() - begin:.1f} s; {dict(self.done)}; {len(self.book.scenarios)} scenarios, {self.book.repeats}")
        await asyncio.gather(*ambient)
        await until(lambda: all(len(scenario.decided) == 2 for scenario in self.book.scenarios.values()), "all storms to end", 2 * self.options.patience)
        await until(lambda: not self.book.missing(), "the last notifications", self.options.patience)
        await asyncio.sleep(3)  # what should not come may come now

    def spawn(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self.background.add(task)
        task.add_done_callback(lambda done: None if done.cancelled() or done.exception() is None else say(f"the proof is at fault: {done.exception()!r}"))

    # --- scenarios ---------------------------------------------------------------------------------------------------

    def scenario(self, fault: str = "", kind: Kind = "batch") -> Scenario:
        self.number += 1
        partitions = tuple(self.random.sample(range(PARTITIONS), self.random.randint(1, PARTITIONS)))
        return Scenario(f"s{self.number:03}", kind, partitions, fault)

    async def play(self, scenario: Scenario, after: float = 0.0) -> None:
        """Storm, wait until everyone was told, stay bad for a while, calm down."""
        await asyncio.sleep(after)
        await self.storm(scenario)
        await self.told(scenario, "firing")
        await asyncio.sleep(self.random.uniform(3, self.options.longest))
        await self.calm(scenario)

    async def told(self, scenario: Scenario, state: State, channels: tuple[str, ...] = (HOOK, PAGER)) -> bool:
        return await until(
            lambda: all((channel, state) in scenario.heard for channel in channels), f"{scenario.site} {state} {scenario.fault}", self.options.patience
        )

    async def storm(self, scenario: Scenario) -> None:
        self.book.scenarios[scenario.site] = scenario
        if scenario.kind == "batch":
            await self.decide(scenario, "firing", self.texts(scenario, STORM, self.complete_minute()))
            return
        now = time.time()
        begin = now if 25 < now % MINUTE < 45 else now + (27 - now % MINUTE) % MINUTE
        await asyncio.sleep(begin - now)
        scenario.minute = begin - begin % MINUTE
        end = scenario.minute + MINUTE
        for topic, event in self.texts(scenario, STORM, begin):
            await asyncio.sleep(min(1.0, max(0.0, (end - 1 - time.time()) / 8)))
            if time.time() < end - 0.2:
                event["at"] = round(time.time() * 1000)
            await self.send(topic, event)
        # Its partitions hear of the end with the next pulse, and tell the owner of the site.
        scenario.decided["firing"] = time.monotonic() + max(0.0, end + BEHIND - time.time())
        await asyncio.sleep(max(0.0, end + BEHIND - time.time()))

    async def calm(self, scenario: Scenario) -> None:
        # Good texts of an earlier minute would leave the window first, and the bad ones, left alone, would rightly fire once more.
        await asyncio.sleep(max(0.0, scenario.minute + MINUTE + SETTLED - time.time()))
        scenario.brief = (PAGER, "firing") not in scenario.heard
        await self.decide(scenario, "resolved", self.texts(scenario, CALM, self.complete_minute()))

    async def decide(self, scenario: Scenario, state: State, events: list[tuple[str, dict[str, Any]]]) -> None:
        await asyncio.gather(*(self.send(topic, event) for topic, event in events[:-1]))
        scenario.decided[state] = time.monotonic()
        await self.send(*events[-1])

    async def play_quiet(self) -> None:
        """Sites that come close and must not fire: too few texts, half of them negative, all positive, all negative and long ago."""
        for index, (texts, ago) in enumerate((((19, 0), 0.0), ((10, 10), 0.0), ((0, 60), 0.0), ((40, 0), 1800.0))):
            for number in range(self.options.quiet):
                quiet = Scenario(f"quiet{index}{number}", "batch", tuple(range(PARTITIONS)))
                await asyncio.gather(*(self.send(*event) for event in self.texts(quiet, texts, self.complete_minute() - ago)))

    # --- events ------------------------------------------------------------------------------------------------------

    def complete_minute(self) -> float:
        """Begin of the last minute that is complete for everyone, in seconds of the clock."""
        now = time.time() - SETTLED
        return now - now % MINUTE - MINUTE

    def texts(self, scenario: Scenario, number: tuple[int, int], minute: float) -> list[tuple[str, dict[str, Any]]]:
        """Mentions and reviews with times within that minute."""
        texts = [self.random.choice(NEGATIVE) for _ in range(number[0])] + [self.random.choice(POSITIVE) for _ in range(number[1])]
        self.random.shuffle(texts)
        events = []
        for index, text in enumerate(texts):
            partition = scenario.partitions[index % len(scenario.partitions)]
            at = round((minute + self.random.uniform(0, MINUTE - 0.001)) * 1000)
            events.append(self.text(scenario.site, partition, text, at))
        return events

    def text(self, site: str, partition: int, text: str, at: int) -> tuple[str, dict[str, Any]]:
        name = f"{self.random.randrange(16**12):012x}"
        event = {"id": name, "site": site, "at": at, "text": text}
        if self.random.random() < 0.7:
            author = name_in(f"{site}/a:mastodon/", partition)
            return "social", event | {"type": "mention_posted", "post": name, "network": "mastodon", "author": author}
        return "reviews", event | {"type": "review_posted", "review": name, "source": "store", "author": name_in(f"{site}/a:store/", partition)}

    def visit(self, site: str, partition: int) -> dict[str, Any]:
        visitor = name_in(f"{site}/v:", partition)
        return {"id": f"{self.random.randrange(16**12):012x}", "site": site, "type": "page_viewed", "visitor": visitor, "at": now_ms(), "path": "/"}

    async def send(self, topic: str, event: dict[str, Any]) -> None:
        subject = f"v:{event['visitor']}" if "visitor" in event else f"a:{event.get('network') or event['source']}/{event['author']}"
        await self.producer.send_and_wait(self.settings.topic(topic), json.dumps(event).encode(), key=f"{event['site']}/{subject}".encode())

    async def pulse(self) -> None:
        """Every partition of every topic hears of the present each second, so that watermarks move as they do in a busy shop."""
        while True:
            for partition in range(PARTITIONS):
                for topic, event in (
                    ("website", self.visit("pulse", partition)),
                    ("social", {"type": "mention_posted", "network": "mastodon", "author": name_in("pulse/a:mastodon/", partition)}),
                    ("reviews", {"type": "review_posted", "source": "store", "author": name_in("pulse/a:store/", partition)}),
                ):
                    name = f"{self.random.randrange(16**12):012x}"
                    text = {"text": POSITIVE[0], "post" if topic == "social" else "review": name} if topic != "website" else {}
                    await self.send(topic, event | text | {"id": name, "site": "pulse", "at": now_ms()})
            await asyncio.sleep(1.0)

    async def background_load(self) -> None:
        """Page views of other sites."""
        while True:
            for _ in range(self.options.rate // 10):
                site, visitor = f"busy{self.random.randrange(10)}", f"v{self.random.randrange(5_000)}"
                event = {"id": f"{self.random.randrange(16**12):012x}", "type": "page_viewed", "visitor": visitor, "site": site, "at": now_ms(), "path": "/"}
                await self.producer.send(self.settings.topic("website"), json.dumps(event).encode(), key=f"{site}/v:{visitor}".encode())
            await asyncio.sleep(0.1)

    async def listen(self) -> None:
        async for message in self.consumer:
            self.book.take_topic(json.loads(message.value))

    # --- workers -----------------------------------------------------------------------------------------------------

    def start_worker(self, number: int) -> None:
        own = replace(
            self.settings, http_port=self.ports[number], session_timeout=SESSION_TIMEOUT, heartbeat=1.0, instance_id="prove-0" if number == 0 else None,
            rules=str(self.directory / "rules.yml"), alertmanager=f"http://127.0.0.1:{self.alertmanager.port}", webhook=self.receiver.url(HOOK),
            webhook_secret=SECRET, external_url="http://engagement.example.org",
        )  # fmt: skip
        command = [str(HERE / "forgetful_worker.py")] if self.options.forget else ["-m", "agents", "worker"]
        with (self.directory / f"worker{number}.log").open("ab") as log:
            self.workers[number] = subprocess.Popen([sys.executable, *command], env=own.environment(os.environ), stdout=log, stderr=log, cwd=ROOT)

    async def supervise(self) -> None:
        while True:
            for number, process in list(self.workers.items()):
                if process.poll() is not None:
                    if process.returncode not in (0, -signal.SIGKILL):
                        lines = (self.directory / f"worker{number}.log").read_text(errors="replace").splitlines()[-8:]
                        say("\n".join([f"worker {number} ended with {process.returncode}; last lines of its log:", *lines]))
                        self.done[f"exits {process.returncode}"] += 1
                        await asyncio.sleep(1)
                    self.start_worker(number)
            await asyncio.sleep(0.1)

    def end_workers(self) -> None:
        for process in self.workers.values():
            process.kill()
            process.wait()

    async def status(self, number: int) -> dict[str, Any]:
        try:
            async with self.session.get(f"http://127.0.0.1:{self.ports[number]}/status") as answer:
                status: dict[str, Any] = await answer.json()
                return status
        except (aiohttp.ClientError, TimeoutError):
            return {"ready": False, "partitions": {}}

    async def ready(self) -> bool:
        """Both workers do their job, and every partition has its owner."""
        found = [await self.status(number) for number in range(2)]
        held = {number for status in found for number, partition in status["partitions"].items() if partition["held"]}
        return all(status["ready"] for status in found) and len(held) == PARTITIONS

    async def owner(self, site: str) -> subprocess.Popen[bytes]:
        """The worker that judges a site; any if nobody does just now."""
        wanted = str(partition_of(site.encode(), PARTITIONS))
        for number in range(2):
            if (await self.status(number))["partitions"].get(wanted, {}).get("held"):
                return self.workers[number]
        return self.workers[self.random.randrange(2)]

    # --- faults ------------------------------------------------------------------------------------------------------

    def faults(self) -> list[tuple[Callable[[], Awaitable[None]], int]]:
        """In random order, each with the number of scenarios that it plays."""
        o = self.options
        kills = (self.kill_between, self.kill_unanswered, self.kill_deciding)
        downs = (self.receiver_closed, self.receiver_refuses, self.receiver_hangs)
        pagers = (self.alertmanager_killed, self.alertmanager_stopped)
        faults: list[tuple[Callable[[], Awaitable[None]], int]] = [(kills[number % len(kills)], 1) for number in range(o.kills)]
        faults += [(downs[number % len(downs)], 2) for number in range(o.receiver_downs)]
        faults += [(pagers[number % len(pagers)], 2) for number in range(o.alertmanager_downs)]
        faults += [(self.alertmanager_killed_untold, 2)] * o.untold
        faults += [(self.stop_worker, 1)] * o.stops
        self.random.shuffle(faults)
        return faults

    async def until_clear(self, begin: float) -> None:
        """Until the workers work and what was decided since shortly before the fault began was told."""
        now = time.monotonic()
        await until(self.ready, "both workers to be ready again", 60)
        await until(lambda: not self.book.missing(begin - 10, now), "what was decided during the fault", self.options.patience)

    async def kill(self, site: str) -> None:
        (await self.owner(site)).kill()
        self.done["kills"] += 1

    def spawn_calm(self, scenario: Scenario) -> None:
        async def calm_later() -> None:
            await self.told(scenario, "firing")
            await asyncio.sleep(self.random.uniform(3, self.options.longest))
            await self.calm(scenario)

        self.spawn(calm_later())

    async def decided_by(self, scenario: Scenario, kill: Callable[[Scenario, State], Awaitable[None]]) -> None:
        """Kill around the first or the second decision of a scenario."""
        if self.random.random() < 0.6:
            await kill(scenario, "firing")
            self.spawn_calm(scenario)
        else:
            await self.storm(scenario)
            await self.told(scenario, "firing")
            await asyncio.sleep(3)
            await kill(scenario, "resolved")

    def produce(self, scenario: Scenario, state: State) -> Awaitable[None]:
        return self.storm(scenario) if state == "firing" else self.calm(scenario)

    async def kill_between(self) -> None:
        """kill -9 of the owner after its decision is on the topic, before anybody could be told."""

        async def kill(scenario: Scenario, state: State) -> None:
            self.receiver.mode = "refuse"
            await self.produce(scenario, state)
            await until(lambda: (scenario.site, state) in self.book.published, f"{scenario.site} {state} on the topic", 30)
            await self.kill(scenario.site)
            self.done["kills_between"] += (HOOK, state) not in scenario.heard
            self.receiver.mode = "open"

        await self.decided_by(self.scenario("kill_between"), kill)

    async def kill_unanswered(self) -> None:
        """kill -9 of the owner after the receiver has taken the notification, before it has answered."""

        async def kill(scenario: Scenario, state: State) -> None:
            self.receiver.held.clear()
            self.receiver.hold = scenario.site, state
            await self.produce(scenario, state)
            await until(self.receiver.held.is_set, f"{scenario.site} {state} to be taken", 30)
            self.receiver.hold = None
            await self.kill(scenario.site)

        await self.decided_by(self.scenario("kill_unanswered"), kill)

    async def kill_deciding(self) -> None:
        """kill -9 of the owner at any time between the deciding event and the notification."""

        async def kill(scenario: Scenario, state: State) -> None:
            await self.produce(scenario, state)
            await asyncio.sleep(self.random.uniform(0, 1.5))
            await self.kill(scenario.site)

        await self.decided_by(self.scenario("kill_deciding"), kill)

    async def stop_worker(self) -> None:
        """SIGTERM of the owner while it decides."""
        scenario = self.scenario("stop_worker")
        await self.storm(scenario)
        await asyncio.sleep(self.random.uniform(0, 1))
        (await self.owner(scenario.site)).terminate()
        self.done["stops"] += 1
        self.spawn_calm(scenario)

    async def while_down(self, fault: str, seconds: float) -> None:
        """One storm that begins while somebody is down, and one that also ends before it is over."""
        patient, brief = self.scenario(fault), self.scenario(fault)
        await asyncio.gather(self.storm(patient), self.storm(brief))
        self.spawn_calm(patient)
        await asyncio.sleep(seconds)
        await self.calm(brief)
        await asyncio.sleep(2)

    async def receiver_closed(self) -> None:
        """The receiver does not listen."""
        await self.receiver.down()
        await self.while_down("receiver_closed", self.random.uniform(3, 8))
        await self.receiver.up()
        self.done["receiver_downs"] += 1

    async def receiver_refuses(self) -> None:
        """The receiver answers 503."""
        self.receiver.mode = "refuse"
        await self.while_down("receiver_refuses", self.random.uniform(3, 8))
        self.receiver.mode = "open"
        self.done["receiver_downs"] += 1

    async def receiver_hangs(self) -> None:
        """The receiver does not answer at all."""
        self.receiver.mode = "hang"
        await self.while_down("receiver_hangs", self.random.uniform(3, 8))
        self.receiver.mode = "open"
        self.done["receiver_downs"] += 1

    async def alertmanager_killed(self) -> None:
        """kill -9 of Alertmanager."""
        await self.alertmanager.kill(self.book)
        await self.while_down("alertmanager_killed", self.random.uniform(3, 8))
        await self.alertmanager.up()
        self.done["alertmanager_downs"] += 1

    async def alertmanager_stopped(self) -> None:
        """SIGTERM of Alertmanager."""
        self.alertmanager.end(signal.SIGTERM)
        await self.while_down("alertmanager_stopped", self.random.uniform(3, 8))
        await self.alertmanager.up()
        self.done["alertmanager_downs"] += 1

    async def alertmanager_killed_untold(self) -> None:
        """kill -9 of Alertmanager when it has been given the end of an alert and could not tell it yet, because the receiver is away as well."""
        ends, begins = self.scenario("untold"), self.scenario("untold")
        await self.storm(ends)
        await self.told(ends, "firing")
        self.receiver.mode = "refuse"
        await asyncio.gather(self.calm(ends), self.storm(begins))
        await asyncio.sleep(4)
        self.alertmanager.end(signal.SIGKILL)
        self.receiver.mode = "open"
        await asyncio.sleep(self.random.uniform(0, 3))
        await self.alertmanager.up()
        self.spawn_calm(begins)
        self.done["alertmanager_downs"] += 1

    # --- the verdict -------------------------------------------------------------------------------------------------

    def is_clean(self, decided: float) -> bool:
        return all(decided + CLEAN_SECONDS < begin or decided > end for begin, end in self.spans)

    def result(self) -> dict[str, Any]:
        scenarios = list(self.book.scenarios.values())
        missing = self.book.missing()
        for scenario, channel, state in missing:
            say(f"missed: {scenario.site} {state} at {channel} ({scenario.kind} {scenario.fault})")
        for text in self.book.unexpected:
            say(f"unexpected: {text}")
        clean = [scenario for scenario in scenarios if self.is_clean(scenario.decided["firing"])]
        for scenario in sorted(clean, key=lambda scenario: scenario.latency("firing") or 0)[-3:]:
            say(f"slow without a fault: {scenario.site} {scenario.kind} {scenario.latency('firing'):.2f} s")

        def quantile(among: list[Scenario], q: float, state: State = "firing", channel: str = HOOK) -> float | None:
            known = sorted(latency for scenario in among if (latency := scenario.latency(state, channel)) is not None)
            return round(known[math.ceil(q * len(known)) - 1], 3) if known else None

        return {
            "scenarios": len(scenarios), "missed": len(missing), "duplicate_ids": self.book.duplicate_ids(), "unexpected": len(self.book.unexpected),
            "repeats": self.book.repeats[HOOK], "repeats_alertmanager": self.book.repeats[PAGER],
            "notifications": sum(len(scenario.heard) for scenario in scenarios), "brief": sum(scenario.brief for scenario in scenarios),
            "without_fault": len(clean), "live": sum(scenario.kind == "live" for scenario in scenarios),
            "latency_p50_s": quantile(clean, 0.5), "latency_p99_s": quantile(clean, 0.99), "latency_max_s": quantile(clean, 1),
            "latency_p99_all_s": quantile(scenarios, 0.99), "latency_max_all_s": quantile(scenarios, 1),
            "resolved_p99_s": quantile([scenario for scenario in scenarios if self.is_clean(scenario.decided["resolved"])], 0.99, "resolved"),
            "alertmanager_p50_s": quantile(clean, 0.5, channel=PAGER), "alertmanager_p99_s": quantile(clean, 0.99, channel=PAGER),
            "kills": self.done["kills"], "kills_between": self.done["kills_between"], "stops": self.done["stops"],
            "receiver_downs": self.done["receiver_downs"], "alertmanager_downs": self.done["alertmanager_downs"],
            "quiet_sites": 4 * self.options.quiet, "events_per_second": self.options.rate, "seed": self.options.seed, "versions": self.versions(),
        }  # fmt: skip

    def versions(self) -> dict[str, str]:
        said = subprocess.run([alertmanager_binary(), "--version"], capture_output=True, text=True, check=True)
        names = {name: version(name) for name in ("engagement-monitor", "faust-streaming", "aiokafka", "aiohttp")}
        return {"python": platform.python_version(), "kafka": self.kafka_version(), "alertmanager": (said.stdout + said.stderr).split()[2], **names}


def now_ms() -> int:
    return round(time.time() * 1000)


def name_in(key: str, partition: int) -> str:
    """A name that puts keys of this form into a partition."""
    return next(f"n{number}" for number in range(10_000) if partition_of(f"{key}n{number}".encode(), PARTITIONS) == partition)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    quick = "--quick" in sys.argv
    for name, default, small, text in (
        ("scenarios", 150, 12, "sites that turn bad and calm down again"), ("live", 40, 0, "how many of them in the running minute"),
        ("calm", 120, 15, "seconds before the first fault"), ("longest", 30, 6, "most seconds that they stay bad once everyone was told"),
        ("kills", 9, 1, "kill -9 of the worker that judges"),
        ("stops", 2, 0, "SIGTERM of that worker"), ("receiver-downs", 4, 1, "the receiver is away, refuses, or hangs"),
        ("alertmanager-downs", 4, 0, "Alertmanager is killed or stopped, and started again"),
        ("untold", 1, 0, "Alertmanager is killed while it holds the end of an alert that it could not tell yet"),
        ("patience", 120, 40, "seconds to wait for a notification; the longest pause between two attempts is 60"),
        ("quiet", 5, 1, "quiet sites of each of the four kinds"), ("rate", 100, 20, "page views per second beside"), ("seed", 1, 1, "of events and faults"),
    ):  # fmt: skip
        parser.add_argument(f"--{name}", type=int, default=small if quick else default, help=f"{text} ({default}, quick {small})")
    parser.add_argument("--quick", action="store_true", help="small, within a minute or so")
    parser.add_argument("--forget", action="store_true", help="control: restarted workers have forgotten their outbox; the run must fail")
    parser.add_argument("--keep", action="store_true", help="keep the folder with the broker's data and the logs")
    options = parser.parse_args()
    return prove("prove-alerts", lambda directory: Run(options, directory).run(), ("missed", "duplicate_ids", "unexpected"), keep=options.keep)


if __name__ == "__main__":
    sys.exit(main())
