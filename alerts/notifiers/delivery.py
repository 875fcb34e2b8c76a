"""Carries the outboxes of the owned partitions to every notifier, and forgets an entry when each of them has it.

Every notifier has a loop of its own: one that is slow or away holds nobody up. At least once: after a crash an entry is told
again, with the same id.
"""

import asyncio
import logging
import random as randomness
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence

from alerts.evaluation import Alert
from alerts.notifiers import Notifier, Outcome, Random, Sleep, backoff
from alerts.watch import Entry, Watch

log = logging.getLogger(__name__)

LOOK_SECONDS = 0.5
GIVE_UP_SECONDS = 24 * 3600.0
"""How long an entry is tried by one process before it is given up, loudly."""


class Delivery:
    """`watches` gives the partitions that are owned now. `clock` is monotonic, in seconds."""

    def __init__(
        self,
        watches: Callable[[], Iterable[Watch]],
        notifiers: Sequence[Notifier],
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Sleep = asyncio.sleep,
        random: Random = randomness.random,
        give_up_seconds: float = GIVE_UP_SECONDS,
    ) -> None:
        if len({notifier.name for notifier in notifiers}) != len(notifiers) or not notifiers:
            raise ValueError(f"each notifier is named once, and there is at least one: {', '.join(notifier.name for notifier in notifiers) or 'none'}")
        self.sent: Counter[str] = Counter()
        """Transitions accepted, by notifier."""
        self.failed: Counter[tuple[str, str]] = Counter()
        """Transitions and repetitions not accepted, by notifier and reason; `expired`: given up."""
        self._watches = watches
        self._notifiers = tuple(notifiers)
        self._clock, self._sleep, self._random = clock, sleep, random
        self._give_up_seconds = give_up_seconds
        self._settled: dict[Entry, set[str]] = {}
        self._first_tried: dict[tuple[Entry, str], float] = {}
        self._failures: Counter[str] = Counter()
        """Rounds that failed in a row."""
        self._not_before: dict[str, float] = {}
        self._repeated: dict[str, float] = {}

    async def run(self) -> None:
        """Deliver until cancelled."""
        async with asyncio.TaskGroup() as group:
            for notifier in self._notifiers:
                group.create_task(self._keep_telling(notifier), name=f"tell {notifier.name}")

    async def _keep_telling(self, notifier: Notifier) -> None:
        while True:
            await self.tell(notifier)
            await self._sleep(LOOK_SECONDS)

    async def tell(self, notifier: Notifier) -> None:
        """One round of one notifier: what it has not been told, then, when it is time, what still fires."""
        name = notifier.name
        if self._clock() < self._not_before.get(name, 0.0):
            return
        waiting = [alert for watch in self._watches() for alert in watch.outbox() if name not in self._settled.get(_entry(alert), ())]
        failed = False
        held_up: set[str] = set()
        for batch in _batches(waiting):
            ready = [alert for alert in batch if _identity(alert) not in held_up]
            if not ready:
                continue
            for alert, outcome in zip(ready, await notifier.send(ready), strict=True):
                if not self._record(name, alert, outcome):
                    held_up.add(_identity(alert))  # what follows it waits: a firing alert must not overtake its own end
                    failed = True
        self._forget_settled()
        failed |= await self._repeat(notifier)
        self._failures[name] = self._failures[name] + 1 if failed else 0
        if failed:
            self._not_before[name] = self._clock() + backoff(self._failures[name], self._random)

    async def _repeat(self, notifier: Notifier) -> bool:
        """Say again what fires; returns whether any of it must be tried again soon."""
        name, every = notifier.name, notifier.resend_seconds
        if every is None or self._clock() - self._repeated.get(name, float("-inf")) < every:
            return False
        untold = {_entry(alert) for watch in self._watches() for alert in watch.outbox() if name not in self._settled.get(_entry(alert), ())}
        firing = [alert for watch in self._watches() for alert in watch.resends() if _entry(alert) not in untold]
        outcomes = await notifier.send(firing) if firing else []
        for outcome in outcomes:
            if outcome.reason:
                self.failed[name, outcome.reason] += 1
        if unsettled := any(not outcome.is_settled for outcome in outcomes):
            return unsettled
        self._repeated[name] = self._clock()
        return False

    def _record(self, name: str, alert: Alert, outcome: Outcome) -> bool:
        """Count what became of an entry; returns whether the notifier is done with it."""
        entry = _entry(alert)
        if not outcome.reason:
            self.sent[name] += 1
        else:
            self.failed[name, outcome.reason] += 1
            began = self._first_tried.setdefault((entry, name), self._clock())
            if not outcome.is_settled:
                if self._clock() - began < self._give_up_seconds:
                    return False
                self.failed[name, "expired"] += 1
            log.error("%s was not told that %s %s is %s: %s", name, alert.rule, alert.id, alert.transition, outcome.reason)
        self._settled.setdefault(entry, set()).add(name)
        return True

    def _forget_settled(self) -> None:
        everyone = {notifier.name for notifier in self._notifiers}
        known: set[Entry] = set()
        for watch in self._watches():
            for alert in watch.outbox():
                entry = _entry(alert)
                if self._settled.get(entry, set()) >= everyone:
                    watch.delivered(*entry)
                else:
                    known.add(entry)
        self._settled = {entry: names for entry, names in self._settled.items() if entry in known}
        self._first_tried = {key: began for key, began in self._first_tried.items() if key[0] in known}


def _entry(alert: Alert) -> Entry:
    return alert.id, alert.transition


def _identity(alert: Alert) -> str:
    """What is said of it must stay in order. Its severity may rise, and names of rules are unique."""
    return repr(sorted(item for item in alert.labels.items() if item[0] != "severity"))


def _batches(alerts: Sequence[Alert]) -> Iterator[list[Alert]]:
    """In order, cut where labels would occur twice: Alertmanager knows an alert by its labels, so the later must come later."""
    batch: list[Alert] = []
    taken: set[str] = set()
    for alert in sorted(alerts, key=lambda alert: (alert.ended or alert.escalated or alert.started, alert.started, alert.state)):
        identity = _identity(alert)
        if identity in taken:
            yield batch
            batch, taken = [], set()
        batch.append(alert)
        taken.add(identity)
    if batch:
        yield batch
