"""CloudEvents on the event topics: taken by their headers, and counted as what they hold."""

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams import cloudevents
from streams import events as e
from streams.events import MAX_EVENT_BYTES, Reason, Rejected
from streams.examples import EXAMPLES
from streams.intake import Intake, plain_value
from streams.sites import Sites
from tests.strategies import events, json_values
from tests.streams.records import T0, Rec, totals

TIME = "2026-03-02T00:00:00Z"
ATTRIBUTES = {"specversion": "1.0", "id": "1", "source": "/crm", "type": "io.engagement.page_viewed.v1", "time": TIME, "subject": "v:9f3", "site": "shop"}
VIEW = e.PageViewed(id="/crm#1", site="shop", at=e.decode(json.dumps({**EXAMPLES["page_viewed"], "at": TIME}).encode()).at, visitor="9f3", path="/a")


def binary(value: Any = b'{"path":"/a"}', content_type: str | None = "application/json", **changed: Any) -> Rec:
    attributes = {name: text for name, text in {**ATTRIBUTES, **changed}.items() if text is not None}
    headers = tuple((f"ce_{name}", text if isinstance(text, bytes) else text.encode()) for name, text in attributes.items())
    return Rec(0, T0, value, None, (*headers, *((("content-type", content_type.encode()),) if content_type else ())))


def structured(content_type: str = "application/cloudevents+json; charset=UTF-8", value: bytes | None = None, **changed: Any) -> Rec:
    fields = {name: field for name, field in {**ATTRIBUTES, "data": {"path": "/a"}, **changed}.items() if field is not None}
    return Rec(0, T0, json.dumps(fields).encode() if value is None else value, None, (("content-type", content_type.encode()),))


def judged(record: Rec, topic: str = "website") -> e.Event | Rejected:
    """As the intake judges it; checks that counting says the same."""
    value = plain_value(record.headers, record.value)
    found = value if isinstance(value, Rejected) else e.decode(value, topic)
    state = Intake(0, 1, Sites())
    state.apply(topic, [record])
    assert totals(state) == ({f"failed.{found.reason}": 1} if isinstance(found, Rejected) else {"applied": 1})
    if isinstance(found, Rejected):
        (failed,) = state.failed
        assert (failed.value, failed.headers[-len(record.headers) :]) == (record.value or b"", record.headers)
    return found


@pytest.mark.parametrize(
    "record",
    [
        binary(),
        binary(content_type=None),
        binary(type="io.engagement.page.viewed.v1"),
        binary(b'{"path":"/a","visitor":"9f3"}', subject="c:42"),
        binary(b'{"path":"/a","site":"shop"}', site=None),
        binary(b'{"path":"/a"}', traceparent="00-x", partitionkey="shop/v:9f3"),
        structured(),
        structured("application/cloudevents+json"),
        structured(datacontenttype="application/json"),
        structured(data=None, data_base64=base64.b64encode(b'{"path":"/a"}').decode()),
    ],
)
def test_every_mode_holds_the_same_event(record):
    assert judged(record) == VIEW


@pytest.mark.parametrize(
    ("subject", "customer", "visitor"), [("c:42", "42", None), ("42", "42", None), ("v:9f3", None, "9f3"), ("crm:42", "crm:42", None), ("c:a:b", "a:b", None)]
)
def test_the_subject_names_whom_it_is_about(subject, customer, visitor):
    event = judged(binary(subject=subject))
    assert (event.customer, event.visitor) == (customer, visitor)


def test_the_subject_counts_where_the_data_names_nobody_only():
    mention = {name: value for name, value in EXAMPLES["mention_posted"].items() if name not in ("type", "id", "at", "site")}
    event = judged(binary(json.dumps(mention).encode(), type="io.engagement.mention_posted.v1", subject="some brand"), "social")
    assert e.subject_of(event) == "a:mastodon/trail_fan"
    spend = b'{"channel":"paid","amount_minor":1,"currency":"EUR"}'
    assert e.subject_of(judged(binary(spend, type="io.engagement.spend_recorded.v1", subject="paid"), "customers")) == "channel:paid"


@pytest.mark.parametrize(
    "record", [binary(time=None), structured(time=None), structured(value=json.dumps({**ATTRIBUTES, "time": None, "data": {"path": "/a"}}).encode())]
)
def test_without_a_time_it_happened_when_its_record_was_received(record):
    state = Intake(0, 1, Sites())
    state.apply("website", [record, record._replace(offset=1, timestamp=T0 + 3_600_000)])
    assert totals(state) == {"applied": 1, "duplicate": 1}
    assert state.newest == {"website": T0 + 3_600_000}


def test_source_and_id_together_are_the_id():
    first, second = judged(binary(source="/a" * 80)), judged(binary(source="/b" * 80))
    assert len(first.id) <= 128
    assert first.id != second.id
    assert judged(binary(b'{"path":"/a","id":"own"}')).id == "own"


