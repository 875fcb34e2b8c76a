"""Which values of which label a difference comes from: Adtributor (Bhagwan et al. 2014), asked once, when an incident opens."""

from collections import Counter
from collections.abc import Mapping
from math import log, sqrt

import msgspec

from alerts.conditions import Absent, Change, Condition, Detect
from alerts.rules import Rule
from streams.aggregates import Cell, Count, Either, Share, Sum
from streams.kpis import KPI_BY_NAME, Kpi
from streams.panes import DAY, Pane, add_days
from streams.rollups import FAMILY_OF, Rollups, SiteBook, pane_size_of
from streams.windows import Live, Span

EVEN = 0.05
"""A difference with less surprise than this is spread evenly over the values of a label, and one with less than so few counts make by chance."""
LEAST_POWER, ENOUGH_POWER = 0.10, 0.67
"""A value that explains less is not named; no more are named once they explain so much together."""

FEEDBACK = ("text", "review", "complaint")
"""Facts whose rules are about what people say."""
COMPLAINTS = KPI_BY_NAME["complaints"]
LEAST_COMPLAINTS = 3


class Contribution(msgspec.Struct, frozen=True):
    """One value of a label: what was counted of it, what it would have been as usual, and its part of the whole difference (may exceed 1)."""

    value: str
    actual: int
    expected: float
    power: float


class Dimension(msgspec.Struct, frozen=True):
    """How a difference lies over the values of a label. `surprise` is the Jensen–Shannon divergence from the usual mix, 0 to ln 2."""

    label: str
    surprise: float
    values: tuple[Contribution, ...]
    """Those that explain it, the most surprising first; none: it is spread evenly."""


def dimension(label: str, actual: Mapping[str, int], before: Mapping[str, int], expected: float) -> Dimension | None:
    """Where the difference between the counts of `actual` and the `expected` total comes from, by the usual mix of `before`.

    Half a count is added to what was before, so that a new value has an expectation. None where there is no difference, or only one value.
    """
    names = sorted({name for name in (*actual, *before) if actual.get(name, 0) > 0 or before.get(name, 0) > 0})
    usual = {name: max(0, before.get(name, 0)) + 0.5 for name in names}
    all_before, all_now = sum(usual.values()), sum(max(0, actual.get(name, 0)) for name in names)
    change = all_now - expected
    if len(names) < 2 or expected <= 0 or not change:
        return None
    found: list[tuple[float, Contribution]] = []
    for name in names:
        p, now = usual[name] / all_before, max(0, actual.get(name, 0))
        q = now / all_now if all_now else 0.0
        surprise = (p * log(2 * p / (p + q)) + (q * log(2 * q / (p + q)) if q else 0.0)) / 2
        found.append((surprise, Contribution(name, now, p * expected, (now - p * expected) / change)))
    total = sum(surprise for surprise, _ in found)
    taken: list[Contribution] = []
    if all_now and total >= max(EVEN, _by_chance(len(names), all_now, all_before)):
        for _, one in sorted(found, key=lambda pair: (-pair[0], pair[1].value)):
            if one.power >= LEAST_POWER and sum(other.power for other in taken) < ENOUGH_POWER:
                taken.append(one)
    return Dimension(label, total, tuple(taken))


def _by_chance(values: int, now: int, before: float) -> float:
    """A surprise that two samples of one mix hardly ever have: three standard deviations above its mean, by χ² ≈ 8·JS·n₁n₀/(n₁ + n₀)."""
    freedom = values - 1
    return (freedom + 3 * sqrt(2 * freedom)) / 8 * (1 / now + 1 / before)


def dimensions_of(rollups: Rollups, rule: Rule, site: str, values: tuple[str, ...], span: Span, usual: float) -> tuple[Dimension, ...]:
    """By every further label of the measure, the most surprising first: what came in `span` against the 24 h before (of longer spans: as much before).

    `usual` is the value as it should have been: the count of the span, or a share. Of a share the outcomes that the rule is about are counted: the
    hits or, where it falls, the others. Means and quantiles have no parts that add up, so nothing is said of them.
    """
    kpi, of_rule, falls = rule.kpi, dict(zip(rule.by, values, strict=True)), falls_short(rule.condition)
    value = kpi.value.first if isinstance(kpi.value, Either) else kpi.value
    if isinstance(rule.condition, Absent) or isinstance(rule.window, Live) or not isinstance(value, Count | Sum | Share):
        return ()
    size, book = _size(rule), rollups.books[site]
    before = _before(rollups, site, size, span)
    grouping_of = {label: grouping for grouping in reversed(kpi.by) if of_rule.keys() <= set(grouping) for label in grouping if label not in of_rule}
    found = []
    for label, grouping in grouping_of.items():
        actual, n = _by_value(book, kpi, size, grouping, label, of_rule, span, falls=falls)
        past, _ = _by_value(book, kpi, size, grouping, label, of_rule, before, falls=falls)
        expected = usual if kpi.unit == "count" else (1 - usual if falls else usual) * n
        if past.total() > 0 and (one := dimension(label, actual, past, expected)) is not None:
            found.append(one)
    return tuple(sorted(found, key=lambda one: (-one.surprise, one.label)))


