"""Verdicts on events, in the order of ruling 6, with exact edges; flags; accounting; labels; segments carried."""

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.admission import FLAGS, SeenIds, unaccounted
from streams.engagement import FAMILIES
from streams.events import EVENT_TYPES, NAMES, PageViewed
from streams.facts import TextJudged
from streams.intake import RECEIPT_HEADER, Intake
from streams.panes import TOO_OLD
from streams.sites import ConsentDefaults, Site, Sites
from streams.topics import EVENT_TOPICS
from tests.strategies import raw_events
from tests.streams.records import T0, D, H, M, Rec, S, event, feed, intake, pane_rows, record, totals, view

GOOGLEBOT = "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)"
DELAY = 5 * S


def verdict(state: Intake, wire) -> dict[str, int]:
    """What one more event adds to the counters."""
    before = totals(state)
    feed(state, [wire])
    return {name: number - before.get(name, 0) for name, number in totals(state).items() if number != before.get(name, 0)}


# --- lateness -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("behind", "expected", "panes"),
    [
        (0, {"applied": 1}, "minute quarter day"),
        (H, {"applied": 1}, "minute quarter day"),
        (H + 1, {"applied": 1, "flag.partly_late": 1}, "quarter day"),
        (26 * H, {"applied": 1, "flag.partly_late": 1}, "quarter day"),
        (26 * H + 1, {"applied": 1, "flag.partly_late": 1}, "day"),
        (8 * D, {"applied": 1, "flag.partly_late": 1}, "day"),
        (8 * D + 1, {"late": 1}, ""),
        (TOO_OLD, {"late": 1}, ""),
        (TOO_OLD + 1, {"failed.too_old": 1}, ""),
    ],
)
def test_exactly_the_grace_is_in_time(behind, expected, panes):
    newest = T0 + 500 * D
    state = intake(view(newest, visitor="other"))
    state.drain(1)
    before = pane_rows(state)
    assert verdict(state, view(newest - DELAY - behind)) == expected
    state.drain(2)
    sizes = {M: "minute", 15 * M: "quarter", D: "day"}
    new = {sizes[key[1]] for key, cell in pane_rows(state).items() if before.get(key) != cell and key[0] in ("page_view", "session")}
    assert new == set(panes.split())


@pytest.mark.parametrize("kind", ["consent_changed", "erase_requested", "customer_identified"])
def test_some_are_never_late(kind):
    newest = T0 + 500 * D
    state = intake(event("signed_up", newest))
    assert verdict(state, event(kind, newest - DELAY - TOO_OLD)) == {"applied": 1}
    assert verdict(state, event(kind, newest - DELAY - TOO_OLD - 1)) == {"failed.too_old": 1}


def test_lateness_is_judged_against_the_events_own_topic():
    state = intake(view(T0 + 20 * D))
    assert verdict(state, event("review_posted", T0)) == {"applied": 1}


def test_bots_duplicates_and_refused_events_move_the_watermark():
    for wire in (view(T0 + D, user_agent=GOOGLEBOT), view(T0 + D, consent={"analytics": False})):
        state = intake(view(T0), wire)
        assert state.newest == {"website": T0 + D}
        assert verdict(state, view(T0)) == {"applied": 1, "flag.partly_late": 1}


# --- time ---------------------------------------------------------------------------------------------------------------


def test_what_comes_too_late_for_its_quarter_hour_is_counted_in_none():
    """26 h and 7 min behind: an interaction is counted by quarter hours alone."""
    like = {"network": "n"}
    state = intake(event("interaction_made", T0 + D, id="a", **like) | {"kind": "like"})
    assert verdict(state, event("interaction_made", T0 + D - 26 * H - 7 * M, id="b", **like) | {"kind": "like"}) == {"applied": 1, "flag.partly_late": 1}
    counted = {key[4] for key in pane_rows(state) if key[0] == "engagement"}
    assert counted == {T0 + D}


