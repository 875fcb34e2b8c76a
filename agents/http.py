"""Health, metrics, status and alerts of one worker, on an HTTP server of its own.

Everything is read when asked for, on the event loop that owns the state; only the rendering of metrics leaves it. So series
of partitions that went elsewhere disappear by themselves.
"""

import asyncio
import json
import os
import socket
import time
from collections.abc import Callable, Iterable
from typing import Any, Final, NamedTuple

import msgspec
from aiohttp import web
from prometheus_client import CollectorRegistry, Histogram, disable_created_metrics, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.gc_collector import GCCollector
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector
from yarl import URL

from agents import pages
from agents.tables import Owned, Partitions
from alerts.evaluation import Alert

EVERYWHERE: Final = ("0.0.0.0", "::")
"""Hosts that stand for all addresses of the machine."""


class Readiness(NamedTuple):
    """Whether the worker does its job; `why` names what is missing."""

    ready: bool
    why: str


class EngineCollector(Collector):
    """The engine's own metrics, read from the owned partitions at scrape."""

    def __init__(self, partitions: Partitions, topics: Iterable[str], readiness: Callable[[], Readiness], published: dict[str, int]) -> None:
        self._partitions = partitions
        self._topics = tuple(topics)
        self._readiness = readiness
        self._published = published

    def describe(self) -> Iterable[Metric]:
        return ()

    def collect(self) -> Iterable[Metric]:
        partitions, counters = self._partitions, self._partitions.counters
        yield GaugeMetricFamily("engagement_ready", "1 when the worker has recovered and its lag is below the limit.", self._readiness().ready)
        yield GaugeMetricFamily("engagement_owned_partitions", "Partitions this worker owns and works on.", len(partitions.held))
        lag = GaugeMetricFamily(
            "engagement_lag_records", "Records of the topic not yet applied by the worker that owns the partition.", labels=("topic", "partition")
        )
        for owned in partitions.held:
            for topic in self._topics:
                lag.add_metric((topic, str(owned.partition)), owned.lag(topic))
        yield lag
        for name, text, counts in (
            ("records_applied", "Records applied to the state, by topic.", counters.applied),
            ("messages_published", "Messages published, by topic.", self._published),
        ):
            by_topic = CounterMetricFamily(f"engagement_{name}", text, labels=("topic",))
            for topic, count in counts.items():
                by_topic.add_metric((topic,), count)
            yield by_topic
        lost = CounterMetricFamily("engagement_lost_offsets", "Offsets that retention deleted before they were read.", labels=("topic", "partition"))
        for (topic, partition), count in counters.lost.items():
            lost.add_metric((topic, str(partition)), count)
        yield lost
        for name, text, value in (
            ("batches", "Batches handed over by the consumer.", counters.batches),
            ("batches_refused", "Batches refused because they were stale; they are read again.", counters.refused_batches),
            ("flushes", "Atomic writes of changed state.", counters.flushes),
            ("flushed_rows", "Rows written by flushes.", counters.flushed_rows),
            ("flushed_bytes", "Bytes written by flushes, before compression.", counters.flushed_bytes),
            ("partitions_taken", "Partitions taken over by reading their state.", counters.taken),
            ("partitions_kept", "Partitions kept in memory over a rebalance.", counters.kept),
            ("partitions_fenced", "Times another worker turned out to own a partition already.", counters.fenced),
            ("identities_renewed", "Renewals of the right to write a partition.", counters.renewed),
            ("recoveries", "Reads of state after a start or a rebalance.", counters.recoveries),
            ("recovered_rows", "Rows read by recoveries.", counters.recovered_rows),
            ("recovery_seconds", "Time spent in recoveries.", counters.recovery_seconds),
        ):
            yield CounterMetricFamily(f"engagement_{name}", text, value)


class _Collected:
    """Metric families that are collected already: `generate_latest` may render them on another thread."""

    def __init__(self, families: list[Metric]) -> None:
        self._families = families

    def collect(self) -> list[Metric]:
        return self._families


def new_registry() -> tuple[CollectorRegistry, Histogram]:
    """A registry with the process' own metrics, and the histogram of flush durations."""
    disable_created_metrics()  # type: ignore[no-untyped-call]
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    GCCollector(registry=registry)
    flush_duration = Histogram(
        "engagement_flush_duration_seconds",
        "From the snapshot of a flush to its acknowledgement.",
        buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0),
        registry=registry,
    )
    return registry, flush_duration


