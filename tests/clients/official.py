"""What the official validators say."""

import json
import subprocess
from pathlib import Path
from typing import Any

from tests.clients import install
from tests.conftest import missing


def complaints(**asked: Any) -> list[list[str]]:
    """Of each instance, by validate.py; skips the test when it cannot be installed here."""
    try:
        command = [str(install.python()), str(Path(install.__file__).with_name("validate.py"))]
    except install.UnavailableError as error:
        missing(error)
    done = subprocess.run(command, input=json.dumps(asked), capture_output=True, text=True, timeout=60, check=True)
    said: list[list[str]] = json.loads(done.stdout)
    return said
