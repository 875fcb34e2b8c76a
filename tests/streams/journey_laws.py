"""Laws that every journey obeys (streams/journeys/following.py), to be tried with events that Hypothesis draws.

    KINDS = happens(ProductAdded, product=st.sampled_from("ab"), quantity=st.just(1)) | happens(...)

    @given(stories(KINDS))
    def test_laws(arrivals):
        check_laws(carts, arrivals, Site())

`arrivals` are events in the order of their arrival. A journey may be a module or an object. One that has `thin(notes, site)` (what it
leaves out changes no fact, now or later) is held to that too.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import msgspec
from hypothesis import strategies as st

from streams.events import Event, event_time
from streams.journeys.following import Note, Stated, changes
from streams.panes import GRACE, HOUR, MINUTE, SECOND, WATERMARK_DELAY, Pane
from streams.sites import Site

START = 1_760_000_000_000
"""2025-10-09T08:53:20Z."""
GAPS = (0, 1, SECOND, 10 * SECOND, MINUTE, 5 * MINUTE, 20 * MINUTE, 30 * MINUTE, HOUR - 1, HOUR, HOUR + 1, 5 * HOUR, 24 * HOUR, 30 * HOUR)
"""Between one event and the next, in ms: some on the edges of windows, some beyond the grace of quarter hours."""
Make = Callable[[int, str], Event]
"""An event at a time (ms) with an id."""


def happens(struct: type[Event], **fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Make]:
    """An event of a type with these fields, with or without segment and channel."""
    labels = {"segment": st.sampled_from((None, "new", "loyal")), "channel": st.sampled_from((None, "search", "email"))}

    def made(drawn: dict[str, Any]) -> Make:
        return lambda at, event_id: struct(id=event_id, site="shop", at=at, visitor="v", **drawn)

    return st.fixed_dictionaries({**labels, **fields}).map(made)


def stories(kinds: st.SearchStrategy[Make], gaps: Sequence[int] = GAPS, most: int = 12) -> st.SearchStrategy[list[Event]]:
    """Events of one subject in an order of arrival: times some gaps apart, equal times among them, ids in no order of time."""

    def told(drawn: tuple[list[tuple[int, Make]], Any]) -> st.SearchStrategy[list[Event]]:
        steps, shuffle = drawn
        ids = [f"{number:02}" for number in range(len(steps))]
        shuffle.shuffle(ids)
        at, events = START, []
        for (gap, make), event_id in zip(steps, ids, strict=True):
            at += gap
            events.append(make(at, event_id))
        return st.permutations(events) | st.just(events)

    return st.tuples(st.lists(st.tuples(st.sampled_from(gaps), kinds), max_size=most), st.randoms(use_true_random=False)).flatmap(told)


def moment(note: Note) -> tuple[int, str]:
    return note[0], note[1]


def notes_of(journey: Any, events: Iterable[Event], site: Site) -> list[Note]:
    """What a journey remembers of events, in order of time and id."""
    notes = []
    for event in events:
        at = event_time(event)
        assert at is not None
        if isinstance(event, journey.events) and (note := journey.note(event, at, site)) is not None:
            assert moment(note) == (at, event.id), "a note begins with the time and the id of its event"
            notes.append(note)
    return sorted(notes, key=moment)


def facts_of(journey: Any, events: Iterable[Event], site: Site | None = None) -> list[Stated]:
    """All facts of events in any order."""
    site = site or Site()
    return list(journey.facts(notes_of(journey, events, site), site))


def check_laws(journey: Any, arrivals: Sequence[Event], site: Site, grace: int = GRACE[Pane.QUARTER_HOUR]) -> None:
    """All laws on one order of arrival; `grace` (ms) is that of the journey's pane size."""
    check_changes(journey, arrivals, site)
    check_keep(journey, arrivals, site, grace)
    check_life(journey, arrivals, site, grace)
    check_round_trip(journey, arrivals, site)
    if hasattr(journey, "thin"):
        check_thin(journey, arrivals, site)


