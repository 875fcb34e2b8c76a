"""Posts of live sellers with their reactions, comments and shares, as events through replay.

Definitions. A reaction of any kind is a like; interactions are likes, comments and shares, as in the set. It knows no impressions: every post is measured
once, with one, so that our rate (interactions ÷ impressions gained) is the set's interactions per post; the category of a measurement is the one its
post was published with. Counts are totals at collection time: all stand at the minute of the post, in the set's naive time taken for UTC. Of the 3.5 million
interactions those of two years and of two content types are taken, one event each.
"""

from collections.abc import Iterator

import pytest

from streams.panes import Pane
from tests.data.adapters import DataSet, Event, Figures, epoch_ms

SITE, NETWORK = "seller", "facebook"
YEARS, CATEGORIES = ("2012", "2013"), ("link", "status")
KINDS = {"like": "reactions", "comment": "comments", "share": "shares"}
FIRST, LAST = "2012-01-01", "2018-12-31"

pytestmark = pytest.mark.slow


def taken(data: DataSet) -> list[dict[str, str]]:
    return [row for row in data.rows if row["status_published"][:4] in YEARS or row["status_type"] in CATEGORIES]


def events(data: DataSet) -> Iterator[Event]:
    for row in sorted(taken(data), key=lambda row: row["status_published"]):
        post, category = row["status_id"], row["status_type"]
        common = {"site": SITE, "at": epoch_ms(row["status_published"]), "network": NETWORK, "post": post}
        yield common | {"type": "post_published", "id": f"{post}-p", "category": category}
        yield common | {"type": "post_measured", "id": f"{post}-m", "impressions": 1}
        for kind, column in KINDS.items():
            for number in range(int(row[f"num_{column}"])):
                made = {"type": "interaction_made", "id": f"{post}-{kind}-{number}", "author": str(number), "kind": kind, "category": category}
                yield common | made


@pytest.fixture(scope="module")
def data() -> DataSet:
    return DataSet("facebook_seller_posts", "posts.csv.gz")


@pytest.fixture(scope="module")
def figures(data: DataSet) -> Figures:
    return Figures(events(data), (Pane.QUARTER_HOUR,))


def check(figures: Figures, expected: dict[str, float], days: tuple[str, str], **labels: str) -> None:
    by = ("network", *labels)
    for kind, column in KINDS.items():
        assert figures.tally(f"{kind}_rate", SITE, by, days, network=NETWORK, **labels) == (expected[column], expected["posts"])
    hits, n = figures.tally("interaction_rate", SITE, by, days, network=NETWORK, **labels)
    assert n == figures.tally("impressions", SITE, by, days, network=NETWORK, **labels).n == expected["posts"]
    assert hits / n == pytest.approx(expected["interactions_per_post"], abs=5e-7)


def test_every_post_and_interaction_is_counted(figures: Figures, data: DataSet) -> None:
    received = sum(2 + sum(int(row[f"num_{column}"]) for column in KINDS.values()) for row in taken(data))
    assert figures.accounting == {"received": received, "applied": received, "unaccounted": 0}


@pytest.mark.parametrize("category", CATEGORIES)
def test_content_types(figures: Figures, data: DataSet, category: str) -> None:
    check(figures, data.expected["by_type"][category], (FIRST, LAST), category=category)


def test_years_and_months(figures: Figures, data: DataSet) -> None:
    months = {month: expected for month, expected in data.expected["monthly"].items() if month[:4] in YEARS}
    assert len(months) == 18
    for period, expected in {**months, **{year: data.expected["by_year"][year] for year in YEARS}}.items():
        check(figures, expected, (f"{period}-01", f"{period}-99"))
