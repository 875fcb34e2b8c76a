"""Learning from stars: the step by hand, bounds, exactness over crashes and restarts, what it changes, and what it gives on real reviews."""

from bisect import bisect_left, bisect_right
from math import exp, sqrt
from random import Random
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator import texts
from simulator.sites import SHOP
from streams import learner
from streams.engagement import FAMILIES
from streams.facts import TextJudged
from streams.learner import FEATURES, FEATURES_LEFT, LEAST_REVIEWS, PIECE, PIECES, Learner, Weights, pieces_of
from streams.partition import Partition
from streams.rows import LEARNER_ROW
from streams.sentiment import Label, Sentiment, cap, understand
from streams.sites import Site, Sites
from streams.texts.normal import normalise
from tests.data.adapters import DataSet
from tests.streams.records import T0, M, Rec, event, pane_rows, record, store, topic_of

SITES = Sites({"shop": Site(learn_from_stars=True)})
OVERLAY = SITES["shop"].overlay


def review(at: int, text: str, rating: int | None, **fields: Any) -> dict[str, Any]:
    return event("review_posted", at, site="shop", text=text, rating=rating, scale_max=5 if rating is not None else None, **fields)


# --- the model -------------------------------------------------------------------------------------------------------


def test_a_text_is_cut_into_pieces_of_words_and_pairs():
    (piece,) = pieces_of("the box came late", -2_500)
    assert [value for _, value in piece] == [1.0, -0.25, *[1 / sqrt(7)] * 7], "four words and three pairs"
    assert len({name for name, _ in piece}) == 9
    assert len(pieces_of(" ".join(["late"] * PIECE), 0)) == 1
    assert len(pieces_of("late " * (PIECE + 1), 0)) == 2
    assert len(pieces_of("late " * 10_000, 0)) == PIECES
    assert pieces_of("", 0) == []


def test_one_step_by_hand():
    """From nothing the probability is one half; the first step of AdaGrad is the step size against the sign of the gradient."""
    weights = Weights()
    (piece,) = pieces_of("late", -5_000)
    weights.learn([piece], negative=True)
    assert [weights.of[name][0] for name, _ in piece] == pytest.approx([0.3, -0.3, 0.3])
    assert weights.log_odds([piece]) == pytest.approx(0.3 + 0.15 + 0.3)
    before = dict(weights.of)
    weights.learn([piece], negative=False)
    error = 1 / (1 + exp(-0.75))
    for name, value in piece:
        gradient = error * value
        squares = before[name][1] + gradient**2
        assert weights.of[name] == pytest.approx((before[name][0] - 0.3 * gradient / sqrt(squares), squares))
    assert weights.reviews == 2


def test_weights_are_bounded_and_the_smallest_go():
    weights, number = Weights(), 0
    while len(weights.of) <= FEATURES - 200 or number < 600:
        weights.learn(
            pieces_of(" ".join(f"w{number}{chr(97 + word)}x" for word in range(26)).translate(str.maketrans("0123456789", "ABCDEFGHIJ")), 0), negative=True
        )
        number += 1
    assert FEATURES_LEFT <= len(weights.of) <= FEATURES
    assert sum(name not in weights.of for name in weights.changed) >= FEATURES - FEATURES_LEFT, "their rows are deleted"


@given(st.text(max_size=200), st.sampled_from([0, 2_000_000, 2_400_000, 3_000_000, 4_000_000, 5_000_000]), st.integers(-10_000, 10_000))
def test_any_text_can_be_learned(text, stars, compound):
    known = Learner()
    known.learn("shop", normalise(text), compound, stars)
    assert bool(known.sites) == (stars <= 2_000_000 or stars >= 4_000_000)


def taught(reviews: int) -> Learner:
    known = Learner()
    for number in range(reviews):
        known.learn("shop", "the zipper is stuck again" if number % 2 else "lovely zipper and fast", 0, 1_000_000 if number % 2 else 5_000_000)
    return known


def test_nothing_is_said_before_300_reviews_or_without_the_overlays_opinion():
    normal = normalise("the zipper is stuck")
    judged = understand("the zipper is stuck", "en", OVERLAY)
    assert taught(LEAST_REVIEWS - 1).advise("shop", normal, judged, OVERLAY) is judged
    assert taught(LEAST_REVIEWS).advise("elsewhere", normal, judged, OVERLAY) is judged
    plain = Sentiment(Label.NEUTRAL, 0)
    assert taught(LEAST_REVIEWS).advise("shop", normal, plain, OVERLAY) is plain


