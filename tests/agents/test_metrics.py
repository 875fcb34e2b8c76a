"""What Prometheus is told equals what was read and counted."""

import os
import re
import shutil
import subprocess
from itertools import islice
from typing import Any, NamedTuple

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from agents.metrics import SUFFIXES, ReadingsCollector, is_headline, label_names, metric_name, window_name
from simulator.stream import SITES_YAML, events
from streams.kpis import KPIS, Live
from streams.panes import DAY, HOUR, MINUTE
from streams.partition import ROLLUPS, Partition
from streams.sites import load_sites

START = 1_767_225_600_000
COUNT = 12_000
BY_NAME = {kpi.name: kpi for kpi in KPIS}


class Raw(NamedTuple):
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...] = ()


@pytest.fixture(scope="module")
def partition() -> Partition:
    """The state after an hour and a half of the made-up shop."""
    state = Partition(0, 1, load_sites(SITES_YAML))
    records: dict[str, list[Raw]] = {}
    for number, (topic, key, value) in enumerate(islice(events(1, START, 2.2), COUNT)):
        batch = records.setdefault(topic, [])
        batch.append(Raw(len(batch), START + number * 455, key.encode(), value))
    for topic, batch in records.items():
        state.apply(topic, batch)
    flush = state.flush()
    assert flush is not None
    partials = [message for message in flush.after if message.topic == ROLLUPS]
    state.apply(ROLLUPS, [Raw(offset, START, message.key, message.value) for offset, message in enumerate(partials)])
    assert state.tick(1.0)
    return state


def scrape(*states: Any, limit: int = 5_000) -> tuple[str, dict[tuple[str, frozenset[tuple[str, str]]], float]]:
    registry = CollectorRegistry()
    registry.register(ReadingsCollector(lambda: states, limit))
    text = generate_latest(registry).decode()
    samples = {(sample.name, frozenset(sample.labels.items())): sample.value for family in text_string_to_metric_families(text) for sample in family.samples}
    return text, samples


def test_gauges_equal_the_readings(partition: Partition) -> None:
    _, samples = scrape(partition)
    compared = 0
    for book in partition.rollups.books.values():
        for (name, grouping, values, _), reading in book.published.items():
            kpi = BY_NAME[name]
            if not is_headline(kpi, reading.length, not grouping) or (grouping and not reading.n):
                continue
            labels = dict.fromkeys(label_names(kpi), "") | dict(zip(grouping, values, strict=True))
            labels |= {"site": book.name, "by": ",".join(grouping), "window": window_name(reading.length)}
            key = frozenset(labels.items())
            assert samples.get((metric_name(kpi), key)) == reading.value
            if kpi.unit != "count":
                assert samples[f"engagement_{name}_samples", key] == reading.n
            if reading.numerator is not None:
                assert samples[f"engagement_{name}_numerator", key] == reading.numerator
            compared += 1
    assert compared > 200


def test_events_are_accounted_for(partition: Partition) -> None:
    _, samples = scrape(partition)
    assert sum(value for (name, _), value in samples.items() if name == "engagement_events_total") == COUNT
    assert samples["engagement_unaccounted_events", frozenset({("partition", "0")})] == 0
    failed = partition.accounting()["website"]["failed.not_json"]
    assert samples["engagement_failed_events_total", frozenset({("topic", "website"), ("partition", "0"), ("reason", "not_json")})] == failed
    assert samples["engagement_flagged_events_total", frozenset({("topic", "website"), ("partition", "0"), ("flag", "partly_late")})] > 0
    newest = partition.intake.newest["website"]
    assert samples["engagement_watermark_timestamp_seconds", frozenset({("topic", "website"), ("partition", "0")})] == newest / 1000 - 5
    assert samples["engagement_subjects", frozenset({("partition", "0")})] == len(partition.intake.subjects)
    assert samples["engagement_held_ids", frozenset({("partition", "0")})] == len(partition.intake.seen.ids)


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
    _, some = scrape(partition, limit=60)
    kept = {key for key in some if any(label == "by" for label, _ in key[1])}
    assert len(kept) <= 60
    assert all(("by", "") in labels for _, labels in kept)
    assert some["engagement_series_dropped_total", frozenset()] == len(measures) - len(kept)
    assert everything["engagement_series_dropped_total", frozenset()] == 0


def test_odd_label_values_survive() -> None:
    state = Partition(0, 1)
    odd = 'a:"b"\\c,d'
    value = b'{"id":"1","type":"page_viewed","site":"s.x","at":%d,"visitor":"v","path":"/","channel":"a:\\"b\\"\\\\c,d"}'
    batch = [Raw(0, START, None, value % START), Raw(1, START + 400_000, None, value.replace(b'"1"', b'"2"') % (START + 400_000))]
    state.apply("website", batch)
    flush = state.flush()
    assert flush is not None
    state.apply(ROLLUPS, [Raw(offset, START, message.key, message.value) for offset, message in enumerate(flush.after)])
    state.tick(1.0)
    _, samples = scrape(state)
    channels = {dict(labels).get("channel") for name, labels in samples if name == "engagement_page_views"}
    assert odd in channels


def test_nothing_owned_is_no_series_and_no_error() -> None:
    _, samples = scrape()
    assert set(samples) == {("engagement_series_dropped_total", frozenset())}


@pytest.mark.parametrize(
    ("length", "name"),
    [(5 * MINUTE, "5m"), (HOUR, "1h"), (24 * HOUR, "24h"), (7 * DAY, "7d"), ("day", "day"), (Live(5), "live5m"), ("live5", "live5m")],
)
def test_windows_are_named_as_people_write_them(length: Any, name: str) -> None:
    assert window_name(length) == name
