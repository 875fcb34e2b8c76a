"""Least privilege on a real Kafka with TLS, SCRAM and access lists: what docs/brokers.md grants is enough, and nothing else is allowed."""

import asyncio
import os
import re
import signal
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition, errors
from aiokafka.admin import AIOKafkaAdminClient
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # it re-exports them without saying so
    AclBinding,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)
from msgspec.structs import replace

from agents import admin
from agents.publishing import FencedWriter, FlushFailedError
from agents.settings import Settings
from streams.topics import EVENT_TOPICS, TOPICS

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs" / "brokers.md"
OPERATIONS = {"Read": "READ", "Write": "WRITE", "Create": "CREATE", "Describe": "DESCRIBE", "DescribeConfigs": "DESCRIBE_CONFIGS"}
RESOURCES = {"topic": ResourceType.TOPIC, "group": ResourceType.GROUP, "transactional id": ResourceType.TRANSACTIONAL_ID}


def granted() -> list[AclBinding]:
    """The table of docs/brokers.md, word for word."""
    bindings = []
    for user, resource, name, prefix, operations in re.findall(
        r"^\| (\w+) \| (topic|group|transactional id) \| (\S+)( \(prefix\))? \| ([\w, ]+) \|$", DOCS.read_text(), re.MULTILINE
    ):
        pattern = ResourcePatternType.PREFIXED if prefix else ResourcePatternType.LITERAL
        for operation in operations.split(", "):
            allowed = getattr(AclOperation, OPERATIONS[operation])
            bindings.append(AclBinding(RESOURCES[resource], name, pattern, f"User:{user}", "*", allowed, AclPermissionType.ALLOW))
    return bindings


class Cluster:
    """The secure node, with the documented rights granted, and settings for each of its users."""

    def __init__(self, node: Any) -> None:
        self.node = node

    def settings(self, user: str, **changes: Any) -> Settings:
        secret = {"username": user, "password": self.node.password(user), "ca_file": str(self.node.ca_file)}
        base = Settings(broker=self.node.address, security="SASL_SSL", partitions=2, http_port=0, session_timeout=6.0, heartbeat=1.0, **secret)
        return replace(base, **changes)


@pytest.fixture(scope="module")
def cluster(secure_kafka: Any) -> Cluster:
    cluster = Cluster(secure_kafka)
    allowed = granted()
    assert len(allowed) > 20, "the table in docs/brokers.md was not found"
    client = AdminClient(
        {
            "bootstrap.servers": secure_kafka.address,
            "security.protocol": "SASL_SSL",
            "sasl.mechanism": "SCRAM-SHA-512",
            "sasl.username": "admin",
            "sasl.password": secure_kafka.password("admin"),
            "ssl.ca.location": str(secure_kafka.ca_file),
        }
    )
    for done in client.create_acls(allowed).values():
        done.result(10)
    asyncio.run(admin.create_topics(cluster.settings("deployer")))
    return cluster


async def see(settings: Settings, topic: str) -> None:
    """Raise what the broker answers to a question about the topic; the clients would ask again for ever."""
    client = AIOKafkaAdminClient(**settings.client_kwargs())
    await client.start()
    try:
        [described] = await client.describe_topics([settings.topic(topic)])
    finally:
        await client.close()
    if described["error_code"]:
        raise errors.for_code(described["error_code"])


async def write(settings: Settings, topic: str, value: bytes = b"{}") -> None:
    producer = AIOKafkaProducer(**settings.client_kwargs(), enable_idempotence=True, acks="all", request_timeout_ms=5000)
    try:
        await producer.start()
        await producer.send_and_wait(settings.topic(topic), value, key=b"k", partition=0)
    finally:
        await producer.stop()


async def read(settings: Settings, topic: str, group: str | None = None) -> bytes:
    """The first record of partition 0; as a group, its position is committed."""
    consumer = AIOKafkaConsumer(**settings.client_kwargs(), group_id=group, enable_auto_commit=False, auto_offset_reset="earliest")
    await consumer.start()
    try:
        tp = TopicPartition(settings.topic(topic), 0)
        consumer.assign([tp])
        consumer.seek(tp, 0)
        async with asyncio.timeout(5):
            value: bytes = (await consumer.getone()).value
        if group:
            await consumer.commit()
        return value
    finally:
        await consumer.stop()


async def join(settings: Settings, group: str) -> int:
    """Join the group as a worker does; the number of partitions assigned."""
    consumer = AIOKafkaConsumer(*map(settings.topic, EVENT_TOPICS), **settings.client_kwargs(), group_id=group, enable_auto_commit=False)
    try:
        async with asyncio.timeout(10):
            await consumer.start()
        return len(consumer.assignment())
    finally:
        await consumer.stop()


