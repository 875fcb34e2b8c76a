"""`engage failed`."""

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import click

from agents.commands.base import Parsed, Whole, ask, examples, finish, json_option, need, print_json, read_settings
from streams.events import Reason
from streams.topics import EVENT_TOPICS

if TYPE_CHECKING:
    from agents.failed import Plan


REASON: Final = Parsed("REASON", lambda text: need(text, [*Reason], "reason"))


@click.group(epilog=examples("engage failed list", "engage failed show --reason unknown_field", "engage failed replay --reason unknown_field"))
def failed() -> None:
    """Events that were not counted: how many and why, in full, and once more."""


def _selection(command: Callable[..., None]) -> Callable[..., None]:
    """The options that say which failed events a command is about."""
    command = click.option("--site", help="Only of this site, as far as it can be read.")(command)
    command = click.option("--topic", type=click.Choice((*EVENT_TOPICS, "collector")), help="Only those that came on this topic, or by HTTP.")(command)
    return click.option("--reason", type=REASON, help="Only with this reason; `engage failed list` names those there are.")(command)


@failed.command("list", epilog=examples("engage failed list", "engage failed list --topic website --json"))
@_selection
@json_option()
def list_(reason: str | None, topic: str | None, site: str | None, as_json: bool) -> None:
    """Count failed events by reason, topic and site, with the first and last receipt (UTC)."""
    from agents.failed import Selection, count_failed, table

    groups = ask(count_failed(read_settings(), Selection(reason, topic, site)))
    if as_json:
        print_json({"total": sum(group.events for group in groups), "groups": [group.fields() for group in groups]})
    else:
        click.echo("\n".join(table(groups)) if groups else "No failed events.")


@failed.command(epilog=examples("engage failed show 3:17", "engage failed show --reason bad_time --limit 3", "engage failed show 3:17 --json"))
@click.argument("places", metavar="[OFFSET]...", nargs=-1)
@_selection
@click.option("--limit", type=Whole(1, 10_000), default=10, show_default=True, help="At most so many, the newest.")
@json_option("Print a JSON array; bytes that are no text as base64.")
def show(places: tuple[str, ...], reason: str | None, topic: str | None, site: str | None, limit: int, as_json: bool) -> None:
    """Print failed events in full: why they failed, where they came from, their headers and bytes.

    OFFSET is PARTITION:OFFSET on the topic `failed` as `engage failed show` and `engage tail --failed` name it, or an offset alone in any partition.
    Exit code 1 if none is found.
    """
    from agents.failed import Selection, failure_fields, failure_text, newest_failed

    selection = Selection(reason, topic, site, {_place(place) for place in places})
    failures = ask(newest_failed(read_settings(), selection, limit))
    if as_json:
        print_json([failure_fields(failure) for failure in failures])
    else:
        click.echo("\n\n".join(map(failure_text, failures)) if failures else "No such failed event.")
    finish(0 if failures else 1)


def _place(text: str) -> tuple[int | None, int]:
    partition, colon, offset = text.rpartition(":")
    if not offset.isdecimal() or (colon and not partition.isdecimal()):
        raise click.UsageError(f"{text!r} is no place; write PARTITION:OFFSET, for instance 3:17.")
    return int(partition) if colon else None, int(offset)


@failed.command(epilog=examples("engage failed replay --reason unknown_field", "engage failed replay --reason wrong_topic --fix topic --yes"))
@_selection
@click.option("--fix", type=click.Choice(["none", "topic"]), default="none", show_default=True, help="`topic`: send to the topic of its type, by its own key.")
@click.option("--unchecked", is_flag=True, help="Also those that would fail again.")
@click.option("--yes", is_flag=True, help="Send without asking.")
@json_option("Print a JSON object; sends only with --yes.")
def replay(reason: str | None, topic: str | None, site: str | None, fix: str, unchecked: bool, yes: bool, as_json: bool) -> None:
    """Publish failed events once more: the original bytes, key and headers, to the topic they came on.

    What the collector refused is translated once more, with the tracking plan of today. Each is checked first, and the receipt goes with it. Counts
    and asks before it sends; without a terminal, and without --yes, it only counts. An event that is replayed twice is counted once. Exit code 1 if
    some would fail again.
    """
    from agents.failed import Selection, replay_failed
    from agents.files import read_plans

    def agreed(plan: "Plan", number: int) -> bool:
        if not as_json:
            again = "".join(f", {number} would fail again: {why}" for why, number in sorted(plan.refused.items()))
            click.echo(f"{plan.selected} selected, {plan.healed} would be accepted now{again}.")
        if plan.unplanned:
            unset = "ENGAGE_COLLECTOR_PLAN is not set here"
            click.echo(f"{unset}: {plan.unplanned} that came by HTTP are judged without a tracking plan. Set it to the collector's.", err=True)
        asked = number > 0 and not yes and not as_json and sys.stdin.isatty()
        return click.confirm(f"Publish {number} once more?") if asked else yes and number > 0

    if reason is None and topic is None and site is None:
        raise click.UsageError("Say which: --reason, --topic or --site.")
    settings = read_settings()
    selection, plans = Selection(reason, topic, site), read_plans(settings)
    plan, sent = ask(replay_failed(settings, selection, fix=fix, plans=plans, unchecked=unchecked, agreed=agreed))
    if as_json:
        print_json(plan._asdict() | {"sent": sent or 0})
    elif sent is not None:
        click.echo(f"{sent} published once more. They stay on the topic `failed` until it forgets them; replaying them again counts nothing twice.")
    else:
        click.echo("Nothing was sent.")
    finish(1 if plan.refused else 0)
