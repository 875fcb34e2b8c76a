"""Helpers of the engine's tests: topics of their own, events, workers as processes, and the state as it is on the log."""

import asyncio
import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from msgspec.structs import replace

from agents.settings import Settings
from agents.state_log import read_rows
from agents.tables import RESERVED
from streams import topics

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
CONFIGS = {topic.name: dict(topic.config) for topic in topics.TOPICS}
TOPICS = tuple(CONFIGS)
PARTITIONS = 2


class Cluster:
    """Topics of one test on the shared broker."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.prefix = settings.topic_prefix
        self.connection = settings.client_kwargs()

    async def create(self, *names: str, partitions: int = PARTITIONS, configs: Mapping[str, str] | None = None) -> None:
        admin = AIOKafkaAdminClient(**self.connection)
        await admin.start()
        try:
            await admin.create_topics([NewTopic(self.prefix + name, partitions, 1, topic_configs=CONFIGS[name] | dict(configs or {})) for name in names])
            for _ in range(100):  # until every leader is known
                described = {topic["topic"]: topic for topic in await admin.describe_topics([self.prefix + name for name in names])}
                if all(len(topic["partitions"]) == partitions and not topic["error_code"] for topic in described.values()):
                    break
                await asyncio.sleep(0.05)
        finally:
            await admin.close()

    async def produce(self, topic: str, keys: list[bytes], *, spread: int = PARTITIONS, pace: float = 0.0) -> Counter[bytes]:
        """One record per key, in batches over the partitions; what a worker must have counted in the end."""
        producer = AIOKafkaProducer(**self.connection, enable_idempotence=True, acks="all", compression_type="zstd", max_batch_size=1 << 18)
        await producer.start()
        try:
            for index, start in enumerate(range(0, len(keys), 200)):
                batch = producer.create_batch()
                for key in keys[start : start + 200]:
                    batch.append(key=key, value=b"x" * 50, timestamp=None)
                await (await producer.send_batch(batch, self.prefix + topic, partition=index % spread))
                await asyncio.sleep(pace)
        finally:
            await producer.stop()
        return Counter(keys)

    async def rows(self) -> dict[int, dict[bytes, bytes]]:
        return await read_rows(self.connection, self.settings.topic("state"), range(PARTITIONS))

    async def counted(self) -> Counter[bytes]:
        """What is durable, summed over the partitions."""
        total: Counter[bytes] = Counter()
        for rows in (await self.rows()).values():
            total.update({key: int(value) for key, value in rows.items() if key != b"@" and not key.startswith(RESERVED)})
        return total

    async def until_counted(self, expected: Counter[bytes], seconds: float = 20.0) -> None:
        deadline = time.monotonic() + seconds
        while (counted := await self.counted()) != expected:
            assert time.monotonic() < deadline, (
                f"counted {counted.total()} of {expected.total()}, {len(expected - counted)} keys too low, {len(counted - expected)} too high"
            )
            await asyncio.sleep(0.1)


class Worker:
    """`counting.py` as a process."""

    def __init__(self, cluster: Cluster, directory: Path, **environment: str) -> None:
        s = cluster.settings
        fixed = {
            "ENGAGE_BROKER": s.broker,
            "ENGAGE_APP_ID": s.app_id,
            "ENGAGE_TOPIC_PREFIX": s.topic_prefix,
            "ENGAGE_PARTITIONS": str(s.partitions),
            "ENGAGE_HTTP_PORT": "0",
            "ENGAGE_SESSION_TIMEOUT": str(s.session_timeout),
            "ENGAGE_HEARTBEAT": str(s.heartbeat),
        }
        self.log_file = directory / f"{uuid.uuid4().hex[:6]}.log"
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("ENGAGE_")}
        with self.log_file.open("wb") as log:
            self.process = subprocess.Popen([sys.executable, str(HERE / "counting.py")], env=inherited | fixed | environment, stdout=log, stderr=log, cwd=ROOT)

    @property
    def log(self) -> str:
        return self.log_file.read_text()

    def get(self, path: str) -> tuple[int, str]:
        found = re.search(r"status on (http://\S+?)\"", self.log)
        if found is None:
            return 0, ""
        try:
            with urllib.request.urlopen(found[1] + path, timeout=5) as response:
                return response.status, response.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    async def until_ready(self, seconds: float = 20.0) -> None:
        deadline = time.monotonic() + seconds
        while (await asyncio.to_thread(self.get, "/readyz"))[0] != 200:
            assert self.process.poll() is None, self.log
            assert time.monotonic() < deadline, self.log
            await asyncio.sleep(0.05)

    async def end(self, number: int, seconds: float = 10.0) -> int:
        self.process.send_signal(number)
        return await self.ended(seconds)

    async def ended(self, seconds: float = 10.0) -> int:
        return await asyncio.to_thread(self.process.wait, seconds)


@pytest.fixture
def cluster(kafka: Any, fresh: Settings) -> Cluster:
    return Cluster(replace(fresh, broker=kafka.address, partitions=PARTITIONS))


@pytest.fixture
def start_worker(tmp_path: Path) -> Iterator[Any]:
    workers: list[Worker] = []

    def start(cluster: Cluster, **environment: str) -> Worker:
        workers.append(Worker(cluster, tmp_path, **environment))
        return workers[-1]

    yield start
    for worker in workers:
        if worker.process.poll() is None:
            worker.process.send_signal(signal.SIGCONT)
            worker.process.kill()
        worker.process.wait()
