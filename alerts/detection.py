"""Detectors over the panes of a site: which panes they are fed, in which order, and what a finding means for a rule.

Every complete pane is fed once, in order of event time, as it is when the site's clock passes it (for counts: the rule's delay later). Outcomes of a
share that come late, within the grace of their pane, are fed with the next pane; a count that was judged is not judged again.
What is not known is never fed as zero: only events move the clock that decides (a silence of everything stops the detectors, where `absent` goes on),
and an hour or more in which nothing at all was counted of a site, and no clock moved, is unknown afterwards.
A series that is not kept any more is one of which nothing was counted: what was learnt of it stays, and counts go on, for 28 days.
"""

from collections.abc import Iterator, Sequence
from math import exp

import msgspec

from alerts.conditions import Detect, Detector, Verdict
from alerts.detectors import UNJUDGED, Finding, counts, ratios
from alerts.evaluation import Measured
from alerts.rules import RATIO_DETECTORS, Rule, RuleSet
from streams.aggregates import Cell, is_empty, wilson
from streams.panes import DAY, GRACE, HOUR, MINUTE, Pane, pane_end
from streams.readings import bounds
from streams.rollups import FAMILY_OF, KEPT, Rollups, Series, SiteBook
from streams.sites import Site, Sites
from streams.windows import Span

COUNT_STEP = 5 * MINUTE
"""Detectors of counts by minutes look every five minutes, as those that were measured did (docs/detection.md)."""
SILENCE = HOUR
MAX_DETECTIONS = 200
"""Label sets of a rule and site that have a detector, at most: the first to come keep theirs, while something is kept of them."""
REMEMBERED = 28 * DAY
"""How long what was learnt of a series outlasts its last fact."""


class Detection(msgspec.Struct, kw_only=True, tag_field="of"):
    """The detector of one rule and label set: a row of the state topic. Instants in ms."""

    kpi: str
    detector: Detector
    next: int
    """Start of the first pane that is not fed yet."""
    finding: Finding = UNJUDGED
    """What it said last, of the window that ended at"""
    end: int = 0
    over: int = 0
    """`since` of the last incident that ended: when it opens once more, nobody is told again."""
    last: int = 0
    """End of the last pane of which anything was counted."""


class CountDetection(Detection, tag="counts"):
    state: counts.CountState


class RatioDetection(Detection, tag="ratios"):
    state: ratios.RatioState
    first: int
    """Start of the first pane."""
    fed: dict[int, tuple[int, int]] = {}
    """Hits and outcomes of the panes that were fed and may still grow."""


AnyDetection = CountDetection | RatioDetection


def fits(detection: Detection, rule: Rule) -> bool:
    """Whether what was learnt is about what the rule asks."""
    return isinstance(rule.condition, Detect) and (detection.kpi, detection.detector) == (rule.kpi.name, rule.condition.detector)


def begin(rollups: Rollups, rule: Rule, site: str, values: tuple[str, ...], at: int, since: int) -> AnyDetection | None:
    """A detector that will start with the first fact kept of a label set, of a site observed `since` (ms); None while there is none.

    So a new rule learns at once from what is held: 26 hours of minutes, 15 days of quarter hours.
    """
    assert isinstance(rule.condition, Detect)
    series, kpi = _series(rollups, rule, site, values), rule.kpi.name
    if not is_fed(rule, rollups.sites[site]):
        return None
    earliest, indices = max(since, at - KEPT[series.size]), series.family.indices[kpi]
    first = min((pane for pane, cell in series.panes.items() if pane >= earliest and not is_empty([cell[index] for index in indices])), default=None)
    if first is None:
        return None
    if rule.condition.detector in RATIO_DETECTORS:
        return RatioDetection(kpi=kpi, detector=rule.condition.detector, next=first, state=ratios.start(), first=first)
    step = step_of(series)
    if step != DAY:
        first += -first % step if first - first % step < earliest else -(first % step)
    return CountDetection(kpi=kpi, detector=rule.condition.detector, next=first, state=counts.start(step))


def is_fed(rule: Rule, site: Site) -> bool:
    """Whether a detector of shares sees panes before they are dropped, with an hour to spare: not where outcomes are known later than that."""
    is_share = isinstance(rule.condition, Detect) and rule.condition.detector in RATIO_DETECTORS
    size = FAMILY_OF[rule.kpi.name].fact.panes[0]
    return not is_share or rule.kpi.maturity(site, (), ()) + size + HOUR <= KEPT[size]


