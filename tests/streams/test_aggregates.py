"""Aggregates: known answers, and the laws of a group over every measure of the catalogue."""

import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.aggregates import Portion, Share, bucket_edge, bucket_of, copy_cell, is_empty, quantile, wilson
from streams.engagement import FAMILIES, Family
from streams.events import PageViewed
from streams.facts import DailyVisitor, Mention, MonthlyVisitor, Presence, TextJudged, WeeklyVisitor
from streams.journeys.reviews import MICRO, Review
from streams.journeys.sessions import Session
from streams.kpis import KPIS, Kpi

COMPOUND = st.integers(-10_000, 10_000)
LABEL = st.sampled_from(["negative", "neutral", "positive", "unsupported"])
SESSIONS = st.builds(
    lambda start, duration, pages, key_events: Session(start, "a", start + duration, pages, key_events),
    st.integers(0, 2**41), st.integers(0, 86_399_999), st.integers(1, 500), st.integers(0, 5),
)  # fmt: skip
REVIEWS = st.builds(
    lambda stars, sentiment, compound: Review(0, True, 0, "a", "store", None, None, stars, sentiment, compound),
    st.none() | st.integers(0, 5 * MICRO), st.none() | LABEL, COMPOUND,
)  # fmt: skip
FACTS_OF: dict[type[Any], st.SearchStrategy[Any]] = {
    PageViewed: st.none(), Presence: st.none(), DailyVisitor: st.none(), WeeklyVisitor: st.none(), MonthlyVisitor: st.none(),
    Session: SESSIONS, Review: REVIEWS, Mention: st.builds(Mention, own=st.booleans()), TextJudged: st.builds(TextJudged, LABEL, COMPOUND),
}  # fmt: skip
MEASURES = pytest.mark.parametrize("kpi", KPIS, ids=lambda kpi: kpi.name)
FAMILY = pytest.mark.parametrize("family", FAMILIES.values(), ids=lambda family: family.fact.name)
few = settings(max_examples=25)


def cell_of(family: Family, facts: list[Any]) -> list[Any]:
    cell = family.empty()
    for fact in facts:
        family.put(cell, family.measure(fact))
    return cell


def plus(family: Family, left: list[Any], right: list[Any], sign: int = 1) -> list[Any]:
    total = copy_cell(left)
    (family.add if sign > 0 else family.subtract)(total, right)
    return total


def test_every_fact_type_has_a_strategy():
    assert set(FACTS_OF) == set(FAMILIES)


# Newcombe 1998 (z = 1.96), Agresti and Coull 1998.
@pytest.mark.parametrize(
    ("hits", "n", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718), (29, 29, 0.8830, 1.0), (5, 10, 0.2366, 0.7634)],
)
def test_wilson_gives_the_known_answers(hits, n, low, high):
    assert wilson(hits, n) == pytest.approx((low, high), abs=5e-5)


@given(st.integers(1, 10**7).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_holds_the_share(case):
    hits, n = case
    low, high = wilson(hits, n)
    assert 0 <= low <= hits / n <= high <= 1


@given(st.lists(st.integers(0, 10**9), min_size=1, max_size=200), st.sampled_from([0.01, 0.5, 0.9, 0.99, 1.0]))
def test_quantiles_are_nearest_rank_within_two_percent(values, q):
    histogram: dict[int, int] = {}
    for value in values:
        histogram[bucket_of(value)] = histogram.get(bucket_of(value), 0) + 1
    exact = sorted(values)[max(1, math.ceil(q * len(values))) - 1]
    read = quantile(histogram, q)
    assert exact <= read <= exact * 1.02


def test_no_values_have_no_quantile():
    assert quantile({}, 0.5) is None


@given(st.integers(0, 2**50))
def test_buckets_are_ordered_and_hold_their_values(value):
    bucket = bucket_of(value)
    assert value <= bucket_edge(bucket) <= value * 1.02
    assert bucket_of(bucket_edge(bucket)) == bucket
    assert bucket_of(bucket_edge(bucket) + 1) == bucket + 1


@FAMILY
@few
@given(data=st.data())
def test_cells_are_a_group_under_addition(family, data):
    facts = st.lists(FACTS_OF[family.fact.type], max_size=12)
    first, second, third = (data.draw(facts) for _ in range(3))
    a, b, c = (cell_of(family, facts) for facts in (first, second, third))
    assert plus(family, a, b) == plus(family, b, a) == cell_of(family, second + first)
    assert plus(family, plus(family, a, b), c) == plus(family, a, plus(family, b, c))
    assert plus(family, a, family.empty()) == a == plus(family, family.empty(), a)
    assert is_empty(plus(family, a, a, -1))
    for fact in reversed(second):
        family.take(c, family.measure(fact))
    assert plus(family, c, b) == cell_of(family, third), "withdrawing before stating is exact too"


@MEASURES
@few
@given(data=st.data())
def test_a_measure_of_merged_cells_is_the_measure_of_all_facts(kpi, data):
    facts = st.lists(FACTS_OF[kpi.value.fact], max_size=15)
    parts = data.draw(st.lists(facts, min_size=1, max_size=4))
    family = FAMILIES[kpi.value.fact]
    merged = family.empty()
    for part in data.draw(st.permutations(parts)):
        family.add(merged, cell_of(family, part))
    everything = [fact for part in parts for fact in part]
    result = result_of(kpi, family, merged)
    assert result == result_of(kpi, family, cell_of(family, everything)) == recounted(kpi, everything)
    check_bounds(kpi, result)


def result_of(kpi: Kpi, family: Family, cell: list[Any]):
    slots = [cell[index] for index in family.indices[kpi.name]]
    return kpi.value.result(slots, slots)


def recounted(kpi: Kpi, facts: list[Any]):
    """The same from the plain list of facts, slot by slot."""
    slots: list[Any] = []
    for slot in kpi.value.slots():
        if slot.histogram:
            buckets = [bucket_of(slot.of(fact)) for fact in facts]
            slots.append({bucket: buckets.count(bucket) for bucket in buckets})
        else:
            slots.append(len(facts) if slot.of is None else sum(slot.of(fact) for fact in facts))
    return kpi.value.result(slots, slots)


def check_bounds(kpi: Kpi, result) -> None:
    assert result.n >= 0
    if not result.n:
        assert result.value in (None, 0)
        assert kpi.unit == "count" or result.value is None
        return
    if kpi.unit == "ratio":
        assert 0 <= result.low <= result.value <= result.high <= 1
        assert isinstance(kpi.value, Share | Portion)
        assert result.value == result.numerator / result.n
    if kpi.unit == "score":
        assert -1 <= result.value <= 1
    if kpi.unit == "stars":
        assert 0 <= result.value <= 5


@given(st.lists(st.integers(0, 5 * MICRO), min_size=1, max_size=30))
def test_the_shares_of_the_five_stars_add_up_to_one(ratings):
    family = FAMILIES[Review]
    cell = cell_of(family, [Review(0, True, 0, "a", "store", None, None, stars, None, 0) for stars in ratings])
    shares = [result_of(kpi, family, cell).value for kpi in KPIS if kpi.name.startswith("rating_")]
    assert len(shares) == 5
    assert sum(shares) == pytest.approx(1)
