"""Each wire in the shapes that the real clients send (captured.jsonl), and in those that are not captured."""

import base64
import json
from collections import Counter
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import msgspec
import pytest

from collector.envelopes import PATHS, open_envelope
from collector.translation import Accepted, Context, Outcome, translate
from collector.wires.reading import Envelope
from streams import events as e
from streams.events import Reason, Rejected
from streams.examples import EXAMPLES
from streams.intake import Intake
from streams.sites import Sites
from tests.streams.records import Rec

RECEIVED = 1_795_343_762_000
CONTEXT = Context("shop", RECEIVED)
CAPTURED = [json.loads(line) for line in (Path(__file__).parent / "captured.jsonl").read_text().splitlines()]


def opened(path: str, body: Any, **headers: str) -> Envelope | Rejected:
    url = urlsplit(path)
    raw = body if isinstance(body, bytes) else body.encode() if isinstance(body, str) else json.dumps(body).encode()
    return open_envelope(*PATHS[url.path], {name.replace("_", "-"): value for name, value in headers.items()}, dict(parse_qsl(url.query)), raw)


def told(path: str, body: Any, context: Context = CONTEXT, **headers: str) -> list[Outcome]:
    envelope = opened(path, body, **headers)
    assert isinstance(envelope, Envelope), envelope
    return translate(envelope, context)


def events_of(path: str, body: Any, context: Context = CONTEXT, **headers: str) -> list[e.Event]:
    outcomes = told(path, body, context, **headers)
    assert all(isinstance(outcome, Accepted) for outcome in outcomes), outcomes
    return [outcome.event for outcome in outcomes if isinstance(outcome, Accepted)]


def one(path: str, body: Any, context: Context = CONTEXT, **headers: str) -> Any:
    (event,) = events_of(path, body, context, **headers)
    return event


def segment(**fields: Any) -> dict[str, Any]:
    return {"type": "track", "messageId": "m-1", "timestamp": "2026-11-22T10:35:57.783Z", "userId": "42", **fields}


def posthog(event: str, **properties: Any) -> dict[str, Any]:
    return {"event": event, "uuid": "u-1", "distinct_id": "42", "timestamp": "2026-11-22T10:35:57.783Z", "properties": properties}


def snowplow(**fields: str) -> dict[str, Any]:
    return {"schema": "iglu:x", "data": [{"eid": "s-1", "dtm": "1795343757891", "uid": "42", "duid": "d1", "aid": "shop", **fields}]}


# --- what the real clients send --------------------------------------------------------------------------------------


@pytest.mark.parametrize("request_", CAPTURED, ids=[f"{request['client']} {number}" for number, request in enumerate(CAPTURED)])
def test_what_a_real_client_sends_arrives_typed(request_):
    outcomes = told(request_["path"], request_["body"])
    assert outcomes
    for outcome in outcomes:
        assert isinstance(outcome, Accepted), outcome
        assert e.DECODERS[outcome.topic](outcome.value) == outcome.event
        assert outcome.key == e.key_of(outcome.event).encode()
        assert outcome.event.site == "shop"
        assert 0 <= RECEIVED - e.event_time(outcome.event) < 5_000


def test_all_captured_clients_together_say_this():
    outcomes = [outcome for request in CAPTURED for outcome in told(request["path"], request["body"])]
    assert Counter(e.NAMES[type(outcome.event)] for outcome in outcomes) == {
        "order_completed": 7, "product_viewed": 1, "page_viewed": 6, "element_clicked": 4, "customer_identified": 6, "customer_updated": 8,
    }  # fmt: skip
    orders = [outcome.event for outcome in outcomes if isinstance(outcome.event, e.OrderCompleted)]
    assert {(order.order, order.total_minor, order.currency, order.items[0]) for order in orders} == {("o-1", 2750, "USD", e.Item("p1", 1, 1900))}
    assert sum("unmapped" in outcome.flags for outcome in outcomes) == 4
    assert len({(outcome.event.id, type(outcome.event)) for outcome in outcomes}) == len(outcomes)


