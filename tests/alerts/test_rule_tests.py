"""Tests of rules in files: the notation of series, what is refused and how, and that everything behind them is the real thing."""

import json
import re
from decimal import Decimal
from pathlib import Path
from typing import Any

import click
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.charts import HEIGHT, chart, columns
from agents.replay import Lines
from agents.rules import Wanted, encoded, replay_files, replayed_lines
from alerts.backtest import Backtest
from alerts.cases import find_files, read_tests
from alerts.evaluation import instant
from alerts.notation import MOST, Sample, cells, check_sample, kind_of, parse
from alerts.playback import Playback
from alerts.rule_files import DEFAULT_RULES, RulesError, read_rules
from alerts.rules import RuleSet
from alerts.testing import Failure, coverage, is_same, run
from streams.aggregates import Portion, Sum
from streams.kpis import KPIS, Kpi
from streams.rollups import FAMILY_OF
from streams.sites import Sites
from streams.windows import Live
from tests.alerts.scenes import QUIET, SURGE, Scene, load_rules, reviews, views
from tests.streams.records import T0, D, M

# --- notation ---------------------------------------------------------------------------------------------------------


def texts(text: str, **shapes: str) -> list[str]:
    values = parse(text, {name: parse(shape) for name, shape in shapes.items()})
    return [value if isinstance(value, str) else f"{value.amount}{value.sign}{'' if value.of is None else value.of}" for value in values]


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("7", "7"),
        ("1 2.5 -3", "1 2.5 -3"),
        ("1+2x3", "1 3 5 7"),
        ("10-4x2", "10 6 2"),
        ("5x2", "5 5 5"),
        ("5x0", "5"),
        ("_ _x3 stale stalex2", "_ _ _ _ stale stale stale"),
        ("2/20+1/0x2", "2/20 3/20 4/20"),
        ("9/20-1/-2x1", "9/20 8/18"),
        ("4.5@20-0.5@0x2", "4.5@20 4.0@20 3.5@20"),
        ("(1 _)x3 2", "1 _ 1 _ 1 _ 2"),
        ("((1)x2 2)x2", "1 1 2 1 1 2"),
        ("(1 2)", "1 2"),
        ("(day)x2 9", "1 2 1 2 9"),
        ("0+10x5 _x3 stale 4", "0 10 20 30 40 50 _ _ _ stale 4"),
    ],
)
def test_notation(text: str, values: str) -> None:
    assert " ".join(texts(text, day="1 2")) == values


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "there are no values"),
        ("1,2", "'1,2' is no value; write a count such as 12, hits/n such as 3/20"),
        ("night", "'night' is no value"),
        ("1+2", "does not say how many steps: 1+2x3"),
        ("2/20+1x3", "a step is written like the value, for instance 2/20+1/0x3"),
        ("(1 2", "a group is not closed"),
        ("1)x2", "closes a group that was not opened"),
        (f"1x{MOST}", "more than 1,000,000 values"),
        (f"(1 2)x{MOST}", "more than 1,000,000 values"),
        (f"((((1x999)x999)x9)x9)x{MOST}", "more than 1,000,000 values"),
    ],
)
def test_what_is_no_series(text: str, says: str) -> None:
    with pytest.raises(ValueError, match=says.replace("(", r"\(").replace("+", r"\+")):
        parse(text)


