"""The state of one customer or visitor, as one row.

Everything a subject's measures need lies in this row, because all its events meet in one partition. Cold subjects stay
bytes; a row is decoded when its next event comes.
"""

from collections.abc import Callable, Collection, Iterator
from typing import Any

import msgspec

from streams.journeys.following import Note
from streams.journeys.reviews import Review
from streams.journeys.sessions import Session
from streams.journeys.visits import FirstView
from streams.panes import DAY, TOO_OLD
from streams.rows import SUBJECT_ROW

KEPT_AFTER_LAST_EVENT = 45 * DAY
"""A month and its grace: after that nothing of the subject's activity can be corrected or counted twice."""
ERASED_FOR = TOO_OLD
SEGMENT_RUNS = 8
CONSENT_CHANGES = 16
MOST_BYTES = 192 * 1024
"""Size of a row. One that would be larger forgets the older half of what takes most room in it, as often as it takes."""
MOST_BYTES_OF_ALL = 6 << 20
"""Size of all rows of one flush, which as a whole takes 8 MiB: where they would be larger, the largest forget in the same way, down to `LEAST_BYTES`."""
LEAST_BYTES = 512


class SegmentRun(msgspec.Struct, array_like=True, eq=False, gc=False):
    """From when to when (time and id of event) a subject was seen to carry a segment."""

    since: tuple[int, str]
    until: tuple[int, str]
    segment: str


class ConsentChange(msgspec.Struct, array_like=True, eq=False, gc=False):
    at: int
    id: str
    purpose: str
    granted: bool


class Subject(msgspec.Struct, array_like=True, eq=False, gc=False):
    """State of one subject; instants in ms. `expires` comes first so that a sweep reads it without the rest."""

    expires: int = 0
    """Event time after which the row may be dropped."""
    sessions: list[Session] = []
    """Those that an event inside the grace may still touch, by start."""
    views: list[FirstView] = []
    seen: int = 0
    """Time of the last website event; 0 for none."""
    seen_id: str = ""
    seen_segment: str | None = None
    segments: list[SegmentRun] = []
    reviews: dict[str, Review] | None = None
    consent: list[ConsentChange] | None = None
    erased: int | None = None
    """Event time of the erasure; events are refused for 400 days."""
    notes: dict[str, list[Note]] = {}
    """What its journeys remember, by the journey's name, in order of event time."""
    late: list[int] = []
    """Instants of notes that came too late for minute panes."""

    def remember(self, journey: str, notes: list[Note], late: Collection[int]) -> None:
        """What a journey remembers from now on, and which instants came too late for minute panes, as far as there are notes of them."""
        if notes:
            self.notes[journey] = notes
        else:
            self.notes.pop(journey, None)
        if late:
            self.late = sorted({note[0] for notes in self.notes.values() for note in notes}.intersection(late))

    def forget_older(self, part: str) -> int:
        """Forget the older half of the `sessions`, `views` or `reviews`; returns how many these are."""
        if part == "reviews":
            held = sorted((self.reviews or {}).items(), key=lambda one: (one[1].first, one[0]))
            older = (len(held) + 1) // 2
            self.reviews = dict(held[older:])
        else:
            older = (len(getattr(self, part)) + 1) // 2
            setattr(self, part, getattr(self, part)[older:])
        return older

    def keep_until(self, at: int) -> None:
        self.expires = max(self.expires, at)

    def carried(self, at: int, event_id: str) -> str | None:
        """Segment carried at or before a moment: the last one seen by event time."""
        found = None
        for run in self.segments:
            if run.since > (at, event_id):
                break
            found = run.segment
        return found

    def carry(self, at: int, event_id: str, segment: str) -> bool:
        """Note that an event carried a segment; True when what was carried at some moment has changed."""
        moment = (at, event_id)
        runs = self.segments
        if runs and runs[-1].segment == segment and moment >= runs[-1].since:
            run = runs[-1]
            if moment > run.until:
                run.until = moment
            return False
        place = len(runs)
        while place and runs[place - 1].since > moment:
            place -= 1
        before = runs[place - 1] if place else None
        if before is not None and before.segment == segment:
            before.until = max(before.until, moment)
            return False
        split: list[SegmentRun] = []
        if before is not None and before.until > moment:
            split = [SegmentRun(before.until, before.until, before.segment)]
        runs[place:place] = [SegmentRun(moment, moment, segment), *split]
        del runs[:-SEGMENT_RUNS]
        return True

    def allows(self, purpose: str, at: int, event_id: str, default: bool) -> bool:
        """Whether the last change of a purpose at or before a moment granted it."""
        allowed = default
        for change in self.consent or ():
            if (change.at, change.id) > (at, event_id):
                break
            if change.purpose == purpose:
                allowed = change.granted
        return allowed

    def note_consent(self, change: ConsentChange) -> None:
        changes = sorted([*(self.consent or ()), change], key=lambda known: (known.at, known.id))
        self.consent = _without_superseded(changes) if len(changes) > CONSENT_CHANGES else changes
        self.keep_until(change.at + TOO_OLD)

    def erase(self, at: int) -> None:
        """Forget all that is known of the subject but the erasure itself and what was said about consent after it."""
        erased = at if self.erased is None else max(at, self.erased)
        later = [change for change in self.consent or () if change.at > erased]
        for field, value in zip(self.__struct_fields__, _fields(Subject()), strict=True):
            setattr(self, field, value)
        self.consent = later or None
        self.erased = None if any(change.purpose == "analytics" and change.granted for change in later) else erased
        self.expires = max([erased, *(change.at for change in later)]) + ERASED_FOR


