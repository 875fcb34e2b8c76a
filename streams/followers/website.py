"""What subjects do on the website: page views, sessions, goals, who is here, and unique visitors.

Events are noted as they come and followed by the flush, subject by subject, in the order of event time: a busy subject is
looked up once, and most of what arrives out of order never has to be corrected.
"""

from bisect import insort
from collections.abc import Callable
from datetime import UTC
from operator import itemgetter

from streams import events as e
from streams.engagement import Measured
from streams.facts import DailyVisitor, MonthlyVisitor, Presence, WeeklyVisitor
from streams.journeys import conversions, sessions, visits
from streams.journeys.sessions import GAP, LONGEST, Moment, Session, SessionGoal
from streams.journeys.visits import FirstView
from streams.ledger import DAYS_ONLY, FINE, QUARTERS, Ledger, Statement, restate
from streams.panes import DAY, MINUTE, QUARTER_HOUR, day_start
from streams.sources import INTERNAL, UNKNOWN
from streams.subjects import Subject, Subjects

KEY_EVENTS = (e.GoalReached, e.OrderCompleted)
GOAL_EVENTS = (*KEY_EVENTS, e.ElementClicked)
NO_SESSION = (e.OrderRefunded,)
EVENTS = frozenset(event for event in e.EVENT_TYPES if event.topic == "website" and event not in NO_SESSION)
"""What makes a session."""
VISITORS = {visits.DAILY: DailyVisitor, visits.WEEKLY: WeeklyVisitor, visits.MONTHLY: MonthlyVisitor}

Step = tuple[int, str, int, type[e.Event], bool, bool, str, str, str | None, str | None, tuple[str, ...], tuple[str, ...]]
"""An event as its subject's journeys need it: event time, id, how late, type, whether segment and channel are its own, their labels, source,
route, goals reached, goals offered."""


