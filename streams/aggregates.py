"""Aggregates: what a measure keeps per pane, and how its value is read from the sum of panes.

An aggregate keeps *slots*. A slot is an integer, or a histogram (bucket → count). Both are groups under addition: a fact
can be withdrawn exactly, panes and partitions add up in any order, and a window is the sum of its panes. Sums are of
integers only (cents, milliseconds, ten-thousandths), because sums of floats depend on their order.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, TypeVar

F = TypeVar("F")
Cell = list[Any]
"""The slots of one fact type for one label set and pane: int, or dict[int, int] for a histogram."""


@dataclass(frozen=True)
class Slot(Generic[F]):
    """One number that is kept: the sum of `of(fact)`, or the histogram of its buckets."""

    of: Callable[[F], int] | None
    """None counts facts."""
    histogram: bool = False


class Result(NamedTuple):
    """What a measure says: `value` is None when there is nothing to divide by; `low` and `high` bound ratios."""

    value: float | int | None
    n: int
    low: float | None = None
    high: float | None = None
    numerator: int | None = None


def wilson(hits: int, n: int, z: float = 1.96) -> tuple[float, float]:
    """Wilson score interval of a share (Wilson 1927): bounds in 0–1 at `z` standard deviations; n ≥ 1."""
    share = hits / n
    spread = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    middle = share + z * z / (2 * n)
    # Rounding must not move a bound past the share itself (0 of n, n of n).
    return min(share, max(0.0, (middle - spread) / scale)), max(share, min(1.0, (middle + spread) / scale))


def ratio(top: int, n: int) -> Result:
    """`top` over `n`; nothing without an n. Wilson bounds at 95 % where it is a share of n, none where it is not."""
    if n <= 0:
        return Result(None, 0, numerator=top)
    low, high = wilson(top, n) if 0 <= top <= n else (None, None)
    return Result(top / n, n, low, high, numerator=top)


MANTISSA_BITS = 7
"""Buckets keep the 7 leading bits of a value: exact below 128, at most 1.6 % wide above (as in HdrHistogram)."""


def bucket_of(value: int) -> int:
    """Bucket of a non-negative integer; buckets are ordered as the values are."""
    shift = value.bit_length() - MANTISSA_BITS
    return value if shift <= 0 else (shift << (MANTISSA_BITS - 1)) + (value >> shift)


def bucket_edge(bucket: int) -> int:
    """Upper edge of a bucket: the largest value it holds."""
    shift = (bucket >> (MANTISSA_BITS - 1)) - 1
    return bucket if shift <= 0 else ((bucket - (shift << (MANTISSA_BITS - 1)) + 1) << shift) - 1


def quantile(histogram: dict[int, int], q: float) -> int | None:
    """Nearest rank: the upper edge of the bucket that holds the ⌈q·n⌉-th value; None without values."""
    n = sum(histogram.values())
    rank = max(1, math.ceil(q * n))
    for bucket in sorted(histogram):
        rank -= histogram[bucket]
        if rank <= 0:
            return bucket_edge(bucket)
    return None


@dataclass(frozen=True)
class Count(Generic[F]):
    """Number of facts, or of those where a condition holds."""

    fact: type[F]
    where: Callable[[F], bool] | None = None

    def slots(self) -> tuple[Slot[F], ...]:
        return (Slot(self.where),)

    def result(self, slots: Sequence[Any], whole: Sequence[Any]) -> Result:
        return Result(slots[0], slots[0])


@dataclass(frozen=True)
class Share(Generic[F]):
    """Share of facts where `where` holds, among all or among those where `among` holds; Wilson bounds at 95 %."""

    fact: type[F]
    where: Callable[[F], bool]
    among: Callable[[F], bool] | None = None

    def slots(self) -> tuple[Slot[F], ...]:
        return (Slot(self.among), Slot(self.where))

    def result(self, slots: Sequence[Any], whole: Sequence[Any]) -> Result:
        n, hits = slots
        return ratio(hits, n)


@dataclass(frozen=True)
class Mean(Generic[F]):
    """Mean of an integer over facts, divided by `scale` (the unit in which the integer counts)."""

    fact: type[F]
    of: Callable[[F], int]
    scale: int = 1
    among: Callable[[F], bool] | None = None

    def slots(self) -> tuple[Slot[F], ...]:
        return (Slot(self.among), Slot(self.of))

    def result(self, slots: Sequence[Any], whole: Sequence[Any]) -> Result:
        n, total = slots
        return Result(total / (n * self.scale) if n > 0 else None, n)


@dataclass(frozen=True)
class Quantile(Generic[F]):
    """Quantile `q` of a non-negative integer over facts, divided by `scale`; within 2 % of the exact one."""

    fact: type[F]
    of: Callable[[F], int]
    q: float
    scale: int = 1

    def slots(self) -> tuple[Slot[F], ...]:
        return (Slot(self.of, histogram=True),)

    def result(self, slots: Sequence[Any], whole: Sequence[Any]) -> Result:
        histogram = slots[0]
        value = quantile(histogram, self.q)
        return Result(None if value is None else value / self.scale, sum(histogram.values()))


@dataclass(frozen=True)
class Portion(Generic[F]):
    """This label's share of the facts of all labels of the same grouping (share of voice); Wilson bounds at 95 %."""

    fact: type[F]
    among: Callable[[F], bool] | None = None

    def slots(self) -> tuple[Slot[F], ...]:
        return (Slot(self.among),)

    def result(self, slots: Sequence[Any], whole: Sequence[Any]) -> Result:
        return ratio(slots[0], whole[0])


