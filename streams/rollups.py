"""The owner of a site: merges the partials of all source partitions and reads the measures over windows.

A partial is cumulative and carries its source partition and flush number; the highest number wins, so repeats, replays
and late zombies change nothing. The window sums are derived from the panes and can be built anew at any time.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import msgspec
from msgspec.structs import replace

from streams.aggregates import Cell, Portion, copy_cell, is_empty
from streams.engagement import FAMILIES, FAMILY_BY_NAME, LAYOUT, Family, PartialSeries, decode_json, encode_json, encode_key, encode_value
from streams.facts import Presence
from streams.flow import Message
from streams.grams import GRAM, SAMPLE
from streams.kpis import Kpi
from streams.panes import DAY, HOUR, IDLE_SECONDS, MINUTE, SECOND, Pane, add_days, add_months, pane_end, utc
from streams.readings import AlertState, Reading, published, read
from streams.rows import ROLLUP_ROW, SITE_ROW
from streams.sites import Sites
from streams.themes import SiteThemes, Theme
from streams.windows import Live, Span, Window, span_of

KEPT = {Pane.MINUTE: 26 * HOUR, Pane.QUARTER_HOUR: 15 * DAY, Pane.DAY: 400 * DAY}
"""How long the owner of a site keeps panes: the longest window, and history."""
SETTLED_PER_TICK = 16
"""Sites whose quarter hours of grams are put together at once: their rows are large, and a flush is bounded."""


class Partial(msgspec.Struct, array_like=True):
    """What one flush of one source partition says about one site."""

    site: str
    partition: int
    seq: int
    watermark: int
    series: list[PartialSeries]
    layout: str = LAYOUT


encode_partial = msgspec.msgpack.Encoder().encode


class _WirePartial(msgspec.Struct, array_like=True):
    site: str
    partition: int
    seq: int
    watermark: int
    series: list[tuple[str, int, str, tuple[str, ...], dict[int, list[int | dict[int, int]]]]]
    layout: str = ""


_decode_partial = msgspec.msgpack.Decoder(_WirePartial).decode
_decode_parts = msgspec.msgpack.Decoder(dict[int, tuple[int, list[int | dict[int, int]]]]).decode


Clock = tuple[Window, int]
"""What decides where a window of a site's series stands: its length, and how long its panes mature (by default)."""


class Series:
    """Panes of one fact type, pane size and label set of a site, and the running sums of its windows."""

    __slots__ = ("apart", "family", "grouping", "head", "kpis", "labels", "panes", "parts", "size", "spans", "stale", "sums", "tail")

    def __init__(self, site: str, family: Family, size: Pane, grouping: tuple[str, ...], labels: tuple[str, ...]) -> None:
        self.family = family
        self.size = size
        self.grouping = grouping
        """Empty for the total over all labels, which follows from the others."""
        self.labels = labels
        self.head, self.tail = encode_key(ROLLUP_ROW, (site, family.fact.name, int(size), ",".join(grouping)), labels)
        self.parts: dict[int, dict[int, tuple[int, Cell]]] = {}
        """Per pane the latest cell of each source partition, with its flush number."""
        self.panes: dict[int, Cell] = {}
        """Per pane the sum of its parts."""
        self.kpis = tuple(kpi for kpi in family.kpis if (grouping in kpi.by if grouping else not kpi.apart))
        self.apart = tuple(value for name, value in zip(grouping, labels, strict=True) if any(name in kpi.apart for kpi in self.kpis))
        """Its values of labels that are never summed over: they may decide how long its panes mature."""
        self.sums: dict[Span, Cell] = {}
        self.spans: dict[Clock, Span] = {}
        """Where the windows stood when they were last read."""
        self.stale = True
        """Whether a pane of a window changed since the last reading."""

    def key(self, pane: int) -> bytes:
        return b"%b%d%b" % (self.head, pane, self.tail)

    def change(self, pane: int, difference: Cell) -> None:
        """Add a difference to a pane and to every window that holds it."""
        add = self.family.add
        cell = self.panes.get(pane)
        if cell is None:
            self.panes[pane] = copy_cell(difference)
        else:
            add(cell, difference)
        for span, total in self.sums.items():
            if span.start <= pane < span.end:
                add(total, difference)
                self.stale = True

    def sum_over(self, span: Span, before: Span | None) -> Cell:
        """Sum of the panes in a window; from the sum of the window it moved on from, where that is known."""
        known = self.sums.get(span)
        if known is not None:
            return known
        known = self.sums.get(before) if before is not None else None
        if known is None or before is None or not before.start <= span.start <= before.end <= span.end:
            total = self.family.empty()
            for cell in self._between(span.start, span.end):
                self.family.add(total, cell)
        else:
            total = copy_cell(known)
            for cell in self._between(before.start, span.start):
                self.family.subtract(total, cell)
            for cell in self._between(before.end, span.end):
                self.family.add(total, cell)
        return total

    def _between(self, start: int, end: int) -> Iterator[Cell]:
        if self.size is Pane.DAY or (end - start) // self.size > len(self.panes):
            yield from (cell for pane, cell in self.panes.items() if start <= pane < end)
            return
        for pane in range(start, end, self.size):
            if pane in self.panes:
                yield self.panes[pane]


