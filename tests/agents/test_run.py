"""`engage run` as a person starts it: measures on the screen, an exact account at the end, and nothing left behind."""

import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from agents.settings import PREFIX
from agents.view import KEEPS_NOTHING, Shown, Status, View, formatted
from simulator.shop import Shop
from streams.panes import HOUR, MINUTE

ROOT = Path(__file__).parents[2]
START = 1_767_225_600_000


def start(*arguments: str, **more: str) -> subprocess.Popen[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX) and name != "DURATION"}
    environment |= {"ENGAGE_HTTP_PORT": "0", "PYTHONUNBUFFERED": "1"} | more
    command = [sys.executable, "-m", "agents", "run", *arguments]
    return subprocess.Popen(command, env=environment, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def ended(process: subprocess.Popen[str], seconds: float = 60.0) -> tuple[str, dict[str, Any]]:
    """Output and result of a run that ended well."""
    try:
        output, errors = process.communicate(timeout=seconds)
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()
    assert process.returncode == 0, output + errors
    assert "Traceback" not in errors
    result = json.loads(output.splitlines()[-1])
    assert result["unaccounted"] == 0
    assert result["received"] == result["produced"] > 0
    assert result["received"] == sum(result[verdict] for verdict in ("applied", "late", "duplicate", "bot", "failed", "refused"))
    return output, result


@pytest.mark.slow
def test_a_run_of_twelve_seconds_accounts_for_every_event() -> None:
    output, result = ended(start("--rate", "40", "--duration", "12"))
    assert result["readings"] > 0
    assert all(result[verdict] > 0 for verdict in ("late", "duplicate", "bot", "failed"))
    assert 12 <= result["seconds"] < 60
    assert 0 < result["series"] <= 2_000
    assert result["max_lag_s"] >= 0
    assert KEEPS_NOTHING in output
    assert "active_visitors[5m]=" in output
    assert "bounce_rate[1h]=" in output
    assert "/metrics" in output


@pytest.mark.slow
def test_the_storm_is_told_of_and_called_off() -> None:
    output, result = ended(start("--duration", "120"), 240)
    assert (result["alerts_fired"], result["alerts_resolved"]) == (1, 1)
    told = next(line for line in output.splitlines() if "FIRING" in line)
    assert re.search(r"FIRING shop: [\d.]+ % of the texts of the last 5m are negative \(usual [\d.]+ %, n [\d,]+\)", told)
    assert float(re.search(r"· (\d+) s ·", told)[1]) <= 90  # type: ignore[index]


@pytest.mark.slow
def test_ctrl_c_ends_it_in_order() -> None:
    process = start("--rate", "200")
    time.sleep(6)
    process.send_signal(signal.SIGINT)
    _, result = ended(process)
    assert result["seconds"] < 60


@pytest.mark.slow
def test_without_its_broker_it_ends_and_says_so() -> None:
    process = start("--rate", "20")
    time.sleep(6)
    children = [child for thread in Path(f"/proc/{process.pid}/task").iterdir() for child in (thread / "children").read_text().split()]
    broker = next(child for child in children if b"agents.brokers" in Path(f"/proc/{child}/cmdline").read_bytes())
    os.kill(int(broker), signal.SIGKILL)
    output, errors = process.communicate(timeout=90)
    assert process.returncode == 1
    assert "The embedded broker has ended" in errors
    assert "Traceback" not in errors
    assert json.loads(output.splitlines()[-1])["received"] >= 0


@pytest.mark.slow
def test_a_file_is_played_whole(tmp_path: Path) -> None:
    file = tmp_path / "events.jsonl"
    lines = [sent.value for sent in islice(Shop(2, START, rate=5, history=0), 6_000) if sent.value]
    file.write_bytes(b"\n".join(lines) + b"\n")
    output, result = ended(start("--replay", str(file), DURATION="10"))
    assert result["produced"] == len(lines)
    assert result["readings"] > 0
    assert "all events sent" in output


def test_the_worker_of_a_run_ends_with_it() -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)} | {"ENGAGE_BROKER": "127.0.0.1:1", "ENGAGE_HTTP_PORT": "0"}
    command = [sys.executable, "-m", "agents", "worker", "--embedded"]
    with subprocess.Popen(command, env=environment, cwd=ROOT, stdin=subprocess.PIPE, stderr=subprocess.PIPE) as worker:
        assert worker.stderr is not None
        assert b"waiting for Kafka" in worker.stderr.readline()
        assert worker.stdin is not None
        worker.stdin.close()
        assert worker.wait(10) == 0


