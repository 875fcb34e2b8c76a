"""Scenes through a real partition: what fires, when, with which figures; restarts, outbox, catching up, other rules."""

from datetime import timedelta

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alerts.evaluation import MAX_ALERT_AGE, Alert
from alerts.watch import OUTBOX_ROW, STANDING_ROW, Watch
from streams.panes import utc
from streams.partition import ROLLUPS
from streams.replay import Replay
from streams.rollups import Partial, encode_partial
from streams.rows import STAMP
from streams.topics import partition_of
from tests.alerts.scenes import QUIET, SURGE, Scene, load_rules, minute_of, review, reviews, views
from tests.streams.records import T0, D, H, M, Rec, event, store


def surge(scene: Scene, minutes: range, bad: range, every: int = 1) -> Scene:
    """Ten reviews a minute, one of them bad; eight of them in the minutes `bad`."""
    for minute in minutes:
        scene.feed(*reviews(T0 + minute * M, 8 if minute in bad else 1, 2 if minute in bad else 9))
        if minute % every == 0:
            scene.tick()
    return scene


def rule(name: str, text: str) -> str:
    return f"groups:\n - name: g\n   rules:\n    - alert: {name}\n      labels: {{severity: page}}\n      annotations: {{summary: '{{value}}'}}\n" + "".join(
        f"      {line}\n" for line in text.splitlines()
    )


# --- one surge, from beginning to end --------------------------------------------------------------------------------


def test_a_surge_fires_with_its_figures_and_resolves():
    scene = surge(Scene(), range(40), range(10, 20))
    assert scene.steps() == [("Surge", "firing", "", 13), ("Surge", "resolved", "", 24)]
    firing, resolved = scene.published
    assert (firing.value, firing.n, firing.numerator, firing.usual) == (0.52, 50, 26, 0.1)
    assert firing.low < 0.52 < firing.high
    assert (firing.window.start, firing.window.end) == (utc(T0 + 8 * M), utc(T0 + 13 * M))
    assert (firing.since, firing.started, firing.ended) == (utc(T0 + 13 * M), utc(T0 + 13 * M), None)
    assert firing.labels == {"alertname": "Surge", "service": "engagement", "site": "shop", "severity": "page"}
    assert firing.threshold == "above 50 %, clears at 30 %"
    why = firing.annotations.pop("why")
    assert firing.annotations == {"summary": "shop: 52 % negative of 50 (usual 10 %)"}
    assert why.startswith("52 % of 50 in 5m, usual 10 %; the rule asks for above 50 %, clears at 30 %. Since 2026-03-02 00:13 UTC. Complaints: ")
    assert "broken 26 (usual 5.0)" in why, "five minutes of the eight before"
    assert firing.explanation == resolved.explanation
    assert (firing.explanation.text, firing.explanation.detector, firing.explanation.dimensions) == (why, None, ())
    assert (resolved.id, resolved.labels, resolved.started, resolved.ended) == (firing.id, firing.labels, firing.started, utc(T0 + 24 * M))
    assert (resolved.value, resolved.usual) == (0.24, 0.1), "figures of now, the baseline of then"
    assert scene.pending() == [(firing.id, "firing"), (firing.id, "resolved")]


def test_why_says_who_writes_and_what_about():
    """Where it comes from and what people complain about as it fires; the words when enough have used them."""
    scene = surge(Scene(), range(120), range(0))
    for minute in range(120, 135):
        parcels = [review(T0 + minute * M + n, "The parcel never arrived, terrible and awful.", author=f"p{minute}-{n}", segment="vip") for n in range(8)]
        scene.feed(*parcels, *reviews(T0 + minute * M + 5_000, 0, 2)).tick(60)
    firing = scene.published[0].explanation
    (by_segment,) = firing.dimensions
    assert [(one.value, one.actual) for one in by_segment.values] == [("vip", 24)]
    assert (firing.reasons[0].actual, firing.themes) == (24, ())
    assert "By segment: vip 24 (usual 0.0)." in firing.text
    (now,) = scene.watch.resends()
    assert now.explanation.themes == ("parcel never arrived",)
    assert now.annotations["why"] == now.explanation.text == firing.text + " Words used more than before: parcel never arrived."
    assert now.explanation.dimensions == firing.dimensions