def test_write_keys_and_the_time_of_sending_are_found_in_the_body():
    found = {request["client"].split()[0]: opened(request["path"], request["body"]) for request in CAPTURED if request["path"] != "/i/v1/analytics/events"}
    assert {client: envelope.write_key for client, envelope in found.items()} == {
        "segment-analytics-python": "WK", "@segment/analytics-node": "WK", "rudder-sdk-python": None, "@rudderstack/rudder-sdk-node": None,
        "posthog": "phc_x", "posthog-node": "phc_x", "snowplow-tracker": "shop",
    }  # fmt: skip
    assert all(envelope.sent_at for client, envelope in found.items() if client != "snowplow-tracker")


# --- Segment ---------------------------------------------------------------------------------------------------------

BROWSER = {
    "type": "page", "messageId": "ajs-1", "anonymousId": "an1", "userId": None, "writeKey": "WK", "timestamp": "2026-11-22T10:35:57.783Z",
    "sentAt": "2026-11-22T10:35:58.000Z", "properties": {"path": "/shoes", "referrer": "https://www.google.com/search?q=shoes", "title": "Shoes",
    "search": "?utm_source=news&gclid=7", "url": "https://shop.example/shoes?utm_source=news&gclid=7"},
    "context": {
        "page": {"path": "/shoes", "referrer": "https://www.google.com/search?q=shoes", "search": "?utm_source=news&gclid=7", "title": "Shoes"},
        "campaign": {"source": "news", "medium": "email"}, "ip": "203.0.113.9", "locale": "de-DE",
        "userAgent": "Mozilla/5.0 (iPhone; CPU iPhone OS 17_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.0 Mobile/15E148 Safari/604.1",
    },
}  # fmt: skip


def test_a_page_of_a_browser():
    page = one("/v1/p", BROWSER)
    assert page == e.PageViewed(
        id="ajs-1", site="shop", at=1_795_343_757_783, sent_at=1_795_343_758_000, received_at=RECEIVED, visitor="an1", path="/shoes?utm_source=news",
        title="Shoes", referrer="www.google.com", campaign=e.Campaign("news", "email"), user_agent="Safari", device="mobile",
    )  # fmt: skip


def test_what_is_tracked_in_a_browser_knows_its_page():
    click = one("/v1/t", {**BROWSER, "type": "track", "event": "Button Clicked", "properties": {"button": "book"}})
    assert (click.element, click.path, click.visitor) == ("book", "/shoes?utm_source=news", "an1")


@pytest.mark.parametrize(("letter", "kind"), [("t", "track"), ("i", "identify"), ("p", "page"), ("s", "screen"), ("g", "group"), ("a", "alias")])
def test_the_kind_is_the_paths_where_the_message_has_none(letter, kind):
    message = {name: value for name, value in segment(event="Signed In", name="Home", groupId="g", previousId="an1").items() if name != "type"}
    names = {"track": "signed_in", "page": "page_viewed", "screen": "page_viewed", "identify": "customer_updated", "group": "customer_updated"}
    for path in (f"/v1/{letter}", f"/v1/{kind}"):
        assert e.NAMES[type(one(path, message))] == names.get(kind, "customer_identified")


def test_identify_says_who_the_visitor_is_and_what_is_known():
    identified, updated = events_of("/v1/identify", segment(type="identify", anonymousId="an1", traits={"plan": "pro", "address": {"city": "Ulm"}, "age": 30}))
    assert isinstance(identified, e.CustomerIdentified)
    assert (identified.customer, identified.visitor, identified.id) == ("42", "an1", "m-1")
    assert isinstance(updated, e.CustomerUpdated)
    assert (updated.traits, updated.id) == ({"plan": "pro", "age": 30}, "m-1/2")


def test_identify_of_one_id_only_updates():
    assert isinstance(one("/v1/identify", segment(type="identify", traits={"plan": "pro"})), e.CustomerUpdated)
    assert isinstance(one("/v1/identify", segment(type="identify")), e.CustomerUpdated)
    assert one("/v1/identify", segment(type="identify", userId=None, anonymousId="an1", traits={"a": 1})).visitor == "an1"


