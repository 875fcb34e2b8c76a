"""The measures as Prometheus gauges, and the accounting of events as counters: read from the owned state at scrape, so nothing goes stale.

Names follow from the catalogue: `engagement_<measure>` and its unit; `_samples` says over how many facts, `_numerator` of how many a ratio is made.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Final, NamedTuple

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from streams.admission import unaccounted
from streams.flow import State
from streams.kpis import KPIS, Kpi, Live, Window
from streams.panes import DAY, HOUR, MINUTE, WATERMARK_DELAY
from streams.partition import Partition
from streams.readings import Reading

SERIES_LIMIT: Final = 5_000
SUFFIXES: Final = {"count": "", "ratio": "_ratio", "seconds": "_seconds", "pages": "", "stars": "_stars", "score": "_score"}
"""What a measure's unit adds to its name; a count and pages per session say their unit already."""
HEADLINES: Final = (5 * MINUTE, HOUR, 24 * HOUR, "day", "week", "month")
"""Windows of totals that are exported where a measure has them; minute panes leave 24 h to `day`. The others are on the topic `readings`."""
GROUPED_HEADLINES: Final = (HOUR, "day", "week", "month")
"""Windows of single labels, where there are many series."""


class _Sample(NamedTuple):
    rank: tuple[int, int, str, tuple[str, ...]]
    """Which samples stay when the limit binds: totals first, then in the order of the catalogue."""
    kpi: Kpi
    labels: tuple[str, ...]
    reading: Reading


class ReadingsCollector(Collector):
    """Collects the states that `states` returns; at most `limit` series of measures per scrape."""

    def __init__(self, states: Callable[[], Iterable[State]], limit: int = SERIES_LIMIT) -> None:
        self._states = states
        self._limit = limit
        self._dropped = 0

    def describe(self) -> Iterable[Metric]:
        return ()

    def collect(self) -> Iterator[Metric]:
        partitions = [state for state in self._states() if isinstance(state, Partition)]
        yield from self._measures(partitions)
        yield CounterMetricFamily(
            "engagement_series_dropped", "Series of measures left out because of the limit of series, summed over scrapes.", self._dropped
        )
        yield from _accounting(partitions)
        yield from _held(partitions)

    def _measures(self, partitions: Iterable[Partition]) -> Iterator[Metric]:
        families: dict[str, Metric] = {}
        left = self._limit
        for sample in sorted(_samples(partitions), key=lambda sample: sample.rank):
            made = list(_series(sample))
            if len(made) > left:
                self._dropped += len(made)
                left = 0  # nothing of a lower rank slips in instead
                continue
            left -= len(made)
            for name, text, value in made:
                family = families.get(name)
                if family is None:
                    family = families[name] = GaugeMetricFamily(name, text, labels=label_names(sample.kpi))
                family.add_metric(sample.labels, value)  # type: ignore[attr-defined]  # a gauge family
        yield from families.values()


def metric_name(kpi: Kpi) -> str:
    """The gauge of a measure's value."""
    return f"engagement_{kpi.name}{SUFFIXES[kpi.unit]}"


def label_names(kpi: Kpi) -> tuple[str, ...]:
    """Labels of a measure's gauges: `by` names the grouping, the labels outside it are empty."""
    return ("site", "by", *dict.fromkeys(label for grouping in kpi.by for label in grouping), "window")


def window_name(length: Window | str) -> str:
    """As people write it: 5m, 1h, day, 7d, live5m."""
    if isinstance(length, Live):
        return f"live{length.minutes}m"
    if isinstance(length, str):
        return f"{length}m" if length.startswith("live") else length
    if length > DAY and length % DAY == 0:
        return f"{length // DAY}d"
    return f"{length // HOUR}h" if length % HOUR == 0 else f"{length // MINUTE}m"


def is_headline(kpi: Kpi, length: Window | str, is_total: bool) -> bool:
    """Whether a window is exported; the rest would only multiply the series."""
    if isinstance(length, str) and length.startswith("live"):
        return True
    if not is_total:
        return length in GROUPED_HEADLINES
    return length in HEADLINES and not (length == 24 * HOUR and "day" in kpi.windows)


_BY_NAME: Final = {kpi.name: (place, kpi) for place, kpi in enumerate(KPIS)}


def _samples(partitions: Iterable[Partition]) -> Iterator[_Sample]:
    for partition in partitions:
        for book in partition.rollups.books.values():
            for (name, grouping, values, _), reading in book.published.items():
                place, kpi = _BY_NAME.get(name, (0, None))
                if kpi is None or not is_headline(kpi, reading.length, not grouping) or (grouping and not reading.n):
                    continue
                window = window_name(reading.length)
                of = dict(zip(grouping, values, strict=True))
                labels = tuple(of.get(label, "") for label in label_names(kpi)[2:-1])
                rank = (1 + kpi.by.index(grouping) if grouping else 0, place, window, (book.name, *values))
                yield _Sample(rank, kpi, (book.name, ",".join(grouping), *labels, window), reading)


def _series(sample: _Sample) -> Iterator[tuple[str, str, float]]:
    """Name, help and value of the gauges of one reading."""
    kpi, reading = sample.kpi, sample.reading
    name = metric_name(kpi)
    if reading.value is not None:
        yield name, kpi.help, float(reading.value)
    if kpi.unit == "count":
        return  # it is its own number of samples
    stem = f"engagement_{kpi.name}"
    yield f"{stem}_samples", f"Facts behind {name}; below {kpi.least} it says little.", float(reading.n)
    if reading.numerator is not None:
        yield f"{stem}_numerator", f"Facts counted in the numerator of {name}.", float(reading.numerator)


def _accounting(partitions: Iterable[Partition]) -> Iterator[Metric]:
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


def _held(partitions: Iterable[Partition]) -> Iterator[Metric]:
    """How far each partition has come, and how much it holds."""
    watermarks = GaugeMetricFamily(
        "engagement_watermark_timestamp_seconds", "Event time up to which a topic of a partition has been read.", labels=("topic", "partition")
    )
    subjects = GaugeMetricFamily("engagement_subjects", "Customers, visitors and authors that are remembered.", labels=("partition",))
    ids = GaugeMetricFamily("engagement_held_ids", "Event ids that are remembered to recognise duplicates.", labels=("partition",))
    for partition in partitions:
        number = str(partition.partition)
        for topic, newest in partition.intake.newest.items():
            watermarks.add_metric((topic, number), (newest - WATERMARK_DELAY) / 1000)
        subjects.add_metric((number,), len(partition.intake.subjects))
        ids.add_metric((number,), len(partition.intake.seen.ids))
    yield from (watermarks, subjects, ids)
