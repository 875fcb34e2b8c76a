"""The command `engage`. All its commands are listed here; agents/commands has what each takes and says, agents what it does."""

import io
import sys
from importlib.metadata import version
from typing import Final

import click

from agents.commands.base import Commands, examples
from agents.commands.collector import collector
from agents.commands.doctor import doctor
from agents.commands.events import events
from agents.commands.failed import failed
from agents.commands.keys import keys
from agents.commands.kpis import kpis
from agents.commands.replay import replay
from agents.commands.rules import rules
from agents.commands.run import run
from agents.commands.send import send
from agents.commands.sentiment import sentiment
from agents.commands.simulate import simulate
from agents.commands.tail import tail
from agents.commands.topics import topics
from agents.commands.worker import worker

COMMANDS: Final = (run, worker, collector, keys, topics, doctor, send, simulate, replay, tail, failed, kpis, rules, sentiment, events)


@click.group(
    cls=Commands,
    commands=COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog=examples("engage run", "engage topics check", "engage doctor", "engage tail --site shop"),
)
@click.version_option(version("engagement-monitor"), prog_name="engage")
def cli() -> None:
    """Customer engagement, measured while it happens.

    Settings are ENGAGE_* environment variables. Exit codes: 0 ok, 1 findings, 2 usage, settings, files or an unreachable broker, 130 stopped
    by Ctrl-C before the work was done.
    """


def main() -> None:
    """Entry point of the command `engage`."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a sign that the terminal does not have is no reason to end
    cli(prog_name="engage")


if __name__ == "__main__":
    main()
