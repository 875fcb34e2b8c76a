"""A real Alertmanager with the project's own file: who is told, what is held back. Only addresses and waits differ."""

import asyncio
import json
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp import web

ROOT = Path(__file__).parents[2]
SERVICE = {"service": "engagement"}


class Alertmanager:
    """The process, and the webhooks it calls."""

    def __init__(self, program: str, directory: Path) -> None:
        self.program = program
        self.directory = directory
        self.told: list[tuple[str, dict[str, Any]]] = []
        """(path of the webhook, what it was sent)."""

    async def start(self) -> None:
        app = web.Application()
        app.router.add_post("/{name}", self._hear)
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self._launch(self._runner.addresses[0][1])
        deadline = time.monotonic() + 20
        while not await self._is_ready():
            assert self.process.poll() is None, (self.directory / "log").read_text()
            assert time.monotonic() < deadline, (self.directory / "log").read_text()
            await asyncio.sleep(0.1)

    def _launch(self, port: int) -> None:
        text = (ROOT / "deploy/alertmanager/alertmanager.yml").read_text().replace("127.0.0.1:9095", f"127.0.0.1:{port}")
        config = yaml.safe_load(text)
        for route in (config["route"], *config["route"]["routes"]):
            route |= {"group_wait": "1s", "group_interval": "1s"}
            route.pop("active_time_intervals", None)  # else the hour of the day decides
        file = self.directory / "alertmanager.yml"
        file.write_text(yaml.safe_dump(config))
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.address = f"127.0.0.1:{probe.getsockname()[1]}"
        with (self.directory / "log").open("wb") as log:
            arguments = [f"--config.file={file}", f"--storage.path={self.directory}/data", f"--web.listen-address={self.address}", "--cluster.listen-address="]
            self.process = subprocess.Popen([self.program, *arguments], stdout=log, stderr=log)

    async def stop(self) -> None:
        self.process.terminate()
        await asyncio.to_thread(self.process.wait, 10)
        await self._runner.cleanup()

    async def _hear(self, request: web.Request) -> web.Response:
        self.told.append((request.match_info["name"], await request.json()))
        return web.Response()

    async def _is_ready(self) -> bool:
        try:
            await asyncio.to_thread(self.call, "/-/ready")
        except OSError:
            return False
        return True

    def call(self, path: str, body: Any = None) -> bytes:
        data = None if body is None else json.dumps(body).encode()
        with urllib.request.urlopen(urllib.request.Request(f"http://{self.address}{path}", data, {"Content-Type": "application/json"}), timeout=5) as answer:
            return bytes(answer.read())

    async def fire(self, *alerts: dict[str, str]) -> None:
        await asyncio.to_thread(self.call, "/api/v2/alerts", [{"labels": labels, "annotations": {"summary": labels["alertname"]}} for labels in alerts])

    async def suppressed(self) -> set[str]:
        alerts = json.loads(await asyncio.to_thread(self.call, "/api/v2/alerts"))
        return {alert["labels"]["alertname"] for alert in alerts if alert["status"]["state"] == "suppressed"}

    def heard(self, webhook: str) -> set[str]:
        return {alert["labels"]["alertname"] for name, message in self.told if name == webhook for alert in message["alerts"]}

    async def until(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 15
        while not condition():
            assert time.monotonic() < deadline, self.told
            await asyncio.sleep(0.1)


@pytest.fixture
async def alertmanager(program: Callable[[str], str], tmp_path: Path) -> AsyncIterator[Alertmanager]:
    made = Alertmanager(program("prometheus-alertmanager"), tmp_path)
    await made.start()
    yield made
    await made.stop()


@pytest.mark.slow
async def test_a_page_holds_back_the_tickets_beside_it(alertmanager: Alertmanager) -> None:
    await alertmanager.fire(
        {"alertname": "Surge", "severity": "page", "site": "shop", "domain": "sentiment"} | SERVICE,
        {"alertname": "Drift", "severity": "ticket", "site": "shop", "domain": "sentiment"} | SERVICE,
        {"alertname": "Elsewhere", "severity": "ticket", "site": "other", "domain": "sentiment"} | SERVICE,
        {"alertname": "Hint", "severity": "info", "site": "shop", "domain": "traffic"} | SERVICE,
        {"alertname": "Watchdog", "severity": "none", "domain": "pipeline"} | SERVICE,
    )
    await alertmanager.until(lambda: alertmanager.heard("alerts") >= {"Surge", "Elsewhere"} and bool(alertmanager.heard("heartbeat")))
    await asyncio.sleep(1.5)  # a group interval more, in which nothing else may come
    assert alertmanager.heard("alerts") == {"Surge", "Elsewhere"}
    assert alertmanager.heard("heartbeat") == {"Watchdog"}
    assert await alertmanager.suppressed() == {"Drift"}


@pytest.mark.slow
async def test_when_the_pipeline_is_down_only_that_is_told(alertmanager: Alertmanager) -> None:
    await alertmanager.fire(
        {"alertname": "EngagementPipelineDown", "severity": "page", "domain": "pipeline"} | SERVICE,
        {"alertname": "TrafficDrop", "severity": "page", "site": "shop", "domain": "traffic"} | SERVICE,
        {"alertname": "EngagementWorkerDown", "severity": "ticket", "domain": "pipeline"} | SERVICE,
        {"alertname": "SomeoneElse", "severity": "page", "service": "billing"},
        {"alertname": "Watchdog", "severity": "none", "domain": "pipeline"} | SERVICE,
    )
    await alertmanager.until(lambda: alertmanager.heard("alerts") >= {"EngagementPipelineDown", "SomeoneElse"} and bool(alertmanager.heard("heartbeat")))
    await asyncio.sleep(1.5)
    assert alertmanager.heard("alerts") == {"EngagementPipelineDown", "SomeoneElse"}
    assert await alertmanager.suppressed() == {"TrafficDrop", "EngagementWorkerDown"}
