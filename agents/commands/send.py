"""`engage send`."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from agents.commands.base import ask, examples, finish, json_option, print_json, read_settings, sentence
from streams.events import TYPES

if TYPE_CHECKING:
    from agents.send import Sent


@click.command(
    epilog=examples(
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
@json_option("Print the summary as a JSON object.")
def send(arguments: tuple[str, ...], name: str | None, example: str | None, site: str | None, unchecked: bool, dry_run: bool, as_json: bool) -> None:
    """Send events: a FILE of JSON lines (also .gz; `-` is standard input), or one event by its fields.

    Every line is checked as a worker checks it. What is no event is not sent and named with its line, reason and path; the others are sent, to the
    topic of their type and by the key of their subject, and acknowledged by all copies. Of one event, `id` and `at` are filled in where they are missing,
    and the event is printed. Exit code 1 if something was no event.
    """
    from agents import send as sending
    from agents.commands.progress import progress
    from agents.replay import STDIN, Lines, ReplayError

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
        source, blocks = Lines(()), iter([[(1, value)]])
    else:
        if arguments[0] != STDIN and not Path(arguments[0]).is_file():
            raise click.UsageError(f"There is no file {arguments[0]!r}.")
        source = Lines(arguments)
        blocks = source.blocks()
    with progress() as show, sentence(ReplayError):

        def moved(sent: "Sent") -> None:
            show(sent.lines, source.share)

        sent = sending.check(blocks, moved) if dry_run else ask(sending.send(settings, blocks, moved, unchecked=unchecked))
    if as_json:
        print_json(sent.fields() | event | {"dry_run": dry_run})
    else:  # to standard error: standard output is for the event
        for line in sending.summary(sent, settings, numbered=not one, verb="would be sent" if dry_run else "sent", unchecked=unchecked and not dry_run):
            click.echo(line, err=True)
    finish(1 if sent.refused else 0)
