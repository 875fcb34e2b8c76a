"""Reading the log of topics without a consumer group, for all commands."""

import time
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaError

from agents.admin import RefusedError, UnreachableError, reach
from agents.settings import Settings

FETCH_WAIT_MS = 100
"""The embedded broker answers an empty fetch only after the whole wait."""
SILENCE_SECONDS = 30.0
"""What is on the log must come; a broker that sends none of it for so long has stopped answering."""


async def partition_counts(settings: Settings) -> dict[str, int]:
    """How many partitions every topic has that may be seen, by full name. Raises UnreachableError or RefusedError."""
    await reach(settings)
    client = AIOKafkaClient(**settings.client_kwargs())
    try:
        await client.bootstrap()
        cluster = await client.fetch_all_metadata()  # names no topic, so it makes none
        return {name: len(cluster.partitions_for_topic(name)) for name in cluster.topics()}
    except KafkaError as error:
        raise UnreachableError(f"Kafka at {settings.broker} stopped answering: {str(error) or type(error).__name__}") from None
    finally:
        await client.close()


def need_topic(settings: Settings, name: str, counts: Mapping[str, int]) -> int:
    """Partitions of the topic with this short name; raises RefusedError when there is none."""
    if not (count := counts.get(settings.topic(name), 0)):
        seen = f", or user {settings.username!r} may not see it: see docs/brokers.md" if settings.username else ""
        raise RefusedError(f"The topic {settings.topic(name)} does not exist{seen}. Run `engage topics create`.")
    return count


class Log:
    """Some topics, read without a group: nothing is committed and nobody is disturbed."""

    def __init__(self, consumer: Any, partitions: list[TopicPartition]) -> None:
        self.partitions = partitions
        self._consumer = consumer

    async def begins(self) -> dict[TopicPartition, int]:
        return dict(await self._consumer.beginning_offsets(self.partitions))

    async def ends(self) -> dict[TopicPartition, int]:
        return dict(await self._consumer.end_offsets(self.partitions))

    async def between(self, begins: Mapping[TopicPartition, int], ends: Mapping[TopicPartition, int]) -> AsyncIterator[list[Any]]:
        """Records from `begins` to before `ends`, one list per poll, each in order of time."""
        left = self._go_to({tp: begin for tp, begin in begins.items() if begin < ends[tp]})
        heard = time.monotonic()
        while left:
            if records := await self._poll(left):
                heard = time.monotonic()
                yield [record for record in records if record.offset < ends[TopicPartition(record.topic, record.partition)]]
            left = {tp for tp in left if await self._consumer.position(tp) < ends[tp]}
            if time.monotonic() - heard > SILENCE_SECONDS:
                raise UnreachableError(f"Kafka stopped answering: nothing came for {SILENCE_SECONDS:g} s")

    async def since(self, begins: Mapping[TopicPartition, int]) -> AsyncIterator[list[Any]]:
        """Records from `begins` on and then as they come, for ever."""
        partitions = self._go_to(begins)
        while True:
            if records := await self._poll(partitions):
                yield records

    def _go_to(self, positions: Mapping[TopicPartition, int]) -> set[TopicPartition]:
        if positions:
            self._consumer.assign(list(positions))
        for partition, offset in positions.items():
            self._consumer.seek(partition, offset)
        return set(positions)

    async def _poll(self, partitions: Iterable[TopicPartition]) -> list[Any]:
        found = await self._consumer.getmany(*partitions, timeout_ms=FETCH_WAIT_MS)
        return sorted((record for records in found.values() for record in records), key=received)


def received(record: Any) -> int:
    """When the broker took it: epoch milliseconds."""
    return int(record.timestamp)


@asynccontextmanager
async def open_log(settings: Settings, *topics: str) -> AsyncIterator[Log]:
    """The log of topics (short names). Raises UnreachableError or RefusedError, saying what to do."""
    counts = await partition_counts(settings)
    partitions = [TopicPartition(settings.topic(name), number) for name in topics for number in range(need_topic(settings, name, counts))]
    consumer = AIOKafkaConsumer(**settings.client_kwargs(), enable_auto_commit=False, auto_offset_reset="earliest", fetch_max_wait_ms=FETCH_WAIT_MS)
    try:
        await consumer.start()
        yield Log(consumer, partitions)
    except UnreachableError:
        raise
    except KafkaError as error:
        raise RefusedError(f"Kafka does not let us read {', '.join(map(settings.topic, topics))}: {error!r}. Grant Read, see docs/brokers.md.") from None
    finally:
        await consumer.stop()
