"""`engage failed`: what a worker refused is counted, shown in full, and published once more as it came."""

import asyncio
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from click.testing import CliRunner, Result

from agents.__main__ import cli
from agents.failed import Failure, failure_of, route
from agents.publishing import Publisher
from agents.settings import PREFIX, Settings
from collector.plan import load_plans
from collector.refusals import Origin
from streams import events as e
from streams.flow import Message
from streams.intake import RECEIPT_HEADER
from streams.partition import Partition
from streams.topics import EVENT_TOPICS

ROOT = Path(__file__).parents[2]
START = 1_772_440_200_000
GOOD = {"type": "page_viewed", "id": "1", "site": "acme", "at": START, "visitor": "v1", "path": "/"}
REVIEW = {"type": "review_posted", "id": "2", "site": "acme", "at": START, "author": "bo", "source": "store", "review": "r", "rating": 4}
TRACE = ("trace", b"t-1")


def variables(settings: Settings) -> dict[str, str]:
    names = ("broker", "app_id", "topic_prefix", "partitions")
    return {f"{PREFIX}{name.upper()}": str(getattr(settings, name)) for name in names}


async def engage(settings: Settings, *arguments: str, stdin: str | None = None, plan: Path | None = None) -> Result:
    environment = variables(settings) | ({} if plan is None else {f"{PREFIX}COLLECTOR_PLAN": str(plan)})
    return await asyncio.to_thread(CliRunner().invoke, cli, arguments, input=stdin, env=environment, prog_name="engage")


async def as_json(settings: Settings, *arguments: str) -> Any:
    return json.loads((await engage(settings, *arguments, "--json")).stdout)


async def publish(settings: Settings, messages: Sequence[Message]) -> None:
    failures: list[BaseException] = []
    publisher = Publisher(settings.client_kwargs(), settings.topic_prefix, on_failure=failures.append)
    await publisher.start()
    try:
        await publisher.send_and_wait(messages)
    finally:
        await publisher.stop()
    assert failures == []


async def read(settings: Settings, topic: str) -> list[Any]:
    """All records of a topic, in order of partition and offset."""
    async with AIOKafkaConsumer(**settings.client_kwargs(), fetch_max_wait_ms=50) as consumer:
        partitions = [TopicPartition(settings.topic(topic), number) for number in range(settings.partitions)]
        consumer.assign(partitions)
        records: list[Any] = []
        for partition, end in (await consumer.end_offsets(partitions)).items():
            consumer.seek(partition, 0)
            while await consumer.position(partition) < end:
                records += (await consumer.getmany(partition, timeout_ms=100)).get(partition, [])
        return records


