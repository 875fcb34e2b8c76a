"""Rule files: what is allowed, and that every fault is named at once, with file, rule, field and what is allowed."""

import re
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from alerts.conditions import Absent, Change, Detect, Threshold
from alerts.evaluation import Measured, Standing, firing_alert
from alerts.rule_files import _TYPES, DEFAULT_RULES, TEMPLATE_FIELDS, RulesError, read_rules, reread
from alerts.rules import RuleSet
from streams.kpis import KPIS
from streams.panes import HOUR, MINUTE
from streams.readings import bounds
from tests.alerts.scenes import load_rules
from tests.streams.records import T0

ROOT = Path(__file__).parents[2]


def rule(**fields: str) -> str:
    """A file with one valid rule; a field given as '' is left out."""
    lines = {
        "alert": "Surge", "kpi": "negative_share", "window": "15m", "above": "0.5",
        "labels": "{severity: page}", "annotations": '{summary: "{value}"}',
    } | fields  # fmt: skip
    return "groups:\n  - name: g\n    rules:\n      - " + "\n        ".join(f"{name}: {value}" for name, value in lines.items() if value)


def faults(text: str) -> list[str]:
    with pytest.raises(RulesError) as error:
        load_rules(text, "my.yml")
    return [str(fault) for fault in error.value.faults]


def test_a_rule_with_every_field():
    text = rule(
        by="[origin, segment]", where="{origin: review}", clear="0.3", least="30", sites="[shop, blog]", labels="{severity: ticket, team: care}",
        keep_firing_for="10m", cooldown="2h",
    ) + "\n        for: 1m30s"  # fmt: skip
    found = load_rules(text).rules[0]
    assert (found.by, found.where) == (("segment", "origin"), (("origin", "review"),)), "in the measure's own order"
    assert found.condition == Threshold("above", 0.5, 0.3)
    assert (found.window, found.hold, found.keep, found.cooldown, found.least) == (15 * MINUTE, 90_000, 10 * MINUTE, 2 * HOUR, 30)
    assert found.sites == {"shop", "blog"}
    assert found.severity == "ticket"
    assert found.alert_labels("shop", ("vip", "review")) == {
        "alertname": "Surge", "service": "engagement", "site": "shop", "severity": "ticket", "team": "care", "segment": "vip", "origin": "review",
    }  # fmt: skip
    assert "segment" not in found.alert_labels("shop", ("", "review")), "Alertmanager drops empty values, so identity must not depend on one"


def test_defaults():
    found = load_rules(rule()).rules[0]
    assert (found.by, found.hold, found.keep, found.cooldown, found.least, found.sites) == ((), 0, 0, HOUR, 20, frozenset())


def test_a_ratio_of_sums_may_exceed_one():
    assert load_rules(rule(kpi="interaction_rate", window="1h", above="1.5")).rules[0].condition == Threshold("above", 1.5, 1.5)


def test_change_and_absence():
    change = load_rules(rule(kpi="page_views", window="1h", above="", change="{below: -0.5, clear: -0.2, against: day_before}")).rules[0]
    assert change.condition == Change(Threshold("below", -0.5, -0.2), "day_before")
    assert load_rules(rule(kpi="page_views", window="", above="", absent="10m")).rules[0].condition == Absent(10 * MINUTE)


def test_detectors():
    assert load_rules(rule(kpi="page_views", window="", above="", detect="surge")).rules[0].condition == Detect("surge", "balanced")
    strict = load_rules(rule(window="", above="", detect="ratio_rise", sensitivity="strict", cooldown="2h")).rules[0]
    assert (strict.condition, strict.hold, strict.keep, strict.cooldown) == (Detect("ratio_rise", "strict"), 0, 0, 2 * HOUR)
    step = load_rules(rule(kpi="funnel_step_rate", by="[funnel, step]", window="", above="", detect="ratio_fall")).rules[0]
    assert (step.by, step.condition) == (("funnel", "step"), Detect("ratio_fall", "balanced"))


def test_a_severity_that_rises_is_another_label():
    found = load_rules(rule(**DETECT, labels="{severity: info, team: care}", escalate="page")).rules[0]
    assert (found.severity, found.escalate) == ("info", "page")
    first, second = found.alert_labels("shop", ()), found.alert_labels("shop", (), escalated=True)
    assert (first["severity"], second) == ("info", first | {"severity": "page"})
    assert load_rules(rule(**DETECT)).rules[0].escalate is None


