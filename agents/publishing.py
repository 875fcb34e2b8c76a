"""Writing to Kafka: the fenced, atomic writer of state rows, and the plain publisher of messages.

`FencedWriter` writes the rows of one flush as one record batch, which a broker appends whole or not at all, under a producer
id and epoch of the partition's own. Taking a partition raises the epoch and writes a barrier under it; from its
acknowledgement on the leader itself refuses every older owner. No transactions, no markers, one connection for all partitions.

Private names of aiokafka 0.14 used here (`agents/batches.py` and `collector/delivery.py` have theirs):
`AIOKafkaProducer._txn_manager / _sender / _message_accumulator`, `Sender._txn_manager`,
`MessageAccumulator._txn_manager / _batches / _pending_batches`, `TransactionManager._sequence_numbers`, `aiokafka.protocol.transaction`,
`aiokafka.client.ConnectionGroup / CoordinationType`. The accumulator asks `sequence_number(tp)` right before `producer_id` and
`producer_epoch`; a test parses the produced batch header.
"""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka import errors as kafka
from aiokafka.client import ConnectionGroup, CoordinationType
from aiokafka.producer.transaction_manager import TransactionManager
from aiokafka.protocol.transaction import InitProducerIdRequest

from streams.flow import Message
from streams.topics import partition_of

log = logging.getLogger(__name__)

Row = tuple[bytes, bytes | None]
Connection = Mapping[str, Any]
"""The keyword arguments every aiokafka client takes: bootstrap_servers, security_protocol, ssl_context, sasl_*."""

MAX_FLUSH_BYTES = 8 << 20
"""Of one flush, uncompressed; the state topic takes as much compressed (`max.message.bytes`)."""
MAX_MESSAGE_BATCH_BYTES = 512 << 10
REQUEST_TIMEOUT_MS = 30_000
MAX_CACHED_KEYS = 20_000


class FencedError(Exception):
    """A newer owner has taken the partition: nothing this process still holds of it may be written."""


class FlushFailedError(Exception):
    """A flush was not acknowledged; whether it was written is unknown, so the process must read the state again."""


class FlushTooLargeError(FlushFailedError):
    """The rows of one flush do not fit one record batch."""


class Identity(NamedTuple):
    """What Kafka's leader compares: a batch with a lower epoch of the same producer id is refused."""

    producer_id: int
    epoch: int


class _IdentityPerPartition(TransactionManager):  # type: ignore[misc]
    """aiokafka's idempotence state, with one producer id and epoch per partition instead of one per producer."""

    def __init__(self) -> None:
        super().__init__(None, 2**31 - 1)
        self.identities: dict[TopicPartition, Identity] = {}
        self._asked: TopicPartition | None = None

    def has_pid(self) -> bool:
        return True

    def sequence_number(self, tp: TopicPartition) -> int:
        self._asked = tp
        return int(super().sequence_number(tp))

    def start_sequence(self, tp: TopicPartition, identity: Identity) -> None:
        self.identities[tp] = identity
        self._sequence_numbers[tp] = 0

    @property
    def producer_id(self) -> int:
        return self.identities[self._asked].producer_id

    @property
    def producer_epoch(self) -> int:
        return self.identities[self._asked].epoch


def _producer(connection: Connection, batch_bytes: int) -> AIOKafkaProducer:
    """Idempotent, and acknowledged by all in-sync copies."""
    return AIOKafkaProducer(
        **connection,
        acks="all",
        enable_idempotence=True,
        compression_type="zstd",
        max_batch_size=batch_bytes,
        request_timeout_ms=REQUEST_TIMEOUT_MS,
    )


