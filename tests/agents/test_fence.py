"""The fenced writer on a real broker: one record batch per flush, and an older owner locked out for good."""

import asyncio
import os
import struct
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.protocol.fetch import FetchRequest

from agents.publishing import FencedError, FencedWriter, FlushTooLargeError, Identity, Publisher
from agents.state_log import read_rows
from agents.tables import OWNER_KEY
from streams.flow import Message
from tests.agents.conftest import Cluster

pytestmark = pytest.mark.kafka
BARRIER = (OWNER_KEY, b"test")
HEADER = struct.Struct(">qiibIhiqqqhii")
"""Record batch v2: offset, length, leader epoch, magic, crc, attributes, last offset delta, first and last time, producer id, epoch, sequence, count."""


async def new_writer(cluster: Cluster) -> FencedWriter:
    writer = FencedWriter(cluster.connection, cluster.settings.topic("state"), cluster.settings.app_id, timeout=15.0)
    await writer.start()
    return writer


async def batch_headers(cluster: Cluster, topic: str, partition: int) -> list[tuple[Any, ...]]:
    """The headers of all record batches of a partition as they are on the broker."""
    consumer = AIOKafkaConsumer(**cluster.connection)
    await consumer.start()
    try:
        await consumer.end_offsets([tp := TopicPartition(topic, partition)])
        request = FetchRequest(100, 1, 50 << 20, 0, [(topic, [(partition, 0, 50 << 20)])])
        response = await consumer._client.send(consumer._client.cluster.leader_for_partition(tp), request)
        data = bytes(response.topics[0][1][0][-1])
    finally:
        await consumer.stop()
    headers, at = [], 0
    while at < len(data):
        headers.append(HEADER.unpack_from(data, at))
        at += 12 + headers[-1][1]
    return headers


async def test_a_flush_is_one_record_batch_under_the_partitions_own_identity(cluster: Cluster) -> None:
    await cluster.create("state")
    writer = await new_writer(cluster)
    identities = [await writer.acquire(partition, BARRIER) for partition in (0, 1)]
    rows = [(b"key %d" % n, b"%d" % n * 20) for n in range(5000)]
    await asyncio.gather(writer.write(0, [*rows, (b"@", b"stamp")]), writer.write(1, [*rows[:7], (b"@", b"stamp")]))
    await writer.write(0, [(b"key 1", None), (b"@", b"stamp")])
    await writer.stop()
    assert identities[0].producer_id != identities[1].producer_id
    topic = cluster.settings.topic("state")
    for partition, counts in ((0, [1, 5001, 2]), (1, [1, 8])):
        headers = await batch_headers(cluster, topic, partition)
        assert [header[-1] for header in headers] == counts, "one record batch per flush"
        sequence = 0
        for base, _, _, magic, _, attributes, _, _, _, producer_id, epoch, first_sequence, count in headers:
            assert (magic, base, first_sequence) == (2, sequence, sequence)
            assert Identity(producer_id, epoch) == identities[partition]
            assert attributes & 0b0111 == 4, "zstd"
            assert not attributes & 0b11_0000, "neither transactional nor control"
            sequence += count
    consumer = AIOKafkaConsumer(topic, **cluster.connection, auto_offset_reset="earliest")
    await consumer.start()
    last = [record async for record in _until(consumer, 5001 + 3 + 9)]
    await consumer.stop()
    assert {record.partition: record.key for record in last} == {0: b"@", 1: b"@"}, "the stamp is last"


async def _until(consumer: Any, count: int) -> Any:
    for _ in range(count):
        yield await asyncio.wait_for(consumer.getone(), 10)


async def test_a_newer_owner_locks_the_older_one_out(cluster: Cluster) -> None:
    await cluster.create("state")
    old, new = await new_writer(cluster), await new_writer(cluster)
    before = await old.acquire(0, BARRIER)
    await old.acquire(1, BARRIER)
    await old.write(0, [(b"k", b"old")])
    after = await new.acquire(0, BARRIER)
    assert after == Identity(before.producer_id, before.epoch + 1)
    for _ in range(2):
        with pytest.raises(FencedError, match=r"partition 0 (was taken by another worker|is not owned)"):
            await old.write(0, [(b"k", b"zombie")])
    await old.write(1, [(b"k", b"still mine")])
    await new.write(0, [(b"k", b"new")])
    with pytest.raises(FencedError):
        await old.renew(0, BARRIER)
    await new.write(0, [(b"k", b"newer")])
    rows = await cluster.rows()
    assert rows[0][b"k"] == b"newer"
    assert rows[1][b"k"] == b"still mine"
    await old.acquire(0, BARRIER)
    await old.write(0, [(b"k", b"taken back")])
    with pytest.raises(FencedError):
        await new.write(0, [(b"k", b"zombie")])
    await asyncio.gather(old.stop(), new.stop())


async def test_renewal_takes_only_the_very_next_epoch(cluster: Cluster) -> None:
    await cluster.create("state")
    owner, zombie = await new_writer(cluster), await new_writer(cluster)
    first = await zombie.acquire(0, BARRIER)
    await zombie.renew(0, BARRIER)
    assert zombie.identity(0) == Identity(first.producer_id, first.epoch + 1)
    await zombie.write(0, [(b"k", b"1")])
    await owner.acquire(0, BARRIER)
    await owner.write(0, [(b"k", b"2")])
    with pytest.raises(FencedError, match="was taken by another worker"):
        await zombie.renew(0, BARRIER)
    with pytest.raises(FencedError, match="is not owned"):
        await zombie.write(0, [(b"k", b"stale")])
    assert (await cluster.rows())[0][b"k"] == b"2"
    await asyncio.gather(owner.stop(), zombie.stop())