async def own(settings: Settings, application: str, topic: str = "state") -> None:
    """Take partition 0 of the state as a worker does, and write to it."""
    writer = FencedWriter(settings.client_kwargs(), settings.topic(topic), application, timeout=5)
    await writer.start()
    try:
        await writer.acquire(0, (b"barrier", b"1"))
        await writer.write(0, [(b"row", b"1"), (b"stamp", b"2")])
    finally:
        await writer.stop()


# -- what each may ----------------------------------------------------------------------------------------------------------------------


async def test_the_deployer_makes_and_checks_topics(cluster: Cluster) -> None:
    assert await admin.create_topics(cluster.settings("deployer")) == []
    assert await admin.check_topics(cluster.settings("deployer")) == []


async def test_the_door_writes_all_event_topics_idempotently(cluster: Cluster) -> None:
    for topic in EVENT_TOPICS:
        await write(cluster.settings("door"), topic)


async def test_the_worker_does_each_of_its_duties(cluster: Cluster) -> None:
    worker = cluster.settings("worker")
    assert await admin.check_topics(worker) == []
    assert await join(worker, worker.app_id) == len(EVENT_TOPICS) * worker.partitions
    await own(worker, worker.app_id)
    for topic in EVENT_TOPICS:
        await write(cluster.settings("door"), topic)
        await read(worker, topic, worker.app_id)
    for topic in ("rollups", "readings", "alerts", "failed"):
        await write(worker, topic)
    for topic in ("state", "rollups"):
        await read(worker, topic)


async def test_the_reader_reads_what_is_shown(cluster: Cluster) -> None:
    for topic in ("readings", "alerts", "failed"):
        await write(cluster.settings("worker"), topic)
        await read(cluster.settings("reader"), topic)


async def test_a_whole_worker_counts_with_no_more_than_that(cluster: Cluster, tmp_path: Path) -> None:
    worker, log = cluster.settings("worker"), tmp_path / "log"
    (tmp_path / "password").write_text(str(worker.password))
    environ = {name: value for name, value in os.environ.items() if not name.startswith("ENGAGE_")} | {
        "ENGAGE_BROKER": worker.broker,
        "ENGAGE_SECURITY": worker.security,
        "ENGAGE_USERNAME": "worker",
        "ENGAGE_PASSWORD_FILE": str(tmp_path / "password"),
        "ENGAGE_CA_FILE": str(worker.ca_file),
        "ENGAGE_PARTITIONS": str(worker.partitions),
        "ENGAGE_HTTP_PORT": "0",
    }
    await write(cluster.settings("door"), "website")
    process = start_worker(environ, log)
    try:
        deadline = time.monotonic() + 20
        while not await asyncio.to_thread(ready, log.read_text()):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            await asyncio.sleep(0.1)
        process.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(process.wait, 15) == 0, log.read_text()
    finally:
        process.kill()
        process.wait()
    assert "uthoriz" not in log.read_text()
    assert str(worker.password) not in log.read_text()


def start_worker(environ: dict[str, str], log: Path) -> subprocess.Popen[bytes]:
    with log.open("wb") as output:
        return subprocess.Popen([sys.executable, str(ROOT / "tests" / "agents" / "counting.py")], env=environ, stdout=output, stderr=output, cwd=ROOT)


def ready(log: str) -> bool:
    found = re.search(r"status on (http://\S+?)\"", log)
    if found is None:
        return False
    try:
        with urllib.request.urlopen(f"{found[1]}/readyz", timeout=5) as answer:
            return bool(answer.status == 200)
    except urllib.error.HTTPError as error:
        error.close()
        return False


# -- what each may not ------------------------------------------------------------------------------------------------------------------

Act = Callable[[Settings], Awaitable[object]]


# Cluster: asked for a producer id by one who may write to no topic at all.
REFUSALS = (errors.TopicAuthorizationFailedError, errors.ClusterAuthorizationFailedError)


def _writes(topic: str) -> Act:
    async def act(settings: Settings) -> None:
        await see(settings, topic)
        await write(settings, topic)

    return act


def _reads(topic: str) -> Act:
    async def act(settings: Settings) -> None:
        await see(settings, topic)
        await read(settings, topic)

    return act


ALL = [topic.name for topic in TOPICS]
MAY_WRITE = {"door": (*EVENT_TOPICS, "failed"), "worker": ("state", "rollups", "readings", "alerts", "failed"), "reader": (), "deployer": (), "nobody": ()}
MAY_READ = {"door": (), "worker": (*EVENT_TOPICS, "state", "rollups"), "reader": ("readings", "alerts", "failed"), "deployer": (), "nobody": ()}
FORBIDDEN = [
    *[pytest.param(user, _writes(topic), id=f"{user} writes {topic}") for user, may in MAY_WRITE.items() for topic in ALL if topic not in may],
    *[pytest.param(user, _reads(topic), id=f"{user} reads {topic}") for user, may in MAY_READ.items() for topic in ALL if topic not in may],
]


