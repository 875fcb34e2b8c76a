"""Funnels: how far attempts come through a site's ordered steps, and how long the steps take.

An attempt opens with step 1 when none is open, and ends with the last step or when the funnel's window since its entry has passed
(a step exactly at the window counts). Steps count in their order, other events may lie between; an event is one step at most, and
events of the same time are taken in the order of the steps. All facts of an attempt credit the pane of its entry.

Funnels of up to 24 hours are counted in quarter hours, longer ones in days: two journeys, each with the notes and the grace of its panes.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any

import msgspec

from streams import events as e
from streams.journeys.following import Note, Stated
from streams.panes import GRACE, MINUTE, Pane
from streams.sites import STEP_EVENTS, Funnel, Site, Step, fits_template


class FunnelEntry(msgspec.Struct, frozen=True, gc=False):
    """An attempt at a funnel."""

    completed: bool


class FunnelStep(msgspec.Struct, frozen=True, gc=False):
    """A step (the second or a later one) of an attempt that had reached the step before."""

    reached: bool


class StepTime(msgspec.Struct, frozen=True, gc=False):
    """A step that was reached."""

    after: int
    """Milliseconds since the step before."""


class LongFunnelEntry(FunnelEntry, frozen=True, gc=False):
    """The same of a funnel that is counted in days."""


class LongFunnelStep(FunnelStep, frozen=True, gc=False):
    """The same of a funnel that is counted in days."""


class LongStepTime(StepTime, frozen=True, gc=False):
    """The same of a funnel that is counted in days."""


class Funnels:
    """The funnels that are counted in panes of one size. Notes: (time, id, {funnel#version: bits of the steps it may be}, segment, channel)."""

    events: tuple[type[e.Event], ...] = tuple(STEP_EVENTS.values())

    def __init__(self, name: str, pane: Pane, entry: type[FunnelEntry], step: type[FunnelStep], time: type[StepTime]) -> None:
        self.name = name
        self._pane = pane
        self._entry, self._step, self._time = entry, step, time

    def events_of(self, site: Site) -> Collection[type[e.Event]]:
        """The events that are a step at a site."""
        return site.funnel_steps[self._pane].keys()

    def note(self, event: Any, at: int, site: Site) -> Note | None:
        steps: dict[str, int] = {}
        for key, bit, step in site.funnel_steps[self._pane].get(type(event), ()):
            if _fits(event, step, site):
                steps[key] = steps.get(key, 0) | bit
        return (at, event.id, steps, event.segment, event.channel) if steps else None

    def facts(self, notes: Sequence[Note], site: Site) -> Iterator[Stated]:
        """Of each attempt its entry (labels segment, channel, funnel), and by step (labels segment, channel, funnel, step) a step for each one
        reached and the next one, and a time for each one reached. Segment and channel: of its earliest step that has one."""
        for funnel_name, funnel in self._funnels(site):
            for steps in _attempts(notes, funnel_name, funnel):
                at = steps[0][0]
                segment, channel = (next((one[place] for one in steps if one[place] is not None), None) for place in (3, 4))
                yield Stated(self._entry(len(steps) == len(funnel.steps)), at, (segment, channel, funnel_name))
                for number, step in enumerate(funnel.steps[1 : len(steps) + 1], 1):
                    labels = (segment, channel, funnel_name, step.label)
                    yield Stated(self._step(number < len(steps)), at, labels)
                    if number < len(steps):
                        yield Stated(self._time(steps[number][0] - steps[number - 1][0]), at, labels)

    def keep(self, notes: Sequence[Note], watermark: int, site: Site) -> Sequence[Note]:
        """All that an event in time may still come before. Of the others the steps of attempts under way, each for its own funnel alone."""
        cut = watermark - GRACE[self._pane]
        settled = [one for one in notes if one[0] < cut]
        left: dict[int, dict[str, int]] = {}
        for funnel_name, funnel in self._funnels(site):
            for steps in _attempts(settled, funnel_name, funnel):
                if len(steps) < len(funnel.steps) and steps[0][0] + funnel.window * MINUTE >= cut:
                    key = funnel.key(funnel_name)
                    for one in steps:
                        left.setdefault(id(one), {})[key] = one[2][key]
        return [*((*one[:2], left[id(one)], *one[3:]) for one in settled if id(one) in left), *notes[len(settled) :]]

    def _funnels(self, site: Site) -> Iterable[tuple[str, Funnel]]:
        return ((name, funnel) for name, funnel in site.funnels.items() if funnel.pane is self._pane)


SHORT = Funnels("funnels", Pane.QUARTER_HOUR, FunnelEntry, FunnelStep, StepTime)
LONG = Funnels("long_funnels", Pane.DAY, LongFunnelEntry, LongFunnelStep, LongStepTime)


def _attempts(notes: Sequence[Note], funnel_name: str, funnel: Funnel) -> Iterator[list[Note]]:
    """The notes that were the steps of each attempt, from the first on."""
    key, length, window = funnel.key(funnel_name), len(funnel.steps), funnel.window * MINUTE
    steps: list[Note] = []
    for bits, one in sorted(((one[2][key], one) for one in notes if key in one[2]), key=_in_step_order):
        if steps and one[0] - steps[0][0] > window:
            yield steps
            steps = []
        if bits >> len(steps) & 1:
            steps.append(one)
            if len(steps) == length:
                yield steps
                steps = []
    if steps:
        yield steps


def _in_step_order(candidate: tuple[int, Note]) -> tuple[int, int, str]:
    """By time; at the same time by the first step it may be, then by id."""
    bits, (at, event_id, *_) = candidate
    return at, bits & -bits, event_id


def _fits(event: Any, step: Step, site: Site) -> bool:
    return (
        all(getattr(event, field) == value for field, value in step.equal)
        and (step.path is None or fits_template(step.path, event.path))
        and (step.route is None or (event.path is not None and site.route_of(event.path) == step.route))
        and all(_same((event.properties or {}).get(key), value) for key, value in step.properties.items())
    )


def _same(value: object, wanted: object) -> bool:
    """Equal, and both or neither a truth value (to Python, True equals 1)."""
    return value == wanted and isinstance(value, bool) == isinstance(wanted, bool)
