"""Counts per pane: surges and drops against what is usual for this hour of this series.

An incident opens by one of three rules, each over the trailing windows of the pace: *rare* (not expected within T days, by the daily peaks of this
very series), *big* (many times its usual unrest) and *drop*. Formulas and what they catch: docs/detection.md.
"""

from functools import cache
from math import asinh, fsum, log, sqrt
from typing import Literal, NamedTuple

import msgspec

from alerts.detectors import UNJUDGED, Finding, Sensitivity, decay
from streams.panes import DAY, HOUR, QUARTER_HOUR

Directions = Literal["surge", "drop", "both"]


class Setting(NamedTuple):
    days: float
    """*rare* and *drop* open at what is expected once in so many days,"""
    floor: float
    drop_floor: float
    """and never below these."""
    spreads: float
    """*big* opens at so many times the usual unrest."""
    ratio: float
    """*rare* asks for so many times the usual count, *drop* for that part of it."""


SETTINGS: dict[Sensitivity, Setting] = {
    "sensitive": Setting(7, 2.7, 3.5, 5.5, 1.5),
    "balanced": Setting(30, 3.0, 4.0, 7.0, 2.0),
    "strict": Setting(90, 4.0, 5.0, 10.0, 3.0),
}


class Pace(NamedTuple):
    """Lengths in ms."""

    windows: tuple[int, ...]
    mute: int
    """A younger series fires nothing."""
    unrest: int
    """Half-life of the usual unrest."""
    freeze: int
    """So long the baseline stands still in an incident,"""
    mature: int
    """and in none of a younger series: a false incident would hold a wrong day shape and hide what follows."""
    close: int
    """An incident closes after so long a calm."""
    reopen: int
    """What opens so soon after a close is the same incident."""
    accept: int
    """What lasts so long is the new normal."""


QUICK = Pace((QUARTER_HOUR, HOUR), 2 * DAY, 7 * DAY, 6 * HOUR, 7 * DAY, HOUR, 6 * HOUR, DAY)
DAILY = Pace((DAY,), 14 * DAY, 28 * DAY, 7 * DAY, 28 * DAY, 2 * DAY, 2 * DAY, 28 * DAY)
"""For panes of a day; everything else is the same arithmetic, with one slot a day."""

HOLIDAY = 0.5
"""That part of a weekend's count is still nothing unusual on a holiday: how quiet one is differs, so drops are judged against it."""
CALM = 0.6
"""Of the threshold."""
LEVEL_HALF_LIFE, RATIO_HALF_LIFE, DISPERSION_HALF_LIFE = 6 * HOUR, DAY, 7 * DAY
WEEKDAY, WEEKEND, ANY = 0, 1, 2
LEAST_GAIN = (1 / 10, 1 / 4, 1 / 14)
EULER = 0.5772


class Peak(msgspec.Struct, array_like=True):
    """The usual daily peak of a statistic: location and scale of a Gumbel distribution."""

    days: int = 4
    place: float = 2.2
    scale: float = 0.4
    today: float | None = None

    def level(self, days: float) -> float:
        """The value expected once in so many days."""
        return self.place + self.scale * (log(days) - EULER)

    def learn(self, peak: float) -> None:
        self.days += 1
        gain = max(1 / 28, 1 / self.days)
        error = peak - self.place
        self.place += gain * error
        self.scale = max(0.3, self.scale + gain * (abs(error) - self.scale))

    def see(self, statistic: float) -> None:
        self.today = statistic if self.today is None else max(self.today, statistic)

    def end_day(self, highest: float) -> None:
        if self.today is not None:
            self.learn(min(self.today, highest))
        self.today = None


class Window(msgspec.Struct, array_like=True):
    """What one trailing window remembers. Means are exponentially weighted."""

    length: int
    panes: int
    excess: float = 0.0
    """Mean of (Y − M)² − M."""
    square: float = 0.0
    """Mean of M²."""
    learnt: int = 0
    spread: float = 0.0
    """Mean of (Y − M)²."""
    judged: int = 0
    high: Peak = msgspec.field(default_factory=Peak)
    low: Peak = msgspec.field(default_factory=Peak)

    @property
    def dispersion(self) -> float:
        """φ of Var = M + φM²."""
        return min(2.0, max(0.0, self.excess / self.square)) if self.square > 0 else 0.0


