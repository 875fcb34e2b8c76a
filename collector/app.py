"""The HTTP door: a request becomes events, the events become safe, and only then the sender is told.

The way of one request is `Door.take`, read from top to bottom. A status says what the sender should do: 2xx it is safe (single events may be rejected:
the answer says why, and so does the topic `failed`), 4xx it is wrong and stays wrong, 429 and 503 send it again after `Retry-After`.
"""

import base64
import binascii
import logging
import math
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec
from aiohttp import web
from aiohttp.http import HttpProcessingError

from collector import metrics
from collector.debug import Recent
from collector.delivery import Delivery
from collector.envelopes import open_envelope
from collector.guard import Connection, Guard
from collector.keys import Key, Keys, server_key_in
from collector.limits import (
    BODY_BYTES,
    EVENTS,
    HEAVY,
    PARTS,
    UNPACKED_BYTES,
    UNPACKED_RATIO,
    Buckets,
    Fault,
    Networks,
    client_address,
    neighbourhood,
    parts_in,
    too_deep,
    unpack,
    weight_of,
)
from collector.openapi import document
from collector.plan import Plans
from collector.refusals import TOPIC, Origin
from collector.routes import Route, routes_of
from collector.spool import SpoolFullError
from collector.translation import Context, Outcome, translate
from collector.wires.reading import Envelope
from streams.events import Rejected, failure_headers
from streams.flow import Message

log = logging.getLogger(__name__)
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

HELD_BYTES: Final = 64 << 20
"""Of bodies in memory at once."""
TOLD: Final = 20
"""Rejected events that an answer names; the topic `failed` has all."""
FAILED_BYTES: Final = 512 << 10
"""Of a rejected message that are kept."""
ADDRESS_BURST_SECONDS: Final = 2.0
TOKEN_BYTES: Final = 64 << 10
"""Bytes that an address may send, or have unpacked, instead of one request."""
HEAVY_UNPACKING: Final = 4
UNPACKING_RATE: Final = 100.0
"""So many times 64 KiB per second may become of all compressed bodies that may become four of them, from senders without a server key."""
HEAVY_RATE: Final = 50.0
"""Weight per second of all heavy bodies from senders without a server key: one hundredth of a core."""
HEAVY_BURST: Final = 400.0
CORS: Final = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Methods": "GET, POST, OPTIONS",
    "Access-Control-Allow-Headers": "authorization, content-type, content-encoding, x-retry-count, anonymousid, "
    "ce-specversion, ce-id, ce-source, ce-type, ce-time, ce-subject",
    "Access-Control-Max-Age": "86400",
}  # fmt: skip
"""No cookie and no credential of the browser counts here, so any page may read an answer; who may send is what keys say."""
ALLOW_ORIGIN: Final = {"Access-Control-Allow-Origin": "*"}
GIF: Final = base64.b64decode("R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7")
_encode = msgspec.json.Encoder().encode


class Options(NamedTuple):
    """What the command line and the settings say."""

    connection: Mapping[str, Any]
    """Keyword arguments of a Kafka client."""
    prefix: str
    """Begin of every topic's name."""
    spool: Path
    spool_bytes: int
    read_keys: Callable[[], Keys]
    """Raises KeysError."""
    port: int
    address_rate: float
    """Requests per second from one address that does not show a server key."""
    connections: int
    """At once; a fortieth of them from one address."""
    plans: Plans | None = None
    host: str = "127.0.0.1"
    development: bool = False
    proxies: Networks = ()


