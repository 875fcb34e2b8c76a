"""The way of accepted events to Kafka, through the spool when Kafka is away. `take` returns only when all in-sync copies have the messages, or the disk.

Requests that wait at the same time share one flush: one record batch per partition. Whatever goes wrong, or takes longer than `ACK_SECONDS`, leaves
it open what Kafka has: then the producer is thrown away, what it did not confirm goes to the spool, and a new producer sends it once more. So a
message may arrive twice, with the same id, and never not at all. While the spool holds anything, new messages go to its end: order stays.

Private names of aiokafka 0.14 used here (`agents/batches.py` and `agents/publishing.py` have theirs): `AIOKafkaProducer._sender / _closed`. Without them
one whose broker hangs cannot be stopped.
"""

import asyncio
import inspect
import logging
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, Final, NamedTuple, TypeVar

from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError, KafkaTimeoutError, UnknownTopicOrPartitionError

from collector.limits import EVENT_ROOM
from collector.spool import Spool, SpoolFullError
from streams.flow import Message
from streams.topics import EVENT_TOPICS, partition_of

log = logging.getLogger(__name__)
T = TypeVar("T")

TOPICS: Final = (*EVENT_TOPICS, "failed")
"""What the collector writes to."""
ACK_SECONDS: Final = 3.0
"""A broker that takes longer counts as away: the sender waits no longer than this, and a sync of the disk."""
DRAIN_SECONDS: Final = 15.0
"""For what the spool holds nobody waits; a slow broker is better than one that is sent everything again and again."""
CONNECT_SECONDS: Final = 5.0
RETRY_SECONDS: Final = 0.5
STOP_SECONDS: Final = 1.0
BATCH_BYTES: Final = 512 << 10
DRAIN_BYTES: Final = 2 << 20
KEYS_REMEMBERED: Final = 20_000
TROUBLE: Final = (KafkaError, TimeoutError, OSError)


class _Flush(NamedTuple):
    """Messages of one partition on their way in one record batch."""

    tp: TopicPartition
    batch: Any
    messages: list[Message]


class _Link:
    """A producer and what it knows of the topics; thrown away after the first trouble."""

    def __init__(self, connection: Mapping[str, Any], prefix: str) -> None:
        self._prefix = prefix
        self._partitions: dict[str, int] = {}
        self._known: dict[tuple[str, bytes], TopicPartition] = {}
        self._keyless = 0
        self._producer = AIOKafkaProducer(
            **connection, acks="all", enable_idempotence=True, compression_type="zstd", max_batch_size=BATCH_BYTES, request_timeout_ms=10_000,
            client_id="engagement-collector",
        )  # fmt: skip

    async def open(self) -> None:
        """Raises one of TROUBLE."""
        async with asyncio.timeout(CONNECT_SECONDS):
            await self._producer.start()
            for name in TOPICS:
                self._partitions[name] = len(await self._producer.partitions_for(self._prefix + name))
                if not self._partitions[name]:
                    raise UnknownTopicOrPartitionError(f"there is no topic {self._prefix + name}; run `engage topics create`")

    async def send(self, messages: Sequence[Message], seconds: float) -> list[Message]:
        """Send and wait for all copies; returns what was not confirmed in time, in order (all else was). Never raises for Kafka's trouble."""
        flushes = self._flushes(messages)
        sent: list[asyncio.Future[Any]] = []
        why: BaseException | None = None
        try:
            async with asyncio.timeout(seconds):
                for flush in flushes:
                    future = await self._producer.send_batch(flush.batch, flush.tp.topic, partition=flush.tp.partition)
                    future.add_done_callback(_retrieve)
                    sent.append(future)
                for future in sent:
                    await asyncio.shield(future)
        except TROUBLE as error:
            why = error
        if why is None:
            return []
        confirmed = {number for number, future in enumerate(sent) if future.done() and not future.cancelled() and future.exception() is None}
        log.warning("Kafka did not confirm %d of %d record batches: %s", len(flushes) - len(confirmed), len(flushes), _said(why))
        return [message for number, flush in enumerate(flushes) if number not in confirmed for message in flush.messages]

    def _flushes(self, messages: Sequence[Message]) -> list[_Flush]:
        open_flushes: dict[TopicPartition, _Flush] = {}
        flushes: list[_Flush] = []
        for message in messages:
            topic, key, value, headers, _ = message
            tp = self._place(topic, key)
            flush = open_flushes.get(tp)
            if flush is None or flush.batch.append(timestamp=None, key=key, value=value, headers=list(headers)) is None:
                flush = open_flushes[tp] = _Flush(tp, self._producer.create_batch(), [])
                flush.batch.append(timestamp=None, key=key, value=value, headers=list(headers))  # the first record is taken whatever its size
                flushes.append(flush)
            flush.messages.append(message)
        for flush in flushes:
            flush.batch.close()
        return flushes

    def _place(self, topic: str, key: bytes | None) -> TopicPartition:
        """As Kafka's default partitioner; remembered, because the hash is slow in Python."""
        if key is None:
            self._keyless += 1
            return TopicPartition(self._prefix + topic, self._keyless % self._partitions[topic])
        known = self._known.get((topic, key))
        if known is None:
            if len(self._known) >= KEYS_REMEMBERED:
                self._known.clear()
            known = self._known[topic, key] = TopicPartition(self._prefix + topic, partition_of(key, self._partitions[topic]))
        return known

    async def close(self) -> None:
        """Let go, whatever the broker does.

        Not by the producer's `stop`, which waits for all that is open, and not by failing that under the hands of its sender, which then stumbles over it
        when it puts it back. The sender ends, with the requests it has begun (aiokafka keeps no list of them); what they held is of no use to anybody.
        """
        begun = [task for task in asyncio.all_tasks() if _runs_for(task, self._producer._sender)]
        for task in begun:
            task.cancel()
        await asyncio.gather(*begun, return_exceptions=True)
        self._producer._closed = True
        with suppress(*TROUBLE):
            async with asyncio.timeout(STOP_SECONDS):
                await self._producer.client.close()


