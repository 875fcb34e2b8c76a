"""Lengths of time as people write them: `45s`, `1h30m`, `7d`, `250ms`, `1.5h`."""

import re
from typing import Final

from streams.panes import DAY, HOUR, MINUTE, SECOND

YEAR: Final = 366 * DAY
_UNITS: Final = {"d": DAY, "h": HOUR, "m": MINUTE, "s": SECOND, "ms": 1}
_PART: Final = re.compile(r"(\d+(?:\.\d+)?)(ms|[smhd])")
_DURATION: Final = re.compile(rf"(?:{_PART.pattern})+")


def parse_duration(text: str, longest: int = 100 * YEAR) -> int:
    """Milliseconds of `45s`, `2m`, `26h`, `1h30m`, `0`; raises ValueError with an example, and for what is longer than `longest` (ms)."""
    if text == "0":
        return 0
    if not _DURATION.fullmatch(text):
        raise ValueError(f"{text!r} is no duration; write for example 45s, 2m, 1h30m or 3d.")
    length = sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(text))
    if length > longest:
        raise ValueError(f"{text!r} is longer than {longest // DAY} days.")
    return round(length)


def duration_name(length: int) -> str:
    """The shortest way to write a duration (ms)."""
    parts = []
    for unit, size in _UNITS.items():
        if length >= size:
            parts.append(f"{length // size}{unit}")
            length %= size
    return "".join(parts) or "0s"
