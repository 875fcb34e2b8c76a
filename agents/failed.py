"""`engage failed`: the events that were not counted, by reason, in full, and once more to where they came from.

A record of the topic `failed` has the bytes, key and headers of the event as it came; the headers `engage-*` in front of them say
what was wrong and where it lay (`streams/intake.py`).
"""

import json
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple

import click

from agents.reading import Log, need_topic, open_log, partition_counts
from agents.send import open_publisher
from agents.settings import Settings
from agents.tail import Line, decode_record, instant, named, printable, raw_fields, snippet
from collector import refusals
from collector.plan import Plans
from collector.translation import Accepted
from streams import events as e
from streams.flow import Headers, Message
from streams.intake import RECEIPT_HEADER
from streams.topics import EVENT_TOPICS

FAILED = "failed"
OWN_HEADERS = "engage-"
PRETTY_LIMIT = 4_000
"""Characters of an event that `show` prints; `--json` gives all."""
NO_HELP = frozenset({e.Reason.TOO_OLD})
"""What publishing again cannot heal and decoding cannot see."""

NO_TOPIC = "unknown_topic"
"""Why a record that does not say on which topic its event came cannot be published again."""

Place = tuple[int | None, int]
"""Partition (None: any) and offset on the topic `failed`."""


class Failure(NamedTuple):
    """One record of the topic `failed`."""

    partition: int
    offset: int
    reason: str
    path: str
    detail: str
    topic: str
    """Short name of the topic the event came on."""
    source_partition: int
    source_offset: int
    received: int
    """Receipt of the event in epoch milliseconds: of the record it came in, or what a replay said."""
    key: bytes | None
    value: bytes
    headers: Headers
    """Those of the producer."""
    origin: refusals.Origin | None = None
    """How it came in by HTTP, where it did."""

    @property
    def place(self) -> str:
        return f"{self.partition}:{self.offset}"


def failure_of(record: Any) -> Failure:
    """What a record of the topic `failed` says. Our headers come first, so what a producer sent under the same names does not count."""
    said = {name: value for name, value in reversed(record.headers) if value is not None}

    def text(name: str) -> str:
        return str(said.get(OWN_HEADERS + name, b""), errors="replace")

    def number(name: str, default: int) -> int:
        try:
            return int(said[name])
        except (KeyError, ValueError):
            return default

    received = number(RECEIPT_HEADER, number("engage-timestamp", record.timestamp))
    own = tuple((name, value) for name, value in record.headers if not name.lower().startswith(OWN_HEADERS))
    source = number("engage-partition", -1), number("engage-offset", -1)
    return Failure(
        record.partition, record.offset, text("reason"), text("path"), text("detail"), text("topic"), *source, received, record.key, record.value or b"", own,
        refusals.origin_of(said),
    )  # fmt: skip


class Selection(NamedTuple):
    """Which failures a command is about; what is None or empty does not restrict."""

    reason: str | None = None
    topic: str | None = None
    site: str | None = None
    places: Collection[Place] = ()

    def has(self, failure: Failure) -> bool:
        return (
            self.reason in (None, failure.reason)
            and self.topic in (None, failure.topic)
            and (self.site is None or self.site == named(failure.key, failure.value)[0])
            and (not self.places or (failure.partition, failure.offset) in self.places or (None, failure.offset) in self.places)
        )


class _Selected:
    """The selected failures that were there when it was made; may be read more than once."""

    def __init__(self, log: Log, begins: Mapping[Any, int], ends: Mapping[Any, int], selection: Selection) -> None:
        self._log, self._begins, self._ends, self._selection = log, begins, ends, selection

    @classmethod
    async def on(cls, log: Log, selection: Selection) -> "_Selected":
        return cls(log, await log.begins(), await log.ends(), selection)

    async def __aiter__(self) -> AsyncIterator[list[Failure]]:
        async for records in self._log.between(self._begins, self._ends):
            yield [failure for failure in map(failure_of, records) if self._selection.has(failure)]


# --- list ------------------------------------------------------------------------------------------------------------


class Group(NamedTuple):
    """Failures of one reason, topic and site (None where the site cannot be read), and when the first and last were received."""

    reason: str
    topic: str
    site: str | None
    events: int
    first: int
    last: int

    def fields(self) -> dict[str, Any]:
        return self._asdict() | {"first": instant(self.first), "last": instant(self.last)}


