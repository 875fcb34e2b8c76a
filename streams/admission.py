"""Who gets in: what makes two events the same, which agents are bots, and the counters that account for every record."""

from array import array
from collections.abc import Iterable, Iterator

import msgspec
from crawleruseragents import is_crawler

from streams.events import Event
from streams.panes import GRACE, MINUTE, Pane
from streams.rows import ID_ROW
from streams.sites import Site
from streams.subjects import Subject

Counts = dict[str, dict[str, int]]
"""Per topic: `received`, `applied`, `late`, `duplicate`, `bot`, `failed.<reason>`, `refused.<reason>`, `flag.<name>`."""

VERDICTS = ("applied", "late", "duplicate", "bot", "failed", "refused")
"""What becomes of an event: exactly one of these."""
FLAGS = (
    "clamped", "partly_late", "truncated", "misrouted", "unjoined", "expired_correction", "repeated_order", "refund_cut", "currency_mismatch", "notes_dropped",
)  # fmt: skip
REFUSALS = ("erased", "no_consent")


def add(counts: dict[str, int], name: str, number: int = 1) -> None:
    if number:
        counts[name] = counts.get(name, 0) + number


def unaccounted(counts: dict[str, int]) -> int:
    """received − (applied + late + duplicate + bot + failed + refused): anything but 0 is a defect."""
    verdicts = sum(number for name, number in counts.items() if name.partition(".")[0] in VERDICTS)
    return counts.get("received", 0) - verdicts


def allows(site: Site, purpose: str, event: Event, subject: Subject | None, at: int) -> bool:
    """Whether a subject consents to a purpose at the time of an event: by the event itself, else by its last change, else by the site's default."""
    own = getattr(event.consent, purpose) if event.consent is not None else None
    if own is not None:
        return bool(own)
    default = getattr(site.consent, purpose)
    return subject.allows(purpose, at, event.id, default) if subject is not None else bool(default)


BOT_VERDICTS_KEPT = 20_000


class BotFilter:
    """Verdicts on user agents by the crawler-user-agents list; an empty agent is no bot."""

    def __init__(self) -> None:
        self.verdicts: dict[str, bool] = {"": False}

    def judge(self, user_agent: str) -> bool:
        """Verdict on an agent not seen before (look in `verdicts` first)."""
        if len(self.verdicts) >= BOT_VERDICTS_KEPT:
            self.verdicts = {"": False}
        verdict = self.verdicts[user_agent] = bool(is_crawler(user_agent))
        return verdict


IDS_HELD = 500_000
GENERATIONS = 8
"""Least number of generations that the ids held are spread over."""
GENERATION_SPAN = 10 * MINUTE


class _Generation:
    """Ids remembered together: they expire together."""

    def __init__(self) -> None:
        self.ids = array("Q")
        self.newest: dict[str, int] = {}
        """Newest event time of these ids, by topic."""
        self.rows: list[bytes] = []
        """Keys of the state rows that hold them."""


class _IdRow(msgspec.Struct, array_like=True):
    ids: bytes
    newest: dict[str, int]
    closed: bool = False
    """Whether these are all ids of a generation that takes no more."""


_encode_ids = msgspec.msgpack.Encoder().encode
_decode_ids = msgspec.msgpack.Decoder(_IdRow).decode


class SeenIds:
    """Identities of events already judged: 8 days of event time, at most 500,000 per partition.

    Ids are 64-bit hashes, written once per flush; every ten minutes of event time their rows are merged into one. When the
    number binds, the oldest generation goes, and `horizon` (by topic) is the event time up to which events are now late,
    so that nothing is counted twice.
    """

    def __init__(self, most: int = IDS_HELD) -> None:
        self.most = most
        self.ids: set[int] = set()
        self.fresh: list[int] = []
        """Ids added since the last flush, in order."""
        self.newest: dict[str, int] = {}
        """Newest event time among the fresh ids, by topic."""
        self.horizon: dict[str, int] = {}
        self._closed: list[_Generation] = []
        self._open = _Generation()
        self._opened_at: dict[str, int] = {}

    def drain(self, seq: int, watermarks: dict[str, int]) -> Iterator[tuple[bytes, bytes | None]]:
        """State rows for the ids added since the last call, and tombstones of what was merged or has expired."""
        if self.fresh:
            key = ID_ROW + b"%d" % seq
            ids = array("Q", self.fresh)
            yield key, _encode_ids(_IdRow(ids.tobytes(), self.newest))
            self._remember(key, ids, self.newest)
            self.fresh.clear()
            self.newest = {}
            if self._is_full():
                yield from self._close()
        yield from self._expire(watermarks)

    def _remember(self, key: bytes, ids: "array[int]", newest: dict[str, int]) -> None:
        generation = self._open
        generation.rows.append(key)
        generation.ids.extend(ids)
        for topic, at in newest.items():
            generation.newest[topic] = max(at, generation.newest.get(topic, at))
            self._opened_at.setdefault(topic, at)

    def _is_full(self) -> bool:
        return len(self._open.ids) >= self.most // GENERATIONS or self._span() >= GENERATION_SPAN

    def _span(self) -> int:
        return max((at - self._opened_at[topic] for topic, at in self._open.newest.items()), default=0)

    def _close(self) -> Iterator[tuple[bytes, bytes | None]]:
        """Merge the rows of the open generation into the first of them."""
        generation, self._open, self._opened_at = self._open, _Generation(), {}
        if len(generation.rows) > 1:
            first, *others = generation.rows
            yield first, _encode_ids(_IdRow(generation.ids.tobytes(), generation.newest, closed=True))
            for key in others:
                yield key, None
            generation.rows = [first]
        self._closed.append(generation)

    def _expire(self, watermarks: dict[str, int]) -> Iterator[tuple[bytes, bytes | None]]:
        held = len(self.ids)
        while self._closed:
            oldest = self._closed[0]
            outlived = all(at < watermarks.get(topic, at) - GRACE[Pane.DAY] for topic, at in oldest.newest.items())
            if not outlived and held <= self.most:
                return
            if not outlived:
                for topic, at in oldest.newest.items():
                    self.horizon[topic] = max(at, self.horizon.get(topic, at))
            self._closed.pop(0)
            self.ids.difference_update(oldest.ids)
            held = len(self.ids)
            for key in oldest.rows:
                yield key, None

    def load(self, rows: Iterable[tuple[bytes, bytes]]) -> None:
        """Take over the id rows of the state topic."""
        for key, value in sorted(rows, key=lambda row: int(row[0][len(ID_ROW) :])):
            row = _decode_ids(value)
            ids = array("Q", row.ids)
            self.ids.update(ids)
            self._remember(key, ids, row.newest)
            if row.closed or self._is_full():
                self._closed.append(self._open)
                self._open, self._opened_at = _Generation(), {}

    def held_since(self) -> dict[str, int]:
        """Newest event time of the oldest ids held, by topic: how far back duplicates are recognised."""
        oldest = self._closed[0] if self._closed else self._open
        return dict(oldest.newest)
