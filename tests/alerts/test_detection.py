"""Detectors as conditions of rules: what they are fed, what fires once, what a crash or a late look may not change."""

import random
from collections.abc import Callable, Collection
from datetime import timedelta
from typing import Any, get_args

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alerts import detection
from alerts.conditions import Detector
from alerts.detectors import counts
from alerts.evaluation import alert_id
from alerts.rule_files import DEFAULT_RULES, RulesError, read_rules
from alerts.rules import is_detectable
from alerts.watch import DETECTION_ROW, OUTBOX_ROW, STANDING_ROW, Watch
from streams.kpis import KPIS
from streams.panes import utc
from streams.partition import ROLLUPS
from streams.readings import PublishedReading
from streams.rollups import Partial, encode_partial
from streams.sites import Site, Sites
from tests.alerts.scenes import Scene, load_rules, minute_of, reviews, views
from tests.streams.records import T0, D, H, M, Rec, event

PANE = 5 * M
SETTLED = 2 * D + 12 * H
"""When a detector that began at T0 has been speaking for half a day."""


def rule(name: str, text: str) -> str:
    return f"    - alert: {name}\n      {text}\n      labels: {{severity: page}}\n      annotations: {{summary: '{{value}} in {{window}}, usual {{usual}}'}}\n"


def rules(*texts: str) -> str:
    return "groups:\n - name: g\n   rules:\n" + "".join(texts)


SURGE = rule("Surge", "kpi: page_views\n      detect: surge")
DROP = rule("Drop", "kpi: page_views\n      detect: drop")
MOOD = rule("Mood", "kpi: negative_share\n      detect: ratio_rise")
PRAISE = rule("Praise", "kpi: positive_share\n      detect: ratio_fall")


