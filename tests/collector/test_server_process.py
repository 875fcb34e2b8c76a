"""`engage collector` as a process: its end, its death, its complaints; and that what comes in is seen."""

import asyncio
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from click.testing import CliRunner
from msgspec.structs import replace

from agents.__main__ import cli
from agents.brokers import EmbeddedBroker
from agents.settings import PREFIX, Settings
from collector.delivery import TOPICS
from collector.keys import add_key, create_key
from tests.collector.served import basic, on_topic, until

ROOT = Path(__file__).parents[2]


def command(*words: str, **variables: str) -> tuple[int, str]:
    """Exit code and output of a command that starts no server."""
    result = CliRunner().invoke(cli, words, env=dict.fromkeys(name for name in os.environ if name.startswith(PREFIX)) | variables)
    return result.exit_code, result.output


class Collector:
    """`engage collector`, with a server key of the site shop."""

    def __init__(self, settings: Settings, directory: Path, **variables: str) -> None:
        self.settings, self.keys = settings, directory / "keys.yml"
        if not self.keys.exists():
            key, text = create_key("backend", "server", "shop", rate=1_000_000)
            self.keys.write_text(add_key("", key))
            (directory / "secret").write_text(text)
        self.headers = basic((directory / "secret").read_text())
        fixed = {
            "ENGAGE_BROKER": settings.broker, "ENGAGE_TOPIC_PREFIX": settings.topic_prefix, "ENGAGE_COLLECTOR_PORT": "0",
            "ENGAGE_COLLECTOR_KEYS": str(self.keys), "ENGAGE_COLLECTOR_SPOOL": str(directory / "spool"),
        }  # fmt: skip
        environment = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)} | fixed | variables
        self.log = directory / f"{os.urandom(3).hex()}.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen([sys.executable, "-m", "agents", "collector"], env=environment, cwd=ROOT, stdout=subprocess.PIPE, stderr=log)

    async def url(self) -> str:
        async with asyncio.timeout(20):
            while (found := re.search(r"Takes events on (\S+)", self.log.read_text())) is None:
                assert self.process.poll() is None, self.log.read_text()
                await asyncio.sleep(0.02)
        return found[1]

    def ended(self, number: int) -> tuple[int, float, dict[str, int]]:
        """Exit code, seconds it took, and the account."""
        begun = time.monotonic()
        self.process.send_signal(number)
        output, _ = self.process.communicate(timeout=20)
        return self.process.returncode, time.monotonic() - begun, json.loads(output) if output else {}


Start = Callable[..., Collector]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    started: list[Collector] = []

    def begin(settings: Settings, **variables: str) -> Collector:
        started.append(Collector(settings, tmp_path, **variables))
        return started[-1]

    yield begin
    for one in started:
        if one.process.poll() is None:
            one.process.kill()
        one.process.wait()
        if one.process.stdout is not None:
            one.process.stdout.close()


def page(number: Any) -> dict[str, Any]:
    return {"type": "page", "anonymousId": f"v{number}", "messageId": f"m{number}", "properties": {"path": "/"}}


async def send_until_it_dies(collector: Collector, url: str, acknowledged: set[str], first: int) -> int:
    """Many senders, each sending its next batch when the last was acknowledged."""
    numbers = iter(range(first, first + 1_000_000, 5))

    async def sender(session: aiohttp.ClientSession) -> None:
        for number in numbers:
            async with session.post(f"{url}/v1/batch", json={"batch": [page(number + n) for n in range(5)]}, headers=collector.headers) as answer:
                if answer.status == 200:
                    acknowledged.update(f"m{number + n}" for n in range(5))

    async with aiohttp.ClientSession() as session:
        await asyncio.gather(*(_quiet(sender(session)) for _ in range(8)))
    return next(numbers)


async def _quiet(work: Any) -> None:
    with suppress(aiohttp.ClientError):
        await work


async def until_ready(url: str) -> None:
    """Until Kafka is there and the spool is empty."""
    async with aiohttp.ClientSession() as session, asyncio.timeout(20):
        while True:
            async with session.get(f"{url}/readyz") as answer:
                if "Kafka is there, 0 events" in await answer.text():
                    return
            await asyncio.sleep(0.05)


async def ids_on(settings: Settings) -> list[str]:
    return [json.loads(record.value)["id"] for record in await on_topic(settings)]


async def test_it_ends_in_order_and_gives_an_account(start: Start, embedded_topics: Settings):
    collector = start(embedded_topics)
    url = await collector.url()
    await until_ready(url)
    async with aiohttp.ClientSession() as session:
        for number in range(10):
            async with session.post(f"{url}/v1/batch", json={"batch": [page(number), {"type": "track"}]}, headers=collector.headers) as answer:
                assert answer.status == 200
        code, seconds, account = await asyncio.to_thread(collector.ended, signal.SIGTERM)
    assert (code, account) == (0, {"website": 10, "failed": 10, "spooled": 0})
    assert seconds < 5
    assert collector.headers["Authorization"][6:] not in collector.log.read_text()


@pytest.mark.slow
async def test_it_ends_in_time_although_kafka_hangs(start: Start, fresh: Settings):
    with EmbeddedBroker([fresh.topic(name) for name in TOPICS], fresh.partitions) as broker:
        assert broker._child is not None
        collector = start(broker.settings(fresh))
        url = await collector.url()
        await until_ready(url)
        async with aiohttp.ClientSession() as session:
            async with session.post(f"{url}/v1/batch", json={"batch": [page(0)]}, headers=collector.headers) as answer:
                assert answer.status == 200
            os.kill(broker._child.pid, signal.SIGSTOP)
            try:
                waiting = asyncio.create_task(session.post(f"{url}/v1/batch", json={"batch": [page(1)]}, headers=collector.headers))
                await asyncio.sleep(0.3)
                code, seconds, account = await asyncio.to_thread(collector.ended, signal.SIGTERM)
                assert (await waiting).status == 200, "what had begun is finished"
            finally:
                os.kill(broker._child.pid, signal.SIGCONT)
        assert (code, account["spooled"]) == (0, 1)
        assert seconds < 5
        again = start(broker.settings(fresh))
        await until_ready(await again.url())
        assert set(await ids_on(broker.settings(fresh))) == {"m0", "m1"}


