"""Rules over what happened before, in virtual time: the same partitions, rollups and watches as in a worker, and no clock but the events'.

Who plays decides when time passes. Sites of which something is heard get their clock from it, as in a worker; where nothing
comes, time goes on by itself, which is how silence is noticed. Each minute is judged as it comes. Nobody is told of anything.
"""

from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace
from typing import Any, Final, NamedTuple

import msgspec

from alerts.conditions import Absent
from alerts.detectors import Finding
from alerts.evaluation import INACTIVE, RUNBOOKS, Alert, Standing
from alerts.rules import Rule, RuleSet
from alerts.watch import ALERTS, STEPS, Watch
from streams.aggregates import Cell
from streams.flow import Flush, Record
from streams.kpis import Kpi
from streams.panes import DAY, MINUTE, SECOND, WATERMARK_DELAY, Pane, pane_start
from streams.partition import Partition
from streams.readings import Reading
from streams.replay import Replay
from streams.rollups import FAMILY_OF, Partial, Rollups, Series, SiteBook, encode_partial, pane_size_of
from streams.sites import Sites
from streams.topics import partition_of
from streams.windows import Window

NEVER_TELL: Final = 1 << 62
"""A wall clock so far ahead that every alert is too old to be sent."""
LONG_SILENCE: Final = 2 * DAY
"""Of a longer time without any event its first two days are judged, and its end."""


class Playback(Replay):
    """All partitions in this process, with rules in force. `transitions` are the alerts that fired and resolved, as far as they are said (`settle`)."""

    def __init__(self, rules: RuleSet, sites: Sites | None = None, partitions: int = 1, runbooks: str = RUNBOOKS) -> None:
        super().__init__(sites, partitions)
        self.rules = rules
        self.watches = [_Judge(number, partitions, self.sites, rules, runbooks) for number in range(partitions)]
        self.partitions: list[Partition] = [*self.watches]
        self.begun = 0
        self.reached = 0
        """The minute of event time (ms) up to which everything is judged, the first one is `begun`; 0 before it."""
        self.newest = 0
        """Arrival (ms) of the newest event."""
        self.transitions: list[Alert] = []
        self._pending: dict[tuple[str, int], list[Record]] = {}

    # --- what comes in ------------------------------------------------------------------------------------------------

    def arriving(self, line: bytes) -> "Arrival":
        """A line of JSON as a record of its topic and partition."""
        routed = self.router.route(line)
        record = self._record((routed.topic, routed.partition), routed.receipt, routed.key, routed.value)
        return Arrival(0 if routed.at is None else min(routed.at, routed.receipt), routed.topic, routed.partition, record)

    def play(self, arrivals: Iterable["Arrival"]) -> None:
        """Apply records in the order in which they arrived, and let time pass with them."""
        for arrival in arrivals:
            if arrival.at > self.newest:
                self.newest = arrival.at
                minute = (arrival.at - WATERMARK_DELAY) // MINUTE * MINUTE
                if 0 < self.reached < minute:
                    self.pass_to(self.reached + MINUTE)
                if self.reached < minute:  # and nothing came in between
                    self.pass_to(minute, heard=())
            self.hand(arrival)

    def hand(self, arrival: "Arrival") -> None:
        """Take one record; it is applied before time passes on."""
        self._pending.setdefault((arrival.topic, arrival.partition), []).append(arrival.record)

    def state(self, site: str, kpi: Kpi, labels: tuple[str | None, ...], at: int, cell: Cell) -> None:
        """State facts without events: what they add to the slots of the measure's family in the pane of `at`. A label of None is `unknown`."""
        ledger = self.watches[0].intake.ledger
        places = ledger.rows.fine[FAMILY_OF[kpi.name].fact.type]
        pane = pane_start(at, places.finest, self.sites[site].zone)
        for series in places[ledger.labels.sets[places.names, site, labels]]:
            places.family.add(series.fresh.get(pane) or series.open(pane), cell)

    # --- time ---------------------------------------------------------------------------------------------------------

    def pass_to(self, minute: int, heard: Collection[str] | None = None) -> None:
        """Apply what came, and judge every minute up to this one (ms). Of the sites `heard` (None: all) something comes until then."""
        self._hand_over(self._pending)
        self._pending = {}
        self._flush()
        for stride in _strides(self.reached, minute):
            for watch in self.watches:
                watch.pass_to(stride, heard)
            self.begun, self.reached = self.begun or stride, stride

    def settle(self) -> None:
        """Say what was judged last; else it is said when time passes on."""
        self._flush()

    def _carry(self, flush: Flush) -> None:
        super()._carry(flush)
        self.transitions += [msgspec.json.decode(message.value, type=Alert) for message in flush.after if message.topic == ALERTS]

    # --- what is asked ------------------------------------------------------------------------------------------------

    def firing(self) -> list[Alert]:
        """Everything that fires now, as last measured."""
        return [alert for watch in self.watches for alert in watch.alerts()]

    def owner(self, site: str) -> "_Judge":
        return self.watches[partition_of(site.encode(), len(self.watches))]

    def label_sets(self, rule: Rule) -> Iterator[tuple[str, tuple[str, ...]]]:
        """Sites and label sets that a rule is about and of which something was counted."""
        fact = FAMILY_OF[rule.kpi.name].fact
        for watch in self.watches:
            for site, book in watch.rollups.books.items():
                found = {values for name, _, grouping, values in book.series if name == fact.name and grouping == rule.by and rule.admits(site, values)}
                yield from ((site, values) for values in sorted(found))

    def read(self, rule: Rule, site: str, values: tuple[str, ...], at: int, window: Window) -> Reading | None:
        """What the measure of a rule said of a label set as of the minute `at`, by the panes held now."""
        return self.owner(site).rollups.read_as_of(site, rule.kpi, rule.by, values, window, at)