@pytest.mark.parametrize(
    ("kpi", "text", "says"),
    [
        ("page_views", "3/20", "write a count such as 12"),
        ("page_views", "2.5", "2.5 is no number of facts"),
        ("page_views", "-1", "-1 is no number of facts"),
        ("negative_share", "12", "write hits/n such as 3/20"),
        ("negative_share", "21/20", "21 is not a part of 20"),
        ("negative_share", "0.5/20", "0.5 is not a part of 20"),
        ("mean_rating", "4.5", "write mean@n such as 4.5@20"),
        ("mean_rating", "4.5@2.5", "2.5 is no number of facts"),
        ("session_duration_p90", "-1@5", "session_duration_p90 is not negative"),
    ],
)
def test_samples_that_no_facts_can_make(kpi: str, text: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        check_sample(FAMILY_OF[kpi].kpis[[one.name for one in FAMILY_OF[kpi].kpis].index(kpi)], parse(text)[0])


SAMPLES = {"count": "60", "share": "15/60", "mean": "4@60"}


@pytest.mark.parametrize("kpi", KPIS, ids=lambda kpi: kpi.name)
def test_of_every_measure_what_is_stated_is_what_is_read(kpi: Kpi) -> None:
    """Through pane rows, partials and rollups, in the window that ends when the pane is read."""
    [sample] = parse(SAMPLES[kind_of(kpi.value)])
    fact = FAMILY_OF[kpi.name].fact
    by = next(grouping for grouping in kpi.by if set(kpi.apart) <= set(grouping))
    values = tuple(name if name in kpi.apart else "unknown" for name in by)
    window = kpi.windows[0]
    length = {"day": D, "week": 7 * D, "month": 30 * D}.get(window, window) if not isinstance(window, Live) else 4 * M
    at = T0 + length + kpi.maturity(Sites()["shop"], by, values)
    check_sample(kpi, sample)
    [(_, cell)] = cells(kpi, sample, 1)
    playback = Playback(RuleSet())
    playback.state("shop", kpi, tuple(name if name in kpi.apart else None for name in fact.labels), T0, cell)
    playback.pass_to(at)
    reading = playback.watches[0].rollups.read_as_of("shop", kpi, by, values, window, at)
    assert reading is not None
    if isinstance(kpi.value, Sum) and kpi.value.scale != 1:
        assert (reading.value, reading.n) == (240, 60)
    elif isinstance(kpi.value, Portion):
        assert (reading.value, reading.n) == (1, 60)
    elif kind_of(kpi.value) == "count":
        assert reading.value == 60
    else:
        assert (reading.value, reading.n) == (pytest.approx(0.25 if kind_of(kpi.value) == "share" else 4, rel=0.02), 60)


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(["negative_share", "mean_rating", "page_views"]), st.integers(0, 500), st.integers(0, 500), st.integers(1, 96))
def test_the_parts_of_a_sample_sum_to_it(name: str, some: int, more: int, parts: int) -> None:
    kpi = next(one for one in KPIS if one.name == name)
    n = some + more
    sample = {
        "negative_share": Sample(Decimal(some), Decimal(n), "/"),
        "mean_rating": Sample(Decimal("4.5"), Decimal(n), "@"),
        "page_views": Sample(Decimal(n)),
    }
    family, spread = FAMILY_OF[name], list(cells(kpi, sample[name], parts))
    whole = family.empty()
    for _, cell in spread:
        family.add(whole, cell)
        assert name != "negative_share" or cell[family.indices[name][1]] <= cell[family.indices[name][0]], "no part has more hits than facts"
    [(_, at_once)] = list(cells(kpi, sample[name], 1)) or [(0, family.empty())]
    assert whole == at_once
    assert [part for part, _ in spread] == sorted({part for part, _ in spread})
    assert len(spread) == min(n, parts), "as evenly as it goes"


# --- files that cannot be used ----------------------------------------------------------------------------------------

GOOD: dict[str, Any] = {
    "name": "good",
    "series": [{"kpi": "page_views", "values": "1x9"}],
    "expect": [{"at": "5m", "alert": "Quiet", "firing": []}],
}


def faults_of(tmp_path: Path, content: str) -> list[str]:
    (tmp_path / "quiet.yml").write_text(QUIET)
    file = tmp_path / "quiet_test.yml"
    file.write_text(content)
    tests, faults = read_tests([file])
    assert bool(tests) != bool(faults)
    assert {fault.file for fault in faults} <= {str(file)}
    return [str(fault).removeprefix(f"{file}: ") for fault in faults]


