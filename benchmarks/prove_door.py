"""Kill the collector and its broker while events come in, then look for every event that was acknowledged: `python benchmarks/prove_door.py --help`.

Senders behave as SDKs do: a batch that is not answered with 200 is sent again, the same. Half of the kills fall while Kafka is there, the others while
it is away, the last when it is back and the spool drains. At the end a worker counts what lies on the topics. Progress goes to stderr; the last line
of stdout is one JSON object. Exit code 0 if nothing that was acknowledged is missing, nothing counts twice, and whatever lies on a topic twice is the
same event with the same id.
"""

import argparse
import asyncio
import json
import platform
import random
import shutil
import sys
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import aiohttp  # noqa: E402
import msgspec  # noqa: E402
from aiokafka import AIOKafkaConsumer, TopicPartition  # noqa: E402
from msgspec.structs import replace  # noqa: E402

from agents import admin  # noqa: E402
from agents.settings import Settings  # noqa: E402
from agents.state_log import read_rows  # noqa: E402
from benchmarks.commands import Command, write_keys  # noqa: E402
from benchmarks.runs import prove, say  # noqa: E402
from deploy.kafka import kafka as local_kafka  # noqa: E402
from streams.topics import EVENT_TOPICS  # noqa: E402

PARTITIONS = 4
SENDERS = 12
IN_FLIGHT = 3
"""Requests that wait for their answer when the collector is killed, at least."""
KEPT = 50
"""Messages that were acknowledged while Kafka is away before a kill, at least."""
ANSWER_SECONDS = 20.0
"""A sender that hears nothing for so long sends again."""
FIGURES = ("lost", "lost_rejected", "counted_twice", "different")
"""What must be 0."""


# --- senders ---------------------------------------------------------------------------------------------------------


class Senders:
    """Clients that send made-up messages in the format of Segment, and remember what was acknowledged."""

    def __init__(self, url: str, key: str, rate: float, seed: int) -> None:
        self.url, self.key, self.rate = url, key, rate
        self.random = random.Random(seed)
        self.acknowledged: set[str] = set()
        self.rejected: set[str] = set()
        """Acknowledged too, as rejected: they must lie on `failed`."""
        self.answers: Counter[str] = Counter()
        """By status, or by the name of the exception."""
        self.in_flight = 0
        """Requests that wait for their answer."""
        self.stopping = False
        self._number = 0

    async def run(self) -> None:
        headers = {"Authorization": f"Bearer {self.key}"}
        timeout, connector = aiohttp.ClientTimeout(ANSWER_SECONDS), aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(headers=headers, timeout=timeout, connector=connector) as session:
            await asyncio.gather(*(self._send_on(session) for _ in range(SENDERS)))

    async def _send_on(self, session: aiohttp.ClientSession) -> None:
        while not self.stopping:
            messages = [self._message() for _ in range(self.random.choice((1, 1, 5, 20, 50)))]
            due = time.monotonic() + len(messages) * SENDERS / self.rate
            body = json.dumps({"batch": messages, "sentAt": datetime.now(UTC).isoformat()})
            while True:
                self.in_flight += 1
                taken = await self._is_taken(session, body, messages)
                self.in_flight -= 1
                if taken:
                    break
                await asyncio.sleep(0.05 + 0.2 * self.random.random())
            await asyncio.sleep(max(0.0, due - time.monotonic()))

    async def _is_taken(self, session: aiohttp.ClientSession, body: str, messages: list[dict[str, Any]]) -> bool:
        try:
            async with session.post(f"{self.url}/v1/batch", data=body) as answer:
                said = await answer.json()
                self.answers[str(answer.status)] += 1
                if answer.status != 200:
                    assert answer.status in (429, 503), f"not of our trouble: {answer.status} {said}"
                    return False
        except (aiohttp.ClientError, TimeoutError, ConnectionError, ValueError) as error:
            self.answers[type(error).__name__] += 1
            return False
        bad = {message["messageId"] for message in messages if message.get("event") == "Order Completed" and "currency" not in message["properties"]}
        assert (said["accepted"], len(said["rejected"])) == (len(messages) - len(bad), min(20, len(bad))), said
        self.rejected |= bad
        self.acknowledged |= {message["messageId"] for message in messages} - bad
        return True

    def _message(self) -> dict[str, Any]:
        self._number += 1
        number, dice = self._number, self.random.random()
        message: dict[str, Any] = {"messageId": f"m-{number}", "timestamp": datetime.now(UTC).isoformat(), "anonymousId": f"v-{self.random.randrange(500)}"}
        if dice < 0.7:
            return message | {"type": "page", "properties": {"path": f"/p/{number % 40}"}}
        if dice < 0.9:
            order = {"order_id": f"o-{number}", "total": 10, "currency": "EUR"}
            return message | {"type": "track", "event": "Order Completed", "properties": order}
        if dice < 0.98:
            review = {"product_id": "p-1", "review_id": f"r-{number}", "review_body": "Great shoes", "rating": 5}
            return message | {"type": "track", "event": "Product Reviewed", "properties": review}
        return message | {"type": "track", "event": "Order Completed", "properties": {"order_id": f"o-{number}", "total": 10}}