class FencedWriter:
    """Writes flushes of the partitions this process owns to one topic.

    With `fence=False` (the embedded broker gives every producer a new id and so cannot fence) everything else is the same.
    """

    def __init__(self, connection: Connection, topic: str, application: str, *, fence: bool = True, timeout: float = 60.0) -> None:
        self.topic = topic
        self.fence = fence
        self.timeout = timeout
        self._application = application
        self._released: set[int] = set()
        self._identities = _IdentityPerPartition()
        self._producer = _producer(connection, MAX_FLUSH_BYTES)
        for part in (self._producer, self._producer._sender, self._producer._message_accumulator):
            part._txn_manager = self._identities

    async def start(self) -> None:
        await self._producer.start()

    async def stop(self) -> None:
        await self._producer.stop()

    def identity(self, partition: int) -> Identity | None:
        return self._identities.identities.get(TopicPartition(self.topic, partition))

    async def partition_count(self) -> int:
        return len(await self._producer.partitions_for(self.topic))

    async def acquire(self, partition: int, barrier: Row) -> Identity:
        """Raise the epoch and write the barrier: on return every older owner of the partition is locked out."""
        try:
            async with asyncio.timeout(self.timeout):
                identity = await self._new_identity(f"{self._application}-{partition}")
                tp = TopicPartition(self.topic, partition)
                await self._settle(tp)
                self._identities.start_sequence(tp, identity)
                await self._send(tp, [barrier])
        except TimeoutError as error:
            raise FlushFailedError(f"partition {partition} could not be taken over within {self.timeout:g} s") from error
        self._released.discard(partition)
        return identity

    async def renew(self, partition: int, barrier: Row) -> None:
        """Keep the identity from expiring at the coordinator (7 days) and at the leader (1 day without writes).

        A zombie that woke up may come here too: only the same id and exactly the next epoch prove that nobody has
        taken the partition in between.
        """
        before = self.identity(partition)
        if before is None or partition in self._released:
            raise FencedError(f"partition {partition} is not owned")
        after = await self.acquire(partition, barrier)
        if after != Identity(before.producer_id, before.epoch + 1):
            self.release(partition)
            raise FencedError(f"partition {partition} was taken by another worker: {before} became {after}")

    def release(self, partition: int) -> None:
        """Give the partition up. The identity is kept: a batch still queued must fail at the broker, not in aiokafka's sender."""
        self._released.add(partition)

    async def write(self, partition: int, rows: Iterable[Row]) -> int:
        """Write the rows as one record batch and wait until it is durable; returns its size uncompressed."""
        tp = TopicPartition(self.topic, partition)
        if partition in self._released or tp not in self._identities.identities:
            raise FencedError(f"partition {partition} is not owned")
        try:
            async with asyncio.timeout(self.timeout):
                return await self._send(tp, rows)
        except TimeoutError as error:
            raise FlushFailedError(f"a flush of partition {partition} was not acknowledged within {self.timeout:g} s") from error

    async def _send(self, tp: TopicPartition, rows: Iterable[Row]) -> int:
        batch = self._producer.create_batch()
        append = batch.append
        for key, value in rows:
            if append(key=key, value=value, timestamp=None) is None:
                raise FlushTooLargeError(f"a flush of partition {tp.partition} exceeds {MAX_FLUSH_BYTES} bytes in one record batch")
        size: int = batch.size()
        batch.close()
        try:
            await (await self._producer.send_batch(batch, tp.topic, partition=tp.partition))
        except kafka.ProducerFenced as error:
            self.release(tp.partition)
            raise FencedError(f"partition {tp.partition} was taken by another worker") from error
        except kafka.KafkaError as error:
            raise FlushFailedError(f"a flush of partition {tp.partition} failed: {error!r}") from error
        return size

    async def _settle(self, tp: TopicPartition) -> None:
        """Wait for what is queued or in flight: aiokafka stamps the identity when it sends, and it must be the old one."""
        queue = self._producer._message_accumulator
        unsettled = [batch.future for batch in queue._batches.get(tp, ())]
        unsettled += [batch.future for batch in queue._pending_batches if batch.tp == tp]
        if unsettled:
            await asyncio.wait(unsettled)

    async def _new_identity(self, transactional_id: str) -> Identity:
        client = self._producer.client
        while True:
            try:
                coordinator = await client.coordinator_lookup(CoordinationType.TRANSACTION, transactional_id)
                if await client.ready(coordinator, group=ConnectionGroup.COORDINATION):
                    request = InitProducerIdRequest(transactional_id, 60_000)
                    answer = await client.send(coordinator, request, group=ConnectionGroup.COORDINATION)
                    error = kafka.for_code(answer.error_code)
                    if error is kafka.NoError:
                        return Identity(answer.producer_id, answer.producer_epoch)
                    raise error()
            except (
                kafka.CoordinatorLoadInProgressError,
                kafka.CoordinatorNotAvailableError,
                kafka.ConcurrentTransactions,
                kafka.KafkaConnectionError,
                kafka.NodeNotReadyError,
                kafka.NotCoordinatorError,
                kafka.RequestTimedOutError,
            ):
                await asyncio.sleep(0.1)
            except kafka.KafkaError as error:
                raise FlushFailedError(f"no producer id for {transactional_id}: {error!r} (Write on the transactional id is needed)") from error


