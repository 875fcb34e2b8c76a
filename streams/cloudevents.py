"""CloudEvents 1.0 as they lie on Kafka and come by HTTP: the attributes around an event of ours.

`type` is `io.engagement.NAME.v1`, where NAME is the name of one of our events, its words parted by underscores or dots; `data` holds
that event's own fields. `source` and `id` together make its `id`, `time` is its `at` (absent: it happened when it was received), the
extension `site` its `site`, and `subject` its `customer` (`c:42` or `42`) or `visitor` (`v:9f3`) where the data names nobody. A field in
the data wins over the attribute.

Binary mode: the attributes are headers (`ce_type`, …; over HTTP `ce-type`), the value is the data. Structured mode: the value is a JSON
object of the attributes and `data`, and `content-type` says application/cloudevents+json.
https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/kafka-protocol-binding.md
"""

import base64
import binascii
import re
from collections.abc import Iterable, Mapping
from typing import Final

import msgspec
from xxhash import xxh3_128_hexdigest

from streams.events import EARLIEST, LATEST, MAX_EVENT_BYTES, MAX_ID, TYPES, Instant, Reason, Rejected, explain, millis

STRUCTURED: Final = "application/cloudevents+json"
BATCH: Final = "application/cloudevents-batch+json"
PREFIX: Final = "ce_"
"""Of the headers that are attributes on Kafka."""
_TYPE = re.compile(r"io\.engagement\.([a-z][a-z_.]*)\.v1")
_JSON = re.compile(r"(application/([\w.-]+\+)?|text/)json\s*(;.*)?", re.I | re.S)
_WHO: Final = frozenset({"customer", "visitor", "author", "member", "partner"})

_decode_parts = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_encode = msgspec.json.encode
_FAULTS = (msgspec.MsgspecError, ValueError, RecursionError)


def is_cloudevent(name: str, value: bytes | None) -> bool:
    """Whether a Kafka header makes its record a CloudEvent."""
    name = name.lower()
    return name.startswith(PREFIX) or (name == "content-type" and value is not None and value[:23].lower() == b"application/cloudevents")


def in_record(headers: Iterable[tuple[str, bytes | None]], value: bytes | None) -> bytes | Rejected:
    """The event of ours in a Kafka record with a header for which `is_cloudevent` is true."""
    said = {name.lower(): text for name, text in headers if text is not None}
    raw = value or b""
    if len(raw) > MAX_EVENT_BYTES:
        return explain(raw)
    content_type = said.get("content-type", b"").decode("utf-8", "replace")
    try:
        attributes = {name[len(PREFIX) :]: text.decode() for name, text in said.items() if name.startswith(PREFIX)}
    except UnicodeDecodeError:
        return Rejected(Reason.NOT_UTF8, "$", "An attribute in the headers is not UTF-8.", raw)
    if attributes:
        structured = structure(attributes, content_type, raw)
    elif content_type.lower().startswith(STRUCTURED):
        structured = raw
    else:
        sentence = "A record holds one CloudEvent, binary or structured as JSON; batches and other formats are not read."
        structured = Rejected(Reason.UNSUPPORTED_ENCODING, "$", sentence, raw)
    event = structured if isinstance(structured, Rejected) else event_in(structured)
    return event._replace(raw=raw) if isinstance(event, Rejected) else event


def structure(attributes: Mapping[str, str], content_type: str, data: bytes) -> bytes | Rejected:
    """An event in binary mode as the same in structured mode; Rejected when the data is not JSON."""
    fields: dict[str, str | msgspec.Raw] = dict(attributes)
    if content_type:
        fields["datacontenttype"] = content_type
    try:
        msgspec.json.decode(data, type=msgspec.Raw)
    except _FAULTS:
        return explain(data)
    return _encode({**fields, "data": msgspec.Raw(data)})


def event_in(raw: bytes) -> bytes | Rejected:
    """The event of ours, as JSON, in a CloudEvent in structured mode; whether that is a valid one its decoder says."""
    try:
        parts = _decode_parts(raw)
        texts = {name: msgspec.json.decode(part) for name, part in parts.items() if name not in ("data", "data_base64")}
    except _FAULTS:
        why = explain(raw)
        return why if why.reason is not Reason.MISSING_FIELD else Rejected(Reason.WRONG_TYPE, "$", "A CloudEvent is a JSON object.", raw)
    for name in ("specversion", "id", "source", "type"):
        if name not in texts:
            return Rejected(Reason.MISSING_FIELD, f"$.{name}", f"The attribute `{name}` of a CloudEvent is required.", raw)
        if not isinstance(texts[name], str) or not texts[name]:
            return Rejected(Reason.WRONG_TYPE, f"$.{name}", f"The attribute `{name}` of a CloudEvent must be a text.", raw)
    if texts["specversion"] != "1.0":
        return Rejected(Reason.BAD_VALUE, "$.specversion", "CloudEvents are read in version 1.0 of the specification.", raw)
    named = _TYPE.fullmatch(texts["type"])
    if named is None:
        return Rejected(Reason.UNKNOWN_TYPE, "$.type", "The type must be io.engagement.NAME.v1 with the name of an event: io.engagement.page_viewed.v1.", raw)
    kind = texts.get("datacontenttype")
    if kind is not None and not (isinstance(kind, str) and _JSON.fullmatch(kind)):
        return Rejected(Reason.UNSUPPORTED_ENCODING, "$.datacontenttype", "The data must be JSON: datacontenttype application/json.", raw)
    data = _data(parts)
    if data is None:
        return Rejected(Reason.WRONG_TYPE, "$.data", "The data must be a JSON object: the fields of the event.", raw)
    if "at" not in data and not _is_instant(texts.get("time")):
        return Rejected(Reason.BAD_TIME, "$.time", "The attribute `time` must be RFC 3339 with an offset, such as 2026-03-02T09:30:00+01:00, or absent.", raw)
    return _joined(named[1].replace(".", "_"), texts, data)


def _is_instant(value: object) -> bool:
    """Whether it can be the time of an event; None can: it is absent."""
    try:
        at = msgspec.convert(value, Instant | None)
    except msgspec.ValidationError:
        return False
    return at is None or EARLIEST <= millis(at) < LATEST


def _data(parts: Mapping[str, msgspec.Raw]) -> dict[str, msgspec.Raw] | None:
    """The members of the data; none when there is no data."""
    try:
        if "data" in parts:
            return _decode_parts(parts["data"])
        return _decode_parts(base64.b64decode(msgspec.json.decode(parts["data_base64"], type=str), validate=True)) if "data_base64" in parts else {}
    except (*_FAULTS, binascii.Error):
        return None


def _joined(name: str, texts: Mapping[str, object], data: Mapping[str, msgspec.Raw]) -> bytes:
    event: dict[str, object] = {"type": name, "id": identity(f"{texts['source']}#{texts['id']}")}
    for field, attribute in (("at", "time"), ("site", "site")):
        if attribute in texts:
            event[field] = texts[attribute]
    struct, subject = TYPES.get(name), texts.get("subject")
    if isinstance(subject, str) and struct is not None and not struct.site_level and _WHO.isdisjoint(data):
        kind, parted, who = subject.partition(":")
        event |= {"visitor": who} if parted and kind == "v" else {"customer": who if parted and kind == "c" else subject}
    return _encode(event | {field: value for field, value in data.items() if field != "type"})


def identity(text: str) -> str:
    """A text as an id: what is too long to keep is replaced by its hash, so that it still tells apart."""
    return text if len(text) <= MAX_ID else f"xxh3:{xxh3_128_hexdigest(text.encode('utf-8', 'replace'))}"
