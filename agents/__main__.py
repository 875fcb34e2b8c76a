"""The command `engage`: every subcommand, what it takes, and what its exit code says (0 ok, 1 findings, 2 usage or settings)."""

import asyncio
import json
import os
import re
from collections.abc import Callable, Coroutine, Iterable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NoReturn, TypeVar

import click
import msgspec

from agents.replay import STDIN, Lines, ReplayError, progress, replay
from agents.sentiment import ExplainOrCommand
from agents.settings import Settings, SettingsError
from agents.simulate import INCIDENT, simulate_command
from collector.keys import Key, Keys, KeysError, add_key, create_key, entry_text, load_keys
from simulator.incidents import Incident
from streams.events import TYPES
from streams.kpis import KPIS
from streams.sites import Sites, SitesError, load_sites
from streams.topics import EVENT_TOPICS

if TYPE_CHECKING:
    from agents.send import Sent
    from collector.plan import Plans

T = TypeVar("T")
NAMED_FAULTS = 20
"""Lines of a file that are named; the summary counts all."""


class Sentence(click.ClickException):
    """What is wrong and what to do, in a sentence; exit code 2."""

    exit_code = 2


class Seconds(click.ParamType):
    """A length of time: `10s`, `5m`, `1h`, `250ms`; a number alone is seconds."""

    name = "TIME"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        match = re.fullmatch(r"(\d+(?:\.\d+)?)(ms|s|m|h|)", str(value))
        if match is None:
            self.fail(f"{value!r} is no length of time; say 10s, 5m or 1h.", param, ctx)
        return float(match[1]) * {"ms": 0.001, "s": 1.0, "": 1.0, "m": 60.0, "h": 3600.0}[match[2]]


