"""Tracking plans: what is off the plan, and what is wrong with a plan."""

import json
from typing import Any

import pytest

from collector.plan import PlanError, check, load_plans
from streams import events as e
from streams.events import Reason
from streams.examples import EXAMPLES

PLANS = load_plans("""
default: {events: {order_completed: {properties: {rank: {type: integer}, share: {type: number}, gift: {type: bool, values: [true]}}}}}
sites:
  shop:
    other_events: refuse
    events:
      order_completed:
        fields:
          cart: {required: true}
          currency: {values: [EUR, USD]}
        properties:
          coupon: {type: text, required: true, values: [SPRING, AUTUMN]}
          tier: {values: [1, 2]}
        other_properties: refuse
      page_viewed: {}
  blog: {}
""")
GOOD = {"coupon": "SPRING"}


def event(name: str = "order_completed", **fields: Any) -> Any:
    found = e.decode(json.dumps({**EXAMPLES[name], **fields}).encode())
    assert not isinstance(found, e.Rejected), found
    return found


@pytest.mark.parametrize(
    ("sent", "path", "sentence"),
    [
        (event(), "$.properties.coupon", "By the tracking plan order_completed needs the property `coupon`."),
        (event(properties={"coupon": 7}), "$.properties.coupon", "By the tracking plan the property `coupon` of order_completed must be a text."),
        (
            event(properties={"coupon": "MAY"}),
            "$.properties.coupon",
            "By the tracking plan the property `coupon` of order_completed must be one of: SPRING, AUTUMN.",
        ),
        (event(properties={**GOOD, "tier": True}), "$.properties.tier", "By the tracking plan the property `tier` of order_completed must be one of: 1, 2."),
        (
            event(properties={**GOOD, "cupon": "x"}),
            "$.properties.cupon",
            "The tracking plan has no property 'cupon' of order_completed. Did you mean `coupon`?",
        ),
        (event(properties=GOOD, cart=None), "$.cart", "By the tracking plan order_completed needs the field `cart`."),
        (event(properties=GOOD, currency="GBP"), "$.currency", "By the tracking plan the field `currency` of order_completed must be one of: EUR, USD."),
        (event("signed_in"), "$.type", "The tracking plan of shop has no signed_in."),
    ],
)
def test_off_the_plan(sent, path, sentence):
    assert check(PLANS["shop"], sent) == (Reason.OFF_PLAN, path, sentence)


@pytest.mark.parametrize(
    ("site", "sent"),
    [
        ("shop", event(properties=GOOD)),
        ("shop", event(properties={**GOOD, "tier": 2.0})),
        ("shop", event("page_viewed", properties={"anything": 1})),
        ("shop", event("consent_changed")),
        ("shop", event("erase_requested")),
        ("blog", event("signed_in")),
        ("another", event("signed_in")),
        ("another", event(properties={"rank": 1, "share": 1, "gift": True, "more": "x"})),
        ("another", event(properties={"share": 0.5})),
    ],
)
def test_on_the_plan(site, sent):
    assert check(PLANS[site], sent) is None


@pytest.mark.parametrize("properties", [{"rank": 1.5}, {"rank": True}, {"share": "1"}, {"share": True}, {"gift": 1}, {"gift": False}])
def test_types_are_those_of_json(properties):
    assert check(PLANS["another"], event(properties=properties))[0] is Reason.OFF_PLAN


def test_sites_without_a_plan_have_none():
    assert load_plans("")["shop"] is None
    assert load_plans("sites: {shop: {}}")["blog"] is None
    assert load_plans("sites: {shop: {}}")["shop"] is not None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("site: {}", ["`site`", "`default:` and `sites:`"]),
        ("a: [", ["not readable as YAML", "line 1"]),
        ("sites: &x {}\ndefault: *x", ["aliases"]),
        ("sites: {}\nsites: {}", ["'sites' is given twice"]),
        ("x: " + "y" * (1 << 20), ["at most 1048576 characters"]),
        ("sites: {Shop: {}}", ["site 'Shop'", "a-z"]),
        ("sites: {shop: {events: {order_complete: {}}}}", ["site shop", "'order_complete'", "Did you mean `order_completed`?", "erase_requested"]),
        ("sites: {shop: {event: {}}}", ["site shop", "`event`", "other_events"]),
        ("sites: {shop: {other_events: maybe}}", ["'maybe'", "allow or refuse"]),
        ("default: {events: {signed_in: {field: {}}}}", ["default: event signed_in", "`field`", "other_properties"]),
        ("default: {events: {signed_in: }}", ["event signed_in", "is {}"]),
        ("default: {events: {order_completed: {fields: {cat: {}}}}}", ["has no field 'cat'", "Did you mean `cart`?", "total_minor"]),
        ("default: {events: {order_completed: {fields: {cart: {type: text}}}}}", ["fields: cart", "leave `type` out"]),
        ("default: {events: {signed_in: {properties: {a: {typ: text}}}}}", ["properties: a", "`typ`", "required, values"]),
        ("default: {events: {signed_in: {properties: {a: {type: float}}}}}", ["properties: a", "text, number, integer, bool"]),
        ("default: {events: {signed_in: {properties: {a: {type: text, values: [1]}}}}}", ["properties: a", "the value 1 is not of the type text"]),
    ],
)
def test_a_mistake_is_told_with_its_place_and_what_is_allowed(text, words):
    with pytest.raises(PlanError) as fault:
        load_plans(text, "plan.yml")
    assert str(fault.value).startswith("plan.yml: ")
    for word in words:
        assert word in str(fault.value)
