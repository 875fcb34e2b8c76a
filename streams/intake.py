"""The way of one event: from a record of an event topic to the facts of its subject.

`Intake.apply` is that way, read from top to bottom: decode, repair the time, drop what is late, seen before, or sent by a
bot, check consent, then let the journeys follow the subject and state facts. The verdict on an event depends only on the
log, so a restart gives the same one.
"""

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC
from operator import itemgetter
from typing import Any, NamedTuple

import msgspec
from xxhash import xxh3_64_intdigest

from streams import events as e
from streams.admission import BotFilter, Counts, SeenIds, add
from streams.engagement import Measured, PaneRows, PartialSeries, Places
from streams.facts import DailyVisitor, Mention, MonthlyVisitor, Presence, TextJudged, WeeklyVisitor
from streams.flow import Message, Record
from streams.journeys import conversions, funnels, reviews, sessions, visits
from streams.journeys.following import Journey, Note, changes
from streams.journeys.reviews import Review
from streams.journeys.sessions import GAP, LONGEST, Moment, Session, SessionGoal
from streams.journeys.told import JOURNEY_BY_NAME, JOURNEYS_OF, TELLERS, Flags, Told
from streams.journeys.visits import FirstView
from streams.panes import (
    AHEAD_OF_RECEIPT,
    DAY,
    GRACE,
    HOUR,
    MINUTE,
    QUARTER_HOUR,
    TOO_OLD,
    WATERMARK_DELAY,
    Pane,
    day_start,
)  # fmt: skip
from streams.sentiment import judge
from streams.sites import Site, Sites, fits_template
from streams.sources import INTERNAL, OTHER, UNKNOWN, route_of, source_of
from streams.subjects import KEPT_AFTER_LAST_EVENT, ConsentChange, Subject, decode_expiry, decode_subject, encode_subject
from streams.topics import partition_of

RECEIPT_HEADER = "engage-receipt"
"""Receipt (ms) of a replayed event, in place of the record's timestamp."""
FINE, QUARTERS, DAYS_ONLY = 0, 1, 2
"""How late an event is: counted everywhere; not in minute panes; only in day panes."""
LABELS_KEPT = 50
"""Values of a label per site and partition; later ones are `other`."""
CACHED = 50_000
MISROUTED_SAMPLE = 64
NEVER_LATE = (e.ConsentChanged, e.EraseRequested, e.CustomerIdentified)
KEY_EVENTS = (e.GoalReached, e.OrderCompleted)
GOAL_EVENTS = (*KEY_EVENTS, e.ElementClicked)
NO_SESSION = (e.OrderRefunded,)
ORIGINS: dict[type[e.Event], str] = {
    e.MentionPosted: "mention", e.ReviewPosted: "review", e.SurveyAnswered: "survey", e.TicketOpened: "ticket", e.InteractionMade: "comment",
    e.CommunityPosted: "community",
}  # fmt: skip
SUBJECT_ROW, LABEL_ROW = b"s/", b"l/"
VISITORS = {visits.DAILY: DailyVisitor, visits.WEEKLY: WeeklyVisitor, visits.MONTHLY: MonthlyVisitor}

Follow = Callable[[Any, str, Subject | None, int, int], None]
"""What a type of event does to its subject: (event, key, state of the subject or None, event time, how late)."""
Step = tuple[int, str, int, type[e.Event], bool, bool, str, str, str | None, str | None, tuple[str, ...], tuple[str, ...]]
"""A website event as its subject's journeys need it: event time, id, how late, type, whether segment and channel are its own,
their labels, source, route, goals reached, goals offered."""


class Statement(NamedTuple):
    """What is stated in one pane: where, and what it adds."""

    places: Places
    key: tuple[str, ...]
    pane: int
    measured: Measured