DETECT = {"kpi": "page_views", "window": "", "above": "", "detect": "surge"}
FAULTS = [
    (DETECT | {"detect": "spike"}, "detect: 'spike' is not allowed (Invalid enum value 'spike'); write one of surge, drop, ratio_rise, ratio_fall"),
    (DETECT | {"sensitivity": "high"}, "sensitivity: 'high' is not allowed (Invalid enum value 'high'); write one of sensitive, balanced, strict"),
    ({"escalate": "page"}, "escalate: belongs to `detect`: leave it out here; write a second rule with another threshold and a graver severity"),
    (DETECT | {"escalate": "info"}, "escalate: 'info' is not graver than the severity of the rule, 'page'; nothing is: leave `escalate` out"),
    (DETECT | {"escalate": "info", "labels": "{severity: ticket}"}, "escalate: 'info' is not graver than the severity of the rule, 'ticket'; allowed: page"),
    (DETECT | {"escalate": "pager"}, "escalate: 'pager' is not allowed (Invalid enum value 'pager'); write one of page, ticket, info"),
    (DETECT | {"escalate": "ticket", "labels": "{severity: critical}"}, "labels: severity is 'critical'"),
    ({"delay": "5m"}, "delay: belongs to `detect`: leave it out here"),
    (DETECT | {"delay": "90s"}, "delay: '90s' is not allowed; write whole minutes, at most 1d"),
    (DETECT | {"kpi": "bounce_rate", "detect": "ratio_rise", "delay": "5m"}, "delay: outcomes count when they come, late ones too: leave `delay` out"),
    ({"sensitivity": "strict"}, "sensitivity: belongs to `detect`: leave it out here"),
    (DETECT | {"above": "5", "window": "15m"}, "condition: exactly one of above, below, change, absent, detect is needed, found above, detect"),
    (DETECT | {"window": "1h"}, "window: a detector decides by itself what it looks at, and when an incident begins and ends: leave `window` out"),
    (DETECT | {"for": "5m"}, "for: a detector decides by itself"),
    (DETECT | {"keep_firing_for": "5m"}, "keep_firing_for: a detector decides by itself"),
    (DETECT | {"least": "1"}, "least: a detector decides by itself"),
    (DETECT | {"kpi": "bounce_rate"}, "kpi: surge needs a count by minutes, quarter hours or days, bounce_rate is none; allowed: page_views, daily"),
    (DETECT | {"kpi": "active_visitors"}, "kpi: surge needs a count by minutes, quarter hours or days, active_visitors is none"),
    (DETECT | {"detect": "ratio_rise"}, "kpi: ratio_rise needs a share of outcomes by minutes or quarter hours, page_views is none; allowed: bounce_rate"),
    (DETECT | {"kpi": "mean_rating", "detect": "ratio_fall"}, "kpi: ratio_fall needs a share of outcomes"),
    (DETECT | {"kpi": "interaction_rate", "detect": "ratio_fall"}, "kpi: ratio_fall needs a share of outcomes"),
    ({"kpi": "no_such"}, "my.yml: rule Surge: kpi: 'no_such' is not a measure. `engage kpis` lists them"),
    ({"kpi": "page_view"}, "kpi: 'page_view' is not a measure. Did you mean `page_views`?"),
    ({"kpi": ""}, "kpi: missing; `engage kpis` lists them"),
    ({"alret": "Surge"}, "rule Surge: alret: there is no such field. Did you mean `alert`?"),
    ({"severity": "page"}, "severity: belongs into `labels`, as in `labels: {severity: page}`"),
    ({"alert": "Über"}, "rule Über: alert: 'Über' is not allowed"),
    ({"alert": ""}, "my.yml: group 1, rule 1: alert: missing; a name"),
    ({"alert": "17"}, "alert: 17 is not allowed"),
    ({"expr": "1"}, "rule Surge: expr: there is no such field. Fields: alert, kpi"),
    ({"window": "2h"}, "window: '2h' is not published for negative_share; windows: 5m, 15m, 1h, 24h, day, 7d, 30d"),
    ({"window": ""}, "window: missing; windows: 5m"),
    ({"window": "15:00"}, "window: 900 is not allowed"),
    ({"by": "[product]"}, "by: ['product'] is no grouping of negative_share; groupings: ['segment', 'origin'], ['network']"),
    ({"by": "segment"}, "by: 'segment' is not allowed"),
    ({"kpi": "cart_abandonment", "window": "1h", "by": "[product]"}, "by: ['product'] is no grouping of cart_abandonment; groupings: ['segment', 'channel']"),
    ({"kpi": "funnel_step_rate", "window": "1h"}, "by: funnel_step_rate has no total over funnel; groupings: ['funnel', 'step']"),
    ({"where": "{origin: review}"}, "where: 'origin' is not in `by`; allowed: nothing without `by`"),
    ({"by": "[network]", "where": "{network: 1}"}, "where: {'network': 1} is not allowed"),
    ({"above": ""}, "condition: exactly one of above, below, change, absent, detect is needed, found none"),
    ({"below": "0.1"}, "condition: exactly one of above, below, change, absent, detect is needed, found above, below"),
    ({"above": "30"}, "above: 30 is outside 0 to 1, where negative_share lies (30 % is 0.3)"),
    ({"above": "many"}, "above: 'many' is not allowed"),
    ({"above": ".nan"}, "above: nan is not allowed"),
    ({"above": "-.inf"}, "above: -inf is not allowed (not a finite number); write a number"),
    ({"above": "", "change": "{above: .nan, against: previous}"}, "change: a ratio is a finite number"),
    ({"above": "yes"}, "above: True is not allowed"),
    ({"clear": "0.6"}, "clear: 0.6 lies beyond the threshold 0.5: a rule that fires above clears at or below it"),
    ({"clear": "-1"}, "clear: -1 is outside 0 to 1"),
    ({"above": "", "below": "0.1", "clear": "0.05"}, "clear: 0.05 lies beyond the threshold 0.1: a rule that fires below clears at or above it"),
    ({"for": "5"}, "for: 5 is not allowed"),
    ({"for": '"5"'}, "for: '5' is not allowed; write a duration such as 30s, 10m, 1h30m or 2d"),
    ({"cooldown": '""'}, "cooldown: '' is not allowed"),
    ({"least": "3"}, "least: 3 is too few for negative_share: at least 20"),
    ({"least": "20.5"}, "least: 20.5 is not allowed"),
    ({"sites": "[Shop]"}, "sites: 'Shop' is no name of a site"),
    ({"labels": "{severity: critical}"}, "labels: severity is 'critical'; allowed: page, ticket, info"),
    ({"labels": ""}, "labels: severity is missing; allowed: page, ticket, info"),
    ({"labels": "{severity: page, bad-label: x}"}, "labels: 'bad-label' is no name of a label"),
    ({"labels": "{severity: page, team: 7}"}, "labels: {'severity': 'page', 'team': 7} is not allowed"),
    ({"labels": "{severity: page, site: x}"}, "labels: 'site' is set by the product"),
    ({"labels": "{severity: page, team: ''}"}, "labels: 'team' is empty, and Alertmanager drops empty labels"),
    ({"by": "[network]", "labels": "{severity: page, network: x}"}, "labels: 'network' is set by the product"),
    ({"annotations": "{description: x}"}, "annotations: summary is missing"),
    ({"annotations": '{summary: "{reason}"}'}, "annotations: summary: {reason} is not known here; fields: value, usual"),
    ({"annotations": '{summary: "{value.__class__}"}'}, "annotations: summary: {value.__class__} is not known here"),
    ({"annotations": '{summary: "{value:>9999999}"}'}, "annotations: summary: {value} is not known here"),
    ({"annotations": '{summary: "{value!r}"}'}, "annotations: summary: {value} is not known here"),
    ({"annotations": '{summary: "{}"}'}, "annotations: summary: {} is not known here"),
    ({"annotations": '{summary: "{"}'}, "annotations: summary: "),
    ({"annotations": '{summary: x, run-book: y}'}, "annotations: 'run-book' is no name of an annotation"),
    ({"above": "", "change": "{above: 1}"}, "change: {'above': 1} is not allowed (Object missing required field `against`)"),
    ({"above": "", "change": "{above: 1, against: yesterday}"}, "against: previous, day_before, week_before"),
    ({"above": "", "change": "{above: 1, below: 0, against: previous}"}, "change: exactly one of above, below is needed"),
    ({"above": "", "change": "{below: -1, against: previous}"}, "change: -1 is never reached"),
    ({"above": "", "change": "{above: 1, against: previous}", "clear": "0.1"}, "clear: belongs inside `change` here"),
    ({"above": "", "change": "{above: 1, against: week_before}"}, "of 15m are kept; windows that fit: day, 7d"),
    ({"above": "", "window": "24h", "change": "{above: 1, against: previous}"}, "of 24h are kept; windows that fit: 5m, 15m, 1h, day, 7d, 30d"),
    ({"above": "", "window": "7d", "change": "{above: 1, against: day_before}"}, "against: day_before would overlap a window of 7d"),
    ({"kpi": "net_sentiment", "above": "", "change": "{above: 1, against: previous}"}, "net_sentiment passes through zero"),
    ({"kpi": "weekly_visitors", "window": "week", "above": "", "change": "{above: 1, against: day_before}"}, "does not fit a calendar week; allowed: previous"),
    ({"kpi": "active_visitors", "window": "live5m", "above": "", "change": "{above: 1, against: previous}"}, "a live window has no earlier one"),
    ({"kpi": "page_views", "above": "", "absent": "10m"}, "window: `absent` looks at its own length: leave `window` out"),
    ({"window": "", "above": "", "absent": "10m"}, "kpi: `absent` needs a count by minutes, negative_share is none; allowed: page_views, reviews"),
    ({"kpi": "sessions", "window": "", "above": "", "absent": "10m"}, "kpi: `absent` needs a count by minutes, sessions is none"),
    ({"kpi": "page_views", "window": "", "above": "", "absent": "30s"}, "absent: '30s' is not allowed; write a duration from 1m to 1d"),
    ({"kpi": "page_views", "window": "", "above": "", "absent": "soon"}, "absent: 'soon' is not allowed; write a duration such as"),
    ({"kpi": "page_views", "window": "", "above": "", "absent": "10m", "clear": "1"}, "clear: `absent` ends with the first fact"),
]  # fmt: skip


