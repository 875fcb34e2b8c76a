"""Real data sets as events, and what a replay of them says. The sets are not in this repository: they lie beside it."""

import csv
import gzip
import io
import json
from collections import defaultdict
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

from alerts.evaluation import Alert
from alerts.rules import RuleSet
from alerts.watch import ALERTS, Watch
from streams.panes import DAY, HOUR, QUARTER_HOUR, Pane
from streams.readings import Reading
from streams.replay import Replay
from streams.sites import Sites
from tests.conftest import missing

DATA = Path(__file__).parents[2].parent / "shared" / "data"
Event = dict[str, Any]


class DataSet:
    """One folder: `rows` of its table, and what its `expected.json` says, counted independently of the product."""

    def __init__(self, name: str, table: str) -> None:
        folder = DATA / name
        if not folder.is_dir():
            missing(f"The data set {name} is not there; tests of real data need the folder shared/data beside the repository.")
        self.expected: dict[str, Any] = json.loads((folder / "expected.json").read_text())["expected"]
        with gzip.open(folder / table) as file:
            self.rows = list(csv.DictReader(io.StringIO(file.read().decode(), newline="")))


def lines(events: Iterable[Event]) -> Iterator[bytes]:
    return (json.dumps(event, ensure_ascii=False).encode() for event in events)


class Tally(NamedTuple):
    """Hits of n, summed over panes; of a count both are the count."""

    hits: int
    n: int


class Figures:
    """A replay of events in this process, and its readings by measure, site and labels."""

    def __init__(self, events: Iterable[Event], sizes: tuple[Pane, ...] = tuple(Pane), sites: Sites | None = None) -> None:
        replay = Replay(sites).feed(lines(events))
        self.accounting = replay.accounting()
        self._readings: dict[tuple[Any, ...], list[Reading]] = defaultdict(list)
        for reading in replay.readings(sizes):
            self._readings[(reading.kpi, reading.site, *sorted(reading.dimensions.items()))].append(reading)

    def of_length(self, kpi: str, length: int, site: str, **labels: str) -> dict[datetime, Reading]:
        """The readings over windows of `length` ms, by start."""
        found = self._readings[(kpi, site, *sorted(labels.items()))]
        return {reading.window.start: reading for reading in found if (reading.window.end - reading.window.start).total_seconds() * 1000 == length}

    def one(self, kpi: str, length: int, site: str, **labels: str) -> Reading:
        """The last reading of a whole pane (or calendar day) of that length."""
        found = [reading for start, reading in self.of_length(kpi, length, site, **labels).items() if _is_aligned(start, length)]
        return max(found, key=lambda reading: reading.window.start)

    def count(self, kpi: str, site: str, length: int = DAY, year: int | None = None) -> int:
        """Sum of a count over its panes of `length`: all of them, or those of a year. Sliding windows start off midnight and are left out."""
        return sum(int(reading.value or 0) for reading in self._panes(kpi, site, length, year))

    def mean(self, kpi: str, site: str, length: int = DAY, year: int | None = None) -> float:
        """Mean (or share) over the same panes, each weighted by its n."""
        panes = self._panes(kpi, site, length, year)
        return sum(float(reading.value or 0) * reading.n for reading in panes) / sum(reading.n for reading in panes)

    def tally(
        self, kpi: str, site: str, by: Iterable[str] = (), days: tuple[str, str] = ("1990-01-01", "2199-12-31"), length: int = QUARTER_HOUR, **labels: str
    ) -> Tally:
        """The panes of `length` that begin on the days from … to, over all label sets of the grouping `by` that hold `labels`."""
        names, (first, last), hits, n = set(by), days, 0, 0
        for (name, of_site, *dimensions), readings in self._readings.items():
            if (name, of_site, {label for label, _ in dimensions}) != (kpi, site, names) or not labels.items() <= dict(dimensions).items():
                continue
            for reading in readings:
                start, end = reading.window.start, reading.window.end
                if (end - start).total_seconds() * 1000 == length and _is_aligned(start, length) and first <= f"{start:%F}" <= last:
                    hits, n = hits + (reading.n if reading.numerator is None else reading.numerator), n + reading.n
        return Tally(hits, n)

    def _panes(self, kpi: str, site: str, length: int, year: int | None) -> list[Reading]:
        return [reading for start, reading in self.of_length(kpi, length, site).items() if _is_aligned(start, length) and (year is None or start.year == year)]


def _is_aligned(start: datetime, length: int) -> bool:
    """Sliding windows of a day may start off midnight."""
    return round(start.timestamp() * 1000) % length == 0


def epoch_ms(text: str) -> int:
    """A naive or UTC text as epoch milliseconds."""
    return round(datetime.fromisoformat(text.removesuffix("Z")).replace(tzinfo=UTC).timestamp() * 1000)


class Watched:
    """The same replay through one partition that watches, looked at whenever `every` ms of event time have passed.

    The clock is that of the data: what fires is told. A partition alone has the watermark of its newest event.
    """

    def __init__(self, events: Iterable[Event], rules: RuleSet, sites: Sites, every: int = HOUR) -> None:
        replay = Replay(sites, partitions=1)
        self.watch = Watch(0, 1, sites, rules=rules, clock=lambda: max(self.watch.intake.newest.values()))
        replay.partitions = [self.watch]
        self.published: list[Alert] = []
        for second, (_, some) in enumerate(groupby(events, key=lambda event: event["at"] // every)):
            replay.feed(lines(some))
            self.watch.tick(float(second))
            self._drain()
        self._drain()  # the next flush begins: what the one before wrote is durable

    def _drain(self) -> None:
        flush = self.watch.flush()
        for message in flush.after if flush else ():
            if message.topic == ALERTS:
                self.published.append(msgspec.json.decode(message.value, type=Alert))

    def transitions(self, rule: str) -> list[Alert]:
        """What was said of a rule: its alerts as they fired and resolved, in turn."""
        return [alert for alert in self.published if alert.rule == rule]


# --- independent recount of sentiment ----------------------------------------------------------------------------------

_official = SentimentIntensityAnalyzer()


def capped(text: str) -> str:
    """The rule of the product in plain words: 1,000 characters, and of those what stands before the 65th of VADER's emoji."""
    text = text[:1_000]
    emoji = [place for place, character in enumerate(text) if character in _official.emojis]
    return text[: emoji[64]] if len(emoji) > 64 else text


def official_compound(text: str) -> float:
    return float(_official.polarity_scores(text)["compound"])


def official_label(text: str) -> str:
    compound = official_compound(text)
    return "positive" if compound >= 0.05 else "negative" if compound <= -0.05 else "neutral"