def test_a_good_file_has_no_faults(tmp_path: Path) -> None:
    assert faults_of(tmp_path, msgspec.json.encode({"tests": [GOOD]}).decode()) == []


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"series": [{"kpi": "page_vews", "values": "1"}]}, "good: series 1: kpi: 'page_vews' is not a measure. Did you mean `page_views`?"),
        ({"series": [{"kpi": "page_views", "values": "1/2"}]}, "good: series 1: values: '1/2' is no value of page_views; write a count"),
        ({"series": [{"kpi": "page_views"}]}, "good: series 1: Object missing required field `values`; fields: kpi, values, labels, interval, site"),
        ({"series": [{"kpi": "page_views", "values": "1", "every": "1m"}]}, "good: series 1: Object contains unknown field `every`; fields: kpi"),
        (
            {"series": [{"kpi": "page_views", "values": "1", "labels": {"goal": "x"}}]},
            "good: series 1: labels: 'goal' is no label of page_views; labels: segment",
        ),
        ({"series": [{"kpi": "funnel_step_rate", "values": "1/2"}]}, "good: series 1: labels: 'funnel' is missing: funnel_step_rate is never summed over it"),
        (
            {"series": [{"kpi": "sessions", "values": "1", "interval": "20m"}]},
            "good: series 1: interval: '20m' is not allowed; sessions is counted in panes of 15m",
        ),
        ({"series": [{"kpi": "page_views", "values": "1x999", "interval": "1d"}]}, "good: series 1: values: 1,000 values take 1000 days; at most 400"),
        ({"start": "2026-03-02T00:07:00Z", "series": [{"kpi": "sessions", "values": "1"}]}, "good: start: sessions is counted in panes of 15m; begin with one"),
        ({"start": "2026-03-02T00:00:00"}, "good: start: 2026-03-02T00:00:00 is not allowed; write a whole minute with its offset"),
        ({"series": []}, "good: series: nothing happens: give series, events or event_files"),
        ({"events": [{"type": "page_viewed", "at": "5m"}]}, "good: event 1: at: '5m' is not allowed; write a time from the start such as +5m"),
        ({"events": [{"type": "page_viewed", "at": "+5m", "path": "/"}]}, "good: event 1: no event: no_subject"),
        ({"events": [{"type": "page_viewd", "at": "+5m"}]}, "good: event 1: no event: unknown_type $.type"),
        ({"events": [{"type": "page_viewed", "at": "+5m", "times": 0}]}, "good: event 1: times: 0 is not allowed; write a whole number from 1"),
        ({"events": [{"type": "page_viewed", "at": "+5m", "every": "fast"}]}, "good: event 1: every: 'fast' is not allowed; write a duration such as 2s"),
        ({"events": ["page_viewed"]}, "good: event 1: an event is a mapping of its fields"),
        ({"event_files": ["nowhere.jsonl"]}, "good: event_files: nowhere.jsonl cannot be read"),
        ({"expect": [{"at": "90s", "alert": "Quiet", "firing": []}]}, "good: expect 1: at: '90s' is not allowed; write whole minutes"),
        ({"expect": [{"at": "5m", "alert": "Quite", "firing": []}]}, "good: expect 1: alert: 'Quite' is no rule of these files; rules: Quiet"),
        ({"expect": [{"at": "5m", "alert": "Quiet"}]}, "good: expect 1: Object missing required field `firing`; fields: at, alert, firing"),
        (
            {"expect": [{"at": "5m", "alert": "Quiet", "firing": [{"vlaue": 1}]}]},
            "good: expect 1, firing 1: Object contains unknown field `vlaue`; fields: labels",
        ),
        (
            {"expect": [{"at": "5m", "alert": "Quiet", "firing": [{"labels": {"segment": "x"}}]}]},
            "good: expect 1, firing 1: labels: 'segment' is no label of this",
        ),
        ({"expect": [{"at": "5m", "alert": "Quiet", "firing": [{"annotations": {"x": "x"}}]}]}, "good: expect 1, firing 1: annotations: 'x' is no annotation"),
        ({"expect": []}, "good: expect: there is nothing to check"),
        ({"never": ["Quite"]}, "good: never: 'Quite' is no rule of these files; rules: Quiet"),
        ({"never": "some"}, "good: never: 'some' is not allowed; write a list of rules, or all"),
        ({"series": [{"kpi": "page_views", "values": "1", "site": "No Site"}]}, "good: series 1: site: 'No Site' is no name of a site"),
        ({"events": [{"type": "page_viewed", "at": "+5m", "received_at": "+x"}]}, "good: event 1: received_at: '+x' is not allowed"),
        ({"site": "No Site"}, "good: site: 'No Site' is no name of a site"),
        ({"sites": {"shop": {"time_zone": "Nowhere"}}}, "good: sites: site shop: time_zone 'Nowhere' is not known"),
        ({"speed": 2}, "good: Object contains unknown field `speed`; fields: name, start, site, sites, series"),
    ],
)
def test_every_fault_names_file_test_field_and_what_is_allowed(tmp_path: Path, change: dict[str, Any], fault: str) -> None:
    [found] = faults_of(tmp_path, msgspec.json.encode({"tests": [{**GOOD, **change}]}).decode())
    assert found.startswith(fault)


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        ("tests: [", "not readable as YAML"),
        ("tests: []", "tests: there are none"),
        ("tests: &a [*a]", "not readable as YAML: aliases (*name) are not allowed"),
        ("cases: []", "Object contains unknown field `cases`; fields: tests, rule_files, shapes"),
        ("rule_files: []", "Object missing required field `tests`; fields: tests, rule_files, shapes"),
        ("shapes: {stale: '1'}\ntests: []", "shapes: stale: 'stale' is no name of a shape"),
        ("shapes: {day: '1 nigth'}\ntests: []", "shapes: day: 'nigth' is no value"),
        ("rule_files: [other.yml]\ntests: []", "rule_files: "),
    ],
)
def test_faults_of_a_whole_file(tmp_path: Path, content: str, fault: str) -> None:
    assert faults_of(tmp_path, content)[0].startswith(fault)