class Commands(click.Group):
    """Turns what a person can put right into a sentence."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (SettingsError, SitesError, KeysError) as error:
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


def read_keys(settings: Settings, made: Keys | None = None) -> Keys:
    """The keys file of the settings, as it is now; without one what was made for trying. Raises KeysError."""
    if settings.collector_keys is None:
        if made is None:
            raise KeysError("ENGAGE_COLLECTOR_KEYS names the file of the keys that may send; `engage keys create --site SITE --file keys.yml` makes one.")
        return made
    try:
        return load_keys(Path(settings.collector_keys).read_text(encoding="utf-8"), settings.collector_keys)
    except (OSError, UnicodeDecodeError) as error:
        raise KeysError(f"{settings.collector_keys}: {error}") from error


def read_plans(settings: Settings) -> "Plans | None":
    """The tracking plans that the settings name."""
    from collector.plan import PlanError, load_plans

    if settings.collector_plan is None:
        return None
    try:
        return load_plans(Path(settings.collector_plan).read_text(encoding="utf-8"), settings.collector_plan)
    except (OSError, UnicodeDecodeError, PlanError) as error:
        raise Sentence(str(error)) from None


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
    epilog=_examples("engage run", "engage topics check", "engage doctor", "engage tail --site shop"),
)
@click.version_option(version("engagement-monitor"), prog_name="engage")
def cli() -> None:
    """Customer engagement, measured while it happens.

    Settings are ENGAGE_* environment variables. Exit codes: 0 ok, 1 findings, 2 usage, settings or an unreachable broker.
    """


# --- running ---------------------------------------------------------------------------------------------------------


@cli.command(epilog=_examples("engage worker", "ENGAGE_BROKER=kafka-1:9092,kafka-2:9092 ENGAGE_SITES=sites.yml engage worker"))
@click.option("--embedded", is_flag=True, hidden=True, help="For `engage run`: no fence, and end with standard input.")
def worker(embedded: bool) -> None:
    """Count events and read measures, until SIGTERM or Ctrl-C.

    Start as many as you like, up to one per partition. Health, metrics and status are served on ENGAGE_HTTP_HOST and ENGAGE_HTTP_PORT.
    """
    settings = read_settings()
    sites = read_sites(settings)
    settings.client_kwargs()  # certificates that cannot be read are said now

    from agents.alerting import Alerting
    from agents.app import create_app, run_worker
    from agents.metrics import ReadingsCollector

    alerting = Alerting(settings, sites, lambda: app.engine.states())
    collectors = [ReadingsCollector(lambda: app.engine.states()), alerting]
    app = create_app(settings, alerting.new_state, fence=not embedded, collectors=collectors, beside=[alerting.deliver, alerting.keep_rules])
    if embedded:
        from agents.run import end_with_standard_input

        end_with_standard_input()
    _exit(run_worker(app))


@cli.command(
    epilog=_examples(
        "engage run",
        "engage run --rate 500 --seed 7",
        "engage run --duration 60",
        "engage run --incident payment_failure@1m+3m",
        "engage run --replay events.jsonl",
    )
)
@click.option("--rate", type=click.FloatRange(0.1, 20_000), default=50.0, show_default=True, help="Events per second.")
@click.option("--seed", type=click.IntRange(0), default=1, show_default=True, help="Another seed makes another shop day.")
@click.option("--duration", type=click.FloatRange(1), envvar="DURATION", help="End by itself after so many seconds (also: environment DURATION).")
@click.option("--incident", "incidents", type=INCIDENT, multiple=True, help="What happens to the shop (default: a feedback storm); see `engage simulate`.")
@click.option("--replay", "file", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Play this file of events instead of made-up ones.")
def run(rate: float, seed: int, duration: float | None, incidents: tuple[Incident, ...], file: Path | None) -> None:
    """Try everything on one screen: broker, worker, a made-up shop, and a storm of bad reviews that becomes an alert and is called off.

    The broker is embedded: nothing is kept after it stops. 26 hours of the shop's past are played first, its last minutes six times faster than
    the clock. Ends with Ctrl-C or --duration; the last line is one JSON object with the accounting. The exit code is 0 only if every event that
    was produced was received and accounted for, and (from 145 seconds on) the storm was told of and called off.
    """
    from agents.run import Options, run_demo

    settings = read_settings()
    read_sites(settings)
    options = Options(rate=rate, seed=seed, duration=duration, file=file)
    _exit(run_demo(settings, replace(options, incidents=incidents) if incidents else options))


@cli.command(
    epilog=_examples(
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

    from agents.logs import setup_logging
    from collector.app import Options, serve
    from collector.limits import networks
    from collector.spool import SpoolError

    settings = read_settings()
    made = None
    if settings.collector_development and settings.collector_keys is None:
        key, text = create_key("development", "write", "shop")
        made = Keys([key])
        click.echo(f"A key for the site shop, as long as this runs: {text}", err=True)
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
    setup_logging(settings.log_level)
    if embedded:
        from agents.run import end_with_standard_input

        end_with_standard_input()
    try:
        counted = uvloop.run(serve(options, lambda port: click.echo(f"Takes events on http://{settings.collector_host}:{port}", err=True)))
    except (SpoolError, OSError) as error:
        raise Sentence(str(error)) from None
    click.echo(json.dumps(counted))


@cli.group(epilog=_examples("engage keys create --site shop --file keys.yml", "engage keys create --site shop --kind server --file keys.yml"))
def keys() -> None:
    """Make keys for those who send events to the collector."""


@keys.command(
    "create",
    epilog=_examples(
        "engage keys create --site shop --origin https://shop.example --file keys.yml",
        "engage keys create --site shop --kind server --name shop-backend --file keys.yml",
    ),
)
@click.option("--site", required=True, help="The site it may send events of.")
@click.option(
    "--kind", type=click.Choice(["write", "server"]), default="write", show_default=True, help="`write` stands in a page, `server` is a secret of a server."
)
@click.option("--name", help="How logs and answers call it (default: site and kind).")
@click.option("--origin", "origins", multiple=True, help="Of a write key: a page it may be used from, for instance https://shop.example.")
@click.option("--rate", type=click.FloatRange(0, min_open=True), help="Events per second (default: 100 for write keys, 10,000 for server keys).")
@click.option("--file", type=click.Path(dir_okay=False, path_type=Path), help="Keys file to add it to; made where there is none.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object.")
def keys_create(
    site: str, kind: Literal["write", "server"], name: str | None, origins: tuple[str, ...], rate: float | None, file: Path | None, as_json: bool
) -> None:
    """Make a key. A server key is shown once: the keys file holds only its hash.

    A running collector reads the file again when it gets SIGHUP.
    """
    default = re.sub(r"[^a-z0-9-]", "-", f"{site[:24]}-{kind}")
    key, text = create_key(name or default, kind, site, origins, rate)
    if file is not None:
        _add_to_file(key, file)
    if as_json:
        entry = {field: value for field, value in msgspec.to_builtins(key).items() if value}
        print_json({"key": text, "entry": entry, "file": None if file is None else str(file)})
        return
    click.echo(text)
    if file is None:
        click.echo(f"Put this at the end of the keys file:\n{entry_text(key)}", err=True, nl=False)
    else:
        shown_once = "" if kind == "write" else " The file has only its hash: keep the key, it cannot be shown again."
        click.echo(f"{key.name} was added to {file}.{shown_once}", err=True)


def _add_to_file(key: Key, file: Path) -> None:
    try:
        text = file.read_text(encoding="utf-8") if file.exists() else ""
        file.write_text(add_key(text, key, str(file)), encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise KeysError(f"{file}: {error}") from error


# --- events: sending them, looking at them, putting right what failed; in order of name -------------------------------


@cli.command(epilog=_examples("engage doctor", "engage doctor --json", "ENGAGE_BROKER=kafka-1:9092 engage doctor"))
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object.")
def doctor(as_json: bool) -> None:
    """Look at everything an installation needs, and say what to do about the rest.

    Versions, settings, sites and rules files, broker, topics, clocks, workers and their lag. Nothing is written anywhere. Exit code 1 if there is
    something to do, 2 if settings cannot be used or the broker cannot be reached.
    """
    from agents.doctor import Check, examine, exit_code

    async def look() -> list[Check]:
        checks = []
        async for check in examine(os.environ):
            checks.append(check)
            if not as_json:
                colour = {"ok": "green", "warn": "yellow", "fail": "red"}[check.status]
                click.echo(f"{click.style(f'{check.status:<4}', fg=colour, bold=True)}  {check.name:<11}  {check.found}")
                if check.remedy:
                    click.echo(f"      {'':<11}  → {check.remedy}")
        return checks

    checks = _ask(look())
    code = exit_code(checks)
    if as_json:
        print_json({"exit_code": code, "checks": [check.fields() for check in checks]})
    elif not code:
        click.echo("All is well.")
    _exit(code)


@cli.group(epilog=_examples("engage events schema > events.schema.json", "engage events asyncapi", "engage events openapi"))
def events() -> None:
    """What may be sent, as documents for programs."""


@events.command("schema", epilog=_examples("engage events schema", "engage events schema > events.schema.json"))
def events_schema() -> None:
    """Print the JSON Schema of all events."""
    from streams.schema import schema

    print_json(schema())


@events.command("asyncapi", epilog=_examples("engage events asyncapi > asyncapi.json", "ENGAGE_TOPIC_PREFIX=shop. engage events asyncapi"))
def events_asyncapi() -> None:
    """Print the AsyncAPI 3 document of the topics: what is taken from Kafka, and what is written there for others."""
    from alerts.evaluation import Alert
    from streams.asyncapi import document

    settings = read_settings()
    print_json(document(version("engagement-monitor"), Alert, settings.topic_prefix, settings.partitions, settings.replication))


@events.command("openapi", epilog=_examples("engage events openapi > openapi.json"))
def events_openapi() -> None:
    """Print the OpenAPI 3.1 document of the collector, which serves the same at /openapi.json."""
    from collector.openapi import document
    from collector.routes import DEVELOPMENT, ROUTES

    print_json(document(version("engagement-monitor"), (*ROUTES, *DEVELOPMENT)))


@cli.group(epilog=_examples("engage failed list", "engage failed show --reason unknown_field", "engage failed replay --reason unknown_field"))
def failed() -> None:
    """Events that were not counted: how many and why, in full, and once more."""


def _selection(command: Callable[..., None]) -> Callable[..., None]:
    """The options that say which failed events a command is about."""
    command = click.option("--site", help="Only of this site, as far as it can be read.")(command)
    command = click.option("--topic", type=click.Choice((*EVENT_TOPICS, "collector")), help="Only those that came on this topic, or by HTTP.")(command)
    return click.option("--reason", metavar="REASON", help="Only with this reason; `engage failed list` names those there are.")(command)


@failed.command("list", epilog=_examples("engage failed list", "engage failed list --topic website --json"))
@_selection
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object.")
def failed_list(reason: str | None, topic: str | None, site: str | None, as_json: bool) -> None:
    """Count failed events by reason, topic and site, with the first and last receipt (UTC)."""
    from agents.failed import Selection, count_failed, table

    groups = _ask(count_failed(read_settings(), Selection(reason, topic, site)))
    if as_json:
        print_json({"total": sum(group.events for group in groups), "groups": [group.fields() for group in groups]})
        return
    click.echo("\n".join(table(groups)) if groups else "No failed events.")


@failed.command("show", epilog=_examples("engage failed show 3:17", "engage failed show --reason bad_time --limit 3", "engage failed show 3:17 --json"))
@click.argument("places", metavar="[OFFSET]...", nargs=-1)
@_selection
@click.option("--limit", type=click.IntRange(1, 10_000), default=10, show_default=True, help="At most so many, the newest.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array; bytes that are no text as base64.")
def failed_show(places: tuple[str, ...], reason: str | None, topic: str | None, site: str | None, limit: int, as_json: bool) -> None:
    """Print failed events in full: why they failed, where they came from, their headers and bytes.

    OFFSET is PARTITION:OFFSET on the topic `failed` as `engage failed show` and `engage tail --failed` name it, or an offset alone in any partition.
    Exit code 1 if none is found.
    """
    from agents.failed import Selection, failure_fields, failure_text, newest_failed

    selection = Selection(reason, topic, site, {_place(place) for place in places})
    failures = _ask(newest_failed(read_settings(), selection, limit))
    if as_json:
        print_json([failure_fields(failure) for failure in failures])
    else:
        click.echo("\n\n".join(map(failure_text, failures)) if failures else "No such failed event.")
    _exit(0 if failures else 1)


def _place(text: str) -> tuple[int | None, int]:
    partition, colon, offset = text.rpartition(":")
    if not offset.isdecimal() or (colon and not partition.isdecimal()):
        raise click.UsageError(f"{text!r} is no place; write PARTITION:OFFSET, for instance 3:17.")
    return int(partition) if colon else None, int(offset)


@failed.command(
    "replay",
    epilog=_examples("engage failed replay --reason unknown_field", "engage failed replay --reason wrong_topic --fix topic --yes"),
)
@_selection
@click.option("--fix", type=click.Choice(["none", "topic"]), default="none", show_default=True, help="`topic`: send to the topic of its type, by its own key.")
@click.option("--unchecked", is_flag=True, help="Also those that would fail again.")
@click.option("--yes", is_flag=True, help="Send without asking.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object; sends only with --yes.")
def failed_replay(reason: str | None, topic: str | None, site: str | None, fix: str, unchecked: bool, yes: bool, as_json: bool) -> None:
    """Publish failed events once more: the original bytes, key and headers, to the topic they came on.

    What the collector refused is translated once more, with the tracking plan of today. Each is checked first, and the receipt goes with it. Counts
    and asks before it sends; without a terminal, and without --yes, it only counts. An event that is replayed twice is counted once. Exit code 1 if
    some would fail again.
    """
    from agents.failed import Plan, Selection, replay_failed, route

    def agreed(plan: Plan, number: int) -> bool:
        if not as_json:
            again = "".join(f", {number} would fail again: {why}" for why, number in sorted(plan.refused.items()))
            click.echo(f"{plan.selected} selected, {plan.healed} would be accepted now{again}.")
        if yes or as_json or not number:
            return yes and number > 0
        try:
            return click.confirm(f"Publish {number} once more?")
        except click.Abort:  # no terminal, no answer
            click.echo()
            return False

    if reason is None and topic is None and site is None:
        raise click.UsageError("Say which: --reason, --topic or --site.")
    settings = read_settings()
    again = partial(route, fix=fix, plans=read_plans(settings))
    plan, sent = _ask(replay_failed(settings, Selection(reason, topic, site), again, unchecked=unchecked, agreed=agreed))
    if as_json:
        print_json(plan._asdict() | {"sent": sent or 0})
    elif sent is not None:
        click.echo(f"{sent} published once more. They stay on the topic `failed` until it forgets them; replaying them again counts nothing twice.")
    else:
        click.echo("Nothing was sent.")
    _exit(1 if plan.refused else 0)


cli.add_command(replay)
cli.add_command(simulate_command)


@cli.command(
    epilog=_examples(
        "engage send events.jsonl",
        "engage send --type page_viewed --site acme visitor=v1 path=/",
        "engage send --example review_posted --site acme rating=2",
        "engage send --dry-run events.jsonl.gz",
        "tail -f events.jsonl | engage send -",
    )
)
@click.argument("arguments", metavar="[FILE|-] | [KEY=VALUE]...", nargs=-1)
@click.option("--type", "name", metavar="TYPE", help="Send one event of this type, with fields as KEY=VALUE.")
@click.option("--example", type=click.Choice([*TYPES]), metavar="TYPE", help="Send the example of this type; KEY=VALUE changes it.")
@click.option("--site", help="Site of the one event.")
@click.option("--unchecked", is_flag=True, help="Also send what is no event: it is counted as failed.")
@click.option("--dry-run", is_flag=True, help="Check, and send nothing; needs no broker.")
@click.option("--json", "as_json", is_flag=True, help="Print the summary as a JSON object.")
def send(arguments: tuple[str, ...], name: str | None, example: str | None, site: str | None, unchecked: bool, dry_run: bool, as_json: bool) -> None:
    """Send events: a FILE of JSON lines (also .gz; `-` is standard input), or one event by its fields.

    Every line is checked as a worker checks it. What is no event is not sent and named with its line, reason and path; the others are sent, to the
    topic of their type and by the key of their subject, and acknowledged by all copies. Of one event, `id` and `at` are filled in where they are missing,
    and the event is printed. Exit code 1 if something was no event.
    """
    from agents import send as sending

    one = name is not None or example is not None
    if name is not None and example is not None:
        raise click.UsageError("--type and --example exclude each other.")
    if not one and (site is not None or len(arguments) != 1 or "=" in arguments[0]):
        raise click.UsageError("Give one FILE, or - for standard input, or one event by --type or --example with KEY=VALUE.")
    settings = read_settings()
    event: dict[str, Any] = {}
    if one:
        value, filled = sending.compose(name or example, site, arguments, example=example is not None)
        event = {"event": json.loads(value), "filled": filled}
        if not as_json:
            click.echo(value.decode())
            if filled:
                click.echo(f"Filled in: {', '.join(filled)}.", err=True)
        source = sending.Input(STDIN)
        blocks: Iterable[list[tuple[int, bytes]]] = [[(1, value)]]
    else:
        source = sending.Input(arguments[0])
        if arguments[0] != STDIN and not Path(arguments[0]).is_file():
            raise click.UsageError(f"There is no file {arguments[0]!r}.")
        blocks = source.blocks()
    with progress() as show:

        def moved(sent: "Sent") -> None:
            show(sent.lines, source.share)

        sent = sending.check(blocks, moved) if dry_run else _ask(sending.send(settings, blocks, moved, unchecked=unchecked))
    if as_json:
        print_json(sent.fields() | event | {"dry_run": dry_run})
        _exit(1 if sent.refused else 0)
    _say_sent(sent, settings, numbered=not one, verb="would be sent" if dry_run else "sent", unchecked=unchecked and not dry_run)
    _exit(1 if sent.refused else 0)


def _say_sent(sent: "Sent", settings: Settings, *, numbered: bool, verb: str, unchecked: bool) -> None:
    """The faults, then one sentence, to standard error: standard output is for the event."""
    from agents.tail import printable

    for fault in sent.faults[:NAMED_FAULTS]:
        where = f"line {fault.line}: " if numbered else ""
        click.echo(f"{where}{click.style(fault.reason, fg='red')} {printable(fault.path)}: {printable(fault.detail)}", err=True)
    if (more := sent.refused.total() - NAMED_FAULTS) > 0:
        reasons = ", ".join(f"{number} {reason}" for reason, number in sent.refused.most_common())
        click.echo(f"… and {more} more; in all {reasons}", err=True)
    topics = ", ".join(f"{number} to {settings.topic(topic)}" for topic, number in sorted(sent.topics.items()))
    no_events = f"; {sent.refused.total()} no events{' (sent all the same)' if unchecked else ''}" if sent.refused else ""
    click.echo(f"{sent.topics.total()} of {sent.lines} {verb}{f' ({topics})' if topics else ''}{no_events}.", err=True)


@cli.command(
    epilog=_examples(
        "engage tail",
        "engage tail --site shop --type order_completed",
        "engage tail --last 20 --no-follow",
        "engage tail --from-start --json --for 10s > events.jsonl",
        "engage tail --failed --last 5",
    )
)
@click.option("--from-start", is_flag=True, help="Begin with the oldest events that are kept.")
@click.option("--last", type=click.IntRange(1, 100_000), metavar="N", help="Begin with the N newest events.")
@click.option("--site", help="Only of this site.")
@click.option("--type", "name", metavar="TYPE", help="Only of this type.")
@click.option("--subject", help="Only about this subject, for instance c:42 or v:9f3.")
@click.option("--failed", "of_failed", is_flag=True, help="What was not counted and why, instead of what came.")
@click.option("--limit", type=click.IntRange(1), metavar="N", help="End after N lines.")
@click.option("--for", "seconds", type=Seconds(), help="End after a time: 10s, 5m, 1h.")
@click.option("--no-follow", is_flag=True, help="End where the topics end now.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per line.")
def tail(
    from_start: bool, last: int | None, site: str | None, name: str | None, subject: str | None, of_failed: bool, limit: int | None, seconds: float | None,
    no_follow: bool, as_json: bool,
) -> None:  # fmt: skip
    """Watch events as they arrive, until Ctrl-C. What is no event is shown with the reason.

    Reads without a consumer group: no worker is disturbed.
    """
    from agents.failed import FAILED, failed_line
    from agents.tail import Wanted, event_line, follow, show

    if from_start and last is not None:
        raise click.UsageError("--from-start and --last exclude each other.")
    if no_follow and not from_start and last is None:
        raise click.UsageError("--no-follow shows what is there already: say from where, by --from-start or --last.")
    settings = read_settings()
    topics, line_of = ((FAILED,), failed_line(settings)) if of_failed else (EVENT_TOPICS, event_line(settings))
    lines = follow(settings, topics, line_of, Wanted(site, name, subject), last=None if from_start else last or 0, onwards=not no_follow)
    with suppress(KeyboardInterrupt):
        _ask(show(lines, as_json=as_json, limit=limit, seconds=seconds))


# --- what is measured, and the topics it is measured on ---------------------------------------------------------------


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


@cli.group(epilog=_examples("engage rules check", "engage rules test rules/", "engage rules replay march.jsonl.gz"))
def rules() -> None:
    """The rules that alerts follow: whether they can be used, do what they should, and what they would have said of the past."""


@rules.command("check", epilog=_examples("engage rules check", "engage rules check rules/ more.yml --json"))
@click.argument("paths", nargs=-1, type=click.Path(exists=True, path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object.")
def rules_check(paths: tuple[Path, ...], as_json: bool) -> None:
    """Say what is wrong with rule files and directories (default: those of ENGAGE_RULES, else the product's own); exit code 1 if anything is."""
    from agents.alerting import rule_paths
    from alerts.rules import check

    faults = check(paths or rule_paths(read_settings().rules))
    if as_json:
        print_json({"faults": [str(fault) for fault in faults]})
    else:
        for fault in faults:
            click.echo(str(fault))
        if not faults:
            click.echo("All rules can be used.")
    _exit(1 if faults else 0)


@rules.command("test", epilog=_examples("engage rules test", "engage rules test rules/ --only night", "engage rules test rules/shop_test.yml --json"))
@click.argument("paths", nargs=-1, type=click.Path(exists=True, path_type=Path))
@click.option("--only", default="", metavar="TEXT", help="Only tests with this in their name.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object.")
def rules_test(paths: tuple[Path, ...], only: str, as_json: bool) -> None:
    """Run the tests beside rule files: those of shop.yml are in shop_test.yml.

    PATHS are files and directories (default: the rules of ENGAGE_RULES, else the product's own). Tests run in virtual time through the same code as a
    worker. Exit code 1 if a test fails, 2 if there is none or a file cannot be used.
    """
    from agents import rules as trying
    from agents.alerting import rule_paths

    def say(tested: trying.Tested) -> None:
        if not as_json:
            click.echo("\n".join(trying.tested_lines(tested)))

    report = trying.run_tests(paths or rule_paths(read_settings().rules), only, say)
    click.echo(trying.encoded(report.fields()) if as_json else "\n".join(trying.report_lines(report)))
    _exit(report.exit_code)


@rules.command(
    "replay",
    epilog=_examples(
        "engage rules replay march.jsonl.gz",
        "engage rules replay --rules new.yml --rule TrafficDrop march.jsonl.gz",
        "engage rules replay --site shop --from -7d",
        "engage rules replay reviews social --json > would-have-fired.json",
    ),
)
@click.argument("sources", nargs=-1, metavar="[FILE|TOPIC]...")
@click.option("--rules", "paths", multiple=True, type=click.Path(exists=True, path_type=Path), help="File or directory of rules (default: those in force).")
@click.option("--rule", "names", multiple=True, metavar="NAME", help="Only this rule; may be given several times.")
@click.option("--site", help="Only this site.")
@click.option("--from", "begin", metavar="TIME", help="Say nothing of what fires before: 2026-03-02, 2026-03-02T10:00, or -7d for a week ago.")
@click.option("--to", "end", metavar="TIME", help="Do not read what was received from then on.")
@click.option("--partitions", type=click.IntRange(1, 1024), help="Partitions for files (default: those of the settings); 1 is fastest.")
@click.option("--alerts", "shown", type=click.IntRange(0), default=10, show_default=True, help="Show at most so many alerts of each rule with a chart.")
@click.option("--fail-if-fires", is_flag=True, help="Exit code 1 if anything would have fired.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object.")
def rules_replay(
    sources: tuple[str, ...], paths: tuple[Path, ...], names: tuple[str, ...], site: str | None, begin: str | None, end: str | None, partitions: int | None,
    shown: int, fail_if_fires: bool, as_json: bool,
) -> None:  # fmt: skip
    """Say what rules would have said of the past: when they would have fired, how long, on what, with a chart of the measure.

    Reads FILES of events (JSON lines in the order in which they were received, also .gz; `-` is standard input), or event topics of Kafka as far as they
    go now (without any: all four). Nobody is told of anything. What comes before --from is read too: rules compare with it and learn from it.
    """
    from agents import rules as trying
    from agents.alerting import rule_paths
    from alerts.rules import RulesError, read_rules

    settings = read_settings()
    sites = read_sites(settings)
    topics = [source for source in sources if source in EVENT_TOPICS]
    if topics and len(topics) < len(sources):
        raise click.UsageError("Give files or topics, not both.")
    if missing := [source for source in sources if source not in EVENT_TOPICS and source != STDIN and not Path(source).is_file()]:
        raise click.UsageError(f"There is no file {missing[0]!r}; topics are {', '.join(EVENT_TOPICS)}.")
    try:
        in_force = trying.select_rules(read_rules(paths or rule_paths(settings.rules)), names)
        wanted = trying.wanted(site, begin, end)
    except (RulesError, ValueError) as error:
        raise Sentence(str(error)) from None
    with progress() as show:
        if sources and not topics:
            try:
                found = trying.replay_files(Lines(sources), in_force, sites, partitions or settings.partitions, wanted, show)
            except ReplayError as error:
                raise Sentence(str(error)) from None
        else:
            found = _ask(trying.replay_topics(settings, topics or EVENT_TOPICS, in_force, sites, wanted, show))
    click.echo(trying.encoded(found.fields()) if as_json else "\n".join(trying.replayed_lines(found, shown)))
    _exit(1 if fail_if_fires and found.backtest.incidents else 0)


@cli.group(
    cls=ExplainOrCommand,
    epilog=_examples(
        'engage sentiment "Great, another delay"', "engage sentiment label reviews.jsonl --to labels.jsonl", "engage sentiment refit labels.jsonl"
    ),
)
def sentiment() -> None:
    """Say what is made of a text and why; label texts, and fit the probability to the labels."""


SITE_OPTION = click.option("--site", default="default", show_default=True, help="Judge as this site of ENGAGE_SITES does: its names, patterns and numbers.")


@sentiment.command(
    "explain",
    epilog=_examples(
        'engage sentiment "Great, another delay"',
        'engage sentiment --site shop --review "Nice room. Nobody answers."',
        "engage sentiment --json - < text.txt",
    ),
)
@click.argument("text")
@SITE_OPTION
@click.option("--language", help="The language tag that the source states (default: it is detected).")
@click.option("--review", is_flag=True, help="Judge it as a review: sentence by sentence.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object.")
def sentiment_explain(text: str, site: str, language: str | None, review: bool, as_json: bool) -> None:
    """Explain one text (`-`: standard input): its standard score, normal form, language, the patterns found with their words, score and label."""
    from agents import sentiment as texts

    if text == STDIN:
        text = click.get_text_stream("stdin").read()
    explained = texts.explain(text, read_sites(read_settings())[site], language, review=review)
    if as_json:
        print_json(texts.as_json(explained))
    else:
        click.echo(texts.as_text(explained))


@sentiment.command(
    "label", epilog=_examples("engage sentiment label reviews.jsonl --to labels.jsonl", "engage sentiment label tweets.txt --to labels.jsonl --site shop")
)
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--to", "labels", type=click.Path(dir_okay=False, path_type=Path), required=True, help="The file of labels; new ones are appended.")
@SITE_OPTION
def sentiment_label(file: Path, labels: Path, site: str) -> None:
    """Show the texts of a file (events as JSON lines, or a text per line) one by one and ask: is it a complaint?

    What has a label already is not asked again, so you can go on where you stopped. About 50 labels are enough for `refit`; take texts as they come.
    """
    from agents import sentiment as texts

    of_site = read_sites(read_settings())[site]
    answers = click.Choice(["y", "n", "s", "q"])

    def ask(question: str) -> str:
        return str(click.prompt(question, type=answers, show_choices=False))

    try:
        with file.open(encoding="utf-8", errors="replace") as lines:
            known = texts.label_texts(texts.read_texts(lines), labels, of_site, ask, click.echo)
    except (texts.LabelsError, OSError, UnicodeDecodeError) as error:
        raise Sentence(str(error)) from None
    click.echo(f"{labels} has {known} labels")


@sentiment.command("refit", epilog=_examples("engage sentiment refit labels.jsonl", "engage sentiment refit labels.jsonl --site shop --json"))
@click.argument("labels", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@SITE_OPTION
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object.")
def sentiment_refit(labels: Path, site: str, as_json: bool) -> None:
    """Fit the two numbers of p_negative to at least 50 labels, and print the lines for the sites file with the calibration before and after."""
    from agents import sentiment as texts

    try:
        fitted = texts.refit(texts.read_labels(labels), read_sites(read_settings())[site])
    except (texts.LabelsError, texts.CalibrationError, OSError, UnicodeDecodeError) as error:
        raise Sentence(str(error)) from None
    if as_json:
        print_json(texts.refit_json(fitted))
    else:
        click.echo(texts.refit_text(site, fitted))


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


def _exit(code: int) -> NoReturn:
    click.get_current_context().exit(code)


def main() -> None:
    """Entry point of the command `engage`."""
    cli(prog_name="engage")


if __name__ == "__main__":
    main()
