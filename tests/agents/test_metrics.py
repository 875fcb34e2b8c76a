"""What Prometheus is told equals what was read and counted."""

import os
import platform
import re
import shutil
import subprocess
from collections.abc import Iterable
from importlib.metadata import version
from itertools import islice
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from agents.metrics import SUFFIXES, ReadingsCollector, groupings_of, has_numerator, label_names, labelled_window, metric_name, total_windows
from simulator.shop import Shop
from simulator.sites import SITES_YAML
from streams.kpis import KPIS, Kpi
from streams.labels import LABELS_KEPT
from streams.panes import DAY, HOUR, MINUTE
from streams.partition import ROLLUPS, Partition
from streams.sites import load_sites
from streams.windows import Live, window_name
from tests.streams.records import Rec

START = 1_767_225_600_000
COUNT = 12_000
BY_NAME = {kpi.name: kpi for kpi in KPIS}


@pytest.fixture(scope="module")
def partition() -> Partition:
    """The state after an hour and a half of the made-up shop."""
    state = Partition(0, 1, load_sites(SITES_YAML))
    records: dict[str, list[Rec]] = {}
    for sent in islice(Shop(1, START, rate=2.2, sites=["shop"], history=0), COUNT - 1):
        batch = records.setdefault(sent.topic, [])
        batch.append(Rec(len(batch), sent.due, sent.value, sent.key.encode()))
    late = b'{"type":"page_viewed","id":"late","site":"shop","at":%d,"visitor":"v","path":"/"}' % (sent.due - 2 * HOUR)
    records["website"].append(Rec(len(records["website"]), sent.due, late))
    for topic, batch in records.items():
        state.apply(topic, batch)
    flush = state.flush()
    assert flush is not None
    partials = [message for message in flush.after if message.topic == ROLLUPS]
    state.apply(ROLLUPS, [Rec(offset, START, message.value, message.key) for offset, message in enumerate(partials)])
    assert state.tick(1.0)
    return state


def scrape(*states: Any, limit: int = 5_000) -> tuple[str, dict[tuple[str, frozenset[tuple[str, str]]], float]]:
    registry = CollectorRegistry()
    registry.register(ReadingsCollector(lambda: states, limit))
    text = generate_latest(registry).decode()
    samples = {(sample.name, frozenset(sample.labels.items())): sample.value for family in text_string_to_metric_families(text) for sample in family.samples}
    return text, samples


def labels_of(kpi: Kpi, site: str, grouping: tuple[str, ...], values: Iterable[str], window: str) -> frozenset[tuple[str, str]]:
    labels = dict.fromkeys(label_names(kpi), "") | dict(zip(grouping, values, strict=True))
    return frozenset((labels | {"site": site, "by": ",".join(grouping), "window": window}).items())


def test_gauges_equal_the_readings(partition: Partition) -> None:
    _, samples = scrape(partition)
    compared = 0
    for book in partition.rollups.books.values():
        for (name, grouping, values, _), reading in book.published.items():
            kpi, window = BY_NAME[name], window_name(reading.length)
            if grouping and not (grouping in groupings_of(kpi) and window == labelled_window(kpi) and reading.n):
                continue
            if not grouping and window not in total_windows(kpi):
                continue
            key = labels_of(kpi, book.name, grouping, values, window)
            is_left_to_divide = bool(grouping) and not kpi.apart and reading.numerator is not None
            assert samples.get((metric_name(kpi), key)) == (None if is_left_to_divide else reading.value)
            if kpi.unit != "count":
                assert samples[f"engagement_{name}_samples", key] == reading.n
            if reading.numerator is not None:
                assert samples[f"engagement_{name}_numerator", key] == reading.numerator
            compared += 1
    assert compared > 60


