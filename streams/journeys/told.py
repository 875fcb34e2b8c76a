"""THE list of journeys that keep notes, and of the tellers that need none. A new journey is one file and its line here."""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any, NamedTuple

from streams import events as e
from streams.journeys import audiences, carts, content, conversions, funnels, interactions, messages, orders, tickets, trials
from streams.journeys.following import Journey, Note, Stated
from streams.panes import DAY, Pane
from streams.sites import LONGEST_FUNNEL, Site

Flags = Callable[[Sequence[Note], Site], Counter[str]]


class Told(NamedTuple):
    """A journey, the finest panes its facts are counted in, and how long (ms) after its last event the subject is remembered for it."""

    journey: Journey
    finest: Pane
    kept: int
    thin: Callable[[Sequence[Note], Site], Sequence[Note]] | None = None
    """Leaves out notes that change nothing, whatever comes."""
    flags: Flags | None = None
    """How many of the notes carry a flag, by flag."""
    events_of: Callable[[Site], Collection[type[e.Event]]] | None = None
    """Those of its events that the settings of a site make it follow there; None: all."""

    def events(self, site: Site) -> Collection[type[e.Event]]:
        """The events it follows at a site."""
        return self.journey.events if self.events_of is None else self.events_of(site)


JOURNEYS = (
    Told(carts, Pane.QUARTER_HOUR, 2 * DAY),
    Told(orders, Pane.MINUTE, orders.KNOWN_FOR, flags=orders.flags),
    Told(funnels.SHORT, Pane.QUARTER_HOUR, 3 * DAY, events_of=funnels.SHORT.events_of),
    Told(funnels.LONG, Pane.DAY, LONGEST_FUNNEL + 10 * DAY, events_of=funnels.LONG.events_of),
    Told(conversions, Pane.DAY, 10 * DAY, thin=conversions.thin),
    Told(tickets, Pane.MINUTE, tickets.LOOK_BACK, flags=tickets.flags),
    Told(trials, Pane.DAY, trials.KNOWN_FOR),
    Told(messages.Messages(), Pane.MINUTE, messages.LOOK_BACK),
    Told(content.Reads(), Pane.MINUTE, 2 * DAY),
    Told(content.Plays(), Pane.MINUTE, 2 * DAY),
    Told(interactions.Impressions(), Pane.QUARTER_HOUR, 400 * DAY),
    Told(audiences.Audience(), Pane.DAY, 400 * DAY),
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
