"""The contract on Kafka as an AsyncAPI 3.0 document: topics, keys, headers, and every message with its fields. `engage events asyncapi` prints it.

`rollups` and `state` are not in it: how workers speak to themselves is no contract.
https://www.asyncapi.com/docs/reference/specification/v3.0.0
"""

from collections.abc import Mapping
from typing import Any, Final

from msgspec import Struct

from streams.cloudevents import PREFIX
from streams.events import NAMES, Reason
from streams.examples import EXAMPLES
from streams.readings import PublishedReading
from streams.schema import components
from streams.topics import TOPICS, Topic

VERSION: Final = "3.0.0"
BINDING: Final = "0.5.0"
"""Of the Kafka bindings: https://github.com/asyncapi/bindings/tree/master/kafka"""
_TEXT: Final = {"type": "string"}
_SETTINGS: Final = ("cleanup.policy", "retention.ms", "max.message.bytes")
"""Of a topic, as far as the binding has them."""
_CLOUDEVENT: Final = {
    "type": "object",
    "description": "None, or those of a CloudEvent in binary mode, whose value is then `data`: the fields of the event.",
    "properties": {
        f"{PREFIX}specversion": {"const": "1.0"},
        f"{PREFIX}type": {**_TEXT, "description": "`io.engagement.NAME.v1` with the event's `type` as NAME", "examples": ["io.engagement.page_viewed.v1"]},
        f"{PREFIX}id": _TEXT,
        f"{PREFIX}source": {**_TEXT, "description": "with the id it makes the event's `id`"},
        f"{PREFIX}time": {**_TEXT, "format": "date-time", "description": "the event's `at`; absent: when it was received"},
        f"{PREFIX}subject": {**_TEXT, "description": "`c:CUSTOMER` or `v:VISITOR` where the data names nobody"},
    },
}
_FAILURE: Final = {
    "type": "object",
    "description": "Why the event was not counted and where it came from; after them the headers with which it came.",
    "required": ["engage-reason", "engage-path", "engage-detail", "engage-topic", "engage-timestamp"],
    "properties": {
        "engage-reason": {"enum": [str(reason) for reason in Reason]},
        "engage-path": {**_TEXT, "description": "where in the event, such as `$.rating`"},
        "engage-detail": {**_TEXT, "description": "a sentence"},
        "engage-topic": {**_TEXT, "description": "short name of the topic; `collector` for what came by HTTP"},
        "engage-timestamp": {**_TEXT, "description": "receipt, in epoch milliseconds"},
        "engage-partition": {**_TEXT, "description": "with the offset: which record of that topic"},
        "engage-offset": _TEXT,
        "engage-wire": {**_TEXT, "description": "of what came by HTTP: in whose format, and on which kind of path"},
        "engage-kind": _TEXT,
        "engage-site": _TEXT,
        "engage-sent-at": {**_TEXT, "description": "the client's clock at sending, in epoch milliseconds"},
        "engage-opted-out": {"const": "1", "description": "the request carried Sec-GPC or DNT"},
    },
}


def document(version: str, alert: type[Struct], prefix: str = "engagement.", partitions: int = 8, replicas: int = 1) -> dict[str, Any]:
    """The document of an installation. `version` is the product's, `alert` the struct of the messages on `alerts`."""
    schemas = components([*NAMES, PublishedReading, alert], "#/components/schemas/{name}")[1]
    schemas["ReadingsOfSite"] = {
        "type": "object",
        "description": "What changed of a site's measures.",
        "required": ["site", "watermark", "readings"],
        "properties": {
            "site": _TEXT,
            "watermark": {**_TEXT, "format": "date-time", "description": "up to which event time everything in time has been counted"},
            "readings": {"type": "array", "items": _schema("PublishedReading")},
        },
    }
    schemas["OriginalBytes"] = {"description": "The event as it came, byte for byte: whatever it was, it was none of ours."}
    told = {"failed": "OriginalBytes", "readings": "ReadingsOfSite", "alerts": alert.__name__}
    headers = {"failed": _FAILURE}
    messages: dict[str, Any] = {}
    channels: dict[str, Any] = {}
    operations: dict[str, Any] = {}
    for topic in TOPICS:
        if topic.events:
            own = [NAMES[struct] for struct in topic.events]
            messages |= {NAMES[struct]: _message(topic, struct.__name__, struct.__doc__ or "", _CLOUDEVENT, EXAMPLES[NAMES[struct]]) for struct in topic.events}
        elif topic.name in told:
            own = [topic.name]
            messages[topic.name] = _message(topic, told[topic.name], topic.holds, headers.get(topic.name))
        else:
            continue
        channels[topic.name] = _channel(topic, own, prefix, partitions, replicas)
        action = "receive" if topic.events else "send"
        operations[f"{action}_{topic.name}"] = {
            "action": action,
            "channel": {"$ref": f"#/channels/{topic.name}"},
            "messages": [{"$ref": f"#/channels/{topic.name}/messages/{name}"} for name in own],
        }
    return {
        "asyncapi": VERSION,
        "info": {
            "title": "engagement-monitor",
            "version": version,
            "description": "What it takes from Kafka and what it writes there, from its own point of view.",
        },
        "defaultContentType": "application/json",
        "channels": channels,
        "operations": operations,
        "components": {"messages": messages, "schemas": schemas},
    }


def _schema(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}


def _message(topic: Topic, schema: str, summary: str, headers: Mapping[str, Any] | None = None, example: Mapping[str, Any] | None = None) -> dict[str, Any]:
    key = {"key": {**_TEXT, "description": topic.key}, "bindingVersion": BINDING}
    message: dict[str, Any] = {"summary": summary, "payload": _schema(schema), "bindings": {"kafka": key}}
    if headers is not None:
        message["headers"] = headers
    if example is not None:
        message["examples"] = [{"payload": example}]
    return message


def _channel(topic: Topic, messages: list[str], prefix: str, partitions: int, replicas: int) -> dict[str, Any]:
    said = {name: topic.config[name] for name in _SETTINGS if name in topic.config}
    settings = {name: value.split(",") if name == "cleanup.policy" else int(value) for name, value in said.items()}
    kafka = {"partitions": partitions, "replicas": replicas, "topicConfiguration": settings, "bindingVersion": BINDING}
    return {
        "address": prefix + topic.name,
        "description": f"{topic.holds[0].upper()}{topic.holds[1:]}; keyed by {topic.key}.",
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in messages},
        "bindings": {"kafka": kafka},
    }
