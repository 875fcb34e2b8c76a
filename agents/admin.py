"""Topics: making those that are missing, and saying what is wrong with those that are there. Existing topics are never altered."""

import asyncio
import os
import ssl
from collections.abc import Collection, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

from aiokafka import errors
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.conn import AIOKafkaConnection
from aiokafka.protocol.metadata import MetadataRequest

from agents.settings import PREFIX, SASL, TLS, Settings
from streams.topics import TOPICS, Topic

TIMEOUT_SECONDS = 10.0

# With another value of these the worker would count wrong or not at all; the others are advice.
REQUIRED = frozenset({"cleanup.policy", "message.timestamp.type", "max.message.bytes", "compression.type"})
AT_LEAST = frozenset({"max.message.bytes", "retention.ms", "delete.retention.ms"})


class UnreachableError(errors.KafkaConnectionError):  # type: ignore[misc]  # aiokafka has no types
    """Nothing answers at the address: trying again may help. The text says what to do."""

    __str__ = Exception.__str__  # without the name of the class before it


class RefusedError(RuntimeError):
    """Kafka answers but does not let us in or do it: only a change of settings or rights helps. The text says which."""


class Finding(NamedTuple):
    """Something about the topics that a person has to put right. A worker does not start on a fatal one."""

    topic: str
    problem: str
    remedy: str
    fatal: bool = True

    def __str__(self) -> str:
        return f"{self.topic + ': ' if self.topic else ''}{self.problem}. {self.remedy}"


async def create_topics(settings: Settings) -> list[str]:
    """Make the missing topics and return their names. Raises UnreachableError or RefusedError."""
    async with _admin(settings) as admin:
        existing = {topic["topic"] for topic in await admin.describe_topics()}
        missing = [topic for topic in TOPICS if settings.topic(topic.name) not in existing]
        if not missing:
            return []
        names = [settings.topic(topic.name) for topic in missing]
        if await is_embedded(admin):  # asking about a topic makes it
            await admin.describe_topics(names)
            return names
        answer = await admin.create_topics(
            [NewTopic(settings.topic(topic.name), settings.partitions, settings.replication, topic_configs=dict(topic.config)) for topic in missing]
        )
        made = []
        for name, code, *rest in answer.topic_errors:
            error = errors.for_code(code)
            if error is errors.NoError:
                made.append(name)
            elif error is not errors.TopicAlreadyExistsError:  # someone else was quicker
                raise RefusedError(_why_not_created(settings, name, error, rest[0] if rest else None))
        await _until_known(admin, made)
        return made


async def check_topics(settings: Settings) -> list[Finding]:
    """What a worker with these settings would stumble over. Raises UnreachableError when nothing answers."""
    try:
        async with _admin(settings) as admin:
            described = {topic["topic"]: topic for topic in await admin.describe_topics()}
            present = [topic for topic in TOPICS if settings.topic(topic.name) in described]
            configs = {} if await is_embedded(admin) else await _configs(admin, [settings.topic(topic.name) for topic in present])
    except RefusedError as error:
        return [Finding("", str(error).rstrip("."), "Then start again.")]
    seen = f", or user {settings.username!r} may not see it: see docs/brokers.md" if settings.username else ""
    if not present:
        return [Finding("", f"None of the topics {settings.topic('*')} exists{seen}", "Run `engage topics create`.")]
    counts = {settings.topic(topic.name): len(described[settings.topic(topic.name)]["partitions"]) for topic in present}
    findings = [*_check_counts(settings, counts)]
    for topic in TOPICS:
        name = settings.topic(topic.name)
        if name in described:
            findings += [*_check_copies(settings, name, described[name]), *_check_config(name, topic, configs)]
        else:
            findings.append(Finding(name, f"does not exist{seen}", "Run `engage topics create`."))
    return findings


