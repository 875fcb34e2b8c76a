"""`engage replay`: recorded events once more, in this process or through Kafka. docs/replay.md says what comes out."""

import asyncio
import gc
import gzip
import sys
import threading
import time
import zlib
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from agents import admin
from agents.publishing import FlushFailedError, Publisher
from agents.settings import Settings
from streams import events as e
from streams.flow import Message
from streams.replay import CHUNK, TOPIC_ORDER, Replay, Routed, Router, chunked, shifted
from streams.sites import Sites

STDIN = "-"
BLOCK_BYTES = 1 << 18
MAX_LINE_BYTES = 500_000
"""A line beyond this is cut before it is published: it is refused for its size all the same, and fits a record."""
PACE_SECONDS = 0.02
GC_THRESHOLDS = (50_000, 20, 100)
"""Seldom, for rows are many and live long; less seldom than in the worker, which is not over soon."""

T = TypeVar("T")

Numbered = tuple[int, bytes]
"""A line and its number in its file, from 1."""
OnProgress = Callable[[int, float | None], None]
"""Lines so far, and which share of the input they are (None where nobody knows)."""


class ReplayError(Exception):
    """The input or the broker cannot be used; the text says what to do."""


# --- input -----------------------------------------------------------------------------------------------------------


class Lines:
    """The lines of JSON-lines files, one after the other (`.gz` is unpacked, `-` is standard input); blank ones are skipped."""

    def __init__(self, files: Iterable[str]) -> None:
        self.files = tuple(files)
        self._size = sum(Path(file).stat().st_size for file in self.files if file != STDIN)
        self._read = 0

    @property
    def share(self) -> float | None:
        """How much has been read, by bytes; None where nobody knows. May be asked while another thread reads."""
        if STDIN in self.files or not self._size:
            return None
        return min(1.0, self._read / self._size)

    def __iter__(self) -> Iterator[bytes]:
        return (line for block in self.blocks() for _, line in block)

    def blocks(self) -> Iterator[list[Numbered]]:
        """The lines as they come: what is piped in is not held back. Raises ReplayError for a file that cannot be read to its end."""
        for file in self.files:
            if file == STDIN:
                stdin = sys.stdin.buffer  # below its buffer: whoever waits there holds a lock that the end of the program needs
                yield from _blocks(getattr(stdin, "raw", stdin).read)
                continue
            before = self._read
            try:
                with Path(file).open("rb") as raw, _unpacked(file, raw) as stream:
                    for block in _blocks(stream.read1):
                        self._read = before + raw.tell()
                        yield block
            except (OSError, EOFError, zlib.error) as error:
                raise ReplayError(f"{file} cannot be read to its end: {getattr(error, 'strerror', None) or error}.") from error


def _unpacked(file: str, raw: BinaryIO) -> AbstractContextManager[Any]:
    return gzip.open(raw) if file.endswith(".gz") else nullcontext(raw)


def _blocks(read: Callable[[int], bytes]) -> Iterator[list[Numbered]]:
    rest, number = b"", 1
    while data := read(BLOCK_BYTES):
        *lines, rest = (rest + data).split(b"\n")
        yield _clean(enumerate(lines, number))
        number += len(lines)
    yield _clean([(number, rest)])


def _clean(lines: Iterable[Numbered]) -> list[Numbered]:
    """Without line ends and blank lines."""
    return [(number, text) for number, line in lines if (text := line.rstrip(b"\r")).strip()]


async def read_beside(items: Iterable[T]) -> AsyncIterator[T]:
    """The items, read by a thread that nobody waits for: Ctrl-C must not wait for standard input to end."""
    loop, queue = asyncio.get_running_loop(), asyncio.Queue[tuple[T] | Exception | None]()
    room = threading.Semaphore(2)

    def put(item: tuple[T] | Exception | None) -> None:
        room.acquire()
        loop.call_soon_threadsafe(queue.put_nowait, item)

    def read() -> None:
        with suppress(RuntimeError):  # the loop has ended before us
            try:
                for item in items:
                    put((item,))
            except Exception as error:
                put(error)
            put(None)

    threading.Thread(target=read, name="input", daemon=True).start()
    while (item := await queue.get()) is not None:
        room.release()
        if isinstance(item, Exception):
            raise item
        yield item[0]


