"""Small helpers for tests of the core: events as dicts, records of them, and what a partition has counted."""

from collections.abc import Iterable
from itertools import count
from typing import Any, NamedTuple

import msgspec

from streams.aggregates import is_empty
from streams.engagement import decode_json, decode_value
from streams.events import TYPES
from streams.examples import EXAMPLES
from streams.intake import Intake
from streams.partition import Partition
from streams.readings import Reading
from streams.rows import STAMP
from streams.sites import Sites

T0 = 1_772_409_600_000
"""2026-03-02 00:00 UTC, a Monday."""
S, M, H, D = 1_000, 60_000, 3_600_000, 86_400_000
_ids = count()


class Rec(NamedTuple):
    offset: int
    timestamp: int
    value: bytes | None
    key: bytes | None = None
    headers: tuple[tuple[str, bytes | None], ...] = ()


def event(kind: str, at: int, **fields: Any) -> dict[str, Any]:
    """A valid event of a type with a new id; `None` takes a field away."""
    merged = {**EXAMPLES[kind], "id": f"e{next(_ids)}", "at": at, **fields}
    return {name: value for name, value in merged.items() if value is not None}


def view(at: int, **fields: Any) -> dict[str, Any]:
    return event("page_viewed", at, **{"visitor": "v1", "path": "/", "channel": None, "referrer": None, "campaign": None, **fields})


def topic_of(wire: dict[str, Any]) -> str:
    return TYPES[wire["type"]].topic


def record(offset: int, wire: dict[str, Any] | bytes | None, timestamp: int | None = None, headers: tuple[tuple[str, bytes | None], ...] = ()) -> Rec:
    value = msgspec.json.encode(wire) if isinstance(wire, dict) else wire
    if timestamp is None:
        timestamp = wire["at"] if isinstance(wire, dict) and isinstance(wire.get("at"), int) else T0
    return Rec(offset, timestamp, value, None, headers)


def intake(*wires: dict[str, Any], sites: Sites | None = None) -> Intake:
    """An intake that has applied these events, each on its topic, in this order."""
    state = Intake(0, 1, sites or Sites())
    feed(state, wires)
    return state


def feed(state: Intake, wires: Iterable[dict[str, Any]]) -> None:
    offset = sum(counts.get("received", 0) for counts in state.counts.values())
    for number, wire in enumerate(wires):
        state.apply(topic_of(wire), [record(offset + number, wire)])


def totals(state: Intake) -> dict[str, int]:
    """Counters over all topics, without `received`."""
    total: dict[str, int] = {}
    for counts in state.counts.values():
        for name, number in counts.items():
            if name != "received" and number:
                total[name] = total.get(name, 0) + number
    return total


def pane_rows(state: Intake) -> dict[tuple[Any, ...], list[Any]]:
    """All pane rows that count something: (fact, size, grouping, site, pane, labels…) → slots."""
    state.drain(10**6)
    return {
        (*name, site, pane, *labels): row.cell
        for name, table in state.rows.tables.items()
        for (site, labels), series in table.series.items()
        for pane, row in series.rows.items()
        if not is_empty(row.cell)
    }


def stored_panes(rows: dict[bytes, bytes]) -> dict[tuple[Any, ...], list[Any]]:
    """The same from state rows."""
    panes = {tuple(decode_json(key[1:])): decode_value(value)[1] for key, value in rows.items() if key[:1] == b"p"}
    return {key: cell for key, cell in panes.items() if not is_empty(cell)}


def store(rows: dict[bytes, bytes], flush: Any) -> None:
    """What a compacted topic holds after one more flush."""
    if flush is None:
        return
    for key, value in flush.rows:
        if value is None:
            rows.pop(key, None)
        else:
            rows[key] = value


def stamp(rows: dict[bytes, bytes]) -> Any:
    return msgspec.msgpack.decode(rows[STAMP])


def readings(partition: Partition, watermark: int) -> list[Reading]:
    """Every reading of every site as of a watermark, without those that have no data."""
    found = [
        reading
        for book in partition.rollups.books.values()
        for reading in partition.rollups.readings(book, watermark, book.newest)
        if reading.state != "no_data"
    ]
    return sorted(found, key=repr)