def test_while_it_fires_its_figures_follow_and_its_baseline_does_not():
    scene = surge(Scene(), range(17), range(10, 20))
    assert [(alert.value, alert.usual, minute_of(alert)) for alert in scene.watch.alerts()] == [(0.8, 0.1, 13)]
    assert scene.watch.resends() == scene.watch.alerts()
    assert scene.watch.status()["alerts"] == {"firing": 1, "pending": 0, "outbox": 1}


def test_too_little_data_neither_fires_nor_resolves():
    scene = Scene()
    for minute in range(20):
        scene.feed(*reviews(T0 + minute * M, 3, 0)).tick()
    assert scene.steps() == [], "15 of 20"
    surge(scene, range(20, 27), range(20, 27))
    assert [step[1] for step in scene.steps()] == ["firing"]
    for minute in range(27, 50):
        scene.feed(*reviews(T0 + minute * M, 0, 1)).tick()
    assert [step[1] for step in scene.steps()] == ["firing"], "nothing but good texts, but too few of them"


def test_a_late_correction_may_resolve_in_the_same_minute():
    scene = surge(Scene(), range(15), range(10, 20))
    assert scene.steps() == [("Surge", "firing", "", 13)]
    scene.feed(*(review(T0 + 12 * M + number, author=f"late{number}") for number in range(60))).tick()
    assert scene.steps()[1:] == [("Surge", "resolved", "", 13)]
    scene.feed(*(review(T0 + 12 * M + number, "Terrible, awful, hate.", author=f"later{number}") for number in range(200))).tick()
    assert len(scene.steps()) == 2, "and does not fire again in it"


# --- atomic, durable, once ------------------------------------------------------------------------------------------


def test_transition_state_and_outbox_are_one_batch_and_nothing_leaves_before_it():
    scene = surge(Scene(), range(14), range(10, 20))
    scene.feed(*reviews(T0 + 14 * M, 8, 2))
    scene.settle()
    scene.watch.tick(100.0)
    assert scene.pending() == [], "judged, not written"
    flush = scene.watch.flush()
    kinds = [key[:2] for key, _ in flush.rows]
    assert {STANDING_ROW, OUTBOX_ROW} <= set(kinds)
    assert flush.rows[-1][0] == STAMP
    assert [message.topic for message in flush.after if message.topic != ROLLUPS] == ["alerts"]
    assert scene.pending() == [], "written, not known to be durable"
    proof = scene.watch.flush()
    assert [key for key, _ in proof.rows] == [STAMP], "the next flush begins: the one before was acknowledged"
    assert len(scene.pending()) == 1
    assert scene.watch.flush() is None


def test_a_crash_before_the_flush_forgets_nothing_and_after_it_repeats_the_same_id():
    before = surge(Scene(), range(14), range(10, 20)).feed(*reviews(T0 + 14 * M, 8, 2))
    before.settle()
    before.watch.tick(100.0)
    before.restart().tick()
    assert before.steps() == [("Surge", "firing", "", 13)]
    after = surge(Scene(), range(15), range(10, 20))
    assert after.pending() == before.pending()
    entries = after.pending()
    after.restart()
    assert after.pending() == entries, "shown again at once"
    after.published.clear()
    after.tick()
    assert after.steps() == [("Surge", "firing", "", 13)], "its message may not have left: it is said again"
    assert after.pending() == entries


