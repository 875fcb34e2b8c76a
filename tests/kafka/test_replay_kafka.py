"""A replay through a real worker on a real Kafka counts what the replay in one process counts."""

import asyncio
import gzip
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner

from agents.__main__ import cli
from agents.replay import publish
from agents.settings import Settings
from agents.state_log import read_rows
from streams.partition import Partition
from streams.replay import Replay, accounting, encode_reading, final_readings
from streams.rows import STAMP
from tests.conftest import ROOT
from tests.streams.test_replay import mixed

WORKER = """
import os, sys
from agents.app import Engine, create_app, run_worker
from agents.settings import Settings
from streams.partition import Partition
settings = Settings.from_env(os.environ)
sys.exit(run_worker(create_app(Engine(settings, lambda partition: Partition(partition, settings.partitions)))))
"""


def environment(settings: Settings) -> dict[str, str]:
    names = ("broker", "app_id", "topic_prefix", "partitions", "http_port", "session_timeout", "heartbeat")
    return {f"ENGAGE_{name.upper()}": str(getattr(settings, name)) for name in names}


@pytest.fixture
def worker(kafka_topics: Settings, tmp_path: Path) -> Iterator[Any]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("ENGAGE_")}
    with (tmp_path / "worker.log").open("wb") as log:
        variables = inherited | environment(kafka_topics) | {"PYTHONPATH": str(ROOT)}
        process = subprocess.Popen([sys.executable, "-c", WORKER], env=variables, stdout=log, stderr=log, cwd=tmp_path)
    yield process
    if process.poll() is None:
        process.send_signal(signal.SIGKILL)
    process.wait()


async def stored(settings: Settings) -> list[Partition]:
    """The partitions as a new owner would take them over."""
    rows = await read_rows(settings.client_kwargs(), settings.topic("state"), range(settings.partitions))
    partitions = []
    for number, table in rows.items():
        partition = Partition(number, settings.partitions)
        if STAMP in table:
            partition.load(table.items())
        partitions.append(partition)
    return partitions


def said(partitions: list[Partition]) -> Counter[bytes]:
    return Counter(encode_reading(reading) for partition in partitions for reading in final_readings(partition.rollups))


async def test_a_worker_counts_what_the_replay_in_process_counts(kafka_topics: Settings, worker: Any, tmp_path: Path) -> None:
    file = tmp_path / "events.jsonl.gz"
    lines = mixed(5000)
    file.write_bytes(gzip.compress(b"\n".join(lines)))
    expected = Replay(partitions=kafka_topics.partitions).feed(lines)
    readings = Counter(encode_reading(reading) for reading in expected.readings())
    assert len(readings) > 10_000

    done = await asyncio.to_thread(CliRunner().invoke, cli, ["replay", str(file)], env=environment(kafka_topics))
    assert done.exit_code == 0, done.output
    published = dict(line.split() for line in done.stderr.splitlines())
    assert sum(map(int, published.values())) == len(lines)

    deadline = time.monotonic() + 40
    while True:
        partitions = await stored(kafka_topics)
        counts, found = accounting(partition.accounting() for partition in partitions), said(partitions)
        if (counts, found) == (expected.accounting(), readings):
            break
        log = (tmp_path / "worker.log").read_text()[-2000:]
        assert worker.poll() is None, log
        wrong = [sorted(difference)[:5] for difference in (readings - found, found - readings)]
        assert time.monotonic() < deadline, f"{counts} instead of {expected.accounting()}; missing and surplus: {wrong}\n{log}"
        await asyncio.sleep(0.5)


async def test_in_process_writes_the_same_readings_to_a_file(tmp_path: Path) -> None:
    file, out = tmp_path / "events.jsonl", tmp_path / "readings.jsonl"
    file.write_bytes(b"\n".join(mixed(300)))
    done = CliRunner().invoke(cli, ["replay", str(file), "--broker", "none", "--readings", str(out)])
    assert done.exit_code == 0, done.output
    assert "unaccounted 0" in done.stderr
    expected = Replay().feed(mixed(300))
    assert out.read_bytes().splitlines(keepends=True) == [encode_reading(reading) for reading in expected.readings()]
    assert msgspec.json.decode(out.read_bytes().splitlines()[0])["kpi"]


async def test_an_unreachable_broker_is_said_with_what_to_do(tmp_path: Path) -> None:
    file = tmp_path / "events.jsonl"
    file.write_bytes(b"\n".join(mixed(3)))
    done = await asyncio.to_thread(CliRunner().invoke, cli, ["replay", str(file), "--broker", "127.0.0.1:1"])
    assert done.exit_code == 2
    assert "No Kafka answers" in done.stderr
    assert "Traceback" not in done.stderr


async def test_missing_topics_are_said_with_what_to_do(kafka_settings: Settings, tmp_path: Path) -> None:
    file = tmp_path / "events.jsonl"
    file.write_bytes(b"\n".join(mixed(3)))
    done = await asyncio.to_thread(CliRunner().invoke, cli, ["replay", str(file)], env=environment(kafka_settings))
    assert done.exit_code == 2
    assert "engage topics create" in done.stderr


async def test_speed_keeps_the_distance_of_events(kafka_topics: Settings, tmp_path: Path) -> None:
    """Six hours in about a second."""
    file = tmp_path / "events.jsonl"
    file.write_bytes(b"\n".join(mixed(200, hostile=False)))
    started = time.monotonic()
    counts = await publish(kafka_topics, [str(file)], speed=6 * 3600 / 1.0, rebase=True)
    assert sum(counts.values()) == 200
    assert 0.8 < time.monotonic() - started < 20


def test_a_missing_file_is_a_usage_error(tmp_path: Path) -> None:
    done = CliRunner().invoke(cli, ["replay", str(tmp_path / "none.jsonl")])
    assert done.exit_code == 2
    assert "does not exist" in done.stderr


def test_a_broken_archive_is_said(tmp_path: Path) -> None:
    file = tmp_path / "events.jsonl.gz"
    file.write_bytes(gzip.compress(b"\n".join(mixed(300)))[:-20])
    done = CliRunner().invoke(cli, ["replay", str(file), "--broker", "none"])
    assert done.exit_code == 2
    assert "cannot be read to its end" in done.stderr


def test_standard_input_is_read(tmp_path: Path) -> None:
    out = tmp_path / "readings.jsonl"
    done = CliRunner().invoke(cli, ["replay", "-", "--broker", "none", "--readings", str(out)], input=b"\n".join(mixed(50)) + b"\n\n")
    assert done.exit_code == 0, done.output
    assert out.stat().st_size
