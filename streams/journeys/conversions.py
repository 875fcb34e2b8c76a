"""Conversion per visitor: who reached a goal among those who viewed a page or reached it, by calendar day in the site's time zone.

Goals are `order` and those the site configures (streams/sites.py): a rate needs to know the goal before anyone has reached it.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from streams import events as e
from streams.journeys.following import Note, Stated
from streams.panes import GRACE, Pane, add_days, day_start
from streams.sites import ORDER, Site, fits_template


class Conversion(msgspec.Struct, frozen=True, gc=False):
    """A subject that on one day viewed a page or reached the goal."""

    reached: bool


name = "conversions"
events: tuple[type[e.Event], ...] = (e.PageViewed, e.ElementClicked, e.GoalReached, e.OrderCompleted)


def goals_of(event: Any, site: Site) -> tuple[str, ...]:
    """The goals with a rate that an event reaches."""
    match event:
        case e.OrderCompleted():
            return (ORDER,)
        case e.GoalReached(goal=goal):
            return (goal,) if goal in site.goal_names else ()
        case e.ElementClicked(element=element, path=path):
            return tuple(goal for goal, template in site.click_goals.get(element, ()) if fits_template(template, path))
    return ()


def note(event: Any, at: int, site: Site) -> Note | None:
    """(at, id, start of its day, goals reached, segment, channel); a page view reaches no goal."""
    goals = goals_of(event, site)
    if not goals and not isinstance(event, e.PageViewed):
        return None
    return at, event.id, day_start(at, site.zone), list(goals), event.segment, event.channel


def facts(notes: Sequence[Note], site: Site) -> Iterator[Stated]:
    """One Conversion per day and goal, with the labels (segment, channel, goal) of the day's earliest page view or event of the goal."""
    for day, views, reached in _days(notes):
        for goal in dict.fromkeys((*(site.goal_names if views else ()), *reached)):
            first = min([*views[:1], *reached.get(goal, ())[:1]], key=_moment)
            yield Stated(Conversion(goal in reached), day, (first[4], first[5], goal))


def thin(notes: Sequence[Note], _site: Site) -> Sequence[Note]:
    """The first page view of a day, and the first event that reached each goal: the others change nothing, whatever comes."""
    first = {id(one) for _, views, reached in _days(notes) for one in (*views[:1], *(events[0] for events in reached.values()))}
    return [one for one in notes if id(one) in first]


def keep(notes: Sequence[Note], watermark: int, site: Site) -> Sequence[Note]:
    """Without the days that no event in time belongs to any more."""
    horizon = watermark - GRACE[Pane.DAY]
    return [one for one in notes if add_days(one[2], 1, site.zone) > horizon]


def _days(notes: Sequence[Note]) -> list[tuple[int, list[Note], dict[str, list[Note]]]]:
    """By day: its start, its page views, and the events that reached each goal."""
    days: dict[int, tuple[int, list[Note], dict[str, list[Note]]]] = {}
    for one in notes:
        _, views, reached = days.setdefault(one[2], (one[2], [], {}))
        if not one[3]:
            views.append(one)
        for goal in one[3]:
            reached.setdefault(goal, []).append(one)
    return list(days.values())


def _moment(one: Note) -> tuple[int, str]:
    return one[0], one[1]
