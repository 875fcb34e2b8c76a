"""Wiring by hand: settings in, a Faust application out, and the process around it.

Faust keeps what it is good at: group membership, co-partitioned assignment, rebalances, the recovery slot, the agent. One agent
over the five topics hands batches to the owned state, nothing else. `docs/engine.md` tells how it all works.
"""

import asyncio
import faulthandler
import gc
import logging
import os
import signal
import sys
import time
import uuid
from collections.abc import Callable, Coroutine, Iterable, Mapping
from typing import Any, cast

import faust
import uvloop
from aiokafka.errors import KafkaError
from faust.tables import TableManager
from faust.tables.recovery import RebalanceAgain, Recovery
from prometheus_client.registry import Collector
from yarl import URL

from agents import admin
from agents.batches import AsFetched, BatchTransport, UnsupportedClientError, check_client
from agents.exits import Exit
from agents.http import EngineCollector, HealthServer, Readiness, new_registry
from agents.logs import setup_logging
from agents.publishing import FencedWriter, Publisher
from agents.settings import Settings, not_listening
from agents.state_log import LogOffsets
from agents.tables import Partitions, SupersededError
from agents.watchdog import Vitals, Watchdog
from alerts.evaluation import Alert
from streams.flow import State
from streams.replay import TOPIC_ORDER

log = logging.getLogger(__name__)

SOURCES = (*TOPIC_ORDER, "rollups")
"""Topics a worker reads; the first is handed over before the others of the same poll."""
STATE_TOPIC = "state"

LOOK_SECONDS = 2.0
"""Between two questions to the broker for the ends of the logs."""
LOOK_TIMEOUT_SECONDS = 4.0
LAG_KNOWN_SECONDS = LOOK_SECONDS + LOOK_TIMEOUT_SECONDS
"""A lag older than this is not known: the broker is away."""
BROKER_WAIT_SECONDS = 60.0
STOP_SECONDS = 4.0
GC_THRESHOLDS = (50_000, 200, 1_000)


def die(code: Exit, why: str, error: BaseException | None = None) -> None:
    """End the process at once: nothing that is in memory may be written any more."""
    log.critical("%s (exit code %d)", why, code, exc_info=error)
    logging.shutdown()
    os._exit(code)


