"""A reading: what a measure says for one label set and window, with its n, its bounds and whether they suffice."""

from datetime import datetime
from functools import lru_cache
from typing import Literal

import msgspec

from streams.aggregates import Cell
from streams.engagement import Family
from streams.kpis import Kpi
from streams.panes import utc
from streams.windows import Window

State = Literal["ok", "no_data", "insufficient_data"]
AlertState = Literal["learning", "normal", "firing"]


class Bounds(msgspec.Struct, frozen=True):
    """[start, end) of a window."""

    start: datetime
    end: datetime


class PublishedReading(msgspec.Struct, frozen=True, omit_defaults=True):
    """One value, as it is written to the topic and to files: a contract. `low` and `high` are the 95 % Wilson bounds of a ratio.

    `alert_state` is what detectors say of the label set, or that an alert on it fires; absent where neither speaks.
    `learning_until` is when a detector that learns will begin to speak.
    """

    kpi: str
    site: str
    dimensions: dict[str, str]
    window: Bounds
    value: float | int | None
    n: int
    low: float | None
    high: float | None
    state: State
    alert_state: AlertState | None = None
    learning_until: datetime | None = None


class Reading(PublishedReading, frozen=True, kw_only=True):
    """The same with what stays inside the process: `length` names the window among the measure's."""

    length: Window
    numerator: int | None = None


@lru_cache(maxsize=4_096)
def bounds(start: int, end: int) -> Bounds:
    return Bounds(utc(start), utc(end))


def read(
    kpi: Kpi, family: Family, site: str, grouping: tuple[str, ...], labels: tuple[str, ...], window: Window, start: int, end: int, cell: Cell, whole: Cell
) -> Reading:
    """Read a measure from the sum of its panes; `whole` is the same sum over all labels."""
    indices = family.indices[kpi.name]
    result = kpi.value.result([cell[index] for index in indices], [whole[index] for index in indices])
    state: State = "ok"
    if result.n <= 0:
        state = "no_data"
    elif result.n < kpi.least:
        state = "insufficient_data"
    dimensions = dict(zip(grouping, labels, strict=True))
    between = bounds(start, end)
    return Reading(kpi.name, site, dimensions, between, result.value, result.n, result.low, result.high, state, length=window, numerator=result.numerator)


def published(reading: Reading) -> PublishedReading:
    """The part of a reading that leaves the process."""
    return PublishedReading(
        reading.kpi, reading.site, reading.dimensions, reading.window, reading.value, reading.n, reading.low, reading.high, reading.state,
        reading.alert_state, reading.learning_until,
    )  # fmt: skip