def test_the_view_tells_totals_and_accounts() -> None:
    counts = {"received": 9, "applied": 4, "late": 1, "failed.not_json": 2, "failed.empty": 1, "refused.erased": 1, "flag.clamped": 3}
    partition = {"lag": {"website": 2, "social": 1}, "state": {"counts": {"website": counts}, "unaccounted": 0}}
    status = Status.of({"ready": True, "partitions": {"0": partition, "1": partition}})
    assert status.lag == 6
    view = View(status=status)
    assert view.accounting() == "received 18 = applied 8 · late 2 · duplicate 0 · bot 0 · failed 6 · refused 2 · unaccounted 0"
    hour = {"start": "2026-01-01T00:00:00Z", "end": "2026-01-01T01:00:00Z"}
    reading = {"kpi": "page_views", "window": hour, "value": 7, "n": 7, "state": "ok"}
    message = {"site": "shop", "readings": [reading | {"dimensions": {}}, reading | {"dimensions": {"source": "direct"}, "value": 3}]}
    view.take(message)
    assert view.readings_seen == 2
    assert list(view.top()) == [("shop", "page_views", HOUR, Shown(7, 7, "ok"))]
    assert view.line().endswith("page_views[1h]=7")
    day = {"start": "2026-01-01T00:00:00Z", "end": "2026-01-02T00:00:00Z"}
    view.take({"site": "shop", "readings": [reading | {"dimensions": {}, "window": day, "value": 53, "n": 53}]})
    assert view.usual("shop", "page_views", HOUR) == 2.0, "an hour's part of the other 23"
    for length, value, n in ((hour, 0.5, 10), (day, 0.3, 50)):
        view.take({"site": "shop", "readings": [reading | {"kpi": "bounce_rate", "dimensions": {}, "window": length, "value": value, "n": n}]})
    assert view.usual("shop", "bounce_rate", HOUR) == pytest.approx(10 / 40), "of the other sessions"
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(view.screen(height=14))
    assert "page_views" in console.export_text()
    hour["end"] = "2026-01-01T00:07:00Z"
    view.take(message)
    assert view.readings["shop", "page_views", 7 * MINUTE].n == 7
    assert len(list(view.top())) == 2  # no window that is shown


def test_the_view_says_what_fires_and_what_is_over() -> None:
    view = View()
    alert = {"id": "a1", "rule": "R", "state": "firing", "severity": "page", "started": "2026-01-01T00:00:00Z", "annotations": {"summary": "shop: bad"}}
    for state in ("firing", "firing", "resolved", "resolved"):
        view.take_alert(alert | {"state": state})
        assert ("FIRING shop: bad" in view.line()) is (state == "firing")
    assert view.transitions == [("R", "firing"), ("R", "resolved")], "a repetition is nothing new"


@pytest.mark.parametrize(
    ("kpi", "value", "text"),
    [
        ("bounce_rate", 0.4567, "45.7 %"),
        ("mean_rating", 4.251, "4.25"),
        ("net_sentiment", 0.2, "+0.20"),
        ("session_duration", 61.6, "62 s"),
        ("pages_per_session", 2.25, "2.2"),
        ("page_views", 12345, "12,345"),
        ("page_views", None, "–"),
    ],
)
def test_values_are_written_for_people(kpi: str, value: float | None, text: str) -> None:
    assert formatted(kpi, Shown(value, 1, "ok")) == text
