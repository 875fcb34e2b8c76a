"""Trials that end in a subscription: the edges, the laws of journeys, and a recount."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.events import SubscriptionStarted, TrialStarted
from streams.journeys import trials
from streams.journeys.following import Stated
from streams.journeys.trials import KNOWN_FOR, PAYS_WITHIN, Trial
from streams.panes import DAY, GRACE, HOUR, Pane
from streams.sites import Site
from tests.streams.journey_laws import START, check_laws, facts_of, happens, stories

T = START
GAPS = (0, 1, HOUR, DAY, 9 * DAY, PAYS_WITHIN - 1, PAYS_WITHIN, PAYS_WITHIN + 1, KNOWN_FOR - 1, KNOWN_FOR, KNOWN_FOR + 9 * DAY)
KINDS = happens(TrialStarted) | happens(SubscriptionStarted, plan=st.just("pro"))


def trial(at, **fields):
    return TrialStarted(id=f"t{at}", site="s", at=at, customer="c", **fields)


def paid(at, **fields):
    return SubscriptionStarted(id=f"p{at}", site="s", at=at, customer="c", plan="pro", **fields)


@pytest.mark.parametrize(("after", "counts"), [(0, True), (PAYS_WITHIN, True), (PAYS_WITHIN + 1, False), (-1, False)])
def test_thirty_days_to_the_millisecond(after, counts):
    assert facts_of(trials, [trial(T, segment="a", channel="x"), paid(T + after)]) == [Stated(Trial(counts), T, ("a", "x"))]


def test_only_the_first_trial_counts_until_nobody_remembers_it():
    assert facts_of(trials, [trial(T), trial(T + DAY), paid(T + 31 * DAY)]) == [Stated(Trial(False), T, (None, None))]
    assert [stated.at for stated in facts_of(trials, [trial(T), trial(T + KNOWN_FOR - 1), trial(T + KNOWN_FOR)])] == [T, T + KNOWN_FOR]


@given(stories(KINDS, GAPS))
def test_laws(arrivals):
    check_laws(trials, arrivals, Site(), GRACE[Pane.DAY])
