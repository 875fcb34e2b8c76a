"""What measurements and proofs share: progress on standard error, and a folder for a run whose last line is one JSON object."""

import asyncio
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any


def say(text: str) -> None:
    """A line of progress."""
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


def prove(name: str, run: Callable[[Path], Coroutine[Any, Any, dict[str, Any]]], must_be_zero: Sequence[str], *, keep: bool) -> int:
    """Run a proof in a folder of its own and print what it found; returns the exit code: 1 if a figure that must be 0 is not."""
    directory = Path(tempfile.mkdtemp(prefix=f"{name}-"))
    try:
        result = asyncio.run(run(directory))
    finally:
        if keep:
            say(f"kept: {directory}")
        else:
            shutil.rmtree(directory, ignore_errors=True)
    print(json.dumps(result), flush=True)
    return int(any(result[figure] for figure in must_be_zero))
