"""Content depth: pages read, media played, files downloaded; recounts view by view and play by play, and the laws of a journey."""

from collections import Counter

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.events import decode
from streams.journeys.content import PageRead, Play, Plays, Reads, stated
from streams.journeys.following import Stated
from streams.panes import GRACE, Pane
from streams.sites import Site
from tests.streams.journey_laws import check_laws, facts_of, notes_of, stories
from tests.streams.records import T0, D, H, M, S, event

SITE = Site(routes=("/product/*",))
READS, PLAYS = Reads(), Plays()


def left(at, engaged, scroll=None, **fields):
    return event("page_left", at, **{"path": "/blog/1", "view": "w", "engaged_seconds": engaged, "scroll_ratio": scroll, **fields})


def played(at, state, position, length=100, **fields):
    own = {"media": "tour", "play": "p", "category": "demo", "position_seconds": position, "length_seconds": length, **fields}
    return {**event("media_played", at, **own), "state": state}


def typed(wire):
    return decode(msgspec.json.encode(wire))


def read(*wires):
    return facts_of(READS, map(typed, wires), SITE)


def plays(*wires):
    return [fact.fact for fact in facts_of(PLAYS, map(typed, wires), SITE)]


def teller(wire):
    return list(stated(typed(wire), T0, SITE))


# --- pages ---------------------------------------------------------------------------------------------------------------


def test_a_page_left_without_a_view_is_a_read_of_its_own():
    wire = left(T0, 42.5, 0.8, view=None, path="/product/7?a=1", segment="vip")
    assert teller(wire) == [Stated(PageRead(42_500, 8_000), T0, ("vip", "/product/*"))]
    assert read(wire) == []


def test_a_page_left_of_a_view_is_left_to_the_notes():
    assert teller(left(T0, 3)) == []
    assert read(left(T0, 3)) == [Stated(PageRead(3_000, None), T0, (None, "/blog"))]


def test_stays_of_one_view_add_up_and_the_deepest_scroll_counts():
    wires = [left(T0, 10, 0.5, path="/blog/1"), left(T0 + M, 5.25, 0.9, path="/cart"), left(T0 + 2 * M, 0, 0.2)]
    assert read(*wires) == read(*wires[::-1]) == [Stated(PageRead(15_250, 9_000), T0, (None, "/blog"))]


def test_depth_is_known_when_one_stay_measured_it():
    assert [fact.fact.depth for fact in read(left(T0, 1), left(T0 + 1, 1, 0.0))] == [0]


@pytest.mark.parametrize(("second", "engaged"), [(600, 1_800_000), (599.999, 1_799_999), (1_800, 1_800_000)])
def test_a_view_is_engaged_for_at_most_30_minutes(second, engaged):
    assert [fact.fact.engaged for fact in read(left(T0, 1_200), left(T0 + M, second))] == [engaged]


@pytest.mark.parametrize(("gap", "views"), [(D, 1), (D + 1, 2)])
def test_a_view_lasts_24_hours(gap, views):
    assert len(read(left(T0, 1), left(T0 + gap, 1))) == views


# --- downloads -----------------------------------------------------------------------------------------------------------


def test_a_download_is_a_fact_of_its_own():
    wire = event("file_downloaded", T0, category="guides", segment="vip")
    assert teller(wire) == [Stated(typed(wire), T0, ("vip", "guides"))]
    assert teller(event("file_downloaded", T0, category=None, segment=None))[0].labels == (None, None)


# --- media ---------------------------------------------------------------------------------------------------------------


def test_a_play_from_start_to_end():
    wires = [played(T0, "started", 0), played(T0 + 30 * S, "progress", 30), played(T0 + 100 * S, "completed", 100)]
    assert facts_of(PLAYS, map(typed, wires), SITE) == [Stated(Play(started=True, completed=True, watched=100_000), T0, (None, "demo"))]


@pytest.mark.parametrize(("position", "completed"), [(90, True), (89.999, False)])
def test_90_percent_is_complete(position, completed):
    assert plays(played(T0, "started", 0), played(T0 + 90 * S, "progress", position)) == [Play(True, completed, round(position * S))]


def test_without_a_length_only_the_player_says_what_is_complete():
    assert [play.completed for play in plays(played(T0, "started", 0, 0), played(T0 + S, "progress", 50, 0))] == [False]
    assert [play.completed for play in plays(played(T0, "started", 0, 0), played(T0 + S, "completed", 50, 0))] == [True]


def test_a_loop_completes_once_and_is_watched_twice():
    wires = [played(T0, "started", 0), played(T0 + 100 * S, "completed", 100), played(T0 + 101 * S, "progress", 1), played(T0 + 200 * S, "completed", 100)]
    assert plays(*wires) == [Play(True, True, 199_000)]


def test_pausing_skipping_and_going_back_are_not_watching():
    start = played(T0, "started", 0)
    assert plays(start, played(T0 + H, "progress", 30))[0].watched == 30_000, "paused"
    assert plays(start, played(T0 + 2 * S, "progress", 80))[0].watched == 2_000, "skipped"
    assert plays(start, played(T0 + 50 * S, "progress", 50), played(T0 + 60 * S, "progress", 10))[0].watched == 50_000, "went back"