class CountState(msgspec.Struct, array_like=True):
    """A series: its baseline, its open windows and its incident. Instants and lengths in ms."""

    step: int
    windows: list[Window]
    profiles: list[list[float]]
    """Usual count per pane by slot of the day: of weekdays, of weekends, of all days;"""
    seen: list[bytearray]
    """and how often each was learnt."""
    begun: int = -1
    end: int = 0
    """End of the last pane."""
    slot: int = -1
    """Number of the slot since the epoch."""
    kind: int = WEEKDAY
    slot_sum: float = 0.0
    slot_panes: int = 0
    profile: float | None = None
    """What this slot expects per pane; None while there are no two days of it."""
    level: float = 0.0
    level_panes: int = 0
    level_of_day: float = 0.0
    profile_of_day: float = 0.0
    counts: list[int] = []
    usual: list[float] = []
    """The last panes without a gap, as many as the longest window has."""
    is_open: bool = False
    since: int | None = None
    opened: int = 0
    closed: int = 0
    calm: int = 0
    total: float = 0.0
    total_profile: float = 0.0
    """Counts since the incident opened, and what the profile alone expected: the level of the last day begins anew when a level is accepted."""
    holiday_end: int = 0
    """End of the last pane of a holiday."""
    before: tuple[float, float] | None = None
    """On holidays, `level_of_day` and `profile_of_day` as they were before: they hold again afterwards."""


