"""`engage tail`: what is on the topics, as it arrives or from before."""

import asyncio
import base64
import json
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import aclosing
from datetime import UTC, datetime
from typing import Any, NamedTuple

import click
import msgspec

from agents.reading import open_log, received
from agents.settings import Settings
from streams import events as e
from streams.intake import plain_value

SHOWN = 60
"""Characters of one value in a line for people."""
COMMON = frozenset({"type", "id", "site", "at", "sent_at", "received_at", "customer", "visitor", "user_agent"})
"""Fields of an event that a line for people says otherwise, or not at all."""


class Line(NamedTuple):
    """One record, for people and for programs; `site`, `type` and `subject` are for filters, None where the record does not say them."""

    site: str | None
    type: str | None
    subject: str | None
    text: str
    fields: dict[str, Any]


class Wanted(NamedTuple):
    """A filter; None lets everything through."""

    site: str | None = None
    type: str | None = None
    subject: str | None = None

    def has(self, line: Line) -> bool:
        return all(wanted in (None, found) for wanted, found in zip(self, line, strict=False))


EVERYTHING = Wanted()


# --- records as lines ------------------------------------------------------------------------------------------------


def event_line(settings: Settings) -> Callable[[Any], Line]:
    """What makes a line of a record of an event topic."""

    def line(record: Any) -> Line:
        topic = record.topic.removeprefix(settings.topic_prefix)
        place = {"topic": topic, "partition": record.partition, "offset": record.offset, "received": instant(record.timestamp)}
        place["key"] = None if record.key is None else record.key.decode(errors="backslashreplace")
        where = click.style(f"{topic}/{record.partition}:{record.offset}", dim=True)
        event = decode_record(record.value, topic, record.headers)
        if isinstance(event, e.Rejected):
            site, name, subject = named(record.key, record.value)
            why = click.style(f"rejected {event.reason} {printable(event.path)}", fg="red")
            text = f"{instant(record.timestamp)} {where} {why} {printable(event.detail)} {click.style(snippet(record.value or b''), dim=True)}"
            verdict = {"reason": str(event.reason), "path": event.path, "detail": event.detail}
            return Line(site, name, subject, text, place | {"rejected": verdict} | raw_fields(record.value or b""))
        fields = msgspec.json.decode(plain_value(tuple(record.headers), record.value))  # type: ignore[arg-type]  # it was an event
        subject = e.subject_of(event)
        name = e.NAMES[type(event)]
        more = " ".join(f"{field}={_value(value)}" for field, value in fields.items() if field not in COMMON and value is not None)
        at = instant(e.event_time(event, record.timestamp) or 0)
        text = f"{at} {where} {click.style(name, fg='green', bold=True)} {event.site} {printable(subject or '')} {more}"
        return Line(event.site, name, subject, text.rstrip(), place | {"subject": subject, "event": fields})

    return line


def decode_record(value: bytes | None, topic: str, headers: Iterable[tuple[str, bytes | None]] = ()) -> e.Event | e.Rejected:
    """As a worker decodes a record of the topic (short name): what its headers say comes first."""
    plain = plain_value(tuple(headers), value)
    return plain if isinstance(plain, e.Rejected) else e.decode(plain, topic)


def named(key: bytes | None, value: bytes | None) -> tuple[str | None, str | None, str | None]:
    """Site, type and subject that a record claims although it is no event, as far as it can be read."""
    site, _, subject = (key or b"").decode(errors="replace").partition("/")
    try:
        fields = msgspec.json.decode(value or b"")
    except (msgspec.MsgspecError, ValueError, RecursionError):
        fields = None
    said = fields if isinstance(fields, dict) else {}
    return _text(said.get("site")) or site or None, _text(said.get("type")), subject or None


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _value(value: object) -> str:
    text = value if isinstance(value, str) and value and " " not in value else json.dumps(value, ensure_ascii=False)
    return printable(text if len(text) <= SHOWN else text[:SHOWN] + "…")


def raw_fields(value: bytes) -> dict[str, str]:
    """Bytes for a JSON object: `raw` where they are text, else `raw_base64`; either gives them back exactly."""
    try:
        return {"raw": value.decode()}
    except UnicodeDecodeError:
        return {"raw_base64": base64.b64encode(value).decode()}


def snippet(value: bytes, limit: int = 2 * SHOWN) -> str:
    """The begin of some bytes, on one line and safe for a terminal."""
    text = value[: 4 * limit].decode(errors="backslashreplace")
    return printable(text if len(text) <= limit else text[:limit] + "…")


def printable(text: str) -> str:
    """The text without what could move a terminal's cursor or change its colours; line breaks too are shown as escapes."""
    return text if text.isprintable() else "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in text)


def instant(millis: int) -> str:
    """Epoch milliseconds as RFC 3339 in UTC; the number itself where it is no such time."""
    try:
        return datetime.fromtimestamp(millis / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    except (ValueError, OverflowError, OSError):
        return str(millis)


# --- following -------------------------------------------------------------------------------------------------------


async def follow(
    settings: Settings, topics: Iterable[str], line_of: Callable[[Any], Line], wanted: Wanted = EVERYTHING, *, last: int | None = 0, onwards: bool = True
) -> AsyncGenerator[Line, None]:
    """The `last` records of the topics (None: all of them), and `onwards` those that come, as far as the filter wants them.

    What lies on the log is in order of time when `last` bounds it, else in order of time within each poll.
    """
    async with open_log(settings, *topics) as log:
        ends = await log.ends()
        kept: list[Any] = []
        if last != 0:
            begins = await log.begins()
            starts = begins if last is None else {tp: max(begin, ends[tp] - last) for tp, begin in begins.items()}
            async for records in log.between(starts, ends):
                if last is None:
                    for line in filter(wanted.has, map(line_of, records)):
                        yield line
                else:
                    kept += records
        for line in filter(wanted.has, map(line_of, sorted(kept, key=received)[-(last or 0) :])):
            yield line
        if onwards:
            async for records in log.since(ends):
                for line in filter(wanted.has, map(line_of, records)):
                    yield line


async def show(lines: AsyncGenerator[Line, None], *, as_json: bool, limit: int | None, seconds: float | None) -> None:
    """Print lines until there are no more, `limit` are printed, or the time is over."""
    printed = 0
    try:
        async with asyncio.timeout(seconds) as over, aclosing(lines):
            async for line in lines:
                click.echo(json.dumps(line.fields, ensure_ascii=False) if as_json else line.text)
                printed += 1
                if printed == limit:
                    return
    except TimeoutError:
        if not over.expired():
            raise
