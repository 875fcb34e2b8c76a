"""The measures as Prometheus gauges, and the accounting of events as counters: read from the owned state at scrape, so nothing goes stale.

Names follow from the catalogue: `engagement_<measure>` and its unit; `_samples` says over how many facts (the denominator of a ratio),
`_numerator` of how many a ratio is made. docs/metrics.md lists everything; `python -m agents.metrics docs/metrics.md` writes its table of measures.
"""

import platform
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final, NamedTuple

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from streams.admission import unaccounted
from streams.aggregates import Count, Mean, Ratio, Share, Sum
from streams.flow import State
from streams.kpis import KPIS, Kpi
from streams.labels import LABELS_KEPT
from streams.panes import WATERMARK_DELAY
from streams.partition import Partition
from streams.readings import Reading
from streams.windows import window_name

SERIES_LIMIT: Final = 4_500
"""Series of this collector; a process may have 5,000, and the engine's own take the rest."""
SUFFIXES: Final = {"count": "", "ratio": "_ratio", "seconds": "_seconds", "pages": "", "stars": "_stars", "score": "_score", "minor": "_minor", "version": ""}
"""What a measure's unit adds to its name; a count and pages per session say their unit already. Money is in minor units of its currency."""
WINDOWS: Final = ("live5m", "1h", "day", "week", "month")
"""A measure exports the first of these it has; all its windows are on the topic `readings`."""
NEVER_SUMMED: Final = ("step",)
"""Labels that are kept when a measure is put together over the others, beside those the catalogue names itself."""


class _Sample(NamedTuple):
    """The series of one label set. `rank` decides which stay when the limit binds: sites and totals first, then in the order of the catalogue."""

    rank: tuple[int, int, str, tuple[str, ...]]
    label_names: tuple[str, ...]
    labels: tuple[str, ...]
    series: tuple[tuple[str, str, float], ...]
    """Name, help and value."""


class ReadingsCollector(Collector):
    """Collects the states that `states` returns, at most `limit` series per scrape: what is left out are measures, and a counter says how many."""

    def __init__(self, states: Callable[[], Iterable[State]], limit: int = SERIES_LIMIT) -> None:
        self._states = states
        self._limit = limit
        self._dropped = 0

    def describe(self) -> Iterable[Metric]:
        return ()

    def collect(self) -> Iterator[Metric]:
        partitions = [state for state in self._states() if isinstance(state, Partition)]
        bounded = [family for families in BOUNDED for family in families(partitions)]
        yield from self._of_sites(partitions, self._limit - sum(len(family.samples) for family in bounded))
        yield CounterMetricFamily(
            "engagement_series_dropped", "Series of sites and measures left out because of the limit of series, summed over scrapes.", self._dropped
        )
        yield from bounded

    def _of_sites(self, partitions: Sequence[Partition], left: int) -> Iterator[Metric]:
        """Whatever grows with the number of sites and their labels, within the limit."""
        families: dict[str, Metric] = {}
        for sample in sorted((*_site_samples(partitions), *_samples(partitions)), key=lambda sample: sample.rank):
            if len(sample.series) > left:
                self._dropped += len(sample.series)
                left = 0  # nothing of a lower rank slips in instead
                continue
            left -= len(sample.series)
            for name, text, value in sample.series:
                family = families.get(name)
                if family is None:
                    family = families[name] = GaugeMetricFamily(name, text, labels=sample.label_names)
                family.add_metric(sample.labels, value)  # type: ignore[attr-defined]  # a gauge family
        yield from families.values()


def metric_name(kpi: Kpi) -> str:
    """The gauge of a measure's value."""
    return f"engagement_{kpi.name}{SUFFIXES[kpi.unit]}"


def label_names(kpi: Kpi) -> tuple[str, ...]:
    """Labels of a measure's gauges: `by` names the grouping, the labels outside it are empty."""
    return ("site", "by", *dict.fromkeys(label for grouping in groupings_of(kpi) for label in grouping), "window")


