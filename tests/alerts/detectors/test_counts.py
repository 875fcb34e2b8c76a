"""Detector of counts: the figures it must reproduce, the life of an incident, and what holds of any series."""

import random
from collections.abc import Callable, Iterator
from math import inf, isfinite

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alerts.detectors import Finding, Sensitivity, counts
from alerts.detectors.counts import CountState, Peak, distance
from benchmarks.detection import BEGIN, CALM, FIVE_MINUTES, changed, made_rates, onsets, poisson
from streams.panes import DAY, HOUR, MINUTE, QUARTER_HOUR

PER_DAY = DAY // FIVE_MINUTES


@pytest.mark.parametrize(
    ("y", "usual", "dispersion", "z"),
    [
        (30, 10, 0, 4.5807), (30, 10, 0.05, 3.2858), (30, 10, 0.125, 2.5127), (600, 300, 0.03, 3.8475), (8, 2, 0, 2.7057), (5, 20, 0.05, -3.4913),
        (0, 10, 0, -5.2173),
    ],
)  # fmt: skip
def test_distance(y: float, usual: float, dispersion: float, z: float) -> None:
    assert distance(y, usual, dispersion) == pytest.approx(z, abs=5e-5)


def test_usual_daily_peak() -> None:
    peak = Peak()
    for of_day in (2.0, 2.5, 1.8, 3.0, 2.2):
        peak.see(of_day - 1)
        peak.see(of_day)
        peak.end_day(inf)
    assert (peak.place, peak.scale, peak.level(30)) == pytest.approx((2.2556, 0.3847, 3.3419), abs=5e-5)
    before = msgspec.structs.asdict(peak)
    peak.end_day(inf)
    assert msgspec.structs.asdict(peak) == before, "a day of which nothing was judged teaches nothing"


def test_a_storm_counts_as_a_peak_only_up_to_the_threshold() -> None:
    capped, low = Peak(), Peak()
    for peak, statistic in ((capped, 40.0), (low, 3.0)):
        peak.see(statistic)
        peak.end_day(3.0)
    assert (capped.place, capped.scale) == (low.place, low.scale)


@given(st.floats(0, 1e6), st.floats(0, 1e6), st.floats(0, 2))
def test_distance_is_0_at_the_usual_and_grows_with_the_count(y: float, usual: float, dispersion: float) -> None:
    z = distance(y, usual, dispersion)
    assert isfinite(z)
    assert distance(usual, usual, dispersion) == 0
    assert distance(y + 1, usual, dispersion) > z
    assert (z > 0) == (y > usual) or y == pytest.approx(usual)


@given(st.floats(0.1, 10), st.floats(0.02, 2), st.integers(2, 1_000))
def test_of_large_counts_only_the_ratio_matters(ratio: float, dispersion: float, scale: int) -> None:
    usual = 1_000 / dispersion
    assert distance(scale * ratio * usual, scale * usual, dispersion) == pytest.approx(distance(ratio * usual, usual, dispersion), abs=0.05 / dispersion**0.5)


# --- the life of an incident -----------------------------------------------------------------------------------------


def follow(
    state: CountState, days: float, per_hour: float, factor: Callable[[int], float | None] = lambda _: 1, sensitivity: Sensitivity = "balanced"
) -> Iterator[Finding]:
    """Findings of quiet panes from where the state stands, their rate times `factor(pane)`; None: unknown."""
    first = 0 if state.begun < 0 else (state.end - BEGIN) // FIVE_MINUTES
    rng = random.Random(f"{first} {per_hour}")
    rates = list(made_rates(random.Random(f"{per_hour}"), per_hour, CALM, 40, FIVE_MINUTES))
    for place in range(round(days * PER_DAY)):
        times = factor(place)
        y = None if times is None else poisson(rng, rates[first + place] * times)
        yield counts.advance(state, BEGIN + (first + place) * FIVE_MINUTES, y, sensitivity)


@pytest.fixture(scope="module")
def two_weeks() -> bytes:
    """A series of 300 an hour, two quiet weeks old."""
    state = counts.start(FIVE_MINUTES)
    assert not list(onsets(follow(state, 14.5, 300)))
    return msgspec.msgpack.encode(state)


def copy_of(state: bytes) -> CountState:
    return msgspec.msgpack.decode(state, type=CountState)


