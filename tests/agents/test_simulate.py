"""`engage simulate` on the embedded broker: what it says it sent is what is there."""

import asyncio
import json
import time
from collections import Counter
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from click.testing import CliRunner
from msgspec.structs import replace

from agents.__main__ import cli
from agents.admin import RefusedError
from agents.settings import Settings
from agents.simulate import AT_ONCE, JUST_NOW, MOST_BEHIND, simulate
from simulator.shop import Shop
from streams.intake import RECEIPT_HEADER
from streams.panes import HOUR
from streams.topics import EVENT_TOPICS


def now() -> int:
    return int(time.time() * 1000)


async def published(settings: Settings) -> list[Any]:
    """Every record on the event topics."""
    found = []
    async with AIOKafkaConsumer(**settings.client_kwargs(), fetch_max_wait_ms=50, auto_offset_reset="earliest") as consumer:
        places = [TopicPartition(settings.topic(topic), partition) for topic in EVENT_TOPICS for partition in range(settings.partitions)]
        consumer.assign(places)
        ends = await consumer.end_offsets(places)
        await consumer.seek_to_beginning()
        while len(found) < sum(ends.values()):
            for records in (await consumer.getmany(timeout_ms=1_000)).values():
                found += records
    return found


async def test_what_was_sent_is_there(embedded_topics: Settings) -> None:
    live = now()
    shop, stop, lasts = Shop(1, live, rate=200, history=3 * HOUR), asyncio.Event(), []

    def look(sent: Any) -> None:
        lasts.append(sent.due)
        if live + 1_500 < sent.due and sent.due > now() - JUST_NOW:  # so that something was sent as live, however slow the machine
            stop.set()

    tally = await simulate(embedded_topics, shop, stop=stop, on_progress=look)
    records = await published(embedded_topics)
    assert len(records) == tally.sent > 5_000
    assert Counter(record.topic.removeprefix(embedded_topics.topic_prefix) for record in records) == tally.topics
    assert lasts == sorted(lasts)
    expected = Counter((sent.key.encode(), sent.value) for sent in Shop(1, live, rate=200, history=3 * HOUR).take(lasts[-1], tally.sent))
    assert Counter((record.key, record.value) for record in records) == expected
    receipts = [dict(record.headers).get(RECEIPT_HEADER) for record in records]
    past = [int(receipt) for receipt in receipts if receipt is not None]
    assert live - 3 * HOUR <= min(past) < live
    assert max(past) <= now(), "also what a slow machine was late with"
    assert 0 < receipts.count(None) < len(receipts) / 2
    assert all(record.timestamp >= live for record, receipt in zip(records, receipts, strict=True) if receipt is None)


async def test_it_waits_for_a_worker_that_is_behind(embedded_topics: Settings) -> None:
    shop, stop = Shop(2, now(), history=8 * HOUR, rate=100), asyncio.Event()
    applied, most = 0, 0

    async def behind() -> int:
        nonlocal applied, most
        waiting = shop.tally.sent - applied
        most = max(most, waiting)
        applied += min(waiting, 100)
        if shop.tally.sent >= 10_000:
            stop.set()
        return waiting

    tally = await simulate(embedded_topics, shop, stop=stop, behind=behind)
    assert MOST_BEHIND < most <= MOST_BEHIND + AT_ONCE
    assert tally.sent == len(await published(embedded_topics)) >= 10_000


async def test_topics_that_are_missing_are_named(embedded_topics: Settings) -> None:
    with pytest.raises(RefusedError, match=r"exists. Run `engage topics create`\.$"):
        await simulate(replace(embedded_topics, topic_prefix="elsewhere."), Shop(1, now()), stop=asyncio.Event())


def test_the_command_says_what_it_sent(embedded_topics: Settings) -> None:
    environment = {
        "ENGAGE_BROKER": embedded_topics.broker,
        "ENGAGE_TOPIC_PREFIX": embedded_topics.topic_prefix,
        "ENGAGE_PARTITIONS": str(embedded_topics.partitions),
    }
    arguments = ["--history", "1h", "--duration", "1500ms", "--rate", "100", "--sites", "shop", "--incident", "bot_wave@0+1s*5"]
    result = CliRunner().invoke(cli, ["simulate", *arguments], env=environment)
    assert result.exit_code == 0, result.output
    tally = json.loads(result.stdout.splitlines()[-1])
    assert tally["received"] == sum(tally[verdict] for verdict in ("applied", "late", "duplicate", "bot", "failed", "refused"))
    assert tally["bot"] > 100
    assert "events sent" in result.stderr
    assert len(asyncio.run(published(embedded_topics))) == tally["received"]


def test_a_broker_that_is_not_there_is_a_sentence() -> None:
    result = CliRunner().invoke(cli, ["simulate"], env={"ENGAGE_BROKER": "127.0.0.1:1"})
    assert result.exit_code == 2
    assert result.stderr.startswith("Error: No Kafka answers")
    assert not result.stdout


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--incident", "storm@1s+1s"], "there are feedback_storm"),
        (["--history", "26x"], "no duration"),
        (["--sites", "shop,shpo"], "There is no site shpo; there are shop, app."),
        (["--rate", "0"], "0.1<=x"),
    ],
)
def test_wrong_usage_is_a_sentence(arguments: list[str], complaint: str) -> None:
    result = CliRunner().invoke(cli, ["simulate", *arguments])
    assert result.exit_code == 2
    assert complaint in result.stderr
