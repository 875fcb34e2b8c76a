"""Unique visitors: one fact per subject and calendar day, week and month, with the labels of its earliest page view there."""

from datetime import tzinfo

import msgspec

from streams.panes import GRACE, Pane, add_months, day_start, month_start, week_start

DAILY, WEEKLY, MONTHLY = 1, 2, 4
PERIODS = (DAILY, WEEKLY, MONTHLY)


class FirstView(msgspec.Struct, array_like=True, eq=False, gc=False):
    """The earliest page view of a subject in one or more calendar periods (`periods`: sum of DAILY, WEEKLY, MONTHLY)."""

    at: int
    id: str
    periods: int
    segment: str
    channel: str
    source: str

    @property
    def labels(self) -> tuple[str, ...]:
        return (self.segment, self.channel, self.source)


def period_start(period: int, day: int, zone: tzinfo) -> int:
    """Start of the calendar period that holds the day beginning at `day`."""
    if period == DAILY:
        return day
    return week_start(day, zone) if period == WEEKLY else month_start(day, zone)


def place(views: list[FirstView], new: FirstView, zone: tzinfo) -> list[tuple[int, int, FirstView | None]]:
    """Which periods a page view is now the first of: (period, its start, the view it displaces or None).

    Updates `views` in place; `new.periods` ends as the periods it holds.
    """
    day = day_start(new.at, zone)
    changes: list[tuple[int, int, FirstView | None]] = []
    for period in PERIODS:
        start = period_start(period, day, zone)
        holder = next((view for view in views if view.periods & period and period_start(period, day_start(view.at, zone), zone) == start), None)
        if holder is not None:
            if (holder.at, holder.id) <= (new.at, new.id):
                continue
            holder.periods &= ~period
        new.periods |= period
        changes.append((period, start, holder))
    if changes:
        views[:] = [view for view in views if view.periods]
        views.append(new)
    return changes


def is_settled(view: FirstView, watermark: int, zone: tzinfo) -> bool:
    """Whether every period the view may be the first of lies behind the grace."""
    month_end = add_months(month_start(day_start(view.at, zone), zone), 1, zone)
    return month_end + 7 * Pane.DAY < watermark - GRACE[Pane.DAY]
