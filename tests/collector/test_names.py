"""The table of names, and how properties become fields."""

import json
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.filling import FLAGS, events_of
from collector.money import EXPONENTS, minor_units
from collector.names import SOURCES, TABLE, normal, row_of
from collector.translation import Accepted, Context, translate
from collector.wires.reading import Envelope, Said
from streams import events as e
from streams.events import Reason
from streams.examples import EXAMPLES
from streams.intake import Intake
from streams.journeys import conversions
from streams.sites import Goal, Site, Sites
from tests.streams.records import T0, Rec

RECEIVED = 1_795_343_762_000
CONTEXT = Context("shop", RECEIVED)


def track(name: str, properties: Any, **more: Any) -> Accepted | e.Rejected:
    fields = {"event": name, "properties": properties, "userId": "42", "messageId": "m", "timestamp": "2026-11-22T10:35:57Z", **more}
    (outcome,) = translate(Envelope("segment", "track", (msgspec.json.encode(fields),)), CONTEXT)
    return outcome


def event_of(name: str, properties: Any, **more: Any) -> Any:
    outcome = track(name, properties, **more)
    assert isinstance(outcome, Accepted), outcome
    return outcome.event


@pytest.mark.parametrize("name", TABLE)
def test_every_row_has_an_example_that_becomes_its_event(name):
    row = TABLE[name]
    outcome = track(name, row.example)
    assert isinstance(outcome, Accepted), outcome
    assert e.NAMES[type(outcome.event)] == row.event
    assert e.DECODERS[outcome.topic](outcome.value) == outcome.event
    assert {field: getattr(outcome.event, field) for field in row.always} == row.always
    assert not set(outcome.flags)


@pytest.mark.parametrize("name", TABLE)
def test_every_field_of_an_example_is_made_of_something_in_it(name):
    """Without its properties a row gives what the name itself says, or says what is missing."""
    row, given_fields = TABLE[name], set(msgspec.to_builtins(track(name, TABLE[name].example).event))
    common = {"type", "id", "site", "at", "received_at", "customer", "properties", "currency"}
    own = set(e.TYPES[row.event].__struct_fields__) - common
    assert given_fields - common <= own
    assert given_fields & own >= set(row.always)


@pytest.mark.parametrize("name", e.TYPES)
def test_the_name_of_every_event_of_ours_stands_for_itself(name):
    row = row_of(name.replace("_", " ").title())
    assert row is not None
    assert row.event == name
    own = {field: value for field, value in EXAMPLES[name].items() if field not in e.Event.__struct_fields__ or field == "channel"}
    if name != "page_viewed":
        own.pop("type")
        event = event_of(name, own, anonymousId="9f3")
        assert {field: getattr(event, field) for field in own if field in ("total_minor", "text", "kind", "plan", "step", "amount_minor")} == {
            field: value for field, value in own.items() if field in ("total_minor", "text", "kind", "plan", "step", "amount_minor")
        }


def test_sources_are_of_fields_that_exist():
    fields = {field for struct in e.EVENT_TYPES for field in struct.__struct_fields__}
    assert set(SOURCES) <= fields
    assert not set(SOURCES) & set(e.Event.__struct_fields__)
    assert all(set(row.sources) | set(row.always) | set(row.otherwise) <= set(e.TYPES[row.event].__struct_fields__) for row in TABLE.values())


@pytest.mark.parametrize("name", ["Order Completed", "order_completed", "ORDER-COMPLETED", " order  completed "])
def test_writing_does_not_matter(name):
    assert normal(name) == "order_completed"
    assert isinstance(event_of(name, TABLE["Order Completed"].example), e.OrderCompleted)


