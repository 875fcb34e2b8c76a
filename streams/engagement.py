"""Fold facts into rows: the catalogue, compiled once, and the pane rows of one partition.

Between two flushes facts are collected in *cells*, one per full label set and pane; a flush spreads each cell over the
rows of its groupings and pane sizes. So an event touches one cell, however many rows its measures are read from.
"""

from collections.abc import Callable, Iterator
from operator import itemgetter
from typing import Any, NamedTuple

import msgspec

from streams.aggregates import MANTISSA_BITS, Cell, Slot
from streams.facts import FACTS, Fact
from streams.kpis import KPIS, Kpi
from streams.panes import GRACE, Pane, day_start
from streams.sites import Sites

CellKey = tuple[Any, ...]
"""(site, pane start, label values in the fact's order)."""
RowKey = tuple[Any, ...]
"""(site, pane start, label values of the grouping)."""


class Family:
    """Everything that follows from the catalogue for one fact type: its slots, its groupings, and how a fact is added.

    `state(cell, fact)` and `withdraw(cell, fact)` add and take back one fact; both are generated, because the loop over
    events can afford one call, not one per slot.
    """

    def __init__(self, fact: Fact, kpis: tuple[Kpi, ...]) -> None:
        self.fact = fact
        self.kpis = kpis
        self.slots: list[Slot[Any]] = []
        self.slot_names: list[str] = []
        self.indices: dict[str, tuple[int, ...]] = {}
        for kpi in kpis:
            self.indices[kpi.name] = tuple(self._index(slot, f"{kpi.name}.{number}") for number, slot in enumerate(kpi.value.slots()))
        groupings = dict.fromkeys(grouping for kpi in kpis for grouping in kpi.by)
        self.groupings: tuple[tuple[str, ...], ...] = tuple(groupings)
        self.state = self._compile("+")
        self.withdraw = self._compile("-")
        self.add = self._compile_sum("+")
        """`add(into, cell)` adds one cell to another."""
        self.subtract = self._compile_sum("-")

    def _index(self, slot: Slot[Any], name: str) -> int:
        if slot not in self.slots:
            self.slots.append(slot)
            self.slot_names.append(name)
        return self.slots.index(slot)

    def _compile(self, sign: str) -> Callable[[Cell, Any], None]:
        lines = ["def fold(cell, fact):"]
        for index, slot in enumerate(self.slots):
            if slot.histogram:
                lines += [
                    f"    value = of{index}(fact); shift = value.bit_length() - {MANTISSA_BITS}",
                    f"    bucket = value if shift <= 0 else (shift << {MANTISSA_BITS - 1}) + (value >> shift)  # bucket_of, written out",
                    f"    histogram = cell[{index}]; left = histogram.get(bucket, 0) {sign} 1",
                    "    if left: histogram[bucket] = left",
                    "    else: del histogram[bucket]",
                ]
            else:
                lines.append(f"    cell[{index}] {sign}= " + ("1" if slot.of is None else f"of{index}(fact)"))
        names: dict[str, Any] = {f"of{index}": slot.of for index, slot in enumerate(self.slots)}
        return _define(lines, names)

    def _compile_sum(self, sign: str) -> Callable[[Cell, Cell], None]:
        lines = ["def fold(into, cell):"]
        for index, slot in enumerate(self.slots):
            if slot.histogram:
                lines += [
                    f"    histogram = into[{index}]",
                    f"    for bucket, count in cell[{index}].items():",
                    f"        left = histogram.get(bucket, 0) {sign} count",
                    "        if left: histogram[bucket] = left",
                    "        else: del histogram[bucket]",
                ]
            else:
                lines.append(f"    into[{index}] {sign}= cell[{index}]")
        return _define(lines, {})

    def empty(self) -> Cell:
        return [{} if slot.histogram else 0 for slot in self.slots]

    def arranged(self, cell: Cell, names: list[str]) -> Cell:
        """A stored cell in today's order of slots; slots the catalogue no longer has are dropped, new ones start at zero."""
        if names == self.slot_names:
            return cell
        stored = dict(zip(names, cell, strict=True))
        return [stored.get(name, value) for name, value in zip(self.slot_names, self.empty(), strict=True)]


