"""Kafka records reach Faust as one event per partition and poll, not as one event per record.

Stock Faust starts four asyncio tasks for every record. Here `BatchConsumer` hands the agent a `Batch`: whole Kafka record
batches, parsed by aiokafka's C code and passed on as they are ("light" records: no `ConsumerRecord` is built per record).

Where reading goes on is decided by the stamp in the state (`Positions`), never by the group's committed offsets: those are
written for display only, and name what is durable.

Private names of aiokafka 0.14 used here (`agents/publishing.py` and `collector/delivery.py` have theirs):
`AIOKafkaConsumer._fetcher / _fetch_max_wait_ms`, `Fetcher._records / _subscriptions / _wait_consume_future / _create_fetch_waiter / _notify /
_closed`, `FetchResult._partition_records / _topic_partition / _assignment / _update_position / check_assignment`,
`PartitionRecords._records / _tp / _check_crcs / next_fetch_offset`, `SubscriptionState.reassignment_in_progress`.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple, Protocol, cast

import aiokafka
import faust
import uvloop
from aiokafka import TopicPartition
from aiokafka.consumer.fetcher import Fetcher, FetchResult
from aiokafka.errors import ConsumerStoppedError, CorruptRecordException, KafkaError
from faust.transport.drivers import aiokafka as driver
from faust.types import TP, ConsumerMessage

from streams.flow import Record, Unreadable

log = logging.getLogger(__name__)

SUPPORTED_AIOKAFKA = "0.14."

FETCH_WAIT_MS = 100
"""How long a broker may hold back an answer when it has nothing (Faust: 1,500). aiokafka has one request per broker under way,
so a partition that was just emptied waits for the answer about the empty ones: short waits keep a backlog flowing."""


class UnsupportedClientError(RuntimeError):
    """The installed aiokafka is not the one this code was written against."""


def check_client(version: str = aiokafka.__version__) -> None:
    """Raise unless the installed aiokafka is the pinned one and its C extension is loaded (25 times slower without)."""
    if not version.startswith(SUPPORTED_AIOKAFKA):
        raise UnsupportedClientError(
            f"aiokafka {version} is installed, but the engine uses private names of {SUPPORTED_AIOKAFKA}x; install the pinned version (requirements.lock)"
        )
    from aiokafka.record.default_records import DefaultRecordBatch

    if "_crecords" not in DefaultRecordBatch.__module__:
        raise UnsupportedClientError("aiokafka's C extension (aiokafka.record._crecords) is not loaded; install its wheel and unset AIOKAFKA_NO_EXTENSIONS")


class Batch(NamedTuple):
    """What one poll brought for one partition: all offsets from `start` to before `next`."""

    records: Sequence[Record]
    start: int
    next: int
    end: int
    """The end of the partition's log when this was fetched."""


class Positions(Protocol):
    """What the consumer asks the state: where to go on, and what is durable."""

    def position(self, topic: str, partition: int) -> int | None:
        """The next offset to read; None for a partition that is not held."""

    def durable(self, topic: str, partition: int) -> int | None:
        """The last offset whose effect is durable; None if there is none."""


def take_batch(found: Any, limit: int) -> Batch | None:
    """Take whole record batches, at least `limit` records if there are so many, from an aiokafka `FetchResult`."""
    if not found.has_more() or not found.check_assignment(found._topic_partition):
        return None
    parsed = found._partition_records
    compressed = parsed._records
    start = parsed.next_fetch_offset
    records: list[Record] = []
    while len(records) < limit and compressed.has_next():
        kafka_batch = compressed.next_batch()
        if parsed._check_crcs and not kafka_batch.validate_crc():
            raise CorruptRecordException(f"Invalid CRC - {parsed._tp}")
        if not kafka_batch.is_control_batch:
            try:
                fresh = list(kafka_batch)
            except UnicodeDecodeError:
                fresh = _unreadable(kafka_batch)
            if fresh and fresh[0].offset < parsed.next_fetch_offset:
                fresh = [record for record in fresh if record.offset >= parsed.next_fetch_offset]
            records += fresh
        parsed.next_fetch_offset = max(parsed.next_fetch_offset, kafka_batch.next_offset)
    found._update_position()
    state = found._assignment.state_value(found._topic_partition)
    if not compressed.has_next():
        found._partition_records = None
    reached: int = parsed.next_fetch_offset
    return Batch(records, start, reached, max(state.highwater or 0, reached)) if reached > start else None