async def test_a_flush_that_does_not_fit_is_refused_before_it_is_sent(cluster: Cluster) -> None:
    await cluster.create("state")
    writer = await new_writer(cluster)
    await writer.acquire(0, BARRIER)
    with pytest.raises(FlushTooLargeError):
        await writer.write(0, ((b"%d" % n, b"x" * 1000) for n in range(9000)))
    await writer.write(0, [(b"k", b"the sequence is not broken")])
    await writer.stop()
    assert len((await cluster.rows())[0]) == 2


async def test_the_reader_keeps_the_last_value_and_forgets_deleted_rows(cluster: Cluster) -> None:
    await cluster.create("state")
    writer = await new_writer(cluster)
    await asyncio.gather(*(writer.acquire(partition, BARRIER) for partition in (0, 1)))
    for value in range(6):
        await writer.write(0, [(b"row %d" % n, b"%d" % value) for n in range(6000)])
    await writer.write(0, [(b"row %d" % n, None) for n in range(0, 6000, 2)])
    await writer.write(0, [(b"row 0", b"again")])
    await writer.stop()
    seen: list[int] = []
    rows = await read_rows(cluster.connection, cluster.settings.topic("state"), [0, 1], on_progress=seen.append)
    assert rows[1] == {OWNER_KEY: b"test"}
    assert rows[0] == {OWNER_KEY: b"test", b"row 0": b"again"} | {b"row %d" % n: b"5" for n in range(1, 6000, 2)}
    assert sum(seen) == 1 + 6 * 6000 + 3000 + 1 + 1
    assert max(seen) <= 6000 + 5000, "polls are bounded"


async def test_the_reader_passes_what_compaction_left(cluster: Cluster) -> None:
    eager = {"segment.ms": "100", "min.cleanable.dirty.ratio": "0.01", "delete.retention.ms": "0", "max.compaction.lag.ms": "100"}
    await cluster.create("state", configs=eager)
    writer = await new_writer(cluster)
    await writer.acquire(0, BARRIER)
    for value in range(20):
        await writer.write(0, [(b"row %d" % n, b"%d" % value) for n in range(100)])
    await writer.write(0, [(b"row %d" % n, None) for n in range(50)])
    await asyncio.sleep(0.2)
    await writer.write(0, [(b"last", b"!")])
    topic, expected = cluster.settings.topic("state"), {OWNER_KEY: b"test", b"last": b"!"} | {b"row %d" % n: b"19" for n in range(50, 100)}
    async with asyncio.timeout(40):
        while True:
            read: list[int] = []
            rows = await read_rows(cluster.connection, topic, [0], on_progress=read.append)
            assert rows[0] == expected
            if sum(read) < 1000:
                break
            await asyncio.sleep(0.5)
    await writer.stop()


async def test_messages_go_where_kafkas_partitioner_sends_them(cluster: Cluster) -> None:
    await cluster.create("rollups", "failed")
    failures: list[BaseException] = []
    publisher = Publisher(cluster.connection, cluster.prefix, on_failure=failures.append)
    await publisher.start()
    keyed = [Message("rollups", b"site%d" % (n % 10), b"%d" % n, (("seq", b"%d" % n),)) for n in range(1000)]
    await publisher.send(keyed)
    await publisher.send_and_wait([Message("failed", None, b"x" * 600_000, partition=1), Message("failed", b"k", b"y", partition=0)])
    await publisher.flush(10.0)
    stock = publisher._producer
    for n in range(10):
        await stock.send_and_wait(cluster.prefix + "rollups", b"stock", key=b"site%d" % n)
    await publisher.stop()
    assert failures == []
    assert publisher.published == {"rollups": 1000, "failed": 2}
    consumer = AIOKafkaConsumer(cluster.prefix + "rollups", cluster.prefix + "failed", **cluster.connection, auto_offset_reset="earliest")
    await consumer.start()
    records = [record async for record in _until(consumer, 1012)]
    await consumer.stop()
    by_key: dict[bytes, set[int]] = {}
    for record in records:
        if record.topic.endswith("rollups"):
            by_key.setdefault(record.key, set()).add(record.partition)
    assert len(by_key) == 10
    assert all(len(partitions) == 1 for partitions in by_key.values()), "stock producer and publisher agree"
    assert sorted((r.partition, len(r.value)) for r in records if r.topic.endswith("failed")) == [(0, 1), (1, 600_000)]
    assert next(r for r in records if r.value == b"7").headers == (("seq", b"7"),)


async def test_a_message_that_is_refused_is_reported(cluster: Cluster) -> None:
    await cluster.create("rollups", configs={"max.message.bytes": "1000"})
    failures: list[BaseException] = []
    publisher = Publisher(cluster.connection, cluster.prefix, on_failure=failures.append)
    await publisher.start()
    await publisher.send([Message("rollups", b"k", os.urandom(5000), partition=0)])
    await publisher.flush(10.0)
    await publisher.stop()
    assert [type(error).__name__ for error in failures] == ["MessageSizeTooLargeError"]