@pytest.mark.parametrize(("fields", "said"), FAULTS, ids=[said[:60] for _, said in FAULTS])
def test_each_fault_is_named_once(fields, said):
    found = faults(rule(**fields))
    assert len(found) == 1, found
    assert said in found[0]
    assert found[0].startswith(("my.yml: rule ", "my.yml: group "))


ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-3, 10**6)
    | st.floats()
    | st.sampled_from(["", "5m", "1h", "page_views", "negative_share", "{value}", "{", "severity"]),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["severity", "summary", "above", "against", "x"]) | st.integers(), inner, max_size=3)
    ),
    max_leaves=6,
)


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(st.sampled_from([*_TYPES, "x"]) | st.integers(), ANYTHING, max_size=6))
def test_whatever_is_written_is_a_rule_or_a_list_of_faults(fields):
    wire = {"alert": "A", "kpi": "negative_share", "window": "5m", "above": 0.5, "labels": {"severity": "page"}, "annotations": {"summary": "x"}}
    text = yaml.safe_dump({"groups": [{"name": "g", "rules": [wire | fields]}]}, sort_keys=False)
    rules, found = (), ()
    try:
        rules = load_rules(text).rules
    except RulesError as error:
        found = error.faults
    assert len(rules) == (not found)
    assert all(fault.file == "rules" and fault.problem for fault in found)


