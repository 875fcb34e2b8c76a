"""`engage simulate`."""

import json
from collections.abc import Sequence
from typing import Any, Final

import click

from agents.commands.base import DURATION, Number, Parsed, Whole, ask, examples, read_settings
from simulator.incidents import KINDS, parse_incident
from simulator.sites import BUSINESSES

INCIDENT: Final = Parsed("KIND@START+LENGTH[*STRENGTH]", parse_incident)


@click.command(
    epilog=examples(
        "engage simulate",
        "engage simulate --rate 200 --incident feedback_storm@45s+60s --incident payment_failure@2m+3m*2",
        "engage simulate --history 0 --duration 10m --sites shop",
    )
)
@click.option("--rate", type=Number(0.1, 20_000), default=50.0, show_default=True, help="Events per second at the start.")
@click.option("--seed", type=Whole(0), default=1, show_default=True, help="Another seed makes other people.")
@click.option("--history", type=DURATION, default="26h", show_default=True, help="So much of the past first, at a lower rate; 0 for none.")
@click.option("--incident", "incidents", type=INCIDENT, multiple=True, help=f"May be given several times. Kinds: {', '.join(KINDS)}.")
@click.option("--duration", type=DURATION, help="End by itself so long after the start (default: with Ctrl-C).")
@click.option("--sites", default=",".join(business.site for business in BUSINESSES), show_default=True, metavar="NAME,…", help="Incidents happen at the first.")
def simulate(rate: float, seed: int, history: int, incidents: Sequence[Any], duration: int | None, sites: str) -> None:
    """Publish the events of made-up businesses: an outdoor shop and an office tool.

    Their past comes first, as fast as it goes, then their present by the clock. Progress is on standard error; the last line of
    standard output is one JSON object: what was sent, by what should become of it.
    """
    from agents.simulate import simulate_until, wall_clock
    from simulator.shop import Shop

    try:
        shop = Shop(seed, wall_clock(), rate=rate, sites=sites.split(","), history=history, incidents=incidents)
    except ValueError as error:
        raise click.UsageError(f"{str(error)[:1].upper()}{str(error)[1:]}.") from None
    tally = ask(simulate_until(read_settings(), shop, duration, lambda line: click.echo(line, err=True)))
    click.echo(json.dumps(tally.as_json()))
