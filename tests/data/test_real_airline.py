"""Reviews of airline seats, rated 1 to 10.

Definitions: ratings are scaled to five stars (the set's figures × 0.5); the set judges whole texts, we the first 1,000 characters, so
classes are recounted here with the official library. 26 rows are dated 1970: no plausible time, counted as failed. Days are UTC.
"""

from collections import Counter
from collections.abc import Iterator

import pytest

from streams.panes import DAY
from tests.data.adapters import DataSet, Event, Figures, capped, epoch_ms, official_label

SITE = "airlines"
DATELESS = "1970-01-01"


def events(data: DataSet) -> Iterator[Event]:
    """In order of time: the file runs backwards, by airline."""
    for row in sorted(data.rows, key=lambda row: (row["date"] == DATELESS, row["date"])):
        event = {
            "type": "review_posted",
            "id": row["review_id"],
            "site": SITE,
            "at": epoch_ms(row["date"]),
            "review": row["review_id"],
            "source": "skytrax",
            "author": row["author"],
            "product": row["airline_name"],
            "text": row["text"],
        }
        yield event | ({"rating": float(row["overall_rating"]), "scale_max": 10} if row["overall_rating"] else {})


@pytest.fixture(scope="module")
def data() -> DataSet:
    return DataSet("airline_seat_reviews", "reviews.csv.gz")


@pytest.fixture(scope="module")
def figures(data: DataSet) -> Figures:
    return Figures(events(data))


@pytest.fixture(scope="module")
def dated(data: DataSet) -> list[dict[str, str]]:
    return [row for row in data.rows if row["date"] != DATELESS]


def test_rows_of_1970_fail_and_all_others_are_applied(figures: Figures, data: DataSet) -> None:
    dateless = data.expected["by_year"]["1970"]["n"]
    assert figures.accounting == {"received": 1258, "applied": 1258 - dateless, "failed.bad_time": dateless, "unaccounted": 0}


def test_volume_and_mean_rating_by_year_are_those_of_the_set(figures: Figures, data: DataSet) -> None:
    years = {int(year): of_year for year, of_year in data.expected["by_year"].items() if year != "1970"}
    for year, of_year in years.items():
        assert figures.count("reviews", SITE, year=year) == of_year["n"]
        assert figures.mean("mean_rating", SITE, year=year) == pytest.approx(of_year["rating_mean"] / 2, abs=1e-6)
    assert figures.count("reviews", SITE) == sum(of_year["n"] for of_year in years.values()) == 1232


def test_stars_and_low_ratings(figures: Figures, dated: list[dict[str, str]]) -> None:
    """Recounted: half-up rounding of rating ÷ 2, so 1 is one star and 5 (2.5) is three; low is 4 of 10 or less."""
    ratings = [round(float(row["overall_rating"])) for row in dated if row["overall_rating"]]
    assert len(ratings) == 1231
    stars = Counter((rating + 1) // 2 for rating in ratings)
    for number in (1, 2, 3, 4, 5):
        assert figures.mean(f"rating_{number}_share", SITE) == pytest.approx(stars[number] / len(ratings))
    assert figures.mean("low_rating_share", SITE) == pytest.approx(sum(rating <= 4 for rating in ratings) / len(ratings))
    assert figures.mean("mean_rating", SITE) == pytest.approx(sum(ratings) / 2 / len(ratings))


def test_sentiment_classes_are_those_of_the_official_library_on_capped_texts(figures: Figures, data: DataSet, dated: list[dict[str, str]]) -> None:
    whole = Counter(official_label(row["text"]) for row in data.rows)
    assert whole == data.expected["vader_counts"]  # the recount is the one of the set
    labels = Counter(official_label(capped(row["text"])) for row in dated)
    assert labels.total() == figures.count("texts_scored", SITE) == 1232
    assert figures.mean("vader_negative_share", SITE) == pytest.approx(labels["negative"] / 1232)


def test_the_overlay_hears_the_complaints_of_those_who_do_not_recommend(figures: Figures, dated: list[dict[str, str]]) -> None:
    """VADER calls half of those texts negative whose authors would not recommend the seat, and the label more; how right each is: docs/sentiment.md."""
    against = sum(row["recommended"] == "0" for row in dated) / len(dated)
    assert figures.mean("vader_negative_share", SITE) < figures.mean("negative_share", SITE) == pytest.approx(against, abs=0.02)


def test_a_known_airline(figures: Figures, dated: list[dict[str, str]]) -> None:
    """By airline while its name is among the first 50 of its partition: the one reviewed first is."""
    first = min(dated, key=lambda row: row["date"])["airline_name"]
    in_label = sum(int(reading.value or 0) for start, reading in figures.of_length("reviews", DAY, SITE, product=first).items() if start.hour == 0)
    assert 0 < in_label <= sum(row["airline_name"] == first for row in dated)
