"""`engage send`: what is no event is named and stays here; what is one reaches its topic, under its key, as it was written."""

import asyncio
import gzip
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import click
import pytest
from click.testing import CliRunner, Result

from agents.__main__ import cli
from agents.replay import BLOCK_BYTES, Lines
from agents.send import KEPT_FAULTS, compose, foreseen
from agents.settings import PREFIX, Settings
from agents.tail import Wanted, event_line, follow, instant
from streams import events as e
from streams.partition import Partition
from streams.topics import EVENT_TOPICS

ROOT = Path(__file__).parents[2]
NOW = int(time.time() * 1000)
DAY = 86_400_000
VIEW = b'{"type":"page_viewed","id":"1","site":"acme","at":"%s","visitor":"v1","path":"/"}' % instant(NOW).encode()
ORDER = b'{"type":"order_completed","id":"2","site":"acme","at":%d,"customer":"42","order":"o1","total_minor":100,"currency":"EUR"}' % NOW
NO_TYPE = b'{"id":"3","site":"acme","at":%d,"visitor":"v1"}' % NOW


class Record(NamedTuple):
    """A record as a partition takes it."""

    offset: int
    timestamp: int
    value: bytes
    key: bytes | None = None
    headers: tuple[tuple[str, bytes], ...] = ()


def variables(settings: Settings) -> dict[str, str]:
    names = ("broker", "app_id", "topic_prefix", "partitions")
    return {f"{PREFIX}{name.upper()}": str(getattr(settings, name)) for name in names} | {f"{PREFIX}HTTP_PORT": "0"}


def engage(settings: Settings, *arguments: str, stdin: bytes | None = None) -> Result:
    return CliRunner().invoke(cli, arguments, input=stdin, env=variables(settings), prog_name="engage")


async def on_log(settings: Settings) -> list[dict[str, Any]]:
    return [line.fields async for line in follow(settings, EVENT_TOPICS, event_line(settings), Wanted(), last=None, onwards=False)]


async def test_lines_go_to_the_topic_of_their_type_by_the_key_of_their_subject(embedded_topics: Settings, tmp_path: Path) -> None:
    file = tmp_path / "events.jsonl.gz"
    file.write_bytes(gzip.compress(VIEW + b"\r\n\n" + ORDER))
    done = await in_thread(embedded_topics, "send", str(file))
    assert done.exit_code == 0, done.output
    assert done.stdout == ""
    assert f"2 of 2 sent (2 to {embedded_topics.topic('website')})." in done.stderr
    found = {line["key"]: line for line in await on_log(embedded_topics)}
    assert found["acme/v:v1"]["event"] == json.loads(VIEW)
    assert found["acme/c:42"]["event"] == json.loads(ORDER)
    assert {line["topic"] for line in found.values()} == {"website"}


async def in_thread(settings: Settings, *arguments: str, stdin: bytes | None = None) -> Result:
    """The command runs an event loop of its own."""
    return await asyncio.to_thread(engage, settings, *arguments, stdin=stdin)


async def test_what_is_no_event_is_named_with_its_line_and_not_sent(embedded_topics: Settings) -> None:
    done = await in_thread(embedded_topics, "send", "-", "--json", stdin=b"\n".join((VIEW, b"", NO_TYPE, b"\xff", b"{}x")))
    assert done.exit_code == 1
    summary = json.loads(done.stdout)
    assert (summary["lines"], summary["sent"], summary["topics"]) == (4, 1, {"website": 1})
    assert summary["refused"] == {"missing_field": 1, "not_utf8": 1, "not_json": 1}
    assert [(fault["line"], fault["reason"], fault["path"]) for fault in summary["faults"]] == [
        (3, "missing_field", "$.type"),
        (4, "not_utf8", "$"),
        (5, "not_json", "$"),
    ]
    assert [line["event"] for line in await on_log(embedded_topics)] == [json.loads(VIEW)]
    for_people = await in_thread(embedded_topics, "send", "-", stdin=NO_TYPE)
    assert "line 1: missing_field $.type: The field `type` is required." in for_people.stderr
    assert "0 of 1 sent; 1 refused." in for_people.stderr


