"""The queue on disk: what it keeps, through what, and how much of it."""

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from collector.spool import Spool, SpoolError, SpoolFullError
from streams.flow import Message

ROOT = Path(__file__).parents[2]


def message(number: int, size: int = 10) -> Message:
    return Message("website", b"shop/v:%d" % number, b"%d " % number + b"x" * size, (("ce_id", b"\xff\0"),))


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    made = Spool(tmp_path, 1 << 20)
    yield made
    made.close()


def drained(spool: Spool, size: int = 100) -> list[Message]:
    messages = []
    while (front := spool.front(size)) is not None:
        messages += front.messages
        spool.forget(front.last)
    return messages


def test_what_is_kept_comes_back_in_order(spool: Spool):
    groups = [[message(number), Message("failed", None, b"", (), 3)] for number in range(50)]
    spool.append(groups[:20])
    spool.append(groups[20:])
    assert (spool.rows, spool.events) == (50, 100)
    assert drained(spool) == [message for group in groups for message in group]
    assert (spool.rows, spool.events, spool.used) == (0, 0, 0)
    assert spool.front(1) is None


def test_a_group_larger_than_asked_for_comes_alone(spool: Spool):
    spool.append([[message(1, 5000)], [message(2)]])
    assert spool.front(10).messages == [message(1, 5000)]
    assert spool.front(100_000).rows == 2


def test_what_is_left_of_some_rows_takes_their_place(spool: Spool):
    spool.append([[message(number), message(number + 100)] for number in range(5)])
    front = spool.front(1 << 20)
    spool.append([[message(7)]])
    used = spool.used
    spool.forget(front.last, [message(3), message(104)])
    assert (spool.rows, spool.events) == (2, 3)
    assert 0 < spool.used < used
    assert drained(spool) == [message(3), message(104), message(7)]
    assert spool.used == 0


def test_it_is_there_after_it_was_closed(tmp_path: Path):
    for number in range(3):
        spool = Spool(tmp_path, 1 << 20)
        assert spool.rows == number
        spool.append([[message(number)]])
        used = spool.used
        spool.close()
    spool = Spool(tmp_path, 1 << 20)
    assert spool.used == used
    assert drained(spool) == [message(number) for number in range(3)]
    spool.close()


def test_a_full_spool_takes_all_or_nothing(tmp_path: Path):
    spool = Spool(tmp_path, 20_000)
    spool.append([[message(1, 8000)]])
    with pytest.raises(SpoolFullError, match=r"of 20,000 bytes are used"):
        spool.append([[message(2, 8000)], [message(3, 8000)]])
    spool.append([[message(4, 8000)]])
    assert drained(spool) == [message(1, 8000), message(4, 8000)]
    spool.append([[message(5, 16_000)]])
    spool.close()


def test_a_full_disk_is_a_full_spool(spool: Spool):
    spool._file.execute("PRAGMA max_page_count = 40")
    kept = 0
    while kept < 100:
        try:
            spool.append([[message(kept, 8000)]])
        except SpoolFullError as error:
            assert "full" in str(error)  # noqa: PT017 (which of the calls raises is not known before)
            break
        kept += 1
    assert 0 < kept == spool.rows < 100
    assert drained(spool) == [message(number, 8000) for number in range(kept)]
    spool.append([[message(0, 8000)]])


def test_the_file_does_not_grow_with_what_went_through(spool: Spool):
    for _ in range(60):
        spool.append([[message(number, 1000)] for number in range(100)])
        assert len(drained(spool, 1 << 16)) == 100
    assert sum(file.stat().st_size for file in spool.path.parent.iterdir()) < 6 << 20


def test_two_processes_do_not_share_one(tmp_path: Path):
    spool = Spool(tmp_path, 1000)
    with pytest.raises(SpoolError, match="give every collector its own"):
        Spool(tmp_path, 1000)
    spool.close()
    Spool(tmp_path, 1000).close()


def test_a_file_that_is_no_spool_is_left_alone(tmp_path: Path):
    (tmp_path / "spool.sqlite").write_bytes(b"something else" * 1000)
    with pytest.raises(SpoolError, match="move it away"):
        Spool(tmp_path, 1000)
    other = tmp_path / "newer"
    other.mkdir()
    with sqlite3.connect(other / "spool.sqlite") as file:
        file.execute("PRAGMA user_version = 7")
    file.close()
    with pytest.raises(SpoolError, match="format 7"):
        Spool(other, 1000)
    with pytest.raises(SpoolError, match="may be written"):
        Spool(tmp_path / "spool.sqlite" / "below", 1000)


WRITER = """
import sys
from pathlib import Path
from collector.spool import Spool
from streams.flow import Message
spool = Spool(Path(sys.argv[1]), 1 << 30)
for number in range(1_000_000):
    spool.append([[Message("website", b"k", b"%d" % number)]])
    print(number, flush=True)
    if number % 3 == 0:
        front = spool.front(1)
        print("taken", front.messages[0].value.decode(), flush=True)
        spool.forget(front.last)
"""


def test_kill_9_loses_nothing_that_was_kept(tmp_path: Path):
    for _ in range(5):
        directory = tmp_path / os.urandom(4).hex()
        with subprocess.Popen([sys.executable, "-c", WRITER, directory], cwd=ROOT, stdout=subprocess.PIPE, text=True) as writer:
            assert writer.stdout is not None
            said = [next(writer.stdout) for _ in range(60)]
            writer.send_signal(signal.SIGKILL)
            said += list(writer.stdout)
        said = [line for line in said if line.endswith("\n")]
        kept = [int(line) for line in said if not line.startswith("taken")]
        taken = [int(line.split()[1]) for line in said if line.startswith("taken")]
        spool = Spool(directory, 1 << 30)
        left = [int(message.value) for message in drained(spool)]
        spool.close()
        assert left == sorted(left)
        assert set(kept) <= set(taken) | set(left)
        assert set(left) <= {*kept, kept[-1] + 1}
        assert taken == sorted(taken)
        assert left[0] in (len(taken), len(taken) - 1), "in order, and what was taken last perhaps once more"


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(st.one_of(st.lists(st.integers(0, 400), max_size=4), st.integers(1, 900)), max_size=25))
def test_it_is_a_queue(tmp_path: Path, steps: list[list[int] | int]):
    spool = Spool(tmp_path / os.urandom(8).hex(), 3_000)
    queue: list[list[Message]] = []
    for step in steps:
        if isinstance(step, int):
            front = spool.front(step)
            assert (front is None) == (not queue)
            if front is not None:
                assert front.messages == [message for group in queue[: front.rows] for message in group]
                spool.forget(front.last)
                queue = queue[front.rows :]
        else:
            groups = [[message(size, size)] for size in step]
            try:
                spool.append(groups)
            except SpoolFullError:
                assert spool.used + sum(step) > 2_000
            else:
                queue += groups
        assert (spool.rows, spool.events) == (len(queue), len(queue))
        assert spool.used <= spool.limit
        assert bool(spool.used) == bool(queue)
    spool.close()
