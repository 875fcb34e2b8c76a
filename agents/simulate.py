"""`engage simulate`: the made-up shops of `simulator/`, published to Kafka: first their past as fast as it goes, then their present by the clock."""

import asyncio
import signal
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final

from agents import admin
from agents.publishing import FlushFailedError, Publisher
from agents.settings import Settings
from simulator.faults import Sent, Tally
from simulator.shop import Shop
from streams.flow import Message
from streams.intake import RECEIPT_HEADER

AT_ONCE: Final = 1_000
MOST_BEHIND: Final = 3_000
"""Records the worker may have before it: what is on its way fits the 5 MiB that the embedded broker keeps of a partition."""
JUST_NOW: Final = 2_000
"""What was due so long ago (ms) is of the past."""
PACE_SECONDS: Final = 0.02
LOOK_SECONDS: Final = 0.05
LINE_SECONDS: Final = 5.0

Behind = Callable[[], Awaitable[int]]
"""How many of the records published so far the worker has not applied yet."""
OnProgress = Callable[[Sent], None]
"""Called with the last record of every block that was acknowledged."""


class SimulateError(RuntimeError):
    """The broker takes nothing any more; the text says what to do."""


def wall_clock() -> int:
    """Epoch milliseconds."""
    return int(time.time() * 1000)


async def simulate(
    settings: Settings,
    shop: Shop,
    *,
    stop: asyncio.Event,
    behind: Behind | None = None,
    on_progress: OnProgress = lambda _: None,
    clock: Callable[[], int] = wall_clock,
) -> Tally:
    """Publish what the shop sends until `stop` is set; returns what was sent. All of it is acknowledged by then.

    `clock` is the time (ms) in the shop: what is due by it is sent. Records of the past carry their receipt in a header, so
    nothing in them is clamped. With `behind` no more is sent while the worker is more than `MOST_BEHIND` records behind.
    Raises SimulateError, or what `agents.admin` says about the broker.
    """
    await admin.require_topics(settings)
    failures: list[BaseException] = []
    publisher = Publisher(settings.client_kwargs(), settings.topic_prefix, on_failure=failures.append)
    await publisher.start()
    try:
        while not stop.is_set():
            block = shop.take(clock(), AT_ONCE)
            if block:
                past = wall_clock() - JUST_NOW
                await publisher.send_and_wait(_message(sent, sent.due < past) for sent in block)
                on_progress(block[-1])
            if len(block) < AT_ONCE:
                await _wait(stop, PACE_SECONDS)
            while behind is not None and not stop.is_set() and await behind() > MOST_BEHIND:
                await _wait(stop, LOOK_SECONDS)
    except FlushFailedError as error:
        raise SimulateError(f"Kafka stopped taking events ({error}). About {shop.tally.sent} were sent; start again once it answers.") from error
    finally:
        await publisher.stop()
    return shop.tally


def _message(sent: Sent, past: bool) -> Message:
    return Message(sent.topic, sent.key.encode(), sent.value, ((RECEIPT_HEADER, b"%d" % sent.due),) if past else ())


async def _wait(stop: asyncio.Event, seconds: float) -> None:
    with suppress(TimeoutError):
        await asyncio.wait_for(stop.wait(), seconds)


async def simulate_until(settings: Settings, shop: Shop, duration: int | None, say: Callable[[str], None]) -> Tally:
    """Until Ctrl-C, SIGTERM, or the duration (ms) has passed; says now and then how far it is. Raises as `simulate`."""
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    if duration is not None:
        loop.call_later(duration / 1000, stop.set)
    next_line = 0.0

    def show(last: Sent) -> None:
        nonlocal next_line
        if loop.time() >= next_line:
            next_line = loop.time() + LINE_SECONDS
            before = (shop.live - last.due) / 3_600_000
            say(f"{shop.tally.sent:,} events sent, {f'{before:.1f} h before now' if before > 0 else 'live'}")

    return await simulate(settings, shop, stop=stop, on_progress=show)
