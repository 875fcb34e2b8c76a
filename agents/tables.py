"""The atomic table: the state of every owned partition, written, taken over and read back.

State is a function of the log. One flush of a partition is one record batch on the state topic: all changed rows, and as its
last row the stamp, which names the source offsets applied. So a crash at any point leaves rows and stamp that agree, and the
next owner goes on right behind the stamp. `agents/publishing.py` has the fence that keeps an older owner from writing.
"""

import asyncio
import logging
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from agents.batches import Batch, sliced
from agents.exits import Exit
from agents.publishing import MAX_FLUSH_BYTES, Connection, FencedError, FencedWriter, FlushFailedError, Publisher, Row
from agents.state_log import LogOffsets, loading_many_objects, read_rows
from streams.flow import Record, State

log = logging.getLogger(__name__)

RESERVED = b"\x00"
"""Keys that begin so are the engine's own rows; a state never sees them and must not use them."""
OWNER_KEY = RESERVED + b"owner"
PARTITIONS_KEY = RESERVED + b"partitions"

SLICE_RECORDS, SLICE_BYTES = 1_000, 2 << 20
"""Records applied between two looks at the size of the next flush, and bytes of their values: what is told of themes becomes rows as large."""
MAX_CHANGED_ROWS = 40_000
MAX_CHANGED_BYTES = MAX_FLUSH_BYTES // 2
BACKLOG_RECORDS = 20_000
"""Further behind than this, flushes wait up to `BACKLOG_FLUSH_SECONDS`, so that rows changed many times are written once."""
BACKLOG_FLUSH_SECONDS = 3.0
HAND_OVER_SECONDS = 5.0
"""How long a partition that is being revoked may take to flush; then it is dropped, and its next owner replays the log."""


class Die(Protocol):
    """Ends the process; does not return."""

    def __call__(self, code: Exit, why: str, error: BaseException | None = None) -> None: ...


class RefusedError(Exception):
    """The state and the topics contradict each other; an operator must decide."""


class SupersededError(Exception):
    """Another rebalance came while partitions were being taken."""


@dataclass(slots=True, eq=False)
class Owned:
    """One partition of this worker: its state and how far it is read, applied and durable (by short topic name)."""

    partition: int
    state: State
    positions: dict[str, int]
    durable: dict[str, int]
    renewed: float
    held: bool = False
    """Batches are accepted; false between revocation and the proof that the partition is still ours."""
    ends: dict[str, int] = field(default_factory=dict)
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    """One flush in flight: snapshots must be written in the order in which they were taken."""
    flushed_at: float = 0.0
    bytes_per_row: float = 256.0
    flushes: int = 0

    def lag(self, topic: str) -> int:
        return max(0, self.ends.get(topic, 0) - self.positions.get(topic, 0))

    def is_full(self, share: float = 1.0) -> bool:
        """Whether the next flush reaches `share` of what one flush may hold."""
        changed = self.state.changed
        return changed > share * MAX_CHANGED_ROWS or changed * self.bytes_per_row > share * MAX_CHANGED_BYTES


@dataclass(slots=True)
class Counters:
    """What the engine counted since the process started; read at scrape."""

    applied: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    batches: int = 0
    refused_batches: int = 0
    flushes: int = 0
    flushed_rows: int = 0
    flushed_bytes: int = 0
    taken: int = 0
    kept: int = 0
    fenced: int = 0
    renewed: int = 0
    recoveries: int = 0
    recovered_rows: int = 0
    recovery_seconds: float = 0.0
    lost: dict[tuple[str, int], int] = field(default_factory=lambda: defaultdict(int))


def _slices(records: Sequence[Record]) -> Iterator[Sequence[Record]]:
    """The records in pieces that are bounded in number and size (by one record more)."""
    for some in sliced(records, SLICE_RECORDS):
        start = size = 0
        for place, record in enumerate(some, 1):
            size += len(record.value or b"")
            if size >= SLICE_BYTES:
                yield some[start:place]
                start, size = place, 0
        if start < len(some):
            yield some[start:] if start else some


