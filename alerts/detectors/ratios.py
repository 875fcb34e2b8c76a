"""Shares of outcomes: negative texts, failed steps, bounces. Evidence that may be looked at after every outcome.

The evidence is a product of likelihood ratios against the usual share (e-CUSUM): while that share holds, the mean time between false alarms is at
least the threshold, in outcomes, however often one looks. So there is no least n. Formulas and what they catch: docs/detection.md.
"""

from collections.abc import Sequence
from math import exp, log, sqrt
from typing import Literal, NamedTuple

import msgspec

from alerts.detectors import UNJUDGED, Finding, Sensitivity, decay
from streams.panes import DAY, HOUR

Direction = Literal["rise", "fall"]
Evidence = tuple[float, float, float]


class Setting(NamedTuple):
    days: float
    """The threshold is the number of outcomes in so many days,"""
    floor: float
    """and at least this."""


SETTINGS: dict[Sensitivity, Setting] = {"sensitive": Setting(3.0, 30.0), "balanced": Setting(10.0, 100.0), "strict": Setting(30.0, 300.0)}

FACTORS = (1.5, 2.0, 3.0)
"""How many times the usual share the alternatives are."""
HIGHEST = 0.95
ONE_SIDED_90 = 1.28
HALF_LIFE, FEWEST = 14 * DAY, 200
"""The baseline forgets half in 14 days, or in 200 outcomes where these take longer."""
MUTE, LEAST = 2 * DAY, 30
"""A series that is younger, or has seen fewer outcomes, fires nothing."""
RECENT = 20
"""An incident closes when of so many outcomes no more than usual are bad."""
REOPEN = DAY
"""What opens so soon after a close is the same incident."""
ACCEPT = 28 * DAY
"""What stays open so long is the new normal."""
PER_SPELL = 5
"""Outcomes that an hour (or else a day) must hold to say how much shares differ between hours (or days),"""
SPELLS_A_DAY = 24
REMEMBERED = 336
"""and of how many such spells the mean is taken."""
MOST_EVIDENCE = 50.0
"""Of a logarithm: more says nothing new, and its power is still a float."""
NONE: Evidence = (0.0, 0.0, 0.0)


class Spells(msgspec.Struct, array_like=True):
    """How much more the share differs between hours (or days) than by chance: the mean of squared errors over their variance."""

    length: int
    number: int = 0
    bad: int = 0
    n: int = 0
    seen: int = 0
    design: float = 1.0


class RatioState(msgspec.Struct, array_like=True):
    """A series: its baseline, the evidence against it and its incident. Instants in ms."""

    begun: int = -1
    end: int = 0
    bad: float = 0.0
    n: float = 0.0
    """Past outcomes, exponentially weighted: the baseline."""
    volume: float = 0.0
    """Outcomes, weighted by their age."""
    hours: Spells = msgspec.field(default_factory=lambda: Spells(HOUR))
    days: Spells = msgspec.field(default_factory=lambda: Spells(DAY))
    usual: float = 1 - 1e-9
    """The highest share that still counts as usual,"""
    design: float = 1.0
    """and the design effect: both as they were when the evidence began to rise."""
    evidence: Evidence = NONE
    """Logarithms, one for each alternative."""
    risen: int = 0
    risen_bad: int = 0
    risen_n: int = 0
    """Since when there has been evidence, and the outcomes since."""
    is_open: bool = False
    since: int | None = None
    closed: int = 0
    recent: list[tuple[int, int]] = []
    """The last panes that hold 20 outcomes together."""


def start() -> RatioState:
    """The state of a series of outcomes."""
    return RatioState()


def advance(state: RatioState, at: int, bad: int, n: int, sensitivity: Sensitivity = "balanced", direction: Direction = "rise") -> Finding:
    """Judge `n` outcomes that became known by `at` (ms), of which `bad` were bad, then learn from them; `state` is changed.

    One call is one look, at one outcome or at a pane of them (`add_evidence`). A fall is a rise of the others. A call before the last one, or
    without outcomes, changes nothing.
    """
    if direction == "fall":
        bad = n - bad
    if state.begun < 0:
        state.begun = state.end = at
    if at < state.end or n <= 0 or not 0 <= bad <= n:
        return _standing(state, UNJUDGED)
    state.volume = state.volume * decay(at - state.end, HALF_LIFE) + n
    state.end = at
    per_day = _per_day(state)
    finding, note = UNJUDGED, ""
    if at - state.begun >= MUTE and (state.is_open or state.n >= LEAST):
        setting = SETTINGS[sensitivity]
        threshold = max(setting.floor, setting.days * per_day)
        _weigh(state, at, bad, n)
        statistic = combined(state.evidence)
        finding = Finding("normal", statistic, threshold, "evidence", state.risen_bad / state.risen_n, state.usual, state.risen_n, at - state.risen, None, None)
        note = _move(state, bad, n, is_over=statistic >= threshold, per_day=per_day)
    if not state.is_open:
        _learn(state, bad, n, per_day)
    return _standing(state, finding, note)


