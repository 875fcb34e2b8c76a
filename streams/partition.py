"""The whole state of one partition: intake of its events and rollups of its sites, one stamp for both.

A function of the log: rows and stamp are drained together, so whoever loads them goes on right behind the stamp.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any

import msgspec

from streams.admission import Counts, unaccounted
from streams.engagement import PartialSeries, layout
from streams.events import DECODERS
from streams.flow import Flush, Message, Record
from streams.intake import Intake
from streams.panes import DAY, IDLE_SECONDS, MINUTE, WATERMARK_DELAY
from streams.rollups import Partial, Rollups, encode_partial
from streams.rows import STAMP
from streams.sites import Sites

ROLLUPS = "rollups"
ROWS_PER_PARTIAL = 500
TELL_SECONDS = 15.0
"""How often, at most, the owners of the sites are told what negative texts say: each time the whole quarter hour."""


class Partition:
    """State of partition `partition` of `partitions` (implements flow.State)."""

    def __init__(self, partition: int, partitions: int, sites: Sites | None = None) -> None:
        self.partition = partition
        self.sites = sites or Sites()
        self.intake = Intake(partition, partitions, self.sites)
        self.rollups = Rollups(self.sites)
        self.offsets: dict[str, int] = {}
        self.seq = 0
        self.unread: Collection[str] = ()
        self._published = 0
        self._moved = False
        self._minute = 0
        """Minute of event time of the last flush."""
        self._sites: dict[str, int] = {}
        """Minute in which each site last had a partial with rows."""
        self._now: float | None = None
        self._told = 0.0
        """When (monotonic seconds) the owners of the sites were last told of grams."""
        self._heard: dict[str, float] = {}
        """When (monotonic seconds) each event topic last brought a record."""

    @property
    def changed(self) -> int:
        """Rows the next flush would write, at least."""
        return self.intake.changed + self.rollups.changed_rows

    def apply(self, topic: str, records: Sequence[Record]) -> int:
        """Apply what is new of a batch; returns how many records were."""
        last = self.offsets.get(topic, -1)
        if records and records[0].offset <= last:
            records = [record for record in records if record.offset > last]
        if not records:
            return 0
        if topic in DECODERS:
            self.intake.apply(topic, records)
            if self._now is not None:
                self._heard[topic] = self._now
        else:
            self.rollups.apply(record.value for record in records if record.value is not None)
        self.offsets[topic] = records[-1].offset
        self._moved = True
        return len(records)

    def watermark(self) -> int:
        """Event time up to which this partition has been read: topics silent for 30 s do not hold it back, unless they wait to be read."""
        newest = self.intake.newest
        now = self._now
        active = [at for topic, at in newest.items() if now is None or topic in self.unread or now - self._heard.get(topic, now) < IDLE_SECONDS]
        return (min(active) if active else max(newest.values(), default=0)) - WATERMARK_DELAY

    def tick(self, now: float) -> list[Message]:
        """Readings that changed by the monotonic instant `now`; changes no counts."""
        self._now = now
        for topic in self.intake.newest:
            self._heard.setdefault(topic, now)
        return self.rollups.tick(now)

    def flush(self) -> Flush | None:
        return self.snapshot() if self._moved or self.rollups.changed or self.intake.rows.has_changes() or self._tells() else None

    def _tells(self) -> bool:
        """Whether grams wait to be told, and it is time."""
        return self.intake.grams.waits and (self._now is None or self._now - self._told >= TELL_SECONDS)

    def snapshot(self) -> Flush:
        self.seq += 1
        self._moved = False
        rows, partials = self.intake.drain(self.seq)
        rows += self.rollups.drain()
        failed, self.intake.failed = self.intake.failed, []
        # The partials of the flush before were acknowledged before this one began.
        rows.append((STAMP, _encode(self._stamp())))
        if not self.intake.rows.unpublished:
            self._published = self.seq
        watermark = self.watermark()
        said = self._say(watermark)
        after = [
            Message(ROLLUPS, site.encode(), encode_partial(Partial(site, self.partition, self.seq, watermark, some)))
            for site, changed in partials.items()
            for some in _portions(changed)
        ]
        after += [
            Message(ROLLUPS, site.encode(), encode_partial(Partial(site, self.partition, self.seq, watermark, []))) for site in self._quiet(partials, watermark)
        ]
        return Flush(failed, rows, after + said)

    def _say(self, watermark: int) -> list[Message]:
        """What negative texts say, where it is time to tell it; each quarter hour of a site is a message of its own, as it may be large."""
        if not self._tells():
            return []
        told = self.intake.grams.tell(self.seq)
        if self._now is not None and not self.intake.grams.waits:
            self._told = self._now
        return [Message(ROLLUPS, site.encode(), encode_partial(Partial(site, self.partition, self.seq, watermark, series))) for site, series in told]

    def _quiet(self, partials: Collection[str], watermark: int) -> list[str]:
        """With every new minute the sites that had something within a day and have nothing new: their owner waits for the clock alone."""
        minute = watermark // MINUTE
        self._sites |= dict.fromkeys(partials, minute)
        if minute == self._minute:
            return []
        self._minute = minute
        self._sites = {site: last for site, last in self._sites.items() if last > minute - DAY // MINUTE}
        return [site for site in self._sites if site not in partials]

    def _stamp(self) -> dict[str, Any]:
        return {
            "seq": self.seq, "offsets": self.offsets, "published": self._published, "told": self.intake.grams.told, "layout": layout(),
            "intake": self.intake.stamp(),
        }  # fmt: skip

    def load(self, rows: Iterable[tuple[bytes, bytes]]) -> None:
        all_rows = list(rows)
        stamp = next((msgspec.msgpack.decode(value) for key, value in all_rows if key == STAMP), None)
        if stamp is None:
            return
        self.seq = stamp["seq"]
        self.offsets = stamp["offsets"]
        # Rows of another version are arranged anew, and published anew: nobody took what that version said of them.
        self._published = stamp["published"] if stamp["layout"] == layout() else -1
        self.intake.load(all_rows, stamp["intake"], stamp["layout"], self._published, stamp.get("told", 0))
        self.rollups.load(all_rows, stamp["layout"])
        self._sites = dict.fromkeys((site for table in self.intake.rows.tables.values() for site, _ in table.series), self.watermark() // MINUTE)

    def accounting(self) -> Counts:
        """Counters of every topic since its log began."""
        return self.intake.counts

    def status(self) -> dict[str, Any]:
        """For people and tests: counters, what is unaccounted (must be 0), and how much is held."""
        return {
            "counts": self.intake.counts, "unaccounted": sum(map(unaccounted, self.intake.counts.values())),
            "newest": self.intake.newest, "subjects": len(self.intake.subjects.known),
            "pane_rows": self.intake.rows.count(), "rollup_rows": self.rollups.count(), "ids": len(self.intake.seen.ids),
            "grams": self.intake.grams.count(),
        }  # fmt: skip


def _portions(changed: list[PartialSeries]) -> Iterator[list[PartialSeries]]:
    """The series in lists of at most 500 rows, so that no message grows too large."""
    some: list[PartialSeries] = []
    room = ROWS_PER_PARTIAL
    for series in changed:
        if len(series.panes) < room:
            some.append(series)
            room -= len(series.panes)
            continue
        panes = list(series.panes.items())
        while panes:
            some.append(series._replace(panes=dict(panes[:room])))
            panes, room = panes[room:], room - len(some[-1].panes)
            if not room:
                yield some
                some, room = [], ROWS_PER_PARTIAL
    if some:
        yield some


_encode = msgspec.msgpack.Encoder().encode
