"""A partition that also judges the sites it owns: rule states and the outbox of alerts live in the same atomic batch as the counts.

Nothing leaves before it is durable: a transition goes to the topic `alerts` after the rows of its flush, and the outbox is
shown to the notifier once the following flush has begun, which proves that the one before was acknowledged. After a
restart what was not delivered is shown again, with the same id; what fires is known, so nothing pages twice and nothing
stays open.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache, partial
from typing import Any, NamedTuple

import msgspec
from msgspec.structs import replace

from alerts import detection
from alerts.baselines import usual
from alerts.conditions import Absent, Detect
from alerts.evaluation import (
    INACTIVE,
    MAX_ALERT_AGE,
    RUNBOOKS,
    Alert,
    Measured,
    Standing,
    Transition,
    escalate,
    explained,
    firing_alert,
    is_of,
    is_over,
    measure,
    resolved,
    step,
    told_more,
    unescalated,
)
from alerts.rules import Rule, RuleSet
from streams.events import millis
from streams.flow import Flush, Message
from streams.panes import MINUTE
from streams.partition import Partition
from streams.readings import AlertState
from streams.rollups import FAMILY_OF, SiteBook, pane_size_of
from streams.sites import Sites
from streams.windows import Live, Span

ALERTS = "alerts"
STANDING_ROW, OUTBOX_ROW, DETECTION_ROW = b"a/", b"o/", b"d/"
GRAVITY: tuple[AlertState, ...] = ("normal", "learning", "firing")
"""Of what is said of one label set, the last of these counts."""
STEPS = 15
"""Minutes of event time between two ticks that are judged one by one; of a longer gap only the last of them."""

END_REPEATED = 15 * MINUTE
"""How long the end of an alert is said again: an Alertmanager that is killed before it could tell of it has forgotten it."""

Entry = tuple[str, Transition]
"""Id and transition of an alert in the outbox."""
Key = tuple[str, tuple[str, ...]]
"""Rule and label values."""
Standings = dict[Key, Standing]


class Instant(NamedTuple):
    """When a site is judged (ms)."""

    at: int
    """The minute of event time,"""
    since: int
    """since when the site is observed,"""
    wall: int
    """and the wall time."""


class Watch(Partition):
    """State of a partition with rules over its sites. `clock` gives wall time in ms: it decides only what is too old to be sent."""

    def __init__(
        self, partition: int, partitions: int, sites: Sites | None = None, *, rules: RuleSet, clock: Callable[[], int], runbooks: str = RUNBOOKS
    ) -> None:
        super().__init__(partition, partitions, sites)
        self.rules = rules
        self.clock = clock
        self.runbooks = runbooks
        self._standings: defaultdict[str, Standings] = defaultdict(dict)
        self._detections: defaultdict[str, dict[Key, detection.AnyDetection]] = defaultdict(dict)
        self._undetected: dict[tuple[str, str], int] = {}
        """By site and rule, label sets beyond those that may have a detector."""
        self._judged: dict[str, tuple[int, int]] = {}
        """By site, the minutes of event time since when and up to which it is judged. Late events make older panes; they are no observation."""
        self._latest: dict[str, Alert] = {}
        """Firing alerts as last measured, by id."""
        self._outbox: dict[Entry, Alert] = {}
        self._durable: set[Entry] = set()
        self._drained: list[Entry] = []
        """Entries of the flush before: durable when the next one begins."""
        self._rows: dict[bytes, bytes | None] = {}
        self._messages: list[Message] = []
        self._judge_all = False

    # --- what a notifier, a collector and a page ask -----------------------------------------------------------------

    def outbox(self) -> list[Alert]:
        """Transitions that people must be told, durable and not yet delivered, oldest first."""
        return sorted(
            (self._outbox[entry] for entry in self._durable), key=lambda alert: (alert.ended or alert.escalated or alert.started, alert.id, alert.state)
        )

    def delivered(self, id_: str, transition: Transition) -> None:
        """Every notifier has it: forgotten by the next flush."""
        entry = (id_, transition)
        if entry in self._durable:
            self._durable.remove(entry)
            del self._outbox[entry]
            self._rows[_outbox_key(entry)] = None

    def alerts(self) -> list[Alert]:
        """Everything that fires, as last measured, whether or not people were told."""
        return [self._as_measured(standing.alert) for standing in self._all() if standing.phase == "firing" and standing.alert is not None]

    def known(self) -> list[Alert]:
        """Everything that fires, and the last that ended of each label set while its cooldown, at least an hour, lasts."""
        return [self._as_measured(standing.alert) for standing in self._all() if standing.alert is not None]

    def resends(self) -> list[Alert]:
        """What fires, and what ended lately, of what people were told, once that is durable: Alertmanager forgets it unless it is said again and again."""
        horizon = self.clock() - END_REPEATED
        standing_now = [standing for standing in self._all() if standing.sent and (standing.phase == "firing" or standing.ended >= horizon)]
        told = [_as_told(self._as_measured(standing.alert), standing) for standing in standing_now if standing.alert is not None]
        return [alert for alert in told if (alert.id, alert.transition) not in self._outbox.keys() - self._durable]

    def _as_measured(self, alert: Alert) -> Alert:
        return self._latest.get(alert.id, alert)

    def _all(self) -> Iterator[Standing]:
        for standings in self._standings.values():
            yield from standings.values()

    def detectors(self) -> dict[str, int]:
        """How many label sets detectors look at, by what they say, and how many are `over_limit` and have none."""
        states = [found.finding.state for of_site in self._detections.values() for found in of_site.values()]
        return {state: states.count(state) for state in GRAVITY} | {"over_limit": sum(self._undetected.values())}

    def use(self, rules: RuleSet) -> None:
        """Put other rules in force: from the next tick on; alerts whose rule has gone, or identifies them differently, are resolved."""
        if rules != self.rules:
            self.rules = rules
            self._undetected.clear()
            self._judge_all = True

    # --- State -------------------------------------------------------------------------------------------------------

    @property
    def changed(self) -> int:
        return super().changed + len(self._rows)

    def tick(self, now: float) -> list[Message]:
        """Readings that changed by the monotonic instant `now`; then the sites whose readings or clock moved are judged."""
        corrected = {name: {series.family.fact.name for series in book.series.values() if series.stale} for name, book in self.rollups.books.items()}
        messages = super().tick(now)
        wall = self.clock()
        for name, book in self.rollups.books.items():
            self._judge(book, wall, corrected[name])
        self._judge_all = False
        return messages

    def flush(self) -> Flush | None:
        flush = super().flush()
        if flush is None and (self._rows or self._messages or self._drained):
            return self.snapshot()
        return flush

    def snapshot(self) -> Flush:
        self._durable.update(entry for entry in self._drained if entry in self._outbox)
        before, rows, after = super().snapshot()
        rows, messages = [*rows[:-1], *self._rows.items(), rows[-1]], [*after, *self._messages]
        self._drained = [entry for entry in self._outbox if entry not in self._durable]
        self._rows, self._messages = {}, []
        return Flush(before, rows, messages)

    def load(self, rows: Iterable[tuple[bytes, bytes]]) -> None:
        all_rows = list(rows)
        super().load(all_rows)
        for key, value in all_rows:
            if key.startswith(STANDING_ROW):
                site, *names = msgspec.json.decode(key[len(STANDING_ROW) :], type=list[str])
                if not names:
                    self._judged[site] = msgspec.msgpack.decode(value, type=tuple[int, int])
                    continue
                standing = self._standings[site][names[0], tuple(names[1:])] = _decode_standing(value)
                if standing.alert is not None:  # its message may not have left before the crash; the topic keeps the last of each id
                    self._messages.append(_message(standing.alert))
            elif key.startswith(DETECTION_ROW):
                if (found := detection.decode(value)) is None:
                    self._rows[key] = None
                    continue
                site, name, *labels = msgspec.json.decode(key[len(DETECTION_ROW) :], type=list[str])
                self._detections[site][name, tuple(labels)] = found
            elif key.startswith(OUTBOX_ROW):
                alert = _decode_alert(value)
                self._outbox[alert.id, alert.transition] = alert
                self._durable.add((alert.id, alert.transition))
        for book in self.rollups.books.values():
            self._mark(book)

    def status(self) -> dict[str, Any]:
        phases = [standing.phase for standing in self._all()]
        counted = {"firing": phases.count("firing"), "pending": phases.count("pending"), "outbox": len(self._outbox)}
        return {**super().status(), "alerts": counted, "detectors": self.detectors()}

    # --- judging -----------------------------------------------------------------------------------------------------

    def _judge(self, book: SiteBook, wall: int, corrected: set[str]) -> None:
        """Judge a site minute by minute up to its watermark; the last minute again where facts in a window were corrected."""
        at = book.watermark - book.watermark % MINUTE
        since, judged = self._judged.get(book.name, (at, 0))
        standings, rules = self._standings[book.name], self.rules.of_site(book.name)
        self._retire(book.name, standings, rules, max(at, judged))
        if at <= 0 or at < judged or (at == judged and not corrected and not self._judge_all):
            return
        if at == judged and not self._judge_all:
            rules = tuple(rule for rule in rules if FAMILY_OF[rule.kpi.name].fact.name in corrected)
        label_sets, now = _label_sets(book), Instant(at, since, wall)
        if at != judged or self._judge_all:
            silences = cache(partial(detection.silences, book, end=detection.reached(book)))
            for rule in rules:
                if isinstance(rule.condition, Detect):
                    self._detect(book, rule, _kept(book, rule, label_sets), now, silences)
        rules = tuple(rule for rule in rules if not isinstance(rule.condition, Detect))
        for minute in range(min(at, max(judged + MINUTE, at - (STEPS - 1) * MINUTE)), at + MINUTE, MINUTE):
            for rule in rules:
                kept = _kept(book, rule, label_sets)
                for values in kept:
                    self._judge_one(book, rule, values, now._replace(at=minute), is_last=minute == at)
                if not isinstance(rule.condition, Absent):  # what is no longer kept says nothing any more; of `absent` that is the point
                    for name, values in [key for key in standings if key[0] == rule.name and key[1] not in kept]:
                        self._end(book.name, name, values, minute)
        self._mark(book)
        if at != judged:
            self._judged[book.name] = (since, at)
            # Not worth a flush of its own where nothing else changed: it goes with the next.
            if not judged or any(standing.phase != "inactive" for standing in standings.values()) or self.rollups.changed_books or self._rows:
                self._rows[_site_key(book.name)] = _encode((since, at))

    def _detect(self, book: SiteBook, rule: Rule, kept: list[tuple[str, ...]], now: Instant, silences: Callable[[int], Sequence[Span]]) -> None:
        """Feed a rule's detectors the panes that are complete, and follow what each of them says, pane by pane."""
        detections, until = self._detections[book.name], detection.reached(book)
        of_rule = {values for name, values in detections if name == rule.name}
        room = detection.MAX_DETECTIONS - len(of_rule.intersection(kept))
        self._undetected[book.name, rule.name] = max(0, len(kept) - detection.MAX_DETECTIONS)
        for values in kept:
            if room > 0 and values not in of_rule and (begun := detection.begin(self.rollups, rule, book.name, values, now.at, now.since)) is not None:
                detections[rule.name, values] = begun
                room -= 1
        idle = sorted(of_rule.difference(kept), key=lambda values: (detections[rule.name, values].last, values))
        for place, values in enumerate(idle):
            if len(idle) - place > room or until - detections[rule.name, values].last > detection.REMEMBERED:
                self._forget_detection(book.name, (rule.name, values))
        for name, values in [key for key in self._standings[book.name] if key[0] == rule.name and key not in detections]:
            self._end(book.name, name, values, now.at)
        for values in sorted(values for name, values in detections if name == rule.name):
            found = detections[rule.name, values]
            is_behind = isinstance(found, detection.CountDetection) and until - found.next >= detection.SILENCE
            unknown = silences(found.next) if is_behind else ()
            before = found.next
            for minute, measured in detection.advance(self.rollups, rule, book.name, values, found, until, unknown):
                self._settle(book, rule, values, measured, now._replace(at=minute))
            if found.next != before:
                self._rows[_detection_key(book.name, rule.name, values)] = detection.encode(found)

    def _forget_detection(self, site: str, key: Key) -> None:
        del self._detections[site][key]
        self._rows[_detection_key(site, *key)] = None

    def _mark(self, book: SiteBook) -> None:
        """Tell the readings what detectors say of them, and which of them an alert that fires is about."""
        by_name = {rule.name: rule for rule in self.rules.of_site(book.name)}
        said: dict[tuple[str, tuple[str, ...], tuple[str, ...]], tuple[AlertState, int | None]] = {}
        for (name, values), found in self._detections[book.name].items():
            if name not in by_name:
                continue
            of = (found.kpi, by_name[name].by, values)
            said[of] = max(said.get(of, ("normal", None)), (found.finding.state, found.finding.learning_until), key=lambda one: GRAVITY.index(one[0]))
        for standing in self._standings[book.name].values():
            if standing.phase == "firing" and (alert := standing.alert) is not None:
                said[alert.kpi, tuple(alert.dimensions), tuple(alert.dimensions.values())] = ("firing", None)
        if said != book.said:
            book.say(said)

    def _judge_one(self, book: SiteBook, rule: Rule, values: tuple[str, ...], now: Instant, *, is_last: bool) -> None:
        live = None
        if isinstance(rule.window, Live):
            if not is_last:
                return
            live = book.published.get((rule.kpi.name, rule.by, values, rule.window))
        self._settle(book, rule, values, measure(self.rollups, rule, book.name, values, now.at, now.since, live), now)

    def _settle(self, book: SiteBook, rule: Rule, values: tuple[str, ...], measured: Measured, now: Instant) -> None:
        """What follows from what a rule saw of a label set at an instant."""
        standings, key, at = self._standings[book.name], (rule.name, values), now.at
        old = standings.get(key, INACTIVE)
        new, transition = step(old, rule, measured.verdict, at)
        if new.phase == "firing":
            new = escalate(new, rule, measured, at)
            new = self._firing(book.name, rule, values, new, measured, now, is_transition=transition is not None)
        elif transition == "resolved" and old.alert is not None:
            final = resolved(self._measured_alert(book.name, rule, values, old, measured), at)
            new = replace(new, alert=final, sent=old.sent, raised=old.raised)
            self._close(final, old)
        if is_over(new, rule, at):
            if standings.pop(key, None) is not None:
                self._rows[_standing_key(book.name, *key)] = None
        elif new is not old and new != old:
            self._keep(book.name, key, new)

    def _firing(self, site: str, rule: Rule, values: tuple[str, ...], new: Standing, measured: Measured, now: Instant, *, is_transition: bool) -> Standing:
        rises = new.escalated > 0 and new.alert is not None and new.alert.escalated is None
        if (new.alert is None or rises) and measured.window is not None:
            alert = self._first_alert(site, rule, values, new, measured, millis(measured.window.start), now.since)
        elif measured.verdict == "insufficient" and not is_transition:
            return new
        else:
            alert = self._measured_alert(site, rule, values, new, measured)
        self._latest[alert.id] = alert
        # What is still true when a catch-up reaches the present is sent then.
        untold = not new.sent or (new.escalated > 0 and not new.raised)
        tell = untold and measured.verdict == "breach" and now.wall - now.at <= MAX_ALERT_AGE
        if is_transition or rises or tell:
            self._messages.append(_message(alert))
            new = replace(new, alert=alert, sent=new.sent or tell, raised=new.raised or (tell and new.escalated > 0))
        if tell:
            self._put((alert.id, alert.transition), alert)
        return new

    def _first_alert(self, site: str, rule: Rule, values: tuple[str, ...], new: Standing, measured: Measured, start: int, since: int) -> Alert:
        """The alert as it fires, or as its severity rises, with what is usual and why."""
        days = None
        if measured.finding is not None:
            before: float | None = detection.usual_of(rule, measured.finding)
            days = detection.recurrence(self._detections[site][rule.name, values])
        else:
            length = rule.condition.length if isinstance(rule.condition, Absent) else rule.window
            before = usual(self.rollups, site, rule.kpi, rule.by, values, length, start, since)
        explanation = explained(self.rollups, rule, site, values, new, measured, before, days)
        return firing_alert(rule, site, values, new, measured, before, self.runbooks, explanation)

    def _measured_alert(self, site: str, rule: Rule, values: tuple[str, ...], standing: Standing, measured: Measured) -> Alert:
        """A firing alert with today's figures and the baseline of the moment it fired."""
        assert standing.alert is not None
        if measured.window is None:
            return self._as_measured(standing.alert)
        before = standing.alert.usual if measured.finding is None else detection.usual_of(rule, measured.finding)
        explanation = self._as_measured(standing.alert).explanation
        if explanation is not None:
            explanation = told_more(self.rollups, rule, site, explanation, millis(measured.window.end))
        fresh = firing_alert(rule, site, values, standing, measured, before, self.runbooks, explanation)
        return replace(fresh, id=standing.alert.id, labels=standing.alert.labels)

    def _retire(self, site: str, standings: Standings, rules: tuple[Rule, ...], at: int) -> None:
        """End what no rule in force is about."""
        by_name = {rule.name: rule for rule in rules}
        for (name, values), standing in list(standings.items()):
            rule, alert = by_name.get(name), standing.alert
            if rule is None or not rule.admits(site, values) or (alert and not is_of(alert, rule, site, values)):
                self._end(site, name, values, at)
        for (name, values), found in list(self._detections[site].items()):
            rule = by_name.get(name)
            if rule is None or not rule.admits(site, values) or not detection.fits(found, rule) or not detection.is_fed(rule, self.rollups.sites[site]):
                self._forget_detection(site, (name, values))

    def _end(self, site: str, name: str, values: tuple[str, ...], at: int) -> None:
        standing = self._standings[site].pop((name, values))
        self._rows[_standing_key(site, name, values)] = None
        if standing.phase == "firing" and standing.alert is not None:
            self._close(resolved(self._as_measured(standing.alert), at), standing)

    def _close(self, alert: Alert, standing: Standing) -> None:
        self._latest.pop(alert.id, None)
        self._messages.append(_message(alert))
        if standing.sent:
            self._put((alert.id, "resolved"), _as_told(alert, standing))

    def _put(self, entry: Entry, alert: Alert) -> None:
        self._outbox[entry] = alert
        self._rows[_outbox_key(entry)] = _encode(alert)

    def _keep(self, site: str, key: tuple[str, tuple[str, ...]], standing: Standing) -> None:
        self._standings[site][key] = standing
        self._rows[_standing_key(site, *key)] = _encode(standing)