async def require_topics(settings: Settings) -> None:
    """Raises RefusedError for topics that no worker would start on, UnreachableError when nothing answers."""
    if fatal := [finding for finding in await check_topics(settings) if finding.fatal]:
        raise RefusedError(str(fatal[0]))


async def reach(settings: Settings) -> None:
    """Connect and log in once, at the first address that answers. Raises UnreachableError or RefusedError, saying why."""
    connection = settings.client_kwargs()
    why: list[str] = []
    for address in connection.pop("bootstrap_servers"):
        host, port = address.rsplit(":", 1)
        try:
            await _log_in(AIOKafkaConnection(host.strip("[]"), int(port), request_timeout_ms=int(TIMEOUT_SECONDS * 1000), **connection))
        except (errors.SaslAuthenticationFailed, errors.AuthenticationFailedError, errors.UnsupportedSaslMechanismError) as error:
            how = f"{settings.username!r} with {settings.sasl_mechanism}"
            raise RefusedError(
                f"Kafka at {address} does not accept user {how}; check {PREFIX}USERNAME, {PREFIX}PASSWORD and {PREFIX}SASL_MECHANISM ({_text(error)})."
            ) from None
        except errors.IllegalSaslStateError:
            raise RefusedError(f"{address} does not ask for a login; check {PREFIX}SECURITY, now {settings.security}.") from None
        except ssl.SSLCertVerificationError as error:
            raise RefusedError(f"The certificate of {address} is not to be trusted: {error.verify_message}; check the address and {PREFIX}CA_FILE.") from None
        except ssl.SSLError as error:
            raise RefusedError(f"{address} does not speak TLS with us; check {PREFIX}SECURITY, now {settings.security} ({error.reason or error}).") from None
        except (errors.KafkaError, OSError, TimeoutError) as error:
            why.append(f"{address}: {_text(error)}")
        else:
            return
    raise UnreachableError(f"No Kafka answers ({'; '.join(why)}). {_hint(settings)}")


async def _log_in(connection: Any) -> None:
    """Connect, log in, and be gone: aiokafka closes a socket later than it says."""
    closed = None
    try:
        await connection.connect()
        await connection.send(MetadataRequest([]))  # a port that wants a login answers nothing before it
        closed = connection.close()
    except errors.KafkaError:  # said by a broker, so there was a connection; other errors come before there is one
        closed = connection.close()
        raise
    finally:
        if closed is not None:
            await asyncio.wait({closed}, timeout=1)


@asynccontextmanager
async def _admin(settings: Settings) -> Any:
    await reach(settings)  # the admin client itself would only say that it could not connect
    admin = AIOKafkaAdminClient(**settings.client_kwargs(), request_timeout_ms=int(TIMEOUT_SECONDS * 1000))
    try:
        await admin.start()
        yield admin
    except (TimeoutError, errors.KafkaConnectionError, errors.NodeNotReadyError, errors.RequestTimedOutError) as error:
        raise UnreachableError(f"Kafka at {settings.broker} stopped answering: {_text(error)}") from None
    finally:
        await admin.close()


async def _until_known(admin: Any, names: Collection[str]) -> None:
    """A topic is made by the controller; brokers, and so clients, hear of it a moment later."""
    async with asyncio.timeout(TIMEOUT_SECONDS):
        while True:
            known = {topic["topic"]: topic["partitions"] for topic in await admin.describe_topics()}
            if all(known.get(name) and all(partition["leader"] >= 0 for partition in known[name]) for name in names):
                return
            await asyncio.sleep(0.05)


async def is_embedded(admin: Any) -> bool:
    """The embedded broker has no topic settings and cannot be asked to make topics."""
    cluster: str = (await admin.describe_cluster())["cluster_id"] or ""
    return cluster.startswith("mockCluster")


