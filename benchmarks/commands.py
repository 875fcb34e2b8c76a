"""Commands of the product as processes of their own: proofs and tests start them as a user does, and end them as nobody should."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from agents.settings import Settings
from collector.keys import add_key, create_key

ROOT = Path(__file__).resolve().parent.parent


class Command:
    """`engage NAME` with its settings in the environment and its log in a file. A context manager: on leaving, it is killed if it still runs."""

    def __init__(self, name: str, settings: Settings, directory: Path, *options: str) -> None:
        self.name = name
        self.log_file = directory / f"{name}.log"
        with self.log_file.open("ab") as log:
            self._begin = log.tell()
            command = [sys.executable, "-m", "agents", name, *options]
            self.process = subprocess.Popen(command, env=settings.environment(os.environ), stdin=subprocess.PIPE, stdout=log, stderr=log, cwd=ROOT)

    def __enter__(self) -> "Command":
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    @property
    def log(self) -> str:
        """What it has said."""
        with self.log_file.open("rb") as file:
            file.seek(self._begin)
            return file.read().decode(errors="replace")

    def until_said(self, pattern: str, seconds: float = 30.0) -> str:
        """Wait until its log has something that fits; returns the first group. Raises AssertionError with the log."""
        deadline = time.monotonic() + seconds
        while (found := re.search(pattern, self.log)) is None:
            assert self.process.poll() is None, f"{self.name} ended with {self.process.returncode}:\n{self.log}"
            assert time.monotonic() < deadline, f"{self.name} has not said {pattern!r} in {seconds:g} s:\n{self.log}"
            time.sleep(0.02)
        return found[1]

    def url(self) -> str:
        """Of a collector: where it takes events, once it does."""
        return self.until_said(r"Takes events on (\S+)")

    def terminate(self, seconds: float = 20.0) -> int:
        """SIGTERM; returns the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(seconds)

    def kill(self) -> None:
        """SIGKILL, at once."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        if self.process.stdin is not None:
            self.process.stdin.close()


def write_keys(file: Path, keys: Iterable[dict[str, Any]]) -> list[str]:
    """A keys file with new keys, each as `collector.keys.create_key` takes it; returns their texts."""
    text, shown = "", []
    for options in keys:
        key, secret = create_key(**options)
        text = add_key(text, key)
        shown.append(secret)
    file.write_text(text)
    return shown
