"""Themes of a real evening: 70 minutes of tweets about a boxing match, in windows of ten minutes and a quarter hour.

Seventy minutes are too short for a window of an hour against a day. So the formula is tried on windows as they are, and the product on the same
tweets six times slower: its hour is ten of their minutes.
"""

from collections import Counter
from collections.abc import Callable, Iterable
from datetime import datetime
from itertools import groupby

import pytest

from streams.grams import LEAST_AUTHORS, grams_of
from streams.panes import QUARTER_HOUR
from streams.replay import Replay
from streams.rollups import themes_of
from streams.texts.language import Language, language_of
from streams.texts.normal import normalise, words
from streams.themes import LEAST_TEXTS, LEAST_Z, MOST_THEMES, Theme, scores
from streams.topics import partition_of
from tests.data.adapters import DataSet, epoch_ms, lines

SITE = "boxing"
BEGIN = epoch_ms("2017-08-27T00:00:00")


@pytest.fixture(scope="module")
def data() -> DataSet:
    return DataSet("fight_night_tweets", "tweets.csv.gz")


def written(text: str) -> str:
    """The set has `<url>` in place of links."""
    return text.replace("<url>", "https://example.org")


@pytest.fixture(scope="module")
def english(data: DataSet) -> list[tuple[datetime, str]]:
    rows = [(datetime.fromisoformat(row["created_at"]), written(row["text"])) for row in data.rows]
    return [(at, text) for at, text in rows if language_of(normalise(text)) is Language.ENGLISH]


def new_words(english: list[tuple[datetime, str]], minutes: int, said: Callable[[str], Iterable[str]]) -> dict[str, list[str]]:
    """By the end of each window what is new in it against all before, the surest first."""
    windows: dict[int, Counter[str]] = {}
    for at, text in english:
        windows.setdefault((at.hour * 60 + at.minute) // minutes, Counter()).update(set(said(text)))
    found: dict[str, list[str]] = {}
    earlier: Counter[str] = Counter()
    for number, now in sorted(windows.items()):
        names = dict(enumerate(sorted(earlier | now)))
        counts = [{place: some[word] for place, word in names.items() if word in some} for some in (now, earlier, earlier + now)]
        end = (number + 1) * minutes
        found[f"{end // 60:02}:{end % 60:02}"] = [names[name] for name, _ in scores(*counts)] if earlier else []
        earlier += now
    return found


def test_words_of_ten_minutes_tell_the_fight(english):
    """All words, those of feelings too."""
    found = new_words(english, 10, lambda text: words(normalise(text)))
    assert "tired" in found["00:40"][:3]
    assert {"tired", "getting"} <= set(found["00:50"][:12])
    assert {"respect", "octagon", "won", "great"} <= set(found["01:00"][:25])
    assert {"tko", "octagon", "still"} <= set(found["01:10"][:25])


def test_phrases_of_a_quarter_hour_name_what_happened(english):
    """As the product counts them: without those that only say a feeling."""
    found = new_words(english, 15, grams_of)
    assert {"getting", "rounds"} <= set(found["00:45"][:8])
    assert {"👏", "octagon", "done", "knew"} <= set(found["01:00"][:15])
    assert {"tko", "🐐", "mayweather won", "0 rounds"} <= set(found["01:15"][:30])
    assert not {"won", "respect", "great"} & set(found["01:00"] + found["01:15"])


def slowed(data: DataSet) -> list[dict[str, object]]:
    return sorted(
        (
            {
                "type": "mention_posted", "id": row["tweet_id"], "site": SITE, "at": BEGIN + 6 * (epoch_ms(row["created_at"]) - BEGIN), "post": row["tweet_id"],
                "network": "twitter", "author": row["author"], "text": written(row["text"]),
            }
            for row in data.rows
        ),
        key=lambda event: event["at"],
    )  # fmt: skip


@pytest.fixture(scope="module")
def evening(data: DataSet) -> dict[str, tuple[Theme, ...]]:
    """By minute of the real evening the themes of the ten minutes before it, as the product finds them among the negative tweets."""
    replay = Replay(partitions=4)
    owner = replay.partitions[partition_of(SITE.encode(), 4)]
    found: dict[str, tuple[Theme, ...]] = {}
    for quarter, some in groupby(slowed(data), key=lambda event: int(str(event["at"])) // QUARTER_HOUR):
        replay.feed(lines(some))
        end = (quarter + 1) * QUARTER_HOUR
        minute = (end - BEGIN) / 6 / 60_000
        found[f"{int(minute) // 60:02}:{int(minute) % 60:02}"] = themes_of(owner.rollups, SITE, end - 1)
        owner.tick(quarter * 900.0)
    return found


@pytest.mark.slow
def test_negative_tweets_against_earlier_negative_ones(evening):
    said = {minute: {theme.gram for theme in themes} for minute, themes in evening.items()}
    assert any("getting" in gram for gram in said["00:42"] | said["00:45"])
    assert "octagon" in said["01:07"] | said["01:10"]
    assert "talk" in said["01:07"] | said["01:10"]
    assert "tko" in said["01:10"] | said["01:12"]


@pytest.mark.slow
def test_early_windows_say_nothing_and_none_says_more_than_it_may(evening):
    assert [evening[minute] for minute in ("00:07", "00:10")] == [(), ()], "not yet 30 earlier ones"
    for themes in evening.values():
        assert len(themes) <= MOST_THEMES
        assert all(theme.count >= LEAST_TEXTS and LEAST_AUTHORS <= theme.authors <= theme.count and theme.z >= LEAST_Z for theme in themes)
    assert 8 <= sum(map(bool, evening.values())) <= 14, "much happens in a fight, most of it in its last rounds"
