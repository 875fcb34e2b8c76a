"""The way of one event: from a record of an event topic to the facts of its subject.

`Intake.apply` is that way, read from top to bottom: decode, repair the time, drop what is late, seen before, or sent by a
bot, check consent, then let the followers take the subject through it and state facts. The verdict on an event depends only
on the log, so a restart gives the same one.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from xxhash import xxh3_64_intdigest

from streams import cloudevents
from streams import events as e
from streams.admission import BotFilter, Counts, SeenIds, add, allows
from streams.engagement import PartialSeries
from streams.flow import UNREADABLE_HEADER, Message, Record
from streams.followers import website
from streams.followers.notes import Notes
from streams.followers.voices import Voices
from streams.followers.website import Website
from streams.grams import Grams
from streams.learner import Learner
from streams.ledger import DAYS_ONLY, FINE, QUARTERS, Ledger
from streams.panes import AHEAD_OF_RECEIPT, DAY, GRACE, HOUR, TOO_OLD, WATERMARK_DELAY, Pane
from streams.rows import GRAM_ROW, ID_ROW, LABEL_ROW, LEARNER_ROW, PANE_ROW, SUBJECT_ROW
from streams.sites import Sites
from streams.subjects import ConsentChange, Subject, Subjects, decode_subject
from streams.topics import partition_of

RECEIPT_HEADER = "engage-receipt"
"""Receipt (ms) of a replayed event, in place of the record's timestamp."""
MISROUTED_SAMPLE = 64
NEVER_LATE = (e.ConsentChanged, e.EraseRequested, e.CustomerIdentified)
CARRIERS = frozenset(event for event in e.EVENT_TYPES if event not in website.EVENTS and not event.site_level and event not in NEVER_LATE)
"""Events whose segment sessions take up, beside those that make sessions."""

Follow = Callable[[Any, str, Subject | None, int, int], None]
"""What a type of event does to its subject: (event, key, state of the subject or None, event time, how late)."""


