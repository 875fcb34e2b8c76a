"""Attacks on a running collector, and good traffic beside them whose latency is measured: used by prove_door.py and by tests.

    python benchmarks/bombs.py URL KEY SECONDS ATTACK...     attack; the last line is one JSON object: what came of it

KEY is a write key: it stands in every page, so who attacks has it. Each attack comes from its own address on loopback, idle sockets from sixty.
"""

import asyncio
import gzip
import json
import math
import os
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

import aiohttp

SOCKETS: Final = 2_000
WORKERS: Final = 8
"""Connections of one attacker at a time."""
PAUSE: Final = 0.05
"""Between two bombs of a connection: up to 80 MB of them per second. More is a flood, which is not the door's to stop."""
PATIENCE: Final = 20.0


class Target(NamedTuple):
    host: str
    port: int
    key: str
    until: float
    """By the clock of the event loop."""
    came: Counter[str]
    """By attack and what came of it: a status, or `closed`."""


# --- bad traffic -----------------------------------------------------------------------------------------------------


async def gzip_bomb(target: Target) -> None:
    """Half a gigabyte in half a megabyte."""
    body = gzip.compress(bytes(10 << 20)) * 48
    await _post(target, "gzip_bomb", "127.0.2.1", body, more="Content-Encoding: gzip\r\n")


async def nested_json(target: Target) -> None:
    """Deep and never closed, deep and wide, wide."""
    bodies = [b"[" * 60_000, b'{"batch":[{"properties":' + b'{"a":[' * 80_000 + b"]}" * 80_000 + b"}]}", b'{"batch":[' + b"[]," * 160_000 + b"{}]}"]
    await _post(target, "nested_json", "127.0.2.2", *bodies)


async def slow_headers(target: Target) -> None:
    """A request line, and then a header's letter now and then."""
    await asyncio.gather(*(_drip(target, "slow_headers", "127.0.2.3", b"POST /v1/batch HTTP/1.1\r\nHost: x\r\nX-A: ") for _ in range(40)))


async def slow_bodies(target: Target) -> None:
    """All headers at once, and then a letter of the body now and then."""
    head = f"POST /v1/batch HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {target.key}\r\nContent-Length: 100000\r\n\r\n"
    await asyncio.gather(*(_drip(target, "slow_bodies", "127.0.2.4", head.encode()) for _ in range(40)))


async def idle_sockets(target: Target) -> None:
    """Nothing at all, on as many connections as the door has."""

    async def idle(number: int) -> None:
        while _is_on(target):
            await asyncio.sleep(random.random())
            with suppress(OSError):
                reader, writer = await asyncio.open_connection(target.host, target.port, local_addr=(f"127.0.3.{1 + number % 60}", 0))
                target.came["idle_sockets opened"] += 1
                await _ended(target, "idle_sockets", reader, writer)

    await asyncio.gather(*map(idle, range(SOCKETS)))


ATTACKS: Final[dict[str, Callable[[Target], Awaitable[None]]]] = {
    "gzip_bomb": gzip_bomb,
    "nested_json": nested_json,
    "slow_headers": slow_headers,
    "slow_bodies": slow_bodies,
    "idle_sockets": idle_sockets,
}


def _is_on(target: Target) -> bool:
    return asyncio.get_running_loop().time() < target.until


async def _post(target: Target, name: str, address: str, *bodies: bytes, more: str = "") -> None:
    async def keep_on() -> None:
        while _is_on(target):
            for body in bodies:
                head = f"POST /v1/batch HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {target.key}\r\n{more}Content-Length: {len(body)}\r\n\r\n"
                try:
                    reader, writer = await asyncio.open_connection(target.host, target.port, local_addr=(address, 0))
                    writer.write(head.encode() + body)
                    await _ended(target, name, reader, writer, once=True)
                except OSError:
                    target.came[f"{name} closed"] += 1
                await asyncio.sleep(PAUSE)

    await asyncio.gather(*(keep_on() for _ in range(WORKERS)))


