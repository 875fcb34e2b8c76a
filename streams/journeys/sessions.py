"""Sessions: clusters of a subject's website events with gaps under 30 minutes, at most 24 hours long.

A session credits the quarter hour of its start. Events may come in any order inside the grace: a late one extends a
session at either end, or bridges two into one. Limit: a cluster longer than 24 hours is cut where the cap fell in order
of arrival; a late event that moves the start of such a run does not move the cuts behind it.
"""

from bisect import bisect_right
from collections.abc import Iterable
from operator import attrgetter
from typing import NamedTuple

import msgspec

from streams.panes import DAY, GRACE, MINUTE, Pane
from streams.sources import LOCAL

GAP = 30 * MINUTE
LONGEST = DAY
ENGAGED_AFTER = 10_000
"""A session is engaged when it lasts longer than this (ms), has two page views, or reaches a key event."""


class Moment(NamedTuple):
    """When a subject did something; equal times are ordered by the event's id."""

    at: int
    id: str


class Session(msgspec.Struct, array_like=True, eq=False, gc=False):
    """Summary of one cluster of events. Without a page view it is not (yet) a session and counts nowhere."""

    start: int
    first: str
    """Id of the event at `start`."""
    end: int
    pages: int = 0
    key_events: int = 0
    segment: str | None = None
    """The start event's own segment."""
    channel: str | None = None
    source: str | None = None
    route: str | None = None
    later: dict[str, Moment] | None = None
    """Where the earliest event with a label is not the start event: the moment of that event, by label."""
    carried: str | None = None
    """Segment the subject carried before the start, where the start event has none."""
    reached: tuple[str, ...] = ()
    """Goals that were reached, in order of their names."""
    offered: tuple[str, ...] = ()
    """Goals whose own page was seen, in order of their names."""

    @property
    def duration(self) -> int:
        """Milliseconds from the first to the last event."""
        return self.end - self.start

    def add_goals(self, reached: Iterable[str], offered: Iterable[str]) -> None:
        self.reached = tuple(sorted({*self.reached, *reached}))
        self.offered = tuple(sorted({*self.offered, *offered}))

    @property
    def is_local(self) -> bool:
        """Whether it came from a local directory, partner or community site."""
        return self.source == LOCAL

    @property
    def engaged(self) -> bool:
        return self.pages >= 2 or self.key_events > 0 or self.end - self.start > ENGAGED_AFTER


class SessionGoal(NamedTuple):
    """A session and one of its site's goals."""

    reached: bool
    offered: bool
    """Whether the goal's page was seen; true for goals that have none."""
    local: bool


LABELS = ("channel", "source", "route")


class Visit(NamedTuple):
    """What one website event adds to a session."""

    moment: Moment
    page: bool
    key: bool
    segment: str | None
    channel: str | None
    source: str | None
    route: str | None
    reached: tuple[str, ...] = ()
    offered: tuple[str, ...] = ()


def opened_by(visit: Visit) -> Session:
    """A session that holds this one event."""
    at, event_id = visit.moment
    return Session(
        at, event_id, at, int(visit.page), int(visit.key), visit.segment, visit.channel, visit.source, visit.route, reached=visit.reached, offered=visit.offered
    )


def merge(left: Session, right: Session) -> Session:
    """One session from two; associative and commutative, so the order of arrival does not matter."""
    if (right.start, right.first) < (left.start, left.first):
        left, right = right, left
    merged = Session(
        left.start, left.first, max(left.end, right.end), left.pages + right.pages, left.key_events + right.key_events, left.segment, carried=left.carried
    )
    merged.add_goals((*left.reached, *right.reached), (*left.offered, *right.offered))
    later: dict[str, Moment] = {}
    for label in LABELS:
        holders = [(_held(session, label), session) for session in (left, right) if getattr(session, label) is not None]
        if holders:
            moment, session = min(holders, key=lambda holder: holder[0])
            setattr(merged, label, getattr(session, label))
            if moment != (left.start, left.first):
                later[label] = moment
    if later:
        merged.later = later
    return merged


def _held(session: Session, label: str) -> Moment:
    """Moment of the event that gave a session's label."""
    return (session.later and session.later.get(label)) or Moment(session.start, session.first)


def place(sessions: list[Session], visit: Visit) -> tuple[list[Session], Session]:
    """Put an event among a subject's sessions (ordered by start): which of them it absorbs, and the session that results.

    The caller removes the absorbed ones and inserts the result. Gaps of exactly 30 minutes and an end exactly 24 hours
    after the start separate.
    """
    result = opened_by(visit)
    absorbed: list[Session] = []
    at = visit.moment.at
    after = bisect_right(sessions, at, key=attrgetter("start"))
    for left in sessions[max(0, after - 1) : after]:
        if at - left.end < GAP and at - left.start < LONGEST:
            absorbed.append(left)
            result = merge(left, result)
    for right in sessions[after : after + 1]:
        if right.start - result.end < GAP and right.end - result.start < LONGEST:
            absorbed.append(right)
            result = merge(result, right)
    return absorbed, result


def is_settled(session: Session, watermark: int) -> bool:
    """Whether no event inside the grace can touch the session any more."""
    return session.end < watermark - GRACE[Pane.QUARTER_HOUR] - GAP
