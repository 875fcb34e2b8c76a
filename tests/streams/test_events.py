import json
import random
import re
import time
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from streams import schema
from streams.events import (
    DECODERS,
    EARLIEST,
    EVENT_TYPES,
    FREE_TEXT_LIMIT,
    LATEST,
    MAX_EVENT_BYTES,
    NAMES,
    TYPES,
    Event,
    Reason,
    Rejected,
    decode,
    event_time,
    explain,
    key_of,
    millis,
    subject_of,
    text_of,
)
from streams.examples import EXAMPLES
from tests.strategies import encode, events, json_values, raw_events

COMMON = "id site at? sent_at? received_at? customer? visitor? segment? channel? country? device? user_agent? consent? properties?"
# The contract: every type with its own fields, `?` marks what is optional; a common field is named where it is required.
FIELDS = {
    "page_viewed": "path title? referrer? campaign? view?",
    "page_left": "path view? engaged_seconds scroll_ratio?",
    "element_clicked": "element path?",
    "media_played": "media play? state position_seconds length_seconds category?",
    "file_downloaded": "file category?",
    "goal_reached": "goal path? value_minor? currency?",
    "product_viewed": "product category? price_minor? currency?",
    "product_added": "product quantity price_minor? currency? cart?",
    "product_removed": "product quantity price_minor? currency? cart?",
    "checkout_started": "cart? step?",
    "checkout_step_completed": "cart? step?",
    "payment_failed": "order? reason?",
    "order_completed": "order cart? total_minor currency items? discount_minor? margin_ratio?",
    "order_refunded": "order amount_minor currency",
    "experiment_viewed": "experiment variant",
    "signed_in": "",
    "feature_used": "feature",
    "post_published": "post network category?",
    "post_measured": "post network category? impressions? reach?",
    "audience_measured": "network followers",
    "interaction_made": "network kind post? category? author? text?",
    "mention_posted": "post network author text brand? reach? reply_to_author? language?",
    "community_joined": "community member?",
    "community_left": "community member?",
    "community_posted": "community kind member? text? reply_to_member?",
    "idea_submitted": "idea community? value_minor? currency?",
    "idea_implemented": "idea community? value_minor? currency?",
    "partner_active": "partner kind value_minor? currency?",
    "review_posted": "review source rating? scale_max? product? author? text?",
    "review_answered": "review source author?",
    "survey_answered": "survey score scale_min? scale_max? higher_is_better? touchpoint? comment?",
    "ticket_opened": "ticket touchpoint? text?",
    "ticket_answered": "ticket by?",
    "ticket_resolved": "ticket by?",
    "signed_up": "plan? referred_by?",
    "customer_identified": "customer visitor",
    "customer_updated": "traits",
    "trial_started": "plan?",
    "subscription_started": "plan amount_minor? currency? period_days? reason?",
    "subscription_renewed": "plan amount_minor? currency? period_days? reason?",
    "subscription_cancelled": "plan amount_minor? currency? period_days? reason?",
    "message_sent": "message campaign medium variant? link?",
    "message_delivered": "message campaign medium variant? link?",
    "message_opened": "message campaign medium variant? link?",
    "message_clicked": "message campaign medium variant? link?",
    "message_bounced": "message campaign medium variant? link?",
    "message_unsubscribed": "message campaign medium variant? link?",
    "message_complained": "message campaign medium variant? link?",
    "spend_recorded": "channel amount_minor currency campaign?",
    "referral_made": "referred?",
    "request_made": "request kind",
    "request_answered": "request kind",
    "commitment_due": "commitment kind due_at?",
    "commitment_kept": "commitment kind due_at?",
    "commitment_missed": "commitment kind due_at?",
    "consent_changed": "purpose granted",
    "erase_requested": "",
}
SITE_LEVEL = {"post_published", "post_measured", "audience_measured", "spend_recorded"}
ANALYTICS = """
page_viewed page_left element_clicked media_played file_downloaded goal_reached product_viewed product_added product_removed checkout_started
checkout_step_completed payment_failed experiment_viewed signed_in feature_used interaction_made message_opened message_clicked
"""
REASONS = """
unsupported_encoding too_large empty not_utf8 not_json too_deep wrong_type missing_field unknown_type wrong_topic unknown_field
out_of_bounds bad_value no_subject bad_time too_old off_plan
"""


def changed(name: str, /, *without: str, **fields: object) -> bytes:
    """The example of a type with some fields set and some left out."""
    return encode({field: value for field, value in (EXAMPLES[name] | fields).items() if field not in without})


def spliced(name: str, field: str, literal: str) -> bytes:
    """The example of a type with a field whose JSON is given as it is."""
    return encode({**EXAMPLES[name], field: "@"}).replace(b'"@"', literal.encode())


def accepted(raw: bytes | None, topic: str | None = None) -> Event:
    event = decode(raw, topic)
    assert not isinstance(event, Rejected), event
    return event