@pytest.mark.parametrize(
    ("record", "reason", "path"),
    [
        (binary(specversion="0.3"), Reason.BAD_VALUE, "$.specversion"),
        (binary(specversion=None), Reason.MISSING_FIELD, "$.specversion"),
        (binary(id=None), Reason.MISSING_FIELD, "$.id"),
        (binary(source=""), Reason.WRONG_TYPE, "$.source"),
        (binary(type="com.acme.page_viewed"), Reason.UNKNOWN_TYPE, "$.type"),
        (binary(type="io.engagement.page_veiwed.v1"), Reason.UNKNOWN_TYPE, "$.type"),
        (binary(type="io.engagement.signed_up.v1", value=b"{}"), Reason.WRONG_TOPIC, "$.type"),
        (binary(time="2026-03-02"), Reason.BAD_TIME, "$.time"),
        (binary(time="2026-03-02T09:30:00"), Reason.BAD_TIME, "$.time"),
        (binary(time="1970-01-01T00:00:00Z"), Reason.BAD_TIME, "$.time"),
        (structured(time=True), Reason.BAD_TIME, "$.time"),
        (binary(b'{"path":"/a","at":"noon"}'), Reason.BAD_TIME, "$.at"),
        (binary(site=None), Reason.MISSING_FIELD, "$.site"),
        (binary(subject=None), Reason.NO_SUBJECT, "$"),
        (binary(source=b"\xff"), Reason.NOT_UTF8, "$"),
        (binary(b'{"path":5}'), Reason.WRONG_TYPE, "$.path"),
        (binary(b'{"path":"/a","colour":1}'), Reason.UNKNOWN_FIELD, "$.colour"),
        (binary(b"[1]"), Reason.WRONG_TYPE, "$.data"),
        (binary(b"{"), Reason.NOT_JSON, "$"),
        (binary(b""), Reason.EMPTY, "$"),
        (binary(None), Reason.EMPTY, "$"),
        (binary(b" " * (MAX_EVENT_BYTES + 1)), Reason.TOO_LARGE, "$"),
        (binary(content_type="application/avro"), Reason.UNSUPPORTED_ENCODING, "$.datacontenttype"),
        (structured(id=7), Reason.WRONG_TYPE, "$.id"),
        (structured(data="text"), Reason.WRONG_TYPE, "$.data"),
        (structured(data=None, data_base64="%"), Reason.WRONG_TYPE, "$.data"),
        (structured(value=b"[]"), Reason.WRONG_TYPE, "$"),
        (structured(value=b"\xff"), Reason.NOT_UTF8, "$"),
        (structured(value=b""), Reason.EMPTY, "$"),
        (structured("application/cloudevents-batch+json", b"[]"), Reason.UNSUPPORTED_ENCODING, "$"),
        (structured("application/cloudevents+avro"), Reason.UNSUPPORTED_ENCODING, "$"),
    ],
)
def test_a_fault_is_named(record, reason, path):
    rejected = judged(record)
    assert isinstance(rejected, Rejected), rejected
    assert rejected[:2] == (reason, path)
    assert rejected.detail.endswith(".")


@pytest.mark.parametrize(
    "headers", [(), (("traceparent", b"00-x"),), (("content-type", b"application/json"),), (("content-type", None),), (("x-ce_id", b"1"),)]
)
def test_a_plain_event_stays_one(headers):
    raw = json.dumps({**EXAMPLES["page_viewed"], "at": T0}).encode()
    assert judged(Rec(0, T0, raw, None, headers)) == e.decode(raw)


def test_an_encoding_that_is_not_read_comes_first():
    rejected = judged(binary()._replace(headers=(*binary().headers, ("content-encoding", b"gzip"))))
    assert (rejected.reason, rejected.path) == (Reason.UNSUPPORTED_ENCODING, "$")


@given(events(site="shop"))
def test_every_event_of_ours_comes_through_as_it_is(wire):
    data = {name: value for name, value in wire.items() if name not in ("type", "site")}
    fields = {**ATTRIBUTES, "type": f"io.engagement.{wire['type']}.v1", "subject": None, "time": None, "data": data}
    found = cloudevents.event_in(json.dumps({name: field for name, field in fields.items() if field is not None}).encode())
    assert isinstance(found, bytes)
    assert e.decode(found) == e.decode(json.dumps(wire).encode())


@given(st.lists(st.tuples(st.sampled_from(["ce_id", "ce_type", "CE_source", "ce_", "content-type", "x"]), st.binary(max_size=40) | st.none())), st.binary())
def test_no_header_and_no_value_raises(headers, value):
    state = Intake(0, 1, Sites())
    state.apply("website", [Rec(0, T0, value, None, tuple(headers))])
    assert sum(totals(state).values()) == 1


@given(st.dictionaries(st.sampled_from([*ATTRIBUTES, "data", "data_base64", "datacontenttype"]), json_values()))
def test_no_cloudevent_raises(fields):
    assert isinstance(cloudevents.event_in(json.dumps({**ATTRIBUTES, **fields}).encode()), bytes | Rejected)