def start(step: int) -> CountState:
    """The state of a series of panes of `step` ms: a divisor of a quarter hour, or a day."""
    if step != DAY and (step <= 0 or QUARTER_HOUR % step):
        raise ValueError(f"panes of {step} ms: a detector of counts takes panes that divide a quarter hour, or days")
    slots = DAY // max(step, QUARTER_HOUR)
    windows = [Window(length, length // step) for length in pace_of(step).windows]
    return CountState(step, windows, [[0.0] * slots for _ in LEAST_GAIN], [bytearray(slots) for _ in LEAST_GAIN])


def pace_of(step: int) -> Pace:
    return DAILY if step == DAY else QUICK


def advance(
    state: CountState, at: int, y: int | None, sensitivity: Sensitivity = "balanced", directions: Directions = "both", *, holiday: bool = False
) -> Finding:
    """Judge the pane that starts at `at` (ms), then learn from it; `state` is changed.

    `y` ≥ 0 is None where the count is not known (a source that is silent or late): nothing is judged or learnt, and windows begin anew. A pane that
    is left out is the same. 0 is a count. A pane before the last one is ignored. A `holiday` is a day of a weekend that may be quieter, and the level
    of the days before holds again after it.
    """
    pace, setting, step = pace_of(state.step), SETTINGS[sensitivity], state.step
    if state.begun < 0:
        state.begun = state.end = at
    if at < state.end - step // 2:  # a day of local time has 23 to 25 hours
        return _standing(state, UNJUDGED, pace)
    if y is None or at > state.end + step // 2:
        _clear_windows(state)
    state.end = at + step
    if y is None:
        return _standing(state, UNJUDGED, pace)
    _enter(state, at + step // 2, setting, holiday=holiday)
    if holiday:
        state.holiday_end = state.end
    usual = _usual(state, y)
    state.counts.append(y)
    state.usual.append(usual)
    if len(state.counts) > state.windows[-1].panes:
        del state.counts[0], state.usual[0]
    complete = [window for window in state.windows if window.panes <= len(state.counts)]
    sums = [(window, sum(state.counts[-window.panes :]), fsum(state.usual[-window.panes :])) for window in complete]
    finding = UNJUDGED
    for window, count, expected in sums:
        finding = _nearest(finding, window, count, expected, setting, directions, HOLIDAY if _holds_holiday(state, window) else 1.0)
    if finding.rule is not None and state.end - state.begun > pace.mute:
        _move(state, finding.score, pace)
    frozen = state.is_open and state.end - state.opened < pace.freeze and state.end - state.begun > pace.mature
    for window, count, expected in sums:
        _learn_spread(window, count, expected, pace, step, frozen=frozen or _holds_holiday(state, window))
    _learn(state, y, usual, frozen=frozen)
    if state.since is not None:
        state.total += y
        state.total_profile += usual if state.profile is None else state.profile
    lasts = state.is_open and state.since is not None and state.end - max(state.since, state.holiday_end) >= pace.accept
    note = _accept(state) if lasts else ""
    return _standing(state, finding, pace, note)


def distance(y: float, usual: float, dispersion: float) -> float:
    """How far a count lies from the usual one, on a scale where its standard deviation is about 1 (Var = M + φM²)."""
    if dispersion < 1e-4:
        return 2 * (sqrt(y + 0.375) - sqrt(usual + 0.375))
    root = sqrt(dispersion)
    return 2 / root * (asinh(root * sqrt(y + 0.375)) - asinh(root * sqrt(usual + 0.375)))


# --- judging ---------------------------------------------------------------------------------------------------------


def _nearest(best: Finding, window: Window, count: int, expected: float, setting: Setting, directions: Directions, quiet: float) -> Finding:
    """The rule nearest to its threshold, of `best` and those of this window, whose peaks of the day are noted.

    What a rule asks of the count itself, such as twice the usual, is part of its threshold: the statistic grows with the count. `quiet` is that part of
    the expectation against which drops are judged.
    """
    dispersion, least_expected = window.dispersion, quiet * expected
    z = distance(count, expected, dispersion)
    depth = -z if quiet == 1 else -distance(count, least_expected, dispersion)
    window.high.see(z)
    window.low.see(depth)
    found: list[tuple[float, float, Literal["rare", "big", "drop"]]] = []
    if directions != "drop":
        least = distance(max(setting.ratio * expected, 5), expected, dispersion)
        found.append((z, max(setting.floor, window.high.level(setting.days), least), "rare"))
        spread = max(1.0, sqrt(window.spread))
        least = (max(1.5 * expected, 5, (sqrt(expected) + 2) ** 2) - expected) / spread
        found.append(((count - expected) / spread, max(setting.spreads, least), "big"))
    if directions != "surge" and least_expected >= 10:
        least = -distance(least_expected / setting.ratio, least_expected, dispersion)
        found.append((depth, max(setting.drop_floor, window.low.level(setting.days), least), "drop"))
    for statistic, threshold, rule in found:
        if best.rule is None or statistic / threshold > best.statistic / best.threshold:
            usual = least_expected if rule == "drop" else expected
            best = Finding("normal", statistic, threshold, rule, float(count), usual, count, window.length, None, None)
    return best


def _holds_holiday(state: CountState, window: Window) -> bool:
    return state.end - window.length < state.holiday_end


def _move(state: CountState, score: float, pace: Pace) -> None:
    """Open, close or re-open the incident."""
    if state.is_open:
        state.calm = state.calm + state.step if score < CALM else 0
        if state.calm >= pace.close:
            state.is_open, state.closed = False, state.end
        return
    if state.since is not None and state.end - state.closed > pace.reopen:
        state.since, state.total, state.total_profile = None, 0.0, 0.0
    if score >= 1:
        state.is_open, state.opened, state.calm = True, state.end, 0
        if state.since is None:
            state.since = state.end


def _accept(state: CountState) -> str:
    """The level of the incident becomes the usual one, and the incident ends."""
    factor = max(0.01, state.total / state.total_profile) if state.total_profile > 0 else 1.0
    state.profiles = [[factor * usual for usual in profile] for profile in state.profiles]
    state.level *= factor
    state.profile = None if state.profile is None else factor * state.profile
    state.level_of_day = state.profile_of_day = 0.0
    _clear_windows(state)
    state.is_open, state.since, state.total, state.total_profile = False, None, 0.0, 0.0
    return f"new level x{factor:.1f} accepted"


def _standing(state: CountState, finding: Finding, pace: Pace, note: str = "") -> Finding:
    until = state.begun + pace.mute
    if state.end <= until:
        return finding._replace(state="learning", learning_until=until)
    if state.is_open:
        return finding._replace(state="firing", since=state.since)
    return finding._replace(state="normal", note=note)


def _clear_windows(state: CountState) -> None:
    state.counts.clear()
    state.usual.clear()


# --- learning --------------------------------------------------------------------------------------------------------


def _enter(state: CountState, middle: int, setting: Setting, *, holiday: bool) -> None:
    """Close the slot, and the day, that ended before this pane, and look up what its own slot expects."""
    slots = len(state.seen[ANY])
    length = DAY // slots
    slot = middle // length
    if slot == state.slot:
        return
    if state.slot_panes:
        mean = state.slot_sum / state.slot_panes
        for kind in (state.kind, ANY):
            index = state.slot % slots
            times = state.seen[kind][index] = min(255, state.seen[kind][index] + 1)
            state.profiles[kind][index] += max(LEAST_GAIN[kind], 1 / times) * (mean - state.profiles[kind][index])
    if state.slot // slots != slot // slots:
        for window in state.windows:
            window.high.end_day(max(setting.floor, window.high.level(setting.days)))
            window.low.end_day(max(setting.drop_floor, window.low.level(setting.days)))
    if holiday and state.before is None:
        state.before = state.level_of_day, state.profile_of_day
    elif not holiday and state.before is not None:
        (state.level_of_day, state.profile_of_day), state.before = state.before, None
    days = slot // slots
    state.slot, state.slot_sum, state.slot_panes = slot, 0.0, 0
    state.kind = WEEKEND if holiday or (days + 3) % 7 >= 5 else WEEKDAY  # the epoch was a Thursday
    state.profile = _profile(state)


def _profile(state: CountState) -> float | None:
    """What the slot expects per pane, by itself and its four neighbours: of its kind of day as far as known, of all days for the rest."""
    slots = len(state.seen[ANY])
    near = [(state.slot + offset) % slots for offset in range(-2, 3)]
    weights = [min(state.seen[ANY][index], 4) for index in near]
    if sum(weights) < 10:
        return None
    any_day = fsum(weight * state.profiles[ANY][index] for weight, index in zip(weights, near, strict=True)) / sum(weights)
    weights = [min(state.seen[state.kind][index], 4) for index in near]
    own = fsum(weight * state.profiles[state.kind][index] for weight, index in zip(weights, near, strict=True))
    return (own + 7.5 * any_day) / (sum(weights) + 7.5)


def _usual(state: CountState, y: int) -> float:
    """The expectation of a pane: its profile times the level of the last day, or the last hours' level while there is no profile."""
    if state.profile is None:
        return state.level if state.level_panes else float(y)
    stiffness = 5 * gain_of(RATIO_HALF_LIFE, state.step) + state.profile_of_day / 4
    return state.profile * min(3.0, max(1 / 3, (state.level_of_day + stiffness) / (state.profile_of_day + stiffness)))


def _learn(state: CountState, y: int, usual: float, *, frozen: bool) -> None:
    """A pane's count, clipped, into its slot and the levels."""
    learnt = float(y)
    if frozen:
        learnt = usual
    elif state.end - state.begun > DAY:
        learnt = min(y, usual + 3 * sqrt(usual + state.windows[0].dispersion * usual * usual) + 1)
    state.slot_sum += learnt
    state.slot_panes += 1
    if frozen:
        return
    state.level_panes += 1
    state.level += max(gain_of(LEVEL_HALF_LIFE, state.step), 1 / state.level_panes) * (learnt - state.level)
    if state.profile is not None:
        gain = gain_of(RATIO_HALF_LIFE, state.step)
        state.level_of_day += gain * (learnt - state.level_of_day)
        state.profile_of_day += gain * (state.profile - state.profile_of_day)


def _learn_spread(window: Window, count: float, expected: float, pace: Pace, step: int, *, frozen: bool) -> None:
    """How far counts lie from what is expected: the dispersion clipped and not in an incident, the usual unrest always."""
    error = count - expected
    window.judged += 1
    window.spread += max(gain_of(pace.unrest, step), 1 / (window.judged + 50)) * (error * error - window.spread)
    if frozen:
        return
    window.learnt += 1
    gain = max(gain_of(DISPERSION_HALF_LIFE, step), 1 / (window.learnt + 50))
    error = min(abs(error), 4 * sqrt(expected + max(0.05, window.dispersion) * expected * expected) + 2)
    window.excess += gain * (error * error - expected - window.excess)
    window.square += gain * (expected * expected - window.square)


@cache
def gain_of(half_life: int, step: int) -> float:
    """Weight of the newest pane in an exponentially weighted mean."""
    return 1 - decay(step, half_life)