def test_what_is_delivered_is_forgotten_by_the_next_flush():
    scene = surge(Scene(), range(15), range(10, 20))
    assert len(scene.deliver()) == 1
    assert [key for key in scene.rows if key.startswith(OUTBOX_ROW)], "not yet"
    scene.settle()
    assert not [key for key in scene.rows if key.startswith(OUTBOX_ROW)]
    scene.restart().tick()
    assert scene.pending() == [], "nothing pages twice"
    assert len(scene.watch.resends()) == 1, "and what fires is known"
    surge(scene, range(15, 30), range(10, 20))
    assert [state for _, state in scene.pending()] == ["resolved"], "and nothing stays open"
    scene.watch.delivered("nobody", "firing")


def test_nothing_is_kept_of_what_is_long_over():
    scene = surge(Scene(), range(40), range(10, 20))
    scene.deliver()
    scene.feed(*reviews(T0 + 2 * H, 0, 10)).tick()
    assert [key for key in scene.rows if key[:2] in (STANDING_ROW, OUTBOX_ROW) and b"Surge" in key] == []


@pytest.mark.slow
@settings(max_examples=12, deadline=None)
@given(st.sets(st.integers(1, 34), max_size=6), st.booleans())
def test_a_restart_anywhere_is_no_restart(restarts, flushed):
    calm = surge(Scene(), range(35), range(10, 20))
    scene = Scene()
    for minute in range(35):
        surge(scene, range(minute, minute + 1), range(10, 20))
        if minute in restarts:
            if flushed:
                scene.settle()
            else:
                scene.watch.tick(scene.seconds + 0.5)
            scene.restart()
    assert scene.steps() == calm.steps()
    assert scene.pending() == calm.pending()


@pytest.mark.slow
@settings(max_examples=12, deadline=None)
@given(st.lists(st.integers(1, 14), min_size=4, max_size=12))
def test_how_often_it_is_looked_at_changes_nothing(gaps):
    """Up to 15 minutes of event time between two ticks, and no look-back: the same transitions at the same minutes."""
    often = surge(Scene(), range(61), range(10, 20))
    ticks, minute = set(), 0
    for gap in gaps * 20:
        minute += gap
        ticks.add(minute)
    scene = Scene()
    for at in range(61):
        scene.feed(*reviews(T0 + at * M, 8 if at in range(10, 20) else 1, 2 if at in range(10, 20) else 9))
        if at in ticks or at == 60:
            scene.tick()
    assert scene.steps() == often.steps()
    assert [alert.id for alert in scene.published] == [alert.id for alert in often.published]
    assert [alert.annotations for alert in scene.published] == [alert.annotations for alert in often.published]


# --- clocks ---------------------------------------------------------------------------------------------------------


def test_while_the_watermark_stands_still_so_does_everything():
    scene = surge(Scene(), range(9), range(10, 20))
    slow = Partial("shop", 1, 1, T0 + 9 * M, [])
    log = scene.logs[ROLLUPS]
    log.append(Rec(len(log), T0, encode_partial(slow)))
    scene.watch.apply(ROLLUPS, log[-1:])
    surge(scene, range(9, 19), range(10, 20))
    assert scene.steps() == [], "partition 1 of the site is behind"
    log.append(Rec(len(log), T0, encode_partial(Partial("shop", 1, 2, T0 + 18 * M, []))))
    scene.watch.apply(ROLLUPS, log[-1:])
    scene.tick()
    assert scene.steps() == [("Surge", "firing", "", 13)], "each minute is judged when it comes"


def test_catching_up_records_and_does_not_send():
    scene = surge(Scene(wall=lambda: T0 + 3 * H), range(40), range(10, 20))
    assert scene.steps() == [("Surge", "firing", "", 13), ("Surge", "resolved", "", 24)]
    assert scene.pending() == []


def test_what_still_holds_when_the_present_is_reached_is_sent_then():
    scene = Scene(wall=lambda: T0 + 30 * M)
    surge(scene, range(15), range(10, 20))
    assert (scene.steps(), scene.pending(), scene.watch.resends()) == ([("Surge", "firing", "", 13)], [], [])
    surge(scene, range(15, 17), range(10, 20))
    assert scene.pending() == [(scene.published[0].id, "firing")], f"at minute 15, {MAX_ALERT_AGE // M} behind the clock"
    assert minute_of(scene.watch.outbox()[0]) == 13
    scene.deliver()
    surge(scene, range(17, 30), range(10, 20))
    assert [state for _, state in scene.pending()] == ["resolved"], "once, and its end"