def reasons_of(rollups: Rollups, rule: Rule, site: str, values: tuple[str, ...], span: Span) -> tuple[Contribution, ...]:
    """Of a rule about bad feedback: what people complain about more than in the 24 h before, the greatest difference first.

    Of these the part counts that began with the first fact of the label set. One of which complaints are not counted is taken as far as they are.
    """
    if not is_about_feedback(rule):
        return ()
    kpi, size = COMPLAINTS, _size(rule)
    before = _before(rollups, site, size, span)
    grouping = max(FAMILY_OF[kpi.name].groupings, key=lambda grouping: (len(set(grouping) & set(rule.by)), -len(grouping)))
    of_rule = {label: value for label, value in zip(rule.by, values, strict=True) if label in grouping}
    book = rollups.books[site]
    actual, _ = _by_value(book, kpi, size, grouping, "complaint", of_rule, span)
    past, _ = _by_value(book, kpi, size, grouping, "complaint", of_rule, before)
    own = book.series.get((FAMILY_OF[rule.kpi.name].fact.name, int(size), rule.by, values))
    begun = min((pane for pane in own.panes if before.start <= pane < span.start), default=before.start) if own is not None else before.start
    scale = (span.end - span.start) / (span.start - begun)
    more = [(number - scale * past[name], name) for name, number in actual.items() if number >= LEAST_COMPLAINTS and number > scale * past[name]]
    whole = sum(excess for excess, _ in more)
    return tuple(Contribution(name, actual[name], scale * past[name], excess / whole) for excess, name in sorted(more, key=lambda one: (-one[0], one[1])))


def is_about_feedback(rule: Rule) -> bool:
    """Whether a rule is about what people say, and that it got worse."""
    return FAMILY_OF[rule.kpi.name].fact.name in FEEDBACK and (rule.kpi.better == "lower") != falls_short(rule.condition)


def falls_short(condition: Condition) -> bool:
    """Whether a rule is about what there is too little of."""
    if isinstance(condition, Detect):
        return condition.detector in ("drop", "ratio_fall")
    return not isinstance(condition, Absent) and (condition.threshold if isinstance(condition, Change) else condition).side == "below"


def _size(rule: Rule) -> Pane:
    family = FAMILY_OF[rule.kpi.name]
    return family.fact.panes[0] if isinstance(rule.condition, Detect) else pane_size_of(rule.window, family)


def _before(rollups: Rollups, site: str, size: Pane, span: Span) -> Span:
    """The 24 h before, or as much as the span is long where that is more."""
    length = max(DAY, span.end - span.start)
    return Span(add_days(span.start, -round(length / DAY), rollups.sites[site].zone) if size is Pane.DAY else span.start - length, span.start)


def _by_value(
    book: SiteBook, kpi: Kpi, size: Pane, grouping: tuple[str, ...], label: str, of_rule: Mapping[str, str], span: Span, *, falls: bool = False
) -> tuple[Counter[str], int]:
    """What was counted in a span of each value of a label, among the label sets that a rule is about; and n over all of them."""
    family, n = FAMILY_OF[kpi.name], 0
    counted: Counter[str] = Counter()
    for series in book.series.values():
        labels = dict(zip(series.grouping, series.labels, strict=True))
        if series.family is family and series.size is size and series.grouping == grouping and of_rule.items() <= labels.items():
            total = series.sum_over(span, None)
            number, of = _counted(kpi, [total[index] for index in family.indices[kpi.name]], falls=falls)
            counted[labels[label]] += number
            n += of
    return counted, n


def _counted(kpi: Kpi, cell: Cell, *, falls: bool) -> tuple[int, int]:
    """What adds up of a measure over label sets, and its n: the count itself, the hits of a share, or the outcomes that were none."""
    result = kpi.value.result(cell, ())
    if result.numerator is None:
        return int(result.value or 0), result.n
    return (result.n - result.numerator if falls else result.numerator), result.n
