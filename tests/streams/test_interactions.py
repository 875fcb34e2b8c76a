"""Interactions and impressions: known answers, gains recounted post by post, and the laws of a journey."""

from collections import Counter

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.events import decode
from streams.journeys.following import Stated
from streams.journeys.interactions import INTERACTIONS, WEIGHTS, Engagement, Impressions, stated
from streams.panes import GRACE, Pane
from streams.sites import Site
from tests.streams.journey_laws import check_changes, check_life, check_round_trip, facts_of, notes_of, stories
from tests.streams.records import T0, H, M, event

SITE = Site()
IMPRESSIONS = Impressions()


def measured(at, impressions, **fields):
    return event("post_measured", at, **{"post": "p", "network": "mastodon", "category": None, "reach": None, "impressions": impressions, **fields})


def published(at, **fields):
    return event("post_published", at, **{"post": "p", "network": "mastodon", "category": None, **fields})


def told(*wires):
    return facts_of(IMPRESSIONS, map(typed, wires))


def typed(wire):
    return decode(msgspec.json.encode(wire))


def gains(*wires):
    return [(fact.at, fact.fact.impressions) for fact in told(*wires)]


def interaction(kind, **fields):
    return list(stated(typed({**event("interaction_made", T0, **{"text": None, **fields}), "kind": kind}), T0, SITE))


# --- ruling 31 -----------------------------------------------------------------------------------------------------------


def test_likes_comments_shares_and_follows_are_interactions_saves_and_clicks_only_in_the_composite():
    counted = {kind: [(fact.fact.is_interaction, fact.fact.weight) for fact in interaction(kind)] for kind in [*WEIGHTS, "unfollow"]}
    assert counted == {
        "like": [(True, 1)], "comment": [(True, 1)], "share": [(True, 1)], "follow": [(True, 1)], "save": [(False, 1)], "click": [(False, 1)], "unfollow": [],
    }  # fmt: skip


def test_an_interaction_has_its_own_labels_and_no_impressions():
    assert interaction("share", network="x", category="how-to", segment="vip") == [Stated(Engagement("share"), T0, ("vip", "x", "how-to", "share"))]
    assert interaction("like", network="x", category=None) == [Stated(Engagement("like"), T0, (None, "x", None, "like"))]
    assert Engagement("share").impressions == 0


def test_a_gain_is_the_total_less_the_one_before_the_first_from_0():
    assert gains(measured(T0, 1000), measured(T0 + H, 1500), measured(T0 + 2 * H, 4200)) == [(T0, 1000), (T0 + H, 500), (T0 + 2 * H, 2700)]


def test_a_negative_gain_counts_and_no_gain_is_no_fact():
    assert gains(measured(T0, 1000), measured(T0 + 1, 900), measured(T0 + 2, 900), measured(T0 + 3, 1000)) == [(T0, 1000), (T0 + 1, -100), (T0 + 3, 100)]


def test_a_late_measurement_splits_the_gain_it_falls_into():
    first, last, late = measured(T0, 100), measured(T0 + H, 400), measured(T0 + M, 150)
    assert gains(first, last) == [(T0, 100), (T0 + H, 300)]
    assert gains(first, last, late) == [(T0, 100), (T0 + M, 50), (T0 + H, 250)]


def test_one_name_of_a_post_on_two_networks_is_two_posts():
    assert told(measured(T0, 100), measured(T0 + 1, 30, network="x"), measured(T0 + 2, 110)) == [
        Stated(Engagement(impressions=100), T0, (None, "mastodon", None, None)),
        Stated(Engagement(impressions=30), T0 + 1, (None, "x", None, None)),
        Stated(Engagement(impressions=10), T0 + 2, (None, "mastodon", None, None)),
    ]


def test_reach_alone_says_nothing_about_impressions():
    assert gains(measured(T0, None, reach=50), measured(T0 + 1, 80), measured(T0 + 2, None, reach=70), measured(T0 + 3, 100)) == [(T0 + 1, 80), (T0 + 3, 20)]


def test_the_category_is_the_measurements_own_else_the_one_the_post_had_before():
    wires = [measured(T0, 1), published(T0 + 1, category="how-to"), measured(T0 + 2, 2), measured(T0 + 3, 3, category="news"), measured(T0 + 4, 4)]
    assert [fact.labels[2] for fact in told(*wires)] == [None, "how-to", "news", "news"]
    assert [fact.labels[2] for fact in told(published(T0, category="a", network="x"), measured(T0 + 1, 1))] == [None], "of another network"
    tie = [measured(T0, 1, id="a"), published(T0, id="b", category="how-to")]
    assert told(*tie) == told(*tie[::-1]) == [Stated(Engagement(impressions=1), T0, (None, "mastodon", "how-to", None))]


