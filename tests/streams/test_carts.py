"""Carts and checkouts: ruling by ruling, the laws of journeys, and a recount that looks at one cart id at a time."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from streams.events import CheckoutStarted, CheckoutStepCompleted, Event, OrderCompleted, PaymentFailed, ProductAdded, ProductRemoved
from streams.journeys import carts
from streams.journeys.carts import Cart, Checkout
from streams.journeys.following import Stated
from streams.panes import HOUR, MINUTE
from streams.sites import Site
from tests.streams.journey_laws import START, check_laws, facts_of, happens, stories

T = START
CART = st.sampled_from((None, "A", "B"))
PRODUCT = {"product": st.sampled_from("xy"), "quantity": st.integers(1, 2), "cart": CART}
KINDS = st.one_of(
    happens(ProductAdded, **PRODUCT), happens(ProductAdded, **PRODUCT), happens(ProductRemoved, **PRODUCT), happens(CheckoutStarted, cart=CART),
    happens(CheckoutStepCompleted, cart=CART), happens(PaymentFailed),
    happens(OrderCompleted, cart=CART, order=st.just("o"), total_minor=st.just(100), currency=st.just("EUR")),
)  # fmt: skip


def add(at, product="x", quantity=1, **fields):
    return ProductAdded(id=f"a{at}{product}", site="s", at=at, visitor="v", product=product, quantity=quantity, **fields)


def remove(at, product="x", quantity=1, **fields):
    return ProductRemoved(id=f"r{at}{product}", site="s", at=at, visitor="v", product=product, quantity=quantity, **fields)


def checkout(at, **fields):
    return CheckoutStarted(id=f"c{at}", site="s", at=at, visitor="v", **fields)


def order(at, **fields):
    return OrderCompleted(id=f"o{at}", site="s", at=at, visitor="v", order=f"o{at}", total_minor=100, currency="EUR", **fields)


def told(*events):
    return sorted((type(stated.fact).__name__, stated.fact.ordered, stated.at - T) for stated in facts_of(carts, events))


def test_an_order_within_an_hour_of_the_last_event_ends_the_cart():
    assert told(add(T)) == [("Cart", False, 0)]
    assert told(add(T), order(T + HOUR)) == [("Cart", True, 0)]
    assert told(add(T), order(T + HOUR + 1)) == [("Cart", False, 0)]
    assert told(add(T), remove(T + HOUR, "y"), order(T + 2 * HOUR)) == [("Cart", True, 0)]
    assert told(add(T), order(T + 1), add(T + 2)) == [("Cart", False, 2), ("Cart", True, 0)]
    assert told(order(T)) == []


def test_what_was_left_for_more_than_an_hour_is_abandoned_and_only_an_addition_opens_anew():
    assert told(add(T), add(T + HOUR)) == [("Cart", False, 0)]
    assert told(add(T), add(T + HOUR + 1)) == [("Cart", False, 0), ("Cart", False, HOUR + 1)]
    assert told(add(T), remove(T + HOUR + 1, "y"), order(T + HOUR + 2)) == [("Cart", False, 0)]


def test_a_cart_with_nothing_left_in_it_is_withdrawn():
    assert told(add(T), remove(T + 1)) == []
    assert told(add(T, quantity=2), remove(T + 1)) == [("Cart", False, 0)]
    assert told(add(T), add(T + 1, "y"), remove(T + 2), remove(T + 3, "y", 9)) == []
    assert told(add(T), remove(T + 1, "y"), remove(T + 2)) == []
    assert told(add(T), remove(T + 1, quantity=5), add(T + 2)) == [("Cart", False, 2)], "never below 0: the next addition opens a new cart"
    assert told(add(T), checkout(T + 1), remove(T + 2)) == [], "its checkout goes with it"


def test_carts_are_told_apart_by_id_and_orders_end_their_own_and_the_one_without():
    events = [add(T, cart="A"), add(T + 1, cart="B"), add(T + 2)]
    assert told(*events, order(T + 3, cart="A")) == [("Cart", False, 1), ("Cart", True, 0), ("Cart", True, 2)]
    assert told(*events, order(T + 3)) == [("Cart", True, 0), ("Cart", True, 1), ("Cart", True, 2)]
    assert told(*events, order(T + 3, cart="C")) == [("Cart", False, 0), ("Cart", False, 1), ("Cart", True, 2)]


def test_a_failed_payment_names_no_cart_and_prolongs_all_that_are_open():
    failed = PaymentFailed(id="p", site="s", at=T + HOUR, visitor="v")
    assert told(add(T, cart="A"), failed, order(T + 2 * HOUR)) == [("Cart", True, 0)]
    step = CheckoutStepCompleted(id="p", site="s", at=T + HOUR, visitor="v", cart="B")
    assert told(add(T, cart="A"), step, order(T + 2 * HOUR)) == [("Cart", False, 0)]


def test_a_checkout_counts_like_a_cart_from_its_start():
    assert told(checkout(T), checkout(T + 1)) == [("Checkout", False, 0)]
    assert told(add(T), checkout(T + MINUTE), order(T + MINUTE + HOUR)) == [("Cart", True, 0), ("Checkout", True, MINUTE)]
    assert told(checkout(T), checkout(T + HOUR + 1), order(T + HOUR + 2)) == [("Checkout", False, 0), ("Checkout", True, HOUR + 1)]


def test_labels_are_of_the_earliest_event_that_has_one():
    events = [add(T), add(T + 1, channel="email"), add(T + 2, segment="new", channel="search"), order(T + 3, segment="loyal")]
    assert facts_of(carts, reversed(events)) == [Stated(Cart(True), T, ("new", "email"))]


@given(stories(KINDS))
def test_laws(arrivals):
    check_laws(carts, arrivals, Site())


@given(stories(KINDS, most=24))
def test_a_recount_by_cart_id_agrees(arrivals):
    assert Counter(facts_of(carts, arrivals)) == Counter(recount(arrivals))


def recount(arrivals: list[Event]) -> list[Stated]:
    """One cart id after the other: cut its events into openings, each read to its order, its emptying or a pause."""
    events = sorted(arrivals, key=lambda event: (event.at, event.id))
    found = []
    for cart in (None, "A", "B"):
        own = [event for event in events if concerns(event, cart)]
        emptied = set()
        found += readings(own, ProductAdded, Cart, emptied, basket=True)
        found += readings(own, CheckoutStarted, Checkout, emptied, basket=False)
    return found


def concerns(event: Event, cart: str | None) -> bool:
    if isinstance(event, PaymentFailed):
        return True
    return event.cart == cart or (isinstance(event, OrderCompleted) and (event.cart is None or cart is None))


def readings(own, opener, fact, emptied, basket):
    place = 0
    while place < len(own):
        if not isinstance(own[place], opener):
            place += 1
            continue
        run, ending = [own[place]], None
        in_it = Counter()
        while True:
            event = run[-1]
            if basket:
                if isinstance(event, ProductAdded):
                    in_it[event.product] += event.quantity
                elif isinstance(event, ProductRemoved):
                    in_it[event.product] -= min(in_it[event.product], event.quantity)
                    if not +in_it:
                        emptied.add(event.id)
            place += 1
            if event.id in emptied:
                ending = "emptied"
            elif isinstance(event, OrderCompleted):
                ending = "ordered"
            if ending or place == len(own) or own[place].at - event.at > HOUR:
                break
            run.append(own[place])
        if ending != "emptied":
            labels = tuple(next((value for event in run if (value := getattr(event, label)) is not None), None) for label in ("segment", "channel"))
            yield Stated(fact(ending == "ordered"), run[0].at, labels)
