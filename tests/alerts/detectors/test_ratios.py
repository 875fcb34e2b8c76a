"""Detector of shares: the figures it must reproduce, looks at panes and at single outcomes, the life of an incident."""

import random
from collections.abc import Iterator
from itertools import pairwise
from math import isfinite

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alerts.detectors import Finding, Sensitivity, ratios
from alerts.detectors.ratios import NONE, RatioState, add_evidence, alternatives, combined, highest_usual
from benchmarks.detection import BEGIN, share_trial
from streams.panes import DAY, HOUR, MINUTE

OUTCOMES = (1, 1, 0, 1, 1, 1, 0, 1)
EVIDENCE = (2.1667, 5.0833, 3.7230, 9.0453, 23.4013, 63.5040, 43.2519, 119.3652)


def test_evidence() -> None:
    evidence, found = NONE, []
    assert alternatives(0.15) == pytest.approx((0.225, 0.3, 0.45))
    for bad in OUTCOMES:
        evidence = add_evidence(evidence, bad, 1, 0.15)
        found.append(combined(evidence))
    assert found == pytest.approx(EVIDENCE, abs=5e-5)


def test_the_detector_adds_evidence_so() -> None:
    state = RatioState(begun=BEGIN, end=BEGIN + 3 * DAY, bad=45, n=400, usual=0.15)
    found = [ratios.advance(state, BEGIN + 3 * DAY + place, bad, 1) for place, bad in enumerate(OUTCOMES)]
    assert [finding.statistic for finding in found] == pytest.approx(EVIDENCE, abs=5e-5)
    assert [finding.state for finding in found] == ["normal"] * 7 + ["firing"]
    last = found[-1]
    assert (last.threshold, last.usual, last.value, last.n) == (100, 0.15, 6 / 8, 8)


@given(st.integers(1, 10_000), st.floats(0, 0.99))
def test_the_highest_usual_share_lies_as_far_off_as_its_own_deviation_says(n: int, share: float) -> None:
    """Wilson's interval holds the shares p with |share − p| ≤ z·√(p(1 − p)/n): its upper end is the larger root."""
    highest = highest_usual(share * n, n)
    assert highest >= share - 1e-12
    assert (highest - share) ** 2 == pytest.approx(1.28**2 * highest * (1 - highest) / n, abs=1e-12)


@given(st.lists(st.booleans(), min_size=1, max_size=60), st.floats(0.001, 0.999), st.floats(1, 20), st.randoms(use_true_random=False))
def test_one_look_at_many_is_never_more_evidence_than_a_look_at_each(outcomes: list[bool], usual: float, design: float, rng: random.Random) -> None:
    panes = sorted({0, len(outcomes), *(rng.randrange(len(outcomes)) for _ in range(4))})
    single, grouped = NONE, NONE
    for first, last in pairwise(panes):
        for bad in outcomes[first:last]:
            single = add_evidence(single, int(bad), 1, usual, design)
        grouped = add_evidence(grouped, sum(outcomes[first:last]), last - first, usual, design)
        assert all(one <= each + 1e-9 for one, each in zip(grouped, single, strict=True))


@given(st.floats(1e-6, 1 - 1e-6))
def test_alternatives_are_unusual_shares(usual: float) -> None:
    assert all(usual < share < 1 for share in alternatives(usual))
    if usual <= 0.95 / 1.1:
        assert alternatives(usual) == tuple(max(min(0.95, factor * usual), 1.1 * usual) for factor in (1.5, 2, 3))


# --- the life of an incident -----------------------------------------------------------------------------------------


