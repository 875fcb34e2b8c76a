"""On the embedded broker: everything but the fence."""

import asyncio
import signal
from typing import Any

import pytest
from msgspec.structs import replace

from agents.brokers import EmbeddedBroker
from agents.settings import Settings
from tests.agents.conftest import PARTITIONS, TOPICS, Cluster


@pytest.mark.slow
async def test_a_worker_counts_and_recovers_without_a_fence(embedded: EmbeddedBroker, fresh: Settings, start_worker: Any) -> None:
    for topic in TOPICS:
        embedded.create(fresh.topic(topic), PARTITIONS)
    cluster = Cluster(replace(embedded.settings(fresh), partitions=PARTITIONS))
    expected = await cluster.produce("website", [b"k%d" % (n % 50) for n in range(2000)])
    worker = start_worker(cluster, UNFENCED="1")
    await cluster.until_counted(expected)
    assert await worker.end(signal.SIGTERM) == 0
    expected += await cluster.produce("website", [b"k%d" % (n % 50) for n in range(1000)])
    worker = start_worker(cluster, UNFENCED="1")
    await cluster.until_counted(expected)
    await asyncio.sleep(1.0)
    assert await cluster.counted() == expected
    assert await worker.end(signal.SIGTERM) == 0