# --- the run ---------------------------------------------------------------------------------------------------------


class Run:
    def __init__(self, options: argparse.Namespace, directory: Path) -> None:
        self.options, self.directory = options, directory
        self.random = random.Random(options.seed)
        self.node = local_kafka.Kafka(directory / "kafka", 0, dies_with_me=True)
        (self.key,) = write_keys(directory / "keys.yml", [{"name": "proof", "kind": "server", "site": "shop", "rate": 1e6}])
        self.collector: Command | None = None
        self.kills = 0
        self.in_flight = 0
        """Requests that waited for their answer when the collector was killed."""

    async def run(self) -> dict[str, Any]:
        options = self.options
        settings = Settings(
            broker=await asyncio.to_thread(self.node.start), app_id="door", topic_prefix="door.", partitions=PARTITIONS, http_port=0,
            collector_port=local_kafka.free_port(), collector_keys=str(self.directory / "keys.yml"), collector_spool=str(self.directory / "spool"),
        )  # fmt: skip
        await admin.create_topics(settings)
        begun = time.monotonic()
        senders = Senders(f"http://127.0.0.1:{settings.collector_port}", self.key, options.rate, options.seed)
        try:
            await self.start_collector(settings)
            sending = asyncio.create_task(senders.run())
            await self.kill_collector(settings, senders, options.kills - options.kills // 2, None)
            say(f"{len(senders.acknowledged):,} acknowledged; Kafka goes away for {options.broker_seconds:g} s")
            until = time.monotonic() + options.broker_seconds
            self.node.kill()
            late = int(options.kills >= 4)
            await self.kill_collector(settings, senders, options.kills // 2 - late, until)
            await asyncio.sleep(max(0.0, until - time.monotonic()))
            held = await self.metric(senders.url, "engagement_collector_spool_events")
            say(f"{len(senders.acknowledged):,} acknowledged, {held:,.0f} messages in the spool; Kafka comes back")
            await asyncio.to_thread(self.node.start)
            back = time.monotonic()
            await self.kill_collector(settings, senders, late, back)
            while not await self.metric(senders.url, "engagement_collector_kafka_up"):
                assert time.monotonic() - back < 120, self.log()
                await asyncio.sleep(0.1)
            drained = time.monotonic() - back
            say(f"the spool was empty after {drained:.1f} s")
            await asyncio.sleep(1.0)
            senders.stopping = True
            await sending
            assert self.collector is not None
            assert await asyncio.to_thread(self.collector.terminate) == 0, self.log()
            seconds = time.monotonic() - begun
            found = await self.read(settings)
            counted = await self.count(settings, sum(len(records) for topic, records in found.items() if topic != "failed"))
        finally:
            if self.collector is not None:
                self.collector.kill()
            self.node.kill()
        return {
            **judge(senders, found, counted), "kills": self.kills, "killed_in_flight": self.in_flight, "broker_seconds": options.broker_seconds,
            "spooled": int(held), "drain_seconds": round(drained, 1), "answers": dict(senders.answers), "seconds": round(seconds), "seed": options.seed,
            "versions": {"python": platform.python_version(), "kafka": local_kafka.kafka_version()} | {name: version(name) for name in ("aiohttp", "aiokafka")},
        }  # fmt: skip

    def log(self) -> str:
        return self.collector.log[-4000:] if self.collector is not None else ""

    async def start_collector(self, settings: Settings) -> None:
        self.collector = Command("collector", settings, self.directory)
        await asyncio.to_thread(self.collector.url)

    async def kill_collector(self, settings: Settings, senders: Senders, kills: int, until: float | None) -> None:
        """So many times, while requests wait for their answers; with `until` spread over the time to then."""
        for left in range(kills, 0, -1):
            span = 1.5 if until is None else max(0.1, (until - time.monotonic()) / left - 2.0)
            await asyncio.sleep(self.random.uniform(0.05, 1.0) * span)
            if until is not None and time.monotonic() < until:
                await self.until_spool_holds_something(senders)
            while senders.in_flight < IN_FLIGHT:  # noqa: ASYNC110 (these milliseconds are what it is about)
                await asyncio.sleep(0)
            await asyncio.sleep(self.random.uniform(0.0, 0.005))
            self.in_flight += senders.in_flight
            assert self.collector is not None
            assert self.collector.process.poll() is None, self.log()
            self.collector.kill()
            self.kills += 1
            if self.options.forget:
                shutil.rmtree(settings.collector_spool, ignore_errors=True)
            await self.start_collector(settings)
        say(f"{self.kills} kills")

    async def until_spool_holds_something(self, senders: Senders) -> None:
        """Something acknowledged, so that a kill of a collector that forgets it loses it."""
        while not await self.metric(senders.url, "engagement_collector_spool_events"):  # noqa: ASYNC110 (of another process)
            await asyncio.sleep(0.05)
        held = len(senders.acknowledged) + KEPT
        while len(senders.acknowledged) < held:  # noqa: ASYNC110 (as above, its answers)
            await asyncio.sleep(0.05)

    async def metric(self, url: str, name: str) -> float:
        async with aiohttp.ClientSession() as session, session.get(f"{url}/metrics") as answer:
            text = await answer.text()
        return next(float(line.split()[1]) for line in text.splitlines() if line.startswith(name + " "))

    async def read(self, settings: Settings) -> dict[str, list[Any]]:
        """All records of the topics that the collector writes to."""
        found: dict[str, list[Any]] = {}
        for topic in (*EVENT_TOPICS, "failed"):
            found[topic] = [record async for record in records_of(settings, topic)]
        say(f"on the topics: { ({topic: len(records) for topic, records in found.items()}) }")
        return found

    async def count(self, settings: Settings, records: int) -> Counter[str]:
        """What a worker makes of them: its verdicts, summed."""
        total: Counter[str] = Counter()
        with Command("worker", replace(settings, flush_seconds=0.25), self.directory) as worker:
            deadline = time.monotonic() + 60 + records / 2_000
            while total["received"] < records:
                assert worker.process.poll() is None, worker.log[-4000:]
                assert time.monotonic() < deadline, f"the worker has counted {total} of {records} records"
                await asyncio.sleep(1.0)
                total = Counter()
                for rows in (await read_rows(settings.client_kwargs(), settings.topic("state"), range(PARTITIONS))).values():
                    stamp = msgspec.msgpack.decode(rows[b"@"]) if b"@" in rows else {"intake": {"counts": {}}}
                    for verdicts in stamp["intake"]["counts"].values():
                        total.update(verdicts)
            worker.terminate()
        say(f"the worker's verdicts: {dict(total)}")
        return total


async def records_of(settings: Settings, topic: str) -> AsyncIterator[Any]:
    consumer = AIOKafkaConsumer(**settings.client_kwargs(), auto_offset_reset="earliest", enable_auto_commit=False)
    await consumer.start()
    try:
        partitions = [TopicPartition(settings.topic(topic), number) for number in range(PARTITIONS)]
        consumer.assign(partitions)
        ends = await consumer.end_offsets(partitions)
        await consumer.seek_to_beginning(*partitions)
        left = {tp for tp in partitions if ends[tp]}
        while left:
            for tp, records in (await consumer.getmany(timeout_ms=500, max_records=5_000)).items():
                for record in records:
                    yield record
                if records[-1].offset + 1 >= ends[tp]:
                    left.discard(tp)
    finally:
        await consumer.stop()


def judge(senders: Senders, found: dict[str, list[Any]], counted: Counter[str]) -> dict[str, Any]:
    """What was acknowledged against what lies on the topics and what was counted of it."""
    copies: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for event in (msgspec.json.decode(record.value) for topic in EVENT_TOPICS for record in found[topic]):
        copies[event["id"]].append({name: value for name, value in event.items() if name != "received_at"})
    rejected = Counter(msgspec.json.decode(record.value)["messageId"] for record in found["failed"])
    missing, missing_rejected = senders.acknowledged - copies.keys(), senders.rejected - rejected.keys()
    for what in (missing, missing_rejected):
        if what:
            say(f"missing: {sorted(what)[:10]}")
    return {
        "acknowledged": len(senders.acknowledged),
        "counted": counted["applied"],
        "lost": len(missing) + max(0, len(senders.acknowledged) - counted["applied"]),
        "lost_rejected": len(missing_rejected),
        "counted_twice": max(0, counted["applied"] - len(copies)),
        "different": sum(any(copy != same[0] for copy in same) for same in copies.values()),
        "duplicates_by_id": sum(map(len, copies.values())) - len(copies),
        "rejected": len(senders.rejected),
        "unacknowledged": len(copies.keys() - senders.acknowledged),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20, help="kill -9 of the collector (20)")
    parser.add_argument("--broker-seconds", type=float, default=600, help="how long Kafka is away after a kill -9 (600)")
    parser.add_argument("--rate", type=float, default=500, help="messages per second, about (500)")
    parser.add_argument("--seed", type=int, default=1, help="of messages and kills")
    parser.add_argument("--forget", action="store_true", help="control: the spool is deleted at every kill; the run must fail")
    parser.add_argument("--keep", action="store_true", help="keep the folder with the broker's data and the logs")
    options = parser.parse_args()
    return prove("prove-door", lambda directory: Run(options, directory).run(), FIGURES, keep=options.keep)


if __name__ == "__main__":
    sys.exit(main())