def _unreadable(kafka_batch: Any) -> list[Record]:
    """The records of a batch in which the name of a header is no UTF-8: aiokafka gives nothing of it. Each will be counted as failed; what it says stays in
    the log."""
    return [Unreadable(offset, kafka_batch.max_timestamp) for offset in range(kafka_batch.base_offset, kafka_batch.next_offset)]


def take_batches(fetcher: Fetcher, wanted: Collection[TopicPartition], limit: int, first: str | None = None) -> dict[TopicPartition, Batch]:
    """Take what is already fetched for the wanted partitions, about `limit` records altogether, topic `first` before the others."""
    taken: dict[TopicPartition, Batch] = {}
    fetched = fetcher._records
    order = list(fetched) if first is None else sorted(fetched, key=lambda partition: partition.topic != first)
    for partition in order:
        if partition not in wanted:
            if not fetcher._subscriptions.is_assigned(partition):
                del fetched[partition]
            continue
        found = fetched[partition]
        if type(found) is not FetchResult:  # an error of the broker, to be raised once what came before it is handed over
            if taken:
                break
            del fetched[partition]
            fetcher._notify(fetcher._wait_consume_future)
            found.check_raise()
            continue
        batch = take_batch(found, limit)
        if not found.has_more():
            del fetched[partition]
            fetcher._notify(fetcher._wait_consume_future)
        if batch is not None:
            taken[partition] = batch
            limit -= len(batch.records)
            if limit <= 0:
                break
    return taken


async def poll(consumer: Any, wanted: Collection[TopicPartition], timeout: float, limit: int, first: str | None = None) -> dict[TopicPartition, Batch]:  # noqa: ASYNC109
    """As `AIOKafkaConsumer.getmany`, in light records; empty when nothing came within `timeout` seconds."""
    fetcher = consumer._fetcher
    subscriptions = fetcher._subscriptions
    deadline = time.monotonic() + timeout
    with subscriptions.fetch_context():
        while True:
            if fetcher._closed:
                raise ConsumerStoppedError
            if subscriptions.reassignment_in_progress:
                await subscriptions.wait_for_assignment()
            taken = take_batches(fetcher, wanted, limit, first)
            remaining = deadline - time.monotonic()
            if taken or remaining <= 0:
                return taken
            waiter = fetcher._create_fetch_waiter()
            await asyncio.wait([waiter], timeout=remaining)
            if not waiter.done():
                waiter.cancel()
                return {}
            waiter.result()  # an authorisation error of the group, if any


class BatchThread(driver.AIOKafkaConsumerThread):
    """Faust's consumer thread, fetching batches."""

    consumer: "BatchConsumer"

    def _create_worker_consumer(self, transport: Any) -> Any:
        consumer = super()._create_worker_consumer(transport)
        consumer._fetch_max_wait_ms = FETCH_WAIT_MS
        return consumer

    async def _fetch_records(  # type: ignore[override]
        self,
        consumer: Any,
        active_partitions: set[TP],
        timeout: float | None = None,  # noqa: ASYNC109
        max_records: int | None = None,
    ) -> Mapping[TopicPartition, Batch]:
        if not self.consumer.flow_active:
            return {}
        return await poll(consumer, active_partitions, timeout or 0.0, max_records or 500, self.consumer.transport.first_topic)

    async def on_thread_stop(self) -> None:
        """aiokafka cancels the fetch that waits for a broker that is away, and is then surprised that it was cancelled."""
        with suppress(asyncio.CancelledError):
            await super().on_thread_stop()

    async def _commit(self, offsets: Mapping[TP, int]) -> bool:
        """Commit for display; the group is rebalancing or the broker away often enough, and nothing depends on it."""
        try:
            assigned = self.assignment()
            await self._ensure_consumer().commit({TopicPartition(*partition): offset for partition, offset in offsets.items() if partition in assigned})
        except KafkaError as error:
            log.debug("offsets not committed (for display only): %r", error)
            return False
        return True


