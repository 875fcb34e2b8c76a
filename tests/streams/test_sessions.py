"""Sessions, drawn as timelines, and against an independent sort-and-scan.

One character is five minutes. `p` page view, `c` click (no page), `g` goal, `-` nothing, `|` where a session is expected to end.
"""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.engagement import FAMILIES
from streams.journeys.sessions import Session
from tests.streams.records import T0, D, H, M, S, event, feed, intake, pane_rows, view

KINDS = {"p": "page_viewed", "c": "element_clicked", "g": "goal_reached"}


def events_of(line: str, step: int = 5 * M) -> list[dict]:
    marks = line.replace("|", "")
    return [event(KINDS[mark], T0 + place * step, visitor="v1") for place, mark in enumerate(marks) if mark != "-"]


def sessions_of(state) -> list[Session]:
    state.drain(10**6)
    return [session for subject in state.subjects.known.values() for session in subject.sessions if session.pages]


def spans(state) -> list[tuple[int, int]]:
    """(start, duration) in minutes."""
    return [((session.start - T0) // M, session.duration // M) for session in sessions_of(state)]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("p", [(0, 0)]),
        ("p-p-p", [(0, 20)]),
        ("p-----p", [(0, 0), (30, 0)]),  # a gap of exactly 30 minutes
        ("p----p", [(0, 25)]),
        ("p----c----p", [(0, 50)]),  # an event that is no page view holds a session together
        ("p----g----p", [(0, 50)]),
        ("c", []),  # without a page view there is no session
        ("c-c-g", []),
        ("c-p", [(0, 10)]),  # and it begins with its first event, whatever that is
        ("p-c", [(0, 10)]),
        ("c------p", [(35, 0)]),
        ("p-----|p-p-----|p", [(0, 0), (30, 10), (70, 0)]),
    ],
)
@pytest.mark.parametrize("order", [1, -1], ids=["in order", "backwards"])
def test_timelines(line, expected, order):
    assert spans(intake(*events_of(line)[::order])) == expected


@pytest.mark.parametrize(("gap", "count"), [(30 * M - 1, 1), (30 * M, 2)])
def test_the_gap_is_thirty_minutes_to_the_millisecond(gap, count):
    assert len(sessions_of(intake(view(T0), view(T0 + gap)))) == count


def test_a_late_event_bridges_two_sessions():
    state = intake(view(T0), view(T0 + 40 * M))
    assert spans(state) == [(0, 0), (40, 0)]
    feed(state, [event("element_clicked", T0 + 20 * M, visitor="v1")])
    assert spans(state) == [(0, 40)]
    state.drain(1)
    assert counted(state) == {(0, 1)}


def test_a_bridge_after_the_flush_corrects_both_panes():
    state = intake(view(T0), view(T0 + 40 * M))
    state.drain(1)
    assert counted(state) == {(0, 1), (30, 1)}
    feed(state, [event("element_clicked", T0 + 20 * M, visitor="v1")])
    state.drain(2)
    assert counted(state) == {(0, 1)}
    feed(state, [event("element_clicked", T0 - 20 * M, visitor="v1")])
    state.drain(3)
    assert counted(state) == {(-30, 1)}, "an earlier event moves the start, and with it the pane"