def _without_superseded(changes: list[ConsentChange]) -> list[ConsentChange]:
    """The changes without the oldest one that a later one of its purpose supersedes."""
    for index, change in enumerate(changes):
        if any(later.purpose == change.purpose for later in changes[index + 1 :]):
            return changes[:index] + changes[index + 1 :]
    return changes


def _fields(subject: Subject) -> tuple[Any, ...]:
    return msgspec.structs.astuple(subject)


class _Expiry(msgspec.Struct, array_like=True):
    expires: int


encode_subject = msgspec.msgpack.Encoder().encode
decode_subject = msgspec.msgpack.Decoder(Subject).decode
decode_expiry = msgspec.msgpack.Decoder(_Expiry).decode


class Subjects:
    """The subjects of one partition by `site/subject`. Those nobody has asked for since recovery are still bytes."""

    def __init__(self) -> None:
        self.known: dict[str, Subject | bytes] = {}
        self.changed: dict[str, Subject] = {}
        """To be written by the next flush."""

    def get(self, key: str) -> Subject | None:
        known = self.known.get(key)
        if isinstance(known, bytes):
            known = self.known[key] = decode_subject(known)
        return known

    def mark(self, key: str, subject: Subject | None, at: int) -> Subject:
        """The subject (new where there is none) as one that an event at this time changes."""
        if subject is None:
            subject = self.known[key] = Subject()
        self.changed[key] = subject
        expires = at + KEPT_AFTER_LAST_EVENT
        if expires > subject.expires:
            subject.expires = expires
        return subject

    def forget(self, key: str) -> Subject:
        """Begin anew with a subject."""
        subject = self.known[key] = self.changed[key] = Subject()
        return subject

    def drain(self, forget_some: Callable[[str, Subject], bool]) -> list[tuple[bytes, bytes | None]]:
        """State rows of the subjects that changed since the last call. `forget_some(key, subject)` makes a row smaller, false where it cannot;
        it is asked until every row, and all together, are small enough."""
        rows = {key: encode_subject(subject) for key, subject in self.changed.items()}
        limit = MOST_BYTES
        while True:
            for key, row in rows.items():
                while len(row) > limit and forget_some(key, self.changed[key]):
                    row = rows[key] = encode_subject(self.changed[key])
            if sum(map(len, rows.values())) <= MOST_BYTES_OF_ALL or limit < LEAST_BYTES:
                break
            limit //= 2
        self.changed.clear()
        return [(SUBJECT_ROW + key.encode(), row) for key, row in rows.items()]

    def expire(self, before: int) -> Iterator[tuple[bytes, None]]:
        """Drop subjects that expired before an instant; yields their rows as deleted."""
        for key in [key for key, subject in self.known.items() if _expiry(subject) < before and key not in self.changed]:
            del self.known[key]
            yield SUBJECT_ROW + key.encode(), None

    def load(self, key: bytes, value: bytes) -> None:
        self.known[key[len(SUBJECT_ROW) :].decode()] = value


def _expiry(subject: Subject | bytes) -> int:
    return decode_expiry(subject).expires if isinstance(subject, bytes) else subject.expires
