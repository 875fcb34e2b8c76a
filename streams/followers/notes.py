"""Journeys that keep notes, and tellers that need none: brings the facts of a subject to what its notes make."""

from bisect import insort
from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import Any

import msgspec

from streams import events as e
from streams.admission import Counts, add
from streams.journeys import conversions
from streams.journeys.following import Journey, Note, changes
from streams.journeys.told import JOURNEY_BY_NAME, JOURNEYS, JOURNEYS_OF, MOST, TELLERS, Flags, Told
from streams.journeys.visits import FirstView
from streams.ledger import DAYS_ONLY, FINE, QUARTERS, Ledger
from streams.panes import WATERMARK_DELAY, Pane, reached_by_all
from streams.sites import Site
from streams.subjects import Subject, Subjects

encode = msgspec.msgpack.Encoder().encode


class Notes:
    """Notes are collected since the last flush, by subject; the flush follows them. `newest` and `counts` are the intake's."""

    def __init__(self, ledger: Ledger, subjects: Subjects, newest: dict[str, int], counts: Counts) -> None:
        self._ledger = ledger
        self._sites = ledger.sites
        self._subjects = subjects
        self._newest = newest
        self._counts = counts
        all_sites = (ledger.sites.default, *ledger.sites.named.values())
        self._journeys_of = _journeys_in_use(all_sites)
        self._topics = {(told.journey.name, id(site)): {event.topic for event in told.events(site)} for told in JOURNEYS for site in all_sites}
        self.events = frozenset((*self._journeys_of, *TELLERS))
        """The types of events to hand over."""
        self.fresh: dict[str, dict[str, list[tuple[Note, int]]]] = {}
        """Notes since the last flush, with how late they were, by subject and name of the journey."""

    def tell(self, event: e.Event, key: str, at: int, level: int) -> None:
        """Hand an event to the journeys that keep notes of it, and state what needs none."""
        kind, site = type(event), self._sites[event.site]
        for told in self._journeys_of.get(kind, ()):
            if level <= QUARTERS or told.finest is not Pane.QUARTER_HOUR:
                note = told.journey.note(event, at, site)
                if note is not None:
                    self._remember(key, told.journey, note, level)
        for tell in TELLERS.get(kind, ()):
            for stated in tell(event, at, site):
                self._ledger.state(event.site, stated.at, level, stated.labels, stated.fact)

    def note_first_view(self, key: str, view: FirstView, day: int) -> None:
        """The first page view of a day makes its subject one of those who may convert on it."""
        self._remember(key, conversions, (view.at, view.id, day, [], view.segment, view.channel), FINE)

    def _remember(self, key: str, journey: Journey, note: Note, level: int) -> None:
        self.fresh.setdefault(key, {}).setdefault(journey.name, []).append((note, level))

    def settle(self) -> None:
        """Follow every subject with fresh notes."""
        fresh, self.fresh = self.fresh, {}
        for key, noted in fresh.items():
            self._follow(key, noted)

    def settle_subject(self, key: str) -> None:
        if key in self.fresh:
            self._follow(key, self.fresh.pop(key))

    def _follow(self, key: str, fresh: dict[str, list[tuple[Note, int]]]) -> None:
        site = self._sites[key.partition("/")[0]]
        latest = max([note[0] for noted in fresh.values() for note, _ in noted])
        subject = self._subjects.mark(key, self._subjects.get(key), latest)
        for journey, noted in fresh.items():
            told = JOURNEY_BY_NAME[journey]
            watermark = self._watermark(told, site)
            subject.keep_until(latest + told.kept)
            while len(noted) > MOST:  # in parts, as flushes between them would do it: so the work is in proportion to the notes
                some, noted = noted[:MOST], noted[MOST:]
                self._follow_journey(key, subject, told, some, min(watermark, *(note[0] for note, _ in noted)))
            self._follow_journey(key, subject, told, noted, watermark)

    def _follow_journey(self, key: str, subject: Subject, told: Told, noted: list[tuple[Note, int]], watermark: int) -> None:
        """Bring what one journey of a subject has stated to what it makes of these notes too; nothing else comes from behind the watermark's grace."""
        name, state = key.partition("/")[0], self._ledger.state
        site, journey = self._sites[name], told.journey
        before, after = subject.notes.get(journey.name, []), [note for note, _ in noted]
        if before or len(after) > 1:
            after = sorted([*before, *after], key=_in_order)
        late, was_late, minutes = set(subject.late), set(subject.late), told.finest is Pane.MINUTE
        if minutes:
            late.update(note[0] for note, level in noted if level)
        withdrawn, stated = changes(
            [(one, minutes and one.at in was_late) for one in journey.facts(before, site)] if before else (),
            [(one, minutes and one.at in late) for one in journey.facts(after, site)],
        )
        for one, coarse in withdrawn:
            state(name, one.at, DAYS_ONLY if coarse else FINE, one.labels, one.fact, withdraw=True)
        for one, coarse in stated:
            state(name, one.at, DAYS_ONLY if coarse else FINE, one.labels, one.fact)
        if told.flags is not None:
            self._flag(told, told.flags, before, [note for note, _ in noted], site)
        if told.thin is not None:
            after = list(told.thin(after, site))
        kept = list(journey.keep(after, watermark, site))
        while len(kept) > MOST:
            kept = self._newer(told, kept, site)
        subject.remember(journey.name, kept, late)

    def forget_some(self, key: str, subject: Subject) -> bool:
        """Forget the older half of what takes most room in a subject's row; false when there is nothing to forget."""
        others = {"sessions": subject.sessions, "views": subject.views, "reviews": subject.reviews}
        parts = {name: part for name, part in (*subject.notes.items(), *others.items()) if part}
        if not parts:
            return False
        largest = max(parts, key=lambda name: len(encode(parts[name])))
        if largest in subject.notes:
            kept = self._newer(JOURNEY_BY_NAME[largest], subject.notes[largest], self._sites[key.partition("/")[0]])
            subject.remember(largest, kept, subject.late)
        else:
            self._count_dropped("reviews" if largest == "reviews" else "website", subject.forget_older(largest))
        return True

    def _newer(self, told: Told, notes: list[Note], site: Site) -> list[Note]:
        kept = list(told.newer(notes, site))
        self._count_dropped(told.journey.events[0].topic, len(notes) - len(kept))
        return kept

    def _count_dropped(self, topic: str, number: int) -> None:
        add(self._counts.setdefault(topic, {}), "flag.notes_dropped", number)

    def _flag(self, told: Told, flags: Flags, known: list[Note], fresh: list[Note], site: Site) -> None:
        """Count the flags of notes one by one in the order of arrival, wherever a flush begins."""
        counts = self._counts[told.journey.events[0].topic]
        told_of = {note[3] for note in fresh}
        about: defaultdict[Any, list[Note]] = defaultdict(list)
        for note in known:
            if note[3] in told_of:
                about[note[3]].append(note)
        before: dict[Any, Counter[str]] = {name: flags(notes, site) for name, notes in about.items()}
        for note in fresh:
            notes = about[note[3]]
            insort(notes, note, key=_in_order)
            after = flags(notes, site)
            for flag, number in (after - before.get(note[3], Counter())).items():
                add(counts, f"flag.{flag}", number)
            before[note[3]] = after

    def _watermark(self, told: Told, site: Site) -> int:
        """Event time behind which nothing comes any more that a journey follows at a site: that of the topic furthest behind."""
        newest = [self._newest.get(topic, 0) for topic in self._topics[told.journey.name, id(site)]]
        return reached_by_all(newest) - WATERMARK_DELAY


def _journeys_in_use(sites: Iterable[Site]) -> dict[type[Any], tuple[Told, ...]]:
    """By type of event, the journeys that follow it at some site: conversions no page views, because only the first of a day can matter to them,
    and visits hand it over."""

    def follows(told: Told, event: type[Any]) -> bool:
        if told.journey is conversions and event is e.PageViewed:
            return False
        return any(event in told.events(site) for site in sites)

    return {event: used for event, all_told in JOURNEYS_OF.items() if (used := tuple(told for told in all_told if follows(told, event)))}


def _in_order(note: Note) -> tuple[int, str, bytes]:
    """By time, then id; events that share both are told apart by what they say, so that arrival decides nothing."""
    return note[0], note[1], encode(note)
