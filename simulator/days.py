"""How busy a site is: by the hour of its day and the day of its week."""

from datetime import datetime, tzinfo
from functools import lru_cache
from typing import Final, NamedTuple

from streams.panes import QUARTER_HOUR


class DayShape(NamedTuple):
    """Traffic relative to an average hour: 24 hours of the local day, 7 days from Monday. Both have a mean of about 1."""

    hours: tuple[float, ...]
    weekdays: tuple[float, ...]


SHOPPING: Final = DayShape(
    (0.35, 0.20, 0.14, 0.12, 0.14, 0.25, 0.50, 0.80, 1.00, 1.15, 1.25, 1.30, 1.35, 1.30, 1.20, 1.20, 1.25, 1.35, 1.55, 1.75, 1.90, 1.80, 1.35, 0.80),
    (1.00, 0.97, 0.98, 0.97, 0.92, 0.98, 1.18),
)
"""People shop in the evening and on Sundays."""
WORKING: Final = DayShape(
    (0.15, 0.10, 0.08, 0.08, 0.10, 0.20, 0.55, 1.20, 2.00, 2.15, 2.20, 2.00, 1.70, 1.95, 2.10, 1.79, 1.80, 1.20, 0.70, 0.55, 0.50, 0.40, 0.30, 0.20),
    (1.30, 1.35, 1.35, 1.28, 1.05, 0.34, 0.33),
)
"""People use an office tool in office hours."""


def busyness(at: int, zone: tzinfo, shape: DayShape) -> float:
    """Traffic at an instant (ms) relative to the average; constant within a quarter hour."""
    return _busyness(at // QUARTER_HOUR, zone, shape)


@lru_cache(maxsize=4_096)
def _busyness(quarter: int, zone: tzinfo, shape: DayShape) -> float:
    local = datetime.fromtimestamp(quarter * QUARTER_HOUR / 1000, zone)
    hour, part = local.hour, local.minute / 60
    along = shape.hours[hour] * (1 - part) + shape.hours[(hour + 1) % 24] * part
    return along * shape.weekdays[local.weekday()]
