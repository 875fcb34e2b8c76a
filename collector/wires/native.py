"""The product's own events at `POST /v1/events`: one object, an array, or one object per line; judged as strictly as on Kafka."""

from collections.abc import Mapping

from collector.wires import cloudevents
from collector.wires.reading import Envelope, Reading, broken, event_of, is_object, list_of, parts_of
from streams.events import MAX_EVENT_BYTES, Rejected, explain

MOST_LINES = 10_000
"""More than any request may hold; what comes behind is one broken line."""


def open(kind: str, headers: Mapping[str, str], query: Mapping[str, str], body: bytes) -> Envelope | Rejected:  # noqa: A001
    """The events of a body; CloudEvents where headers or content say so."""
    if cloudevents.said_by(headers):
        return cloudevents.open(kind, headers, query, body)
    text = body.strip()
    messages = list_of(text, "$") if text[:1] == b"[" else _lines(text)
    if isinstance(messages, Rejected):
        return messages
    wire = "cloudevents" if messages and _is_cloudevent(messages[0]) else "native"
    return Envelope(wire, kind, messages)


def _lines(text: bytes) -> tuple[bytes, ...] | Rejected:
    """One event, written over any number of lines; or an event per line, as soon as any line is one by itself."""
    if is_object(text):
        return (text,)
    lines = tuple(line for line in text.split(b"\n", MOST_LINES) if line.strip())
    return lines if len(lines) > 1 and any(map(is_object, lines)) else broken(text, "The body must be an event, an array of events, or an event per line.")


def _is_cloudevent(message: bytes) -> bool:
    parts = parts_of(message) if b'"specversion"' in message else None
    return isinstance(parts, dict) and "specversion" in parts


def read(raw: bytes, _envelope: Envelope, site: str) -> Reading:
    """One event; without a site it is the key's."""
    if len(raw) > MAX_EVENT_BYTES:
        return explain(raw)
    return event_of(raw, site)
