"""A door that a test has started, and what lies on a topic behind it."""

import asyncio
import base64
import json
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
from aiokafka import AIOKafkaConsumer, TopicPartition

from agents.settings import Settings
from collector.app import Door


async def until(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 (what it looks at knows no event)
            await asyncio.sleep(0.01)


async def on_topic(settings: Settings, topic: str = "website") -> list[Any]:
    """The records of a topic, partition by partition."""
    consumer = AIOKafkaConsumer(**settings.client_kwargs(), auto_offset_reset="earliest", enable_auto_commit=False)
    await consumer.start()
    try:
        found = []
        for number in range(settings.partitions):
            tp = TopicPartition(settings.topic(topic), number)
            consumer.assign([tp])
            end = (await consumer.end_offsets([tp]))[tp]
            await consumer.seek_to_beginning(tp)
            while await consumer.position(tp) < end:
                found += [record for records in (await consumer.getmany(tp, timeout_ms=200)).values() for record in records]
        return found
    finally:
        await consumer.stop()


def basic(key: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{key}:".encode()).decode()}


class Served:
    """A door that listens, with three keys: `write`, `page` (with an origin) and `server`, all of the site shop."""

    def __init__(
        self, door: Door, port: int, settings: Settings, session: aiohttp.ClientSession, texts: dict[str, str], stop: Callable[[], Awaitable[None]]
    ) -> None:
        self.door, self.port, self.settings, self.texts, self.stop = door, port, settings, texts, stop
        self.url = f"http://127.0.0.1:{port}"
        self._session = session

    async def ask(self, method: str, path: str, key: str | None = None, **options: Any) -> tuple[int, Any, Any]:
        """Status, content and headers; `key` names one of ours."""
        headers = (basic(self.texts[key]) if key else {}) | options.pop("headers", {})
        async with self._session.request(method, self.url + path, headers=headers, **options) as answer:
            text = (await answer.read()).decode(errors="replace")
            return answer.status, json.loads(text) if answer.content_type == "application/json" else text, answer.headers

    async def records(self, topic: str = "website") -> list[Any]:
        return await on_topic(self.settings, topic)


StartDoor = Callable[..., Awaitable[Served]]
ORIGIN = "https://shop.example"
