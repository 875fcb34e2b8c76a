"""Social interactions, and the impressions they are measured against (basis: impressions; reach adds up over no two posts).

Both sides of the rate are one fact type, `Engagement`, so that it is one sum over another, whichever partition stated which:
interactions come with the subject of who acted, measurements with the post. An interaction needs no notes: `stated` is a
*teller*, the stateless kind of journey, a function (event, at, site) → facts of that one event.
"""

from collections.abc import Iterable, Iterator, Sequence
from operator import itemgetter
from typing import Any

import msgspec

from streams.events import Event, InteractionMade, PostMeasured, PostPublished
from streams.journeys.following import Note, Stated
from streams.panes import GRACE, Pane
from streams.sites import Site

INTERACTIONS = frozenset({"like", "comment", "share", "follow"})
WEIGHTS = {"like": 1, "comment": 1, "share": 1, "follow": 1, "save": 1, "click": 1}
"""What a kind counts for in the composite."""


class Engagement(msgspec.Struct, frozen=True, gc=False):
    """What somebody did (`kind`), or how many impressions a post gained (may be negative); labels segment, network, category, kind."""

    kind: str | None = None
    impressions: int = 0

    @property
    def is_interaction(self) -> bool:
        return self.kind in INTERACTIONS

    @property
    def weight(self) -> int:
        return 0 if self.kind is None else WEIGHTS[self.kind]


def stated(event: InteractionMade, at: int, _site: Site) -> Iterable[Stated]:
    """The interaction that an event reports; nothing for an `unfollow`."""
    if event.kind in WEIGHTS:
        yield Stated(Engagement(event.kind), at, (event.segment, event.network, event.category, event.kind))


class Impressions:
    """What each measurement of a post adds to its previous one on the same network, the first to 0.

    Notes: (time, id, network, category, total so far, segment, settled). A settled note stands for all that came before it
    and states nothing. The category is the note's own, else the one the post had before.
    """

    name = "impressions"
    events: tuple[type[Event], ...] = (PostPublished, PostMeasured)

    def note(self, event: Any, at: int, _site: Site) -> Note | None:
        total = event.impressions if isinstance(event, PostMeasured) else None
        if total is None and event.category is None:
            return None
        return (at, event.id, event.network, event.category, total, event.segment, False)

    def facts(self, notes: Sequence[Note], _site: Site) -> Iterator[Stated]:
        for before, (at, _, network, category, total, segment, settled) in _carried(notes):
            if gain := 0 if settled else total - before:
                yield Stated(Engagement(impressions=gain), at, (segment, network, category, None))

    def keep(self, notes: Sequence[Note], watermark: int, _site: Site) -> Sequence[Note]:
        horizon = watermark - GRACE[Pane.QUARTER_HOUR]
        settled = {note[2]: (*note[:5], None, True) for _, note in _carried(notes) if note[0] < horizon}
        return [*sorted(settled.values(), key=itemgetter(0, 1)), *(note for note in notes if note[0] >= horizon)]


def _carried(notes: Sequence[Note]) -> Iterator[tuple[int, Note]]:
    """Each note with the total before it; category and total filled in from the notes before, by network."""
    known: dict[str, tuple[str | None, int]] = {}
    for at, event_id, network, own, total, segment, settled in sorted(notes, key=_order):
        category, before = known.get(network, (None, 0))
        now = own or category, before if total is None else total
        known[network] = now
        yield before, (at, event_id, network, *now, segment, settled)


def _order(note: Note) -> tuple[int, bool, str]:
    """Time, then what only names a category before what was measured at that instant, then id."""
    return note[0], note[4] is not None, note[1]