def refused(raw: bytes | None, topic: str | None = None) -> Rejected:
    rejected = decode(raw, topic)
    assert isinstance(rejected, Rejected), rejected
    assert rejected == explain(raw, topic)
    assert rejected.raw == (raw or b"")
    return rejected


def written(struct: type[msgspec.Struct], names: set[str] | None = None) -> str:
    fields = msgspec.structs.fields(struct)
    return " ".join(field.name + ("" if field.required else "?") for field in fields if names is None or field.name in names)


# --- the contract ----------------------------------------------------------------------------------------------------


def test_names_of_types_and_fields_are_pinned():
    common = {field.name: field.required for field in msgspec.structs.fields(Event)}
    assert written(Event) == COMMON
    own = {name: {field.name for field in msgspec.structs.fields(struct) if field.required > common.get(field.name, -1)} for name, struct in TYPES.items()}
    assert {name: written(struct, own[name]) for name, struct in TYPES.items()} == FIELDS
    assert len(EVENT_TYPES) == len(NAMES) == 57


def test_classes_of_types_are_pinned():
    assert {name for name, struct in TYPES.items() if struct.site_level} == SITE_LEVEL
    assert {name for name, struct in TYPES.items() if struct.analytics} == set(ANALYTICS.split())


def test_reasons_are_pinned_in_the_order_of_their_checks():
    assert [str(reason) for reason in Reason] == REASONS.split()


@pytest.mark.parametrize("name", TYPES)
def test_example_decodes_on_its_topic_and_on_no_other(name):
    raw = encode(EXAMPLES[name])
    event = accepted(raw, TYPES[name].topic)
    assert type(event) is TYPES[name]
    assert accepted(raw) == event
    for topic in DECODERS.keys() - {TYPES[name].topic}:
        assert refused(raw, topic)[:2] == (Reason.WRONG_TOPIC, "$.type")


@pytest.mark.parametrize("name", TYPES)
def test_every_required_field_is_missed_and_null_is_no_stand_in(name):
    for field in msgspec.structs.fields(TYPES[name]):
        if field.required:
            assert refused(changed(name, field.name))[:2] == (Reason.MISSING_FIELD, f"$.{field.name}")
            assert refused(changed(name, **{field.name: None}))[:2] == (Reason.WRONG_TYPE, f"$.{field.name}")


@pytest.mark.parametrize("name", TYPES)
def test_null_in_an_optional_field_is_absence(name):
    bare = {field.name for field in msgspec.structs.fields(TYPES[name]) if not field.required} - EXAMPLES[name].keys()
    assert accepted(changed(name, **dict.fromkeys(bare))) == accepted(encode(EXAMPLES[name]))


# --- rejections ------------------------------------------------------------------------------------------------------

HUGE = "9" * 6_000
CES = {"survey": "ces", "score": 3}
ITEM = {"product": "a", "quantity": 1, "price_minor": 5}


