"""Conversion per visitor and day: what reaches a goal, who counts, the laws of journeys, and a recount with sets."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams import events as e
from streams.journeys import conversions
from streams.journeys.conversions import Conversion
from streams.journeys.following import Stated
from streams.panes import DAY, GRACE, HOUR, MINUTE, Pane, local
from streams.sites import Goal, Site
from tests.streams.journey_laws import check_laws, facts_of, happens, notes_of, stories

T = 1_772_409_600_000
"""2026-03-02 00:00 UTC."""
SITE = Site(time_zone="Europe/Berlin", goals={"demo": Goal(element="book", path="/demo/*"), "call": Goal(element="book"), "letter": Goal()})
GAPS = (0, 1, MINUTE, HOUR, 11 * HOUR, 12 * HOUR, 23 * HOUR, DAY, 9 * DAY)
KINDS = (
    happens(e.PageViewed, path=st.just("/"))
    | happens(e.ElementClicked, element=st.sampled_from(("book", "menu")), path=st.sampled_from((None, "/demo/1?x", "/")))
    | happens(e.GoalReached, goal=st.sampled_from(("demo", "letter", "unheard")))
    | happens(e.OrderCompleted, order=st.just("o"), total_minor=st.just(1), currency=st.just("EUR"))
)


def view(at, **fields):
    return e.PageViewed(id=f"v{at}", site="s", at=at, visitor="v", path="/", **fields)


def goal(at, name, **fields):
    return e.GoalReached(id=f"g{at}{name}", site="s", at=at, visitor="v", goal=name, **fields)


def click(at, element, path=None):
    return e.ElementClicked(id=f"c{at}", site="s", at=at, visitor="v", element=element, path=path)


def order(at, **fields):
    return e.OrderCompleted(id=f"o{at}", site="s", at=at, visitor="v", order="o", total_minor=1, currency="EUR", **fields)


def rates(events, site=SITE):
    """By day and goal: whether it was reached."""
    told = facts_of(conversions, events, site)
    assert len({(stated.at, stated.labels[2]) for stated in told}) == len(told), "once per day and goal"
    return {(stated.at, stated.labels[2]): stated.fact.reached for stated in told}


def test_who_viewed_a_page_counts_for_every_goal_and_who_reached_one_without_a_view_for_that_one():
    utc = Site(goals={"demo": Goal()})
    assert rates([view(T)], utc) == {(T, "order"): False, (T, "demo"): False}
    assert rates([view(T), view(T + HOUR), order(T + HOUR), order(T + 2 * HOUR)], utc) == {(T, "order"): True, (T, "demo"): False}
    assert rates([goal(T, "demo")], utc) == {(T, "demo"): True}
    assert rates([goal(T, "unheard"), click(T, "book")], utc) == {}
    assert rates([view(T)], Site()) == {(T, "order"): False}


def test_days_are_the_sites():
    assert rates([view(T + 22 * HOUR), order(T + 23 * HOUR)]) == {
        (T - HOUR, name): False for name in ("order", "demo", "call", "letter")
    } | {(T + 23 * HOUR, "order"): True}  # fmt: skip


@pytest.mark.parametrize(
    ("event", "reached"),
    [
        (click(T, "book", "/demo/1?x=1"), {"demo", "call"}), (click(T, "book", "/other"), {"call"}), (click(T, "book"), {"call"}), (click(T, "menu"), set()),
        (goal(T, "demo"), {"demo"}), (goal(T, "letter"), {"letter"}), (goal(T, "order"), {"order"}), (order(T), {"order"}),
    ],
)  # fmt: skip
def test_what_reaches_a_goal(event, reached):
    assert {name for (_, name), done in rates([event]).items() if done} == reached


def test_labels_are_those_of_the_days_earliest_page_view_or_event_of_the_goal():
    told = facts_of(conversions, [order(T + 1, segment="late"), view(T, segment="new", channel="email"), view(T + 2)], Site())
    assert told == [Stated(Conversion(True), T, ("new", "email", "order"))]


def test_of_many_page_views_one_note_stays():
    notes = notes_of(conversions, [view(T + number * MINUTE) for number in range(1000)], Site())
    assert conversions.thin(notes, Site()) == notes[:1]


@given(stories(KINDS, GAPS))
def test_laws(arrivals):
    check_laws(conversions, arrivals, SITE, GRACE[Pane.DAY])


@given(stories(KINDS, GAPS, most=24))
def test_a_recount_with_sets_agrees(arrivals):
    def day(event):
        return local(event.at, SITE.zone).date()

    viewed = {day(event) for event in arrivals if isinstance(event, e.PageViewed)}
    reached = {
        "order": {day(event) for event in arrivals if isinstance(event, e.OrderCompleted)},
        "call": {day(event) for event in arrivals if isinstance(event, e.ElementClicked) and event.element == "book"},
        "letter": {day(event) for event in arrivals if isinstance(event, e.GoalReached) and event.goal == "letter"},
        "demo": {day(event) for event in arrivals if (isinstance(event, e.GoalReached) and event.goal == "demo")
                 or (isinstance(event, e.ElementClicked) and event.element == "book" and event.path == "/demo/1?x")},
    }  # fmt: skip
    told = facts_of(conversions, arrivals, SITE)
    for name, days in reached.items():
        facts = [stated for stated in told if stated.labels[2] == name]
        assert Counter(local(stated.at, SITE.zone).date() for stated in facts) == Counter(viewed | days)
        assert {local(stated.at, SITE.zone).date() for stated in facts if stated.fact.reached} == days
