"""The proof of delivery, small, and its control: a worker that forgets what it wrote must be found out."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
FIGURES = ("missed", "duplicate_ids", "unexpected")

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("local_kafka", "alertmanager")]


@pytest.fixture(scope="module")
def alertmanager() -> None:
    if shutil.which("prometheus-alertmanager") is None and shutil.which("alertmanager") is None:
        message = "Alertmanager is missing: install Debian's package prometheus-alertmanager"
        pytest.fail(message) if os.environ.get("CI") else pytest.skip(message)


def prove(*options: str) -> tuple[int, dict[str, Any], str]:
    """Exit code, what the last line says, and the progress."""
    command = [sys.executable, str(ROOT / "benchmarks" / "prove_alerts.py"), "--quick", *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=420, check=False)
    assert done.stdout.strip(), done.stderr
    return done.returncode, json.loads(done.stdout.splitlines()[-1]), done.stderr


def test_everyone_is_told_once_whatever_is_killed() -> None:
    code, result, progress = prove()
    assert {name: result[name] for name in FIGURES} == dict.fromkeys(FIGURES, 0), progress
    assert code == 0
    assert (result["scenarios"], result["kills"], result["kills_between"], result["receiver_downs"]) == (12, 1, 1, 1)
    assert result["notifications"] >= 12 * 4 - 2 * result["brief"], progress