@pytest.mark.parametrize(
    ("reason", "path", "raw"),
    [
        (Reason.TOO_LARGE, "$", b"x" * (MAX_EVENT_BYTES + 1)),
        (Reason.TOO_LARGE, "$", b" " * (MAX_EVENT_BYTES + 1)),
        (Reason.TOO_LARGE, "$", changed("review_posted", text="x" * MAX_EVENT_BYTES)),
        (Reason.EMPTY, "$", None),
        (Reason.EMPTY, "$", b""),
        (Reason.EMPTY, "$", b" \r\n\t"),
        (Reason.NOT_UTF8, "$", b"\xff\xfe{}"),
        (Reason.NOT_UTF8, "$", encode(EXAMPLES["page_viewed"]).replace(b"Trail shoes", b"Trail\xff")),
        (Reason.NOT_UTF8, "$", encode(EXAMPLES["page_viewed"]).replace(b"Trail shoes", b"\xed\xa0\x80")),
        (Reason.NOT_UTF8, "$", encode({**EXAMPLES["page_viewed"], "x": "@"}).replace(b"@", b"\xc3(")),
        (Reason.NOT_JSON, "$", b"\xef\xbb\xbf" + encode(EXAMPLES["page_viewed"])),
        (Reason.NOT_JSON, "$", b"{"),
        (Reason.NOT_JSON, "$", b"hello"),
        (Reason.NOT_JSON, "$", encode(EXAMPLES["page_viewed"]) + b"}"),
        (Reason.NOT_JSON, "$", encode(EXAMPLES["page_viewed"]) * 2),
        (Reason.NOT_JSON, "$", b'{"id": 5, "type": "page_viewed", '),
        (Reason.NOT_JSON, "$", spliced("page_left", "scroll_ratio", "NaN")),
        (Reason.NOT_JSON, "$", spliced("page_left", "scroll_ratio", "-Infinity")),
        (Reason.NOT_JSON, "$", spliced("page_left", "scroll_ratio", "01")),
        (Reason.NOT_JSON, "$", spliced("page_viewed", "title", r'"\ud800"')),
        (Reason.NOT_JSON, "$", spliced("page_viewed", "title", r'"\udc00 low"')),
        (Reason.NOT_JSON, "$", spliced("page_viewed", "properties", r'{"\ud800": 1}')),
        (Reason.NOT_JSON, "$", spliced("page_viewed", "title", '"a\tb"')),
        (Reason.TOO_DEEP, "$", b"[" * 30_000),
        (Reason.TOO_DEEP, "$", b"[" * 33 + b"]" * 33),
        (Reason.TOO_DEEP, "$", b'{"a":' * 5_000 + b"1" + b"}" * 5_000),
        (Reason.TOO_DEEP, "$", spliced("page_viewed", "x", "[" * 12_000 + "]" * 12_000)),
        (Reason.TOO_DEEP, "$", spliced("page_viewed", "properties", '{"a":' * 32 + "1" + "}" * 32)),
        (Reason.WRONG_TYPE, "$", b"[" * 32 + b"]" * 32),
        (Reason.WRONG_TYPE, "$", b"[]"),
        (Reason.WRONG_TYPE, "$", b"null"),
        (Reason.WRONG_TYPE, "$", b'"page_viewed"'),
        (Reason.MISSING_FIELD, "$.type", b"{}"),
        (Reason.WRONG_TYPE, "$.type", changed("page_viewed", type=5)),
        (Reason.WRONG_TYPE, "$.type", changed("page_viewed", type=None)),
        (Reason.UNKNOWN_TYPE, "$.type", changed("page_viewed", type="")),
        (Reason.UNKNOWN_TYPE, "$.type", changed("page_viewed", type="Event")),
        (Reason.UNKNOWN_TYPE, "$.type", changed("page_viewed", type="WebsiteEvent")),
        (Reason.UNKNOWN_TYPE, "$.type", changed("page_viewed", type="x" * 20_000)),
        (Reason.BAD_VALUE, "$.type", encode(EXAMPLES["signed_in"]).replace(b'"id"', b'"type": "feature_used", "id"')),
        (Reason.WRONG_TYPE, "$.path", changed("page_viewed", path=5)),
        (Reason.WRONG_TYPE, "$.id", changed("page_viewed", id=42)),
        (Reason.WRONG_TYPE, "$.quantity", changed("product_added", quantity=5.0)),
        (Reason.WRONG_TYPE, "$.quantity", changed("product_added", quantity=True)),
        (Reason.WRONG_TYPE, "$.quantity", changed("product_added", quantity="5")),
        (Reason.WRONG_TYPE, "$.quantity", spliced("product_added", "quantity", "5e0")),
        (Reason.WRONG_TYPE, "$.at", changed("page_viewed", at=1.76e12)),
        (Reason.WRONG_TYPE, "$.at", changed("page_viewed", at=True)),
        (Reason.WRONG_TYPE, "$.granted", changed("consent_changed", granted="yes")),
        (Reason.WRONG_TYPE, "$.rating", changed("review_posted", rating="5")),
        (Reason.WRONG_TYPE, "$.consent.analytics", changed("page_viewed", consent={"analytics": 1})),
        (Reason.WRONG_TYPE, "$.items[1].product", changed("order_completed", items=[ITEM, ITEM | {"product": None}])),
        (Reason.WRONG_TYPE, "$.properties", changed("page_viewed", properties=[])),
        (Reason.WRONG_TYPE, "$.properties.b", changed("page_viewed", properties={"a": 1, "b": None})),
        (Reason.WRONG_TYPE, "$.traits.b", changed("customer_updated", traits={"a": 1, "b": [1]})),
        (Reason.MISSING_FIELD, "$.items[0].price_minor", changed("order_completed", items=[{"product": "a", "quantity": 1}])),
        (Reason.MISSING_FIELD, "$.currency", changed("goal_reached", "currency")),
        (Reason.MISSING_FIELD, "$.currency", changed("product_viewed", "currency")),
        (Reason.MISSING_FIELD, "$.currency", changed("product_added", currency=None)),
        (Reason.MISSING_FIELD, "$.currency", changed("idea_implemented", "currency")),
        (Reason.MISSING_FIELD, "$.currency", changed("partner_active", "currency")),
        (Reason.MISSING_FIELD, "$.currency", changed("subscription_renewed", "currency")),
        (Reason.MISSING_FIELD, "$.scale_max", changed("survey_answered", **CES, higher_is_better=True)),
        (Reason.MISSING_FIELD, "$.higher_is_better", changed("survey_answered", **CES, scale_max=7)),
        (Reason.UNKNOWN_FIELD, "$.scrol_ratio", changed("page_left", scrol_ratio=0.5)),
        (Reason.UNKNOWN_FIELD, "$.campaign.mediun", changed("page_viewed", campaign={"mediun": "cpc"})),
        (Reason.UNKNOWN_FIELD, "$.consent.ads", changed("page_viewed", consent={"ads": True})),
        (Reason.UNKNOWN_FIELD, "$.items[0].sku", changed("order_completed", items=[ITEM | {"sku": "a"}])),
        (Reason.UNKNOWN_FIELD, "$.topic", changed("page_viewed", topic="website")),
        (Reason.OUT_OF_BOUNDS, "$.id", changed("page_viewed", id="")),
        (Reason.OUT_OF_BOUNDS, "$.id", changed("page_viewed", id="x" * 129)),
        (Reason.OUT_OF_BOUNDS, "$.visitor", changed("page_viewed", visitor="")),
        (Reason.OUT_OF_BOUNDS, "$.path", changed("page_viewed", path="x" * 2_049)),
        (Reason.OUT_OF_BOUNDS, "$.segment", changed("page_viewed", segment="x" * 65)),
        (Reason.OUT_OF_BOUNDS, "$.goal", changed("goal_reached", goal="")),
        (Reason.OUT_OF_BOUNDS, "$.quantity", changed("product_added", quantity=10_000)),
        (Reason.OUT_OF_BOUNDS, "$.quantity", changed("product_added", quantity=0)),
        (Reason.OUT_OF_BOUNDS, "$.quantity", spliced("product_added", "quantity", HUGE)),
        (Reason.OUT_OF_BOUNDS, "$.quantity", spliced("product_added", "quantity", "1e400")),
        (Reason.OUT_OF_BOUNDS, "$.total_minor", changed("order_completed", total_minor=10**12 + 1)),
        (Reason.OUT_OF_BOUNDS, "$.total_minor", changed("order_completed", total_minor=-1)),
        (Reason.OUT_OF_BOUNDS, "$.items", changed("order_completed", items=[ITEM] * 201)),
        (Reason.OUT_OF_BOUNDS, "$.engaged_seconds", changed("page_left", engaged_seconds=1_800.5)),
        (Reason.OUT_OF_BOUNDS, "$.scroll_ratio", spliced("page_left", "scroll_ratio", "1e400")),
        (Reason.OUT_OF_BOUNDS, "$.at", changed("page_viewed", at=2**63)),
        (Reason.OUT_OF_BOUNDS, "$.at", spliced("page_viewed", "at", HUGE)),
        (Reason.OUT_OF_BOUNDS, "$.properties", changed("page_viewed", properties={str(name): 1 for name in range(33)})),
        (Reason.OUT_OF_BOUNDS, "$.properties.big", changed("page_viewed", properties={"a": 1, "big": 2**64})),
        (Reason.OUT_OF_BOUNDS, "$.properties.long", changed("page_viewed", properties={"long": "x" * 257})),
        (Reason.OUT_OF_BOUNDS, "$.properties.big", spliced("page_viewed", "properties", f'{{"big": {HUGE}}}')),
        (Reason.OUT_OF_BOUNDS, "$.properties", spliced("page_viewed", "properties", '{"big": 1e400}')),
        (Reason.OUT_OF_BOUNDS, "$.properties." + "n" * 64, changed("page_viewed", properties={"a": 1, "n" * 257: 1})),
        (Reason.OUT_OF_BOUNDS, "$.rating", changed("review_posted", rating=5.5)),
        (Reason.OUT_OF_BOUNDS, "$.rating", changed("review_posted", rating=-0.5)),
        (Reason.OUT_OF_BOUNDS, "$.rating", changed("review_posted", rating=11, scale_max=10)),
        (Reason.OUT_OF_BOUNDS, "$.scale_max", changed("review_posted", scale_max=0)),
        (Reason.OUT_OF_BOUNDS, "$.score", changed("survey_answered", score=11)),
        (Reason.OUT_OF_BOUNDS, "$.score", changed("survey_answered", survey="enps", score=-1)),
        (Reason.OUT_OF_BOUNDS, "$.score", changed("survey_answered", survey="csat", score=0)),
        (Reason.OUT_OF_BOUNDS, "$.score", changed("survey_answered", **CES | {"score": 8}, scale_max=7, higher_is_better=False)),
        (Reason.OUT_OF_BOUNDS, "$.scale_max", changed("survey_answered", survey="csat", score=5, scale_min=5)),
        (Reason.BAD_VALUE, "$.site", changed("page_viewed", site="Shop")),
        (Reason.BAD_VALUE, "$.site", changed("page_viewed", site="shop\n")),
        (Reason.BAD_VALUE, "$.site", changed("page_viewed", site="s" * 65)),
        (Reason.BAD_VALUE, "$.country", changed("page_viewed", country="de")),
        (Reason.BAD_VALUE, "$.currency", changed("order_completed", currency="€")),
        (Reason.BAD_VALUE, "$.kind", changed("interaction_made", kind="liked")),
        (Reason.BAD_VALUE, "$.by", changed("ticket_answered", by="robot")),
        (Reason.NO_SUBJECT, "$", changed("page_viewed", "visitor")),
        (Reason.NO_SUBJECT, "$", changed("interaction_made", author=None)),
        (Reason.NO_SUBJECT, "$", changed("community_joined", member="")),
        (Reason.NO_SUBJECT, "$", changed("idea_submitted", "customer")),
        (Reason.BAD_TIME, "$.at", changed("page_viewed", at="2026-03-02T09:30:00")),
        (Reason.BAD_TIME, "$.at", changed("page_viewed", at="2026-03-02")),
        (Reason.BAD_TIME, "$.at", changed("page_viewed", at="yesterday")),
        (Reason.BAD_TIME, "$.at", changed("page_viewed", at="1760000000000")),
        (Reason.BAD_TIME, "$.at", changed("page_viewed", at="1970-01-01T00:00:00Z")),
        (Reason.BAD_TIME, "$.at", changed("page_viewed", at=1_760_000_000)),
        (Reason.BAD_TIME, "$.at", changed("page_viewed", at=EARLIEST - 1)),
        (Reason.BAD_TIME, "$.at", changed("page_viewed", at=LATEST)),
        (Reason.BAD_TIME, "$.at", changed("page_viewed", at=-(2**63))),
        (Reason.BAD_TIME, "$.received_at", changed("page_viewed", "at", received_at=1)),
        (Reason.BAD_TIME, "$.sent_at", changed("page_viewed", sent_at="2026-03-02 09:30")),
        (Reason.BAD_VALUE, "$.currency", changed("order_completed", currency="XTS")),
        (Reason.BAD_VALUE, "$.currency", changed("order_completed", currency="XXX")),
        (Reason.BAD_VALUE, "$.currency", changed("order_completed", currency="usd")),
        (Reason.BAD_VALUE, "$.currency", changed("goal_reached", currency="XAU")),
        (Reason.BAD_TIME, "$.due_at", changed("commitment_due", due_at="tomorrow")),
    ],
    ids=lambda value: repr(value)[:40] if isinstance(value, bytes | None) else str(value),
)
def test_fault_is_named(reason, path, raw):
    rejected = refused(raw)
    assert rejected[:2] == (reason, path)
    assert rejected.detail.endswith(".")
    assert "Not explained" not in rejected.detail


