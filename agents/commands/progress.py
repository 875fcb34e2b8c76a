"""A bar for what takes long."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from agents.replay import OnProgress


@contextmanager
def progress() -> Iterator[OnProgress]:
    """A bar on standard error where that is a terminal that can move its cursor, nothing elsewhere."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.fields[lines]:,} events"), BarColumn(), TextColumn("{task.percentage:>3.0f} %"), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal or console.is_dumb_terminal) as bar:
        task = bar.add_task("replay", total=None, lines=0)

        def show(lines: int, share: float | None) -> None:
            known: dict[str, Any] = {} if share is None else {"total": 1.0, "completed": share}
            bar.update(task, lines=lines, **known)

        yield show
