"""`engage doctor`: every finding says what to do, and the exit code says whether there is something to do."""

import asyncio
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from aiokafka import AIOKafkaConsumer, TopicPartition
from click.testing import CliRunner, Result
from msgspec.structs import replace

from agents.__main__ import cli
from agents.doctor import Check, check_alertmanagers, check_rules, check_settings, check_worker, exit_code, judge_clock
from agents.publishing import Publisher
from agents.settings import PREFIX, Settings
from streams.flow import Message


def variables(settings: Settings, **more: str) -> dict[str, str]:
    names = ("broker", "app_id", "topic_prefix", "partitions")
    return {f"{PREFIX}{name.upper()}": str(getattr(settings, name)) for name in names} | {f"{PREFIX}HTTP_PORT": "0"} | more


async def doctor(environment: dict[str, str], *arguments: str) -> Result:
    return await asyncio.to_thread(CliRunner().invoke, cli, ["doctor", *arguments], env=environment, prog_name="engage")


async def checks(environment: dict[str, str]) -> tuple[int, dict[str, dict[str, str]]]:
    """Exit code and findings by name; the JSON says the same code as the process."""
    done = await doctor(environment, "--json")
    answer = json.loads(done.stdout)
    assert answer["exit_code"] == done.exit_code
    return done.exit_code, {check["check"]: check for check in answer["checks"]}


async def test_the_embedded_broker_is_all_right_but_keeps_nothing(embedded_topics: Settings) -> None:
    code, found = await checks(variables(embedded_topics))
    assert {name: check["status"] for name, check in found.items()} == {
        "python": "ok", "aiokafka": "ok", "faust": "ok", "settings": "ok", "sites": "ok", "rules": "ok", "broker": "ok", "cluster": "warn", "topics": "ok",
        "clock": "ok", "workers": "ok", "worker here": "ok",
    }  # fmt: skip
    assert code == 1, "a warning"
    assert "C extension" in found["aiokafka"]["found"]
    assert found["clock"]["found"] == "not compared: no event carries the broker's time of append"


@pytest.mark.slow
async def test_what_no_worker_has_counted_is_said(embedded_topics: Settings) -> None:
    failures: list[BaseException] = []
    publisher = Publisher(embedded_topics.client_kwargs(), embedded_topics.topic_prefix, on_failure=failures.append)
    await publisher.start()
    await publisher.send_and_wait(Message("website", None, b"{}", (), number % 2) for number in range(14))
    await publisher.stop()
    environment = variables(embedded_topics)
    assert "14 events are not counted yet" in (await checks(environment))[1]["workers"]["found"]
    async with AIOKafkaConsumer(**embedded_topics.client_kwargs(), group_id=embedded_topics.app_id, enable_auto_commit=False) as member:
        partition = TopicPartition(embedded_topics.topic("website"), 0)
        member.assign([partition])
        await member.commit({partition: 5})
    _, found = await checks(environment | {"ENGAGE_MAX_LAG": "5"})
    assert "9 events are not counted yet" in found["workers"]["found"]
    assert (found["workers"]["status"], found["workers"]["remedy"]) == ("warn", "That is more than ENGAGE_MAX_LAG=5: start more workers, or wait.")
    assert failures == []


async def test_missing_topics_are_1_with_what_to_do(embedded: Any, fresh: Settings) -> None:
    settings = embedded.settings(fresh)
    code, found = await checks(variables(settings))
    assert code == 1
    assert found["topics"]["status"] == "fail"
    assert found["topics"]["found"] == f"None of the topics {settings.topic('*')} exists"
    assert found["topics"]["remedy"] == "Run `engage topics create`."
    assert "clock" not in found
    for_people = (await doctor(variables(settings))).stdout
    assert "fail  topics" in for_people
    assert "→ Run `engage topics create`." in for_people
    assert "All is well." not in for_people


async def test_an_unreachable_broker_is_2_and_the_rest_is_said_all_the_same() -> None:
    code, found = await checks({"ENGAGE_BROKER": "127.0.0.1:1", "ENGAGE_HTTP_PORT": "0"})
    assert code == 2
    assert found["broker"]["status"] == "fail"
    assert "No Kafka answers (127.0.0.1:1: Connection refused)" in found["broker"]["found"]
    assert "make kafka" in found["broker"]["remedy"]
    assert found["sites"]["status"] == found["worker here"]["status"] == "ok"


async def test_a_setting_or_sites_file_that_cannot_be_used_is_2(tmp_path: Path) -> None:
    code, found = await checks({"ENGAGE_PARTITIONS": "many"})
    assert code == 2
    assert "ENGAGE_PARTITIONS is 'many'" in found["settings"]["found"]
    sites = tmp_path / "sites.yml"
    sites.write_text("sites: {shop: {time_zone: Europe/Atlantis}}")
    code, found = await checks({"ENGAGE_SITES": str(sites), "ENGAGE_BROKER": "127.0.0.1:1", "ENGAGE_HTTP_PORT": "0"})
    assert code == 2
    assert "site shop: time_zone 'Europe/Atlantis' is not known" in found["sites"]["found"]
    sites.write_text("sites: {shop: {time_zone: Europe/Berlin}}")
    _, found = await checks({"ENGAGE_SITES": str(sites), "ENGAGE_BROKER": "127.0.0.1:1", "ENGAGE_HTTP_PORT": "0"})
    assert (found["sites"]["status"], found["sites"]["found"]) == ("ok", f"{sites}: shop")


