"""Sending, watching, putting right and examining, as commands beside a real worker on a real Kafka."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from click.testing import CliRunner, Result
from msgspec.structs import replace

from agents.__main__ import cli
from agents.settings import Settings
from streams.intake import RECEIPT_HEADER
from tests.conftest import ROOT

pytestmark = pytest.mark.kafka

SECONDS = 30.0


def variables(settings: Settings, **more: str) -> dict[str, str]:
    names = ("broker", "app_id", "topic_prefix", "partitions", "http_port", "session_timeout", "heartbeat")
    return {f"ENGAGE_{name.upper()}": str(getattr(settings, name)) for name in names} | more


async def engage(settings: Settings, *arguments: str, stdin: str | None = None, **more: str) -> Result:
    return await asyncio.to_thread(CliRunner().invoke, cli, arguments, input=stdin, env=variables(settings, **more), prog_name="engage")


@pytest.fixture
def start_worker(tmp_path: Path) -> Iterator[Callable[[Settings], "subprocess.Popen[bytes]"]]:
    """`engage worker`, its log in worker.log."""
    workers = []

    def start(settings: Settings) -> "subprocess.Popen[bytes]":
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("ENGAGE_")}
        with (tmp_path / "worker.log").open("wb") as log:
            environment = inherited | variables(settings)
            workers.append(subprocess.Popen([sys.executable, "-m", "agents", "worker"], env=environment, stdout=log, stderr=log, cwd=ROOT))
        return workers[-1]

    yield start
    for worker in workers:
        if worker.poll() is None:
            worker.send_signal(signal.SIGKILL)
        worker.wait()


async def beside(settings: Settings, repeated: tuple[str, ...], *arguments: str) -> str:
    """What a command prints in a process of its own while another one is given again and again."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("ENGAGE_")}
    command = [sys.executable, "-m", "agents", *arguments]
    with subprocess.Popen(command, env=inherited | variables(settings), cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:  # noqa: ASYNC220
        while process.poll() is None:
            assert (await engage(settings, *repeated)).exit_code == 0
            await asyncio.sleep(0.1)
        assert process.stdout is not None
        return process.stdout.read()


async def until_failed(settings: Settings, number: int) -> dict[str, Any]:
    """Wait until so many events are on the topic `failed`."""
    deadline = time.monotonic() + SECONDS
    while True:
        answer: dict[str, Any] = json.loads((await engage(settings, "failed", "list", "--json")).stdout)
        if answer["total"] == number:
            return answer
        assert answer["total"] < number, answer
        assert time.monotonic() < deadline, answer
        await asyncio.sleep(0.3)


async def records(settings: Settings, *arguments: str) -> list[dict[str, Any]]:
    done = await engage(settings, "tail", "--from-start", "--no-follow", "--json", *arguments)
    assert done.exit_code == 0, done.output
    return [json.loads(line) for line in done.stdout.splitlines()]


async def test_from_send_over_failed_to_replay_beside_a_worker(kafka_topics: Settings, start_worker: Any) -> None:
    view = {"type": "page_viewed", "site": "acme", "at": int(time.time() * 1000), "visitor": "v1", "path": "/"}
    lines = [json.dumps(view | {"id": str(number)}) for number in range(200)] + [json.dumps(view | {"id": "x", "colour": "red"}), "nonsense"]
    sent = await engage(kafka_topics, "send", "-", "--unchecked", "--json", stdin="\n".join(lines))
    assert sent.exit_code == 1
    assert {name: json.loads(sent.stdout)[name] for name in ("sent", "refused")} == {"sent": 202, "refused": {"unknown_field": 1, "not_json": 1}}
    producer = AIOKafkaProducer(**kafka_topics.client_kwargs())
    await producer.start()
    try:
        review = b'{"type":"review_posted","id":"r","site":"acme","at":%d,"author":"bo","source":"store","review":"1","rating":4}' % view["at"]
        await producer.send_and_wait(kafka_topics.topic("website"), review, key=b"strange", headers=[("trace", b"t-9")])
    finally:
        await producer.stop()
    found = await records(kafka_topics)
    assert len(found) == 203
    assert sum("rejected" in line for line in found) == 3

    worker = start_worker(kafka_topics)
    answer = await until_failed(kafka_topics, 3)
    assert sorted((group["reason"], group["topic"], group["events"]) for group in answer["groups"]) == [
        ("not_json", "website", 1), ("unknown_field", "website", 1), ("wrong_topic", "website", 1),
    ]  # fmt: skip
    (shown,) = json.loads((await engage(kafka_topics, "failed", "show", "--reason", "wrong_topic", "--json")).stdout)
    assert (shown["key"], shown["headers"], shown["raw"]) == ("strange", {"trace": "t-9"}, review.decode())

    done = await engage(kafka_topics, "failed", "replay", "--reason", "wrong_topic", "--fix", "topic", "--yes")
    assert done.exit_code == 0, done.output
    again = await engage(kafka_topics, "failed", "replay", "--topic", "website", "--unchecked", "--yes")
    assert "3 selected, 0 would be accepted now" in again.stdout
    assert "3 published once more." in again.stdout
    await until_failed(kafka_topics, 6)
    (right,) = await records(kafka_topics, "--type", "review_posted", "--subject", "a:store/bo")
    assert (right["topic"], right["key"], right["event"]) == ("reviews", "acme/a:store/bo", json.loads(review))
    assert right["received"] != shown["received"]
    for failure in json.loads((await engage(kafka_topics, "failed", "show", "--json")).stdout):
        assert RECEIPT_HEADER not in failure["headers"]
        if failure["reason"] == "wrong_topic":
            assert failure["received"] == shown["received"], "the receipt of the first time, over every replay"

    watched = await beside(
        kafka_topics, ("send", "--example", "signed_in", "--site", "live"), "tail", "--site", "live", "--limit", "1", "--for", f"{SECONDS:g}s"
    )
    assert "signed_in live c:42" in watched
    worker.send_signal(signal.SIGTERM)
    assert await asyncio.to_thread(worker.wait, 15) == 0


async def examined(settings: Settings, **more: str) -> tuple[int, dict[str, dict[str, str]]]:
    done = await engage(settings, "doctor", "--json", **more)
    answer = json.loads(done.stdout)
    assert answer["exit_code"] == done.exit_code
    return done.exit_code, {check["check"]: check for check in answer["checks"]}


async def test_the_doctor_sees_workers_come_and_go_and_what_is_not_counted(kafka_topics: Settings, start_worker: Any) -> None:
    assert (await engage(kafka_topics, "send", "--example", "signed_in")).exit_code == 0
    code, found = await examined(kafka_topics)
    assert code == 1
    assert found["workers"]["status"] == "warn"
    assert found["workers"]["found"] == f"none is in the group {kafka_topics.app_id}; 1 events are not counted yet"
    assert (found["topics"]["status"], found["clock"]["status"]) == ("ok", "ok")
    assert "time of append" in found["topics"]["found"]
    assert "the broker's is not ahead of ours" in found["clock"]["found"]
    assert "cluster" not in found
    worker = start_worker(kafka_topics)
    deadline = time.monotonic() + SECONDS
    while "1 in the group" not in found["workers"]["found"] or "; 0 events" not in found["workers"]["found"]:
        assert time.monotonic() < deadline, found["workers"]
        code, found = await examined(kafka_topics)
    assert code == 0, found
    assert (await engage(kafka_topics, "doctor")).stdout.endswith("All is well.\n")
    worker.send_signal(signal.SIGTERM)
    assert await asyncio.to_thread(worker.wait, 15) == 0


async def test_the_clock_is_compared_with_an_event_that_arrives(kafka_topics: Settings) -> None:
    found = json.loads(await beside(kafka_topics, ("send", "--example", "signed_in"), "doctor", "--json"))
    (clock,) = [check["found"] for check in found["checks"] if check["check"] == "clock"]
    assert "an event that just arrived carries our time within 0." in clock


async def test_events_that_keep_the_producers_time_are_a_fault_of_the_topic_and_say_nothing_of_the_clock(kafka_topics: Settings) -> None:
    admin = AIOKafkaAdminClient(**kafka_topics.client_kwargs())
    await admin.start()
    try:
        change = {"message.timestamp.type": "CreateTime"}
        await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, kafka_topics.topic("website"), change)])
    finally:
        await admin.close()
    await asyncio.sleep(0.5)
    producer = AIOKafkaProducer(**kafka_topics.client_kwargs())
    await producer.start()
    try:
        await producer.send_and_wait(kafka_topics.topic("website"), b"{}", timestamp_ms=int(time.time() * 1000) + 600_000)
    finally:
        await producer.stop()
    code, found = await examined(kafka_topics)
    assert code == 1
    assert found["topics"]["status"] == "fail"
    assert "message.timestamp.type" in (await engage(kafka_topics, "topics", "check")).output
    assert found["clock"]["found"] == "not compared: no event carries the broker's time of append"


async def test_topics_without_rights_are_a_sentence(secure_kafka: Any, fresh: Settings) -> None:
    """A user that is let in and may see nothing."""
    node = secure_kafka
    settings = replace(fresh, broker=node.address)
    secure = {"ENGAGE_SECURITY": "SASL_SSL", "ENGAGE_USERNAME": "nobody", "ENGAGE_PASSWORD": node.password("nobody"), "ENGAGE_CA_FILE": str(node.ca_file)}
    unseen = "user 'nobody' may not see it"
    for arguments, said in ((("tail",), unseen), (("failed", "list"), unseen), (("send", "--example", "signed_in"), "Kafka does not let user 'nobody' write")):
        done = await engage(settings, *arguments, **secure)
        assert done.exit_code == 2
        assert said in done.stderr
        assert node.password("nobody") not in done.output
