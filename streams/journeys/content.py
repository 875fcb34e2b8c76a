"""Content depth: how long and how far pages are read, how far media are played, what is downloaded.

What carries no id of a view needs no notes: `stated` is a teller (see interactions). Several `page_left` of one view are the
stays of that view: their times add up to at most 30 minutes, the deepest scroll counts. Views and plays last up to 24 hours
from their first event and credit its pane.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from operator import itemgetter
from typing import Any

import msgspec

from streams.events import Event, FileDownloaded, MediaPlayed, PageLeft
from streams.journeys.following import Note, Stated, in_order, stories, within_reach
from streams.panes import DAY, MINUTE
from streams.sites import Site

LONGEST = DAY
MOST_ENGAGED = 30 * MINUTE
"""Cap of the engaged time of one view."""
DEPTH = 10_000
"""Scroll depth is summed as integers of a ten-thousandth."""


class PageRead(msgspec.Struct, frozen=True, gc=False):
    """A page view that was left; labels segment, route."""

    engaged: int
    """Milliseconds in view and in use."""
    depth: int | None
    """Deepest scroll in ten-thousandths; None when it was not measured."""


class Play(msgspec.Struct, frozen=True, gc=False):
    """A video or audio that was played; labels segment, category."""

    started: bool
    """Whether its start was reported: else it is no part of the completion rate."""
    completed: bool
    """Started, and played to 90 % or reported complete; a loop completes once."""
    watched: int
    """Milliseconds: between two reports the position cannot have been watched faster than time went by."""


def stated(event: PageLeft | FileDownloaded, at: int, site: Site) -> Iterable[Stated]:
    """A download (the event is the fact; labels segment, category), or the only stay of a view without an id."""
    if isinstance(event, FileDownloaded):
        yield Stated(event, at, (event.segment, event.category))
    elif event.view is None:
        yield Stated(PageRead(_millis(event.engaged_seconds), _depth(event.scroll_ratio)), at, (event.segment, site.route_of(event.path)))


class Reads:
    """Notes of page views with an id: (time, id, view, engaged ms, depth, route, segment)."""

    name = "reads"
    events: tuple[type[Event], ...] = (PageLeft,)

    def note(self, event: Any, at: int, site: Site) -> Note | None:
        if event.view is None:
            return None
        return (at, event.id, event.view, _millis(event.engaged_seconds), _depth(event.scroll_ratio), site.route_of(event.path), event.segment)

    def facts(self, notes: Sequence[Note], _site: Site) -> Iterator[Stated]:
        for stays in stories(notes, _view, LONGEST):
            at, *_, route, segment = stays[0]
            depths = [stay[4] for stay in stays if stay[4] is not None]
            yield Stated(PageRead(min(sum(stay[3] for stay in stays), MOST_ENGAGED), max(depths, default=None)), at, (segment, route))

    def keep(self, notes: Sequence[Note], watermark: int, _site: Site) -> Sequence[Note]:
        return in_order(within_reach(stories(notes, _view, LONGEST), watermark, LONGEST))


class Plays:
    """Notes of media: (time, id, media, play, state, position ms, length ms, category, segment).

    Reports belong together by `play`; without it, those about the same media from one start to the next.
    """

    name = "plays"
    events: tuple[type[Event], ...] = (MediaPlayed,)

    def note(self, event: Any, at: int, _site: Site) -> Note:
        return (
            at, event.id, event.media, event.play, event.state, _millis(event.position_seconds), _millis(event.length_seconds), event.category, event.segment,
        )  # fmt: skip

    def facts(self, notes: Sequence[Note], _site: Site) -> Iterator[Stated]:
        for reports in stories(notes, _play, LONGEST, _starts_anew):
            at, *_, category, segment = reports[0]
            started = any(report[4] == "started" for report in reports)
            ended = any(report[4] == "completed" or 0 < 9 * report[6] <= 10 * report[5] for report in reports)
            watched = sum(max(0, min(later[5] - earlier[5], later[0] - earlier[0])) for earlier, later in pairwise(reports))
            yield Stated(Play(started, started and ended, watched), at, (segment, category))

    def keep(self, notes: Sequence[Note], watermark: int, _site: Site) -> Sequence[Note]:
        return in_order(within_reach(stories(notes, _play, LONGEST, _starts_anew), watermark, LONGEST))


_view = itemgetter(2)
_play = itemgetter(2, 3)


def _starts_anew(note: Note) -> bool:
    return note[3] is None and note[4] == "started"


def _millis(seconds: float) -> int:
    return round(seconds * 1000)


def _depth(ratio: float | None) -> int | None:
    return None if ratio is None else round(ratio * DEPTH)
