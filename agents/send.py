"""`engage send`: own events to their topics, judged as a worker will judge them before anything leaves."""

import json
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

import click
import msgspec
from aiokafka.errors import KafkaError

from agents.admin import RefusedError
from agents.publishing import FlushFailedError, Publisher
from agents.reading import need_topic, partition_counts
from agents.replay import MAX_LINE_BYTES, Numbered, read_beside
from agents.settings import Settings
from agents.tail import printable
from streams import events as e
from streams.examples import EXAMPLES
from streams.flow import Message
from streams.intake import NEVER_LATE
from streams.panes import AHEAD_OF_RECEIPT, GRACE, TOO_OLD, Pane
from streams.replay import Router

KEPT_FAULTS = 100
"""Faults that are named; the others are counted."""

NAMED_FAULTS = 20
"""Of those, lines that the summary names."""

TOO_OLD_TEXT: Final = "More than 400 days ago: a worker that has read events of today counts it as failed. `engage replay` is for recorded events."
REMARKS: Final = {
    "late": "from more than 8 days ago; a worker that has read events of today does not count them",
    "clamped": "more than a minute ahead of the receipt; a worker counts them as of their receipt",
}
"""What a worker will make of the time of events that are sent all the same."""


class Fault(NamedTuple):
    """A line that is no event, or that a worker would count as failed."""

    line: int
    reason: str
    path: str
    detail: str


class Sent:
    """What became of the lines."""

    def __init__(self) -> None:
        self.lines = 0
        self.topics: Counter[str] = Counter()
        """Events that go to each topic."""
        self.acknowledged = 0
        """Of these, events that all copies have."""
        self.refused: Counter[str] = Counter()
        """Lines that are not sent, by reason; with `--unchecked` they are sent all the same."""
        self.faults: list[Fault] = []
        self.remarks: Counter[str] = Counter()
        """Events by what a worker will make of their time."""

    def fields(self) -> dict[str, Any]:
        return {
            "lines": self.lines, "sent": self.acknowledged, "topics": dict(self.topics), "refused": dict(self.refused), "remarks": dict(self.remarks),
            "faults": [fault._asdict() for fault in self.faults],
        }  # fmt: skip


# --- one event -------------------------------------------------------------------------------------------------------


def compose(name: str | None, site: str | None, arguments: Iterable[str], *, example: bool) -> tuple[bytes, list[str]]:
    """One event from what a person types, and which of its fields were filled in (`id`, `at`). Raises click.UsageError.

    A value is JSON where the field takes it so, else text: `score=9` is a number, `customer=42` a text.
    """
    fields: dict[str, Any] = {} if name is None else {"type": name}
    if example and name is not None:
        fields = {field: value for field, value in EXAMPLES[name].items() if field not in ("id", "at")}
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


def foreseen(event: e.Event, now: int) -> str | None:
    """What a worker makes of the time of an event that reaches it now (ms), after others of today: `too_old`, `late`, `clamped`, or nothing."""
    at, receipt = e.event_time(event, now) or 0, now if event.received_at is None else e.millis(event.received_at)
    if at > receipt + AHEAD_OF_RECEIPT:
        return "clamped"
    if at < now - TOO_OLD:
        return e.Reason.TOO_OLD
    return "late" if at < now - GRACE[Pane.DAY] and not isinstance(event, NEVER_LATE) else None


def judged(lines: Iterable[Numbered], sent: Sent, router: Router, *, unchecked: bool) -> Iterator[Message]:
    """What of the lines is to be sent; the others are counted, and the first are named in `sent`."""
    now = int(time.time() * 1000)
    for number, line in lines:
        sent.lines += 1
        routed = router.route(line)
        if routed.at is None or not now - GRACE[Pane.DAY] <= routed.at <= min(now, routed.receipt):  # else there is nothing to say of it
            event = e.decode(line)
            remark = None if isinstance(event, e.Rejected) else foreseen(event, now)
            if remark == e.Reason.TOO_OLD:
                event = e.Rejected(e.Reason.TOO_OLD, "$.at", TOO_OLD_TEXT)
            if isinstance(event, e.Rejected):
                sent.refused[event.reason] += 1
                if len(sent.faults) < KEPT_FAULTS:
                    sent.faults.append(Fault(number, str(event.reason), event.path, event.detail))
                if not unchecked:
                    continue
            elif remark is not None:
                sent.remarks[remark] += 1
        sent.topics[routed.topic] += 1
        yield Message(routed.topic, routed.key, routed.value[:MAX_LINE_BYTES])


def check(blocks: Iterable[list[Numbered]], sent: Sent, on_progress: Callable[[Sent], None]) -> None:
    """Judge the lines and send nothing; needs no broker."""
    router = Router(1)
    for lines in blocks:
        for _ in judged(lines, sent, router, unchecked=False):
            pass
        on_progress(sent)


async def send(settings: Settings, blocks: Iterable[list[Numbered]], sent: Sent, on_progress: Callable[[Sent], None], *, unchecked: bool) -> None:
    """Send each block and wait until all copies have it; `sent` says how far it came. Raises UnreachableError, RefusedError, or ReplayError from the blocks."""
    counts = await partition_counts(settings)
    router = Router(1)
    async with open_publisher(settings) as publisher:
        async for lines in read_beside(blocks):
            messages = list(judged(lines, sent, router, unchecked=unchecked))
            for topic in sent.topics:
                need_topic(settings, topic, counts)
            await publisher.send_and_wait(messages)
            sent.acknowledged += len(messages)
            on_progress(sent)


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


def summary(sent: Sent, settings: Settings, *, numbered: bool, dry_run: bool, unchecked: bool) -> Iterator[str]:
    """The first faults, then one sentence on all, and one on those whose time is odd."""
    for fault in sent.faults[:NAMED_FAULTS]:
        where = f"line {fault.line}: " if numbered else ""
        yield f"{where}{click.style(fault.reason, fg='red')} {printable(fault.path)}: {printable(fault.detail)}"
    if (more := sent.refused.total() - NAMED_FAULTS) > 0:
        reasons = ", ".join(f"{number} {reason}" for reason, number in sent.refused.most_common())
        yield f"… and {more} more; in all {reasons}"
    topics = ", ".join(f"{number} to {settings.topic(topic)}" for topic, number in sorted(sent.topics.items()))
    done = f"{sent.topics.total()} of {sent.lines} would be sent" if dry_run else f"{sent.acknowledged} of {sent.lines} sent"
    refused = f"; {sent.refused.total()} refused{', and sent all the same' if unchecked and not dry_run else ''}" if sent.refused else ""
    yield f"{done}{f' ({topics})' if topics else ''}{refused}."
    for remark, number in sent.remarks.most_common():
        yield f"{click.style(remark, fg='yellow')}: {number} {REMARKS[remark]}."