def test_a_resolve_is_sent_however_late_when_its_alert_was():
    scene = surge(Scene(), range(15), range(10, 20))
    scene.deliver()
    scene.wall = lambda: T0 + 2 * D
    surge(scene, range(15, 30), range(10, 20))
    assert [state for _, state in scene.pending()] == ["resolved"]


# --- silence --------------------------------------------------------------------------------------------------------


def busy(scene: Scene, minutes: range, number: int = 3, step: int = 1) -> Scene:
    for minute in minutes[::step]:
        scene.feed(*views(T0 + minute * M, number)).tick()
    return scene


def test_silence_fires_on_the_clock_of_the_site_and_ends_with_the_first_fact():
    scene = busy(Scene(QUIET), range(30))
    scene.tick(29)
    for _ in range(9):
        scene.tick(60)
    assert scene.steps() == []
    scene.tick(60).tick(60)
    assert scene.steps() == [("Quiet", "firing", "", 40)]
    alert = scene.published[0]
    assert (alert.value, alert.n, alert.usual, alert.threshold) == (0, 90, pytest.approx(30), "nothing for 10m")
    assert (alert.window.start, alert.window.end) == (utc(T0 + 30 * M), utc(T0 + 40 * M))
    scene.restart().tick().tick(31)
    assert len(scene.watch.alerts()) == 1, "after a restart it is known, and the clock that fell back judges nothing"
    busy(scene, range(50, 52))
    assert scene.steps()[1:] == [("Quiet", "resolved", "", 51)]


def test_a_topic_that_waits_to_be_read_is_not_silent():
    scene = busy(Scene(QUIET), range(60)).restart()
    scene.watch.unread = ("website",)  # its backlog of three hours waits behind that of another topic
    for second in range(40):
        at = T0 + H + second * 4 * M
        scene.feed(event("message_sent", at, customer="c1", message=f"m{second}", site="shop")).tick(1)
    assert scene.steps() == []
    assert scene.watch.watermark() < T0 + H


def test_silence_of_a_small_or_new_site_says_nothing():
    scene = busy(Scene(QUIET), range(6))
    scene.feed(*reviews(T0 + 6 * M, 0, 3, site="other")).tick(40)
    for _ in range(20):
        scene.tick(60)
    assert scene.steps() == [], "18 of 20 page views; and a site that never had one"


def test_silence_outlasts_what_is_kept():
    scene = busy(Scene(QUIET), range(30))
    for _ in range(14):
        scene.tick(60)
    for hour in range(30):
        scene.feed(*reviews(T0 + hour * H + 45 * M, 0, 1)).tick(5)
    assert scene.steps() == [("Quiet", "firing", "", 40)]
    assert len(scene.watch.alerts()) == 1


# --- comparisons ----------------------------------------------------------------------------------------------------

DROP = rule("Drop", "kpi: page_views\nwindow: 1h\nchange: {below: -0.5, clear: -0.25, against: day_before}\nleast: 50\nfor: 10m")


def day(scene: Scene, first: int, last: int, number: int) -> Scene:
    """So many views each ten minutes."""
    return busy(scene, range(first, last), number, 10)


def test_a_drop_against_the_day_before():
    scene = day(Scene(DROP), 0, 26 * 60, 12)
    assert scene.steps() == []
    day(scene, 26 * 60, 28 * 60, 4)
    assert [(rule_, state) for rule_, state, *_ in scene.steps()] == [("Drop", "firing")]
    alert = scene.published[0]
    assert (alert.value, alert.usual) == (24, 72)
    assert alert.started - alert.since == timedelta(minutes=10)
    day(scene, 28 * 60, 30 * 60, 12)
    assert [state for _, state, *_ in scene.steps()] == ["firing", "resolved"]


