"""Messages: what counts where (ruling 32), a recount with sets, and the laws of a journey."""

from collections import Counter, defaultdict

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.events import decode
from streams.journeys.following import Stated
from streams.journeys.messages import KINDS, LOOK_BACK, Mailing, Messages, Sending
from streams.panes import GRACE, Pane
from streams.sites import Site
from tests.streams.journey_laws import check_laws, facts_of, notes_of, stories
from tests.streams.records import T0, D, H, M, event

SITE = Site()
MESSAGES = Messages()
NAMES = ("sent", "delivered", "opened", "clicked", "bounced", "unsubscribed", "complained")
LABELS = ("vip", "spring", "email")


def happened(name, at, **fields):
    return event(f"message_{name}", at, **{"message": "m", "campaign": "spring", "medium": "email", "segment": "vip", "link": None, **fields})


def typed(wire):
    return decode(msgspec.json.encode(wire))


def told(*wires):
    return facts_of(MESSAGES, map(typed, wires))


def mailings(*wires):
    return [fact for fact in told(*wires) if isinstance(fact.fact, Mailing)]


def sendings(*wires):
    return [fact for fact in told(*wires) if isinstance(fact.fact, Sending)]


# --- ruling 32 -----------------------------------------------------------------------------------------------------------


def test_a_message_is_credited_to_its_delivery():
    assert told(happened("sent", T0), happened("delivered", T0 + M), happened("opened", T0 + H)) == [
        Stated(Sending("email", delivered=True), T0, LABELS),
        Stated(Mailing("email", delivered=True, opened=True), T0 + M, LABELS),
    ]


def test_without_a_delivery_the_sending_stands_in():
    assert mailings(happened("sent", T0), happened("clicked", T0 + H)) == [Stated(Mailing("email", delivered=False, clicked=True), T0, LABELS)]


def test_a_late_delivery_moves_the_credit():
    sent, opened, delivered = happened("sent", T0), happened("opened", T0 + H), happened("delivered", T0 + M)
    assert [(fact.at, fact.fact.delivered) for fact in mailings(sent, opened)] == [(T0, False)]
    assert [(fact.at, fact.fact.delivered) for fact in mailings(sent, opened, delivered)] == [(T0 + M, True)]


def test_a_bounced_message_leaves_only_where_the_sending_stands_in():
    sent, bounced, delivered = happened("sent", T0), happened("bounced", T0 + 2 * M), happened("delivered", T0 + M)
    assert told(sent, bounced) == [Stated(Sending("email", bounced=True), T0, LABELS)]
    assert told(sent, delivered, bounced) == [
        Stated(Sending("email", delivered=True, bounced=True), T0, LABELS),
        Stated(Mailing("email", delivered=True), T0 + M, LABELS),
    ]


def test_everything_is_unique_per_message():
    twice = [happened(name, T0 + number * M) for name in NAMES if name != "bounced" for number in (0, 1)]
    assert told(*twice) == [
        Stated(Sending("email", delivered=True), T0, LABELS),
        Stated(Mailing("email", delivered=True, opened=True, clicked=True, unsubscribed=True, complained=True), T0, LABELS),
    ]


def test_two_messages_and_one_message_by_two_media_are_two():
    assert len(mailings(happened("delivered", T0), happened("delivered", T0, message="n"))) == 2
    found = mailings(happened("delivered", T0), happened("delivered", T0, medium="sms"), happened("clicked", T0, medium="sms"))
    assert {(fact.fact.medium, fact.fact.clicked, fact.labels[2]) for fact in found} == {("email", False, "email"), ("sms", True, "sms")}


def test_what_was_never_sent_nor_delivered_is_no_message():
    assert told(happened("opened", T0), happened("clicked", T0), happened("bounced", T0), happened("unsubscribed", T0), happened("complained", T0)) == []
    assert [type(fact.fact) for fact in told(happened("delivered", T0))] == [Mailing], "no sending, no delivery rate"


def test_an_open_may_come_before_the_delivery_is_known_and_by_a_wrong_clock_before_the_sending():
    assert mailings(happened("opened", T0 - M), happened("sent", T0)) == [Stated(Mailing("email", delivered=False, opened=True), T0, LABELS)]


def test_a_click_without_an_open_is_not_in_click_to_open():
    fact = mailings(happened("delivered", T0), happened("clicked", T0 + 1))[0].fact
    assert (fact.clicked, fact.opened and fact.clicked) == (True, False)


def test_the_segment_is_that_of_the_delivery_else_of_the_sending():
    sent, delivered = happened("sent", T0), happened("delivered", T0 + 1, segment="new")
    assert mailings(sent, delivered)[0].labels == ("new", "spring", "email")
    assert mailings(sent, happened("delivered", T0 + 1, segment=None))[0].labels == LABELS
    assert mailings(happened("delivered", T0, segment=None))[0].labels == (None, "spring", "email")


