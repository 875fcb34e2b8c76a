"""Tests of rules as files state them, decoded strictly: what was counted, or what happened, and what must fire then. docs/rule-tests.md is the manual."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from functools import lru_cache
from itertools import groupby
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec

from alerts.notation import SHAPE, Sample, Value, cells, check_sample, parse
from alerts.rule_files import TEST_SUFFIX, RulesError, is_test_file, not_a_measure, read_rules, yaml_files
from alerts.rules import Rule, RuleSet
from streams import events as e
from streams import strict_yaml
from streams.aggregates import Cell
from streams.durations import duration_name, parse_duration
from streams.events import SITE_FORM
from streams.kpis import KPI_BY_NAME, Kpi
from streams.panes import DAY, MINUTE, Pane, pane_start
from streams.replay import INSTANTS
from streams.rollups import FAMILY_OF
from streams.sites import SITE_NAME, Sites, SitesError, load_sites

START: Final = "2026-03-02T00:00:00Z"
"""A Monday: when a test begins that does not say."""
LONGEST: Final = 400 * DAY
MOST_EVENTS: Final = 1_000_000
NOWHERE: Final = frozenset({""})
"""No site has this name."""
_MINUTES_TEXT = "whole minutes such as 15m, 2h or 14d1h30m"


class Fault(NamedTuple):
    """One thing that is wrong with a file of tests."""

    file: str
    test: str
    """Name of the test, or its place (`test 2`) while it has none; empty where the file as a whole is meant."""
    field: str
    problem: str
    """With what is allowed."""

    def __str__(self) -> str:
        return ": ".join(part for part in (self.file, self.test, self.field, self.problem) if part)


class _WireFile(msgspec.Struct, forbid_unknown_fields=True):
    tests: list[Any]
    rule_files: list[str] | None = None
    shapes: dict[str, str] = {}


class _WireTest(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    start: datetime | None = None
    site: str = "shop"
    sites: dict[str, Any] | None = None
    series: list[Any] = []
    events: list[Any] = []
    event_files: list[str] = []
    expect: list[Any] = []
    never: list[str] | str = []


class _WireSeries(msgspec.Struct, forbid_unknown_fields=True):
    kpi: str
    values: str | int
    labels: dict[str, str] = {}
    interval: str = ""
    site: str = ""


class _WireExpected(msgspec.Struct, forbid_unknown_fields=True):
    at: str
    alert: str
    firing: list[Any]


class Expected(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An alert that must fire: what is not named may be anything."""

    labels: dict[str, str] = {}
    value: float | int | msgspec.UnsetType | None = msgspec.UNSET
    usual: float | int | msgspec.UnsetType | None = msgspec.UNSET
    n: int | msgspec.UnsetType = msgspec.UNSET
    annotations: dict[str, str] = {}


class Check(NamedTuple):
    """At `at` (ms), exactly these alerts of a rule fire."""

    at: int
    alert: str
    firing: tuple[Expected, ...]


class Feed(NamedTuple):
    """What a measure counted: one value per interval (ms) from `start` on."""

    site: str
    kpi: Kpi
    labels: tuple[str | None, ...]
    start: int
    interval: int
    values: list[Value]

    @property
    def end(self) -> int:
        return self.start + self.interval * len(self.values)

    @property
    def pane(self) -> Pane:
        return FAMILY_OF[self.kpi.name].fact.panes[0]

    def facts(self) -> Iterator[tuple[int, int, Cell]]:
        """The facts in order of time: (when they can be stated: the end of their pane, an instant in their pane, what they add)."""
        parts = self.interval // self.pane
        for number, value in enumerate(self.values):
            if isinstance(value, Sample):
                begin = self.start + number * self.interval
                for part, cell in _cells(self.kpi.name, value, parts):
                    yield begin + (part + 1) * self.pane, begin + part * self.pane, cell

    def spoken(self) -> list[tuple[int, int]]:
        """From when to when (ms) something is heard: all of it but what is stale."""
        found = []
        for is_stale, group in groupby(range(len(self.values)), lambda number: self.values[number] == "stale"):
            numbers = list(group)
            if not is_stale:
                found.append((self.start + numbers[0] * self.interval, self.start + (numbers[-1] + 1) * self.interval))
        return found


