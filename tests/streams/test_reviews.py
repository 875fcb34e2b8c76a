"""Reviews: stars, edits, and texts, as they are counted."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.engagement import FAMILIES
from streams.facts import TextJudged
from streams.journeys.reviews import MICRO, Review, micro_stars
from streams.kpis import KPIS
from tests.streams.records import T0, D, H, M, event, feed, intake, pane_rows, totals

KPI = {kpi.name: kpi for kpi in KPIS}


def review(at: int, **fields) -> dict:
    return event("review_posted", at, **{"author": "bo", "review": "r1", "rating": 5, "text": None, "segment": "s", **fields})


def measures(state, size: int = M, grouping: str = "product") -> dict[int, dict]:
    """All review measures by pane start."""
    family = FAMILIES[Review]
    return {
        key[4]: {kpi.name: kpi.value.result([cell[i] for i in family.indices[kpi.name]], cell).value for kpi in family.kpis}
        for key, cell in pane_rows(state).items()
        if key[:3] == ("review", size, grouping)
    }


def texts(state, size: int = D) -> list[tuple]:
    index = FAMILIES[TextJudged].indices["texts_scored"][0]
    return [(*key[4:], cell[index]) for key, cell in pane_rows(state).items() if key[:3] == ("text", size, "segment,origin")]


@pytest.mark.parametrize(
    ("rating", "scale", "stars", "low"),
    [
        (5, None, 5, False), (4.5, None, 5, False), (4.499, None, 4, False), (2.5, None, 3, False), (2, None, 2, True), (2.0001, None, 2, False),
        (1.5, None, 2, True), (1, None, 1, True), (0, None, 1, True), (0.3, None, 1, True), (10, 10, 5, False), (7, 10, 4, False), (4, 10, 2, True),
        (100, 100, 5, False), (1, 3, 2, True),
    ],
)  # fmt: skip
def test_ratings_are_scaled_to_five_stars(rating, scale, stars, low):
    posted = Review(0, True, 0, "a", "s", None, None, micro_stars(rating, scale), None, 0)
    assert (posted.stars, posted.is_low, posted.is_rated) == (stars, low, True)


def test_without_a_rating_a_review_is_in_the_volume_only():
    state = intake(review(T0), review(T0, review="r2", rating=None))
    found = measures(state)[T0]
    assert (found["reviews"], found["mean_rating"], found["rating_5_share"]) == (2, 5.0, 1.0)


@pytest.mark.parametrize("flushed", [True, False])
@pytest.mark.parametrize("order", [1, -1])
def test_an_edit_stands_in_the_pane_of_the_first(flushed, order):
    state = intake()
    for number, wire in enumerate([review(T0), review(T0 + 30 * M, rating=2, text="awful, broken, terrible"), review(T0 + 10 * M, rating=3)][::order]):
        feed(state, [wire])
        if flushed:
            state.drain(number + 1)
    assert list(measures(state)) == [T0]
    found = measures(state)[T0]
    assert (found["reviews"], found["mean_rating"], found["low_rating_share"], found["rating_5_share"]) == (1, 2.0, 1.0, 0.0)
    assert found["review_sentiment"] < -0.05
    assert texts(state) == [(T0, "s", "review", 1)]


def test_reviews_of_other_sources_and_subjects_are_others():
    state = intake(review(T0), review(T0, source="maps"), review(T0, author="ada"))
    assert measures(state)[T0]["reviews"] == 3


def test_an_edit_after_90_days_and_the_grace_changes_nothing_and_is_flagged():
    state = intake(review(T0))
    assert len(measures(state)) == 1
    feed(state, [review(T0 + 99 * D + 5_000, rating=1)])
    assert totals(state) == {"applied": 2, "flag.expired_correction": 1}
    assert measures(state) == {}, "the pane has been dropped, and none is made anew"
    feed(state, [review(T0 + 99 * D + 6_000, rating=2)])
    assert totals(state)["flag.expired_correction"] == 2, "and it is no new review either"


def test_an_edit_inside_90_days_still_corrects():
    state = intake(review(T0), review(T0 + 90 * D, rating=1))
    assert measures(state)[T0]["mean_rating"] == measures(state, D)[T0]["mean_rating"] == 1.0


@settings(max_examples=80, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(["r1", "r2"]), st.integers(0, 59), st.none() | st.integers(0, 5), st.sampled_from([None, "great!", "bad"])), max_size=10
    ),
    st.data(),
)
def test_any_order_of_edits_gives_the_latest_content_in_the_first_pane(edits, data):
    wires = [review(T0 + minute * M, review=name, rating=stars, text=text, id=f"{n:02}") for n, (name, minute, stars, text) in enumerate(edits)]
    state = intake(*data.draw(st.permutations(wires)))
    expected: dict[int, list] = {}
    for name in ("r1", "r2"):
        mine = sorted((wire for wire in wires if wire["review"] == name), key=lambda wire: (wire["at"], wire["id"]))
        if mine:
            expected.setdefault(mine[0]["at"], []).append(mine[-1])
    found = measures(state)
    assert set(found) == set(expected)
    for start, standing in expected.items():
        ratings = [wire["rating"] for wire in standing if "rating" in wire]
        assert found[start]["reviews"] == len(standing)
        assert found[start]["mean_rating"] == (sum(ratings) / len(ratings) if ratings else None)
    assert sum(number for *_, number in texts(state)) == sum("text" in wire for standing in expected.values() for wire in standing)


def test_stars_are_counted_in_millionths():
    assert micro_stars(1, 3) == round(5 / 3 * MICRO)
    assert micro_stars(None, 5) is None
    assert T0 % H == 0


def test_a_slash_in_a_source_makes_no_other_review_of_it():
    state = intake(
        *(event("review_posted", T0 + n, visitor="v1", source=source, review=review) for n, (source, review) in enumerate((("a/b", "c"), ("a", "b/c"))))
    )
    assert sum(cell[0] for key, cell in pane_rows(state).items() if key[:3] == ("review", M, "product")) == 2
