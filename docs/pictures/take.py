"""The pictures of the README, taken of one real run: `.venv/bin/python docs/pictures/take.py`.

terminal.svg is the screen of `engage run` as the process wrote it to its terminal, seconds after the feedback storm set off its alert.
prometheus.png is the graph page of a real Prometheus that scraped the worker of the same run, after the alert was called off.
Needs the programs prometheus and chromium; takes about three minutes.
"""

import fcntl
import os
import pty
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import termios
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, TypeVar
from urllib.parse import urlencode

from rich.console import Console
from rich.text import Text

T = TypeVar("T")
HERE: Final = Path(__file__).parent
ROOT: Final = HERE.parents[1]
PROGRAMS: Final = {"prometheus": ("prometheus",), "chromium": ("chromium", "chromium-browser", "google-chrome")}
COLUMNS: Final = 112
ROWS: Final = 60
"""So wide that the account is one line, and so high that nothing is cut off; the picture is as high as what is shown."""
SECONDS: Final = 170
"""The run ends by itself after so many, whatever happens here."""
FIRES: Final = "▲ FeedbackStorm"
OVER: Final = "✓ FeedbackStorm"
NEXT_FRAME: Final = re.compile(r"\r\x1b\[2K(?:\x1b\[1A\x1b\[2K)*")
"""What rich writes to go back to the top of its screen."""
SHOWN: Final = 'engagement_negative_share_ratio{site="shop",by=""} or engagement_alert_active{site="shop",rule="FeedbackStorm"}'
KEPT: Final = 200_000
"""Bytes of the terminal that are looked at: many frames."""
CONFIG: Final = """\
global: {{scrape_interval: 1s}}
scrape_configs: [{{job_name: engage-worker, static_configs: [{{targets: ["{target}"]}}]}}]
"""
LARGEST: Final = 200_000
"""Bytes of a picture, at most."""


class PictureError(RuntimeError):
    """No picture; the text says why."""


class Screen:
    """A command under a terminal of its own, and what it shows there."""

    def __init__(self, command: list[str]) -> None:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("ENGAGE_") and name != "NO_COLOR"}
        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
        self.process = subprocess.Popen(
            command, cwd=ROOT, env=environment | {"TERM": "xterm-256color", "COLORTERM": "truecolor"},
            stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
        )  # fmt: skip
        os.close(theirs)
        self._written = b""
        self._reader = threading.Thread(target=self._read, args=(ours,), daemon=True)
        self._reader.start()

    def _read(self, terminal: int) -> None:
        while True:
            try:
                read = os.read(terminal, 65536)
            except OSError:  # the command has ended
                return
            self._written = (self._written + read)[-KEPT:]

    def shown(self) -> str:
        """The newest frame that is complete, with its colours; once the command has ended: its last words."""
        frames = NEXT_FRAME.split(self._written.decode(errors="replace").replace("\r\n", "\n"))
        return frames[-2] if len(frames) > 1 and self.process.poll() is None else frames[-1]

    def wait_for(self, text: str, seconds: float) -> str:
        """The first frame with this text."""

        def frame() -> str | None:
            if self.process.poll() is not None:
                self._reader.join(1)
                raise PictureError(f"engage run has ended:\n{Text.from_ansi(self.shown()).plain}")
            return shown if text in (shown := self.shown()) else None

        return wait_for(frame, seconds, f"{text!r} on the screen of engage run")

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()


def main() -> None:
    programs = {name: next(filter(None, map(shutil.which, names)), None) for name, names in PROGRAMS.items()}
    if missing := [name for name, path in programs.items() if path is None]:
        sys.exit(f"Missing: {', '.join(missing)}. On Debian: apt-get install {' '.join(missing)}")
    try:
        take(str(programs["prometheus"]), str(programs["chromium"]))
    except PictureError as error:
        sys.exit(str(error))


