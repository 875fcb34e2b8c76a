"""`engage tail`."""

from contextlib import suppress
from typing import Final

import click

from agents.commands.base import DURATION, Parsed, Whole, ask, examples, json_option, need, read_settings
from streams.events import TYPES
from streams.topics import EVENT_TOPICS


def _subject(text: str) -> str:
    if ":" not in text:
        raise ValueError(f"{text!r} names no subject: write its kind before it, c:{text} for a customer, v:{text} for a visitor.")
    return text


TYPE: Final = Parsed("TYPE", lambda text: need(text, TYPES, "type"))
SUBJECT: Final = Parsed("SUBJECT", _subject)


@click.command(
    epilog=examples(
        "engage tail",
        "engage tail --site shop --type order_completed",
        "engage tail --last 20 --no-follow",
        "engage tail --from-start --json --for 10s > events.jsonl",
        "engage tail --failed --last 5",
    )
)
@click.option("--from-start", is_flag=True, help="Begin with the oldest events that are kept.")
@click.option("--last", type=Whole(1, 100_000), metavar="N", help="Begin with the N newest events.")
@click.option("--site", help="Only of this site.")
@click.option("--type", "name", type=TYPE, help="Only of this type.")
@click.option("--subject", type=SUBJECT, help="Only about this subject, for instance c:42 or v:9f3.")
@click.option("--failed", "of_failed", is_flag=True, help="What was not counted and why, instead of what came.")
@click.option("--limit", type=Whole(1), metavar="N", help="End after N lines.")
@click.option("--for", "duration", type=DURATION, help="End after a time: 10s, 5m, 1h.")
@click.option("--no-follow", is_flag=True, help="End where the topics end now.")
@json_option("Print one JSON object per line.")
def tail(
    from_start: bool, last: int | None, site: str | None, name: str | None, subject: str | None, of_failed: bool, limit: int | None, duration: int | None,
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
        ask(show(lines, as_json=as_json, limit=limit, seconds=None if duration is None else duration / 1000))
