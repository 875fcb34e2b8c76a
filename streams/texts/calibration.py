"""The two numbers of `p_negative`, fitted to what people say of a site's own texts."""

from collections.abc import Sequence
from math import exp, log1p
from typing import Final, NamedTuple

from streams.texts.overlay import Curve

LEAST_LABELS: Final = 50
LEAST_OF_EACH: Final = 5
STEPS: Final = 100
CLOSE: Final = 1e-9
BANDS: Final = 5


class Label(NamedTuple):
    """A text's score, and whether a person calls it a complaint."""

    score: float
    negative: bool


class Band(NamedTuple):
    """Texts whose probability lies between two fifths: how many, their mean probability, and how many of them are complaints."""

    n: int
    told: float
    found: float


class Calibration(NamedTuple):
    """How well probabilities fit what people said."""

    error: float
    """Mean distance of told and found, weighted by the texts of a band: the expected calibration error."""
    bands: tuple[Band, ...]


class CalibrationError(ValueError):
    """The labels do not give a curve; the text says what is missing."""


def fit(labels: Sequence[Label]) -> Curve:
    """Logistic regression of the labels on the scores by Newton's method. Raises CalibrationError where there are too few, or they contradict the score.

    Targets are (n₊ + 1) ÷ (n₊ + 2) and 1 ÷ (n₋ + 2) instead of 1 and 0, so that scores which part the labels perfectly have a finite curve
    (Platt 1999; Newton with halved steps as in Lin, Lin and Weng 2007). Deterministic: the same labels in the same order give the same numbers.
    """
    positive = sum(label.negative for label in labels)
    if len(labels) < LEAST_LABELS or min(positive, len(labels) - positive) < LEAST_OF_EACH:
        raise CalibrationError(
            f"Labels: {len(labels)}, complaints: {positive}; at least {LEAST_LABELS} are needed, {LEAST_OF_EACH} of each kind: "
            "label more with `engage sentiment label`"
        )
    high, low = (positive + 1) / (positive + 2), 1 / (len(labels) - positive + 2)
    points = [(label.score, high if label.negative else low) for label in labels]
    slope, intercept = 0.0, 0.0
    loss = _loss(points, slope, intercept)
    for _ in range(STEPS):
        ds, di, ss, si, ii = 0.0, 0.0, CLOSE, 0.0, CLOSE  # gradient and Hessian
        for score, target in points:
            p = _logistic(slope * score + intercept)
            weight = p * (1 - p)
            ds += (p - target) * score
            di += p - target
            ss += weight * score * score
            si += weight * score
            ii += weight
        if abs(ds) < CLOSE and abs(di) < CLOSE:
            break
        determinant = ss * ii - si * si
        step_s, step_i = (ii * ds - si * di) / determinant, (ss * di - si * ds) / determinant
        size = 1.0
        while size > CLOSE and (smaller := _loss(points, slope - size * step_s, intercept - size * step_i)) > loss:
            size /= 2
        if size <= CLOSE:
            break
        slope, intercept, loss = slope - size * step_s, intercept - size * step_i, smaller
    if slope <= 0:
        raise CalibrationError("The labels contradict the score: complaints do not score higher than other texts. Look at some with `engage sentiment TEXT`")
    return Curve(slope=round(min(slope, 20.0), 4), intercept=round(max(-20.0, min(intercept, 20.0)), 4))


def calibration(labels: Sequence[Label], curve: Curve) -> Calibration:
    """How well a curve fits, by fifths of the probability."""
    banded: list[list[tuple[float, bool]]] = [[] for _ in range(BANDS)]
    for label in labels:
        p = curve.at(label.score)
        banded[min(int(p * BANDS), BANDS - 1)].append((p, label.negative))
    bands = tuple(Band(len(band), sum(p for p, _ in band) / len(band), sum(negative for _, negative in band) / len(band)) for band in banded if band)
    return Calibration(sum(band.n * abs(band.told - band.found) for band in bands) / max(1, len(labels)), bands)


def _loss(points: Sequence[tuple[float, float]], slope: float, intercept: float) -> float:
    """Cross entropy, without overflow."""
    total = 0.0
    for score, target in points:
        x = slope * score + intercept
        total += max(x, 0.0) - target * x + log1p(exp(-abs(x)))
    return total


def _logistic(x: float) -> float:
    return 1 / (1 + exp(-x)) if x >= 0 else exp(x) / (1 + exp(x))
