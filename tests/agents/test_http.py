"""Health, metrics, status and alerts, served from partitions that a test made."""

import json
import re
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families

from agents.http import EngineCollector, HealthServer, Readiness, new_registry
from agents.tables import Owned, Partitions
from alerts.evaluation import Alert
from alerts.notifiers.webhook import Webhook
from tests.agents.counting import Counting
from tests.alerts.scenes import SURGE, Scene, reviews
from tests.streams.records import T0, M

TOPICS = {"website": "x.website", "customers": "x.customers"}
JSON = "application/json"
RULES = SURGE.replace("summary:", 'runbook_url: "https://wiki.example/surge?a=1&b=2", note: "<b>{n}</b>", summary:')


class Served:
    """A health server and what it serves."""

    minute = 0

    def __init__(self) -> None:
        nothing: Any = None
        self.partitions = Partitions(
            new_state=Counting, writer=nothing, publisher=nothing, offsets=nothing, connection={}, topics=TOPICS, owner="me", die=nothing,
            flush_seconds=0.25, renew_seconds=3600.0, tick_seconds=1.0,
        )  # fmt: skip
        self.readiness = Readiness(False, "taking over partitions")
        self.scene = Scene(RULES)
        registry, self.flush_duration = new_registry()
        registry.register(EngineCollector(self.partitions, TOPICS, lambda: self.readiness, {"rollups": 5}))
        self.server = HealthServer(
            "127.0.0.1", 0, registry=registry, partitions=self.partitions, topics=TOPICS, readiness=lambda: self.readiness,
            alerts=lambda: self.scene.watch.known(),
        )  # fmt: skip

    def own(self, partition: int) -> Owned:
        state = Counting(partition)
        state.offsets, state.seq = {"website": 41}, 7
        owned = self.partitions.owned[partition] = Owned(
            partition, state, positions={"website": 42, "customers": 0}, durable={"website": 40}, renewed=0.0, held=True
        )
        owned.ends = {"website": 50}
        return owned

    async def get(self, path: str, accept: str = "text/html") -> tuple[int, str]:
        async with aiohttp.ClientSession() as session, session.get(f"{self.server.url}{path}", headers={"Accept": accept}) as response:
            return response.status, await response.text()

    def minutes(self, *bad: int) -> None:
        """Twenty reviews in each minute of the site's event time that follows, so many of them bad."""
        for number in bad:
            self.scene.feed(*reviews(T0 + self.minute * M, number, 20 - number)).tick()
            self.minute += 1


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    made = Served()
    await made.server.start()
    yield made
    await made.server.stop()


async def test_a_free_port_is_taken_and_named(served: Served) -> None:
    assert served.server.port > 0
    assert json.loads((await served.get("/status"))[1])["port"] == served.server.port


async def test_alive_is_not_ready(served: Served) -> None:
    assert await served.get("/healthz") == (200, "ok\n")
    assert await served.get("/readyz") == (503, "taking over partitions\n")
    served.readiness = Readiness(True, "2 partitions, 0 records behind")
    assert await served.get("/readyz") == (200, "2 partitions, 0 records behind\n")


async def test_status_of_a_partition(served: Served) -> None:
    served.own(3)
    assert json.loads((await served.get("/status"))[1])["partitions"] == {
        "3": {
            "held": True,
            "applied": {"website": 41},
            "durable": {"website": 40},
            "lag": {"website": 8, "customers": 0},
            "flushes": 0,
            "seq": 7,
            "state": {"keys": 0},
        }
    }


async def test_series_go_with_the_partition(served: Served) -> None:
    served.own(3)
    assert 'engagement_lag_records{partition="3",topic="website"} 8.0' in (await served.get("/metrics"))[1]
    served.partitions.owned.clear()
    assert "engagement_lag_records{" not in (await served.get("/metrics"))[1]


async def test_metrics_are_as_promtool_wants_them(served: Served) -> None:
    served.own(0)
    served.flush_duration.observe(0.02)
    counters = served.partitions.counters
    counters.applied["website"], counters.lost["website", 0] = 3, 9
    status, text = await served.get("/metrics")
    assert status == 200
    families = list(text_string_to_metric_families(text))
    engine = [family for family in families if family.name.startswith("engagement_")]
    assert len(engine) > 15
    for family in families:
        assert family.documentation, family.name
        assert re.fullmatch(r"[a-z][a-z0-9_]*", family.name)
        assert not re.search(r"_(ms|millis|minutes|hours|kb|mb|percent|count|sum|bucket|info|gauge|counter)$", family.name), family.name
        assert family.type != "unknown", family.name
        for sample in family.samples:
            assert sample.name.endswith("_total") == (family.type == "counter"), sample.name
    names = [line.split()[2] for line in text.splitlines() if line.startswith("# HELP")]
    assert len(names) == len(set(names))
    assert 'engagement_lost_offsets_total{partition="0",topic="website"} 9.0' in text
    assert 'engagement_messages_published_total{topic="rollups"} 5.0' in text


async def test_the_link_in_an_alert_says_what_is_known_of_it(served: Served) -> None:
    served.minutes(*[2] * 10, *[18] * 7)
    (alert,) = served.scene.published
    nothing: Any = None
    link = Webhook(nothing, "http://receiver.example", served.server.url)._wire(alert)["alerts"][0]["generatorURL"]
    assert link.startswith(served.server.url)
    status, page = await served.get(link.removeprefix(served.server.url))
    assert status == 200
    (now,) = served.scene.watch.alerts()
    assert now.value != alert.value, "it says what is so now"
    for text in (
        "Surge: firing",
        "<td>shop</td>",
        "fired",
        "condition since",
        "50 %",
        f"<td>{now.n}</td>",
        "usual",
        "10 %",
        "severity=page",
        now.annotations["why"],
    ):
        assert text in page, text
    assert '<a href="https://wiki.example/surge?a=1&amp;b=2">' in page
    assert "&lt;b&gt;" in page
    assert "<b>" not in page, "what people wrote is no HTML"
    status, text = await served.get(f"/alerts/{alert.id}", JSON)
    assert (status, msgspec.json.decode(text, type=Alert)) == (200, now), "for programs the message of the topic"


async def test_what_fires_is_listed_and_what_is_over_is_still_known(served: Served) -> None:
    assert "Nothing fires" in (await served.get("/alerts"))[1]
    served.minutes(*[2] * 10, *[18] * 5)
    (alert,) = served.scene.published
    assert f'<a href="alerts/{alert.id}">Surge</a>' in (await served.get("/alerts"))[1]
    listed = json.loads((await served.get("/alerts", JSON))[1])["alerts"]
    assert [one["id"] for one in listed] == [alert.id]
    served.minutes(*[0] * 10)
    assert json.loads((await served.get("/alerts", JSON))[1]) == {"alerts": []}
    assert "Surge: resolved at 2026-03-02 00:" in (await served.get(f"/alerts/{alert.id}"))[1]


async def test_an_alert_that_is_not_known_here_may_be_known_elsewhere(served: Served) -> None:
    for accept in ("text/html", JSON):
        status, text = await served.get("/alerts/%3Cscript%3E", accept)
        assert status == 404
        assert "Another worker may own its site" in text
        assert ("<script>" in text) is (accept == JSON)
