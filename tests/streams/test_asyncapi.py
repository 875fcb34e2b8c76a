"""The contract on Kafka: valid by AsyncAPI's own schema, and true of topics, structs and examples."""

import json
import subprocess
import sys
from typing import Any

import pytest

from alerts.evaluation import Alert
from streams.asyncapi import document
from streams.events import NAMES, Reason
from streams.examples import EXAMPLES
from streams.topics import TOPICS
from tests.clients import install
from tests.clients.official import complaints
from tests.conftest import missing

DOCUMENT = document("1.2.3", Alert, "shop.", 12, 3)


def test_it_names_every_topic_and_type():
    channels = {topic.name: topic for topic in TOPICS if topic.name not in ("rollups", "state")}
    assert DOCUMENT["channels"].keys() == channels.keys()
    for name, topic in channels.items():
        channel = DOCUMENT["channels"][name]
        assert channel["address"] == f"shop.{name}"
        kafka = channel["bindings"]["kafka"]
        assert (kafka["partitions"], kafka["replicas"]) == (12, 3)
        assert kafka["topicConfiguration"]["retention.ms"] == int(topic.config["retention.ms"])
        assert set(channel["messages"]) == ({NAMES[struct] for struct in topic.events} or {name})
        action = "receive" if topic.events else "send"
        assert DOCUMENT["operations"][f"{action}_{name}"]["action"] == action
    assert len(DOCUMENT["operations"]) == len(channels)
    assert set(DOCUMENT["components"]["messages"]["failed"]["headers"]["properties"]["engage-reason"]["enum"]) == set(Reason)


def references(value: Any) -> set[str]:
    if isinstance(value, dict):
        return set().union(*map(references, value.values()), {value["$ref"]} if "$ref" in value else set())
    return set().union(*map(references, value)) if isinstance(value, list) else set()


def test_every_reference_leads_somewhere():
    named = references(DOCUMENT)
    assert len(named) > 150
    for reference in named:
        place = DOCUMENT
        for step in reference.removeprefix("#/").split("/"):
            place = place[step]


def test_the_command_prints_it():
    done = subprocess.run([sys.executable, "-m", "agents", "events", "asyncapi"], capture_output=True, text=True, timeout=30, check=True)
    printed = json.loads(done.stdout)
    assert printed["channels"]["website"]["address"] == "engagement.website"
    assert printed["components"] == json.loads(json.dumps(DOCUMENT["components"]))


@pytest.mark.slow
def test_it_is_valid_by_the_official_schema():
    try:
        schema = json.loads((install.node_modules() / "@asyncapi" / "specs" / "schemas" / "3.0.0.json").read_text())
    except install.UnavailableError as error:
        missing(error)
    consumed = json.loads(json.dumps(DOCUMENT).replace('"action": "receive"', '"action": "consume"', 1))
    of_document, of_consumed = complaints(schema=schema, draft=7, instances=[DOCUMENT, consumed])
    assert of_document == []
    assert of_consumed != []


@pytest.mark.slow
def test_every_example_is_what_its_schema_says():
    messages = DOCUMENT["components"]["messages"]
    instances = [EXAMPLES[name] for name in EXAMPLES]
    schemas = {"anyOf": [messages[name]["payload"] for name in EXAMPLES], "components": DOCUMENT["components"]}
    assert len(instances) == len(NAMES)
    *said, of_wrong = complaints(schema=schemas, draft=2020, instances=[*instances, EXAMPLES["page_viewed"] | {"path": 7}])
    assert said == [[]] * len(NAMES)
    assert of_wrong != []
