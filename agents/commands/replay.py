"""`engage replay`."""

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import click
from msgspec.structs import replace as changed

from agents.commands.base import Number, Parsed, Stopped, Whole, ask, examples, finish, read_settings
from agents.settings import BROKERS

if TYPE_CHECKING:
    from agents.settings import Settings

NO_BROKER = "none"


def _broker(text: str) -> str:
    try:
        return text if text == NO_BROKER else BROKERS.read(text)
    except ValueError:
        raise ValueError(f"{text!r} is no broker; allowed: none, {BROKERS.allowed}.") from None


BROKER: Final = Parsed("none|ADDRESS", _broker)


@click.command(
    epilog=examples(
        "engage replay events.jsonl",
        "engage replay --broker none --readings readings.jsonl march.jsonl.gz",
        "engage replay --speed 60 --rebase now events.jsonl",
    )
)
@click.argument("files", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, readable=True, allow_dash=True))
@click.option(
    "--broker", type=BROKER, metavar="none|ADDRESS", help="`none` counts in this process; otherwise events go to Kafka (default: the settings' broker)."
)
@click.option("--readings", "out", type=click.Path(dir_okay=False, writable=True), metavar="OUT", help="Where `--broker none` writes readings (default: -).")
@click.option("--speed", type=Number(min=0, min_open=True), metavar="N", help="N times as fast as it once happened (default: as fast as possible).")
@click.option("--rebase", type=click.Choice(["now"]), help="Move all times so that the last event happens when it is published.")
@click.option("--partitions", type=Whole(1, 1024), default=8, show_default=True, help="Partitions of `--broker none`; must be those of the topics.")
def replay(files: tuple[str, ...], broker: str | None, out: str | None, speed: float | None, rebase: str | None, partitions: int) -> None:
    """Replay FILES of events (JSON lines, also .gz; `-` is standard input)."""
    from agents.replay import STDIN

    if rebase and STDIN in files:
        raise click.UsageError("--rebase reads its files twice, which standard input cannot do; save it to a file first.")
    settings = read_settings()
    if broker == NO_BROKER:
        if speed is not None:
            raise click.UsageError("--speed is for a broker; --broker none always counts as fast as it can.")
        finish(_count(settings, files, out or STDIN, partitions, rebase is not None))
    if out is not None:
        raise click.UsageError("--readings is written by --broker none; with a broker, readings are on the topic `readings`.")
    _publish(changed(settings, broker=broker) if broker else settings, files, speed, rebase is not None)


def _count(settings: "Settings", files: Sequence[str], out: str, partitions: int, rebase: bool) -> int:
    from agents.commands.progress import progress
    from agents.files import read_sites
    from agents.replay import STDIN, Lines, replay_here, shift_to_now
    from streams.replay import encode_reading

    if out != STDIN and os.path.exists(out) and any(os.path.samefile(file, out) for file in files if file != STDIN):
        raise click.UsageError(f"--readings would overwrite {out}, which is to be read; name another file.")
    sites = read_sites(settings)
    with click.open_file(out, "wb") as file:  # before the work: that it cannot be written is said now
        with progress() as show:
            running = replay_here(Lines(files), sites, partitions, shift_to_now(files) if rebase else 0, show)
        for reading in running.readings():
            file.write(encode_reading(reading))
    counts = running.accounting()
    click.echo("\n".join(f"{name} {number}" for name, number in counts.items()), err=True)
    return 0 if not counts["unaccounted"] else 1


def _publish(settings: "Settings", files: Sequence[str], speed: float | None, rebase: bool) -> None:
    from agents.commands.progress import progress
    from agents.replay import publish
    from streams.replay import TOPIC_ORDER

    published = 0

    def moved(lines: int, share: float | None) -> None:
        nonlocal published
        published = lines
        show(lines, share)

    try:
        with progress() as show:
            counts = ask(publish(settings, files, speed, rebase, moved))
    except KeyboardInterrupt:
        raise Stopped(
            f"Stopped: {published:,} lines were published, perhaps some more. The same command again counts nothing twice, unless it rebases."
        ) from None
    for topic in TOPIC_ORDER:
        click.echo(f"{topic} {counts.get(topic, 0)}", err=True)
