"""Hostile traffic of every sort at once, while good traffic goes on: nobody good is refused, nobody bad gets far, and it is over when it is over."""

import asyncio
import json
import sys
import timeit
from pathlib import Path
from urllib.request import urlopen

import pytest
from msgspec.structs import replace
from prometheus_client.parser import text_string_to_metric_families

from agents.settings import Settings
from benchmarks.bombs import ATTACKS, SOCKETS, attacker, good_traffic
from benchmarks.commands import Command, write_keys
from collector.limits import too_deep
from tests.collector.served import StartDoor

SECONDS = 14.0
"""Longer than a body may take."""
GROWTH_BYTES = 150 << 20


@pytest.mark.parametrize("body", [b"[" * 40 + b'""' * 240_000, b'"["[' * 16_000 + b'"]"]' * 16_000], ids=["many texts", "texts between brackets"])
def test_the_worst_body_is_judged_quickly(body: bytes):
    seconds = min(timeit.repeat(lambda: too_deep(body), number=1, repeat=5))
    assert seconds < 0.04


async def test_wide_bodies_are_paid_for_although_they_are_refused(start_door: StartDoor):
    served = await start_door()
    wide = b'{"batch":[' + b"[]," * 160_000 + b"{}]}"
    assert [(await served.ask("POST", "/v1/batch", "write", data=wide))[0] for _ in range(2)] == [413, 429]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="attacks come from many addresses, which only Linux has on loopback")
async def test_good_traffic_goes_on_under_attack(embedded_topics: Settings, tmp_path: Path):
    keys = [{"name": "page", "kind": "write", "site": "shop"}, {"name": "backend", "kind": "server", "site": "shop"}]
    public, secret = write_keys(tmp_path / "keys.yml", keys)
    settings = replace(embedded_topics, collector_port=0, collector_keys=str(tmp_path / "keys.yml"), collector_spool=str(tmp_path / "spool"))
    with Command("collector", settings, tmp_path) as collector:
        url = await asyncio.to_thread(collector.url)
        quiet = await good_traffic(url, secret, 1.0)
        before = await asyncio.to_thread(metrics, url)
        with attacker(url, public, SECONDS, list(ATTACKS)) as process:
            under_attack = await good_traffic(url, secret, SECONDS)
            came = json.loads(await asyncio.to_thread(process.stdout.read))
        assert quiet.answers == {"200": 50}
        assert under_attack.answers == {"200": 50 * SECONDS}, came
        async with asyncio.timeout(20):
            while (after := await asyncio.to_thread(metrics, url))["engagement_collector_connections"] >= 20:  # noqa: ASYNC110 (another process)
                await asyncio.sleep(0.2)
        assert after["process_resident_memory_bytes"] - before["process_resident_memory_bytes"] < GROWTH_BYTES
        assert after["engagement_collector_accepted_total segment"] == 10 * (50 + 50 * SECONDS), "nothing of the bombs is an event"
        assert collector.terminate() == 0
        assert "Traceback" not in collector.log

    bombs = {name.split()[1] for name in came if name.startswith(("gzip_bomb", "nested_json"))}
    assert {"413", "400"} <= bombs <= {"413", "400", "429", "503", "closed"}, came
    assert came["idle_sockets opened"] >= SOCKETS
    assert came.get("slow_headers closed", 0) >= 40, came
    assert came.get("slow_bodies closed", 0) >= 40, came
    for reason in ("headers", "crowded"):  # a slow body may have to make room before its time is over
        assert after[f"engagement_collector_connections_cut_total {reason}"] > 0, reason


def metrics(url: str) -> dict[str, float]:
    with urlopen(f"{url}/metrics", timeout=5) as answer:
        families = list(text_string_to_metric_families(answer.read().decode()))
    return {" ".join((sample.name, *sample.labels.values())): sample.value for family in families for sample in family.samples}
