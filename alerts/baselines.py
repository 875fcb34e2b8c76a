"""What a measure said before: the window a change is measured against, what is usual, and when it last counted anything."""

from alerts.conditions import Against
from streams.aggregates import is_empty
from streams.events import millis
from streams.kpis import Kpi
from streams.panes import DAY, Pane, add_days
from streams.readings import Reading
from streams.rollups import FAMILY_OF, KEPT, Rollups, pane_size_of
from streams.windows import Live, Window

Labels = tuple[str, ...]
DAYS_BACK = {"day_before": 1, "week_before": 7}


def read_ending(rollups: Rollups, site: str, kpi: Kpi, by: Labels, values: Labels, window: Window, end: int) -> Reading | None:
    """A measure over the window that ends at `end` (ms; a pane's edge), by the panes held today."""
    return rollups.read_as_of(site, kpi, by, values, window, end + kpi.maturity(rollups.sites[site], by, values))


def earlier(rollups: Rollups, site: str, kpi: Kpi, by: Labels, values: Labels, window: Window, start: int, end: int, against: Against) -> Reading | None:
    """The reading that a change is measured against: of the window just before, or of the same hours a day or a week before."""
    if against == "previous":
        return read_ending(rollups, site, kpi, by, values, window, start)
    days = DAYS_BACK[against]
    whole_days = pane_size_of(window, FAMILY_OF[kpi.name]) is Pane.DAY
    then = add_days(end, -days, rollups.sites[site].zone) if whole_days else end - days * DAY
    return read_ending(rollups, site, kpi, by, values, window, then)


def reach(window: Window, against: Against) -> int:
    """How long (ms) before the end of a window the one begins that it is compared with; 0 where there is none, or they overlap."""
    if isinstance(window, Live) or window in ("week", "month"):
        return 0
    length = DAY if window == "day" else int(window)
    back = length if against == "previous" else DAYS_BACK[against] * DAY
    return back + length if back >= length else 0


def is_kept(kpi: Kpi, window: Window, against: Against) -> bool:
    """Whether the panes of the window that it is compared with are kept until it is."""
    back, size = reach(window, against), pane_size_of(window, FAMILY_OF[kpi.name])
    return back > 0 and back + kpi.matures + size <= KEPT[size]


def usual(rollups: Rollups, site: str, kpi: Kpi, by: Labels, values: Labels, window: Window, start: int, since: int) -> float | None:
    """What the measure said before the window that starts at `start`: over the 24 h before; None where there is no history.

    A count is scaled to the window's length, by the part of the 24 h that was observed (`since`, ms). Windows of 24 h and more have the
    window before; 24 h of a measure by minutes, whose fine panes do not reach so far, the last whole day before.
    """
    if isinstance(window, Live):
        return None
    family = FAMILY_OF[kpi.name]
    is_count = kpi.unit == "count"
    before: Window = window
    if isinstance(window, int) and window < DAY:
        before = DAY
    elif window == DAY and pane_size_of(window, family) is Pane.MINUTE:
        before = "day"
    reading = read_ending(rollups, site, kpi, by, values, before, start)
    if reading is None or reading.value is None or (reading.state != "ok" and not is_count):
        return None
    if not is_count:
        return reading.value
    begun, length = millis(reading.window.start), window if isinstance(window, int) else 0
    if length >= DAY or not length:
        return reading.value if since <= begun else None
    observed = start - max(since, begun)
    return reading.value * length / observed if observed >= length else None


def last_fact(rollups: Rollups, site: str, kpi: Kpi, by: Labels, values: Labels, until: int) -> int | None:
    """End (ms) of the last minute before `until` in which the measure counted something; None when it is not kept any more."""
    book, family = rollups.books.get(site), FAMILY_OF[kpi.name]
    series = book.series.get((family.fact.name, int(Pane.MINUTE), by, values)) if book is not None else None
    if series is None:
        return None
    slots = family.indices[kpi.name]
    for pane in range(until - Pane.MINUTE, until - KEPT[Pane.MINUTE], -Pane.MINUTE):
        cell = series.panes.get(pane)
        if cell is not None and not is_empty([cell[slot] for slot in slots]):
            return pane + Pane.MINUTE
    return None