class SiteBook:
    """All that is known of one site: its series, its clock, and what was last read of it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.series: dict[tuple[str, int, tuple[str, ...], tuple[str, ...]], Series] = {}
        self.places: dict[tuple[str, int, str, tuple[str, ...]], tuple[Series, Series | None]] = {}
        """As partials name a series: the series, and the total over all labels where it is summed from this grouping."""
        self.watermarks: dict[int, int] = {}
        self.newest = 0
        """Minute of the site's newest website event: that of the latest presence."""
        self.read_at = (-1, -1)
        """Minutes of the watermark and of the newest event when the site was last read."""
        self.watermark = 0
        self.heard: dict[int, float] = {}
        """When (monotonic seconds) each source partition's watermark last moved."""
        self.published: dict[tuple[str, tuple[str, ...], tuple[str, ...], Window], Reading] = {}
        self.said: dict[tuple[str, tuple[str, ...], tuple[str, ...]], tuple[AlertState, int | None]] = {}
        """What detectors and alerts say of a measure's label sets, and when (ms) one that learns will speak."""
        self.stale = True
        self.themes = SiteThemes(name)
        self.taken_over = False
        """Whether another owner may have published readings that we do not know: then also what fell to nothing is said once."""

    def clock(self, now: float | None) -> tuple[int, int]:
        """Watermark and newest event time at a monotonic instant; without one, nothing is taken for idle.

        Partitions silent for 30 s do not hold the watermark back; when all are, time goes on at the pace of the clock.
        """
        idle = 0
        active = self.watermarks
        if now is not None:
            active = {partition: at for partition, at in self.watermarks.items() if now - self.heard.get(partition, now) < IDLE_SECONDS}
            if not active and self.watermarks:
                active = {0: max(self.watermarks.values())}
                idle = max(0, int((now - max(self.heard.values(), default=now)) * SECOND))
        reached = min(active.values(), default=0) + idle
        self.watermark = max(self.watermark, reached)
        return self.watermark, self.newest + idle

    def with_alert_state(self, reading: Reading) -> Reading:
        """The reading with what is said of its label set."""
        said = self.said and self.said.get((reading.kpi, tuple(reading.dimensions), tuple(reading.dimensions.values())))
        if not said:
            return reading
        state, until = said
        return replace(reading, alert_state=state, learning_until=None if until is None else utc(until))

    def say(self, said: dict[tuple[str, tuple[str, ...], tuple[str, ...]], tuple[AlertState, int | None]]) -> None:
        """Put what is said now in place of what was said before; readings of which something else is said are news."""
        changed = [key for key in self.said.keys() | said.keys() if self.said.get(key, ("",))[0] != said.get(key, ("",))[0]]
        self.said = said
        for kpi, grouping, labels in changed:
            family = FAMILY_OF[kpi]
            for size in family.fact.panes:
                if (series := self.series.get((family.fact.name, int(size), grouping, labels))) is not None:
                    series.stale = self.stale = True


