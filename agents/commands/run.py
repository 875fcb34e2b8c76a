"""`engage run`."""

from dataclasses import replace
from pathlib import Path

import click

from agents.commands.base import DURATION, Number, Whole, examples, finish, read_settings
from agents.commands.simulate import INCIDENT
from simulator.incidents import Incident


@click.command(
    epilog=examples(
        "engage run",
        "engage run --rate 500 --seed 7",
        "engage run --duration 60",
        "engage run --incident payment_failure@1m+3m",
        "engage run --replay events.jsonl",
    )
)
@click.option("--rate", type=Number(0.1, 20_000), default=50.0, show_default=True, help="Events per second.")
@click.option("--seed", type=Whole(0), default=1, show_default=True, help="Another seed makes another shop day.")
@click.option("--duration", type=DURATION, envvar="DURATION", show_envvar=True, help="End by itself after so long: 150s, 5m; a number alone is seconds.")
@click.option("--incident", "incidents", type=INCIDENT, multiple=True, help="What happens to the shop (default: a feedback storm); see `engage simulate`.")
@click.option("--replay", "file", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Play this file of events instead of made-up ones.")
def run(rate: float, seed: int, duration: int | None, incidents: tuple[Incident, ...], file: Path | None) -> None:
    """Try everything on one screen: broker, worker, a made-up shop, and a storm of bad reviews that becomes an alert and is called off.

    The broker is embedded: nothing is kept after it stops. 26 hours of the shop's past are played first, its last minutes six times faster than
    the clock. Ends with Ctrl-C or --duration; the last line is one JSON object with the accounting. The exit code is 0 only if every event that
    was produced was received and accounted for, and (from 145 seconds on) the storm was told of and called off.
    """
    from agents.alerting import Alerting
    from agents.files import read_keys, read_plans, read_sites
    from agents.run import Options, run_demo

    settings = read_settings()
    Alerting(settings, read_sites(settings), list)  # what is wrong with files is said now, not by the worker and the collector
    read_plans(settings)
    if settings.collector_keys is not None:
        read_keys(settings)
    options = Options(rate=rate, seed=seed, duration=None if duration is None else duration / 1000, file=file)
    finish(run_demo(settings, replace(options, incidents=incidents) if incidents else options))