def test_what_was_learned_adds_at_most_nine_tenths_to_the_score():
    known = taught(LEAST_REVIEWS)
    for text, side in (("the zipper is stuck", 1), ("lovely zipper", -1)):
        judged = understand(text, "en", OVERLAY)
        advised = known.advise("shop", normalise(text), judged, OVERLAY)
        added = (advised.score - judged.score) / 10_000
        assert 0 < added * side <= 0.9
        assert (advised.label is Label.NEGATIVE) == (advised.score >= 10_000 * OVERLAY.tuning.threshold)
        assert advised.compound == judged.compound, "the standard score stays"
        assert advised.p_negative is not None
        assert judged.p_negative is not None
        assert (advised.p_negative - judged.p_negative) * side > 0


# --- in the stream ---------------------------------------------------------------------------------------------------


def stream(number: int, seed: int = 3) -> list[dict[str, Any]]:
    """Reviews with and without stars, survey comments, and mentions in between."""
    rnd, wires = Random(seed), []
    for place in range(number):
        tone = rnd.choice((texts.NEGATIVE, texts.POSITIVE, texts.MIXED))
        text = texts.write(rnd, tone, rnd.choice(texts.CAUSES), rnd.choice(SHOP.products).thing)
        rating = {texts.NEGATIVE: rnd.choice((1, 2)), texts.POSITIVE: rnd.choice((4, 5))}.get(tone, rnd.choice((2, 3, 4)))
        at, name = T0 + place * M // 30, f"n{place}"
        if (lot := rnd.random()) < 0.1:
            wires.append(event("survey_answered", at, id=name, site="shop", comment=text))
        elif lot < 0.2:
            wires.append(event("mention_posted", at, id=name, site="shop", author=name, text=text, brand=None, language="en"))
        else:
            wires.append(review(at, text, None if lot < 0.3 else rating, id=name, review=name, author=f"a{place % 50}"))
    return wires


class Run:
    def __init__(self, sites: Sites = SITES) -> None:
        self.sites, self.rows, self.log = sites, {}, []
        self.partition = Partition(0, 1, sites)
        self.offsets: dict[str, int] = {}

    def put(self, wires: list[dict[str, Any]]) -> None:
        for wire in wires:
            topic = topic_of(wire)
            self.offsets[topic] = self.offsets.get(topic, -1) + 1
            self.log.append((topic, record(self.offsets[topic], wire)))
            self.partition.apply(*self.as_batch(self.log[-1]))

    @staticmethod
    def as_batch(entry: tuple[str, Rec]) -> tuple[str, list[Rec]]:
        return entry[0], [entry[1]]

    def flush(self) -> "Run":
        store(self.rows, self.partition.flush())
        return self

    def restart(self) -> None:
        self.partition = Partition(0, 1, self.sites)
        self.partition.load(list(self.rows.items()))
        for entry in self.log:
            self.partition.apply(*self.as_batch(entry))

    def learned(self) -> tuple[int, dict[int, tuple[float, float]]]:
        weights = self.partition.intake.learner.sites["shop"]
        return weights.reviews, weights.of

    def learner_rows(self) -> dict[bytes, bytes]:
        return {key: value for key, value in self.rows.items() if key.startswith(LEARNER_ROW)}


@pytest.fixture(scope="module")
def wires() -> list[dict[str, Any]]:
    return stream(480)


@pytest.fixture(scope="module")
def whole(wires: list[dict[str, Any]]) -> Run:
    run = Run()
    run.put(wires)
    return run.flush()


@settings(max_examples=5, deadline=None)
@given(cuts=st.lists(st.tuples(st.integers(0, 479), st.booleans()), max_size=4))
def test_the_same_log_gives_the_same_weights_whatever_crashes(wires, whole, cuts):
    run, begin = Run(), 0
    for cut, is_crash in sorted(cuts):
        run.put(wires[begin:cut])
        begin = max(begin, cut)
        if is_crash:
            run.restart()  # what was not flushed is replayed
        else:
            run.flush()
    run.put(wires[begin:])
    run.flush()
    assert run.learned() == whole.learned(), "to the last bit"
    assert run.learner_rows() == whole.learner_rows()
    run.restart()
    assert run.learned() == whole.learned()
    assert pane_rows(run.partition.intake) == pane_rows(whole.partition.intake)


def test_when_other_topics_are_read_does_not_matter(wires, whole):
    run = Run()
    run.put([wire for wire in wires if topic_of(wire) == "social"])
    run.put([wire for wire in wires if topic_of(wire) != "social"])
    assert run.learned() == whole.learned()
    assert pane_rows(run.partition.intake) == pane_rows(whole.partition.intake)


