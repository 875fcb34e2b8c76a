"""The laws: order inside the grace, restart at any flush, replay of a prefix, partials in any order, sums of parts, and ticks."""

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.engagement import FAMILY_BY_NAME
from streams.partition import ROLLUPS, Partition
from streams.rollups import Rollups
from streams.sites import Site, Sites
from tests.streams.records import T0, D, H, M, Rec, S, event, pane_rows, readings, record, stamp, store, stored_panes, topic_of

SITES = Sites({"shop": Site(brands=("Trail",), competitors=("RunCo",)), "blog": Site(time_zone="Europe/Berlin")})
TEXTS = st.sampled_from(["great, love it", "awful and broken", "a parcel"])


def web(kind, **fields):
    return st.fixed_dictionaries({"kind": st.just(kind), **fields})


KINDS = st.one_of(
    web(
        "page_viewed", path=st.sampled_from(["/", "/blog/1", "/cart"]), referrer=st.sampled_from([None, "https://t.co/", "https://google.de/"]),
        campaign=st.none(), channel=st.sampled_from([None, "paid", "email"]),
    ),
    web("element_clicked"),
    web("goal_reached"),
    web("mention_posted", brand=st.sampled_from([None, "RunCo", "Nobody"]), text=TEXTS),
    web("review_posted", review=st.sampled_from(["r1", "r2"]), rating=st.none() | st.integers(0, 5), text=st.none() | TEXTS),
    web("ticket_opened", text=TEXTS, customer=st.none()),
    web("signed_up", customer=st.none()),
)  # fmt: skip
PLACES = st.tuples(st.sampled_from(["shop", "shop", "blog"]), st.sampled_from(["v1", "v1", "v2"]), st.sampled_from(["vip", "new"]))
EVENTS = st.lists(st.tuples(KINDS, PLACES, st.integers(0, 30) | st.integers(0, 3 * 60)), min_size=1, max_size=22)


@st.composite
def logs(draw, spread: int = 0):
    """Events by time; `spread` limits the whole to that length, else steps of up to three hours."""
    wires, at = [], T0 - 5 * H
    for number, (fields, (site, visitor, segment), minutes) in enumerate(draw(EVENTS)):
        at += minutes * M
        if spread and at - (T0 - 5 * H) > spread:
            break
        own = {name: value for name, value in fields.items() if name != "kind"}
        wires.append(event(fields["kind"], at, id=f"{draw(st.integers(0, 9))}-{number}", site=site, visitor=visitor, segment=segment, **own))
    return wires


def delivered(wires, shifts):
    """The order in which events arrive that are each under way for up to 55 minutes."""
    return [wire for _, _, wire in sorted((wire["at"] + shift, number, wire) for number, (wire, shift) in enumerate(zip(wires, shifts, strict=True)))]


class Run:
    """One partition that is also the owner of its sites, with the rows it has written."""

    def __init__(self) -> None:
        self.partition = Partition(0, 1, SITES)
        self.rows: dict[bytes, bytes] = {}
        self.next: dict[str, int] = {}
        self.log: list[tuple[str, list[Rec]]] = []

    def apply(self, wires) -> None:
        for wire in wires:
            self.put(topic_of(wire), [record(self.offset(topic_of(wire)), wire)])

    def offset(self, topic: str) -> int:
        self.next[topic] = self.next.get(topic, -1) + 1
        return self.next[topic]

    def put(self, topic: str, records) -> None:
        self.partition.apply(topic, records)
        self.log.append((topic, records))

    def flush(self) -> None:
        flush = self.partition.flush()
        store(self.rows, flush)
        for message in flush.after if flush is not None else ():
            self.put(ROLLUPS, [Rec(self.offset(ROLLUPS), 0, message.value)])

    def restart(self) -> None:
        self.partition = Partition(0, 1, SITES)
        self.partition.load(list(self.rows.items()))
        for topic, records in self.log:  # the log goes on behind the stamp; what lies before is ignored
            self.partition.apply(topic, records)

    def finish(self):
        self.flush()
        self.flush()  # the rows of the partials that the first has published
        horizon = max(self.partition.intake.newest.values(), default=0) - 5 * S - H  # minutes behind it may be dropped, at any flush
        stored, held = (
            {key: cell for key, cell in rows.items() if key[1] != M or key[4] + M > horizon}
            for rows in (stored_panes(self.rows), pane_rows(self.partition.intake))
        )
        return stored, held, readings(self.partition, T0 + 2 * D), readings(self.partition, T0)


