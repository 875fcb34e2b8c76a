"""What the wires have in common: a request opened into messages, and what one message says, whatever its wire."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, NamedTuple

import msgspec

from streams import cloudevents
from streams.events import MAX_DEPTH, MAX_EVENT_BYTES, Event, Reason, Rejected, decode, explain, millis


class Envelope(NamedTuple):
    """One request, opened."""

    wire: str
    """In whose format: a key of `collector.wires.WIRES`."""
    kind: str
    """What the path says: `batch`, `track`, `identify`, …"""
    messages: tuple[bytes, ...]
    """Each message as it came. (Of a CloudEvent in binary mode, whose attributes are headers, the same event in structured mode.)"""
    write_key: str | None = None
    """The key as found in the body; the headers' are the server's."""
    sent_at: int | None = None
    """The client's clock at sending, in epoch milliseconds."""


class Said(NamedTuple):
    """What one message of an SDK says, in the terms of the Segment spec."""

    verb: str
    """`track`, `page`, `identify`, `group`, `alias`."""
    name: str = ""
    """Of what was tracked, of the page, of the group."""
    id: str = ""
    """Its own; empty where it says none."""
    at: int | None = None
    """Epoch milliseconds by the client's clock; None: not said."""
    sent_at: int | None = None
    customer: str | None = None
    visitor: str | None = None
    properties: Mapping[str, Any] = {}
    """Of a track or page; the traits of an identify or group."""
    page: Mapping[str, Any] = {}
    """`url`, `path`, `search`, `title`, `referrer` of where it happened."""
    campaign: Mapping[str, Any] = {}
    """`source`, `medium`, `name`."""
    user_agent: str | None = None
    device: str | None = None
    consent: Mapping[str, bool] = {}
    """By purpose."""
    place: str = "$.properties"
    """Where the properties stand in the message, for those who must correct them."""
    who: str = "`userId` or `anonymousId`"
    """What would name the subject."""


Reading = Said | Event | Rejected
"""A message as a wire reads it: of an SDK, an event of ours, or why it is neither."""

# --- requests --------------------------------------------------------------------------------------------------------

_decode_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_decode_list = msgspec.json.Decoder(list[msgspec.Raw]).decode
_decode_value = msgspec.json.Decoder(float_hook=Decimal).decode
_FAULTS = (msgspec.MsgspecError, RecursionError, ValueError, ArithmeticError)


def parts_of(body: bytes) -> dict[str, bytes] | Rejected:
    """The members of a JSON object, each as it came."""
    try:
        return {name: bytes(part) for name, part in _decode_fields(body).items()}
    except _FAULTS:
        return broken(body, "The body must be a JSON object.")


def is_object(raw: bytes) -> bool:
    """Whether bytes are a JSON object."""
    try:
        _decode_fields(raw)
    except _FAULTS:
        return False
    return True


def list_of(raw: bytes, path: str) -> tuple[bytes, ...] | Rejected:
    """The elements of a JSON array, each as it came."""
    try:
        return tuple(map(bytes, _decode_list(raw)))
    except _FAULTS:
        return broken(raw, "It must be an array of messages.", path)


def parts_and_messages(body: bytes, what: str, *, must_be_batch: bool) -> tuple[dict[str, bytes], tuple[bytes, ...]] | Rejected:
    """The members of a body, and its messages (called `what`): those in `batch`, else the body itself where that need not be a batch."""
    parts = parts_of(body)
    if isinstance(parts, Rejected):
        return parts
    if "batch" in parts:
        messages = list_of(parts["batch"], "$.batch")
        return messages if isinstance(messages, Rejected) else (parts, messages)
    if must_be_batch:
        return Rejected(Reason.MISSING_FIELD, "$.batch", f"The field `batch` is required: an array of {what}.", body)
    return parts, (body,)


def broken(raw: bytes, otherwise: str, path: str = "$") -> Rejected:
    """Why bytes cannot be read as JSON; `otherwise` when they can, and are only not what is asked for."""
    why = explain(raw) if len(raw) <= MAX_EVENT_BYTES else _explain_large(raw)
    if why is not None and why.reason in (Reason.EMPTY, Reason.NOT_UTF8, Reason.NOT_JSON, Reason.TOO_DEEP):
        return why._replace(path=path)
    return Rejected(Reason.WRONG_TYPE, path, otherwise, raw)


