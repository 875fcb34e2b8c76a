"""From `take` to Kafka: through a broker that is there, that hangs, that dies, and one that is never there. Real brokers only."""

import asyncio
import gc
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import MessageSizeTooLargeError
from msgspec.structs import replace

from agents import admin
from agents.brokers import EmbeddedBroker
from agents.settings import Settings
from collector.delivery import RETRY_SECONDS, TOPICS, Delivery
from collector.limits import EVENT_ROOM
from collector.spool import Spool, SpoolFullError
from streams.events import MAX_EVENT_BYTES
from streams.flow import Message
from streams.topics import partition_of
from tests.collector.served import on_topic, until


def messages(begin: int, count: int, topic: str = "website") -> list[Message]:
    return [Message(topic, b"shop/v:%d" % (number % 7), b"%d" % number, (("engage-x", b"\xff"),)) for number in range(begin, begin + count)]


@asynccontextmanager
async def opened(settings: Settings, directory: Path, limit: int = 1 << 20) -> AsyncIterator[Delivery]:
    """A delivery that has begun; at its end nothing may have failed that nobody looks at, such as a callback or a task."""
    failed: list[dict[str, Any]] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: failed.append(context))
    made = Delivery(settings.client_kwargs(), settings.topic_prefix, Spool(directory, limit))
    await made.start()
    try:
        yield made
    finally:
        await made.stop()
        gc.collect()
        loop.set_exception_handler(None)
        assert failed == []
        assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_messages_are_where_their_key_belongs(embedded_topics: Settings, tmp_path: Path):
    async with opened(embedded_topics, tmp_path) as delivery:
        await until(lambda: delivery.is_direct)
        sent = messages(0, 300)
        await asyncio.gather(*(delivery.take(sent[at : at + 3]) for at in range(0, 300, 3)), delivery.take([Message("failed", None, b"raw")]))
        records = await on_topic(embedded_topics)
        assert {(record.key, record.value, record.headers) for record in records} == {(m.key, m.value, m.headers) for m in sent}
        assert len(records) == 300
        assert all(record.partition == partition_of(record.key, embedded_topics.partitions) for record in records)
        for key in {record.key for record in records}:
            values = [int(record.value) for record in records if record.key == key]
            assert values == sorted(values)
        assert [record.value for record in await on_topic(embedded_topics, "failed")] == [b"raw"]
        assert delivery.delivered == {"website": 300, "failed": 1}
        assert (delivery.spooled, delivery.spool.events) == (0, 0)


async def test_the_producer_waits_for_all_copies_and_is_idempotent(embedded_topics: Settings, tmp_path: Path):
    async with opened(embedded_topics, tmp_path) as delivery:
        await until(lambda: delivery.is_direct)
        link: Any = delivery._link
        assert link._producer._sender._acks == -1
        assert link._producer._txn_manager is not None
        assert link._producer._txn_manager.transactional_id is None


async def test_without_a_broker_all_goes_to_the_spool_and_from_there(embedded_topics: Settings, tmp_path: Path):
    nowhere = replace(embedded_topics, broker="127.0.0.1:1")
    async with opened(nowhere, tmp_path) as delivery:
        await asyncio.gather(*(delivery.take([message]) for message in messages(0, 50)))
        assert delivery.spool.events == delivery.spooled == 50
        assert delivery.can_take
        assert not delivery.is_direct
    async with opened(embedded_topics, tmp_path) as delivery:
        await delivery.take(messages(50, 5))
        await until(lambda: delivery.is_direct)
        await delivery.take(messages(55, 5))
        assert delivery.delivered == {"website": 60}
    values = [(record.key, int(record.value)) for record in await on_topic(embedded_topics)]
    assert sorted(number for _, number in values) == list(range(60))
    for key in {key for key, _ in values}:
        numbers = [number for other, number in values if other == key]
        assert numbers == sorted(numbers), "the spool is drained before anything newer goes"


async def test_a_disk_that_lets_nothing_be_deleted_makes_no_repeats(embedded_topics: Settings, tmp_path: Path):
    spool = Spool(tmp_path, 1 << 20)
    spool.append([messages(0, 20)])
    spool._file.execute("PRAGMA query_only = ON")
    delivery = Delivery(embedded_topics.client_kwargs(), embedded_topics.topic_prefix, spool)
    await delivery.start()
    await until(lambda: delivery.delivered["website"] == 20)
    await asyncio.sleep(2 * RETRY_SECONDS + 0.3)
    assert not delivery.is_direct
    assert spool.events == 20
    spool._file.execute("PRAGMA query_only = OFF")
    await until(lambda: delivery.is_direct)
    await delivery.stop()
    assert sorted(int(record.value) for record in await on_topic(embedded_topics)) == list(range(20))


async def test_a_full_spool_is_said_and_nothing_of_the_request_is_kept(fresh: Settings, tmp_path: Path):
    async with opened(replace(fresh, broker="127.0.0.1:1"), tmp_path, limit=3_000) as delivery:
        await delivery.take(messages(0, 30))
        with pytest.raises(SpoolFullError):
            await delivery.take(messages(30, 100))
        assert delivery.spool.events == 30
        await delivery.take(messages(30, 10))