def test_an_event_ahead_of_a_receipt_before_1990_is_failed():
    state = intake()
    assert verdict(state, view(T0) | {"received_at": 1}) == {"failed.bad_time": 1}
    assert state.failed[0].value


@pytest.mark.parametrize(("ahead", "clamped"), [(60 * S, False), (60 * S + 1, True)])
def test_events_far_ahead_of_their_receipt_are_clamped_and_move_no_watermark(ahead, clamped):
    state = intake(view(T0))
    state.apply("website", [record(1, view(T0 + H + ahead), timestamp=T0 + H)])
    assert totals(state) == {"applied": 2} | ({"flag.clamped": 1} if clamped else {})
    assert state.newest["website"] == (T0 if clamped else T0 + H + ahead)
    minutes = {key[4] for key in pane_rows(state) if key[:3] == ("page_view", M, "route")}
    assert minutes == {T0, T0 + H if clamped else T0 + H + M}


def test_receipt_is_received_at_else_the_header_else_the_records_timestamp():
    for wire, timestamp, headers in (
        (view(T0 + H, received_at=T0), T0 + H, ()),
        (view(T0 + H), T0 + H, ((RECEIPT_HEADER, b"%d" % T0),)),
        (view(T0 + H, received_at=T0), T0 + H, ((RECEIPT_HEADER, b"%d" % (T0 + H)),)),
        (view(T0 + H), T0, ()),
    ):
        state = intake()
        state.apply("website", [record(0, wire, timestamp, headers)])
        assert totals(state) == {"applied": 1, "flag.clamped": 1}


def test_what_says_no_time_happened_when_it_was_received_and_is_the_same_whenever_it_comes():
    state = intake()
    untimed = view(T0, id="a") | {"at": None}
    for offset, (received_at, timestamp) in enumerate(((None, T0), (None, T0 + H), (T0 + 2 * H, T0 + 3 * H))):
        state.apply("website", [record(offset, {**untimed, "received_at": received_at}, timestamp)])
        assert state.newest["website"] == (T0, T0 + H, T0 + 2 * H)[offset]
    assert totals(state) == {"applied": 1, "duplicate": 2}
    assert verdict(state, {**untimed, "at": T0 + 2 * H}) == {"applied": 1}, "another one, as it says its time"
    state.apply("website", [record(9, {**untimed, "id": "b"}, -1)])
    (failed,) = state.failed
    assert dict(failed.headers)["engage-detail"] == b"The event says no time (`at`), and neither does its record."


def test_a_wrong_clock_is_repaired():
    """The client's clock is a day ahead: both its times are."""
    state = intake(view(T0 + D, sent_at=T0 + D + 2 * S, received_at=T0 + 2 * S))
    assert state.newest == {"website": T0}
    assert totals(state) == {"applied": 1}


def test_only_failures_leave_a_topic_without_a_watermark():
    state = intake()
    state.apply("reviews", [record(0, b"nonsense")])
    assert state.newest == {}


# --- duplicates ---------------------------------------------------------------------------------------------------------


def test_what_makes_two_events_the_same():
    first = view(T0, id="a")
    state = intake(first)
    assert verdict(state, first) == {"duplicate": 1}
    assert verdict(state, {**first, "path": "/other"}) == {"duplicate": 1}
    assert verdict(state, {**first, "at": "2026-03-02T01:00:00+01:00"}) == {"duplicate": 1}, "the same instant"
    for other in ({"at": T0 + 1}, {"visitor": "v2"}, {"site": "blog"}, {"id": "b"}, {"customer": "v1"}):
        assert verdict(state, {**first, **other}) == {"applied": 1}
    assert verdict(state, event("page_left", T0, id="a", visitor="v1")) == {"applied": 1}


