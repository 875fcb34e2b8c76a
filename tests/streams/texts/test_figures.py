"""How right the labels are, recomputed on labelled public texts; docs/sentiment.md shows these figures.

A tweet or review sentence is negative or positive by the mean of its twenty raters (from ±0.05, as VADER's authors do); a review of a seat is negative
where its author does not recommend the seat, and there are two classes. AUC is that of the negative class.
"""

import csv
import gzip
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest

from streams.sentiment import cap, compound, vader_label
from streams.texts.calibration import Label, calibration, fit
from streams.texts.normal import normalise
from streams.texts.overlay import Curve, Opinion, Overlay, Tuning
from tests.conftest import missing
from tests.data.adapters import DATA

PAGE = (Path(__file__).parents[3] / "docs" / "sentiment.md").read_text(encoding="utf-8")
OVERLAY = Overlay(Tuning())


class Text(NamedTuple):
    capped: str
    truth: str


def load(name: str) -> list[Text]:
    folder, file = ("airline_seat_reviews", "reviews.csv.gz") if name == "reviews" else ("vader_ground_truth_social", "ground_truth.csv.gz")
    if not (DATA / folder).is_dir():
        missing(f"The data set {folder} is not there; this test needs the folder shared/data beside the repository.")
    with gzip.open(DATA / folder / file, "rt", encoding="utf-8", newline="") as table:
        rows = list(csv.DictReader(table))
    if name == "reviews":
        return [Text(cap(row["text"])[0], "negative" if row["recommended"] == "0" else "other") for row in rows]
    source = {"tweets": "tweet", "sentences": "amazon"}[name]
    return [Text(cap(row["text"])[0], vader_label(round(float(row["human_mean"]) * 10_000))) for row in rows if row["source"] == source]


class Figures(NamedTuple):
    accuracy: float
    macro_f1: float
    precision: float
    recall: float
    f1: float
    auc: float


def figures(truth: Sequence[str], told: Sequence[str], scores: Sequence[float]) -> Figures:
    classes = sorted(set(truth))
    told = [label if label in classes else "other" for label in told]
    of_class = {}
    for label in classes:
        hits = sum(a == b == label for a, b in zip(truth, told, strict=True))
        of_class[label] = (hits / max(1, told.count(label)), hits / truth.count(label), 2 * hits / (told.count(label) + truth.count(label)))
    [label == "negative" for label in truth]
    accuracy = sum(a == b for a, b in zip(truth, told, strict=True)) / len(truth)
    return Figures(
        accuracy, sum(f1 for *_, f1 in of_class.values()) / len(classes), *of_class["negative"], auc(scores, [label == "negative" for label in truth])
    )


def auc(scores: Sequence[float], negative: Sequence[bool]) -> float:
    """The chance that a negative text scores higher than another one; ties count half (Mann–Whitney)."""
    below, wins, ordered = 0, 0.0, sorted(zip(scores, negative, strict=True))
    place = 0
    while place < len(ordered):
        same = _ties(ordered, place)
        others = len(same) - sum(same)
        wins += sum(same) * (below + others / 2)
        below += others
        place += len(same)
    return wins / (sum(negative) * (len(negative) - sum(negative)))


def _ties(ordered: Sequence[tuple[float, bool]], place: int) -> list[bool]:
    end = place
    while end < len(ordered) and ordered[end][0] == ordered[place][0]:
        end += 1
    return [negative for _, negative in ordered[place:end]]


def by_vader(texts: Sequence[Text]) -> Figures:
    scores = [compound(text.capped) for text in texts]
    return figures([text.truth for text in texts], [vader_label(round(score * 10_000)) for score in scores], [-score for score in scores])


def by_overlay(texts: Sequence[Text], judge: Callable[[str], Opinion] = OVERLAY.judge) -> Figures:
    opinions = [judge(normalise(text.capped)) for text in texts]
    return figures([text.truth for text in texts], [opinion.label for opinion in opinions], [opinion.score for opinion in opinions])


EXPECTED = {
    ("tweets", "VADER"): Figures(0.926, 0.703, 0.970, 0.907, 0.937, 0.983),
    ("tweets", "overlay"): Figures(0.779, 0.592, 0.812, 0.942, 0.872, 0.970),
    ("sentences", "VADER"): Figures(0.565, 0.454, 0.792, 0.387, 0.520, 0.775),
    ("sentences", "overlay"): Figures(0.533, 0.452, 0.668, 0.628, 0.647, 0.785),
    ("reviews", "VADER"): Figures(0.752, 0.750, 0.922, 0.666, 0.774, 0.868),
    ("reviews", "overlay, whole"): Figures(0.798, 0.765, 0.793, 0.924, 0.853, 0.848),
    ("reviews", "overlay, by sentence"): Figures(0.814, 0.799, 0.852, 0.856, 0.854, 0.877),
}
JUDGES = {"VADER": by_vader, "overlay": by_overlay, "overlay, whole": by_overlay}


@pytest.mark.parametrize(("name", "judge"), EXPECTED, ids=str)
def test_figures(name: str, judge: str) -> None:
    texts = load(name)
    found = by_overlay(texts, OVERLAY.judge_sentences) if judge == "overlay, by sentence" else JUDGES[judge](texts)
    assert found == pytest.approx(EXPECTED[name, judge], abs=6e-4)


@pytest.mark.parametrize(("name", "judge"), EXPECTED, ids=str)
def test_the_page_shows_them(name: str, judge: str) -> None:
    numbers = r" \| ".join(re.escape(f"{number:.3f}") for number in EXPECTED[name, judge])
    assert re.search(rf"^\| {name}[^|]*\| {re.escape(judge)} \| {numbers} \|$", PAGE, re.M)


def test_auc_is_the_known_one() -> None:
    assert auc([0.1, 0.4, 0.35, 0.8], [False, False, True, True]) == 0.75
    assert auc([1, 1, 1, 1], [True, False, True, False]) == 0.5


def test_the_curve_is_refitted_to_a_site_of_another_kind() -> None:
    """Fifty reviews chosen by their place in the file stand for an operator's labels; the others tell how well the new curve fits."""
    opinions = [(OVERLAY.judge_sentences(normalise(text.capped)).score, text.truth == "negative") for text in load("reviews")]
    labels = [Label(score, negative) for score, negative in opinions]
    mine, others = labels[::25], [label for place, label in enumerate(labels) if place % 25]
    curve = fit(mine)
    before, after = calibration(others, Curve()).error, calibration(others, curve).error
    assert after < before
    assert after < 0.1
