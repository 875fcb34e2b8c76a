"""What passes between the pure core and the shell around it: records in, one flush out."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple, Protocol

Headers = tuple[tuple[str, bytes], ...]


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

    def load(self, rows: Iterable[tuple[bytes, bytes]]) -> None:
        """Take over the rows read from the state topic (the latest value of each key, in any order)."""

    def apply(self, topic: str, records: Sequence[Record]) -> int:
        """Apply one batch in offset order; returns how many records were new."""

    def flush(self) -> Flush | None:
        """Drain what changed since the last flush; None when nothing did. Never awaits, so rows and stamp agree."""

    def snapshot(self) -> Flush:
        """As `flush`, but always with at least the stamp (proves that the owner may still write)."""