@pytest.mark.parametrize(
    ("wire", "headers", "path", "detail"),
    [
        (view(T0 - TOO_OLD - D), (), "$.at", "The event is more than 400 days behind the watermark."),
        (view(T0, received_at=0), (), "$.received_at", "The event is ahead of its receipt, and that lies before 1990."),
        (view(T0), (("content-encoding", b"gzip"),), "$", "The content-encoding 'gzip' is not understood; send plain JSON."),
    ],
)
def test_a_refusal_is_told_in_a_sentence(wire, headers, path, detail):
    state = intake(view(T0))
    state.apply("website", [Rec(7, T0, msgspec.json.encode(wire), b"key", headers)])
    said = dict(state.failed[-1].headers)
    assert (said["engage-path"].decode(), said["engage-detail"].decode()) == (path, detail)


def test_an_id_is_remembered_once_the_event_has_passed_late():
    state = intake(view(T0 + 20 * D))
    late, old = view(T0), view(T0 - TOO_OLD)
    for _ in range(2):
        assert verdict(state, late) == {"late": 1}
        assert verdict(state, old) == {"failed.too_old": 1}
    for wire, first in (
        (view(T0 + 20 * D, user_agent=GOOGLEBOT), "bot"),
        (view(T0 + 20 * D, consent={"analytics": False}), "refused.no_consent"),
    ):
        assert verdict(state, wire) == {first: 1}
        assert verdict(state, wire) == {"duplicate": 1}


def test_ids_survive_flush_and_restart():
    state = intake(wire := view(T0))
    rows, _ = state.drain(1)
    again = Intake(0, 1, Sites())
    again.load([(key, value) for key, value in rows if value is not None], msgspec.msgpack.decode(msgspec.msgpack.encode(state.stamp())), {}, 1)
    assert verdict(again, wire) == {"duplicate": 1}


def test_when_the_number_of_ids_binds_older_events_are_late_and_nothing_counts_twice():
    state = intake()
    state.seen = SeenIds(most=16)
    wires = [view(T0 + number * M) for number in range(40)]
    for number, wire in enumerate(wires):
        feed(state, [wire])
        state.drain(number)
    horizon = state.seen.horizon["website"]
    assert T0 < horizon < T0 + 39 * M
    for wire in wires:
        assert verdict(state, wire) == ({"late": 1} if wire["at"] <= horizon else {"duplicate": 1})
    assert verdict(state, event("review_posted", T0)) == {"applied": 1}, "each topic has its own horizon"


# --- order of verdicts --------------------------------------------------------------------------------------------------


def test_the_first_verdict_that_applies_holds():
    """Each event below earns its own verdict and all that come after it."""
    newest = T0 + 500 * D
    state = intake(
        view(newest, visitor="other"),
        event("consent_changed", newest - 20 * D, visitor="v1", customer=None, purpose="analytics", granted=False),
        event("erase_requested", newest - 20 * D, visitor="gone", customer=None),
    )
    bad = {"visitor": "gone", "user_agent": GOOGLEBOT, "consent": {"analytics": False}}
    assert verdict(state, {**view(newest - TOO_OLD - D, **bad), "path": 5}) == {"failed.wrong_type": 1}
    assert verdict(state, view(newest - TOO_OLD - D, **bad)) == {"failed.too_old": 1}
    assert verdict(state, view(newest - 9 * D, **bad)) == {"late": 1}
    repeated = view(newest, **bad)
    assert verdict(state, repeated) == {"bot": 1}
    assert verdict(state, repeated) == {"duplicate": 1}
    assert verdict(state, view(newest, visitor="gone", consent={"analytics": False})) == {"refused.erased": 1}
    assert verdict(state, view(newest)) == {"refused.no_consent": 1}
    assert verdict(state, view(newest, visitor="other")) == {"applied": 1}


# --- consent and erasure ------------------------------------------------------------------------------------------------


def consent(at: int, granted: bool, purpose: str = "analytics", **fields) -> dict:
    return event("consent_changed", at, visitor="v1", customer=None, purpose=purpose, granted=granted, **fields)