class Engine:
    """The parts of one worker, and the tasks that keep them going.

    `new_state(partition)` makes an empty state; `beside` runs as long as the worker does; `alerts` gives those that the worker knows;
    `fence=False` only for the embedded broker.
    """

    def __init__(
        self,
        settings: Settings,
        new_state: Callable[[int], State],
        *,
        fence: bool = True,
        collectors: Iterable[Collector] = (),
        beside: Iterable[Callable[[], Coroutine[Any, Any, None]]] = (),
        alerts: Callable[[], Iterable[Alert]] = tuple,
    ) -> None:
        self.settings = settings
        self.registry, self._flush_duration = new_registry()
        self._new_state = new_state
        self._fence = fence
        self._collectors = tuple(collectors)
        self._beside = tuple(beside)
        self._alerts = alerts
        self._tasks: list[asyncio.Task[None]] = []
        self._loop_beat = self._ends_at = time.monotonic()
        self._broker_answers = False
        self._started = False
        self.topics: Mapping[str, str] = {name: settings.topic(name) for name in SOURCES}

    async def listen(self) -> None:
        """Answer on HTTP, before Kafka is there. Raises SettingsError where the address cannot be had."""
        settings, connection = self.settings, self.settings.client_kwargs()
        self.writer = FencedWriter(connection, settings.topic(STATE_TOPIC), settings.app_id, fence=self._fence)
        self.publisher = Publisher(
            connection, settings.topic_prefix, on_failure=lambda error: die(Exit.TEMPORARY, f"messages were not acknowledged: {error!r}", error)
        )
        self.offsets = LogOffsets(connection)
        self.partitions = Partitions(
            new_state=self._new_state,
            writer=self.writer,
            publisher=self.publisher,
            offsets=self.offsets,
            connection=connection,
            topics=self.topics,
            owner=f"{settings.instance_id or 'worker'} {uuid.uuid4()}",
            die=die,
            flush_seconds=settings.flush_seconds,
            renew_seconds=settings.renew_hours * 3600.0,
            tick_seconds=settings.tick_seconds,
            observe_flush=self._flush_duration.observe,
        )
        self.http = HealthServer(
            settings.http_host, settings.http_port, registry=self.registry, partitions=self.partitions, topics=self.topics, readiness=self.readiness,
            alerts=self._alerts,
        )  # fmt: skip
        self.registry.register(EngineCollector(self.partitions, self.topics, self.readiness, self.publisher.published))
        for collector in self._collectors:
            self.registry.register(collector)
        try:
            await self.http.start()
        except OSError as error:
            raise not_listening(settings, "http", error) from None
        log.info("health, metrics and status on %s", self.http.url)

    async def start(self) -> None:
        """Connect and watch; the partitions come later, with the assignment."""
        await asyncio.gather(self.writer.start(), self.publisher.start(), self.offsets.start())
        for keep in (self.partitions.keep_flushing, self.partitions.keep_ticking, self._keep_looking, self._keep_beating, *self._beside):
            self._tasks.append(asyncio.create_task(self._or_die(keep()), name=keep.__name__))
        self._watchdog = Watchdog(self.vitals, limit=self.settings.watchdog_seconds, loop=asyncio.get_running_loop())
        self._watchdog.start()
        self._started = True

    async def stop(self) -> None:
        """After the last flush: let go of everything."""
        if not self._started:
            await self.http.stop()
            return
        self._watchdog.stop()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.gather(self.writer.stop(), self.publisher.stop(), self.offsets.stop(), self.http.stop())

    def states(self) -> list[State]:
        """The states that are owned and recovered: for collectors."""
        return self.partitions.states() if self._started else []

    @property
    def url(self) -> str:
        """Where its pages are."""
        return self.http.url

    def readiness(self) -> Readiness:
        if not self._started:
            return Readiness(False, "waiting for Kafka")
        if not self.partitions.recovered:
            return Readiness(False, "taking over partitions")
        if (lag := self.lag()) is None:
            return Readiness(False, "the broker does not answer")
        if lag > self.settings.max_lag:
            return Readiness(False, f"{lag} records behind (limit {self.settings.max_lag})")
        return Readiness(True, f"{len(self.partitions.held)} partitions, {lag} records behind")

    def lag(self) -> int | None:
        """Records not yet applied over all owned partitions; None when the broker has not answered lately."""
        if not self._broker_answers or time.monotonic() - self._ends_at > LAG_KNOWN_SECONDS:
            return None
        return self.partitions.backlog()

    def vitals(self) -> Vitals:
        return Vitals(self._loop_beat, self.partitions.recovered, self.lag(), self.partitions.progress_at)

    async def _keep_looking(self) -> None:
        while True:
            try:
                async with asyncio.timeout(LOOK_TIMEOUT_SECONDS):
                    await self.partitions.look_at_ends()
                self._ends_at, self._broker_answers = time.monotonic(), True
            except (KafkaError, TimeoutError) as error:
                self._broker_answers = False
                log.warning("the broker does not answer: %s", str(error) or f"nothing within {LOOK_TIMEOUT_SECONDS:g} s")
            await asyncio.sleep(LOOK_SECONDS)

    async def _keep_beating(self) -> None:
        while True:
            self._loop_beat = time.monotonic()
            await asyncio.sleep(0.5)

    @staticmethod
    async def _or_die(task: Coroutine[Any, Any, None]) -> None:
        try:
            await task
        except Exception as error:
            die(Exit.DEFECT, "a task of the engine ended", error)


class EngagementApp(faust.App):
    """A Faust application with its engine."""

    engine: Engine
    batches: BatchTransport

    def _create_directories(self) -> None:
        """None: what Faust would keep on disk is in the state topic."""


class TakingRecovery(Recovery):
    """Takes the assigned partitions over where Faust would recover its tables; streams stay paused meanwhile."""

    async def _resume_streams(self, generation_id: int = 0) -> None:
        engine = cast(EngagementApp, self.app).engine
        sources = set(engine.topics.values())
        assigned = {tp.partition for tp in self.app.consumer.assignment() if tp.topic in sources}

        def is_current() -> bool:
            return not (self.signal_recovery_start.is_set() or self.should_stop)

        try:
            await engine.partitions.take(assigned, is_current)
        except SupersededError:
            raise RebalanceAgain from None
        except Exception as error:
            die(Exit.DEFECT, "partitions could not be taken over", error)
        log.info("owns partitions %s", sorted(assigned))
        await super()._resume_streams(generation_id)


class NoTables(TableManager):
    """Faust's tables are not used; its recovery slot is."""

    @property
    def recovery(self) -> Recovery:
        if self._recovery is None:
            self._recovery = TakingRecovery(self.app, self, beacon=self.beacon, loop=self.loop)
        return self._recovery

    async def on_start(self) -> None:
        await self._update_channels()
        await self.recovery.start()


