"""Fold facts into rows: the catalogue, compiled once, and the pane rows of one partition.

A fact credits one *series* for each grouping of its measures; a series holds a row per pane. Between two flushes only the
differences are kept; a flush adds them to the rows, and what a minute gained to its day.
"""

from collections.abc import Callable, Iterable, Iterator
from operator import itemgetter
from typing import Any, NamedTuple

import msgspec
from xxhash import xxh3_64_hexdigest

from streams.aggregates import MANTISSA_BITS, Cell, Slot
from streams.facts import FACTS, Fact
from streams.kpis import KPIS, Kpi
from streams.panes import GRACE, Pane, day_start, reached_by_all
from streams.rows import PANE_ROW
from streams.sites import Sites

Labels = tuple[str, ...]
Measured = tuple[int, ...]
"""What one fact adds to each slot: a number, or its bucket of a histogram."""


class Family:
    """Everything that follows from the catalogue for one fact type: its slots, its groupings, and how a fact is added.

    The functions on cells are generated, because the loop over events can afford one call, not one per slot:
    `measure(fact)` says what a fact adds, `put(cell, new)` adds it, `take(cell, old)` takes it back,
    `move(cell, old, new)` does both; `add(cell, other)`, `subtract(cell, other)` and `differ(old, new)` are for whole cells.
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
        self.groupings: tuple[Labels, ...] = tuple(groupings)
        self.measure: Callable[[Any], Measured] = self._compile_measure()
        self.put = self._compile("cell, new", ["cell[#] += new[#]"], _counted("new[#]", "+"))
        self.take = self._compile("cell, old", ["cell[#] -= old[#]"], _counted("old[#]", "-"))
        self.move = self._compile(
            "cell, old, new", ["cell[#] += new[#] - old[#]"], _inside("if new[#] != old[#]:", _counted("new[#]", "+") + _counted("old[#]", "-"))
        )
        self.add = self._compile("cell, other", ["cell[#] += other[#]"], _inside("for key, n in other[#].items():", _counted("key", "+", "n")))
        self.subtract = self._compile("cell, other", ["cell[#] -= other[#]"], _inside("for key, n in other[#].items():", _counted("key", "-", "n")))
        self.differ = self._compile_differ()
        self.empty: Callable[[], Cell] = _define("", [f"return [{', '.join('{}' if slot.histogram else '0' for slot in self.slots)}]"])

    def _index(self, slot: Slot[Any], name: str) -> int:
        if slot not in self.slots:
            self.slots.append(slot)
            self.slot_names.append(name)
        return self.slots.index(slot)

    def _compile_measure(self) -> Callable[[Any], Measured]:
        lines, values = [], []
        for index, slot in enumerate(self.slots):
            if slot.histogram:  # bucket_of, written out
                lines += [
                    f"value = of{index}(fact); shift = value.bit_length() - {MANTISSA_BITS}",
                    f"bucket{index} = value if shift <= 0 else (shift << {MANTISSA_BITS - 1}) + (value >> shift)",
                ]
            values.append(f"bucket{index}" if slot.histogram else "1" if slot.of is None else f"of{index}(fact)")
        functions = {f"of{index}": slot.of for index, slot in enumerate(self.slots)}
        return _define("fact", [*lines, f"return ({''.join(f'{value}, ' for value in values)})"], functions)

    def _compile(self, parameters: str, number: list[str], histogram: list[str]) -> Callable[..., None]:
        """A function that does the same to every slot; `#` stands for its index."""
        lines = [(str(index), line) for index, slot in enumerate(self.slots) for line in (histogram if slot.histogram else number)]
        return _define(parameters, [line.replace("#", index) for index, line in lines])

    def _compile_differ(self) -> Callable[[Cell, Cell], Cell]:
        histogram = (
            "{key: left for key, n in new[#].items() if (left := n - old[#].get(key, 0))} | {key: -old[#][key] for key in old[#].keys() - new[#].keys()}"
        )
        values = [(histogram if slot.histogram else "new[#] - old[#]").replace("#", str(index)) for index, slot in enumerate(self.slots)]
        return _define("old, new", [f"return [{', '.join(values)}]"])

    def arranged(self, cell: Cell, names: list[str]) -> Cell:
        """A stored cell in today's order of slots; slots the catalogue no longer has are dropped, new ones start at zero."""
        if names == self.slot_names:
            return cell
        stored = dict(zip(names, cell, strict=True))
        return [stored.get(name, value) for name, value in zip(self.slot_names, self.empty(), strict=True)]