def alternatives(usual: float) -> Evidence:
    """The shares that would be unusual, of a usual one below 1.

    Where even 1.1 of the usual share lies above the cap there is no room for multiples: the share of the other outcomes is divided instead.
    """
    if 1.1 * usual > HIGHEST:
        first, second, third = (1 - (1 - usual) / factor for factor in FACTORS)
    else:
        first, second, third = (max(min(HIGHEST, factor * usual), 1.1 * usual) for factor in FACTORS)
    return first, second, third


def add_evidence(evidence: Evidence, bad: int, n: int, usual: float, design: float = 1.0) -> Evidence:
    """The logarithms of the evidence after one look at `n` outcomes of which `bad` are bad.

    Evidence begins anew between looks only. So it is never more than after looking at the same outcomes one by one, in whatever order; with n = 1 it is
    the e-CUSUM of single outcomes.
    """
    gains = [(bad * log(share / usual) + (n - bad) * log((1 - share) / (1 - usual))) / design for share in alternatives(usual)]
    first, second, third = (min(MOST_EVIDENCE, max(0.0, before) + gain) for before, gain in zip(evidence, gains, strict=True))
    return first, second, third


def combined(evidence: Sequence[float]) -> float:
    """E: the mean over the alternatives."""
    return sum(exp(one) for one in evidence) / len(evidence)


def highest_usual(bad: float, n: float) -> float:
    """Upper end of the one-sided 90 % Wilson interval, below 1: what is not known well is not held against the new outcomes."""
    share, square = bad / n, ONE_SIDED_90 * ONE_SIDED_90
    return min(1 - 1e-9, (share + square / (2 * n) + ONE_SIDED_90 * sqrt(max(0.0, share * (1 - share)) / n + square / (4 * n * n))) / (1 + square / n))


def _weigh(state: RatioState, at: int, bad: int, n: int) -> None:
    if max(state.evidence) <= 0:
        state.risen, state.risen_bad, state.risen_n = at, 0, 0
    state.risen_bad += bad
    state.risen_n += n
    state.evidence = add_evidence(state.evidence, bad, n, state.usual, state.design)


def _move(state: RatioState, bad: int, n: int, *, is_over: bool, per_day: float) -> str:
    """Open, close or re-open the incident; a note when its level became the usual one."""
    state.recent.append((bad, n))
    held = sum(pane[1] for pane in state.recent)
    while held - state.recent[0][1] >= RECENT:
        held -= state.recent.pop(0)[1]
    if not state.is_open:
        if state.since is not None and state.end - state.closed > REOPEN:
            state.since = None
        if is_over:
            state.is_open = True
            state.since = state.end if state.since is None else state.since
        return ""
    if held >= RECENT and sum(pane[0] for pane in state.recent) <= state.usual * held:
        state.is_open, state.closed, state.evidence = False, state.end, NONE
    elif state.since is not None and state.end - state.since >= ACCEPT:
        note = f"new level x{state.risen_bad / state.risen_n * state.n / max(1.0, state.bad):.1f} accepted"
        share, state.n = state.risen_bad / state.risen_n, min(state.risen_n, _half_life(per_day))
        state.bad = share * state.n
        state.is_open, state.since, state.evidence = False, None, NONE
        return note
    return ""


def _standing(state: RatioState, finding: Finding, note: str = "") -> Finding:
    if state.is_open:
        return finding._replace(state="firing", since=state.since)
    until = state.begun + MUTE
    if state.end < until or state.n < LEAST:
        return finding._replace(state="learning", learning_until=until if state.end < until else None)
    return finding._replace(state="normal", note=note)


def _learn(state: RatioState, bad: int, n: int, per_day: float) -> None:
    """Outcomes into the baseline. What is usual follows only while there is no evidence: it must not chase what it is to judge."""
    spells = state.hours if per_day >= PER_SPELL * SPELLS_A_DAY else state.days
    for each in (state.hours, state.days):
        _spell(each, state, bad, n)
    kept = decay(n, _half_life(per_day))
    state.bad = state.bad * kept + bad
    state.n = state.n * kept + n
    if max(state.evidence) <= 0:
        state.usual = highest_usual(state.bad, state.n)
        state.design = max(1.0, spells.design)


def _spell(spells: Spells, state: RatioState, bad: int, n: int) -> None:
    number = (state.end - 1) // spells.length
    if number != spells.number:
        if spells.n >= PER_SPELL and 0 < state.bad < state.n:
            share = state.bad / state.n
            error = spells.bad - spells.n * share
            spells.seen += 1
            spells.design += (error * error / (spells.n * share * (1 - share)) - spells.design) / min(spells.seen, REMEMBERED)
        spells.number, spells.bad, spells.n = number, 0, 0
    spells.bad += bad
    spells.n += n


def _per_day(state: RatioState) -> float:
    """Outcomes a day, over what the half-life remembers of the series' age."""
    age = max(DAY, state.end - state.begun)
    remembered = (1 - decay(age, HALF_LIFE)) * HALF_LIFE / log(2)
    return state.volume * DAY / remembered


def _half_life(per_day: float) -> float:
    """Of the baseline, in outcomes."""
    return max(FEWEST, per_day * HALF_LIFE / DAY)
