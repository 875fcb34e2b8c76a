"""The server around the door: it listens, guards its connections, and ends what was begun before it stops."""

import asyncio
import gc
import logging
import resource
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final

from aiohttp import web

from collector.app import Door, Options
from collector.delivery import Delivery
from collector.guard import Guard
from collector.keys import KeysError
from collector.limits import IDLE_SECONDS
from collector.routes import routes_of
from collector.spool import Spool

log = logging.getLogger(__name__)

STOP_SECONDS: Final = 4.0
SPARE_FILES: Final = 100


def create_app(door: Door) -> web.Application:
    """All routes of the door."""
    app = web.Application(middlewares=[door.middleware])
    for route in routes_of(door.options.development):
        app.router.add_route(route.method, route.path, door.handler(route))
    return app


@asynccontextmanager
async def opened(options: Options) -> AsyncIterator[tuple[Door, int]]:
    """A door that listens, and its port; on leaving, what was begun is finished and everything safe. Raises KeysError, SpoolError, OSError."""
    delivery = Delivery(options.connection, options.prefix, Spool(options.spool, options.spool_bytes))
    async with AsyncExitStack() as stack:
        await delivery.start()
        stack.push_async_callback(delivery.stop)
        door = Door(options, delivery)
        # Bodies are unpacked in `limits`, which is stricter.
        server_log = logging.Logger("collector.http", logging.DEBUG)
        server_log.parent = log
        server_log.addFilter(door.count_malformed)
        runner = web.AppRunner(
            create_app(door), access_log=None, logger=server_log, auto_decompress=False, keepalive_timeout=IDLE_SECONDS, lingering_time=2.0,
            shutdown_timeout=STOP_SECONDS,
        )  # fmt: skip
        await runner.setup()
        assert runner.server is not None
        stack.push_async_callback(runner.cleanup)
        most = _most_connections(options.connections)
        door.guard = Guard(runner.server, most=most, per_address=max(10, options.connections // 40), proxies=options.proxies)
        stack.callback(door.guard.close)
        watch = asyncio.create_task(door.guard.watch(), name="guard")
        stack.callback(watch.cancel)
        server = await asyncio.get_running_loop().create_server(door.guard, options.host, options.port, backlog=1024)
        stack.callback(server.close)
        yield door, int(server.sockets[0].getsockname()[1])


async def serve(options: Options, on_start: Callable[[int], None]) -> dict[str, int]:
    """Run until SIGTERM or SIGINT; SIGHUP reads the keys again. Tells the port; returns how many messages Kafka has confirmed, by topic, and `spooled`."""
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with opened(options) as (door, port):
        loop.add_signal_handler(signal.SIGHUP, _read_keys_again, door)
        gc.freeze()  # what is here by now stays
        gc.set_threshold(20_000, 20, 50)
        on_start(port)
        await stop.wait()
        log.info("Stopping: no new connections; what has begun is finished")
    return {**door.delivery.delivered, "spooled": door.delivery.spool.events}


def _read_keys_again(door: Door) -> None:
    """A file that cannot be used changes nothing."""
    try:
        door.keys = door.options.read_keys()
    except (KeysError, OSError) as error:
        log.error("The keys stay as they were: %s", error)
    else:
        log.info("The keys file was read again: %d keys", len(door.keys.all))


def _most_connections(wanted: int) -> int:
    """As many connections as wanted, or as the system lets a process have files."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = wanted + SPARE_FILES
    if soft < needed:
        soft = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    if soft < needed:
        log.warning("The system allows %d open files: at most %d connections instead of %d; raise `ulimit -n`", soft, soft - SPARE_FILES, wanted)
    return min(wanted, soft - SPARE_FILES)
