"""The embedded broker: what the product needs of it, and the limits that docs/brokers.md states."""

import asyncio
import os
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from msgspec.structs import replace

from agents import admin
from agents.brokers import BrokerError, EmbeddedBroker
from agents.publishing import FencedWriter
from agents.settings import Settings
from streams.topics import TOPICS

ROOT = Path(__file__).parents[2]
MIB = 1 << 20


async def send(settings: Settings, topic: str, *values: bytes) -> None:
    """Each value in a record batch of its own, to partition 0."""
    producer = AIOKafkaProducer(**settings.client_kwargs(), enable_idempotence=True, acks="all", max_batch_size=16 * MIB)
    await producer.start()
    try:
        for value in values:
            batch = producer.create_batch()
            batch.append(key=b"k", value=value, timestamp=1000)
            await (await producer.send_batch(batch, settings.topic(topic), partition=0))
    finally:
        await producer.stop()


async def bounds(settings: Settings, topic: str) -> tuple[int, int]:
    """First and next offset of partition 0."""
    tp = TopicPartition(settings.topic(topic), 0)
    async with AIOKafkaConsumer(**settings.client_kwargs()) as consumer:
        return (await consumer.beginning_offsets([tp]))[tp], (await consumer.end_offsets([tp]))[tp]


def member(settings: Settings) -> AIOKafkaConsumer:
    return AIOKafkaConsumer(
        settings.topic("website"),
        **settings.client_kwargs(),
        group_id=settings.app_id,
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        fetch_max_wait_ms=50,
        session_timeout_ms=int(settings.session_timeout * 1000),
        heartbeat_interval_ms=int(settings.heartbeat * 1000),
    )


async def test_topics_are_there_with_the_partitions_asked_for() -> None:
    async with EmbeddedBroker.of(Settings(partitions=3)) as broker:
        settings = broker.settings(Settings())
        assert (settings.partitions, settings.broker) == (3, broker.address)
        assert await admin.check_topics(settings) == []
        assert await admin.create_topics(settings) == []


async def test_topics_only_named_get_four_partitions(embedded: EmbeddedBroker, fresh: Settings) -> None:
    settings = embedded.settings(fresh, partitions=8)
    assert await admin.create_topics(settings) == [fresh.topic(topic.name) for topic in TOPICS]
    [finding] = await admin.check_topics(settings)
    assert finding.problem == "The topics have 4 partitions, ENGAGE_PARTITIONS is 8"


async def test_a_group_of_one_reads_commits_and_goes_on(embedded_topics: Settings) -> None:
    begin = time.monotonic()
    async with member(embedded_topics) as consumer:
        assert len(consumer.assignment()) == embedded_topics.partitions
        await send(embedded_topics, "website", b"1", b"2")
        assert [(await consumer.getone()).value, (await consumer.getone()).value] == [b"1", b"2"]
        await consumer.commit()
    assert time.monotonic() - begin < 2, "the first member waits for nobody"
    await send(embedded_topics, "website", b"3")
    async with member(embedded_topics) as consumer:
        record = await consumer.getone()
    assert record.value == b"3"
    assert time.monotonic() - begin < 2 + embedded_topics.session_timeout, "joining again takes the session timeout, no more"
    assert record.timestamp == 1000, "time of append is not supported: the producer's stays"


async def test_the_state_is_written_and_read_back_but_not_fenced(embedded_topics: Settings) -> None:
    first, second = (FencedWriter(embedded_topics.client_kwargs(), embedded_topics.topic("state"), embedded_topics.app_id, fence=False) for _ in range(2))
    await first.start()
    await second.start()
    try:
        one = await first.acquire(0, (b"barrier", b"1"))
        other = await second.acquire(0, (b"barrier", b"2"))
        assert one.producer_id != other.producer_id, "a real Kafka gives the same id and the next epoch"
        await first.write(0, [(b"a", b"1"), (b"b", b"2")])  # a real Kafka refuses this
    finally:
        await first.stop()
        await second.stop()
    async with AIOKafkaConsumer(**embedded_topics.client_kwargs(), fetch_max_wait_ms=50) as consumer:
        tp = TopicPartition(embedded_topics.topic("state"), 0)
        consumer.assign([tp])
        consumer.seek(tp, 0)
        assert [(await consumer.getone()).value for _ in range(4)] == [b"1", b"2", b"1", b"2"]


async def test_it_keeps_five_mebibytes_of_a_partition(embedded_topics: Settings) -> None:
    await send(embedded_topics, "website", *[bytes(MIB)] * 4)
    assert await bounds(embedded_topics, "website") == (0, 4)
    await send(embedded_topics, "website", *[bytes(MIB)] * 4)
    assert await bounds(embedded_topics, "website") == (4, 8)


async def test_a_batch_can_push_itself_out(embedded_topics: Settings) -> None:
    await send(embedded_topics, "website", *[bytes(2 * MIB)] * 2)
    assert await bounds(embedded_topics, "website") == (0, 2)
    await send(embedded_topics, "social", *[bytes(3 * MIB)] * 2)
    assert await bounds(embedded_topics, "social") == (2, 2), "acknowledged, and not readable: docs/brokers.md warns of batches above 2.5 MiB"


async def test_a_topic_cannot_be_made_twice_nor_after_the_end(fresh: Settings) -> None:
    broker = EmbeddedBroker(["a"], partitions=2)
    with pytest.raises(BrokerError, match="not running"):
        broker.create("b")
    with broker:
        with pytest.raises(BrokerError, match="refused topic 'a': Broker: Topic already exists"):
            broker.create("a")
        assert broker.running
        assert broker.start() == broker.address
        settings = broker.settings(replace(fresh, instance_id="x"))
        assert settings.instance_id is None
    with pytest.raises(admin.UnreachableError):
        await admin.reach(settings)
    broker.stop()
    assert [broker.running] == [False]


def test_it_ends_with_its_parent_however_that_ends() -> None:
    program = """
        import os, signal
        from agents.brokers import EmbeddedBroker
        broker = EmbeddedBroker()
        broker.start()
        print(broker._child.pid, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == -9, done.stderr
    deadline = time.monotonic() + 5
    while _alive(int(done.stdout)):
        assert time.monotonic() < deadline, "the broker outlived its parent"
        time.sleep(0.02)


def test_by_hand_it_prints_its_address_and_ends_with_its_input() -> None:
    done = subprocess.run([sys.executable, "-m", "agents.brokers", "one"], cwd=ROOT, input="two 3\nthree\n", capture_output=True, text=True, check=False)
    address, *answers = done.stdout.splitlines()
    assert address.startswith("127.0.0.1:")
    assert answers == ["ok", "a line is NAME PARTITIONS"]
    assert done.returncode == 0
    assert done.stderr == ""


async def test_records_arrive_soon_although_empty_fetches_are_slow(embedded_topics: Settings) -> None:
    async with member(embedded_topics) as consumer:
        producer = AIOKafkaProducer(**embedded_topics.client_kwargs())
        await producer.start()
        try:
            for number in range(5):
                await asyncio.sleep(0.1)
                begin = time.monotonic()
                await producer.send_and_wait(embedded_topics.topic("website"), b"%d" % number)
                await consumer.getone()
                assert time.monotonic() - begin < 0.5
        finally:
            await producer.stop()


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False