def _as_told(alert: Alert, standing: Standing) -> Alert:
    return alert if standing.raised else unescalated(alert)


def _label_sets(book: SiteBook) -> dict[tuple[str, int, tuple[str, ...]], list[tuple[str, ...]]]:
    """Label values by fact, pane size and grouping, sorted: the order of transitions must not depend on that of arrival."""
    found: dict[tuple[str, int, tuple[str, ...]], list[tuple[str, ...]]] = {}
    for fact, size, grouping, values in sorted(book.series):
        found.setdefault((fact, size, grouping), []).append(values)
    return found


def _kept(book: SiteBook, rule: Rule, label_sets: dict[tuple[str, int, tuple[str, ...]], list[tuple[str, ...]]]) -> list[tuple[str, ...]]:
    """The label sets of a site that a rule is about."""
    family = FAMILY_OF[rule.kpi.name]
    of_kind = label_sets.get((family.fact.name, int(pane_size_of(rule.window, family)), rule.by), ())
    return [values for values in of_kind if rule.admits(book.name, values)]


def _site_key(site: str) -> bytes:
    return STANDING_ROW + msgspec.json.encode([site])


def _standing_key(site: str, rule: str, values: tuple[str, ...]) -> bytes:
    return STANDING_ROW + msgspec.json.encode([site, rule, *values])


def _detection_key(site: str, rule: str, values: tuple[str, ...]) -> bytes:
    return DETECTION_ROW + msgspec.json.encode([site, rule, *values])


def _outbox_key(entry: Entry) -> bytes:
    return OUTBOX_ROW + "/".join(entry).encode()


def _message(alert: Alert) -> Message:
    return Message(ALERTS, alert.id.encode(), msgspec.json.encode(alert))


_encode = msgspec.msgpack.Encoder().encode
_decode_standing = msgspec.msgpack.Decoder(Standing).decode
_decode_alert = msgspec.msgpack.Decoder(Alert).decode