class Door:
    """The handlers of all routes and what they share."""

    def __init__(self, options: Options, delivery: Delivery) -> None:
        self.options = options
        self.delivery = delivery
        self.keys = options.read_keys()
        self.guard: Guard | None = None
        self.counted = metrics.Metrics(delivery, lambda: self.guard)
        self.recent = Recent() if options.development else None
        self._by_address = Buckets()
        self._by_key = Buckets()
        self._shared = Buckets()
        """What all senders without a server key may cost together."""
        self._address_rate = {"rate": options.address_rate, "burst": options.address_rate * ADDRESS_BURST_SECONDS}
        self._held = 0
        self._requests: dict[tuple[str, int], Any] = {}
        """Counters by format and status, looked up once."""

    # --- the way of one request --------------------------------------------------------------------------------------

    async def take(self, request: web.Request, route: Route) -> web.Response:
        """Open, check and translate what came; answer when it is safe."""
        assert route.place is not None
        begun = time.monotonic()
        answer = await self._take(request, route.place.wire, route.place.kind, begun)
        if isinstance(answer, Fault):
            self.counted.faults.labels(answer.reason).inc()
            answer = _refusal(answer)
        self.counted.seconds.observe(time.monotonic() - begun)
        self._count(route.place.wire, answer.status)
        return answer

    async def _take(self, request: web.Request, wire: str, kind: str, now: float) -> web.Response | Fault:
        """The cheap questions first: whoever shows no server key pays by address for what is done, before it is known who it is."""
        headers = request.headers
        text = _credential(headers.get("Authorization", ""))
        key = self.keys.find(text) if text else None
        is_trusted = key is not None and key.kind == "server"
        sender = "" if is_trusted else self._address(request)
        length = request.content_length or 0
        if sender and (wait := self._by_address.take(sender, 1 + min(length, BODY_BYTES) // TOKEN_BYTES, now, **self._address_rate)):
            return _later(429, "address_rate", "Too many requests from this address.", wait)
        if text and key is None:
            return UNKNOWN_KEY
        if length > BODY_BYTES:
            return TOO_LARGE
        try:
            if self._held + length > HELD_BYTES:
                return _later(503, "busy", "Too much is on its way at once.", 1)
            body = await self._read(request)
            if isinstance(body, Fault):
                return body
            unpacked = self._unpack(wire, headers, request.query, body, sender, now)
            if isinstance(unpacked, Fault):
                return unpacked
            if fault := self._weigh(unpacked, sender, now):
                return fault
            opened = self._open(wire, kind, headers, request.query, unpacked)
            if isinstance(opened, Fault):
                return opened
            if key is None and (key := self.keys.find(opened.write_key or "")) is None:
                return UNKNOWN_KEY if opened.write_key else NO_KEY
            if not key.admits(headers.get("Origin")):
                return Fault(403, "origin", f"The key {key.name} may not be used from here; its `origins` in the keys file say from where.")
            if wait := self._by_key.take(key.name, len(opened.messages), now, rate=key.events_per_second, burst=key.burst):
                return _later(429, "key_rate", f"The key {key.name} sends more than {key.events_per_second:g} events per second.", wait)
            context = self._context(key, headers)
            outcomes = translate(opened, context)
            origin = Origin(key.site, opened.wire, opened.kind, opened.sent_at, context.opted_out)
            try:
                await self.delivery.take([_message(outcome, origin, context.received_at) for outcome in outcomes])
            except SpoolFullError as error:
                return _later(503, "spool_full", f"Kafka is away and the spool is full: {error}.", 5)
            return self._answer(opened, key, outcomes)
        finally:
            self._held -= request.get(HELD, 0)

    def _address(self, request: web.Request) -> str:
        """Whose rate a request counts to. The address is used for nothing else."""
        forwarded = request.headers.get("X-Forwarded-For", "")
        return neighbourhood(client_address(request.remote or "", forwarded, self.options.proxies)) or "unknown"

    async def _read(self, request: web.Request) -> bytes | Fault:
        """The body as it was sent; the guard cuts whoever is slow."""
        connection = _connection(request)
        if connection is not None:
            connection.expect_body()
        parts, size = [], 0
        try:
            while part := await request.content.readany():
                parts.append(part)
                size += len(part)
                self._held += len(part)
                request[HELD] = size
                if size > BODY_BYTES:
                    return TOO_LARGE
                if self._held > HELD_BYTES:
                    return _later(503, "busy", "Too much is on its way at once.", 1)
        except (web.RequestPayloadError, ConnectionError) as error:  # nobody may be there to hear it
            return Fault(400, "bad_body", f"The body cannot be read to its end: {str(error)[:200]}.")
        if connection is not None:
            connection.expect_nothing()
        self.counted.received_bytes.inc(size)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _unpack(self, wire: str, headers: Mapping[str, str], query: Mapping[str, str], body: bytes, sender: str, now: float) -> bytes | Fault:
        """The body as it was before compression. Senders without a server key pay for what is unpacked, and share a budget for what may become large."""
        encoding = headers.get("Content-Encoding", "")
        if not encoding and wire == "posthog" and query.get("compression", "").startswith("gzip"):
            encoding = "gzip"  # their browser SDK says so in the query
        if not sender or not encoding:
            return unpack(body, encoding)
        most = min(UNPACKED_BYTES, UNPACKED_RATIO * len(body)) / TOKEN_BYTES
        if most >= HEAVY_UNPACKING and (wait := self._shared.take("unpacking", most, now, rate=UNPACKING_RATE, burst=UNPACKING_RATE)):
            return _later(429, "address_rate", "Too large requests too often; a server key has no such limit.", wait)
        unpacked = unpack(body, encoding)
        size = UNPACKED_BYTES if isinstance(unpacked, Fault) else len(unpacked)
        self._by_address.charge(sender, size / TOKEN_BYTES, now, **self._address_rate)
        return unpacked

    def _weigh(self, body: bytes, sender: str, now: float) -> Fault | None:
        """Whether a body may be parsed: nothing else takes the event loop for so long, so those without a server key have a budget for it."""
        parts = parts_in(body)
        weight = weight_of(body, parts)
        if parts > PARTS:
            if sender:
                self._by_address.charge(sender, weight, now, **self._address_rate)
            return Fault(413, "too_large", f"The body has more than {PARTS:,} values.")
        if not sender or not weight:
            return None
        text = server_key_in(body)
        key = None if text is None else self.keys.find(text)
        if key is not None and key.kind == "server":
            return None
        wait = self._by_address.take(sender, weight, now, **self._address_rate)
        if not wait and weight >= HEAVY:
            wait = self._shared.take("parsing", weight, now, rate=HEAVY_RATE, burst=HEAVY_BURST)
        return _later(429, "address_rate", "Too large requests too often; a server key has no such limit.", wait) if wait else None

    def _open(self, wire: str, kind: str, headers: Mapping[str, str], query: Mapping[str, str], body: bytes) -> Envelope | Fault:
        if too_deep(body):
            return Fault(400, "too_deep", "The JSON is nested too deep.")
        opened = open_envelope(wire, kind, headers, query, body)
        if isinstance(opened, Rejected):
            return Fault(400, str(opened.reason), f"{opened.path}: {opened.detail}")
        if len(opened.messages) > EVENTS:
            return Fault(413, "too_many_events", f"There are {len(opened.messages)} events in one request; send at most {EVENTS}.")
        return opened

    def _context(self, key: Key, headers: Mapping[str, str]) -> Context:
        options = self.options
        return Context(
            site=key.site,
            received_at=now_ms(),
            opted_out=headers.get("Sec-GPC") == "1" or headers.get("DNT") == "1",
            user_agent=headers.get("User-Agent"),
            plan=None if options.plans is None else options.plans[key.site],
        )

    def _answer(self, opened: Envelope, key: Key, outcomes: Sequence[Outcome]) -> web.Response:
        """It is safe: count it, and say what was rejected and why."""
        wire = opened.wire
        rejected = [outcome for outcome in outcomes if isinstance(outcome, Rejected)]
        accepted = len(outcomes) - len(rejected)
        counted = self.counted
        if accepted:
            counted.accepted.labels(wire).inc(accepted)
        for outcome in outcomes:
            if isinstance(outcome, Rejected):
                counted.rejected.labels(wire, outcome.reason).inc()
            elif outcome.flags:
                for flag in outcome.flags:
                    counted.flags.labels(flag).inc()
        if self.recent is not None:
            self.recent.note(wire, key.site, outcomes)
        if wire == "snowplow" and opened.kind == "pixel":
            return web.Response(body=GIF, content_type="image/gif", headers=ALLOW_ORIGIN)
        said: dict[str, Any] = {"success": True, "accepted": accepted, "rejected": [_told(outcome) for outcome in rejected[:TOLD]]}
        if wire == "posthog":  # the first is what /batch/ and /capture/ answer, the second what /i/v1/ does
            said |= {"status": 1, "results": {uuid: {"result": "drop", "details": why.detail} for why in rejected if (uuid := _uuid(why.raw))}}
        return _json(said, 202 if wire in ("native", "cloudevents") else 200)

    # --- what SDKs ask for beside ------------------------------------------------------------------------------------

    async def swallow(self, _request: web.Request, _route: Route) -> web.Response:
        """Measures that an SDK takes of itself."""
        return _json({"success": True})

    async def settings(self, request: web.Request, _route: Route) -> web.Response:
        """What the browser SDK of Segment loads first."""
        text = request.match_info["write_key"]
        if wait := self._by_address.take(self._address(request), 1, time.monotonic(), **self._address_rate):
            return _refusal(_later(429, "address_rate", "Too many requests from this address.", wait))
        key = self.keys.find(text)
        if key is None or key.kind != "write":  # a server key has no business in an address
            return _refusal(UNKNOWN_KEY._replace(status=404))
        host, scheme = request.host, "https" if request.headers.get("X-Forwarded-Proto") == "https" else request.scheme
        segment = {"apiKey": key.key, "apiHost": f"{host}/v1", "protocol": scheme}
        return _json({"integrations": {"Segment.io": segment}, "plan": {}, "track": {}, "metrics": {"sampleRate": 0}})

    async def flags(self, _request: web.Request, _route: Route) -> web.Response:
        """PostHog's SDKs ask for feature flags: there are none."""
        return _json({"flags": {}, "featureFlags": {}, "featureFlagPayloads": {}, "errorsWhileComputingFlags": False})

    async def openapi(self, _request: web.Request, _route: Route) -> web.Response:
        """What this door takes and answers, for programs."""
        return _json(document(version("engagement-monitor"), routes_of(self.options.development)))

    # --- for operators -----------------------------------------------------------------------------------------------

    async def healthz(self, _request: web.Request, _route: Route) -> web.Response:
        return web.Response(text="ok\n")  # that this is answered is the proof

    async def readyz(self, _request: web.Request, _route: Route) -> web.Response:
        delivery, spool = self.delivery, self.delivery.spool
        room = f"{spool.events} events in the spool, {spool.used:,} of {spool.limit:,} bytes"
        return web.Response(status=200 if delivery.can_take else 503, text=f"Kafka is {'there' if delivery.is_direct else 'away'}, {room}\n")

    async def metrics(self, _request: web.Request, _route: Route) -> web.Response:
        return web.Response(body=self.counted.page(), headers={"Content-Type": metrics.CONTENT_TYPE})

    async def debug(self, request: web.Request, _route: Route) -> web.Response:
        shown = None if self.recent is None else self.recent.shown(request.match_info["which"])
        return _refusal(NOT_FOUND) if shown is None else _json(shown)

    async def reset(self, _request: web.Request, _route: Route) -> web.Response:
        if self.recent is not None:
            self.recent.reset()
        return _json({"success": True})

    # --- around every request ----------------------------------------------------------------------------------------

    def handler(self, route: Route) -> Handler:
        """What aiohttp calls for a route."""
        work: Callable[[web.Request, Route], Awaitable[web.Response]] = getattr(self, route.action)
        inside_only = route.action in ("readyz", "metrics", "debug", "reset")

        async def handle(request: web.Request) -> web.StreamResponse:
            if inside_only and ("X-Forwarded-For" in request.headers or "Forwarded" in request.headers):
                return _refusal(NOT_FOUND)
            return await work(request, route)

        return handle

    @property
    def middleware(self) -> Any:
        """Tells the guard where a request stands, answers every OPTIONS, and makes every fault readable."""

        @web.middleware
        async def around(request: web.Request, handler: Handler) -> web.StreamResponse:
            connection = _connection(request)
            if connection is not None:
                connection.expect_nothing()
            try:
                if request.method == "OPTIONS":
                    return web.Response(status=204, headers=CORS)
                return await handler(request)
            except web.HTTPException as error:
                answer = _refusal(Fault(error.status, error.reason.lower().replace(" ", "_"), f"{request.method} {request.path[:100]}: {error.reason}."))
                if "Allow" in error.headers:
                    answer.headers["Allow"] = error.headers["Allow"]
                return answer
            finally:
                if connection is not None:
                    connection.expect_request()

        return around

    def count_malformed(self, record: logging.LogRecord) -> bool:
        """A filter for the server's log: what is no HTTP is counted, and not told with its bytes."""
        malformed = record.exc_info is not None and isinstance(record.exc_info[1], HttpProcessingError)
        if malformed:
            self.counted.faults.labels("malformed").inc()
        return not malformed and record.levelno >= logging.INFO

    def _count(self, wire: str, status: int) -> None:
        counter = self._requests.get((wire, status))
        if counter is None:
            counter = self._requests[wire, status] = self.counted.requests.labels(wire, str(status))
        counter.inc()


HELD: Final = web.RequestKey("held", int)
"""Of a request: bytes of its body that are in memory."""
NO_KEY: Final = Fault(401, "no_key", "There is no key: send `Authorization: Basic base64(KEY:)` or `Authorization: Bearer KEY`, or give it to your SDK.")
UNKNOWN_KEY: Final = Fault(401, "unknown_key", "This key is not in the keys file; `engage keys create` makes one.")
TOO_LARGE: Final = Fault(413, "too_large", f"The body has more than {BODY_BYTES:,} bytes.")
NOT_FOUND: Final = Fault(404, "not_found", "There is nothing here.")


def now_ms() -> int:
    """The clock, in epoch milliseconds."""
    return time.time_ns() // 1_000_000


def _connection(request: web.Request) -> Connection | None:
    """The guarded connection of a request; None when it is closed."""
    protocol = None if request.transport is None else request.transport.get_protocol()
    return protocol if isinstance(protocol, Connection) else None


def _credential(authorization: str) -> str:
    """The key in `Basic base64(key:)` or `Bearer key`; empty where there is none."""
    scheme, _, rest = authorization.partition(" ")
    match scheme.lower():
        case "basic":
            with suppress(binascii.Error, ValueError):
                return base64.b64decode(rest.strip(), validate=True).decode().partition(":")[0]
        case "bearer":
            return rest.strip()
    return ""


def _message(outcome: Outcome, origin: Origin, received_at: int) -> Message:
    """An accepted event for its topic, or a rejected one for the topic `failed`, as the workers write there."""
    if not isinstance(outcome, Rejected):
        return Message(outcome.topic, outcome.key, outcome.value)
    headers = (*failure_headers(outcome, TOPIC), ("engage-timestamp", b"%d" % received_at), *origin.headers)
    return Message("failed", f"{origin.site}/".encode(), outcome.raw[:FAILED_BYTES], headers)


def _told(rejected: Rejected) -> dict[str, str]:
    return {"reason": rejected.reason, "path": rejected.path, "detail": rejected.detail}


def _uuid(raw: bytes) -> str | None:
    try:
        fields = msgspec.json.decode(raw)
    except (msgspec.MsgspecError, RecursionError, ValueError):
        return None
    uuid = fields.get("uuid") if isinstance(fields, dict) else None
    return uuid if isinstance(uuid, str) else None


def _later(status: int, reason: str, detail: str, seconds: float) -> Fault:
    return Fault(status, reason, detail, max(1, math.ceil(seconds)))


def _refusal(fault: Fault) -> web.Response:
    answer = _json({"success": False, "reason": fault.reason, "detail": fault.detail}, fault.status)
    if fault.retry:
        answer.headers["Retry-After"] = str(fault.retry)
    elif fault.status == 401:
        answer.headers["WWW-Authenticate"] = "Basic"
    return answer


def _json(content: Any, status: int = 200) -> web.Response:
    return web.Response(body=_encode(content), status=status, content_type="application/json", headers=ALLOW_ORIGIN)