def _counted(bucket: str, sign: str, number: str = "1") -> list[str]:
    """Lines that change one count of the histogram in slot `#`; a count of zero is no entry."""
    return [f"left = cell[#].get({bucket}, 0) {sign} {number}", f"if left: cell[#][{bucket}] = left", f"else: cell[#].pop({bucket}, None)"]


def _inside(head: str, lines: list[str]) -> list[str]:
    return [head, *(f"    {line}" for line in lines)]


def _define(parameters: str, lines: list[str], names: dict[str, Any] | None = None) -> Callable[..., Any]:
    """A function of these lines; the text is ours: slot numbers only."""
    scope = dict(names or {})
    exec("\n".join([f"def compiled({parameters}):", *(f"    {line}" for line in lines)]), scope)
    compiled: Callable[..., Any] = scope["compiled"]
    return compiled


def _compile_catalogue(kpis: tuple[Kpi, ...]) -> dict[type[Any], Family]:
    return {fact.type: Family(fact, used) for fact in FACTS if (used := tuple(kpi for kpi in kpis if kpi.value.fact is fact.type))}


FAMILIES = _compile_catalogue(KPIS)
FAMILY_BY_NAME = {family.fact.name: family for family in FAMILIES.values()}


class Row(msgspec.Struct, gc=False, eq=False):
    """Counters of one series and pane, cumulative over the log of this partition, and the flush that last changed them."""

    cell: Cell
    seq: int


class Series:
    """One label set of a grouping, in one pane size: its rows by the start of their pane, and what they gained since the last flush."""

    __slots__ = ("day", "fresh", "head", "labels", "rows", "site", "table", "tail")

    def __init__(self, table: "Table", site: str, labels: Labels, day: "Series | None") -> None:
        self.table = table
        self.site = site
        self.labels = labels
        self.day = day
        """The day series that takes over what this one gains."""
        self.rows: dict[int, Row] = {}
        self.fresh: dict[int, Cell] = {}
        self.head, self.tail = encode_key(PANE_ROW, (*table.name, site), labels)

    def open(self, pane: int) -> Cell:
        """The difference of a pane that has none yet."""
        table = self.table
        if not self.fresh:
            table.changed.append(self)
        table.opened += 1
        cell = self.fresh[pane] = table.family.empty()
        return cell

    def key(self, pane: int) -> bytes:
        return b"%b%d%b" % (self.head, pane, self.tail)


class Table:
    """The series of one family, grouping and pane size in one partition."""

    def __init__(self, family: Family, grouping: Labels, size: Pane, days: "Table | None") -> None:
        self.family = family
        self.grouping = grouping
        self.size = size
        self.days = days
        self.name = (family.fact.name, int(size), ",".join(grouping))
        self.keep = GRACE[size] + family.fact.look_back
        places = [1 + family.fact.labels.index(label) for label in grouping]
        self.pick: Callable[[tuple[str, ...]], Labels] = itemgetter(*places) if len(places) > 1 else lambda key: (key[places[0]],)
        """Values of the grouping's labels, from site and all labels of the fact."""
        self.series: dict[tuple[str, Labels], Series] = {}
        self.changed: list[Series] = []
        self.opened = 0
        """Panes that gained something since the last flush."""
        self.horizon = 0
        """Panes that end at or before this have been dropped."""

    def of(self, site: str, labels: Labels) -> Series:
        """The series of these values of the grouping's labels."""
        series = self.series.get((site, labels))
        if series is None:
            series = self.series[site, labels] = Series(self, site, labels, None if self.days is None else self.days.of(site, labels))
        return series

    def expire(self, watermark: int) -> Iterator[bytes]:
        """Drop the rows no event can correct any more; yields their keys."""
        horizon = watermark - self.keep
        if horizon <= self.horizon:
            return
        self.horizon = horizon
        last = horizon - self.size
        for series in self.series.values():
            for pane in [pane for pane in series.rows if pane <= last]:
                del series.rows[pane]
                yield series.key(pane)


