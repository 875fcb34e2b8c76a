"""`engage replay`."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click
from msgspec.structs import replace as changed

from agents.commands.base import examples, finish, read_settings

if TYPE_CHECKING:
    from agents.settings import Settings

NO_BROKER = "none"


@click.command(
    epilog=examples(
        "engage replay events.jsonl",
        "engage replay --broker none --readings readings.jsonl march.jsonl.gz",
        "engage replay --speed 60 --rebase now events.jsonl",
    )
)
@click.argument("files", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, readable=True, allow_dash=True))
@click.option("--broker", metavar="none|ADDRESS", help="`none` counts in this process; otherwise events go to Kafka (default: the settings' broker).")
@click.option("--readings", "out", type=click.Path(dir_okay=False, writable=True), metavar="OUT", help="Where `--broker none` writes readings (default: -).")
@click.option("--speed", type=click.FloatRange(min=0, min_open=True), metavar="N", help="N times as fast as it once happened (default: as fast as possible).")
@click.option("--rebase", type=click.Choice(["now"]), help="Move all times so that the last event happens when it is published.")
@click.option("--partitions", type=click.IntRange(1, 1024), default=8, show_default=True, help="Partitions of `--broker none`; must be those of the topics.")
def replay(files: tuple[str, ...], broker: str | None, out: str | None, speed: float | None, rebase: str | None, partitions: int) -> None:
    """Replay FILES of events (JSON lines, also .gz; `-` is standard input)."""
    from agents.admin import RefusedError, UnreachableError
    from agents.files import UNUSABLE
    from agents.replay import STDIN, ReplayError

    if rebase and STDIN in files:
        raise click.UsageError("--rebase reads its files twice, which standard input cannot do; save it to a file first.")
    try:
        settings = read_settings()
        if broker == NO_BROKER:
            if speed is not None:
                raise click.UsageError("--speed is for a broker; --broker none always counts as fast as it can.")
            finish(_count(settings, files, out or STDIN, partitions, rebase is not None))
        if out is not None:
            raise click.UsageError("--readings is written by --broker none; with a broker, readings are on the topic `readings`.")
        _publish(changed(settings, broker=broker) if broker else settings, files, speed, rebase is not None)
    except (ReplayError, UnreachableError, RefusedError, *UNUSABLE) as error:
        click.echo(f"engage replay: {str(error) or repr(error)}", err=True)
        finish(2 if isinstance(error, UNUSABLE) else 1)


def _count(settings: "Settings", files: Sequence[str], out: str, partitions: int, rebase: bool) -> int:
    from agents.commands.progress import progress
    from agents.files import read_sites
    from agents.replay import Lines, replay_here, shift_to_now
    from streams.replay import encode_reading

    sites = read_sites(settings)
    with progress() as show:
        running = replay_here(Lines(files), sites, partitions, shift_to_now(files) if rebase else 0, show)
    with click.open_file(out, "wb") as file:
        for reading in running.readings():
            file.write(encode_reading(reading))
    counts = running.accounting()
    click.echo("\n".join(f"{name} {number}" for name, number in counts.items()), err=True)
    return 0 if not counts["unaccounted"] else 1


def _publish(settings: "Settings", files: Sequence[str], speed: float | None, rebase: bool) -> None:
    import asyncio

    from agents.commands.progress import progress
    from agents.replay import publish
    from streams.replay import TOPIC_ORDER

    with progress() as show:
        counts = asyncio.run(publish(settings, files, speed, rebase, show))
    for topic in TOPIC_ORDER:
        click.echo(f"{topic} {counts.get(topic, 0)}", err=True)
