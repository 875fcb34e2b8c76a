"""Light records against aiokafka's own, and the guard for the client's version."""

import asyncio
import struct
from itertools import pairwise
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.record import default_records
from aiokafka.record.util import calc_crc32c

from agents.batches import Batch, UnsupportedClientError, check_client, poll, sliced
from streams.partition import Partition
from tests.agents.conftest import Cluster


def test_the_installed_client_is_supported() -> None:
    check_client()


def test_another_version_is_refused_with_a_sentence() -> None:
    with pytest.raises(UnsupportedClientError, match=r"aiokafka 0.15.1 is installed, but the engine uses private names of 0.14.x; install the pinned"):
        check_client("0.15.1")


def test_a_missing_c_extension_is_refused_with_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    class InPython:
        __module__ = "aiokafka.record.default_records"

    monkeypatch.setattr(default_records, "DefaultRecordBatch", InPython)
    with pytest.raises(UnsupportedClientError, match=r"C extension .* is not loaded"):
        check_client()


def test_slices() -> None:
    numbers: Any = list(range(7))
    pieces: list[Any] = [list(piece) for piece in sliced(numbers, 3)]
    assert pieces == [[0, 1, 2], [3, 4, 5], [6]]
    assert list(sliced([], 3)) == []


async def consume_light(cluster: Cluster, topic: str, start: int, limit: int, count: int) -> list[Batch]:
    tp = TopicPartition(topic, 0)
    consumer = AIOKafkaConsumer(**cluster.connection, auto_offset_reset="earliest", enable_auto_commit=False)
    await consumer.start()
    try:
        consumer.assign([tp])
        consumer.seek(tp, start)
        batches: list[Batch] = []
        async with asyncio.timeout(10):
            while not batches or batches[-1].next < count:
                batches += (await poll(consumer, {tp}, 1.0, limit)).values()
        return batches
    finally:
        await consumer.stop()


async def consume_stock(cluster: Cluster, topic: str, start: int, count: int) -> list[Any]:
    tp = TopicPartition(topic, 0)
    consumer = AIOKafkaConsumer(**cluster.connection, auto_offset_reset="earliest", enable_auto_commit=False)
    await consumer.start()
    try:
        consumer.assign([tp])
        consumer.seek(tp, start)
        records: list[Any] = []
        async with asyncio.timeout(10):
            while await consumer.position(tp) < count:
                records += (await consumer.getmany(tp, timeout_ms=500)).get(tp, [])
        return records
    finally:
        await consumer.stop()


@pytest.mark.kafka
async def test_light_records_are_the_stock_ones(cluster: Cluster) -> None:
    await cluster.create("website", "state", partitions=1)
    topic, total = cluster.prefix + "website", 0
    for compression in (None, "zstd"):
        producer = AIOKafkaProducer(**cluster.connection, compression_type=compression)
        await producer.start()
        for size in (1, 7, 300):
            batch = producer.create_batch()
            for n in range(size):
                key, value = (None if n % 5 == 0 else b"k%d" % n), (None if n % 7 == 3 and n % 5 else b"value %d" % n)
                batch.append(key=key, value=value, timestamp=1_700_000_000_000 + n, headers=[("h", b"x"), ("empty", b"")] if n % 3 == 0 else [])
                total += 1
            await (await producer.send_batch(batch, topic, partition=0))
        await producer.stop()
    transactional = AIOKafkaProducer(**cluster.connection, transactional_id=cluster.prefix)
    await transactional.start()
    async with transactional.transaction():  # leaves a control batch at the end
        await transactional.send_and_wait(topic, b"in a transaction", partition=0)
    await transactional.stop()
    end = total + 2

    for start in (0, 5, 100, 315, total, total + 1):
        stock = await consume_stock(cluster, topic, start, end)
        for limit in (1, 200, 5000):
            batches = await consume_light(cluster, topic, start, limit, end)
            light = [record for batch in batches for record in batch.records]
            assert [(r.offset, r.timestamp, r.key, r.value, tuple(r.headers)) for r in light] == [
                (r.offset, r.timestamp, r.key, r.value, r.headers) for r in stock
            ]
            assert batches[0].start == start
            assert all(one.next == other.start for one, other in pairwise(batches)), "no hole between batches"
            assert batches[-1].next == batches[-1].end == end


@pytest.mark.kafka
async def test_a_header_whose_name_is_no_utf_8_costs_its_batch_and_nothing_else(cluster: Cluster) -> None:
    """Clients in other languages may write such names."""
    await cluster.create("website", "state", partitions=1)
    topic = cluster.prefix + "website"
    async with AIOKafkaProducer(**cluster.connection) as producer:
        await producer.send_and_wait(topic, b"before", partition=0)
        batch = producer.create_batch()
        for number in range(2):
            batch.append(key=b"k", value=b"in it", timestamp=1_700_000_000_000 + number, headers=[("QQQQ", b"x")])
        raw = bytearray(batch._build())
        name = raw.index(b"QQQQ")
        raw[name : name + 4] = b"\xff\xfe\xff\xfe"
        struct.pack_into(">I", raw, 17, calc_crc32c(bytes(raw[21:])))
        batch._buffer = bytes(raw)
        await (await producer.send_batch(batch, topic, partition=0))
        await producer.send_and_wait(topic, b"after", partition=0)
    records = [record for batch in await consume_light(cluster, topic, 0, 100, 4) for record in batch.records]
    assert [(record.offset, record.value) for record in records] == [(0, b"before"), (1, None), (2, None), (3, b"after")]
    state = Partition(0, 1)
    state.apply("website", records)
    assert state.accounting()["website"]["failed.not_utf8"] == 2
    assert state.status()["unaccounted"] == 0
    flush = state.flush()
    assert flush is not None
    assert [dict(message.headers)["engage-offset"] for message in flush.before] == [b"0", b"1", b"2", b"3"]


@pytest.mark.kafka
async def test_one_topic_is_handed_over_first_and_the_limit_holds(cluster: Cluster) -> None:
    await cluster.create("website", "social", "customers", partitions=1)
    for topic in ("website", "social", "customers"):
        await cluster.produce(topic, [b"k"] * 1000, spread=1)
    wanted = {TopicPartition(cluster.prefix + topic, 0) for topic in ("website", "social", "customers")}
    consumer = AIOKafkaConsumer(**cluster.connection, enable_auto_commit=False)
    await consumer.start()
    try:
        consumer.assign(wanted)
        await consumer.seek_to_beginning(*wanted)
        while len(consumer._fetcher._records) < 3:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
        first = cluster.prefix + "customers"
        taken = await poll(consumer, wanted, 0.0, 5000, first)
        assert next(iter(taken)).topic == first
        assert sum(len(batch.records) for batch in taken.values()) == 3000
        assert await poll(consumer, wanted, 0.01, 5000) == {}
        await consumer.seek_to_beginning(*wanted)
        limited = await poll(consumer, wanted, 5.0, 300)
        assert sum(len(batch.records) for batch in limited.values()) in range(300, 500), "whole record batches of 200"
    finally:
        await consumer.stop()
