"""Rules in YAML, in Prometheus' vocabulary: decoded strictly, compiled against the catalogue, every fault named at once."""

import re
import string
from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import isfinite
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import msgspec

from alerts.baselines import is_kept, reach
from alerts.conditions import Absent, Against, Change, Condition, Detect, Detector, Threshold
from alerts.detectors import Sensitivity
from alerts.rules import RATIO_DETECTORS, SEVERITIES, Rule, RuleSet, Severity, is_detectable
from streams import strict_yaml
from streams.aggregates import Ratio
from streams.durations import parse_duration
from streams.events import SITE_FORM
from streams.kpis import KPI_BY_NAME, KPIS, Kpi
from streams.panes import DAY, HOUR, MINUTE, Pane
from streams.rollups import FAMILY_OF
from streams.sites import SITE_NAME
from streams.windows import Live, Window, window_name
from streams.words import suggest

DEFAULT_RULES = Path(__file__).parent / "rules"
"""The rules that come with the product; in force where an operator names none."""

COOLDOWN = 60 * MINUTE
POLLED = 10 * MINUTE
"""By default detectors wait so long for what is not sent by a website: mentions and reviews are fetched now and then, and come late."""
TEST_SUFFIX = "_test"
"""End of the name of a file of tests: default_test.yml beside default.yml."""
TEMPLATE_FIELDS = (
    "value", "usual", "earlier", "change", "n", "low", "high", "numerator", "window", "start", "end", "since",
    "site", "dimensions", "kpi", "threshold", "runbooks",
)  # fmt: skip
"""What an annotation may name in braces."""
RESERVED_LABELS = ("alertname", "site", "service")

_LABEL_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_ALERT_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}")
_BOUNDS = {"ratio": (0.0, 1.0), "stars": (0.0, 5.0), "score": (-1.0, 1.0)}
_CONDITIONS = ("above", "below", "change", "absent", "detect")
_OWN_LIFE = ("window", "clear", "least", "for", "keep_firing_for")
"""What a detector decides by itself."""
_OF_DETECT = {
    "sensitivity": "belongs to `detect`: leave it out here",
    "delay": "belongs to `detect`: leave it out here",
    "escalate": "belongs to `detect`: leave it out here; write a second rule with another threshold and a graver severity",
}
MEASURES_LISTED = "`engage kpis` lists them"
_DURATION_TEXT = "a duration such as 30s, 10m, 1h30m or 2d"


class Fault(NamedTuple):
    """One thing that is wrong with a file of rules."""

    file: str
    rule: str
    """Name of the alert, or its place (`group 1, rule 2`) while it has none; empty where the file as a whole is meant."""
    field: str
    problem: str
    """With what is allowed."""

    def __str__(self) -> str:
        where = self.rule if self.rule.startswith("group ") else self.rule and f"rule {self.rule}"
        return ": ".join(part for part in (self.file, where, self.field, self.problem) if part)


