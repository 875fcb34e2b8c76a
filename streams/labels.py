"""Label values as they are counted: closed or capped words instead of what producers send."""

from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import msgspec

from streams.rows import LABEL_ROW
from streams.sites import Sites, fits_template
from streams.sources import OTHER, UNKNOWN

LABELS_KEPT = 50
"""Values of a label per site and partition; later ones are `other`."""
CACHED = 50_000

V = TypeVar("V")


class Cache(dict[Any, V]):
    """What `find(*key)` says, remembered; forgotten all at once when it grows too large."""

    def __init__(self, find: Callable[..., V]) -> None:
        super().__init__()
        self._find = find

    def __missing__(self, key: Any) -> V:
        if len(self) >= CACHED:
            self.clear()
        value = self[key] = self._find(*key)
        return value


class Labels:
    """The values seen of each label, in order of arrival, and what follows from fields of events. Look-ups are dictionaries by tuple."""

    def __init__(self, sites: Sites) -> None:
        self._sites = sites
        self.values: dict[tuple[str, str], list[str]] = {}
        """By site and label."""
        self._changed: set[tuple[str, str]] = set()
        self._counted = Cache(self._count)
        self.contexts: Cache[tuple[str, str]] = Cache(lambda site, segment, channel: (self.of(site, "segment", segment), self.of(site, "channel", channel)))
        """(site, segment, channel) → segment and channel as they are counted."""
        self.sources: Cache[str] = Cache(lambda site, referrer, medium: sites[site].source_of(referrer, medium))
        """(site, referrer, medium) → source class of a page view."""
        self.pages: Cache[tuple[str, tuple[str, ...]]] = Cache(self._page)
        """(site, path) → route of a page, and the goals it offers."""
        self.sets: Cache[tuple[str, ...]] = Cache(
            lambda names, site, values: (site, *(self.of(site, name, value) for name, value in zip(names, values, strict=True)))
        )
        """(names, site, values) → site and values as they are counted."""

    def of(self, site: str, label: str, value: str | None) -> str:
        """`unknown` where missing, `other` beyond the first 50 of the site."""
        return UNKNOWN if not value or value == UNKNOWN else self._counted[site, label, value]

    def _count(self, site: str, label: str, value: str) -> str:
        values = self.values.setdefault((site, label), [])
        if value in values:
            return value
        if value == OTHER or len(values) >= LABELS_KEPT:
            return OTHER
        values.append(value)
        self._changed.add((site, label))
        return value

    def _page(self, site: str, path: str) -> tuple[str, tuple[str, ...]]:
        settings = self._sites[site]
        offered = tuple(name for name, goal in settings.goals.items() if goal.page is not None and fits_template(goal.page, path))
        return self.of(site, "route", settings.route_of(path)), offered

    def drain(self) -> Iterator[tuple[bytes, bytes]]:
        """State rows of the labels with values that are new since the last call."""
        for site, label in self._changed:
            yield LABEL_ROW + f"{site}/{label}".encode(), msgspec.msgpack.encode(self.values[site, label])
        self._changed.clear()

    def load(self, key: bytes, value: bytes) -> None:
        site, label = key[len(LABEL_ROW) :].decode().split("/")
        self.values[site, label] = msgspec.msgpack.decode(value)