def _span(files: Sequence[str]) -> tuple[int, int]:
    """First and last event time of the input."""
    first, last = None, 0
    for line in Lines(files):
        event = e.decode(line)
        if not isinstance(event, e.Rejected) and (at := e.event_time(event)) is not None:
            first = at if first is None else min(first, at)
            last = max(last, at)
    return first or 0, last


def _read(lines: Iterable[bytes], by: int) -> Iterator[bytes]:
    return (shifted(line, by) for line in lines) if by else iter(lines)


def shift_to_now(files: Sequence[str], speed: float | None = None) -> int:
    """By how much (ms) events are moved so that the last one happens at the moment it is published."""
    first, last = _span(files)
    ahead = (last - first) / speed if speed else 0
    return int(time.time() * 1000 + ahead) - last if last else 0


# --- through Kafka ---------------------------------------------------------------------------------------------------


async def publish(
    settings: Settings, files: Sequence[str], speed: float | None = None, rebase: bool = False, on_progress: OnProgress = lambda *_: None
) -> dict[str, int]:
    """Publish the lines of files to the event topics; returns how many went to each.

    Every record carries its receipt, so a worker judges it as `--broker none` does. With `speed` the events keep their
    distance in time, divided by it. Raises ReplayError, or what `agents.admin` says about the broker.
    """
    await admin.require_topics(settings)
    by = await asyncio.to_thread(shift_to_now, files, speed) if rebase else 0
    failures: list[BaseException] = []
    publisher = Publisher(settings.client_kwargs(), settings.topic_prefix, on_failure=failures.append)
    router, lines, pace = Router(settings.partitions), Lines(files), _Pace(speed)
    counts: Counter[str] = Counter()
    chunks = chunked(_read(lines, by), CHUNK if speed is None else CHUNK // 10)
    await publisher.start()
    try:
        async for chunk in read_beside(chunks):
            pending: list[Routed] = []
            for line in chunk:
                routed = router.route(line)
                if (seconds := pace.until(routed.at)) > PACE_SECONDS:
                    await _send(publisher, pending)
                    pending.clear()
                    on_progress(counts.total(), lines.share)
                    await asyncio.sleep(seconds)
                pending.append(routed)
                counts[routed.topic] += 1
            await _send(publisher, pending)
            on_progress(counts.total(), lines.share)
    except FlushFailedError as error:
        raise ReplayError(f"Kafka stopped taking events ({error}). {counts.total()} lines were tried; start again once it answers.") from error
    finally:
        await publisher.stop()
    return dict(counts)


class _Pace:
    """When an event is due, `speed` times as fast as it once came."""

    def __init__(self, speed: float | None) -> None:
        self._speed = speed
        self._first: int | None = None
        self._started = time.monotonic()

    def until(self, at: int | None) -> float:
        """Seconds until the event is due; 0 or less when it is."""
        if self._speed is None or at is None:
            return 0.0
        if self._first is None:
            self._first = at
        return self._started + (at - self._first) / 1000 / self._speed - time.monotonic()


async def _send(publisher: Publisher, pending: Sequence[Routed]) -> None:
    """Publish and wait; consent and identity are acknowledged before what depends on them."""
    for customers in (True, False):
        part = [routed for routed in pending if (routed.topic == TOPIC_ORDER[0]) is customers]
        if part:
            await publisher.send_and_wait(Message(r.topic, r.key, r.value[:MAX_LINE_BYTES], r.headers, r.partition) for r in part)


# --- in this process -------------------------------------------------------------------------------------------------


def replay_here(lines: Lines, sites: Sites, partitions: int, by: int = 0, on_progress: OnProgress = lambda *_: None) -> Replay:
    """Feed all lines to the core in this process."""
    gc.set_threshold(*GC_THRESHOLDS)
    running = Replay(sites, partitions)
    done = 0
    for chunk in chunked(_read(lines, by)):
        running.feed(chunk)
        done += len(chunk)
        on_progress(done, lines.share)
    return running