def test_segments_are_put_together_from_what_was_read_finer(partition: Partition) -> None:
    _, samples = scrape(partition)
    (book,) = partition.rollups.books.values()
    compared = 0
    for kpi in KPIS:
        if kpi.unit == "count" or groupings_of(kpi) != (("segment",),) or ("segment",) in kpi.by:
            continue
        finer = next(grouping for grouping in kpi.by if "segment" in grouping)
        readings = [
            reading
            for (name, grouping, _, _), reading in book.published.items()
            if name == kpi.name and grouping == finer and reading.n and window_name(reading.length) == labelled_window(kpi)
        ]
        for segment in {reading.dimensions["segment"] for reading in readings}:
            parts = [reading for reading in readings if reading.dimensions["segment"] == segment]
            n = sum(reading.n for reading in parts)
            key = labels_of(kpi, book.name, ("segment",), (segment,), labelled_window(kpi))
            assert samples[f"engagement_{kpi.name}_samples", key] == n
            if has_numerator(kpi):
                assert samples[f"engagement_{kpi.name}_numerator", key] == sum(reading.numerator or 0 for reading in parts)
            else:
                assert samples[metric_name(kpi), key] == pytest.approx(sum((reading.value or 0) * reading.n for reading in parts) / n)
            compared += 1
    assert compared > 20


@pytest.mark.parametrize("kpi", KPIS, ids=lambda kpi: kpi.name)
def test_every_measure_is_exported_somehow(kpi: Kpi) -> None:
    assert labelled_window(kpi) in {window_name(window) for window in kpi.windows}
    assert labelled_window(kpi) in total_windows(kpi)
    for grouping in groupings_of(kpi):
        assert any(set(grouping) <= set(finer) for finer in kpi.by)
        assert set(kpi.apart) <= set(grouping) or kpi.unit == "count"
    assert groupings_of(kpi) or not kpi.apart


def test_events_are_accounted_for(partition: Partition) -> None:
    _, samples = scrape(partition)
    assert sum(value for (name, _), value in samples.items() if name == "engagement_events_total") == COUNT
    assert samples["engagement_unaccounted_events", frozenset({("partition", "0")})] == 0
    failed = partition.accounting()["website"]["failed.not_json"]
    assert samples["engagement_failed_events_total", frozenset({("topic", "website"), ("partition", "0"), ("reason", "not_json")})] == failed
    assert samples["engagement_flagged_events_total", frozenset({("topic", "website"), ("partition", "0"), ("flag", "partly_late")})] > 0
    newest = partition.intake.newest["website"]
    assert samples["engagement_watermark_timestamp_seconds", frozenset({("topic", "website"), ("partition", "0")})] == newest / 1000 - 5
    assert samples["engagement_subjects", frozenset({("partition", "0")})] == len(partition.intake.subjects.known)
    assert samples["engagement_held_ids", frozenset({("partition", "0")})] == len(partition.intake.seen.ids)


def test_what_is_held_is_told(partition: Partition) -> None:
    _, samples = scrape(partition)
    own = frozenset({("partition", "0")})
    status = partition.status()
    assert samples["engagement_pane_rows", own] == status["pane_rows"] > 0
    assert samples["engagement_rollup_rows", own] == status["rollup_rows"] > 0
    since = partition.intake.seen.held_since()
    assert since
    for topic, at in since.items():
        assert samples["engagement_held_ids_since_timestamp_seconds", frozenset({("topic", topic)})] == at / 1000
    (book,) = partition.rollups.books.values()
    assert samples["engagement_site_watermark_timestamp_seconds", frozenset({("site", "shop")})] == book.watermark / 1000
    routes = partition.intake.ledger.labels.values["shop", "route"]
    assert samples["engagement_label_values", frozenset({("site", "shop"), ("label", "route")})] == len(routes) > 3
    assert samples["engagement_build_info", frozenset({("version", version("engagement-monitor")), ("python", platform.python_version())})] == 1


