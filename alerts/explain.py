"""How an alert says what it knows: values in the unit of their measure, thresholds in words, annotations from templates."""

from collections.abc import Mapping

from alerts.conditions import Absent, Change, Condition, Threshold
from alerts.rules import Rule, duration_name
from streams.kpis import Kpi

AGAINST = {"previous": "the window before", "day_before": "the day before", "week_before": "the week before"}
UNKNOWN = "unknown"


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
        case Change(Threshold(side, limit, clear), against):
            text = f"change since {AGAINST[against]} {side} {percent(limit)}"
            return text if clear == limit else f"{text}, clears at {percent(clear)}"
        case Threshold(side, limit, clear):
            text = f"{side} {in_unit(kpi, limit)}"
            return text if clear == limit else f"{text}, clears at {in_unit(kpi, clear)}"


def dimensions_text(dimensions: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {value}" for name, value in dimensions.items()) or "all"


def render(rule: Rule, fields: Mapping[str, str]) -> dict[str, str]:
    """The rule's annotations; `fields` has a text for each of TEMPLATE_FIELDS (the templates were checked when they were loaded)."""
    return {name: text.format_map(fields).strip() for name, text in rule.annotations}
