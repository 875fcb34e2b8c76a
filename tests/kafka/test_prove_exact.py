"""The proof of exactness, small, and its controls: with a guard taken out the same program must find errors."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from benchmarks import prove_exact
from streams.partition import Partition

ROOT = Path(__file__).parents[2]
FIGURES = ("lost", "double", "torn", "wrong_rows", "unaccounted")

pytestmark = pytest.mark.slow


def prove(*options: str) -> tuple[int, dict[str, Any], str]:
    """Exit code, what the last line says, and the progress."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks" / "prove_exact.py"), "--broker-kills=0", "--joins=0", *options],
        capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    sys.stderr.write(done.stderr)
    assert done.stdout.strip(), done.stderr
    return done.returncode, json.loads(done.stdout.splitlines()[-1]), done.stderr


@pytest.mark.usefixtures("local_kafka")
def test_counts_are_exact_whatever_is_killed() -> None:
    code, result, progress = prove("--kills=3", "--stops=2", "--events=30000", "--seed=3")
    assert {name: result[name] for name in FIGURES} == dict.fromkeys(FIGURES, 0), progress
    assert code == 0
    assert (result["events"], result["kills"], result["stops"]) == (30_000, 3, 2)
    assert all(result["compared"][what] > 100 for what in ("subjects", "panes", "rollups", "relations", "readings"))


PAUSES = ("--kills=0", "--stops=2", "--events=6000", "--pause-seconds=9", "--flush-seconds=1")
"""Workers are stopped with a second's events in memory, long enough for the next owner to write what became of them."""


@pytest.mark.usefixtures("local_kafka")
def test_without_the_fence_zombies_spoil_rows() -> None:
    code, result, progress = prove(*PAUSES, "--no-fence", "--catch-up-seconds=20")  # rows that contradict each other may keep workers from working
    assert code == 1, progress
    assert result["wrong_rows"] > 10, progress
    assert result["lost"] + result["double"] > 0, progress


@pytest.mark.usefixtures("local_kafka")
def test_without_the_stamp_records_count_twice() -> None:
    code, result, progress = prove("--kills=2", "--stops=0", "--events=8000", "--no-stamp-check")
    assert code == 1, progress
    assert result["double"] > 0, progress


class Stored(NamedTuple):
    offset: int
    timestamp: int
    key: bytes
    value: bytes | None
    headers: tuple[()] = ()


@pytest.mark.parametrize("per_flush", [4_000, 20_000])
def test_it_does_not_matter_how_much_event_time_a_flush_holds(per_flush: int) -> None:
    """Without Kafka: the same recount, with a restart from the rows after every flush; 20,000 events are almost two days."""
    plan = prove_exact.Producer(7, 30_000, 2).plan()
    events = plan.first + plan.rest
    rows: dict[int, dict[bytes, bytes]] = {0: {}, 1: {}}
    ends: dict[tuple[str, int], int] = {}
    for start in range(0, len(events), per_flush):
        chunk: dict[tuple[str, int], list[Stored]] = {}
        for event, key in events[start : start + per_flush]:
            log = event.topic, event.partition
            ends[log] = ends.get(log, -1) + 1
            chunk.setdefault(log, []).append(Stored(ends[log], 1_763_000_000_000, key, event.value))
        for partition, table in rows.items():
            state = Partition(partition, 2)
            state.load(list(table.items()))
            for topic in prove_exact.EVENT_TOPICS:
                state.apply(topic, chunk.get((topic, partition), []))
            for name, value in state.snapshot().rows:
                if value is None:
                    table.pop(name, None)
                else:
                    table[name] = value
    verdict = prove_exact.Verdict(prove_exact.Oracle((event for event, _ in events), prove_exact.SOURCES, prove_exact.BOTS), rows)
    verdict.judge_accounting()
    verdict.judge_subjects()
    verdict.judge_panes()
    assert {name: getattr(verdict, name) for name in FIGURES} == dict.fromkeys(FIGURES, 0)
