"""The dirt that real streams carry, at small shares, and the account of what was sent."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final, NamedTuple

import msgspec

from streams.admission import VERDICTS
from streams.events import MAX_EVENT_BYTES, TYPES, Reason

APPLIED, DUPLICATE, BOT, LATE, FAILED, NO_CONSENT = "applied", "duplicate", "bot", "late", "failed", "refused.no_consent"
Fields = dict[str, Any]


class Faults(NamedTuple):
    """Shares of all events (0 to 1)."""

    duplicates: float = 0.005
    """Sent a second time, seconds to minutes later."""
    delayed: float = 0.006
    """Sent minutes to an hour after they happened: still counted everywhere."""
    stale: float = 0.0004
    """Sent nine days after they happened: too late to be counted."""
    ahead: float = 0.001
    """From a clock hours ahead: counted at the time of receipt."""
    bad: float = 0.003
    """Broken in some way: not JSON, a field too many, a wrong type, …"""
    bots: float = 0.012
    """Page views of known crawlers."""
    declined: float = 0.001
    """Page views of visitors who allow no analysis."""


CLEAN: Final = Faults(0, 0, 0, 0, 0, 0, 0)


def _without(fields: Fields, *names: str) -> Fields:
    return {name: value for name, value in fields.items() if name not in names}


_encode: Final[Callable[[Any], bytes]] = msgspec.json.Encoder().encode
BROKEN: Final[tuple[tuple[Reason, Callable[[Fields], bytes]], ...]] = (
    (Reason.NOT_JSON, lambda fields: _encode(fields)[:30]),
    (Reason.NOT_JSON, lambda fields: b"page_viewed;" + str(fields["site"]).encode() + b";/"),
    (Reason.UNKNOWN_FIELD, lambda fields: _encode({**fields, "colour": "red"})),
    (Reason.MISSING_FIELD, lambda fields: _encode(_without(fields, "site"))),
    (Reason.MISSING_FIELD, lambda fields: _encode(_without(fields, "type"))),
    (Reason.WRONG_TYPE, lambda fields: _encode({**fields, "site": 7})),
    (Reason.WRONG_TYPE, lambda fields: _encode([fields])),
    (Reason.UNKNOWN_TYPE, lambda fields: _encode({**fields, "type": "page_veiwed"})),
    (Reason.OUT_OF_BOUNDS, lambda fields: _encode({**fields, "id": ""})),
    (Reason.BAD_VALUE, lambda fields: _encode({**fields, "site": "My Shop!"})),
    (Reason.NO_SUBJECT, lambda fields: _encode(_without(fields, "visitor", "customer"))),
    (Reason.BAD_TIME, lambda fields: _encode({**fields, "at": "yesterday"})),
    (Reason.BAD_TIME, lambda fields: _encode({**fields, "at": fields["at"] // 1_000})),
    (
        Reason.WRONG_TOPIC,
        lambda fields: _encode({"type": "ticket_resolved", **{name: fields[name] for name in ("id", "site", "at")}, "visitor": "v", "ticket": "t"}),
    ),
    (Reason.EMPTY, lambda _: b""),
    (Reason.NOT_UTF8, lambda _: b"\xff\xfe\x00not text"),
    (Reason.TOO_LARGE, lambda fields: _encode({**fields, "properties": {"note": "x" * MAX_EVENT_BYTES}})),
)
"""Each turns a good website event into one that is refused for this reason."""


def break_event(rnd: Random, fields: Fields) -> tuple[Reason, bytes]:
    """A broken form of a website event, and why it will be refused."""
    reason, breaking = rnd.choice(BROKEN)
    return reason, breaking(fields)


class Sent(NamedTuple):
    """A record to be sent at the moment `due` (ms). `at` is when it happened (as sent); `verdict` what should become of it."""

    due: int
    topic: str
    key: str
    value: bytes
    at: int
    type: str
    verdict: str


@dataclass
class Tally:
    """What was sent, by what should become of it. Failed ones are `failed.<reason>`, refused ones `refused.<reason>`."""

    verdicts: Counter[str] = field(default_factory=Counter)
    types: Counter[str] = field(default_factory=Counter)
    """Of those with the verdict `applied`."""
    topics: Counter[str] = field(default_factory=Counter)
    clamped: int = 0

    @property
    def sent(self) -> int:
        return self.verdicts.total()

    def accounting(self) -> dict[str, int]:
        """As the product's own account: received, and one number per verdict."""
        account = dict.fromkeys(("received", *VERDICTS), 0)
        for name, number in self.verdicts.items():
            account[name.partition(".")[0]] += number
        account["received"] = self.sent
        return account

    def as_json(self) -> dict[str, Any]:
        return self.accounting() | {
            "clamped": self.clamped,
            "reasons": {name: number for name, number in sorted(self.verdicts.items()) if "." in name},
            "topics": dict(sorted(self.topics.items())),
            "types": dict(self.types.most_common()),
        }


TOPIC_OF: Final = {name: struct.topic for name, struct in TYPES.items()}
