"""Replay of recorded events through the same core that runs on Kafka: routing, receipt without a wall clock, end of input.

`Router` says where a line belongs and when it was received; `Replay` runs all partitions in this process, flush by flush,
with the partials carried to the owners of their sites; `final_readings` says everything that was counted in the end.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import islice
from typing import Any, NamedTuple, TypeVar

import msgspec

from streams import events as e
from streams.admission import Counts, add, unaccounted
from streams.flow import Flush, Headers, Record
from streams.intake import RECEIPT_HEADER
from streams.panes import AHEAD_OF_RECEIPT, HOUR, Pane, pane_end
from streams.partition import ROLLUPS, Partition
from streams.readings import Reading, published
from streams.rollups import Rollups, SiteBook
from streams.sites import Sites
from streams.topics import partition_of

CHUNK = 2_000
"""Lines between two flushes."""
TOPIC_ORDER = ("customers", "website", "social", "reviews")
"""Inside a chunk consent and identity come before what depends on them."""
INSTANTS = ("at", "sent_at", "received_at", "due_at")

T = TypeVar("T")


class Routed(NamedTuple):
    """A line, where it belongs, and when it happened and was received (ms)."""

    topic: str
    partition: int
    key: bytes | None
    value: bytes
    at: int | None
    """Event time; None for a line that will be refused."""
    receipt: int

    @property
    def headers(self) -> Headers:
        """What a record on Kafka must carry to be judged as here: its receipt, as its timestamp is that of the replay."""
        return () if self.key is None else ((RECEIPT_HEADER, b"%d" % self.receipt),)


class Router:
    """Topic, key, partition and receipt of one line after the other.

    The receipt of an event is the newest event time so far of its topic and partition, its own included, so no clock is
    needed and none repairs anything.
    """

    def __init__(self, partitions: int) -> None:
        self.partitions = partitions
        self.newest: dict[tuple[str, int], int] = {}

    def route(self, line: bytes) -> Routed:
        event = e.decode(line)
        if isinstance(event, e.Rejected):
            topic = _named_topic(line)
            partition = partition_of(line, self.partitions)
            return Routed(topic, partition, None, line, None, self.newest.get((topic, partition), 0))
        key = e.key_of(event).encode()
        place = (event.topic, partition_of(key, self.partitions))
        newest = self.newest.get(place, 0)
        at = e.event_time(event, newest)
        if at is None:  # it says no time, and nothing before it does
            return Routed(*place, key, line, None, newest)
        if at > newest and (event.received_at is None or at <= e.millis(event.received_at) + AHEAD_OF_RECEIPT):
            newest = self.newest[place] = at
        return Routed(*place, key, line, at, newest if event.received_at is None else e.millis(event.received_at))


class _Named(msgspec.Struct):
    type: Any = None


_decode_named = msgspec.json.Decoder(_Named).decode


def _named_topic(line: bytes) -> str:
    """The topic of a line that is no event: that of the type it names, else `website`; it is counted as failed there."""
    try:
        name = _decode_named(line).type
    except (msgspec.MsgspecError, ValueError, RecursionError):
        name = None
    struct = e.TYPES.get(name) if isinstance(name, str) else None
    return "website" if struct is None else struct.topic


def shifted(line: bytes, by: int) -> bytes:
    """The line with its instants moved by so many milliseconds; a line that is no event stays as it is."""
    if isinstance(e.decode(line), e.Rejected):
        return line
    fields: dict[str, Any] = msgspec.json.decode(line)
    for name in INSTANTS:
        value = fields.get(name)
        if isinstance(value, int):
            fields[name] = value + by
        elif isinstance(value, str):
            instant = msgspec.convert(value, datetime)
            fields[name] = (instant + timedelta(milliseconds=by)).isoformat()
    return msgspec.json.encode(fields)


def chunked(items: Iterable[T], size: int = CHUNK) -> Iterator[list[T]]:
    iterator = iter(items)
    while chunk := list(islice(iterator, size)):
        yield chunk


class _Record(NamedTuple):
    """A record as the core sees it."""

    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]] = ()


class Replay:
    """All partitions in one process. `feed` lines, then read `readings()` and `accounting()`."""

    def __init__(self, sites: Sites | None = None, partitions: int = 8) -> None:
        self.sites = sites or Sites()
        self.router = Router(partitions)
        self.partitions = [Partition(partition, partitions, self.sites) for partition in range(partitions)]
        self._next: dict[tuple[str, int], int] = {}
        """Next offset per topic and partition."""

    def feed(self, lines: Iterable[bytes], chunk: int = CHUNK) -> "Replay":
        """Apply lines, flushing every `chunk` of them."""
        for some in chunked(lines, chunk):
            self._apply(some)
            self._flush()
        return self

    def _apply(self, lines: Iterable[bytes]) -> None:
        """Topic by topic, as a poll of Kafka hands them over, but never further ahead in one topic than an hour of event time."""
        batches: dict[tuple[str, int], list[_Record]] = {}
        since: int | None = None
        for line in lines:
            routed = self.router.route(line)
            if since is None or routed.at is None:
                since = since or routed.at
            elif routed.at - since > HOUR:
                self._hand_over(batches)
                batches, since = {}, routed.at
            place = (routed.topic, routed.partition)
            batches.setdefault(place, []).append(self._record(place, routed.receipt, routed.key, routed.value))
        self._hand_over(batches)

    def _hand_over(self, batches: Mapping[tuple[str, int], Sequence[Record]]) -> None:
        for (topic, partition), records in sorted(batches.items(), key=lambda batch: TOPIC_ORDER.index(batch[0][0])):
            self.partitions[partition].apply(topic, records)

    def _record(self, place: tuple[str, int], timestamp: int, key: bytes | None, value: bytes) -> _Record:
        offset = self._next.get(place, 0)
        self._next[place] = offset + 1
        return _Record(offset, timestamp, key, value)

    def _flush(self) -> None:
        """Flush every partition and carry what it counted to the owners of the sites."""
        for flush in [partition.flush() for partition in self.partitions]:
            if flush is not None:
                self._carry(flush)

    def _carry(self, flush: Flush) -> None:
        for message in flush.after:
            if message.topic == ROLLUPS and message.key is not None:
                owner = partition_of(message.key, len(self.partitions))
                self.partitions[owner].apply(ROLLUPS, [self._record((ROLLUPS, owner), 0, message.key, message.value)])

    def readings(self, sizes: Sequence[Pane] = tuple(Pane)) -> Iterator[Reading]:
        """Everything counted, as of the end of the input."""
        for partition in self.partitions:
            yield from final_readings(partition.rollups, sizes)

    def accounting(self) -> dict[str, int]:
        """Counters over all topics and partitions, with `unaccounted` (0, else a defect)."""
        return accounting(partition.accounting() for partition in self.partitions)


def accounting(counters: Iterable[Counts]) -> dict[str, int]:
    """The sum of the counters of partitions, with what they leave unaccounted."""
    total: dict[str, int] = {"received": 0}
    for counts in counters:
        for of_topic in counts.values():
            for name, number in of_topic.items():
                add(total, name, number)
    return {**total, "unaccounted": unaccounted(total)}


def final_readings(rollups: Rollups, sizes: Sequence[Pane] = tuple(Pane)) -> Iterator[Reading]:
    """All readings of a partition's sites at the end of input: every pane with a fact, then every window as it stands then.

    The watermark moves to the end of each site's last pane, and all panes count as matured, so nothing is left unread.
    What has no data is left out, and a window that is also a pane or another window is said once. `sizes` limits the panes, not the windows.
    """
    found = [reading for book in rollups.books.values() for reading in _windows(rollups, book)]
    found.sort(key=lambda reading: not isinstance(reading.length, int))  # of 24 hours and a day that coincide the day holds more: what came late
    windows = {_identity(reading): reading for reading in found}
    for reading in rollups.pane_readings(sizes):
        if reading.state != "no_data" and _identity(reading) not in windows:
            yield reading
    yield from windows.values()


def _windows(rollups: Rollups, book: SiteBook) -> Iterator[Reading]:
    zone = rollups.sites[book.name].zone
    counted = [(series, pane) for series in book.series.values() for pane, cell in series.panes.items() if any(cell)]
    book.watermark = max((pane_end(pane, series.size, zone) for series, pane in counted), default=0)
    for reading in rollups.readings(book, book.watermark, book.newest, matured=True):
        if reading.state != "no_data":
            yield reading


def _identity(reading: Reading) -> tuple[Any, ...]:
    return (reading.kpi, reading.site, *reading.dimensions.items(), reading.window.start, reading.window.end)


def encode_reading(reading: Reading) -> bytes:
    """A published reading as one line of JSON."""
    return _encode(published(reading)) + b"\n"


_encode = msgspec.json.Encoder().encode
