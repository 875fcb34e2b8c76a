"""`engage tail`: what is on the topics, filtered, readable, safe for a terminal, and ending when it is told to."""

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from agents.__main__ import cli
from agents.publishing import Publisher
from agents.settings import PREFIX, Settings
from agents.tail import decode_record, instant, named, printable, raw_fields
from streams import events as e
from streams.flow import Message

ROOT = Path(__file__).parents[2]
START = 1_772_440_200_000


def variables(settings: Settings) -> dict[str, str]:
    names = ("broker", "app_id", "topic_prefix", "partitions")
    return {f"{PREFIX}{name.upper()}": str(getattr(settings, name)) for name in names}


async def tail(settings: Settings, *arguments: str) -> Result:
    return await asyncio.to_thread(CliRunner().invoke, cli, ["tail", *arguments], env=variables(settings), prog_name="engage")


def view(number: int, site: str = "acme", **fields: Any) -> Message:
    value = {"type": "page_viewed", "id": str(number), "site": site, "at": START + number, "visitor": f"v{number % 3}", "path": "/"} | fields
    return Message("website", e.key_of(decoded(value)).encode(), json.dumps(value).encode())


def decoded(value: dict[str, Any]) -> e.Event:
    event = e.decode(json.dumps(value).encode())
    assert not isinstance(event, e.Rejected)
    return event


async def publish(settings: Settings, *messages: Message) -> None:
    """One after the other, so that the records' times say the order."""
    failures: list[BaseException] = []
    publisher = Publisher(settings.client_kwargs(), settings.topic_prefix, on_failure=failures.append)
    await publisher.start()
    try:
        for message in messages:
            await publisher.send_and_wait([message])
            await asyncio.sleep(0.002)
    finally:
        await publisher.stop()
    assert failures == []


async def test_the_newest_of_all_topics_in_order_of_time(embedded_topics: Settings) -> None:
    order = {"type": "signed_up", "id": "s", "site": "acme", "at": START, "customer": "42"}
    await publish(embedded_topics, *(view(number) for number in range(8)), Message("customers", b"acme/c:42", json.dumps(order).encode()))
    done = await tail(embedded_topics, "--last", "4", "--no-follow", "--json")
    assert done.exit_code == 0, done.output
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["event"]["id"] for line in lines] == ["5", "6", "7", "s"]
    assert lines[-1] | {"received": ""} == {
        "topic": "customers", "partition": lines[-1]["partition"], "offset": 0, "received": "", "key": "acme/c:42", "subject": "c:42", "event": order,
    }  # fmt: skip
    assert len((await tail(embedded_topics, "--from-start", "--no-follow")).stdout.splitlines()) == 9
    assert len((await tail(embedded_topics, "--from-start", "--no-follow", "--limit", "3")).stdout.splitlines()) == 3


@pytest.mark.parametrize(
    ("arguments", "ids"),
    [
        (("--site", "other"), ["10"]),
        (("--type", "signed_in"), ["11"]),
        (("--subject", "v:v1"), ["1"]),
        (("--site", "acme", "--type", "page_viewed"), ["0", "1"]),
        (("--site", "nowhere"), []),
    ],
)
async def test_filters(embedded_topics: Settings, arguments: tuple[str, ...], ids: list[str]) -> None:
    signed_in = {"type": "signed_in", "id": "11", "site": "acme", "at": START, "customer": "7"}
    await publish(embedded_topics, view(0), view(1), view(10, "other", visitor="x"), Message("website", b"acme/c:7", json.dumps(signed_in).encode()))
    done = await tail(embedded_topics, "--from-start", "--no-follow", "--json", *arguments)
    assert sorted(json.loads(line)["event"]["id"] for line in done.stdout.splitlines()) == ids


async def test_a_line_for_people_says_when_where_what_and_who(embedded_topics: Settings) -> None:
    await publish(embedded_topics, view(1, path="/a b", title="Größe\x1b[31m\x9b", properties={"n": 1}))
    (line,) = (await tail(embedded_topics, "--last", "1", "--no-follow")).stdout.splitlines()
    assert re.fullmatch(r'2026-03-02T08:30:00\.001Z website/\d:0 page_viewed acme v:v1 path="/a b" title=Größe\\x1b\[31m\\x9b properties=\{"n": 1\}', line), (
        line
    )


