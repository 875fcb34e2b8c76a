"""Windows of a site: running sums, the clock with idle partitions, matured and calendar windows, expiry."""

from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.engagement import FAMILY_BY_NAME, PartialSeries
from streams.kpis import KPIS
from streams.panes import Pane
from streams.rollups import KEPT, Partial, Rollups, SiteBook, encode_partial, pane_size_of
from streams.sites import Sites
from streams.windows import span_of
from tests.streams.records import T0, D, H, M

KPI = {kpi.name: kpi for kpi in KPIS}
UTC = ZoneInfo("UTC")
VIEWS = FAMILY_BY_NAME["page_view"]


def partial(rows, seq: int, watermark: int, partition: int = 0) -> bytes:
    return encode_partial(Partial("shop", partition, seq, watermark, rows))


def views(pane: int, number: int, size: int = M, source: str = "direct") -> list[PartialSeries]:
    cell = [number] * len(VIEWS.slots)
    labels = {"segment,channel": ("s", "c"), "source": (source,), "route": ("/",)}
    return [PartialSeries("page_view", size, ",".join(g), labels[",".join(g)], {pane: cell}) for g in VIEWS.groupings]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(-120, 0), st.integers(0, 9), st.sampled_from([0, 0, 1, 3, 20, 400, 3_000]), st.booleans()), min_size=1, max_size=25))
def test_running_sums_equal_sums_from_scratch(steps):
    rollups, watermark, seq = Rollups(Sites()), T0, 0
    for minute, number, advance, look in steps:
        seq += 1
        watermark += advance * M
        pane = watermark + minute * M
        rollups.apply([partial(views(pane, number) + views(pane - pane % D, number, D), seq, watermark)])
        if not look:
            continue
        book = rollups.books["shop"]
        for reading in list(rollups.readings(book, watermark, watermark)):
            if reading.kpi != "page_views":
                continue
            start, end = (round(bound.timestamp() * 1000) for bound in (reading.window.start, reading.window.end))
            grouping, labels = tuple(reading.dimensions), tuple(reading.dimensions.values())
            size = pane_size_of(reading.length, VIEWS)
            total = VIEWS.empty()
            for at, cell in book.series["page_view", int(size), grouping, labels].panes.items():
                if start <= at < end:
                    VIEWS.add(total, cell)
            assert reading.value == total[VIEWS.indices["page_views"][0]]


def book(**watermarks: int) -> SiteBook:
    known = SiteBook("shop")
    known.watermarks = {int(name[1:]): at for name, at in watermarks.items()}
    known.newest = max(known.watermarks.values()) + 5_000
    return known


def test_an_idle_partition_does_not_hold_the_watermark_back():
    known = book(p0=T0, p1=T0 + H)
    known.heard = {0: 100.0, 1: 129.0}
    assert known.clock(129.9)[0] == T0
    assert known.clock(130.0)[0] == T0 + H


def test_when_all_are_idle_time_goes_on_at_the_pace_of_the_clock():
    known = book(p0=T0, p1=T0 + H)
    known.heard = {0: 100.0, 1: 110.0}
    assert known.clock(170.0) == (T0 + H + M, T0 + H + 5_000 + M)
    assert known.clock(230.0)[0] == T0 + H + 2 * M
    known.heard[1] = 231.0
    assert known.clock(231.0)[0] == T0 + H + 2 * M, "it never goes back"


def test_without_a_clock_nothing_is_idle():
    assert book(p0=T0, p1=T0 + H).clock(None)[0] == T0


@pytest.mark.parametrize(
    ("kpi", "window", "watermark", "start", "end"),
    [
        ("page_views", 5 * M, T0 + 10 * M + 59_999, 5 * M, 10 * M),
        ("page_views", 24 * H, T0 + M, M - D, M),
        ("page_views", "day", T0 + D - 1, -D, 0),
        ("page_views", "day", T0 + D, 0, D),
        ("page_views", 7 * D, T0 + 5 * H, -7 * D, 0),
        ("sessions", H, T0 + H + 14 * M, 0, H),
        ("bounce_rate", H, T0 + H + 30 * M - 1, -15 * M, 45 * M),
        ("bounce_rate", H, T0 + H + 30 * M, 0, H),
        ("weekly_visitors", "week", T0 + D, -7 * D, 0),
        ("monthly_visitors", "month", T0, -29 * D, -D),
    ],
)
def test_where_windows_stand(kpi, window, watermark, start, end):
    family = next(family for family in FAMILY_BY_NAME.values() if KPI[kpi] in family.kpis)
    span = span_of(window, pane_size_of(window, family), watermark - KPI[kpi].matures, watermark, UTC)
    assert (span.start - T0, span.end - T0) == (start, end)


def test_live_windows_follow_the_newest_event():
    window = KPI["active_visitors"].windows[0]
    span = span_of(window, Pane.MINUTE, 0, T0 + 59_999, UTC)
    assert (span.start - T0, span.end - T0) == (-4 * M, M)


def test_a_calendar_day_of_the_clock_change_has_23_hours():
    berlin = ZoneInfo("Europe/Berlin")
    after = 1_774_821_600_000 + H  # 2026-03-30 01:00 in Berlin
    span = span_of("day", Pane.DAY, after, after, berlin)
    assert span.end - span.start == 23 * H


def test_panes_no_window_needs_are_dropped():
    rollups = Rollups(Sites())
    rollups.apply([partial(views(T0, 1), 1, T0)])
    rollups.tick(1.0)
    rollups.apply([partial(views(T0 + 2 * D, 1), 2, T0 + 2 * D)])
    rollups.tick(2.0)
    panes = {pane for series in rollups.books["shop"].series.values() for pane in series.panes}
    assert panes == {T0 + 2 * D}
    assert [value for _, value in rollups.drain()].count(None) == len(VIEWS.groupings)
    rollups.apply([partial(views(T0 + 2 * D - KEPT[Pane.MINUTE] - 2 * M, 1), 3, T0 + 2 * D)])
    assert {pane for series in rollups.books["shop"].series.values() for pane in series.panes} == {T0 + 2 * D}