def erase(at: int) -> dict:
    return event("erase_requested", at, visitor="v1", customer=None)


REFUSED, APPLIED = {"refused.no_consent": 1}, {"applied": 1}


@pytest.mark.parametrize("order", [1, -1])
def test_consent_holds_by_event_time(order):
    state = intake(*[consent(T0, False), consent(T0 + 10 * M, True), consent(T0 + 20 * M, False)][::order])
    for minute, expected in ((-1, APPLIED), (1, REFUSED), (9, REFUSED), (11, APPLIED), (21, REFUSED)):
        assert verdict(state, view(T0 + minute * M)) == expected
    assert verdict(state, view(T0 + 10 * M - 1)) == REFUSED
    assert verdict(state, view(T0 + 10 * M, id="zz")) == APPLIED, "at or before the event; ties by id"


def test_a_field_on_the_event_overrides_for_that_event():
    state = intake(consent(T0, False))
    assert verdict(state, view(T0 + M, consent={"analytics": True})) == APPLIED
    assert verdict(state, view(T0 + M)) == REFUSED
    assert verdict(state, view(T0 + M, consent={"sentiment": True})) == REFUSED, "a part that is absent overrides nothing"


def test_the_sites_default_holds_for_who_said_nothing():
    state = intake(sites=Sites({"shop": Site(consent=ConsentDefaults(analytics=False))}))
    assert verdict(state, view(T0)) == REFUSED
    assert verdict(state, view(T0, site="blog")) == APPLIED
    feed(state, [consent(T0, True)])
    assert verdict(state, view(T0 + M)) == APPLIED


def test_what_is_no_analytics_is_not_refused():
    refused = {NAMES[struct] for struct in EVENT_TYPES if struct.analytics}
    assert refused == {
        "page_viewed", "page_left", "element_clicked", "media_played", "file_downloaded", "goal_reached", "product_viewed", "product_added", "product_removed",
        "checkout_started", "checkout_step_completed", "payment_failed", "experiment_viewed", "signed_in", "feature_used", "interaction_made",
        "message_opened", "message_clicked",
    }  # fmt: skip
    for struct in EVENT_TYPES:
        name = NAMES[struct]
        wire = event(name, T0, consent={"analytics": False})
        assert verdict(intake(), wire) == (REFUSED if struct.analytics else APPLIED), name


def test_a_withdrawal_holds_as_long_as_the_subject_comes_back():
    """Refused events keep what was said about consent, with one row a day; without any it is forgotten after 400 days."""
    state = intake(consent(T0, False))
    state.drain(1)
    for day in range(1, 900):
        assert verdict(state, view(T0 + day * D)) == REFUSED
        state.subjects.drain(state.notes.forget_some)
        assert verdict(state, view(T0 + day * D + H)) == REFUSED
        assert not state.subjects.changed, "a flood of them writes little"
    assert verdict(state, view(T0 + (899 + 400) * D)) == REFUSED
    assert verdict(state, view(T0 + (899 + 400 + 401) * D)) == APPLIED


def test_without_consent_to_sentiment_texts_are_not_judged():
    def texts(*wires):
        return sum(cell[0] for key, cell in pane_rows(intake(*wires)).items() if key[:3] == ("text", D, "network"))

    assert FAMILIES[TextJudged].indices["texts_scored"] == (0,)
    assert texts(event("mention_posted", T0)) == 1
    assert texts(event("mention_posted", T0, consent={"sentiment": False})) == 0
    withdrawn = event("consent_changed", T0, customer="42", purpose="sentiment", granted=False)
    assert texts(withdrawn, event("ticket_opened", T0 + M)) == 0