def test_a_name_given_twice_and_rules_that_are_missing(tmp_path: Path) -> None:
    file = tmp_path / "quiet_test.yml"
    file.write_text(msgspec.json.encode({"tests": [GOOD, GOOD]}).decode())
    assert [fault.problem for fault in read_tests([file])[1]] == [
        "missing, and there is no quiet.yml beside this file; name the files of rules that are tested"
    ]
    (tmp_path / "quiet.yml").write_text(QUIET)
    tests, faults = read_tests([file])
    assert ([test.name for test in tests], [fault.problem for fault in faults]) == (["good"], ["this name is given twice; names are unique in a file"])


# --- running ----------------------------------------------------------------------------------------------------------


def played(tmp_path: Path, rules: str, test: str) -> list[Failure]:
    (tmp_path / "some.yml").write_text(rules)
    (tmp_path / "some_test.yml").write_text(test)
    tests, faults = read_tests([tmp_path / "some_test.yml"])
    assert [str(fault) for fault in faults] == []
    return [failure for one in tests for failure in run(one)]


SURGES = """
tests:
  - name: series
    series: [{kpi: negative_share, labels: {origin: review}, values: '1/10x9 8/10x9 1/10x9'}]
    expect:
      - {at: 12m, alert: Surge, firing: []}
      - at: 13m
        alert: Surge
        firing: [{labels: {site: shop}, value: 0.52, usual: 0.1, n: 50, annotations: {summary: "shop: 52 % negative of 50 (usual 10 %)"}}]
      - {at: 24m, alert: Surge, firing: []}
"""


def test_what_is_as_expected_says_nothing(tmp_path: Path) -> None:
    assert played(tmp_path, SURGE, SURGES) == []


@pytest.mark.parametrize(
    ("old", "new", "at", "expected", "found"),
    [
        ("value: 0.52", "value: 0.53", 13, 'fires {site="shop"} value 0.53', 'fires {site="shop"} value 0.52'),
        ("n: 50", "n: 51", 13, '{site="shop"} n 51', '{site="shop"} n 50'),
        ("usual: 0.1,", "usual: null,", 13, '{site="shop"} usual None', '{site="shop"} usual 0.1'),
        ("52 % negative", "53 % negative", 13, '{site="shop"} summary: shop: 53 % negative', '{site="shop"} summary: shop: 52 % negative'),
        ("{site: shop}", "{site: blog}", 13, 'fires {site="blog"}', 'fires {site="shop"} value 0.52, usual 0.1, n 50, since 2026-03-02 00:13 UTC'),
        ("at: 13m", "at: 9m", 9, 'fires {site="shop"}', "nothing fires"),
        ("at: 24m", "at: 23m", 23, "nothing fires", 'fires {site="shop"} value'),
        ("{at: 12m, alert: Surge, firing: []}", "{at: 13m, alert: Surge, firing: [{}, {}]}", 13, "fires", "nothing more fires"),
    ],
)
def test_what_is_not_as_expected_is_told_line_by_line(tmp_path: Path, old: str, new: str, at: int, expected: str, found: str) -> None:
    assert old in SURGES
    [failure] = played(tmp_path, SURGE, SURGES.replace(old, new))
    assert (failure.at, failure.alert) == (T0 + at * M, "Surge")
    assert expected.removeprefix("fires ") in "\n".join(failure.expected)
    assert found.removeprefix("fires ") in "\n".join(failure.found)


