"""What aiohttp does not bound: how long a connection may take over its headers and its body and how long it may idle, and how many there may be.

Every accepted connection has one deadline from the first moment on. A sweep cuts those that are over it, so an attack costs a number per connection
and no timer. When all places are taken, whoever has waited longest without a request at hand makes room for who comes.
"""

import asyncio
import math
from collections import Counter
from collections.abc import Callable
from typing import Final, NamedTuple, cast

from collector.limits import BODY_SECONDS, HEADER_SECONDS, IDLE_SECONDS, Networks, is_in, neighbourhood

SWEEP_SECONDS: Final = 0.1
CUTS: Final = 100
"""In one sweep: to cut thousands of connections at once would be felt by all others."""
FULL: Final = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 2\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


class Deadlines(NamedTuple):
    """Seconds within which the next step of a connection must be done."""

    headers: float = HEADER_SECONDS
    body: float = BODY_SECONDS
    idle: float = IDLE_SECONDS


class Guard:
    """Makes the protocols of a server; `cut` counts by reason the connections that were refused or closed."""

    def __init__(self, serve: Callable[[], asyncio.Protocol], *, most: int, per_address: int, proxies: Networks = ()) -> None:
        self.connections: dict[Connection, None] = {}
        self.cut: Counter[str] = Counter()
        self.deadlines = Deadlines()
        self.serve = serve
        self._most = most
        self._per_address = per_address
        self._proxies = proxies
        self._by_address: Counter[str] = Counter()

    def __call__(self) -> "Connection":
        """For `loop.create_server`."""
        return Connection(self)

    def close(self) -> None:
        """Let go of who has not said anything yet; the server knows the others."""
        for connection in [connection for connection in self.connections if connection.is_silent]:
            connection.abort()

    def admit(self, connection: "Connection") -> bool:
        """Whether a new connection gets a place. A trusted proxy may have any share of them."""
        address = connection.address
        if self._by_address[address] >= self._per_address and not is_in(address, self._proxies):
            self.cut["address"] += 1
            return False
        if len(self.connections) >= self._most:
            longest = min((other for other in self.connections if other.deadline < math.inf), key=_deadline, default=None)
            if longest is None:
                self.cut["full"] += 1
                return False
            self.cut["crowded"] += 1
            longest.abort()
        self.connections[connection] = None
        self._by_address[address] += 1
        return True

    def release(self, connection: "Connection") -> None:
        if connection in self.connections:
            del self.connections[connection]
            self._by_address[connection.address] -= 1
            if not self._by_address[connection.address]:
                del self._by_address[connection.address]

    def sweep(self, now: float) -> None:
        """Cut what is over its deadline, the oldest connections first."""
        for connection in [connection for connection in self.connections if connection.deadline <= now][:CUTS]:
            self.cut[connection.waits_for] += 1
            connection.abort()

    async def watch(self) -> None:
        """Sweep for ever."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            self.sweep(loop.time())


class Connection(asyncio.Protocol):
    """Passes everything on to a protocol of the server, and watches the time. Who says nothing costs no more than this object."""

    def __init__(self, guard: Guard) -> None:
        self.address = ""
        self.deadline = math.inf
        """By the clock of the event loop; infinite while we are at work."""
        self.waits_for = "headers"
        """What must have come by then: `headers`, `body`, `idle`."""
        self._admitted = False
        self._guard = guard
        self._protocol: asyncio.Protocol | None = None
        self._transport: asyncio.Transport | None = None
        self._time = asyncio.get_running_loop().time

    @property
    def is_silent(self) -> bool:
        """Whether nothing has come from it."""
        return self._protocol is None

    # --- what the handlers of requests say -----------------------------------------------------------------------------

    def expect_body(self) -> None:
        """The headers are here."""
        self.waits_for, self.deadline = "body", self._time() + self._guard.deadlines.body

    def expect_nothing(self) -> None:
        """The request is here."""
        self.deadline = math.inf

    def expect_request(self) -> None:
        """It is answered; the answer too must be taken within this time."""
        self.waits_for, self.deadline = "idle", self._time() + self._guard.deadlines.idle

    # --- what the transport says -------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport = cast(asyncio.Transport, transport)  # uvloop's are not of that class
        self._transport = transport
        peer = transport.get_extra_info("peername")
        self.address = neighbourhood(str(peer[0])) if isinstance(peer, tuple) and peer else ""
        self.deadline = self._time() + self._guard.deadlines.headers
        self._admitted = self._guard.admit(self)
        if not self._admitted:
            transport.write(FULL)
            transport.close()

    def data_received(self, data: bytes) -> None:
        if not self._admitted:
            return
        if self._protocol is None:
            self._protocol = self._guard.serve()
            self._protocol.connection_made(cast(asyncio.Transport, self._transport))
        if self.waits_for == "idle" and self.deadline < math.inf:  # the first bytes of the next request
            self.waits_for, self.deadline = "headers", min(self.deadline, self._time() + self._guard.deadlines.headers)
        self._protocol.data_received(data)

    def eof_received(self) -> bool | None:
        return None if self._protocol is None else self._protocol.eof_received()

    def connection_lost(self, error: Exception | None) -> None:
        if self._admitted:
            self._guard.release(self)
        if self._protocol is not None:
            self._protocol.connection_lost(error)

    def pause_writing(self) -> None:
        if self._protocol is not None:
            self._protocol.pause_writing()

    def resume_writing(self) -> None:
        if self._protocol is not None:
            self._protocol.resume_writing()

    def abort(self) -> None:
        """Cut it, and give its place free at once."""
        self._guard.release(self)
        self.deadline = math.inf
        if self._transport is not None:
            self._transport.abort()


def _deadline(connection: Connection) -> float:
    return connection.deadline
