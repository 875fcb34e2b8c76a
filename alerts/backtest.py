"""What rules would have said of the past: every alert with how long it stood, and the measure around it."""

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

from alerts.evaluation import Alert
from alerts.playback import Playback
from alerts.rules import Rule, RuleSet
from streams.events import millis
from streams.panes import DAY, MINUTE
from streams.rollups import FAMILY_OF, pane_size_of
from streams.sites import Sites
from streams.windows import Window

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

    def __init__(self, rules: RuleSet, sites: Sites | None = None, partitions: int = 1, since: int = 0) -> None:
        super().__init__(rules, sites, partitions)
        self.since = since
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
