"""CloudEvents 1.0 by HTTP: binary (the attributes are `ce-…` headers), structured, and batches.

https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/http-protocol-binding.md
"""

from collections.abc import Mapping
from urllib.parse import unquote

from collector.wires.reading import Envelope, Reading, event_of, list_of, parts_of
from streams import cloudevents
from streams.events import MAX_EVENT_BYTES, Rejected, explain

HEADER = "ce-"


def said_by(headers: Mapping[str, str]) -> bool:
    """Whether a request holds CloudEvents, by its headers."""
    return "ce-specversion" in headers or headers.get("content-type", "").lower().startswith("application/cloudevents")


def open(kind: str, headers: Mapping[str, str], _query: Mapping[str, str], body: bytes) -> Envelope | Rejected:  # noqa: A001
    """A batch (an array), one event in structured mode, or one in binary mode, brought to structured mode."""
    messages: tuple[bytes, ...] | Rejected
    if "ce-specversion" in headers:
        attributes = {name.lower()[len(HEADER) :]: unquote(value) for name, value in headers.items() if name.lower().startswith(HEADER)}
        structured = cloudevents.structure(attributes, headers.get("content-type", ""), body)
        messages = structured if isinstance(structured, Rejected) else (structured,)
    elif body.lstrip()[:1] == b"[":
        messages = list_of(body, "$")
    else:
        parts = parts_of(body)
        messages = parts if isinstance(parts, Rejected) else (body,)
    return messages if isinstance(messages, Rejected) else Envelope("cloudevents", kind, messages)


def read(raw: bytes, _envelope: Envelope, site: str) -> Reading:
    """One event; without a site it is the key's."""
    if len(raw) > MAX_EVENT_BYTES:
        return explain(raw)
    event = cloudevents.event_in(raw)
    return event if isinstance(event, Rejected) else event_of(event, site)
