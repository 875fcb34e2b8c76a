"""A version that counts more meets what the one before left behind."""

import msgspec

from streams.engagement import FAMILY_BY_NAME, PUBLISHED_AGAIN, PartialSeries, layout
from streams.partition import Partition
from streams.rollups import Partial, encode_partial
from streams.rows import STAMP
from tests.streams.records import T0, H, M, Rec, event, record

FAMILY = FAMILY_BY_NAME["review"]


def partial(cell: list[int], seq: int, layout: str | None) -> bytes:
    series = PartialSeries("review", int(M), ",".join(FAMILY.groupings[0]), ("here",) * len(FAMILY.groupings[0]), {T0: cell})
    said = Partial("shop", 1, seq, T0 + H, [series])
    return encode_partial(said if layout is None else msgspec.structs.replace(said, layout=layout))


def test_what_another_version_says_of_rows_waits_until_it_is_said_anew() -> None:
    one = Partition(0, 1)
    one.apply("rollups", [Rec(0, T0, partial([1] * (len(FAMILY.slots) - 1), 1, "another"))])
    assert not any(series.panes for book in one.rollups.books.values() for series in book.series.values())
    one.apply("rollups", [Rec(1, T0, partial([2] * len(FAMILY.slots), 2, None))])
    assert one.tick(1.0)
    assert [cell for book in one.rollups.books.values() for series in book.series.values() for cell in series.panes.values()] == [[2] * len(FAMILY.slots)] * 2


def test_rows_of_another_version_are_published_again_all_of_them_whatever_crashes() -> None:
    before = Partition(0, 1)
    for number in range(60 * 60):  # each in a minute and a site of its own, in three groupings and more
        wire = event("page_viewed", T0 + number // 60 * M, id=f"e{number}", visitor=f"v{number % 7}", site=f"s{number % 60}")
        before.apply("website", [record(number, wire)])
    rows: dict[bytes, bytes] = {key: value for key, value in before.snapshot().rows if value is not None}
    stamp = msgspec.msgpack.decode(rows[STAMP])
    stamp["layout"]["review"] = stamp["layout"]["review"][:-1]  # the newest measure was not there
    rows[STAMP] = msgspec.msgpack.encode(stamp)
    after = Partition(0, 1)
    after.load(rows.items())
    flush = after.flush()
    assert flush is not None
    rows |= {key: value for key, value in flush.rows if value is not None}
    after = Partition(0, 1)  # nothing of what followed from that flush was published
    after.load(rows.items())
    said: list[tuple[object, ...]] = []
    while (flush := after.flush()) is not None:
        assert len(flush.rows) <= PUBLISHED_AGAIN + 1
        rows |= {key: value for key, value in flush.rows if value is not None}
        for message in flush.after:
            site, _, _, _, changed, _ = msgspec.msgpack.decode(message.value)
            said += [(site, fact, size, grouping, *labels, pane) for fact, size, grouping, labels, panes in changed for pane in panes]
    kept = sum(len(series.rows) for table in after.intake.rows.tables.values() for series in table.series.values())
    assert len(said) == len(set(said)) == kept > PUBLISHED_AGAIN
    last = msgspec.msgpack.decode(rows[STAMP])
    assert (last["layout"], last["published"]) == (layout(), -1), "the flush after the last one says that all of it was acknowledged"
