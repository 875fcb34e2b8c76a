"""Health, metrics and status, served from partitions that a test made."""

import json
import re
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families

from agents.http import EngineCollector, HealthServer, Readiness, new_registry
from agents.tables import Owned, Partitions
from tests.agents.counting import Counting

TOPICS = {"website": "x.website", "customers": "x.customers"}


class Served:
    """A health server and what it serves."""

    def __init__(self) -> None:
        nothing: Any = None
        self.partitions = Partitions(
            new_state=Counting, writer=nothing, publisher=nothing, offsets=nothing, connection={}, topics=TOPICS, owner="me", die=nothing
        )
        self.readiness = Readiness(False, "taking over partitions")
        registry, self.flush_duration = new_registry()
        registry.register(EngineCollector(self.partitions, TOPICS, lambda: self.readiness, {"rollups": 5}))
        self.server = HealthServer("127.0.0.1", 0, registry=registry, partitions=self.partitions, topics=TOPICS, readiness=lambda: self.readiness)

    def own(self, partition: int) -> Owned:
        state = Counting(partition)
        state.offsets, state.seq = {"website": 41}, 7
        owned = self.partitions.owned[partition] = Owned(
            partition, state, positions={"website": 42, "customers": 0}, durable={"website": 40}, renewed=0.0, held=True
        )
        owned.ends = {"website": 50}
        return owned

    async def get(self, path: str) -> tuple[int, str]:
        async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{self.server.port}{path}") as response:
            return response.status, await response.text()


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
