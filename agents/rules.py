"""`engage rules test` and `engage rules replay`: rules tried on what is stated in files, and on the past. docs/rule-tests.md is the manual."""

import gc
import heapq
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Sequence
from contextlib import aclosing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, NamedTuple

import click
import msgspec

from agents.charts import chart, column_of, columns
from agents.reading import Log, open_log
from agents.replay import GC_THRESHOLDS, Lines, OnProgress
from agents.settings import Settings
from agents.tail import decode_record, printable
from alerts.backtest import Backtest, Incident
from alerts.cases import Case, Fault, find_files, read_tests
from alerts.conditions import Threshold
from alerts.evaluation import instant
from alerts.explain import dimensions_text, in_unit
from alerts.playback import Arrival
from alerts.rules import Rule, RuleSet
from alerts.testing import Coverage, Failure, coverage, run
from streams import events as e
from streams.durations import duration_name, parse_duration
from streams.intake import RECEIPT_HEADER
from streams.panes import DAY, MINUTE, SECOND, utc
from streams.replay import CHUNK, chunked
from streams.sites import Sites
from streams.windows import window_name

SHOWN: Final = 10
"""Alerts of a rule that are shown in full."""
LATE_SHARE: Final = 0.01
"""Of the events; from here on it is said."""


# --- test -------------------------------------------------------------------------------------------------------------


class Tested(NamedTuple):
    """One test that was run."""

    test: Case
    failures: list[Failure]
    seconds: float

    def fields(self) -> dict[str, Any]:
        failures = [{**failure._asdict(), "at": utc(failure.at), "after_seconds": (failure.at - self.test.start) / SECOND} for failure in self.failures]
        return {"file": self.test.file, "name": self.test.name, "ok": not self.failures, "seconds": round(self.seconds, 3), "failures": failures}


class Report(NamedTuple):
    """What `engage rules test` found."""

    faults: list[Fault]
    tested: list[Tested]
    coverage: dict[str, Coverage]

    @property
    def exit_code(self) -> int:
        """2 where files cannot be used or hold no test, 1 where a test failed."""
        return 2 if self.faults or not self.tested else 1 if any(tested.failures for tested in self.tested) else 0

    @property
    def untested(self) -> list[str]:
        """What nobody tests of the rules of these files, in words."""
        missing = {name: [word for word, there in zip(("firing", "silence"), found, strict=True) if not there] for name, found in self.coverage.items()}
        return [f"{name} ({' and '.join(words)})" for name, words in missing.items() if words]

    def fields(self) -> dict[str, Any]:
        failed = sum(bool(tested.failures) for tested in self.tested)
        return {
            "exit_code": self.exit_code, "passed": len(self.tested) - failed, "failed": failed, "faults": [fault._asdict() for fault in self.faults],
            "tests": [tested.fields() for tested in self.tested], "coverage": {name: found._asdict() for name, found in self.coverage.items()},
        }  # fmt: skip


def run_tests(paths: Sequence[Path], only: str, on_tested: Callable[[Tested], None]) -> Report:
    """Run the tests beside these rules, one after the other; of files that cannot be used none."""
    files = find_files(paths)
    tests, faults = read_tests(files)
    if not files:
        where = ", ".join(map(str, paths))
        faults.append(Fault(where, "", "", "there are no tests here: those of shop.yml are in shop_test.yml beside it"))
    chosen = [test for test in tests if only.casefold() in test.name.casefold()]
    if files and not faults and not chosen:
        faults.append(Fault("", "", "", f"no test has {only!r} in its name"))
    tested: list[Tested] = []
    for test in () if faults else chosen:
        begun = time.perf_counter()
        failures = run(test)
        tested.append(Tested(test, failures, time.perf_counter() - begun))
        on_tested(tested[-1])
    rules = {rule.name: rule for test in tests for rule in test.beside.rules}
    return Report(faults, tested, {} if only else coverage(rules.values(), tests))


def tested_lines(tested: Tested) -> Iterator[str]:
    """One line, and of a failure what was expected (-) and what was found (+)."""
    ok = not tested.failures
    status = click.style("ok  ", fg="green") if ok else click.style("FAIL", fg="red", bold=True)
    yield f"{status}  {Path(tested.test.file).name}: {tested.test.name} {click.style(f'({tested.seconds:.2f} s)', dim=True)}"
    for failure in tested.failures:
        yield f"      at {duration_name(failure.at - tested.test.start)} ({instant(utc(failure.at))}), {failure.alert}"
        yield from (click.style(f"      - {line}", fg="red") for line in failure.expected)
        yield from (click.style(f"      + {line}", fg="green") for line in failure.found)
        yield from (f"        {line}" for line in failure.hints)


