"""What one request, one sender and one address may take: sizes, nesting, rates. All of it is arithmetic; time comes in as an argument."""

import re
import zlib
from collections import OrderedDict
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Final, NamedTuple

from streams.events import MAX_DEPTH, MAX_EVENT_BYTES

BODY_BYTES: Final = 512 << 10
"""Of a body as it is sent. SDKs send up to 500 kB."""
UNPACKED_BYTES: Final = 2 << 20
UNPACKED_RATIO: Final = 50
"""What a compressed body may grow by."""
PARTS: Final = 100_000
"""Commas and brackets in one body: about what its JSON has of values."""
HEAVY: Final = 10
"""From this weight on a body of an untrusted sender is parsed only within the budget of all of them."""
EVENTS: Final = 500
"""Events in one request."""
EVENT_ROOM: Final = MAX_EVENT_BYTES + 1_024
"""Bytes of the spool that the largest event takes: its value, its key (at most 579), the name of its topic, the row."""
HEADER_SECONDS: Final = 5.0
BODY_SECONDS: Final = 10.0
IDLE_SECONDS: Final = 15.0
"""Between two requests of one connection."""
SENDERS: Final = 50_000
"""Addresses and keys whose rates are remembered."""

Networks = tuple[IPv4Network | IPv6Network, ...]


class Fault(NamedTuple):
    """Why a request is not taken: the status of the answer, a word for programs and a sentence for people."""

    status: int
    reason: str
    detail: str
    retry: int = 0
    """Seconds after which the same request may be taken; 0: never."""


# --- bodies ----------------------------------------------------------------------------------------------------------


def unpack(body: bytes, encoding: str) -> bytes | Fault:
    """The body as it was before its Content-Encoding (`identity`, empty or `gzip`); stops as soon as it grows beyond what is allowed."""
    name = encoding.strip().lower()
    if name in ("", "identity"):
        return body
    if name not in ("gzip", "x-gzip"):
        return Fault(415, "unsupported_encoding", f"Content-Encoding {encoding[:40]!r} is not understood; send gzip or none.")
    most = min(UNPACKED_BYTES, UNPACKED_RATIO * len(body))
    parts, size, rest = [], 0, body
    while rest:  # a gzip file may have several members
        member = zlib.decompressobj(wbits=31)
        try:
            parts.append(member.decompress(rest, most - size + 1))
        except zlib.error as error:
            return Fault(400, "bad_gzip", f"The body is no gzip: {error}.")
        size += len(parts[-1])
        if size > most:
            return Fault(413, "too_large", f"The body unpacks to more than {UNPACKED_BYTES:,} bytes, or to more than {UNPACKED_RATIO} times its size.")
        if not member.eof:
            return Fault(400, "bad_gzip", "The gzip body ends early.")
        rest = member.unused_data
    return b"".join(parts)


def parts_in(body: bytes) -> int:
    """Commas and brackets in a body."""
    return body.count(b",") + body.count(b"[") + body.count(b"{")


def weight_of(body: bytes, parts: int) -> int:
    """What it costs to parse a body, where a request by itself costs 1: about a fifth of a millisecond."""
    return len(body) // (16 << 10) + parts // 500


_PLAIN: Final = bytes(set(range(256)) - set(b'"[]{}'))
_ROUND: Final = bytes.maketrans(b"[]{}", b"()()")
_TEXTS: Final = re.compile(rb'"[^"]*"')


def too_deep(body: bytes, depth: int = MAX_DEPTH + 4) -> bool:
    """Whether JSON is nested deeper than `depth`: asked before anything parses it, and in linear time.

    A body may be four levels deeper than an event: SDKs put a batch, and messages with contexts, around it.
    """
    if body.count(b"[") + body.count(b"{") <= depth:
        return False
    bare = body.replace(b"\\\\", b"").replace(b'\\"', b"").translate(_ROUND, _PLAIN)
    brackets = _TEXTS.sub(b"", bare.replace(b'""', b""))  # neighbouring texts become one: what is between them is gone
    for _ in range(depth):  # every round takes the innermost level away
        before = len(brackets)
        brackets = brackets.replace(b"()", b"")
        if len(brackets) == before:
            return brackets.count(b"(") > depth  # nothing, or what is never closed
    return b"(" in brackets


# --- addresses -------------------------------------------------------------------------------------------------------


def networks(text: str) -> Networks:
    """Addresses and networks separated by commas; raises ValueError."""
    return tuple(ip_network(part.strip()) for part in text.split(",") if part.strip())


def is_in(address: str, known: Networks) -> bool:
    """Whether an address lies in one of the networks."""
    try:
        place = ip_address(address)
    except ValueError:
        return False
    return any(place in network for network in known)


def client_address(peer: str, forwarded: str, proxies: Networks) -> str:
    """Who sent a request: the peer, or, where that is a trusted proxy, the last address in X-Forwarded-For that is none."""
    if not forwarded or not is_in(peer, proxies):
        return peer
    for part in reversed(forwarded.split(",")):
        address = part.strip()
        try:
            ip_address(address)
        except ValueError:
            return peer
        if not is_in(address, proxies):
            return address
    return peer


def neighbourhood(address: str) -> str:
    """What is limited together: an IPv4 address, or the /64 of an IPv6 address, because one subscriber has all of it."""
    try:
        place = ip_address(address)
    except ValueError:
        return address
    if place.version == 4:
        return address
    if place.ipv4_mapped is not None:
        return str(place.ipv4_mapped)
    return str(ip_network((place, 64), strict=False))


# --- rates -----------------------------------------------------------------------------------------------------------


class Buckets:
    """Token buckets by name. Of the names beyond `most` the one that was not seen for longest is forgotten, and so starts full."""

    def __init__(self, most: int = SENDERS) -> None:
        self._most = most
        self._levels: OrderedDict[str, tuple[float, float]] = OrderedDict()
        """Tokens that were left, and when (seconds)."""

    def __len__(self) -> int:
        return len(self._levels)

    def take(self, name: str, tokens: float, now: float, *, rate: float, burst: float) -> float:
        """Take tokens that come back at `rate` per second, up to `burst`; returns 0, or after how many seconds to ask again, and then takes none.

        A request for more than `burst` is let through when the bucket is full, and paid for afterwards.
        """
        level, then = self._levels.get(name, (burst, now))
        level = min(burst, level + max(0.0, now - then) * rate)
        wanted = min(tokens, burst)
        wait = 0.0 if level >= wanted else (wanted - level) / rate
        self._note(name, level if wait else level - tokens, now)
        return wait

    def charge(self, name: str, tokens: float, now: float, *, rate: float, burst: float) -> None:
        """Take tokens for what is done already, whether they are there or not; the debt is at most `burst`."""
        level, then = self._levels.get(name, (burst, now))
        self._note(name, max(-burst, min(burst, level + max(0.0, now - then) * rate) - tokens), now)

    def _note(self, name: str, level: float, now: float) -> None:
        self._levels[name] = (level, now)
        self._levels.move_to_end(name)
        if len(self._levels) > self._most:
            self._levels.popitem(last=False)
