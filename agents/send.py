"""`engage send`: own events to their topics, judged as a worker will judge them before anything leaves."""

import asyncio
import gzip
import json
import threading
import time
import uuid
import zlib
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import click
import msgspec
from aiokafka.errors import KafkaError

from agents.admin import RefusedError
from agents.publishing import FlushFailedError, Publisher
from agents.replay import MAX_LINE_BYTES, STDIN
from agents.settings import Settings
from agents.tail import need_topic, partition_counts
from streams import events as e
from streams.flow import Message
from streams.replay import Router

BLOCK_BYTES = 1 << 18
KEPT_FAULTS = 100
"""Faults that are named; the others are counted."""

Numbered = tuple[int, bytes]
"""A line and its number in the file, from 1."""


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


# --- lines -----------------------------------------------------------------------------------------------------------


class Input:
    """The lines of a file (`.gz` is unpacked, `-` is standard input), in blocks as they come: what is piped in is not held back."""

    def __init__(self, file: str) -> None:
        self.file = file
        self._raw: BinaryIO | None = None

    @property
    def share(self) -> float | None:
        """How much has been read; None where nobody knows."""
        raw = self._raw  # another thread reads, and closes it
        if raw is None or self.file == STDIN or not (size := Path(self.file).stat().st_size):
            return None
        try:
            return min(1.0, raw.tell() / size)
        except ValueError:
            return 1.0

    def blocks(self) -> Iterator[list[Numbered]]:
        """Raises RefusedError for a file that cannot be read to its end."""
        if self.file == STDIN:
            yield from _blocks(click.get_binary_stream("stdin"))
            return
        try:
            with Path(self.file).open("rb") as self._raw, _unpacked(self.file, self._raw) as stream:
                yield from _blocks(stream)
        except (OSError, EOFError, zlib.error) as error:
            raise RefusedError(f"{self.file} cannot be read to its end: {error}.") from None
        finally:
            self._raw = None


def _unpacked(file: str, raw: BinaryIO) -> AbstractContextManager[Any]:
    return gzip.open(raw) if file.endswith(".gz") else nullcontext(raw)


def _blocks(stream: Any) -> Iterator[list[Numbered]]:
    rest, number = b"", 1
    while data := stream.read1(BLOCK_BYTES):
        *lines, rest = (rest + data).split(b"\n")
        yield _clean(enumerate(lines, number))
        number += len(lines)
    yield _clean([(number, rest)])


def _clean(lines: Iterable[Numbered]) -> list[Numbered]:
    """Without line ends and blank lines."""
    return [(number, text) for number, line in lines if (text := line.rstrip(b"\r")).strip()]


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
            except (RefusedError, OSError) as error:
                put(error)
            put(None)

    threading.Thread(target=read, name="input", daemon=True).start()
    while (item := await queue.get()) is not None:
        room.release()
        if isinstance(item, Exception):
            raise item
        yield item


async def send(settings: Settings, blocks: Iterable[list[Numbered]], on_progress: Callable[[Sent], None], *, unchecked: bool) -> Sent:
    """Send each block and wait until all copies have it. Raises UnreachableError or RefusedError."""
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
