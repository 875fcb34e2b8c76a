"""What an event costs: the worker beside a bare loop, on a real Kafka of its own. docs/performance.md says what is measured and why.

    python benchmarks/bench.py                the figures: one JSON object, the last line of standard output
    python benchmarks/bench.py --quick        fewer events, one repetition, a short latency run
    python benchmarks/bench.py --profile      where the worker's main thread spends its time

Progress goes to standard error. Each measured run is a process of its own; results are asserted before a figure counts.
"""

import argparse
import asyncio
import contextlib
import importlib.metadata
import json
import os
import platform
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import msgspec  # noqa: E402
import uvloop  # noqa: E402
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition  # noqa: E402

from agents import admin  # noqa: E402
from agents.settings import Settings  # noqa: E402
from benchmarks import detection, sentiment, workload  # noqa: E402
from benchmarks.runs import say  # noqa: E402
from deploy.kafka import kafka as local_kafka  # noqa: E402
from streams.topics import EVENT_TOPICS  # noqa: E402

PARTITIONS = workload.PARTITIONS
SETS = ("plain", "text")
BATCH_RECORDS = 500
BATCH_SECONDS = 0.02
SAMPLE_SECONDS = 0.002
PROBE_SITES = 50
PROBES_PER_SECOND = 10
BACKGROUND_PER_SECOND = 5_000
WARM_UP_SECONDS = 5.0


class BenchSettings(Settings, frozen=True, kw_only=True):
    """Event topics are shared by the runs, all others are fresh for each."""

    events_prefix: str

    def topic(self, name: str) -> str:
        return (self.events_prefix if name in EVENT_TOPICS else self.topic_prefix) + name


def settings_for(broker: str, events: str, name: str) -> BenchSettings:
    return BenchSettings(
        broker=broker, app_id=name, topic_prefix=f"{name}.", events_prefix=f"{events}.", partitions=PARTITIONS, http_port=0, log_level="WARNING"
    )


# --- the stream, produced once ---------------------------------------------------------------------------------------


class Batches:
    """Record batches per topic and partition, sent when full or when told to."""

    def __init__(self, broker: str, prefix: str) -> None:
        self._broker = broker
        self._prefix = prefix
        self._waiting: dict[tuple[str, int], Any] = {}
        self._sent: list[asyncio.Future[Any]] = []

    async def __aenter__(self) -> "Batches":
        self.producer = AIOKafkaProducer(bootstrap_servers=self._broker, acks="all", compression_type="zstd", max_batch_size=1 << 18, linger_ms=0)
        await self.producer.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.flush()
        await self.producer.stop()

    async def add(self, record: workload.Produced) -> None:
        place = record.topic, workload.partition(record.key)
        batch = self._waiting.get(place)
        if batch is None:
            batch = self._waiting[place] = self.producer.create_batch()
        if batch.append(key=record.key, value=record.value, timestamp=None) is None or batch.record_count() >= BATCH_RECORDS:
            full = batch.record_count() < BATCH_RECORDS
            await self._send(place)
            if full:
                await self.add(record)

    async def _send(self, place: tuple[str, int]) -> None:
        topic, partition = place
        self._sent.append(await self.producer.send_batch(self._waiting.pop(place), self._prefix + topic, partition=partition))

    async def send_all(self) -> None:
        for place in list(self._waiting):
            await self._send(place)

    async def flush(self) -> None:
        await self.send_all()
        await asyncio.gather(*self._sent)
        self._sent.clear()