class RulesError(ValueError):
    """Rules that cannot be used; `faults` holds all that was found."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        super().__init__("\n".join(map(str, faults)))
        self.faults = tuple(faults)


def read_rules(paths: Iterable[Path | str]) -> RuleSet:
    """Read files and directories (their *.yml and *.yaml but the tests) as one set; raises RulesError with every fault found."""
    texts, faults = _texts(tuple(paths))
    rules, more = compile_rules(texts)
    if faults or more:
        raise RulesError([*faults, *more])
    return RuleSet(tuple(rules))


def reread(paths: Iterable[Path | str], current: RuleSet) -> tuple[RuleSet, tuple[Fault, ...]]:
    """The rules as the files say now; where they are faulty, the current ones stay in force."""
    try:
        return read_rules(paths), ()
    except RulesError as error:
        return current, error.faults


def is_test_file(path: Path) -> bool:
    """Whether a file holds tests of the rules beside it (alerts/testing.py)."""
    return path.stem.endswith(TEST_SUFFIX)


def yaml_files(path: Path) -> list[Path]:
    """The *.yml and *.yaml of a directory, sorted; a file itself."""
    return sorted(file for file in path.iterdir() if file.suffix in {".yml", ".yaml"}) if path.is_dir() else [path]


def files_of(path: Path) -> list[Path]:
    """The files of rules that a path stands for. Tests are passed over, so that all files of a directory may be named."""
    return [file for file in yaml_files(path) if not is_test_file(file)]


def _texts(paths: Sequence[Path | str]) -> tuple[list[tuple[str, str]], list[Fault]]:
    """Files of rules and what they hold."""
    texts: list[tuple[str, str]] = []
    faults: list[Fault] = []
    for path in map(Path, paths):
        files = files_of(path)
        if not files and path.is_dir():
            faults.append(Fault(str(path), "", "", "the directory holds no *.yml or *.yaml file"))
        for file in files:
            try:
                texts.append((str(file), file.read_text("utf-8")))
            except (OSError, UnicodeDecodeError) as error:
                faults.append(Fault(str(file), "", "", f"cannot be read: {error}"))
    if paths and not (texts or faults):
        faults.append(Fault(str(paths[0]), "", "", "holds tests, not rules; `engage rules test` runs them"))
    return texts, faults


def compile_rules(texts: Iterable[tuple[str, str]]) -> tuple[list[Rule], list[Fault]]:
    """The rules of files, given as name and text of each, taken together; and every fault found."""
    rules: list[Rule] = []
    faults: list[Fault] = []
    first: dict[str, str] = {}
    for file, text in texts:
        for group, place, raw in _raw_rules(file, text, faults):
            rule = _Compiler(file, group, place, raw, faults).rule()
            if rule is None:
                continue
            if rule.name in first:
                faults.append(Fault(file, rule.name, "alert", f"this name is taken already in {first[rule.name]}; names of alerts are unique"))
            first.setdefault(rule.name, file)
            rules.append(rule)
    return rules, faults


def _raw_rules(file: str, text: str, faults: list[Fault]) -> Iterator[tuple[str, str, dict[Any, Any]]]:
    """Group, place and raw fields of every rule; what is wrong around them goes to `faults`."""
    try:
        content = strict_yaml.load(text)
    except ValueError as error:
        faults.append(Fault(file, "", "", str(error)))
        return
    if not isinstance(content, dict) or set(content) != {"groups"} or not isinstance(content["groups"], list):
        faults.append(Fault(file, "", "groups", "a file holds exactly `groups:`, a list of groups with `name` and `rules`"))
        return
    names: set[str] = set()
    for number, group in enumerate(content["groups"], 1):
        where = f"group {number}"
        if not isinstance(group, dict) or set(group) != {"name", "rules"} or not isinstance(group["name"], str) or not isinstance(group["rules"], list):
            faults.append(Fault(file, "", where, "a group has exactly `name` (a text) and `rules` (a list)"))
            continue
        if group["name"] in names:
            faults.append(Fault(file, "", where, f"the name {group['name']!r} is given twice"))
        names.add(group["name"])
        for place, raw in enumerate(group["rules"], 1):
            if isinstance(raw, dict):
                yield group["name"], f"{where}, rule {place}", raw
            else:
                faults.append(Fault(file, f"{where}, rule {place}", "", f"a rule is a mapping with the fields {', '.join(_TYPES)}"))


class _WireChange(msgspec.Struct, forbid_unknown_fields=True):
    against: Against
    above: float | None = None
    below: float | None = None
    clear: float | None = None


_TEXTS = "a mapping of names to texts (put numbers in quotes)"
_TYPES: Mapping[str, tuple[Any, str]] = {
    "alert": (str, "a text"),
    "kpi": (str, "the name of a measure"),
    "by": (list[str], "a list of labels"),
    "where": (dict[str, str], _TEXTS),
    "window": (str, "a window such as 15m, 1h, 24h or day"),
    "above": (float, "a number"),
    "below": (float, "a number"),
    "clear": (float, "a number"),
    "change": (_WireChange, f"above or below (a number), optionally clear, and against: {', '.join(get_args(Against))}"),
    "absent": (str, _DURATION_TEXT),
    "detect": (Detector, f"one of {', '.join(get_args(Detector))}"),
    "sensitivity": (Sensitivity, f"one of {', '.join(get_args(Sensitivity))}"),
    "delay": (str, _DURATION_TEXT),
    "for": (str, _DURATION_TEXT),
    "keep_firing_for": (str, _DURATION_TEXT),
    "cooldown": (str, _DURATION_TEXT),
    "least": (int, "a whole number"),
    "escalate": (Severity, f"one of {', '.join(SEVERITIES)}"),
    "sites": (list[str], "a list of names of sites"),
    "labels": (dict[str, str], _TEXTS),
    "annotations": (dict[str, str], _TEXTS),
}
"""Fields of a rule: type, and how it is written."""


def _nearest(name: str, title: str, known: Iterable[str]) -> str:
    """The nearest of the known words; all of them where none is near."""
    return suggest(name, known) or f" {title}: {', '.join(known)}"


def not_a_measure(name: str) -> str:
    """What is wrong with a measure's name."""
    return f"{name!r} is not a measure.{suggest(name, KPI_BY_NAME)} {MEASURES_LISTED}"