async def _configs(admin: Any, names: Iterable[str]) -> Mapping[str, Mapping[str, str] | None]:
    """The settings of each topic; None for one whose settings cannot be read."""
    resources = [ConfigResource(ConfigResourceType.TOPIC, name) for name in names]
    responses = await admin.describe_configs(resources) if resources else []
    return {
        resource[3]: {entry[0]: entry[1] for entry in resource[4]} if errors.for_code(resource[0]) is errors.NoError else None
        for response in responses
        for resource in response.resources
    }


def _check_counts(settings: Settings, counts: Mapping[str, int]) -> Iterable[Finding]:
    found = set(counts.values())
    if len(found) == 1 and (other := found.pop()) != settings.partitions:
        yield Finding("", f"The topics have {other} partitions, {PREFIX}PARTITIONS is {settings.partitions}", f"Set {PREFIX}PARTITIONS={other}.")
        return
    for name, count in counts.items():
        if count != settings.partitions:
            yield Finding(
                name,
                f"has {count} partitions, {PREFIX}PARTITIONS is {settings.partitions}",
                "All topics need the same number, because one worker owns partition p of all of them, and a key must stay in its partition. "
                f"Make new topics under another {PREFIX}TOPIC_PREFIX, or delete this one if it is not in use, and run `engage topics create`.",
            )


def _check_copies(settings: Settings, name: str, described: Mapping[str, Any]) -> Iterable[Finding]:
    partitions = described["partitions"]
    if leaderless := sorted(partition["partition"] for partition in partitions if partition["leader"] < 0):
        yield Finding(name, f"has no leader for partition {', '.join(map(str, leaderless))}", "A broker is down; start it, or wait.")
    copies = min((len(partition["replicas"]) for partition in partitions), default=settings.replication)
    if copies < settings.replication:
        yield Finding(
            name,
            f"has {copies} copies of each partition, {PREFIX}REPLICATION is {settings.replication}",
            "Reassign its partitions with Kafka's tools.",
            fatal=False,
        )


def _check_config(name: str, topic: Topic, configs: Mapping[str, Mapping[str, str] | None]) -> Iterable[Finding]:
    if name not in configs:
        return
    actual = configs[name]
    if actual is None:
        yield Finding(name, "its settings could not be read", "Grant DescribeConfigs on it, see docs/brokers.md.", fatal=False)
        return
    for key, wanted in topic.config.items():
        found = actual.get(key)
        if found is None or found == wanted or (key in AT_LEAST and _enough(int(found), int(wanted))):
            continue
        at_least = "at least " if key in AT_LEAST else ""
        yield Finding(
            name,
            f"{key} is {found}, it must be {at_least}{wanted}" if key in REQUIRED else f"{key} is {found}, meant is {at_least}{wanted}",
            f"Alter it: kafka-configs.sh --alter --topic {name} --add-config {key}={wanted}",
            fatal=key in REQUIRED,
        )


def _enough(found: int, wanted: int) -> bool:
    return found >= wanted or found == -1  # -1: without limit


def _why_not_created(settings: Settings, name: str, error: type[errors.KafkaError], text: str | None) -> str:
    if error in (errors.TopicAuthorizationFailedError, errors.ClusterAuthorizationFailedError):
        return f"User {settings.username!r} may not create topic {name}; grant Create and Describe on it, see docs/brokers.md."
    if error is errors.InvalidReplicationFactorError:
        return f"Topic {name} was not created: {PREFIX}REPLICATION is {settings.replication}, and Kafka does not have that many brokers."
    return f"Topic {name} was not created: {error.__name__}{f' ({text})' if text else ''}."


def _hint(settings: Settings) -> str:
    if settings.security in TLS or settings.security in SASL:
        return f"Is Kafka running there, and does that port expect {settings.security}?"
    return f"Start one with `make kafka`, or let {PREFIX}BROKER name yours; a port that wants TLS closes the connection without a word ({PREFIX}SECURITY)."


def _text(error: BaseException) -> str:
    if isinstance(error, ConnectionError) and error.errno:  # asyncio says it by number and address
        return os.strerror(error.errno)
    return str(error) or type(error).__name__