class Delivery:
    """Takes messages, and keeps the promise that they arrive. `delivered` counts by topic what Kafka has confirmed."""

    def __init__(self, connection: Mapping[str, Any], prefix: str, spool: Spool) -> None:
        self.spool = spool
        self.delivered: Counter[str] = Counter()
        self.spooled = 0
        """Messages that went to the spool since the start."""
        self.losses_of_kafka = 0
        """How often Kafka was given up for away."""
        self._connection = connection
        self._prefix = prefix
        self._link: _Link | None = None
        """The way that is open; None while everything goes to the spool."""
        self._away = asyncio.Event()
        self._away.set()
        self._waiting: list[tuple[Sequence[Message], asyncio.Future[None]]] = []
        self._wake = asyncio.Event()
        self._lock = asyncio.Lock()
        """Held while the spool is used; whoever finds it empty may open the way past it."""
        self._confirmed = 0
        """Number of the last row of the spool that Kafka has and that is still there; 0: none."""
        self._thread = ThreadPoolExecutor(1, "spool")
        self._tasks: list[asyncio.Task[None]] = []
        self._closing = False
        self._letting_go: set[asyncio.Task[None]] = set()

    @property
    def is_direct(self) -> bool:
        """Whether messages go to Kafka at once."""
        return self._link is not None

    @property
    def can_take(self) -> bool:
        """Whether the promise can be kept for a next event, however large."""
        return self.is_direct or self.spool.room >= EVENT_ROOM

    async def start(self) -> None:
        """Begin; whether Kafka is there is not waited for."""
        self._tasks = [asyncio.create_task(self._serve(), name="delivery"), asyncio.create_task(self._drain(), name="drain")]

    async def take(self, messages: Sequence[Message]) -> None:
        """Returns when the messages are safe. Raises SpoolFullError when they are not and cannot be."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((messages, future))
        self._wake.set()
        await future

    async def stop(self) -> None:
        """Finish what was taken; what Kafka does not confirm any more waits in the spool for the next start."""
        self._closing = True
        self._wake.set()
        serve, drain = self._tasks
        await serve
        drain.cancel()
        await asyncio.gather(drain, return_exceptions=True)
        self._let_go()
        if self._letting_go:
            await asyncio.wait(self._letting_go)
        await self._on_disk(self.spool.close)
        self._thread.shutdown()

    # --- what arrives ------------------------------------------------------------------------------------------------

    async def _serve(self) -> None:
        """One flush after the other; what arrives during one is the next."""
        while not (self._closing and not self._waiting):
            await self._wake.wait()
            self._wake.clear()
            waiting, self._waiting = self._waiting, []
            if waiting:
                try:
                    await self._make_safe([messages for messages, _ in waiting])
                except Exception as error:
                    if not isinstance(error, SpoolFullError):
                        log.exception("A flush failed")
                    for _, future in waiting:
                        if not future.done():
                            future.set_exception(SpoolFullError(_said(error)))
                else:
                    for _, future in waiting:
                        if not future.done():  # a sender that has gone away waits for nothing
                            future.set_result(None)

    async def _make_safe(self, groups: list[Sequence[Message]]) -> None:
        while True:
            if (link := self._link) is not None:
                messages = [message for group in groups for message in group]
                unsent = await link.send(messages, ACK_SECONDS)
                self._count(messages, unsent)
                if not unsent:
                    return
                groups = [unsent]
                self._let_go()
            async with self._lock:
                if self._link is None:
                    await self._on_disk(self.spool.append, groups)
                    self.spooled += sum(map(len, groups))
                    return

    def _count(self, messages: Sequence[Message], unsent: Sequence[Message]) -> None:
        self.delivered.update(message.topic for message in messages)
        if unsent:
            self.delivered.subtract(Counter(message.topic for message in unsent))

    # --- what waits on the disk --------------------------------------------------------------------------------------

    async def _drain(self) -> None:
        """While Kafka is away: look for it, send what the spool holds, and open the way."""
        said = ""
        while True:
            await self._away.wait()
            link = _Link(self._connection, self._prefix)
            try:
                await link.open()
                begun, events = time.monotonic(), self.spool.events
                await self._empty(link)
            except Exception as error:  # also a disk that refuses: look again, and say so
                if said != (said := _said(error)):
                    log.warning("Kafka is away, events go to the spool (%d there): %s", self.spool.events, said)
                self._close(link)
                await asyncio.sleep(RETRY_SECONDS)
            except BaseException:
                self._close(link)
                raise
            else:
                log.info("Kafka is there; %d events came out of the spool in %.1f s", events, time.monotonic() - begun)
                said = ""

    async def _empty(self, link: _Link) -> None:
        """Send the spool's content from its front; when there is none left, open the way. Raises one of TROUBLE."""
        size = 1
        while True:
            async with self._lock:
                if self._confirmed:  # first of all, so that a disk that refuses this lets nothing be sent again and again
                    await self._on_disk(self.spool.forget, self._confirmed)
                    self._confirmed = 0
                front = await self._on_disk(self.spool.front, size)
                if front is None:
                    self._link = link
                    self._away.clear()
                    return
            unsent = await link.send(front.messages, DRAIN_SECONDS)
            self._count(front.messages, unsent)
            if not unsent:
                self._confirmed = front.last
            else:
                if len(unsent) < len(front.messages):
                    async with self._lock:
                        await self._on_disk(self.spool.forget, front.last, unsent)
                raise KafkaTimeoutError(f"{len(unsent)} messages of the spool were not confirmed")
            size = min(DRAIN_BYTES, size * 64)

    def _let_go(self) -> None:
        """Kafka has left it open what it has: nothing more goes this way."""
        link, self._link = self._link, None
        if link is not None:
            self.losses_of_kafka += not self._closing
            self._close(link)
        self._away.set()

    def _close(self, link: _Link) -> None:
        """Beside: nobody waits for a broker that hangs."""
        task = asyncio.create_task(link.close())
        self._letting_go.add(task)
        task.add_done_callback(self._letting_go.discard)

    async def _on_disk(self, work: Callable[..., T], *arguments: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, *arguments)


def _runs_for(task: "asyncio.Task[Any]", owner: object) -> bool:
    """Whether a task is a method of that object."""
    coroutine: Any = task.get_coro()
    return inspect.getcoroutinelocals(coroutine).get("self") is owner


def _retrieve(future: "asyncio.Future[Any]") -> None:
    if not future.cancelled():
        future.exception()


def _said(error: BaseException) -> str:
    return str(error) or type(error).__name__
