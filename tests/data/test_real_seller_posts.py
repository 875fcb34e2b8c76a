"""Posts of live sellers with their reactions, comments and shares.

Definitions: a reaction of any kind is a like; interactions are likes, comments and shares, as in the set. The set knows no impressions: every
post is measured once with one impression, so that our rate (interactions ÷ impressions gained) is the set's interactions per post. The category
of a measurement is the one its post was published with. Of the 3.5 million interactions those of two content types and of two years are taken,
one event each.
"""

from collections import Counter
from collections.abc import Iterator

import pytest

from streams.events import InteractionMade, PostMeasured, PostPublished
from streams.journeys.following import Stated
from streams.journeys.interactions import Impressions, stated
from streams.sites import Site
from tests.data.adapters import DataSet, epoch_ms
from tests.streams.journey_laws import facts_of

SITE = Site()
TYPES, YEARS = ("link", "status"), ("2012", "2013")
KINDS = {"like": "reactions", "comment": "comments", "share": "shares"}


def facts(row: dict[str, str]) -> Iterator[Stated]:
    """What is stated of one post: its impression, and an interaction for each that the set counts."""
    post, at, category = row["status_id"], epoch_ms(row["status_published"]), row["status_type"]
    published = PostPublished(id=f"{post}-p", site="seller", at=at, post=post, network="facebook", category=category)
    measured = PostMeasured(id=f"{post}-m", site="seller", at=at, post=post, network="facebook", impressions=1)
    yield from facts_of(Impressions(), [published, measured], SITE)
    for kind, column in KINDS.items():
        for number in range(int(row[f"num_{column}"])):
            made = InteractionMade(id=f"{post}-{kind}-{number}", site="seller", at=at, author=str(number), network="facebook", kind=kind, category=category)
            yield from stated(made, at, SITE)


@pytest.fixture(scope="module")
def data() -> DataSet:
    return DataSet("facebook_seller_posts", "posts.csv.gz")


@pytest.fixture(scope="module")
def sums(data: DataSet) -> Counter[tuple[str, str]]:
    """Sums over all facts by content type, year and month of their instant."""
    total: Counter[tuple[str, str]] = Counter()
    for row in data.rows:
        published = row["status_published"]
        if row["status_type"] not in TYPES and published[:4] not in YEARS:
            continue
        for fact, at, (_, network, category, kind) in facts(row):
            assert (network, at) == ("facebook", epoch_ms(published))
            for name in (category, published[:4], published[:7]):
                total[name, kind or "impression"] += 1 if kind else fact.impressions
                total[name, "interaction"] += fact.is_interaction
    return total


def check(sums: Counter[tuple[str, str]], name: str, expected: dict[str, float]) -> None:
    assert sums[name, "impression"] == expected["posts"]
    for kind, column in KINDS.items():
        assert sums[name, kind] == expected[column]
    assert sums[name, "interaction"] / sums[name, "impression"] == pytest.approx(expected["interactions_per_post"], abs=5e-7)


@pytest.mark.slow
@pytest.mark.parametrize("name", TYPES)
def test_interactions_per_post_by_content_type(sums: Counter[tuple[str, str]], data: DataSet, name: str) -> None:
    check(sums, name, data.expected["by_type"][name])


@pytest.mark.slow
def test_interactions_per_post_by_year_and_month(sums: Counter[tuple[str, str]], data: DataSet) -> None:
    months = {month: figures for month, figures in data.expected["monthly"].items() if month[:4] in YEARS}
    assert len(months) > 12
    for name, figures in {**months, **{year: data.expected["by_year"][year] for year in YEARS}}.items():
        check(sums, name, figures)