def check_changes(journey: Any, arrivals: Sequence[Event], site: Site) -> None:
    """Event by event, in any order, the changes add up to the facts of all notes in order of time."""
    standing: Counter[Stated] = Counter()
    for number in range(len(arrivals)):
        _apply(standing, journey.facts(notes_of(journey, arrivals[:number], site), site), journey.facts(notes_of(journey, arrivals[: number + 1], site), site))
    assert standing == Counter(journey.facts(notes_of(journey, arrivals, site), site))


def check_keep(journey: Any, arrivals: Sequence[Event], site: Site, grace: int) -> None:
    """What is kept tells of what comes later inside the grace as much as all notes would: the same facts are withdrawn and stated."""
    for number in range(1, len(arrivals) + 1):
        notes = notes_of(journey, arrivals[:number], site)
        newest = max(_time(event) for event in arrivals[:number])
        for watermark in (newest - WATERMARK_DELAY, newest + grace, newest + 500 * 24 * HOUR):
            kept = list(journey.keep(notes, watermark, site))
            assert [moment(note) for note in kept] == [moment(note) for note in notes if moment(note) in set(map(moment, kept))], "in their order"
            later = notes_of(journey, [event for event in arrivals[number:] if _time(event) >= watermark - grace], site)
            settled = Counter(journey.facts(notes, site))
            settled.subtract(journey.facts(kept, site))
            assert min(settled.values(), default=0) >= 0, "what is kept tells nothing new"
            whole = Counter(journey.facts(sorted([*notes, *later], key=moment), site))
            assert Counter(journey.facts(sorted([*kept, *later], key=moment), site)) + settled == whole


def check_life(journey: Any, arrivals: Sequence[Event], site: Site, grace: int) -> None:
    """A subject's life as the intake leads it (late events refused, notes thinned and dropped on the way, rows written and read)
    ends with the facts of all the events that were in time."""
    standing: Counter[Stated] = Counter()
    notes: list[Note] = []
    accepted: list[Event] = []
    newest = 0
    for event in arrivals:
        newest = max(newest, _time(event))
        watermark = newest - WATERMARK_DELAY
        if _time(event) < watermark - grace:
            continue
        accepted.append(event)
        after = sorted([*notes, *notes_of(journey, [event], site)], key=moment)
        _apply(standing, journey.facts(notes, site), journey.facts(after, site))
        if hasattr(journey, "thin"):
            after = journey.thin(after, site)
        notes = _round_trip(journey.keep(after, watermark, site))
    assert standing == Counter(journey.facts(notes_of(journey, accepted, site), site))


def check_round_trip(journey: Any, arrivals: Sequence[Event], site: Site) -> None:
    """Notes can be written and read; facts can be compared."""
    notes = notes_of(journey, arrivals, site)
    assert _round_trip(notes) == notes
    for stated in journey.facts(notes, site):
        assert isinstance(stated, Stated)
        assert isinstance(stated.at, int)
        assert isinstance(stated.fact, msgspec.Struct)
        assert stated.fact.__struct_config__.frozen
        assert isinstance(stated.labels, tuple)


def check_thin(journey: Any, arrivals: Sequence[Event], site: Site) -> None:
    """What is thinned out changes no fact, whatever comes later."""
    whole = Counter(journey.facts(notes_of(journey, arrivals, site), site))
    for number in range(len(arrivals) + 1):
        thinned = journey.thin(notes_of(journey, arrivals[:number], site), site)
        assert list(thinned) == list(journey.thin(thinned, site)), "thinning twice is thinning once"
        assert Counter(journey.facts(sorted([*thinned, *notes_of(journey, arrivals[number:], site)], key=moment), site)) == whole


def _apply(standing: Counter[Stated], before: Iterable[Stated], after: Iterable[Stated]) -> None:
    withdrawn, stated = changes(before, after)
    standing.subtract(withdrawn)
    standing.update(stated)
    assert min(standing.values(), default=0) >= 0, "only what stood may be withdrawn"
    for fact in [fact for fact, count in standing.items() if not count]:
        del standing[fact]


def _round_trip(notes: Sequence[Note]) -> list[Note]:
    return msgspec.msgpack.decode(msgspec.msgpack.encode(list(notes)), type=list[tuple[Any, ...]])


def _time(event: Event) -> int:
    at = event_time(event)
    assert at is not None
    return at