def test_a_full_label_is_seen_in_its_gauge() -> None:
    state = Partition(0, 1)
    value = '{"id":"%d","type":"page_viewed","site":"s.x","at":%d,"visitor":"v","path":"/","segment":"segment %d"}'
    state.apply("website", [Rec(number, START, (value % (number, START, number)).encode()) for number in range(LABELS_KEPT + 9)])
    assert state.flush() is not None
    _, samples = scrape(state)
    assert samples["engagement_label_values", frozenset({("site", "s.x"), ("label", "segment")})] == LABELS_KEPT


def test_names_keep_to_the_rules_of_prometheus(partition: Partition) -> None:
    text, _ = scrape(partition)
    for family in text_string_to_metric_families(text):
        assert re.fullmatch(r"engagement_[a-z0-9_]+", family.name)
        assert family.documentation, family.name
        assert family.documentation.endswith(".")
        # Metric.name of a counter is without _total; its samples carry it.
        assert all(sample.name.endswith("_total") == (family.type == "counter") for sample in family.samples)
        assert not family.name.endswith(("_count", "_sum", "_bucket", "_total"))
    assert text.count("# HELP") == text.count("# TYPE") == len(set(re.findall(r"# TYPE (\S+)", text)))


def test_promtool_finds_nothing_to_say(partition: Partition) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        message = "promtool is missing: install Debian's package prometheus"
        pytest.fail(message) if os.environ.get("CI") else pytest.skip(message)
    checked = subprocess.run([promtool, "check", "metrics"], input=scrape(partition)[0], capture_output=True, text=True, check=False)
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, "")


def test_every_unit_has_a_name() -> None:
    assert {kpi.unit for kpi in KPIS} <= set(SUFFIXES)
    names = [metric_name(kpi) for kpi in KPIS]
    assert len(names) == len(set(names))


def test_the_limit_keeps_totals_and_counts_what_it_drops(partition: Partition) -> None:
    _, everything = scrape(partition)
    measures = {key for key in everything if any(label == "by" for label, _ in key[1])}
    assert 100 < len(measures) <= 2_000
    beside = len(everything) - len(measures)
    _, some = scrape(partition, limit=beside + 60)
    kept = {key for key in some if any(label == "by" for label, _ in key[1])}
    assert 40 < len(kept) <= 61  # the counter of what is left out is beyond the limit
    assert all(("by", "") in labels for _, labels in kept)
    assert some["engagement_series_dropped_total", frozenset()] == len(measures) - len(kept)
    assert everything["engagement_series_dropped_total", frozenset()] == 0


def test_odd_label_values_survive() -> None:
    state = Partition(0, 1)
    odd = 'a:"b"\\c,d'
    value = b'{"id":"1","type":"page_viewed","site":"s.x","at":%d,"visitor":"v","path":"/","channel":"a:\\"b\\"\\\\c,d"}'
    batch = [Rec(0, START, value % START), Rec(1, START + 400_000, value.replace(b'"1"', b'"2"') % (START + 400_000))]
    state.apply("website", batch)
    flush = state.flush()
    assert flush is not None
    state.apply(ROLLUPS, [Rec(offset, START, message.value, message.key) for offset, message in enumerate(flush.after)])
    state.tick(1.0)
    _, samples = scrape(state)
    channels = {dict(labels).get("channel") for name, labels in samples if name == "engagement_page_views"}
    assert odd in channels


def test_nothing_owned_is_no_series_and_no_error() -> None:
    _, samples = scrape()
    assert {name for name, _ in samples} == {"engagement_series_dropped_total", "engagement_build_info"}


@pytest.mark.parametrize(
    ("length", "name"),
    [(5 * MINUTE, "5m"), (HOUR, "1h"), (24 * HOUR, "24h"), (7 * DAY, "7d"), ("day", "day"), (Live(5), "live5m")],
)
def test_windows_are_named_as_people_write_them(length: Any, name: str) -> None:
    assert window_name(length) == name