def _define(lines: list[str], names: dict[str, Any]) -> Callable[[Cell, Any], None]:
    """The function `fold` of these lines; the text is ours: slot numbers only."""
    exec("\n".join(lines), names)
    fold: Callable[[Cell, Any], None] = names["fold"]
    return fold


def _compile_catalogue(kpis: tuple[Kpi, ...]) -> dict[type[Any], Family]:
    return {fact.type: Family(fact, used) for fact in FACTS if (used := tuple(kpi for kpi in kpis if kpi.value.fact is fact.type))}


FAMILIES = _compile_catalogue(KPIS)
FAMILY_BY_NAME = {family.fact.name: family for family in FAMILIES.values()}


class Row:
    """Counters of one label set and pane, cumulative over the log of this partition."""

    __slots__ = ("cell", "changed", "seq")

    def __init__(self, cell: Cell, seq: int = 0) -> None:
        self.cell = cell
        self.changed = False
        self.seq = seq


class Table:
    """The rows of one family, grouping and pane size in one partition."""

    def __init__(self, family: Family, grouping: tuple[str, ...], size: Pane) -> None:
        self.family = family
        self.grouping = grouping
        self.size = size
        self.name = (family.fact.name, int(size), ",".join(grouping))
        self.keep = GRACE[size] + family.fact.look_back
        places = tuple(2 + family.fact.labels.index(label) for label in grouping)
        self.pick: Callable[[CellKey], RowKey] = itemgetter(0, 1, *places)
        self._add = family.add
        self.rows: dict[RowKey, Row] = {}
        self.changed: list[tuple[RowKey, Row]] = []
        self.by_pane: dict[int, list[RowKey]] = {}
        self.horizon = 0
        """Panes that end at or before this have been dropped."""

    def add(self, key: CellKey, cell: Cell) -> None:
        """Spread a cell's difference to the row of its grouping; a pane that is no longer kept is left alone."""
        row_key = self.pick(key)
        row = self.rows.get(row_key)
        if row is None:
            if row_key[1] + self.size <= self.horizon:
                return
            row = self.put(row_key, Row(self.family.empty()))
        self._add(row.cell, cell)
        if not row.changed:
            row.changed = True
            self.changed.append((row_key, row))

    def put(self, key: RowKey, row: Row) -> Row:
        self.rows[key] = row
        self.by_pane.setdefault(key[1], []).append(key)
        return row

    def expire(self, watermark: int) -> Iterator[RowKey]:
        """Drop the rows no event can correct any more; yields their keys."""
        horizon = watermark - self.keep
        if horizon <= self.horizon:
            return
        self.horizon = horizon
        for start in [start for start in self.by_pane if start + self.size <= horizon]:
            for key in self.by_pane.pop(start):
                del self.rows[key]
                yield key


class Cells:
    """Differences of one family since the last flush: `fine` for all its pane sizes, `coarse` for day panes only."""

    __slots__ = ("coarse", "empty", "family", "fine", "state_fact", "withdraw_fact")

    def __init__(self, family: Family) -> None:
        self.family = family
        self.fine: dict[CellKey, Cell] = {}
        self.coarse: dict[CellKey, Cell] = {}
        self.empty = family.empty
        self.state_fact = family.state
        self.withdraw_fact = family.withdraw

    def state(self, key: CellKey, fact: object) -> None:
        cell = self.fine.get(key)
        if cell is None:
            cell = self.fine[key] = self.empty()
        self.state_fact(cell, fact)

    def withdraw(self, key: CellKey, fact: object) -> None:
        cell = self.fine.get(key)
        if cell is None:
            cell = self.fine[key] = self.empty()
        self.withdraw_fact(cell, fact)

    def state_coarse(self, key: CellKey, fact: object) -> None:
        """State a fact in its day pane only (`key` holds the day's start)."""
        self.state_fact(self.coarse.setdefault(key, self.empty()), fact)

    def withdraw_coarse(self, key: CellKey, fact: object) -> None:
        self.withdraw_fact(self.coarse.setdefault(key, self.empty()), fact)


class PartialRow(NamedTuple):
    """One changed row as it travels to the owner of its site: cumulative, so the receiver overwrites."""

    fact: str
    size: int
    grouping: str
    pane: int
    labels: tuple[str, ...]
    cell: Cell


