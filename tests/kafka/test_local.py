"""The script of the local Kafka: killed and started again it has its data, and its complaints say what to do."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from msgspec.structs import replace

from agents import admin
from agents.settings import Settings

SCRIPT = Path(__file__).parents[2] / "deploy" / "kafka" / "kafka.py"


def run(*words: str, **environment: str) -> tuple[int, str]:
    done = subprocess.run([sys.executable, str(SCRIPT), *words], env=environment, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


async def test_killed_and_started_again_it_goes_on(local_kafka: Any, tmp_path: Path, fresh: Settings) -> None:
    node = local_kafka(tmp_path / "node")
    address = node.start()
    try:
        settings = replace(fresh, broker=address)
        await admin.create_topics(settings)
        producer = AIOKafkaProducer(**settings.client_kwargs(), enable_idempotence=True)
        await producer.start()
        await producer.send_and_wait(settings.topic("website"), b"before", partition=0)
        await producer.stop()
        assert node.kill()
        assert node.pid() is None
        assert not node.kill()
        assert node.start() == address
        assert await admin.check_topics(settings) == []
        consumer = AIOKafkaConsumer(**settings.client_kwargs(), auto_offset_reset="earliest")
        consumer.assign([TopicPartition(settings.topic("website"), 0)])
        await consumer.start()
        assert (await consumer.getone()).value == b"before"
        await consumer.stop()
        with pytest.raises(type(node).start.__globals__["KafkaError"], match="already runs on"):
            node.start()
    finally:
        node.clean()
    assert not node.data.exists()


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    nothing = str(tmp_path)
    assert run("start", "--data", str(tmp_path / "a"), PATH=nothing) == (
        2,
        "Java is missing. Install Java 17 or newer (Debian and Ubuntu: apt-get install openjdk-17-jre-headless; macOS: brew install openjdk@17).\n",
    )
    assert run("start", "--data", str(tmp_path / "a"), PATH=nothing, JAVA_HOME=nothing)[1].startswith(
        f"JAVA_HOME is {nothing}, but there is no bin/java in it."
    )
    assert run("start", "--port", "0") == (2, "With PORT=0 (any free port) DATA is needed, to find the node again.\n")
    assert run("start", EXTRA="retention", DATA=nothing) == (2, "EXTRA: a line of server.properties is NAME=VALUE, not 'retention'.\n")


def test_what_does_not_run_is_said(tmp_path: Path) -> None:
    assert run("status", DATA=str(tmp_path)) == (1, f"Kafka does not run (data {tmp_path}).\n")
    assert run("stop", DATA=str(tmp_path)) == (0, f"Kafka did not run (data {tmp_path}).\n")
    (tmp_path / "mine").touch()
    assert run("clean", DATA=str(tmp_path)) == (2, f"{tmp_path} was not made by this program; nothing removed.\n")
    assert (tmp_path / "mine").exists()