def test_traits_of_rudderstacks_browsers_are_in_the_context():
    assert one("/v1/identify", segment(type="identify", context={"traits": {"plan": "pro"}})).traits == {"plan": "pro"}


def test_alias_hands_the_one_before_over():
    event = one("/v1/alias", segment(type="alias", previousId="an1"))
    assert isinstance(event, e.CustomerIdentified)
    assert (event.visitor, event.customer) == ("an1", "42")
    (refused,) = told("/v1/alias", segment(type="alias"))
    assert refused[:2] == (Reason.MISSING_FIELD, "$.previousId")


def test_a_group_is_a_trait():
    assert one("/v1/group", segment(type="group", groupId="acme", traits={"seats": 5})).traits == {"group": "acme", "seats": 5}
    assert told("/v1/group", segment(type="group"))[0][:2] == (Reason.MISSING_FIELD, "$.groupId")


def test_nobody_named_is_no_subject():
    (refused,) = told("/v1/track", segment(event="Signed In", userId=None))
    assert (refused.reason, refused.detail) == (Reason.NO_SUBJECT, "Nobody is named: send `userId` or `anonymousId`.")


def test_one_bad_message_does_not_spoil_the_batch():
    batch = {"batch": [segment(event="Signed In"), 7, {"type": "track"}, segment(type="what"), segment(event="Order Completed", properties={"order_id": "o"})]}
    good, number, nameless, kind, order = told("/v1/batch", batch)
    assert isinstance(good, Accepted)
    assert number == Rejected(Reason.WRONG_TYPE, "$", "A message must be a JSON object.", b"7")
    assert nameless[:2] == (Reason.MISSING_FIELD, "$.event")
    assert kind[:2] == (Reason.UNKNOWN_TYPE, "$.type")
    assert order[:2] == (Reason.MISSING_FIELD, "$.properties.currency")
    assert json.loads(order.raw) == batch["batch"][4]


@pytest.mark.parametrize(
    ("path", "body", "reason", "place"),
    [
        ("/v1/batch", b"", Reason.EMPTY, "$"),
        ("/v1/batch", b"{", Reason.NOT_JSON, "$"),
        ("/v1/batch", b"\xff", Reason.NOT_UTF8, "$"),
        ("/v1/batch", b"[]", Reason.WRONG_TYPE, "$"),
        ("/v1/batch", b"{}", Reason.MISSING_FIELD, "$.batch"),
        ("/v1/batch", b'{"batch":{}}', Reason.WRONG_TYPE, "$.batch"),
        ("/v1/batch", b'{"batch":' + b"[" * 100_000, Reason.TOO_DEEP, "$"),
        ("/v1/batch", b'{"batch":[' + b" " * 40_000, Reason.NOT_JSON, "$"),
        ("/batch/", b"{}", Reason.MISSING_FIELD, "$.batch"),
        ("/com.snowplowanalytics.snowplow/tp2", b"{}", Reason.MISSING_FIELD, "$.data"),
        ("/v1/events", b"nothing", Reason.NOT_JSON, "$"),
        ("/v1/events", b"7", Reason.WRONG_TYPE, "$"),
    ],
)
def test_a_body_without_messages_says_why(path, body, reason, place):
    assert opened(path, body)[:2] == (reason, place)


def test_messages_have_the_bounds_of_events():
    large, deep = segment(event="x", properties={"a": "b" * 33_000}), segment(event="x", properties=json.loads('{"a":' * 31 + "1" + "}" * 31))
    too_deep = segment(event="x", properties=json.loads('{"a":' * 32 + "1" + "}" * 32))
    outcomes = told("/v1/batch", {"batch": [large, deep, too_deep]})
    assert [isinstance(outcome, Accepted) or outcome.reason for outcome in outcomes] == [Reason.TOO_LARGE, True, Reason.TOO_DEEP]


