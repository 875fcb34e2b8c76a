"""`engage send`: own events to their topics, judged as a worker will judge them before anything leaves."""

import asyncio
import json
import threading
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from typing import Any, NamedTuple

import click
import msgspec
from aiokafka.errors import KafkaError

from agents.admin import RefusedError
from agents.publishing import FlushFailedError, Publisher
from agents.replay import MAX_LINE_BYTES, Numbered, ReplayError
from agents.settings import Settings
from agents.tail import need_topic, partition_counts, printable
from streams import events as e
from streams.flow import Message
from streams.replay import Router

KEPT_FAULTS = 100
"""Faults that are named; the others are counted."""

NAMED_FAULTS = 20
"""Of those, lines that the summary names."""


class Fault(NamedTuple):
    """A line that is no event."""

    line: int
    reason: str
    path: str
    detail: str


class Sent:
    """What became of the lines."""

    def __init__(self) -> None:
        self.lines = 0
        self.topics: Counter[str] = Counter()
        """Events that went to each topic; that would go there, where nothing is sent."""
        self.refused: Counter[str] = Counter()
        """Lines that are no events, by reason."""
        self.faults: list[Fault] = []

    def fields(self) -> dict[str, Any]:
        return {
            "lines": self.lines, "sent": self.topics.total(), "topics": dict(self.topics), "refused": dict(self.refused),
            "faults": [fault._asdict() for fault in self.faults],
        }  # fmt: skip


# --- one event -------------------------------------------------------------------------------------------------------


def compose(name: str | None, site: str | None, arguments: Iterable[str], *, example: bool) -> tuple[bytes, list[str]]:
    """One event from what a person types, and which of its fields were filled in (`id`, `at`). Raises click.UsageError.

    A value is JSON where the field takes it so, else text: `score=9` is a number, `customer=42` a text.
    """
    fields: dict[str, Any] = {} if name is None else {"type": name}
    if example and name is not None:
        fields = {field: value for field, value in e.EXAMPLES[name].items() if field not in ("id", "at")}
    if site is not None:
        fields["site"] = site
    kinds = _kinds(e.TYPES.get(name or ""))
    for argument in arguments:
        field, equals, text = argument.partition("=")
        if not equals or not field:
            raise click.UsageError(f"{argument!r} is no field; write KEY=VALUE, for instance visitor=v1.")
        fields[field] = _typed(text, kinds.get(field, Any))
    now = time.time()
    missing = {"id": str(uuid.uuid4()), "at": datetime.fromtimestamp(now, UTC).isoformat(timespec="milliseconds")}
    filled = [field for field in missing if field not in fields]
    return msgspec.json.encode(fields | {field: missing[field] for field in filled}), filled


def _kinds(struct: type[e.Event] | None) -> Mapping[str, Any]:
    return {} if struct is None else {field.name: field.type for field in msgspec.structs.fields(struct)}


def _typed(text: str, kind: Any) -> Any:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return text
    for candidate in (value, text):
        try:
            msgspec.convert(candidate, kind)
        except (msgspec.ValidationError, OverflowError):
            continue
        return candidate
    return value


# --- sending ---------------------------------------------------------------------------------------------------------


def judged(lines: Iterable[Numbered], sent: Sent, router: Router, *, unchecked: bool) -> Iterator[Message]:
    """What of the lines is to be sent; the others are counted, and the first are named in `sent`."""
    for number, line in lines:
        sent.lines += 1
        routed = router.route(line)
        if routed.at is None and isinstance(fault := e.decode(line), e.Rejected):
            sent.refused[fault.reason] += 1
            if len(sent.faults) < KEPT_FAULTS:
                sent.faults.append(Fault(number, str(fault.reason), fault.path, fault.detail))
            if not unchecked:
                continue
        sent.topics[routed.topic] += 1
        yield Message(routed.topic, routed.key, routed.value[:MAX_LINE_BYTES])


def check(blocks: Iterable[list[Numbered]], on_progress: Callable[[Sent], None]) -> Sent:
    """Judge the lines and send nothing; needs no broker."""
    sent, router = Sent(), Router(1)
    for lines in blocks:
        for _ in judged(lines, sent, router, unchecked=False):
            pass
        on_progress(sent)
    return sent


async def _beside(blocks: Iterable[list[Numbered]]) -> AsyncIterator[list[Numbered]]:
    """The blocks, read by a thread that nobody waits for: Ctrl-C must not wait for standard input to end."""
    loop, queue = asyncio.get_running_loop(), asyncio.Queue[list[Numbered] | Exception | None]()
    room = threading.Semaphore(2)

    def put(item: list[Numbered] | Exception | None) -> None:
        room.acquire()
        loop.call_soon_threadsafe(queue.put_nowait, item)

    def read() -> None:
        with suppress(RuntimeError):  # the loop has ended before us
            try:
                for lines in blocks:
                    put(lines)
            except (ReplayError, OSError) as error:
                put(error)
            put(None)

    threading.Thread(target=read, name="input", daemon=True).start()
    while (item := await queue.get()) is not None:
        room.release()
        if isinstance(item, Exception):
            raise item
        yield item


async def send(settings: Settings, blocks: Iterable[list[Numbered]], on_progress: Callable[[Sent], None], *, unchecked: bool) -> Sent:
    """Send each block and wait until all copies have it. Raises UnreachableError, RefusedError, or ReplayError from the blocks."""
    counts = await partition_counts(settings)
    sent, router = Sent(), Router(1)
    async with open_publisher(settings) as publisher:
        async for lines in _beside(blocks):
            messages = list(judged(lines, sent, router, unchecked=unchecked))
            for topic in sent.topics:
                need_topic(settings, topic, counts)
            await publisher.send_and_wait(messages)
            on_progress(sent)
    return sent


@asynccontextmanager
async def open_publisher(settings: Settings) -> AsyncIterator[Publisher]:
    """An idempotent producer that waits for all copies. Raises RefusedError for what Kafka does not take."""
    unawaited: list[BaseException] = []  # `send_and_wait` raises by itself
    publisher = Publisher(settings.client_kwargs(), settings.topic_prefix, on_failure=unawaited.append)
    try:
        await publisher.start()
        yield publisher
    except FlushFailedError as error:
        raise RefusedError(f"Kafka did not take everything: {error}. What it took counts once, so the same command may be given again.") from None
    except KafkaError as error:
        who = f"user {settings.username!r}" if settings.username else "us"
        raise RefusedError(f"Kafka does not let {who} write: {error!r}. Grant Write on the event topics, see docs/brokers.md.") from None
    finally:
        await publisher.stop()


def summary(sent: Sent, settings: Settings, *, numbered: bool, verb: str, unchecked: bool) -> Iterator[str]:
    """The first faults, then one sentence on all."""
    for fault in sent.faults[:NAMED_FAULTS]:
        where = f"line {fault.line}: " if numbered else ""
        yield f"{where}{click.style(fault.reason, fg='red')} {printable(fault.path)}: {printable(fault.detail)}"
    if (more := sent.refused.total() - NAMED_FAULTS) > 0:
        reasons = ", ".join(f"{number} {reason}" for reason, number in sent.refused.most_common())
        yield f"… and {more} more; in all {reasons}"
    topics = ", ".join(f"{number} to {settings.topic(topic)}" for topic, number in sorted(sent.topics.items()))
    no_events = f"; {sent.refused.total()} no events{' (sent all the same)' if unchecked else ''}" if sent.refused else ""
    yield f"{sent.topics.total()} of {sent.lines} {verb}{f' ({topics})' if topics else ''}{no_events}."