def _explain_large(raw: bytes) -> Rejected | None:
    """Why bytes beyond the bounds of an event, a whole batch, are not JSON; None when they are."""
    try:
        msgspec.json.decode(raw)
    except RecursionError:
        return Rejected(Reason.TOO_DEEP, "$", f"Nested deeper than {MAX_DEPTH} levels.", raw)
    except UnicodeDecodeError as error:
        return Rejected(Reason.NOT_UTF8, "$", f"Not UTF-8 at byte {error.start}.", raw)
    except (msgspec.MsgspecError, ValueError) as error:
        return Rejected(Reason.NOT_JSON, "$", f"Not JSON: {error}.", raw)
    return None


def value_in(raw: bytes | str | None) -> Any:
    """A JSON value; None when there is none. Numbers with a point or exponent are decimals, as written."""
    if raw is None:
        return None
    try:
        return _decode_value(raw)
    except _FAULTS:
        return None


# --- messages --------------------------------------------------------------------------------------------------------


def fields_of(raw: bytes) -> dict[str, Any] | Rejected:
    """A message as a dict, within the bounds of an event: 32 KiB, 32 levels."""
    if len(raw) > MAX_EVENT_BYTES:
        return Rejected(Reason.TOO_LARGE, "$", f"{len(raw)} bytes; at most {MAX_EVENT_BYTES} are taken.", raw)
    try:
        fields = _decode_value(raw)
    except _FAULTS:
        return broken(raw, "A message must be a JSON object.")
    if not isinstance(fields, dict):
        return Rejected(Reason.WRONG_TYPE, "$", "A message must be a JSON object.", raw)
    # only what has many brackets can be nested deeply, and is looked at closely
    if raw.count(b"{") + raw.count(b"[") > MAX_DEPTH and _is_deeper(fields, MAX_DEPTH):
        return Rejected(Reason.TOO_DEEP, "$", f"Nested deeper than {MAX_DEPTH} levels.", raw)
    return fields


def _is_deeper(value: Any, levels: int) -> bool:
    """Whether objects and arrays are nested in more than so many levels."""
    if not isinstance(value, dict | list):
        return False
    return levels == 0 or any(_is_deeper(part, levels - 1) for part in (value.values() if isinstance(value, dict) else value))


def map_in(fields: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The object of that name; empty when it is anything else or not there."""
    value = fields.get(name)
    return value if isinstance(value, dict) else {}


def text_of(value: Any) -> str | None:
    """A text, or a number as one; None for what is neither, and for the empty text."""
    if isinstance(value, str):
        return value.strip() or None
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        return None
    return str(value)


def identity(value: Any) -> str | None:
    """An id or name of a subject, hashed where it is too long to keep; None where there is none."""
    text = text_of(value)
    return None if text is None else cloudevents.identity(text)


_DIGITS = re.compile(r"-?\d{1,18}(\.\d+)?")


def instant(value: Any) -> int | None:
    """Epoch milliseconds of what SDKs send: RFC 3339 (without an offset: UTC, as Segment and PostHog take it) or milliseconds; None for anything else."""
    if isinstance(value, str):
        if _DIGITS.fullmatch(value):
            return int(Decimal(value))
        try:
            when = msgspec.convert(value, datetime)
        except msgspec.ValidationError:
            return None
        return millis(when if when.tzinfo else when.replace(tzinfo=UTC))
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        return None
    return int(value) if -(10**18) < value < 10**18 else None


def first_instant(fields: Mapping[str, Any], *names: str) -> int | Rejected | None:
    """The first of the named times that is said; Rejected when it cannot be read."""
    for name in names:
        value = fields.get(name)
        if value is not None:
            at = instant(value)
            return at if at is not None else Rejected(Reason.BAD_TIME, f"$.{name}", f"The time {str(value)[:64]!r} is neither RFC 3339 nor epoch milliseconds.")
    return None


# --- events of ours --------------------------------------------------------------------------------------------------


def event_of(raw: bytes, site: str) -> Reading:
    """An event of ours, strictly decoded, whose site is filled in where it says none."""
    members = raw.lstrip()[1:]
    if not raw.lstrip().startswith(b"{") or members.lstrip().startswith(b"}"):
        return explain(raw)
    event = decode(b'{"site":"%s",%s' % (site.encode(), members))  # of two sites the last wins: the event's own
    if isinstance(event, Rejected):
        why = explain(raw)  # the same with the places of the original
        return event if why.reason is Reason.MISSING_FIELD and why.path == "$.site" else why
    if event.site != site:
        return Rejected(Reason.BAD_VALUE, "$.site", f"This key writes to the site {site!r} only: leave `site` out, or name that one.", raw)
    return event