def test_a_site_without_yesterday_has_no_drop():
    scene = day(Scene(DROP), 0, 5 * 60, 12)
    day(scene, 5 * 60, 24 * 60, 1)
    assert scene.steps() == []


def test_a_first_day_that_began_within_the_earlier_window_is_no_rise():
    spike = rule("Spike", "kpi: page_views\nwindow: 1h\nchange: {above: 0.5, against: day_before}\nleast: 20")
    scene = day(Scene(spike), 0, 60, 12)
    scene.feed(*views(T0 - 50 * M, 1))  # a late event is no observation
    day(scene, 60, 25 * 60 + 30, 12)
    assert scene.steps() == []
    day(scene, 25 * 60 + 30, 27 * 60, 30)
    assert [state for _, state, *_ in scene.steps()] == ["firing"]


def test_since_when_a_site_is_observed_is_kept():
    scene = Scene("groups: []").feed(*views(T0, 1)).tick()
    kept = [value for key, value in scene.rows.items() if key == STANDING_ROW + b'["shop"]']
    assert [msgspec.msgpack.decode(value) for value in kept] == [[T0 - M, T0 - M]]
    scene.restart()
    day(scene, 10, 60, 1)
    assert msgspec.msgpack.decode(scene.rows[STANDING_ROW + b'["shop"]'])[0] == T0 - M


def test_what_is_usual_of_a_young_count_is_scaled_by_what_was_observed():
    scene = day(Scene(rule("Many", "kpi: page_views\nwindow: 1h\nabove: 100")), 0, 4 * 60, 12)
    day(scene, 4 * 60, 5 * 60, 36)
    assert len(scene.published) == 1
    assert scene.published[0].usual == pytest.approx(72, rel=0.1), "an hour of the four before"
    young = day(Scene(rule("Many", "kpi: page_views\nwindow: 1h\nabove: 100")), 0, 60, 36)
    assert [alert.usual for alert in young.published] == [None]


def test_what_is_usual_of_a_day_is_the_day_before():
    scene = Scene(rule("Many", "kpi: page_views\nwindow: day\nabove: 20"))
    for hour, number in ((1, 4), (25, 15), (49, 30), (73, 1)):
        scene.feed(*views(T0 + hour * H, number)).tick()
    assert [(alert.value, alert.usual, alert.state) for alert in scene.published] == [(30, 15, "firing")]


def test_what_is_usual_of_24_hours_by_minutes_is_the_last_whole_day():
    scene = Scene(rule("Many", "kpi: page_views\nwindow: 24h\nabove: 20"))
    for hour, number in ((1, 4), (25, 15), (60, 30), (73, 1)):
        scene.feed(*views(T0 + hour * H, number)).tick()
    assert [(alert.value, alert.usual, alert.state) for alert in scene.published] == [(30, 15, "firing")]


def test_what_is_usual_needs_enough_and_a_whole_day():
    scene = Scene()
    scene.feed(*reviews(T0, 1, 9)).tick()
    scene.feed(*reviews(T0 + 10 * M, 30, 0)).tick()
    scene.feed(*reviews(T0 + 12 * M, 0, 1)).tick()
    assert [(alert.value, alert.usual) for alert in scene.published] == [(1.0, None)], "10 of 20 texts"
    scene = Scene(rule("Many", "kpi: page_views\nwindow: day\nabove: 20"))
    for hour, number in ((1, 15), (25, 30), (49, 1)):
        scene.feed(*views(T0 + hour * H, number)).tick()
    assert [(alert.value, alert.usual) for alert in scene.published] == [(30, None)], "the first day was seen from its second hour on"


# --- label sets, sites, live gauges ---------------------------------------------------------------------------------


def mentions(minute: int, network: str, number: int, text: str) -> list[dict]:
    return [
        event("mention_posted", T0 + minute * M + n, network=network, author=f"{network}{n}", text=text, post=f"{network}-{minute}-{n}") for n in range(number)
    ]