def test_every_reason_of_the_format_is_reached():
    marker = next(mark for mark in test_fault_is_named.pytestmark if mark.name == "parametrize")
    elsewhere = {Reason.UNSUPPORTED_ENCODING, Reason.TOO_OLD, Reason.OFF_PLAN, Reason.WRONG_TOPIC}
    assert {row[0] for row in marker.args[1]} == set(Reason) - elsewhere


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (changed("page_viewed", type="page_view"), ["Did you mean `page_viewed`?", "erase_requested"]),
        (changed("page_left", scroll=1), ["page_left has no field 'scroll'", "scroll_ratio", "properties"]),
        (changed("page_viewed", campaign={"mediun": "cpc"}), ["Did you mean `medium`?", "source, medium, name"]),
        (changed("interaction_made", kind="liked"), ["Did you mean `like`?", "like, comment, share, save, click, follow, unfollow"]),
        (changed("ticket_answered", by="robot"), ["agent, community, self"]),
        (changed("interaction_made", "author"), ["`customer`, `visitor` or `author`"]),
        (changed("page_viewed", at="2026-03-02T09:30:00"), ["offset", "epoch milliseconds"]),
        (changed("page_viewed", "site"), ["`site`"]),
        (changed("page_viewed", country="de"), ["ISO 3166", "DE", "not 'de'"]),
        (changed("page_viewed", site="My Shop"), ["a-z, 0-9", "not 'My Shop'"]),
        (changed("page_viewed", path=5), ["The field `path` must be a text, not a whole number."]),
        (changed("product_added", quantity=True), ["The field `quantity` must be a whole number, not true or false."]),
        (changed("review_posted", rating="5"), ["The field `rating` must be a number, not a text. Write it without quotes."]),
        (changed("order_completed", total_minor=12.5), ["must be a whole number, not a number with a point or an exponent.", "12.50 EUR is 1250"]),
        (changed("order_completed", total_minor="12,50"), ["must be a whole number, not a text.", "12.50 EUR is 1250"]),
        (changed("order_completed", total_minor=-500), ["must not be below 0", "`order_refunded`"]),
        (changed("order_completed", total_minor=10**12 + 1), ["must be at most 1,000,000,000,000."]),
        (changed("order_completed", currency="eur"), ["ISO 4217 in capitals, such as EUR, not 'eur'"]),
        (changed("order_completed", currency="XXQ"), ["ISO 4217", "not 'XXQ'"]),
        (changed("order_completed", items=[{**ITEM, "price_minor": 0.5}]), ["`items[0].price_minor`", "12.50 EUR is 1250"]),
        (changed("page_left", scroll_ratio=1.5), ["The field `scroll_ratio` must be at most 1."]),
        (changed("page_viewed", id=""), ["The field `id` must not be empty."]),
        (changed("page_viewed", path="x" * 2_049), ["must have at most 2,048 characters"]),
        (changed("order_completed", items=[ITEM] * 201), ["must have at most 200 entries"]),
        (changed("page_viewed", at=1.76e12), ["must be a time, not a number", "integer epoch milliseconds"]),
        (changed("page_viewed", properties={"a": [1]}), ["`properties.a` must be ", "not a list"]),
        (changed("page_viewed", at=None, received_at=1), ["between 1990 and 2200"]),
    ],
)
def test_detail_says_what_to_do(raw, words):
    assert [word for word in words if word not in refused(raw).detail] == []


