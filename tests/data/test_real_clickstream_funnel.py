"""A shop's clickstream with documented incidents (simulated by its authors), fed to the journeys directly.

Definitions. Funnel: in order (ruling of this product: step k counts only after step k − 1 of the same attempt), which is the set's `funnel_in_order_sessions`;
its any-order funnel counts sessions that hold the events in whatever order and is another measure: the set shuffles the steps inside a session. A session
of the set is fed as one subject, so that attempts cannot span sessions, and steps of the same second count in their order. Carts: `product_added`, then an
order after it; the set's own abandonment takes a purchase anywhere in the session.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable

import pytest

from streams import events as e
from streams.journeys import carts
from streams.journeys.funnels import SHORT, FunnelEntry, FunnelStep
from streams.sites import Funnel, Site, Step
from tests.data.adapters import DataSet, epoch_ms
from tests.streams.journey_laws import facts_of

SHOP = Site(
    funnels={
        "purchase": Funnel(
            steps=(
                Step(event="product_viewed", name="product_view"), Step(event="product_added", name="add_to_cart"),
                Step(event="page_viewed", path="/cart", name="cart"),
                Step(event="checkout_step_completed", step="shipping_details", name="shipping_details"),
                Step(event="checkout_step_completed", step="payment_details", name="payment_details"), Step(event="order_completed", name="purchase"),
            )
        ),
        "payment": Funnel(steps=(Step(event="checkout_step_completed", step="payment_details"), Step(event="order_completed"))),
    }
)  # fmt: skip


def event_of(number: int, row: dict[str, str]) -> e.Event:
    common = {"id": f"{number:06}", "site": "shop", "at": epoch_ms(row["timestamp"]), "visitor": row["session_id"], "channel": row["acquisition_channel"]}
    match row["event"]:
        case "product_view":
            return e.ProductViewed(product="p", **common)
        case "add_to_cart":
            return e.ProductAdded(product="p", quantity=1, **common)
        case "shipping_details" | "payment_details" as step:
            return e.CheckoutStepCompleted(step=step, **common)
        case "purchase":
            return e.OrderCompleted(order=common["id"], total_minor=0, currency="EUR", **common)
        case page:
            return e.PageViewed(path=f"/{page}", **common)


@pytest.fixture(scope="module")
def shop() -> DataSet:
    return DataSet("ecom_clickstream_incidents", "events.csv.gz")


@pytest.fixture(scope="module")
def sessions(shop: DataSet) -> list[list[e.Event]]:
    found: dict[str, list[e.Event]] = defaultdict(list)
    for number, row in enumerate(shop.rows):
        found[row["session_id"]].append(event_of(number, row))
    return list(found.values())


def reached_by(session: list[e.Event], funnel: str) -> set[str]:
    told = [stated for stated in facts_of(SHORT, session, SHOP) if stated.labels[2] == funnel]
    first = {"entry" for stated in told if isinstance(stated.fact, FunnelEntry)}
    return first | {str(stated.labels[3]) for stated in told if stated.fact == FunnelStep(True)}


def test_sessions_by_the_steps_they_reached_in_order(shop: DataSet, sessions: list[list[e.Event]]):
    told = Counter(step for session in sessions for step in reached_by(session, "purchase"))
    expected = shop.expected["funnel_in_order_sessions"]
    assert {"product_view": told["entry"]} | {step: told[step] for step in list(expected)[1:]} == expected


def test_carts(shop: DataSet, sessions: list[list[e.Event]]):
    opened = ordered = in_order = 0
    for session in sessions:
        facts = [stated.fact for stated in facts_of(carts, session) if isinstance(stated.fact, carts.Cart)]
        opened += bool(facts)
        ordered += any(fact.ordered for fact in facts)
        names = [type(event) for event in session]
        in_order += e.ProductAdded in names and e.OrderCompleted in names[names.index(e.ProductAdded) :]
    assert opened == shop.expected["cart_abandonment"]["sessions_with_add_to_cart"]
    assert opened - ordered >= shop.expected["cart_abandonment"]["without_purchase"]
    assert ordered == in_order


def test_the_payment_incident_shows_in_the_step_rate(shop: DataSet, sessions: list[list[e.Event]]):
    def rate(days: Iterable[str], recounted: bool) -> tuple[int, int]:
        first, last = days
        hits = n = 0
        for session in sessions:
            if not epoch_ms(first) <= session[0].at < epoch_ms(last) + 86_400_000:
                continue
            if recounted:
                steps = [isinstance(event, e.OrderCompleted) for event in session if getattr(event, "step", "") == "payment_details" or hasattr(event, "order")]
                entered = False in steps
                n, hits = n + entered, hits + (entered and True in steps[steps.index(False) :])
            else:
                reached = reached_by(session, "payment")
                n, hits = n + ("entry" in reached), hits + ("order_completed" in reached)
        return hits, n

    incident, quiet = ("2024-05-19", "2024-06-07"), ("2024-03-04", "2024-04-08")
    for days in (incident, quiet):
        assert rate(days, recounted=False) == rate(days, recounted=True)
    assert rate(incident, recounted=False)[1] == shop.expected["incident_windows"]["payment_incident_2024-05-19..2024-06-07"]["sessions_reaching_payment"]
    shares = [hits / n for hits, n in (rate(incident, recounted=False), rate(quiet, recounted=False))]
    assert shares[0] < 0.6 * shares[1]