def run(wires, flush_after=frozenset(), restart_after=frozenset()) -> Run:
    result = Run()
    for number, wire in enumerate(wires):
        result.apply([wire])
        if number in flush_after or number in restart_after:
            result.flush()
        if number in restart_after:
            result.restart()
    return result


CUTS = st.frozensets(st.integers(0, 21))


@settings(max_examples=40, deadline=None)
@given(logs(), st.data(), CUTS)
def test_any_arrival_inside_the_grace_gives_the_same_rows_and_readings(wires, data, cuts):
    shifts = [data.draw(st.integers(0, 55 * 60)) * S for _ in wires]
    shuffled = run(delivered(wires, shifts), cuts)
    ordered = run(wires)
    assert shuffled.finish() == ordered.finish()
    assert not any(name.startswith(("late", "flag.partly_late")) for counts in shuffled.partition.accounting().values() for name in counts)


@settings(max_examples=20, deadline=None)
@given(logs(spread=H), st.data(), CUTS)
def test_any_permutation_of_an_hour_gives_the_same(wires, data, cuts):
    assert run(data.draw(st.permutations(wires)), cuts).finish() == run(wires).finish()


@settings(max_examples=12, deadline=None)
@given(logs(), st.data())
def test_batches_do_not_matter(wires, data):
    """Whole batches per topic, as a poll brings them, or one event at a time."""
    batched = Run()
    for topic in data.draw(st.permutations(["website", "social", "reviews", "customers"])):
        mine = [wire for wire in wires if topic_of(wire) == topic]
        if mine:
            batched.put(topic, [record(batched.offset(topic), wire) for wire in mine])
    assert batched.finish() == run(wires).finish()


def essence(result: Run):
    """Rows, stamp and counters, but for flush numbers and the clock of a site: a restart may take a flush more."""
    rows = {key: value for key, value in result.rows.items() if key[:1] not in (b"p", b"r", b"w", b"@")}
    said = {name: value for name, value in stamp(result.rows).items() if name in {"layout", "intake"}}
    offsets = {topic: offset for topic, offset in stamp(result.rows)["offsets"].items() if topic != ROLLUPS}
    return rows, said, offsets, result.partition.accounting()


@settings(max_examples=30, deadline=None)
@given(logs(), st.data(), CUTS, CUTS)
def test_a_restart_at_any_flush_changes_nothing(wires, data, cuts, restarts):
    arrival = delivered(wires, [data.draw(st.integers(0, 55 * 60)) * S for _ in wires])
    restarted, whole = run(arrival, cuts, restarts), run(arrival, cuts | restarts)
    assert restarted.finish() == whole.finish()
    assert essence(restarted) == essence(whole)


@settings(max_examples=12, deadline=None)
@given(logs())
def test_the_way_of_a_log_is_the_same_at_every_cut(wires):
    expected = run(wires).finish()
    for cut in range(len(wires)):
        again = run(wires, set(), {cut})
        assert again.finish() == expected


