"""The series of rule tests: Prometheus' notation for what a measure counted, pane by pane, and the facts that stand behind it.

`12` is a count, `3/20` are 3 of 20, `4.5@20` are 20 values with the mean 4.5; `12x4` is 12 five times, `1+2x3` is 1 3 5 7, `(1 2)x3` is
1 2 1 2 1 2; `_` counts nothing, and at `stale` the clock of the site stands still. docs/rule-tests.md has the whole of it.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Final, Literal, NamedTuple

from streams.aggregates import Aggregate, Cell, Count, Either, Mean, Portion, Quantile, Ratio, Share, Sum, bucket_of
from streams.kpis import Kpi
from streams.rollups import FAMILY_OF

MOST: Final = 1_000_000
"""Samples of one series; two years of minutes."""

Kind = Literal["count", "share", "mean"]
SAMPLE: Final[dict[Kind, str]] = {
    "count": "a count such as 12",
    "share": "hits/n such as 3/20",
    "mean": "mean@n such as 4.5@20",
}
"""How a sample is written, by what the measure makes of it."""

_NUMBER = r"-?\d+(?:\.\d+)?"
_STEPS = re.compile(
    rf"(?P<word>_|stale)(?:x(?P<again>\d+))?|(?P<first>{_NUMBER}(?:[/@]{_NUMBER})?)(?P<step>[+-]\d+(?:\.\d+)?(?:[/@]{_NUMBER})?)?(?:x(?P<times>\d+))?"
)
_TOKENS = re.compile(r"\(|\)(?:x\d+)?|[^\s()]+")


class Sample(NamedTuple):
    """One value of a series: `amount`, and of how many (None: not said, because it is a count)."""

    amount: Decimal
    of: Decimal | None = None
    sign: str = ""
    """What stood between the two: / or @."""

    def moved(self, step: "Sample", times: int) -> "Sample":
        of = None if self.of is None else self.of + (step.of or 0) * times
        return Sample(self.amount + step.amount * times, of, self.sign)


Value = Sample | Literal["_", "stale"]
NO_SHAPES: Final[Mapping[str, Sequence[Value]]] = {}
SHAPE: Final = re.compile(r"(?!stale)[a-z][a-z0-9_-]*")
"""Names of shapes."""


def parse(text: str, shapes: Mapping[str, Sequence[Value]] = NO_SHAPES) -> list[Value]:
    """The values of a series, one per interval; a name stands for its shape. Raises ValueError with what is wrong."""
    open_groups: list[list[Value]] = [[]]
    for token in _TOKENS.findall(text):
        if token == "(":
            open_groups.append([])
        elif token.startswith(")"):
            if len(open_groups) == 1:
                raise ValueError(f"{token!r} closes a group that was not opened")
            group, times = open_groups.pop(), int(token[2:] or 1)
            _check_length(len(open_groups[-1]) + len(group) * times)
            open_groups[-1] += group * times
        elif token in shapes:
            _check_length(len(open_groups[-1]) + len(shapes[token]))
            open_groups[-1] += shapes[token]
        else:
            open_groups[-1] += _expand(token, MOST - len(open_groups[-1]))
    if len(open_groups) > 1:
        raise ValueError("a group is not closed: (1 2)x3")
    if not open_groups[0]:
        raise ValueError("there are no values")
    return open_groups[0]


def _expand(token: str, room: int) -> list[Value]:
    found = _STEPS.fullmatch(token)
    if found is None:
        raise ValueError(f"{token!r} is no value; write {', '.join(SAMPLE.values())}, _ or stale, steps as 1+2x3, groups as (1 2)x3")
    times = int(found["again"] or found["times"] or 0)
    _check_length(MOST - room + times + (not found["again"]))
    if found["word"]:
        word: Value = "_" if found["word"] == "_" else "stale"
        return [word] * (times if found["again"] else 1)
    first = _sample(found["first"])
    if found["step"] is None:
        return [first] * (times + 1)
    step = _sample(found["step"])
    if found["times"] is None:
        raise ValueError(f"{token!r} does not say how many steps: {token}x3")
    if step.sign != first.sign:
        raise ValueError(f"{token!r}: a step is written like the value, for instance 2/20+1/0x3")
    return [first.moved(step, number) for number in range(times + 1)]


def _sample(text: str) -> Sample:
    amount, sign, of = re.split(r"([/@])", text) if re.search("[/@]", text) else (text, "", "")
    return Sample(Decimal(amount), Decimal(of) if sign else None, sign)


def _check_length(length: int) -> None:
    if length > MOST:
        raise ValueError(f"more than {MOST:,} values")


# --- from values to facts ---------------------------------------------------------------------------------------------


def kind_of(value: Aggregate) -> Kind:
    """How the samples of a measure are written."""
    match value:
        case Share() | Ratio():
            return "share"
        case Mean() | Quantile():
            return "mean"
        case Either():
            return kind_of(value.first)
        case Sum(scale=scale) if scale != 1:
            return "mean"
        case _:
            return "count"


def check_sample(kpi: Kpi, sample: Sample) -> None:
    """Raises ValueError for a sample that no facts of this measure can make."""
    kind = kind_of(kpi.value)
    written = f"{sample.amount}{sample.sign}{'' if sample.of is None else sample.of}"
    n = sample.amount if kind == "count" else sample.of
    if {"count": "", "share": "/", "mean": "@"}[kind] != sample.sign or n is None:
        raise ValueError(f"{written!r} is no value of {kpi.name}; write {SAMPLE[kind]}")
    signed = kind == "count" and isinstance(kpi.value, Sum | Either)  # a sum may fall: followers lost
    if n != int(n) or (n < 0 and not signed):
        raise ValueError(f"{written!r}: {n} is no number of facts; write {SAMPLE[kind]}")
    if kind == "share":
        whole = not isinstance(kpi.value, Ratio)
        if sample.amount != int(sample.amount) or (whole and not 0 <= sample.amount <= n):
            raise ValueError(f"{written!r}: {sample.amount} is not a part of {n}; write {SAMPLE[kind]}")
    if isinstance(kpi.value, Quantile) and sample.amount < 0:
        raise ValueError(f"{written!r}: {kpi.name} is not negative")


def cells(kpi: Kpi, sample: Sample, parts: int) -> Iterator[tuple[int, Cell]]:
    """The facts behind a sample, spread evenly over `parts` panes: (number of the pane, what its facts add), panes without facts left out.

    All arithmetic is on integers, and the parts sum to the whole exactly. Hits follow their n, so no part has more hits than facts.
    """
    kind, value = kind_of(kpi.value), kpi.value
    amount = sample.amount
    n, total = int(amount if kind == "count" else sample.of or 0), int(amount)
    if kind == "mean":
        total = round(amount * (sample.of or 0) * getattr(value, "scale", 1))
    family = FAMILY_OF[kpi.name]
    for part in range(parts):
        before, after = n * part // parts, n * (part + 1) // parts
        if before != after:
            cell = family.empty()
            _put(cell, family.indices[kpi.name], value, after - before, total * after // n - total * before // n, amount)
            yield part, cell


def _put(cell: Cell, slots: Sequence[int], value: Aggregate, n: int, total: int, amount: Decimal) -> None:
    """Write into the slots of a measure what `n` facts with the sum `total` add."""
    match value:
        case Count() | Portion():
            cell[slots[0]] = n
        case Quantile(scale=scale):
            cell[slots[0]] = {bucket_of(round(amount * scale)): n}
        case Ratio():
            cell[slots[0]], cell[slots[1]] = total, n
        case Either(first=first):
            cell[slots[0]] = abs(n)
            _put(cell, slots[1:], first, n, total, amount)
        case _:
            cell[slots[0]], cell[slots[1]] = abs(n), total
