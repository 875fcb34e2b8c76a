import pytest
from aiokafka.partitioner import DefaultPartitioner
from aiokafka.partitioner import murmur2 as reference
from hypothesis import example, given
from hypothesis import strategies as st

from streams.events import DECODERS, EVENT_TYPES
from streams.topics import EVENT_TOPICS, TOPICS, murmur2, partition_of

CONFIGS = {topic.name: topic.config for topic in TOPICS}


def test_names_are_the_contract():
    assert [topic.name for topic in TOPICS] == ["website", "social", "reviews", "customers", "rollups", "readings", "alerts", "failed", "state"]
    assert EVENT_TOPICS == ("website", "social", "reviews", "customers") == tuple(DECODERS)


def test_every_event_type_has_one_topic():
    assert tuple(struct for topic in TOPICS for struct in topic.events) == EVENT_TYPES
    assert all(struct.topic == topic.name for topic in TOPICS for struct in topic.events)


def test_event_topics_stamp_records_with_the_time_of_append():
    assert {CONFIGS[name]["message.timestamp.type"] for name in EVENT_TOPICS} == {"LogAppendTime"}
    assert not any("message.timestamp.type" in config for name, config in CONFIGS.items() if name not in EVENT_TOPICS)


def test_state_is_compacted_and_nothing_else_is():
    assert CONFIGS["state"] == {
        "cleanup.policy": "compact",
        "segment.ms": "600000",
        "min.cleanable.dirty.ratio": "0.1",
        "max.compaction.lag.ms": "3600000",
        "delete.retention.ms": "86400000",
        "max.message.bytes": "8388608",
        "compression.type": "producer",
    }
    assert {config["cleanup.policy"] for name, config in CONFIGS.items() if name != "state"} == {"delete"}


def test_settings_are_texts():
    assert all(isinstance(value, str) for config in CONFIGS.values() for value in config.values())


# From the tests of Kafka's Java client, there as signed integers.
@pytest.mark.parametrize(
    ("key", "signed"),
    [
        (b"21", -973932308),
        (b"foobar", -790332482),
        (b"a-little-bit-long-string", -985981536),
        (b"a-little-bit-longer-string", -1486304829),
        (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
        (b"abc", 479470107),
    ],
)
def test_murmur2_gives_the_known_answers(key, signed):
    assert murmur2(key) == signed % 2**32


@given(st.binary(max_size=80))
@example(b"")
@example(bytes(range(256)))
def test_murmur2_is_the_clients(key):
    assert murmur2(key) == reference(key)


@given(st.text(st.characters(exclude_categories=("Cs",)), min_size=1).map(str.encode), st.integers(1, 64))
def test_partition_is_the_default_partitioners(key, partitions):
    everywhere = list(range(partitions))
    assert partition_of(key, partitions) == DefaultPartitioner()(key, everywhere, everywhere)