def usual(at: int) -> int:
    """Page views of five minutes: a day with hills, and a little unrest."""
    return 6 + (at // PANE) % 3 + (3 if at % D < D // 2 else 0)


def traffic(scene: Scene, start: int, end: int, number: Callable[[int], int] = usual, every: int = H, **fields: Any) -> Scene:
    """Page views pane by pane, looked at whenever `every` ms have passed."""
    for at in range(start, end, PANE):
        scene.feed(*views(at, number(at), **fields))
        if (at + PANE) % every == 0:
            scene.tick()
    return scene


def copied(scene: Scene) -> Scene:
    """A new process on the rows and logs of another."""
    copy = Scene(scene.rules)
    copy.rows, copy.logs = dict(scene.rows), {topic: list(log) for topic, log in scene.logs.items()}
    copy.seconds = scene.seconds
    return copy.restart()


@pytest.fixture(scope="module")
def settled() -> Scene:
    return traffic(Scene(rules(SURGE, DROP)), T0, T0 + SETTLED)


def times(factor: float, start: int, end: int) -> Callable[[int], int]:
    return lambda at: round(usual(at) * factor) if start <= at < end else usual(at)


STORM = T0 + SETTLED + H


def test_quiet_days_say_nothing_and_are_learnt(settled: Scene) -> None:
    assert settled.published == []
    assert settled.watch.status()["detectors"] == {"learning": 0, "normal": 2, "firing": 0, "over_limit": 0}
    assert sum(key.startswith(DETECTION_ROW) for key in settled.rows) == 2


def test_an_incident_is_one_alert_and_says_why(settled: Scene) -> None:
    scene = traffic(copied(settled), T0 + SETTLED, STORM)
    for at in range(STORM, STORM + H, PANE):
        scene.feed(*views(at, usual(at)), *views(at, 24, referrer="https://news.example/story", path="/blog")).tick()
    traffic(scene, STORM + H, STORM + 4 * H, every=PANE)
    firing, resolved = scene.published
    assert (firing.rule, firing.state, resolved.state) == ("Surge", "firing", "resolved")
    assert utc(STORM) < firing.started <= utc(STORM + 15 * M)
    assert utc(STORM + 2 * H) < resolved.ended <= utc(STORM + 3 * H + 30 * M)
    assert firing.value > 2 * firing.usual
    assert firing.threshold == "surge, balanced"
    assert (firing.window.end - firing.window.start).seconds in (900, 3600)
    why = firing.explanation
    assert why is not None
    assert why.detector in ("rare", "big")
    assert why.statistic >= why.limit > 0
    told = {one.label: [value.value for value in one.values] for one in why.dimensions}
    assert told == {"source": ["referral"], "route": ["/blog"]}, "of a single segment and channel there is nothing to tell apart"
    assert firing.annotations["why"] == resolved.annotations["why"] == why.text
    for said in (f"{firing.value} in ", "usual ", "asked for", f"Since {firing.started:%Y-%m-%d %H:%M} UTC", "By source: referral", "By route: /blog"):
        assert said in why.text


def test_a_drop_is_told_and_who_is_missing(settled: Scene) -> None:
    scene = traffic(copied(settled), T0 + SETTLED, STORM)
    traffic(scene, STORM, STORM + H, lambda _: 1, every=PANE, segment="vip")
    (firing,) = scene.published
    assert (firing.rule, firing.explanation.detector) == ("Drop", "drop")
    assert firing.value < firing.usual / 2
    by_segment = firing.explanation.dimensions[0]
    assert by_segment.label == "segment"
    (missing,) = by_segment.values
    assert missing.value != "vip"
    assert missing.actual < missing.expected / 2
    assert "Spread evenly over" not in firing.annotations["why"]


def test_what_opens_again_is_the_same_incident(settled: Scene) -> None:
    """A second wave two hours after the end of the first: nobody is told again."""
    waves = [(STORM, STORM + H), (STORM + 5 * H, STORM + 6 * H)]
    scene = traffic(copied(settled), T0 + SETTLED, STORM + 10 * H, lambda at: usual(at) * (5 if any(start <= at < end for start, end in waves) else 1))
    assert [state for _, state, *_ in scene.steps()] == ["firing", "resolved"]
    again = traffic(copied(scene), STORM + 10 * H, STORM + 24 * H, times(5, STORM + 20 * H, STORM + 21 * H))
    assert [state for _, state, _, minute in again.steps() if minute > (STORM + 10 * H - T0) // M] == ["firing", "resolved"], "later it is another one"


@settings(max_examples=8, deadline=None)
@given(st.sets(st.integers(0, 47), max_size=5), st.booleans(), st.sampled_from([PANE, 15 * M, H]))
def test_neither_crashes_nor_when_one_looks_change_anything(settled: Scene, crashes: set[int], flushed: bool, every: int) -> None:
    calm = traffic(copied(settled), T0 + SETTLED, T0 + SETTLED + 4 * H, times(4, STORM, STORM + H), every=PANE)
    scene = copied(settled)
    for number, at in enumerate(range(T0 + SETTLED, T0 + SETTLED + 4 * H, PANE)):
        traffic(scene, at, at + PANE, times(4, STORM, STORM + H), every=every)
        if number in crashes:
            if flushed:
                scene.settle()
            else:
                scene.watch.tick(scene.seconds + 0.5)  # judged and not written
            scene.restart()
    scene.tick()
    assert scene.steps() == calm.steps() != []
    assert {(alert.id, alert.annotations["why"]) for alert in scene.published} == {(alert.id, alert.annotations["why"]) for alert in calm.published}
    rows = [{key: value for key, value in one.rows.items() if key.startswith(DETECTION_ROW)} for one in (scene, calm)]
    assert rows[0] == rows[1]


# --- severity rises once --------------------------------------------------------------------------------------------

RISING = SURGE.replace("detect: surge", "detect: surge\n      escalate: page").replace("{severity: page}", "{severity: ticket, team: web}")
CRASHES = st.sets(st.integers(0, 47), max_size=4)


def worse(at: int) -> int:
    """Thrice the usual, and after twenty minutes twelve times."""
    return usual(at) * (1 if not STORM <= at < STORM + H else 3 if at < STORM + 20 * M else 12)


def told(scene: Scene) -> list[tuple[str, str, int]]:
    """Transition, severity and minute since T0 of what was published, repeats left out."""
    of = [(alert.transition, alert.severity, minute_of(alert)) for alert in scene.published]
    return list(dict.fromkeys(of))


@pytest.fixture(scope="module")
def rising(settled: Scene) -> Scene:
    scene = copied(settled).restart(rules(RISING, DROP))
    return traffic(scene, T0 + SETTLED, STORM, every=PANE)


def test_an_incident_that_doubles_is_told_again_with_a_graver_severity_under_the_same_id(rising: Scene) -> None:
    scene = traffic(copied(rising), STORM, STORM + 4 * H, worse, every=PANE)
    first, second, last = scene.published
    assert [(alert.state, alert.transition, alert.severity) for alert in scene.published] == [
        ("firing", "firing", "ticket"),
        ("firing", "escalated", "page"),
        ("resolved", "resolved", "page"),
    ]
    assert {alert.id for alert in scene.published} == {alert_id(first.labels, round(first.started.timestamp() * 1000))}
    assert first.labels | {"severity": "page"} == second.labels == last.labels
    assert (first.escalated, first.escalated_from) == (None, None)
    assert second.escalated == last.escalated
    assert second.escalated_from == last.escalated_from == "ticket"
    assert utc(STORM + 20 * M) < second.escalated <= utc(STORM + 35 * M)
    assert second.started == first.started
    assert second.annotations["escalated"] == f"from ticket at {second.escalated:%Y-%m-%d %H:%M} UTC"
    assert second.value > 2 * first.value
    assert second.annotations["why"].startswith(f"{second.value} in "), "why, as it is known now"
    assert second.explanation.statistic / second.explanation.limit >= 2 * first.explanation.statistic / first.explanation.limit
    assert second.explanation == last.explanation
    assert scene.pending() == [(first.id, "firing"), (first.id, "escalated"), (first.id, "resolved")]
    assert [alert.severity for alert in scene.watch.outbox()] == ["ticket", "page", "page"]


def test_without_a_word_in_the_rule_it_stays_as_it_is(settled: Scene) -> None:
    scene = traffic(copied(settled), T0 + SETTLED, STORM + 2 * H, worse, every=PANE)
    (firing,) = scene.published
    assert (firing.severity, firing.escalated) == ("page", None)


def test_what_does_not_double_stays_as_it_is(rising: Scene) -> None:
    scene = traffic(copied(rising), STORM, STORM + 4 * H, times(3, STORM, STORM + H), every=PANE)
    assert [of[:2] for of in told(scene)] == [("firing", "ticket"), ("resolved", "ticket")]


@settings(max_examples=10, deadline=None)
@given(CRASHES, st.booleans(), st.booleans())
def test_a_crash_neither_repeats_nor_forgets_the_second_notice(rising: Scene, crashes: set[int], flushed: bool, delivers: bool) -> None:
    calm = traffic(copied(rising), STORM, STORM + 4 * H, worse, every=PANE)
    scene, delivered = copied(rising), list[tuple[str, str]]()
    for number, at in enumerate(range(STORM, STORM + 4 * H, PANE)):
        traffic(scene, at, at + PANE, worse, every=PANE)
        if delivers:
            delivered += scene.deliver()
            scene.settle()
        if number in crashes:
            if not flushed:
                scene.feed(*views(at + PANE, 0)).watch.tick(scene.seconds + 0.5)  # judged and not written
            scene.restart()
    scene.tick()
    assert told(scene) == told(calm)
    assert (delivered if delivers else scene.pending()) == calm.pending()
    rows = [{key: value for key, value in one.rows.items() if key.startswith((DETECTION_ROW, STANDING_ROW))} for one in (scene, calm)]
    assert rows[0] == rows[1]


def test_catching_up_records_that_it_rose_and_tells_when_the_present_is_reached(rising: Scene) -> None:
    """The first notice was told; then the worker was away for hours."""
    scene = traffic(copied(rising), STORM, STORM + 20 * M, worse, every=PANE)
    assert [of[:2] for of in told(scene)] == [("firing", "ticket")]
    scene.deliver()
    scene.wall = lambda: STORM + 6 * H
    traffic(scene, STORM + 20 * M, STORM + 55 * M, worse, every=PANE)
    assert [of[:2] for of in told(scene)] == [("firing", "ticket"), ("escalated", "page")], "on the topic"
    assert scene.pending() == []
    assert [(alert.severity, alert.labels["severity"], alert.transition) for alert in scene.watch.resends()] == [("ticket", "ticket", "firing")]
    assert "escalated" not in scene.watch.resends()[0].annotations
    present, over = copied(scene), copied(scene)
    traffic(present, STORM + 55 * M, STORM + H, worse, every=PANE)
    assert [(state, alert.severity) for (_, state), alert in zip(present.pending(), present.watch.outbox(), strict=True)] == [("escalated", "page")]
    assert [alert.severity for alert in present.watch.resends()] == ["page"]
    over.wall = lambda: STORM + 12 * H
    traffic(over, STORM + 55 * M, STORM + 5 * H, worse, every=PANE)
    assert told(over)[-1][:2] == ("resolved", "page"), "the topic has it as it was"
    assert [(state, alert.severity) for (_, state), alert in zip(over.pending(), over.watch.outbox(), strict=True)] == [("resolved", "ticket")]


def test_the_severity_of_a_share_rises_with_the_share_and_not_with_the_evidence(moods: Scene) -> None:
    rising = MOOD.replace("ratio_rise", "ratio_rise\n      escalate: page").replace("{severity: page}", "{severity: info}")

    def storm(bad: Callable[[int], int]) -> Scene:
        scene = copied(moods).restart(rules(rising))
        for hour in range(54, 90):
            scene.feed(*reviews(T0 + hour * H, bad(hour), 10 - bad(hour))).tick()
        return scene

    assert [of[:2] for of in told(storm(lambda _: 5))] == [("firing", "info")], "evidence is a hundred times what it was"
    assert [of[:2] for of in told(storm(lambda hour: 5 if hour < 60 else 10))] == [("firing", "info"), ("escalated", "page")]


def test_other_rules_end_an_alert_that_would_be_another_one(rising: Scene) -> None:
    fired = traffic(copied(rising), STORM, STORM + 50 * M, worse, every=PANE)
    fired.deliver()
    fired.settle()
    for text, ends in ((RISING, False), (RISING.replace("team: web", "team: shop"), True), (RISING.replace("ticket", "info"), True), (SURGE, True)):
        scene = copied(fired)
        scene.watch.use(load_rules(rules(text, DROP)))
        scene.tick()
        assert [(alert.transition, alert.severity) for alert in scene.watch.outbox()] == ([("resolved", "page")] if ends else [])


def test_rows_from_before_severities_rose_go_on(rising: Scene) -> None:
    """What fires without a score never rises; everything else is as it was."""
    fired = traffic(copied(rising), STORM, STORM + 20 * M, worse, every=PANE)
    old = copied(fired)
    for key, value in list(old.rows.items()):
        if key.startswith((STANDING_ROW, OUTBOX_ROW)) and isinstance(wire := msgspec.msgpack.decode(value), dict):
            for row in (wire, wire.get("alert", {})):
                for name in ("score", "escalated", "escalated_from", "raised"):
                    row.pop(name, None)
            old.rows[key] = msgspec.msgpack.encode(wire)
    old.restart()
    assert old.pending() == fired.pending() != []
    traffic(old, STORM + 20 * M, STORM + 4 * H, worse, every=PANE)
    assert [of[:2] for of in told(old)] == [("firing", "ticket"), ("resolved", "ticket")]


# --- what is not known is not zero ----------------------------------------------------------------------------------


def test_silence_of_everything_freezes(settled: Scene) -> None:
    """The clock that goes on by itself is no observation: an hour of nothing is no drop, then or afterwards."""
    scene = traffic(copied(settled), T0 + SETTLED, STORM, every=PANE)
    fed = {key: found.next for key, found in scene.watch._detections["shop"].items()}
    for _ in range(90):
        scene.tick(60)
    assert scene.watch.rollups.books["shop"].watermark >= STORM + 85 * M
    assert {key: found.next for key, found in scene.watch._detections["shop"].items()} == fed
    traffic(scene, STORM + 2 * H, STORM + 6 * H, every=PANE)
    assert scene.published == []
    assert all(found.next == STORM + 6 * H - PANE for found in scene.watch._detections["shop"].values()), "and it goes on behind the gap"


def test_silence_that_a_clock_moves_through_is_a_drop(settled: Scene) -> None:
    scene = traffic(copied(settled), T0 + SETTLED, STORM, every=PANE)
    log = scene.logs[ROLLUPS]
    for minute in range(STORM, STORM + H, M):
        log.append(Rec(len(log), T0, encode_partial(Partial("shop", 0, 10**9 + minute, minute, []))))
        scene.watch.apply(ROLLUPS, log[-1:])
        scene.tick()
    assert [(alert.rule, alert.value) for alert in scene.published] == [("Drop", 0)]


def test_a_quiet_night_leaves_its_day_known() -> None:
    """Counts by days: eleven hours without anything are no gap; a day without anything, and no clock that moved, is one."""
    scene = Scene(rules(rule("Day", "kpi: daily_visitors\n      detect: drop")))
    known = {}
    for day in (*range(6), *range(8, 12)):
        for hour in range(7, 20):
            scene.feed(*views(T0 + day * D + hour * H, 5)).tick()
        (found,) = scene.watch._detections["shop"].values() or (None,)
        known[day] = found and (found.end - T0) // D, found and found.finding.value
    assert [known[day] for day in range(3, 6)] == [(day, 65) for day in range(3, 6)]
    assert known[8] == (8, 0), "unknown, and so nothing was judged"
    assert known[11] == (11, 65)


def test_a_stalled_partition_holds_the_panes_back(settled: Scene) -> None:
    scene = traffic(copied(settled), T0 + SETTLED, STORM, every=PANE)
    log = scene.logs[ROLLUPS]
    log.append(Rec(len(log), T0, encode_partial(Partial("shop", 1, 1, STORM, []))))
    scene.watch.apply(ROLLUPS, log[-1:])
    traffic(scene, STORM, STORM + H, times(0.1, STORM, STORM + H), every=PANE)
    assert scene.published == []
    assert {found.next for found in scene.watch._detections["shop"].values()} == {STORM}


def test_a_young_series_learns_and_says_until_when() -> None:
    scene = traffic(Scene(rules(SURGE)), T0, T0 + 30 * H, times(8, T0 + 20 * H, T0 + 21 * H))
    assert scene.published == []
    said = scene.watch.rollups.books["shop"].said
    assert said[("page_views", (), ())] == ("learning", T0 + 55 * M + 2 * D), "two days from when it was first looked at"


def test_a_new_rule_learns_from_what_is_held() -> None:
    """26 hours of minutes: its two days began with them."""
    scene = traffic(Scene("groups: []"), T0, T0 + 40 * H)
    scene.watch.use(load_rules(rules(SURGE)))
    traffic(scene, T0 + 40 * H, T0 + 41 * H)
    (found,) = scene.watch._detections["shop"].values()
    assert isinstance(found, detection.CountDetection)
    assert T0 + 13 * H <= found.state.begun <= T0 + 15 * H
    assert found.next == T0 + 41 * H - PANE


# --- nights, weekends, and what does not come back ------------------------------------------------------------------


def nightly(factor: float = 1.0) -> Callable[[int], int]:
    """Twelve page views of five minutes by day, one an hour at night: too few to judge a drop."""
    return lambda at: int(at // PANE % 12 == 0) if at % D < 6 * H else max(1, round(12 * factor))


NIGHTLY = rule("Drop", "kpi: page_views\n      detect: drop\n      cooldown: 12h")
NOON = T0 + 5 * D + 12 * H
MIDNIGHT = NOON + 12 * H


@pytest.fixture(scope="module")
def nights() -> Scene:
    scene = traffic(Scene(rules(NIGHTLY)), T0, NOON, nightly())
    scene.published.clear()
    return scene


def test_a_drop_that_is_open_when_nothing_can_be_judged_starts_nothing(nights: Scene) -> None:
    """The labels are edited at three at night: the alert is another one, which has to wait for a pane that can be judged."""
    scene = traffic(copied(nights), NOON, MIDNIGHT - 3 * H, nightly())
    traffic(scene, MIDNIGHT - 3 * H, MIDNIGHT, nightly(0.1), every=PANE)
    traffic(scene, MIDNIGHT, MIDNIGHT + 3 * H, nightly(), every=PANE)
    finding = scene.watch._detections["shop"]["Drop", ()].finding
    assert (finding.state, finding.rule, finding.since) == ("firing", None, MIDNIGHT - 165 * M)
    scene.rules = load_rules(rules(NIGHTLY.replace("page}", "ticket}")))
    scene.watch.use(scene.rules)
    traffic(scene, MIDNIGHT + 3 * H, MIDNIGHT + 4 * H, nightly(), every=PANE)
    scene.restart().tick()
    assert [(alert.state, alert.severity) for alert in scene.published] == [("firing", "page"), ("resolved", "page")]
    traffic(scene, MIDNIGHT + 4 * H, MIDNIGHT + 7 * H, nightly(0.1), every=PANE)
    last = scene.published[-1]
    assert (last.state, last.severity) == ("firing", "ticket")
    assert last.value < last.usual
    assert utc(MIDNIGHT + 4 * H) < last.started


def test_nor_does_one_whose_cooldown_ends_then(nights: Scene) -> None:
    scene = traffic(copied(nights), NOON, NOON + H, nightly(0.1), every=PANE)
    traffic(scene, NOON + H, MIDNIGHT - 2 * H, nightly(), every=PANE)
    traffic(scene, MIDNIGHT - 2 * H, MIDNIGHT, nightly(0.1), every=PANE)
    assert [alert.state for alert in scene.published] == ["firing", "resolved"]
    assert [standing.phase for standing in scene.watch._all()] == ["pending"]
    cooled = round(scene.published[1].ended.timestamp() * 1000) + 12 * H
    assert MIDNIGHT < cooled < MIDNIGHT + 3 * H
    traffic(scene, MIDNIGHT, cooled + H, nightly(), every=PANE)
    assert len(scene.published) == 2, "nothing can be judged"
    traffic(scene, cooled + H, MIDNIGHT + 7 * H, nightly(0.1), every=PANE)
    assert [alert.state for alert in scene.published] == ["firing", "resolved", "firing"]
    assert scene.published[2].started > utc(cooled)


OFFICE = rules(MOOD, rule("Office", "kpi: page_views\n      by: [route]\n      where: {route: /office}\n      detect: drop\n      sensitivity: sensitive"))


def weeks(scene: Scene, hours: range, every: int = 1, crashes: Collection[int] = (), away: Collection[int] = ()) -> Scene:
    """A few page views every hour; those of an office, and reviews, on workdays from nine to five (T0 is a Monday), but not on days that are `away`."""
    for hour in hours:
        at, day = T0 + hour * H, hour // 24
        scene.feed(*views(at, 2))
        if day % 7 < 5 and 9 <= hour % 24 < 17 and day not in away:
            scene.feed(*(wire for pane in range(at, at + H, PANE) for wire in views(pane, 3, path="/office")), *reviews(at, 1, 4))
        if (hour + 1) % every == 0:
            scene.tick(60)
        if hour in crashes:
            scene.restart()
    return scene


def test_a_weekend_is_not_forgotten() -> None:
    """Panes of minutes are kept for 26 hours, and what was learnt of them for longer; it is the same whenever one looks, and after crashes."""
    scene = weeks(Scene(OFFICE), range(7 * 24)).tick(60)
    assert all(key[3] != ("/office",) for key in scene.watch.rollups.books["shop"].series if key[1] == M), "it is Sunday"
    last = scene.published[-1]
    assert utc(T0 + 5 * D + 9 * H) < last.started < utc(T0 + 5 * D + 10 * H), "nobody knows weekends on the first"
    assert last.ended - last.started == timedelta(days=1), "accepted as the new level, though nothing can be judged then"
    others = weeks(Scene(OFFICE), range(7 * 24), every=7, crashes={4 * 24 + 13, 5 * 24 + 20}).tick(60)
    rows = [{key: value for key, value in one.rows.items() if key.startswith(DETECTION_ROW)} for one in (scene, others)]
    assert len(rows[0]) == 2
    assert rows[0] == rows[1]
    assert others.steps() == scene.steps()


@pytest.mark.slow
def test_and_the_monday_after_is_missed_when_it_is_silent() -> None:
    scene = weeks(Scene(OFFICE), range(21 * 24))
    found = {name: (one.finding.state, one.state.begun < T0 + D) for (name, _), one in scene.watch._detections["shop"].items()}
    assert found == {"Mood": ("normal", True), "Office": ("normal", True)}
    scene.published.clear()
    assert weeks(copied(scene), range(21 * 24, 22 * 24)).published == []
    missed = weeks(scene, range(21 * 24, 22 * 24), away={21}).published[0]
    assert (missed.rule, missed.state, missed.value) == ("Office", "firing", 0), "nothing since Friday is nothing unusual before Monday morning"
    assert utc(T0 + 21 * D + 9 * H) < missed.started < utc(T0 + 21 * D + 10 * H)


def test_what_does_not_come_back_is_forgotten_after_four_weeks_or_gives_way(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = weeks(Scene(OFFICE), range(18))
    weeks(scene, range(18, 28 * 24 + 12), every=12, away=range(40))
    assert {name for name, _ in scene.watch._detections["shop"]} == {"Mood", "Office"}
    weeks(scene, range(28 * 24 + 12, 29 * 24), away=range(40))
    assert scene.watch._detections["shop"] == {}
    assert not any(key.startswith(DETECTION_ROW) for key in scene.rows)
    monkeypatch.setattr(detection, "MAX_DETECTIONS", 3)
    scene = Scene(rules(rule("Route", "kpi: page_views\n      by: [route]\n      detect: surge")))
    for day, names in enumerate(("ab", "c", "c", "cd", "cd", "cde")):
        for hour in range(24):
            scene.feed(*(wire for name in names for wire in views(T0 + day * D + hour * H, 1, path=f"/{name}"))).tick()
        kept = "".join(sorted(values[0][1:] for _, values in scene.watch._detections["shop"]))
        assert kept == ("ab", "abc", "abc", "bcd", "bcd", "cde")[day]
    assert scene.watch.status()["detectors"]["over_limit"] == 0


# --- shares ---------------------------------------------------------------------------------------------------------


def test_a_share_that_rises_and_one_that_falls() -> None:
    scene, rng = Scene(rules(MOOD, PRAISE)), random.Random(1)
    hours = 54
    for hour in range(hours):
        bad = sum(rng.random() < 0.2 for _ in range(10))
        scene.feed(*reviews(T0 + hour * H, bad, 10 - bad, source="here")).tick()
    assert scene.published == []
    for hour in range(hours, hours + 20):
        scene.feed(*reviews(T0 + hour * H, 7, 3, source="here"), *reviews(T0 + hour * H + M, 0, 2, source="there")).tick()
    assert [(name, state) for name, state, *_ in sorted(scene.steps())] == [("Mood", "firing"), ("Praise", "firing")]
    rise, fall = (next(alert for alert in scene.published if alert.rule == name) for name in ("Mood", "Praise"))
    for alert in (rise, fall):
        assert alert.low < alert.value < alert.high
        assert alert.numerator == round(alert.value * alert.n)
        assert alert.explanation.detector == "evidence"
        assert alert.explanation.statistic >= alert.explanation.limit >= 100
        assert alert.window.start >= utc(T0 + hours * H)
    assert rise.value > 0.5 > rise.usual
    assert fall.value < 0.6 < fall.usual
    assert "usual at most" in rise.annotations["why"]
    assert "usual at least" in fall.annotations["why"]


@pytest.fixture(scope="module")
def moods() -> Scene:
    """Ten reviews an hour, a fifth of them bad, for 54 hours."""
    scene, rng = Scene(rules(MOOD)), random.Random(1)
    for hour in range(54):
        bad = sum(rng.random() < 0.2 for _ in range(10))
        scene.feed(*reviews(T0 + hour * H, bad, 10 - bad)).tick()
    return scene


@pytest.mark.slow
@settings(max_examples=8, deadline=None)
@given(st.sets(st.integers(54, 69), max_size=4), st.sets(st.integers(54, 69), max_size=8))
def test_nor_anything_of_shares(moods: Scene, crashes: set[int], skipped: set[int]) -> None:
    def storm(crashes: set[int], skipped: set[int]) -> Scene:
        scene = copied(moods)
        for hour in range(54, 70):
            scene.feed(*reviews(T0 + hour * H, 8 if hour < 60 else 0, 2 if hour < 60 else 10))
            if hour not in skipped:
                scene.tick()
            if hour in crashes:
                scene.restart()
        return scene.tick()

    calm, scene = storm(set(), set()), storm(crashes, skipped)
    assert [step[1] for step in calm.steps()] == ["firing", "resolved"]
    assert scene.steps() == calm.steps()
    key = DETECTION_ROW + b'["shop","Mood"]'
    assert scene.rows[key] == calm.rows[key]


def test_what_nothing_is_kept_of_fires_no_more_and_is_not_forgotten(moods: Scene) -> None:
    scene = copied(moods)
    for hour in range(54, 110):
        scene.feed(*reviews(T0 + hour * H, 8, 2) if hour < 60 or hour > 106 else [], *views(T0 + hour * H, 1)).tick(60)
    assert [(state, minute // 60) for _, state, _, minute in scene.steps()][1:] == [("resolved", 59 + 26), ("firing", 107)]
    found = scene.watch._detections["shop"]["Mood", ()]
    assert isinstance(found, detection.RatioDetection)
    assert found.state.begun < T0 + D


def test_outcomes_that_are_known_when_their_panes_are_gone_are_no_question_for_a_detector() -> None:
    """A target of a day is learnt, one of two days cannot be, and that is said."""
    text, hours = rules(rule("Slow", "kpi: response_in_target_share\n      detect: ratio_fall")), {"near": 24, "shop": 48}
    sites = Sites({name: Site(response_target=60 * number) for name, number in hours.items()})
    (said,) = detection.unfed(load_rules(text), sites)
    assert said.startswith("Slow, site shop: nothing is learnt of response_in_target_share, whose outcomes are known after 48 h while panes are kept for 26 h;")
    assert list(detection.unfed(load_rules(text.replace("detect:", "sites: [near]\n      detect:")), sites)) == []
    assert [one[:22] for one in detection.unfed(load_rules(text), Sites(default=Site(response_target=3000)))] == ["Slow, sites not named:"]
    assert list(detection.unfed(read_rules([DEFAULT_RULES]), Sites())) == []

    class Staffed(Scene):
        def _new(self) -> Watch:
            return Watch(0, 1, sites, rules=self.rules, clock=lambda: self.wall())

    scene = Staffed(text)
    for hour in range(52):
        for site in hours:
            told = {"at": T0 + hour * H, "ticket": f"{site}{hour}", "customer": "c", "site": site}
            scene.feed(event("ticket_opened", **told, text="Where is it?"), event("ticket_answered", **told | {"at": T0 + hour * H + M}))
        scene.tick(60)
    assert {name: [found.last for found in of_site.values()] for name, of_site in scene.watch._detections.items() if of_site} == {"near": [T0 + 26 * H + M]}
    sites.named["near"] = sites["shop"]
    scene.restart().tick()
    assert not any(scene.watch._detections.values()), "what was learnt is given up where no more will come"


def test_what_comes_late_is_evidence_too(moods: Scene) -> None:
    """Reviews that are fetched once an hour: the clock of the site has passed their minutes long ago."""
    on_time, late = copied(moods), copied(moods)
    for hour in range(54, 62):
        told = [reviews(T0 + hour * H + minute * M, 2, 0) for minute in range(10, 40, 10)]
        for wires in told:
            on_time.feed(*wires).tick()
        for minute in range(10, 60, 10):
            late.feed(*views(T0 + hour * H + minute * M, 1)).tick()  # the shop's own events move the clock
        late.tick(60)  # silent for so long, the topic of reviews holds it back no more
        late.feed(*(wire for wires in told for wire in wires), *views(T0 + hour * H + 59 * M, 1)).tick(60)
    assert [step[:2] for step in late.steps()] == [step[:2] for step in on_time.steps()] == [("Mood", "firing")]
    found = late.watch._detections["shop"]["Mood", ()]
    assert isinstance(found, detection.RatioDetection)
    assert found.finding.n >= 40


def test_a_count_may_wait_for_what_comes_late() -> None:
    """Page views are judged at once, mentions ten minutes later, or as the rule says."""
    text = rules(SURGE, rule("Talk", "kpi: mentions\n      detect: surge"), rule("Later", "kpi: page_views\n      detect: surge\n      delay: 1h"))
    delays = {one.name: one.condition.delay for one in load_rules(text).rules}  # type: ignore[union-attr]
    assert delays == {"Surge": 0, "Talk": 10 * M, "Later": H}
    scene = traffic(Scene(text), T0, T0 + 6 * H, every=PANE)
    next_of = {name: found.next for (name, _), found in scene.watch._detections["shop"].items()}
    assert next_of == {"Surge": T0 + 6 * H - PANE, "Later": T0 + 5 * H - PANE}


# --- label sets -----------------------------------------------------------------------------------------------------


def test_label_sets_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(detection, "MAX_DETECTIONS", 3)
    scene = Scene(rules(rule("Route", "kpi: page_views\n      by: [route]\n      detect: surge")))
    for minute in range(0, 60, 5):
        scene.feed(*(wire for name in "edcba"[: 2 + minute // 10] for wire in views(T0 + minute * M, 1, path=f"/{name}"))).tick()
    kept = sorted(values[0] for _, values in scene.watch._detections["shop"])
    assert kept == ["/c", "/d", "/e"], "the first to come"
    assert scene.watch.status()["detectors"]["over_limit"] == 2
    scene.restart().tick()
    assert sorted(values[0] for _, values in scene.watch._detections["shop"]) == kept


def test_detectors_of_rules_that_are_gone_are_forgotten(settled: Scene) -> None:
    scene = copied(settled)
    scene.watch.use(load_rules(rules(SURGE)))
    traffic(scene, T0 + SETTLED, T0 + SETTLED + H)
    assert [key for key in scene.rows if key.startswith(DETECTION_ROW)] == [DETECTION_ROW + b'["shop","Surge"]']
    scene.watch.use(load_rules(rules(SURGE.replace("surge", "drop"))))
    traffic(scene, T0 + SETTLED + H, T0 + SETTLED + 2 * H)
    (found,) = scene.watch._detections["shop"].values()
    assert (found.detector, found.finding.state) == ("drop", "learning"), "another question is learnt anew"


def test_a_row_of_another_version_is_learnt_anew(settled: Scene) -> None:
    scene = copied(settled)
    scene.rows[DETECTION_ROW + b'["shop","Surge"]'] = msgspec.msgpack.encode({"of": "counts", "state": 7})
    scene.restart()
    traffic(scene, T0 + SETTLED, T0 + SETTLED + H)
    assert {key[0]: found.finding.state for key, found in scene.watch._detections["shop"].items()} == {"Surge": "learning", "Drop": "normal"}


# --- readings -------------------------------------------------------------------------------------------------------


def test_readings_say_what_detectors_say(settled: Scene) -> None:
    scene = copied(settled)
    assert scene.watch.rollups.books["shop"].said == {("page_views", (), ()): ("normal", None)}, "known at once after a restart"
    traffic(scene, T0 + SETTLED, STORM)
    seen: dict[str, set[Any]] = {}
    for at in range(STORM, STORM + H, PANE):
        scene.feed(*views(at, 5 * usual(at)))
        scene.settle()
        scene.seconds += 1
        for message in scene.watch.tick(scene.seconds):
            for wire in msgspec.json.decode(message.value)["readings"]:
                if wire["kpi"] in ("page_views", "sessions") and not wire["dimensions"]:
                    seen.setdefault(wire["kpi"], set()).add(wire.get("alert_state"))
        scene.settle()
    assert seen["page_views"] == {"normal", "firing"}
    assert seen["sessions"] == {None}
    bare = PublishedReading("x", "shop", {}, {"start": 0, "end": 0}, 1, 1, None, None, "ok")  # type: ignore[arg-type]
    assert "alert_state" not in msgspec.json.decode(msgspec.json.encode(bare))


# --- which measures -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kpi", KPIS, ids=lambda kpi: kpi.name)
def test_every_measure_takes_what_fits_it(kpi: Any) -> None:
    """And a rule over its first grouping can be fed."""
    by = list(kpi.by[0])
    for detector in get_args(Detector):
        text = rules(rule("R", f"kpi: {kpi.name}\n      by: {by}\n      detect: {detector}"))
        if not is_detectable(kpi, detector):
            with pytest.raises(RulesError, match="needs a"):
                load_rules(text)
            continue
        (found,) = load_rules(text).rules
        assert kpi.unit == ("ratio" if detector.startswith("ratio") else "count")
        family = detection.FAMILY_OF[kpi.name]
        series = detection.Series("shop", family, family.fact.panes[0], found.by, tuple("x" for _ in by))
        if kpi.unit == "count":
            counts.start(detection.step_of(series))
