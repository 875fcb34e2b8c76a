"""A worker's `/metrics` without Kafka: the real registry, collectors and HTTP server around a state that events were fed to."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from prometheus_client import CollectorRegistry

from agents.app import SOURCES
from agents.http import EngineCollector, HealthServer, Readiness, new_registry
from agents.metrics import ReadingsCollector, labelled_window
from agents.tables import Owned, Partitions
from simulator.shop import Shop
from simulator.sites import SITES_YAML
from streams.kpis import KPIS
from streams.panes import DAY, HOUR, MINUTE
from streams.partition import ROLLUPS, Partition
from streams.rollups import SiteBook
from streams.sites import load_sites
from streams.topics import partition_of
from streams.windows import window_name
from tests.streams.records import Rec

PARTITIONS = 8
LIVE = 1_772_539_200_000
"""A Tuesday noon in March 2026: with 33 days before it, a whole month, week and day lie behind."""
RATE = 3.0
TOPICS = {name: f"x.{name}" for name in SOURCES}


class Feed:
    """Brings the events of the made-up shops to the states of all partitions, as the log would."""

    def __init__(self, states: Sequence[Partition]) -> None:
        self.states = states
        self.shop = Shop(1, LIVE, rate=RATE, history=33 * DAY)
        self.offsets: Counter[tuple[int, str]] = Counter()
        self.now = 0.0

    def until(self, instant: int) -> None:
        """Everything that is due at or before an instant (ms)."""
        while block := self.shop.take(instant, 20_000):
            records: dict[tuple[int, str], list[Rec]] = {}
            for sent in block:
                self._log(records, sent.topic, sent.key.encode(), sent.value, sent.due)
            self._apply(records)
            partials: dict[tuple[int, str], list[Rec]] = {}
            for state in self.states:
                flush = state.flush()
                for message in flush.after if flush is not None else ():
                    if message.topic == ROLLUPS:
                        self._log(partials, ROLLUPS, message.key, message.value, block[-1].due)
            self._apply(partials)
            self.now += 1.0
            for state in self.states:
                state.tick(self.now)

    def _log(self, records: dict[tuple[int, str], list[Rec]], topic: str, key: bytes, value: bytes, at: int) -> None:
        place = partition_of(key, PARTITIONS), topic
        records.setdefault(place, []).append(Rec(self.offsets[place], at, value, key))
        self.offsets[place] += 1

    def _apply(self, records: dict[tuple[int, str], list[Rec]]) -> None:
        for (partition, topic), batch in records.items():
            self.states[partition].apply(topic, batch)


class Served:
    """The registry of a worker that owns all partitions, and a server for it."""

    def __init__(self, sites: str = SITES_YAML) -> None:
        nothing: Any = None
        self.states = [Partition(partition, PARTITIONS, load_sites(sites)) for partition in range(PARTITIONS)]
        self.partitions = Partitions(
            new_state=nothing, writer=nothing, publisher=nothing, offsets=nothing, connection={}, topics=TOPICS, owner="me", die=nothing,
            flush_seconds=0.25, renew_seconds=3600.0, tick_seconds=1.0,
        )  # fmt: skip
        for state in self.states:
            self.partitions.owned[state.partition] = Owned(state.partition, state, positions=dict.fromkeys(TOPICS, 0), durable={}, renewed=0.0, held=True)
        counters = self.partitions.counters
        counters.applied["website"], counters.lost["website", 0] = 3, 0
        self.registry: CollectorRegistry
        self.registry, self.flush_duration = new_registry()
        readiness = Readiness(True, "in a test")
        self.registry.register(EngineCollector(self.partitions, TOPICS, lambda: readiness, {"rollups": 5}))
        self.registry.register(ReadingsCollector(self.partitions.states))
        self.server = HealthServer("127.0.0.1", 0, registry=self.registry, partitions=self.partitions, topics=TOPICS, readiness=lambda: readiness)

    @property
    def books(self) -> dict[str, SiteBook]:
        return {name: book for state in self.states for name, book in state.rollups.books.items()}

    def measured(self, site: str) -> set[str]:
        """Names of the measures that have something to say of a site, in the window that is exported."""
        windows = {kpi.name: labelled_window(kpi) for kpi in KPIS}
        return {name for (name, *_), reading in self.books[site].published.items() if reading.n and window_name(reading.length) == windows[name]}


class Fed(Served):
    """The same after a month of the made-up shops and two busy hours."""

    def __init__(self) -> None:
        super().__init__()
        self.feed = Feed(self.states)
        self.reached = LIVE + 2 * HOUR
        self.feed.until(self.reached)
        self.flush_duration.observe(0.02)

    def go_on(self) -> None:
        """A minute more, so that a second scrape sees other counters."""
        self.reached += MINUTE
        self.feed.until(self.reached)
        self.flush_duration.observe(0.02)
