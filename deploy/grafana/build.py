"""The overview dashboard, made from the catalogue of measures: `python deploy/grafana/build.py > deploy/grafana/dashboards/overview.json`.

Classic dashboard JSON (schema 39), which Grafana from 10 on reads. The test beside the code compares the file with this output
and runs every query on a real Prometheus.
"""

import json
import sys
from collections.abc import Iterable, Iterator
from typing import Any, Final, NamedTuple

from agents.metrics import NEVER_SUMMED, groupings_of, has_numerator, label_names, labelled_window, metric_name
from streams.aggregates import Count, Mean, Ratio, Share, Sum
from streams.facts import FACTS
from streams.kpis import KPI_BY_NAME, KPIS, Kpi

Json = dict[str, Any]
SOURCE: Final = {"type": "prometheus", "uid": "${datasource}"}
THEMES: Final = {"website": "On the website", "social": "What people say", "reviews": "Reviews and surveys", "customers": "Customers"}
"""A row of panels per topic that a measure's facts come from."""
UNITS: Final = {"ratio": "percentunit", "seconds": "s"}
TILES: Final = ("active_visitors", "sessions", "engagement_rate", "net_sentiment", "negative_share", "mean_rating")
WIDE: Final = 24


class Query(NamedTuple):
    expr: str
    legend: str


class Panel(NamedTuple):
    """One question and its queries."""

    title: str
    description: str
    unit: str
    queries: tuple[Query, ...]
    kind: str = "timeseries"
    red_from: float | None = None


def queries_of(kpi: Kpi) -> tuple[Query, ...]:
    """A measure over the chosen segments, with n beside what is not a count.

    Counts and sums add up; ratios and means are put together again from numerators and samples. What cannot be put together
    (quantiles, shares of a whole) is a line per label or its total, and what must not be mixed is a line each.
    """
    grouping = next((grouping for grouping in groupings_of(kpi) if "segment" in grouping), (groupings_of(kpi) or ((),))[0])
    chosen = ',segment=~"$segment"' if "segment" in grouping else ""
    where = f'{{site="$site",by="{",".join(grouping)}"{chosen},window="{labelled_window(kpi)}"}}'
    stem = f"engagement_{kpi.name}"
    value, samples = f"{metric_name(kpi)}{where}", f"{stem}_samples{where}"
    apart = [label for label in grouping if label in kpi.apart or label in NEVER_SUMMED]
    add = f"sum by ({','.join(apart)}) " if apart else "sum"
    n = f"{add}({samples})"
    match kpi.value:
        case Count() | Sum():
            whole = f"{add}({value})"
        case Share() | Ratio():
            whole = f"{add}({stem}_numerator{where}) / {n}"
        case Mean():
            whole = f"{add}({value} * {samples}) / {n}"
        case _:
            whole, n, apart = f"{stem}_numerator{where} / {samples}" if has_numerator(kpi) and grouping else value, samples, list(grouping)
    legend = " ".join(f"{{{{{label}}}}}" for label in apart)
    shown = Query(whole, legend or kpi.name)
    return (shown,) if kpi.unit == "count" else (shown, Query(n, f"n {legend}".strip()))


def panel_of(kpi: Kpi, kind: str = "timeseries") -> Panel:
    window = labelled_window(kpi)
    span = f"over the last complete {window}" if window in ("day", "week", "month") else "now" if window.startswith("live") else f"over the last {window}"
    labels = ", ".join(label_names(kpi)[2:-1])
    text = f"{kpi.help} {kpi.question}\n\n= {kpi.formula} ({kpi.origin}), {span}, in event time. Counted by {labels}."
    if kpi.least:
        text += f" Below n = {kpi.least} it says little."
    return Panel(kpi.name.replace("_", " ").capitalize(), text, UNITS.get(kpi.unit, "short"), queries_of(kpi), kind)


PIPELINE: Final = (
    Panel(
        "Events per second", "Received events by verdict; their sum is what arrives.", "cps",
        (Query("sum by (verdict) (rate(engagement_events_total[$__rate_interval]))", "{{verdict}}"),),
    ),
    Panel(
        "Events that could not be counted", "By reason, per second. They are kept on the topic failed.", "cps",
        (Query("sum by (topic, reason) (rate(engagement_failed_events_total[$__rate_interval]))", "{{topic}} {{reason}}"),),
    ),
    Panel("Records waiting", "Not yet applied, by topic.", "short", (Query("sum by (topic) (engagement_lag_records)", "{{topic}}"),)),
    Panel(
        "Age of the newest event", "From the newest event time of a topic (less 5 s) to now. Replays of old events are as old as the events.", "s",
        (Query("time() - max by (topic) (engagement_watermark_timestamp_seconds)", "{{topic}}"),),
    ),
    Panel(
        "Time of a flush", "From the snapshot to the acknowledgement of Kafka: 95th percentile per worker.", "s",
        (Query("histogram_quantile(0.95, sum by (le, instance) (rate(engagement_flush_duration_seconds_bucket[$__rate_interval])))", "{{instance}}"),),
    ),
    Panel("Partitions owned", "By worker. Each partition has one owner.", "short", (Query("engagement_owned_partitions", "{{instance}}"),)),
    Panel("Memory", "Resident memory of the workers.", "bytes", (Query('process_resident_memory_bytes{job="engage-worker"}', "{{instance}}"),)),
    Panel(
        "Processor", "Seconds of processor time per second; a worker uses one core at most.", "short",
        (Query('rate(process_cpu_seconds_total{job="engage-worker"}[$__rate_interval])', "{{instance}}"),),
    ),
    Panel(
        "What is held", "Subjects, event ids and rows of counters, over all workers.", "short",
        (
            Query("sum(engagement_subjects)", "subjects"), Query("sum(engagement_held_ids)", "event ids"),
            Query("sum(engagement_pane_rows)", "rows"), Query("sum(engagement_rollup_rows)", "rows of sites"),
        ),
    ),
)  # fmt: skip
HEALTH: Final = (
    Panel(
        "Alerts firing", "Of the pipeline and of Prometheus' own rules.", "short",
        (Query('count(ALERTS{alertstate="firing",alertname!="Watchdog"}) or vector(0)', "alerts"),), "stat", 1,
    ),
    Panel(
        "Events without a verdict", "Anything but 0 is a defect.", "short", (Query("sum(abs(engagement_unaccounted_events))", "events"),), "stat", 1,
    ),
)  # fmt: skip