def test_an_order_in_full():
    order = event_of("Order Completed", {**TABLE["Order Completed"].example, "coupon": "SPRING", "cart_id": "k-5"})
    assert order == e.OrderCompleted(
        id="m", site="shop", at=1_795_343_757_000, received_at=RECEIVED, customer="42", order="50314b8e", total_minor=2750, currency="USD", discount_minor=250,
        cart="k-5", items=[e.Item("507f1f77", 1, 1900)], properties={"revenue": 25, "coupon": "SPRING"},
    )  # fmt: skip


def test_the_others():
    review = event_of("Product Reviewed", {"product_id": "p", "review_id": "r", "review_body": "Good", "rating": 4})
    assert (review.review, review.product, review.text, review.rating, review.source) == ("r", "p", "Good", 4, "website")
    mail = event_of("Email Link Clicked", TABLE["Email Link Clicked"].example)
    assert (type(mail), mail.message, mail.campaign, mail.medium, mail.link) == (
        e.MessageClicked, "18vzF7u3z", "New campaign", "email", "https://shop.example/spring",
    )  # fmt: skip
    video = event_of("Video Playback Completed", {"content_asset_ids": ["v1", "v2"], "total_length": 100})
    assert (video.media, video.state, video.position_seconds, video.length_seconds) == ("v1", "completed", 100, 100)
    survey = event_of("Survey Answered", {"survey": "NPS", "score": "9", "comment": "Fast."})
    assert (survey.survey, survey.score, survey.comment) == ("nps", 9, "Fast.")
    effort = event_of("Survey Answered", {"survey": "ces", "score": 2, "scale_max": 7, "direction": "lower"})
    assert (effort.higher_is_better, effort.scale_max) == (False, 7)
    read = event_of("Content Engaged", {"path": "/a", "scroll_pct": 80, "engaged_seconds": 4_000})
    assert (read.scroll_ratio, read.engaged_seconds) == (0.8, 1_800)
    assert event_of("Consent Changed", {"purpose": "Analytics", "granted": "false"}).granted is False
    assert event_of("Spend Recorded", {"channel": "paid", "amount": 450.5, "currency": "EUR"}).amount_minor == 45_050


# --- money -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("amount", "currency", "minor"),
    [
        ("12.50", "EUR", 1250),
        (Decimal("12.50"), "EUR", 1250),
        (12, "EUR", 1200),
        ("12.5", "JPY", 13),
        ("1500", "JPY", 1500),
        ("1.234", "KWD", 1234),
        ("1.2345", "CLF", 12345),
        (Decimal("58.230000000000004"), "EUR", 5823),
        (Decimal("1.005"), "EUR", 101),
        (Decimal("1.0049999999999999999999999999999999"), "EUR", 100),
        (4.35, "EUR", 435),
        ("9999999999.99", "EUR", 999_999_999_999),
        ("10000000000.01", "EUR", None),
        (Decimal("1E+400"), "EUR", None),
        (Decimal("1E-400"), "EUR", 0),
        ("-1", "EUR", None),
        ("€12.50", "EUR", None),
        ("1,250.00", "EUR", None),
        (True, "EUR", None),
        ([], "EUR", None),
    ],
)
def test_amounts(amount, currency, minor):
    assert minor_units(amount, currency) == minor


@given(st.integers(0, 10**12), st.sampled_from(["EUR", *EXPONENTS]))
def test_every_amount_comes_back_exactly(minor, currency):
    exponent = EXPONENTS.get(currency, 2)
    text = f"{minor // 10**exponent}.{minor % 10**exponent:0{exponent}d}" if exponent else str(minor)
    written = [text, Decimal(text), msgspec.json.Decoder(float_hook=Decimal).decode(text.encode())]
    assert [minor_units(amount, currency) for amount in written if minor <= 10**12] == [minor] * 3


@given(st.integers(0, 10**12))
def test_an_order_keeps_every_cent_on_its_way(cents):
    text = f"{cents // 100}.{cents % 100:02d}"
    message = b'{"event":"Order Completed","userId":"42","properties":{"order_id":"o","total":%s,"currency":"EUR"}}' % text.encode()
    (outcome,) = translate(Envelope("segment", "track", (message,)), CONTEXT)
    assert outcome.event.total_minor == cents
    assert json.loads(outcome.value)["total_minor"] == cents