async def count_failed(settings: Settings, selection: Selection) -> list[Group]:
    """Failures by reason, topic and site, the most frequent first."""
    groups: dict[tuple[str, str, str | None], Group] = {}
    async with open_log(settings, FAILED) as log:
        async for failures in await _Selected.on(log, selection):
            for failure in failures:
                key = (failure.reason, failure.topic, named(failure.key, failure.value)[0])
                at = failure.received
                known = groups.get(key, Group(*key, 0, at, at))
                groups[key] = Group(*key, known.events + 1, min(known.first, at), max(known.last, at))
    return sorted(groups.values(), key=lambda group: (-group.events, group.reason, group.topic, group.site or ""))


def table(groups: Collection[Group]) -> Iterator[str]:
    """Lines for people."""
    rows = [(str(g.events), g.reason, g.topic, printable(g.site or "?"), instant(g.first), instant(g.last)) for g in groups]
    titles = ("events", "reason", "topic", "site", "first", "last")
    widths = [max(map(len, column)) for column in zip(titles, *rows, strict=True)]
    for number, row in enumerate([titles, *rows]):
        line = "  ".join(text.rjust(width) if not column else text.ljust(width) for column, (text, width) in enumerate(zip(row, widths, strict=True)))
        yield click.style(line.rstrip(), bold=not number)


# --- show ------------------------------------------------------------------------------------------------------------


async def newest_failed(settings: Settings, selection: Selection, limit: int) -> list[Failure]:
    """The `limit` selected failures that were received last, the newest last."""
    kept: list[Failure] = []
    async with open_log(settings, FAILED) as log:
        async for failures in await _Selected.on(log, selection):
            kept = sorted(kept + failures, key=lambda failure: failure.received)[-limit:] if failures else kept
    return kept


def failure_fields(failure: Failure) -> dict[str, Any]:
    """A failure for programs."""
    fields: dict[str, Any] = {name: getattr(failure, name) for name in ("place", "reason", "path", "detail", "topic", "source_partition", "source_offset")}
    fields |= {"received": instant(failure.received), "key": None if failure.key is None else failure.key.decode(errors="backslashreplace")}
    headers = {name: None if value is None else value.decode(errors="backslashreplace") for name, value in failure.headers}
    return fields | {"headers": headers} | raw_fields(failure.value)


def failure_text(failure: Failure) -> str:
    """A failure for people."""
    key = "none" if failure.key is None else printable(failure.key.decode(errors="backslashreplace"))
    came = f"came on   {failure.topic}, partition {failure.source_partition}, offset {failure.source_offset}"
    if (origin := failure.origin) is not None:
        came = f"came by   HTTP to the collector, as {printable(origin.wire)} {printable(origin.kind)} of {printable(origin.site)}"
    headers = "".join(f"\n  header    {printable(name)}: {snippet(value or b'')}" for name, value in failure.headers)
    return (
        f"{click.style(f'{failure.place}  {failure.reason}', fg='red', bold=True)} {printable(failure.path)}\n  {printable(failure.detail)}\n"
        f"  {came}, {instant(failure.received)}\n"
        f"  key       {key}{headers}\n{_pretty(failure.value)}"
    )


def _pretty(value: bytes) -> str:
    try:
        lines = json.dumps(json.loads(value), ensure_ascii=False, indent=2).splitlines()
    except (ValueError, RecursionError):
        lines = value.decode(errors="backslashreplace").split("\n")
    text = "\n".join(f"  {printable(line)}" for line in lines)
    return text if len(text) <= PRETTY_LIMIT else f"{text[:PRETTY_LIMIT]}…\n  ({len(value)} bytes; --json shows all)"


def failed_line(settings: Settings) -> Any:
    """What makes a line of `engage tail --failed` of a record of the topic `failed`."""

    def line(record: Any) -> Line:
        failure = failure_of(record)
        where = click.style(f"{settings.topic(FAILED).removeprefix(settings.topic_prefix)}/{failure.place}", dim=True)
        why = click.style(f"{failure.reason} {printable(failure.path)}", fg="red")
        text = f"{instant(failure.received)} {where} {failure.topic} {why} {printable(failure.detail)} {click.style(snippet(failure.value), dim=True)}"
        return Line(*named(failure.key, failure.value), text, failure_fields(failure))

    return line


# --- replay ----------------------------------------------------------------------------------------------------------


class Plan(NamedTuple):
    """What a replay would do."""

    selected: int
    healed: int
    """Events that would be accepted now."""
    refused: dict[str, int]
    """The others, by the reason why they would fail again."""
    stuck: int
    """Those of the others that cannot be published in any case."""
    unplanned: int
    """Those that came by HTTP, where no tracking plan is there to judge them by."""


