"""`engage events`."""

from importlib.metadata import version

import click

from agents.commands.base import examples, print_json, read_settings


@click.group(epilog=examples("engage events schema > events.schema.json", "engage events asyncapi", "engage events openapi"))
def events() -> None:
    """What may be sent, as documents for programs."""


@events.command(epilog=examples("engage events schema", "engage events schema > events.schema.json"))
def schema() -> None:
    """Print the JSON Schema of all events."""
    from streams.schema import schema

    print_json(schema())


@events.command(epilog=examples("engage events asyncapi > asyncapi.json", "ENGAGE_TOPIC_PREFIX=shop. engage events asyncapi"))
def asyncapi() -> None:
    """Print the AsyncAPI 3 document of the topics: what is taken from Kafka, and what is written there for others."""
    from alerts.evaluation import Alert
    from streams.asyncapi import document

    settings = read_settings()
    print_json(document(version("engagement-monitor"), Alert, settings.topic_prefix, settings.partitions, settings.replication))


@events.command(epilog=examples("engage events openapi > openapi.json"))
def openapi() -> None:
    """Print the OpenAPI 3.1 document of the collector, which serves the same at /openapi.json."""
    from collector.openapi import document
    from collector.routes import routes_of

    print_json(document(version("engagement-monitor"), routes_of(development=True)))
