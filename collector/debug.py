"""The last events of a collector in development mode, good and bad, to look at from a test or a terminal."""

from collections import deque
from collections.abc import Iterable
from typing import Any, Final

import msgspec

from collector.translation import Accepted
from streams.events import Rejected

KEPT: Final = 500
"""Of each sort."""
RAW_LIMIT: Final = 4_000
"""Characters shown of a message that was rejected."""


class Recent:
    """What came last; counts are since the start or the last `reset`."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self.good: deque[dict[str, Any]] = deque(maxlen=KEPT)
        self.bad: deque[dict[str, Any]] = deque(maxlen=KEPT)
        self.totals = {"total": 0, "good": 0, "bad": 0}

    def note(self, wire: str, site: str, outcomes: Iterable[Accepted | Rejected]) -> None:
        for outcome in outcomes:
            if isinstance(outcome, Rejected):
                raw = outcome.raw.decode(errors="backslashreplace")[:RAW_LIMIT]
                self.bad.append({"wire": wire, "site": site, "reason": outcome.reason, "path": outcome.path, "detail": outcome.detail, "raw": raw})
            else:
                event = {"topic": outcome.topic, "key": outcome.key.decode(), "event": msgspec.Raw(outcome.value), "flags": outcome.flags}
                self.good.append({"wire": wire, "site": site} | event)
            self.totals["bad" if isinstance(outcome, Rejected) else "good"] += 1
            self.totals["total"] += 1

    def shown(self, which: str) -> Any:
        """`all`: how many; `good` and `bad`: the newest last. None for any other word."""
        match which:
            case "all":
                return self.totals
            case "good":
                return list(self.good)
            case "bad":
                return list(self.bad)
        return None
