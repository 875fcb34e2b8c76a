"""Aggregates: known answers, and the laws of a group over every measure of the catalogue."""

import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.aggregates import Either, Mean, Ratio, Share, Sum, bucket_edge, bucket_of, copy_cell, is_empty, quantile, wilson
from streams.engagement import FAMILIES, Family
from streams.events import FileDownloaded, PageViewed, PaymentFailed
from streams.facts import Complaint, DailyVisitor, Mention, MonthlyVisitor, Presence, TextJudged, WeeklyVisitor
from streams.journeys.audiences import AudienceChange
from streams.journeys.carts import Cart, Checkout
from streams.journeys.content import PageRead, Play
from streams.journeys.conversions import Conversion
from streams.journeys.funnels import FunnelEntry, FunnelStep, LongFunnelEntry, LongFunnelStep, LongStepTime, StepTime
from streams.journeys.interactions import WEIGHTS, Engagement
from streams.journeys.messages import Mailing, Sending
from streams.journeys.orders import Order
from streams.journeys.reviews import MICRO, Review
from streams.journeys.sessions import Session, SessionGoal
from streams.journeys.tickets import Resolution, Response, Ticket
from streams.journeys.trials import Trial
from streams.kpis import KPIS, Kpi

COMPOUND = st.integers(-10_000, 10_000)
LABEL = st.sampled_from(["negative", "neutral", "positive", "unsupported"])
MILLIS = st.integers(0, 10**9)
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
    Session: SESSIONS, Review: REVIEWS, Mention: st.builds(Mention, own=st.booleans()), TextJudged: st.builds(TextJudged, LABEL, COMPOUND, st.integers(0, 3)),
    Complaint: st.none(),
}  # fmt: skip
FACTS_OF |= {
    Conversion: st.builds(Conversion, st.booleans()),
    FunnelEntry: st.builds(FunnelEntry, st.booleans()),
    FunnelStep: st.builds(FunnelStep, st.booleans()),
    StepTime: st.builds(StepTime, MILLIS),
    LongFunnelEntry: st.builds(LongFunnelEntry, st.booleans()),
    LongFunnelStep: st.builds(LongFunnelStep, st.booleans()),
    LongStepTime: st.builds(LongStepTime, MILLIS),
    Cart: st.builds(Cart, st.booleans()),
    Checkout: st.builds(Checkout, st.booleans()),
    Order: st.integers(0, 10**9).flatmap(lambda total: st.builds(Order, st.booleans(), st.just(total), st.integers(0, total))),
    PaymentFailed: st.none(),
    Ticket: st.builds(Ticket, st.booleans()),
    Trial: st.builds(Trial, st.booleans()),
    Response: st.builds(Response, MILLIS),
    Resolution: st.builds(Resolution, MILLIS),
    SessionGoal: st.builds(SessionGoal, *[st.booleans()] * 3),
    Engagement: st.builds(Engagement, kind=st.sampled_from([None, *WEIGHTS])) | st.builds(Engagement, impressions=st.integers(-20, 100)),
    AudienceChange: st.builds(AudienceChange, st.integers(-50, 50), st.booleans()),
    Sending: st.builds(Sending, st.sampled_from(["email", "sms"]), st.booleans(), st.booleans()),
    Mailing: st.builds(Mailing, st.sampled_from(["email", "sms"]), *[st.booleans()] * 5),
    PageRead: st.builds(PageRead, st.integers(0, 1_800_000), st.none() | st.integers(0, 10_000)),
    Play: st.tuples(st.booleans(), st.booleans(), st.integers(0, 10**7)).map(lambda drawn: Play(drawn[0], drawn[0] and drawn[1], drawn[2])),
    FileDownloaded: st.none(),
}
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
    if kpi.unit == "ratio" and not isinstance(kpi.value, Mean):
        assert result.value == result.numerator / result.n
        if isinstance(kpi.value, Ratio) and not 0 <= result.numerator <= result.n:
            assert result.low is result.high is None
        else:
            assert 0 <= result.low <= result.value <= result.high <= 1
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


def test_a_ratio_of_sums_may_exceed_1_and_has_bounds_only_as_a_share():
    ratio = Ratio(tuple, lambda pair: pair[0], lambda pair: pair[1])
    assert ratio.result([150, 100], []) == (1.5, 100, None, None, 150)
    assert ratio.result([5, 10], []) == (0.5, 10, *wilson(5, 10), 5)
    assert ratio.result([3, 0], []) == ratio.result([3, -7], []) == (None, 0, None, None, 3)


def test_a_sum_is_a_count_in_its_own_unit():
    assert Sum(int, int).result([0, 0], []) == (0, 0, None, None, None)
    assert Sum(int, int).result([2, -3], []) == (-3, 2, None, None, None)
    assert [Sum(int, int, scale=1000).result(slots, []).value for slots in ([0, 0], [2, 1500])] == [None, 1.5]


def test_either_says_the_second_only_where_nothing_is_given_for_the_first():
    growth = Either(int, bool, Sum(int, int, among=bool), Sum(int, abs))
    assert len(growth.slots()) == 5
    assert growth.result([1, 1, 0, 7, 9], []).value == 0
    assert growth.result([0, 0, 0, 7, 9], []) == (9, 7, None, None, None)


def test_rows_that_make_no_sense_have_a_value_and_no_bounds():
    """Hits beyond n come from no log, but must not end a worker."""
    assert Share(int, bool).result([2, 5], []) == (2.5, 2, None, None, 5)
