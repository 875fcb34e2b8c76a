"""What an event costs at the door, and what good traffic notices of an attack: `python benchmarks/door.py [--quick]`.

Events per CPU-second of the collector, in batches of 1 and of 100, beside a bare aiohttp handler that only decodes and produces; both before the same
real Kafka, asked by the same senders. Then the p99 of good traffic, in quiet and under each attack of bombs.py. Progress goes to standard error; the
last line of standard output is one JSON object. docs/performance.md has the figures.
"""

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import msgspec  # noqa: E402
import uvloop  # noqa: E402
from aiohttp import web  # noqa: E402
from aiokafka import AIOKafkaProducer  # noqa: E402

from agents import admin  # noqa: E402
from agents.settings import Settings  # noqa: E402
from benchmarks.bombs import ATTACKS, Good, attacker, good_traffic  # noqa: E402
from benchmarks.commands import Command, write_keys  # noqa: E402
from benchmarks.runs import say  # noqa: E402
from deploy.kafka import kafka as local_kafka  # noqa: E402

BATCHES: Final = (1, 100)
SENDERS: Final = {1: 24, 100: 6}
"""Connections that ask one request after the other, by size of the batch: enough that the door is never idle."""
BODIES: Final = 40
TICKS: Final = os.sysconf("SC_CLK_TCK")


# --- the bare handler ------------------------------------------------------------------------------------------------


