"""What a journey is: notes kept of a subject's events, and the facts that these notes make.

`facts` is a function of the notes in order of event time, so the order of arrival cannot matter. A new event changes the
notes; the facts that the change takes away are withdrawn and those that it adds are stated, each in the pane of its own
instant. A journey keeps notes only as long as an event inside the grace could still change what they make.
"""

from collections import Counter
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Sequence
from itertools import chain
from operator import itemgetter
from typing import Any, NamedTuple, Protocol, TypeVar

from streams.events import Event
from streams.panes import GRACE, Pane
from streams.sites import Site

H = TypeVar("H", bound=Hashable)
Note = tuple[Any, ...]
"""What a journey remembers of one event: (event time ms, event id, …); plain values that msgpack can hold."""


class Stated(NamedTuple):
    """A fact, the instant whose pane it credits (ms), and its labels in the order of its fact type (None: unknown)."""

    fact: Any
    """A frozen struct: equal facts are the same fact."""
    at: int
    labels: tuple[str | None, ...]


class Journey(Protocol):
    """One kind of story that a subject's events tell."""

    name: str
    """Key of its notes in the subject's row: a contract."""
    events: tuple[type[Event], ...]
    """The events it follows."""

    def note(self, event: Any, at: int, site: Site) -> Note | None:
        """What to remember of an event at (repaired) event time `at`; None when the event says nothing to this journey."""

    def facts(self, notes: Sequence[Note], site: Site) -> Iterable[Stated]:
        """All facts that these notes (in order of time and id) make."""

    def keep(self, notes: Sequence[Note], watermark: int, site: Site) -> Sequence[Note]:
        """The notes an event inside the grace may still meet, and such that stand for those before: whatever comes later changes the
        facts of what is kept as it would change those of all notes."""


def changes(before: Collection[H], after: Iterable[H]) -> tuple[list[H], list[H]]:
    """What to withdraw and what to state, so that what stood before becomes what stands after."""
    if not before:
        return [], list(after)
    old, new = Counter(before), Counter(after)
    return list((old - new).elements()), list((new - old).elements())


def stories(notes: Iterable[Note], about: Callable[[Note], Hashable], span: int, begins: Callable[[Note], bool] | None = None) -> list[list[Note]]:
    """Notes (in order of time) about the same thing: up to `span` ms after the first of them, or until one that `begins` anew."""
    found: list[list[Note]] = []
    running: dict[Hashable, list[Note]] = {}
    for note in notes:
        name = about(note)
        story = running.get(name)
        if story is None or note[0] - story[0][0] > span or (begins is not None and begins(note)):
            story = running[name] = []
            found.append(story)
        story.append(note)
    return found


def within_reach(found: Iterable[list[Note]], watermark: int, span: int) -> Iterator[list[Note]]:
    """The stories that an event inside the grace of day panes may still belong to."""
    return (story for story in found if story[0][0] >= watermark - GRACE[Pane.DAY] - span)


def in_order(found: Iterable[list[Note]]) -> list[Note]:
    """The notes of all these stories, as they are kept."""
    return sorted(chain.from_iterable(found), key=moment)


moment = itemgetter(0, 1)
"""Time and id of a note: what notes are in order of."""