def test_an_erased_subject_is_refused_for_400_days():
    state = intake(view(T0, segment="vip"), erase(T0 + M))
    for wire in (view(T0 + 2 * M), view(T0), event("order_completed", T0 + H, visitor="v1", customer=None)):
        assert verdict(state, wire) == {"refused.erased": 1}
    assert verdict(state, view(T0 + M + 400 * D - 1)) == {"refused.erased": 1}
    assert verdict(state, view(T0 + M + 400 * D)) == APPLIED


def test_nothing_is_known_of_an_erased_subject():
    state = intake(view(T0, segment="vip"), event("review_posted", T0, author=None, visitor="v1"), erase(T0 + M))
    subject = state.subjects.known["shop/v:v1"]
    assert (subject.sessions, subject.views, subject.segments, subject.reviews, subject.seen) == ([], [], [], None, 0)
    state.drain(1)
    assert any(key[0] == "session" for key in pane_rows(state)), "what was counted stays counted"


@pytest.mark.parametrize("order", [1, -1])
def test_a_new_grant_ends_the_erasure(order):
    state = intake(*[erase(T0), consent(T0 + M, True)][::order])
    assert verdict(state, view(T0 + 2 * M)) == APPLIED


@pytest.mark.parametrize("order", [1, -1])
def test_an_earlier_grant_does_not_end_it(order):
    state = intake(*[consent(T0, True), erase(T0 + M)][::order])
    assert verdict(state, view(T0 + 2 * M)) == {"refused.erased": 1}


def test_a_grant_of_another_purpose_does_not_end_it():
    assert verdict(intake(erase(T0), consent(T0 + M, True, "profiling")), view(T0 + 2 * M)) == {"refused.erased": 1}


# --- labels, flags, segments --------------------------------------------------------------------------------------------


def test_label_values_beyond_the_first_50_are_other():
    state = intake(*(view(T0, path=f"/r{number}", visitor=f"v{number}") for number in range(60)), view(T0, path="/r0", visitor="again"))
    routes = {key[5]: cell for key, cell in pane_rows(state).items() if key[:3] == ("page_view", M, "route")}
    assert len(routes) == 51
    index = FAMILIES[PageViewed].indices["page_views"][0]
    assert (routes["/r49"][index], routes["other"][index], routes["/r0"][index]) == (1, 10, 2)
    feed(state, [view(T0, path="/r55", site="blog")])
    assert {key[5] for key in pane_rows(state) if key[:4] == ("page_view", M, "route", "blog")} == {"/r55"}, "per site"


def test_missing_labels_are_unknown():
    rows = pane_rows(intake(view(T0)))
    assert ("page_view", M, "segment,channel", "shop", T0, "unknown", "unknown") in rows
    assert ("page_view", M, "source", "shop", T0, "direct") in rows


def test_misrouted_events_are_counted_by_a_sample():
    wires = [view(T0, visitor=f"v{number}") for number in range(640)]
    state = Intake(0, 8, Sites())
    state.apply("website", [record(number, wire) for number, wire in enumerate(wires)])
    assert state.counts["website"]["applied"] == 640
    assert 1 <= state.counts["website"]["flag.misrouted"] <= 10
    assert totals(intake(*wires)) == {"applied": 640}


def test_texts_that_are_cut_are_flagged():
    assert totals(intake(event("mention_posted", T0, text="good " * 801))) == {"applied": 1, "flag.truncated": 1}
    assert totals(intake(event("mention_posted", T0, text="good " * 800))) == {"applied": 1}


@pytest.mark.parametrize("order", [1, -1])
def test_segments_are_carried_by_event_time_from_any_topic(order):
    wires = [
        event("signed_up", T0, visitor="v1", customer=None, segment="new"),
        event("signed_up", T0 + 2 * H, visitor="v1", customer=None, segment="vip"),
        view(T0 + H),
        view(T0 + 3 * H),
    ]
    state = intake(*wires[::order])
    state.drain(1)
    segments = {(key[4], key[5]) for key in pane_rows(state) if key[0] == "session" and key[2] == "segment,channel"}
    expected = {(T0 + H, "new"), (T0 + 3 * H, "vip")}
    assert segments == expected


