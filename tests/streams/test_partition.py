"""One partition: offsets, the stamp, what a flush publishes, and the watermark."""

from typing import Any

import msgspec
import pytest

from streams.partition import ROLLUPS, ROWS_PER_PARTIAL, Partition
from streams.rows import STAMP
from tests.streams.records import T0, D, H, M, Rec, event, record, store, topic_of, view


def test_records_at_or_below_the_last_offset_are_ignored():
    state = Partition(0, 1)
    records = [record(number, view(T0 + number)) for number in range(5)]
    assert [state.apply("website", records[:3]), state.apply("website", records[1:]), state.apply("website", records)] == [3, 2, 0]
    assert state.offsets == {"website": 4}
    assert state.accounting()["website"]["applied"] == 5
    assert state.status()["unaccounted"] == 0


def test_the_stamp_is_the_last_row_of_a_flush():
    state = Partition(0, 1)
    assert state.flush() is None
    state.apply("website", [record(7, view(T0))])
    flush = state.flush()
    assert [key for key, _ in flush.rows].index(STAMP) == len(flush.rows) - 1
    assert msgspec.msgpack.decode(flush.rows[-1][1])["offsets"] == {"website": 7}
    assert {(message.topic, message.key) for message in flush.after} == {(ROLLUPS, b"shop")}
    assert state.flush() is None
    assert [key for key, _ in state.snapshot().rows] == [STAMP], "a snapshot has the stamp at least"


def test_failed_events_are_published_before_the_rows():
    state = Partition(0, 1)
    state.apply("website", [Rec(0, T0, b"nonsense")])
    assert [message.topic for message in state.flush().before] == ["failed"]
    assert state.snapshot().before == []


def test_rows_whose_partial_may_be_lost_are_published_again():
    state = Partition(0, 1)
    state.apply("website", [record(0, view(T0))])
    first = state.flush()
    again = Partition(0, 1)
    again.load([(key, value) for key, value in first.rows if value is not None])
    flush = again.flush()
    assert flush is not None
    assert sum(map(rows_in, flush.after)) == sum(map(rows_in, first.after))
    later = Partition(0, 1)
    kept = {**dict(first.rows), **dict(flush.rows), **dict(again.snapshot().rows)}
    later.load([(key, value) for key, value in kept.items() if value is not None])
    assert later.flush() is None, "acknowledged before the next flush began"


def rows_in(message) -> int:
    return sum(len(series[-1]) for series in msgspec.msgpack.decode(message.value, strict=False)[4])


def test_partials_are_bounded():
    state = Partition(0, 1)
    state.apply("website", [record(number, view(T0 + number * M)) for number in range(ROWS_PER_PARTIAL)])
    sizes = [rows_in(message) for message in state.flush().after]
    assert max(sizes) == ROWS_PER_PARTIAL
    assert len(sizes) > 2


def test_the_watermark_is_that_of_the_slowest_topic_that_is_not_idle():
    state = Partition(0, 1)
    state.tick(0.0)
    state.apply("website", [record(0, view(T0 + D))])
    state.apply("reviews", [record(0, event("review_posted", T0))])
    assert state.watermark() == T0 - 5_000
    state.tick(29.0)
    assert state.watermark() == T0 - 5_000
    state.apply("website", [record(1, view(T0 + D))])
    state.tick(30.0)
    assert state.watermark() == T0 + D - 5_000
    state.tick(3_600.0)
    assert state.watermark() == T0 + D - 5_000, "all idle: the newest"


def test_a_topic_of_failures_alone_holds_nothing_back():
    state = Partition(0, 1)
    state.apply("website", [record(0, view(T0))])
    state.apply("reviews", [Rec(0, T0, b"nonsense")])
    assert state.watermark() == T0 - 5_000


@pytest.mark.parametrize("restart", [False, True])
def test_a_measure_that_fell_to_nothing_is_said_by_a_new_owner_too(restart: bool):
    state, rows, offsets = Partition(0, 1), {}, [0]

    def flush() -> None:
        made = state.snapshot()
        store(rows, made)
        for message in made.after:
            if message.topic == ROLLUPS:
                state.apply(ROLLUPS, [Rec(offsets[0], T0, message.value)])
                offsets[0] += 1

    state.apply("website", [record(0, view(T0, visitor="a", channel="kiosk"))])
    state.apply("website", [record(1, view(T0 + 20 * M, visitor="b", channel="web"))])
    flush()
    flush()
    state.tick(1.0)
    if restart:
        flush()
        state = Partition(0, 1)
        state.load(list(rows.items()))
    state.apply("website", [record(2, view(T0 + 30 * H, visitor="c", channel="web"))])
    flush()
    flush()
    said = [one for message in state.tick(5.0) for one in msgspec.json.decode(message.value)["readings"]]
    kiosk = [one["n"] for one in said if one["kpi"] == "sessions" and one["dimensions"].get("channel") == "kiosk"]
    assert 0 in kiosk


def test_a_topic_that_is_read_far_ahead_takes_nothing_from_the_others():
    """Two weeks of both are read anew, one after the other: what several topics may state waits for the one behind."""
    shopping = ("product_viewed", "product_added", "checkout_started", "order_completed")
    website = [event(kind, T0 + day * D + n * M, visitor=f"v{day}", customer=None, id=f"{day}-{n}") for day in range(14) for n, kind in enumerate(shopping)]
    customers = [event("message_sent", T0 + day * D, customer="c1", message=f"m{day}") for day in range(14)]

    def funnels(*parts: list[dict[str, Any]]) -> dict[bytes, Any]:
        state, rows = Partition(0, 1), {}
        for wires in parts:
            state.apply(topic_of(wires[0]), [record(offset, wire) for offset, wire in enumerate(wires)])
            rows |= {key: msgspec.msgpack.decode(value)[1] for key, value in state.snapshot().rows if b'"funnel_' in key and value is not None}
        return rows

    expected = funnels(website, customers)
    assert len(expected) > 14
    assert funnels(customers, website) == expected
