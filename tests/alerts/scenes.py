"""Scenes in virtual time: events through a real partition that watches, with its state topic and its logs beside it."""

from collections.abc import Callable
from typing import Any

import msgspec

from alerts.evaluation import Alert
from alerts.rule_files import RulesError, compile_rules
from alerts.rules import RuleSet
from alerts.watch import ALERTS, Entry, Watch
from streams.flow import Flush
from streams.partition import ROLLUPS
from streams.rows import STAMP
from tests.streams.records import T0, M, Rec, event, record, store, topic_of, view

BAD, GOOD = "Terrible, awful, broken and slow. I hate it.", "Great, wonderful, I love it."

SURGE = """
groups:
  - name: feedback
    rules:
      - alert: Surge
        kpi: negative_share
        window: 5m
        above: 0.5
        clear: 0.3
        least: 20
        cooldown: 10m
        labels: {severity: page}
        annotations: {summary: "{site}: {value} negative of {n} (usual {usual})"}
"""
QUIET = """
groups:
  - name: traffic
    rules:
      - alert: Quiet
        kpi: page_views
        absent: 10m
        least: 20
        labels: {severity: page}
        annotations: {summary: "{site}: nothing since {start}, usual {usual}"}
"""


def load_rules(text: str, name: str = "rules") -> RuleSet:
    """The rules of one file as a text; raises RulesError with every fault found."""
    rules, faults = compile_rules([(name, text)])
    if faults:
        raise RulesError(faults)
    return RuleSet(tuple(rules))


def review(at: int, text: str = GOOD, **fields: Any) -> dict[str, Any]:
    return event("review_posted", at, **{"text": text, "review": f"r{at}-{fields.get('author', 'a')}", **fields})


def reviews(at: int, bad: int, good: int, **fields: Any) -> list[dict[str, Any]]:
    """So many reviews within the minute that begins at `at`."""
    return [review(at + 100 * number, BAD if number < bad else GOOD, author=f"a{number}", **fields) for number in range(bad + good)]


class Scene:
    """One partition that owns everything, its durable rows, and what it published."""

    def __init__(self, rules: str | RuleSet = SURGE, wall: Callable[[], int] | None = None) -> None:
        self.rules = load_rules(rules) if isinstance(rules, str) else rules
        self.wall = wall or (lambda: max(self.watch.intake.newest.values(), default=T0))
        self.logs: dict[str, list[Rec]] = {}
        self.rows: dict[bytes, bytes] = {}
        self.published: list[Alert] = []
        self.flushes = 0
        self.seconds = 0.0
        self.watch = self._new()

    def _new(self) -> Watch:
        return Watch(0, 1, rules=self.rules, clock=lambda: self.wall())

    def feed(self, *wires: dict[str, Any]) -> "Scene":
        batches: dict[str, list[Rec]] = {}
        for wire in wires:
            log = self.logs.setdefault(topic_of(wire), [])
            log.append(record(len(log), wire))
            batches.setdefault(topic_of(wire), []).append(log[-1])
        for topic, batch in batches.items():
            self.watch.apply(topic, batch)
        return self

    def flush(self) -> Flush | None:
        """One flush, durable and acknowledged, its partials carried back."""
        flush = self.watch.flush()
        if flush is None:
            return None
        self.flushes += 1
        assert flush.rows[-1][0] == STAMP
        store(self.rows, flush)
        log = self.logs.setdefault(ROLLUPS, [])
        for message in flush.after:
            if message.topic == ROLLUPS:
                log.append(Rec(len(log), T0, message.value))
                self.watch.apply(ROLLUPS, log[-1:])
            elif message.topic == ALERTS:
                alert = msgspec.json.decode(message.value, type=Alert)
                assert message.key == alert.id.encode()
                self.published.append(alert)
        return flush

    def settle(self) -> None:
        for _ in range(10):
            if self.flush() is None:
                return
        raise AssertionError("flushes without end")

    def tick(self, seconds: float = 1.0) -> "Scene":
        """Count, judge, and make durable what was judged."""
        self.settle()
        self.seconds += seconds
        self.watch.tick(self.seconds)
        self.settle()
        return self

    def restart(self, rules: str | None = None) -> "Scene":
        """A new process: the rows of the state topic, then the logs behind the stamp."""
        if rules is not None:
            self.rules = load_rules(rules)
        self.watch = self._new()
        self.watch.load(self.rows.items())
        for topic, log in self.logs.items():
            self.watch.apply(topic, log)
        return self

    def steps(self) -> list[tuple[str, str, str, int]]:
        """Rule, state, labels and minute since T0 of each transition published, repeats left out."""
        seen = dict.fromkeys((alert.rule, alert.state, " ".join(alert.dimensions.values()), minute_of(alert)) for alert in self.published)
        return list(seen)

    def pending(self) -> list[Entry]:
        return [(alert.id, alert.transition) for alert in self.watch.outbox()]

    def deliver(self) -> list[Entry]:
        entries = self.pending()
        for id_, state in entries:
            self.watch.delivered(id_, state)
        return entries


def minute_of(alert: Alert) -> int:
    return round(((alert.ended or alert.escalated or alert.started).timestamp() * 1000 - T0) / M)


def views(at: int, number: int, **fields: Any) -> list[dict[str, Any]]:
    """So many page views of as many visitors within the minute that begins at `at`."""
    return [view(at + 50_000 * place // max(1, number), visitor=f"v{at}-{place}", **fields) for place in range(number)]
