"""A rule as it is in force: what it asks, of which measure, for how long, and what identifies its alerts."""

from dataclasses import dataclass
from typing import Literal, get_args

from alerts.conditions import Condition, Detector
from streams.aggregates import Count, Either, Share, Sum
from streams.kpis import Kpi
from streams.panes import Pane
from streams.rollups import FAMILY_OF
from streams.windows import Live, Window

Severity = Literal["page", "ticket", "info"]
SEVERITIES: tuple[Severity, ...] = get_args(Severity)
"""The gravest first."""
RATIO_DETECTORS: tuple[Detector, ...] = ("ratio_rise", "ratio_fall")


@dataclass(frozen=True)
class Rule:
    """One alert, compiled. Durations in ms."""

    name: str
    group: str
    kpi: Kpi
    by: tuple[str, ...]
    """One of the measure's groupings, or () for the total of the site."""
    where: tuple[tuple[str, str], ...]
    window: Window
    condition: Condition
    hold: int
    """`for`: how long the condition must hold before it fires."""
    keep: int
    """`keep_firing_for`: how long it must be clear before it resolves."""
    cooldown: int
    """How long after resolving it may not fire again."""
    least: int
    sites: frozenset[str]
    """Empty: all."""
    labels: tuple[tuple[str, str], ...]
    annotations: tuple[tuple[str, str], ...]
    escalate: Severity | None = None
    """To what its severity rises, once, while it fires."""

    @property
    def severity(self) -> str:
        return dict(self.labels)["severity"]

    def admits(self, site: str, values: tuple[str, ...]) -> bool:
        """Whether the rule is about this label set of this site."""
        of = dict(zip(self.by, values, strict=False))
        return (not self.sites or site in self.sites) and len(values) == len(self.by) and all(of[label] == value for label, value in self.where)

    def alert_labels(self, site: str, values: tuple[str, ...], *, escalated: bool = False) -> dict[str, str]:
        """What identifies an alert: never a value, a count or a time. Alertmanager drops empty values, so they are left out."""
        labels = {"alertname": self.name, "service": "engagement", "site": site, **dict(self.labels), **dict(zip(self.by, values, strict=True))}
        if escalated:
            labels["severity"] = self.escalate or self.severity
        return {name: value for name, value in labels.items() if value}


@dataclass(frozen=True)
class RuleSet:
    """Rules in force. Equal names do not occur."""

    rules: tuple[Rule, ...] = ()

    def of_site(self, site: str) -> tuple[Rule, ...]:
        return tuple(rule for rule in self.rules if not rule.sites or site in rule.sites)


def is_detectable(kpi: Kpi, detector: Detector) -> bool:
    """Whether a detector fits a measure: surges and drops are found in counts per pane, rises and falls in shares of outcomes of less than a day."""
    by_days, value = FAMILY_OF[kpi.name].fact.panes[0] is Pane.DAY, kpi.value
    if detector in RATIO_DETECTORS:
        return not by_days and isinstance(value.first if isinstance(value, Either) else value, Share)
    in_panes = not isinstance(kpi.windows[0], Live) and (not by_days or "day" in kpi.windows)
    return kpi.unit == "count" and isinstance(value, Count | Sum) and in_panes
