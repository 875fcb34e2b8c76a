import subprocess
import sys
import time
from pathlib import Path

import pytest

from agents.exits import Exit
from agents.watchdog import Vitals, Watchdog

LIMIT, RECOVERY = 60.0, 120.0


@pytest.fixture
def watchdog() -> Watchdog:
    dog = Watchdog(lambda: Vitals(0, True, 0, 0), limit=LIMIT, recovery_limit=RECOVERY, exit_process=lambda _: None)
    dog._last_look = dog._healthy_since = 1000.0
    return dog


def look(dog: Watchdog, seconds: int, *, beat: bool = True, recovered: bool = True, lag: int | None = 0, progress: bool = False) -> str | None:
    """Look once a second from 1000 on, as long as nothing is found."""
    for now in range(1001, 1001 + seconds):
        reason = dog.diagnose(Vitals(now if beat else 1000, recovered, lag, now if progress else 1000), now)
        if reason is not None:
            return f"{now - 1000}: {reason}"
    return None


def test_idle_without_lag_is_fine(watchdog: Watchdog) -> None:
    assert look(watchdog, 3600) is None


def test_busy_with_lag_is_fine(watchdog: Watchdog) -> None:
    assert look(watchdog, 3600, lag=10, progress=True) is None


def test_lag_without_progress_is_found(watchdog: Watchdog) -> None:
    assert look(watchdog, 100, lag=5) == "62: 5 records are waiting and the broker answers, but none has been applied for 61 s"


def test_a_silent_loop_is_found(watchdog: Watchdog) -> None:
    assert look(watchdog, 100, beat=False) == "61: the event loop has not come round for 61 s"


def test_a_broker_that_is_away_is_no_reason(watchdog: Watchdog) -> None:
    assert look(watchdog, 3600, lag=None) is None
    assert look(watchdog, 3600, lag=None, recovered=False) is None


def test_taking_over_has_a_limit_of_its_own(watchdog: Watchdog) -> None:
    assert look(watchdog, 120, lag=5, recovered=False) is None
    assert "taking over" in (look(watchdog, 130, lag=5, recovered=False) or "")


def test_lag_counts_from_when_it_was_first_seen(watchdog: Watchdog) -> None:
    assert look(watchdog, 500) is None
    for now in range(1501, 1550):
        assert watchdog.diagnose(Vitals(now, True, 5, 1000), now) is None


def test_a_process_that_was_paused_gets_its_time_again(watchdog: Watchdog) -> None:
    assert look(watchdog, 10, lag=5) is None
    assert watchdog.diagnose(Vitals(1010, True, 5, 1000), 1300) is None
    assert watchdog.diagnose(Vitals(1010, True, 5, 1000), 1301) is None


@pytest.mark.parametrize("blocked", [True, False])
def test_it_ends_the_process_with_all_stacks(tmp_path: Path, blocked: bool) -> None:
    script = tmp_path / "hangs.py"
    script.write_text(
        f"""
import asyncio, time
from agents.watchdog import Vitals, Watchdog

async def waits_for_ever():
    await asyncio.Event().wait()

async def main():
    beat = time.monotonic()
    look = lambda: Vitals(beat if {blocked} else time.monotonic(), True, 7, beat)
    Watchdog(look, limit=0.3, interval=0.05, loop=asyncio.get_running_loop()).start()
    task = asyncio.create_task(waits_for_ever())
    if {blocked}:
        time.sleep(30)
    await task

asyncio.run(main())
"""
    )
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, timeout=20, cwd=Path(__file__).parents[2], env={"PYTHONPATH": "."}, check=False
    )
    assert done.returncode == Exit.STUCK, done.stderr
    assert time.monotonic() - started < 5
    assert "stuck: " in done.stderr
    assert ("has not come round" if blocked else "7 records are waiting") in done.stderr
    assert "in main" in done.stderr  # the stack of the blocked thread
    assert "waits_for_ever" in done.stderr  # and of the waiting task