async def test_unchecked_lines_are_sent_as_they_are(embedded_topics: Settings) -> None:
    wrong = b'{"type":"review_posted","rating":5}'
    done = await in_thread(embedded_topics, "send", "-", "--unchecked", stdin=b"\n".join((VIEW, wrong, b"nonsense")))
    assert done.exit_code == 1
    assert "3 of 3 sent" in done.stderr
    assert "2 refused, and sent all the same." in done.stderr
    rejected = {line["raw"]: line for line in await on_log(embedded_topics) if "rejected" in line}
    assert rejected[wrong.decode()]["topic"] == "reviews"
    assert rejected["nonsense"]["topic"] == "website"


async def test_one_event_is_filled_in_typed_and_printed(embedded_topics: Settings) -> None:
    before = time.time()
    done = await in_thread(embedded_topics, "send", "--type", "page_viewed", "--site", "acme", "visitor=42", "path=/", 'campaign={"source":"news"}')
    assert done.exit_code == 0, done.output
    assert "Filled in: id, at." in done.stderr
    event = json.loads(done.stdout)
    assert (event["site"], event["visitor"], event["path"], event["campaign"]) == ("acme", "42", "/", {"source": "news"})
    decoded = e.decode(done.stdout.strip().encode(), "website")
    assert isinstance(decoded, e.PageViewed)
    assert before - 1 <= (e.event_time(decoded) or 0) / 1000 <= time.time() + 1
    assert [line["event"] for line in await on_log(embedded_topics)] == [event]


def test_what_a_line_says_cannot_move_the_cursor() -> None:
    done = engage(Settings(), "send", "--dry-run", "-", stdin=json.dumps(json.loads(VIEW) | {"\x1b[2J": 1}).encode())
    assert "unknown_field $.\\x1b[2J: page_viewed has no field" in done.stderr
    assert "\x1b" not in done.stderr


async def test_one_event_that_is_none_is_said_and_not_sent(embedded_topics: Settings) -> None:
    done = await in_thread(embedded_topics, "send", "--type", "page_viewd", "--site", "acme", "visitor=v1")
    assert done.exit_code == 1
    assert "unknown_type $.type: There is no type 'page_viewd'. Did you mean `page_viewed`?" in done.stderr
    assert await on_log(embedded_topics) == []


@pytest.mark.parametrize("name", e.TYPES)
def test_every_example_is_an_event_of_now(name: str) -> None:
    value, filled = compose(name, "acme", [], example=True)
    event = e.decode(value)
    assert not isinstance(event, e.Rejected), event
    assert (event.site, filled) == ("acme", ["id", "at"])
    assert abs((e.event_time(event) or 0) / 1000 - time.time()) < 5


def test_values_are_what_their_field_takes() -> None:
    value, filled = compose("survey_answered", "acme", ["customer=42", "survey=nps", "score=9", "id=7", "at=1772440200000", "comment=true"], example=False)
    assert json.loads(value) == {
        "type": "survey_answered", "site": "acme", "customer": "42", "survey": "nps", "score": 9, "id": "7", "at": 1772440200000, "comment": "true",
    }  # fmt: skip
    assert filled == []
    value, _ = compose("page_left", None, ["engaged_seconds=long", "nothing={1"], example=False)
    assert (json.loads(value)["engaged_seconds"], json.loads(value)["nothing"]) == ("long", "{1")
    with pytest.raises(click.UsageError, match="'visitor' is no field; write KEY=VALUE"):
        compose("page_viewed", "acme", ["visitor"], example=False)


