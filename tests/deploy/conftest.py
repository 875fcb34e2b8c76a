"""Programs that the tests of what is deployed need: Prometheus, Alertmanager and their tools, as Debian packages them."""

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.deploy.serving import Fed

ROOT = Path(__file__).parents[2]
PACKAGES = {"promtool": "prometheus", "prometheus": "prometheus", "amtool": "prometheus-alertmanager", "prometheus-alertmanager": "prometheus-alertmanager"}


@pytest.fixture(scope="session")
def program() -> Callable[[str], str]:
    """Path of a program; skips with a sentence without it, and fails where everything must be there."""

    def find(name: str) -> str:
        if found := shutil.which(name):
            return found
        message = f"{name} is missing: install Debian's package {PACKAGES[name]}"
        if os.environ.get("CI"):
            pytest.fail(message, pytrace=False)
        pytest.skip(message)

    return find


@pytest.fixture
def run(program: Callable[[str], str]) -> Callable[..., str]:
    """Run a program in the project's root; its output. A non-zero status fails the test with it."""

    def go(name: str, *arguments: str) -> str:
        done = subprocess.run([program(name), *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return go


@pytest.fixture(scope="session")
def fed() -> Fed:
    """A worker that has counted a month of the made-up shops; made once, because it takes some seconds."""
    return Fed()