# --- hostile records ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "headers", "reason"),
    [
        (None, (), "empty"),
        (b"", (), "empty"),
        (b"{}", (), "missing_field"),
        (b"\xff", (), "not_utf8"),
        (b"[" * 30_000, (), "too_deep"),
        (b'{"type":"page_viewed"', (), "not_json"),
        (b" " * 40_000, (), "too_large"),
        (b'{"type":"review_posted"}', (), "wrong_topic"),
        (msgspec.json.encode(view(T0)), (("content-encoding", b"gzip"),), "unsupported_encoding"),
        (msgspec.json.encode(view(T0)), (("Content-Encoding", b"\xff\xfe"),), "unsupported_encoding"),
        (msgspec.json.encode(view(5)), (), "bad_time"),
        (msgspec.json.encode(event("page_viewed", T0, visitor=None)), (), "no_subject"),
        (msgspec.json.encode(view(T0)), ((RECEIPT_HEADER, b"soon"),), "bad_value"),
        (msgspec.json.encode(view(T0)), ((RECEIPT_HEADER, None),), "bad_value"),
        (b"{}", (("content-encoding", None),), "missing_field"),
    ],
)
def test_what_cannot_be_read_is_kept_with_its_reason(value, headers, reason):
    state = intake()
    state.apply("website", [Rec(7, T0, value, b"key", headers)])
    assert totals(state) == {f"failed.{reason}": 1}
    (message,) = state.failed
    assert (message.topic, message.key, message.value) == ("failed", b"key", value or b"")
    said = dict(message.headers[:7])
    assert said["engage-reason"] == reason.encode()
    assert (said["engage-topic"], said["engage-partition"], said["engage-offset"], said["engage-timestamp"]) == (b"website", b"0", b"7", b"%d" % T0)
    assert message.headers[7:] == headers


@pytest.mark.parametrize("header", [b"identity", b"Identity", None, b""])
def test_an_encoding_that_is_none_is_fine(header):
    state = intake()
    state.apply("website", [Rec(0, T0, msgspec.json.encode(view(T0)), None, (("content-encoding", header),))])
    assert totals(state) == {"applied": 1}


HOSTILE = st.none() | st.binary(max_size=60) | st.sampled_from([b"null", b"[]", b'{"type":1}', b'{"type":"page_viewed","at":1e400}', b'"\\ud800"'])
HEADERS = st.lists(
    st.tuples(st.sampled_from([RECEIPT_HEADER, "content-encoding", "x"]), st.none() | st.binary(max_size=8) | st.sampled_from([b"identity", b"-5", b"9" * 30])),
    max_size=2,
).map(tuple)
VALUES = HOSTILE | raw_events() | raw_events(visitor="v1", at=T0, id="same")


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(EVENT_TOPICS), VALUES, HEADERS, st.integers(-1, 2**41), st.integers(1, 2)), max_size=12), st.booleans())
def test_every_record_has_one_verdict(mix, zoned):
    """Whatever comes: received = applied + late + duplicate + bot + failed + refused, and what failed is kept."""
    state = Intake(0, 2, Sites(default=Site(time_zone="Europe/Berlin")) if zoned else Sites())
    offset = 0
    for topic, value, headers, timestamp, repeats in mix:
        for _ in range(repeats):
            state.apply(topic, [Rec(offset, timestamp, value, None, headers)])
            offset += 1
    state.drain(1)
    assert sum(counts["received"] for counts in state.counts.values()) == offset
    for counts in state.counts.values():
        assert unaccounted(counts) == 0
        assert {name for name in counts if name.startswith("flag.")} <= {f"flag.{flag}" for flag in FLAGS}
    assert len(state.failed) == sum(number for name, number in totals(state).items() if name.startswith("failed."))
