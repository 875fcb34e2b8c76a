"""`engage run` as a person starts it: measures on the screen, an exact account at the end, and nothing left behind."""

import base64
import io
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from agents.brokers import EmbeddedBroker
from agents.settings import PREFIX, Settings
from agents.view import KEEPS_NOTHING, Shown, Status, View, can_redraw, formatted
from simulator.shop import Shop
from streams.panes import HOUR, MINUTE

ROOT = Path(__file__).parents[2]
START = 1_767_225_600_000
ALERT = {
    "id": "a1", "rule": "R", "site": "shop", "kpi": "page_views", "window": {"start": "2026-01-01T00:00:00Z", "end": "2026-01-01T00:05:00Z"},
    "state": "firing", "severity": "page", "started": "2026-01-01T00:00:00Z", "ended": None, "annotations": {"summary": "shop: bad"},
}  # fmt: skip


class Receiver:
    """A webhook's receiver that follows the link in each alert at once."""

    def __init__(self) -> None:
        self.heard: list[tuple[int, str, str]] = []
        """By alert: status of the page behind the link, state, and the page."""
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                (alert,) = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["alerts"]
                with urllib.request.urlopen(alert["generatorURL"], timeout=5) as response:
                    receiver.heard.append((response.status, alert["status"], response.read().decode()))
                self.send_response(204)
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    thread = threading.Thread(target=made.server.serve_forever, args=(0.05,))
    thread.start()
    yield made
    made.server.shutdown()
    thread.join()
    made.server.server_close()


def until(happens: Callable[[], bool], seconds: float = 30.0) -> None:
    """Wait for it; what is not there yet may refuse."""
    deadline = time.monotonic() + seconds
    while True:
        with suppress(OSError):
            if happens():
                return
        assert time.monotonic() < deadline
        time.sleep(0.1)


def feed(view: View, end: str, **over: tuple[float, int]) -> None:
    """The share of negative texts of two sites, value and n, over the last hour (`now`) and `day`."""
    for site in ("app", "shop"):
        for name, (value, n) in over.items():
            start = datetime.fromisoformat(end) - timedelta(hours=1 if name == "now" else 24)
            window = {"start": start.isoformat(), "end": end}
            view.take({"site": site, "readings": [{"kpi": "negative_share", "dimensions": {}, "window": window, "value": value, "n": n, "state": "ok"}]})


def drawn(view: View, width: int, height: int) -> str:
    console = Console(width=width, height=height, record=True, file=io.StringIO())
    console.print(view.screen(console))
    return console.export_text()


def engage(*arguments: str, cwd: Path = ROOT, **more: str) -> subprocess.Popen[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX) and name != "DURATION"}
    environment |= {"ENGAGE_HTTP_PORT": "0", "PYTHONUNBUFFERED": "1", "PYTHONPATH": str(ROOT)} | more
    pipe = subprocess.PIPE
    return subprocess.Popen([sys.executable, "-P", "-m", "agents", *arguments], env=environment, cwd=cwd, stdin=pipe, stdout=pipe, stderr=pipe, text=True)


def start(*arguments: str, **more: Any) -> subprocess.Popen[str]:
    return engage("run", *arguments, **more)


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
    assert result["received"] == result["produced"] + result["elsewhere"] > 0
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
    assert re.search(r"^  shop: .*negative_share\[1h\]=", output, re.M)
    assert re.search(r"^  app: .*negative_share\[1h\]=", output, re.M)
    assert max(map(len, output.splitlines())) < 500
    assert "/metrics" in output


@pytest.mark.slow
def test_the_storm_is_told_of_and_called_off(receiver: "Receiver") -> None:
    output, result = ended(start("--duration", "120", ENGAGE_WEBHOOK=receiver.url), 240)
    assert [(status, state) for status, state, _ in receiver.heard] == [(200, "firing"), (200, "resolved")]
    assert all(f"FeedbackStorm: {state}" in page for _, state, page in receiver.heard), "the link says the same"
    assert (result["alerts_fired"], result["alerts_resolved"]) == (1, 1)
    told = next(line for line in output.splitlines() if "FIRING" in line)
    assert re.search(r"FIRING shop: [\d.]+ % of the texts of the last 5m are negative \(usual [\d.]+ %, n [\d,]+\)", told)
    assert float(re.search(r"· (\d+) s ·", told)[1]) <= 90  # type: ignore[index]


