"""The windows that measures are read over, and where they stand at an instant."""

from dataclasses import dataclass
from datetime import tzinfo
from functools import cache
from typing import Literal, NamedTuple

from streams.panes import DAY, HOUR, MINUTE, Pane, add_days, add_months, day_start, month_start, week_start

Calendar = Literal["day", "week", "month"]


@dataclass(frozen=True)
class Live:
    """A window of the minute of the newest event time and those before it (`minutes` in all)."""

    minutes: int


Window = int | Calendar | Live
"""A sliding length in ms (whole days where it is a multiple of a day), the last complete calendar period, or a live gauge."""


class Span(NamedTuple):
    """A window as it stands: [start, end) in ms."""

    start: int
    end: int


@cache
def window_name(window: Window) -> str:
    """As people write it: 5m, 1h, 24h, day, 7d, live5m."""
    if isinstance(window, Live):
        return f"live{window.minutes}m"
    if isinstance(window, str):
        return window
    if window > DAY and window % DAY == 0:
        return f"{window // DAY}d"
    return f"{window // HOUR}h" if window % HOUR == 0 else f"{window // MINUTE}m"


def span_of(window: Window, size: Pane, reached: int, newest: int, zone: tzinfo) -> Span:
    """Where a window stands: it ends with the last complete pane at or before the instant up to which panes have matured."""
    if isinstance(window, Live):
        end = newest - newest % size + size
        return Span(end - window.minutes * MINUTE, end)
    if size is not Pane.DAY:
        end = reached - reached % size
        return Span(end - window, end) if isinstance(window, int) else Span(day_start(end, zone), end)
    today = day_start(reached, zone)
    if window == "week":
        end = week_start(today, zone)
        return Span(add_days(end, -7, zone), end)
    if window == "month":
        end = month_start(today, zone)
        return Span(add_months(end, -1, zone), end)
    days = 1 if window == "day" else int(window) // DAY
    return Span(add_days(today, -days, zone), today)