def groupings_of(kpi: Kpi) -> tuple[tuple[str, ...], ...]:
    """Groupings that are exported beside the total; all others are on the topic `readings`, with every window.

    A count is one series and is exported by all its groupings. Of the others there are two or three, so they are put
    together by segment alone. What cannot be put together has its total, or its first grouping where that says nothing.
    """
    if kpi.unit == "count":
        return kpi.by
    if (finer := _by_segment(kpi)) is not None and (_is_additive(kpi) or finer == ("segment",)):
        return (_kept(kpi, finer),)
    return (kpi.by[0],) if finer is None or kpi.apart else ()


def _by_segment(kpi: Kpi) -> tuple[str, ...] | None:
    return next((grouping for grouping in kpi.by if "segment" in grouping), None)


def _kept(kpi: Kpi, grouping: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(label for label in grouping if label == "segment" or label in kpi.apart or label in NEVER_SUMMED)


def _is_additive(kpi: Kpi) -> bool:
    return isinstance(kpi.value, Count | Sum | Share | Ratio | Mean)


def has_numerator(kpi: Kpi) -> bool:
    """Whether a measure is one number over another."""
    nothing: list[Any] = [{} if slot.histogram else 0 for slot in kpi.value.slots()]
    return kpi.value.result(nothing, nothing).numerator is not None


def labelled_window(kpi: Kpi) -> str:
    """Name of the window in which a measure is exported."""
    names = [window_name(window) for window in kpi.windows]
    return next((name for name in WINDOWS if name in names), names[0])


def total_windows(kpi: Kpi) -> tuple[str, ...]:
    """Names of the windows in which the total is exported: of a count the last whole day (24 h where there are no days) too."""
    names = [window_name(window) for window in kpi.windows]
    day = "day" if "day" in names else "24h"
    return tuple(name for name in names if name == labelled_window(kpi) or (name == day and kpi.unit == "count"))


class _Export(NamedTuple):
    """What is exported of a measure, worked out once."""

    place: int
    kpi: Kpi
    label_names: tuple[str, ...]
    total: tuple[str, ...]
    window: str
    as_read: tuple[tuple[str, ...], ...]
    put_together: tuple[str, ...] | None
    """The finer grouping whose readings are added up by the kept labels."""


def _export(place: int, kpi: Kpi) -> _Export:
    as_read = tuple(grouping for grouping in groupings_of(kpi) if grouping in kpi.by)
    put_together = None if as_read or not groupings_of(kpi) else _by_segment(kpi)
    return _Export(place, kpi, label_names(kpi), total_windows(kpi), labelled_window(kpi), as_read, put_together)


class _Value(NamedTuple):
    """What a gauge needs of a reading, or of several put together."""

    value: float | None
    n: int
    numerator: int | None


VERSION: Final = version("engagement-monitor")
_EXPORTS: Final = {kpi.name: _export(place, kpi) for place, kpi in enumerate(KPIS)}


def _site_samples(partitions: Sequence[Partition]) -> Iterator[_Sample]:
    """What is known of a site beside its measures."""
    for partition in partitions:
        for book in partition.rollups.books.values():
            reached = ("engagement_site_watermark_timestamp_seconds", "Event time up to which the measures of a site are read.", book.watermark / 1000)
            yield _Sample((0, -1, "", (book.name,)), ("site",), (book.name,), (reached,))
    named: dict[tuple[str, str], int] = {}
    for partition in partitions:
        for key, values in partition.intake.ledger.labels.values.items():
            named[key] = max(len(values), named.get(key, 0))
    text = f"Values of a label that are counted under their own name, in the partition with the most; from {LABELS_KEPT} on new ones are other."
    for labels, count in named.items():
        yield _Sample((0, -1, "label", labels), ("site", "label"), labels, (("engagement_label_values", text, count),))


def _samples(partitions: Sequence[Partition]) -> Iterator[_Sample]:
    for partition in partitions:
        for book in partition.rollups.books.values():
            finer: dict[tuple[str, tuple[str, ...]], list[Reading]] = {}
            for (name, grouping, values, _), reading in book.published.items():
                export = _EXPORTS.get(name)
                if export is None:
                    continue
                window = window_name(reading.length)
                read = _Value(reading.value, reading.n, reading.numerator)
                if not grouping:
                    if window in export.total:
                        yield _sample(export, book.name, (), (), window, read)
                elif window == export.window and reading.n:
                    if grouping in export.as_read:
                        yield _sample(export, book.name, grouping, values, window, read)
                    if grouping == export.put_together:
                        kept = tuple(reading.dimensions[label] for label in _kept(export.kpi, grouping))
                        finer.setdefault((name, kept), []).append(reading)
            for (name, values), readings in finer.items():
                export = _EXPORTS[name]
                (grouping,) = groupings_of(export.kpi)
                yield _sample(export, book.name, grouping, values, export.window, _put_together(export.kpi, readings))


def _sample(export: _Export, site: str, grouping: tuple[str, ...], values: tuple[str, ...], window: str, read: _Value) -> _Sample:
    of = dict(zip(grouping, values, strict=True))
    labels = (site, ",".join(grouping), *(of.get(label, "") for label in export.label_names[2:-1]), window)
    rank = 0 if not grouping else 1 if grouping not in export.as_read else 1 + export.as_read.index(grouping)
    return _Sample(
        (rank, export.place, window, (site, *values)), export.label_names, labels, tuple(_series(export.kpi, read, bool(grouping) and not export.kpi.apart))
    )


def _put_together(kpi: Kpi, readings: Sequence[Reading]) -> _Value:
    """Readings of labels that share no fact, as one."""
    n = sum(reading.n for reading in readings)
    known = [reading for reading in readings if reading.value is not None]
    if any(reading.numerator is not None for reading in readings):
        numerator = sum(reading.numerator or 0 for reading in readings)
        return _Value(numerator / n, n, numerator)
    if isinstance(kpi.value, Mean):
        return _Value(sum(float(reading.value or 0) * reading.n for reading in known) / n, n, None)
    return _Value(sum(reading.value or 0 for reading in known), n, None)


def _series(kpi: Kpi, read: _Value, has_total: bool) -> Iterator[tuple[str, str, float]]:
    """Name, help and value of the gauges of one reading; the ratio of a single label beside a total is left to whoever divides."""
    name = metric_name(kpi)
    if read.value is not None and not (has_total and read.numerator is not None):
        yield name, kpi.help, float(read.value)
    if kpi.unit == "count":
        return  # it is its own number of samples
    stem = f"engagement_{kpi.name}"
    yield f"{stem}_samples", f"Facts behind {name}; below {kpi.least} it says little.", float(read.n)
    if read.numerator is not None:
        yield f"{stem}_numerator", f"Facts counted in the numerator of {name}.", float(read.numerator)


def _build(_: Sequence[Partition]) -> Iterator[Metric]:
    build = GaugeMetricFamily("engagement_build_info", "What runs here: always 1, with the version of the product and of Python.", labels=("version", "python"))
    build.add_metric((VERSION, platform.python_version()), 1)
    yield build


def _accounting(partitions: Sequence[Partition]) -> Iterator[Metric]:
    """Every record received has one verdict; by partition, so that a partition that moves to another worker does not look like events."""
    events = CounterMetricFamily("engagement_events", "Events by verdict; their sum is what was received.", labels=("topic", "partition", "verdict"))
    failed = CounterMetricFamily("engagement_failed_events", "Events that could not be counted, by reason.", labels=("topic", "partition", "reason"))
    refused = CounterMetricFamily("engagement_refused_events", "Events that may not be counted, by reason.", labels=("topic", "partition", "reason"))
    flagged = CounterMetricFamily("engagement_flagged_events", "Events that were counted with a remark.", labels=("topic", "partition", "flag"))
    missing = GaugeMetricFamily("engagement_unaccounted_events", "Events without a verdict; anything but 0 is a defect.", labels=("partition",))
    by_prefix = {"failed": failed, "refused": refused, "flag": flagged}
    for partition in partitions:
        number = str(partition.partition)
        total = 0
        for topic, counts in partition.accounting().items():
            total += unaccounted(counts)
            verdicts: dict[str, int] = {}
            for name, count in counts.items():
                verdict, _, detail = name.partition(".")
                if verdict in by_prefix:
                    by_prefix[verdict].add_metric((topic, number, detail), count)
                if verdict not in {"received", "flag"}:
                    verdicts[verdict] = verdicts.get(verdict, 0) + count
            for verdict, count in verdicts.items():
                events.add_metric((topic, number, verdict), count)
        missing.add_metric((number,), total)
    yield from (events, failed, refused, flagged, missing)


def _held(partitions: Sequence[Partition]) -> Iterator[Metric]:
    """How far each partition has come, and how much it holds."""
    watermarks = GaugeMetricFamily(
        "engagement_watermark_timestamp_seconds", "Event time up to which a topic of a partition has been read.", labels=("topic", "partition")
    )
    since = GaugeMetricFamily(
        "engagement_held_ids_since_timestamp_seconds",
        "Event time from which on every duplicate is recognised, in all partitions of this worker.",
        labels=("topic",),
    )
    held_since: dict[str, int] = {}
    subjects = GaugeMetricFamily("engagement_subjects", "Customers, visitors and authors that are remembered.", labels=("partition",))
    ids = GaugeMetricFamily("engagement_held_ids", "Event ids that are remembered to recognise duplicates.", labels=("partition",))
    panes = GaugeMetricFamily("engagement_pane_rows", "Rows of counters that events of the partition can still change.", labels=("partition",))
    rollups = GaugeMetricFamily("engagement_rollup_rows", "Rows of counters held for the sites of the partition: windows and history.", labels=("partition",))
    grams = GaugeMetricFamily("engagement_grams", "Phrases of negative texts counted for the quarter hours that may still change.", labels=("partition",))
    pruned = CounterMetricFamily("engagement_pruned_grams", "Phrases of negative texts no longer counted because there were too many.", labels=("partition",))
    learned = GaugeMetricFamily(
        "engagement_learned_weights", "What starred reviews have taught, where the site wants it: words and pairs of words.", labels=("site", "partition")
    )
    for partition in partitions:
        number = str(partition.partition)
        for topic, newest in partition.intake.newest.items():
            watermarks.add_metric((topic, number), (newest - WATERMARK_DELAY) / 1000)
        for topic, at in partition.intake.seen.held_since().items():
            held_since[topic] = max(at, held_since.get(topic, at))
        held = partition.status()
        for family, name in ((subjects, "subjects"), (ids, "ids"), (panes, "pane_rows"), (rollups, "rollup_rows"), (grams, "grams")):
            family.add_metric((number,), held[name])
        pruned.add_metric((number,), partition.intake.grams.pruned)
        for site, weights in partition.intake.learner.sites.items():
            learned.add_metric((site, number), len(weights.of))
    for topic, at in held_since.items():
        since.add_metric((topic,), at / 1000)
    yield from (watermarks, since, subjects, ids, panes, rollups, grams, pruned, learned)


BOUNDED: Final[tuple[Callable[[Sequence[Partition]], Iterable[Metric]], ...]] = (_build, _accounting, _held)
"""What is exported beside the measures, by partition or once: bounded by closed sets, so it is never left out."""


def table() -> str:
    """The table of measures of docs/metrics.md."""

    def row(kpi: Kpi) -> str:
        beside = [] if kpi.unit == "count" else [f"engagement_{kpi.name}_samples"]
        beside += [f"engagement_{kpi.name}_numerator"] if has_numerator(kpi) else []
        windows = " ".join(f"**{name}**" if name == labelled_window(kpi) else name for name in total_windows(kpi))
        by = " · ".join(f"`{','.join(grouping)}`" for grouping in groupings_of(kpi))
        return f"| `{metric_name(kpi)}` | {' '.join(f'`{also}`' for also in beside)} | {by} | {windows} | {kpi.help} |"

    return "\n".join(("| gauge | beside it | `by` | `window` | meaning |", "|---|---|---|---|---|", *map(row, KPIS)))


def main() -> None:
    """Put the table of today's catalogue in its place on the pages named on the command line."""
    for page in map(Path, sys.argv[1:]):
        page.write_text(re.sub(r"(?m)^\| gauge \|.*\n(?:\|.*\n)+", lambda _: table() + "\n", page.read_text()))


if __name__ == "__main__":
    main()