class HealthServer:
    """`/healthz`, `/readyz`, `/metrics`, `/status`, `/alerts`. `alerts` gives what this worker knows of alerts, also of some that are over."""

    def __init__(
        self,
        host: str,
        port: int,
        *,
        registry: CollectorRegistry,
        partitions: Partitions,
        topics: Iterable[str],
        readiness: Callable[[], Readiness],
        alerts: Callable[[], Iterable[Alert]] = tuple,
    ) -> None:
        self.port = port
        self._host = host
        self._registry = registry
        self._partitions = partitions
        self._topics = tuple(topics)
        self._readiness = readiness
        self._known_alerts = alerts
        self._started = time.monotonic()
        self._runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        """Where people find it: under the machine's name where it listens on all addresses."""
        return str(URL.build(scheme="http", host=socket.gethostname() if self._host in EVERYWHERE else self._host, port=self.port))

    async def start(self) -> None:
        """Listen; port 0 takes a free one, which `port` then names. Raises OSError."""
        app = web.Application(client_max_size=1024)
        app.router.add_get("/healthz", self._healthz)
        app.router.add_get("/readyz", self._readyz)
        app.router.add_get("/metrics", self._metrics)
        app.router.add_get("/status", self._status)
        app.router.add_get("/alerts", self._alerts)
        app.router.add_get("/alerts/{id}", self._alert)
        self._runner = web.AppRunner(app, access_log=None, keepalive_timeout=15.0, shutdown_timeout=0.5)
        await self._runner.setup()
        await web.TCPSite(self._runner, self._host, self.port).start()
        self.port = int(self._runner.addresses[0][1])

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    async def _healthz(self, _: web.Request) -> web.Response:
        return web.Response(text="ok\n")  # that this is answered is the proof

    async def _readyz(self, _: web.Request) -> web.Response:
        ready, why = self._readiness()
        return web.Response(status=200 if ready else 503, text=f"{why}\n")

    async def _metrics(self, _: web.Request) -> web.Response:
        families = list(self._registry.collect())
        body = await asyncio.to_thread(generate_latest, _Collected(families))
        return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def _status(self, _: web.Request) -> web.Response:
        ready, why = self._readiness()
        status = {
            "ready": ready,
            "why": why,
            "port": self.port,
            "pid": os.getpid(),
            "uptime_seconds": round(time.monotonic() - self._started, 1),
            "partitions": {str(owned.partition): self._partition(owned) for owned in self._partitions.owned.values()},
        }
        return web.Response(text=json.dumps(status, default=str) + "\n", content_type="application/json")

    async def _alerts(self, request: web.Request) -> web.Response:
        firing = sorted((alert for alert in self._known_alerts() if alert.state == "firing"), key=lambda alert: (alert.started, alert.id), reverse=True)
        return _json({"alerts": firing}) if _wants_json(request) else _html(pages.alerts_page(firing))

    async def _alert(self, request: web.Request) -> web.Response:
        wanted = request.match_info["id"]
        if (alert := next((alert for alert in self._known_alerts() if alert.id == wanted), None)) is not None:
            return _json(alert) if _wants_json(request) else _html(pages.alert_page(alert))
        text = (
            f"This worker knows no alert {wanted[:100]}. Another worker may own its site (each knows those of its own partitions), or it ended "
            "more than an hour ago: the topic `alerts` has every alert of the last 90 days."
        )
        return _json({"error": text}, 404) if _wants_json(request) else _html(pages.message_page("Not known here", text), 404)

    def _partition(self, owned: Owned) -> dict[str, Any]:
        return {
            "held": owned.held,
            "applied": dict(owned.state.offsets),
            "durable": owned.durable,
            "lag": {topic: owned.lag(topic) for topic in self._topics},
            "flushes": owned.flushes,
            "seq": owned.state.seq,
            "state": owned.state.status(),
        }


def _wants_json(request: web.Request) -> bool:
    return "application/json" in request.headers.get("Accept", "")


def _json(content: Any, status: int = 200) -> web.Response:
    return web.Response(body=msgspec.json.encode(content) + b"\n", status=status, content_type="application/json", headers={"Vary": "Accept"})


def _html(text: str, status: int = 200) -> web.Response:
    return web.Response(text=text, status=status, content_type="text/html", headers={"Vary": "Accept"} | pages.HEADERS)