FILES = [
    ("", "groups: a file holds exactly `groups:`"),
    ("rules: []", "groups: a file holds exactly `groups:`"),
    ("groups: []\nversion: 1", "groups: a file holds exactly `groups:`"),
    ("groups: [{name: a}]", "group 1: a group has exactly `name` (a text) and `rules` (a list)"),
    ("groups: [{name: a, rules: [], interval: 1m}]", "group 1: a group has exactly `name`"),
    ("groups: [{name: a, rules: [x]}]", "my.yml: group 1, rule 1: a rule is a mapping with the fields alert, kpi"),
    ("groups: [{name: a, rules: []}, {name: a, rules: []}]", "group 2: the name 'a' is given twice"),
    ("groups: [", "not readable as YAML"),
    ("groups: &x []\nmore: *x", "aliases (*name) are not allowed"),
    ("groups: []\ngroups: []", "'groups' is given twice"),
    ("[" * 5_000, "not readable as YAML"),
    ("groups: []" + " " * (1 << 20), "a file has at most 1048576 characters"),
    ("? [a]\n: b", "not readable as YAML"),
]


@pytest.mark.parametrize(("text", "said"), FILES, ids=[said[:60] for _, said in FILES])
def test_faults_around_rules(text, said):
    assert [fault for fault in faults(text) if said in fault and fault.startswith("my.yml: ")], faults(text)


def test_all_faults_of_all_rules_are_found_at_once():
    one = rule(alert="One", kpi="x", above="a", labels="{}")
    two = rule(alert="Two", least="1", window="3m").partition("rules:\n")[2]
    found = faults(one + "\n" + two)
    assert [line.split(": ")[1:3] for line in found] == [
        ["rule One", "kpi"], ["rule One", "above"], ["rule One", "labels"], ["rule Two", "window"], ["rule Two", "least"],
    ]  # fmt: skip


