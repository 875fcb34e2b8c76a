"""Ends a process that hangs: the supervisor starts a new one, which goes on from the log.

A consumer that is alive but stuck has no public signal. So: records are waiting, the broker answers, and none has been applied
for a long time; or the event loop does not come round. Not while a broker is away (then the lag is unknown), and not while
the state is being read (that has a limit of its own, and it counts from the last row read).
"""

import asyncio
import faulthandler
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from agents.exits import Exit

log = logging.getLogger(__name__)

RECOVERY_LIMIT_SECONDS = 120.0


def awaiting(coroutine: Any) -> Iterator[str]:
    """Where a suspended coroutine waits, from the outermost call inwards (`Task.print_stack` shows the outermost only)."""
    while coroutine is not None:
        frame = getattr(coroutine, "cr_frame", None) or getattr(coroutine, "gi_frame", None) or getattr(coroutine, "ag_frame", None)
        if frame is None:
            yield f"  {coroutine!r}"
            return
        yield f'  File "{frame.f_code.co_filename}", line {frame.f_lineno} in {frame.f_code.co_qualname}'
        coroutine = getattr(coroutine, "cr_await", None) or getattr(coroutine, "gi_yieldfrom", None) or getattr(coroutine, "ag_await", None)


class Vitals(NamedTuple):
    """What the watchdog looks at; instants are `time.monotonic()`."""

    loop_beat: float
    """When the event loop last came round."""
    recovered: bool
    """The assigned partitions are taken over and being worked on."""
    lag: int | None
    """Records waiting; None when the broker has not said so recently."""
    progress_at: float
    """When a record was last applied or a row of the state read."""


class Watchdog(threading.Thread):
    """A daemon thread that looks once a second and ends the process when `look` shows that it hangs."""

    def __init__(
        self,
        look: Callable[[], Vitals],
        *,
        limit: float,
        recovery_limit: float = RECOVERY_LIMIT_SECONDS,
        interval: float = 1.0,
        loop: asyncio.AbstractEventLoop | None = None,
        exit_process: Callable[[int], object] = os._exit,
    ) -> None:
        super().__init__(name="watchdog", daemon=True)
        self._look = look
        self._limit = limit
        self._recovery_limit = max(limit, recovery_limit)
        self._interval = interval
        self._loop = loop
        self._exit_process = exit_process
        self._stopped = threading.Event()
        self._last_look = self._healthy_since = time.monotonic()
        self._behind_since: float | None = None

    def stop(self) -> None:
        self._stopped.set()

    def run(self) -> None:
        while not self._stopped.wait(self._interval):
            if (reason := self.diagnose(self._look(), time.monotonic())) is not None:
                self._end(reason)
                return

    def diagnose(self, vitals: Vitals, now: float) -> str | None:
        """Why the process hangs, or None."""
        if now - self._last_look > 3 * self._interval + 2.0:  # the whole process was paused, this thread too: start counting anew
            self._healthy_since = now
        self._last_look = now
        if not vitals.lag:
            self._behind_since = None
        elif self._behind_since is None:
            self._behind_since = now

        def age(*instants: float) -> float:
            return now - max(self._healthy_since, *instants)

        if (silent := age(vitals.loop_beat)) > self._limit:
            return f"the event loop has not come round for {silent:.0f} s"
        if vitals.lag is None:
            return None
        if not vitals.recovered:
            waited = age(vitals.progress_at)
            return f"the broker answers, but taking over partitions has made no progress for {waited:.0f} s" if waited > self._recovery_limit else None
        if self._behind_since is not None and (idle := age(vitals.progress_at, self._behind_since)) > self._limit:
            return f"{vitals.lag} records are waiting and the broker answers, but none has been applied for {idle:.0f} s"
        return None

    def _end(self, reason: str) -> None:
        log.critical("stuck: %s; all stacks follow, then this process ends with code %d", reason, Exit.STUCK)
        stream = sys.__stderr__
        if stream is not None:
            faulthandler.dump_traceback(file=stream, all_threads=True)
            if self._loop is not None:
                for task in asyncio.all_tasks(self._loop):
                    print(f"Task {task.get_name()}, awaiting:", *awaiting(task.get_coro()), sep="\n", file=stream)
            stream.flush()
        self._exit_process(Exit.STUCK)
