"""`engage replay` through a broker: Ctrl-C ends it wherever it waits, and says how far it came."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from agents.__main__ import cli
from agents.settings import PREFIX, Settings
from streams.replay import CHUNK

ROOT = Path(__file__).parents[2]
START = 1_772_440_200_000
HOUR = 3_600_000
PACED_CHUNK = CHUNK // 10


def variables(settings: Settings) -> dict[str, str]:
    names = ("broker", "app_id", "topic_prefix", "partitions")
    return {f"{PREFIX}{name.upper()}": str(getattr(settings, name)) for name in names}


@pytest.mark.parametrize(
    ("times", "published"), [([0, 1, HOUR], 2), ([0] * PACED_CHUNK, PACED_CHUNK)], ids=["waits until the next event is due", "waits for more input"]
)
def test_ctrl_c_ends_it_and_says_how_far_it_came(embedded_topics: Settings, times: list[int], published: int) -> None:
    view = {"type": "page_viewed", "site": "acme", "visitor": "v1", "path": "/"}
    lines = [json.dumps(view | {"id": str(number), "at": START + at}).encode() for number, at in enumerate(times)]
    command = [sys.executable, "-m", "agents", "replay", "--speed", "1", "-"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)} | variables(embedded_topics)
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdin is not None
        process.stdin.write(b"\n".join(lines) + b"\n")
        if published < len(lines):  # else it waits for more
            process.stdin.close()
        else:
            process.stdin.flush()
        seen = CliRunner().invoke(cli, ["tail", "--from-start", "--limit", str(published), "--for", "20s"], env=environment)
        process.send_signal(signal.SIGINT)
        code = process.wait(20)
        assert process.stderr is not None
        said = process.stderr.read().decode()
    assert len(seen.stdout.splitlines()) == published
    assert (code, said.startswith(f"\nStopped: {published} lines were published, perhaps some more.")) == (130, True), said


def test_a_broker_that_is_not_there_is_2_and_a_sentence(tmp_path: Path) -> None:
    file = tmp_path / "events.jsonl"
    file.write_bytes(b"{}")
    done = CliRunner().invoke(cli, ["replay", "--broker", "127.0.0.1:1", str(file)])
    assert done.exit_code == 2
    assert done.stderr.startswith("Error: No Kafka answers (127.0.0.1:1: Connection refused).")
