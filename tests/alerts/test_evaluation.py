"""Conditions and the state machine of alerts, minute by minute."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alerts.conditions import Threshold, judge_change, judge_value
from alerts.evaluation import INACTIVE, MAX_FLIPS, Standing, alert_id, is_over, step
from streams.readings import Reading, bounds
from tests.alerts.scenes import load_rules
from tests.streams.records import T0, H, M

VERDICTS = {"b": "breach", "-": "between", "c": "clear", "?": "insufficient"}


def rule(hold: str = "0s", keep: str = "0s", cooldown: str = "0s"):
    return load_rules(
        f"""groups: [{{name: g, rules: [{{alert: A, kpi: page_views, window: 5m, above: 1, for: {hold}, keep_firing_for: {keep}, cooldown: {cooldown},
        labels: {{severity: page}}, annotations: {{summary: x}}}}]}}]"""
    ).rules[0]


def play(script: str, **fields: str) -> str:
    """One letter in, one letter out per minute: F fires, R resolves; else i, p, k (keeping) or a (active)."""
    standing, out, of = INACTIVE, "", rule(**fields)
    for minute, letter in enumerate(script):
        standing, transition = step(standing, of, VERDICTS[letter], T0 + minute * M)
        keeping = "k" if standing.clear_since else "a"
        phase = {"inactive": "i", "pending": "p", "firing": keeping}[standing.phase]
        out += {"firing": "F", "resolved": "R", None: phase}[transition]
    return out


@pytest.mark.parametrize(
    ("script", "fields", "expected"),
    [
        ("cbbcc", {}, "iFaRi"),
        ("b-c", {}, "FaR"),
        ("--", {}, "ii"),
        ("bbbbc", {"hold": "2m"}, "ppFaR"),
        ("bbcbbb", {"hold": "2m"}, "ppippF"),
        ("bb-bbb", {"hold": "2m"}, "ppippF"),
        ("bb?bbb", {"hold": "2m"}, "ppippF"),
        ("b??c", {}, "FaaR"),
        ("bcccc", {"keep": "3m"}, "FkkkR"),
        ("bccbcccc", {"keep": "3m"}, "FkkakkkR"),
        ("bcc-cccc", {"keep": "3m"}, "FkkakkkR"),
        ("bc??c", {"keep": "3m"}, "FkkkR"),
        ("bcbbbbbb", {"cooldown": "5m"}, "FRppppFa"),
        ("bcbbcccb", {"cooldown": "5m"}, "FRppiiiF"),
        ("bcbcbcbcb", {}, "FRFRFkaka"),
    ],
)
def test_states(script, fields, expected):
    assert play(script, **fields) == expected


def test_a_flapping_alert_resolves_when_the_hour_is_calm():
    out = play("bcbcb" + "c" * 70)
    assert out[:6] == "FRFRFk"
    assert out[6:60] == "k" * 54, "four transitions are still within the hour until the first leaves it"
    assert out[60] == "R"


def test_it_never_fires_twice_in_one_minute():
    of = rule()
    standing, _ = step(INACTIVE, of, "breach", T0)
    standing, transition = step(standing, of, "clear", T0)
    assert transition == "resolved"
    assert step(standing, of, "breach", T0)[1] is None
    assert step(standing, of, "breach", T0 + M)[1] == "firing"


minutes = st.sampled_from(["0s", "1m", "3m", "7m"])


@settings(max_examples=300, deadline=None)
@given(st.text("bbbccc-?", max_size=150), minutes, minutes, minutes)
def test_laws_of_the_state_machine(script, hold, keep, cooldown):
    of, standing, transitions = rule(hold, keep, cooldown), INACTIVE, []
    for minute, letter in enumerate(script):
        before = standing
        standing, transition = step(standing, of, VERDICTS[letter], T0 + minute * M)
        if transition:
            transitions.append((transition, minute))
        if letter == "?":
            assert transition is None, "too little data neither fires nor resolves"
        if transition == "firing":
            run = script[: minute + 1]
            assert len(run) - len(run.rstrip("b")) > of.hold // M, "it held for the whole of `for`"
            assert standing.since <= standing.started == T0 + minute * M
        if transition == "resolved":
            assert letter == "c"
            assert "b" not in script[minute - of.keep // M : minute + 1]
        assert step(standing, of, VERDICTS[letter], T0 + minute * M)[0] == standing or transition == "resolved", "judging a minute again changes nothing"
        assert is_over(before, of, T0 + minute * M) <= (before.phase == "inactive")
    assert all(a != b for (a, _), (b, _) in pairwise(transitions)), "it fires and resolves in turn"
    assert [kind for kind, _ in transitions[:1]] in ([], ["firing"])
    for (kind, minute), (_, later) in pairwise(transitions):
        if kind == "resolved":
            assert later - minute >= max(1, of.cooldown // M)
    for _, minute in transitions:
        assert sum(minute - 60 < at <= minute for _, at in transitions) <= MAX_FLIPS + 1


@settings(max_examples=200, deadline=None)
@given(st.text("bc-?", max_size=80), minutes, minutes, minutes)
def test_what_is_over_may_be_forgotten(script, hold, keep, cooldown):
    of, kept, forgetful = rule(hold, keep, cooldown), INACTIVE, INACTIVE
    for number, letter in enumerate(script):
        at = T0 + number * 10 * M
        if is_over(forgetful, of, at):
            forgetful = INACTIVE
        kept, one = step(kept, of, VERDICTS[letter], at)
        forgetful, other = step(forgetful, of, VERDICTS[letter], at)
        assert one == other


def reading(value: float | None, n: int) -> Reading:
    state = "ok" if n else "no_data"
    return Reading("x", "shop", {}, bounds(T0, T0 + H), value, n, None, None, state, length=H)


SHARE = Threshold("above", 0.5, 0.3)
FEW = Threshold("below", 10, 20)
HALF = Threshold("below", -0.5, -0.25)


@pytest.mark.parametrize(("value", "verdict"), [(0.51, "breach"), (0.5, "between"), (0.31, "between"), (0.3, "clear"), (0.0, "clear")])
def test_above(value, verdict):
    assert SHARE.judge(value) == verdict


@pytest.mark.parametrize(("value", "verdict"), [(9, "breach"), (10, "between"), (19, "between"), (20, "clear"), (99, "clear")])
def test_below(value, verdict):
    assert FEW.judge(value) == verdict


@pytest.mark.parametrize(
    ("threshold", "value", "n", "least", "is_count", "observed", "verdict"),
    [
        (SHARE, 0.9, 20, 20, False, False, "breach"),
        (SHARE, 0.9, 19, 20, False, True, "insufficient"),
        (SHARE, 0.1, 19, 20, False, True, "insufficient"),
        (SHARE, None, 0, 0, False, True, "insufficient"),
        (FEW, 0, 0, 0, True, True, "breach"),
        (FEW, 0, 0, 0, True, False, "insufficient"),
        (Threshold("above", 5, 5), 6, 6, 0, True, False, "breach"),
        (Threshold("above", 5, 5), 6, 6, 7, True, True, "insufficient"),
    ],
)
def test_plain_thresholds(threshold, value, n, least, is_count, observed, verdict):
    assert judge_value(threshold, reading(value, n), least, is_count=is_count, observed=observed) == verdict


@pytest.mark.parametrize(
    ("value", "n", "before", "n_before", "is_count", "observed", "verdict"),
    [
        (0, 0, 30, 30, True, True, "breach"),
        (0, 0, 30, 30, True, False, "insufficient"),
        (9, 9, 10, 10, True, True, "insufficient"),
        (30, 30, 10, 10, True, True, "clear"),
        (16, 16, 30, 30, True, True, "between"),
        (0, 0, 0, 0, True, True, "insufficient"),
        (50, 50, -30, 30, True, True, "insufficient"),
        (1.0, 25, 4.0, 25, False, True, "breach"),
        (1.0, 25, 4.0, 19, False, True, "insufficient"),
        (1.0, 19, 4.0, 25, False, True, "insufficient"),
        (None, 0, 4.0, 25, False, True, "insufficient"),
    ],
)
def test_changes(value, n, before, n_before, is_count, observed, verdict):
    assert judge_change(HALF, reading(value, n), reading(before, n_before), 20, is_count=is_count, observed=observed) == verdict
    assert judge_change(HALF, reading(value, n), None, 20, is_count=is_count, observed=observed) == "insufficient"


def test_ids_depend_on_labels_and_start_alone():
    labels = {"alertname": "A", "site": "shop"}
    assert alert_id(labels, T0) == alert_id(dict(reversed(labels.items())), T0)
    assert len({alert_id(labels, T0), alert_id(labels, T0 + M), alert_id({**labels, "site": "blog"}, T0)}) == 3
    assert Standing() == INACTIVE