class Publisher:
    """Publishes messages, many at a time: one record batch per partition (six times cheaper than one `send` per message)."""

    def __init__(self, connection: Connection, prefix: str, *, on_failure: Callable[[BaseException], None], timeout: float = 60.0) -> None:
        self.timeout = timeout
        self.published: dict[str, int] = defaultdict(int)
        self._prefix = prefix
        self._on_failure = on_failure
        self._partition_of_key: dict[tuple[str, bytes], int] = {}
        self._keyless = 0
        self._unacknowledged: set[asyncio.Future[Any]] = set()
        self._producer = _producer(connection, MAX_MESSAGE_BATCH_BYTES)

    async def start(self) -> None:
        await self._producer.start()

    async def stop(self) -> None:
        await self._producer.stop()

    async def send_and_wait(self, messages: Iterable[Message]) -> None:
        """Publish and wait until everything is acknowledged."""
        try:
            async with asyncio.timeout(self.timeout):
                for sent in [await self._send(*batch) for batch in await self._batches(messages)]:
                    await sent
        except (kafka.KafkaError, TimeoutError) as error:
            raise FlushFailedError(f"messages were not acknowledged: {error!r}") from error

    async def send(self, messages: Iterable[Message]) -> None:
        """Hand the messages to the sender; a later failure is reported to `on_failure`."""
        try:
            async with asyncio.timeout(self.timeout):
                for batch in await self._batches(messages):
                    sent = await self._send(*batch)
                    self._unacknowledged.add(sent)
                    sent.add_done_callback(self._acknowledged)
        except (kafka.KafkaError, TimeoutError) as error:
            raise FlushFailedError(f"messages could not be sent: {error!r}") from error

    async def flush(self, seconds: float) -> None:
        """Wait until everything handed over is acknowledged, at most `seconds`."""
        if self._unacknowledged:
            await asyncio.wait(set(self._unacknowledged), timeout=seconds)

    def _acknowledged(self, sent: "asyncio.Future[Any]") -> None:
        self._unacknowledged.discard(sent)
        if not sent.cancelled() and (error := sent.exception()) is not None:
            self._on_failure(error)

    async def _send(self, tp: TopicPartition, batch: Any) -> "asyncio.Future[Any]":
        while True:
            try:
                return await self._producer.send_batch(batch, tp.topic, partition=tp.partition)  # type: ignore[no-any-return]
            except kafka.KafkaTimeoutError:  # the broker is away and an earlier batch waits; `timeout` bounds it all
                await asyncio.sleep(0.1)

    async def _batches(self, messages: Iterable[Message]) -> list[tuple[TopicPartition, Any]]:
        open_batches: dict[TopicPartition, Any] = {}
        batches: list[tuple[TopicPartition, Any]] = []
        for topic, key, value, headers, partition in messages:
            name = self._prefix + topic
            tp = TopicPartition(name, await self._partition(name, key) if partition is None else partition)
            batch = open_batches.get(tp)
            fields = {"timestamp": None, "key": key, "value": value, "headers": list(headers)}
            if batch is None or batch.append(**fields) is None:
                batch = open_batches[tp] = self._producer.create_batch()
                batch.append(**fields)  # the first record is accepted whatever its size
                batches.append((tp, batch))
            self.published[topic] += 1
        for _, batch in batches:
            batch.close()
        return batches

    async def _partition(self, topic: str, key: bytes | None) -> int:
        """As Kafka's default partitioner; the hash is remembered, because aiokafka computes it in Python."""
        if key is None:
            self._keyless += 1
            return self._keyless % len(await self._producer.partitions_for(topic))
        known = self._partition_of_key.get((topic, key))
        if known is None:
            count = len(await self._producer.partitions_for(topic))
            known = partition_of(key, count)
            if len(self._partition_of_key) >= MAX_CACHED_KEYS:
                self._partition_of_key.clear()
            self._partition_of_key[topic, key] = known
        return known