class Rollups:
    """State of one partition of the topic `rollups`."""

    def __init__(self, sites: Sites) -> None:
        self.sites = sites
        self.books: dict[str, SiteBook] = {}
        self.changed: set[tuple[Series, int]] = set()
        """Series and panes with new parts since the last flush."""
        self.changed_books: set[str] = set()
        self.changed_themes: set[str] = set()
        """Sites of whose grams the next flush writes something."""
        self._swept: dict[str, int] = {}
        self._dropped: list[bytes] = []
        self.now: float | None = None

    def apply(self, values: Iterable[bytes]) -> None:
        """Merge partials as they come from the topic."""
        for value in values:
            self._merge(_decode_partial(value))

    def _merge(self, partial: _WirePartial) -> None:
        site = partial.site
        book = self.books.get(site)
        if book is None:
            book = self.books[site] = SiteBook(site)
        is_ours = partial.layout == LAYOUT
        for fact, size, grouping, labels, panes in partial.series:
            if not is_ours and fact in FAMILY_BY_NAME:
                continue  # another version arranged these cells; the next owner of the source arranges and sends them anew
            place = book.places.get((fact, size, grouping, labels))
            if place is None:
                family = FAMILY_BY_NAME.get(fact)
                if family is None:
                    self._merge_grams(book, partial, fact, labels, panes)
                    continue
                names = tuple(grouping.split(","))
                place = _series(book, family, Pane(size), names, labels), _whole(book, family, Pane(size), names)
                book.places[fact, size, grouping, labels] = place
            self._merge_series(book, *place, partial.partition, partial.seq, panes)
        book.stale = True
        if partial.watermark > book.watermarks.get(partial.partition, -1):
            book.watermarks[partial.partition] = partial.watermark
            if self.now is not None:
                book.heard[partial.partition] = self.now
        self.changed_books.add(site)

    def _merge_grams(self, book: SiteBook, partial: _WirePartial, fact: str, said: tuple[str, ...], panes: dict[int, Cell]) -> None:
        if fact == GRAM:
            samples = next((texts for name, _, _, texts, _ in partial.series if name == SAMPLE), ())
            for pane, counts in panes.items():
                book.themes.merge(partial.partition, partial.seq, pane, counts, said, samples)
            self.changed_themes.add(book.name)

    def _merge_series(self, book: SiteBook, series: Series, whole: Series | None, partition: int, seq: int, panes: dict[int, Cell]) -> None:
        family = series.family
        oldest = book.watermark - KEPT[series.size] - series.size
        for pane, cell in panes.items():
            if pane < oldest:
                continue
            parts = series.parts.setdefault(pane, {})
            known = parts.get(partition)
            if known is not None and seq <= known[0]:
                continue
            parts[partition] = (seq, cell)
            difference = cell if known is None else family.differ(known[1], cell)
            series.change(pane, difference)
            if whole is not None:
                whole.change(pane, difference)
            self.changed.add((series, pane))
            if family is FAMILIES[Presence] and pane > book.newest:
                book.newest = pane

    # --- reading -----------------------------------------------------------------------------------------------------

    @property
    def changed_rows(self) -> int:
        """Rows of usual size the next flush would write, at least."""
        return len(self.changed) + sum(self.books[site].themes.changed for site in self.changed_themes)

    def count(self) -> int:
        """Rows held."""
        return sum(len(series.parts) for book in self.books.values() for series in book.series.values())

    def tick(self, now: float) -> list[Message]:
        """Readings that changed, one message per site; `now` in monotonic seconds."""
        self.now = now
        messages = []
        settled = 0
        for book in self.books.values():
            for partition in book.watermarks:
                book.heard.setdefault(partition, now)
            watermark, newest = book.clock(now)
            minutes = (watermark // MINUTE, newest // MINUTE)
            if not book.stale and minutes == book.read_at:
                continue
            book.read_at = minutes
            changed = [reading for reading in map(book.with_alert_state, self._news(book, watermark, newest)) if _is_news(book, reading)]
            said = [*map(published, changed), *book.themes.news(watermark, book.taken_over)]
            book.stale = book.taken_over = False
            if settled < SETTLED_PER_TICK and book.themes.settle(watermark):
                self.changed_themes.add(book.name)
                settled += 1
            if said:
                messages.append(
                    Message(
                        "readings",
                        book.name.encode(),
                        encode_json({"site": book.name, "watermark": utc(watermark), "readings": said}),
                    )
                )
            self._forget(book, watermark)
        return messages

    def readings(self, book: SiteBook, watermark: int, newest: int, matured: bool = False) -> Iterator[Reading]:
        """Every measure of a site over every window it is published for, as of a watermark; `matured`: no pane has to wait any more."""
        for series in list(book.series.values()):
            yield from self._read(book, series, self._spans(book, series, watermark, newest, matured))

    def read_as_of(self, site: str, kpi: Kpi, grouping: tuple[str, ...], labels: tuple[str, ...], window: Window, watermark: int) -> Reading | None:
        """What a measure said (or says) of a label set over a window as of a watermark, by the panes held today; None for a label set never seen."""
        book, family = self.books.get(site), FAMILY_OF[kpi.name]
        series = book.series.get((family.fact.name, int(size := pane_size_of(window, family)), grouping, labels)) if book is not None else None
        if book is None or series is None:
            return None
        settings = self.sites[site]
        span = span_of(window, size, watermark - kpi.maturity(settings, grouping, labels), watermark, settings.zone)
        whole = total = series.sum_over(span, None)
        if grouping and kpi.name in WHOLE_NEEDED:
            whole = _series(book, family, size, (), ()).sum_over(span, None)
        return read(kpi, family, site, grouping, labels, window, span.start, span.end, total, whole)

    def _news(self, book: SiteBook, watermark: int, newest: int) -> Iterator[Reading]:
        """The readings that can have changed: of series with a changed pane or a window that moved."""
        spans: dict[tuple[str, Pane, tuple[str, ...], tuple[str, ...]], dict[Clock, Span]] = {}
        changed_totals = {(series.family, series.size) for series in book.series.values() if series.stale and not series.grouping}
        for series in list(book.series.values()):
            kind = (series.family.fact.name, series.size, series.grouping, series.apart)
            if kind not in spans:
                spans[kind] = self._spans(book, series, watermark, newest)
            if (
                series.stale
                or series.spans != spans[kind]
                or (WHOLE_NEEDED.intersection(series.family.indices) and (series.family, series.size) in changed_totals)
            ):
                yield from self._read(book, series, spans[kind])

    def _spans(self, book: SiteBook, series: Series, watermark: int, newest: int, matured: bool = False) -> dict[Clock, Span]:
        """Where the windows of a series stand now."""
        site = self.sites[book.name]
        waits = {kpi.name: 0 if matured else kpi.maturity(site, series.grouping, series.labels) for kpi in series.kpis}
        return {
            (window, kpi.matures): span_of(window, series.size, watermark - waits[kpi.name], newest, site.zone)
            for kpi in series.kpis
            for window in kpi.windows
            if pane_size_of(window, series.family) is series.size
        }

    def _read(self, book: SiteBook, series: Series, spans: dict[Clock, Span]) -> Iterator[Reading]:
        """Every measure of one series over its windows."""
        family = series.family
        sums: dict[Span, Cell] = {}
        for kpi in series.kpis:
            for window in kpi.windows:
                span = spans.get((window, kpi.matures))
                if span is None:
                    continue
                total = sums.get(span)
                if total is None:
                    total = sums[span] = series.sum_over(span, series.spans.get((window, kpi.matures)))
                whole = total
                if series.grouping and kpi.name in WHOLE_NEEDED:
                    whole = _series(book, family, series.size, (), ()).sum_over(span, None)
                yield read(kpi, family, book.name, series.grouping, series.labels, window, span.start, span.end, total, whole)
        series.sums, series.spans, series.stale = sums, spans, False

    def pane_readings(self, sizes: Sequence[Pane] = tuple(Pane)) -> Iterator[Reading]:
        """Every pane (of these sizes) with a fact, as a reading of its own, for every measure (end of a replay)."""
        for book in self.books.values():
            zone = self.sites[book.name].zone
            for series in book.series.values():
                if series.size not in sizes:
                    continue
                for kpi in series.kpis:
                    if isinstance(kpi.windows[0], Live):
                        continue
                    for pane, cell in sorted(series.panes.items()):
                        if is_empty(cell):
                            continue
                        end = pane_end(pane, series.size, zone)
                        if kpi.windows == ("week",):
                            end = add_days(pane, 7, zone)
                        elif kpi.windows == ("month",):
                            end = add_months(pane, 1, zone)
                        whole = cell
                        if series.grouping and kpi.name in WHOLE_NEEDED:
                            whole = _series(book, series.family, series.size, (), ()).panes[pane]
                        yield read(kpi, series.family, book.name, series.grouping, series.labels, series.size, pane, end, cell, whole)

    def _forget(self, book: SiteBook, watermark: int) -> None:
        """Drop panes that no window or history needs any more, once per hour of event time."""
        if watermark // HOUR <= self._swept.get(book.name, 0) // HOUR:
            return
        self._swept[book.name] = watermark
        for name, series in list(book.series.items()):
            horizon = watermark - KEPT[series.size] - series.size
            for pane in [pane for pane in series.panes if pane < horizon]:
                del series.panes[pane]
                if series.parts.pop(pane, None) is not None:
                    self._dropped.append(series.key(pane))
                    self.changed.discard((series, pane))
            if not series.panes:
                del book.series[name]
                book.places.clear()
                for stale in [key for key in book.published if key[1] == series.grouping and key[2] == series.labels and FAMILY_OF[key[0]] is series.family]:
                    del book.published[stale]

    # --- flush and recovery ------------------------------------------------------------------------------------------

    def drain(self) -> list[tuple[bytes, bytes | None]]:
        """State rows of what changed since the last call."""
        rows: list[tuple[bytes, bytes | None]] = [(series.key(pane), encode_value(series.parts[pane])) for series, pane in self.changed]
        rows += [(key, None) for key in self._dropped]
        for site in self.changed_books:
            book = self.books[site]
            rows.append((SITE_ROW + site.encode(), encode_value((book.watermark, book.newest, book.watermarks))))
        for site in self.changed_themes:
            rows += self.books[site].themes.drain().items()
        self.changed.clear()
        self._dropped.clear()
        self.changed_books.clear()
        self.changed_themes.clear()
        return rows

    def load(self, rows: Sequence[tuple[bytes, bytes]], layout: dict[str, list[str]]) -> None:
        """Take over rows of the state topic."""
        for key, value in rows:
            if key.startswith(SITE_ROW):
                book = self.books.setdefault(site := key[len(SITE_ROW) :].decode(), SiteBook(site))
                book.watermark, book.newest, book.watermarks = msgspec.msgpack.decode(value, type=tuple[int, int, dict[int, int]])
                book.taken_over = True
            elif key.startswith(ROLLUP_ROW):
                site, fact, size, grouping, pane, *labels = decode_json(key[len(ROLLUP_ROW) :])
                family = FAMILY_BY_NAME.get(fact)
                if fact == GRAM:
                    self.books.setdefault(site, SiteBook(site)).themes.load(pane, labels, value)
                if family is None or tuple(grouping.split(",")) not in family.groupings:
                    continue
                book = self.books.setdefault(site, SiteBook(site))
                names = layout.get(fact, family.slot_names)
                keys = tuple(grouping.split(","))
                series, whole = _series(book, family, Pane(size), keys, tuple(labels)), _whole(book, family, Pane(size), keys)
                parts = series.parts[pane] = {partition: (seq, family.arranged(cell, names)) for partition, (seq, cell) in _decode_parts(value).items()}
                for _, cell in parts.values():
                    series.change(pane, cell)
                    if whole is not None:
                        whole.change(pane, cell)


def _series(book: SiteBook, family: Family, size: Pane, grouping: tuple[str, ...], labels: tuple[str, ...]) -> Series:
    key = (family.fact.name, int(size), grouping, labels)
    series = book.series.get(key)
    if series is None:
        series = book.series[key] = Series(book.name, family, size, grouping, labels)
    return series


def _whole(book: SiteBook, family: Family, size: Pane, grouping: tuple[str, ...]) -> Series | None:
    """The total over all labels, where this grouping is the one it is summed from (any would do)."""
    return _series(book, family, size, (), ()) if grouping == family.groupings[0] else None


def _said(reading: Reading) -> tuple[Any, ...]:
    return reading.value, reading.n, reading.state, reading.alert_state


def _is_news(book: SiteBook, reading: Reading) -> bool:
    """Whether a reading differs from the last one published of its series and window."""
    key = (reading.kpi, tuple(reading.dimensions), tuple(reading.dimensions.values()), reading.length)
    last = book.published.get(key)
    if last is not None and _said(last) == _said(reading) and (not reading.n or last.window == reading.window):
        return False
    book.published[key] = reading
    return last is not None or bool(reading.n) or book.taken_over


def pane_size_of(window: Window, family: Family) -> Pane:
    """Size of the panes a window is summed from."""
    finest = family.fact.panes[0]
    if finest is not Pane.MINUTE:
        return finest
    return Pane.DAY if window in ("day", "week", "month") or (isinstance(window, int) and window > DAY) else Pane.MINUTE


FAMILY_OF = {kpi.name: family for family in FAMILY_BY_NAME.values() for kpi in family.kpis}
WHOLE_NEEDED = frozenset(kpi.name for family in FAMILY_BY_NAME.values() for kpi in family.kpis if isinstance(kpi.value, Portion))


def themes_of(rollups: Rollups, site: str, at: int) -> tuple[Theme, ...]:
    """What drives the negative texts of a site at an instant: of the quarter hour that holds it and the three before, against the day before these."""
    book = rollups.books.get(site)
    return () if book is None else book.themes.ranking(at).themes
