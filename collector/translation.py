"""From what an SDK says to events that Kafka takes, or to the reason why not."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, TypeAlias

import msgspec
from xxhash import xxh3_128_hexdigest

from collector import filling, plan, privacy
from collector.plan import Plan
from collector.wires import WIRES
from collector.wires.reading import Envelope, Said
from streams.events import MAX_EVENT_BYTES, TYPES, Event, Reason, Rejected, event_time, explain, key_of


class Context(NamedTuple):
    """What the door knows beside the message."""

    site: str
    """The site that the key writes to."""
    received_at: int
    """When the request came, in epoch milliseconds."""
    opted_out: bool = False
    """`Sec-GPC: 1` or `DNT: 1`."""
    user_agent: str | None = None
    """Of the request, as it came; counts only where it is a browser's."""
    plan: Plan | None = None
    """The site's tracking plan."""
    query: Sequence[str] = privacy.ALLOWED_QUERY
    """Parameters of URLs that are kept."""


class Accepted(NamedTuple):
    """An event, ready for its topic."""

    event: Event
    topic: str
    """Short name, without the prefix."""
    key: bytes
    value: bytes
    flags: tuple[str, ...] = ()
    """What was cut or left out (`filling.FLAGS`), to be counted beside."""


Outcome: TypeAlias = Accepted | Rejected
"""Of a rejected message, `raw` is the message as it came."""

_encode = msgspec.json.Encoder().encode


def translate(envelope: Envelope, context: Context) -> list[Outcome]:
    """What the messages of a request become, in their order: at least one outcome for each. Never raises for data."""
    return [outcome for raw in envelope.messages for outcome in _outcomes(raw, envelope, context)]


def _outcomes(raw: bytes, envelope: Envelope, context: Context) -> Iterator[Outcome]:
    reading = WIRES[envelope.wire].read(raw, envelope, context.site)
    if isinstance(reading, Rejected):
        yield reading._replace(raw=raw)
    elif isinstance(reading, Said):
        yield from _said(reading, raw, context)
    else:
        yield _finished(reading, raw, context, ())


def _said(said: Said, raw: bytes, context: Context) -> Iterator[Outcome]:
    """The events that a message of an SDK makes. The second one's id ends with `/2`: a retry makes the same."""
    said = _identified(said, raw, context)
    flags: filling.Flags = set()
    found = filling.events_of(said, flags)
    if isinstance(found, Rejected):
        yield found._replace(raw=raw)
        return
    common = _common(said, context)
    for number, fields in enumerate(found, 1):
        wire = {**common, **fields}
        if number > 1:
            wire["id"] = f"{said.id[:120]}/{number}"
        try:
            event = msgspec.convert(wire, TYPES[fields["type"]])
        except (msgspec.ValidationError, ValueError):
            yield _explained(wire, said, raw)
            continue
        yield _finished(event, raw, context, tuple(sorted(flags)), said)


def _identified(said: Said, raw: bytes, context: Context) -> Said:
    """The message with an id. Without one of its own it is its bytes, and if they say no time either, also when it came: two of the same are two.
    What has an id and says no time is left without one: a repeat is the same, whenever it comes."""
    if said.id:
        return said
    at = said.at if said.at is not None else said.sent_at if said.sent_at is not None else context.received_at
    return said._replace(id=f"xxh3:{xxh3_128_hexdigest(raw)}", at=at)


def _common(said: Said, context: Context) -> dict[str, Any]:
    """What every event carries."""
    common = {
        "id": said.id, "site": context.site, "at": said.at, "sent_at": said.sent_at, "received_at": context.received_at,
        "customer": said.customer, "visitor": said.visitor,
        "user_agent": None if said.user_agent is None else said.user_agent[: privacy.AGENT_LIMIT],
        "device": None if said.device is None else said.device[:32].lower(),
    }  # fmt: skip
    consent = {purpose: said.consent[purpose] for purpose in ("analytics", "profiling", "sentiment") if purpose in said.consent}
    return {**common, "consent": consent} if consent else common


def _explained(wire: dict[str, Any], said: Said | None, raw: bytes) -> Rejected:
    """Why the fields made of a message are no event: with the name they were made of."""
    why = explain(_encode(wire))
    if why.reason is Reason.NO_SUBJECT and said is not None:
        return Rejected(why.reason, "$", f"Nobody is named: send {said.who}.", raw)
    if why.reason is Reason.BAD_TIME:
        return why._replace(raw=raw)
    made_of = f"{said.name[:64]!r} becomes {wire.get('type')}. " if said is not None and said.name else ""
    return Rejected(why.reason, why.path, made_of + why.detail, raw)


def _finished(event: Event, raw: bytes, context: Context, flags: tuple[str, ...], said: Said | None = None) -> Outcome:
    """An event as it goes to its topic: received now, without what privacy asks for, and on the plan."""
    if event.received_at != context.received_at:
        event = msgspec.structs.replace(event, received_at=context.received_at)
    event = privacy.reduced(event, context.opted_out, context.user_agent, context.query)
    value = _encode(event)
    if len(value) > MAX_EVENT_BYTES or event_time(event) is None:
        return _explained(msgspec.to_builtins(event), said, raw)
    try:
        key = key_of(event).encode()
    except ValueError:
        return _explained(msgspec.to_builtins(event), said, raw)
    off = plan.check(context.plan, event) if context.plan is not None else None
    if off is not None:
        return Rejected(*off, raw)
    return Accepted(event, event.topic, key, value, flags)