def test_unknown_type_names_the_types_of_its_topic():
    detail = refused(changed("page_viewed", type="review"), "reviews").detail
    assert "ticket_resolved" in detail
    assert "page_left" not in detail


def test_detail_stays_short_whatever_is_sent():
    for raw in (changed("page_viewed", type="t" * 30_000), changed("page_viewed", **{"f" * 30_000: 1}), changed("page_viewed", properties={"k" * 30_000: 1})):
        rejected = refused(raw)
        assert len(rejected.detail) < 1_500
        assert len(rejected.path) < 100


def test_last_of_duplicate_keys_wins():
    assert accepted(encode(EXAMPLES["signed_in"])[:-1] + b', "customer": "43"}').customer == "43"


# --- what is accepted ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "raw",
    [
        changed("page_viewed", path="", title="", segment=""),
        changed("page_viewed", path="x" * 2_048, visitor="v" * 128, id="i"),
        changed("page_viewed", properties={str(name): 1 for name in range(32)}),
        changed("page_viewed", properties={"a": "text", "b": 1, "c": 1.5, "d": True, "e": 2**63 - 1, "f": -(2**63), "": ""}),
        changed("page_viewed", campaign={}, consent={}),
        changed("page_viewed", "at"),
        changed("page_viewed", at=None, sent_at=1, received_at=EARLIEST),
        changed("order_completed", currency="BGN"),
        changed("page_viewed", title="\x00 😀 ‮"),
        changed("order_completed", items=[], total_minor=0),
        changed("product_added", quantity=9_999, price_minor=10**12),
        changed("review_posted", rating=0),
        changed("review_posted", rating=10, scale_max=10),
        changed("review_posted", "rating"),
        changed("survey_answered", score=0),
        changed("survey_answered", survey="csat", score=5),
        changed("survey_answered", **CES, scale_max=7, higher_is_better=False),
        changed("mention_posted", text=""),
        changed("mention_posted", text="x" * (FREE_TEXT_LIMIT + 1)),
        b" \n" + encode(EXAMPLES["page_viewed"]) + b"\n",
    ],
    ids=lambda raw: repr(raw)[:40],
)
def test_edge_of_what_is_allowed(raw):
    accepted(raw)