class _Compiler:
    """One rule from its raw fields; what is wrong goes to `faults`, all of it."""

    def __init__(self, file: str, group: str, place: str, raw: dict[Any, Any], faults: list[Fault]) -> None:
        self.file = file
        self.group = group
        self.faults = faults
        self.before = len(faults)
        self.raw = raw
        name = raw.get("alert")
        self.name = name if isinstance(name, str) and name else place
        self.faulty: set[str] = set()
        """Fields of which something was said already."""
        self.kpi: Kpi | None = None
        self.window: Window = MINUTE

    def fault(self, field: str, problem: str) -> None:
        self.faults.append(Fault(self.file, self.name, field, problem))
        self.faulty.add(field)

    def field(self, name: str, default: Any = None) -> Any:
        """The value of a field; the default where it is absent or faulty (then it is said)."""
        if name not in self.raw:
            return default
        type_, allowed = _TYPES[name]
        try:
            value = msgspec.convert(self.raw[name], type_)
            if type_ is float and not isfinite(value):
                raise ValueError("not a finite number")
        except (msgspec.ValidationError, ValueError) as error:
            self.fault(name, f"{self.raw[name]!r} is not allowed ({error}); write {allowed}")
            return default
        return value

    def length(self, name: str, default: int = 0) -> int:
        text = self.field(name)
        if text is None:
            return default
        try:
            return parse_duration(text)
        except ValueError:
            self.fault(name, f"{text!r} is not allowed; write {_DURATION_TEXT}")
            return default

    def rule(self) -> Rule | None:
        for name in self.raw:
            if name == "severity":
                self.fault(name, "belongs into `labels`, as in `labels: {severity: page}`")
            elif name not in _TYPES:
                self.fault(str(name), f"there is no such field.{_nearest(str(name), 'Fields', _TYPES)}")
        name = self.field("alert", "")
        if "alert" not in self.faulty and not _ALERT_NAME.fullmatch(name):
            self.fault("alert", f"{f'{name!r} is not allowed' if name else 'missing'}; a name is up to 64 of A-Z, a-z, 0-9 and _, the first a letter")
        name = self.field("kpi", "")
        self.kpi = KPI_BY_NAME.get(name)
        if self.kpi is None and "kpi" not in self.faulty:
            self.fault("kpi", not_a_measure(name) if name else f"missing; {MEASURES_LISTED}")
        by = self._by()
        where = self._where(by)
        given = [field for field in _CONDITIONS if field in self.raw]
        if len(given) != 1:
            self.fault("condition", f"exactly one of {', '.join(_CONDITIONS)} is needed, found {', '.join(given) or 'none'}")
        self._window(given)
        condition = self._condition(given[0]) if len(given) == 1 else None
        for field, problem in _OF_DETECT.items():
            if field in self.raw and "detect" not in given:
                self.fault(field, problem)
        labels = self._labels(by)
        rule = Rule(
            name=self.name, group=self.group, kpi=self.kpi or KPIS[0], by=by, where=where, window=self.window,
            condition=condition or Absent(0), hold=self.length("for"), keep=self.length("keep_firing_for"), cooldown=self.length("cooldown", COOLDOWN),
            least=self._least(), sites=self._sites(), labels=labels, annotations=self._annotations(), escalate=self._escalate(dict(labels)),
        )  # fmt: skip
        return rule if len(self.faults) == self.before else None

    def _by(self) -> tuple[str, ...]:
        by: list[str] = self.field("by", [])
        if self.kpi is None:
            return tuple(by)
        if not by:
            if self.kpi.apart and "by" not in self.faulty:
                self.fault("by", f"{self.kpi.name} has no total over {', '.join(self.kpi.apart)}; groupings: {', '.join(str(list(g)) for g in self.kpi.by)}")
            return ()
        for grouping in self.kpi.by:
            if sorted(grouping) == sorted(by):
                return grouping
        self.fault("by", f"{by} is no grouping of {self.kpi.name}; groupings: {', '.join(str(list(g)) for g in self.kpi.by)}; without `by`: the total")
        return tuple(by)

    def _where(self, by: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
        where: dict[str, str] = self.field("where", {})
        for label in where:
            if label not in by:
                self.fault("where", f"{label!r} is not in `by`; allowed: {', '.join(by) or 'nothing without `by`'}")
        return tuple(sorted(where.items()))

    def _window(self, given: list[str]) -> None:
        name = self.field("window")
        if given == ["absent"]:
            if "window" in self.raw:
                self.fault("window", "`absent` looks at its own length: leave `window` out")
            return
        if given == ["detect"]:
            self.window = HOUR
            return
        if self.kpi is None:
            return
        names = {window_name(window): window for window in self.kpi.windows}
        if name in names:
            self.window = names[name]
        elif "window" not in self.faulty:
            self.fault(
                "window", f"{name!r} is not published for {self.kpi.name}; windows: {', '.join(names)}" if name else f"missing; windows: {', '.join(names)}"
            )

    def _condition(self, kind: str) -> Condition | None:
        if kind == "absent":
            return self._absent()
        if kind == "change":
            return self._change()
        if kind == "detect":
            return self._detect()
        limit, clear = self.field(kind), self.field("clear")
        low, high = self._bounds()
        for field, value in ((kind, limit), ("clear", clear)):
            if value is not None and not low <= value <= high:
                self.fault(field, f"{value:g} is outside {low:g} to {high:g}, where {self.kpi.name if self.kpi else 'it'} lies (30 % is 0.3)")
        if limit is None or self.faulty & {kind, "clear"}:
            return None
        return self._threshold(kind, limit, clear, "clear")

    def _bounds(self) -> tuple[float, float]:
        """Where the values of the measure lie; a ratio of two sums may exceed 1."""
        if self.kpi is None or isinstance(self.kpi.value, Ratio):
            return float("-inf"), float("inf")
        return _BOUNDS.get(self.kpi.unit, (float("-inf"), float("inf")))

    def _threshold(self, side: str, limit: float, clear: float | None, field: str) -> Threshold:
        clear = limit if clear is None else clear
        if (clear > limit) if side == "above" else (clear < limit):
            self.fault(
                field, f"{clear:g} lies beyond the threshold {limit:g}: a rule that fires {side} clears at or {'below' if side == 'above' else 'above'} it"
            )
        return Threshold("above" if side == "above" else "below", limit, clear)

    def _change(self) -> Change | None:
        change: _WireChange | None = self.field("change")
        if "clear" in self.raw:
            self.fault("clear", "belongs inside `change` here")
        if change is None:
            return None
        if (change.above is None) == (change.below is None):
            self.fault("change", "exactly one of above, below is needed")
            return None
        side: Literal["above", "below"] = "above" if change.above is not None else "below"
        limit = change.above if change.above is not None else change.below
        assert limit is not None
        if not (isfinite(limit) and isfinite(change.clear or 0)):
            self.fault("change", "a ratio is a finite number")
        elif limit <= -1:
            self.fault("change", f"{limit:g} is never reached: −0.5 is half of what was there before, −1 nothing at all; allowed: above −1")
        if self.kpi is not None and self.kpi.unit == "score":
            self.fault("change", f"{self.kpi.name} passes through zero, so a ratio says nothing; use above or below")
        self._check_history(change.against)
        return Change(self._threshold(side, limit, change.clear, "change"), change.against)

    def _check_history(self, against: Against) -> None:
        """The earlier window must lie in the panes that are kept."""
        kpi, window = self.kpi, self.window
        if kpi is None or window not in kpi.windows:
            return
        if isinstance(window, Live):
            self.fault("change", "a live window has no earlier one; use above or below")
        elif window in ("week", "month"):
            if against != "previous":
                self.fault("change", f"against: {against} does not fit a calendar {window}; allowed: previous")
        elif not reach(window, against):
            self.fault("change", f"against: {against} would overlap a window of {window_name(window)}; allowed: previous")
        elif not is_kept(kpi, window, against):
            other = ", ".join(window_name(w) for w in kpi.windows if is_kept(kpi, w, against)) or "none"
            self.fault("change", f"against: {against} reaches further back than the panes of {window_name(window)} are kept; windows that fit: {other}")

    def _absent(self) -> Absent | None:
        length = self.length("absent")
        if "clear" in self.raw:
            self.fault("clear", "`absent` ends with the first fact: leave `clear` out")
        if self.kpi is not None and (
            self.kpi.unit != "count" or FAMILY_OF[self.kpi.name].fact.panes[0] is not Pane.MINUTE or isinstance(self.kpi.windows[0], Live)
        ):
            fit = ", ".join(kpi.name for kpi in KPIS if kpi.unit == "count" and FAMILY_OF[kpi.name].fact.panes[0] is Pane.MINUTE and kpi.windows[0] != Live(5))
            self.fault("kpi", f"`absent` needs a count by minutes, {self.kpi.name} is none; allowed: {fit}")
        if not MINUTE <= length <= DAY and "absent" not in self.faulty:
            self.fault("absent", f"{self.raw['absent']!r} is not allowed; write a duration from 1m to 1d")
        return Absent(length)

    def _detect(self) -> Detect | None:
        detector: Detector | None = self.field("detect")
        sensitivity: Sensitivity = self.field("sensitivity", "balanced")
        for field in _OWN_LIFE:
            if field in self.raw:
                self.fault(field, f"a detector decides by itself what it looks at, and when an incident begins and ends: leave `{field}` out")
        if detector is None:
            return None
        if self.kpi is not None and not is_detectable(self.kpi, detector):
            fit = ", ".join(kpi.name for kpi in KPIS if is_detectable(kpi, detector))
            what = "a share of outcomes by minutes or quarter hours" if detector in RATIO_DETECTORS else "a count by minutes, quarter hours or days"
            self.fault("kpi", f"{detector} needs {what}, {self.kpi.name} is none; allowed: {fit}")
        return Detect(detector, sensitivity, self._delay(detector))

    def _delay(self, detector: Detector) -> int:
        if detector in RATIO_DETECTORS:
            if "delay" in self.raw:
                self.fault("delay", "outcomes count when they come, late ones too: leave `delay` out")
            return 0
        delay = self.length("delay", POLLED if self.kpi is not None and "website" not in FAMILY_OF[self.kpi.name].fact.topics else 0)
        if delay > DAY or delay % MINUTE:
            self.fault("delay", f"{self.raw['delay']!r} is not allowed; write whole minutes, at most 1d")
        return delay

    def _least(self) -> int:
        own = self.kpi.least if self.kpi is not None else 0
        least: int = self.field("least", own)
        if "least" not in self.faulty and least < own:
            self.fault("least", f"{least} is too few for {self.kpi.name if self.kpi else ''}: at least {own}")
        return least

    def _sites(self) -> frozenset[str]:
        sites: list[str] = self.field("sites", [])
        for site in sites:
            if not SITE_NAME.fullmatch(site):
                self.fault("sites", f"{site!r} is no name of a site: it {SITE_FORM}")
        return frozenset(sites)

    def _labels(self, by: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
        labels: dict[str, str] = self.field("labels", {})
        for name, value in labels.items():
            if not _LABEL_NAME.fullmatch(name) or name.startswith("__"):
                self.fault("labels", f"{name!r} is no name of a label: letters, digits and _, the first no digit")
            if name in RESERVED_LABELS or name in by:
                self.fault("labels", f"{name!r} is set by the product; others are allowed")
            if not value:
                self.fault("labels", f"{name!r} is empty, and Alertmanager drops empty labels; give it a value or leave it out")
        severity = labels.get("severity")
        if severity not in SEVERITIES and not self.faulty & {"labels", "severity"}:
            self.fault("labels", f"severity is {'missing' if severity is None else repr(severity)}; allowed: {', '.join(SEVERITIES)}")
        return tuple(sorted(labels.items()))

    def _escalate(self, labels: Mapping[str, str]) -> Severity | None:
        escalate: Severity | None = self.field("escalate")
        severity = labels.get("severity")
        if escalate is None or severity not in SEVERITIES or "escalate" in self.faulty:
            return None
        if escalate not in (graver := SEVERITIES[: SEVERITIES.index(severity)]):
            what = f"allowed: {', '.join(graver)}" if graver else "nothing is: leave `escalate` out"
            self.fault("escalate", f"{escalate!r} is not graver than the severity of the rule, {severity!r}; {what}")
        return escalate

    def _annotations(self) -> tuple[tuple[str, str], ...]:
        annotations: dict[str, str] = self.field("annotations", {})
        if "summary" not in annotations and "annotations" not in self.faulty:
            self.fault("annotations", "summary is missing: one line with {value} that says what happened")
        for name, text in annotations.items():
            if not _LABEL_NAME.fullmatch(name):
                self.fault("annotations", f"{name!r} is no name of an annotation: letters, digits and _, the first no digit")
            try:
                fields = [(field, spec, conversion) for _, field, spec, conversion in string.Formatter().parse(text) if field is not None]
            except ValueError as error:
                self.fault("annotations", f"{name}: {error}; write {{{{ and }}}} for braces")
                continue
            for field, spec, conversion in fields:
                if field not in TEMPLATE_FIELDS or spec or conversion:
                    self.fault("annotations", f"{name}: {{{field}}} is not known here; fields: {', '.join(TEMPLATE_FIELDS)}")
        return tuple(annotations.items())