def test_an_amount_without_its_currency():
    lacking = track("Order Completed", {"order_id": "o", "total": 5})
    assert lacking[:3] == (
        Reason.MISSING_FIELD,
        "$.properties.currency",
        "'Order Completed' needs the property `currency`: a currency of ISO 4217, such as EUR.",
    )
    unknown = track("Order Completed", {"order_id": "o", "total": 5, "currency": "XXQ"})
    assert unknown[:2] == lacking[:2]
    assert unknown.detail.endswith("such as EUR, not 'XXQ'.")
    viewed = track("Product Viewed", {"product_id": "p", "price": 5})
    assert (viewed.event.price_minor, viewed.event.currency, viewed.event.properties, viewed.flags) == (None, None, {"price": 5}, ("no_currency",))


# --- what does not fit -----------------------------------------------------------------------------------------------


def test_what_is_missing_is_named_as_the_sender_knows_it():
    lacking = track("Order Completed", {"total": 5, "currency": "EUR"})
    assert lacking[:3] == (
        Reason.MISSING_FIELD,
        "$.properties.order_id",
        "'Order Completed' becomes order_completed, and needs the property `order_id` or `order`.",
    )
    wrong = track("Order Completed", {"order_id": "o", "total": "much", "currency": "EUR"})
    assert wrong[:3] == (
        Reason.WRONG_TYPE,
        "$.properties.total",
        (
            "'Order Completed' becomes order_completed, and its `total_minor` cannot be made of 'much': "
            "send an amount in EUR with a dot before its decimals and nothing between its thousands, such as 1250.50."
        ),
    )
    for total in ("12,50", [1], {}, "1.234,50"):
        refused = track("Order Completed", {"order_id": "o", "total": total, "currency": "EUR"})
        assert refused[:2] == (Reason.WRONG_TYPE, "$.properties.total")
        assert "with a dot" in refused.detail
    for total in (-5, "-5", -0.5):
        assert "Order Refunded" in track("Order Completed", {"order_id": "o", "total": total, "currency": "EUR"}).detail
    assert "such as 1250 for 12.50 EUR" in track("Order Completed", {"order_id": "o", "total_minor": 12.5, "currency": "EUR"}).detail
    assert track("Product Added", {"product_id": "p", "quantity": 1, "price": 2, "currency": "usd"}).event.currency == "USD"
    assert "it takes `ces`, `csat`, `enps`, `nps`." in track("Survey Answered", {"survey": "happiness", "score": 1}).detail
    assert track("Survey Answered", {"survey": "nps", "score": 11})[:2] == (Reason.OUT_OF_BOUNDS, "$.score")


def test_what_does_not_fit_an_optional_field_stays_a_property():
    outcome = track("Product Reviewed", {"review_id": "r", "rating": "five stars"})
    assert (outcome.event.rating, outcome.event.properties, outcome.flags) == (None, {"rating": "five stars"}, ("misfit",))


def test_properties_are_cut_and_left_out_and_never_refuse():
    many = {f"p{number:02d}": number for number in range(40)}
    outcome = track("Signed In", {"long": "x" * 300, "nested": {"a": 1}, "list": [1], "none": None, "big": 2**70, "yes": True, "half": 0.5, **many})
    kept = outcome.event.properties
    assert len(kept) == 32
    assert (kept["long"], kept["yes"], kept["half"], kept["p00"]) == ("x" * 256, True, 0.5, 0)
    assert not {"nested", "list", "none", "big"} & set(kept)
    assert set(outcome.flags) == {"cut", "properties_left_out"} <= set(FLAGS)


def test_texts_too_long_for_a_field_are_cut():
    outcome = track("Product Viewed", {"product_id": "p" * 300})
    assert (len(outcome.event.product), outcome.flags) == (256, ("cut",))