async def _drip(target: Target, name: str, address: str, begin: bytes) -> None:
    while _is_on(target):
        with suppress(OSError):
            reader, writer = await asyncio.open_connection(target.host, target.port, local_addr=(address, 0))
            writer.write(begin)
            ended = asyncio.create_task(_ended(target, name, reader, writer))
            while not ended.done() and _is_on(target):
                writer.write(b"a")
                await asyncio.wait([ended], timeout=0.3)
            await ended


async def _ended(target: Target, name: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, once: bool = False) -> None:
    """Wait for what comes of a connection: an answer, or its end."""
    left = (PATIENCE if once else 0.0) + target.until - asyncio.get_running_loop().time()
    try:
        async with asyncio.timeout(max(0.1, left)):
            said = await reader.read(12)
            target.came[f"{name} {said[9:12].decode() or 'closed'}"] += 1
    except TimeoutError:
        target.came[f"{name} open"] += 1
    except OSError:
        target.came[f"{name} closed"] += 1
    finally:
        writer.transport.abort()


async def attack(url: str, key: str, seconds: float, names: Sequence[str]) -> dict[str, int]:
    """Attack for so long; how often what came of it."""
    address = urlsplit(url)
    target = Target(address.hostname or "", address.port or 80, key, asyncio.get_running_loop().time() + seconds, Counter())
    await asyncio.gather(*(ATTACKS[name](target) for name in names))
    return dict(sorted(target.came.items()))


def attacker(url: str, key: str, seconds: float, names: Sequence[str]) -> "subprocess.Popen[str]":
    """The same as a process of its own, which leaves the processor to the others: who attacks does so from elsewhere."""
    return subprocess.Popen([sys.executable, Path(__file__), url, key, str(seconds), *names], stdout=subprocess.PIPE, text=True)


# --- good traffic ----------------------------------------------------------------------------------------------------


class Good(NamedTuple):
    """What good traffic met with."""

    seconds: list[float]
    """Of each request, in order of length."""
    answers: Counter[str]

    def quantile(self, q: float) -> float:
        return self.seconds[max(0, math.ceil(q * len(self.seconds)) - 1)]


async def good_traffic(url: str, key: str, seconds: float, rate: float = 50.0) -> Good:
    """So many requests per second of ten events each, every fifth on a new connection; what is not answered counts with its waiting."""
    good = Good([], Counter())
    loop = asyncio.get_running_loop()
    headers = {"Authorization": f"Bearer {key}"}

    async def send(session: aiohttp.ClientSession, number: int) -> None:
        page = {"type": "page", "anonymousId": f"v{number % 100}", "properties": {"path": "/shoes"}}
        batch = {"batch": [page | {"messageId": f"g-{number}-{n}"} for n in range(10)]}
        begun = time.perf_counter()
        try:
            async with session.post(f"{url}/v1/batch", json=batch, headers={"Connection": "close"} if number % 5 == 0 else {}) as answer:
                said = await answer.json()
                good.answers[str(answer.status) if said.get("accepted") == 10 else f"{answer.status} {said}"] += 1
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            good.answers[type(error).__name__] += 1
        good.seconds.append(time.perf_counter() - begun)

    async with aiohttp.ClientSession(headers=headers, timeout=aiohttp.ClientTimeout(PATIENCE)) as session, asyncio.TaskGroup() as group:
        begun = loop.time()
        for number in range(round(seconds * rate)):
            await asyncio.sleep(max(0.0, begun + number / rate - loop.time()))
            group.create_task(send(session, number))
    good.seconds.sort()
    return good


def main() -> None:
    url, key, seconds, *names = sys.argv[1:]
    os.nice(19)
    begun = time.process_time()
    came: dict[str, Any] = asyncio.run(attack(url, key, float(seconds), names))
    print(json.dumps(came | {"cpu_seconds": round(time.process_time() - begun, 1)}))


if __name__ == "__main__":
    main()
