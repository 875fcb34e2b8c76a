"""From readings to alerts: one rule, one label set, one instant of event time after the other. Values in, values out.

    inactive → pending → firing → (keeping) → resolved

Too little data neither fires nor resolves. While a detector's alert fires, its severity may rise, once. Instants are minutes of
the site's watermark: while it stands still, so does everything here.
"""

from datetime import datetime
from hashlib import blake2b
from typing import Literal, NamedTuple

import msgspec
from msgspec.structs import replace

from alerts.baselines import earlier, last_fact
from alerts.conditions import Absent, Change, Detect, Verdict, judge_change, judge_value, relative_change
from alerts.contributions import dimensions_of, is_about_feedback, reasons_of
from alerts.detectors import Finding
from alerts.explain import Explanation, dimensions_text, in_unit, percent, render, threshold_text, why, with_themes
from alerts.rules import Rule
from streams.durations import duration_name
from streams.events import millis
from streams.panes import DAY, HOUR, MINUTE, utc
from streams.readings import Bounds, Reading, bounds
from streams.rollups import Rollups, themes_of
from streams.windows import Live, Span, window_name

MAX_ALERT_AGE = 15 * MINUTE
"""An alert whose event time lies further behind the clock is recorded and not sent: catching up must not page."""
MAX_FLIPS = 4
"""More transitions than this within an hour are flapping: the alert that fires then says so, and stays until the hour is calm."""
RUNBOOKS = "docs/runbooks"

ESCALATION = 2.0
"""Severity rises at so many times the score at which it fired."""

Transition = Literal["firing", "escalated", "resolved"]


class Alert(msgspec.Struct, frozen=True, kw_only=True):
    """One transition of one alert, as it is written to the topic `alerts`: a contract. Instants are event times."""

    id: str
    rule: str
    site: str
    labels: dict[str, str]
    """What identifies it, for Alertmanager: for its life the same, but for `severity`, which may rise once."""
    dimensions: dict[str, str]
    severity: str
    state: Literal["firing", "resolved"]
    since: datetime
    """When the condition began to hold."""
    started: datetime
    """When it fired."""
    escalated: datetime | None = None
    """When its severity rose,"""
    escalated_from: str | None = None
    """and what it was before."""
    ended: datetime | None = None
    kpi: str
    value: float | int | None
    usual: float | None
    """What the measure said in the 24 h before it fired (alerts.baselines.usual); None without history."""
    n: int
    low: float | None
    high: float | None
    numerator: int | None
    window: Bounds
    threshold: str
    flapping: bool = False
    annotations: dict[str, str]
    explanation: Explanation | None = None
    """Why, as it was known when it fired, or when its severity rose."""

    @property
    def transition(self) -> Transition:
        """What people are told by it."""
        if self.state == "resolved":
            return "resolved"
        return "firing" if self.escalated is None else "escalated"