def _strides(reached: int, minute: int) -> Iterator[int]:
    """Where to stop on the way: a watch judges each minute of a stride by itself."""
    stride = STEPS * MINUTE
    if reached:
        yield from range(reached + stride, min(minute, reached + LONG_SILENCE), stride)
    if minute > reached:
        yield minute


class Arrival(NamedTuple):
    """A record of an event topic (short name), and when it came, in event time (ms): when it happened, or its receipt where that is earlier."""

    at: int
    """0 for what is no event."""
    topic: str
    partition: int
    record: Record


class _Judge(Watch):
    """A watch that reads only what its rules ask for, and whose clocks are moved by hand."""

    def __init__(self, partition: int, partitions: int, sites: Sites, rules: RuleSet, runbooks: str) -> None:
        super().__init__(partition, partitions, sites, rules=rules, clock=lambda: NEVER_TELL, runbooks=runbooks)
        self.rollups = _AskedRollups(sites, rules)

    def pass_to(self, minute: int, heard: Collection[str] | None) -> None:
        """Let time pass to a minute (ms): the sites heard are told that all their partitions have been read up to it. Then judge."""
        now = minute / SECOND
        self.rollups.now = now
        for site, book in self.rollups.books.items():
            if heard is None or site in heard:
                self.rollups.apply([encode_partial(Partial(site, source, 0, minute, [])) for source in book.watermarks or (self.partition,)])
        self.tick(now)

    def standing(self, site: str, rule: str, values: tuple[str, ...]) -> Standing:
        """Where a rule stands with a label set."""
        return self._standings[site].get((rule, values), INACTIVE)

    def finding(self, site: str, rule: str, values: tuple[str, ...]) -> Finding | None:
        """What the detector of a rule said last of a label set; None where it has none."""
        found = self._detections[site].get((rule, values))
        return None if found is None else found.finding


class _AskedRollups(Rollups):
    """Rollups that read the windows that the rules name, and no others."""

    def __init__(self, sites: Sites, rules: RuleSet) -> None:
        super().__init__(sites)
        asked: dict[tuple[str, Pane, tuple[str, ...]], dict[Kpi, set[Window]]] = {}
        for rule in rules.rules:
            family = FAMILY_OF[rule.kpi.name]
            window = DAY if isinstance(rule.condition, Absent) else rule.window
            asked.setdefault((family.fact.name, pane_size_of(window, family), rule.by), {}).setdefault(rule.kpi, set()).add(window)
        self._asked = {name: tuple(replace(kpi, windows=tuple(windows)) for kpi, windows in kpis.items()) for name, kpis in asked.items()}

    def _merge_series(self, book: SiteBook, series: Series, whole: Series | None, *part: Any) -> None:
        super()._merge_series(book, series, whole, *part)
        for one in (series, whole):
            if one is not None:
                one.kpis = self._asked.get((one.family.fact.name, one.size, one.grouping), ())
