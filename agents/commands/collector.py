"""`engage collector`."""

import json
from pathlib import Path

import click

from agents.commands.base import examples, read_settings, sentence


@click.command(
    epilog=examples(
        "engage keys create --site shop --file keys.yml && ENGAGE_COLLECTOR_KEYS=keys.yml engage collector",
        "ENGAGE_COLLECTOR_DEVELOPMENT=on engage collector",
    )
)
@click.option("--embedded", is_flag=True, hidden=True, help="For `engage run`: end with standard input.")
def collector(embedded: bool) -> None:
    """Take events over HTTP from Segment, RudderStack, PostHog, Snowplow and CloudEvents clients, until SIGTERM or Ctrl-C.

    An event is acknowledged when Kafka has it on all in-sync copies, or this machine on its disk. SIGHUP reads the keys file again. The last line is one
    JSON object: messages that Kafka has confirmed, by topic, and how many wait in the spool. See docs/collector.md.
    """
    import uvloop

    from agents.files import read_keys, read_plans
    from agents.logs import setup_logging
    from agents.settings import not_listening
    from collector.app import Options
    from collector.keys import Keys, create_key
    from collector.limits import networks
    from collector.server import serve
    from collector.spool import SpoolError

    settings = read_settings()
    made = None
    if settings.collector_development and settings.collector_keys is None:
        key, text = create_key("development", "write", "shop")
        made = Keys([key])
    read_keys(settings, made)
    options = Options(
        connection=settings.client_kwargs(),
        prefix=settings.topic_prefix,
        spool=Path(settings.collector_spool),
        spool_bytes=settings.collector_spool_bytes,
        read_keys=lambda: read_keys(settings, made),
        plans=read_plans(settings),
        host=settings.collector_host,
        port=settings.collector_port,
        development=settings.collector_development,
        proxies=networks(settings.collector_proxies or ""),
        address_rate=settings.collector_address_rate,
        connections=settings.collector_connections,
    )

    def on_start(port: int) -> None:
        if made is not None:
            click.echo(f"A key for the site shop, as long as this runs: {text}", err=True)
        click.echo(f"Takes events on http://{settings.collector_host}:{port}", err=True)

    setup_logging(settings.log_level)
    if embedded:
        from agents.run import end_with_standard_input

        end_with_standard_input()
    with sentence(SpoolError):
        try:
            counted = uvloop.run(serve(options, on_start))
        except OSError as error:
            raise not_listening(settings, "collector", error) from None
    click.echo(json.dumps(counted))
