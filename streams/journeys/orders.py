"""Orders and what was refunded of them, each in the pane of its order.

A refund is credited to its order, also when the order arrives later; until then (and for an order nobody reported) it stands in its
own pane. Beyond the order's total it is cut; in another currency it is not counted in money; an order id counts once.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from operator import itemgetter
from typing import Any

import msgspec

from streams import events as e
from streams.journeys.following import Note, Stated, in_order, stories, within_reach
from streams.panes import DAY
from streams.sites import Site

LOOK_BACK = 90 * DAY
"""How long after its order a refund still corrects the order's pane."""
KNOWN_FOR = 400 * DAY
"""How long an order id is known: a repetition does not count, a refund beyond the look-back is flagged and not counted."""


class Order(msgspec.Struct, frozen=True, gc=False):
    """An order, or (`placed` is false) a refund of an order that is not known. Amounts in minor units of the currency, which is a label."""

    placed: bool
    total: int
    refunded: int

    @property
    def net(self) -> int:
        """What is left after refunds; negative for a refund without its order."""
        return self.total - self.refunded


SPAN = KNOWN_FOR - 1
"""At most so long after the first that is heard of it an order id still means the same order."""
_order = itemgetter(3)
name = "orders"
events: tuple[type[e.Event], ...] = (e.OrderCompleted, e.OrderRefunded)


def note(event: Any, at: int, _site: Site) -> Note:
    """(at, id, whether it is a refund, order, amount, currency, segment, channel)."""
    refund = isinstance(event, e.OrderRefunded)
    return at, event.id, refund, event.order, event.amount_minor if refund else event.total_minor, event.currency, event.segment, event.channel


def facts(notes: Sequence[Note], _site: Site) -> Iterator[Stated]:
    """One Order per order id at the time of the order, and one per refund without its order; labels segment, channel, currency."""
    for era in stories(notes, _order, SPAN):
        order, refunds, _ = _told(era)
        if order is not None:
            at, _, _, _, total, currency, segment, channel = order
            yield Stated(Order(True, total, min(total, sum(refund[4] for refund in refunds))), at, (segment, channel, currency))
        else:
            for at, _, _, _, amount, currency, segment, channel in refunds:
                yield Stated(Order(False, 0, amount), at, (segment, channel, currency))


def flags(notes: Sequence[Note], _site: Site) -> Counter[str]:
    """How many of these notes carry a flag, by flag; what an event adds to them is what is counted."""
    return sum((_told(era)[2] for era in stories(notes, _order, SPAN)), Counter())


def keep(notes: Sequence[Note], watermark: int, _site: Site) -> Sequence[Note]:
    """Without orders that are known no longer."""
    return in_order(within_reach(stories(notes, _order, SPAN), watermark, SPAN))


def _told(era: list[Note]) -> tuple[Note | None, list[Note], Counter[str]]:
    """The order, the refunds that are counted, and the flags of the notes about one order id."""
    orders, refunds = ([one for one in era if one[2] is refund] for refund in (False, True))
    if not orders:
        return None, refunds, Counter(unjoined=len(refunds))
    order = orders[0]
    at, total, currency = order[0], order[4], order[5]
    flagged: Counter[str] = Counter(repeated_order=len(orders) - 1)
    counted, left = [], total
    for refund in refunds:
        if refund[0] - at > LOOK_BACK:
            flagged["expired_correction"] += 1
        elif refund[5] != currency:
            flagged["currency_mismatch"] += 1
        else:
            counted.append(refund)
            flagged["refund_cut"] += refund[4] > left
            left = max(0, left - refund[4])
    return order, counted, +flagged