BY_NETWORK = rule("Network", "kpi: negative_share\nby: [network]\nwindow: 5m\nabove: 0.5")


def networks(rules: str) -> Scene:
    scene = Scene(rules)
    for minute in range(10):
        scene.feed(*mentions(minute, "x", 10, "Awful, I hate it."), *mentions(minute, "y", 10, "Great."), *mentions(minute, "z", 10, "Horrible.")).tick()
    return scene


def test_each_label_set_is_judged_for_itself():
    scene = networks(BY_NETWORK)
    assert scene.steps() == [("Network", "firing", "x", 2), ("Network", "firing", "z", 2)]
    assert scene.published[0].labels["network"] == "x"
    assert len({alert.id for alert in scene.published}) == 2


def test_where_picks_label_sets():
    assert networks(BY_NETWORK.replace("by:", "where: {network: z}\n      by:")).steps() == [("Network", "firing", "z", 2)]


def test_sites_are_judged_for_themselves():
    scene = Scene(SURGE.replace("least: 20", "least: 20\n        sites: [blog]"))
    for minute in range(12):
        scene.feed(*reviews(T0 + minute * M, 8, 2), *reviews(T0 + minute * M, 8, 2, site="blog")).tick()
    assert {(alert.site, alert.labels["site"]) for alert in scene.published} == {("blog", "blog")}


def test_a_label_set_that_is_not_kept_any_more_resolves():
    scene = networks(BY_NETWORK.replace("window: 5m", "window: 1h\n      where: {network: x}"))
    assert [step[1] for step in scene.steps()] == ["firing"]
    for hour in range(1, 30):
        scene.feed(*mentions(hour * 60, "y", 1, "Great.")).tick()
    assert [step[1] for step in scene.steps()] == ["firing", "resolved"]
    assert 26 * 60 <= scene.steps()[1][3] <= 28 * 60


def test_live_gauges():
    scene = Scene(rule("Crowd", "kpi: active_visitors\nwindow: live5m\nabove: 10"))
    busy(scene, range(10), 1)
    busy(scene, range(10, 14), 5)
    busy(scene, range(14, 22), 1)
    assert [state for _, state, *_ in scene.steps()] == ["firing", "resolved"]


def test_a_live_gauge_says_nothing_about_the_minutes_before():
    scene = Scene(rule("Crowd", "kpi: active_visitors\nwindow: live5m\nabove: 10"))
    busy(scene, range(3), 1)
    for minute in range(3, 13):
        scene.feed(*views(T0 + minute * M, 5))
    scene.tick()
    assert scene.steps() == [("Crowd", "firing", "", 12)]


# --- other rules ----------------------------------------------------------------------------------------------------


def firing() -> Scene:
    scene = surge(Scene(), range(15), range(10, 60))
    scene.deliver()
    scene.settle()
    return scene


def test_alerts_of_rules_that_vanish_are_resolved():
    scene = firing()
    scene.watch.use(load_rules(QUIET))
    scene.tick(0.1)
    assert scene.steps()[1:] == [("Surge", "resolved", "", 14 - 1)]
    assert [state for _, state in scene.pending()] == ["resolved"]


def test_a_restart_with_other_rules_resolves_too():
    scene = firing().restart(QUIET).tick()
    assert [state for _, state in scene.pending()] == ["resolved"]


def test_they_are_resolved_even_while_the_clock_has_fallen_back():
    scene = busy(Scene(QUIET), range(30))
    for _ in range(30):
        scene.tick(60)
    scene.restart(SURGE).tick()
    assert scene.steps() == [("Quiet", "firing", "", 40), ("Quiet", "resolved", "", 59)], "after the restart the site's clock stands at minute 29"


def test_another_measure_is_another_alert():
    scene = firing()
    scene.watch.use(load_rules(SURGE.replace("negative_share", "positive_share")))
    scene.tick(0.1)
    assert [step[1] for step in scene.steps()] == ["firing", "resolved"]


