"""Event time cut into tumbling panes, and how far behind the watermark an event may still be counted.

All instants are integer milliseconds since the Unix epoch, UTC. Minutes and quarter hours are aligned to the epoch;
days, weeks and months begin at midnight in the site's time zone.
"""

from collections.abc import Collection
from datetime import UTC, datetime, timedelta, tzinfo
from enum import IntEnum
from functools import lru_cache

SECOND = 1_000
MINUTE = 60 * SECOND
QUARTER_HOUR = 15 * MINUTE
HOUR = 60 * MINUTE
DAY = 24 * HOUR

WATERMARK_DELAY = 5 * SECOND
"""The watermark of a topic and partition is the newest event time less this."""
IDLE_SECONDS = 30.0
"""A topic, or a source partition of a site, that has been silent for so long no longer holds the watermark back."""
AHEAD_OF_RECEIPT = 60 * SECOND
"""An event that claims to be further ahead of its receipt is clamped to the receipt."""
TOO_OLD = 400 * DAY


class Pane(IntEnum):
    """Sizes of panes; the value is the length in milliseconds (of a day: the nominal one)."""

    MINUTE = MINUTE
    QUARTER_HOUR = QUARTER_HOUR
    DAY = DAY


GRACE = {Pane.MINUTE: HOUR, Pane.QUARTER_HOUR: 26 * HOUR, Pane.DAY: 8 * DAY}
"""How far behind the watermark of its topic and partition an event still counts in panes of that size."""


APART = 15 * DAY
"""How far one topic may be behind another until what is counted from both no longer waits for it: longer than topics are kept."""


def reached_by_all(reached: Collection[int]) -> int:
    """The instant that several topics have been read up to, each up to its own; 0 is one that has not begun."""
    return max(min(reached), max(reached) - APART)


def day_start(at: int, zone: tzinfo) -> int:
    """Midnight, in `zone`, of the day that holds `at`."""
    if zone is UTC:
        return at - at % DAY
    # Every zone's offset since 1990 is a multiple of a quarter hour, so one look-up serves a whole quarter.
    return _zoned_day_start(at - at % QUARTER_HOUR, zone)


@lru_cache(maxsize=65_536)
def _zoned_day_start(at: int, zone: tzinfo) -> int:
    return _midnight(local(at, zone))


def week_start(day: int, zone: tzinfo) -> int:
    """Monday's midnight of the week that holds the day starting at `day`."""
    return _period_starts(day, zone)[0]


def month_start(day: int, zone: tzinfo) -> int:
    """Midnight of the first of the month that holds the day starting at `day`."""
    return _period_starts(day, zone)[1]


@lru_cache(maxsize=4_096)
def _period_starts(day: int, zone: tzinfo) -> tuple[int, int]:
    first = local(day, zone)
    return _midnight(first - timedelta(days=first.weekday())), _midnight(first.replace(day=1))


@lru_cache(maxsize=4_096)
def add_days(day: int, days: int, zone: tzinfo) -> int:
    """The midnight `days` calendar days after (or before) the midnight `day`; days of 23 and 25 hours count as one."""
    return _midnight(local(day, zone) + timedelta(days=days))


@lru_cache(maxsize=4_096)
def add_months(day: int, months: int, zone: tzinfo) -> int:
    """The first of the month `months` after (or before) the month that begins at `day`."""
    first = local(day, zone)
    index = first.year * 12 + first.month - 1 + months
    return _midnight(first.replace(year=index // 12, month=index % 12 + 1, day=1))


def local(at: int, zone: tzinfo) -> datetime:
    return datetime.fromtimestamp(at / SECOND, zone)


def utc(at: int) -> datetime:
    return datetime.fromtimestamp(at / SECOND, UTC)


def _midnight(day: datetime) -> int:
    # The naive date is placed in the zone anew, so that the offset valid at that midnight is used.
    return int(datetime(day.year, day.month, day.day, tzinfo=day.tzinfo).timestamp()) * SECOND


def pane_start(at: int, size: Pane, zone: tzinfo) -> int:
    """Start of the pane of `size` that holds `at`."""
    return day_start(at, zone) if size is Pane.DAY else at - at % size


def pane_end(start: int, size: Pane, zone: tzinfo) -> int:
    """End (exclusive) of the pane that begins at `start`."""
    return add_days(start, 1, zone) if size is Pane.DAY else start + size