class PaneRows:
    """All pane rows of one partition, and the cells that are about to change them."""

    def __init__(self, sites: Sites) -> None:
        self.sites = sites
        self.cells: dict[type[Any], Cells] = {fact_type: Cells(family) for fact_type, family in FAMILIES.items()}
        self.tables: dict[tuple[str, int, str], Table] = {}
        self._fine: dict[type[Any], list[Table]] = {}
        self._days: dict[type[Any], list[Table]] = {}
        for fact_type, family in FAMILIES.items():
            tables = [Table(family, grouping, size) for size in family.fact.panes for grouping in family.groupings]
            self.tables.update((table.name, table) for table in tables)
            self._fine[fact_type] = [table for table in tables if table.size is family.fact.panes[0]]
            self._days[fact_type] = [table for table in tables if table.size is Pane.DAY and table.size is not family.fact.panes[0]]

    def spread(self) -> None:
        """Move the collected differences from the cells to the rows."""
        for fact_type, cells in self.cells.items():
            if not cells.fine and not cells.coarse:
                continue
            days = self._days[fact_type]
            coarse = cells.coarse
            family_add = cells.family.add
            for key, cell in cells.fine.items():
                for table in self._fine[fact_type]:
                    table.add(key, cell)
                if days:
                    day_key = (key[0], day_start(key[1], self.sites[key[0]].zone), *key[2:])
                    day_cell = coarse.get(day_key)
                    if day_cell is None:
                        day_cell = coarse[day_key] = cells.empty()
                    family_add(day_cell, cell)
            for key, cell in coarse.items():
                for table in days:
                    table.add(key, cell)
            cells.fine = {}
            cells.coarse = {}

    def drain(self, seq: int) -> tuple[list[tuple[bytes, bytes | None]], dict[str, list[PartialRow]]]:
        """Rows changed since the last call: encoded for the state topic, and as partials by site."""
        self.spread()
        encoded: list[tuple[bytes, bytes | None]] = []
        partials: dict[str, list[PartialRow]] = {}
        for table in self.tables.values():
            if not table.changed:
                continue
            fact, size, grouping = table.name
            for key, row in table.changed:
                row.changed = False
                row.seq = seq
                encoded.append((encode_row_key(table.name, key), encode_value((seq, row.cell))))
                partials.setdefault(key[0], []).append(PartialRow(fact, size, grouping, key[1], key[2:], row.cell))
            table.changed.clear()
        return encoded, partials

    def expire(self, watermarks: dict[str, int]) -> Iterator[bytes]:
        """Drop rows behind the grace and look-back of their topics; yields the keys of their state rows."""
        for table in self.tables.values():
            known = [watermarks[topic] for topic in table.family.fact.topics if topic in watermarks]
            if known:
                for key in table.expire(min(known)):
                    yield encode_row_key(table.name, key)

    def load(self, key: bytes, value: bytes, layout: dict[str, list[str]], published: int) -> None:
        """Take over one row; one whose partial may not have been published is published again by the next flush."""
        fact, size, grouping, *row_key = decode_json(key[1:])
        table = self.tables.get((fact, size, grouping))
        if table is None:
            return  # the catalogue no longer counts this
        seq, cell = decode_value(value)
        row = table.put(tuple(row_key), Row(table.family.arranged(cell, layout.get(fact, table.family.slot_names)), seq))
        if seq > published:
            row.changed = True
            table.changed.append((tuple(row_key), row))

    def has_changes(self) -> bool:
        return any(table.changed for table in self.tables.values())

    def count(self) -> int:
        return sum(len(table.rows) for table in self.tables.values())


ROW = b"p"


def encode_row_key(table: tuple[str, int, str], key: RowKey) -> bytes:
    return ROW + encode_json((*table, *key))


encode_json = msgspec.json.Encoder().encode
decode_json = msgspec.json.Decoder().decode
encode_value = msgspec.msgpack.Encoder().encode
decode_value = msgspec.msgpack.Decoder(tuple[int, list[int | dict[int, int]]]).decode


def layout() -> dict[str, list[str]]:
    """Names of the slots of every fact type, in the order in which rows hold them; stored with the rows."""
    return {family.fact.name: family.slot_names for family in FAMILIES.values()}
