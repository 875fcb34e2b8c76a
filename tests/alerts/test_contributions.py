"""Where a difference comes from: known answers, and mixes that differ by chance alone."""

import random
from collections import Counter

import pytest

from alerts.contributions import EVEN, dimension


def test_the_payment_incident() -> None:
    """Five days of it: 30 of 38 payments failed, 6.0 expected; one error explains more than all of the difference, and a segment nothing."""
    (error,) = dimension("event", {"payment_error": 28, "none": 2}, {"payment_error": 1, "none": 110}, 6.0).values
    assert (error.value, error.actual) == ("payment_error", 28)
    assert error.expected == pytest.approx(0.08, abs=0.01)
    assert error.power == pytest.approx(1.16, abs=0.02)
    found = dimension("event", {"payment_error": 28, "none": 2}, {"payment_error": 1, "none": 110}, 6.0)
    assert found.surprise == pytest.approx(0.53, abs=0.02)
    even = dimension("platform", {"ios": 9, "web": 15, "android": 6}, {"ios": 30, "web": 55, "android": 26}, 6.0)
    assert (even.values, even.surprise < EVEN) == ((), True)


def test_who_is_missing() -> None:
    found = dimension("source", {"direct": 48, "search": 3}, {"direct": 1_200, "search": 1_100}, 100)
    (missing,) = found.values
    assert (missing.value, missing.actual, round(missing.expected)) == ("search", 3, 48)
    assert missing.power == pytest.approx(45 / 49, abs=0.01)


def test_several_values_until_two_thirds_are_explained() -> None:
    found = dimension("route", {"a": 140, "b": 30, "c": 15, "d": 25}, dict.fromkeys("abcd", 250), 80)
    assert [one.value for one in found.values] == ["a"]
    found = dimension("route", {"a": 400, "b": 300, "c": 20, "d": 20}, {"a": 100, "b": 100, "c": 400, "d": 400}, 100)
    assert [one.value for one in found.values] == ["a", "b"]
    assert sum(one.power for one in found.values) > 2 / 3


@pytest.mark.parametrize(
    ("actual", "before", "expected"),
    [({}, {}, 10.0), ({"a": 5}, {"a": 50}, 2.0), ({"a": 1, "b": 1}, {"a": 1, "b": 1}, 2.0), ({"a": 3, "b": 1}, {"a": 1}, 0.0)],
    ids=["nothing", "one value", "no difference", "nothing expected"],
)
def test_nothing_to_tell(actual: dict[str, int], before: dict[str, int], expected: float) -> None:
    assert dimension("label", actual, before, expected) is None


def test_everything_gone_is_spread_evenly() -> None:
    assert dimension("label", {}, {"a": 300, "b": 20}, 30).values == ()


def test_few_counts_of_one_mix_name_nobody() -> None:
    """A thousand times 20 lost attempts after 30 others, of the same four segments: chance names a segment in fewer than four of a hundred."""
    rng, named = random.Random(1), 0
    for _ in range(1_000):
        before, now = (Counter(rng.choices("abcd", (4, 3, 2, 1), k=number)) for number in (30, 20))
        found = dimension("segment", now, before, 8.0)
        named += bool(found and found.values)
    assert named < 40