@pytest.mark.parametrize(("behind", "impressions"), [(26 * H, [40, 60]), (26 * H + 1, [60])])
def test_what_no_event_can_meet_any_more_is_settled(behind, impressions):
    """A measurement exactly 26 hours behind the watermark may still change."""
    notes = notes_of(IMPRESSIONS, [typed(measured(T0, 40)), typed(measured(T0 + H, 100))], SITE)
    kept = IMPRESSIONS.keep(notes, T0 + behind, SITE)
    assert [fact.fact.impressions for fact in IMPRESSIONS.facts(kept, SITE)] == impressions


# --- recount -------------------------------------------------------------------------------------------------------------

WIRES = st.lists(
    st.one_of(
        st.builds(
            measured, st.integers(0, 40).map(lambda hours: T0 + hours * H), st.none() | st.integers(0, 50), network=st.sampled_from(["x", "mastodon"]),
            category=st.sampled_from([None, "how-to", "news"]), segment=st.sampled_from([None, "vip"]),
        ),
        st.builds(
            published, st.integers(0, 40).map(lambda hours: T0 + hours * H), network=st.sampled_from(["x", "mastodon"]),
            category=st.sampled_from([None, "tips"]),
        ),
    ),
    max_size=12,
)  # fmt: skip


@given(WIRES)
def test_gains_add_up_to_the_last_total_of_each_post(wires):
    found = told(*wires)
    for network in ("x", "mastodon"):
        mine = sorted((w for w in wires if w["network"] == network), key=lambda w: (w["at"], w["id"]))
        totals = [w for w in mine if w.get("impressions") is not None]
        assert sum(fact.fact.impressions for fact in found if fact.labels[1] == network) == (totals[-1]["impressions"] if totals else 0)
        for until in {w["at"] for w in totals}:
            last = [w["impressions"] for w in totals if w["at"] <= until][-1]
            assert sum(fact.fact.impressions for fact in found if fact.labels[1] == network and fact.at <= until) == last
        for fact in found:
            if fact.labels[1] == network:
                assert fact.fact.kind is None
                here = [w.get("category") for w in mine if w["at"] <= fact.at and w.get("category")]
                if len({w["at"] for w in mine}) == len(mine):
                    assert fact.labels[2] == (here[-1] if here else None)


# --- laws ----------------------------------------------------------------------------------------------------------------

KINDS = st.one_of(
    st.builds(
        lambda total, network, category: lambda at, name: typed(measured(at, total, id=name, network=network, category=category)),
        st.none() | st.integers(0, 9), st.sampled_from(["x", "mastodon"]), st.sampled_from([None, "how-to", "news"]),
    ),
    st.builds(lambda category: lambda at, name: typed(published(at, id=name, category=category)), st.sampled_from([None, "tips"])),
)  # fmt: skip


@given(stories(KINDS))
def test_laws_of_a_journey(arrivals):
    check_changes(IMPRESSIONS, arrivals, SITE)
    check_life(IMPRESSIONS, arrivals, SITE, GRACE[Pane.QUARTER_HOUR])
    check_round_trip(IMPRESSIONS, arrivals, SITE)


@given(stories(KINDS), st.integers(-H, 60 * H))
def test_what_is_dropped_takes_its_own_facts_and_the_note_in_its_place_states_none(arrivals, later):
    notes = notes_of(IMPRESSIONS, arrivals, SITE)
    watermark = max((note[0] for note in notes), default=T0) + later
    kept = list(IMPRESSIONS.keep(notes, watermark, SITE))
    dropped = [note for note in notes if note not in kept]
    assert Counter(IMPRESSIONS.facts(kept, SITE)) + Counter(IMPRESSIONS.facts(dropped, SITE)) == Counter(IMPRESSIONS.facts(notes, SITE))
    assert IMPRESSIONS.keep(kept, watermark, SITE) == kept == sorted(kept, key=lambda note: note[:2])
    assert sum(note[0] < watermark - 26 * H for note in kept) <= 2, "one note for each network"


def test_every_kind_of_the_rate_is_in_the_composite():
    assert set(WEIGHTS) > INTERACTIONS