@pytest.mark.parametrize(
    ("fields", "at", "sent_at"),
    [
        ({}, None, None),
        ({"sentAt": "2026-11-22T10:00:00Z"}, None, 1_795_341_600_000),
        ({"messageId": None}, RECEIVED, None),
        ({"messageId": None, "sentAt": "2026-11-22T10:00:00Z"}, 1_795_341_600_000, 1_795_341_600_000),
        ({"originalTimestamp": "2026-11-22T10:00:00Z", "sentAt": "2026-11-22T10:00:02Z"}, 1_795_341_600_000, 1_795_341_602_000),
        ({"timestamp": "2026-11-22T12:00:00+02:00"}, 1_795_341_600_000, None),
        ({"timestamp": "2026-11-22T10:00:00"}, 1_795_341_600_000, None),
        ({"timestamp": 1_795_341_600_000}, 1_795_341_600_000, None),
    ],
)
def test_when_it_happened(fields, at, sent_at):
    event = one("/v1/track", {"type": "track", "event": "Signed In", "userId": "42", "messageId": "m", **fields})
    assert (event.at, event.sent_at, event.received_at) == (at, sent_at, RECEIVED)


@pytest.mark.parametrize(
    ("body", "counted"),
    [
        (("/v1/track", {"type": "track", "event": "Signed In", "userId": "42", "messageId": "m"}), 1),
        (("/v1/track", {"type": "track", "event": "Signed In", "userId": "42", "timestamp": RECEIVED}), 1),
        (("/v1/track", {"type": "track", "event": "Signed In", "userId": "42"}), 2),
        (("/capture/", {"event": "Signed In", "distinct_id": "42", "uuid": "m"}), 1),
        (("/v1/events", {"type": "signed_in", "id": "m", "customer": "42"}), 1),
        (("/v1/events", {"specversion": "1.0", "type": "io.engagement.signed_in.v1", "source": "/crm", "id": "m", "subject": "c:42"}), 1),
    ],
    ids=lambda value: str(value)[:80],
)
def test_what_is_sent_twice_counts_once_if_its_id_or_its_time_says_that_it_is_the_same(body, counted):
    """A worker's verdict on a message and on its repeat a minute later."""
    state = Intake(0, 1, Sites())
    for offset, later in enumerate((0, 60_000)):
        (outcome,) = told(*body, context=CONTEXT._replace(received_at=RECEIVED + later))
        assert isinstance(outcome, Accepted), outcome
        state.apply(outcome.topic, [Rec(offset, RECEIVED + later + 5, outcome.value)])
    (counts,) = state.counts.values()
    assert (counts["received"], counts["applied"], counts.get("duplicate", 0)) == (2, counted, 2 - counted)


def test_a_wrong_clock_is_repaired():
    event = one("/v1/track", segment(event="Signed In", timestamp="2026-11-22T09:00:00Z", sentAt="2026-11-22T09:00:02Z"))
    assert e.event_time(event) == RECEIVED - 2_000


@pytest.mark.parametrize("timestamp", ["yesterday", True, {}, "1970-01-01T00:00:00Z", 1_795_341_600])
def test_a_time_that_is_none_is_refused(timestamp):
    (refused,) = told("/v1/track", segment(event="Signed In", timestamp=timestamp))
    assert refused.reason is Reason.BAD_TIME


def test_without_an_id_a_retry_makes_the_same_one():
    body = {"type": "track", "event": "Signed In", "userId": "42", "timestamp": "2026-11-22T10:00:00Z"}
    first, second, other = one("/v1/track", body), one("/v1/track", body), one("/v1/track", {**body, "userId": "43"})
    assert first.id == second.id != other.id


def test_ids_too_long_to_keep_still_tell_apart():
    first, second = (one("/v1/track", segment(event="Signed In", userId="u" * 200 + end, messageId="m" * 200 + end)) for end in "ab")
    assert len(first.customer) <= 128
    assert (first.customer, first.id) != (second.customer, second.id)
    assert first.customer != second.customer