def unfed(rules: RuleSet, sites: Sites) -> Iterator[str]:
    """A sentence for each rule and site whose detector would never see an outcome (`is_fed`)."""
    for rule in rules.rules:
        asked = {f"site {name}": sites[name] for name in sorted(rule.sites or sites.named)}
        if not rule.sites:
            asked["sites not named"] = sites.default
        for name, site in asked.items():
            if not is_fed(rule, site):
                waits, kept = rule.kpi.maturity(site, (), ()) // HOUR, KEPT[FAMILY_OF[rule.kpi.name].fact.panes[0]] // HOUR
                yield (
                    f"{rule.name}, {name}: nothing is learnt of {rule.kpi.name}, whose outcomes are known after {waits} h while panes are kept for {kept} h;"
                    " there use a threshold over days (`window: 7d`) instead of `detect`"
                )


def step_of(series: Series) -> int:
    """Length (ms) of the panes that a detector of counts is fed."""
    return COUNT_STEP if series.size is Pane.MINUTE else int(series.size)


def reached(book: SiteBook) -> int:
    """Instant (ms) up to which events, not idle time, moved a site's clock."""
    return min(book.watermark, max(book.watermarks.values(), default=0))


def silences(book: SiteBook, start: int, end: int) -> list[Span]:
    """Spans of an hour or more in which nothing at all was counted of a site, within [start, end) and the hour before."""
    busy = {
        (pane, pane + series.size)
        for series in book.series.values()
        if not series.grouping and series.size is not Pane.DAY
        for pane, cell in series.panes.items()
        if start - SILENCE - series.size < pane < end and not is_empty(cell)
    }
    found, last = [], start - SILENCE
    for pane, until in [*sorted(busy), (end, end)]:
        if pane - last >= SILENCE:
            found.append(Span(last, pane))
        last = max(last, until)
    return found


def advance(
    rollups: Rollups, rule: Rule, site: str, values: tuple[str, ...], detection: AnyDetection, until: int, unknown: Sequence[Span]
) -> Iterator[tuple[int, Measured]]:
    """Feed the panes that are complete by `until` (ms), one after the other; of each the minute in which it is judged, and what the rule sees then.

    `detection` is changed. `unknown` are spans of which nothing is known.
    """
    series = _series(rollups, rule, site, values)
    settings, condition = rollups.sites[site], rule.condition
    assert isinstance(condition, Detect)
    late = 0, 0
    if isinstance(detection, CountDetection):
        step, matures = step_of(series), condition.delay
    else:
        step, matures = int(series.size), rule.kpi.maturity(settings, rule.by, values)
        if detection.next + step + matures <= until:
            late = _late(detection, rule, series)
    while (end := pane_end(detection.next, Pane.DAY, settings.zone) if step == DAY else detection.next + step) + matures <= until:
        start, detection.next = detection.next, end
        judged = end + matures
        judged += -judged % MINUTE
        if isinstance(detection, CountDetection):
            whole = step == DAY  # a quiet night leaves its day known
            silent = any(span.start <= start and end <= span.end if whole else start < span.end and span.start < end for span in unknown)
            _count(detection, rule, series, start, end, known=not silent, holiday=settings.is_holiday(start))
        else:
            _outcomes(detection, rule, series, start, end, late)
            late = 0, 0
        yield judged, _measured(detection, rule, series, end)


def _count(detection: CountDetection, rule: Rule, series: Series, start: int, end: int, *, known: bool, holiday: bool) -> None:
    condition = rule.condition
    assert isinstance(condition, Detect)
    panes = (start,) if series.size is Pane.DAY else range(start, end, series.size)
    number = sum(int(rule.kpi.value.result(_slots(rule, series, pane), ()).value or 0) for pane in panes) if known else None
    direction: counts.Directions = "surge" if condition.detector == "surge" else "drop"
    known_number = None if number is None else max(0, number)
    if number or not detection.last:
        detection.last = end
    _note(detection, counts.advance(detection.state, start, known_number, condition.sensitivity, direction, holiday=holiday), end)


def _outcomes(detection: RatioDetection, rule: Rule, series: Series, start: int, end: int, late: tuple[int, int]) -> None:
    condition = rule.condition
    assert isinstance(condition, Detect)
    hits, n = _hits(rule, series, start)
    if n:
        detection.fed[start] = hits, n
    for pane in [pane for pane in detection.fed if pane < end - GRACE[series.size]]:
        del detection.fed[pane]
    hits, n = hits + late[0], n + late[1]
    if n or not detection.last:
        detection.last = end
    if 0 <= hits <= n > 0:
        direction: ratios.Direction = "fall" if _falls(rule) else "rise"
        _note(detection, ratios.advance(detection.state, end, hits, n, condition.sensitivity, direction), end)