async def produce(broker: str, kind: str, events: int, seed: int, gap: float) -> Counter[str]:
    """One set on its event topics; how many events of each topic."""
    await admin.create_topics(settings_for(broker, kind, f"{kind}-made"))
    produced: Counter[str] = Counter()
    sizes = 0
    async with Batches(broker, f"{kind}.") as batches:
        for number, record in enumerate(workload.stream(seed, events, time.time_ns() // 1_000_000, gap=gap, text=kind == "text")):
            await batches.add(record)
            produced[record.topic] += 1
            sizes += len(record.value)
            if number % 20_000 == 0:
                await batches.flush()
    say(f"produced {kind}: {dict(produced)}, {sizes / events:.0f} bytes each")
    return produced


# --- bare loops ------------------------------------------------------------------------------------------------------


class Row:
    """Ten counters of one site, segment and minute."""

    __slots__ = ("clicks", "engaged", "events", "goals", "last", "mobile", "size", "texts", "total", "views")

    def __init__(self) -> None:
        self.events = self.views = self.clicks = self.goals = self.mobile = self.texts = self.total = self.size = self.last = 0
        self.engaged = 0.0


async def bare(job: Mapping[str, Any]) -> dict[str, Any]:
    """aiokafka as it comes, typed decode, ten counters; with texts also their sentiment."""
    from streams import events as e
    from streams.sentiment import judge

    kind, score = job["set"], job["set"] == "text"
    decoders = {f"{kind}.{name}": decode for name, decode in e.DECODERS.items()}
    views, clicks, goals, left, text_of, minute = e.PageViewed, e.ElementClicked, e.GoalReached, e.PageLeft, e.text_of, 60_000
    rows: dict[tuple[str, str | None, int], Row] = {}
    consumer = AIOKafkaConsumer(bootstrap_servers=job["broker"], enable_auto_commit=False, auto_offset_reset="earliest")
    await consumer.start()
    assigned = [TopicPartition(f"{kind}.{name}", p) for name in EVENT_TOPICS for p in range(PARTITIONS)]
    consumer.assign(assigned)
    left_to_read = sum((await consumer.end_offsets(assigned)).values())
    await consumer.seek_to_beginning(*assigned)
    await asyncio.sleep(0.2)
    texts = 0
    wall, cpu = time.monotonic(), time.process_time()
    while left_to_read > 0:
        for tp, records in (await consumer.getmany(timeout_ms=1000, max_records=500)).items():
            decode = decoders[tp.topic]
            left_to_read -= len(records)
            for record in records:
                value = record.value
                event: Any = decode(value)
                at = event.at
                key = (event.site, event.segment, at - at % minute)
                row = rows.get(key)
                if row is None:
                    row = rows[key] = Row()
                sort = type(event)
                row.events += 1
                row.size += len(value)
                row.views += sort is views
                row.clicks += sort is clicks
                row.goals += sort is goals
                row.mobile += event.device == "mobile"
                row.engaged += event.engaged_seconds if sort is left else 0.0
                row.last = max(at, row.last)
                if score and (text := text_of(event)):
                    row.texts += 1
                    row.total += judge(text, getattr(event, "language", None)).compound
                    texts += 1
    cpu, wall = time.process_time() - cpu, time.monotonic() - wall
    await consumer.stop()
    return {"cpu": cpu, "wall": wall, "received": sum(row.events for row in rows.values()), "texts": texts, "rows": len(rows)}


# --- the product -----------------------------------------------------------------------------------------------------


class Sampler:
    """Notes where the main thread is, every two milliseconds of CPU time of the process."""

    def __init__(self) -> None:
        self.own: Counter[str] = Counter()
        self.within: Counter[str] = Counter()
        self.lines: Counter[str] = Counter()
        self.samples = 0

    def start(self) -> None:
        signal.signal(signal.SIGPROF, lambda _, frame: self._note(frame) if frame is not None else None)
        signal.setitimer(signal.ITIMER_PROF, SAMPLE_SECONDS, SAMPLE_SECONDS)

    def stop(self) -> None:
        signal.setitimer(signal.ITIMER_PROF, 0.0)

    def _note(self, frame: FrameType) -> None:
        self.samples += 1
        self.own[_name(frame)] += 1
        self.lines[f"{_name(frame)}:{frame.f_lineno}"] += 1
        names = set()
        above: FrameType | None = frame
        while above is not None:
            names.add(_name(above))
            above = above.f_back
        self.within.update(names)

    def result(self) -> dict[str, Any]:
        functions = [(name, count / self.samples, self.within[name] / self.samples) for name, count in self.own.most_common(25)]
        lines = [(name, count / self.samples) for name, count in self.lines.most_common(25)]
        return {"samples": self.samples, "functions": functions, "lines": lines}


def _name(frame: FrameType) -> str:
    path = Path(frame.f_code.co_filename)
    shown = path.relative_to(ROOT) if path.is_relative_to(ROOT) and ".venv" not in path.parts else Path(*path.parts[-2:])
    return f"{shown}:{frame.f_code.co_qualname}"


class Watch:
    """Counts the worker's CPU from its first state until everything is durable, the rollups it made included."""

    def __init__(self, app: Any, job: Mapping[str, Any]) -> None:
        self._app = app
        self._job = job
        self._began: tuple[float, float, float] | None = None
        self._sampler = Sampler() if job.get("profile") else None
        self.result: dict[str, Any] = {}

    def begin(self) -> None:
        if self._began is None:
            self._began = time.process_time(), time.thread_time(), time.monotonic()
            if self._sampler is not None:
                self._sampler.start()

    async def run(self) -> None:
        engine = self._app.engine
        ends = {tuple(place): end for *place, end in self._job["ends"]}
        await self._until_durable(ends)
        for owned in list(engine.partitions.held):
            async with owned.lock:  # the flush and what it publishes
                pass
        rollups = [TopicPartition(engine.topics["rollups"], partition) for partition in range(PARTITIONS)]
        logs = await engine.offsets.ends(rollups)
        await self._until_durable({("rollups", tp.partition): end for tp, end in logs.items()})
        cpu, main, wall = time.process_time(), time.thread_time(), time.monotonic()
        assert self._began is not None
        if self._sampler is not None:
            self._sampler.stop()
            self.result["profile"] = self._sampler.result()
        counts: Counter[str] = Counter()
        unaccounted = 0
        for state in engine.states():
            status = state.status()
            unaccounted += abs(status["unaccounted"])
            for by_name in status["counts"].values():
                counts.update(by_name)
        counters = engine.partitions.counters
        self.result |= {
            "cpu": cpu - self._began[0],
            "main_cpu": main - self._began[1],
            "wall": wall - self._began[2],
            "counts": dict(counts),
            "received": counts["received"],
            "unaccounted": unaccounted,
            "flushes": counters.flushes,
            "flushed_rows": counters.flushed_rows,
            "flushed_bytes": counters.flushed_bytes,
        }
        os.kill(os.getpid(), signal.SIGTERM)

    async def _until_durable(self, ends: Mapping[Any, int]) -> None:
        partitions = self._app.engine.partitions
        while True:
            owned = partitions.owned
            if len(partitions.held) == PARTITIONS and all(owned[p].durable.get(topic, -1) >= end - 1 for (topic, p), end in ends.items()):
                return
            await asyncio.sleep(0.02)


async def tell_when_ready(app: Any, path: str, sampler: Sampler | None) -> None:
    while len(app.engine.partitions.held) < PARTITIONS:  # noqa: ASYNC110
        await asyncio.sleep(0.05)
    touch(path)
    if sampler is not None:
        sampler.start()


def touch(path: str) -> None:
    Path(path).touch()


def product(job: Mapping[str, Any]) -> dict[str, Any]:
    """The real worker. With `ends` it ends by itself and tells what it took, without them it runs until SIGTERM."""
    from agents.app import Engine, create_app, run_worker
    from agents.metrics import ReadingsCollector
    from streams.partition import Partition
    from streams.sites import Site, Sites
    from streams.texts.overlay import Tuning

    settings = settings_for(job["broker"], job["set"], job["name"])
    sites = Sites(default=Site(sentiment=Tuning(overlay=job.get("overlay", True))))

    def new_state(partition: int) -> Partition:
        if watch is not None:
            watch.begin()
        return Partition(partition, PARTITIONS, sites)

    app = create_app(Engine(settings, new_state, collectors=[ReadingsCollector(lambda: app.engine.states())]))
    watch = Watch(app, job) if "ends" in job else None
    sampler = Sampler() if watch is None and job.get("profile") else None
    engine_start = app.engine.start
    tasks = []

    async def start() -> None:
        await engine_start()
        if watch is not None:
            tasks.append(asyncio.create_task(watch.run()))
        else:
            tasks.append(asyncio.create_task(tell_when_ready(app, job["ready"], sampler)))

    app.engine.start = start  # type: ignore[method-assign]
    code = run_worker(app)
    if code:
        raise SystemExit(code)
    if watch is not None:
        return watch.result
    counters = app.engine.partitions.counters
    found = {"cpu": time.process_time(), "main_cpu": time.thread_time(), "applied": dict(counters.applied), "flushes": counters.flushes}
    if sampler is not None:
        sampler.stop()
        found["profile"] = sampler.result()
    return found


# --- taking over -----------------------------------------------------------------------------------------------------


async def recovery(job: Mapping[str, Any]) -> dict[str, Any]:
    """A fresh process takes the state over; and how large its rows are."""
    from agents.state_log import loading_many_objects, read_rows
    from agents.tables import RESERVED
    from streams.partition import Partition

    settings = settings_for(job["broker"], job["set"], job["name"])
    sizes: dict[str, list[int]] = {"subject": [0, 0], "pane": [0, 0]}
    states = []
    cpu = time.process_time()
    with loading_many_objects():
        tables = await read_rows(settings.client_kwargs(), settings.topic("state"), range(PARTITIONS))
        for partition, rows in tables.items():
            state = Partition(partition, PARTITIONS)
            state.load([(key, value) for key, value in rows.items() if not key.startswith(RESERVED)])
            states.append(state)
    cpu = time.process_time() - cpu
    for rows in tables.values():
        for key, value in rows.items():
            if (size := sizes.get({b"s": "subject", b"p": "pane"}.get(key[:1], ""))) is not None:
                size[0] += len(key) + len(value)
                size[1] += 1
    received = sum(counts["received"] for state in states for counts in state.accounting().values())
    return {
        "cpu": cpu,
        "rows": sum(map(len, tables.values())),
        "received": received,
        "subjects": sizes["subject"][1],
        "pane_rows": sizes["pane"][1],
        **{f"bytes_per_{name}": size / max(1, count) for name, (size, count) in sizes.items()},
    }


# --- latency ---------------------------------------------------------------------------------------------------------


class Latency:
    """A live worker under load, and how soon a new visitor shows in the readings."""

    def __init__(self, broker: str, seconds: float) -> None:
        self._broker = broker
        self._seconds = seconds
        self._sent: dict[str, list[float]] = defaultdict(list)
        self._seen: dict[str, list[float]] = defaultdict(list)
        self.produced = 0

    async def run(self) -> list[float]:
        consumer = AIOKafkaConsumer("latency.readings", bootstrap_servers=self._broker, auto_offset_reset="earliest", enable_auto_commit=False)
        await consumer.start()
        watching = asyncio.create_task(self._watch(consumer))
        try:
            async with Batches(self._broker, "latency.") as batches:
                background = asyncio.create_task(self._background(batches))
                await asyncio.sleep(WARM_UP_SECONDS)
                await self._probe(batches)
                await background
                deadline = time.monotonic() + 10
                while not self._complete() and time.monotonic() < deadline:  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
        finally:
            watching.cancel()
            await consumer.stop()
        assert self._complete(), "probes were not seen"
        return sorted(shown - sent for site in self._sent for sent, shown in zip(self._sent[site], self._seen[site], strict=True))

    def _complete(self) -> bool:
        return all(len(self._seen[site]) == len(sent) for site, sent in self._sent.items())

    async def _background(self, batches: Batches) -> None:
        stream = workload.Workload(7, text=True, tag="latency")
        started = time.monotonic()
        while (past := time.monotonic() - started) < WARM_UP_SECONDS + self._seconds:
            for _ in range(int(past * BACKGROUND_PER_SECOND) - self.produced):
                await batches.add(stream.event(time.time_ns() // 1_000_000))
                self.produced += 1
            await batches.send_all()
            await asyncio.sleep(BATCH_SECONDS)

    async def _probe(self, batches: Batches) -> None:
        started = time.monotonic()
        for number in range(int(self._seconds * PROBES_PER_SECOND)):
            await asyncio.sleep(max(0.0, started + number / PROBES_PER_SECOND - time.monotonic()))
            site = f"probe{number % PROBE_SITES:02}.example"
            record = workload.probe(site, f"probe-{number}", time.time_ns() // 1_000_000)
            self._sent[site].append(time.monotonic())
            await batches.producer.send("latency.website", key=record.key, value=record.value, partition=workload.partition(record.key))

    async def _watch(self, consumer: Any) -> None:
        async for record in consumer:
            now = time.monotonic()
            message = msgspec.json.decode(record.value)
            for reading in message["readings"]:
                if reading["kpi"] == "active_visitors" and not reading["dimensions"] and message["site"].startswith("probe"):
                    seen = self._seen[message["site"]]
                    seen += [now] * (int(reading["value"] or 0) - len(seen))


# --- the whole -------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def child(job: Mapping[str, Any]) -> Iterator[subprocess.Popen[bytes]]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ENGAGE_")}
    process = subprocess.Popen([sys.executable, __file__, "--child", json.dumps(job)], cwd=ROOT, env=environment, stdout=subprocess.DEVNULL)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


def measured(job: Mapping[str, Any], directory: Path, seconds: float = 600.0) -> dict[str, Any]:
    """Run one job in a process of its own and read what it found."""
    result = directory / f"{job['name']}.json"
    with child({**job, "result": str(result)}) as process:
        if process.wait(seconds):
            raise SystemExit(f"{job['name']} failed with exit code {process.returncode}")
    found: dict[str, Any] = json.loads(result.read_text())
    return found


class Bench:
    """All measurements on one broker."""

    def __init__(self, broker: str, directory: Path, options: argparse.Namespace) -> None:
        self._broker = broker
        self._directory = directory
        self._options = options
        self._produced: dict[str, Counter[str]] = {}
        self._ends: dict[str, list[tuple[str, int, int]]] = {}

    def produce(self, kinds: Sequence[str]) -> None:
        for number, kind in enumerate(kinds):
            self._produced[kind] = asyncio.run(produce(self._broker, kind, self._options.events, 11 + number, self._options.gap))
            self._ends[kind] = asyncio.run(self._ask_ends(kind))

    async def _ask_ends(self, kind: str) -> list[tuple[str, int, int]]:
        consumer = AIOKafkaConsumer(bootstrap_servers=self._broker)
        await consumer.start()
        try:
            ends = await consumer.end_offsets([TopicPartition(f"{kind}.{name}", p) for name in EVENT_TOPICS for p in range(PARTITIONS)])
        finally:
            await consumer.stop()
        return [(tp.topic.removeprefix(f"{kind}."), tp.partition, end) for tp, end in ends.items()]

    def bare(self, kind: str, number: int) -> float:
        return self._rate({"job": "bare", "set": kind, "name": f"bare-{kind}-{number}"})

    def product(self, kind: str, number: int, **extra: Any) -> float:
        name = f"product-{kind}-{number}"
        asyncio.run(admin.create_topics(settings_for(self._broker, kind, name)))
        return self._rate({"job": "product", "set": kind, "name": name, "ends": self._ends[kind], **extra})

    def _rate(self, job: dict[str, Any]) -> float:
        """Events per CPU-second, once what was counted is what was produced."""
        produced = self._produced[job["set"]]
        texts = produced["social"] + produced["reviews"]
        found = measured({**job, "broker": self._broker}, self._directory)
        assert found["received"] == produced.total(), f"{job['name']} received {found['received']} of {produced.total()}"
        if job["job"] == "bare":
            assert found["texts"] == (texts if job["set"] == "text" else 0), f"{job['name']} judged {found['texts']} of {texts} texts"
        else:
            counts = found["counts"]
            assert found["unaccounted"] == 0, counts
            assert counts["applied"] == produced.total(), f"not every event was counted: {counts}"
        rate = float(produced.total() / found["cpu"])
        details = {name: round(found[name], 2) for name in ("cpu", "main_cpu", "wall", "rows", "flushes", "flushed_rows", "flushed_bytes") if name in found}
        say(f"{job['name']}: {rate:,.0f} events per CPU-second {details}")
        if "profile" in found:
            _print_profile(job["name"], found["profile"])
        return rate

    def recovery(self, kind: str, number: int) -> dict[str, Any]:
        job = {"job": "recovery", "set": kind, "name": f"product-{kind}-{number}", "broker": self._broker}
        found = measured(job, self._directory)
        assert found["received"] == self._produced[kind].total()
        say(f"recovery: {found}")
        return found

    def latency(self, seconds: float, *, profile: bool = False) -> tuple[float, float]:
        settings = settings_for(self._broker, "latency", "latency")
        asyncio.run(admin.create_topics(settings))
        result = self._directory / "latency.json"
        job = {"job": "product", "set": "latency", "name": "latency", "broker": self._broker, "profile": profile, "result": str(result)}
        job["ready"] = str(ready := self._directory / "latency.ready")
        with child(job) as process:
            while not ready.exists():
                assert process.poll() is None
                time.sleep(0.05)
            run = Latency(self._broker, seconds)
            found = asyncio.run(run.run())
            assert process.poll() is None
            process.terminate()
            process.wait(30)
        worker = json.loads(result.read_text())
        if profile:
            _print_profile("latency", worker.pop("profile"))
        say(f"the worker meanwhile: {worker}; this process: {time.process_time():.1f} CPU-seconds, {os.getloadavg()[0]:.1f} processes want to run")
        say(f"latency of {len(found)} probes beside {run.produced:,} events: {found[0]:.3f} to {found[-1]:.3f} s")
        return statistics.median(found), found[min(len(found) - 1, int(0.99 * len(found)))]

    def measure(self) -> dict[str, Any]:
        options = self._options
        self.produce(SETS)
        rates: dict[str, list[float]] = defaultdict(list)
        for number in range(options.repetitions):
            rates["bare_a"].append(self.bare("plain", number))
            rates["product_plain"].append(self.product("plain", number))
            rates["bare_b"].append(self.bare("text", number))
            rates["product_text"].append(self.product("text", number))
            rates["product_text_no_overlay"].append(self.product("text", number + options.repetitions, overlay=False))
        medians = {name: statistics.median(found) for name, found in rates.items()}
        taken = [self.recovery("plain", options.repetitions - 1) for _ in range(options.repetitions)]
        p50, p99 = self.latency(15.0 if options.quick else 60.0)
        return {
            **{name: round(medians[name]) for name in ("bare_a", "bare_b", "product_plain", "product_text", "product_text_no_overlay")},
            "ratio_plain": round(medians["product_plain"] / medians["bare_a"], 3),
            "ratio_text": round(medians["product_text"] / medians["bare_b"], 3),
            "ratio_text_no_overlay": round(medians["product_text_no_overlay"] / medians["bare_b"], 3),
            "bytes_per_subject": round(taken[0]["bytes_per_subject"], 1),
            "bytes_per_pane_row": round(taken[0]["bytes_per_pane"], 1),
            "recovery_rows_per_cpu_s": round(statistics.median(found["rows"] / found["cpu"] for found in taken)),
            "latency_p50_s": round(p50, 3),
            "latency_p99_s": round(p99, 3),
            "detectors": {name: cost._asdict() for name, cost in detection.detector_costs().items()},
            "texts": sentiment.measure(sentiment.made_up_texts()).as_json(),
            "versions": versions(),
        }


def versions() -> dict[str, str]:
    packages = ("aiokafka", "faust-streaming", "mode-streaming", "msgspec", "uvloop")
    return {"python": platform.python_version(), "kafka": local_kafka.kafka_version(), **{name: importlib.metadata.version(name) for name in packages}}


def _print_profile(name: str, profile: Mapping[str, Any]) -> None:
    say(f"profile of {name}: {profile['samples']} samples of CPU time")
    print("   own  within  function", file=sys.stderr)
    for function, own, within in profile["functions"]:
        print(f"{own:6.1%}  {within:6.1%}  {function}", file=sys.stderr)
    print("   own  line", file=sys.stderr)
    for line, own in profile["lines"]:
        print(f"{own:6.1%}  {line}", file=sys.stderr)


def run_child(job: dict[str, Any]) -> int:
    if job["job"] == "product":
        found = product(job)
    else:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            found = runner.run({"bare": bare, "recovery": recovery}[job["job"]](job))
    if "result" in job:
        Path(job["result"]).write_text(json.dumps(found))
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, help="events of each set (default 500,000; with --quick 50,000)")
    parser.add_argument("--repetitions", type=int, help="of each run; medians are reported (default 3; with --quick 1)")
    parser.add_argument("--quick", action="store_true", help="a first impression in a minute")
    gap = workload.SECONDS_BETWEEN_EVENTS
    parser.add_argument("--gap", type=float, default=gap, help=f"seconds between two events of an active visitor (default {gap:g}); fewer: more per minute")
    parser.add_argument("--profile", choices=(*SETS, "latency"), nargs="?", const="plain", help="only sample the worker, and print the 25 largest functions")
    parser.add_argument("--child", type=json.loads, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child is not None:
        return run_child(options.child)
    options.events = options.events or (50_000 if options.quick else 500_000)
    options.repetitions = options.repetitions or (1 if options.quick else 3)
    with tempfile.TemporaryDirectory(prefix="engage-bench-") as directory:
        node = local_kafka.Kafka(Path(directory) / "kafka", 0, heap="768m", dies_with_me=True)
        try:
            bench = Bench(node.start(), Path(directory), options)
            if options.profile == "latency":
                bench.latency(15.0 if options.quick else 60.0, profile=True)
            elif options.profile:
                bench.produce([options.profile])
                bench.product(options.profile, 0, profile=True)
            else:
                print(json.dumps(bench.measure()))
        finally:
            node.kill()
    return 0


if __name__ == "__main__":
    sys.exit(main())