class Intake:
    """What one partition of the four event topics adds up to. `counts` and `newest` go into the stamp."""

    def __init__(self, partition: int, partitions: int, sites: Sites) -> None:
        self.partition = partition
        self.partitions = partitions
        self.sites = sites
        self.subjects: dict[str, Subject | bytes] = {}
        self.changed: dict[str, Subject] = {}
        self._settled_at = 0
        """Watermark of `website` at the last flush. Whatever is pending came later, so what was out of reach then stays so; the watermark
        of now is not to be asked: one flush may hold more than a day of event time."""
        self.pending: dict[str, list[Step]] = {}
        """Website events since the last flush, by subject: settled together, so that a busy subject is looked up once."""
        self.notes: dict[str, dict[str, list[tuple[Note, int]]]] = {}
        """What journeys noted since the last flush, with how late it was, by subject and name of the journey."""
        self.touched: dict[Session, tuple[str, list[Statement]]] = {}
        """Sessions changed since the last flush, with their site and what they had stated before: the flush moves them on."""
        self.rows = PaneRows(sites)
        self.seen = SeenIds()
        self.bots = BotFilter()
        self.counts: Counts = {}
        self.newest: dict[str, int] = {}
        """Newest event time per topic (clamped events never move it); the watermark is 5 s behind."""
        self.failed: list[Message] = []
        self.labels: dict[tuple[str, str], list[str]] = {}
        self.changed_labels: set[tuple[str, str]] = set()
        self._label_cache: dict[tuple[str, str, str], str] = {}
        self._label_sets: dict[tuple[type[Any], str, tuple[str | None, ...]], tuple[str, ...]] = {}
        self._goal_measures: dict[SessionGoal, Measured] = {}
        self._source_cache: dict[tuple[str, str | None, str | None], str] = {}
        self._route_cache: dict[tuple[str, str], tuple[str, tuple[str, ...]]] = {}
        self._context_cache: dict[tuple[str, str | None, str | None], tuple[str, str]] = {}
        self._views = self.rows.fine[e.PageViewed]
        self._presence = self.rows.fine[Presence]
        self._sessions = self.rows.fine[Session]
        self._goals = self.rows.fine[SessionGoal]
        self._visitors = {period: self.rows.fine[fact] for period, fact in VISITORS.items()}
        self._must_ask = not all(site.consent.analytics for site in (sites.default, *sites.named.values()))
        """Whether some site does not take consent to analytics for granted."""
        self._swept = 0
        self._heard: set[str] = set()
        self._follow: dict[type[e.Event], Follow] = {
            e.MentionPosted: self._follow_mention,
            e.ReviewPosted: self._follow_review,
            e.SurveyAnswered: self._follow_text,
            e.TicketOpened: self._follow_text,
            e.InteractionMade: self._follow_text,
            e.CommunityPosted: self._follow_text,
            e.ConsentChanged: self._follow_consent,
            e.EraseRequested: self._follow_erasure,
        }
        self._follow.update({event: self._note_web for event in e.EVENT_TYPES if event.topic == "website" and event not in NO_SESSION})
        steps = {event for site in (sites.default, *sites.named.values()) for event in site.funnel_steps}
        self._journeys_of = {
            event: journeys
            for event, told in JOURNEYS_OF.items()
            # Of page views only the first of a day can matter to conversions: visits hand it over.
            if (
                journeys := tuple(
                    one for one in told if event in steps or one.journey is not funnels if not (one.journey is conversions and event is e.PageViewed)
                )
            )
        }
        self._told = {*self._journeys_of, *TELLERS}

    # --- the way of one event ----------------------------------------------------------------------------------------

    def apply(self, topic: str, records: Sequence[Record]) -> None:
        """Judge and count each record, in offset order."""
        decode = e.DECODERS[topic]
        counts = self.counts.setdefault(topic, {})
        seen, fresh, verdicts, follow_by_type = self.seen.ids, self.seen.fresh, self.bots.verdicts, self._follow
        subjects, must_ask, names, digest, told = self.subjects, self._must_ask, e.NAMES, xxh3_64_intdigest, self._told
        subject_of, largest, clock_delay = e.subject_of, e.MAX_EVENT_BYTES, WATERMARK_DELAY
        earliest, latest = e.EARLIEST, e.LATEST
        horizon = self.seen.horizon.get(topic)
        newest = self.newest.get(topic, 0)
        latest_id = self.seen.newest.get(topic, 0)
        applied = duplicate = 0
        self._heard.add(topic)
        for record in records:
            # decode
            value = record.value
            receipt = record.timestamp
            try:
                if record.headers:
                    receipt = _read_headers(record)
                if len(value) > largest:  # type: ignore[arg-type]
                    raise ValueError
                event: Any = decode(value)  # type: ignore[arg-type]
            except Exception:  # whatever a hostile value raises, `explain` names it
                self._fail(topic, record, _explain(record, topic))
                continue
            subject_name = subject_of(event)
            if subject_name is None:
                self._fail(topic, record, e.explain(value, topic))
                continue
            # repair the time
            sent = event.at
            if type(sent) is not int:
                sent = e.millis(sent)
            at: int | None = sent if event.sent_at is None else e.event_time(event)
            if at is None or not earliest <= at < latest:
                self._fail(topic, record, e.explain(value, topic))
                continue
            if event.received_at is not None:
                receipt = e.millis(event.received_at)
            clamped = at > receipt + AHEAD_OF_RECEIPT
            if clamped:
                if receipt < earliest:
                    reason = "the event is ahead of its receipt, and that lies before 1990"
                    self._fail(topic, record, e.Rejected(e.Reason.BAD_TIME, "$.received_at", reason, value or b""))
                    continue
                at = receipt
            elif at > newest:
                newest = self.newest[topic] = at
            # drop what is late
            behind = newest - clock_delay - at
            level = FINE
            if behind > HOUR:
                if behind > TOO_OLD:
                    self._fail(topic, record, e.Rejected(e.Reason.TOO_OLD, "$.at", "the event is more than 400 days behind the watermark", value or b""))
                    continue
                if behind > GRACE[Pane.QUARTER_HOUR]:
                    if behind > GRACE[Pane.DAY] and type(event) not in NEVER_LATE:
                        add(counts, "late")
                        continue
                    level = DAYS_ONLY
                else:
                    level = QUARTERS
            if horizon is not None and at <= horizon and type(event) not in NEVER_LATE:
                add(counts, "late")
                continue
            # drop duplicates
            kind = type(event)
            key = f"{event.site}/{subject_name}"
            identity = digest(f"{key}\0{names[kind]}\0{event.id}\0{sent}".encode())
            if identity in seen:
                duplicate += 1
                continue
            seen.add(identity)
            fresh.append(identity)
            if at > latest_id:
                latest_id = at
            # drop bots
            agent = event.user_agent
            if agent is not None:
                bot = verdicts.get(agent)
                if self.bots.judge(agent) if bot is None else bot:
                    verdicts = self.bots.verdicts
                    add(counts, "bot")
                    continue
            # check consent
            known = subjects.get(key)
            if type(known) is bytes:
                known = subjects[key] = decode_subject(known)
            subject: Subject | None = known  # type: ignore[assignment]
            if subject is not None and at > subject.expires:  # forgotten, whether or not a sweep has come by
                subject = self._forget_expired(key, at)
            if event.consent is not None or must_ask or (subject is not None and (subject.consent or subject.erased is not None)):
                refusal = self._refusal(event, subject, at)
                if refusal is not None:
                    add(counts, refusal)
                    continue
            # follow the subject
            applied += 1
            if level or clamped or not record.offset % MISROUTED_SAMPLE:
                self._flag(counts, key, level, clamped, event)
            follow = follow_by_type.get(kind)
            if follow is not None:
                follow(event, key, subject, at, level)
            elif not event.site_level:
                self._note_segment(event, key, at)
            if kind in told:
                self._tell(event, key, at, level)
        if latest_id:
            self.seen.newest[topic] = latest_id
        add(counts, "received", len(records))
        add(counts, "applied", applied)
        add(counts, "duplicate", duplicate)

    def _fail(self, topic: str, record: Record, rejected: e.Rejected) -> None:
        """Count a failed event and keep it with its reason and its original bytes, key and headers."""
        add(self.counts[topic], f"failed.{rejected.reason}")
        headers = (
            ("engage-reason", rejected.reason.encode()),
            ("engage-path", rejected.path.encode("utf-8", "replace")),
            ("engage-detail", rejected.detail.encode("utf-8", "replace")),
            ("engage-topic", topic.encode()),
            ("engage-partition", b"%d" % self.partition),
            ("engage-offset", b"%d" % record.offset),
            ("engage-timestamp", b"%d" % record.timestamp),
        )
        self.failed.append(Message("failed", record.key, record.value or b"", (*headers, *record.headers)))

    def _refusal(self, event: e.Event, subject: Subject | None, at: int) -> str | None:
        """Why an event must not be counted although it is well formed."""
        if isinstance(event, e.ConsentChanged | e.EraseRequested):
            return None
        if subject is not None and subject.erased is not None and at < subject.erased + TOO_OLD:
            return "refused.erased"
        if event.analytics and not self._allows("analytics", event, subject, at):
            return "refused.no_consent"
        return None

    def _allows(self, purpose: str, event: e.Event, subject: Subject | None, at: int) -> bool:
        own = getattr(event.consent, purpose) if event.consent is not None else None
        if own is not None:
            return bool(own)
        default = getattr(self.sites[event.site].consent, purpose)
        return subject.allows(purpose, at, event.id, default) if subject is not None else bool(default)

    def _flag(self, counts: dict[str, int], key: str, level: int, clamped: bool, event: e.Event) -> None:
        if level and type(event) not in NEVER_LATE:
            add(counts, "flag.partly_late")
        if clamped:
            add(counts, "flag.clamped")
        if partition_of(key.encode(), self.partitions) != self.partition:
            add(counts, "flag.misrouted")

    # --- labels ------------------------------------------------------------------------------------------------------

    def _label(self, site: str, dimension: str, value: str | None) -> str:
        """A label's value as it is counted: `unknown` where missing, `other` beyond the first 50 of the site."""
        if not value or value == UNKNOWN:
            return UNKNOWN
        key = (site, dimension, value)
        known = self._label_cache.get(key)
        if known is None:
            values = self.labels.setdefault((site, dimension), [])
            if value in values:
                known = value
            elif value != OTHER and len(values) < LABELS_KEPT:
                values.append(value)
                self.changed_labels.add((site, dimension))
                known = value
            else:
                known = OTHER
            if len(self._label_cache) >= CACHED:
                self._label_cache.clear()
            self._label_cache[key] = known
        return known

    def _source(self, site: str, referrer: str | None, medium: str | None) -> str:
        """Source class of a page view."""
        if len(self._source_cache) >= CACHED:
            self._source_cache.clear()
        known = self._source_cache[site, referrer, medium] = source_of(referrer, medium, self.sites[site])
        return known

    def _route(self, site: str, path: str) -> tuple[str, tuple[str, ...]]:
        """Route of a page view, and the goals that the page offers."""
        if len(self._route_cache) >= CACHED:
            self._route_cache.clear()
        settings = self.sites[site]
        offered = tuple(name for name, goal in settings.goals.items() if goal.page is not None and fits_template(goal.page, path))
        known = self._route_cache[site, path] = self._label(site, "route", route_of(path, settings)), offered
        return known

    # --- journeys ----------------------------------------------------------------------------------------------------

    def _forget_expired(self, key: str, at: int) -> Subject:
        """The subject as an event beyond its expiry finds it: new, unless what is still pending keeps it."""
        self._settle(key)
        subject = self._known(key)
        if subject is None or at > subject.expires:
            subject = self.subjects[key] = self.changed[key] = Subject()
        return subject

    def _known(self, key: str) -> Subject | None:
        known = self.subjects.get(key)
        if type(known) is bytes:
            known = self.subjects[key] = decode_subject(known)
        return known  # type: ignore[return-value]

    def _mark(self, key: str, subject: Subject | None, at: int) -> Subject:
        """The subject's state (new where there is none), to be written by the next flush."""
        if subject is None:
            subject = self.subjects[key] = Subject()
        self.changed[key] = subject
        expires = at + KEPT_AFTER_LAST_EVENT
        if expires > subject.expires:
            subject.expires = expires
        return subject

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

    def _note_segment(self, event: e.Event, key: str, at: int) -> None:
        """Note the segment that an event of another topic carries: sessions take it up in the order of event time, whatever comes first."""
        if event.segment is not None:
            segment = self._label(event.site, "segment", event.segment)
            step = (at, event.id, DAYS_ONLY, type(event), True, False, segment, UNKNOWN, None, None, (), ())
            self.pending.setdefault(key, []).append(step)

    def _context(self, site: str, segment: str | None, channel: str | None) -> tuple[str, str]:
        """Labels of segment and channel as they are counted."""
        labels = (self._label(site, "segment", segment), self._label(site, "channel", channel))
        if len(self._context_cache) >= CACHED:
            self._context_cache.clear()
        self._context_cache[site, segment, channel] = labels
        return labels

    def _note_web(self, event: e.Event, key: str, _subject: Subject | None, at: int, level: int) -> None:
        """Count a page view, and note the event for its subject: the journeys follow it when the flush settles the subject."""
        site, own_segment, own_channel = event.site, event.segment, event.channel
        segment, channel = self._context_cache.get((site, own_segment, own_channel)) or self._context(site, own_segment, own_channel)
        source = route = None
        reached: tuple[str, ...] = ()
        offered: tuple[str, ...] = ()
        kind = type(event)
        if kind is e.PageViewed:
            campaign = event.campaign  # type: ignore[attr-defined]
            referrer, path = event.referrer, event.path  # type: ignore[attr-defined]
            medium = None if campaign is None else campaign.medium
            source = self._source_cache.get((site, referrer, medium)) or self._source(site, referrer, medium)
            route, offered = self._route_cache.get((site, path)) or self._route(site, path)
            if level == FINE:
                self._views.state((site, segment, channel, source, route), at - at % MINUTE, event)
            else:
                self.rows.days[kind].state((site, segment, channel, source, route), day_start(at, self.sites[site].zone), event)
        elif kind in GOAL_EVENTS:
            reached = conversions.goals_of(event, self.sites[site])
        step = (at, event.id, level, kind, own_segment is not None, own_channel is not None, segment, channel, source, route, reached, offered)
        steps = self.pending.get(key)
        if steps is None:
            self.pending[key] = [step]
        else:
            steps.append(step)

    def _settle(self, key: str) -> None:
        """Follow one subject through all it did since the last flush."""
        if key in self.pending:
            self._follow_visit(key, self.pending.pop(key))
        if key in self.notes:
            self._follow_notes(key, self.notes.pop(key))

    def _follow_visit(self, key: str, steps: list[Step]) -> None:
        """Follow one subject through its website events since the last flush, in the order of event time."""
        if len(steps) > 1:
            steps.sort(key=_moment)
        subject = self._mark(key, self._known(key), steps[-1][0])
        site = key.partition("/")[0]
        touched, runs = self.touched, subject.segments
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
                day = at // DAY if self.sites[site].zone is UTC else -1
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
            _restate(self.touched.pop(session)[1], [])
        if known:
            kept = [session for session in known if session not in absorbed and not sessions.is_settled(session, self._settled_at)]
            subject.sessions = sorted([*kept, result], key=_by_start)
        else:
            subject.sessions = [result]
        if result.segment is None:
            result.carried = subject.carried(result.start, result.first)
        self.touched[result] = site, []

    def _fill_labels(self, session: Session, moment: Moment, channel: str | None, source: str | None, route: str | None) -> None:
        """Labels a session did not have before its latest event."""
        for label, value in (("channel", channel), ("source", source), ("route", route)):
            if value is not None and getattr(session, label) is None:
                setattr(session, label, value)
                session.later = {**(session.later or {}), label: moment}

    def _touch(self, session: Session, site: str) -> None:
        """Before a session changes for the first time since the last flush, remember what it stated."""
        if session not in self.touched:
            self.touched[session] = site, self._statements(session, site)

    def _statements(self, session: Session, site: str) -> list[Statement]:
        """What a session states as it is: nothing without a page view."""
        if not session.pages:
            return []
        start, segment, source = session.start, session.segment or session.carried or UNKNOWN, session.source or "direct"
        pane, channel = start - start % QUARTER_HOUR, session.channel or UNKNOWN
        key = (site, segment, channel, source, session.route or UNKNOWN)
        stated = [Statement(self._sessions, key, pane, self._sessions.family.measure(session))]
        goals = self.sites[site].goals
        for name in self.sites[site].goal_names:
            offered = name in session.offered or name not in goals or goals[name].page is None
            fact = SessionGoal(name in session.reached, offered, session.is_local)
            measured = self._goal_measures.get(fact)
            if measured is None:
                measured = self._goal_measures[fact] = self._goals.family.measure(fact)
            stated.append(Statement(self._goals, (site, segment, channel, source, name), pane, measured))
        return stated

    def _place_first_view(self, key: str, subject: Subject, site: str, new: FirstView) -> None:
        """A page view may be the first of its day, week or month: then it is credited, and what it displaces is withdrawn."""
        views, zone = subject.views, self.sites[site].zone
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

    def _note_first_view(self, key: str, view: FirstView, day: int) -> None:
        """The first page view of a day makes its subject one of those who may convert on it."""
        self._remember(key, conversions, (view.at, view.id, day, [], view.segment, view.channel), FINE)

    def _tell(self, event: e.Event, key: str, at: int, level: int) -> None:
        """Hand an event to the journeys that keep notes of it, and state what needs none."""
        kind, site = type(event), self.sites[event.site]
        for told in self._journeys_of.get(kind, ()):
            if level <= QUARTERS or told.finest is not Pane.QUARTER_HOUR:
                note = told.journey.note(event, at, site)
                if note is not None:
                    self._remember(key, told.journey, note, level)
        for tell in TELLERS.get(kind, ()):
            for stated in tell(event, at, site):
                self._state(event.site, stated.at, level, stated.labels, stated.fact)

    def _remember(self, key: str, journey: Journey, note: Note, level: int) -> None:
        self.notes.setdefault(key, {}).setdefault(journey.name, []).append((note, level))

    def _follow_notes(self, key: str, fresh: dict[str, list[tuple[Note, int]]]) -> None:
        """Bring the facts of a subject's journeys to what its notes now make."""
        name = key.partition("/")[0]
        site = self.sites[name]
        latest = max([note[0] for noted in fresh.values() for note, _ in noted])
        subject = self._mark(key, self._known(key), latest)
        for journey, noted in fresh.items():
            told = JOURNEY_BY_NAME[journey]
            before, after = subject.notes.get(journey, []), [note for note, _ in noted]
            if before or len(after) > 1:
                after = sorted([*before, *after], key=_note_order)
            late, was_late = subject.late, subject.late
            if told.finest is Pane.MINUTE and any(level for _, level in noted):
                late = [*late, *(note[0] for note, level in noted if level)]
            withdrawn, stated = changes(
                [(one, one.at in was_late) for one in told.journey.facts(before, site)] if before else (),
                [(one, one.at in late) for one in told.journey.facts(after, site)],
            )
            for one, coarse in withdrawn:
                self._state(name, one.at, DAYS_ONLY if coarse else FINE, one.labels, one.fact, withdraw=True)
            for one, coarse in stated:
                self._state(name, one.at, DAYS_ONLY if coarse else FINE, one.labels, one.fact)
            if told.flags is not None:
                self._flag_notes(told, told.flags, before, [note for note, _ in noted], site)
            if told.thin is not None:
                after = list(told.thin(after, site))
            kept = list(told.journey.keep(after, self._watermark(told), site))
            if kept:
                subject.notes[journey] = kept
            else:
                subject.notes.pop(journey, None)
            if late:
                subject.late = sorted({note[0] for notes in subject.notes.values() for note in notes}.intersection(late))
            subject.keep_until(latest + told.kept)

    def _flag_notes(self, told: Told, flags: Flags, known: list[Note], fresh: list[Note], site: Site) -> None:
        """Count the flags of notes one by one in the order of arrival, wherever a flush begins."""
        counts = self.counts[told.journey.events[0].topic]
        before = flags(known, site)
        for note in fresh:
            known = sorted([*known, note], key=_note_order)
            after = flags(known, site)
            for flag, number in (after - before).items():
                add(counts, f"flag.{flag}", number)
            before = after

    def _watermark(self, told: Told) -> int:
        """Event time behind which nothing comes any more that a journey follows."""
        newest = self.newest
        return min([newest[topic] for topic in told.topics if topic in newest], default=0) - WATERMARK_DELAY

    def _follow_mention(self, event: e.MentionPosted, key: str, subject: Subject | None, at: int, level: int) -> None:
        site = self.sites[event.site]
        own, brand = _brand(event, site)
        self._note_segment(event, key, at)
        if brand is None:
            return
        segment = self._label(event.site, "segment", event.segment)
        network = self._label(event.site, "network", event.network)
        self._state(event.site, at, level, (segment, network, brand), Mention(own))
        if own:
            self._judge_text(event, subject, at, level, segment, network)

    def _follow_text(self, event: Any, key: str, subject: Subject | None, at: int, level: int) -> None:
        self._note_segment(event, key, at)
        network = self._label(event.site, "network", getattr(event, "network", None))
        self._judge_text(event, subject, at, level, self._label(event.site, "segment", event.segment), network)

    def _judge_text(self, event: Any, subject: Subject | None, at: int, level: int, segment: str, network: str) -> None:
        judged = self._judge(event, subject, at)
        if judged is not None:
            self._state(event.site, at, level, (segment, ORIGINS[type(event)], network), judged)

    def _judge(self, event: Any, subject: Subject | None, at: int) -> TextJudged | None:
        """Sentiment of an event's text; None without a text or without consent to scoring it."""
        text = e.text_of(event)
        if not text:
            return None
        if len(text) > e.FREE_TEXT_LIMIT:
            add(self.counts[event.topic], "flag.truncated")
        if not self._allows("sentiment", event, subject, at):
            return None
        sentiment = judge(text, getattr(event, "language", None))
        return TextJudged(str(sentiment.label), sentiment.compound)

    def _state(self, site: str, at: int, level: int, labels: tuple[str | None, ...], fact: object, withdraw: bool = False) -> None:
        """State (or withdraw) a fact in the pane of an instant; one that was too late for minute panes in its day only."""
        kind = type(fact)
        places = self.rows.fine[kind]
        size = places.finest
        if level != FINE and size is Pane.MINUTE:
            places, size = self.rows.days[kind], Pane.DAY
        key = self._label_sets.get((kind, site, labels)) or self._label_set(kind, site, labels)
        pane = day_start(at, self.sites[site].zone) if size is Pane.DAY else at - at % size
        (places.withdraw if withdraw else places.state)(key, pane, fact)

    def _label_set(self, kind: type[Any], site: str, labels: tuple[str | None, ...]) -> tuple[str, ...]:
        """Site and labels of a fact type as they are counted."""
        if len(self._label_sets) >= CACHED:
            self._label_sets.clear()
        names = self.rows.fine[kind].family.fact.labels
        key = self._label_sets[kind, site, labels] = (site, *(self._label(site, name, value) for name, value in zip(names, labels, strict=True)))
        return key

    def _follow_review(self, event: e.ReviewPosted, key: str, subject: Subject | None, at: int, level: int) -> None:
        subject = self._mark(key, subject, at)
        self._note_segment(event, key, at)
        judged = self._judge(event, subject, at)
        site = event.site
        review = Review(
            at, level == FINE, at, event.id, self._label(site, "platform", event.source), None if event.product is None else
            self._label(site, "product", event.product), self._label(site, "segment", event.segment), reviews.micro_stars(event.rating, event.scale_max),
            None if judged is None else judged.sentiment, 0 if judged is None else judged.compound,
        )  # fmt: skip
        name = f"{event.source}/{event.review}"
        if subject.reviews is None:
            subject.reviews = {}
        known = subject.reviews.get(name)
        merged = review if known is None else reviews.merge(known, review)
        subject.reviews[name] = merged
        subject.keep_until(merged.first + reviews.KNOWN_FOR)
        watermark = self.newest.get("reviews", at) - WATERMARK_DELAY
        if known is not None:
            if known.first + DAY <= watermark - GRACE[Pane.DAY] - reviews.LOOK_BACK:
                add(self.counts["reviews"], "flag.expired_correction")
                return
            self._state_review(site, known, withdraw=True)
        self._state_review(site, merged)
        if len(subject.reviews) > 1:
            subject.reviews = {name: kept for name, kept in subject.reviews.items() if kept.first + reviews.KNOWN_FOR >= watermark}

    def _state_review(self, site: str, review: Review, withdraw: bool = False) -> None:
        level = FINE if review.fine else DAYS_ONLY
        labels = (review.segment, review.source, review.product or UNKNOWN)
        self._state(site, review.first, level, labels, review, withdraw)
        if review.sentiment is not None:
            text = TextJudged(review.sentiment, review.compound)
            self._state(site, review.first, level, (review.segment, "review", UNKNOWN), text, withdraw)

    def _follow_consent(self, event: e.ConsentChanged, key: str, subject: Subject | None, at: int, _level: int) -> None:
        subject = self._mark(key, subject, at)
        subject.note_consent(ConsentChange(at, event.id, event.purpose, event.granted))
        if event.purpose == "analytics" and event.granted and subject.erased is not None and at > subject.erased:
            subject.erased = None

    def _follow_erasure(self, _event: e.EraseRequested, key: str, subject: Subject | None, at: int, _level: int) -> None:
        if key in self.pending or key in self.notes:  # what came before is counted before it is forgotten
            self._settle(key)
            subject = self.changed[key]
        self._mark(key, subject, at).erase(at)

    # --- flush and recovery ------------------------------------------------------------------------------------------

    def drain(self, seq: int) -> tuple[list[tuple[bytes, bytes | None]], dict[str, list[PartialSeries]]]:
        """State rows and partials of all that changed since the last call."""
        pending, self.pending = self.pending, {}
        for key, steps in pending.items():
            self._follow_visit(key, steps)
        notes, self.notes = self.notes, {}
        for key, noted in notes.items():
            self._follow_notes(key, noted)
        self._settled_at = self.newest.get("website", 0) - WATERMARK_DELAY
        for session, (site, before) in self.touched.items():
            _restate(before, self._statements(session, site))
        self.touched.clear()
        rows: list[tuple[bytes, bytes | None]] = [(SUBJECT_ROW + key.encode(), encode_subject(subject)) for key, subject in self.changed.items()]
        self.changed.clear()
        pane_rows, partials = self.rows.drain(seq)
        rows += pane_rows
        for label in self.changed_labels:
            rows.append((LABEL_ROW + "/".join(label).encode(), msgspec.msgpack.encode(self.labels[label])))
        self.changed_labels.clear()
        watermarks = {topic: newest - WATERMARK_DELAY for topic, newest in self.newest.items()}
        rows += self.seen.drain(seq, watermarks)
        rows += self._sweep(watermarks)
        return rows, partials

    def _sweep(self, watermarks: dict[str, int]) -> Iterator[tuple[bytes, bytes | None]]:
        """Once per hour of event time drop expired pane rows, once per day expired subjects."""
        active = {topic: at for topic, at in watermarks.items() if topic in self._heard}
        if not active or min(active.values()) // HOUR <= self._swept // HOUR:
            return
        now = min(active.values())
        new_day = now // DAY > self._swept // DAY
        self._swept = now
        self._heard = set()
        for key in self.rows.expire(active):
            yield key, None
        if new_day:
            forgotten = now - GRACE[Pane.DAY]  # an event that is not late may still belong to a subject that expired before
            for subject_key in [key for key, subject in self.subjects.items() if _expiry(subject) < forgotten and key not in self.changed]:
                del self.subjects[subject_key]
                yield SUBJECT_ROW + subject_key.encode(), None

    def stamp(self) -> dict[str, Any]:
        """What must be known besides the rows to go on as if nothing had happened."""
        return {
            "counts": self.counts, "newest": self.newest, "horizon": self.seen.horizon, "swept": self._swept, "heard": sorted(self._heard),
            "horizons": [(*name, table.horizon) for name, table in self.rows.tables.items()],
        }  # fmt: skip

    def load(self, rows: Sequence[tuple[bytes, bytes]], stamp: dict[str, Any], layout: dict[str, list[str]], published: int) -> None:
        """Take over rows of the state topic (subjects stay bytes until they are needed)."""
        self.counts = stamp["counts"]
        self.newest = stamp["newest"]
        self._settled_at = self.newest.get("website", 0) - WATERMARK_DELAY
        self.seen.horizon = stamp["horizon"]
        self._swept = stamp["swept"]
        self._heard = set(stamp["heard"])
        for *name, horizon in stamp["horizons"]:
            table = self.rows.tables.get(tuple(name))
            if table is not None:
                table.horizon = horizon
        id_rows: list[tuple[bytes, bytes]] = []
        subjects = self.subjects
        for key, value in rows:
            kind = key[:1]
            if kind == b"s":
                subjects[key[2:].decode()] = value
            elif kind == b"p":
                self.rows.load(key, value, layout, published)
            elif kind == b"i":
                id_rows.append((key, value))
            elif kind == b"l":
                site, dimension = key[2:].decode().split("/")
                self.labels[site, dimension] = msgspec.msgpack.decode(value)
        self.seen.load(id_rows)


