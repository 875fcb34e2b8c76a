"""`engage doctor`."""

import os
from typing import TYPE_CHECKING, Final

import click

from agents.commands.base import ask, examples, finish, json_option, print_json

if TYPE_CHECKING:
    from agents.doctor import Check


WIDEST: Final = len("alertmanager")


@click.command(epilog=examples("engage doctor", "engage doctor --json", "ENGAGE_BROKER=kafka-1:9092 engage doctor"))
@json_option()
def doctor(as_json: bool) -> None:
    """Look at everything an installation needs, and say what to do about the rest.

    Versions, settings, sites and rules files, broker, topics, clocks, workers and their lag. Nothing is written anywhere. Exit code 1 if there is
    something to do, 2 if settings cannot be used or the broker cannot be reached.
    """
    from agents.doctor import examine, exit_code

    async def look() -> "list[Check]":
        checks = []
        async for check in examine(os.environ):
            checks.append(check)
            if not as_json:
                _say(check)
        return checks

    checks = ask(look())
    code = exit_code(checks)
    if as_json:
        print_json({"exit_code": code, "checks": [check.fields() for check in checks]})
    elif not code:
        click.echo("All is well.")
    finish(code)


def _say(check: "Check") -> None:
    colour = {"ok": "green", "warn": "yellow", "fail": "red"}[check.status]
    below = "\n" + " " * (4 + 2 + WIDEST + 2)
    click.echo(f"{click.style(f'{check.status:<4}', fg=colour, bold=True)}  {check.name:<{WIDEST}}  {below.join(check.found.splitlines())}")
    if check.remedy:
        click.echo(f"{below[1:]}→ {check.remedy}")