def test_consent_of_the_message_and_the_opt_out_of_the_browser():
    said = segment(event="Signed In", context={"consent": {"categoryPreferences": {"Analytics": True, "profiling": True, "Advertising": False}}})
    assert one("/v1/track", said).consent == e.Consent(analytics=True, profiling=True)
    assert one("/v1/track", said, CONTEXT._replace(opted_out=True)).consent == e.Consent(analytics=True, profiling=False)


# --- PostHog ---------------------------------------------------------------------------------------------------------


def test_a_pageview_of_a_browser():
    own = {
        "$current_url": "https://shop.example/shoes?utm_source=news&gclid=7#top", "$pathname": "/shoes", "$referrer": "$direct", "title": "Shoes",
        "$device_id": "dev", "$is_identified": False, "$device_type": "Mobile", "$raw_user_agent": "Mozilla/5.0 Firefox/120.0",
        "$pageview_id": "pv1", "$ip": "203.0.113.9",
    }  # fmt: skip
    page = one("/e/", {**posthog("$pageview", **own), "distinct_id": "dev"})
    assert (page.visitor, page.customer, page.path, page.title, page.referrer) == ("dev", None, "/shoes?utm_source=news", "Shoes", None)
    assert (page.view, page.campaign, page.user_agent, page.device, page.properties) == ("pv1", e.Campaign("news"), "Firefox", "mobile", None)


def test_pageleave_is_the_stay_on_the_page_before():
    own = {"$prev_pageview_pathname": "/shoes", "$prev_pageview_duration": 12.5, "$prev_pageview_max_scroll_percentage": 0.75, "$prev_pageview_id": "pv1"}
    left = one("/e/", posthog("$pageleave", **own))
    assert (left.path, left.engaged_seconds, left.scroll_ratio, left.view) == ("/shoes", 12.5, 0.75, "pv1")
    assert one("/e/", posthog("$pageleave", **{**own, "$prev_pageview_duration": 7_200})).engaged_seconds == 1_800


def test_autocapture_is_a_click():
    own = {"$event_type": "click", "$elements": [{"tag_name": "button", "$el_text": "Buy", "attr__id": "buy"}], "$pathname": "/shoes"}
    click = one("/e/", posthog("$autocapture", **own))
    assert (click.element, click.path, click.properties) == ("buy", "/shoes", {"action": "click"})


def test_a_feature_flag_is_an_experiment():
    seen = one("/e/", posthog("$feature_flag_called", **{"$feature_flag": "button", "$feature_flag_response": True}))
    assert (seen.experiment, seen.variant) == ("button", "true")


def test_identify_of_a_browser_hands_the_device_over():
    identified, updated = events_of("/e/", {**posthog("$identify", **{"$anon_distinct_id": "dev", "$set": {"plan": "pro"}}), "$set_once": {"first": "a"}})
    assert (identified.customer, identified.visitor) == ("42", "dev")
    assert updated.traits == {"plan": "pro", "first": "a"}


def test_posthog_needs_a_name_and_somebody():
    assert told("/e/", {"distinct_id": "42"})[0][:2] == (Reason.MISSING_FIELD, "$.event")
    assert told("/e/", {"event": "x"})[0].detail == "Nobody is named: send `distinct_id`."


def test_the_new_format_says_the_time_of_sending_in_a_header():
    body = {"batch": [posthog("Signed In")]}
    assert opened("/i/v1/analytics/events", body, posthog_request_timestamp="2026-11-22T10:36:00Z").sent_at == 1_795_343_760_000
    unskewed = {**posthog("Signed In"), "options": {"disable_skew_correction": True}}
    assert one("/i/v1/analytics/events", {"batch": [unskewed]}, posthog_request_timestamp="2026-11-22T10:36:00Z").sent_at is None


# --- Snowplow --------------------------------------------------------------------------------------------------------


def packed(schema: str, data: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps({"schema": "iglu:o/x/jsonschema/1-0-0", "data": {"schema": schema, "data": data}}).encode()).decode().rstrip("=")


def contexts(*found: tuple[str, Any]) -> str:
    return json.dumps({"schema": "iglu:o/contexts/jsonschema/1-0-0", "data": [{"schema": schema, "data": data} for schema, data in found]})