@dataclass(frozen=True)
class Sum(Generic[F]):
    """Sum of an integer over facts, divided by `scale`; n is the number of facts. Without a scale it is a count: 0 without facts."""

    fact: type[F]
    of: Callable[[F], int]
    scale: int = 1
    among: Callable[[F], bool] | None = None

    def slots(self) -> tuple[Slot[F], ...]:
        return (Slot(self.among), Slot(self.of))

    def result(self, slots: Sequence[Any], whole: Sequence[Any]) -> Result:
        n, total = slots
        if self.scale == 1:
            return Result(total, n)
        return Result(total / self.scale if n > 0 else None, n)


@dataclass(frozen=True)
class Ratio(Generic[F]):
    """One sum of integers over another; n is the lower one. It may exceed 1: Wilson bounds at 95 % only where it is a share of n."""

    fact: type[F]
    top: Callable[[F], int]
    bottom: Callable[[F], int]

    def slots(self) -> tuple[Slot[F], ...]:
        return (Slot(self.top), Slot(self.bottom))

    def result(self, slots: Sequence[Any], whole: Sequence[Any]) -> Result:
        top, n = slots
        return ratio(top, n)


@dataclass(frozen=True)
class Either(Generic[F]):
    """What `first` says where any fact is `given`, else what `otherwise` says: for what one partition alone cannot know."""

    fact: type[F]
    given: Callable[[F], bool]
    first: "Share[F] | Sum[F]"
    otherwise: "Share[F] | Sum[F]"

    def slots(self) -> tuple[Slot[F], ...]:
        return (Slot(self.given), *self.first.slots(), *self.otherwise.slots())

    def result(self, slots: Sequence[Any], whole: Sequence[Any]) -> Result:
        split = 1 + len(self.first.slots())
        if slots[0] > 0:
            return self.first.result(slots[1:split], whole[1:split])
        return self.otherwise.result(slots[split:], whole[split:])


Aggregate = Count[Any] | Share[Any] | Mean[Any] | Quantile[Any] | Portion[Any] | Sum[Any] | Ratio[Any] | Either[Any]


def copy_cell(cell: Sequence[Any]) -> Cell:
    return [dict(value) if type(value) is dict else value for value in cell]


def is_empty(cell: Sequence[Any]) -> bool:
    """Whether every slot is zero: nothing is counted any more."""
    return not any(cell)
