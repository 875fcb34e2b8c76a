"""`engage send`."""

import json
from typing import Any, Final

import click

from agents.commands.base import ask, examples, finish, json_option, print_json, read_settings
from streams.events import TYPES

INPUT: Final = click.Path(exists=True, dir_okay=False, allow_dash=True)


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
@click.option("--unchecked", is_flag=True, help="Also send what is refused: it is counted as failed.")
@click.option("--dry-run", is_flag=True, help="Check, and send nothing; needs no broker.")
@json_option("Print the summary as a JSON object.")
def send(arguments: tuple[str, ...], name: str | None, example: str | None, site: str | None, unchecked: bool, dry_run: bool, as_json: bool) -> None:
    """Send events: a FILE of JSON lines (also .gz; `-` is standard input), or one event by its fields.

    Every line is checked as a worker checks it. What is no event, or too old, is not sent and named with its line, reason and path; the others are sent,
    to the topic of their type and by the key of their subject, and acknowledged by all copies. Of one event, `id` and `at` are filled in where they are
    missing, and the event is printed. Exit code 1 if something was refused. Standard input is read to its end or until Ctrl-C.
    """
    from agents import send as sending
    from agents.commands.progress import progress
    from agents.replay import STDIN, Lines

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
        source = Lines([str(INPUT.convert(arguments[0], None, click.get_current_context()))])
        blocks = source.blocks()
    sent, stopped = sending.Sent(), False
    with progress() as show:

        def moved(sent: sending.Sent) -> None:
            show(sent.lines, source.share)

        try:
            if dry_run:
                sending.check(blocks, sent, moved)
            else:
                ask(sending.send(settings, blocks, sent, moved, unchecked=unchecked))
        except KeyboardInterrupt:
            click.echo(err=True)
            stopped = STDIN not in source.files  # which is read until someone says that it is enough
    if as_json:
        print_json(sent.fields() | event | {"dry_run": dry_run})
    else:  # to standard error: standard output is for the event
        for line in sending.summary(sent, settings, numbered=not one, dry_run=dry_run, unchecked=unchecked):
            click.echo(line, err=True)
    finish(130 if stopped else 1 if sent.refused else 0)
