"""How an alert says what it knows: values in the unit of their measure, thresholds in words, why it fires, annotations from templates."""

from collections.abc import Mapping, Sequence

import msgspec
from msgspec.structs import replace

from alerts.conditions import Absent, Change, Condition, Detect, Threshold
from alerts.contributions import Contribution, Dimension, falls_short
from alerts.detectors import Finding
from alerts.rules import Rule
from streams.durations import duration_name
from streams.kpis import Kpi

AGAINST = {"previous": "the window before", "day_before": "the day before", "week_before": "the week before"}
UNKNOWN = "unknown"
YEAR = 365
DIMENSIONS_TOLD, VALUES_TOLD = 2, 3


class Explanation(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Why an alert fired, as it was known then."""

    text: str
    """In words: the annotation `why`."""
    detector: str | None = None
    """Of a detector: which of its rules opened the incident,"""
    statistic: float | None = None
    """by what,"""
    limit: float | None = None
    """against what."""
    dimensions: tuple[Dimension, ...] = ()
    """Where the difference from what is usual comes from, label by label, the most surprising first."""
    reasons: tuple[Contribution, ...] = ()
    """Of bad feedback: what people complain about more than usual,"""
    themes: tuple[str, ...] = ()
    """and the words they use more than before, from when enough use them on."""


def in_unit(kpi: Kpi, value: float | None) -> str:
    """A value of a measure as people read it."""
    if value is None:
        return UNKNOWN
    match kpi.unit:
        case "ratio":
            return percent(value)
        case "seconds":
            return f"{value:,.0f} s"
        case "stars":
            return f"{value:.2f} stars"
        case "minor":
            return f"{value:,.0f} minor units"
        case "score":
            return f"{value:+.2f}"
        case _:
            return f"{value:,.0f}" if value >= 10 or value == int(value) else f"{value:.1f}"


def percent(share: float | None) -> str:
    """A share as a percentage with one decimal, none where it would be 0."""
    return UNKNOWN if share is None else f"{share * 100:.1f}".removesuffix(".0") + " %"


def threshold_text(kpi: Kpi, condition: Condition) -> str:
    """What the rule asks, in words."""
    match condition:
        case Absent(length):
            return f"nothing for {duration_name(length)}"
        case Detect(detector, sensitivity):
            return f"{detector.replace('_', ' ')}, {sensitivity}"
        case Change(Threshold(side, limit, clear), against):
            text = f"change since {AGAINST[against]} {side} {percent(limit)}"
            return text if clear == limit else f"{text}, clears at {percent(clear)}"
        case Threshold(side, limit, clear):
            text = f"{side} {in_unit(kpi, limit)}"
            return text if clear == limit else f"{text}, clears at {in_unit(kpi, clear)}"


def why(
    rule: Rule,
    texts: Mapping[str, str],
    finding: Finding | None,
    days: float | None,
    dimensions: tuple[Dimension, ...] = (),
    reasons: tuple[Contribution, ...] = (),
) -> Explanation:
    """Why an alert fires: the value beside the usual one, what the rule made of it, since when, where the difference comes from, what people complain about.

    `texts` are the fields of the annotations; `days` is how rare a peak is, where a detector knows it.
    """
    parts = [_compared(rule, texts, finding)]
    if finding is not None and finding.rule is not None:
        parts.append(_judged(finding, days))
    parts += [f"Since {texts['since']}.", *_spread(dimensions)]
    if reasons:
        parts.append("Complaints: " + ", ".join(_beside(one) for one in reasons[:VALUES_TOLD]) + ".")
    explanation = Explanation(text=" ".join(parts), dimensions=dimensions, reasons=reasons)
    if finding is None or finding.rule is None:
        return explanation
    return replace(explanation, detector=finding.rule, statistic=finding.statistic, limit=finding.threshold)


def with_themes(explanation: Explanation, themes: Sequence[str]) -> Explanation:
    """The same with the words that people use more than before; unchanged where there are none."""
    if not themes:
        return explanation
    return replace(explanation, text=f"{explanation.text} Words used more than before: {', '.join(themes[:VALUES_TOLD])}.", themes=tuple(themes))


def _compared(rule: Rule, texts: Mapping[str, str], finding: Finding | None) -> str:
    of = f" of {texts['n']}" if rule.kpi.unit != "count" else ""
    if finding is None:
        if isinstance(rule.condition, Absent):
            silence = f"Nothing from {texts['start']} to {texts['end']}, usual {texts['usual']}, {texts['n']} in the last 24 h"
            return f"{silence}; the rule asks for {texts['threshold']}."
        earlier = f", {texts['change']} against {texts['earlier']} earlier" if isinstance(rule.condition, Change) else ""
        window = f"a {texts['window']}" if texts["window"].isalpha() else texts["window"]
        return f"{texts['value']}{of} in {window}, usual {texts['usual']}{earlier}; the rule asks for {texts['threshold']}."
    if rule.kpi.unit == "count":
        times = f" (×{finding.value / finding.usual:.2g})" if finding.usual > 0 else ""
        return f"{texts['value']} in {texts['window']}, usual {texts['usual']}{times}."
    bound = "at least" if falls_short(rule.condition) else "at most"
    return f"{texts['value']}{of} in {texts['window']} ({texts['low']} to {texts['high']} with 95 % confidence), usual {bound} {texts['usual']}."


def _judged(finding: Finding, days: float | None) -> str:
    if finding.rule == "evidence":
        return f"Evidence {finding.statistic:,.0f}, asked for {finding.threshold:,.0f}."
    if finding.rule == "big":
        return f"{finding.statistic:.1f} times its usual unrest, asked for {finding.threshold:.1f}."
    rare = "" if days is None else "; such a peak comes less than once a year" if days > YEAR else f"; such a peak comes once in {max(1, days):.0f} d"
    return f"Distance {finding.statistic:.1f}, asked for {finding.threshold:.1f}{rare}."


def _spread(dimensions: Sequence[Dimension]) -> list[str]:
    named = [one for one in dimensions if one.values]
    told = [f"By {one.label}: " + ", ".join(_beside(part) for part in one.values[:VALUES_TOLD]) + "." for one in named[:DIMENSIONS_TOLD]]
    even = [one.label for one in dimensions if not one.values]
    return [*told, f"Spread evenly over {', '.join(even)}."] if even else told


def _beside(part: Contribution) -> str:
    return f"{part.value} {part.actual:,} (usual {part.expected:,.1f})"


def dimensions_text(dimensions: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {value}" for name, value in dimensions.items()) or "all"


def render(rule: Rule, fields: Mapping[str, str]) -> dict[str, str]:
    """The rule's annotations; `fields` has a text for each of TEMPLATE_FIELDS (the templates were checked when they were loaded)."""
    return {name: text.format_map(fields).strip() for name, text in rule.annotations}
