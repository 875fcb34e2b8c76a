"""Workers as processes on a real broker: exact over kills, rebalances and hand-overs, and clear when they must stop."""

import asyncio
import json
import random
import re
import signal
import time
from collections import Counter
from typing import Any

import pytest
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.records_to_delete import RecordsToDelete
from aiokafka.structs import TopicPartition

from agents.exits import Exit
from tests.agents.conftest import PARTITIONS, TOPICS, Cluster

pytestmark = pytest.mark.kafka


def keys(count: int, seed: int = 1) -> list[bytes]:
    rnd = random.Random(seed)
    return [b"k%d" % rnd.randrange(300) for _ in range(count)]


async def test_kill_9_in_mid_stream_counts_exactly(cluster: Cluster, start_worker: Any) -> None:
    await cluster.create(*TOPICS)
    expected = await cluster.produce("customers", keys(2000, 3))
    static = {"ENGAGE_INSTANCE_ID": "the-only-one"}  # takes its place over at once, without waiting for the session timeout
    worker = start_worker(cluster, **static)
    producing = asyncio.create_task(cluster.produce("website", keys(60_000, 4), pace=0.02))
    for _ in range(4):
        await worker.until_ready()
        await asyncio.sleep(0.3)
        assert await worker.end(signal.SIGKILL) == -signal.SIGKILL
        worker = start_worker(cluster, **static)
    expected += await producing
    await cluster.until_counted(expected)
    stamps = [json.loads(rows[b"@"]) for rows in (await cluster.rows()).values()]
    assert sum(stamp["offsets"]["website"] + 1 for stamp in stamps) == 60_000

    await worker.until_ready()
    started = time.monotonic()
    assert await worker.end(signal.SIGTERM) == 0
    assert time.monotonic() - started < 5
    assert "stopped" in worker.log
    assert await cluster.counted() == expected


async def test_sigterm_flushes_and_leaves_at_once(cluster: Cluster, start_worker: Any) -> None:
    await cluster.create(*TOPICS)
    worker = start_worker(cluster, ENGAGE_FLUSH_SECONDS="60")
    await worker.until_ready()
    expected = await cluster.produce("social", keys(5000))
    async with asyncio.timeout(10):
        while sum((await applied(worker)).values()) < 5000:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    assert (await cluster.counted()).total() == 0
    started = time.monotonic()
    assert await worker.end(signal.SIGTERM) == 0
    assert time.monotonic() - started < 5
    assert await cluster.counted() == expected
    successor = start_worker(cluster)
    await successor.until_ready(5.0)  # no session timeout to wait for: the group was left
    status = json.loads(successor.get("/status")[1])
    assert status["ready"]
    assert sum(p["state"]["keys"] for p in status["partitions"].values()) >= len(expected)
    assert "engagement_partitions_taken_total 2.0" in successor.get("/metrics")[1]
    assert await successor.end(signal.SIGINT) == 0


async def applied(worker: Any) -> dict[str, int]:
    status = json.loads((await asyncio.to_thread(worker.get, "/status"))[1])
    return {p: sum(offset + 1 for offset in s["applied"].values()) for p, s in status["partitions"].items()}


async def test_workers_join_and_leave_without_losing_count(cluster: Cluster, start_worker: Any) -> None:
    await cluster.create(*TOPICS)
    first = start_worker(cluster)
    await first.until_ready()
    producing = asyncio.create_task(cluster.produce("website", keys(80_000, 7), pace=0.02))
    second = start_worker(cluster)
    await second.until_ready()
    for _ in range(100):
        owned = [set(await applied(worker)) for worker in (first, second)]
        if [len(partitions) for partitions in owned] == [1, 1]:
            break
        await asyncio.sleep(0.1)
    assert owned[0] | owned[1] == {"0", "1"}, owned
    await asyncio.sleep(0.5)
    second.process.send_signal(signal.SIGSTOP)  # a zombie: it keeps what it had in memory
    await asyncio.sleep(cluster.settings.session_timeout + 1.5)
    assert set(await applied(first)) == {"0", "1"}
    second.process.send_signal(signal.SIGCONT)
    third = start_worker(cluster)
    await third.until_ready()
    assert await first.end(signal.SIGTERM) == 0
    expected = await producing
    await cluster.until_counted(expected)
    assert "lost" not in first.log + second.log + third.log


