"""A measure over time, drawn in the characters of a terminal."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from streams.events import millis

WIDTH, HEIGHT = 60, 5
_BLOCKS: Final = " ▁▂▃▄▅▆▇█"


def chart(values: Sequence[float | None], line: float | None, *, from_zero: bool) -> list[tuple[float, str]]:
    """The values as columns, with a dotted line across at `line`: rows from the top, each with the value at its upper edge."""
    known = [value for value in values if value is not None] + ([] if line is None else [line])
    if not known:
        return []
    low, high = (min(0.0, *known) if from_zero else min(known)), max(known)
    if not from_zero:
        low -= (high - low) / 4  # so that the least is seen
    scale = HEIGHT * 8 / (high - low if high - low > 1e-9 else 1.0)
    levels = [None if value is None else max(1, round((value - low) * scale)) for value in values]
    line_row = None if line is None else max(0, min(HEIGHT - 1, HEIGHT - 1 - int((line - low) * scale / 8 - 1e-9)))
    rows = []
    for row in range(HEIGHT):
        floor = (HEIGHT - 1 - row) * 8
        empty = "┈" if row == line_row else " "
        text = "".join(empty if level is None or level <= floor else _BLOCKS[min(8, level - floor)] for level in levels)
        edge = line if row == line_row and line is not None else low + (floor + 8) / scale
        rows.append((edge, text))
    return rows


def columns(points: Sequence[tuple[int, float | int | None]], width: int = WIDTH) -> list[tuple[int, float | None]]:
    """The points in at most so many columns: (when the first of each was taken, their mean)."""
    per = -(-len(points) // width) or 1
    found: list[tuple[int, float | None]] = []
    for begin in range(0, len(points), per):
        some = [value for _, value in points[begin : begin + per] if value is not None]
        found.append((points[begin][0], sum(some) / len(some) if some else None))
    return found


def column_of(found: Sequence[tuple[int, float | None]], at: datetime) -> int:
    """The column in which an instant lies."""
    return max((number for number, (begin, _) in enumerate(found) if begin <= millis(at)), default=0)
