"""Funnels: how far attempts come through a site's ordered steps, and how long the steps take.

An attempt opens with step 1 when none is open, and ends with the last step or when the funnel's window since its entry has passed
(a step exactly at the window counts). Steps count in their order, other events may lie between; an event is one step at most, and
events of the same time are taken in the order of the steps. All facts of an attempt credit the pane of its entry.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from streams import events as e
from streams.journeys.following import Note, Stated
from streams.panes import GRACE, MINUTE, Pane
from streams.sites import STEP_EVENTS, Funnel, Site, Step, fits_template
from streams.sources import route_of


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


name = "funnels"
events: tuple[type[e.Event], ...] = tuple(STEP_EVENTS.values())


def note(event: Any, at: int, site: Site) -> Note | None:
    """(at, id, {funnel#version: bits of the steps it may be}, segment, channel)."""
    steps: dict[str, int] = {}
    for key, bit, step in site.funnel_steps.get(type(event), ()):
        if _fits(event, step, site):
            steps[key] = steps.get(key, 0) | bit
    return (at, event.id, steps, event.segment, event.channel) if steps else None


def facts(notes: Sequence[Note], site: Site) -> Iterator[Stated]:
    """Of each attempt its FunnelEntry (labels segment, channel, funnel), and by step (labels segment, channel, funnel, step) a FunnelStep
    for each step reached and the next one, and a StepTime for each step reached. Segment and channel: of its earliest step that has one.
    """
    for funnel_name, funnel in site.funnels.items():
        for steps in _attempts(notes, funnel_name, funnel):
            at = steps[0][0]
            segment, channel = (next((one[place] for one in steps if one[place] is not None), None) for place in (3, 4))
            yield Stated(FunnelEntry(len(steps) == len(funnel.steps)), at, (segment, channel, funnel_name))
            for number, step in enumerate(funnel.steps[1 : len(steps) + 1], 1):
                labels = (segment, channel, funnel_name, step.label)
                yield Stated(FunnelStep(number < len(steps)), at, labels)
                if number < len(steps):
                    yield Stated(StepTime(steps[number][0] - steps[number - 1][0]), at, labels)


def keep(notes: Sequence[Note], watermark: int, site: Site) -> Sequence[Note]:
    """From the entry of the earliest attempt that an event in time may still continue."""
    cut = watermark - GRACE[Pane.QUARTER_HOUR]
    spans = []
    for funnel_name, funnel in site.funnels.items():
        for steps in _attempts(notes, funnel_name, funnel):
            entry = steps[0][0]
            spans.append((entry, steps[-1][0] if len(steps) == len(funnel.steps) else entry + funnel.window * MINUTE))
    for entry, end in sorted(spans, reverse=True):  # attempts at different funnels overlap: none may be cut in two
        if entry < cut <= end:
            cut = entry
    return [one for one in notes if one[0] >= cut]


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
        and (step.route is None or (event.path is not None and route_of(event.path, site) == step.route))
        and all(_same((event.properties or {}).get(key), value) for key, value in step.properties.items())
    )


def _same(value: object, wanted: object) -> bool:
    """Equal, and both or neither a truth value (to Python, True equals 1)."""
    return value == wanted and isinstance(value, bool) == isinstance(wanted, bool)
