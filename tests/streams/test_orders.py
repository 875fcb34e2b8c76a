"""Orders and refunds: ruling by ruling, the laws of journeys, and a recount from a ledger."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.events import OrderCompleted, OrderRefunded
from streams.journeys import orders
from streams.journeys.following import Stated
from streams.journeys.orders import KNOWN_FOR, LOOK_BACK, Order
from streams.panes import DAY, GRACE, HOUR, Pane
from streams.sites import Site
from tests.streams.journey_laws import START, check_laws, facts_of, happens, notes_of, stories

T = START
GAPS = (0, 1, HOUR, DAY, 7 * DAY, 9 * DAY, 89 * DAY, LOOK_BACK, LOOK_BACK + 1, 301 * DAY, KNOWN_FOR - 1, KNOWN_FOR, KNOWN_FOR + 9 * DAY)
NAME, CURRENCY = st.sampled_from(("o1", "o1", "o2")), st.sampled_from(("EUR", "EUR", "USD"))
KINDS = happens(OrderCompleted, order=NAME, total_minor=st.sampled_from((0, 100, 250)), currency=CURRENCY) | happens(
    OrderRefunded, order=NAME, amount_minor=st.sampled_from((0, 50, 100, 300)), currency=CURRENCY
)


def order(at, total=1000, name="o1", currency="EUR", **fields):
    return OrderCompleted(id=f"o{at}", site="s", at=at, customer="c", order=name, total_minor=total, currency=currency, **fields)


def refund(at, amount, name="o1", currency="EUR", **fields):
    return OrderRefunded(id=f"r{at}", site="s", at=at, customer="c", order=name, amount_minor=amount, currency=currency, **fields)


def flags_of(*events):
    return orders.flags(notes_of(orders, events, Site()), Site())


def test_a_refund_is_credited_to_the_pane_of_its_order_with_its_labels():
    told = facts_of(orders, [order(T, segment="new", channel="email"), refund(T + 40 * DAY, 300, segment="loyal"), refund(T + 50 * DAY, 200)])
    assert told == [Stated(Order(True, 1000, 500), T, ("new", "email", "EUR"))]
    assert told[0].fact.net == 500


def test_a_refund_of_an_unknown_order_stands_in_its_own_pane_until_the_order_takes_it_over():
    early = refund(T + DAY, 300, channel="email")
    assert facts_of(orders, [early]) == [Stated(Order(False, 0, 300), T + DAY, (None, "email", "EUR"))]
    assert flags_of(early) == {"unjoined": 1}
    assert facts_of(orders, [early, order(T)]) == [Stated(Order(True, 1000, 300), T, (None, None, "EUR"))]
    assert facts_of(orders, [early, order(T + 2 * DAY)]) == [Stated(Order(True, 1000, 300), T + 2 * DAY, (None, None, "EUR"))]
    assert flags_of(early, order(T)) == {}


@pytest.mark.parametrize(
    ("amounts", "refunded", "cut"), [((1000,), 1000, 0), ((1001,), 1000, 1), ((600, 400), 1000, 0), ((600, 500), 1000, 1), ((1200, 1), 1000, 2)]
)
def test_beyond_the_total_a_refund_is_cut(amounts, refunded, cut):
    events = [order(T), *(refund(T + number, amount) for number, amount in enumerate(amounts, 1))]
    assert [stated.fact for stated in facts_of(orders, events)] == [Order(True, 1000, refunded)]
    assert flags_of(*events) == ({"refund_cut": cut} if cut else {})


def test_a_refund_in_another_currency_is_not_counted_in_money():
    events = [order(T), refund(T + 1, 300, currency="USD")]
    assert facts_of(orders, events) == [Stated(Order(True, 1000, 0), T, (None, None, "EUR"))]
    assert flags_of(*events) == {"currency_mismatch": 1}


def test_an_order_id_counts_once():
    events = [order(T), order(T + 1, total=2000), order(T + 2, name="o2")]
    assert [stated.fact.total for stated in facts_of(orders, events)] == [1000, 1000]
    assert flags_of(*events) == {"repeated_order": 1}
    assert len(facts_of(orders, [order(T), order(T + KNOWN_FOR - 1)])) == 1
    assert len(facts_of(orders, [order(T), order(T + KNOWN_FOR)])) == 2


def test_a_refund_corrects_for_90_days_and_is_flagged_as_long_as_the_order_is_known():
    for after, refunded, flags in ((LOOK_BACK, 300, {}), (LOOK_BACK + 1, 0, {"expired_correction": 1}), (KNOWN_FOR - 1, 0, {"expired_correction": 1})):
        events = [order(T), refund(T + after, 300)]
        assert [stated.fact for stated in facts_of(orders, events)] == [Order(True, 1000, refunded)]
        assert flags_of(*events) == flags
    assert [stated.fact for stated in facts_of(orders, [order(T), refund(T + KNOWN_FOR, 300)])] == [Order(True, 1000, 0), Order(False, 0, 300)]


def test_it_is_kept_until_no_event_in_time_can_concern_it():
    notes = notes_of(orders, [order(T)], Site())
    forgotten = T + KNOWN_FOR + GRACE[Pane.DAY]
    assert orders.keep(notes, forgotten - 1, Site()) == notes
    assert orders.keep(notes, forgotten, Site()) == []


@given(stories(KINDS, GAPS))
def test_laws(arrivals):
    check_laws(orders, arrivals, Site(), GRACE[Pane.DAY])


@given(stories(KINDS, GAPS))
def test_flags_do_not_depend_on_the_order_of_arrival_and_never_exceed_the_events(arrivals):
    flags = flags_of(*arrivals)
    assert flags == flags_of(*reversed(arrivals))
    assert all(count > 0 for count in flags.values())
    assert flags.total() <= len(arrivals)


@given(stories(KINDS, tuple(gap for gap in GAPS if gap < 9 * DAY)))
def test_a_ledger_agrees(arrivals):
    """Within the look-back (12 gaps of a week at most): what was ordered, and per currency what came back, money by money."""
    events = sorted(arrivals, key=lambda event: (event.at, event.id))
    first = {event.order: event for event in reversed(events) if isinstance(event, OrderCompleted)}
    back = Counter()
    for event in events:
        if isinstance(event, OrderRefunded):
            known = first.get(event.order)
            if known is None or known.currency == event.currency:
                back[event.order, event.currency] += event.amount_minor
    net = Counter(dict.fromkeys(("EUR", "USD"), 0))
    for placed in first.values():
        net[placed.currency] += max(0, placed.total_minor - back.pop((placed.order, placed.currency), 0))
    net.subtract({currency: sum(amount for (_, paid_in), amount in back.items() if paid_in == currency) for currency in net})
    told = facts_of(orders, arrivals)
    assert {currency: sum(stated.fact.net for stated in told if stated.labels[2] == currency) for currency in net} == net
    assert sorted(stated.at for stated in told if stated.fact.placed) == sorted(event.at for event in first.values())
