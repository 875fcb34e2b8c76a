"""What was acknowledged and Kafka does not have yet: a bounded queue on disk, an SQLite file that is synced before anyone is told.

One row is what one request brought, in order of arrival. A row leaves only after Kafka has it, so nothing is lost by kill -9 or a power cut;
what was sent and not yet deleted is sent once more, with the same ids.
"""

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from streams.flow import Message

FILE: Final = "spool.sqlite"
FORMAT: Final = 1
"""Number of the layout, kept in the file."""
ROW_BYTES: Final = 64
"""What a row takes beside its content, about."""

_SIZE: Final = "SELECT count(*), coalesce(sum(events), 0), coalesce(sum(length(messages)), 0) FROM spool"


class SpoolError(RuntimeError):
    """The spool cannot be opened; the text says what to do."""


class SpoolFullError(RuntimeError):
    """There is no room: nothing of it was kept."""


class Spooled(NamedTuple):
    """Some rows from the front of the queue."""

    last: int
    """Number of the last one: `forget` it once Kafka has them."""
    rows: int
    messages: list[Message]


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[Message]).decode


class Spool:
    """Not thread-safe: all calls from one thread at a time. `used`, `room`, `rows` and `events` may be read from anywhere."""

    def __init__(self, directory: Path, limit: int) -> None:
        self.limit = limit
        self.path = directory / FILE
        try:
            directory.mkdir(parents=True, exist_ok=True)
            self._file = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False)
        except (OSError, sqlite3.Error) as error:
            raise SpoolError(f"The spool {self.path} cannot be opened ({error}); ENGAGE_COLLECTOR_SPOOL names a directory that may be written.") from None
        try:
            self._open()
        except sqlite3.Error as error:
            self._file.close()
            if "locked" in str(error):
                raise SpoolError(f"Another process uses the spool {self.path}; give every collector its own ENGAGE_COLLECTOR_SPOOL.") from None
            raise SpoolError(f"The spool {self.path} cannot be used ({error}); move it away if it is no longer needed.") from None

    def _open(self) -> None:
        execute = self._file.execute
        execute("PRAGMA busy_timeout = 1000")
        execute("PRAGMA locking_mode = EXCLUSIVE")
        execute("PRAGMA journal_mode = WAL")
        execute("PRAGMA synchronous = FULL")  # every commit is on the disk before it returns
        execute("PRAGMA journal_size_limit = 4194304")
        (version,) = execute("PRAGMA user_version").fetchone()
        if version not in (0, FORMAT):
            raise sqlite3.DatabaseError(f"it has format {version}, this version writes {FORMAT}")
        # AUTOINCREMENT: a number that was forgotten is never given again, whatever was left in between.
        execute("CREATE TABLE IF NOT EXISTS spool (number INTEGER PRIMARY KEY AUTOINCREMENT, events INTEGER NOT NULL, messages BLOB NOT NULL)")
        execute(f"PRAGMA user_version = {FORMAT}")
        self.rows, self.events, size = execute(_SIZE).fetchone()
        self.used: int = size + self.rows * ROW_BYTES

    @property
    def room(self) -> int:
        """Bytes that may still be kept, rows included."""
        return self.limit - self.used

    def append(self, groups: Iterable[Sequence[Message]]) -> None:
        """Keep what some requests brought, all in one commit; on return it is on the disk. Raises SpoolFullError, and then nothing was kept."""
        rows = [(len(group), _encode(group)) for group in groups]
        size = sum(len(content) + ROW_BYTES for _, content in rows)
        if size > self.room:
            raise SpoolFullError(f"{self.used:,} of {self.limit:,} bytes are used")
        try:
            with self._transaction():
                self._file.executemany("INSERT INTO spool (events, messages) VALUES (?, ?)", rows)
        except sqlite3.Error as error:  # the disk is full or gone
            raise SpoolFullError(str(error)) from None
        self.used += size
        self.rows += len(rows)
        self.events += sum(events for events, _ in rows)

    def front(self, size: int) -> Spooled | None:
        """The oldest rows, at least one and about `size` bytes of them; None where there is none."""
        taken, last, messages = 0, 0, list[Message]()
        rows = 0
        for number, content in self._file.execute("SELECT number, messages FROM spool ORDER BY number"):
            if rows and taken + len(content) > size:
                break
            messages += _decode(content)
            last, rows, taken = number, rows + 1, taken + len(content)
        return Spooled(last, rows, messages) if rows else None

    def forget(self, last: int, left: Sequence[Message] = ()) -> None:
        """Delete all rows up to this one: Kafka has them, save the messages `left`, which take their place.

        Raises sqlite3.Error when the disk refuses, and then all are still there.
        """
        content = _encode(left) if left else b""
        with self._transaction():
            rows, events, size = self._file.execute(f"{_SIZE} WHERE number <= ?", (last,)).fetchone()
            self._file.execute("DELETE FROM spool WHERE number <= ?", (last,))
            if left:
                self._file.execute("INSERT INTO spool (number, events, messages) VALUES (?, ?, ?)", (last, len(left), content))
        self.rows += bool(left) - rows
        self.events += len(left) - events
        self.used += len(content) - size + (bool(left) - rows) * ROW_BYTES

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._file.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._file.execute("COMMIT")
        except BaseException:
            if self._file.in_transaction:
                self._file.execute("ROLLBACK")
            raise

    def close(self) -> None:
        self._file.close()