def test_a_dry_run_needs_no_broker(tmp_path: Path) -> None:
    nowhere = Settings(broker="127.0.0.1:1")
    file = tmp_path / "events.jsonl"
    file.write_bytes(b"\n".join([VIEW, *[NO_TYPE] * (KEPT_FAULTS + 30)]))
    done = engage(nowhere, "send", "--dry-run", str(file))
    assert done.exit_code == 1
    assert f"1 of {KEPT_FAULTS + 31} would be sent (1 to engagement.website); {KEPT_FAULTS + 30} refused." in done.stderr
    assert f"… and {KEPT_FAULTS + 10} more; in all {KEPT_FAULTS + 30} missing_field" in done.stderr
    summary = json.loads(engage(nowhere, "send", "--dry-run", "--json", str(file)).stdout)
    assert (len(summary["faults"]), summary["refused"], summary["dry_run"]) == (KEPT_FAULTS, {"missing_field": KEPT_FAULTS + 30}, True)
    assert (summary["sent"], summary["topics"]) == (0, {"website": 1})
    good = engage(nowhere, "send", "--example", "signed_in", "--dry-run")
    assert good.exit_code == 0
    assert isinstance(e.decode(good.stdout.strip().encode()), e.SignedIn)
    sending = engage(nowhere, "send", str(file))
    assert sending.exit_code == 2
    assert "No Kafka answers (127.0.0.1:1" in sending.output


def test_a_missing_topic_is_a_sentence(embedded: Any, fresh: Settings) -> None:
    done = engage(embedded.settings(fresh), "send", "--example", "signed_in")
    assert done.exit_code == 2
    assert f"The topic {fresh.topic('website')} does not exist. Run `engage topics create`." in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [(), ("not-there.jsonl",), ("visitor=v1",), ("a", "b"), ("--site", "acme", "-"), ("--type", "a", "--example", "signed_in"), ("--example", "nothing")],
)
def test_wrong_usage_is_2(arguments: tuple[str, ...]) -> None:
    done = engage(Settings(), "send", *arguments)
    assert done.exit_code == 2
    assert "Usage: engage send" in done.stderr


