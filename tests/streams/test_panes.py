"""Panes: alignment, days of 23 and 25 hours, weeks from Monday, months."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.events import EARLIEST, LATEST
from streams.panes import (
    DAY,
    HOUR,
    MINUTE,
    QUARTER_HOUR,
    Pane,
    add_days,
    add_months,
    day_start,
    month_start,
    pane_end,
    pane_start,
    week_start,
)  # fmt: skip

BERLIN = ZoneInfo("Europe/Berlin")
ZONES = [
    UTC, BERLIN, *map(ZoneInfo, ("America/New_York", "Asia/Kathmandu", "Australia/Lord_Howe", "America/Havana", "Africa/Cairo", "Pacific/Apia"))
]  # fmt: skip


def ms(text: str, zone=UTC) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=zone).timestamp()) * 1000


@pytest.mark.parametrize(
    ("date", "hours"), [("2026-03-29", 23), ("2026-10-25", 25), ("2026-03-28", 24), ("2026-03-30", 24), ("2026-10-24", 24), ("2026-10-26", 24)]
)
def test_days_around_the_clock_change_in_berlin(date, hours):
    start = ms(date, BERLIN)
    end = start + hours * HOUR
    for at in (start, start + 12 * HOUR, end - 1):
        assert day_start(at, BERLIN) == start
    assert day_start(start - 1, BERLIN) < start
    assert day_start(end, BERLIN) == end == pane_end(start, Pane.DAY, BERLIN) == add_days(start, 1, BERLIN)
    assert add_days(end, -1, BERLIN) == start


def test_weeks_begin_on_monday():
    monday = ms("2026-03-23", BERLIN)
    days = [add_days(monday, number, BERLIN) for number in range(8)]
    assert {week_start(day, BERLIN) for day in days[:7]} == {monday}
    assert week_start(days[7], BERLIN) == days[7] == monday + 7 * DAY - HOUR, "the week of the clock change is an hour short"


def test_months_have_their_own_lengths():
    for start, end in (("2026-02-01", "2026-03-01"), ("2024-02-01", "2024-03-01"), ("2026-12-01", "2027-01-01"), ("2026-03-01", "2026-04-01")):
        first, after = ms(start, BERLIN), ms(end, BERLIN)
        assert month_start(add_days(after, -1, BERLIN), BERLIN) == first
        assert add_months(first, 1, BERLIN) == after
        assert add_months(after, -1, BERLIN) == first


def test_minutes_and_quarter_hours_are_aligned_to_the_epoch():
    at = ms("2026-03-02T09:44:59") + 999
    assert pane_start(at, Pane.MINUTE, BERLIN) == ms("2026-03-02T09:44:00")
    assert pane_start(at, Pane.QUARTER_HOUR, BERLIN) == ms("2026-03-02T09:30:00")
    assert pane_end(ms("2026-03-02T09:30:00"), Pane.QUARTER_HOUR, BERLIN) == ms("2026-03-02T09:45:00")
    assert (Pane.MINUTE, Pane.QUARTER_HOUR, Pane.DAY) == (MINUTE, QUARTER_HOUR, DAY)


@given(st.integers(EARLIEST + DAY, LATEST - 2 * DAY), st.sampled_from(ZONES))
def test_every_instant_lies_in_its_own_panes(at, zone):
    for size in Pane:
        start = pane_start(at, size, zone)
        assert start <= at < pane_end(start, size, zone)
        assert pane_start(start, size, zone) == start
    day = day_start(at, zone)
    here = datetime.fromtimestamp(at / 1000, zone)
    assert datetime.fromtimestamp(day / 1000, zone).date() == here.date()
    week = datetime.fromtimestamp(week_start(day, zone) / 1000, zone)
    assert week.weekday() == 0
    assert timedelta(0) <= here.date() - week.date() < timedelta(7)
    month = datetime.fromtimestamp(month_start(day, zone) / 1000, zone)
    assert (month.year, month.month, month.day) == (here.year, here.month, 1)
