"""The texts: of the tone they are meant to have, by the product's own score, and of many kinds."""

from collections import Counter
from random import Random

import pytest

from simulator import texts
from simulator.sites import BUSINESSES, SHOP
from streams.sentiment import Label, judge

MANY = 3_000


@pytest.mark.parametrize(
    ("tone", "label", "least"), [(texts.POSITIVE, Label.POSITIVE, 0.95), (texts.NEUTRAL, Label.NEUTRAL, 0.8), (texts.NEGATIVE, Label.NEGATIVE, 0.93)]
)
@pytest.mark.parametrize("business", BUSINESSES, ids=lambda business: business.site)
def test_the_tone_is_heard(business: object, tone: str, label: Label, least: float) -> None:
    rnd = Random(tone)
    written = [texts.write(rnd, tone, texts.pick_cause(rnd, business.kind), rnd.choice(business.products).thing) for _ in range(MANY)]  # type: ignore[attr-defined]
    assert sum(judge(text, "en").label is label for text in written) / MANY > least
    assert len(set(written)) > 0.6 * MANY


@pytest.mark.parametrize("cause", texts.CAUSES)
def test_every_cause_has_its_complaints(cause: str) -> None:
    rnd = Random(cause)
    complaints = [texts.write(rnd, texts.NEGATIVE, cause, rnd.choice(SHOP.products).thing) for _ in range(500)]
    assert sum(judge(text, "en").label is Label.NEGATIVE for text in complaints) > 450
    assert len(set(complaints)) > 300


def test_no_slot_stays_open_and_sentences_begin_large() -> None:
    rnd = Random(1)
    for tone in (texts.POSITIVE, texts.NEUTRAL, texts.NEGATIVE, texts.MIXED):
        for _ in range(MANY):
            text = texts.write(rnd, tone, rnd.choice(texts.CAUSES), rnd.choice(SHOP.products).thing)
            assert "{" not in text
            assert not text[0].islower()


def test_tickets_ask_or_complain() -> None:
    rnd, thing = Random(2), SHOP.products[0].thing
    labels = {
        tone: Counter(judge(texts.write_ticket(rnd, tone, rnd.choice(texts.CAUSES), thing), None).label for _ in range(500))
        for tone in (texts.NEUTRAL, texts.NEGATIVE)
    }
    assert labels[texts.NEGATIVE][Label.NEGATIVE] > 450
    assert labels[texts.NEUTRAL][Label.NEGATIVE] < 50


def test_foreign_texts_say_their_language() -> None:
    rnd = Random(3)
    languages = Counter(texts.write_foreign(rnd, SHOP.products[0].thing)[0] for _ in range(100))
    assert set(languages) == {"de", "fr"}
