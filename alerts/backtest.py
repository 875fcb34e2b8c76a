"""What rules would have said of the past: every alert with how long it stood, and the measure around it."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from alerts.evaluation import Alert, millis
from alerts.playback import Playback
from alerts.rules import Rule
from streams.kpis import Window
from streams.panes import DAY, MINUTE
from streams.rollups import FAMILY_OF, pane_size_of

BEFORE, AFTER, MOST_POINTS = 24, 12, 96
"""Points of the measure kept before an alert fires and after it is resolved, and in all: of a long one every second is dropped, and so on."""
POINTS_PER_WINDOW = 12


@dataclass
class Incident:
    """One alert that would have fired. Instants and lengths in ms of event time."""

    rule: Rule
    fired: Alert
    """As it was when it fired."""
    escalated: Alert | None = None
    """As it was when its severity rose."""
    ended: Alert | None = None
    points: list[tuple[int, float | int | None]] = field(default_factory=list)
    """The measure over `window`, as of each instant."""
    window: Window = MINUTE
    step: int = MINUTE
    next: int = 0
    """Instant of the next point."""

    @property
    def started(self) -> int:
        return millis(self.fired.started)

    @property
    def values(self) -> tuple[str, ...]:
        return tuple(self.fired.dimensions[label] for label in self.rule.by)

    def lasted(self, until: int) -> int:
        """How long it stood, or has stood until then."""
        return (until if self.ended is None or self.ended.ended is None else millis(self.ended.ended)) - self.started

    def fields(self, until: int) -> dict[str, Any]:
        """For programs."""
        alert = self.fired
        return {
            "id": alert.id, "site": alert.site, "labels": alert.labels, "started": alert.started, "ended": None if self.ended is None else self.ended.ended,
            "seconds": self.lasted(until) / 1000, "severity": alert.severity, "escalated": self._escalated(),
            "value": alert.value, "usual": alert.usual, "n": alert.n, "low": alert.low, "high": alert.high,
            "numerator": alert.numerator, "window": alert.window, "threshold": alert.threshold, "annotations": alert.annotations,
            "explanation": alert.explanation, "points": self.points,
        }  # fmt: skip

    def _escalated(self) -> dict[str, Any] | None:
        alert = self.escalated
        return None if alert is None else {"at": alert.escalated, "severity": alert.severity, "value": alert.value, "usual": alert.usual}


class Backtest(Playback):
    """A playback that keeps what fires from the instant `since` (ms) on. `incidents` are in order of time."""

    since = 0

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.incidents: list[Incident] = []
        self._rules = {rule.name: rule for rule in self.rules.rules}
        self._open: dict[str, Incident] = {}
        """By id of the alert, until its last point is taken."""
        self._seen = 0

    def pass_to(self, minute: int, heard: Collection[str] | None = None) -> None:
        super().pass_to(minute, heard)
        self._follow()

    def settle(self) -> None:
        super().settle()
        self._follow()

    def _follow(self) -> None:
        """Take up what is said, and the points that are due."""
        news, self._seen = self.transitions[self._seen :], len(self.transitions)
        for alert in news:
            if alert.state == "resolved" and (known := self._open.get(alert.id)) is not None:
                known.ended = alert
            elif alert.transition == "escalated" and (known := self._open.get(alert.id)) is not None:
                known.escalated = known.escalated or alert
            elif alert.state == "firing" and alert.id not in self._open and millis(alert.started) >= self.since:
                self._open[alert.id] = incident = _incident(self._rules[alert.rule], alert)
                self.incidents.append(incident)
        for id_, incident in list(self._open.items()):
            if self._look(incident):
                del self._open[id_]

    def _look(self, incident: Incident) -> bool:
        """Take the points that are due; whether they were the last."""
        ended = None if incident.ended is None or incident.ended.ended is None else millis(incident.ended.ended)
        last = self.reached if ended is None else min(self.reached, ended + AFTER * incident.step)
        while incident.next <= last:
            reading = self.read(incident.rule, incident.fired.site, incident.values, incident.next, incident.window)
            incident.points.append((incident.next, None if reading is None else reading.value))
            incident.next += incident.step
            if len(incident.points) > MOST_POINTS:
                incident.points = incident.points[::2]
                incident.step *= 2
                incident.next = incident.points[-1][0] + incident.step
        return ended is not None and self.reached >= ended + AFTER * incident.step


def _incident(rule: Rule, alert: Alert) -> Incident:
    windows = rule.kpi.windows
    window = rule.window if rule.window in windows else windows[0]
    size = int(pane_size_of(window, FAMILY_OF[rule.kpi.name]))
    length = window if isinstance(window, int) else DAY
    step = max(size, length // POINTS_PER_WINDOW // size * size)
    started = millis(alert.started)
    return Incident(rule, alert, window=window, step=step, next=started - BEFORE * step)


# --- charts -----------------------------------------------------------------------------------------------------------

WIDTH, HEIGHT = 60, 5
_BLOCKS: Final = " ▁▂▃▄▅▆▇█"


def chart(values: Sequence[float | None], line: float | None, *, from_zero: bool) -> list[tuple[float, str]]:
    """The values as columns, with a dotted line across at `line`: rows from the top, each with the value at its upper edge."""
    known = [value for value in values if value is not None] + ([] if line is None else [line])
    if not known:
        return []
    low, high = (min(0.0, *known) if from_zero else min(known)), max(known)
    if not from_zero:
        low -= (high - low) / 4  # so that the least is seen
    scale = HEIGHT * 8 / (high - low if high - low > 1e-9 else 1.0)
    levels = [None if value is None else max(1, round((value - low) * scale)) for value in values]
    line_row = None if line is None else max(0, min(HEIGHT - 1, HEIGHT - 1 - int((line - low) * scale / 8 - 1e-9)))
    rows = []
    for row in range(HEIGHT):
        floor = (HEIGHT - 1 - row) * 8
        empty = "┈" if row == line_row else " "
        text = "".join(empty if level is None or level <= floor else _BLOCKS[min(8, level - floor)] for level in levels)
        edge = line if row == line_row and line is not None else low + (floor + 8) / scale
        rows.append((edge, text))
    return rows


def columns(points: Sequence[tuple[int, float | int | None]], width: int = WIDTH) -> list[tuple[int, float | None]]:
    """The points in at most so many columns: (when the first of each was taken, their mean)."""
    per = -(-len(points) // width) or 1
    found: list[tuple[int, float | None]] = []
    for begin in range(0, len(points), per):
        some = [value for _, value in points[begin : begin + per] if value is not None]
        found.append((points[begin][0], sum(some) / len(some) if some else None))
    return found


def column_of(found: Sequence[tuple[int, float | None]], at: datetime) -> int:
    """The column in which an instant lies."""
    return max((number for number, (begin, _) in enumerate(found) if begin <= millis(at)), default=0)