def report_lines(report: Report) -> Iterator[str]:
    """What is wrong with files, what is not tested, and one sentence."""
    yield from (click.style(str(fault), fg="red") for fault in report.faults)
    if report.tested and report.untested:
        yield f"Not tested: {', '.join(report.untested)}."
    failed = sum(bool(tested.failures) for tested in report.tested)
    seconds = sum(tested.seconds for tested in report.tested)
    if report.faults:
        yield f"{len(report.faults)} fault{'s' if len(report.faults) > 1 else ''}; no test was run."
    else:
        yield f"{len(report.tested) - failed} passed, {failed} failed ({seconds:.1f} s)."


# --- replay -----------------------------------------------------------------------------------------------------------


class Replayed(NamedTuple):
    """What rules would have said of the past."""

    backtest: Backtest
    begin: int
    """First and last instant (ms) of what was judged."""
    end: int
    seconds: float

    @property
    def rules(self) -> tuple[Rule, ...]:
        return self.backtest.rules.rules

    @property
    def weeks(self) -> float:
        return max(MINUTE, self.end - self.begin) / (7 * DAY)

    def of(self, rule: Rule) -> list[Incident]:
        return [incident for incident in self.backtest.incidents if incident.rule is rule]

    def fields(self) -> dict[str, Any]:
        rules = [
            {
                "rule": rule.name, "severity": rule.severity, "fired": len(of := self.of(rule)),
                "escalated": sum(incident.escalated is not None for incident in of), "per_week": round(len(of) / self.weeks, 2),
                "firing_seconds": sum(incident.lasted(self.end) for incident in of) / SECOND, "alerts": [incident.fields(self.end) for incident in of],
            }
            for rule in self.rules
        ]  # fmt: skip
        return {
            "from": utc(self.begin), "to": utc(self.end), "seconds": round(self.seconds, 3), "sites": self.sites(), "fired": len(self.backtest.incidents),
            "rules": rules, "accounting": self.backtest.accounting(),
        }  # fmt: skip

    def sites(self) -> list[str]:
        return sorted({site for watch in self.backtest.watches for site in watch.rollups.books})


def replay_files(lines: Lines, rules: RuleSet, sites: Sites, partitions: int, wanted: "Wanted", on_progress: OnProgress) -> Replayed:
    """Judge rules over lines of events, in the order in which they were received."""
    running = _Running(rules, sites, partitions, wanted)
    done = 0
    for chunk in chunked(lines):
        if not running.play(map(running.backtest.arriving, chunk)):
            break
        done += len(chunk)
        on_progress(done, lines.share)
    return running.end()


async def replay_topics(settings: Settings, topics: Sequence[str], rules: RuleSet, sites: Sites, wanted: "Wanted", on_progress: OnProgress) -> Replayed:
    """Judge rules over what Kafka holds of these topics now. Raises what `agents.admin` says about the broker."""
    async with open_log(settings, *topics) as log:
        partitions = max([tp.partition + 1 for tp in log.partitions], default=1)
        running = _Running(rules, sites, partitions, wanted)
        begins, ends = await log.begins(), await log.ends()
        total, done = sum(ends.values()) - sum(begins.values()), 0
        async with aclosing(in_order(log, begins, ends)) as merged:
            async for records in merged:
                if not running.play(arrival_of(record, record.topic.removeprefix(settings.topic_prefix)) for record in records):
                    break
                done += len(records)
                on_progress(done, done / total if total else None)
    return running.end()


class Wanted(NamedTuple):
    """What of the past is asked for; None: all. Instants in ms: what fires before `begin` is not said, what comes from `end` on is not read."""

    site: str | None = None
    begin: int | None = None
    end: int | None = None