def drawn(panel: Panel, number: int, x: int, y: int, width: int, height: int) -> Json:
    """A panel as Grafana reads it. n is in the legend, not on the axis of the value."""
    steps: list[Json] = [{"color": "text" if panel.red_from is None else "green", "value": None}]
    if panel.red_from is not None:
        steps.append({"color": "red", "value": panel.red_from})
    is_stat = panel.kind == "stat"
    beside = {
        "matcher": {"id": "byRegexp", "options": "/^n( |$)/"},
        "properties": [{"id": "unit", "value": "short"}]
        + ([] if is_stat else [{"id": "custom.hideFrom", "value": {"viz": True, "legend": False, "tooltip": False}}]),
    }
    return {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.description,
        "datasource": SOURCE,
        "gridPos": {"x": x, "y": y, "w": width, "h": height},
        "targets": [
            {"refId": chr(65 + place), "datasource": SOURCE, "expr": query.expr, "legendFormat": query.legend, "range": True}
            for place, query in enumerate(panel.queries)
        ],
        "fieldConfig": {
            "defaults": {"unit": panel.unit, "thresholds": {"mode": "absolute", "steps": steps}} | ({} if is_stat else {"custom": {"fillOpacity": 8}}),
            "overrides": [beside] if panel.queries[-1].legend.split()[0] == "n" else [],
        },
        "options": {"reduceOptions": {"calcs": ["lastNotNull"]}, "textMode": "value_and_name", "graphMode": "area"}
        if is_stat
        else {"legend": {"displayMode": "table", "placement": "bottom", "calcs": ["lastNotNull"]}, "tooltip": {"mode": "multi"}},
    }


def rows() -> Iterator[tuple[str, tuple[Panel, ...]]]:
    """Measures by theme, then the pipeline."""
    topic_of = {fact.type: fact.topics[0] for fact in FACTS}
    for topic, theme in THEMES.items():
        if of_theme := tuple(panel_of(kpi) for kpi in KPIS if topic_of[kpi.value.fact] == topic):
            yield theme, of_theme
    yield "Pipeline", PIPELINE


def grid(panels: Iterable[Panel], number: int, y: int, width: int, height: int) -> Iterator[Json]:
    """Panels from left to right and top to bottom."""
    in_line = WIDE // width
    for place, panel in enumerate(panels):
        yield drawn(panel, number + place, place % in_line * width, y + place // in_line * height, width, height)


def variable(name: str, label: str, query: str, **more: Any) -> Json:
    definition = {"query": query, "refId": name}
    return {"name": name, "label": label, "type": "query", "datasource": SOURCE, "query": definition, "definition": query, "refresh": 2, "sort": 1} | more


def dashboard() -> Json:
    panels = list(grid((*HEALTH, *(panel_of(KPI_BY_NAME[name], "stat") for name in TILES)), 1, 0, 3, 5))
    y = 5
    for title, of_row in rows():
        number = panels[-1]["id"] + 1
        panels.append({"id": number, "type": "row", "title": title, "collapsed": False, "gridPos": {"x": 0, "y": y, "w": WIDE, "h": 1}, "panels": []})
        panels += grid(of_row, number + 1, y + 1, 8, 8)
        y = panels[-1]["gridPos"]["y"] + 8
    return {
        "uid": "engagement-overview",
        "title": "Customer engagement",
        "description": "Every measure of the catalogue, and the health of what counts it. Written by deploy/grafana/build.py.",
        "tags": ["engagement"],
        "schemaVersion": 39,
        "version": 1,
        "editable": False,
        "graphTooltip": 1,
        "timezone": "browser",
        "refresh": "10s",
        "time": {"from": "now-6h", "to": "now"},
        "templating": {
            "list": [
                {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus", "refresh": 1},
                variable("site", "Site", "label_values(engagement_site_watermark_timestamp_seconds, site)"),
                variable(
                    "segment", "Segment", 'label_values(engagement_page_views{site="$site"}, segment)', multi=True, includeAll=True, allValue=".*",
                    current={"text": ["All"], "value": ["$__all"]},
                ),
            ]
        },
        "annotations": {
            "list": [
                {
                    "name": "Alerts", "datasource": SOURCE, "enable": True, "iconColor": "red", "step": "60s", "titleFormat": "{{alertname}}",
                    "expr": 'ALERTS{alertstate="firing",alertname!="Watchdog"}',
                }
            ]
        },
        "panels": panels,
    }  # fmt: skip


if __name__ == "__main__":
    json.dump(dashboard(), sys.stdout, indent=1, ensure_ascii=False)
    print()
