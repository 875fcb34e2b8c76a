"""Growth of the audience by network: the difference of followers measured, else follows less unfollows.

Measurements come with the network, follows with whoever follows: no partition sees both. So both are stated, and the reading
of a window takes the differences where there are any, else the follows (`stated` needs no notes: a teller, see interactions).
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Any

import msgspec

from streams.events import AudienceMeasured, Event, InteractionMade
from streams.journeys.following import Note, Stated
from streams.panes import GRACE, Pane
from streams.sites import Site

FOLLOWS = {"follow": 1, "unfollow": -1}


class AudienceChange(msgspec.Struct, frozen=True, gc=False):
    """By how many an audience grew; label network."""

    change: int
    measured: bool
    """Whether it is the difference of two totals; else it is one follow (1) or unfollow (−1)."""

    @property
    def difference(self) -> int:
        return self.change if self.measured else 0

    @property
    def follows(self) -> int:
        return 0 if self.measured else self.change


def stated(event: InteractionMade, at: int, _site: Site) -> Iterable[Stated]:
    """The follow or unfollow that an event reports, if it does."""
    if event.kind in FOLLOWS:
        yield Stated(AudienceChange(FOLLOWS[event.kind], measured=False), at, (event.network,))


class Audience:
    """Differences of the followers of a network, each credited to the later measurement; the first total says nothing yet.

    Notes: (time, id, network, followers, settled). A settled note stands for all that came before it.
    """

    name = "audience"
    events: tuple[type[Event], ...] = (AudienceMeasured,)

    def note(self, event: Any, at: int, _site: Site) -> Note:
        return (at, event.id, event.network, event.followers, False)

    def facts(self, notes: Sequence[Note], _site: Site) -> Iterator[Stated]:
        for (*_, before, _), (at, _, network, followers, _) in pairwise(notes):
            yield Stated(AudienceChange(followers - before, measured=True), at, (network,))

    def keep(self, notes: Sequence[Note], watermark: int, _site: Site) -> Sequence[Note]:
        horizon = watermark - GRACE[Pane.DAY]
        past = [note for note in notes if note[0] < horizon]
        return [*((*note[:4], True) for note in past[-1:]), *notes[len(past) :]]
