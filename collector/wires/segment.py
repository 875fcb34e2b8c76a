"""Segment and RudderStack: `/v1/batch` and one path for each kind of message.

https://segment.com/docs/connections/sources/catalog/libraries/server/http-api/ and the common fields of the spec.
"""

from collections.abc import Mapping
from typing import Any

from collector.wires.reading import (
    Envelope,
    Reading,
    Said,
    fields_of,
    first_instant,
    identity,
    instant,
    map_in,
    parts_and_messages,
    text_of,
    value_in,
)
from streams.events import Reason, Rejected

VERBS = {"track": "track", "page": "page", "screen": "page", "identify": "identify", "group": "group", "alias": "alias"}


def open(kind: str, _headers: Mapping[str, str], _query: Mapping[str, str], body: bytes) -> Envelope | Rejected:  # noqa: A001
    """A batch, or the one message of its path."""
    opened = parts_and_messages(body, "messages", must_be_batch=kind in ("batch", "import"))
    if isinstance(opened, Rejected):
        return opened
    parts, messages = opened
    return Envelope("segment", kind, messages, text_of(value_in(parts.get("writeKey"))), instant(value_in(parts.get("sentAt"))))


def read(raw: bytes, envelope: Envelope, _site: str) -> Reading:
    """One message; its kind is in `type`, else in the path."""
    fields = fields_of(raw)
    if isinstance(fields, Rejected):
        return fields
    kind = fields.get("type", envelope.kind)
    verb = VERBS.get(kind) if isinstance(kind, str) else None
    if verb is None:
        reason = Reason.MISSING_FIELD if "type" not in fields else Reason.UNKNOWN_TYPE
        return Rejected(reason, "$.type", f"The field `type` must be one of: {', '.join(VERBS)}.")
    at = first_instant(fields, "timestamp", "originalTimestamp")
    if isinstance(at, Rejected):
        return at
    sent_at = instant(fields.get("sentAt"))
    context = map_in(fields, "context")
    holds = "traits" if verb in ("identify", "group") else "properties"
    properties = map_in(fields, holds) or (map_in(context, "traits") if verb == "identify" else {})  # where RudderStack's browsers have them
    said = Said(
        verb,
        text_of(fields.get("event" if verb == "track" else "name")) or "",
        identity(fields.get("messageId")) or "",
        at,
        sent_at if sent_at is not None else envelope.sent_at,
        identity(fields.get("userId")),
        identity(fields.get("anonymousId")),
        properties,
        map_in(context, "page"),
        map_in(context, "campaign"),
        text_of(context.get("userAgent")),
        text_of(map_in(context, "device").get("type")),
        _consent(map_in(context, "consent")),
        f"$.{holds}",
    )
    if verb == "alias":
        return said._replace(visitor=identity(fields.get("previousId")))
    if verb == "group":
        return said._replace(name=text_of(fields.get("groupId")) or "")
    if verb == "page":
        return said._replace(properties=_named(fields, properties), page=_screen(said.name) if kind == "screen" else said.page)
    return said


def _named(fields: Mapping[str, Any], properties: Mapping[str, Any]) -> dict[str, Any]:
    """Name and category of a page are said beside its properties."""
    said = {name: fields[name] for name in ("name", "category") if isinstance(fields.get(name), str)}
    return {**said, **properties}


def _screen(name: str) -> dict[str, Any]:
    """An app's screen is a page whose path is its name."""
    return {"path": "/" + name.strip("/")}


def _consent(consent: Mapping[str, Any]) -> dict[str, bool]:
    """Segment's `categoryPreferences`, where a category is called as a purpose of ours."""
    preferences = map_in(consent, "categoryPreferences")
    return {name.casefold(): allowed for name, allowed in preferences.items() if isinstance(allowed, bool)}