def take(prometheus: str, chromium: str) -> None:
    """Both pictures of one run. Raises PictureError."""
    with ExitStack() as stack:
        directory = Path(stack.enter_context(TemporaryDirectory(prefix="pictures-")))
        screen = Screen([sys.executable, "-m", "agents", "run", "--duration", str(SECONDS)])
        stack.callback(screen.end)
        say("engage run is starting")
        found = re.search(r"http://([\d.]+:\d+)/metrics", Text.from_ansi(screen.wait_for("/metrics", 30)).plain)
        assert found is not None
        url = stack.enter_context(served(prometheus, directory, found[1]))
        screen.wait_for(FIRES, 110)
        time.sleep(2)
        draw(screen.wait_for(FIRES, 1), HERE / "terminal.svg")
        screen.wait_for(OVER, 90)
        time.sleep(5)
        photograph(chromium, directory, graph(url), HERE / "prometheus.png")


@contextmanager
def served(prometheus: str, directory: Path, target: str) -> Iterator[str]:
    """A Prometheus that scrapes the target every second; gives its address."""
    (directory / "prometheus.yml").write_text(CONFIG.format(target=target))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    with (directory / "prometheus.log").open("wb") as log:
        process = subprocess.Popen(
            [prometheus, f"--config.file={directory}/prometheus.yml", f"--storage.tsdb.path={directory}/data", f"--web.listen-address={address}"],
            stdout=log, stderr=log, cwd=directory,
        )  # fmt: skip

    def ready() -> bool | None:
        if process.poll() is not None:
            raise PictureError(f"prometheus has ended:\n{(directory / 'prometheus.log').read_text()}")
        try:
            with urllib.request.urlopen(f"http://{address}/-/ready", timeout=2) as answer:
                return bool(answer.status == 200) or None
        except OSError:
            return None

    try:
        wait_for(ready, 30, "prometheus to be ready")
        yield f"http://{address}"
    finally:
        process.terminate()
        process.wait(30)


def graph(url: str) -> str:
    """Address of the graph page."""
    return f"{url}/graph?" + urlencode({"g0.expr": SHOWN, "g0.tab": 0, "g0.range_input": "2m", "g0.step_input": 1, "g0.stacked": 0})


def draw(frame: str, path: Path) -> None:
    """A frame of the terminal as SVG, which loads nothing from elsewhere."""
    console = Console(record=True, width=COLUMNS, file=open(os.devnull, "w"), force_terminal=True, highlight=False)  # noqa: SIM115
    console.print(Text.from_ansi(frame.strip("\n")))
    picture = console.export_svg(title="engage run", unique_id="engage")
    written(path, re.sub(r"@font-face \{.*?\}\s*", "", picture, flags=re.DOTALL).encode())


def photograph(chromium: str, directory: Path, url: str, path: Path) -> None:
    """A page as PNG."""
    taken = directory / "page.png"
    rights = ["--no-sandbox"] if os.geteuid() == 0 else []
    done = subprocess.run(
        [chromium, "--headless", *rights, "--disable-gpu", "--hide-scrollbars", f"--user-data-dir={directory}/chromium", "--window-size=1280,880",
         "--virtual-time-budget=10000", f"--screenshot={taken}", url],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    if not taken.exists():
        raise PictureError(f"chromium took no picture:\n{done.stderr}")
    written(path, taken.read_bytes())


def written(path: Path, content: bytes) -> None:
    if len(content) > LARGEST:
        raise PictureError(f"{path.name} would have {len(content):,} bytes, more than {LARGEST:,}.")
    path.write_bytes(content)
    say(f"{path.name}: {len(content):,} bytes")


def wait_for(look: Callable[[], T | None], seconds: float, what: str) -> T:
    """The first thing that is seen."""
    deadline = time.monotonic() + seconds
    while (seen := look()) is None:
        if time.monotonic() > deadline:
            raise PictureError(f"Waited {seconds:.0f} s in vain for {what}.")
        time.sleep(0.2)
    return seen


def say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    main()