WEB_PAGE = contexts(("iglu:com.acme/other/jsonschema/1-0-0", {}), ("iglu:com.snowplowanalytics.snowplow/web_page/jsonschema/1-0-0", {"id": "view-1"}))


def test_page_pings_of_a_view_are_stays_on_it():
    ping = snowplow(e="pp", url="https://shop.example/a", co=WEB_PAGE, ds="1000x2000", vp="1000x500", pp_may="1000")
    left = one("/com.snowplowanalytics.snowplow/tp2", ping)
    assert (type(left), left.path, left.view, left.engaged_seconds, left.scroll_ratio) == (e.PageLeft, "/a", "view-1", 10, 0.75)


def test_a_view_knows_its_id():
    assert one("/com.snowplowanalytics.snowplow/tp2", snowplow(e="pv", url="https://shop.example/a", co=WEB_PAGE)).view == "view-1"


@pytest.mark.parametrize(("platform", "device"), [("web", "desktop"), ("mob", "mobile"), ("pc", "desktop"), ("tv", "tv"), ("srv", "desktop")])
def test_the_platform_web_is_no_device(platform, device):
    """Where the platform says none, the agent does."""
    view = snowplow(e="pv", url="https://shop.example/a", p=platform, ua="Mozilla/5.0 (X11; Linux x86_64) Firefox/120.0")
    assert one("/com.snowplowanalytics.snowplow/tp2", view).device == device
    del view["data"][0]["ua"]
    assert one("/com.snowplowanalytics.snowplow/tp2", view).device == (None if platform in ("web", "srv") else device)


def test_transactions_are_orders():
    order = one("/com.snowplowanalytics.snowplow/tp2", snowplow(e="tr", tr_id="o-1", tr_tt="12.50", tr_cu="EUR"))
    assert (order.order, order.total_minor, order.currency) == ("o-1", 1250, "EUR")


def test_snowplows_own_events():
    cart = packed("iglu:com.snowplowanalytics.snowplow/add_to_cart/jsonschema/1-0-0", {"sku": "p1", "quantity": 2, "unitPrice": 9.99, "currency": "EUR"})
    added = one("/com.snowplowanalytics.snowplow/tp2", snowplow(e="ue", ue_px=cart))
    assert (type(added), added.product, added.quantity, added.price_minor) == (e.ProductAdded, "p1", 2, 999)
    link = packed("iglu:com.snowplowanalytics.snowplow/link_click/jsonschema/1-0-1", {"targetUrl": "https://partner.example/x?session=7"})
    assert one("/com.snowplowanalytics.snowplow/tp2", snowplow(e="ue", ue_px=link)).element == "https://partner.example/x"


def test_a_true_time_is_not_repaired():
    event = one("/com.snowplowanalytics.snowplow/tp2", snowplow(e="se", se_ac="Signed In", ttm="1795343700000", stm="1795343758000"))
    assert (event.at, event.sent_at) == (1_795_343_700_000, None)


@pytest.mark.parametrize("fields", [{}, {"e": "xx"}, {"e": "ue"}, {"e": "ue", "ue_px": "%%%"}, {"e": "pv", "dtm": "soon"}, {"e": "pv"}])
def test_payloads_that_say_nothing_are_refused(fields):
    (refused,) = told("/com.snowplowanalytics.snowplow/tp2", snowplow(**fields))
    assert isinstance(refused, Rejected)
    assert refused.detail.endswith(".")


# --- ours and CloudEvents --------------------------------------------------------------------------------------------

OWN = {"type": "signed_in", "id": "1", "at": 1_795_343_757_000, "customer": "42"}


@pytest.mark.parametrize(
    "body",
    [
        json.dumps(OWN),
        json.dumps(OWN, indent=2),
        json.dumps([OWN]),
        json.dumps(OWN) + "\n",
        json.dumps({**OWN, "site": "shop"}),
        json.dumps({"site": "other", **OWN})[:-1] + ', "site": "shop"}',
    ],
)
def test_our_own_events(body):
    assert one("/v1/events", body) == e.SignedIn(id="1", site="shop", at=1_795_343_757_000, customer="42", received_at=RECEIVED)


