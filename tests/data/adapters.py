"""Real data sets as events, and what a replay of them says. The sets are not in this repository: they lie beside it."""

import csv
import gzip
import io
import json
from collections import defaultdict
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

from streams.panes import DAY, Pane
from streams.readings import Reading
from streams.replay import Replay
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


class Figures:
    """A replay of events in this process, and its readings by measure, site and labels."""

    def __init__(self, events: Iterable[Event], sizes: tuple[Pane, ...] = tuple(Pane)) -> None:
        replay = Replay().feed(lines(events))
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

    def _panes(self, kpi: str, site: str, length: int, year: int | None) -> list[Reading]:
        return [reading for start, reading in self.of_length(kpi, length, site).items() if _is_aligned(start, length) and (year is None or start.year == year)]


def _is_aligned(start: datetime, length: int) -> bool:
    """Sliding windows of a day may start off midnight."""
    return round(start.timestamp() * 1000) % length == 0


def epoch_ms(text: str) -> int:
    """A naive or UTC text as epoch milliseconds."""
    return round(datetime.fromisoformat(text.removesuffix("Z")).replace(tzinfo=UTC).timestamp() * 1000)


# --- independent recount of sentiment ----------------------------------------------------------------------------------

_official = SentimentIntensityAnalyzer()


def capped(text: str) -> str:
    """The rule of the product in plain words: 1,000 characters, and of those what stands before the 65th of VADER's emoji."""
    text = text[:1_000]
    emoji = [place for place, character in enumerate(text) if character in _official.emojis]
    return text[: emoji[64]] if len(emoji) > 64 else text


def official_label(text: str) -> str:
    compound = _official.polarity_scores(text)["compound"]
    return "positive" if compound >= 0.05 else "negative" if compound <= -0.05 else "neutral"