def test_a_repeated_event_teaches_once(wires, whole):
    run = Run()
    for wire in wires:
        run.put([wire, wire] if wire["type"] == "review_posted" else [wire])
    assert run.learned() == whole.learned()


def test_rows_hold_no_words_and_are_small(whole):
    reviews, weights = whole.learned()
    rows = whole.learner_rows()
    assert reviews > LEAST_REVIEWS
    assert len(rows) == len(weights) + 1
    assert max(len(key) + len(value) for key, value in rows.items()) <= len("k/shop/") + 8 + 19
    assert all(len(key) == len("k/shop/") + 8 for key in rows)


def test_it_is_off_unless_the_site_asks_for_it(wires):
    zippers = [review(T0 + 20 * M, "the zipper again", 1, review=f"z{number}", author="z") for number in range(60)]
    unrated = [review(T0 + 21 * M, "it is about the zipper", None, review=f"u{number}", author="u") for number in range(5)]
    plain, taught_by_stars = Run(Sites()), Run()
    for run in (plain, taught_by_stars):
        run.put(wires + zippers + unrated)
        run.flush()
    assert plain.partition.intake.learner.sites == {}
    assert plain.learner_rows() == {}
    family, labels = FAMILIES[TextJudged], {}
    for name, run in (("off", plain), ("on", taught_by_stars)):
        total = family.empty()
        for key, cell in pane_rows(run.partition.intake).items():
            if key[:3] == ("text", M, "segment,origin"):
                family.add(total, cell)
        labels[name] = dict(zip(family.slot_names, total, strict=True))
    assert labels["on"]["texts_scored.0"] == labels["off"]["texts_scored.0"]
    assert labels["on"]["mean_sentiment.1"] == labels["off"]["mean_sentiment.1"], "VADER's score is never touched"
    negatives = [labels[name][slot] for name in ("off", "on") for slot in family.slot_names if slot == "negative_share.1"]
    assert negatives[1] - negatives[0] == 5, "the five without stars are heard as complaints"


def test_what_is_not_english_or_not_to_be_read_teaches_nothing():
    run = Run()
    german = "die Lieferung war leider viel zu spät und niemand hat sich gemeldet, das ist wirklich schlecht"
    run.put([review(T0, german, 1, review="r1"), review(T0, "", 1, review="r2"), review(T0, "so so", 3, review="r3")])
    assert run.partition.accounting()["reviews"]["applied"] == 3
    assert run.partition.intake.learner.sites == {}
    silent = Run(Sites({"shop": msgspec.structs.replace(SITES["shop"], consent=msgspec.convert({"sentiment": False}, type(Site().consent)))}))
    silent.put([review(T0, "horrible", 1)])
    assert silent.partition.accounting()["reviews"]["applied"] == 1
    assert silent.partition.intake.learner.sites == {}


# --- what it gives ---------------------------------------------------------------------------------------------------


def auc(scores: list[tuple[float, bool]]) -> float:
    """Share of pairs of a negative and another text that the score puts in the right order."""
    others = sorted(score for score, is_negative in scores if not is_negative)
    negatives = [score for score, is_negative in scores if is_negative]
    return sum(bisect_left(others, score) + bisect_right(others, score) for score in negatives) / (2 * len(others) * len(negatives))


@pytest.mark.slow
def test_real_reviews_in_time_order_after_the_first_300():
    """Each review is judged before it is learned, as if it had no stars."""
    data = DataSet("airline_seat_reviews", "reviews.csv.gz")
    rows = [row for row in sorted(data.rows, key=lambda row: row["date"]) if row["overall_rating"] and row["date"] != "1970-01-01"]
    known, judged = Learner(), []
    for row in rows:
        stars, text = float(row["overall_rating"]) / 2, cap(row["text"])[0]
        sentiment, normal = understand(text, None, OVERLAY, in_sentences=True), normalise(text)
        if not 2 < stars < 4:
            alone = known.sites["shop"].log_odds(pieces_of(normal, sentiment.compound)) if known.sites else 0.0
            judged.append((stars <= 2, -sentiment.compound, sentiment.score, alone, known.advise("shop", normal, sentiment, OVERLAY).score))
        known.learn("shop", normal, sentiment.compound, round(stars * 1_000_000))
    later = judged[LEAST_REVIEWS:]
    vader, overlay, alone, advised = (auc([(one[place], one[0]) for one in later]) for place in (1, 2, 3, 4))
    assert len(later) == 690
    assert (round(vader, 2), round(overlay, 2)) == (0.90, 0.92)
    assert alone > vader + 0.02
    assert advised > overlay + 0.015, "stacked on the overlay it is better than either"
    assert advised > alone
    assert len(known.sites["shop"].of) <= learner.FEATURES
