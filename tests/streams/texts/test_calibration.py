"""The curve of p_negative: fitted to labels, deterministic, and honest about too few of them."""

import random
from math import exp

import pytest

from streams.texts.calibration import CalibrationError, Label, calibration, fit
from streams.texts.overlay import Curve


def drawn(slope: float, intercept: float, n: int, seed: int = 1) -> list[Label]:
    chance = random.Random(seed)
    scores = [chance.choice([-1.0, -0.5, 0.0, 0.5, 1.0, 1.5, 2.0, 3.0]) for _ in range(n)]
    return [Label(score, chance.random() < 1 / (1 + exp(-(slope * score + intercept)))) for score in scores]


@pytest.mark.slow
@pytest.mark.parametrize(("slope", "intercept"), [(0.98, -0.64), (2.0, -2.5), (0.5, 1.0)])
def test_the_numbers_behind_labels_are_found(slope: float, intercept: float) -> None:
    curve = fit(drawn(slope, intercept, 20_000))
    assert curve.slope == pytest.approx(slope, abs=0.08)
    assert curve.intercept == pytest.approx(intercept, abs=0.08)


def test_it_is_the_maximum_of_the_likelihood() -> None:
    """Known answer: with two scores the fitted probabilities are Platt's targets averaged over each score."""
    labels = [Label(0.0, place < 6) for place in range(30)] + [Label(2.0, place < 24) for place in range(30)]
    curve, high, low = fit(labels), 31 / 32, 1 / 32
    assert curve.at(0.0) == pytest.approx((6 * high + 24 * low) / 30, abs=1e-4)
    assert curve.at(2.0) == pytest.approx((24 * high + 6 * low) / 30, abs=1e-4)


def test_it_is_deterministic_and_does_not_mind_perfect_labels() -> None:
    labels = [Label(-1.0, False)] * 30 + [Label(2.0, True)] * 30
    assert fit(labels) == fit(labels)
    assert fit(labels).at(-1.0) < 0.05 < 0.95 < fit(labels).at(2.0)


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        ([], "Labels: 0, complaints: 0; at least 50 are needed, 5 of each kind"),
        (drawn(1, 0, 49), "Labels: 49"),
        ([Label(0.0, True)] * 4 + [Label(1.0, False)] * 60, "Labels: 64, complaints: 4"),
        ([Label(1.0, False)] * 30 + [Label(0.0, True)] * 30, "The labels contradict the score"),
        ([Label(1.0, False)] * 30 + [Label(1.0, True)] * 30, "The labels contradict the score"),
    ],
)
def test_what_is_missing_is_told(labels: list[Label], said: str) -> None:
    with pytest.raises(CalibrationError) as told:
        fit(labels)
    assert said in str(told.value)


def test_calibration_by_fifths() -> None:
    labels = [Label(0.0, True), Label(0.0, False), Label(10.0, True), Label(10.0, True)]
    found = calibration(labels, Curve(slope=1, intercept=0))
    assert [(band.n, band.found) for band in found.bands] == [(2, 0.5), (2, 1.0)]
    assert found.error == pytest.approx(0.0, abs=1e-4)
    assert calibration(labels, Curve(slope=1, intercept=-20)).error == pytest.approx(0.75, abs=1e-3)
    assert calibration([], Curve()).error == 0.0
