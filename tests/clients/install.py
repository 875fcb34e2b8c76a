"""The clients of other products, installed beside this file as their lock files have them, when a test asks for them first."""

import fcntl
import hashlib
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

HERE = Path(__file__).parent
SECONDS = 300


class UnavailableError(RuntimeError):
    """They cannot be installed here; the text says what is missing."""


def python() -> Path:
    """The interpreter of the environment with the clients for Python and the fuzzer."""
    interpreter = HERE / ".venv" / "bin" / "python"
    pip = (str(interpreter), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--require-hashes", "-r", "requirements.lock")
    _install(HERE / ".venv", "requirements.lock", (sys.executable, "-m", "venv", "--clear", ".venv"), pip)
    return interpreter


def node_modules() -> Path:
    """The folder with the clients for JavaScript and the schema of AsyncAPI."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        raise UnavailableError("the clients for JavaScript need node and npm (Debian: nodejs, npm)")
    # Not `npm ci`: it wants optional accelerators for all platforms in the lock, also those that a registry may not carry.
    _install(HERE / "node_modules", "package-lock.json", ("npm", "install", "--no-save", "--omit=optional"))
    return HERE / "node_modules"


def _install(place: Path, lock: str, *commands: Sequence[str]) -> None:
    """Run the commands unless they have been run for this lock; one process at a time."""
    stamp = place / ".installed"
    wanted = hashlib.sha256((HERE / lock).read_bytes()).hexdigest()
    with (HERE / lock).open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        if stamp.exists() and stamp.read_text() == wanted:
            return
        for command in commands:
            try:
                subprocess.run(command, cwd=HERE, check=True, capture_output=True, text=True, timeout=SECONDS)
            except subprocess.TimeoutExpired:
                raise UnavailableError(f"`{' '.join(map(str, command))}` in tests/clients takes more than {SECONDS} s: is there a registry?") from None
            except subprocess.CalledProcessError as error:
                said = (error.stderr or error.stdout).strip().splitlines()[-3:]
                raise UnavailableError(f"`{' '.join(map(str, command))}` in tests/clients failed: {' / '.join(said)}") from None
        stamp.write_text(wanted)