@pytest.mark.slow
@pytest.mark.parametrize("is_there", [True, False], ids=["kafka", "no kafka"])
async def test_kill_9_loses_nothing_that_was_acknowledged(start: Start, embedded_topics: Settings, is_there: bool):
    acknowledged: set[str] = set()
    first = 0
    for _ in range(2):
        collector = start(embedded_topics if is_there else replace(embedded_topics, broker="127.0.0.1:1"))
        url = await collector.url()
        sending = asyncio.create_task(send_until_it_dies(collector, url, acknowledged, first))
        before = len(acknowledged)
        await until(lambda least=before + 100: len(acknowledged) >= least)  # type: ignore[misc]
        collector.process.kill()
        first = await sending
    last = start(embedded_topics)
    await until_ready(await last.url())
    arrived = await ids_on(embedded_topics)
    assert len(acknowledged) >= 200
    assert acknowledged <= set(arrived)
    assert len(arrived) - len(set(arrived)) <= 100, "twice at most what was on its way"


async def test_keys_are_read_again_on_sighup(start: Start, fresh: Settings):
    collector = start(replace(fresh, broker="127.0.0.1:1"))
    url = await collector.url()
    code, said = command("keys", "create", "--site", "shop", "--file", str(collector.keys))
    assert code == 0
    text = said.splitlines()[0]
    async with aiohttp.ClientSession() as session:
        statuses = []
        for wait in (False, True):
            if wait:
                collector.process.send_signal(signal.SIGHUP)
                await asyncio.sleep(0.3)
            async with session.post(f"{url}/v1/batch", json={"batch": [page(1)]}, headers=basic(text)) as answer:
                statuses.append(answer.status)
    assert statuses == [401, 200]
    assert "2 keys" in collector.log.read_text()


async def test_tail_shows_an_event_within_two_seconds(start: Start, embedded_topics: Settings):
    collector = start(embedded_topics)
    url = await collector.url()
    environment = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    environment |= {"ENGAGE_BROKER": embedded_topics.broker, "ENGAGE_TOPIC_PREFIX": embedded_topics.topic_prefix}
    words = [sys.executable, "-m", "agents", "tail", "--site", "shop", "--json"]
    tail = await asyncio.create_subprocess_exec(*words, "--limit", "5", env=environment | {"PYTHONUNBUFFERED": "1"}, cwd=ROOT, stdout=subprocess.PIPE)
    assert tail.stdout is not None
    shown = asyncio.create_task(tail.stdout.readline())
    async with aiohttp.ClientSession() as session:
        for number in range(40):  # until tail has found the end of the log
            begun = time.monotonic()
            order = {"order_id": f"o{number}", "total": 12.5, "currency": "EUR"}
            message = {"type": "track", "event": "Order Completed", "userId": "42", "messageId": f"o{number}", "properties": order}
            async with session.post(f"{url}/v1/track", json=message, headers=collector.headers) as answer:
                assert answer.status == 200
            with suppress(TimeoutError):
                await asyncio.wait_for(asyncio.shield(shown), 1)
                break
    line = json.loads(await shown)
    assert time.monotonic() - begun < 2
    assert (line["event"]["type"], line["subject"]) == ("order_completed", "c:42")
    tail.kill()
    await tail.wait()


def test_what_is_missing_is_said(tmp_path: Path):
    spool = {"ENGAGE_COLLECTOR_SPOOL": str(tmp_path / "spool"), "ENGAGE_BROKER": "127.0.0.1:1"}
    code, said = command("collector", **spool)
    assert (code, "engage keys create" in said) == (2, True)
    bad = tmp_path / "keys.yml"
    bad.write_text("keys: [{name: a}]")
    code, said = command("collector", ENGAGE_COLLECTOR_KEYS=str(bad), **spool)
    assert (code, "keys.yml: key 1:" in said) == (2, True)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        environment = os.environ | spool | {"ENGAGE_COLLECTOR_DEVELOPMENT": "on", "ENGAGE_COLLECTOR_PORT": port}
        done = subprocess.run([sys.executable, "-m", "agents", "collector"], env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
        assert (done.returncode, f"ENGAGE_COLLECTOR_PORT is {port}" in done.stderr) == (2, True)
    assert "Traceback" not in done.stderr
    assert command("collector", ENGAGE_COLLECTOR_PROXIES="nonsense")[0] == 2


def test_keys_are_made_for_files_and_for_programs(tmp_path: Path):
    file = tmp_path / "keys.yml"
    code, said = command("keys", "create", "--site", "shop", "--kind", "server", "--file", str(file), "--json")
    made = json.loads(said)
    assert code == 0
    assert made["key"].startswith("sk_shop-server_")
    assert made["key"] not in file.read_text()
    assert made["entry"]["hash"] in file.read_text()
    code, said = command("keys", "create", "--site", "shop", "--kind", "server", "--file", str(file))
    assert (code, "is given twice" in said, "--name" in said) == (2, True, True)
    code, said = command("keys", "create", "--site", "shop", "--origin", "shop.example")
    assert (code, "https://shop.example" in said) == (2, True)