def counted(state) -> set[tuple[int, int]]:
    """(minutes of the pane, sessions) by the grouping of source."""
    index = FAMILIES[Session].indices["sessions"][0]
    return {((key[4] - T0) // M, cell[index]) for key, cell in pane_rows(state).items() if key[0] == "session" and key[2] == "source"}


def test_a_session_is_shorter_than_24_hours():
    steps = [view(T0 + number * 20 * M) for number in range(72)]
    last = view(T0 + D - 1)
    assert spans(intake(*steps, last)) == [(0, 24 * 60 - 1)]
    assert spans(intake(*steps, view(T0 + D))) == [(0, 71 * 20), (24 * 60, 0)], "exactly 24 hours after the start begins a new one"


@pytest.mark.parametrize(("seconds", "engaged"), [(9.999, False), (10, False), (10.001, True)])
def test_engaged_needs_more_than_ten_seconds(seconds, engaged):
    state = intake(view(T0), event("page_left", T0 + round(seconds * S), visitor="v1"))
    assert [session.engaged for session in sessions_of(state)] == [engaged]


def test_engaged_by_two_page_views_or_a_key_event():
    assert [session.engaged for session in sessions_of(intake(view(T0)))] == [False]
    assert [session.engaged for session in sessions_of(intake(view(T0), view(T0 + 1)))] == [True]
    for key_event in ("goal_reached", "order_completed"):
        assert [session.engaged for session in sessions_of(intake(view(T0), event(key_event, T0 + 1, visitor="v1", customer=None)))] == [True]


def test_a_refund_is_no_website_event_of_a_session():
    state = intake(view(T0), event("order_refunded", T0 + 20 * M, visitor="v1", customer=None), view(T0 + 40 * M))
    assert spans(state) == [(0, 0), (40, 0)]


def labels(state) -> list[tuple]:
    return [(session.channel, session.source, session.route) for session in sessions_of(state)]


@pytest.mark.parametrize("order", [1, -1], ids=["in order", "backwards"])
@pytest.mark.parametrize("flushes", [False, True])
def test_labels_are_those_of_the_earliest_event_that_has_one(order, flushes):
    wires = [
        event("element_clicked", T0, visitor="v1"),
        view(T0 + 1 * M, path="/blog/1", referrer="https://www.google.com/"),
        view(T0 + 2 * M, path="/cart", referrer="https://t.co/x", channel="paid"),
        view(T0 + 3 * M, path="/cart", channel="email"),
    ][::order]
    state = intake()
    for number, wire in enumerate(wires):
        feed(state, [wire])
        if flushes:
            state.drain(number)
    assert labels(state) == [("paid", "search", "/blog")]


def test_an_internal_view_gives_no_source():
    from streams.sites import Site, Sites

    sites = Sites(default=Site(hosts=("shop.example",)))
    wires = [view(T0, referrer="https://shop.example/"), view(T0 + 1, referrer="https://t.co/x")]
    assert labels(intake(*wires, sites=sites)) == labels(intake(*wires[::-1], sites=sites)) == [(None, "social", "/")]


def test_ties_in_time_are_ordered_by_id():
    wires = [view(T0, id=name, channel=name) for name in ("b", "a", "c")]
    for order in ((0, 1, 2), (2, 1, 0), (1, 0, 2), (0, 2, 1)):
        assert labels(intake(*(wires[place] for place in order)))[0][0] == "a"


def test_segment_is_the_start_events_own_else_the_one_carried_before():
    assert [session.segment for session in sessions_of(intake(view(T0, segment="vip"), view(T0 + 1, segment="new")))] == ["vip"]
    state = intake(event("signed_up", T0, visitor="v1", customer=None, segment="vip"), view(T0 + H))
    assert [(session.segment, session.carried) for session in sessions_of(state)] == [(None, "vip")]
    late = intake(view(T0 + H), event("signed_up", T0 + M, visitor="v1", customer=None, segment="vip"))
    assert [session.carried for session in sessions_of(late)] == ["vip"], "noticed later, carried before"


# --- any order gives what sorting gives ---------------------------------------------------------------------------------

EVENT = st.tuples(
    st.sampled_from(["page_viewed", "page_viewed", "element_clicked", "goal_reached"]),
    st.sampled_from([0, 1, 5 * S, 10 * S, 10 * S + 1, 5 * M, 29 * M, 30 * M - 1, 30 * M, 30 * M + 1, 50 * M]),
    st.sampled_from([None, None, "paid", "email"]),
    st.sampled_from([None, "https://t.co/", "https://www.google.com/"]),
    st.sampled_from(["vip", "new"]),
)


@st.composite
def histories(draw):
    at, wires = T0, []
    for number, (kind, step, channel, referrer, segment) in enumerate(draw(st.lists(EVENT, min_size=1, max_size=22))):
        at += step
        own = {"path": f"/{number % 3}", "referrer": referrer, "campaign": None} if kind == "page_viewed" else {}
        wires.append(event(kind, at, visitor="v1", id=f"{draw(st.integers(0, 99)):02}-{number}", channel=channel, segment=segment, **own))
    return wires


def scanned(wires: list[dict]) -> list[tuple]:
    """Sessions by sorting and scanning, from the definitions alone."""
    source = {None: "direct", "https://t.co/": "social", "https://www.google.com/": "search"}
    clusters: list[list[dict]] = []
    for wire in sorted(wires, key=lambda wire: (wire["at"], wire["id"])):
        if clusters and wire["at"] - clusters[-1][-1]["at"] < 30 * M:
            clusters[-1].append(wire)
        else:
            clusters.append([wire])
    found = []
    for cluster in clusters:
        pages = [wire for wire in cluster if wire["type"] == "page_viewed"]
        if pages:
            goals = sum(wire["type"] == "goal_reached" for wire in cluster)
            duration = cluster[-1]["at"] - cluster[0]["at"]
            found.append((
                cluster[0]["at"], duration, len(pages), goals, len(pages) >= 2 or goals > 0 or duration > 10 * S, cluster[0]["segment"],
                next((wire["channel"] for wire in cluster if "channel" in wire), None), source[pages[0].get("referrer")], pages[0]["path"],
            ))  # fmt: skip
    return found


@settings(max_examples=200, deadline=None)
@given(histories(), st.data())
def test_any_order_of_arrival_gives_the_sessions_of_the_sorted_events(wires, data):
    arrival = data.draw(st.permutations(wires))
    flush_after = data.draw(st.sets(st.integers(0, len(wires))))
    state = intake()
    for number, wire in enumerate(arrival):
        feed(state, [wire])
        if number in flush_after:
            state.drain(number + 1)
    found = [
        (s.start, s.duration, s.pages, s.key_events, s.engaged, s.segment, s.channel, s.source, s.route)
        for s in sorted(sessions_of(state), key=lambda session: session.start)
    ]
    assert found == scanned(wires)
    state.drain(99)
    index = FAMILIES[Session].indices["sessions"][0]
    assert sum(cell[index] for key, cell in pane_rows(state).items() if key[0] == "session" and key[2] == "route") == len(found)