def test_event_of_exactly_the_largest_size():
    raw = encode(EXAMPLES["page_viewed"])
    accepted(raw + b" " * (MAX_EVENT_BYTES - len(raw)))
    assert refused(raw + b" " * (MAX_EVENT_BYTES - len(raw) + 1)).reason is Reason.TOO_LARGE


# --- time ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (1_760_000_000_123, 1_760_000_000_123),
        (datetime(2025, 10, 9, 8, 53, 20, 123_999, tzinfo=UTC), 1_760_000_000_123),
        (datetime(2025, 10, 9, 10, 53, 20, 1_000, tzinfo=timezone(timedelta(hours=2))), 1_760_000_000_001),
        (datetime(1969, 12, 31, 23, 59, 59, 999_000, tzinfo=UTC), -1),
        (datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=23, minutes=59))), -62_135_683_140_000),
    ],
)
def test_millis(value, expected):
    assert millis(value) == expected


@given(st.integers(-(10**13), 10**13))
def test_millis_is_exact(time_of_event):
    assert millis(datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=time_of_event)) == time_of_event


AT = 1_760_000_000_000
SECOND, DAY = 1_000, 86_400_000


@pytest.mark.parametrize(
    ("sent", "received", "expected"),
    [
        (None, None, AT),
        (AT + 50, None, AT),
        (None, AT + 50, AT),
        (AT + 100, AT + 100 + SECOND, AT + SECOND),
        (AT + 100, AT + 100 - SECOND, AT - SECOND),
        (AT + 100, AT + 100 + SECOND - 1, AT),
        (AT + 100, AT + 100 + DAY, AT + DAY),
        (AT + 100, AT + 100 + DAY + 1, AT),
        ("2025-10-09T08:53:20Z", "2025-10-09T11:53:20+01:00", AT + 7_200_000),
    ],
)
def test_event_time_is_freed_of_a_wrong_clock(sent, received, expected):
    assert event_time(accepted(changed("page_viewed", at=AT, sent_at=sent, received_at=received))) == expected