def _restate(before: list[Statement], after: list[Statement]) -> None:
    """Withdraw what was stated and state what holds now."""
    if len(before) == len(after):
        for old, new in zip(before, after, strict=True):
            if old.key == new.key and old.pane == new.pane:
                if old.measured != new.measured:
                    old.places.move(old.key, old.pane, old.measured, new.measured)
            else:
                old.places.take(old.key, old.pane, old.measured)
                new.places.put(new.key, new.pane, new.measured)
        return
    for old in before:
        old.places.take(old.key, old.pane, old.measured)
    for new in after:
        new.places.put(new.key, new.pane, new.measured)


def _note_order(note: Note) -> tuple[int, str, bytes]:
    """By time, then id; events that share both are told apart by what they say, so that arrival decides nothing."""
    return note[0], note[1], msgspec.msgpack.encode(note)


_moment = itemgetter(0, 1)


def _moment_of(view: FirstView) -> tuple[int, str]:
    return view.at, view.id


def _by_start(session: Session) -> tuple[int, str]:
    return session.start, session.first


def _expiry(subject: Subject | bytes) -> int:
    return decode_expiry(subject).expires if isinstance(subject, bytes) else subject.expires


def _brand(event: e.MentionPosted, site: Site) -> tuple[bool, str | None]:
    """Whether a mention is about the site itself, and the brand it counts for; None for a brand nobody configured."""
    if event.brand is None or event.brand.casefold() in site.own_brands:
        return True, site.brands[0] if site.brands else event.site
    return False, site.known_brands.get(event.brand.casefold())


def _read_headers(record: Record) -> int:
    """Receipt of a record that has headers; raises for an encoding that is not understood."""
    receipt = record.timestamp
    for name, value in record.headers:
        if name == RECEIPT_HEADER:
            receipt = int(value)
        elif _is_encoded(name, value):
            raise ValueError
    return receipt


def _is_encoded(name: str, value: bytes | None) -> bool:
    """Whether a header says that the value is not plain JSON; on the wire a header may be without a value."""
    return name.lower() == "content-encoding" and bool(value) and value.lower() != b"identity"  # type: ignore[union-attr]


def _explain(record: Record, topic: str) -> e.Rejected:
    for name, value in record.headers:
        if _is_encoded(name, value):
            words = value[:40].decode("utf-8", "replace")
            return e.Rejected(e.Reason.UNSUPPORTED_ENCODING, "$", f"the content-encoding {words!r} is not understood; send plain JSON", record.value or b"")
    return e.explain(record.value, topic)