@pytest.mark.slow
def test_what_others_send_is_no_error_and_what_is_refused_is_told(tmp_path: Path) -> None:
    (tmp_path / "rules").mkdir()
    shutil.copy(ROOT / "simulator" / "rules.yml", tmp_path / "rules")
    (tmp_path / "agents").mkdir()
    (tmp_path / "agents" / "__init__.py").touch()  # a folder that happens to be called so
    process = start("--rate", "200", cwd=tmp_path, ENGAGE_RULES="rules", ENGAGE_COLLECTOR_PORT="0")
    assert process.stdout is not None
    broker, _, door = (process.stdout.readline().split() for _ in range(3))
    key = door[door.index("key") + 1]
    headers = {"Authorization": "Basic " + base64.b64encode(f"{key}:".encode()).decode()}
    request = urllib.request.Request(f"{door[1]}/v1/track", b'{"type":"trac","userId":"42","messageId":"m"}', headers)
    until(lambda: b'"unknown_type"' in urllib.request.urlopen(request).read())
    sending = engage("send", "--type", "page_viewed", "--site", "shop", "visitor=v-1", "path=/", ENGAGE_BROKER=broker[1], ENGAGE_PARTITIONS="4")
    assert "1 of 1 sent" in sending.communicate(timeout=30)[1]
    time.sleep(2)
    process.send_signal(signal.SIGINT)
    output, result = ended(process)
    assert result["seconds"] < 60
    assert (result["elsewhere"], result["sent_in"], result["refused_at_door"]) == (1, 0, 1)
    assert output.splitlines()[-3].endswith(" · refused at the door 1 · 1 came from elsewhere")


@pytest.mark.slow
def test_a_worker_says_what_an_operator_needs_also_when_kafka_has_gone() -> None:
    with EmbeddedBroker.of(Settings(partitions=2)) as broker:
        worker = engage("worker", "--embedded", ENGAGE_BROKER=broker.address, ENGAGE_PARTITIONS="2")
        assert worker.stderr is not None
        lines = [worker.stderr.readline(), worker.stderr.readline()]
    assert "health, metrics and status on http://127.0.0.1:" in lines[0], "the port that was free"
    assert "took over partitions [0, 1]" in lines[1]
    time.sleep(1)
    worker.send_signal(signal.SIGTERM)
    _, errors = worker.communicate(timeout=20)
    assert worker.returncode == 0, errors
    assert all(line.startswith("time=") for line in errors.splitlines()), errors
    assert errors.splitlines()[-1].endswith("message=stopped")
    assert "[^" not in errors


