"""`engage topics create` and `engage topics check`, on a real Kafka."""

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from msgspec.structs import replace

from agents import admin
from agents.settings import Settings
from streams.topics import TOPICS


async def make(settings: Settings, name: str, partitions: int, **config: str) -> None:
    client = AIOKafkaAdminClient(**settings.client_kwargs())
    await client.start()
    try:
        await client.create_topics(
            [NewTopic(settings.topic(name), partitions, 1, topic_configs={key.replace("_", "."): value for key, value in config.items()})]
        )
        await admin._until_known(client, [settings.topic(name)])
    finally:
        await client.close()


async def config_of(settings: Settings, name: str) -> dict[str, str]:
    client = AIOKafkaAdminClient(**settings.client_kwargs())
    await client.start()
    try:
        [response] = await client.describe_configs([ConfigResource(ConfigResourceType.TOPIC, settings.topic(name))])
        return {entry[0]: entry[1] for entry in response.resources[0][4]}
    finally:
        await client.close()


async def test_all_missing_is_one_finding(kafka_settings: Settings) -> None:
    [finding] = await admin.check_topics(kafka_settings)
    assert finding.fatal
    assert str(finding) == f"None of the topics {kafka_settings.topic_prefix}* exists. Run `engage topics create`."


async def test_created_topics_are_right_and_stay_as_they_are(kafka_settings: Settings) -> None:
    assert await admin.create_topics(kafka_settings) == [kafka_settings.topic(topic.name) for topic in TOPICS]
    assert await admin.check_topics(kafka_settings) == []
    assert await admin.create_topics(replace(kafka_settings, partitions=7)) == []
    assert await admin.check_topics(kafka_settings) == []
    assert (await config_of(kafka_settings, "website"))["message.timestamp.type"] == "LogAppendTime"
    assert (await config_of(kafka_settings, "state"))["cleanup.policy"] == "compact"


async def test_one_missing_is_named_and_made(kafka_settings: Settings) -> None:
    for topic in TOPICS:
        if topic.name != "rollups":
            await make(kafka_settings, topic.name, kafka_settings.partitions, **{key.replace(".", "_"): value for key, value in topic.config.items()})
    [finding] = await admin.check_topics(kafka_settings)
    assert (finding.topic, finding.problem, finding.fatal) == (kafka_settings.topic("rollups"), "does not exist", True)
    assert await admin.create_topics(kafka_settings) == [kafka_settings.topic("rollups")]
    assert await admin.check_topics(kafka_settings) == []


async def test_another_partition_count_in_the_settings(kafka_topics: Settings) -> None:
    [finding] = await admin.check_topics(replace(kafka_topics, partitions=16))
    assert str(finding) == f"The topics have {kafka_topics.partitions} partitions, ENGAGE_PARTITIONS is 16. Set ENGAGE_PARTITIONS={kafka_topics.partitions}."
    assert finding.fatal


async def test_a_topic_with_another_partition_count(kafka_settings: Settings) -> None:
    await make(kafka_settings, "reviews", 3, message_timestamp_type="LogAppendTime", retention_ms="-1")
    await admin.create_topics(kafka_settings)
    [finding] = await admin.check_topics(kafka_settings)
    assert (finding.topic, finding.problem, finding.fatal) == (
        kafka_settings.topic("reviews"),
        f"has 3 partitions, ENGAGE_PARTITIONS is {kafka_settings.partitions}",
        True,
    )


async def test_settings_that_would_make_it_count_wrong_are_fatal_the_others_advice(kafka_settings: Settings) -> None:
    await make(kafka_settings, "website", kafka_settings.partitions, retention_ms="3600000")
    await make(kafka_settings, "state", kafka_settings.partitions, max_message_bytes="9000000", segment_ms="600000", delete_retention_ms="86400000")
    await admin.create_topics(kafka_settings)
    findings = {
        (finding.topic.removeprefix(kafka_settings.topic_prefix), finding.problem, finding.fatal) for finding in await admin.check_topics(kafka_settings)
    }
    assert findings == {
        ("website", "retention.ms is 3600000, meant is at least 1209600000", False),
        ("website", "message.timestamp.type is CreateTime, it must be LogAppendTime", True),
        ("state", "cleanup.policy is delete, it must be compact", True),
        ("state", "min.cleanable.dirty.ratio is 0.5, meant is 0.1", False),
        ("state", "max.compaction.lag.ms is 9223372036854775807, meant is 3600000", False),
    }


async def test_fewer_copies_than_meant_is_advice(kafka_topics: Settings) -> None:
    findings = await admin.check_topics(replace(kafka_topics, replication=3))
    assert len(findings) == len(TOPICS)
    assert not any(finding.fatal for finding in findings)


async def test_more_copies_than_brokers_cannot_be_created(kafka_settings: Settings) -> None:
    with pytest.raises(admin.RefusedError, match="ENGAGE_REPLICATION is 3, and Kafka does not have that many brokers"):
        await admin.create_topics(replace(kafka_settings, replication=3))


async def test_nothing_there_is_said_so() -> None:
    nowhere = Settings(broker="127.0.0.1:1")
    for ask in (admin.reach, admin.check_topics, admin.create_topics):
        with pytest.raises(admin.UnreachableError, match=r"No Kafka answers \(127.0.0.1:1: .*Start one with `make kafka`"):
            await ask(nowhere)


async def test_the_second_address_counts_when_the_first_is_away(kafka_topics: Settings) -> None:
    assert await admin.check_topics(replace(kafka_topics, broker=f"127.0.0.1:1,{kafka_topics.broker}")) == []


async def test_tls_or_a_login_where_there_is_none(kafka_settings: Settings) -> None:
    with pytest.raises(admin.UnreachableError, match="does that port expect SSL"):
        await admin.reach(replace(kafka_settings, security="SSL"))
    with pytest.raises(admin.RefusedError, match="does not ask for a login; check ENGAGE_SECURITY, now SASL_PLAINTEXT"):
        await admin.reach(replace(kafka_settings, security="SASL_PLAINTEXT", username="a", password="b"))