def test_an_order_is_counted_without_products_that_are_not_complete():
    order = {"order_id": "o", "total": 5, "currency": "EUR"}
    for products in ([{"product_id": "p"}], [{"price": 1}], [7], [{"product_id": "p", "price": 1}] * 201):
        outcome = track("Order Completed", {**order, "products": products})
        assert (outcome.event.items, outcome.flags) == (None, ("items_left_out",))
    assert event_of("Order Completed", {**order, "products": [{"sku": "p", "price": "1.50"}]}).items == [e.Item("p", 1, 150)]


def test_what_has_no_row_makes_no_session_engaged_by_itself():
    """Not even often; as any event of the subject it prolongs its session, and more than ten seconds of a session are engagement."""
    context = CONTEXT._replace(received_at=T0)

    def sessions_with(name: str, kind: str, at: int) -> list[bool]:
        page, other = ({"anonymousId": "v1", "messageId": word, "timestamp": time} for word, time in (("p", T0), ("t", at)))
        state = Intake(0, 1, Sites())
        for verb, fields in (("page", {**page, "properties": {"path": "/"}}), ("track", {**other, "event": name, "properties": {"goal": "g"}})):
            (outcome,) = translate(Envelope("segment", verb, (msgspec.json.encode(fields),)), context)
            assert isinstance(outcome, Accepted)
            state.apply(outcome.topic, [Rec(0, T0, outcome.value)])
        assert e.NAMES[type(outcome.event)] == kind
        state.drain(1)
        return [session.engaged for subject in state.subjects.known.values() for session in subject.sessions]

    assert sessions_with("Sofa Moved", "element_clicked", T0 + 10_000) == [False]
    assert sessions_with("Sofa Moved", "element_clicked", T0 + 10_001) == [True]
    assert sessions_with("Goal Reached", "goal_reached", T0 + 1) == [True]


def test_what_has_no_row_is_a_goal_as_soon_as_an_operator_says_so():
    outcome = track("Sofa Moved", {"room": "kitchen", "url": "https://shop.example/sofas?token=x"})
    click = outcome.event
    assert (type(click), click.element, click.path, outcome.flags) == (e.ElementClicked, "Sofa Moved", "/sofas", ("unmapped",))
    assert click.properties == {"room": "kitchen", "url": "https://shop.example/sofas"}
    assert conversions.goals_of(click, Site(goals={"moved": Goal(element="Sofa Moved")})) == ("moved",)
    assert conversions.goals_of(click, Site()) == ()


@given(
    st.text(), st.dictionaries(st.text(max_size=9), st.integers() | st.text() | st.decimals(allow_nan=False, allow_infinity=False) | st.none() | st.booleans())
)
def test_filling_never_raises(name, properties):
    for verb in ("track", "page", "identify", "group", "alias"):
        flags: set[str] = set()
        found = events_of(Said(verb, name, properties=properties), flags)
        assert isinstance(found, e.Rejected) or all(fields["type"] in e.TYPES for fields in found)
        assert flags <= set(FLAGS)


def test_labels_are_read_from_properties_of_their_name():
    outcome = track("Signed In", {"segment": "gold", "channel": "email", "country": "de", "n": 1})
    assert (outcome.event.segment, outcome.event.channel, outcome.event.country, outcome.event.properties) == ("gold", "email", "DE", {"n": 1})
    assert track("Sofa Moved", {"segment": "s" * 70, "country": "Germany"}).event.segment == "s" * 64
    assert track("Sofa Moved", {"country": "Germany"}).event.properties == {"country": "Germany"}
    (updated,) = translate(Envelope("segment", "identify", (b'{"userId":"42","traits":{"segment":"gold"}}',)), CONTEXT)
    assert (updated.event.segment, updated.event.traits) == ("gold", {"segment": "gold"})