@pytest.mark.parametrize(
    ("command", "setting", "value", "says"),
    [
        ("worker", "ENGAGE_HTTP_PORT", "", "and somebody listens there already; allowed: a port that is free, or 0 for any free one"),
        ("collector", "ENGAGE_COLLECTOR_PORT", "", "and somebody listens there already"),
        ("run", "ENGAGE_HTTP_HOST", "192.0.2.1", "which is no address of this machine"),
        ("run", "ENGAGE_RULES", str(ROOT / "pyproject.toml"), "pyproject.toml"),
    ],
    ids=["worker-port", "collector-port", "run-host", "run-rules"],
)
def test_an_address_or_a_file_that_cannot_be_used_is_one_sentence(command: str, setting: str, value: str, says: str, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        changed = {setting: value or str(taken.getsockname()[1]), "ENGAGE_BROKER": "127.0.0.1:1", "ENGAGE_COLLECTOR_DEVELOPMENT": "on"}
        process = engage(command, cwd=tmp_path, **changed)
        output, errors = process.communicate(timeout=30)
    assert (process.returncode, output) == (2, "")
    (sentence,) = (line for line in errors.splitlines() if not line.startswith("time="))
    assert sentence.startswith(f"Error: {setting}")
    assert says in sentence


def children(pid: int) -> dict[int, list[bytes]]:
    """The children of a process, with the words of their commands."""
    found = [child for thread in Path(f"/proc/{pid}/task").iterdir() for child in (thread / "children").read_text().split()]
    return {int(child): Path(f"/proc/{child}/cmdline").read_bytes().split(b"\0") for child in found}


@pytest.mark.slow
def test_without_its_broker_it_ends_and_says_so() -> None:
    process = start("--rate", "20")
    try:
        until = time.monotonic() + 60
        running: dict[int, list[bytes]] = {}
        while not any(b"worker" in words for words in running.values()):
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < until, running
            time.sleep(0.1)
            running = children(process.pid)
        time.sleep(2)
        (broker,) = (child for child, words in running.items() if b"agents.brokers" in words)
        os.kill(broker, signal.SIGKILL)
        output, errors = process.communicate(timeout=90)
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == 1
    assert "The embedded broker has ended" in errors
    assert "Not exact" not in errors, "one reason is enough"
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
        assert b"health, metrics and status on" in worker.stderr.readline()
        assert any(b"waiting for Kafka" in line for line in islice(worker.stderr, 5))
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
    assert view.lines().endswith("\n  shop: page_views[1h]=7")
    day = {"start": "2026-01-01T00:00:00Z", "end": "2026-01-02T00:00:00Z"}
    view.take({"site": "shop", "readings": [reading | {"dimensions": {}, "window": day, "value": 53, "n": 53}]})
    assert view.usual("shop", "page_views", HOUR) == 2.0, "an hour's part of the other 23"
    for length, value, n in ((hour, 0.5, 10), (day, 0.3, 50)):
        view.take({"site": "shop", "readings": [reading | {"kpi": "bounce_rate", "dimensions": {}, "window": length, "value": value, "n": n}]})
    assert view.usual("shop", "bounce_rate", HOUR) == pytest.approx(10 / 40), "of the other sessions"
    assert "page_views" in drawn(view, 120, 14)
    hour["end"] = "2026-01-01T00:07:00Z"
    view.take(message)
    assert view.readings["shop", "page_views", 7 * MINUTE].n == 7
    assert len(list(view.top())) == 2  # no window that is shown


def test_the_view_says_what_fires_and_what_is_over() -> None:
    view = View()
    for state in ("firing", "firing", "resolved", "resolved"):
        view.take_alert(ALERT | {"state": state, "ended": None if state == "firing" else "2026-01-01T00:05:00Z"})
        assert ("FIRING shop: bad" in view.lines()) is (state == "firing")
    assert view.transitions == [("R", "firing"), ("R", "resolved")], "a repetition is nothing new"


def test_an_incident_is_not_usual() -> None:
    view = View()
    feed(view, "2026-01-02T00:00:00+00:00", now=(0.3, 10), day=(0.3, 50))
    view.take_alert(ALERT)
    feed(view, "2026-01-02T01:00:00+00:00", now=(0.6, 40), day=(0.48, 90))
    assert view.usual("shop", "negative_share", HOUR) == pytest.approx(0.3), "as before the alert"
    assert view.usual("app", "negative_share", HOUR) == pytest.approx((0.48 * 90 - 0.6 * 40) / 50), "another site has its own"
    assert "(shop: those before the alert)" in drawn(view, 120, 40)
    view.take_alert(ALERT | {"state": "resolved", "ended": "2026-01-02T01:10:00Z"})
    feed(view, "2026-01-03T01:00:00+00:00", now=(0.3, 10), day=(0.4, 50))
    assert view.usual("shop", "negative_share", HOUR) == pytest.approx(0.3), "24 hours still hold it"
    feed(view, "2026-01-03T01:10:00+00:00", now=(0.3, 10), day=(0.2, 50))
    assert view.usual("shop", "negative_share", HOUR) == pytest.approx((0.2 * 50 - 0.3 * 10) / 40)


def test_an_alert_that_was_there_before_us_leaves_nothing_to_call_usual() -> None:
    view = View()
    view.take_alert(ALERT)
    feed(view, "2026-01-02T00:00:00+00:00", now=(0.6, 40), day=(0.48, 90))
    assert view.usual("shop", "negative_share", HOUR) is None


def test_a_narrow_terminal_says_what_it_has_no_room_for() -> None:
    view = View()
    feed(view, "2026-01-02T00:00:00+00:00", now=(0.3, 10), day=(0.3, 50))
    for width, has, has_not, says in (
        (80, ["app", "shop", "usual"], [], "n: facts"),
        (45, ["usual"], ["shop"], "1 more site"),
        (30, [], ["shop"], "usual and n"),
    ):
        text = drawn(view, width, 40)
        (titles,) = (line for line in text.splitlines() if line.startswith("measure"))
        assert "over" in titles
        assert all(title in titles for title in has)
        assert not any(title in titles for title in has_not)
        assert says in " ".join(text.split())
        assert "…" not in text
    assert len(drawn(view, 45, 24).splitlines()) < 24


def test_what_came_from_elsewhere_is_counted_and_what_is_missing_too() -> None:
    view = View(made=10, sent_in=2, on_log=13)
    for received, missing in ((11, 2), (12, 1), (13, 0)):
        view.status.counts["received"] = received
        assert (view.elsewhere, view.missing) == (1, missing)
    view.on_log = 11
    view.status.counts["received"] = 11
    assert (view.elsewhere, view.missing) == (0, 1), "acknowledged, and not on the log"


def test_a_dumb_terminal_gets_lines() -> None:
    assert can_redraw(Console(force_terminal=True, _environ={"TERM": "xterm"}))
    assert not can_redraw(Console(force_terminal=True, _environ={"TERM": "dumb"}))
    assert not can_redraw(Console(file=io.StringIO()))


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
