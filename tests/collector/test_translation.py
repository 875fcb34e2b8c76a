"""Laws of translation: nothing is lost, nothing raises, what is accepted is what Kafka takes."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collector.envelopes import PATHS, open_envelope
from collector.filling import FLAGS
from collector.names import TABLE
from collector.plan import Plan
from collector.translation import Accepted, Context, translate
from collector.wires import WIRES
from collector.wires.reading import Envelope
from streams import events as e
from streams.events import MAX_EVENT_BYTES, Reason, Rejected
from tests.strategies import json_values

RECEIVED = 1_795_343_762_000
CONTEXTS = st.builds(
    Context,
    st.just("shop"),
    st.just(RECEIVED),
    st.booleans(),
    st.sampled_from([None, "Mozilla/5.0 (X11) Chrome/1", "curl/8"]),
    st.sampled_from([None, Plan(), Plan(other_events="refuse")]),
)
WORDS = {
    "segment": [
        "type",
        "event",
        "name",
        "userId",
        "anonymousId",
        "previousId",
        "groupId",
        "messageId",
        "timestamp",
        "sentAt",
        "properties",
        "traits",
        "context",
    ],
    "posthog": ["event", "distinct_id", "uuid", "timestamp", "properties", "$set", "options"],
    "snowplow": [
        "e",
        "eid",
        "uid",
        "duid",
        "dtm",
        "stm",
        "ttm",
        "url",
        "refr",
        "se_ac",
        "ue_pr",
        "ue_px",
        "co",
        "cx",
        "tr_id",
        "tr_tt",
        "tr_cu",
        "ua",
        "ds",
        "vp",
        "pp_may",
    ],
    "cloudevents": ["specversion", "id", "source", "type", "time", "subject", "data", "data_base64", "datacontenttype", "site"],
    "native": ["type", "id", "at", "customer", "visitor", "path", "element", "site", "properties"],
}
SAID = [
    *("track", "page", "screen", "identify", "group", "alias", "Order Completed", "$pageview", "$autocapture", "$identify", "$create_alias", "$groupidentify"),
    *("pv", "pp", "se", "ue", "tr", "ti", "1.0", "io.engagement.signed_in.v1", "signed_in", "page_viewed", "2026-11-22T10:35:57Z"),
    *("1795343757891", "42", "c:42", "shop"),
    *("https://shop.example/a?utm_source=x#y", "/a", "iglu:com.acme/order_completed/jsonschema/1-0-0"),
    *("{", '{"schema":"iglu:a/b/jsonschema/1-0-0","data":{"schema":"iglu:a/b/c/d"}}'),
]  # fmt: skip
VALUES = (
    st.sampled_from(SAID)
    | json_values()
    | st.dictionaries(st.sampled_from([*SAID, "order_id", "total", "currency", "url", "page", "campaign", "$set"]), json_values(), max_size=4)
)


def judged(envelope: Envelope, context: Context) -> list[Accepted | Rejected]:
    """Translates, and checks what holds for every outcome."""
    outcomes = translate(envelope, context)
    for outcome in outcomes:
        if isinstance(outcome, Accepted):
            assert e.DECODERS[outcome.topic](outcome.value) == outcome.event == e.decode(outcome.value, outcome.topic)
            assert outcome.key == e.key_of(outcome.event).encode()
            assert len(outcome.value) <= MAX_EVENT_BYTES
            assert (outcome.event.site, outcome.event.received_at) == (context.site, context.received_at)
            assert set(outcome.flags) <= set(FLAGS)
        else:
            assert outcome.raw in envelope.messages
            assert outcome.detail
            assert outcome.reason in Reason
            assert "Not explained" not in outcome.detail
            assert "No fault was found" not in outcome.detail
    return outcomes


@pytest.mark.parametrize("wire", WIRES)
@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_any_message_becomes_an_event_or_a_reason(wire, data):
    message = data.draw(st.dictionaries(st.sampled_from(WORDS[wire]), VALUES) | json_values())
    raw = json.dumps(message).encode()
    outcomes = judged(Envelope(wire, "track", (raw, raw)), data.draw(CONTEXTS))
    assert len(outcomes) >= 2
    assert outcomes[: len(outcomes) // 2] == outcomes[len(outcomes) // 2 :], "a retry makes the same events"


@pytest.mark.parametrize("path", ["/v1/batch", "/v1/track", "/batch/", "/e/", "/com.snowplowanalytics.snowplow/tp2", "/i", "/v1/events"])
@settings(max_examples=60, deadline=None)
@given(body=st.binary() | json_values().map(lambda value: json.dumps(value).encode()), headers=st.sampled_from([{}, {"ce-specversion": "1.0"}]))
def test_any_body_is_opened_or_refused(path, body, headers):
    opened = open_envelope(*PATHS[path], headers, {"e": "pv", "url": "x"}, body)
    if isinstance(opened, Rejected):
        assert opened.detail
    else:
        assert len(judged(opened, Context("shop", RECEIVED))) >= len(opened.messages)


@settings(max_examples=100, deadline=None)
@given(raw=st.binary(max_size=60), context=CONTEXTS)
def test_bytes_that_are_no_json_are_kept_as_they_came(raw, context):
    for wire in WIRES:
        for outcome in judged(Envelope(wire, "track", (raw,)), context):
            assert isinstance(outcome, Accepted) or outcome.raw == raw


def test_every_wire_has_the_same_two_functions():
    assert {wire for wire, _ in PATHS.values()} <= set(WIRES)
    for wire in WIRES.values():
        assert callable(wire.open)
        assert callable(wire.read)


def test_messages_keep_their_order_and_their_number():
    batch: list[dict[str, Any]] = [
        {"type": "track", "event": name, "userId": "42", "messageId": f"m{number}", "properties": row.example}
        for number, (name, row) in enumerate(TABLE.items())
    ]
    batch[1::2] = [{**message, "userId": None} for message in batch[1::2]]
    opened = open_envelope("segment", "batch", {}, {}, json.dumps({"batch": batch}).encode())
    outcomes = judged(opened, Context("shop", RECEIVED))
    assert [isinstance(outcome, Accepted) for outcome in outcomes] == [
        number % 2 == 0 or row.event in ("spend_recorded", "mention_posted", "interaction_made") for number, row in enumerate(TABLE.values())
    ]


def test_the_plan_refuses_with_the_original():
    raw = b'{"type":"signed_in","id":"1","at":1795343757000,"customer":"42"}'
    (refused,) = translate(Envelope("native", "events", (raw,)), Context("shop", RECEIVED, plan=Plan(other_events="refuse")))
    assert refused == Rejected(Reason.OFF_PLAN, "$.type", "The tracking plan of shop has no signed_in.", raw)


def test_what_grows_beyond_the_bounds_on_its_way_is_too_large():
    raw = msgspec.json.encode({"type": "mention_posted", "id": "1", "at": 1_795_343_757_000, "post": "p", "network": "n", "author": "a", "text": "t" * 32_650})
    assert len(raw) <= MAX_EVENT_BYTES
    (refused,) = translate(Envelope("native", "events", (raw,)), Context("shop", RECEIVED))
    assert refused.reason is Reason.TOO_LARGE