class BatchConsumer(driver.Consumer):
    """Hands the agents one message per partition and poll; its value is a `Batch`."""

    transport: "BatchTransport"

    def _new_consumer_thread(self) -> BatchThread:
        thread = BatchThread(self, loop=self.loop, thread_loop=uvloop.new_event_loop(), beacon=self.beacon)
        thread._close_thread_loop_on_stop = True
        return thread

    async def getmany(self, timeout: float) -> AsyncIterator[tuple[TP, ConsumerMessage]]:  # noqa: ASYNC109
        generation = self.app.consumer_generation_id
        fetched, _ = await self._wait_next_records(timeout)
        batches = cast("Mapping[TP, Batch]", fetched or {})
        for tp, batch in batches.items():
            if self.should_stop or not self.flow_active:  # what is left is read again: `perform_seek` runs before the flow goes on
                return
            value = cast("bytes", batch)  # opaque to Faust
            yield tp, ConsumerMessage(tp.topic, tp.partition, batch.next - 1, 0.0, 0, None, None, value, None, 0, 0, tp, generation_id=generation)

    async def perform_seek(self) -> None:
        """Go to where the state is; a batch fetched before is recognised by its start."""
        held = ((partition, self.transport.positions.position(*partition)) for partition in self.assignment())
        await self.seek_wait({partition: position for partition, position in held if position is not None})

    async def _drain_messages(self, fetcher: Any) -> None:
        """Hand over batches until stopped; Faust's own filter by offset is not needed, the state ignores what it knows."""
        try:
            while not (self.should_stop or fetcher.should_stop):
                async for _, message in self.getmany(timeout=1.0):
                    await self.callback(message)
        except (ConsumerStoppedError, asyncio.CancelledError):
            if not self.app.should_stop:
                raise

    def _new_offset(self, tp: TP) -> int | None:
        self._acked[tp].clear()
        self._acked_index[tp].clear()
        durable = self.transport.positions.durable(*tp)
        return None if durable is None else durable + 1

    async def _add_gap(self, tp: TP, offset_from: int, offset_to: int) -> None:
        """A batch spans many offsets; Faust would note each as missing."""

    def on_buffer_full(self, tp: TP) -> None:
        """A full buffer makes `_drain_messages` wait; Faust's way, to leave the partition out, sleeps a second when all are full."""

    def verify_event_path(self, now: float, tp: TP) -> None:
        """Left to `agents/watchdog.py`, which knows the true lag."""


class BatchTransport(driver.Transport):
    """Kafka transport whose consumer delivers batches and starts where `positions` says."""

    Consumer = BatchConsumer
    positions: Positions
    first_topic: str | None = None


class AsFetched(faust.Schema[Any, Any]):
    """Passes the batch through: decoding belongs to the state."""

    def loads_key(self, app: Any, message: Any, *, loads: Any = None, serializer: Any = None) -> Any:  # noqa: ARG002
        return message.key

    def loads_value(self, app: Any, message: Any, *, loads: Any = None, serializer: Any = None) -> Any:  # noqa: ARG002
        return message.value


def sliced(records: Sequence[Record], size: int) -> Iterable[Sequence[Record]]:
    """The records in pieces of at most `size`, so that the event loop gets its turn in between."""
    return (records[i : i + size] for i in range(0, len(records), size))