class Intake:
    """What one partition of the four event topics adds up to. `counts` and `newest` go into the stamp."""

    def __init__(self, partition: int, partitions: int, sites: Sites) -> None:
        self.partition = partition
        self.partitions = partitions
        self.sites = sites
        self.seen = SeenIds()
        self.bots = BotFilter()
        self.counts: Counts = {}
        self.newest: dict[str, int] = {}
        """Newest event time per topic (clamped events never move it); the watermark is 5 s behind."""
        self.failed: list[Message] = []
        self.subjects = Subjects()
        self.ledger = Ledger(sites)
        self.rows = self.ledger.rows
        self.notes = Notes(self.ledger, self.subjects, self.newest, self.counts)
        self.website = Website(self.ledger, self.subjects, self.notes.note_first_view)
        self.grams = Grams(sites)
        self.learner = Learner()
        voices = Voices(self.ledger, self.subjects, self.newest, self.counts, self.grams, self.learner)
        self._must_ask = not all(site.consent.analytics for site in (sites.default, *sites.named.values()))
        """Whether some site does not take consent to analytics for granted."""
        self._swept = 0
        self._heard: set[str] = set()
        self._follow: dict[type[e.Event], Follow] = dict.fromkeys(website.EVENTS, self.website.note) | {
            e.MentionPosted: voices.follow_mention,
            e.ReviewPosted: voices.follow_review,
            e.SurveyAnswered: voices.follow_text,
            e.TicketOpened: voices.follow_text,
            e.InteractionMade: voices.follow_text,
            e.CommunityPosted: voices.follow_text,
            e.ConsentChanged: self._follow_consent,
            e.EraseRequested: self._follow_erasure,
        }

    @property
    def changed(self) -> int:
        """Rows the next flush would write, at least."""
        return len(self.subjects.changed) + len(self.website.pending) + self.rows.changed() + self.grams.changed + self.learner.changed

    # --- the way of one event ----------------------------------------------------------------------------------------

    def apply(self, topic: str, records: Sequence[Record]) -> None:
        """Judge and count each record, in offset order."""
        decode = e.DECODERS[topic]
        counts = self.counts.setdefault(topic, {})
        seen, fresh, verdicts, follow_by_type = self.seen.ids, self.seen.fresh, self.bots.verdicts, self._follow
        subjects, must_ask, names, digest, noted = self.subjects.known, self._must_ask, e.NAMES, xxh3_64_intdigest, self.notes.events
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
                    receipt, value = _read_headers(record)
                if value is None or len(value) > largest:
                    raise ValueError
                event: Any = decode(value)
            except Exception:  # whatever a hostile value raises, `explain` names it
                self._fail(topic, record, _refused(record, topic))
                continue
            subject_name = subject_of(event)
            if subject_name is None:
                self._fail(topic, record, e.explain(value, topic))
                continue
            # repair the time
            if event.received_at is not None:
                receipt = e.millis(event.received_at)
            sent = event.at
            at: int | None = receipt
            if sent is not None:
                if type(sent) is not int:
                    sent = e.millis(sent)
                at = sent if event.sent_at is None else e.event_time(event)
            if at is None or not earliest <= at < latest:
                self._fail(topic, record, e.explain(value, topic, receipt))
                continue
            clamped = at > receipt + AHEAD_OF_RECEIPT
            if clamped:
                if receipt < earliest:
                    reason = "The event is ahead of its receipt, and that lies before 1990."
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
                    self._fail(topic, record, e.Rejected(e.Reason.TOO_OLD, "$.at", "The event is more than 400 days behind the watermark.", value or b""))
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
            if isinstance(known, bytes):
                known = subjects[key] = decode_subject(known)
            subject: Subject | None = known
            if subject is not None and at > subject.expires:  # forgotten, whether or not a sweep has come by
                subject = self._forget_expired(key, at)
            if event.consent is not None or must_ask or (subject is not None and (subject.consent or subject.erased is not None)):
                refusal = self._refusal(event, key, subject, at)
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
            if kind in noted:
                self.notes.tell(event, key, at, level)
            if event.segment is not None and kind in CARRIERS:
                self.website.note_segment(event, key, at)
        if latest_id:
            self.seen.newest[topic] = latest_id
        add(counts, "received", len(records))
        add(counts, "applied", applied)
        add(counts, "duplicate", duplicate)

    def _fail(self, topic: str, record: Record, rejected: e.Rejected) -> None:
        """Count a failed event and keep it with its reason and its original bytes, key and headers."""
        add(self.counts[topic], f"failed.{rejected.reason}")
        headers = (
            *e.failure_headers(rejected, topic),
            ("engage-partition", b"%d" % self.partition),
            ("engage-offset", b"%d" % record.offset),
            ("engage-timestamp", b"%d" % record.timestamp),
        )
        self.failed.append(Message("failed", record.key, record.value or b"", (*headers, *record.headers)))

    def _refusal(self, event: e.Event, key: str, subject: Subject | None, at: int) -> str | None:
        """Why an event must not be counted although it is well formed. What was said about consent is known as long as events ask for it."""
        if isinstance(event, e.ConsentChanged | e.EraseRequested):
            return None
        if subject is not None and subject.erased is not None and at < subject.erased + TOO_OLD:
            return "refused.erased"
        if event.analytics and not allows(self.sites[event.site], "analytics", event, subject, at):
            if subject is not None and subject.consent and at + TOO_OLD >= subject.expires + DAY:  # at most once a day: a flood of them writes little
                self.subjects.mark(key, subject, at).keep_until(at + TOO_OLD)
            return "refused.no_consent"
        return None

    def _flag(self, counts: dict[str, int], key: str, level: int, clamped: bool, event: e.Event) -> None:
        if level and type(event) not in NEVER_LATE:
            add(counts, "flag.partly_late")
        if clamped:
            add(counts, "flag.clamped")
        if partition_of(key.encode(), self.partitions) != self.partition:
            add(counts, "flag.misrouted")

    def _forget_expired(self, key: str, at: int) -> Subject:
        """The subject as an event beyond its expiry finds it: new, unless what is still pending keeps it."""
        self._settle(key)
        subject = self.subjects.get(key)
        return self.subjects.forget(key) if subject is None or at > subject.expires else subject

    def _settle(self, key: str) -> None:
        """Follow one subject through all it did since the last flush."""
        self.website.settle_subject(key)
        self.notes.settle_subject(key)

    def _follow_consent(self, event: e.ConsentChanged, key: str, subject: Subject | None, at: int, _level: int) -> None:
        subject = self.subjects.mark(key, subject, at)
        subject.note_consent(ConsentChange(at, event.id, event.purpose, event.granted))
        if event.purpose == "analytics" and event.granted and subject.erased is not None and at > subject.erased:
            subject.erased = None

    def _follow_erasure(self, _event: e.EraseRequested, key: str, _subject: Subject | None, at: int, _level: int) -> None:
        self._settle(key)  # what came before is counted before it is forgotten
        self.subjects.mark(key, self.subjects.get(key), at).erase(at)

    # --- flush and recovery ------------------------------------------------------------------------------------------

    def drain(self, seq: int) -> tuple[list[tuple[bytes, bytes | None]], dict[str, list[PartialSeries]]]:
        """State rows and partials of all that changed since the last call."""
        self.website.settle(self.newest.get("website", 0) - WATERMARK_DELAY)
        self.notes.settle()
        rows = self.subjects.drain(self.notes.forget_some)
        pane_rows, partials = self.rows.drain(seq)
        rows += pane_rows
        rows += self.ledger.labels.drain()
        rows += self.grams.drain(seq)
        rows += self.learner.drain()
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
        for key in self.rows.expire(watermarks):
            yield key, None
        self.grams.expire(active)
        if new_day:
            yield from self.subjects.expire(now - GRACE[Pane.DAY])  # an event that is not late may still belong to a subject that expired before

    def stamp(self) -> dict[str, Any]:
        """What must be known besides the rows to go on as if nothing had happened."""
        return {
            "counts": self.counts, "newest": self.newest, "horizon": self.seen.horizon, "swept": self._swept, "heard": sorted(self._heard),
            "grams": self.grams.horizon,
            "horizons": [(*name, table.horizon) for name, table in self.rows.tables.items()],
        }  # fmt: skip

    def load(self, rows: Sequence[tuple[bytes, bytes]], stamp: dict[str, Any], layout: dict[str, list[str]], published: int, told: int = 0) -> None:
        """Take over rows of the state topic (subjects stay bytes until they are needed)."""
        self.counts.update(stamp["counts"])
        self.newest.update(stamp["newest"])
        self.website.begin_at(self.newest.get("website", 0) - WATERMARK_DELAY)
        self.seen.horizon = stamp["horizon"]
        self._swept = stamp["swept"]
        self._heard = set(stamp["heard"])
        for *name, horizon in stamp["horizons"]:
            table = self.rows.tables.get(tuple(name))
            if table is not None:
                table.horizon = horizon
        id_rows: list[tuple[bytes, bytes]] = []
        gram_rows: list[tuple[bytes, bytes]] = []
        learner_rows: list[tuple[bytes, bytes]] = []
        for key, value in rows:
            if key.startswith(SUBJECT_ROW):
                self.subjects.load(key, value)
            elif key.startswith(PANE_ROW):
                self.rows.load(key, value, layout, published)
            elif key.startswith(ID_ROW):
                id_rows.append((key, value))
            elif key.startswith(LABEL_ROW):
                self.ledger.labels.load(key, value)
            elif key.startswith(GRAM_ROW):
                gram_rows.append((key, value))
            elif key.startswith(LEARNER_ROW):
                learner_rows.append((key, value))
        self.seen.load(id_rows)
        self.grams.load(gram_rows, stamp.get("grams", 0), told)
        self.learner.load(learner_rows)


