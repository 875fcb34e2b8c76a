"""docs/metrics.md lists exactly what a worker exports, with types and labels: names are contracts."""

import re
import time
from pathlib import Path

from prometheus_client import generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from agents import metrics
from agents.alerting import Alerting
from agents.metrics import SERIES_LIMIT, label_names, metric_name
from agents.settings import Settings
from streams.kpis import KPIS
from streams.rollups import SiteBook
from streams.sites import Sites
from tests.deploy.serving import Fed, Served

PAGE = (Path(__file__).parents[2] / "docs/metrics.md").read_text()
PROCESS_LIMIT = 5_000


def described(family: Metric) -> tuple[str, str, frozenset[str]]:
    """Name as in the exposition, type, labels."""
    name = family.name + ("_total" if family.type == "counter" else "")
    if isinstance(family, CounterMetricFamily | GaugeMetricFamily):
        return name, family.type, frozenset(family._labelnames)
    return name, family.type, frozenset(label for sample in family.samples for label in sample.labels) - {"le"}


def test_the_table_of_measures_is_current() -> None:
    assert metrics.table() in PAGE, "python -m agents.metrics docs/metrics.md"


def test_every_other_metric_is_documented_and_nothing_else(fed: Fed) -> None:
    measures = {f"engagement_{kpi.name}" for kpi in KPIS} | {metric_name(kpi) for kpi in KPIS}
    exported = {described(family) for family in fed.registry.collect() if family.name.startswith("engagement_")}
    exported |= {described(family) for family in Alerting(Settings(), Sites(), list).collect()}
    others = {one for one in exported if one[0] not in measures and not re.search(r"_(samples|numerator)$", one[0])}
    rows = re.findall(r"^\| `(engagement_\w+)` \| (gauge|counter|histogram) \| ([\w, ]*)\|", PAGE, re.M)
    assert len(rows) > 25
    assert {(name, kind, frozenset(filter(None, labels.replace(" ", "").split(",")))) for name, kind, labels in rows} == others


def test_measures_are_exported_under_the_names_and_labels_of_the_page(fed: Fed) -> None:
    exported, measured = {described(family) for family in fed.registry.collect()}, fed.measured("shop")
    for kpi in KPIS:
        name = metric_name(kpi)
        if kpi.name in measured:
            assert (name, "gauge", frozenset(label_names(kpi))) in exported
    assert len(exported) > 60


def test_the_made_up_shops_stay_below_2000_series(fed: Fed) -> None:
    series = {family.name: len(family.samples) for family in fed.registry.collect()}
    assert 1_000 < sum(series.values()) <= 2_000
    (dropped,) = [sample.value for family in fed.registry.collect() for sample in family.samples if sample.name == "engagement_series_dropped_total"]
    assert dropped == 0
    assert SERIES_LIMIT < PROCESS_LIMIT


def test_a_scrape_of_2000_series_takes_less_than_100_ms(fed: Fed) -> None:
    busy = Served()
    for number in range(2):  # two sites each
        for name, book in fed.books.items():
            copied = busy.states[number].rollups.books[f"{name}{number}"] = SiteBook(f"{name}{number}")
            copied.published, copied.watermark = book.published, book.watermark
    assert 2_000 < sum(len(family.samples) for family in busy.registry.collect()) <= PROCESS_LIMIT
    took = []
    for _ in range(5):
        started = time.thread_time()
        generate_latest(busy.registry)
        took.append(time.thread_time() - started)
    assert min(took) < 0.1, took  # the best of five: processor time, which other programs disturb less
