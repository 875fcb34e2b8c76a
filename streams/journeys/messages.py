"""Messages (e-mail, SMS, push): one story per message, medium and subject, from the sending to what the subject did with it.

A message counts where it was delivered; where no delivery is known the sending stands in, unless it bounced. Whether a site
reports deliveries at all, no subject knows: every message says which of the two it stands on, and the reading of a window
takes those that stand on a delivery where there are any, else the others.

All that happens within 30 days of a message's first event belongs to it; what comes later under the same id is another one.
"""

from collections.abc import Iterable, Iterator, Sequence
from operator import itemgetter
from typing import Any

import msgspec

from streams import events as e
from streams.journeys.following import Note, Stated, moment, stories, within_reach
from streams.panes import DAY
from streams.sites import Site

LOOK_BACK = 30 * DAY
SENT, DELIVERED, OPENED, CLICKED, BOUNCED, UNSUBSCRIBED, COMPLAINED = "sent", "delivered", "opened", "clicked", "bounced", "unsubscribed", "complained"
KINDS: dict[type[e.Event], str] = {
    e.MessageSent: SENT, e.MessageDelivered: DELIVERED, e.MessageOpened: OPENED, e.MessageClicked: CLICKED, e.MessageBounced: BOUNCED,
    e.MessageUnsubscribed: UNSUBSCRIBED, e.MessageComplained: COMPLAINED,
}  # fmt: skip


class Sending(msgspec.Struct, frozen=True, gc=False):
    """A message that was sent, in the pane of its sending; labels segment, campaign, medium."""

    medium: str
    delivered: bool = False
    bounced: bool = False


class Mailing(msgspec.Struct, frozen=True, gc=False):
    """A message that reached its subject, in the pane of its delivery, and what came of it; labels segment, campaign, medium."""

    medium: str
    delivered: bool
    """False: no delivery is known, the sending stands in."""
    opened: bool = False
    clicked: bool = False
    unsubscribed: bool = False
    complained: bool = False


class Messages:
    """Notes: (time, id, kind, message, medium, campaign, segment)."""

    name = "messages"
    events: tuple[type[e.Event], ...] = tuple(KINDS)

    def note(self, event: Any, at: int, _site: Site) -> Note:
        return (at, event.id, KINDS[type(event)], event.message, event.medium, event.campaign, event.segment)

    def facts(self, notes: Sequence[Note], _site: Site) -> Iterator[Stated]:
        for story in stories(notes, _message, LOOK_BACK):
            first = _first_of_each_kind(story)
            sent, delivered, bounced = first.get(SENT), first.get(DELIVERED), BOUNCED in first
            medium: str = story[0][4]
            if sent is not None:
                yield Stated(Sending(medium, delivered is not None, bounced), sent[0], (sent[6], sent[5], medium))
            base = delivered or (None if bounced else sent)
            if base is not None:
                reached = Mailing(medium, delivered is not None, *(kind in first for kind in (OPENED, CLICKED, UNSUBSCRIBED, COMPLAINED)))
                segment = base[6] or (None if sent is None else sent[6])
                yield Stated(reached, base[0], (segment, base[5], medium))

    def keep(self, notes: Sequence[Note], watermark: int, _site: Site) -> Sequence[Note]:
        """Of messages that may still go on; of what the subject did with one, the first of each kind is enough."""
        kept: list[Note] = []
        for story in within_reach(stories(notes, _message, LOOK_BACK), watermark, LOOK_BACK):
            first = _first_of_each_kind(story)
            kept += (note for note in story if note[2] in (SENT, DELIVERED) or first[note[2]] is note)
        return sorted(kept, key=moment)


_message = itemgetter(3, 4)


def _first_of_each_kind(story: Iterable[Note]) -> dict[str, Note]:
    first: dict[str, Note] = {}
    for note in story:
        first.setdefault(note[2], note)
    return first