def test_a_hint_says_what_the_rule_saw(tmp_path: Path) -> None:
    [failure] = played(
        tmp_path, SURGE, SURGES.replace("at: 13m", "at: 12m").replace("{at: 12m, alert: Surge, firing: []}", "{at: 1m, alert: Surge, firing: []}", 1)
    )
    assert failure.hints == ("shop, all: negative_share is 38 % (n 50); the rule asks for above 50 %, clears at 30 %",)
    [failure] = played(tmp_path, SURGE, SURGES.replace("/10", "/1").replace("8/", "1/"))
    assert failure.hints == ("shop, all: negative_share is 100 % (n 5, too few: at least 20); the rule asks for above 50 %, clears at 30 %",)


NEVER = "tests: [{{name: never, series: [{{kpi: {kpi}, values: '{values}'}}], never: all}}]"


def test_a_rule_that_must_never_fire_is_watched_all_the_time(tmp_path: Path) -> None:
    assert played(tmp_path, SURGE, NEVER.format(kpi="negative_share", values="1/10x59")) == []
    [failure] = played(tmp_path, SURGE, NEVER.format(kpi="negative_share", values="1/10x9 8/10x9 1/10x39"))
    assert (failure.at, failure.expected) == (T0 + 13 * M, ("nothing fires, at any time",))


def test_a_silence_that_could_not_have_been_broken_says_nothing(tmp_path: Path) -> None:
    [failure] = played(tmp_path, SURGE, NEVER.format(kpi="page_views", values="1x9"))
    assert failure.found == ("nothing was counted of negative_share",)
    assert played(tmp_path, SURGE, NEVER.format(kpi="unsupported_share", values="1/10x9")), "texts, but nothing is stated of this measure"


@pytest.mark.parametrize(("values", "fires"), [("2x29 0x9", 10), ("2x29 _x10", 10), ("2x29 stalex10", 10), ("2x29 _x9", None)])
def test_nothing_counted_and_nothing_heard_are_both_a_silence(tmp_path: Path, values: str, fires: int | None) -> None:
    test = f"tests: [{{name: one, series: [{{kpi: page_views, values: '{values} 2x9'}}], never: [Quiet]}}]"
    assert [failure.at for failure in played(tmp_path, QUIET, test)] == ([T0 + (30 + fires) * M] if fires else [])


def test_detectors_take_what_is_not_heard_for_unknown_and_what_is_not_counted_for_zero(tmp_path: Path) -> None:
    rule = "groups: [{name: g, rules: [{alert: Drop, kpi: page_views, detect: drop, labels: {severity: page}, annotations: {summary: '{value}'}}]}]"
    test = """
tests:
  - name: {site}
    series:
      - {{kpi: page_views, labels: {{source: search}}, interval: 1h, values: '60x95 {gap} 60x2'}}
      - {{kpi: mentions, interval: 1h, values: '60x95 {also} 60x2'}}
    expect: [{{at: 4d3h, alert: Drop, firing: [{expected}]}}]
"""
    counted = test.format(site="counted", gap="0x2", also="60x2", expected="{value: 0}")
    unheard = test.format(site="unheard", gap="stalex2", also="stalex2", expected="")
    assert played(tmp_path, rule, counted) == []
    assert played(tmp_path, rule, unheard) == []


def test_events_and_stated_facts_fire_the_same_alert(tmp_path: Path) -> None:
    spike = "groups: [{name: g, rules: [{alert: Spike, kpi: page_views, window: 5m, above: 60, labels: {severity: info}, annotations: {summary: '{value}'}}]}]"
    expect = "expect: [{at: 12m, alert: Spike, firing: []}, {at: 13m, alert: Spike, firing: [{value: 65, n: 65}]}, {at: 30m, alert: Spike, firing: []}]"
    stated = f"tests: [{{name: stated, series: [{{kpi: page_views, values: '5x9 20x9 5x9'}}], {expect}}}]"
    happened = f"""
tests:
  - name: happened
    events:
      - {{type: page_viewed, at: +0, every: 12s, times: 50, visitor: 'a{{i}}', path: /}}
      - {{type: page_viewed, at: +10m, every: 3s, times: 200, visitor: 'b{{i}}', path: /}}
      - {{type: page_viewed, at: +20m, every: 12s, times: 50, visitor: 'c{{i}}', path: /}}
    {expect}
"""
    value = "value: 65, n: 65"
    assert played(tmp_path, spike, stated.replace(value, "value: 70, n: 70").replace("13m", "13m")) == played(
        tmp_path, spike, happened.replace(value, "value: 70, n: 70")
    )