@lru_cache(maxsize=4_096)
def _cells(kpi: str, sample: Sample, parts: int) -> tuple[tuple[int, Cell], ...]:
    return tuple(cells(KPI_BY_NAME[kpi], sample, parts))


@dataclass(frozen=True)
class Case:
    """One test, ready to run."""

    file: str
    name: str
    beside: RuleSet
    """All rules of the files it is about."""
    rules: RuleSet
    """Those that it says something about."""
    sites: Sites
    start: int
    feeds: tuple[Feed, ...]
    events: tuple[bytes, ...]
    """In the order in which they arrive."""
    checks: tuple[Check, ...]
    """In order of time."""
    never: frozenset[str]
    """Rules that must not fire at any time."""


def find_files(paths: Iterable[Path]) -> list[Path]:
    """The files of tests that these files and directories stand for: of a file of rules the one beside it."""
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            found += filter(is_test_file, yaml_files(path))
        elif is_test_file(path):
            found.append(path)
        else:
            found += _beside(path, path.stem + TEST_SUFFIX)
    return list(dict.fromkeys(found))


def _beside(path: Path, stem: str) -> list[Path]:
    return [file for suffix in (".yml", ".yaml") if (file := path.with_name(stem + suffix)).exists()]


def read_tests(files: Iterable[Path]) -> tuple[list[Case], list[Fault]]:
    """All tests of these files, and everything that is wrong with them."""
    tests: list[Case] = []
    faults: list[Fault] = []
    for file in files:
        tests += _File(file, faults).tests()
    return tests, faults


