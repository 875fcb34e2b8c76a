"""The table of topics, and which partition a key belongs to.

Names are short here; the prefix is a setting of the shell. All topics have the same number of partitions,
so that one worker owns partition p of every event topic and of the state.
"""

from collections.abc import Mapping
from typing import Final, NamedTuple, get_args

from streams import events
from streams.events import Event
from streams.panes import DAY, HOUR


class Topic(NamedTuple):
    """One topic: what is in it, what a record is keyed by, and the Kafka settings that differ from the broker's."""

    name: str
    holds: str
    key: str
    config: Mapping[str, str]
    events: tuple[type[Event], ...] = ()


def _kept(days: int, **config: str) -> Mapping[str, str]:
    return {"cleanup.policy": "delete", "retention.ms": str(days * DAY), **{name.replace("_", "."): value for name, value in config.items()}}


# Two weeks: longer than the longest grace (8 days), and short enough that an erasure completes by expiry.
# The time of append is the receipt of an event without `received_at`.
_EVENTS: Final = _kept(14, message_timestamp_type="LogAppendTime")
# The rows of one partition are one batch, so a batch may be large; it stays as the worker compressed it.
_ROWS: Final = {
    "cleanup.policy": "compact",
    "segment.ms": "600000",
    "min.cleanable.dirty.ratio": "0.1",
    "max.compaction.lag.ms": str(HOUR),
    "delete.retention.ms": str(DAY),
    "max.message.bytes": "8388608",
    "compression.type": "producer",
}
_SUBJECT: Final = "site/subject"

TOPICS: Final = (
    Topic("website", "events of websites, shops and apps", _SUBJECT, _EVENTS, get_args(events.Website)),
    Topic("social", "events of social networks, communities and partners", _SUBJECT, _EVENTS, get_args(events.Social)),
    Topic("reviews", "reviews, surveys and tickets", _SUBJECT, _EVENTS, get_args(events.Reviews)),
    Topic("customers", "the life of a customer, messages, spend, consent", _SUBJECT, _EVENTS, get_args(events.Customers)),
    Topic("rollups", "what each partition has counted, cumulative", "site", _kept(14)),
    Topic("readings", "the measures of a site, what changed", "site", _kept(14)),
    Topic("alerts", "alerts as they fire and resolve", "id of the alert", _kept(90)),
    # A record holds the bytes as they came, so it may be larger than what was refused for its size.
    Topic("failed", "events that were not counted, as they came", "as it came", _kept(14, max_message_bytes=str(2 * 1024 * 1024))),
    Topic("state", "the rows of each partition", "row", _ROWS),
)
EVENT_TOPICS: Final = tuple(topic.name for topic in TOPICS if topic.events)
"""Short names of the topics that producers write to."""

_MASK = 0xFFFFFFFF
_MIX = 0x5BD1E995


def murmur2(key: bytes) -> int:
    """Kafka's hash of a key, as an unsigned 32-bit integer."""
    length = len(key)
    whole = length & ~3
    value = 0x9747B28C ^ length
    for at in range(0, whole, 4):
        word = int.from_bytes(key[at : at + 4], "little") * _MIX & _MASK
        word = (word ^ (word >> 24)) * _MIX & _MASK
        value = (value * _MIX & _MASK) ^ word
    if length > whole:
        value = (value ^ int.from_bytes(key[whole:], "little")) * _MIX & _MASK
    value = (value ^ (value >> 13)) * _MIX & _MASK
    return value ^ (value >> 15)


def partition_of(key: bytes, partitions: int) -> int:
    """The partition to which Kafka's default partitioner sends a key."""
    return (murmur2(key) & 0x7FFFFFFF) % partitions