class Partitions:
    """The partitions this worker owns. Everything runs on one event loop; `State` itself never awaits."""

    def __init__(
        self,
        *,
        new_state: Callable[[int], State],
        writer: FencedWriter,
        publisher: Publisher,
        offsets: LogOffsets,
        connection: Connection,
        topics: Mapping[str, str],
        owner: str,
        die: Die,
        flush_seconds: float,
        renew_seconds: float,
        tick_seconds: float,
        observe_flush: Callable[[float], None] = lambda _: None,
    ) -> None:
        self.owned: dict[int, Owned] = {}
        self.counters = Counters()
        self.recovered = False
        """Whether the assignment of the last rebalance has been taken over completely."""
        self.progress_at = time.monotonic()
        """When a record was last applied, a row read, or a recovery began or ended."""
        self._new_state = new_state
        self._writer = writer
        self._publisher = publisher
        self._offsets = offsets
        self._connection = connection
        self._topics = dict(topics)
        self._short_names = {full: short for short, full in topics.items()}
        self._owner = owner.encode()
        self._die = die
        self._flush_seconds = flush_seconds
        self._renew_seconds = renew_seconds
        self._tick_seconds = tick_seconds
        self._observe_flush = observe_flush
        self._stopping = False
        self._early: dict[Owned, asyncio.Task[None]] = {}
        self.seek: Callable[[Mapping[TopicPartition, int]], Any] | None = None
        """Moves the consumer; set by whoever owns it."""

    # ---- what others ask -------------------------------------------------------------------------------------------

    @property
    def held(self) -> list[Owned]:
        return [owned for owned in self.owned.values() if owned.held]

    def states(self) -> list[State]:
        """The states that are owned and recovered: for collectors, on the event loop."""
        return [owned.state for owned in self.held]

    def position(self, topic: str, partition: int) -> int | None:
        owned = self.owned.get(partition)
        return owned.positions.get(self._short_names.get(topic, "")) if owned else None

    def durable(self, topic: str, partition: int) -> int | None:
        owned = self.owned.get(partition)
        return owned.durable.get(self._short_names.get(topic, "")) if owned else None

    def backlog(self) -> int:
        return sum(owned.lag(topic) for owned in self.held for topic in self._topics)

    async def look_at_ends(self) -> None:
        """Ask the broker for the end of every source log, so that the lag is known even when nothing is fetched."""
        source = {TopicPartition(full, p): (owned, short) for p, owned in self.owned.items() for short, full in self._topics.items()}
        any_partition = TopicPartition(next(iter(self._topics.values())), 0)  # asked even when none is owned: it shows that the broker answers
        for tp, end in (await self._offsets.ends(source or [any_partition])).items():
            if tp in source:
                owned, short = source[tp]
                owned.ends[short] = end

    # ---- applying --------------------------------------------------------------------------------------------------

    async def apply(self, topic: str, partition: int, batch: Batch) -> None:
        """Apply one batch to the state of its partition, or refuse it as stale."""
        self.counters.batches += 1
        short = self._short_names[topic]
        owned = self.owned.get(partition)
        if owned is None or not self._accepts(owned):
            self.counters.refused_batches += 1
            return
        if batch.start > owned.positions[short] and not await self._accept_hole(owned, short, batch):
            self.counters.refused_batches += 1
            return
        owned.ends[short] = max(batch.end, owned.ends.get(short, 0))
        for records in _slices(batch.records):
            if not self._accepts(owned):
                return
            try:
                applied = owned.state.apply(short, records)
            except BaseException as error:
                last = records[-1].offset
                self._die(Exit.DEFECT, f"applying {topic}[{partition}] up to offset {last} raised; nothing is skipped, the next start replays it", error)
                raise
            if applied:
                self.counters.applied[short] += applied
                self.progress_at = time.monotonic()
            owned.positions[short] = max(owned.positions[short], records[-1].offset + 1)
            if owned.is_full(0.5):
                await self._flush_early(owned)
            await asyncio.sleep(0)
        if self._accepts(owned):
            owned.positions[short] = max(owned.positions[short], batch.next)

    def _accepts(self, owned: Owned) -> bool:
        return owned.held and not self._stopping

    async def _accept_hole(self, owned: Owned, short: str, batch: Batch) -> bool:
        """A batch that does not continue the log: either the log start has passed us, or the batch is stale."""
        tp = TopicPartition(self._topics[short], owned.partition)
        position = owned.positions[short]
        try:
            if (await self._offsets.beginnings([tp]))[tp] >= batch.start:
                self._count_lost(owned, short, position, batch.start)
                return True
            log.info("batch of %s[%d] starts at %d, expected %d: read again", tp.topic, tp.partition, batch.start, position)
            if self.seek is not None and owned.held:
                await self.seek({tp: owned.positions[short]})
        except (KafkaError, TimeoutError) as error:  # the broker is away, or a rebalance is under way: it ends with a seek
            log.info("batch of %s[%d] refused: %r", tp.topic, tp.partition, error)
        return False

    def _count_lost(self, owned: Owned, short: str, position: int, beginning: int) -> None:
        self.counters.lost[short, owned.partition] += beginning - position
        owned.positions[short] = beginning
        log.error(
            "%d offsets of %s[%d] are lost: retention deleted %d to %d before they were read; going on at %d",
            beginning - position,
            self._topics[short],
            owned.partition,
            position,
            beginning - 1,
            beginning,
        )

    # ---- flushing --------------------------------------------------------------------------------------------------

    async def flush(self, owned: Owned, *, prove: bool = False) -> None:
        """Make what changed durable. With `prove` at least the stamp is written: that succeeds only for the owner.

        Order: what must be known before rows count it (`before`), the rows, then what follows from them (`after`).
        """
        async with owned.lock:
            if self.owned.get(owned.partition) is not owned:
                return
            drained = owned.state.snapshot() if prove else owned.state.flush()
            owned.flushed_at = started = time.monotonic()
            if drained is None:
                return
            offsets = dict(owned.state.offsets)  # in the same step as the rows: nothing is awaited in between
            if drained.before:
                await self._publisher.send_and_wait(drained.before)
            size = await self._writer.write(owned.partition, drained.rows)
            owned.durable = offsets
            owned.flushes += 1
            owned.bytes_per_row = max(64.0, 0.5 * (owned.bytes_per_row + size / max(1, len(drained.rows))))
            self.counters.flushes += 1
            self.counters.flushed_rows += len(drained.rows)
            self.counters.flushed_bytes += size
            self._observe_flush(time.monotonic() - started)
            if drained.after:
                await self._publisher.send_and_wait(drained.after)

    async def _flush_or_die(self, owned: Owned) -> None:
        try:
            await self.flush(owned)
        except (FencedError, FlushFailedError) as error:
            if self.owned.get(owned.partition) is owned:  # else it was dropped meanwhile, and this is what must happen to it
                self._flush_failed(error)
        except Exception as error:
            self._die(Exit.DEFECT, f"flushing partition {owned.partition} raised", error)
            raise

    def _flush_failed(self, error: BaseException) -> None:
        if isinstance(error, FencedError):
            self.counters.fenced += 1
            self._die(Exit.TEMPORARY, f"{error}: this process was paused or cut off; it stops, and a new one starts from the log", error)
        else:
            self._die(Exit.TEMPORARY, f"{error}; what was written is unknown, so this process stops and a new one starts from the log", error)

    async def _flush_early(self, owned: Owned) -> None:
        """Start a flush beside the applying; wait for it only when the next one is full already."""
        if owned not in self._early:
            task = self._early[owned] = asyncio.create_task(self._flush_or_die(owned), name=f"flush early {owned.partition}")
            task.add_done_callback(lambda _: self._early.pop(owned, None))
            await asyncio.sleep(0)  # the snapshot is taken in its first step
        if owned.is_full() and owned in self._early:
            await asyncio.wait([self._early[owned]])
            if owned.is_full():
                await self._flush_or_die(owned)

    async def keep_flushing(self) -> None:
        """Flush every `flush_seconds`, less often when far behind; renew identities."""
        while not self._stopping:
            await asyncio.sleep(self._flush_seconds)
            now = time.monotonic()
            interval = max(self._flush_seconds, BACKLOG_FLUSH_SECONDS) if self.backlog() > BACKLOG_RECORDS else 0.0
            await asyncio.gather(*(self._flush_or_die(owned) for owned in self.held if now - owned.flushed_at >= interval))
            if self._writer.fence:
                await asyncio.gather(*(self._renew(owned) for owned in self.held if now - owned.renewed >= self._renew_seconds))

    async def _renew(self, owned: Owned) -> None:
        async with owned.lock:
            if self.owned.get(owned.partition) is not owned:
                return
            try:
                await self._writer.renew(owned.partition, self._barrier())
            except (FencedError, FlushFailedError) as error:
                self._flush_failed(error)
            owned.renewed = time.monotonic()
            self.counters.renewed += 1

    async def keep_ticking(self) -> None:
        """Let the states publish by time."""
        while not self._stopping:
            await asyncio.sleep(self._tick_seconds)
            try:
                now = time.monotonic()
                for owned in self.held:
                    owned.state.unread = [topic for topic in self._topics if owned.lag(topic)]
                await self._publisher.send([message for owned in self.held for message in owned.state.tick(now)])
            except FlushFailedError as error:
                self._flush_failed(error)
            except Exception as error:
                self._die(Exit.DEFECT, "a tick of the state raised", error)
                raise

    # ---- changing hands --------------------------------------------------------------------------------------------

    async def hand_over(self) -> None:
        """All partitions are being revoked: make everything durable while we still may. They may come right back."""
        held = self.held
        for owned in held:
            owned.held = False
        self.recovered = False
        await asyncio.gather(*(self._hand_over(owned) for owned in held))
        await self._publisher.flush(HAND_OVER_SECONDS)

    async def _hand_over(self, owned: Owned) -> None:
        flush = asyncio.create_task(self.flush(owned), name=f"hand over {owned.partition}")
        done, _ = await asyncio.wait([flush], timeout=HAND_OVER_SECONDS)
        if not done:
            log.warning("partition %d could not be flushed within %g s; its next owner replays the log", owned.partition, HAND_OVER_SECONDS)
            self.drop(owned.partition)
            flush.add_done_callback(lambda task: task.exception())
        elif isinstance(error := flush.exception(), FencedError):
            self.counters.fenced += 1
            log.warning("partition %d had another owner already: dropped", owned.partition)
            self.drop(owned.partition)
        elif error is not None:
            self._flush_failed(error)

    async def stop(self) -> None:
        """The last flush before the process leaves the group."""
        self._stopping = True
        await self.hand_over()

    def drop(self, partition: int) -> None:
        """Forget the partition: what is not durable is replayed by its next owner."""
        if (owned := self.owned.pop(partition, None)) is not None:
            owned.held = False
            self._writer.release(partition)

    async def take(self, wanted: Collection[int], is_current: Callable[[], bool] = lambda: True) -> None:
        """Own exactly `wanted`: prove what is still ours, take over the rest. Fence first, read second."""
        self.recovered, self.progress_at = False, time.monotonic()
        try:
            for partition in set(self.owned) - set(wanted):
                self.drop(partition)
            still_owned = await asyncio.gather(*(self._is_still_owned(owned) for owned in list(self.owned.values())))
            missing = sorted(set(wanted) - set(self.owned))
            self.counters.kept += sum(still_owned)
            if missing:
                await self._take_over(missing, is_current)
            if not is_current():
                raise SupersededError
            for owned in self.owned.values():
                for topic, offset in owned.state.offsets.items():
                    owned.positions[topic] = max(owned.positions.get(topic, 0), offset + 1)
                owned.held = True
            self.recovered = True
        except (FlushFailedError, FencedError) as error:
            self._flush_failed(error)
            raise
        except RefusedError as error:
            self._die(Exit.CONFIGURATION, str(error))
            raise
        finally:
            self.progress_at = time.monotonic()

    async def _is_still_owned(self, owned: Owned) -> bool:
        if not self._writer.fence:
            self.drop(owned.partition)
            return False
        try:
            await self.flush(owned, prove=True)
        except FencedError:
            self.counters.fenced += 1
            self.drop(owned.partition)
            return False
        return True

    async def _take_over(self, partitions: list[int], is_current: Callable[[], bool]) -> None:
        started = time.monotonic()
        if not is_current():
            raise SupersededError
        await asyncio.gather(*(self._writer.acquire(partition, self._barrier()) for partition in partitions))
        fenced = time.monotonic()
        with loading_many_objects():
            tables = await read_rows(self._connection, self._writer.topic, partitions, on_progress=self._on_rows_read)
            for partition in partitions:
                self.owned[partition] = await self._load(partition, tables.pop(partition))
        await self._place(partitions)
        self.counters.taken += len(partitions)
        self.counters.recoveries += 1
        self.counters.recovery_seconds += time.monotonic() - started
        log.info("took over partitions %s: fenced in %.3f s, read in %.3f s", partitions, fenced - started, time.monotonic() - fenced)

    async def _load(self, partition: int, rows: dict[bytes, bytes]) -> Owned:
        rows.pop(OWNER_KEY, None)
        count = await self._writer.partition_count()
        written = rows.pop(PARTITIONS_KEY, None)
        if written is None:
            await self._writer.write(partition, [(PARTITIONS_KEY, str(count).encode())])
        elif int(written) != count:
            raise RefusedError(
                f"the state was written with {written.decode()} partitions, the topics now have {count}: keys live elsewhere now. "
                "Restore the old partition count, or start a new application id and replay the topics"
            )
        state = self._new_state(partition)
        state.load(rows.items())
        self.counters.recovered_rows += len(rows)
        self.progress_at = time.monotonic()
        return Owned(partition, state, positions={}, durable=dict(state.offsets), renewed=time.monotonic(), flushed_at=time.monotonic())

    async def _place(self, partitions: list[int]) -> None:
        """Where each source log goes on, checked against where it begins and ends."""
        source = {TopicPartition(full, partition): short for partition in partitions for short, full in self._topics.items()}
        beginnings, ends = await self._offsets.beginnings(source), await self._offsets.ends(source)
        for tp, short in source.items():
            owned = self.owned[tp.partition]
            applied = owned.state.offsets.get(short)
            owned.ends[short] = ends[tp]
            owned.positions[short] = beginnings[tp] if applied is None else applied + 1
            if owned.positions[short] > ends[tp]:
                raise RefusedError(
                    f"{tp.topic}[{tp.partition}] ends at offset {ends[tp]}, but the state has applied up to {applied}: the topic was deleted, recreated or "
                    f"truncated. Restore it, or start anew: delete the topic {self._writer.topic} (all counts) or use a new application id"
                )
            if owned.positions[short] < beginnings[tp]:
                self._count_lost(owned, short, owned.positions[short], beginnings[tp])

    def _barrier(self) -> Row:
        return OWNER_KEY, self._owner

    def _on_rows_read(self, _: int) -> None:
        self.progress_at = time.monotonic()