def test_a_young_series_learns_and_fires_nothing() -> None:
    findings = list(follow(counts.start(FIVE_MINUTES), 2.2, 30, lambda place: 20 if 300 <= place < 400 else 1))
    assert {finding.state for finding in findings[: 2 * PER_DAY]} == {"learning"}
    assert findings[0].learning_until == BEGIN + 2 * DAY
    assert findings[2 * PER_DAY].state == "normal"
    assert findings[2 * PER_DAY].learning_until is None


def test_a_surge_is_one_incident_and_closes_an_hour_after(two_weeks: bytes) -> None:
    findings = list(follow(copy_of(two_weeks), 0.5, 300, lambda place: 4 if place < 12 else 1))
    ((place, first),) = onsets(findings)
    assert place <= 3
    assert first.rule in ("rare", "big")
    assert first.statistic >= first.threshold
    assert first.value > 2 * first.usual
    firing = [number for number, finding in enumerate(findings) if finding.state == "firing"]
    assert firing == list(range(place, firing[-1] + 1))
    assert 24 <= firing[-1] <= 36, "the window of an hour empties, then an hour of calm"


def test_the_same_surge_asked_for_drops_is_nothing(two_weeks: bytes) -> None:
    state = copy_of(two_weeks)
    for place in range(24):
        assert counts.advance(state, state.end, 0 if place > 12 else 500, "balanced", "surge").rule != "drop"
    state = copy_of(two_weeks)
    for _ in range(12):
        assert counts.advance(state, state.end, 500, "balanced", "drop").state == "normal"


def test_a_second_wave_within_six_hours_is_the_same_incident(two_weeks: bytes) -> None:
    waves = list(follow(copy_of(two_weeks), 1, 300, lambda place: 5 if place < 6 or 80 <= place < 86 else 1))
    assert [finding.state for finding in (waves[5], waves[60], waves[85])] == ["firing", "normal", "firing"]
    assert waves[5].since == waves[85].since
    later = list(follow(copy_of(two_weeks), 1, 300, lambda place: 5 if place < 6 or 130 <= place < 136 else 1))
    assert later[135].state == "firing"
    assert later[135].since != later[5].since


def test_a_drop(two_weeks: bytes) -> None:
    ((place, first),) = onsets(follow(copy_of(two_weeks), 0.2, 300, lambda _: 0))
    assert place <= 3
    assert first.rule == "drop"
    assert first.value < first.usual / 2


def test_what_is_unknown_is_no_drop_and_teaches_nothing(two_weeks: bytes) -> None:
    known, silent, left_out = copy_of(two_weeks), copy_of(two_weeks), copy_of(two_weeks)
    for _ in range(72):
        finding = counts.advance(silent, silent.end, None)
        assert finding.state == "normal"
        assert finding.rule is None
    for state in (known, silent, left_out):
        state.counts, state.usual = [], []
    left_out.end = known.end = silent.end
    assert msgspec.msgpack.encode(silent) == msgspec.msgpack.encode(known)
    after = [counts.advance(state, silent.end + 6 * HOUR, 20) for state in (silent, left_out)]
    assert after[0] == after[1]
    assert silent.counts == [20], "windows begin anew"


def test_a_window_is_judged_only_when_it_is_whole(two_weeks: bytes) -> None:
    state = copy_of(two_weeks)
    counts.advance(state, state.end, None)
    found = [counts.advance(state, state.end, 0) for _ in range(3)]
    assert [finding.rule for finding in found] == [None, None, "drop"]
    assert found[-1].window == QUARTER_HOUR


def test_an_old_pane_changes_nothing(two_weeks: bytes) -> None:
    state = copy_of(two_weeks)
    assert counts.advance(state, state.end - FIVE_MINUTES, 10_000).rule is None
    assert msgspec.msgpack.encode(state) == two_weeks


def learnt_in_an_incident(state: CountState) -> list[bool]:
    """Whether each pane of a long surge, from the one that opens the incident, changes the level."""
    found: list[bool] = []
    before = state.level
    for finding in follow(state, 0.6, 300, lambda _: 6):
        if finding.state == "firing":
            found.append(state.level != before)
        before = state.level
    return found


def test_the_baseline_stands_still_for_six_hours_at_most(two_weeks: bytes) -> None:
    learnt = learnt_in_an_incident(copy_of(two_weeks))
    assert len(learnt) > 100
    assert learnt == [place >= 72 for place in range(len(learnt))]


