"""What the collector counts, for Prometheus. Every label holds words from a closed list; docs/collector.md lists all series."""

from collections.abc import Callable, Iterable
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Histogram, disable_created_metrics, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.gc_collector import GCCollector
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from collector.delivery import Delivery
from collector.guard import Guard

CONTENT_TYPE: Final = CONTENT_TYPE_LATEST


class Metrics(Collector):
    """The counters that handlers move, and what is read from delivery and guard when asked."""

    def __init__(self, delivery: Delivery, guard: Callable[[], Guard | None]) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self._delivery = delivery
        self._guard = guard
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        GCCollector(registry=registry)
        self.requests = Counter("engagement_collector_requests", "Requests answered, by format and status.", ("wire", "status"), registry=registry)
        self.accepted = Counter("engagement_collector_accepted", "Events accepted, by format.", ("wire",), registry=registry)
        self.rejected = Counter("engagement_collector_rejected", "Events rejected, by format and reason.", ("wire", "reason"), registry=registry)
        self.flags = Counter("engagement_collector_flags", "Accepted events of which something was cut or left out.", ("flag",), registry=registry)
        self.faults = Counter("engagement_collector_faults", "Requests not taken, by reason.", ("reason",), registry=registry)
        self.received_bytes = Counter("engagement_collector_received_bytes", "Bytes of bodies as they were sent.", registry=registry)
        self.seconds = Histogram(
            "engagement_collector_request_duration_seconds",
            "From the headers of a request for events to its answer.",
            buckets=(0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0),
            registry=registry,
        )
        registry.register(self)

    def describe(self) -> Iterable[Metric]:
        return ()

    def collect(self) -> Iterable[Metric]:
        delivery, spool = self._delivery, self._delivery.spool
        delivered = CounterMetricFamily("engagement_collector_delivered", "Messages that Kafka has confirmed, by topic.", labels=("topic",))
        for topic, count in sorted(delivery.delivered.items()):
            delivered.add_metric((topic,), count)
        yield delivered
        yield CounterMetricFamily("engagement_collector_spooled", "Messages that went to the spool.", delivery.spooled)
        yield CounterMetricFamily("engagement_collector_kafka_losses", "Times that Kafka was given up for away.", delivery.losses_of_kafka)
        for name, text, value in (
            ("kafka_up", "1 while messages go to Kafka at once, 0 while they go to the spool.", delivery.is_direct),
            ("spool_bytes", "Bytes in the spool.", spool.used),
            ("spool_limit_bytes", "Bytes that it may hold.", spool.limit),
            ("spool_events", "Messages in the spool.", spool.events),
        ):
            yield GaugeMetricFamily(f"engagement_collector_{name}", text, value)
        if (guard := self._guard()) is not None:
            yield GaugeMetricFamily("engagement_collector_connections", "Open connections.", len(guard.connections))
            cut = CounterMetricFamily("engagement_collector_connections_cut", "Connections refused or cut, by reason.", labels=("reason",))
            for reason, count in sorted(guard.cut.items()):
                cut.add_metric((reason,), count)
            yield cut

    def page(self) -> bytes:
        return generate_latest(self.registry)