async def test_what_is_no_event_has_its_reason(embedded_topics: Settings) -> None:
    wrong_topic = b'{"type":"review_posted","site":"acme"}'
    encoded = Message("social", b"k", b"{}", (("content-encoding", b"gzip"),))
    await publish(embedded_topics, Message("website", b"acme/c:1", wrong_topic), Message("website", None, b"\xff\x1b[2J"), encoded)
    done = await tail(embedded_topics, "--from-start", "--no-follow", "--json")
    first, second, third = sorted((json.loads(line) for line in done.stdout.splitlines()), key=lambda line: line["received"])
    assert (first["rejected"]["reason"], first["raw"]) == ("wrong_topic", wrong_topic.decode())
    assert first["rejected"]["detail"] == "review_posted belongs on the topic reviews, not on website."
    assert (second["rejected"]["reason"], second["key"], second["raw_base64"]) == ("not_utf8", None, "/xtbMko=")
    assert third["rejected"]["reason"] == "unsupported_encoding"
    people = (await tail(embedded_topics, "--last", "9", "--no-follow")).stdout
    assert "rejected wrong_topic $.type review_posted belongs on the topic reviews" in people
    assert "\x1b" not in people
    assert len((await tail(embedded_topics, "--last", "9", "--no-follow", "--site", "acme")).stdout.splitlines()) == 1


async def test_what_comes_is_shown_as_it_comes(embedded_topics: Settings) -> None:
    await publish(embedded_topics, view(0))
    watching = asyncio.create_task(tail(embedded_topics, "--json", "--limit", "2", "--for", "20s"))
    for number in range(1, 400):
        await publish(embedded_topics, view(number))
        if watching.done():
            break
        await asyncio.sleep(0.05)
    done = await watching
    ids = [int(json.loads(line)["event"]["id"]) for line in done.stdout.splitlines()]
    assert len(ids) == 2
    assert 0 < ids[0] == ids[1] - 1, "live only, none left out"


async def test_it_ends_after_a_time(embedded_topics: Settings) -> None:
    started = time.monotonic()
    done = await tail(embedded_topics, "--for", "300ms")
    assert (done.exit_code, done.output) == (0, "")
    assert 0.3 <= time.monotonic() - started < 5


@pytest.mark.parametrize("stop", ["interrupt", "pipe"])
def test_ctrl_c_or_a_reader_that_leaves_ends_it_in_order(embedded_topics: Settings, stop: str) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)} | variables(embedded_topics)
    command = [sys.executable, "-m", "agents", "tail", "--from-start"]
    with subprocess.Popen(command, env=environment | {"PYTHONUNBUFFERED": "1"}, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        asyncio.run(publish(embedded_topics, view(1)))
        assert b"page_viewed" in process.stdout.readline()
        if stop == "interrupt":
            process.send_signal(signal.SIGINT)
            assert process.wait(10) == 0
        else:
            process.stdout.close()
            asyncio.run(publish(embedded_topics, view(2)))
            assert process.wait(10) == 1
        assert process.stderr.read() == b""


def test_a_topic_that_is_missing_or_a_broker_that_is_away_is_a_sentence(embedded: Any, fresh: Settings) -> None:
    missing = CliRunner().invoke(cli, ["tail"], env=variables(embedded.settings(fresh)))
    assert missing.exit_code == 2
    assert "does not exist. Run `engage topics create`." in missing.output
    away = CliRunner().invoke(cli, ["tail"], env={"ENGAGE_BROKER": "127.0.0.1:1"})
    assert away.exit_code == 2
    assert "No Kafka answers" in away.output


@pytest.mark.parametrize(
    "arguments", [("--from-start", "--last", "1"), ("--no-follow",), ("--for", "soon"), ("--for", "-1s"), ("--last", "0"), ("--limit", "0"), ("website",)]
)
def test_wrong_usage_is_2(arguments: tuple[str, ...]) -> None:
    assert CliRunner().invoke(cli, ["tail", *arguments]).exit_code == 2


def test_readable_whatever_the_bytes() -> None:
    assert printable("a\nb\x1b[0m\u202eé") == "a\\nb\\x1b[0m\\u202eé"
    assert instant(START) == "2026-03-02T08:30:00.000Z"
    assert instant(10**20) == str(10**20)
    assert raw_fields("é".encode()) == {"raw": "é"}
    assert raw_fields(b"\xff") == {"raw_base64": "/w=="}
    assert named(b"acme/c:1", b"nonsense") == ("acme", None, "c:1")
    assert named(None, b'{"site": 5, "type": "x"}') == (None, "x", None)
    assert named(None, None) == (None, None, None)
    assert isinstance(decode_record(None, "website"), e.Rejected)
    assert isinstance(decode_record(b"{}", "website", [("Content-Encoding", None)]), e.Rejected)