def test_event_time_at_the_ends():
    assert event_time(accepted(changed("page_viewed", at=EARLIEST))) == EARLIEST == millis(datetime(1990, 1, 1, tzinfo=UTC))
    assert event_time(accepted(changed("page_viewed", at=LATEST - 1))) == LATEST - 1 == millis(datetime(2200, 1, 1, tzinfo=UTC)) - 1
    # A repair may lift a time over the end, or back inside.
    assert refused(changed("page_viewed", at=EARLIEST, sent_at=AT, received_at=AT - SECOND)).reason is Reason.BAD_TIME
    assert event_time(accepted(changed("page_viewed", at=EARLIEST - 1, sent_at=AT, received_at=AT + SECOND))) == EARLIEST + 999


# --- subject, key, text ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raw", "key"),
    [
        (changed("page_viewed"), "shop/v:9f3"),
        (changed("page_viewed", customer="42"), "shop/c:42"),
        (changed("page_viewed", visitor="a/b%c"), "shop/v:a%2Fb%25c"),
        (changed("page_viewed", customer="50%"), "shop/c:50%25"),
        (changed("page_viewed", customer="c:1 ü"), "shop/c:c:1 ü"),
        (changed("interaction_made"), "shop/a:mastodon/trail_fan"),
        (changed("interaction_made", visitor="9f3"), "shop/v:9f3"),
        (changed("mention_posted", network="a/b", author="c%d"), "shop/a:a%2Fb/c%25d"),
        (changed("mention_posted", customer="42"), "shop/c:42"),
        (changed("community_joined"), "shop/m:runners/ada"),
        (changed("community_left"), "shop/m:runners/ada"),
        (changed("community_posted"), "shop/m:runners/ada"),
        (changed("partner_active"), "shop/p:run-club"),
        (changed("partner_active", customer="42"), "shop/c:42"),
        (changed("review_posted"), "shop/a:store/bo"),
        (changed("review_answered"), "shop/a:store/bo"),
        (changed("review_answered", customer="42"), "shop/c:42"),
        (changed("customer_identified"), "shop/v:9f3"),
        (changed("customer_identified", visitor="a/b"), "shop/v:a%2Fb"),
        (changed("post_published", customer="42"), "shop/post:p-77"),
        (changed("post_measured", post="a/b"), "shop/post:a%2Fb"),
        (changed("audience_measured", visitor="9f3"), "shop/network:mastodon"),
        (changed("spend_recorded", customer="42"), "shop/channel:paid"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_key(raw, key):
    assert key_of(accepted(raw)) == key


def test_key_of_an_event_without_subject_is_an_error():
    event = DECODERS["website"](changed("page_viewed", "visitor"))
    assert subject_of(event) is None
    with pytest.raises(ValueError, match="no key"):
        key_of(event)


def test_text():
    texts = {name: text_of(accepted(encode(fields))) for name, fields in EXAMPLES.items()}
    assert {name for name, text in texts.items() if text} == {
        *("interaction_made", "mention_posted", "community_posted"),
        *("review_posted", "survey_answered", "ticket_opened"),
    }
    assert texts["survey_answered"] == "Fast and friendly."
    assert len(text_of(accepted(changed("review_posted", text="x" * 9_000))) or "") == 9_000


# --- properties ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", TYPES)
def test_generated_events_decode_and_survive_a_round_trip(name):
    @settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
    @given(raw_events(name))
    def survives(raw):
        event = accepted(raw, TYPES[name].topic)
        assert type(event) is TYPES[name]
        assert decode(msgspec.json.encode(event), event.topic) == event
        assert key_of(event).startswith(event.site + "/")
        key_of(event).encode()

    survives()


@settings(deadline=None, suppress_health_check=list(HealthCheck))
@given(events(), st.data())
def test_event_with_one_field_of_anything_is_an_event_or_rejected_there(event, data):
    field = data.draw(st.sampled_from([*event, *FIELDS, "x"]))
    event[field] = data.draw(json_values())
    result = decode(encode(event))
    if isinstance(result, Rejected):
        assert "Not explained" not in result.detail
        assert (
            result.path.startswith(f"$.{field}")
            or result.path in ("$", "$.currency", "$.scale_max", "$.score", "$.rating", "$.higher_is_better", "$.at")
            or field == "type"
        )


@settings(max_examples=300, deadline=None)
@given(
    st.binary(max_size=200)
    | st.text(max_size=100).map(lambda text: text.encode(errors="surrogatepass"))
    | json_values().map(lambda value: json.dumps(value).encode())
)
@example(b'{"type":"page_viewed"}')
def test_no_bytes_raise(raw):
    for topic in (None, *DECODERS):
        result = decode(raw, topic)
        assert isinstance(result, Rejected)
        assert result == explain(raw, topic)
        assert "Not explained" not in result.detail


def test_mutated_examples_never_raise():
    """Flips, cuts, repeats and crossings of valid events; the number that starts the generator is in the name of what fails."""
    start = 20_260_302
    rng = random.Random(start)
    seeds = [encode(example) for example in EXAMPLES.values()]
    shards = [
        b"null",
        b"5.0",
        b"1e400",
        b"9" * 5_000,
        b"NaN",
        b'"\\ud800"',
        b"[" * 2_000,
        b"{",
        b"}",
        b'"',
        b"\xff",
        b"\x00",
        b"\xef\xbb\xbf",
        b'"type":"signed_in",',
        b"\\",
        b"-",
        b":",
        b",",
    ]
    counts = dict.fromkeys(Reason, 0)
    for turn in range(60_000):
        raw = bytearray(rng.choice(seeds))
        for _ in range(rng.randint(1, 3)):
            here, there = sorted(rng.randrange(len(raw) + 1) for _ in range(2))
            match rng.randrange(5):
                case 0:
                    raw[here : here + 1] = rng.randbytes(1)
                case 1:
                    del raw[here : here + 12]
                case 2:
                    raw[here:here] = rng.choice(shards)
                case 3:
                    raw[here:there] = rng.choice(shards)
                case 4:
                    raw[here:] = rng.choice(seeds)[here:]
        result = decode(bytes(raw), rng.choice((None, *DECODERS)))
        if isinstance(result, Rejected):
            counts[result.reason] += 1
            assert "Not explained" not in result.detail, (start, turn, result)
            assert "No fault" not in result.detail, (start, turn, result)
    assert sum(counts.values()) > 10_000
    assert all(
        counts[reason]
        for reason in (Reason.NOT_UTF8, Reason.NOT_JSON, Reason.TOO_DEEP, Reason.WRONG_TYPE, Reason.MISSING_FIELD, Reason.WRONG_TOPIC, Reason.BAD_TIME)
    )


def test_explaining_the_worst_is_quick():
    worst = [b"[" * MAX_EVENT_BYTES, b'{"a":' * 6_000, changed("page_viewed", type="page_viewed" * 2_900), b'{"type":"' + b"\\u0041" * 5_000 + b'"}']
    worst += [b'{"type":"signed_in","id":' + b"9" * 32_000 + b"}", encode({f"f{number}": 1 for number in range(2_500)} | EXAMPLES["page_viewed"])]
    for raw in worst:
        before = time.perf_counter()
        refused(raw)
        assert time.perf_counter() - before < 0.5


# --- schema and page -------------------------------------------------------------------------------------------------

PAGE = Path(__file__).parents[2] / "docs" / "events.md"


def test_schema_holds_every_type_with_its_fields():
    document = schema.schema()
    json.dumps(document)
    tags = {definition["properties"]["type"]["enum"][0]: definition for definition in document["$defs"].values() if "type" in definition["properties"]}
    assert tags.keys() == TYPES.keys()
    for name, definition in tags.items():
        assert set(definition["properties"]) == {"type", *TYPES[name].__struct_fields__}
        assert definition["additionalProperties"] is False
        assert definition["required"] == ["type", *(field.name for field in msgspec.structs.fields(TYPES[name]) if field.required)]
    assert "\\Z" not in json.dumps(document)
    assert tags["goal_reached"]["dependentRequired"] == {"value_minor": ["currency"]}


def test_page_is_current():
    assert PAGE.read_text() == schema.page(), "run: python -m streams.schema > docs/events.md"


def test_page_names_every_type_field_and_reason():
    page = PAGE.read_text()
    sections = {part.split("`", 1)[0]: part for part in page.split("\n### `")[1:]}
    assert sections.keys() == TYPES.keys()
    for name, struct in TYPES.items():
        missing = [field for field in struct.__struct_fields__ if field not in Event.__struct_fields__ and f"| `{field}` |" not in sections[name]]
        assert missing == [], name
    assert all(f"| `{field}` |" in page for field in ("type", *Event.__struct_fields__))
    assert all(f"| `{reason}` |" in page for reason in Reason)


def test_examples_on_the_page_decode():
    found = re.findall(r"```json\n(.*?)\n```", PAGE.read_text(), re.DOTALL)
    assert [NAMES[type(accepted(raw.encode()))] for raw in found] == list(TYPES)


def test_page_and_schema_have_no_meaning_without_a_field():
    named = {field for struct in EVENT_TYPES for field in struct.__struct_fields__} | {"type", "name", "source"}
    assert schema.MEANINGS.keys() <= named
