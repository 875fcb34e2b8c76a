"""Trials: who paid within 30 days of the first one.

A trial counts on its day, whenever the subscription comes. Further trials of the same subject are no first ones; after 400 days
nobody remembers, and the next one counts anew.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from streams import events as e
from streams.journeys.following import Note, Stated
from streams.panes import DAY, GRACE, Pane
from streams.sites import Site

PAYS_WITHIN = 30 * DAY
"""Exactly so long after the trial counts."""
KNOWN_FOR = 400 * DAY


class Trial(msgspec.Struct, frozen=True, gc=False):
    """A subject's first trial; labels segment, channel."""

    paid: bool


name = "trials"
events: tuple[type[e.Event], ...] = (e.TrialStarted, e.SubscriptionStarted)


def note(event: Any, at: int, _site: Site) -> Note:
    """(at, id, whether it is a trial, segment, channel)."""
    return at, event.id, isinstance(event, e.TrialStarted), event.segment, event.channel


def facts(notes: Sequence[Note], _site: Site) -> Iterator[Stated]:
    """A Trial at each first trial."""
    for at, _, _, *labels in _first_trials(notes):
        yield Stated(Trial(any(not one[2] and at <= one[0] <= at + PAYS_WITHIN for one in notes)), at, tuple(labels))


def keep(notes: Sequence[Note], watermark: int, _site: Site) -> Sequence[Note]:
    """From the earliest first trial on that is still known, and what an event in time may still meet."""
    horizon = watermark - GRACE[Pane.DAY]
    known = [one[0] for one in _first_trials(notes) if one[0] + KNOWN_FOR > horizon]
    cut = min([horizon, *known])
    return [one for one in notes if one[0] >= cut]


def _first_trials(notes: Sequence[Note]) -> Iterator[Note]:
    since: int | None = None
    for one in notes:
        if one[2] and (since is None or one[0] - since >= KNOWN_FOR):
            since = one[0]
            yield one