async def test_a_missing_topic_is_refused_with_a_sentence(cluster: Cluster, start_worker: Any) -> None:
    await cluster.create(*(name for name in TOPICS if name != "reviews"))
    worker = start_worker(cluster)
    assert await worker.ended() == Exit.CONFIGURATION
    assert re.search(r"level=critical .*refused to start: .*reviews", worker.log), worker.log
    assert "Traceback" not in worker.log


async def test_a_raising_state_ends_the_worker_and_skips_nothing(cluster: Cluster, start_worker: Any) -> None:
    await cluster.create(*TOPICS)
    expected = await cluster.produce("website", keys(400))
    static = {"ENGAGE_INSTANCE_ID": "the-only-one"}
    broken = start_worker(cluster, COUNTING="raise", **static)
    assert await broken.ended(15) == Exit.DEFECT
    assert "the state is broken" in broken.log
    assert re.search(r"applying \S+website\[\d\] up to offset \d+ raised", broken.log)
    assert (await cluster.counted()).total() == 0
    start_worker(cluster, **static)
    await cluster.until_counted(expected)


@pytest.mark.parametrize(("behaviour", "reason"), [("block", "has not come round"), ("deaf", "none has been applied")])
async def test_the_watchdog_ends_a_stuck_worker(cluster: Cluster, start_worker: Any, behaviour: str, reason: str) -> None:
    await cluster.create(*TOPICS)
    worker = start_worker(cluster, COUNTING=behaviour, ENGAGE_WATCHDOG_SECONDS="5")
    await worker.until_ready()
    await cluster.produce("website", keys(400))
    assert await worker.ended(15) == Exit.STUCK
    assert reason in worker.log
    assert "in apply" in worker.log if behaviour == "block" else "keep_flushing" in worker.log


async def test_offsets_lost_to_retention_are_counted_at_take_over(cluster: Cluster, start_worker: Any) -> None:
    await cluster.create(*TOPICS)
    worker = start_worker(cluster)
    before = await cluster.produce("website", keys(1000))
    await cluster.until_counted(before)
    assert await worker.end(signal.SIGTERM) == 0
    await cluster.produce("website", keys(400, 8))
    after = await cluster.produce("website", keys(600, 9))
    admin = AIOKafkaAdminClient(**cluster.connection)
    await admin.start()
    ends = {p: json.loads(rows[b"@"])["offsets"]["website"] + 1 for p, rows in (await cluster.rows()).items()}
    await admin.delete_records({TopicPartition(cluster.prefix + "website", p): RecordsToDelete(ends[p] + 200) for p in range(PARTITIONS)})
    worker = start_worker(cluster)
    await cluster.until_counted(before + after)
    assert "200 offsets of" in worker.log
    lost = re.findall(r"engagement_lost_offsets_total\{.*\} (\S+)", worker.get("/metrics")[1])
    assert Counter(lost) == {"200.0": PARTITIONS}
    assert await worker.end(signal.SIGTERM) == 0

    await admin.delete_topics([cluster.prefix + "website"])
    await asyncio.sleep(0.5)
    await admin.close()
    await cluster.create("website")
    worker = start_worker(cluster)
    assert await worker.ended() == Exit.CONFIGURATION
    assert "was deleted, recreated or truncated" in worker.log


async def test_metrics_and_health_of_a_running_worker(cluster: Cluster, start_worker: Any) -> None:
    await cluster.create(*TOPICS)
    expected = await cluster.produce("reviews", keys(1000))
    worker = start_worker(cluster, ENGAGE_MAX_LAG="10")
    await cluster.until_counted(expected)
    await worker.until_ready()
    assert worker.get("/healthz") == (200, "ok\n")
    text = worker.get("/metrics")[1]
    assert 'engagement_records_applied_total{topic="reviews"} 1000.0' in text
    assert 'engagement_lag_records{partition="1",topic="reviews"} 0.0' in text
    assert re.search(r"engagement_flush_duration_seconds_count [1-9]", text)
    rows = re.search(r"(?m)^engagement_flushed_rows_total (\S+)", text)
    assert rows is not None
    assert float(rows[1]) >= len(expected)
    assert worker.get("/nothing")[0] == 404
    assert "level=critical" not in worker.log