def test_rules_that_cannot_be_used(tmp_path: Path) -> None:
    assert check_rules(Settings()).status == "ok"
    assert check_rules(Settings(rules="none")).status == "warn"
    file = tmp_path / "rules.yml"
    for text in ("groups: [", "groups: 5", "- a", "groups: [{name: a, rules: [{alert: B, kpi: page_veiws}]}]"):
        file.write_text(text)
        check = check_rules(Settings(rules=str(file)))
        assert (check.status, check.fatal) == ("fail", True)
        assert str(file) in check.found


async def test_what_takes_several_lines_stays_in_its_column(tmp_path: Path) -> None:
    rules = tmp_path / "rules.yml"
    rules.write_text("groups: [{name: a, rules: [{alret: B}, {alert: C, kpi: page_veiws}]}]")
    environment = {"ENGAGE_RULES": str(rules), "ENGAGE_ALERTMANAGER": "http://127.0.0.1:1", "ENGAGE_BROKER": "127.0.0.1:1", "ENGAGE_HTTP_PORT": "0"}
    lines = (await doctor(environment)).stdout.splitlines()
    assert "fail  alertmanager  http://127.0.0.1:1 does not answer (Connection refused)" in lines
    assert len(lines) > 12
    for line in lines:
        assert line[:6] in ("ok    ", "warn  ", "fail  ", "      "), line
        assert line[19:20] == " " != line[20:21], line


async def test_an_alertmanager_is_asked_whether_it_is_ready() -> None:
    async def ready(_: web.Request) -> web.Response:
        return web.Response(text="OK")

    app = web.Application()
    app.router.add_get("/-/ready", ready)
    async with TestServer(app) as server:
        settings = Settings(alertmanager=f"http://127.0.0.1:{server.port},http://127.0.0.1:1,http://127.0.0.1:{server.port}/elsewhere")
        found = [check.status async for check in check_alertmanagers(settings)]
    assert found == ["ok", "fail", "warn"]


def test_a_password_in_clear_is_a_warning() -> None:
    settings = Settings(security="SASL_PLAINTEXT", username="worker", password="hidden")
    check = check_settings(settings)
    assert check.status == "warn"
    assert "hidden" not in str(check)
    assert check_settings(replace(settings, security="SASL_SSL")).status == "ok"


@pytest.mark.parametrize(
    ("ahead", "arrived", "status", "said"),
    [
        (None, False, "ok", "not compared"),
        (-900.0, False, "ok", "the newest event is 900 s old"),
        (4.9, False, "ok", "is not ahead"),
        (5.0, False, "warn", "the broker's clock is at least 5 s ahead of this machine's"),
        (0.2, True, "ok", "within 0.2 s"),
        (-20.0, True, "warn", "the broker's clock is 20 s behind this machine's"),
        (59.0, True, "warn", "59 s ahead of"),
        (-60.0, True, "fail", "60 s behind"),
        (3600.0, False, "fail", "at least 3600 s ahead of"),
    ],
)
def test_two_clocks(ahead: float | None, arrived: bool, status: str, said: str) -> None:
    check = judge_clock(ahead, arrived)
    assert (check.status, bool(check.remedy)) == (status, status != "ok")
    assert said in check.found


@pytest.fixture
def answers() -> Iterator[HTTPServer]:
    """A server of HTTP on a free port whose answer to everything is `.status` and `.text`."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(self.server.status)  # type: ignore[attr-defined]
            self.end_headers()
            self.wfile.write(self.server.text)  # type: ignore[attr-defined]

        def log_message(self, *_: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(("status", "text", "found"), [(200, b"ready\n", "ok"), (503, b"recovering\n", "warn"), (404, b"", "warn")])
async def test_the_worker_on_this_machine_is_asked(answers: HTTPServer, status: int, text: bytes, found: str) -> None:
    answers.status, answers.text = status, text  # type: ignore[attr-defined]
    check = await check_worker(Settings(http_host="0.0.0.0", http_port=answers.server_port))
    assert check.status == found
    assert text.decode().strip() in check.found
    assert bool(check.remedy) == (found != "ok")


async def test_that_no_worker_answers_is_no_fault(answers: HTTPServer) -> None:
    port = answers.server_port
    answers.server_close()
    check = await check_worker(Settings(http_port=port))
    assert check.status == "ok"
    assert f"none answers at http://127.0.0.1:{port}/readyz" in check.found


def test_the_exit_code() -> None:
    ok, warn, fatal = Check("a", "ok", ""), Check("b", "warn", ""), Check("c", "fail", "", fatal=True)
    assert [exit_code([ok]), exit_code([ok, warn]), exit_code([warn, Check("d", "fail", "")]), exit_code([warn, fatal])] == [0, 1, 1, 2]