@pytest.mark.parametrize(("after", "clicked"), [(LOOK_BACK, [True]), (LOOK_BACK + 1, [False])])
def test_30_days_after_its_first_event_a_message_is_closed(after, clicked):
    assert [fact.fact.clicked for fact in mailings(happened("sent", T0), happened("clicked", T0 + after))] == clicked


def test_the_same_id_more_than_30_days_later_is_another_message():
    weekly = [happened("delivered", T0 + week * 7 * D) for week in range(10)]
    assert [fact.at for fact in mailings(*weekly)] == [T0, T0 + 35 * D]


@pytest.mark.parametrize(("behind", "left"), [(38 * D, 2), (38 * D + 1, 0)])
def test_notes_are_kept_as_long_as_an_event_of_the_message_may_come(behind, left):
    notes = notes_of(MESSAGES, map(typed, [happened("sent", T0), happened("opened", T0 + D)]), SITE)
    assert len(MESSAGES.keep(notes, T0 + behind, SITE)) == left


def test_of_many_opens_the_first_is_kept():
    notes = notes_of(MESSAGES, [typed(happened("opened", T0 + number)) for number in range(50)] + [typed(happened("delivered", T0 + 60))], SITE)
    assert [(note[0], note[2]) for note in MESSAGES.keep(notes, T0 + 100, SITE)] == [(T0, "opened"), (T0 + 60, "delivered")]


# --- recount -------------------------------------------------------------------------------------------------------------

WIRES = st.lists(
    st.builds(
        happened, st.sampled_from(NAMES), st.integers(0, 29 * 24).map(lambda hours: T0 + hours * H), message=st.sampled_from(["m", "n"]),
        medium=st.sampled_from(["email", "sms"]), campaign=st.sampled_from(["spring", "summer"]),
    ),
    max_size=14,
)  # fmt: skip


@given(WIRES)
def test_rates_are_those_of_sets_of_messages(wires):
    """The definitions with sets, site-wide: where a campaign and medium reports no delivery, what was sent and not bounced."""
    for wire in wires:  # a message belongs to one campaign
        wire["campaign"] = "spring" if wire["message"] == "m" else "summer"
    seen = defaultdict(set)
    for wire in wires:
        seen[wire["type"].removeprefix("message_"), wire["campaign"], wire["medium"]].add(wire["message"])
    found = told(*wires)
    for campaign in ("spring", "summer"):
        for medium in ("email", "sms"):
            of = {name: seen[name, campaign, medium] for name in NAMES}
            mine = [fact.fact for fact in found if fact.labels[1:] == (campaign, medium)]
            sent = [fact for fact in mine if isinstance(fact, Sending)]
            assert (len(sent), sum(fact.delivered for fact in sent)) == (len(of["sent"]), len(of["sent"] & of["delivered"]))
            base = of["delivered"] or of["sent"] - of["bounced"]
            read = [fact for fact in mine if isinstance(fact, Mailing) and fact.delivered == bool(of["delivered"])]
            assert Counter(
                n=len(read), opened=sum(fact.opened for fact in read), clicked=sum(fact.clicked for fact in read),
                both=sum(fact.opened and fact.clicked for fact in read), left=sum(fact.unsubscribed for fact in read),
                complained=sum(fact.complained for fact in read),
            ) == Counter(
                n=len(base), opened=len(base & of["opened"]), clicked=len(base & of["clicked"]), both=len(base & of["opened"] & of["clicked"]),
                left=len(base & of["unsubscribed"]), complained=len(base & of["complained"]),
            )  # fmt: skip


@given(WIRES)
def test_a_fact_stands_at_an_event_of_its_own_message(wires):
    assert {fact.at for fact in told(*wires)} <= {wire["at"] for wire in wires if wire["type"] in {"message_sent", "message_delivered"}}


# --- laws ----------------------------------------------------------------------------------------------------------------

MOMENTS = st.builds(
    lambda name, message, segment: lambda at, event_id: typed(happened(name, at, id=event_id, message=message, segment=segment)),
    st.sampled_from(NAMES), st.sampled_from(["m", "m", "n"]), st.sampled_from([None, "vip"]),
)  # fmt: skip


@given(stories(MOMENTS, gaps=(0, 1, H, D, 5 * D, 8 * D, 8 * D + 1, 22 * D, 30 * D, 30 * D + 1, 38 * D)))
def test_laws_of_a_journey(arrivals):
    check_laws(MESSAGES, arrivals, SITE, GRACE[Pane.DAY])


def test_every_event_about_messages_is_followed():
    assert sorted(KINDS.values()) == sorted(NAMES)
