"""Carts and checkouts: what was opened, and whether an order ended it.

One cart is open per cart id (none is an id of its own). `product_added` opens it; what follows within 60 minutes prolongs it; an
order within 60 minutes of its last event ends it; it is withdrawn when nothing is left in it. A checkout is the same from
`checkout_started`, and is withdrawn with its cart. A cart without an order is simply not ordered (yet): abandonment is read over
panes that ended 60 minutes before the watermark, and a later order corrects it.
"""

from collections import OrderedDict
from collections.abc import Collection, Iterator, Sequence
from typing import Any

import msgspec

from streams import events as e
from streams.journeys.following import Note, Stated
from streams.panes import GRACE, HOUR, Pane
from streams.sites import Site

OPEN_FOR = HOUR
"""How long after its last event a cart is still open; exactly so long counts."""


class Cart(msgspec.Struct, frozen=True, gc=False):
    """A cart that was opened."""

    ordered: bool


class Checkout(msgspec.Struct, frozen=True, gc=False):
    """A checkout that was started."""

    ordered: bool


name = "carts"
events: tuple[type[e.Event], ...] = (e.ProductAdded, e.ProductRemoved, e.CheckoutStarted, e.CheckoutStepCompleted, e.PaymentFailed, e.OrderCompleted)
ADDED, REMOVED, CHECKOUT, STEP, PAYMENT, ORDER = range(6)
KINDS = dict(zip(events, range(6), strict=True))


def note(event: Any, at: int, _site: Site) -> Note:
    """(at, id, kind, cart, product, quantity, segment, channel)."""
    kind = KINDS[type(event)]
    product, quantity = (event.product, event.quantity) if kind <= REMOVED else (None, 0)
    return at, event.id, kind, getattr(event, "cart", None), product, quantity, event.segment, event.channel


def facts(notes: Sequence[Note], _site: Site) -> Iterator[Stated]:
    """A Cart or Checkout, at its start, with the labels (segment, channel) of its earliest event that has one."""
    carts: OrderedDict[str | None, _Open] = OrderedDict()  # the one whose last event is longest ago comes first
    checkouts: OrderedDict[str | None, _Open] = OrderedDict()
    for at, _, kind, cart, product, quantity, segment, channel in notes:
        for opened, fact in ((carts, Cart), (checkouts, Checkout)):
            while opened and at > opened[next(iter(opened))].last + OPEN_FOR:
                yield opened.popitem(last=False)[1].stated(fact(ordered=False))
            if kind == (ADDED if fact is Cart else CHECKOUT) and cart not in opened:
                opened[cart] = _Open(at)
            for key in _meant(kind, cart, opened):
                opened[key].go_on(at, segment, channel)
                opened.move_to_end(key)
                if kind == ORDER:
                    yield opened.pop(key).stated(fact(ordered=True))
        if product is not None and cart in carts:
            carts[cart].put(product, quantity if kind == ADDED else -quantity)
            if not carts[cart].products:
                del carts[cart]
                checkouts.pop(cart, None)
    for opened, fact in ((carts, Cart), (checkouts, Checkout)):
        for one in opened.values():
            yield one.stated(fact(ordered=False))


def keep(notes: Sequence[Note], watermark: int, _site: Site) -> Sequence[Note]:
    """Without what lies before a pause longer than a cart stays open, where no event in time can fill the pause any more."""
    horizon = watermark - GRACE[Pane.QUARTER_HOUR]
    for place in range(len(notes), 0, -1):
        following = notes[place][0] if place < len(notes) else horizon
        if notes[place - 1][0] + OPEN_FOR < min(horizon, following):
            return notes[place:]
    return notes


class _Open:
    """A cart or checkout while it is open."""

    def __init__(self, start: int) -> None:
        self.start = self.last = start
        self.segment: str | None = None
        self.channel: str | None = None
        self.products: dict[str, int] = {}

    def go_on(self, at: int, segment: str | None, channel: str | None) -> None:
        self.last = at
        self.segment = self.segment or segment
        self.channel = self.channel or channel

    def put(self, product: str, quantity: int) -> None:
        left = self.products.pop(product, 0) + quantity
        if left > 0:
            self.products[product] = left

    def stated(self, fact: Cart | Checkout) -> Stated:
        return Stated(fact, self.start, (self.segment, self.channel))


def _meant(kind: int, cart: str | None, opened: Collection[str | None]) -> list[str | None]:
    """Which open carts an event is about: a failed payment and an order that name none are about all, an order also about the one without id."""
    if kind == PAYMENT or (kind == ORDER and cart is None):
        return list(opened)
    return [key for key in ((cart, None) if kind == ORDER else (cart,)) if key in opened]