def test_a_play_whose_start_is_missing_is_watched_but_not_in_the_completion_rate():
    assert plays(played(T0, "progress", 40), played(T0 + 60 * S, "completed", 100)) == [Play(False, False, 60_000)]


def test_without_an_id_a_play_goes_from_one_start_to_the_next():
    wires = [played(T0, "started", 0), played(T0 + 100 * S, "completed", 100), played(T0 + 200 * S, "started", 0), played(T0 + 210 * S, "progress", 10)]
    other = played(T0 + 205 * S, "progress", 5, media="other")
    for wire in (*wires, other):
        del wire["play"]
    assert plays(*wires) == [Play(True, True, 100_000), Play(True, False, 10_000)]
    assert plays(*wires, other) == [Play(True, True, 100_000), Play(True, False, 10_000), Play(False, False, 0)]


def test_a_start_reported_twice_under_one_id_is_one_play():
    assert plays(played(T0, "started", 0), played(T0 + S, "started", 0)) == [Play(True, False, 0)]


@pytest.mark.parametrize(("behind", "left_over"), [(9 * D, 1), (9 * D + 1, 0)])
def test_notes_are_kept_for_a_day_and_the_grace_of_days(behind, left_over):
    assert len(READS.keep(notes_of(READS, [typed(left(T0, 1))], SITE), T0 + behind, SITE)) == left_over
    assert len(PLAYS.keep(notes_of(PLAYS, [typed(played(T0, "started", 0))], SITE), T0 + behind, SITE)) == left_over


# --- recount -------------------------------------------------------------------------------------------------------------

TIMES = st.integers(0, 23 * 60).map(lambda minutes: T0 + minutes * M)


@given(st.lists(st.builds(left, TIMES, st.integers(0, 1_800), st.sampled_from([None, 0.25, 1.0]), view=st.sampled_from(["w", "z"])), max_size=10))
def test_reads_of_a_day_are_sums_and_maxima_by_view(wires):
    found = {}
    for wire in wires:
        engaged, depth = found.get(wire["view"], (0, None))
        scroll = wire.get("scroll_ratio")
        found[wire["view"]] = engaged + wire["engaged_seconds"], max((d for d in (depth, scroll) if d is not None), default=None)
    expected = Counter((min(engaged, 1_800) * 1000, None if depth is None else depth * 10_000) for engaged, depth in found.values())
    assert Counter((fact.fact.engaged, fact.fact.depth) for fact in read(*wires)) == expected


REPORTS = st.builds(
    played, TIMES, st.sampled_from(["started", "progress", "completed"]), st.integers(0, 100), play=st.sampled_from(["p", "q"]),
    category=st.sampled_from([None, "demo"]),
)  # fmt: skip


@given(st.lists(REPORTS, max_size=10))
def test_plays_of_a_day_by_play(wires):
    found = Counter(plays(*wires))
    expected = Counter()
    for play in ("p", "q"):
        mine = sorted((wire for wire in wires if wire["play"] == play), key=lambda wire: (wire["at"], wire["id"]))
        if not mine:
            continue
        started = "started" in {wire["state"] for wire in mine}
        ended = any(wire["state"] == "completed" for wire in mine) or max(wire["position_seconds"] for wire in mine) >= 90
        watched = 0
        for number in range(1, len(mine)):
            further = 1000 * (mine[number]["position_seconds"] - mine[number - 1]["position_seconds"])
            watched += sorted((0, further, mine[number]["at"] - mine[number - 1]["at"]))[1] if further > 0 else 0
        expected[Play(started, started and ended, watched)] += 1
    assert found == expected


# --- laws ----------------------------------------------------------------------------------------------------------------

LEAVES = st.builds(
    lambda view, engaged, scroll, path: lambda at, name: typed(left(at, engaged, scroll, id=name, view=view, path=path)),
    st.sampled_from(["w", "w", "z", None]), st.sampled_from([0, 1.5, 900]), st.sampled_from([None, 0.5, 1]), st.sampled_from(["/a", "/product/1"]),
)  # fmt: skip
MOMENTS = st.builds(
    lambda play, state, position, media: lambda at, name: typed(played(at, state, position, id=name, play=play, media=media)),
    st.sampled_from(["p", None, None]), st.sampled_from(["started", "progress", "completed"]), st.sampled_from([0, 10, 95]),
    st.sampled_from(["tour", "tour", "b"]),
)  # fmt: skip
GAPS = (0, 1, 10 * S, M, H, 23 * H, D, D + 1, 3 * D, 8 * D, 9 * D)


@given(stories(LEAVES, GAPS))
def test_laws_of_reads(arrivals):
    check_laws(READS, arrivals, SITE, GRACE[Pane.DAY])


@given(stories(MOMENTS, GAPS))
def test_laws_of_plays(arrivals):
    check_laws(PLAYS, arrivals, SITE, GRACE[Pane.DAY])