@settings(max_examples=12, deadline=None)
@given(logs(), st.integers(0, 21), st.integers(0, 21))
def test_replay_of_a_prefix_is_a_no_op(wires, cut, back):
    """After a crash everything from any earlier offset may come once more."""
    result = run(wires[: cut + 1], {cut})
    result.flush()
    state = result.finish()
    counts = msgspec.msgpack.encode(result.partition.accounting())
    for restarted in (False, True):
        if restarted:
            result.restart()
        for topic, records in result.log[min(back, len(result.log)) :]:
            assert result.partition.apply(topic, records) == 0
        assert result.partition.flush() is None or restarted
        assert msgspec.msgpack.encode(result.partition.accounting()) == counts
    assert readings(result.partition, T0) == state[3]


def partials_of(wires, cuts, partition: int = 0) -> list[bytes]:
    source = Partition(partition, 1, SITES)
    found, offsets = [], {}
    for number, wire in enumerate(wires):
        topic = topic_of(wire)
        offsets[topic] = offsets.get(topic, -1) + 1
        source.apply(topic, [record(offsets[topic], wire)])
        if number in cuts or number == len(wires) - 1:
            flush = source.flush()
            found += [message.value for message in flush.after]
    return found


def known(rollups: Rollups):
    rollups.drain()
    panes = {(name, *key): dict(series.panes) for name, book in rollups.books.items() for key, series in book.series.items()}
    parts = {
        (name, *key, pane): {source: cell for source, (_, cell) in parts.items()}
        for name, book in rollups.books.items()
        for key, series in book.series.items()
        for pane, parts in series.parts.items()
    }
    return panes, parts


@settings(max_examples=20, deadline=None)
@given(logs(), logs(), CUTS, st.data())
def test_partials_in_any_order_and_repeated_give_the_same_rollups(first, second, cuts, data):
    partials = partials_of(first, cuts, 0) + partials_of(second, cuts, 1)
    plain, mixed = Rollups(SITES), Rollups(SITES)
    plain.apply(partials)
    mixed.apply(data.draw(st.permutations(partials)))
    mixed.apply(data.draw(st.lists(st.sampled_from(partials), max_size=5)) if partials else ())
    assert without_empty(known(mixed)) == without_empty(known(plain))
    again = Rollups(SITES)
    again.load(list({key: value for key, value in rows_of(plain).items() if value is not None}.items()), {})
    assert without_empty(known(again)) == without_empty(known(plain)), "the windows' panes follow from the rows"


def rows_of(rollups: Rollups) -> dict[bytes, bytes | None]:
    rollups.changed.update((series, pane) for book in rollups.books.values() for series in book.series.values() for pane in series.parts)
    rollups.changed_books.update(rollups.books)
    return dict(rollups.drain())


def without_empty(state):
    panes, parts = state
    return {key: kept for key, cells in panes.items() if (kept := {pane: cell for pane, cell in cells.items() if any(cell)})}, parts


@settings(max_examples=20, deadline=None)
@given(logs(), CUTS)
def test_sums_over_any_grouping_equal_the_total(wires, cuts):
    result = run(wires, cuts)
    result.finish()
    for book in result.partition.rollups.books.values():
        totals: dict = {}
        for (fact, size, grouping, _), series in book.series.items():
            for pane, cell in series.panes.items():
                family = FAMILY_BY_NAME[fact]
                family.add(totals.setdefault((fact, size, pane), {}).setdefault(grouping, family.empty()), cell)
        for (fact, _, _), by_grouping in totals.items():
            assert set(by_grouping) == {(), *FAMILY_BY_NAME[fact].groupings}
            assert all(total == by_grouping[()] for total in by_grouping.values())


@settings(max_examples=12, deadline=None)
@given(logs(), CUTS, st.lists(st.integers(0, 3_000), min_size=1, max_size=5))
def test_a_tick_changes_no_rows(wires, cuts, ticks):
    result, plain = run(wires, cuts), run(wires, cuts)
    now = 100.0
    for seconds in ticks:
        now += seconds
        result.partition.tick(now)
    assert result.finish()[:2] == plain.finish()[:2]
    before = dict(result.rows)
    result.partition.tick(now + 1)
    assert result.partition.flush() is None
    assert result.rows == before
