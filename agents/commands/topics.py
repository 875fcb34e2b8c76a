"""`engage topics`."""

import click

from agents.commands.base import ask, examples, finish, json_option, print_json, read_settings


@click.group(epilog=examples("engage topics create", "engage topics check --json"))
def topics() -> None:
    """Make the topics, or say what is wrong with them."""


@topics.command(epilog=examples("engage topics create", "ENGAGE_PARTITIONS=24 ENGAGE_REPLICATION=3 engage topics create"))
@json_option()
def create(as_json: bool) -> None:
    """Make the topics that are missing; those that exist are left as they are."""
    from agents.admin import create_topics

    settings = read_settings()
    made = ask(create_topics(settings))
    if as_json:
        print_json({"created": made, "partitions": settings.partitions})
    elif made:
        click.echo(f"Made {len(made)} topics with {settings.partitions} partitions each: {', '.join(made)}.")
    else:
        click.echo("All topics exist already.")


@topics.command(epilog=examples("engage topics check", "engage topics check --json"))
@json_option()
def check(as_json: bool) -> None:
    """Say what a worker would stumble over; exit code 1 if there is anything."""
    from agents.admin import check_topics

    findings = ask(check_topics(read_settings()))
    if as_json:
        print_json({"findings": [finding._asdict() for finding in findings]})
    else:
        for finding in findings:
            click.echo(f"{'fail' if finding.fatal else 'warn'}  {finding}")
        if not findings:
            click.echo("All topics are as they should be.")
    finish(1 if findings else 0)
