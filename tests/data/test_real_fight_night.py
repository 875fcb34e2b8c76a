"""Tweets with emoji during a boxing match: a burst of mentions in many languages.

Definitions: windows of 5 minutes are sums of our minute panes. No language is given, so every text is scored; the set judges whole
texts, we those before the 65th emoji: the few longer ones are judged anew here with the official library.
"""

from collections import Counter
from collections.abc import Iterator
from datetime import datetime

import pytest

from streams.panes import DAY, MINUTE
from tests.data.adapters import DataSet, Event, Figures, capped, epoch_ms, official_label

SITE = "boxing"


def events(data: DataSet) -> Iterator[Event]:
    for row in data.rows:
        yield {
            "type": "mention_posted",
            "id": row["tweet_id"],
            "site": SITE,
            "at": epoch_ms(row["created_at"]),
            "post": row["tweet_id"],
            "network": "twitter",
            "author": row["author"],
            "text": row["text"],
        }


@pytest.fixture(scope="module")
def data() -> DataSet:
    return DataSet("fight_night_tweets", "tweets.csv.gz")


@pytest.fixture(scope="module")
def figures(data: DataSet) -> Figures:
    return Figures(events(data))


@pytest.fixture(scope="module")
def moved(data: DataSet) -> Counter[tuple[datetime, str]]:
    """What the cap changes: per 5 minutes and class, how many texts more (or fewer)."""
    changes: Counter[tuple[datetime, str]] = Counter()
    for row in data.rows:
        if (text := capped(row["text"])) != row["text"]:
            at = datetime.fromisoformat(row["created_at"])
            start = at.replace(minute=at.minute - at.minute % 5, second=0)
            changes[start, official_label(text)] += 1
            changes[start, official_label(row["text"])] -= 1
    return changes


def of_5_minutes(figures: Figures, kpi: str, start: datetime, *, hits: bool = False) -> int:
    panes = [reading for at, reading in figures.of_length(kpi, MINUTE, SITE).items() if 0 <= (at - start).total_seconds() < 300]
    return sum(int((reading.numerator if hits else reading.value) or 0) for reading in panes)


def test_every_tweet_is_applied(figures: Figures, data: DataSet) -> None:
    assert figures.accounting == {"received": data.expected["rows"], "applied": data.expected["rows"], "unaccounted": 0}
    assert figures.one("mentions", DAY, SITE).value == figures.count("texts_scored", SITE) == 12_118


def test_mentions_and_classes_per_5_minutes(figures: Figures, data: DataSet, moved: Counter[tuple[datetime, str]]) -> None:
    for text, expected in data.expected["per_5_min"].items():
        start = datetime.fromisoformat(text)
        assert of_5_minutes(figures, "mentions", start) == expected["tweets"]
        for label in ("negative", "positive"):
            assert of_5_minutes(figures, f"{label}_share", start, hits=True) == expected[label] + moved[start, label]


def test_the_peak_minute(figures: Figures, data: DataSet) -> None:
    minutes = {start: reading.value for start, reading in figures.of_length("mentions", MINUTE, SITE).items()}
    peak = data.expected["peak_minute"]
    assert minutes[datetime.fromisoformat(peak["at"])] == max(value for value in minutes.values() if value is not None) == peak["tweets"]
    assert len(minutes) == data.expected["minutes_with_at_least_one_tweet"]


def test_classes_in_total(figures: Figures, data: DataSet, moved: Counter[tuple[datetime, str]]) -> None:
    for label, number in data.expected["vader_counts"].items():
        share = figures.one(f"{label}_share", DAY, SITE)
        assert share.numerator == number + sum(change for (_, changed), change in moved.items() if changed == label)


def test_mean_compound(figures: Figures, data: DataSet) -> None:
    """Within what the cap moves: 0.0005 is six texts' worth of a full swing."""
    assert figures.one("mean_sentiment", DAY, SITE).value == pytest.approx(data.expected["vader_compound_mean"], abs=5e-4)