class Standing(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where one rule stands with one label set. Instants in ms of event time; 0: never."""

    phase: Literal["inactive", "pending", "firing"] = "inactive"
    since: int = 0
    started: int = 0
    clear_since: int = 0
    """While firing: since when it has been clear (keeping)."""
    ended: int = 0
    flips: tuple[int, ...] = ()
    """Transitions within the last hour."""
    flapping: bool = False
    sent: bool = False
    """Whether people were told that it fires, so that they must be told when it resolves."""
    alert: Alert | None = None
    """The last transition."""
    score: float = 0.0
    """Of its detector as it fired, where its severity may rise;"""
    escalated: int = 0
    """when that rose;"""
    raised: bool = False
    """and whether people were told."""


INACTIVE = Standing()


def step(standing: Standing, rule: Rule, verdict: Verdict, at: int) -> tuple[Standing, Transition | None]:
    """The standing after the verdict of the instant `at` (ms, never before the last one), and the transition, if any.

    After resolving it may not fire again within the cooldown, and never in the same minute: the id of an alert holds the
    minute in which it began.
    """
    flips = tuple(flip for flip in standing.flips if flip > at - HOUR)
    if standing.phase == "firing":
        if verdict == "insufficient":
            return standing, None
        if verdict != "clear":
            return (replace(standing, clear_since=0) if standing.clear_since else standing), None
        clear_since = standing.clear_since or at
        if at - clear_since < rule.keep or len(flips) > MAX_FLIPS:
            return (standing if standing.clear_since else replace(standing, clear_since=clear_since)), None
        return Standing(ended=at, flips=(*flips, at)), "resolved"
    if verdict != "breach":
        return (replace(standing, phase="inactive", since=0) if standing.phase == "pending" else standing), None
    since = standing.since if standing.phase == "pending" else at
    cooling = standing.ended and at < standing.ended + max(rule.cooldown, MINUTE)
    if cooling or at - since < rule.hold:
        return (standing if standing.phase == "pending" else replace(standing, phase="pending", since=since)), None
    flips = (*flips, at)
    return Standing("firing", since, at, flips=flips, flapping=len(flips) > MAX_FLIPS), "firing"


def escalate(standing: Standing, rule: Rule, measured: "Measured", at: int) -> Standing:
    """A firing standing as of the instant `at` (ms), its severity risen where the rule says so and its score is twice that at which it fired: once."""
    if rule.escalate is None or measured.finding is None or measured.verdict != "breach":
        return standing
    if standing.started == at:
        return replace(standing, score=measured.finding.score)
    if standing.escalated or not standing.score or measured.finding.score < ESCALATION * standing.score:
        return standing
    return replace(standing, escalated=at)


def is_over(standing: Standing, rule: Rule, at: int) -> bool:
    """Whether nothing of a standing matters any more."""
    return standing.phase == "inactive" and at >= standing.ended + max(rule.cooldown, HOUR)


class Measured(NamedTuple):
    """What a rule sees of a label set at an instant."""

    verdict: Verdict
    value: float | int | None = None
    n: int = 0
    low: float | None = None
    high: float | None = None
    numerator: int | None = None
    window: Bounds | None = None
    earlier: float | None = None
    """The value a change is measured against."""
    finding: Finding | None = None
    """What its detector says."""


def measure(rollups: Rollups, rule: Rule, site: str, values: tuple[str, ...], at: int, since: int, live: Reading | None = None) -> Measured:
    """Judge one label set as of the watermark `at`, of a site observed `since` (both ms).

    `live` is the published reading of a live window, which follows the newest event instead. What a detector says depends on
    what it has learnt: see alerts.detection.
    """
    kpi, condition, window = rule.kpi, rule.condition, rule.window
    assert not isinstance(condition, Detect)
    if isinstance(condition, Absent):
        return _measure_absent(rollups, rule, condition, site, values, at)
    reading = live if isinstance(window, Live) else rollups.read_as_of(site, kpi, rule.by, values, window, at)
    if reading is None:
        return Measured("insufficient")
    counts = kpi.unit == "count"
    start, end = millis(reading.window.start), millis(reading.window.end)
    before: Reading | None = None
    if isinstance(condition, Change):
        before = earlier(rollups, site, kpi, rule.by, values, window, start, end, condition.against)
        begun = start if before is None else millis(before.window.start)
        threshold = condition.threshold
    else:
        begun, threshold = start, condition
    observed = not counts or isinstance(window, Live) or since <= begun
    if isinstance(condition, Change):
        verdict = judge_change(threshold, reading, before, rule.least, is_count=counts, observed=observed)
    else:
        verdict = judge_value(threshold, reading, rule.least, is_count=counts, observed=observed)
    value_before = None if before is None else before.value
    return Measured(verdict, reading.value, reading.n, reading.low, reading.high, reading.numerator, reading.window, value_before)


def _measure_absent(rollups: Rollups, rule: Rule, condition: Absent, site: str, values: tuple[str, ...], at: int) -> Measured:
    last = last_fact(rollups, site, rule.kpi, rule.by, values, at)
    day = rollups.read_as_of(site, rule.kpi, rule.by, values, DAY, at)
    if last is None or day is None:
        return Measured("insufficient")
    verdict: Verdict = "clear"
    if at - last >= condition.length:
        verdict = "breach" if day.n >= rule.least else "insufficient"
    return Measured(verdict, 0, day.n, window=bounds(min(last, at), at))


def alert_id(labels: dict[str, str], started: int) -> str:
    """The same for the same rule, label set and minute in which it fired, whoever says it and how often."""
    return blake2b(msgspec.json.encode([sorted(labels.items()), started]), digest_size=12).hexdigest()


def firing_alert(
    rule: Rule,
    site: str,
    values: tuple[str, ...],
    standing: Standing,
    measured: Measured,
    usual: float | None,
    runbooks: str = RUNBOOKS,
    explanation: Explanation | None = None,
) -> Alert:
    """The alert of a firing standing as it is measured now. `usual` and `explanation` are those of the moment it fired: an incident is not its own baseline."""
    first, labels = rule.alert_labels(site, values), rule.alert_labels(site, values, escalated=standing.escalated > 0)
    texts = texts_of(rule, site, values, standing, measured, usual, runbooks)
    annotations = render(rule, texts)
    if explanation is not None:
        annotations.setdefault("why", explanation.text)
    if measured.finding is not None and measured.finding.note:
        annotations["note"] = measured.finding.note
    if standing.flapping:
        annotations["flapping"] = "true"
    if standing.escalated:
        annotations["escalated"] = f"from {rule.severity} at {instant(utc(standing.escalated))}"
    return Alert(
        id=alert_id(first, standing.started), rule=rule.name, site=site, labels=labels, dimensions=dict(zip(rule.by, values, strict=True)),
        severity=labels["severity"], state="firing", since=utc(standing.since), started=utc(standing.started),
        escalated=utc(standing.escalated) if standing.escalated else None, escalated_from=rule.severity if standing.escalated else None,
        kpi=rule.kpi.name, value=measured.value, usual=usual, n=measured.n, low=measured.low, high=measured.high, numerator=measured.numerator,
        window=_window_of(standing, measured), threshold=texts["threshold"], flapping=standing.flapping, annotations=annotations, explanation=explanation,
    )  # fmt: skip


def explained(
    rollups: Rollups, rule: Rule, site: str, values: tuple[str, ...], standing: Standing, measured: Measured, usual: float | None, days: float | None = None
) -> Explanation:
    """Why a rule fires now: what it measured beside what is usual, where the difference comes from, and what people say.

    `days` is how rare this is, where a detector knows it.
    """
    window, expected = measured.window, measured.earlier if isinstance(rule.condition, Change) else usual
    texts, found = texts_of(rule, site, values, standing, measured, usual), measured.finding
    if window is None:
        return why(rule, texts, found, days)
    span = Span(millis(window.start), millis(window.end))
    dimensions = () if expected is None else dimensions_of(rollups, rule, site, values, span, expected)
    explanation = why(rule, texts, found, days, dimensions, reasons_of(rollups, rule, site, values, span))
    return told_more(rollups, rule, site, explanation, span.end)


def told_more(rollups: Rollups, rule: Rule, site: str, explanation: Explanation, at: int) -> Explanation:
    """The same with what is known by now (ms) that was not when it fired: themes need enough texts."""
    if explanation.themes or not is_about_feedback(rule):
        return explanation
    return with_themes(explanation, [theme.gram for theme in themes_of(rollups, site, at - 1)])


def texts_of(
    rule: Rule, site: str, values: tuple[str, ...], standing: Standing, measured: Measured, usual: float | None, runbooks: str = RUNBOOKS
) -> dict[str, str]:
    """A text for each of TEMPLATE_FIELDS."""
    window, kpi, condition = _window_of(standing, measured), rule.kpi, rule.condition
    is_change = isinstance(condition, Change)
    change = relative_change(measured.value, measured.earlier) if is_change and measured.value is not None and measured.earlier else None
    length = duration_name(condition.length) if isinstance(condition, Absent) else window_name(rule.window)
    if isinstance(condition, Detect):
        length = duration_name(max(MINUTE, millis(window.end) - millis(window.start)))
    return {
        "value": in_unit(kpi, measured.value), "usual": in_unit(kpi, usual), "earlier": in_unit(kpi, measured.earlier), "change": percent(change),
        "n": f"{measured.n:,}", "low": in_unit(kpi, measured.low), "high": in_unit(kpi, measured.high),
        "numerator": "unknown" if measured.numerator is None else f"{measured.numerator:,}", "window": length,
        "start": instant(window.start), "end": instant(window.end), "since": instant(utc(standing.since)),
        "site": site, "dimensions": dimensions_text(dict(zip(rule.by, values, strict=True))), "kpi": kpi.name,
        "threshold": threshold_text(kpi, condition), "runbooks": runbooks,
    }  # fmt: skip


def _window_of(standing: Standing, measured: Measured) -> Bounds:
    return measured.window or bounds(standing.started, standing.started)


def resolved(alert: Alert, at: int) -> Alert:
    """The end of a firing alert."""
    return replace(alert, state="resolved", ended=utc(at))


def unescalated(alert: Alert) -> Alert:
    """The alert as it was before its severity rose, with the figures of now: as those know it who were not told."""
    if alert.escalated_from is None:
        return alert
    labels = alert.labels | {"severity": alert.escalated_from}
    annotations = {name: text for name, text in alert.annotations.items() if name != "escalated"}
    return replace(alert, severity=alert.escalated_from, labels=labels, annotations=annotations, escalated=None, escalated_from=None)


def is_of(alert: Alert, rule: Rule, site: str, values: tuple[str, ...]) -> bool:
    """Whether the rule, as it is now, still says this of a label set under the same labels."""
    labels = rule.alert_labels(site, values, escalated=alert.escalated is not None)
    return (alert.kpi, alert.labels, unescalated(alert).labels) == (rule.kpi.name, labels, rule.alert_labels(site, values))


def instant(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"