def test_an_event_per_line():
    outcomes = told("/v1/events", "\n".join((json.dumps(OWN), "", '{"type":', json.dumps({**OWN, "id": "2"}))))
    assert [isinstance(outcome, Accepted) or outcome.reason for outcome in outcomes] == [True, Reason.NOT_JSON, True]
    assert [isinstance(outcome, Accepted) for outcome in told("/v1/events", "{\n" + json.dumps(OWN))] == [False, True]


@pytest.mark.parametrize("name", e.TYPES)
def test_every_event_of_ours_passes_as_it_is_but_for_what_privacy_takes(name):
    event = one("/v1/events", EXAMPLES[name])
    told_apart = {"received_at", "referrer"}
    sent = msgspec.to_builtins(e.decode(json.dumps(EXAMPLES[name]).encode()))
    assert {field: value for field, value in msgspec.to_builtins(event).items() if field not in told_apart} == {
        field: value for field, value in sent.items() if field not in told_apart
    }


@pytest.mark.parametrize(
    ("changed", "reason", "path"),
    [
        ({"colour": "red"}, Reason.UNKNOWN_FIELD, "$.colour"),
        ({"type": "signed_inn"}, Reason.UNKNOWN_TYPE, "$.type"),
        ({"at": "soon"}, Reason.BAD_TIME, "$.at"),
        ({"customer": None}, Reason.NO_SUBJECT, "$"),
        ({"site": "other"}, Reason.BAD_VALUE, "$.site"),
        ({"properties": {"a": [1]}}, Reason.WRONG_TYPE, "$.properties.a"),
        ({"segment": "s" * 65}, Reason.OUT_OF_BOUNDS, "$.segment"),
    ],
)
def test_our_own_events_are_judged_as_on_kafka(changed, reason, path):
    raw = json.dumps({**OWN, **changed}).encode()
    (refused,) = told("/v1/events", raw)
    assert refused[:2] == (reason, path)
    assert refused.raw == raw


CLOUD = {"specversion": "1.0", "id": "1", "source": "/crm", "type": "io.engagement.page_viewed.v1", "time": "2026-11-22T10:35:57Z", "subject": "v:9f3"}


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        ({**CLOUD, "data": {"path": "/a"}}, {"content_type": "application/cloudevents+json; charset=UTF-8"}),
        ({**CLOUD, "data": {"path": "/a"}}, {"content_type": "application/json"}),
        ({**CLOUD, "type": "io.engagement.page.viewed.v1", "data_base64": base64.b64encode(b'{"path":"/a"}').decode()}, {}),
        ([{**CLOUD, "data": {"path": "/a"}}], {"content_type": "application/cloudevents-batch+json"}),
        ({"path": "/a"}, {f"ce_{name}": value for name, value in CLOUD.items()} | {"content_type": "application/json"}),
        ({"path": "/a"}, {f"ce_{name}": value for name, value in CLOUD.items()} | {"ce_subject": "v%3A9f3"}),
    ],
)
def test_cloudevents_in_all_modes(body, headers):
    event = one("/v1/events", body, **headers)
    assert isinstance(event, e.PageViewed)
    assert (event.id, event.path, event.visitor, e.event_time(event), event.site) == ("/crm#1", "/a", "9f3", 1_795_343_757_000, "shop")


def test_a_refused_cloudevent_in_binary_mode_is_kept_whole():
    attributes = {f"ce_{name}": value for name, value in CLOUD.items()} | {"ce_type": "com.acme.thing"}
    (refused,) = told("/v1/events", {"path": "/a"}, **attributes)
    assert refused[:2] == (Reason.UNKNOWN_TYPE, "$.type")
    assert json.loads(refused.raw) == {**CLOUD, "type": "com.acme.thing", "data": {"path": "/a"}}
    assert told("/v1/events", refused.raw.replace(b"com.acme.thing", b"io.engagement.page_viewed.v1"))[0].event.path == "/a"