def test_lines_are_numbered_over_blocks_and_blank_lines(tmp_path: Path) -> None:
    file = tmp_path / "lines"
    lines = [b"%07d" % number if number % 3 else b"" for number in range(1, 2 * BLOCK_BYTES // 8)]
    file.write_bytes(b"\n".join(lines))
    source = Lines([str(file)])
    shares = []
    read = []
    for block in source.blocks():
        read += block
        shares.append(source.share)
    assert read == [(number, line) for number, line in enumerate(lines, 1) if line]
    assert len(shares) > 2
    assert shares == sorted(shares, key=lambda share: share or 0.0)
    assert shares[-1] == 1.0


def test_a_broken_archive_is_a_sentence(embedded_topics: Settings, tmp_path: Path) -> None:
    file = tmp_path / "events.jsonl.gz"
    file.write_bytes(gzip.compress(os.urandom(100_000))[:-50_000])
    for options in ([], ["--dry-run"]):
        done = engage(embedded_topics, "send", *options, str(file))
        assert (done.exit_code, done.stderr.startswith(f"Error: {file} cannot be read to its end")) == (2, True)


def test_what_is_piped_in_is_sent_as_it_comes(embedded_topics: Settings) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)} | variables(embedded_topics)
    command = [sys.executable, "-m", "agents", "send", "-", "--json"]
    with subprocess.Popen(command, env=environment, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdin is not None
        process.stdin.write(VIEW + b"\n")
        process.stdin.flush()
        seen = engage(embedded_topics, "tail", "--from-start", "--json", "--limit", "1", "--for", "20s")
        assert process.poll() is None
        output, errors = process.communicate(ORDER, timeout=20)
    assert json.loads(seen.stdout)["event"] == json.loads(VIEW)
    assert json.loads(output)["sent"] == 2, errors


def test_ctrl_c_ends_what_is_piped_in_as_its_end_does(embedded_topics: Settings) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)} | variables(embedded_topics)
    command = [sys.executable, "-m", "agents", "send", "-"]
    with subprocess.Popen(command, env=environment, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdin is not None
        process.stdin.write(VIEW + b"\n" + ORDER + b"\n")
        process.stdin.flush()
        seen = engage(embedded_topics, "tail", "--from-start", "--json", "--limit", "2", "--for", "20s")
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0
        assert process.stderr is not None
        said = process.stderr.read()
    assert len(seen.stdout.splitlines()) == 2
    assert said == f"\n2 of 2 sent (2 to {embedded_topics.topic('website')}).\n".encode()


def test_ctrl_c_before_the_end_of_a_file_is_130_and_says_how_far_it_came(tmp_path: Path) -> None:
    fifo = tmp_path / "events.jsonl"
    os.mkfifo(fifo)
    command = [sys.executable, "-m", "agents", "send", "--dry-run", str(fifo)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        writer = None
        while writer is None:
            assert process.poll() is None
            with suppress(OSError):  # nobody reads yet
                writer = os.open(fifo, os.O_WRONLY | os.O_NONBLOCK)
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=20)
        os.close(writer)
    assert (process.returncode, errors) == (130, b"\n0 of 0 would be sent.\n")


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"at": NOW - 401 * DAY}, e.Reason.TOO_OLD),
        ({"at": NOW - 399 * DAY}, "late"),
        ({"at": NOW - 9 * DAY}, "late"),
        ({"at": NOW - 7 * DAY}, None),
        ({"at": NOW + 50_000}, None),
        ({"at": NOW + 70_000}, "clamped"),
        ({"at": NOW, "received_at": NOW - 70_000}, "clamped"),
        ({"at": NOW - 70_000, "sent_at": NOW + 100_000, "received_at": NOW}, None),
        ({"at": NOW - 9 * DAY, "type": "erase_requested"}, None),
        ({"at": NOW - 401 * DAY, "type": "erase_requested"}, e.Reason.TOO_OLD),
        ({}, None),
    ],
    ids=map(str, range(11)),  # not by the clock: several processes collect
)
def test_time_is_judged_as_by_a_worker_that_reads_events_of_now(fields: dict[str, Any], said: str | None) -> None:
    """What is foreseen is what becomes of the event, in a partition that has read one of now."""
    of_now = {"type": fields.get("type", "signed_in"), "id": "now", "site": "acme", "at": NOW, "visitor": "v1"}
    value = json.dumps(of_now | {"id": "told"} | fields).encode()
    event = e.decode(value)
    assert not isinstance(event, e.Rejected), event
    assert foreseen(event, NOW) == said
    partition = Partition(0, 1)
    partition.apply(event.topic, [Record(0, NOW, json.dumps(of_now).encode()), Record(1, NOW, value)])
    counts = partition.accounting()[event.topic]
    found = {"failed.too_old": e.Reason.TOO_OLD, "late": "late", "flag.clamped": "clamped"}
    assert [word for name, word in found.items() if counts.get(name)] == ([] if said is None else [said])


def test_what_is_too_old_is_refused_and_odd_times_are_said(tmp_path: Path) -> None:
    ages = (401 * DAY, 100 * DAY, 50 * DAY, 0, -DAY)
    file = tmp_path / "events.jsonl"
    times = [{"at": NOW - age} for age in ages] + [{"at": NOW, "received_at": NOW - DAY}]
    file.write_bytes(b"\n".join(json.dumps(json.loads(VIEW) | time).encode() for time in times))
    done = engage(Settings(), "send", "--dry-run", str(file))
    assert done.exit_code == 1
    first, *others = done.stderr.splitlines()
    assert first.startswith("line 1: too_old $.at: More than 400 days ago")
    assert others == [
        "5 of 6 would be sent (5 to engagement.website); 1 refused.",
        "late: 2 from more than 8 days ago; a worker that has read events of today does not count them.",
        "clamped: 2 more than a minute ahead of the receipt; a worker counts them as of their receipt.",
    ]
    summary = json.loads(engage(Settings(), "send", "--dry-run", "--json", str(file)).stdout)
    assert (summary["refused"], summary["remarks"]) == ({"too_old": 1}, {"late": 2, "clamped": 2})


def test_input_that_is_not_a_file_has_no_share() -> None:
    assert Lines(["-"]).share is None