PLACES_KEPT = 50_000
PUBLISHED_AGAIN = 10_000
"""Rows per flush, at most: a flush is bounded."""


class Places(dict[tuple[str, ...], tuple[Series, ...]]):
    """By site and all labels of a fact type: the series that such a fact credits, one for each grouping."""

    def __init__(self, family: Family, tables: Iterable[Table]) -> None:
        super().__init__()
        self.family = family
        self.names = family.fact.labels
        self.finest = family.fact.panes[0]
        self.tables = tuple(tables)

    def __missing__(self, key: tuple[str, ...]) -> tuple[Series, ...]:
        if len(self) >= PLACES_KEPT:
            self.clear()
        place = self[key] = tuple([table.of(key[0], table.pick(key)) for table in self.tables])
        return place

    def state(self, key: tuple[str, ...], pane: int, fact: Any) -> None:
        """Add a fact to its pane in every series it credits."""
        self.put(key, pane, self.family.measure(fact))

    def withdraw(self, key: tuple[str, ...], pane: int, fact: Any) -> None:
        """Take a fact back."""
        self.take(key, pane, self.family.measure(fact))

    def put(self, key: tuple[str, ...], pane: int, new: Measured) -> None:
        put = self.family.put
        for series in self[key]:
            put(series.fresh.get(pane) or series.open(pane), new)

    def take(self, key: tuple[str, ...], pane: int, old: Measured) -> None:
        take = self.family.take
        for series in self[key]:
            take(series.fresh.get(pane) or series.open(pane), old)

    def move(self, key: tuple[str, ...], pane: int, old: Measured, new: Measured) -> None:
        """Take back what a fact measured and add what it measures now."""
        move = self.family.move
        for series in self[key]:
            move(series.fresh.get(pane) or series.open(pane), old, new)


class PartialSeries(NamedTuple):
    """Changed rows of one series as they travel to the owner of its site: cumulative, so the receiver overwrites."""

    fact: str
    size: int
    grouping: str
    labels: Labels
    panes: dict[int, Any]
    """Cells by the start of their pane (as msgpack)."""


