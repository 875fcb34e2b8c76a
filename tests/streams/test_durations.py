"""Lengths of time as text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.durations import YEAR, duration_name, parse_duration
from streams.panes import DAY, HOUR, MINUTE


@pytest.mark.parametrize(
    ("text", "length"),
    [
        ("0", 0), ("0s", 0), ("250ms", 250), ("45s", 45_000), ("90s", 90_000), ("2m", 2 * MINUTE), ("26h", 26 * HOUR), ("1h30m", 90 * MINUTE),
        ("2d", 2 * DAY), ("1.5d", 36 * HOUR), ("400d", 400 * DAY), ("1m1h", 61 * MINUTE),
    ],
)  # fmt: skip
def test_durations(text: str, length: int) -> None:
    assert parse_duration(text) == length


@pytest.mark.parametrize("text", ["", "45", "s", "-5s", "5 s", "5w", "1e9d", "999999d", "9" * 400 + "d"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match=r"no duration|longer than"):
        parse_duration(text)


def test_the_longest_is_the_callers() -> None:
    assert parse_duration("366d", YEAR) == YEAR
    with pytest.raises(ValueError, match="longer than 366 days"):
        parse_duration("366d1ms", YEAR)


@given(st.integers(0, 100 * YEAR))
def test_a_name_is_read_back(length: int) -> None:
    assert parse_duration(duration_name(length)) == length


@pytest.mark.parametrize(("length", "name"), [(0, "0s"), (90_000, "1m30s"), (26 * HOUR, "1d2h"), (1_250, "1s250ms")])
def test_names(length: int, name: str) -> None:
    assert duration_name(length) == name
