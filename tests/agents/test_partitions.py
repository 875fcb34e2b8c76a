"""The atomic table without a broker: order, refusal, holes, hand-over, and what ends the process."""

import asyncio
from collections.abc import Callable, Collection, Iterable
from typing import Any, NamedTuple

import pytest
from aiokafka import TopicPartition

from agents import tables
from agents.batches import Batch
from agents.exits import Exit
from agents.publishing import FencedError, FlushFailedError, FlushTooLargeError, Identity
from agents.tables import OWNER_KEY, PARTITIONS_KEY, Partitions, RefusedError, SupersededError
from streams.flow import Message, Record
from tests.agents.counting import Counting

TOPICS = {"website": "x.website", "customers": "x.customers"}


class Event(NamedTuple):
    offset: int
    key: bytes | None = b"k"
    value: bytes | None = b"{}"
    timestamp: int = 0
    headers: tuple[tuple[str, bytes], ...] = ()


class DiedError(Exception):
    def __init__(self, code: Exit, why: str) -> None:
        super().__init__(why)
        self.code = code


def die(code: Exit, why: str, error: BaseException | None = None) -> None:
    raise DiedError(code, why) from error


class Broker:
    """Writer, publisher and log in one: remembers the order of what reached it."""

    topic = "x.state"
    fence = True

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.rows: dict[int, dict[bytes, bytes]] = {}
        self.partitions = 4
        self.begin: dict[str, int] = {}
        self.end: dict[str, int] = {}
        self.on_write: Callable[[], Any] = lambda: None
        self.gate = asyncio.Event()
        self.gate.set()

    async def acquire(self, partition: int, barrier: tuple[bytes, bytes]) -> Identity:
        self.seen.append(f"barrier {partition}")
        self.rows.setdefault(partition, {})[barrier[0]] = barrier[1]
        return Identity(1, 0)

    async def renew(self, partition: int, _: Any) -> None:
        self.seen.append(f"renew {partition}")

    def release(self, partition: int) -> None:
        self.seen.append(f"release {partition}")

    async def partition_count(self) -> int:
        return self.partitions

    async def write(self, partition: int, rows: Iterable[tuple[bytes, bytes | None]]) -> int:
        written = list(rows)
        await self.gate.wait()
        self.on_write()
        self.seen.append(f"rows {partition} {len(written)}")
        table = self.rows.setdefault(partition, {})
        for key, value in written:
            if value is None:
                table.pop(key, None)
            else:
                table[key] = value
        return 100 * len(written)

    async def send_and_wait(self, messages: Iterable[Message]) -> None:
        self.seen += [f"acknowledged {message.topic}" for message in messages]

    async def send(self, messages: Iterable[Message]) -> None:
        self.seen += [f"sent {message.topic}" for message in messages]

    async def flush(self, _: float) -> None: ...

    async def beginnings(self, wanted: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        return {tp: self.begin.get(tp.topic, 0) for tp in wanted}

    async def ends(self, wanted: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        return {tp: self.end.get(tp.topic, 1000) for tp in wanted}

    async def read(self, _connection: Any, _topic: str, wanted: Collection[int], **_: Any) -> dict[int, dict[bytes, bytes]]:
        self.seen.append(f"read {sorted(wanted)}")
        return {partition: dict(self.rows.get(partition, {})) for partition in wanted}


@pytest.fixture
async def broker(monkeypatch: pytest.MonkeyPatch) -> Broker:
    fake = Broker()
    monkeypatch.setattr(tables, "read_rows", fake.read)
    return fake


def worker(broker: Broker, **options: Any) -> Partitions:
    fake: Any = broker
    options = {"flush_seconds": 0.25, "renew_seconds": 3600.0, "tick_seconds": 1.0, **options}
    made = Partitions(new_state=Counting, writer=fake, publisher=fake, offsets=fake, connection={}, topics=TOPICS, owner="me", die=die, **options)
    made.sought = []  # type: ignore[attr-defined]

    async def seek(positions: Any) -> None:
        made.sought.append(dict(positions))  # type: ignore[attr-defined]

    made.seek = seek
    return made


@pytest.fixture
async def partitions(broker: Broker) -> Partitions:
    made = worker(broker)
    await made.take({0, 1})
    broker.seen.clear()
    return made


def batch(first: int, count: int, *, end: int = 1000) -> Batch:
    return Batch([Event(offset) for offset in range(first, first + count)], first, first + count, end)


def state(partitions: Partitions, partition: int = 0) -> Counting:
    owned = partitions.owned[partition].state
    assert isinstance(owned, Counting)
    return owned


async def test_fence_first_read_second(broker: Broker) -> None:
    made = worker(broker)
    await made.take({2, 1})
    assert broker.seen == ["barrier 1", "barrier 2", "read [1, 2]", "rows 1 1", "rows 2 1"]
    assert broker.rows[1] == {OWNER_KEY: b"me", PARTITIONS_KEY: b"4"}
    assert made.recovered
    assert made.position("x.website", 1) == 0
    assert made.durable("x.website", 1) is None


async def test_a_flush_goes_out_in_order_and_only_then_is_durable(partitions: Partitions, broker: Broker) -> None:
    await partitions.apply("x.website", 0, batch(0, 3))
    state(partitions).before, state(partitions).after = [Message("failed", b"", b"")], [Message("rollups", b"", b"")]
    durable: list[int | None] = []
    broker.on_write = lambda: durable.append(partitions.durable("x.website", 0))
    await partitions.flush(partitions.owned[0])
    assert broker.seen == ["acknowledged failed", "rows 0 2", "acknowledged rollups"]
    assert durable == [None]
    assert partitions.durable("x.website", 0) == 2
    assert list(broker.rows[0])[-1] == b"@"
    await partitions.flush(partitions.owned[0])
    assert len(broker.seen) == 3, "nothing changed, nothing written"


async def test_what_arrives_during_a_flush_is_not_called_durable(partitions: Partitions, broker: Broker) -> None:
    await partitions.apply("x.website", 0, batch(0, 3))
    broker.gate.clear()
    flushing = asyncio.create_task(partitions.flush(partitions.owned[0]))
    await asyncio.sleep(0)
    await partitions.apply("x.website", 0, batch(3, 5))
    broker.gate.set()
    await flushing
    assert partitions.durable("x.website", 0) == 2
    assert state(partitions).offsets == {"website": 7}


async def test_flushes_of_a_partition_do_not_overtake_each_other(partitions: Partitions, broker: Broker) -> None:
    broker.gate.clear()
    await partitions.apply("x.website", 0, batch(0, 1))
    first = asyncio.create_task(partitions.flush(partitions.owned[0]))
    await asyncio.sleep(0)
    await partitions.apply("x.website", 0, batch(1, 1))
    second = asyncio.create_task(partitions.flush(partitions.owned[0]))
    await asyncio.sleep(0)
    assert state(partitions).seq == 1, "the second snapshot is taken when the first is written"
    broker.gate.set()
    await asyncio.gather(first, second)
    assert broker.rows[0][b"@"] == b'{"offsets": {"website": 1}, "seq": 2}'


async def test_repeats_are_ignored_and_stale_batches_refused(partitions: Partitions) -> None:
    await partitions.apply("x.website", 0, batch(0, 5))
    await partitions.apply("x.website", 0, batch(2, 5))
    assert state(partitions).counts == {b"k": 7}
    await partitions.apply("x.website", 3, batch(0, 5))
    assert partitions.counters.refused_batches == 1, "a partition that is not owned"
    await partitions.apply("x.website", 0, batch(9, 2))
    assert partitions.counters.refused_batches == 2
    assert partitions.sought == [{TopicPartition("x.website", 0): 7}]  # type: ignore[attr-defined]
    await partitions.apply("x.website", 0, batch(7, 2))
    assert state(partitions).counts == {b"k": 9}


async def test_offsets_deleted_while_running_are_counted_loudly(partitions: Partitions, broker: Broker, caplog: pytest.LogCaptureFixture) -> None:
    await partitions.apply("x.website", 0, batch(0, 5))
    broker.begin["x.website"] = 105
    await partitions.apply("x.website", 0, batch(105, 2))
    assert partitions.counters.lost == {("website", 0): 100}
    assert "100 offsets of x.website[0] are lost: retention deleted 5 to 104" in caplog.text
    assert state(partitions).counts == {b"k": 7}


async def test_offsets_without_records_are_passed(partitions: Partitions) -> None:
    await partitions.apply("x.website", 0, Batch([], 0, 3, 10))
    assert partitions.position("x.website", 0) == 3
    await partitions.apply("x.website", 0, batch(3, 1, end=10))
    assert partitions.owned[0].lag("website") == 1000 - 4
    assert state(partitions).offsets == {"website": 3}


async def test_nothing_is_accepted_between_revocation_and_proof(partitions: Partitions, broker: Broker) -> None:
    await partitions.apply("x.website", 0, batch(0, 5))
    await partitions.hand_over()
    assert broker.seen == ["rows 0 2"]
    await partitions.apply("x.website", 0, batch(5, 5))
    assert partitions.counters.refused_batches == 1
    await partitions.take({0, 1})
    assert broker.seen == ["rows 0 2", "rows 0 1", "rows 1 1"], "kept: two proofs, nothing read"
    assert partitions.counters.kept == 2
    assert partitions.position("x.website", 0) == 5


async def test_a_partition_taken_by_another_is_dropped_and_read_again(partitions: Partitions, broker: Broker) -> None:
    await partitions.apply("x.website", 0, batch(0, 5))
    await partitions.hand_over()
    mine = state(partitions)

    def refuse() -> None:
        broker.on_write = lambda: None
        raise FencedError("taken")

    broker.on_write = refuse
    await partitions.take({0, 1})
    assert "read [0]" in broker.seen
    assert state(partitions) is not mine
    assert state(partitions).counts == {b"k": 5}
    assert partitions.counters.fenced == 1


async def test_what_is_not_wanted_any_more_is_released(partitions: Partitions, broker: Broker) -> None:
    await partitions.take({1})
    assert set(partitions.owned) == {1}
    assert "release 0" in broker.seen


async def test_without_a_fence_everything_is_read_again(broker: Broker) -> None:
    broker.fence = False
    made = worker(broker)
    await made.take({0})
    await made.apply("x.website", 0, batch(0, 5))
    await made.hand_over()
    await made.take({0})
    assert broker.seen.count("read [0]") == 2
    assert state(made).counts == {b"k": 5}


async def test_another_rebalance_stops_the_taking(broker: Broker) -> None:
    made = worker(broker)
    with pytest.raises(SupersededError):
        await made.take({0}, lambda: False)
    assert broker.seen == []
    assert not made.recovered


async def test_a_hand_over_that_takes_too_long_drops_the_partition(partitions: Partitions, broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "HAND_OVER_SECONDS", 0.05)
    await partitions.apply("x.website", 0, batch(0, 5))
    broker.gate.clear()
    await partitions.hand_over()
    assert set(partitions.owned) == {1}
    broker.gate.set()
    await partitions.take({0, 1})
    assert "read [0]" in broker.seen


async def test_a_topic_that_ends_before_the_stamp_stops_the_worker(partitions: Partitions, broker: Broker) -> None:
    await partitions.apply("x.website", 0, batch(0, 5))
    await partitions.flush(partitions.owned[0])
    broker.end["x.website"] = 3
    with pytest.raises(DiedError, match=r"x.website\[0\] ends at offset 3, but the state has applied up to 4.*delete the topic x.state") as died:
        await worker(broker).take({0})
    assert died.value.code is Exit.CONFIGURATION
    assert isinstance(died.value.__cause__, RefusedError | None)


async def test_a_log_that_begins_behind_the_stamp_goes_on_and_counts(partitions: Partitions, broker: Broker) -> None:
    await partitions.apply("x.website", 0, batch(0, 5))
    await partitions.flush(partitions.owned[0])
    broker.begin["x.website"], broker.begin["x.customers"] = 50, 50
    made = worker(broker)
    await made.take({0})
    assert made.counters.lost == {("website", 0): 45}, "nothing is lost of a topic that was never read"
    assert made.position("x.website", 0) == 50
    assert made.position("x.customers", 0) == 50


async def test_another_partition_count_stops_the_worker(broker: Broker) -> None:
    await worker(broker).take({0})
    broker.partitions = 6
    with pytest.raises(DiedError, match="written with 4 partitions, the topics now have 6"):
        await worker(broker).take({0})


@pytest.mark.parametrize("error", [FencedError("taken"), FlushFailedError("no answer"), FlushTooLargeError("too large")])
async def test_a_failed_flush_ends_the_process(partitions: Partitions, broker: Broker, error: Exception) -> None:
    def fail() -> None:
        raise error

    broker.on_write = fail
    await partitions.apply("x.website", 0, batch(0, 5))
    with pytest.raises(DiedError) as died:
        await partitions.keep_flushing()
    assert died.value.code is Exit.TEMPORARY
    assert died.value.__cause__ is error


async def test_a_raising_state_ends_the_process_and_names_the_place(partitions: Partitions, monkeypatch: pytest.MonkeyPatch) -> None:
    def raises(_topic: str, _records: Any) -> int:
        raise ZeroDivisionError

    monkeypatch.setattr(state(partitions), "apply", raises)
    with pytest.raises(DiedError, match=r"applying x.website\[0\] up to offset 4 raised") as died:
        await partitions.apply("x.website", 0, batch(0, 5))
    assert died.value.code is Exit.DEFECT


async def test_a_full_flush_is_written_early(partitions: Partitions, broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "MAX_CHANGED_ROWS", 20)
    monkeypatch.setattr(tables, "SLICE_RECORDS", 8)
    records: list[Record] = [Event(offset, b"%d" % offset) for offset in range(100)]
    await partitions.apply("x.website", 0, Batch(records, 0, 100, 100))
    written = [int(line.split()[2]) - 1 for line in broker.seen if line.startswith("rows 0")]
    assert max(written) <= 20 + 8
    assert sum(written) >= 80
    broker.gate.clear()
    more: list[Record] = [Event(offset, b"%d" % offset) for offset in range(100, 200)]
    applying = asyncio.create_task(partitions.apply("x.website", 0, Batch(more, 100, 200, 200)))
    await asyncio.sleep(0.05)
    assert not applying.done(), "waits while the broker does not answer, instead of piling up"
    assert state(partitions).changed <= 20 + 8
    broker.gate.set()
    await applying


async def test_flushes_are_rarer_when_far_behind_and_identities_are_renewed(broker: Broker) -> None:
    made = worker(broker, flush_seconds=0.01, renew_seconds=0.03)
    await made.take({0})
    await made.apply("x.website", 0, batch(0, 1, end=1_000_000))
    flushing = asyncio.create_task(made.keep_flushing())
    await asyncio.sleep(0.1)
    assert made.counters.flushes == 0
    assert broker.seen.count("renew 0") >= 2
    made.owned[0].ends["website"] = 10
    await asyncio.sleep(0.05)
    assert made.counters.flushes == 1
    await made.stop()
    await flushing


async def test_states_tick_while_they_are_held(broker: Broker) -> None:
    made = worker(broker, tick_seconds=0.01)
    await made.take({0})
    ticking = asyncio.create_task(made.keep_ticking())
    await asyncio.sleep(0.05)
    ticked = state(made)
    assert ticked.ticks >= 2
    await made.stop()
    await ticking
    seen = ticked.ticks
    await asyncio.sleep(0.03)
    assert ticked.ticks == seen


async def test_after_stop_nothing_is_applied(partitions: Partitions, broker: Broker) -> None:
    await partitions.apply("x.website", 0, batch(0, 5))
    await partitions.stop()
    assert broker.seen == ["rows 0 2"]
    await partitions.apply("x.website", 0, batch(5, 5))
    assert state(partitions).offsets == {"website": 4}
