"""When a number is unusual: detectors for counts (counts.py) and for shares (ratios.py), one setting for all series.

A detector is a state, a value that lies in the atomic table, and `advance`, which judges one pane and then learns from it.
Time is data: nothing happens between panes, and the same panes give the same findings. docs/detection.md says what they catch.
"""

from math import exp, log
from typing import Literal, NamedTuple

Sensitivity = Literal["sensitive", "balanced", "strict"]


class Finding(NamedTuple):
    """What a detector says of a series after a pane. Instants and lengths in ms of event time."""

    state: Literal["learning", "normal", "firing"]
    """`learning`: too young to say anything. `firing`: an incident is open; it stays so over short lulls."""
    statistic: float
    threshold: float
    """An incident opens where statistic ≥ threshold; both of the rule that is nearest to it, or open."""
    rule: Literal["rare", "big", "drop", "evidence"] | None
    """None: nothing could be judged."""
    value: float
    """The count of the window, or the share since the evidence began to rise."""
    usual: float
    """What the count should have been, or the highest share that still counts as usual."""
    n: int
    """The count, or how many outcomes `value` is a share of."""
    window: int
    since: int | None
    """When the incident opened: the same through re-openings."""
    learning_until: int | None
    note: str = ""
    """Said once, where a lasting level was accepted: `new level x9.7 accepted`."""

    @property
    def score(self) -> float:
        """How far beyond the usual, to be compared within an incident: statistic ÷ threshold, which opens it at 1.

        Of a share its distance from the usual one: evidence goes on growing while nothing gets worse.
        """
        return self.value - self.usual if self.rule == "evidence" else self.statistic / self.threshold


UNJUDGED = Finding("learning", 0.0, 1.0, None, 0.0, 0.0, 0, 0, None, None)


def decay(elapsed: float, half_life: float) -> float:
    """What is left of a weight."""
    return exp(-log(2) * elapsed / half_life)
