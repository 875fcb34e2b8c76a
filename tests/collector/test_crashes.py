"""The proof of the door's promise, small, and its control: a collector that forgets its spool must be found out."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.prove_door import FIGURES

ROOT = Path(__file__).parents[2]

pytestmark = [pytest.mark.slow, pytest.mark.kafka, pytest.mark.usefixtures("local_kafka")]


def prove(*options: str) -> tuple[int, dict[str, Any], str]:
    """Exit code, what the last line says, and the progress."""
    command = [sys.executable, str(ROOT / "benchmarks" / "prove_door.py"), *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert done.stdout.strip(), done.stderr
    return done.returncode, json.loads(done.stdout.splitlines()[-1]), done.stderr


def test_what_was_acknowledged_is_counted_once_whatever_is_killed() -> None:
    code, result, progress = prove("--kills=4", "--broker-seconds=2", "--rate=400")
    assert {name: result[name] for name in FIGURES} == dict.fromkeys(FIGURES, 0), progress
    assert code == 0
    assert result["acknowledged"] == result["counted"] > 500
    assert (result["kills"], result["broker_seconds"]) == (4, 2)
    assert result["spooled"] > 50, "Kafka was away"
    assert result["killed_in_flight"] > 0
    assert result["rejected"] > 0


def test_without_the_spool_events_are_lost() -> None:
    code, result, progress = prove("--kills=2", "--broker-seconds=2", "--rate=400", "--forget")
    assert code == 1, progress
    assert result["lost"] > 20, progress