def route(failure: Failure, fix: str, plans: Plans | None = None) -> tuple[list[Message], str | None]:
    """The event as it is to be published once more (none: nobody can), and why it would fail again (None: it would not).

    It stays in its partition, because what its subject did before is counted there. One that came without a key gets its own if it is
    an event by now. What the door refused is translated once more, with the tracking plan of today; where there is none, what a plan refused stays refused.
    """
    if failure.origin is not None:
        return _through_the_door(failure, failure.origin, plans)
    if failure.topic not in EVENT_TOPICS:  # not written by us
        return [], NO_TOPIC
    event = decode_record(failure.value, failure.topic, failure.headers)
    if fix == "topic" and isinstance(event, e.Rejected) and event.reason == e.Reason.WRONG_TOPIC:
        event = e.decode(failure.value)
    topic = failure.topic if isinstance(event, e.Rejected) else event.topic
    moved = topic != failure.topic
    key = e.key_of(event).encode() if not isinstance(event, e.Rejected) and (moved or failure.key is None) else failure.key
    partition = None if moved or failure.key is None or failure.source_partition < 0 else failure.source_partition
    why = str(event.reason) if isinstance(event, e.Rejected) else failure.reason if failure.reason in NO_HELP else None
    headers = (*failure.headers, (RECEIPT_HEADER, b"%d" % failure.received))
    return [Message(topic, key, failure.value, headers, partition)], why


def _through_the_door(failure: Failure, origin: refusals.Origin, plans: Plans | None) -> tuple[list[Message], str | None]:
    """All events that a message makes; those that were accepted when it came carry the same ids and are recognised as duplicates."""
    messages = []
    for outcome in refusals.translate_again(failure.value, origin, failure.received, None if plans is None else plans[origin.site]):
        if not isinstance(outcome, Accepted):
            return [], str(outcome.reason)
        messages.append(Message(outcome.topic, outcome.key, outcome.value))
    return messages, failure.reason if plans is None and failure.reason == e.Reason.OFF_PLAN else None


class Replay:
    """One replay: `plan` says what it would do, `publish` does it with the same failures. A context of `open_log`."""

    def __init__(self, settings: Settings, selected: _Selected, counts: Mapping[str, int], fix: str, plans: Plans | None, unchecked: bool) -> None:
        self._settings, self._selected, self._counts, self._unchecked = settings, selected, counts, unchecked
        self._has_plans = plans is not None
        self._route = partial(route, fix=fix, plans=plans)

    async def plan(self) -> Plan:
        verdicts: Counter[str | None] = Counter()
        stuck = unplanned = 0
        async for failures in self._selected:
            for failure in failures:
                messages, why = self._route(failure)
                verdicts[why] += 1
                stuck += not messages
                unplanned += failure.origin is not None and not self._has_plans
        return Plan(verdicts.total(), verdicts[None], {why: number for why, number in verdicts.items() if why is not None}, stuck, unplanned)

    async def publish(self) -> int:
        """Publish and wait until all is acknowledged; returns how many events it were."""
        sent = 0
        async with open_publisher(self._settings) as publisher:
            async for failures in self._selected:
                routed = [messages for messages, why in map(self._route, failures) if why is None or self._unchecked]
                messages = [self._in_bounds(message) for messages in routed for message in messages]
                await publisher.send_and_wait(messages)
                sent += len(messages)
        return sent

    def _in_bounds(self, message: Message) -> Message:
        """A topic may have been made anew with fewer partitions."""
        count = need_topic(self._settings, message.topic, self._counts)
        return message if message.partition is None or message.partition < count else message._replace(partition=None)


async def replay_failed(
    settings: Settings, selection: Selection, *, fix: str, plans: Plans | None, unchecked: bool, agreed: Callable[[Plan, int], bool]
) -> tuple[Plan, int | None]:
    """Publish the selected failures once more if `agreed(plan, number)` says so; returns the plan, and how many were sent (None: nothing)."""
    counts = await partition_counts(settings)
    async with open_log(settings, FAILED) as log:
        replay = Replay(settings, await _Selected.on(log, selection), counts, fix, plans, unchecked)
        plan = await replay.plan()
        number = plan.selected - plan.stuck if unchecked else plan.healed
        return plan, await replay.publish() if agreed(plan, number) else None
