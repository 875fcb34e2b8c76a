"""Real doors on loopback, in this process, before a real broker or none."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from msgspec.structs import replace

from agents.settings import Settings
from collector.app import Options
from collector.keys import Keys, create_key
from collector.server import opened
from tests.collector.served import ORIGIN, Served, StartDoor, until


@pytest.fixture
async def start_door(tmp_path: Path, fresh: Settings) -> AsyncIterator[StartDoor]:
    """Starts doors, before no broker unless settings say where one is; options are those of `collector.app.Options`, `rate` that of all keys."""
    async with AsyncExitStack() as stack:

        async def start(settings: Settings | None = None, rate: float | None = None, **options: Any) -> Served:
            settings = settings or replace(fresh, broker="127.0.0.1:1")
            made = {
                "write": create_key("anywhere", "write", "shop", rate=rate),
                "page": create_key("page", "write", "shop", [ORIGIN], rate),
                "server": create_key("backend", "server", "shop", rate=rate),
            }
            keys = Keys([key for key, _ in made.values()])
            defaults: dict[str, Any] = {"spool": tmp_path / "spool", "spool_bytes": 1 << 24, "read_keys": lambda: keys, "port": 0}
            defaults |= {"address_rate": 200.0, "connections": 2_000}
            chosen = Options(connection=settings.client_kwargs(), prefix=settings.topic_prefix, **defaults | options)
            own = await stack.enter_async_context(AsyncExitStack())
            door, port = await own.enter_async_context(opened(chosen))
            if settings.broker != "127.0.0.1:1":
                await until(lambda: door.delivery.is_direct)
            session = await own.enter_async_context(aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=40)))
            return Served(door, port, settings, session, {name: text for name, (_, text) in made.items()}, own.aclose)

        yield start
