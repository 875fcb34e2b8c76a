"""Slow, idle and too many connections, against a real server; deadlines are shortened where a test would wait for them."""

import asyncio
import json
import time
from contextlib import suppress
from typing import Any

import pytest

from collector.guard import SWEEP_SECONDS, Deadlines, Guard
from collector.limits import BODY_SECONDS, HEADER_SECONDS, IDLE_SECONDS, networks
from tests.collector.served import Served, StartDoor, basic, until

SHORT = Deadlines(headers=0.6, body=0.8, idle=1.0)
BODY = json.dumps({"batch": [{"type": "page", "anonymousId": "v1", "messageId": "m1", "properties": {"path": "/"}}]}).encode()


def head(served: Served, length: int = len(BODY)) -> bytes:
    key = basic(served.texts["write"])["Authorization"]
    return f"POST /v1/batch HTTP/1.1\r\nHost: x\r\nAuthorization: {key}\r\nContent-Length: {length}\r\n\r\n".encode()


async def started(start_door: StartDoor, deadlines: Deadlines = SHORT, **options: Any) -> tuple[Served, Guard]:
    served = await start_door(**options)
    assert served.door.guard is not None
    served.door.guard.deadlines = deadlines
    return served, served.door.guard


async def lifetime(served: Served, *parts: bytes, pause: float = 0.0, after: float = 0.0, source: str = "127.0.0.1") -> tuple[float, bytes]:
    """How long (s) a connection lives on which these parts are sent, and what was answered."""
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port, local_addr=(source, 0))
    begun = time.monotonic()
    answer = b""
    try:
        for part in parts:
            writer.write(part)
            await asyncio.sleep(pause)
        while got := await reader.read(65536):
            answer += got
    except ConnectionError:
        pass
    finally:
        writer.transport.abort()
    return time.monotonic() - begun - after, answer


def cut_after(seconds: float, limit: float) -> bool:
    return limit * 0.95 <= seconds <= limit + SWEEP_SECONDS + 0.5


@pytest.mark.slow
async def test_slow_headers_and_bodies_and_idle_connections_are_cut(start_door: StartDoor):
    served, guard = await started(start_door)
    drops = [b"x" for _ in range(40)]
    silent, headers, dripping, body, body_dripping, idle, second = await asyncio.gather(
        lifetime(served),
        lifetime(served, head(served)[:40]),
        lifetime(served, b"POST /v1/batch HTTP/1.1\r\nA: ", *drops, pause=0.1),
        lifetime(served, head(served), BODY[:20]),
        lifetime(served, head(served, 10_000), *drops, pause=0.1),
        lifetime(served, head(served) + BODY),
        lifetime(served, head(served) + BODY, b"", head(served)[:20], pause=0.2),
    )
    assert cut_after(silent[0], SHORT.headers)
    assert cut_after(headers[0], SHORT.headers)
    assert cut_after(body[0], SHORT.body)
    assert dripping[0] < 5, "writing ends when the other side is gone"
    assert body_dripping[0] < 5
    assert cut_after(idle[0], SHORT.idle)
    assert b"HTTP/1.1 200 OK" in idle[1]
    assert b"HTTP/1.1 200 OK" in second[1]
    assert cut_after(second[0], 0.4 + SHORT.headers)
    assert guard.cut == {"headers": 4, "body": 2, "idle": 1}
    await until(lambda: not guard.connections)
    assert served.door._held == 0


async def test_a_busy_connection_is_left_alone(start_door: StartDoor):
    served, guard = await started(start_door)
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
    for _ in range(8):
        writer.write(head(served) + BODY)
        assert b"200 OK" in await reader.readuntil(b"}")
        await asyncio.sleep(0.3)
    writer.write((head(served) + BODY) * 20)  # pipelined
    answers = b""
    while answers.count(b"200 OK") < 20:
        answers += await reader.read(65536)
    writer.transport.abort()
    assert not guard.cut


async def test_one_address_has_a_share_and_the_rest_is_told_to_come_again(start_door: StartDoor):
    served, guard = await started(start_door, Deadlines(), connections=400)
    crowd = [await asyncio.open_connection("127.0.0.1", served.port, local_addr=("127.0.0.2", 0)) for _ in range(30)]
    refused = [await asyncio.wait_for(reader.read(), 2) for reader, _ in crowd[10:]]
    assert all(answer.startswith(b"HTTP/1.1 503 ") and b"Retry-After: 2" in answer for answer in refused)
    assert guard.cut == {"address": 20}
    status, _, _ = await served.ask("POST", "/v1/batch", "write", data=BODY)
    assert status == 200, "another address"
    for _, writer in crowd:
        writer.transport.abort()
    await until(lambda: len(guard.connections) == 1)
    assert set(guard._by_address.values()) == {1}


async def test_when_all_places_are_taken_the_longest_idle_goes(start_door: StartDoor):
    served, guard = await started(start_door, Deadlines(), connections=40, proxies=networks("127.0.0.2"))
    crowd = [await asyncio.open_connection("127.0.0.1", served.port, local_addr=("127.0.0.2", 0)) for _ in range(60)]
    assert len(guard.connections) == 40
    assert guard.cut == {"crowded": 20}
    for _ in range(3):
        assert (await served.ask("POST", "/v1/batch", "write", data=BODY))[0] == 200
    assert guard.cut == {"crowded": 21}
    for reader, _ in crowd[:20]:
        with suppress(ConnectionError):
            assert await asyncio.wait_for(reader.read(), 2) == b""
    for _, writer in crowd:
        writer.transport.abort()


async def test_good_senders_do_not_notice_two_thousand_idle_ones(start_door: StartDoor):
    served, guard = await started(start_door, Deadlines(), connections=1_000)

    async def quantile() -> float:
        seconds = []
        for _ in range(60):
            begun = time.perf_counter()
            assert (await served.ask("POST", "/v1/batch", "server", data=BODY))[0] == 200
            seconds.append(time.perf_counter() - begun)
        return sorted(seconds)[53]

    quiet = await quantile()
    crowd = [await asyncio.open_connection("127.0.0.1", served.port, local_addr=(f"127.0.1.{number % 100 + 1}", 0)) for number in range(2_000)]
    assert len(guard.connections) <= 1_000
    crowded = await quantile()
    for _, writer in crowd:
        writer.transport.abort()
    assert crowded < max(3 * quiet, 0.05)


def test_the_deadlines_are_those_of_the_limits():
    assert Deadlines() == (HEADER_SECONDS, BODY_SECONDS, IDLE_SECONDS) == (5, 10, 15)