def follow(state: RatioState, days: float, share: float, per_hour: int = 20, seed: int = 1, direction: ratios.Direction = "rise") -> Iterator[Finding]:
    """Panes of ten minutes from where the state stands."""
    rng = random.Random(seed)
    first = max(BEGIN, state.end)
    for place in range(round(days * 144)):
        n = rng.randint(0, per_hour // 3)
        yield ratios.advance(state, first + (place + 1) * 10 * MINUTE, sum(rng.random() < share for _ in range(n)), n, "balanced", direction)


@pytest.fixture(scope="module")
def two_weeks() -> bytes:
    """480 outcomes a day of which 15 % are bad."""
    state = ratios.start()
    findings = list(follow(state, 14, 0.15))
    assert {finding.state for finding in findings[:280]} == {"learning"}
    assert {finding.state for finding in findings[300:]} == {"normal"}
    return msgspec.msgpack.encode(state)


def copy_of(state: bytes) -> RatioState:
    return msgspec.msgpack.decode(state, type=RatioState)


def test_the_threshold_is_ten_days_of_outcomes(two_weeks: bytes) -> None:
    thresholds = [finding.threshold for finding in follow(copy_of(two_weeks), 1, 0.15) if finding.rule]
    assert thresholds == pytest.approx([4_800] * len(thresholds), rel=0.15)


def test_a_rise_is_one_incident(two_weeks: bytes) -> None:
    state = copy_of(two_weeks)
    findings = list(follow(state, 1, 0.5))
    places = [place for place, finding in enumerate(findings) if finding.state == "firing"]
    assert places == list(range(places[0], 144))
    first = findings[places[0]]
    assert places[0] < 24
    assert first.statistic >= first.threshold
    assert first.value > 1.5 * first.usual
    assert first.n <= 20 * 24 / 6
    baseline = state.bad, state.n
    after = list(follow(state, 1, 0.15, seed=2))
    assert after[-1].state == "normal"
    closed = next(place for place, finding in enumerate(after) if finding.state == "normal")
    assert closed < 12
    assert after[closed].since is None
    assert baseline == pytest.approx((copy_of(two_weeks).bad, copy_of(two_weeks).n), rel=0.05), "an incident is not its own baseline"


def test_what_rises_again_within_a_day_is_the_same_incident(two_weeks: bytes) -> None:
    state = copy_of(two_weeks)
    since = [{finding.since for finding in follow(state, days, share)} - {None} for days, share in ((0.5, 0.5), (0.5, 0.15), (0.5, 0.5), (2, 0.15), (0.5, 0.5))]
    assert since[0] == since[2]
    assert len(since[4]) == 1
    assert since[4] != since[0]


def test_a_fall_is_a_rise_of_the_others() -> None:
    rng = random.Random(3)
    fallen, risen = ratios.start(), ratios.start()
    for hour in range(400):
        n = rng.randint(0, 9)
        good = sum(rng.random() < (0.8 if hour < 350 else 0.3) for _ in range(n))
        falls = ratios.advance(fallen, BEGIN + hour * HOUR, good, n, "balanced", "fall")
        assert falls == ratios.advance(risen, BEGIN + hour * HOUR, n - good, n, "balanced", "rise")
    assert falls.state == "firing"


def test_what_stays_for_four_weeks_is_the_new_normal(two_weeks: bytes) -> None:
    state = copy_of(two_weeks)
    findings = list(follow(state, 30, 0.6))
    assert len({finding.since for finding in findings} - {None}) == 1
    ((place, note),) = [(place, finding.note) for place, finding in enumerate(findings) if finding.note]
    assert 28 * 144 <= place <= 28.2 * 144
    assert note == "new level x4.0 accepted"
    assert findings[-1].state == "normal"
    assert findings[-1].usual == pytest.approx(0.62, abs=0.02)


def test_no_outcomes_and_old_ones_change_nothing(two_weeks: bytes) -> None:
    state = copy_of(two_weeks)
    assert ratios.advance(state, state.end + HOUR, 0, 0).rule is None
    assert ratios.advance(state, state.end - 1, 5, 5).rule is None
    assert msgspec.msgpack.encode(state) == two_weeks


@pytest.mark.parametrize(("usual", "later"), [(0, 1), (1, 0)])
def test_outcomes_that_are_all_the_same(usual: int, later: int) -> None:
    state = ratios.start()
    for hour in range(200):
        assert ratios.advance(state, BEGIN + hour * HOUR, 5 * usual, 5).state != "firing"
    found = [ratios.advance(state, BEGIN + hour * HOUR, 5 * later, 5).state for hour in range(200, 210)]
    assert ("firing" in found) == (later > usual)


def test_hours_that_differ_weaken_the_evidence() -> None:
    state, rng = ratios.start(), random.Random(5)
    for hour in range(14 * 24):
        share = rng.choice((0.05, 0.35))
        for quarter in range(4):
            ratios.advance(state, BEGIN + hour * HOUR + (quarter + 1) * 15 * MINUTE, sum(rng.random() < share for _ in range(10)), 10)
    assert state.hours.design == pytest.approx(1 + 39 * 0.15**2 / (0.2 * 0.8), rel=0.3), "variance of 40 outcomes a hour whose share is 20 % ± 15 %"
    assert state.design == pytest.approx(state.hours.design, rel=0.1)


@pytest.mark.parametrize("share", [0.05, 0.3])
def test_quiet_outcomes_are_silent_and_three_times_the_share_is_found(share: float) -> None:
    trials = [share_trial(seed, 200, share, 0.01, 3) for seed in range(6)]
    assert sum(false for false, _ in trials) <= 1
    assert sum(found is not None for _, found in trials) >= 4


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(-5, 3 * 1440), st.integers(-2, 400), st.sampled_from([0, 1, 5, 400, 10**7])), max_size=120),
    st.sampled_from(["sensitive", "balanced", "strict"]),
    st.sampled_from(["rise", "fall"]),
)
def test_any_outcomes_are_judged_and_replayed_alike(panes: list[tuple[int, int, int]], sensitivity: Sensitivity, direction: ratios.Direction) -> None:
    state, again, at = ratios.start(), ratios.start(), BEGIN
    for minutes, bad, n in panes:
        at += minutes * MINUTE
        was_open = state.is_open
        finding = ratios.advance(state, at, bad, n, sensitivity, direction)
        assert all(map(isfinite, (finding.statistic, finding.threshold, finding.value, finding.usual)))
        assert 0 <= finding.value <= 1
        if finding.state == "firing" and not was_open:
            assert finding.statistic >= finding.threshold
        assert finding == ratios.advance(again, at, bad, n, sensitivity, direction)
        stored = msgspec.msgpack.encode(state)
        assert len(stored) <= 400
        state = copy_of(stored)
    assert msgspec.msgpack.encode(again) == msgspec.msgpack.encode(state)