def test_in_the_first_week_nothing_stands_still() -> None:
    state = counts.start(FIVE_MINUTES)
    list(follow(state, 4, 300))
    learnt = learnt_in_an_incident(state)
    assert len(learnt) > 100
    assert all(learnt)


def test_a_lasting_step_is_one_alert() -> None:
    for factor in (3, 10):
        assert len(changed(300, 1, lambda _, rate, factor=factor: factor * rate)) == 1  # type: ignore[misc]


def test_a_lasting_fall_is_accepted_after_a_day() -> None:
    alert, accepted = changed(300, 1, lambda _, rate: rate / 3, days=20)
    assert alert.startswith("drop")
    assert accepted.startswith(("new level x0.3 accepted at 1.0", "new level x0.4 accepted at 1.0"))


def test_a_holiday_is_a_weekend() -> None:
    states = [counts.start(HOUR // 4) for _ in range(2)]
    for state, holiday in zip(states, (False, True), strict=True):
        for place in range(96):
            counts.advance(state, BEGIN + place * HOUR // 4, 7, holiday=holiday)
        counts.advance(state, BEGIN + DAY, 7, holiday=holiday)
    (weekdays, weekends, any_day), (weekdays_then, weekends_then, any_day_then) = (state.profiles for state in states)
    assert sum(weekends) == sum(weekdays_then) == 0
    assert weekdays == weekends_then == any_day == any_day_then


def holidays(days: int, factor: float, seed: int, *, told: bool, outage: bool = False) -> list[float]:
    """When alerts open (days since) from a Wednesday on whose rate, for some days, falls to `factor`; two hours of the first afternoon to a tenth of that."""
    begin, end = 16 * PER_DAY, (16 + days) * PER_DAY
    rng = random.Random(f"{seed} 300 situations")

    def findings() -> Iterator[Finding]:
        state = counts.start(FIVE_MINUTES)
        for place, rate in enumerate(made_rates(rng, 300, CALM, 18 + days, FIVE_MINUTES)):
            of_day = factor if begin <= place < end else 1
            y = poisson(rng, rate * of_day * (0.1 if outage and begin + 14 * 12 <= place < begin + 16 * 12 else 1))
            yield counts.advance(state, BEGIN + place * FIVE_MINUTES, y, holiday=told and begin <= place < end)

    return [(place + 1 - begin) / PER_DAY for place, _ in onsets(findings()) if place >= begin]


@pytest.mark.parametrize("days", [1, 3])
def test_a_quiet_holiday_of_the_calendar_is_no_drop_and_leaves_no_echo(days: int) -> None:
    for seed in range(2):
        assert holidays(days, 0.4, seed, told=False)
        assert holidays(days, 0.4, seed, told=True) == []


def test_an_outage_on_a_holiday_is_found() -> None:
    for seed in range(2):
        (at,) = holidays(1, 0.4, seed, told=True, outage=True)
        assert 14 / 24 < at < 15 / 24


@pytest.mark.parametrize("told", [False, True])
def test_a_holiday_of_a_series_by_days(told: bool) -> None:
    """The eighth Wednesday at two fifths of its kind; weekends are half as busy."""
    state, rng, found = counts.start(DAY), random.Random(1), []
    for day in range(60):
        usual = 500 if day % 7 >= 5 else 1_000
        y = poisson(rng, usual * (0.4 if day == 51 else 1))
        found.append(counts.advance(state, BEGIN + day * DAY, y, directions="drop", holiday=told and day == 51))
    assert [place for place, _ in onsets(found)] == ([] if told else [51])
    (usual_then, usual_after) = found[51].usual, found[52].usual
    assert usual_then == pytest.approx(300 if told else 1_000, rel=0.15)
    assert usual_after == pytest.approx(1_000, rel=0.35), "the last holiday is part of no window any more"


def test_no_level_is_accepted_for_holidays(two_weeks: bytes) -> None:
    """A shop that is closed over three of them opens again as it was."""
    state = copy_of(two_weeks)
    before = list(state.profiles[counts.WEEKDAY])
    closed, rng = state.end, random.Random(1)
    for place in range(3 * PER_DAY):
        finding = counts.advance(state, closed + place * FIVE_MINUTES, rng.randrange(2), holiday=True)
        assert finding.note == ""
    assert finding.state == "firing", "closed for days is not what a holiday is expected to be"
    learnt = [slot for slot, usual in enumerate(state.profiles[counts.WEEKDAY]) if usual != before[slot]]
    assert len(learnt) <= 1, "the slot that was open when they began"
    findings = list(follow(state, 1, 300))
    assert {finding.note for finding in findings} == {""}
    assert "normal" in {finding.state for finding in findings[: 4 * 12]}
    assert not list(onsets(findings[4 * 12 :]))


def test_states_from_before_there_were_holidays_go_on(two_weeks: bytes) -> None:
    old: CountState = msgspec.msgpack.decode(msgspec.msgpack.encode(msgspec.msgpack.decode(two_weeks)[:-2]), type=CountState)
    assert (old.holiday_end, old.before) == (0, None)
    assert list(follow(old, 0.1, 300)) == list(follow(copy_of(two_weeks), 0.1, 300))


def test_days_of_local_time_may_have_23_or_25_hours() -> None:
    state, at = counts.start(DAY), BEGIN - HOUR
    for place in range(60):
        finding = counts.advance(state, at, 1_000 + 7 * (place % 5))
        assert finding.rule is not None
        at += DAY + (HOUR if place == 20 else -HOUR if place == 40 else 0)
    assert finding.state == "normal"
    assert counts.advance(state, at, 9_000).state == "firing"


@pytest.mark.parametrize("step", [0, -MINUTE, 7 * MINUTE, HOUR, 2 * DAY])
def test_panes_of_other_lengths_are_refused(step: int) -> None:
    with pytest.raises(ValueError, match="divide a quarter hour"):
        counts.start(step)


# --- any series ------------------------------------------------------------------------------------------------------

SERIES = st.tuples(
    st.sampled_from([MINUTE, FIVE_MINUTES, QUARTER_HOUR, DAY]),
    st.integers(0, 2**32),
    st.lists(
        st.tuples(st.integers(1, 120), st.sampled_from([1, 1, 1, 2, 50, -1]), st.sampled_from([None, 0, 1, 3, 40, 1_000, 10**9])), min_size=1, max_size=30
    ),
)
"""Length of panes, a seed, and runs: how many panes, how far apart, and about how much each counts."""


def panes_of(series: tuple[int, int, list[tuple[int, int, int | None]]]) -> Iterator[tuple[int, int | None]]:
    step, seed, runs = series
    rng, at = random.Random(seed), BEGIN
    for length, gap, size in runs:
        for _ in range(length):
            yield at, None if size is None else rng.randint(0, 2 * size)
            at += gap * step


@settings(max_examples=60, deadline=None)
@given(SERIES, st.sampled_from(["sensitive", "balanced", "strict"]), st.sampled_from(["surge", "drop", "both"]))
def test_any_series_is_judged_and_replayed_alike(
    series: tuple[int, int, list[tuple[int, int, int | None]]], sensitivity: Sensitivity, directions: counts.Directions
) -> None:
    state, stored = counts.start(series[0]), msgspec.msgpack.encode(counts.start(series[0]))
    for place, (at, y) in enumerate(panes_of(series)):
        was_firing = state.is_open
        finding = counts.advance(state, at, y, sensitivity, directions)
        assert all(map(isfinite, (finding.statistic, finding.threshold, finding.value, finding.usual)))
        assert finding.threshold > 0
        assert finding.rule in {"surge": ("rare", "big", None), "drop": ("drop", None), "both": ("rare", "big", "drop", None)}[directions]
        if finding.state == "normal":
            assert finding.statistic < finding.threshold or was_firing or finding.note  # what opens again after a day is accepted at once
        if finding.state == "firing" and not was_firing:
            assert finding.statistic >= finding.threshold
        if place % 25 == 0:
            stored = msgspec.msgpack.encode(state)
            assert len(stored) <= 5_000
            state = copy_of(stored)
    again = counts.start(series[0])
    for at, y in panes_of(series):
        counts.advance(again, at, y, sensitivity, directions)
    assert msgspec.msgpack.encode(again) == msgspec.msgpack.encode(state)


@pytest.mark.parametrize("step", [MINUTE, FIVE_MINUTES])
def test_state_stays_small(step: int) -> None:
    state, rng = counts.start(step), random.Random(1)
    for place, rate in enumerate(made_rates(rng, 3_000, CALM, 9, step)):
        counts.advance(state, BEGIN + place * step, poisson(rng, rate))
    assert len(msgspec.msgpack.encode(state)) <= 5_000
