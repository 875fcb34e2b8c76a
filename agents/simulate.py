"""`engage simulate`: the made-up shops of `simulator/`, published to Kafka: first their past as fast as it goes, then their present by the clock."""

import asyncio
import json
import os
import signal
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any, Final

import click

from agents import admin
from agents.publishing import FlushFailedError, Publisher
from agents.settings import Settings, SettingsError
from simulator.faults import Sent, Tally
from simulator.incidents import KINDS, parse_duration, parse_incident
from simulator.shop import SITES, Shop
from streams.flow import Message
from streams.intake import RECEIPT_HEADER

AT_ONCE: Final = 1_000
MOST_BEHIND: Final = 3_000
"""Records the worker may have before it: what is on its way fits the 5 MiB that the embedded broker keeps of a partition."""
JUST_NOW: Final = 2_000
"""What was due so long ago (ms) is of the past."""
PACE_SECONDS: Final = 0.02
LOOK_SECONDS: Final = 0.05
LINE_SECONDS: Final = 5.0

Behind = Callable[[], Awaitable[int]]
"""How many of the records published so far the worker has not applied yet."""
OnProgress = Callable[[Sent], None]
"""Called with the last record of every block that was acknowledged."""


class SimulateError(RuntimeError):
    """The broker cannot be used; the text says what to do."""


def wall_clock() -> int:
    """Epoch milliseconds."""
    return int(time.time() * 1000)


async def simulate(
    settings: Settings,
    shop: Shop,
    *,
    stop: asyncio.Event,
    behind: Behind | None = None,
    on_progress: OnProgress = lambda _: None,
    clock: Callable[[], int] = wall_clock,
) -> Tally:
    """Publish what the shop sends until `stop` is set; returns what was sent. All of it is acknowledged by then.

    `clock` is the time (ms) in the shop: what is due by it is sent. Records of the past carry their receipt in a header, so
    nothing in them is clamped. With `behind` no more is sent while the worker is more than `MOST_BEHIND` records behind.
    Raises SimulateError, or what `agents.admin` says about the broker.
    """
    if findings := [finding for finding in await admin.check_topics(settings) if finding.fatal]:
        raise SimulateError(f"{findings[0]} `engage topics create` makes the topics.")
    failures: list[BaseException] = []
    publisher = Publisher(settings.client_kwargs(), settings.topic_prefix, on_failure=failures.append)
    await publisher.start()
    try:
        while not stop.is_set():
            block = shop.take(clock(), AT_ONCE)
            if block:
                past = wall_clock() - JUST_NOW
                await publisher.send_and_wait(_message(sent, sent.due < past) for sent in block)
                on_progress(block[-1])
            if len(block) < AT_ONCE:
                await _wait(stop, PACE_SECONDS)
            while behind is not None and not stop.is_set() and await behind() > MOST_BEHIND:
                await _wait(stop, LOOK_SECONDS)
    except FlushFailedError as error:
        raise SimulateError(f"Kafka stopped taking events ({error}). About {shop.tally.sent} were sent; start again once it answers.") from error
    finally:
        await publisher.stop()
    return shop.tally


def _message(sent: Sent, past: bool) -> Message:
    return Message(sent.topic, sent.key.encode(), sent.value, ((RECEIPT_HEADER, b"%d" % sent.due),) if past else ())


async def _wait(stop: asyncio.Event, seconds: float) -> None:
    with suppress(TimeoutError):
        await asyncio.wait_for(stop.wait(), seconds)


# --- command ---------------------------------------------------------------------------------------------------------


class _Parsed(click.ParamType):
    """What a function makes of the text; its ValueError is the sentence of a usage error."""

    def __init__(self, name: str, parse: Callable[[str], Any]) -> None:
        self.name, self._parse = name, parse

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            return self._parse(value) if isinstance(value, str) else value
        except ValueError as error:
            self.fail(str(error), param, ctx)


DURATION: Final = _Parsed("TIME", parse_duration)
INCIDENT: Final = _Parsed("KIND@START+LENGTH[*STRENGTH]", parse_incident)
EPILOG: Final = """\b
Examples:
  engage simulate
  engage simulate --rate 200 --incident feedback_storm@45s+60s --incident payment_failure@2m+3m*2
  engage simulate --history 0 --duration 10m --sites shop
"""


@click.command("simulate", epilog=EPILOG)
@click.option("--rate", type=click.FloatRange(0.1, 20_000), default=50.0, show_default=True, help="Events per second at the start.")
@click.option("--seed", type=click.IntRange(0), default=1, show_default=True, help="Another seed makes other people.")
@click.option("--history", type=DURATION, default="26h", show_default=True, help="So much of the past first, at a lower rate; 0 for none.")
@click.option("--incident", "incidents", type=INCIDENT, multiple=True, help=f"May be given several times. Kinds: {', '.join(KINDS)}.")
@click.option("--duration", type=DURATION, help="End by itself so long after the start (default: with Ctrl-C).")
@click.option("--sites", default=",".join(SITES), show_default=True, metavar="NAME,…", help="Incidents happen at the first.")
def simulate_command(rate: float, seed: int, history: int, incidents: Sequence[Any], duration: int | None, sites: str) -> None:
    """Publish the events of made-up businesses: an outdoor shop and an office tool.

    Their past comes first, as fast as it goes, then their present by the clock. Progress is on standard error; the last line of
    standard output is one JSON object: what was sent, by what should become of it.
    """
    try:
        shop = Shop(seed, int(time.time() * 1000), rate=rate, sites=sites.split(","), history=history, incidents=incidents)
    except ValueError as error:
        raise click.UsageError(f"{str(error)[:1].upper()}{str(error)[1:]}.") from None
    try:
        tally = asyncio.run(_until_told(Settings.from_env(os.environ), shop, duration))
    except (SimulateError, SettingsError, admin.UnreachableError, admin.RefusedError) as error:
        click.echo(f"engage simulate: {str(error).removeprefix('UnreachableError: ')}", err=True)
        raise SystemExit(2) from None
    click.echo(json.dumps(tally.as_json()))


async def _until_told(settings: Settings, shop: Shop, duration: int | None) -> Tally:
    """Until Ctrl-C, SIGTERM, or the duration (ms) has passed."""
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    if duration is not None:
        loop.call_later(duration / 1000, stop.set)
    next_line = 0.0

    def show(last: Sent) -> None:
        nonlocal next_line
        if loop.time() >= next_line:
            next_line = loop.time() + LINE_SECONDS
            before = (shop.live - last.due) / 3_600_000
            click.echo(f"{shop.tally.sent:,} events sent, {f'{before:.1f} h before now' if before > 0 else 'live'}", err=True)

    return await simulate(settings, shop, stop=stop, on_progress=show)
