"""Support tickets: how long until the first answer, whether inside the site's target, how long until resolved.

All credited to the opening of the ticket. An answer before its ticket arrives is kept, and joined when the ticket comes.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from operator import itemgetter
from typing import Any

import msgspec

from streams import events as e
from streams.journeys.following import Note, Stated, in_order, stories, within_reach
from streams.panes import DAY, MINUTE
from streams.sites import Site

LOOK_BACK = 90 * DAY
"""How long after the first that is heard of a ticket an answer still joins it."""


class Ticket(msgspec.Struct, frozen=True, gc=False):
    """A ticket that was opened. `in_target` is read over tickets older than the target."""

    in_target: bool


class Response(msgspec.Struct, frozen=True, gc=False):
    """The first answer to a ticket."""

    after: int
    """Milliseconds since it was opened."""


class Resolution(msgspec.Struct, frozen=True, gc=False):
    """The first time a ticket was resolved."""

    after: int
    """Milliseconds since it was opened."""


SPAN = LOOK_BACK - 1
_ticket = itemgetter(3)
name = "tickets"
events: tuple[type[e.Event], ...] = (e.TicketOpened, e.TicketAnswered, e.TicketResolved)
OPENED, ANSWERED, RESOLVED = range(3)
KINDS = dict(zip(events, range(3), strict=True))


def note(event: Any, at: int, site: Site) -> Note | None:
    """(at, id, kind, ticket, target ms, segment, channel). The target is that of the day the ticket was opened; a customer's own
    answer (`by: self`) is no response."""
    kind = KINDS[type(event)]
    if kind == ANSWERED and event.by == "self":
        return None
    return at, event.id, kind, event.ticket, site.response_target * MINUTE if kind == OPENED else 0, event.segment, event.channel


def facts(notes: Sequence[Note], _site: Site) -> Iterator[Stated]:
    """A Ticket, and a Response and a Resolution where there is one, at the opening, with its labels (segment, channel)."""
    for era in stories(notes, _ticket, SPAN):
        first = {one[2]: one for one in reversed(era)}
        opened = first.get(OPENED)
        if opened is None:
            continue
        at, _, _, _, target, *labels = opened
        after = {kind: max(0, one[0] - at) for kind, one in first.items()}
        yield Stated(Ticket(after.get(ANSWERED, target + 1) <= target), at, tuple(labels))
        for kind, fact in ((ANSWERED, Response), (RESOLVED, Resolution)):
            if kind in after:
                yield Stated(fact(after[kind]), at, tuple(labels))


def flags(notes: Sequence[Note], _site: Site) -> Counter[str]:
    """`unjoined`: answers and resolutions of tickets that are not known (yet)."""
    return +Counter(unjoined=sum(len(era) for era in stories(notes, _ticket, SPAN) if not any(one[2] == OPENED for one in era)))


def keep(notes: Sequence[Note], watermark: int, _site: Site) -> Sequence[Note]:
    """Without tickets that no answer can join any more."""
    return in_order(within_reach(stories(notes, _ticket, SPAN), watermark, SPAN))
