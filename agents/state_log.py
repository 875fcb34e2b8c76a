"""Reading logs without a group: where they begin and end, and the rows of the state topic as they are now."""

import asyncio
import gc
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager

from aiokafka import AIOKafkaConsumer, TopicPartition

from agents.batches import poll
from agents.publishing import MAX_FLUSH_BYTES, Connection

READ_RECORDS = 5_000
"""Rows per poll while reading the state: bounds how long the event loop is held."""


@contextmanager
def loading_many_objects() -> Iterator[None]:
    """No garbage collection while millions of small objects are made (half the cost); afterwards they are left alone."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.freeze()


class LogOffsets:
    """Where logs begin and end, asked on a connection of its own."""

    def __init__(self, connection: Connection) -> None:
        self._consumer = AIOKafkaConsumer(**connection, enable_auto_commit=False, request_timeout_ms=10_000)

    async def start(self) -> None:
        await self._consumer.start()

    async def stop(self) -> None:
        await self._consumer.stop()

    async def beginnings(self, partitions: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        return dict(await self._consumer.beginning_offsets(partitions)) if partitions else {}

    async def ends(self, partitions: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        return dict(await self._consumer.end_offsets(partitions)) if partitions else {}


async def read_rows(
    connection: Connection, topic: str, partitions: Collection[int], *, on_progress: Callable[[int], None] = lambda _: None
) -> dict[int, dict[bytes, bytes]]:
    """The latest value of every key of the partitions, read up to the end that each log has now. Values stay bytes."""
    rows: dict[int, dict[bytes, bytes]] = {partition: {} for partition in partitions}
    consumer = AIOKafkaConsumer(
        **connection,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        max_partition_fetch_bytes=MAX_FLUSH_BYTES,
        fetch_max_bytes=8 * MAX_FLUSH_BYTES,
        fetch_max_wait_ms=100,
    )
    await consumer.start()
    try:
        wanted = [TopicPartition(topic, partition) for partition in partitions]
        consumer.assign(wanted)
        beginnings, ends = await consumer.beginning_offsets(wanted), await consumer.end_offsets(wanted)
        for tp in wanted:
            consumer.seek(tp, beginnings[tp])
        unread = {tp for tp in wanted if beginnings[tp] < ends[tp]}
        while unread:
            for tp, batch in (await poll(consumer, unread, timeout=0.5, limit=READ_RECORDS)).items():
                table = rows[tp.partition]
                for record in batch.records:
                    value = record.value
                    if value is None:
                        table.pop(record.key, None)  # type: ignore[arg-type]
                    else:
                        table[record.key] = value  # type: ignore[index]
                on_progress(len(batch.records))
                if batch.next >= ends[tp]:
                    unread.discard(tp)
                    consumer.pause(tp)
            await asyncio.sleep(0)
    finally:
        await consumer.stop()
    return rows
