"""`engage keys`."""

import re
from pathlib import Path
from typing import Literal

import click
import msgspec

from agents.commands.base import Number, examples, json_option, print_json


@click.group(epilog=examples("engage keys create --site shop --file keys.yml", "engage keys create --site shop --kind server --file keys.yml"))
def keys() -> None:
    """Make keys for those who send events to the collector."""


@keys.command(
    epilog=examples(
        "engage keys create --site shop --origin https://shop.example --file keys.yml",
        "engage keys create --site shop --kind server --name shop-backend --file keys.yml",
    ),
)
@click.option("--site", required=True, help="The site it may send events of.")
@click.option(
    "--kind", type=click.Choice(["write", "server"]), default="write", show_default=True, help="`write` stands in a page, `server` is a secret of a server."
)
@click.option("--name", help="How logs and answers call it (default: site and kind).")
@click.option("--origin", "origins", multiple=True, help="Of a write key: a page it may be used from, for instance https://shop.example.")
@click.option("--rate", type=Number(0, min_open=True), help="Events per second (default: 100 for write keys, 10,000 for server keys).")
@click.option("--file", type=click.Path(dir_okay=False, path_type=Path), help="Keys file to add it to; made where there is none.")
@json_option()
def create(
    site: str, kind: Literal["write", "server"], name: str | None, origins: tuple[str, ...], rate: float | None, file: Path | None, as_json: bool
) -> None:
    """Make a key. A server key is shown once: the keys file holds only its hash.

    A running collector reads the file again when it gets SIGHUP.
    """
    from agents.files import write_key
    from collector.keys import create_key, entry_text

    default = re.sub(r"[^a-z0-9-]", "-", f"{site[:24]}-{kind}")
    key, text = create_key(name or default, kind, site, origins, rate)
    if file is not None:
        write_key(key, file)
    if as_json:
        entry = {field: value for field, value in msgspec.to_builtins(key).items() if value}
        print_json({"key": text, "entry": entry, "file": None if file is None else str(file)})
        return
    click.echo(text)
    if file is None:
        click.echo(f"Put this at the end of the keys file:\n{entry_text(key)}", err=True, nl=False)
    else:
        shown_once = "" if kind == "write" else " The file has only its hash: keep the key, it cannot be shown again."
        click.echo(f"{key.name} was added to {file}.{shown_once}", err=True)
