"""What a rule asks of a reading, and the four answers there are."""

from dataclasses import dataclass
from typing import Literal

from alerts.detectors import Sensitivity
from streams.readings import Reading

Against = Literal["previous", "day_before", "week_before"]
Detector = Literal["surge", "drop", "ratio_rise", "ratio_fall"]
Verdict = Literal["breach", "between", "clear", "insufficient"]
"""`between` lies between the threshold and the clear threshold: it starts nothing and ends nothing.
`insufficient` is too little data to say: it neither fires nor resolves."""


@dataclass(frozen=True)
class Threshold:
    """Breached beyond `limit`, cleared at `clear` (hysteresis), which lies on the quiet side of the limit."""

    side: Literal["above", "below"]
    limit: float
    clear: float

    def judge(self, value: float) -> Verdict:
        sign = 1 if self.side == "above" else -1
        if sign * value > sign * self.limit:
            return "breach"
        return "clear" if sign * value <= sign * self.clear else "between"


@dataclass(frozen=True)
class Change:
    """The threshold is asked of value ÷ the earlier window's value − 1."""

    threshold: Threshold
    against: Against


@dataclass(frozen=True)
class Absent:
    """No fact was counted for `length` ms of the site's clock."""

    length: int


@dataclass(frozen=True)
class Detect:
    """Unusual for this series, by a detector that learns what is usual (alerts/detection.py)."""

    detector: Detector
    sensitivity: Sensitivity
    delay: int = 0
    """Of a count: how long (ms) after its end a pane is looked at, so that what comes late is counted."""


Condition = Threshold | Change | Absent | Detect


def judge_value(threshold: Threshold, reading: Reading, least: int, *, is_count: bool, observed: bool) -> Verdict:
    """A plain threshold on a reading.

    A count may be 0 and still say something, once the site has been `observed` for the whole window; every other measure
    needs n ≥ `least`.
    """
    if reading.value is None:
        return "insufficient"
    enough = (observed or threshold.side == "above") and reading.n >= least if is_count else reading.n >= max(1, least)
    return threshold.judge(reading.value) if enough else "insufficient"


def relative_change(value: float, earlier: float) -> float:
    """value ÷ earlier − 1."""
    return value / earlier - 1


def judge_change(threshold: Threshold, reading: Reading, earlier: Reading | None, least: int, *, is_count: bool, observed: bool) -> Verdict:
    """A threshold on the change since an earlier window.

    Of a count the larger of the two must reach `least` (a drop is judged by what was there, a rise by what came) and the
    site must have been `observed` through the earlier window; of other measures both n must.
    """
    if earlier is None or reading.value is None or earlier.value is None or earlier.value <= 0:
        return "insufficient"
    enough = observed and max(reading.n, earlier.n) >= least if is_count else min(reading.n, earlier.n) >= max(1, least)
    return threshold.judge(relative_change(reading.value, earlier.value)) if enough else "insufficient"