async def test_it_can_take_as_long_as_the_largest_event_fits(fresh: Settings, tmp_path: Path):
    largest = Message("customers", b"s" * 64 + b"/c:" + "\N{GRINNING FACE}".encode() * 128, bytes(MAX_EVENT_BYTES))
    async with opened(replace(fresh, broker="127.0.0.1:1"), tmp_path, limit=1 << 20) as delivery:
        while delivery.can_take:
            await delivery.take([largest])
        assert delivery.spool.room < EVENT_ROOM
        assert delivery.spool.events == (1 << 20) // EVENT_ROOM
        delivery.spool.limit += EVENT_ROOM - delivery.spool.room
        assert delivery.can_take
        await delivery.take([largest])
        assert not delivery.can_take
        with pytest.raises(SpoolFullError):
            await delivery.take([largest])
        await delivery.take(messages(0, 3))


async def test_a_broker_that_hangs_counts_as_away_until_it_moves(fresh: Settings, tmp_path: Path):
    with EmbeddedBroker([fresh.topic(name) for name in TOPICS], fresh.partitions) as broker:
        settings = broker.settings(fresh)
        assert broker._child is not None
        async with opened(settings, tmp_path) as delivery:
            await until(lambda: delivery.is_direct)
            await delivery.take(messages(0, 10))
            os.kill(broker._child.pid, signal.SIGSTOP)
            await asyncio.to_thread(os.waitpid, broker._child.pid, os.WUNTRACED)  # all its threads stand still
            try:
                async with asyncio.timeout(4):
                    await delivery.take(messages(10, 10))
                assert not delivery.is_direct
                async with asyncio.timeout(0.5):  # from now on nobody waits for it
                    await delivery.take(messages(20, 10))
                assert delivery.spool.events == 20
            finally:
                os.kill(broker._child.pid, signal.SIGCONT)
            await until(lambda: delivery.is_direct)
            assert delivery.spool.events == 0
            assert delivery.losses_of_kafka == 1
        values = [int(record.value) for record in await on_topic(settings)]
        assert sorted(set(values)) == list(range(30))
        assert len(values) <= 40, "twice at most what was open when it hung"


async def test_a_broker_that_dies_is_noticed_and_stopping_is_quick(fresh: Settings, tmp_path: Path):
    broker = EmbeddedBroker([fresh.topic(name) for name in TOPICS], fresh.partitions)
    broker.start()
    try:
        async with opened(broker.settings(fresh), tmp_path) as delivery:
            await until(lambda: delivery.is_direct)
            assert broker._child is not None
            broker._child.kill()
            broker._child.wait()
            await delivery.take(messages(0, 10))
            assert delivery.spool.events == 10
            begun = asyncio.get_running_loop().time()
        assert asyncio.get_running_loop().time() - begun < 4
    finally:
        broker.stop()
    kept = Spool(tmp_path, 1 << 20)
    assert kept.events == 10
    kept.close()


async def test_a_topic_that_is_missing_is_waited_for(kafka_settings: Settings, tmp_path: Path):
    async with opened(kafka_settings, tmp_path) as delivery:
        await delivery.take(messages(0, 10))
        assert delivery.spool.events == 10
        await admin.create_topics(kafka_settings)
        await until(lambda: delivery.is_direct)
    assert sorted(int(record.value) for record in await on_topic(kafka_settings)) == list(range(10))


async def set_largest(settings: Settings, topic: str, size: int) -> None:
    client = AIOKafkaAdminClient(**settings.client_kwargs())
    await client.start()
    try:
        await client.alter_configs([ConfigResource(ConfigResourceType.TOPIC, settings.topic(topic), {"max.message.bytes": str(size)})])
    finally:
        await client.close()


async def test_what_kafka_refuses_is_kept_and_nothing_else_is_sent_again(kafka_topics: Settings, tmp_path: Path):
    await set_largest(kafka_topics, "failed", 1_000)
    async with asyncio.timeout(20), AIOKafkaProducer(**kafka_topics.client_kwargs()) as probe:
        with suppress(MessageSizeTooLargeError):  # it takes the broker a moment to mind the new limit
            while True:
                await probe.send_and_wait(kafka_topics.topic("failed"), b"probe" * 1_000)
    async with opened(kafka_topics, tmp_path) as delivery:
        await until(lambda: delivery.is_direct)
        await delivery.take([*messages(0, 20), Message("failed", None, os.urandom(5_000))])
        assert (delivery.is_direct, delivery.spool.events) == (False, 1)
        await delivery.take([*messages(20, 20), Message("failed", None, b"small")])
        await asyncio.sleep(3 * RETRY_SECONDS)
        assert delivery.spool.events == 22, "in order: nothing overtakes what is refused"
        await set_largest(kafka_topics, "failed", 2 << 20)
        await until(lambda: delivery.is_direct)
    assert sorted(int(record.value) for record in await on_topic(kafka_topics)) == list(range(40))
    failed = [len(record.value) for record in await on_topic(kafka_topics, "failed") if not record.value.startswith(b"probe")]
    assert sorted(failed) == [5, 5_000]


async def test_a_real_broker_goes_down_and_comes_back(local_kafka: Any, fresh: Settings, tmp_path: Path):
    node = local_kafka(tmp_path / "kafka")
    node.start()
    try:
        settings = replace(fresh, broker=node.address)
        await admin.create_topics(settings)
        async with opened(settings, tmp_path / "spool") as delivery:
            await until(lambda: delivery.is_direct)
            await delivery.take(messages(0, 100))
            await asyncio.to_thread(node.kill)
            for at in range(100, 200, 10):
                await delivery.take(messages(at, 10))
            assert delivery.spool.events == 100
            await asyncio.to_thread(node.start)
            await until(lambda: delivery.is_direct, 60)
            await delivery.take(messages(200, 50))
        values = [int(record.value) for record in await on_topic(settings)]
        assert sorted(set(values)) == list(range(250))
    finally:
        node.kill()
