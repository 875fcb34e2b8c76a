"""Growth of the audience: differences of totals, follows and unfollows, and the laws of a journey."""

from collections import Counter

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.events import decode
from streams.journeys.audiences import Audience, AudienceChange, stated
from streams.journeys.following import Stated
from streams.panes import GRACE, HOUR, Pane
from streams.sites import Site
from tests.streams.journey_laws import check_changes, check_life, check_round_trip, facts_of, notes_of, stories
from tests.streams.records import T0, D, event

SITE = Site()
AUDIENCE = Audience()


def measured(at, followers, **fields):
    return event("audience_measured", at, **{"network": "mastodon", "followers": followers, **fields})


def typed(wire):
    return decode(msgspec.json.encode(wire))


def told(*wires):
    return facts_of(AUDIENCE, map(typed, wires))


def test_growth_is_the_difference_to_the_total_before_credited_to_the_later():
    assert told(measured(T0, 1000), measured(T0 + D, 1010), measured(T0 + 3 * D, 990)) == [
        Stated(AudienceChange(10, measured=True), T0 + D, ("mastodon",)),
        Stated(AudienceChange(-20, measured=True), T0 + 3 * D, ("mastodon",)),
    ]


def test_the_first_total_says_nothing_and_standing_still_is_a_growth_of_0():
    assert told(measured(T0, 1000)) == []
    assert [fact.fact for fact in told(measured(T0, 7), measured(T0 + 1, 7))] == [AudienceChange(0, measured=True)]


@pytest.mark.parametrize(("kind", "changes"), [("follow", [1]), ("unfollow", [-1]), ("like", []), ("share", [])])
def test_follows_and_unfollows_are_stated_apart(kind, changes):
    one = typed({**event("interaction_made", T0, text=None, network="x"), "kind": kind})
    assert list(stated(one, T0, SITE)) == [Stated(AudienceChange(change, measured=False), T0, ("x",)) for change in changes]


def test_the_two_sides_do_not_mix():
    assert [(c.difference, c.follows) for c in (AudienceChange(5, measured=True), AudienceChange(-1, measured=False))] == [(5, 0), (0, -1)]


@pytest.mark.parametrize(("behind", "changes"), [(8 * D, [10, 5]), (8 * D + 1, [10, 5]), (9 * D, [10, 5]), (9 * D + 1, [5])])
def test_what_no_event_can_meet_any_more_is_settled(behind, changes):
    """The first total makes no fact; the second, a day later, stays open until it is more than 8 days behind the watermark."""
    notes = notes_of(AUDIENCE, map(typed, [measured(T0, 100), measured(T0 + D, 110), measured(T0 + 2 * D, 115)]), SITE)
    kept = AUDIENCE.keep(notes, T0 + behind, SITE)
    assert [fact.fact.change for fact in AUDIENCE.facts(kept, SITE)] == changes


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 1000)), max_size=10, unique_by=lambda pair: pair[0]))
def test_growth_since_any_measurement_is_the_total_now_less_the_total_then(pairs):
    found = told(*(measured(T0 + day * D, followers) for day, followers in pairs))
    totals = dict(sorted(pairs))
    assert [fact.at for fact in found] == [T0 + day * D for day in totals][1:]
    for then in totals:
        for now in totals:
            if then <= now:
                assert sum(fact.fact.change for fact in found if T0 + then * D < fact.at <= T0 + now * D) == totals[now] - totals[then]


KINDS = st.integers(0, 9).map(lambda followers: lambda at, name: typed(measured(at, followers, id=name)))
DAYS = (0, 1, HOUR, D, 5 * D, 8 * D, 9 * D)


@given(stories(KINDS, DAYS))
def test_laws_of_a_journey(arrivals):
    check_changes(AUDIENCE, arrivals, SITE)
    check_life(AUDIENCE, arrivals, SITE, GRACE[Pane.DAY])
    check_round_trip(AUDIENCE, arrivals, SITE)


@given(stories(KINDS, DAYS), st.integers(-1, 20))
def test_what_is_dropped_takes_its_own_facts_and_the_note_in_its_place_states_none(arrivals, days):
    notes = notes_of(AUDIENCE, arrivals, SITE)
    watermark = max((note[0] for note in notes), default=T0) + days * D
    kept = list(AUDIENCE.keep(notes, watermark, SITE))
    dropped = [note for note in notes if note not in kept]
    assert Counter(AUDIENCE.facts(kept, SITE)) + Counter(AUDIENCE.facts(dropped, SITE)) == Counter(AUDIENCE.facts(notes, SITE))
    assert AUDIENCE.keep(kept, watermark, SITE) == kept
    assert sum(note[0] < watermark - 8 * D for note in kept) <= 1
