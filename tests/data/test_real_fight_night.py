"""Tweets with emoji during a boxing match: a burst of mentions in many languages.

Definitions: windows of 5 minutes are sums of our minute panes. The set judges all texts with VADER, whole. No language is given, so ours is
detected, and what is not English is not scored: a quarter. Of the others VADER's share is recounted here with the official library, on what stands
before the 65th emoji.
"""

from collections import Counter
from collections.abc import Iterator
from datetime import datetime

import pytest

from streams.panes import DAY, MINUTE
from streams.texts.language import Language, language_of
from streams.texts.normal import normalise
from tests.data.adapters import DataSet, Event, Figures, capped, epoch_ms, official_compound, official_label

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


def five_minutes(row: dict[str, str]) -> datetime:
    at = datetime.fromisoformat(row["created_at"])
    return at.replace(minute=at.minute - at.minute % 5, second=0)


@pytest.fixture(scope="module")
def scored(data: DataSet) -> list[dict[str, str]]:
    """The rows in English, or without evidence of another language."""
    return [row for row in data.rows if language_of(normalise(capped(row["text"]))) is not Language.UNSUPPORTED]


@pytest.fixture(scope="module")
def negative(scored: list[dict[str, str]]) -> Counter[datetime]:
    """Per 5 minutes: the scored texts that the official library calls negative."""
    return Counter(five_minutes(row) for row in scored if official_label(capped(row["text"])) == "negative")


def of_5_minutes(figures: Figures, kpi: str, start: datetime, *, hits: bool = False) -> int:
    panes = [reading for at, reading in figures.of_length(kpi, MINUTE, SITE).items() if 0 <= (at - start).total_seconds() < 300]
    return sum(int((reading.numerator if hits else reading.value) or 0) for reading in panes)


def test_every_tweet_is_applied(figures: Figures, data: DataSet) -> None:
    assert figures.accounting == {"received": data.expected["rows"], "applied": data.expected["rows"], "unaccounted": 0}
    assert figures.one("mentions", DAY, SITE).value == 12_118


def test_what_is_not_english_is_not_scored(figures: Figures, scored: list[dict[str, str]]) -> None:
    unsupported = figures.one("unsupported_share", DAY, SITE)
    assert figures.count("texts_scored", SITE) == len(scored) == unsupported.n - (unsupported.numerator or 0)
    assert 0.2 < (unsupported.value or 0) < 0.3


def test_mentions_and_negative_texts_per_5_minutes(figures: Figures, data: DataSet, negative: Counter[datetime]) -> None:
    whole = Counter(five_minutes(row) for row in data.rows if official_label(row["text"]) == "negative")
    for text, expected in data.expected["per_5_min"].items():
        start = datetime.fromisoformat(text)
        assert of_5_minutes(figures, "mentions", start) == expected["tweets"]
        assert whole[start] == expected["negative"]  # the recount is the one of the set
        assert of_5_minutes(figures, "vader_negative_share", start, hits=True) == negative[start]


def test_the_peak_minute(figures: Figures, data: DataSet) -> None:
    minutes = {start: reading.value for start, reading in figures.of_length("mentions", MINUTE, SITE).items()}
    peak = data.expected["peak_minute"]
    assert minutes[datetime.fromisoformat(peak["at"])] == max(value for value in minutes.values() if value is not None) == peak["tweets"]
    assert len(minutes) == data.expected["minutes_with_at_least_one_tweet"]


def test_mean_compound(figures: Figures, scored: list[dict[str, str]]) -> None:
    assert figures.one("mean_sentiment", DAY, SITE).value == pytest.approx(sum(official_compound(capped(row["text"])) for row in scored) / len(scored))