@pytest.mark.parametrize(("user", "act"), FORBIDDEN)
async def test_no_topic_without_a_grant(cluster: Cluster, user: str, act: Act) -> None:
    with pytest.raises(REFUSALS):
        await act(cluster.settings(user))


@pytest.mark.parametrize(("user", "group"), [("worker", "another-group"), ("door", "engagement"), ("reader", "engagement")])
async def test_no_group_without_a_grant(cluster: Cluster, user: str, group: str) -> None:
    topic = {"worker": "website", "door": "website", "reader": "readings"}[user]
    settings = cluster.settings(user)
    consumer = AIOKafkaConsumer(**settings.client_kwargs(), group_id=group, enable_auto_commit=False)
    await consumer.start()
    try:
        consumer.assign([TopicPartition(settings.topic(topic), 0)])
        with pytest.raises(errors.GroupAuthorizationFailedError):
            await consumer.commit({TopicPartition(settings.topic(topic), 0): 1})
    finally:
        await consumer.stop()


@pytest.mark.parametrize(("user", "application"), [("worker", "another"), ("door", "engagement"), ("reader", "engagement")])
async def test_no_foreign_transactional_id(cluster: Cluster, user: str, application: str) -> None:
    """Who may use it can lock the owner of a partition out."""
    with pytest.raises(FlushFailedError, match=rf"no producer id for {application}-0: TransactionalIdAuthorizationFailed"):
        await own(cluster.settings(user), application)


@pytest.mark.parametrize("user", ["worker", "door", "reader", "nobody"])
async def test_only_the_deployer_makes_topics(cluster: Cluster, user: str) -> None:
    settings = cluster.settings(user, topic_prefix="engagement.more.")
    with pytest.raises(admin.RefusedError, match=rf"User '{user}' may not create topic engagement.more.\w+; grant Create and Describe on it"):
        await admin.create_topics(settings)


async def test_what_one_may_not_see_is_said_to_be_missing_or_hidden(cluster: Cluster) -> None:
    [finding] = await admin.check_topics(cluster.settings("nobody"))
    assert finding.problem == "None of the topics engagement.* exists, or user 'nobody' may not see it: see docs/brokers.md"
    hidden = {finding.topic for finding in await admin.check_topics(cluster.settings("reader")) if "may not see it" in finding.problem}
    assert hidden == {f"engagement.{name}" for name in (*EVENT_TOPICS, "rollups", "state")}
    unread = [finding for finding in await admin.check_topics(cluster.settings("reader")) if finding.problem == "its settings could not be read"]
    assert len(unread) == 3
    assert not any(finding.fatal for finding in unread)


# -- who does not get in ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("changes", [{"password": "wrong"}, {"username": "stranger"}, {"sasl_mechanism": "PLAIN"}, {"sasl_mechanism": "SCRAM-SHA-256"}])
async def test_a_wrong_login_is_refused(cluster: Cluster, changes: dict[str, str]) -> None:
    settings = cluster.settings("worker", **changes)
    with pytest.raises(admin.RefusedError, match=r"does not accept user .*check ENGAGE_USERNAME, ENGAGE_PASSWORD and ENGAGE_SASL_MECHANISM"):
        await admin.reach(settings)
    [finding] = await admin.check_topics(settings)
    assert finding.fatal


@pytest.mark.parametrize("security", ["PLAINTEXT", "SASL_PLAINTEXT", "SSL"])
async def test_without_tls_or_login_nothing_is_answered(cluster: Cluster, security: str) -> None:
    login = {} if security == "SASL_PLAINTEXT" else {"username": None, "password": None}
    tls = {} if security == "SSL" else {"ca_file": None}
    settings = cluster.settings("worker", security=security, **login, **tls)
    with pytest.raises(admin.UnreachableError):
        await admin.reach(settings)


async def test_a_certificate_of_another_authority_is_not_trusted(cluster: Cluster) -> None:
    with pytest.raises(admin.RefusedError, match=r"The certificate of .* is not to be trusted: .*check the address and ENGAGE_CA_FILE"):
        await admin.reach(cluster.settings("worker", ca_file=None))


async def test_a_certificate_for_another_name_is_not_trusted(cluster: Cluster) -> None:
    port = cluster.node.address.rsplit(":", 1)[1]
    with pytest.raises(admin.RefusedError, match="is not to be trusted"):
        await admin.reach(cluster.settings("worker", broker=f"127.1:{port}"))


async def test_old_tls_is_not_spoken(cluster: Cluster) -> None:
    context = ssl.create_default_context(cafile=str(cluster.node.ca_file))
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    host, port = cluster.node.address.rsplit(":", 1)
    with pytest.raises((ssl.SSLError, ConnectionError)):
        await asyncio.open_connection(host, int(port), ssl=context)


def test_secrets_on_disk_are_for_the_owner_only(cluster: Cluster) -> None:
    for file in ("node.json", "server.properties", "secure/ca.key", "secure/broker.pem"):
        assert (cluster.node.data / file).stat().st_mode & 0o077 == 0, file