def test_other_labels_are_another_alert():
    scene = firing()
    scene.watch.use(load_rules(SURGE.replace("severity: page", "severity: ticket")))
    surge(scene, range(15, 17), range(10, 60))
    assert [(alert.state, alert.severity) for alert in scene.published] == [("firing", "page"), ("resolved", "page"), ("firing", "ticket")]
    assert scene.published[0].id != scene.published[2].id


def test_other_thresholds_keep_the_alert():
    scene = firing()
    scene.watch.use(load_rules(SURGE.replace("above: 0.5", "above: 0.4")))
    surge(scene, range(15, 18), range(10, 60))
    assert [step[1] for step in scene.steps()] == ["firing"]
    scene.watch.use(load_rules(SURGE.replace("above: 0.5", "above: 0.99").replace("clear: 0.3", "clear: 0.95")))
    scene.tick(0.1)
    assert [step[1] for step in scene.steps()] == ["firing", "resolved"]


def test_the_same_rules_are_no_news():
    scene = firing()
    scene.watch.use(load_rules(SURGE))
    scene.settle()
    flushes = scene.flushes
    scene.tick(0.1)
    assert scene.flushes == flushes


def test_a_watch_without_rules_is_a_partition():
    scene = surge(Scene("groups: []"), range(5), range(3))
    assert isinstance(scene.watch, Watch)
    assert scene.published == []
    kept: dict[bytes, bytes] = {}
    store(kept, scene.watch.snapshot())
    assert list(kept) == [STAMP]


# --- many partitions ------------------------------------------------------------------------------------------------


def test_only_the_owner_of_a_site_judges_it():
    """Reviews of one site come to four partitions; its owner sums them up and is the only one to speak."""
    alone = surge(Scene(), range(40), range(10, 20))
    replay = Replay(partitions=4)
    watches = [Watch(number, 4, rules=load_rules(SURGE), clock=lambda: T0 + 40 * M) for number in range(4)]
    replay.partitions = list(watches)
    published = {number: [] for number in range(4)}
    for minute in range(41):
        bad = minute in range(10, 20)
        replay.feed(map(msgspec.json.encode, reviews(T0 + minute * M, 8 if bad else 1, 2 if bad else 9)))
        for watch in watches:
            watch.tick(float(minute))
            flush = watch.flush()
            published[watch.partition] += (
                [msgspec.json.decode(message.value, type=Alert) for message in flush.after if message.topic == "alerts"] if flush else []
            )
    assert sum(bool(watch.intake.counts) for watch in watches) > 1, "the reviews are spread"
    speakers = [number for number, alerts in published.items() if alerts]
    assert speakers == [partition_of(b"shop", 4)]
    spoken = published[speakers[0]]
    assert [(alert.state, alert.value, alert.n) for alert in spoken] == [("firing", 0.52, 50), ("resolved", 0.24, 50)]
    assert [alert.id for alert in spoken] == [alert.id for alert in alone.published]


@settings(max_examples=10, deadline=None)
@given(st.sets(st.integers(1, 34), max_size=5), st.sets(st.integers(1, 34), max_size=5))
def test_whenever_it_crashes_and_delivers_everything_is_told_at_least_once(crashes, deliveries):
    calm = surge(Scene(), range(35), range(10, 20))
    scene, told = Scene(), []
    for minute in range(35):
        surge(scene, range(minute, minute + 1), range(10, 20))
        if minute in deliveries:
            told += scene.deliver()
        if minute in crashes:
            scene.restart()
    told += scene.deliver()
    assert set(told) == set(calm.pending())


def test_the_end_of_an_alert_is_said_again_for_a_quarter_of_an_hour():
    scene = surge(Scene(), range(27), range(10, 20))
    for alert in scene.watch.outbox():
        scene.watch.delivered(alert.id, alert.state)
    scene.tick()
    assert [alert.state for alert in scene.watch.resends()] == ["resolved"]
    surge(scene, range(27, 45), range(0))
    assert scene.watch.resends() == []