def create_app(engine: Engine) -> EngagementApp:
    """The worker's application around an engine."""
    settings = engine.settings
    app = EngagementApp(
        settings.app_id,
        broker=settings.faust_broker(),
        broker_credentials=settings.faust_credentials(),
        TableManager=NoTables,
        store="memory://",
        table_standby_replicas=1,  # with 0 Faust would take an assignor that does not co-partition
        topic_disable_leader=True,
        topic_allow_declare=False,
        web_enabled=False,
        stream_wait_empty=False,
        stream_recovery_delay=0.0,
        stream_buffer_maxsize=8,
        broker_max_poll_records=settings.poll_records,
        broker_commit_interval=1.0,
        broker_session_timeout=settings.session_timeout,
        broker_heartbeat_interval=settings.heartbeat,
        broker_request_timeout=max(30.0, 2 * settings.session_timeout),
        consumer_auto_offset_reset="earliest",
        consumer_max_fetch_size=4 << 20,
        consumer_metadata_max_age_ms=30_000,
        consumer_group_instance_id=settings.instance_id,
    )
    app.engine = engine
    app.batches = BatchTransport([URL(address) for address in settings.faust_broker()], app)
    app.batches.first_topic = engine.topics[SOURCES[0]]
    app.transport = app.producer_transport = app.batches
    app.boot_strategy.enable_kafka_producer = False  # agents publish through the engine

    @app.agent(app.topic(*engine.topics.values(), schema=AsFetched()), name="intake")
    async def intake(batches: Any) -> None:
        async for event in batches.events():
            message = event.message
            if message.generation_id != app.consumer_generation_id:
                continue
            try:
                await engine.partitions.apply(message.topic, message.partition, message.value)
            except Exception as error:  # Faust would count the batch as done and go on
                die(Exit.DEFECT, f"a batch of {message.topic}[{message.partition}] could not be applied", error)

    @app.on_partitions_revoked.connect
    async def hand_over(*_: Any, **_kwargs: Any) -> None:
        await engine.partitions.hand_over()

    @app.on_before_shutdown.connect
    async def last_flush(*_: Any, **_kwargs: Any) -> None:
        await engine.partitions.stop()

    return app


async def _may_start(settings: Settings) -> bool:
    """Wait for the broker, then look at the topics; what is wrong with them is logged."""
    deadline = time.monotonic() + BROKER_WAIT_SECONDS
    while True:
        try:
            findings = await admin.check_topics(settings)
        except admin.UnreachableError as error:
            if time.monotonic() > deadline:
                log.critical("refused to start: %s", error)
                return False
            log.warning("waiting for Kafka: %s", error)
            await asyncio.sleep(2.0)
        else:
            for finding in findings:
                log.log(logging.CRITICAL if finding.fatal else logging.WARNING, "%s%s", "refused to start: " if finding.fatal else "", finding)
            return not any(finding.fatal for finding in findings)


async def _serve(app: EngagementApp) -> int:
    engine, loop = app.engine, asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    if sys.__stderr__ is not None:
        faulthandler.register(signal.SIGUSR1, file=sys.__stderr__, all_threads=True)
    await engine.listen()
    stopping = asyncio.create_task(stop.wait())
    checking = asyncio.create_task(_may_start(engine.settings))
    await asyncio.wait((stopping, checking), return_when=asyncio.FIRST_COMPLETED)
    if not checking.done():
        checking.cancel()
        await engine.stop()
        return 0
    if not checking.result():
        await engine.stop()
        return Exit.CONFIGURATION
    app.loop = loop
    await engine.start()
    app.batches.positions = engine.partitions
    engine.partitions.seek = app.consumer.seek_wait
    starting = asyncio.create_task(app.start())
    running = asyncio.create_task(app.wait_until_stopped())
    await asyncio.wait((stopping, running), return_when=asyncio.FIRST_COMPLETED)
    crashed = app.crash_reason
    try:
        async with asyncio.timeout(STOP_SECONDS):
            await app.stop()
            await engine.stop()
    except TimeoutError:
        log.warning("stopping took longer than %g s; the last flush is done, ending now", STOP_SECONDS)
        logging.shutdown()
        os._exit(0 if crashed is None else Exit.TEMPORARY)
    starting.cancel()
    running.cancel()
    if crashed is not None:
        log.critical("the worker crashed: %r", crashed)
        return Exit.TEMPORARY
    log.info("stopped")
    return 0


def run_worker(app: EngagementApp) -> int:
    """Run the worker until SIGTERM or SIGINT; returns the exit code. Raises SettingsError for an address on which it cannot listen."""
    setup_logging(app.engine.settings.log_level)
    try:
        check_client()
    except UnsupportedClientError as error:
        log.critical("refused to start: %s", error)
        return Exit.CONFIGURATION
    gc.set_threshold(*GC_THRESHOLDS)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_serve(app))