def test_names_are_unique_over_all_files(tmp_path):
    for name in ("a.yml", "b.yaml"):
        (tmp_path / name).write_text(rule())
    with pytest.raises(RulesError) as error:
        read_rules([tmp_path])
    assert str(error.value) == f"{tmp_path}/b.yaml: rule Surge: alert: this name is taken already in {tmp_path}/a.yml; names of alerts are unique"
    assert [one.name for one in read_rules([tmp_path / "a.yml"]).rules] == ["Surge"]


def test_files_that_cannot_be_read(tmp_path):
    (tmp_path / "latin.yml").write_bytes(b"groups: \xff")
    missing, empty = tmp_path / "missing.yml", tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(RulesError) as error:
        read_rules([missing, empty, tmp_path / "latin.yml"])
    said = str(error.value)
    assert re.search(r"missing.yml: cannot be read: .*No such file", said)
    assert "empty: the directory holds no *.yml" in said
    assert "latin.yml: cannot be read: 'utf-8'" in said


def test_a_bad_file_leaves_the_old_rules_in_force(tmp_path):
    file = tmp_path / "rules.yml"
    file.write_text(rule())
    rules, found = reread([file], RuleSet())
    assert [one.name for one in rules.rules] == ["Surge"]
    assert found == ()
    file.write_text(rule(alert="Other", kpi="nothing"))
    same, found = reread([file], rules)
    assert same is rules
    assert [fault.field for fault in found] == ["kpi"]


# --- the rules that come with the product ---------------------------------------------------------------------------

DEFAULTS = read_rules([DEFAULT_RULES]).rules


@pytest.mark.parametrize("found", DEFAULTS, ids=lambda found: found.name)
def test_default_rules_are_fit_for_people(found):
    labels = dict(found.labels)
    assert set(labels) == {"severity", "domain"}
    assert {"summary", "description", "runbook_url"} <= dict(found.annotations).keys()
    is_enough = isinstance(found.condition, Detect) or found.least >= 10 or (found.kpi.unit == "count" and found.condition == Threshold("above", 20, 5))
    assert is_enough, "every rule has a least number of facts, or a detector"
    assert isinstance(found.condition, Absent) or found.condition != Threshold("above", 0, 0)
    values = tuple("some-value-x" for _ in found.by)
    value = {"ratio": 0.123456, "stars": 3.123456}.get(found.kpi.unit, 12_345)
    measured = Measured("breach", value, 12_345, 0.1, 0.2, 1_234, bounds(T0, T0 + HOUR), value / 2)
    alert = firing_alert(found, "a-shop-with-a-name", values, Standing("firing", T0, T0), measured, value / 3)
    assert len(alert.annotations["summary"]) <= 120, alert.annotations["summary"]
    assert "unknown" not in "".join(alert.annotations.values())


@pytest.mark.parametrize("found", DEFAULTS, ids=lambda found: found.name)
def test_every_default_rule_has_its_runbook(found):
    assert dict(found.annotations)["runbook_url"] == f"{{runbooks}}/{found.name}.md"
    page = (ROOT / "docs" / "runbooks" / f"{found.name}.md").read_text()
    assert page.startswith(f"# {found.name}\n")
    for heading in ("What it means", "First looks", "What to do"):
        assert f"\n## {heading}\n" in page
    looks = page.partition("## First looks\n")[2].partition("\n## ")[0]
    assert len(re.findall(r"^\d\. ", looks, re.M)) == 3
    assert f"`{found.kpi.name}`" in page


def test_every_runbook_has_its_rule():
    assert {path.stem for path in (ROOT / "docs" / "runbooks").glob("*.md")} == {found.name for found in DEFAULTS}


def test_the_page_on_rules_names_what_there_is():
    page = (ROOT / "docs" / "rules.md").read_text()
    for name in (*_TYPES, *TEMPLATE_FIELDS, *(found.name for found in DEFAULTS)):
        assert f"`{name}`" in page or f"`{{{name}}}`" in page, name
    for block in re.findall(r"```yaml\n(groups:.*?)```", page, re.S):
        assert load_rules(block).rules


def test_measures_of_the_default_rules_exist():
    assert {found.kpi.name for found in DEFAULTS} <= {kpi.name for kpi in KPIS}