def test_events_go_the_whole_way(tmp_path: Path) -> None:
    """Repeats, crawlers and what comes too late are not counted; the time is repaired; a file and the test's own events are one story."""
    (tmp_path / "story.jsonl").write_text(
        '{"type":"page_viewed","at":"+1m","visitor":"v1","path":"/"}\n\n{"type":"page_viewed","at":"2026-03-02T00:02:00Z","visitor":"v2","path":"/"}\n'
    )
    rule = "groups: [{name: g, rules: [{alert: Seen, kpi: page_views, window: 1h, above: 0, labels: {severity: info}, annotations: {summary: '{value}'}}]}]"
    test = """
tests:
  - name: story
    event_files: [story.jsonl]
    events:
      - {type: page_viewed, id: same, at: +5m, visitor: v1, path: /}
      - {type: page_viewed, id: same, at: +5m, visitor: v1, path: /}
      - {type: page_viewed, at: +6m, visitor: v2, path: /, user_agent: Googlebot/2.1 (+http://www.google.com/bot.html)}
      - {type: page_viewed, at: +40m, visitor: v3, path: /, sent_at: +1h40m, received_at: +1h30m}
      - {type: page_viewed, at: +3h, visitor: v4, path: /, site: blog}
      - {type: page_viewed, at: +3h, visitor: v4, path: /}
      - {type: page_viewed, at: +1h, visitor: v5, path: /}
    expect:
      - {at: 20m, alert: Seen, firing: [{labels: {site: shop}, value: 3}]}
      - {at: 50m, alert: Seen, firing: [{labels: {site: shop}, value: 4}]}
      - {at: 3h10m, alert: Seen, firing: [{labels: {site: shop}, value: 1}, {labels: {site: blog}, value: 1}]}
"""
    assert played(tmp_path, rule, test) == []


def test_sites_have_their_settings(tmp_path: Path) -> None:
    rule = "groups: [{name: g, rules: [{alert: Day, kpi: orders, window: day, above: 10, labels: {severity: info}, annotations: {summary: '{value}'}}]}]"
    test = """
tests:
  - name: a day begins in Auckland
    sites: {shop: {time_zone: Pacific/Auckland}}
    series: [{kpi: orders, interval: 1h, values: '2x47'}]
    expect:
      - {at: 10h59m, alert: Day, firing: []}
      - {at: 11h, alert: Day, firing: [{value: 22}]}
      - {at: 1d11h, alert: Day, firing: [{value: 48}]}
"""
    assert played(tmp_path, rule, test) == []


@pytest.mark.parametrize(
    ("site", "fires"),
    [
        ("{}", True),
        ("{time_zone: Asia/Tokyo, calendar: [2026-03-12]}", False),
        ("{time_zone: Asia/Tokyo, calendar: [2026-03-11]}", True),
        ("{calendar: [2026-03-12]}", True),
    ],
)
def test_holidays_begin_and_end_in_the_zone_of_their_site(tmp_path: Path, site: str, fires: bool) -> None:
    """Japan stays at home on Thursday: from Wednesday, 15:00 UTC, for a day."""
    rule = "groups: [{name: g, rules: [{alert: Drop, kpi: page_views, detect: drop, labels: {severity: page}, annotations: {summary: '{value}'}}]}]"
    test = f"""
tests:
  - name: one
    sites: {{shop: {site}}}
    series: [{{kpi: page_views, interval: 1h, values: '(300 330 270)x77 115x23 300x5'}}]
    never: [Drop]
"""
    assert bool(played(tmp_path, rule, test)) == fires


RISES = """
groups:
  - name: g
    rules:
      - alert: Surge
        kpi: page_views
        detect: surge
        escalate: page
        labels: {severity: info}
        annotations: {summary: '{value}'}
"""