class Website:
    """Follows them. `note_first_view(key, view, day)` is told of the page view that is a subject's first of a day, as often as that changes."""

    def __init__(self, ledger: Ledger, subjects: Subjects, note_first_view: Callable[[str, FirstView, int], None]) -> None:
        self._ledger = ledger
        self._sites = ledger.sites
        self._subjects = subjects
        self._note_first_view = note_first_view
        self.pending: dict[str, list[Step]] = {}
        """Events since the last flush, by subject."""
        self._touched: dict[Session, tuple[str, list[Statement]]] = {}
        """Sessions changed since the last flush, with their site and what they had stated before: the flush moves them on."""
        self._settled_at = 0
        """Watermark of `website` at the last flush. Whatever is pending came later, so what was out of reach then stays so; the watermark
        of now is not to be asked: one flush may hold more than a day of event time."""
        labels, fine = ledger.labels, ledger.rows.fine
        self._contexts, self._sources, self._pages = labels.contexts, labels.sources, labels.pages
        self._views, self._views_of_days = fine[e.PageViewed], ledger.rows.days[e.PageViewed]
        self._presence = fine[Presence]
        self._sessions = fine[Session]
        self._goals = fine[SessionGoal]
        self._visitors = {period: fine[fact] for period, fact in VISITORS.items()}
        self._goal_measures: dict[SessionGoal, Measured] = {}

    def note(self, event: e.Event, key: str, _subject: Subject | None, at: int, level: int) -> None:
        """Count a page view, and note the event for its subject: the journeys follow it when the flush settles the subject."""
        site, own_segment, own_channel = event.site, event.segment, event.channel
        segment, channel = self._contexts[site, own_segment, own_channel]
        source = route = None
        reached: tuple[str, ...] = ()
        offered: tuple[str, ...] = ()
        kind = type(event)
        if isinstance(event, e.PageViewed):
            campaign, referrer, path = event.campaign, event.referrer, event.path
            medium = None if campaign is None else campaign.medium
            source = self._sources[site, referrer, medium]
            route, offered = self._pages[site, path]
            if level == FINE:
                self._views.state((site, segment, channel, source, route), at - at % MINUTE, event)
            else:
                self._views_of_days.state((site, segment, channel, source, route), day_start(at, self._sites[site].zone), event)
        elif kind in GOAL_EVENTS:
            reached = conversions.goals_of(event, self._sites[site])
        step = (at, event.id, level, kind, own_segment is not None, own_channel is not None, segment, channel, source, route, reached, offered)
        steps = self.pending.get(key)
        if steps is None:
            self.pending[key] = [step]
        else:
            steps.append(step)

    def note_segment(self, event: e.Event, key: str, at: int) -> None:
        """Note the segment that an event of another topic carries: sessions take it up in the order of event time, whatever comes first."""
        if event.segment is not None:
            segment = self._ledger.labels.of(event.site, "segment", event.segment)
            step = (at, event.id, DAYS_ONLY, type(event), True, False, segment, UNKNOWN, None, None, (), ())
            self.pending.setdefault(key, []).append(step)

    def settle(self, watermark: int) -> None:
        """Follow every subject with pending events, and move the rows of the sessions that changed; the next call begins at `watermark`."""
        pending, self.pending = self.pending, {}
        for key, steps in pending.items():
            self._follow_visit(key, steps)
        self._settled_at = watermark
        for session, (site, before) in self._touched.items():
            restate(before, self._statements(session, site))
        self._touched.clear()

    def settle_subject(self, key: str) -> None:
        if key in self.pending:
            self._follow_visit(key, self.pending.pop(key))

    def begin_at(self, watermark: int) -> None:
        """After recovery: the watermark of the last flush."""
        self._settled_at = watermark

    def _follow_visit(self, key: str, steps: list[Step]) -> None:
        """Follow one subject through its website events since the last flush, in the order of event time."""
        if len(steps) > 1:
            steps.sort(key=_moment)
        subject = self._subjects.mark(key, self._subjects.get(key), steps[-1][0])
        site = key.partition("/")[0]
        touched, runs = self._touched, subject.segments
        last = subject.sessions[-1] if subject.sessions else None
        seen: tuple[int, str, str] | None = None
        day = -1
        for at, event_id, level, kind, own_segment, own_channel, segment, channel, source, route, reached, offered in steps:
            if own_segment:
                if runs and (run := runs[-1]).segment == segment and at > run.until[0]:
                    run.until = (at, event_id)
                else:
                    self._carry(subject, site, at, event_id, segment)
            if kind is e.PageViewed and at // DAY != day:  # later on the same day as a known first view nothing changes
                self._place_first_view(key, subject, site, FirstView(at, event_id, 0, segment, channel, source or UNKNOWN))
                day = at // DAY if self._sites[site].zone is UTC else -1
            if level == FINE:
                seen = (at, event_id, segment)
            elif level > QUARTERS:
                continue
            if source == INTERNAL:
                source = None
            if last is not None and last.end < at < last.end + GAP and at - last.start < LONGEST:  # the usual case: the session goes on
                if last not in touched:
                    self._touch(last, site)
                last.end = at
                if kind is e.PageViewed:
                    last.pages += 1
                elif kind in KEY_EVENTS:
                    last.key_events += 1
                if reached or offered:
                    last.add_goals(reached, offered)
                if last.route is None or last.channel is None or last.source is None:
                    self._fill_labels(last, Moment(at, event_id), channel if own_channel else None, source, route)
            else:
                visit = sessions.Visit(
                    Moment(at, event_id), kind is e.PageViewed, kind in KEY_EVENTS, segment if own_segment else None, channel if own_channel else None,
                    source, route, reached, offered,
                )  # fmt: skip
                self._place_in_session(subject, site, visit)
                last = subject.sessions[-1]
        if seen is not None:
            self._move_presence(subject, site, *seen)

    def _move_presence(self, subject: Subject, site: str, at: int, event_id: str, segment: str) -> None:
        """The subject was last seen at this moment, unless it is known to have been seen later."""
        if (at, event_id) <= (subject.seen, subject.seen_id):
            return
        minute, before = at // MINUTE, subject.seen // MINUTE
        if minute != before or segment != subject.seen_segment:
            if subject.seen_segment is not None:
                self._presence.withdraw((site, subject.seen_segment), before * MINUTE, None)
            self._presence.state((site, segment), minute * MINUTE, None)
            subject.seen_segment = segment
        subject.seen = at
        subject.seen_id = event_id

    def _place_in_session(self, subject: Subject, site: str, visit: sessions.Visit) -> None:
        """Open a session, or put an event that came late (or at an equal time) where it belongs."""
        known = subject.sessions
        absorbed, result = sessions.place(known, visit) if known else ([], sessions.opened_by(visit))
        for session in absorbed:
            self._touch(session, site)
            restate(self._touched.pop(session)[1], [])
        if known:
            for session in absorbed:
                known.remove(session)
            insort(known, result, key=_by_start)
            settled = next((place for place, session in enumerate(known) if session is result or not sessions.is_settled(session, self._settled_at)), 0)
            del known[:settled]
        else:
            subject.sessions = [result]
        if result.segment is None:
            result.carried = subject.carried(result.start, result.first)
        self._touched[result] = site, []

    def _fill_labels(self, session: Session, moment: Moment, channel: str | None, source: str | None, route: str | None) -> None:
        """Labels a session did not have before its latest event."""
        for label, value in (("channel", channel), ("source", source), ("route", route)):
            if value is not None and getattr(session, label) is None:
                setattr(session, label, value)
                session.later = {**(session.later or {}), label: moment}

    def _touch(self, session: Session, site: str) -> None:
        """Before a session changes for the first time since the last flush, remember what it stated."""
        if session not in self._touched:
            self._touched[session] = site, self._statements(session, site)

    def _statements(self, session: Session, site: str) -> list[Statement]:
        """What a session states as it is: nothing without a page view."""
        if not session.pages:
            return []
        start, segment, source = session.start, session.segment or session.carried or UNKNOWN, session.source or "direct"
        pane, channel = start - start % QUARTER_HOUR, session.channel or UNKNOWN
        key = (site, segment, channel, source, session.route or UNKNOWN)
        stated = [Statement(self._sessions, key, pane, self._sessions.family.measure(session))]
        goals = self._sites[site].goals
        for name in self._sites[site].goal_names:
            offered = name in session.offered or name not in goals or goals[name].page is None
            fact = SessionGoal(name in session.reached, offered, session.is_local)
            measured = self._goal_measures.get(fact)
            if measured is None:
                measured = self._goal_measures[fact] = self._goals.family.measure(fact)
            stated.append(Statement(self._goals, (site, segment, channel, source, name), pane, measured))
        return stated

    def _place_first_view(self, key: str, subject: Subject, site: str, new: FirstView) -> None:
        """A page view may be the first of its day, week or month: then it is credited, and what it displaces is withdrawn."""
        views, zone = subject.views, self._sites[site].zone
        if views and zone is UTC and views[-1].at < new.at and views[-1].at // DAY == new.at // DAY:
            return
        if not views:  # a new visitor: the first of every period
            day = day_start(new.at, zone)
            new.periods = sum(visits.PERIODS)
            views.append(new)
            for period, places in self._visitors.items():
                places.state((site, *new.labels), visits.period_start(period, day, zone), new)
            self._note_first_view(key, new, day)
            return
        for period, start, displaced in visits.place(views, new, zone):
            if displaced is not None:
                self._visitors[period].withdraw((site, *displaced.labels), start, displaced)
            self._visitors[period].state((site, *new.labels), start, new)
            if period == visits.DAILY:
                self._note_first_view(key, new, start)
        if len(views) > 1:
            subject.views = sorted((view for view in views if view is new or not visits.is_settled(view, self._settled_at, zone)), key=_moment_of)

    def _carry(self, subject: Subject, site: str, at: int, event_id: str, segment: str) -> None:
        """Note the segment an event carries; sessions that carried another one by mistake are corrected."""
        moment = (at, event_id)
        if not subject.carry(at, event_id, segment) or subject.segments[0].since > moment:
            return
        for session in subject.sessions:
            if session.segment is None and (session.start, session.first) >= moment:
                carried = subject.carried(session.start, session.first)
                if carried != session.carried:
                    self._touch(session, site)
                    session.carried = carried


_moment = itemgetter(0, 1)


def _moment_of(view: FirstView) -> tuple[int, str]:
    return view.at, view.id


def _by_start(session: Session) -> tuple[int, str]:
    return session.start, session.first