async def bare(broker: str, topic: str) -> None:
    """The least that answers a batch after Kafka has it; prints its address and runs until its standard input ends."""
    producer = AIOKafkaProducer(bootstrap_servers=broker, acks="all", enable_idempotence=True, compression_type="zstd")
    await producer.start()

    async def take(request: web.Request) -> web.Response:
        messages = msgspec.json.decode(await request.read())["batch"]
        sent = [await producer.send(topic, msgspec.json.encode(message), key=message["anonymousId"].encode()) for message in messages]
        await asyncio.gather(*sent)
        return web.Response(body=msgspec.json.encode({"success": True}), content_type="application/json")

    app = web.Application()
    app.router.add_post("/v1/batch", take)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    print(f"http://127.0.0.1:{runner.addresses[0][1]}", flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await runner.cleanup()
    await producer.stop()


@contextmanager
def bare_server(broker: str, topic: str) -> Iterator[tuple[str, int]]:
    """Its address and process id."""
    command = [sys.executable, __file__, "--bare", broker, topic]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield process.stdout.readline().strip(), process.pid
        process.communicate()


# --- senders ---------------------------------------------------------------------------------------------------------


def requests_of(size: int, address: str, key: str) -> list[bytes]:
    """Requests with so many events each, as SDKs send them."""
    requests = []
    for number in range(BODIES):
        batch = [_message(number * size + n) for n in range(size)]
        body = json.dumps({"batch": batch, "sentAt": "2026-03-02T10:15:30.000Z"}).encode()
        head = f"POST /v1/batch HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {key}\r\nContent-Length: {len(body)}\r\n\r\n"
        requests.append(head.encode() + body)
    return requests


def _message(number: int) -> dict[str, Any]:
    page = {"url": f"https://shop.example/p/{number % 50}?utm_source=news", "referrer": "https://www.google.com/", "title": "Trail shoes"}
    common = {
        "messageId": f"ajs-next-{number}-0198c0de7b1a", "anonymousId": f"v-{number % 2_000}", "timestamp": "2026-03-02T10:15:29.000Z",
        "context": {"page": page, "userAgent": "Mozilla/5.0 (X11; Linux x86_64) Chrome/140.0 Safari/537.36", "locale": "en-GB"},
    }  # fmt: skip
    if number % 3:
        return common | {"type": "page", "properties": page | {"path": f"/p/{number % 50}"}}
    return common | {
        "type": "track",
        "event": "Product Added",
        "properties": {"product_id": f"p-{number % 50}", "price": 18.99, "currency": "EUR", "quantity": 1},
    }


async def ask(url: str, requests: Sequence[bytes], senders: int, seconds: float) -> int:
    """So many connections, one request after the other; how many were answered, all with 200."""
    address = urlsplit(url)
    until = time.monotonic() + seconds

    async def keep_on(number: int) -> int:
        reader, writer = await asyncio.open_connection(address.hostname, address.port)
        answered = 0
        while time.monotonic() < until:
            writer.write(requests[(number + answered) % len(requests)])
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200"), head
            await reader.readexactly(int(head.lower().partition(b"content-length:")[2].split(b"\r\n", 1)[0]))
            answered += 1
        writer.close()
        return answered

    return sum(await asyncio.gather(*map(keep_on, range(senders))))


def cpu_seconds(pid: int) -> float:
    """Of a process so far, all its threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def rate(url: str, pid: int, size: int, key: str, seconds: float) -> float:
    """Events per CPU-second of the process, once warm."""
    requests = requests_of(size, urlsplit(url).netloc, key)
    uvloop.run(ask(url, requests, SENDERS[size], 1.0))
    before = cpu_seconds(pid)
    answered = uvloop.run(ask(url, requests, SENDERS[size], seconds))
    return answered * size / (cpu_seconds(pid) - before)


# --- the measurement -------------------------------------------------------------------------------------------------


class Bench:
    def __init__(self, broker: str, directory: Path, options: argparse.Namespace) -> None:
        self.options = options
        keys: list[dict[str, Any]] = [{"name": "page", "kind": "write", "site": "shop"}, {"name": "backend", "kind": "server", "site": "shop", "rate": 1e9}]
        self.public, self.secret = write_keys(directory / "keys.yml", keys)
        self.directory = directory
        self.settings = Settings(
            broker=broker, topic_prefix="door.", partitions=4, http_port=0, collector_port=0, collector_keys=str(directory / "keys.yml"),
            collector_spool=str(directory / "spool"), log_level="WARNING",
        )  # fmt: skip

    def measure(self) -> dict[str, Any]:
        asyncio.run(admin.create_topics(self.settings))
        found: dict[str, list[float]] = {f"{who}_{size}": [] for size in BATCHES for who in ("bare", "door")}
        with Command("collector", self.settings, self.directory) as collector, bare_server(self.settings.broker, "door.website") as (bare_url, bare_pid):
            url = collector.url()
            for _ in range(self.options.repetitions):
                for size in BATCHES:
                    for who, where, pid in (("bare", bare_url, bare_pid), ("door", url, collector.process.pid)):
                        found[f"{who}_{size}"].append(rate(where, pid, size, self.secret, self.options.seconds))
                        say(f"{who}, batches of {size}: {found[f'{who}_{size}'][-1]:,.0f} events per CPU-second")
            medians = {name: round(statistics.median(rates)) for name, rates in found.items()}
            ratios = {f"ratio_{size}": round(medians[f"door_{size}"] / medians[f"bare_{size}"], 3) for size in BATCHES}
            return medians | ratios | {"p99_ms": self.under_attack(url)}

    def under_attack(self, url: str) -> dict[str, float]:
        """The p99 of good traffic, quiet and attacked by turns: the lowest of each, because what other programs do can only add to it."""
        found: dict[str, list[float]] = {name: [] for name in ("quiet", *ATTACKS, "all_at_once")}
        for _ in range(self.options.repetitions):
            for name, times in found.items():
                good, came = uvloop.run(self.beside(url, {"quiet": (), "all_at_once": tuple(ATTACKS)}.get(name, (name,))))
                assert set(good.answers) == {"200"}, f"good traffic was refused: {good.answers}"
                times.append(good.quantile(0.99) * 1_000)
                say(f"{name}: p50 {good.quantile(0.5) * 1_000:.1f} ms, p99 {times[-1]:.1f} ms; {came}")
        return {name: round(min(times), 1) for name, times in found.items()}

    async def beside(self, url: str, attacks: Sequence[str]) -> tuple[Good, dict[str, int]]:
        if not attacks:
            return await good_traffic(url, self.secret, self.options.seconds), {}
        with attacker(url, self.public, self.options.seconds + 1.0, attacks) as process:
            await asyncio.sleep(1.0)  # until it is at it
            good = await good_traffic(url, self.secret, self.options.seconds)
            said, _ = await asyncio.to_thread(process.communicate)
        return good, json.loads(said)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a first impression in a minute")
    parser.add_argument("--bare", nargs=2, metavar=("BROKER", "TOPIC"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.seconds, options.repetitions = (3.0, 1) if options.quick else (6.0, 3)
    if options.bare:
        uvloop.run(bare(*options.bare))
        return 0
    with tempfile.TemporaryDirectory(prefix="engage-door-") as directory:
        node = local_kafka.Kafka(Path(directory) / "kafka", 0, heap="768m", dies_with_me=True)
        try:
            print(json.dumps(Bench(node.start(), Path(directory), options).measure()))
        finally:
            node.kill()
    return 0


if __name__ == "__main__":
    sys.exit(main())