def _late(detection: RatioDetection, rule: Rule, series: Series) -> tuple[int, int]:
    """Hits and outcomes that came to panes after they were fed. What was only corrected stays as it was judged."""
    oldest = max(detection.first, detection.next - GRACE[series.size])
    fed, hits, n = {}, 0, 0
    for pane in range(oldest, detection.next, series.size):
        if pane in series.panes:
            fed[pane] = now = _hits(rule, series, pane)
            before = detection.fed.get(pane, (0, 0))
            if now[1] > before[1]:
                hits, n = hits + now[0] - before[0], n + now[1] - before[1]
    detection.fed = fed
    return min(max(0, hits), n), n


def _hits(rule: Rule, series: Series, pane: int) -> tuple[int, int]:
    result = rule.kpi.value.result(_slots(rule, series, pane), ())
    return result.numerator or 0, max(0, result.n)


def _note(detection: Detection, finding: Finding, end: int) -> None:
    if detection.finding.state == "firing" and finding.state != "firing":
        detection.over = detection.finding.since or 0
    detection.finding, detection.end = finding, end


def _measured(detection: Detection, rule: Rule, series: Series, at: int) -> Measured:
    finding, verdict = detection.finding, verdict_of(detection)
    if isinstance(detection, RatioDetection) and at - detection.last > KEPT[series.size]:
        return Measured("clear", finding=finding)  # of what is not kept any more nothing fires; outcomes to come may open it again
    if finding.rule is None:
        return Measured(verdict, finding=finding)
    if isinstance(detection, CountDetection):
        return Measured(verdict, round(finding.value), finding.n, window=bounds(detection.end - finding.window, detection.end), finding=finding)
    share = 1 - finding.value if _falls(rule) else finding.value
    hits = round(share * finding.n)
    low, high = wilson(hits, finding.n)
    window = bounds(detection.end - finding.window - int(series.size), detection.end)  # the evidence began with a pane, which is part of it
    return Measured(verdict, share, finding.n, low, high, hits, window, finding=finding)


def verdict_of(detection: Detection) -> Verdict:
    """An incident is told once: opened again soon after its end, it keeps what fires and starts nothing. Nor does a pane that could not be judged."""
    finding = detection.finding
    if finding.state == "firing":
        return "between" if finding.rule is None or finding.since == detection.over else "breach"
    return "clear"  # also where nothing could be judged: an incident may end there, when its level is accepted


def usual_of(rule: Rule, finding: Finding) -> float:
    """What the measure should have said: a count, or the last share that still counts as usual."""
    return 1 - finding.usual if _falls(rule) else finding.usual


def _falls(rule: Rule) -> bool:
    return isinstance(rule.condition, Detect) and rule.condition.detector == "ratio_fall"


def recurrence(detection: Detection) -> float | None:
    """How rare (days between two) the peak of a count is, by the usual daily peaks of its series; None where that was not the rule."""
    finding = detection.finding
    if not isinstance(detection, CountDetection) or finding.rule not in ("rare", "drop"):
        return None
    window = next(window for window in detection.state.windows if window.length == finding.window)
    peak = window.low if finding.rule == "drop" else window.high
    return exp(min(20.0, (finding.statistic - peak.place) / peak.scale + counts.EULER))


def _series(rollups: Rollups, rule: Rule, site: str, values: tuple[str, ...]) -> Series:
    """What is kept of a label set; an empty series where nothing is."""
    family = FAMILY_OF[rule.kpi.name]
    size = family.fact.panes[0]
    return rollups.books[site].series.get((family.fact.name, int(size), rule.by, values)) or Series(site, family, size, rule.by, values)


def _slots(rule: Rule, series: Series, pane: int) -> Cell:
    cell = series.panes.get(pane) or series.family.empty()
    return [cell[index] for index in series.family.indices[rule.kpi.name]]


_decode = msgspec.msgpack.Decoder(AnyDetection).decode
encode = msgspec.msgpack.Encoder().encode


def decode(value: bytes) -> AnyDetection | None:
    """A row of the state topic; None for one of another version, whose series learns anew."""
    try:
        found: AnyDetection = _decode(value)
    except msgspec.DecodeError:
        return None
    return found