class Worker:
    """What a worker does to the event topics, one pass at a time: the same partitions, and what they flush to `failed`."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.partitions = [Partition(number, settings.partitions) for number in range(settings.partitions)]

    async def count(self) -> dict[str, int]:
        """Apply what is new on the log; the counters so far, over all partitions."""
        for topic in EVENT_TOPICS:
            records = await read(self.settings, topic)
            for partition in self.partitions:
                partition.apply(topic, [record for record in records if record.partition == partition.partition])
        total: dict[str, int] = {}
        for partition in self.partitions:
            if (flush := partition.flush()) is not None:
                await publish(self.settings, flush.before)
            for counts in partition.accounting().values():
                for name, number in counts.items():
                    total[name] = total.get(name, 0) + number
        return total


def message(topic: str, fields: dict[str, Any], key: bytes | None = b"acme/v:v1", headers: tuple[tuple[str, bytes], ...] = ()) -> Message:
    return Message(topic, key, json.dumps(fields).encode(), headers)


@pytest.fixture
async def worker(embedded_topics: Settings) -> Worker:
    """A worker that has met one good event and six that fail."""
    unknown = GOOD | {"id": "u", "colour": "red"}
    await publish(
        embedded_topics,
        [
            message("website", GOOD),
            message("website", unknown, headers=(TRACE, (RECEIPT_HEADER, b"%d" % START))),
            message("website", unknown | {"id": "u2"}),
            message("website", unknown | {"id": "u3", "site": "other"}, b"other/v:v1"),
            message("website", REVIEW, None),
            Message("social", b"acme/a:x/y", b"\xff\x1b"),
            message("customers", {"type": "signed_in"}, None),
        ],
    )
    worker = Worker(embedded_topics)
    counts = await worker.count()
    assert (counts["received"], counts["applied"]) == (7, 1)
    return worker


async def test_the_list_counts_by_reason_topic_and_site(worker: Worker) -> None:
    answer = await as_json(worker.settings, "failed", "list")
    assert answer["total"] == 6
    groups = {(group["reason"], group["topic"], group["site"]): group for group in answer["groups"]}
    assert {key: group["events"] for key, group in groups.items()} == {
        ("unknown_field", "website", "acme"): 2,
        ("unknown_field", "website", "other"): 1,
        ("wrong_topic", "website", "acme"): 1,
        ("not_utf8", "social", "acme"): 1,
        ("wrong_topic", "customers", None): 1,
    }
    acme = groups["unknown_field", "website", "acme"]
    assert acme["first"] == "2026-03-02T08:30:00.000Z", "the receipt that the record carries, not its own time"
    assert acme["last"] > acme["first"]
    text = (await engage(worker.settings, "failed", "list", "--topic", "website")).stdout
    title, *rows = text.splitlines()
    assert title.split() == ["events", "reason", "topic", "site", "first", "last"]
    assert [row.split()[:4] for row in rows] == [
        ["2", "unknown_field", "website", "acme"],
        ["1", "unknown_field", "website", "other"],
        ["1", "wrong_topic", "website", "acme"],
    ]
    assert (await as_json(worker.settings, "failed", "list", "--reason", "unknown_field", "--site", "other"))["total"] == 1
    assert (await engage(worker.settings, "failed", "list", "--reason", "empty")).stdout == "No failed events.\n"


async def test_one_is_shown_in_full(worker: Worker) -> None:
    shown = {event["headers"].get("trace"): event for event in await as_json(worker.settings, "failed", "show", "--reason", "unknown_field")}
    traced = shown["t-1"]
    assert json.loads(traced["raw"])["colour"] == "red"
    assert (traced["path"], traced["topic"], traced["key"], traced["headers"]) == ("$.colour", "website", "acme/v:v1", {"trace": "t-1"})
    assert traced["received"] == "2026-03-02T08:30:00.000Z"
    by_place = await engage(worker.settings, "failed", "show", traced["place"])
    assert by_place.exit_code == 0
    lines = by_place.stdout.splitlines()
    assert lines[0] == f"{traced['place']}  unknown_field $.colour"
    assert lines[1].startswith("  page_viewed has no field 'colour'.")
    assert f"  came on   website, partition {traced['source_partition']}, offset {traced['source_offset']}, 2026-03-02T08:30:00.000Z" in lines
    assert "  header    trace: t-1" in lines
    assert '    "colour": "red"' in lines
    bare_offset = await as_json(worker.settings, "failed", "show", traced["place"].partition(":")[2])
    assert traced in bare_offset
    assert len(await as_json(worker.settings, "failed", "show", "--limit", "2")) == 2


async def test_bytes_that_are_no_text_are_shown_safely_and_given_exactly(worker: Worker) -> None:
    (event,) = await as_json(worker.settings, "failed", "show", "--reason", "not_utf8")
    assert event["raw_base64"] == "/xs="
    text = (await engage(worker.settings, "failed", "show", "--reason", "not_utf8")).stdout
    assert text.endswith("\n  \\xff\\x1b\n")
    tailed = await engage(worker.settings, "tail", "--failed", "--from-start", "--no-follow", "--type", "page_viewed", "--site", "other")
    (line,) = tailed.stdout.splitlines()
    assert "website unknown_field $.colour page_viewed has no field 'colour'" in line


async def test_nothing_found_is_1_and_no_place_is_2(worker: Worker) -> None:
    nothing = await engage(worker.settings, "failed", "show", "0:999999")
    assert (nothing.exit_code, nothing.stdout) == (1, "No such failed event.\n")
    wrong = await engage(worker.settings, "failed", "show", "0:x")
    assert wrong.exit_code == 2
    assert "'0:x' is no place; write PARTITION:OFFSET" in wrong.stderr
    assert (await engage(worker.settings, "failed", "replay")).exit_code == 2


async def test_without_an_answer_a_replay_only_counts(worker: Worker) -> None:
    before = len(await read(worker.settings, "website"))
    done = await engage(worker.settings, "failed", "replay", "--topic", "website")
    assert done.exit_code == 1
    assert done.stdout == "4 selected, 0 would be accepted now, 3 would fail again: unknown_field, 1 would fail again: wrong_topic.\nNothing was sent.\n"
    fixed = await engage(worker.settings, "failed", "replay", "--reason", "wrong_topic", "--fix", "topic")
    assert "1 would be accepted now" in fixed.stdout
    assert fixed.stdout.endswith("\nNothing was sent.\n")
    piped = await engage(worker.settings, "failed", "replay", "--reason", "wrong_topic", "--fix", "topic", stdin="y\n")
    assert piped.stdout == fixed.stdout, "no terminal, no question"
    assert await as_json(worker.settings, "failed", "replay", "--reason", "wrong_topic", "--fix", "topic") == {
        "selected": 2, "healed": 1, "refused": {"missing_field": 1}, "stuck": 0, "unplanned": 0, "sent": 0,
    }  # fmt: skip
    assert len(await read(worker.settings, "website")) == before
    assert await read(worker.settings, "reviews") == []


async def at_terminal(settings: Settings, arguments: Sequence[str], answer: bytes) -> tuple[int, str]:
    """Exit code and output of a command at a terminal on which somebody types an answer."""
    ours, theirs = os.openpty()
    environment = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)} | variables(settings)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "agents", *arguments, cwd=ROOT, env=environment, stdin=theirs, stdout=asyncio.subprocess.PIPE
    )
    os.close(theirs)
    assert process.stdout is not None
    asked = await asyncio.wait_for(process.stdout.readuntil(b"[y/N]: "), 20)
    os.write(ours, answer)
    said = await asyncio.wait_for(process.stdout.read(), 20)
    os.close(ours)
    return await process.wait(), (asked + said).decode()


async def test_at_a_terminal_it_asks(worker: Worker) -> None:
    arguments = ("failed", "replay", "--reason", "wrong_topic", "--fix", "topic", "--topic", "website")
    for answer, ending, number in ((b"n\n", "Nothing was sent.\n", 0), (b"y\n", "replaying them again counts nothing twice.\n", 1)):
        code, said = await at_terminal(worker.settings, arguments, answer)
        assert (code, said.endswith(ending), len(await read(worker.settings, "reviews"))) == (0, True, number), said


async def test_without_the_plan_what_a_plan_refused_stays_refused_and_it_is_said(worker: Worker, tmp_path: Path) -> None:
    value = json.dumps({"type": "track", "event": "Colour Chosen", "userId": "42", "messageId": "m-1", "timestamp": START}).encode()
    origin = Origin("acme", "segment", "track")
    headers = (("engage-reason", b"off_plan"), ("engage-topic", b"collector"), ("engage-timestamp", b"%d" % START), *origin.headers)
    await publish(worker.settings, [Message("failed", b"acme/", value, headers)])
    shown = (await engage(worker.settings, "failed", "show", "--reason", "off_plan")).stdout
    assert "  came by   HTTP to the collector, as segment track of acme, 2026-03-02T08:30:00.000Z\n" in shown
    arguments = ("failed", "replay", "--reason", "off_plan")
    bare = await engage(worker.settings, *arguments, "--yes")
    assert bare.exit_code == 1
    assert bare.stdout == "1 selected, 0 would be accepted now, 1 would fail again: off_plan.\nNothing was sent.\n"
    assert bare.stderr == "ENGAGE_COLLECTOR_PLAN is not set here: 1 that came by HTTP are judged without a tracking plan. Set it to the collector's.\n"
    plan = tmp_path / "plan.yml"
    for content, healed in (("default: {other_events: refuse}", 0), ("default: {other_events: allow}", 1)):
        plan.write_text(content)
        planned = await engage(worker.settings, *arguments, plan=plan)
        assert f"1 selected, {healed} would be accepted now" in planned.stdout
        assert planned.stderr == ""
    forced = await engage(worker.settings, *arguments, "--yes", "--unchecked")
    assert "1 published once more." in forced.stdout


async def test_one_that_names_a_wrong_topic_is_sent_to_the_right_one_and_counted_once(worker: Worker) -> None:
    arguments = ("failed", "replay", "--reason", "wrong_topic", "--fix", "topic", "--topic", "website")
    for answered in (await engage(worker.settings, *arguments, "--yes"), await engage(worker.settings, *arguments, "--yes")):
        assert answered.exit_code == 0, answered.output
        assert "1 published once more." in answered.stdout
    one, two = await read(worker.settings, "reviews")
    assert one.value == two.value == json.dumps(REVIEW).encode()
    assert one.key == b"acme/a:store/bo"
    assert [name for name, _ in one.headers] == [RECEIPT_HEADER]
    counts = await worker.count()
    assert (counts["received"], counts["applied"], counts["duplicate"]) == (9, 2, 1)


async def test_what_would_fail_again_is_sent_only_unchecked_as_it_came(worker: Worker) -> None:
    (original,) = [record for record in await read(worker.settings, "website") if TRACE in record.headers]
    counted = await worker.count()
    assert await as_json(worker.settings, "failed", "replay", "--reason", "unknown_field", "--site", "acme", "--yes") == {
        "selected": 2, "healed": 0, "refused": {"unknown_field": 2}, "stuck": 0, "unplanned": 0, "sent": 0,
    }  # fmt: skip
    forced = await engage(worker.settings, "failed", "replay", "--reason", "unknown_field", "--site", "acme", "--yes", "--unchecked")
    assert forced.exit_code == 1
    assert "2 published once more." in forced.stdout
    copies = [record for record in await read(worker.settings, "website") if TRACE in record.headers]
    assert [(copy.partition, copy.key, copy.value) for copy in copies] == [(original.partition, original.key, original.value)] * 2
    assert copies[1].headers == (TRACE, (RECEIPT_HEADER, b"%d" % START))
    again = await worker.count()
    assert again["failed.unknown_field"] == counted["failed.unknown_field"] + 2
    assert again["received"] == again["applied"] + sum(number for name, number in again.items() if name.startswith("failed."))


async def test_an_event_that_is_accepted_by_now_is_counted_with_its_old_receipt(worker: Worker) -> None:
    """As after an upgrade that knows the field: the record is what an older worker left."""
    old = (
        ("engage-reason", b"unknown_field"), ("engage-path", b"$.path"), ("engage-detail", b"no such field"), ("engage-topic", b"website"),
        ("engage-partition", b"3"), ("engage-offset", b"17"), ("engage-timestamp", b"%d" % (START + 5)), TRACE, ("engage-topic", b"state"),
    )  # fmt: skip
    await publish(worker.settings, [Message("failed", b"acme/v:new", json.dumps(GOOD | {"id": "n", "visitor": "new"}).encode(), old)])
    before = await worker.count()
    done = await engage(worker.settings, "failed", "replay", "--reason", "unknown_field", "--yes")
    assert done.exit_code == 1, "the other three would fail again"
    assert "4 selected, 1 would be accepted now, 3 would fail again: unknown_field." in done.stdout
    (copy,) = [record for record in await read(worker.settings, "website") if record.key == b"acme/v:new"]
    assert copy.partition == 3
    assert copy.headers == (TRACE, (RECEIPT_HEADER, b"%d" % (START + 5)))
    after = await worker.count()
    assert (after["applied"], after["received"]) == (before["applied"] + 1, before["received"] + 1)


async def test_a_record_that_names_no_event_topic_goes_nowhere(worker: Worker) -> None:
    await publish(worker.settings, [Message("failed", None, b"{}", (("engage-reason", b"empty"), ("engage-topic", b"state")))])
    assert await as_json(worker.settings, "failed", "replay", "--reason", "empty", "--unchecked", "--yes") == {
        "selected": 1, "healed": 0, "refused": {"unknown_topic": 1}, "stuck": 1, "unplanned": 0, "sent": 0,
    }  # fmt: skip


def failure(**changed: Any) -> Failure:
    base = Failure(0, 0, "unknown_field", "$", "", "website", 2, 7, START, b"acme/v:v1", json.dumps(GOOD).encode(), ())
    return base._replace(**changed)


def test_where_a_failure_goes() -> None:
    receipt = ((RECEIPT_HEADER, b"%d" % START),)
    assert route(failure(), "none") == ([Message("website", b"acme/v:v1", json.dumps(GOOD).encode(), receipt, 2)], None)
    assert route(failure(key=None), "none") == ([Message("website", b"acme/v:v1", json.dumps(GOOD).encode(), receipt, None)], None)
    assert route(failure(source_partition=-1), "none")[0] == [Message("website", b"acme/v:v1", json.dumps(GOOD).encode(), receipt, None)]
    assert route(failure(reason="too_old"), "none")[1] == "too_old"
    assert route(failure(headers=(("Content-Encoding", b"br"),)), "topic")[1] == e.Reason.UNSUPPORTED_ENCODING
    assert route(failure(topic=""), "topic") == ([], "unknown_topic")


def test_what_the_door_refused_is_translated_once_more() -> None:
    said = {
        "type": "track",
        "event": "Order Completed",
        "userId": "42",
        "messageId": "m-1",
        "timestamp": START,
        "properties": {"total": 12.5, "currency": "EUR"},
    }
    origin = Origin("acme", "segment", "track", sent_at=START + 500, opted_out=True)
    record = Message("failed", b"acme/", json.dumps(said).encode())._asdict() | {"partition": 1, "offset": 2, "timestamp": 3}
    headers = (("engage-reason", b"off_plan"), ("engage-topic", b"collector"), ("engage-timestamp", b"%d" % (START + 900)), *origin.headers)
    refused = failure_of(type("Record", (), record | {"headers": headers}))
    assert refused.origin == origin
    assert route(refused, "none") == ([], "missing_field"), "an order without its id"
    said["properties"]["order_id"] = "o-7"
    healed = refused._replace(value=json.dumps(said).encode())
    (sent,), why = route(healed, "none", load_plans("default: {other_events: allow}"))
    assert why is None
    assert route(healed, "none") == ([sent], "off_plan"), "nobody knows what the plan says by now"
    event = e.decode(sent.value, sent.topic)
    assert isinstance(event, e.OrderCompleted)
    assert (event.order, event.total_minor, event.sent_at, event.received_at) == ("o-7", 1_250, START + 500, START + 900)
    assert event.consent is not None
    assert event.consent.profiling is False, "what the request said of consent goes with it"
    off_plan = load_plans("default: {other_events: refuse}")
    assert route(healed, "none", off_plan) == ([], "off_plan")


def test_headers_that_cannot_be_read_do_no_harm() -> None:
    record = Message("failed", None, b"")._asdict() | {"partition": 1, "offset": 2, "timestamp": 3}
    read_back = failure_of(type("Record", (), record | {"headers": ((RECEIPT_HEADER, b"soon"), ("engage-timestamp", b"x"), ("a", None))}))
    assert (read_back.received, read_back.source_partition, read_back.reason, read_back.headers) == (3, -1, "", (("a", None),))