def test_a_severity_that_rises_is_expected_as_a_label(tmp_path: Path) -> None:
    test = """
tests:
  - name: one
    series: [{kpi: page_views, interval: 1h, values: '(300 330 270)x24 660 3000 300x5'}]
    expect:
      - {at: 3d30m, alert: Surge, firing: [{labels: {site: shop, severity: info}}]}
      - {at: 3d1h30m, alert: Surge, firing: [{labels: {site: shop, severity: SEVERITY}}]}
      - {at: 3d5h, alert: Surge, firing: []}
"""
    assert played(tmp_path, RISES, test.replace("SEVERITY", "page")) == []
    (failure,) = played(tmp_path, RISES, test.replace("SEVERITY", "info"))
    assert failure.expected == ('fires {site="shop"} as info',)
    assert failure.found[0].startswith('fires {site="shop"} as page since 2026-03-05 01:')
    (silent,) = played(tmp_path, RISES, re.sub(r"expect:.*", "never: [Surge]", test, flags=re.S))
    assert silent.alert == "Surge", "one incident is told once"


def test_a_replay_says_when_a_severity_rose(tmp_path: Path) -> None:
    """Two and a half days of ten page views in five minutes; then thirty, then a hundred and twenty."""
    numbers = [10] * 720 + [30] * 4 + [120] * 8 + [10] * 40
    lines = [msgspec.json.encode(wire) for pane, number in enumerate(numbers) for wire in views(T0 + pane * 5 * M, number)]
    (tmp_path / "past.jsonl").write_bytes(b"\n".join(lines))
    found = replay_files(Lines([str(tmp_path / "past.jsonl")]), load_rules(RISES), Sites(), 1, Wanted(), lambda *_: None)
    (incident,) = found.backtest.incidents
    (rule,) = json.loads(encoded(found.fields()))["rules"]
    (alert,) = rule["alerts"]
    assert (rule["fired"], rule["escalated"], alert["severity"], alert["escalated"]["severity"]) == (1, 1, "info", "page")
    assert alert["started"] < alert["escalated"]["at"] < alert["ended"]
    assert alert["escalated"]["value"] > 2 * alert["value"] > 0
    said = [click.unstyle(line) for line in replayed_lines(found)]
    assert f"    page from {instant(incident.escalated.escalated)} on: {alert['escalated']['value']}, usual " in "\n".join(said)
    assert any(re.match(r"Surge  info, 1 page +1 ", line) for line in said)


@pytest.mark.parametrize(
    ("wanted", "found", "same"),
    [
        (0.52, 0.5151, True),
        (0.52, 0.5251, False),
        (0.5, 0.52, True),
        (24, 24, True),
        (24, 24.6, False),
        (1e-05, 0.0000104, True),
        (None, None, True),
        (None, 0, False),
    ],
)
def test_figures_are_compared_to_as_many_decimals_as_are_written(wanted: float | None, found: float | None, same: bool) -> None:
    assert is_same(wanted, found) is same


# --- the same engine --------------------------------------------------------------------------------------------------


@settings(max_examples=15, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 10), st.integers(0, 10)), min_size=5, max_size=40), st.integers(1, 5))
def test_a_playback_says_what_a_worker_says(minutes: list[tuple[int, int]], partitions: int) -> None:
    """Scenes tick and flush as a worker does; the clock of a playback moves by itself where a minute has no event."""
    wires = [wire for minute, (bad, good) in enumerate(minutes) for wire in reviews(T0 + minute * M, bad, good)]
    wires += views(T0 + 80 * M, 1)
    scene = Scene()
    for minute in range(81):
        scene.feed(*(wire for wire in wires if T0 + (minute - 1) * M <= wire["at"] < T0 + minute * M)).tick()
    playback = Playback(load_rules(SURGE), partitions=partitions)
    playback.play(map(playback.arriving, map(msgspec.json.encode, wires)))
    playback.settle()
    in_scene = [(alert.id, alert.state, alert.value) for alert in scene.published]
    assert [(alert.id, alert.state, alert.value) for alert in playback.transitions][: len(in_scene)] == in_scene
    assert playback.accounting()["unaccounted"] == 0


def test_a_playback_tells_nobody() -> None:
    playback = Playback(load_rules(SURGE))
    playback.play(map(playback.arriving, (msgspec.json.encode(wire) for minute in range(20) for wire in reviews(T0 + minute * M, 8 * (minute > 9), 2))))
    assert [alert.rule for alert in playback.firing()] == ["Surge"]
    assert [(watch.outbox(), watch.resends()) for watch in playback.watches] == [([], [])]


