"""The command `engage`: every subcommand, what it takes, and what its exit code says (0 ok, 1 findings, 2 usage or settings)."""

import asyncio
import json
import os
from collections.abc import Coroutine
from importlib.metadata import version
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import click

from agents.replay import replay
from agents.settings import Settings, SettingsError
from streams.kpis import KPIS
from streams.sites import Sites, SitesError, load_sites

T = TypeVar("T")


class Sentence(click.ClickException):
    """What is wrong and what to do, in a sentence; exit code 2."""

    exit_code = 2


class Commands(click.Group):
    """Turns what a person can put right into a sentence."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (SettingsError, SitesError) as error:
            raise Sentence(str(error)) from None


def _examples(*lines: str) -> str:
    return "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines)


def read_settings() -> Settings:
    """The settings in the environment; raises SettingsError."""
    return Settings.from_env(os.environ)


def read_sites(settings: Settings) -> Sites:
    """The sites file of the settings, or defaults for every site; raises SitesError."""
    if settings.sites is None:
        return Sites()
    try:
        return load_sites(Path(settings.sites).read_text(encoding="utf-8"), settings.sites)
    except (OSError, UnicodeDecodeError) as error:
        raise SitesError(f"{settings.sites}: {error}") from error


def print_json(value: Any) -> None:
    click.echo(json.dumps(value, ensure_ascii=False, indent=2))


def _ask(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run what talks to Kafka; that it cannot be reached or refuses is a sentence."""
    from agents.admin import RefusedError, UnreachableError  # aiokafka takes a while to import

    try:
        return asyncio.run(coroutine)
    except (UnreachableError, RefusedError) as error:
        text = str(error).removeprefix("KafkaConnectionError: ").removeprefix("UnreachableError: ")
        raise Sentence(text[:1].upper() + text[1:]) from None


@click.group(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog=_examples("engage run", "engage topics check", "engage kpis --json"),
)
@click.version_option(version("engagement-monitor"), prog_name="engage")
def cli() -> None:
    """Customer engagement, measured while it happens.

    Settings are ENGAGE_* environment variables. Exit codes: 0 ok, 1 findings, 2 usage, settings or an unreachable broker.
    """


@cli.command(epilog=_examples("engage worker", "ENGAGE_BROKER=kafka-1:9092,kafka-2:9092 ENGAGE_SITES=sites.yml engage worker"))
@click.option("--embedded", is_flag=True, hidden=True, help="For `engage run`: no fence, and end with standard input.")
def worker(embedded: bool) -> None:
    """Count events and read measures, until SIGTERM or Ctrl-C.

    Start as many as you like, up to one per partition. Health, metrics and status are served on ENGAGE_HTTP_HOST and ENGAGE_HTTP_PORT.
    """
    settings = read_settings()
    sites = read_sites(settings)
    settings.client_kwargs()  # certificates that cannot be read are said now

    from agents.app import create_app, run_worker
    from agents.metrics import ReadingsCollector
    from streams.partition import Partition

    def new_state(partition: int) -> Partition:
        return Partition(partition, settings.partitions, sites)

    app = create_app(settings, new_state, fence=not embedded, collectors=[ReadingsCollector(lambda: app.engine.states())])
    if embedded:
        from agents.run import end_with_standard_input

        end_with_standard_input()
    _exit(run_worker(app))


@cli.command(epilog=_examples("engage run", "engage run --rate 500 --seed 7", "engage run --duration 60", "engage run --replay events.jsonl"))
@click.option("--rate", type=click.FloatRange(0.1, 20_000), default=50.0, show_default=True, help="Events per second.")
@click.option("--seed", type=click.IntRange(0), default=1, show_default=True, help="Another seed makes another shop day.")
@click.option("--duration", type=click.FloatRange(1), envvar="DURATION", help="End by itself after so many seconds (also: environment DURATION).")
@click.option("--replay", "file", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Play this file of events instead of made-up ones.")
def run(rate: float, seed: int, duration: float | None, file: Path | None) -> None:
    """Try everything on one screen: broker, worker and a made-up shop.

    The broker is embedded: nothing is kept after it stops. Ends with Ctrl-C or --duration; the last line is one JSON object with the accounting,
    and the exit code is 0 only if every event that was produced was received and accounted for.
    """
    from agents.run import Options, run_demo

    settings = read_settings()
    read_sites(settings)
    _exit(run_demo(settings, Options(rate=rate, seed=seed, duration=duration, file=file)))


@cli.group(epilog=_examples("engage topics create", "engage topics check --json"))
def topics() -> None:
    """Make the topics, or say what is wrong with them."""


@topics.command("create", epilog=_examples("engage topics create", "ENGAGE_PARTITIONS=24 ENGAGE_REPLICATION=3 engage topics create"))
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object.")
def topics_create(as_json: bool) -> None:
    """Make the topics that are missing; those that exist are left as they are."""
    from agents.admin import create_topics

    settings = read_settings()
    made = _ask(create_topics(settings))
    if as_json:
        print_json({"created": made, "partitions": settings.partitions})
    elif made:
        click.echo(f"Made {len(made)} topics with {settings.partitions} partitions each: {', '.join(made)}.")
    else:
        click.echo("All topics exist already.")


@topics.command("check", epilog=_examples("engage topics check", "engage topics check --json"))
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object.")
def topics_check(as_json: bool) -> None:
    """Say what a worker would stumble over; exit code 1 if there is anything."""
    from agents.admin import check_topics

    findings = _ask(check_topics(read_settings()))
    if as_json:
        print_json({"findings": [finding._asdict() for finding in findings]})
    else:
        for finding in findings:
            click.echo(f"{'error' if finding.fatal else 'warning'}: {finding}")
        if not findings:
            click.echo("All topics are as they should be.")
    _exit(1 if findings else 0)


@cli.group(epilog=_examples("engage events schema > events.schema.json"))
def events() -> None:
    """What may be sent."""


@events.command("schema", epilog=_examples("engage events schema", "engage events schema > events.schema.json"))
def events_schema() -> None:
    """Print the JSON Schema of all events."""
    from streams.schema import schema

    print_json(schema())


@cli.command(epilog=_examples("engage kpis", "engage kpis --json"))
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array.")
def kpis(as_json: bool) -> None:
    """List the measures: what each answers, how it is calculated, and where its definition comes from."""
    rows = [
        {"name": kpi.name, "question": kpi.question, "formula": kpi.formula, "unit": kpi.unit, "source": kpi.origin, "tag": kpi.tag, "help": kpi.help}
        for kpi in KPIS
    ]
    if as_json:
        print_json(rows)
        return
    for row in rows:
        click.echo(f"{click.style(row['name'], bold=True)} ({row['unit']}, {row['tag']})\n  {row['question']}\n  = {row['formula']}   [{row['source']}]")


cli.add_command(replay)


def _exit(code: int) -> NoReturn:
    click.get_current_context().exit(code)


def main() -> None:
    """Entry point of the command `engage`."""
    cli(prog_name="engage")


if __name__ == "__main__":
    main()
