"""THE list of journeys that keep notes, and of the tellers that need none. A new journey is one file and its line here."""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any, NamedTuple

from streams import events as e
from streams.journeys import audiences, carts, content, conversions, funnels, interactions, messages, orders, tickets, trials
from streams.journeys.following import Journey, Note, Stated
from streams.panes import DAY, GRACE, Pane
from streams.sites import LONGEST_FUNNEL, Site

Flags = Callable[[Sequence[Note], Site], Counter[str]]
MOST = 500
"""Notes of one journey that are kept of a subject: with more, the older half is forgotten, as often as it takes."""


class Told(NamedTuple):
    """A journey, the finest panes its facts are counted in, how long (ms) after its last event the subject is remembered for it, and how far
    (ms) behind the watermark the first note of what it still follows may lie."""

    journey: Journey
    finest: Pane
    kept: int
    reach: int
    thin: Callable[[Sequence[Note], Site], Sequence[Note]] | None = None
    """Leaves out notes that change nothing, whatever comes."""
    flags: Flags | None = None
    """How many of the notes carry a flag, by flag; it is decided among the notes that agree in their fourth field (order, ticket)."""
    events_of: Callable[[Site], Collection[type[e.Event]]] | None = None
    """Those of its events that the settings of a site make it follow there; None: all."""

    def events(self, site: Site) -> Collection[type[e.Event]]:
        """The events it follows at a site."""
        return self.journey.events if self.events_of is None else self.events_of(site)

    def newer(self, notes: Sequence[Note], site: Site) -> Sequence[Note]:
        """About the newer half of the notes, as if the grace ended there: what began before is settled as it is, and what comes later about it
        is taken for something new. Fewer, even none, where what they tell cannot be parted there."""
        most = len(notes)
        while most := most // 2:
            kept = self.journey.keep(notes, notes[-most - 1][0] + 1 + self.reach, site)
            if 4 * len(kept) <= 3 * len(notes):
                return kept
        return []


_QUARTERS, _DAYS = GRACE[Pane.QUARTER_HOUR], GRACE[Pane.DAY]
JOURNEYS = (
    Told(carts, Pane.QUARTER_HOUR, 2 * DAY, _QUARTERS),
    Told(orders, Pane.MINUTE, orders.KNOWN_FOR, _DAYS + orders.SPAN, flags=orders.flags),
    Told(funnels.SHORT, Pane.QUARTER_HOUR, 3 * DAY, _QUARTERS, events_of=funnels.SHORT.events_of),
    Told(funnels.LONG, Pane.DAY, LONGEST_FUNNEL + 10 * DAY, _DAYS, events_of=funnels.LONG.events_of),
    Told(conversions, Pane.DAY, 10 * DAY, _DAYS, thin=conversions.thin),
    Told(tickets, Pane.MINUTE, tickets.LOOK_BACK, _DAYS + tickets.SPAN, flags=tickets.flags),
    Told(trials, Pane.DAY, trials.KNOWN_FOR, _DAYS),
    Told(messages.Messages(), Pane.MINUTE, messages.LOOK_BACK, _DAYS + messages.LOOK_BACK),
    Told(content.Reads(), Pane.MINUTE, 2 * DAY, _DAYS + content.LONGEST),
    Told(content.Plays(), Pane.MINUTE, 2 * DAY, _DAYS + content.LONGEST),
    Told(interactions.Impressions(), Pane.QUARTER_HOUR, 400 * DAY, _QUARTERS),
    Told(audiences.Audience(), Pane.DAY, 400 * DAY, _DAYS),
)

Teller = Callable[[Any, int, Site], Iterable[Stated]]


def stated_as_is(event: e.PaymentFailed, at: int, _site: Site) -> Iterable[Stated]:
    """The event is the fact; labels segment, channel."""
    yield Stated(event, at, (event.segment, event.channel))


TELLERS: dict[type[e.Event], tuple[Teller, ...]] = {
    e.PageLeft: (content.stated,),
    e.FileDownloaded: (content.stated,),
    e.PaymentFailed: (stated_as_is,),
    e.InteractionMade: (interactions.stated, audiences.stated),
}

JOURNEY_BY_NAME = {told.journey.name: told for told in JOURNEYS}
JOURNEYS_OF: dict[type[e.Event], tuple[Told, ...]] = {
    event: found for event in e.EVENT_TYPES if (found := tuple(told for told in JOURNEYS if event in told.journey.events))
}