class _Running:
    """A backtest under way."""

    def __init__(self, rules: RuleSet, sites: Sites, partitions: int, wanted: Wanted) -> None:
        gc.set_threshold(*GC_THRESHOLDS)
        self.backtest = Backtest(rules, sites, partitions, wanted.begin or 0)
        self._wanted = wanted
        self._key = None if wanted.site is None else f"{wanted.site}/".encode()
        self._begun = time.perf_counter()
        self._is_over = False
        """Whether nothing that comes later is wanted."""

    def play(self, arrivals: Iterable[Arrival]) -> bool:
        """Play some events; False when nothing that comes later is wanted."""
        self.backtest.play(self._those_wanted(arrivals))
        return not self._is_over

    def _those_wanted(self, arrivals: Iterable[Arrival]) -> Iterator[Arrival]:
        key, end = self._key, self._wanted.end
        for arrival in arrivals:
            if end is not None and arrival.at >= end:
                self._is_over = True
                return
            if key is None or (arrival.record.key is not None and arrival.record.key.startswith(key)):
                yield arrival

    def end(self) -> Replayed:
        backtest = self.backtest
        if backtest.reached:  # the last minute too
            last = self._wanted.end if self._is_over and self._wanted.end is not None else backtest.newest + MINUTE
            backtest.pass_to(last // MINUTE * MINUTE)
            backtest.settle()
        begin = max(backtest.begun, self._wanted.begin or 0)
        return Replayed(backtest, begin, max(begin, backtest.reached), time.perf_counter() - self._begun)


def arrival_of(record: Any, topic: str) -> Arrival:
    """A record of Kafka as it arrived."""
    event = decode_record(record.value, topic, record.headers)
    if isinstance(event, e.Rejected):
        return Arrival(0, topic, record.partition, record)
    receipt = receipt_of(record) if event.received_at is None else e.millis(event.received_at)
    return Arrival(min(e.event_time(event, receipt) or 0, receipt), topic, record.partition, record)


def receipt_of(record: Any) -> int:
    """When a record was received (ms): by the broker, or as the replay says that published it."""
    said = next((value for name, value in record.headers if name == RECEIPT_HEADER), None)
    return int(record.timestamp) if said is None or not said.isdigit() else int(said)


async def in_order(log: Log, begins: dict[Any, int], ends: dict[Any, int]) -> AsyncGenerator[list[Any], None]:
    """Records of all partitions, merged by their receipt; of each only a portion is held."""
    held: dict[Any, deque[Any]] = {tp: deque() for tp in log.partitions}
    position = dict(begins)
    heap: list[tuple[int, int, Any]] = []

    async def refill(number: int, tp: Any) -> None:
        while not held[tp] and position[tp] < ends[tp]:
            until = min(ends[tp], position[tp] + CHUNK)
            async for records in log.between({tp: position[tp]}, {tp: until}):
                held[tp].extend(records)
            position[tp] = until
        if held[tp]:
            heapq.heappush(heap, (receipt_of(held[tp][0]), number, tp))

    for number, tp in enumerate(log.partitions):
        await refill(number, tp)
    some: list[Any] = []
    while heap:
        _, number, tp = heapq.heappop(heap)
        some.append(held[tp].popleft())
        if held[tp]:
            heapq.heappush(heap, (receipt_of(held[tp][0]), number, tp))
        else:
            await refill(number, tp)
        if len(some) >= CHUNK:
            yield some
            some = []
    if some:
        yield some


# --- what is said -----------------------------------------------------------------------------------------------------


def replayed_lines(found: Replayed, shown: int = SHOWN) -> Iterator[str]:
    """For people: every alert with a chart, then all rules in a table, then one sentence."""
    for rule in found.rules:
        incidents = found.of(rule)
        if incidents and shown:
            yield click.style(f"{rule.name} would have fired {_times(len(incidents))}", bold=True)
            for incident in incidents[:shown]:
                yield ""
                yield from incident_lines(incident, found.end)
            if len(incidents) > shown:
                yield f"\n  … and {len(incidents) - shown} more; --json has all."
            yield ""
    if not found.backtest.begun:
        yield "No event was read, so nothing was judged."
        return
    yield from _table(found)
    yield ""
    counts = found.backtest.accounting()
    sites = found.sites()
    where = f"{len(sites)} sites" if len(sites) != 1 else sites[0]
    rules = f"{len(found.rules)} rule{'s' if len(found.rules) != 1 else ''}"
    yield (
        f"{rules} would have fired {_times(len(found.backtest.incidents))} from {instant(utc(found.begin))} to "
        f"{instant(utc(found.end))} ({where}, {counts['received']:,} events, {found.seconds:.1f} s)."
    )
    late = counts.get("late", 0) + counts.get("flag.partly_late", 0)
    if late > LATE_SHARE * counts["received"]:
        yield f"{late:,} events came too late to be counted in full. The input must be in the order in which it was received."


def incident_lines(incident: Incident, until: int) -> Iterator[str]:
    """One alert: when, how long, on what, its figures, its summary, and the measure around it."""
    alert, kpi = incident.fired, incident.rule.kpi
    what = f"{alert.site}, {dimensions_text(alert.dimensions)}" if alert.dimensions else alert.site
    lasted = duration_name(incident.lasted(until)) + (" so far" if incident.ended is None else "")
    figures = f"{kpi.name} {in_unit(kpi, alert.value)}, usual {in_unit(kpi, alert.usual)}, n {alert.n:,}"
    yield f"  {instant(alert.started)}  for {lasted}  {printable(what)}  {figures}  ({alert.threshold})"
    yield from (click.style(f"    {printable(alert.annotations[name])}", dim=True) for name in ("summary", "why") if name in alert.annotations)
    if (risen := incident.escalated) is not None and risen.escalated is not None:
        yield f"    {risen.severity} from {instant(risen.escalated)} on: {in_unit(kpi, risen.value)}, usual {in_unit(kpi, risen.usual)}"
    condition, found = incident.rule.condition, columns(incident.points)
    line = condition.limit if isinstance(condition, Threshold) else alert.usual
    rows = chart([value for _, value in found], line, from_zero=kpi.unit not in ("stars", "score"))
    labels = [in_unit(kpi, edge) for edge, _ in rows]
    width = max(map(len, labels), default=0)
    for label, (_, text) in zip(labels, rows, strict=True):
        yield f"    {label:>{width}} │{text}".rstrip()
    if rows:
        fired = column_of(found, alert.started)
        marks = " " * fired + "▲"
        if incident.ended is not None and incident.ended.ended is not None:
            marks = marks.ljust(column_of(found, incident.ended.ended)) + "▽"
        yield f"    {'':>{width}} └{marks}"
        said = "threshold" if isinstance(condition, Threshold) else "usual"
        yield click.style(
            f"    {'':>{width}}  {window_name(incident.window)} windows every {duration_name(incident.step)}; ┈ {said}, ▲ fires, ▽ resolved", dim=True
        )


def _table(found: Replayed) -> Iterator[str]:
    rows = [("rule", "severity", "fired", "a week", "firing")]
    for rule in found.rules:
        of = found.of(rule)
        stood = duration_name(sum(incident.lasted(found.end) for incident in of) // MINUTE * MINUTE) if of else "–"
        risen = sum(incident.escalated is not None for incident in of)
        severity = f"{rule.severity}, {risen} {rule.escalate}" if risen else rule.severity
        rows.append((rule.name, severity, str(len(of)), f"{len(of) / found.weeks:.1f}" if of else "–", stood))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for number, row in enumerate(rows):
        cells = [cell.ljust(width) if place < 2 else cell.rjust(width) for place, (cell, width) in enumerate(zip(row, widths, strict=True))]
        yield click.style("  ".join(cells).rstrip(), bold=not number, dim=number > 0 and row[2] == "0")


def _times(number: int) -> str:
    return "once" if number == 1 else f"{number} times" if number else "never"


def wanted(site: str | None, begin: str | None, end: str | None) -> Wanted:
    """What the options ask for; ValueError for what is no time."""
    now = round(time.time() * SECOND)
    return Wanted(site, None if begin is None else moment(begin, now), None if end is None else moment(end, now))


def moment(text: str, now: int) -> int:
    """An instant in ms: a date or a time (UTC where it has no offset), or as long before now as `-7d` says. ValueError for anything else."""
    try:
        if text.startswith("-"):
            return now - parse_duration(text[1:])
        at = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{text!r} is no time; write 2026-03-02, 2026-03-02T10:00+01:00, or -7d for a week ago") from None
    return e.millis(at if at.tzinfo is not None else at.replace(tzinfo=UTC))


def select_rules(rules: RuleSet, names: Sequence[str]) -> RuleSet:
    """Only the rules with these names (all where none is named); ValueError for a name there is not."""
    known = {rule.name for rule in rules.rules}
    if unknown := [name for name in names if name not in known]:
        raise ValueError(f"there is no rule {unknown[0]!r}; rules: {', '.join(sorted(known))}")
    return RuleSet(tuple(rule for rule in rules.rules if not names or rule.name in names))


def encoded(value: Any) -> str:
    return msgspec.json.format(msgspec.json.encode(value), indent=2).decode()