class PaneRows:
    """All pane rows of one partition."""

    def __init__(self, sites: Sites) -> None:
        self.sites = sites
        self.tables: dict[tuple[str, int, str], Table] = {}
        self.fine: dict[type[Any], Places] = {}
        """Where facts are stated: in the finest panes of their type; their days follow at the flush."""
        self.days: dict[type[Any], Places] = {}
        """Where facts are stated that came too late for minutes."""
        self.unpublished: list[tuple[Series, int]] = []
        """Rows whose partial may not have been published, or only by another version."""
        for fact_type, family in FAMILIES.items():
            finest = family.fact.panes[0]
            days = {grouping: Table(family, grouping, Pane.DAY, None) for grouping in family.groupings} if Pane.DAY in family.fact.panes[1:] else {}
            fine = [Table(family, grouping, finest, days.get(grouping)) for grouping in family.groupings]
            self.fine[fact_type], self.days[fact_type] = Places(family, fine), Places(family, days.values())
            self.tables.update((table.name, table) for table in (*fine, *days.values()))

    def drain(self, seq: int) -> tuple[list[tuple[bytes, bytes | None]], dict[str, list[PartialSeries]]]:
        """Rows changed since the last call: encoded for the state topic, and as partials by site."""
        rows: list[tuple[bytes, bytes | None]] = []
        partials: dict[str, list[PartialSeries]] = {}
        changed = self._add_up(seq)
        head = b"\x92" + encode_value(seq)  # a pair: the sequence number, and the cell, which is encoded once for both
        for series, panes in changed.items():
            if not panes:
                continue
            cells = {}
            for pane, row in panes.items():
                cell = encode_value(row.cell)
                rows.append((series.key(pane), head + cell))
                cells[pane] = msgspec.Raw(cell)
            partials.setdefault(series.site, []).append(PartialSeries(*series.table.name, series.labels, cells))
        return rows, partials

    def _add_up(self, seq: int) -> dict[Series, dict[int, Row]]:
        """Move the differences to the rows; returns the rows of each series that changed."""
        found: dict[Series, dict[int, Row]] = {}
        some, self.unpublished = self.unpublished[:PUBLISHED_AGAIN], self.unpublished[PUBLISHED_AGAIN:]
        for series, pane in some:
            if (row := series.rows.get(pane)) is not None:
                row.seq = seq
                found.setdefault(series, {})[pane] = row
        for table in self.tables.values():
            changed, table.changed, table.opened = table.changed, [], 0
            add, oldest = table.family.add, table.horizon - table.size
            for series in changed:
                fresh, series.fresh = series.fresh, {}
                rows, panes = series.rows, found.setdefault(series, {})
                for pane, cell in fresh.items():
                    if series.day is not None:
                        start = day_start(pane, self.sites[series.site].zone)
                        add(series.day.fresh.get(start) or series.day.open(start), cell)
                    row = rows.get(pane)
                    if row is not None:
                        add(row.cell, cell)
                        row.seq = seq
                    elif pane > oldest:  # else it is no longer kept
                        row = rows[pane] = Row(cell, seq)
                    else:
                        continue
                    panes[pane] = row
        return found

    def expire(self, watermarks: dict[str, int]) -> Iterator[bytes]:
        """Drop rows behind the grace and look-back of their topics; yields the keys of their state rows."""
        for table in self.tables.values():
            topics = table.family.fact.topics
            if any(topic in watermarks for topic in topics):
                yield from table.expire(reached_by_all([watermarks.get(topic, 0) for topic in topics]))

    def load(self, key: bytes, value: bytes, layout: dict[str, list[str]], published: int) -> None:
        """Take over one row; one whose partial may not have been published is published again by the next flush."""
        fact, size, grouping, site, pane, *labels = decode_json(key[1:])
        table = self.tables.get((fact, size, grouping))
        if table is None:
            return  # the catalogue no longer counts this
        seq, cell = decode_value(value)
        series = table.of(site, tuple(labels))
        series.rows[pane] = Row(table.family.arranged(cell, layout.get(fact, table.family.slot_names)), seq)
        if seq > published:
            self.unpublished.append((series, pane))

    def changed(self) -> int:
        """Rows the next flush will write, days not counted."""
        return sum(table.opened for table in self.tables.values())

    def has_changes(self) -> bool:
        return bool(self.unpublished) or any(table.changed for table in self.tables.values())

    def count(self) -> int:
        return sum(len(series.rows) for table in self.tables.values() for series in table.series.values())


def encode_key(kind: bytes, before: tuple[str | int, ...], labels: Labels) -> tuple[bytes, bytes]:
    """What stands before and after the pane in a row's key: a kind and a JSON list of names, pane, and labels."""
    return kind + encode_json(before)[:-1] + b",", b"," + encode_json(labels)[1:] if labels else b"]"


encode_json = msgspec.json.Encoder().encode
decode_json = msgspec.json.Decoder().decode
encode_value = msgspec.msgpack.Encoder().encode
decode_value = msgspec.msgpack.Decoder(tuple[int, list[int | dict[int, int]]]).decode


def layout() -> dict[str, list[str]]:
    """Names of the slots of every fact type, in the order in which rows hold them; stored with the rows."""
    return {family.fact.name: family.slot_names for family in FAMILIES.values()}


LAYOUT = xxh3_64_hexdigest(encode_json(layout()))
"""Tells whether two versions arrange rows alike."""
