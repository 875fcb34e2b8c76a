"""Where facts are stated: the pane rows of a partition, under labels as they are counted."""

from typing import NamedTuple

from streams.engagement import Measured, PaneRows, Places
from streams.labels import Labels
from streams.panes import Pane, pane_start
from streams.sites import Sites

FINE, QUARTERS, DAYS_ONLY = 0, 1, 2
"""How late an event is: counted everywhere; not in minute panes; only in day panes."""


class Ledger:
    """States and withdraws facts."""

    def __init__(self, sites: Sites) -> None:
        self.sites = sites
        self.labels = Labels(sites)
        self.rows = PaneRows(sites)

    def state(self, site: str, at: int, level: int, labels: tuple[str | None, ...], fact: object, withdraw: bool = False) -> None:
        """State (or withdraw) a fact in the pane of an instant; one that was too late for minute panes in its day only, one too late for its
        quarter hour nowhere."""
        kind = type(fact)
        places = self.rows.fine[kind]
        size = places.finest
        if level != FINE and size is Pane.MINUTE:
            places, size = self.rows.days[kind], Pane.DAY
        elif level == DAYS_ONLY and size is Pane.QUARTER_HOUR:
            return
        pane = pane_start(at, size, self.sites[site].zone)
        (places.withdraw if withdraw else places.state)(self.labels.sets[places.names, site, labels], pane, fact)


class Statement(NamedTuple):
    """What is stated in one pane: where, and what it adds."""

    places: Places
    key: tuple[str, ...]
    pane: int
    measured: Measured


def restate(before: list[Statement], after: list[Statement]) -> None:
    """Withdraw what was stated and state what holds now."""
    if len(before) == len(after):
        for old, new in zip(before, after, strict=True):
            if old.key == new.key and old.pane == new.pane:
                if old.measured != new.measured:
                    old.places.move(old.key, old.pane, old.measured, new.measured)
            else:
                old.places.take(old.key, old.pane, old.measured)
                new.places.put(new.key, new.pane, new.measured)
        return
    for old in before:
        old.places.take(old.key, old.pane, old.measured)
    for new in after:
        new.places.put(new.key, new.pane, new.measured)
