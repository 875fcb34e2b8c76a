"""What passes between the pure core and the shell around it: records in, one flush out."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

Headers = tuple[tuple[str, bytes], ...]
UNREADABLE_HEADER = "engage-unreadable"
"""Marks a record that Kafka's client could not read."""


class Record(Protocol):
    """One Kafka record as the transport hands it over (aiokafka's light record, or a tuple in tests)."""

    @property
    def offset(self) -> int: ...
    @property
    def timestamp(self) -> int:
        """Milliseconds since the epoch: LogAppendTime on the event topics."""

    @property
    def key(self) -> bytes | None: ...
    @property
    def value(self) -> bytes | None: ...
    @property
    def headers(self) -> Sequence[tuple[str, bytes]]: ...


class Unreadable(NamedTuple):
    """A record of which no more is known than where it lies: a name of a header in its batch is no UTF-8."""

    offset: int
    timestamp: int
    key: None = None
    value: None = None
    headers: Headers = ((UNREADABLE_HEADER, b""),)


class Message(NamedTuple):
    """A record to be published. `topic` is the short name (`rollups`), without the prefix."""

    topic: str
    key: bytes | None
    value: bytes
    headers: Headers = ()
    partition: int | None = None


class Flush(NamedTuple):
    """All that one flush of one partition publishes, in the order in which it must become durable."""

    before: list[Message]
    """Acknowledged before the rows are written: events that are about to be counted as failed."""
    rows: list[tuple[bytes, bytes | None]]
    """One atomic record batch of the state topic; None deletes; the stamp is the last row."""
    after: list[Message]
    """Published once the rows are durable: partials and readings; repeats are harmless."""


class State(Protocol):
    """The state of one partition: a function of the log, pure and synchronous.

    `offsets` holds, per short topic name, the last offset applied. `apply` ignores records at or below it.
    """

    partition: int
    offsets: dict[str, int]
    seq: int
    """How many flushes this state has had since its log began."""
    unread: Collection[str]
    """Topics whose log holds more than was applied, as of the last tick: they are silent because nobody reads them, not because nobody speaks."""

    @property
    def changed(self) -> int:
        """Rows the next flush would write, about: it bounds the flush."""

    def load(self, rows: Iterable[tuple[bytes, bytes]]) -> None:
        """Take over the rows read from the state topic (the latest value of each key, in any order)."""

    def apply(self, topic: str, records: Sequence[Record]) -> int:
        """Apply one batch in offset order; returns how many records were new."""

    def tick(self, now: float) -> list[Message]:
        """What is to be published by the monotonic instant `now`, when nothing arrives; changes no rows of counts."""

    def flush(self) -> Flush | None:
        """Drain what changed since the last flush; None when nothing did. Never awaits, so rows and stamp agree."""

    def snapshot(self) -> Flush:
        """As `flush`, but always with at least the stamp (proves that the owner may still write)."""

    def status(self) -> Mapping[str, Any]:
        """What people and tests may know of it: counts, and how much is held."""
