"""`engage replay`: recorded events once more, in this process or through Kafka. docs/replay.md says what comes out."""

import asyncio
import gc
import gzip
import os
import sys
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any, BinaryIO

import click
from msgspec.structs import replace as changed
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from agents import admin
from agents.publishing import FlushFailedError, Publisher
from agents.settings import Settings, SettingsError
from streams import events as e
from streams.flow import Message
from streams.replay import CHUNK, TOPIC_ORDER, Replay, Routed, Router, chunked, encode_reading, shifted
from streams.sites import Sites, SitesError, load_sites

STDIN = "-"
NO_BROKER = "none"
MAX_LINE_BYTES = 500_000
"""A line beyond this is cut before it is published: it is refused for its size all the same, and fits a record."""
PACE_SECONDS = 0.02
GC_THRESHOLDS = (50_000, 20, 100)
"""As in the worker: rows are many and live long."""

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
        self._before = 0
        self._open: BinaryIO | None = None

    @property
    def share(self) -> float | None:
        """How much has been read, by bytes."""
        if STDIN in self.files or not self._size:
            return None
        here = self._open.tell() if self._open is not None else 0
        return min(1.0, (self._before + here) / self._size)

    def __iter__(self) -> Iterator[bytes]:
        for file in self.files:
            if file == STDIN:
                yield from _clean(sys.stdin.buffer)
                continue
            try:
                with Path(file).open("rb") as self._open, _unpacked(file, self._open) as lines:
                    yield from _clean(lines)
            except (OSError, EOFError, zlib.error) as error:
                raise ReplayError(f"{file} cannot be read to its end: {error}.") from error
            finally:
                self._open = None
            self._before += Path(file).stat().st_size


def _unpacked(file: str, raw: BinaryIO) -> AbstractContextManager[Iterable[bytes]]:
    return gzip.open(raw) if file.endswith(".gz") else nullcontext(raw)


def _clean(lines: Iterable[bytes]) -> Iterator[bytes]:
    for line in lines:
        text = line.rstrip(b"\r\n")
        if text.strip():
            yield text


def _span(files: Sequence[str]) -> tuple[int, int]:
    """First and last event time of the input."""
    first, last = None, 0
    for line in Lines(files):
        event = e.decode(line)
        if not isinstance(event, e.Rejected):
            at = e.event_time(event) or 0
            first = at if first is None else min(first, at)
            last = max(last, at)
    return first or 0, last


def _read(lines: Iterable[bytes], by: int) -> Iterator[bytes]:
    return (shifted(line, by) for line in lines) if by else iter(lines)


def _shift(files: Sequence[str], speed: float | None) -> int:
    """By how much the events are moved so that the last one happens at the moment it is published."""
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
    findings = [finding for finding in await admin.check_topics(settings) if finding.fatal]
    if findings:
        raise ReplayError(f"{findings[0]} `engage topics create` makes the topics.")
    by = await asyncio.to_thread(_shift, files, speed) if rebase else 0
    failures: list[BaseException] = []
    publisher = Publisher(settings.client_kwargs(), settings.topic_prefix, on_failure=failures.append)
    router, lines, pace = Router(settings.partitions), Lines(files), _Pace(speed)
    counts: Counter[str] = Counter()
    chunks = chunked(_read(lines, by), CHUNK if speed is None else CHUNK // 10)
    await publisher.start()
    try:
        while chunk := await asyncio.to_thread(next, chunks, None):
            pending: list[Routed] = []
            for line in chunk:
                routed = router.route(line)
                if (seconds := pace.until(routed.at)) > PACE_SECONDS:
                    await _send(publisher, pending)
                    pending.clear()
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
    running = Replay(sites, partitions)
    done = 0
    for chunk in chunked(_read(lines, by)):
        running.feed(chunk)
        done += len(chunk)
        on_progress(done, lines.share)
    return running


# --- command ---------------------------------------------------------------------------------------------------------


EXAMPLES = """\b
Examples:
  engage replay events.jsonl
  engage replay --broker none --readings readings.jsonl march.jsonl.gz
  engage replay --speed 60 --rebase now events.jsonl
"""


@click.command("replay", epilog=EXAMPLES)
@click.argument("files", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, readable=True, allow_dash=True))
@click.option("--broker", metavar="none|ADDRESS", help="`none` counts in this process; otherwise events go to Kafka (default: the settings' broker).")
@click.option("--readings", "out", type=click.Path(dir_okay=False, writable=True), metavar="OUT", help="Where `--broker none` writes readings (default: -).")
@click.option("--speed", type=click.FloatRange(min=0, min_open=True), metavar="N", help="N times as fast as it once happened (default: as fast as possible).")
@click.option("--rebase", type=click.Choice(["now"]), help="Move all times so that the last event happens when it is published.")
@click.option("--partitions", type=click.IntRange(1, 1024), default=8, show_default=True, help="Partitions of `--broker none`; must be those of the topics.")
def replay(files: tuple[str, ...], broker: str | None, out: str | None, speed: float | None, rebase: str | None, partitions: int) -> None:
    """Replay FILES of events (JSON lines, also .gz; `-` is standard input)."""
    if rebase and STDIN in files:
        raise click.UsageError("--rebase reads its files twice, which standard input cannot do; save it to a file first.")
    try:
        settings = Settings.from_env(os.environ)
        if broker == NO_BROKER:
            if speed is not None:
                raise click.UsageError("--speed is for a broker; --broker none always counts as fast as it can.")
            sys.exit(_count(settings, files, out or STDIN, partitions, rebase is not None))
        if out is not None:
            raise click.UsageError("--readings is written by --broker none; with a broker, readings are on the topic `readings`.")
        _publish(changed(settings, broker=broker) if broker else settings, files, speed, rebase is not None)
    except (ReplayError, SettingsError, SitesError, admin.UnreachableError, admin.RefusedError) as error:
        click.echo(f"engage replay: {_text(error)}", err=True)
        sys.exit(2 if isinstance(error, SettingsError | SitesError) else 1)


def _count(settings: Settings, files: Sequence[str], out: str, partitions: int, rebase: bool) -> int:
    sites = load_sites(Path(settings.sites).read_text(encoding="utf-8"), settings.sites) if settings.sites else Sites()
    gc.set_threshold(*GC_THRESHOLDS)
    with progress() as on_progress:
        running = replay_here(Lines(files), sites, partitions, _shift(files, None) if rebase else 0, on_progress)
    with click.open_file(out, "wb") as file:
        for reading in running.readings():
            file.write(encode_reading(reading))
    counts = running.accounting()
    click.echo("\n".join(f"{name} {number}" for name, number in counts.items()), err=True)
    return 0 if not counts["unaccounted"] else 1


def _publish(settings: Settings, files: Sequence[str], speed: float | None, rebase: bool) -> None:
    with progress() as on_progress:
        counts = asyncio.run(publish(settings, files, speed, rebase, on_progress))
    for topic in TOPIC_ORDER:
        click.echo(f"{topic} {counts.get(topic, 0)}", err=True)


@contextmanager
def progress() -> Iterator[OnProgress]:
    """A bar on standard error where that is a terminal, nothing elsewhere."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.fields[lines]:,} events"), BarColumn(), TextColumn("{task.percentage:>3.0f} %"), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("replay", total=None, lines=0)

        def show(lines: int, share: float | None) -> None:
            known: dict[str, Any] = {} if share is None else {"total": 1.0, "completed": share}
            bar.update(task, lines=lines, **known)

        yield show


def _text(error: BaseException) -> str:
    return str(error) or repr(error)
