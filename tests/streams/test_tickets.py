"""Support tickets: first answers, targets, resolutions, answers before their tickets; the laws of journeys and a recount."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.events import TicketAnswered, TicketOpened, TicketResolved
from streams.journeys import tickets
from streams.journeys.following import Stated
from streams.journeys.tickets import LOOK_BACK, Resolution, Response, Ticket
from streams.panes import DAY, GRACE, HOUR, MINUTE, Pane
from streams.sites import Site
from tests.streams.journey_laws import START, check_laws, facts_of, happens, notes_of, stories

T = START
TARGET = 4 * HOUR
GAPS = (0, 1, MINUTE, HOUR, TARGET, TARGET + 1, DAY, 7 * DAY, 9 * DAY, 82 * DAY, LOOK_BACK - 1, LOOK_BACK, LOOK_BACK + 9 * DAY)
TICKET = {"ticket": st.sampled_from(("t1", "t1", "t2"))}
BY = {"by": st.sampled_from((None, "agent", "community", "self"))}
KINDS = happens(TicketOpened, **TICKET) | happens(TicketAnswered, **TICKET, **BY) | happens(TicketResolved, **TICKET, **BY)


def opened(at, ticket="t1", **fields):
    return TicketOpened(id=f"o{at}", site="s", at=at, customer="c", ticket=ticket, **fields)


def answered(at, ticket="t1", by="agent", **fields):
    return TicketAnswered(id=f"a{at}", site="s", at=at, customer="c", ticket=ticket, by=by, **fields)


def resolved(at, ticket="t1"):
    return TicketResolved(id=f"r{at}", site="s", at=at, customer="c", ticket=ticket)


def told(*events, site=None):
    return [stated.fact for stated in facts_of(tickets, events, site)]


def flags_of(*events):
    return tickets.flags(notes_of(tickets, events, Site()), Site())


@pytest.mark.parametrize(("after", "in_target"), [(0, True), (TARGET, True), (TARGET + 1, False)])
def test_the_first_answer_decides(after, in_target):
    assert told(answered(T + after), opened(T), answered(T + after + HOUR)) == [Ticket(in_target), Response(after)]


def test_a_ticket_without_an_answer_is_not_in_the_target():
    assert told(opened(T)) == [Ticket(False)]
    assert told(opened(T), resolved(T + HOUR)) == [Ticket(False), Resolution(HOUR)]
    assert told(opened(T), answered(T + 1, by="self")) == [Ticket(False)], "what the customer answers is no response"


def test_the_target_is_the_sites():
    assert told(opened(T), answered(T + 31 * MINUTE), site=Site(response_target=30)) == [Ticket(False), Response(31 * MINUTE)]
    assert told(opened(T), answered(T + 30 * MINUTE), site=Site(response_target=30)) == [Ticket(True), Response(30 * MINUTE)]


def test_facts_credit_the_opening_with_its_labels():
    events = [opened(T, segment="new", channel="email"), answered(T + HOUR, segment="loyal"), resolved(T + DAY)]
    labels = ("new", "email")
    assert facts_of(tickets, events) == [Stated(Ticket(True), T, labels), Stated(Response(HOUR), T, labels), Stated(Resolution(DAY), T, labels)]


def test_an_answer_before_its_ticket_is_joined_when_the_ticket_comes():
    assert told(answered(T + HOUR)) == []
    assert flags_of(answered(T + HOUR), resolved(T + HOUR)) == {"unjoined": 2}
    assert told(answered(T + HOUR), opened(T)) == [Ticket(True), Response(HOUR)]
    assert flags_of(answered(T + HOUR), opened(T)) == {}
    assert told(answered(T - 1), opened(T)) == [Ticket(True), Response(0)], "a clock that is a little off gives no negative time"


def test_a_ticket_counts_once_and_answers_join_it_for_90_days():
    assert told(opened(T), opened(T + HOUR), answered(T + 2 * HOUR)) == [Ticket(True), Response(2 * HOUR)]
    assert told(opened(T), answered(T + LOOK_BACK - 1)) == [Ticket(False), Response(LOOK_BACK - 1)]
    assert told(opened(T), answered(T + LOOK_BACK)) == [Ticket(False)]


def test_it_is_kept_until_no_event_in_time_can_concern_it():
    notes = notes_of(tickets, [opened(T)], Site())
    forgotten = T + LOOK_BACK + GRACE[Pane.DAY]
    assert tickets.keep(notes, forgotten - 1, Site()) == notes
    assert tickets.keep(notes, forgotten, Site()) == []


@given(stories(KINDS, GAPS))
def test_laws(arrivals):
    check_laws(tickets, arrivals, Site(), GRACE[Pane.DAY])


@given(stories(KINDS, tuple(gap for gap in GAPS if gap <= 7 * DAY)))
def test_a_recount_by_ticket_agrees(arrivals):
    """Within the look-back (12 gaps of a week at most)."""
    expected = Counter()
    for name in ("t1", "t2"):
        times = {kind: [event.at for event in arrivals if isinstance(event, kind) and event.ticket == name] for kind in tickets.events}
        answers = [event.at for event in arrivals if isinstance(event, TicketAnswered) and event.ticket == name and event.by != "self"]
        if times[TicketOpened]:
            start = min(times[TicketOpened])
            expected[Ticket(any(at <= start + TARGET for at in answers)), start] += 1
            expected.update((Response(max(0, min(answers) - start)), start) for _ in answers[:1])
            expected.update((Resolution(max(0, min(times[TicketResolved]) - start)), start) for _ in times[TicketResolved][:1])
    assert Counter((stated.fact, stated.at) for stated in facts_of(tickets, arrivals)) == expected