def test_of_a_very_long_silence_only_beginning_and_end_are_judged() -> None:
    playback = Backtest(load_rules(QUIET.replace("10m", "1h")))
    playback.play(map(playback.arriving, map(msgspec.json.encode, [*views(T0, 60), *views(T0 + 300 * D, 60)])))
    playback.pass_to(playback.reached + 2 * M)
    playback.settle()
    assert [alert.state for alert in playback.transitions] == ["firing", "resolved"]
    assert playback.incidents[0].lasted(playback.reached) > 299 * D


def test_points_of_a_long_alert_thin_out() -> None:
    playback = Backtest(load_rules(SURGE.replace("clear: 0.3", "clear: 0.0")))
    playback.play(map(playback.arriving, (msgspec.json.encode(wire) for minute in range(200) for wire in reviews(T0 + minute * M, 9 * (minute > 9), 1))))
    [incident] = playback.incidents
    assert 48 <= len(incident.points) <= 96
    assert incident.step == 4 * M
    gaps = {b - a for (a, _), (b, _) in zip(incident.points, incident.points[1:], strict=False)}
    assert gaps == {4 * M}


# --- charts -----------------------------------------------------------------------------------------------------------


def test_a_chart_is_drawn_to_scale() -> None:
    rows = chart([0.0, 0.25, 0.5, 1.0, None], 0.5, from_zero=True)
    assert len(rows) == HEIGHT
    assert [text for _, text in rows] == ["   █ ", "   █ ", "┈┈▄█┈", " ▂██ ", "▁███ "]
    assert [edge for edge, _ in rows] == pytest.approx([1.0, 0.8, 0.5, 0.4, 0.2])


@settings(max_examples=200, deadline=None)
@given(st.lists(st.one_of(st.none(), st.floats(-1e6, 1e6)), max_size=80), st.one_of(st.none(), st.floats(-1e6, 1e6)), st.booleans())
def test_any_values_make_a_chart(values: list[float | None], line: float | None, from_zero: bool) -> None:
    rows = chart(values, line, from_zero=from_zero)
    assert len(rows) in (0, HEIGHT)
    assert all(len(text) == len(values) for _, text in rows)


@given(st.integers(0, 300))
def test_points_fit_the_width(number: int) -> None:
    found = columns([(T0 + minute * M, float(minute)) for minute in range(number)])
    assert len(found) <= 60
    assert sum(1 for _ in found) == 0 if not number else found[0][0] == T0


def test_the_example_of_the_manual_passes(tmp_path: Path) -> None:
    [example] = re.findall(r"```yaml\n(tests:.*?)```", (DEFAULT_RULES.parents[1] / "docs" / "rule-tests.md").read_text(), re.S)
    assert played(tmp_path, (DEFAULT_RULES / "default.yml").read_text(), example) == []
    failing = example.replace(
        "{at: 1h2m, alert: NegativeFeedbackSurge, firing: []}", "{at: 1h2m, alert: NegativeFeedbackSurge, firing: [{labels: {site: shop}}]}"
    )
    [failure] = played(tmp_path, (DEFAULT_RULES / "default.yml").read_text(), failing)
    shown = (DEFAULT_RULES.parents[1] / "docs" / "rule-tests.md").read_text()
    assert all(f"\n        {hint}\n" in shown for hint in failure.hints)


# --- the rules of the product -----------------------------------------------------------------------------------------


def test_files_of_tests_are_no_rules() -> None:
    assert len(find_files([DEFAULT_RULES])) == 2
    assert read_rules([DEFAULT_RULES, *find_files([DEFAULT_RULES])]) == read_rules([DEFAULT_RULES])
    with pytest.raises(RulesError) as error:
        read_rules(find_files([DEFAULT_RULES]))
    [fault] = error.value.faults
    assert "holds tests, not rules" in fault.problem
    assert find_files([DEFAULT_RULES / "default.yml"]) == [DEFAULT_RULES / "default_test.yml"]


def test_every_default_rule_is_tested_to_fire_and_to_be_silent() -> None:
    tests, faults = read_tests(find_files([DEFAULT_RULES]))
    assert faults == []
    found = coverage(read_rules([DEFAULT_RULES]).rules, tests)
    assert {name: one for name, one in found.items() if one != (True, True)} == {}
    assert len(found) >= 21
