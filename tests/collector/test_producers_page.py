"""docs/producers.md says what the code does."""

import json
import re
from pathlib import Path

from collector.handbook import page
from collector.plan import load_plans
from collector.translation import Accepted, Context, translate
from collector.wires.reading import Envelope
from streams import events as e

PAGE = (Path(__file__).parents[2] / "docs" / "producers.md").read_text()


def examples(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.S)


def test_the_page_is_current():
    assert page() == PAGE, "python -m collector.handbook > docs/producers.md"


def test_its_cloudevent_is_one():
    (text,) = examples("json")
    (outcome,) = translate(Envelope("cloudevents", "events", (json.dumps(json.loads(text)).encode(),)), Context("shop", 1_772_440_200_000))
    assert isinstance(outcome, Accepted)
    assert isinstance(outcome.event, e.ReviewPosted)
    assert (outcome.event.id, outcome.event.customer) == ("/crm#881", "42")


def test_its_plan_is_one():
    (text,) = examples("yaml")
    assert load_plans(text)["shop"].events["order_completed"].properties["coupon"].type == "text"