def _read_headers(record: Record) -> tuple[int, bytes | None]:
    """Receipt and event of a record that has headers; raises for what is not understood, `plain_value` says why."""
    receipt, wrapped = record.timestamp, False
    for name, value in record.headers:
        if name == RECEIPT_HEADER:
            receipt = int(value)
        elif _is_encoded(name, value) or name == UNREADABLE_HEADER:
            raise ValueError
        elif cloudevents.is_cloudevent(name, value):
            wrapped = True
    event = cloudevents.in_record(record.headers, record.value) if wrapped else record.value
    if isinstance(event, e.Rejected):
        raise ValueError
    return receipt, event


def _is_encoded(name: str, value: bytes | None) -> bool:
    """Whether a header says that the value is not plain JSON; on the wire a header may be without a value."""
    return name.lower() == "content-encoding" and value is not None and value.lower() not in (b"", b"identity")


def plain_value(headers: Sequence[tuple[str, bytes | None]], value: bytes | None) -> bytes | e.Rejected | None:
    """The event in a record as plain JSON: out of its CloudEvent where its headers say that it is one; Rejected where it cannot be read."""
    for name, encoding in headers:
        if name == UNREADABLE_HEADER:
            detail = "The name of a header in its record batch is not UTF-8, so the batch cannot be read; send header names in UTF-8."
            return e.Rejected(e.Reason.NOT_UTF8, "$", detail, value or b"")
        if _is_encoded(name, encoding):
            words = (encoding or b"")[:40].decode("utf-8", "replace")
            return e.Rejected(e.Reason.UNSUPPORTED_ENCODING, "$", f"The content-encoding {words!r} is not understood; send plain JSON.", value or b"")
    return cloudevents.in_record(headers, value) if any(cloudevents.is_cloudevent(*header) for header in headers) else value


def _refused(record: Record, topic: str) -> e.Rejected:
    """Why a record holds no event of the topic."""
    value = plain_value(record.headers, record.value) if record.headers else record.value
    return value if isinstance(value, e.Rejected) else e.explain(value, topic)
