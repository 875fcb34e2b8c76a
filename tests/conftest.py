"""Brokers for tests: a real Apache Kafka and the embedded one, each started once per run, and topics of its own for every test."""

import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest
from hypothesis import settings
from msgspec.structs import replace

from agents import admin
from agents.brokers import EmbeddedBroker
from agents.settings import Settings
from deploy.kafka import kafka as script
from streams.topics import TOPICS

ROOT = Path(__file__).parent.parent
PARTITIONS = 4
PURE = ("streams", "alerts", "simulator", "data")

# The same examples in every run of continuous integration: a red run can be repeated. Elsewhere the search goes on.
settings.register_profile("ci", derandomize=True, deadline=None)
if os.environ.get("CI"):
    settings.load_profile("ci")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whatever uses a real Kafka carries the marker, so that `-m 'not kafka'` leaves nothing behind. What waits for brokers and processes
    runs one after the other, in one of pytest-xdist's workers; tests of the pure core only compute."""
    for item in items:
        if {"kafka", "secure_kafka", "local_kafka"}.intersection(getattr(item, "fixturenames", ())):
            item.add_marker("kafka")
        if item.get_closest_marker("kafka") or (item.get_closest_marker("slow") and item.path.relative_to(ROOT / "tests").parts[0] not in PURE):
            item.add_marker(pytest.mark.xdist_group("brokers"))


def missing(what: object) -> NoReturn:
    """Skip with a sentence; fail where everything must be there."""
    if os.environ.get("CI"):
        pytest.fail(f"CI is set, so this may not be skipped: {what}", pytrace=False)
    pytest.skip(str(what))


@pytest.fixture(scope="session")
def local_kafka() -> Any:
    """Makes nodes of a real Kafka: `local_kafka(directory, ...)` with the arguments of `Kafka` in deploy/kafka/kafka.py. They die with this process."""
    try:
        script.check_java(script.find_java())
        script.fetch_jars()
    except script.KafkaError as error:
        missing(error)
    return lambda directory, **options: script.Kafka(directory, **{"port": 0, "dies_with_me": True} | options)


@pytest.fixture(scope="session")
def kafka(local_kafka: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A real Kafka, shared by all tests: `.address`. Tests that kill a broker make their own with `local_kafka`."""
    node = local_kafka(tmp_path_factory.mktemp("kafka"))
    node.start()
    yield node
    node.kill()


@pytest.fixture(scope="session")
def embedded() -> Iterator[EmbeddedBroker]:
    """The embedded broker, shared by all tests: `.address`, `.create(topic, partitions)`."""
    with EmbeddedBroker() as broker:
        yield broker


@pytest.fixture
def fresh() -> Settings:
    """Settings with names that no other test has."""
    name = f"t{uuid.uuid4().hex[:8]}"
    return Settings(app_id=name, topic_prefix=f"{name}.", partitions=PARTITIONS, http_port=0, session_timeout=6.0, heartbeat=1.0)


@pytest.fixture
def kafka_settings(kafka: Any, fresh: Settings) -> Settings:
    """Settings for the real Kafka with fresh names; no topics yet."""
    return replace(fresh, broker=kafka.address)


@pytest.fixture
async def kafka_topics(kafka_settings: Settings) -> Settings:
    """The same, with all topics of the product made."""
    await admin.create_topics(kafka_settings)
    return kafka_settings


@pytest.fixture
def embedded_topics(embedded: EmbeddedBroker, fresh: Settings) -> Settings:
    """Settings for the embedded broker with fresh names and all topics of the product made."""
    for topic in TOPICS:
        embedded.create(fresh.topic(topic.name), PARTITIONS)
    return embedded.settings(fresh, partitions=PARTITIONS)