class _File:
    """One file of tests; what is wrong with it goes to `faults`, all of it."""

    def __init__(self, path: Path, faults: list[Fault]) -> None:
        self.path = path
        self.faults = faults
        self.shapes: dict[str, list[Value]] = {}
        """Values that series name."""

    def fault(self, test: str, field: str, problem: str) -> None:
        self.faults.append(Fault(str(self.path), test, field, problem))

    def tests(self) -> list[Case]:
        try:
            content = strict_yaml.load(self.path.read_text("utf-8"))
        except (OSError, ValueError) as error:
            self.fault("", "", str(error))
            return []
        wire = self.convert("", "", content, _WireFile)
        if wire is None:
            return []
        rules = self.rules(wire.rule_files)
        if rules is None:
            return []
        self._read_shapes(wire.shapes)
        if not wire.tests:
            self.fault("", "tests", "there are none")
        names: set[str] = set()
        found: list[Case] = []
        for number, raw in enumerate(wire.tests, 1):
            place, before = f"test {number}", len(self.faults)
            test = self.convert(raw.get("name", place) if isinstance(raw, dict) and isinstance(raw.get("name"), str) else place, "", raw, _WireTest)
            if test is None:
                continue
            if test.name in names:
                self.fault(test.name, "name", "this name is given twice; names are unique in a file")
            names.add(test.name)
            compiled = self.test(test, rules)
            if len(self.faults) == before:
                found.append(compiled)
        return found

    def convert(self, test: str, field: str, raw: Any, type_: type[Any]) -> Any:
        """The value as this type; None where it is faulty (then it is said, with the fields there are)."""
        try:
            return msgspec.convert(raw, type_)
        except msgspec.ValidationError as error:
            self.fault(test, field, f"{error}; fields: {', '.join(type_.__struct_fields__)}")
            return None

    def rules(self, names: list[str] | None) -> RuleSet | None:
        if names is None:
            stem = self.path.stem.removesuffix(TEST_SUFFIX)
            beside = _beside(self.path, stem) if stem != self.path.stem else []
            if not beside:
                self.fault("", "rule_files", f"missing, and there is no {stem}.yml beside this file; name the files of rules that are tested")
                return None
            return self._read_rules(beside)
        return self._read_rules([self.path.parent / name for name in names])

    def _read_rules(self, paths: list[Path]) -> RuleSet | None:
        try:
            return read_rules(paths)
        except RulesError as error:
            self.faults += [Fault(str(self.path), "", "rule_files", str(fault)) for fault in error.faults]
            return None

    def _read_shapes(self, shapes: dict[str, str]) -> None:
        for name, text in shapes.items():
            try:
                if not SHAPE.fullmatch(name):
                    raise ValueError(f"{name!r} is no name of a shape; write small letters, digits, _ and -, the first a letter")
                self.shapes[name] = parse(text, self.shapes)
            except ValueError as error:
                self.fault("", f"shapes: {name}", str(error))

    def test(self, wire: _WireTest, rules: RuleSet) -> Case:
        name = wire.name
        known = {rule.name: rule for rule in rules.rules}
        sites = self.sites(wire)
        start = e.millis(wire.start or datetime.fromisoformat(START)) if self._check_start(wire) else 0
        feeds = [feed for number, raw in enumerate(wire.series, 1) if (feed := self.feed(wire, f"series {number}", raw, start, sites)) is not None]
        lines = list(self.lines(wire, start))
        heard = {self.site_of(name, *line) for line in lines}
        checks = [check for number, raw in enumerate(wire.expect, 1) if (check := self.check(name, f"expect {number}", raw, start, known)) is not None]
        never = frozenset(known if wire.never == "all" else wire.never) if isinstance(wire.never, list) or wire.never == "all" else None
        if never is None:
            self.fault(name, "never", f"{wire.never!r} is not allowed; write a list of rules, or all")
        for rule in (never or set()) - known.keys():
            self.fault(name, "never", _unknown_rule(rule, known))
        if not checks and not never and not wire.expect:
            self.fault(name, "expect", "there is nothing to check: say what is expected (`expect`), or what must not fire (`never`)")
        if not wire.series and not wire.events and not wire.event_files:
            self.fault(name, "series", "nothing happens: give series, events or event_files")
        asked = (never or frozenset()) | {check.alert for check in checks}
        judged = RuleSet(tuple(_where_told(rule, feeds, heard) for rule in rules.rules if rule.name in asked))
        checks.sort(key=lambda check: check.at)
        events = tuple(line for _, line in lines)
        return Case(str(self.path), name, rules, judged, sites, start, tuple(feeds), events, tuple(checks), never or frozenset())

    def _check_start(self, wire: _WireTest) -> bool:
        if wire.start is not None and (wire.start.tzinfo is None or wire.start.timestamp() % 60):
            self.fault(wire.name, "start", f"{wire.start.isoformat()} is not allowed; write a whole minute with its offset, such as {START}")
            return False
        return True

    def sites(self, wire: _WireTest) -> Sites:
        self.site(wire.name, "site", wire.site)
        try:
            return load_sites(json.dumps({"sites": wire.sites or {}}, default=str), "sites")
        except SitesError as error:
            self.fault(wire.name, "sites", str(error).removeprefix("sites: "))
            return Sites()

    def site(self, test: str, field: str, name: str) -> str:
        if not SITE_NAME.fullmatch(name):
            self.fault(test, field, f"{name!r} is no name of a site: it {SITE_FORM}")
        return name

    # --- series -----------------------------------------------------------------------------------------------------

    def feed(self, wire: _WireTest, place: str, raw: Any, start: int, sites: Sites) -> Feed | None:
        before = len(self.faults)
        series = self.convert(wire.name, place, raw, _WireSeries)
        if series is None:
            return None
        kpi = KPI_BY_NAME.get(series.kpi)
        if kpi is None:
            self.fault(wire.name, f"{place}: kpi", not_a_measure(series.kpi))
            return None
        site = self.site(wire.name, f"{place}: site", series.site) if series.site else wire.site
        fact = FAMILY_OF[kpi.name].fact
        pane = fact.panes[0]
        for label in series.labels.keys() - set(fact.labels):
            self.fault(wire.name, f"{place}: labels", f"{label!r} is no label of {kpi.name}; labels: {', '.join(fact.labels)}")
        for label in set(kpi.apart) - series.labels.keys():
            self.fault(wire.name, f"{place}: labels", f"{label!r} is missing: {kpi.name} is never summed over it")
        interval = int(pane)
        if series.interval:
            interval = self.length(wire.name, f"{place}: interval", series.interval)
            if interval <= 0 or interval % pane:
                self.fault(
                    wire.name,
                    f"{place}: interval",
                    f"{series.interval!r} is not allowed; {kpi.name} is counted in panes of {duration_name(pane)}, or any number",
                )
        if pane_start(start, pane, sites[site].zone) != start:
            self.fault(wire.name, "start", f"{kpi.name} is counted in panes of {duration_name(pane)}; begin with one")
        values: list[Value] = []
        try:
            values = parse(str(series.values), self.shapes)
            for sample in {value for value in values if isinstance(value, Sample)}:
                check_sample(kpi, sample)
        except ValueError as error:
            self.fault(wire.name, f"{place}: values", str(error))
        if interval > 0 and len(values) * interval > LONGEST:
            self.fault(wire.name, f"{place}: values", f"{len(values):,} values take {len(values) * interval // DAY} days; at most {LONGEST // DAY} are allowed")
        labels = tuple(series.labels.get(label) for label in fact.labels)
        return Feed(site, kpi, labels, start, interval, values) if len(self.faults) == before else None

    def length(self, test: str, field: str, text: str, sign: str = "") -> int:
        """A length of whole minutes in ms; 0 where it is faulty (then it is said)."""
        try:
            length = parse_duration(text.removeprefix("+"))
            if length % MINUTE:
                raise ValueError(text)
        except ValueError:
            self.fault(test, field, f"{text!r} is not allowed; write {sign}{_MINUTES_TEXT}")
            return 0
        return length

    # --- events -----------------------------------------------------------------------------------------------------

    def lines(self, wire: _WireTest, start: int) -> Iterator[tuple[str, bytes]]:
        """The events with their places, in the order in which they arrive: files first, then those of the test itself."""
        for name in wire.event_files:
            try:
                text = (self.path.parent / name).read_text("utf-8")
            except (OSError, UnicodeDecodeError) as error:
                self.fault(wire.name, "event_files", f"{name} cannot be read: {error}")
                continue
            for number, line in enumerate(text.splitlines(), 1):
                if line.strip():
                    try:
                        fields = msgspec.json.decode(line)
                    except msgspec.DecodeError as error:
                        self.fault(wire.name, f"{name}, line {number}", f"no JSON: {error}")
                        continue
                    yield from self.event(wire, f"{name}, line {number}", fields, start)
        for number, raw in enumerate(wire.events, 1):
            yield from self.event(wire, f"event {number}", raw, start)

    def event(self, wire: _WireTest, place: str, raw: Any, start: int) -> Iterator[tuple[str, bytes]]:
        """One event, or as many as it says; `at` may count from the start, `id` and `site` may be left out."""
        if not isinstance(raw, dict):
            self.fault(wire.name, place, "an event is a mapping of its fields")
            return
        fields = {"id": f"{place} {{i}}", "site": wire.site, "at": None} | raw
        times, apart = fields.pop("times", 1), self._apart(wire.name, place, fields.pop("every", "0s"))
        instants = {name: self._instant(wire.name, f"{place}: {name}", fields[name], start) for name in INSTANTS if name in fields}
        if not isinstance(times, int) or not 1 <= times <= MOST_EVENTS:
            self.fault(wire.name, f"{place}: times", f"{times!r} is not allowed; write a whole number from 1 to {MOST_EVENTS:,}")
            return
        if apart is None or None in instants.values():
            return
        for number in range(times):
            numbered = {name: value.replace("{i}", str(number + 1)) if isinstance(value, str) else value for name, value in fields.items()}
            yield place, msgspec.json.encode(numbered | {name: (at or 0) + number * apart for name, at in instants.items()})

    def _instant(self, test: str, field: str, at: Any, start: int) -> int | None:
        """An instant in ms; None where it is faulty (then it is said)."""
        try:
            if isinstance(at, str) and at.startswith("+"):
                return start + parse_duration(at[1:])
            if isinstance(at, int) and not isinstance(at, bool):
                return at or start  # YAML reads +0 as a number
            moment = msgspec.convert(at, datetime)
            if moment.tzinfo is not None:
                return e.millis(moment)
        except (ValueError, msgspec.ValidationError):
            pass
        self.fault(test, field, f"{at!r} is not allowed; write a time from the start such as +5m or +1h30m10s, or one with its offset")
        return None

    def _apart(self, test: str, place: str, every: Any) -> int | None:
        """A length in ms; None where it is faulty (then it is said)."""
        if isinstance(every, str):
            try:
                return parse_duration(every)
            except ValueError:
                pass
        self.fault(test, f"{place}: every", f"{every!r} is not allowed; write a duration such as 2s, 500ms or 1m30s")
        return None

    def site_of(self, test: str, place: str, line: bytes) -> str | None:
        """The site of an event; None for what a worker would not take (then it is said why)."""
        judged = e.decode(line)
        if isinstance(judged, e.Rejected):
            fault = Fault(str(self.path), test, place, f"no event: {judged.reason} {judged.path}: {judged.detail}")
            if fault not in self.faults[-1:]:  # once where it is said of many
                self.faults.append(fault)
            return None
        return judged.site

    # --- expectations -----------------------------------------------------------------------------------------------

    def check(self, test: str, place: str, raw: Any, start: int, known: Mapping[str, Rule]) -> Check | None:
        before = len(self.faults)
        wire = self.convert(test, place, raw, _WireExpected)
        if wire is None:
            return None
        at = start + self.length(test, f"{place}: at", wire.at)
        if wire.alert not in known:
            self.fault(test, f"{place}: alert", _unknown_rule(wire.alert, known))
        firing = [self.convert(test, f"{place}, firing {number}", {} if one is None else one, Expected) for number, one in enumerate(wire.firing, 1)]
        rule = known.get(wire.alert)
        for number, expected in enumerate(firing, 1):
            if expected is not None and rule is not None:
                self._check_expected(test, f"{place}, firing {number}", expected, rule)
        return Check(at, wire.alert, tuple(firing)) if len(self.faults) == before else None

    def _check_expected(self, test: str, place: str, expected: Expected, rule: Rule) -> None:
        labels = ["alertname", "service", "site", *dict(rule.labels), *rule.by]
        for label in expected.labels.keys() - set(labels):
            self.fault(test, f"{place}: labels", f"{label!r} is no label of this alert; labels: {', '.join(labels)}")
        for name in expected.annotations.keys() - dict(rule.annotations).keys():
            self.fault(test, f"{place}: annotations", f"{name!r} is no annotation of this alert; annotations: {', '.join(dict(rule.annotations))}")


def _where_told(rule: Rule, feeds: Iterable[Feed], heard: Iterable[str | None]) -> Rule:
    """The rule for the sites of which its own measure is stated, or of which there are events: facts stated for one measure say nothing of another."""
    told = {feed.site for feed in feeds if feed.kpi is rule.kpi} | {site for site in heard if site is not None}
    return replace(rule, sites=(rule.sites & told if rule.sites else frozenset(told)) or NOWHERE)


def _unknown_rule(name: str, known: Mapping[str, Rule]) -> str:
    return f"{name!r} is no rule of these files; rules: {', '.join(known)}"
