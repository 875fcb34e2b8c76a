"""A small state for tests of the engine, and a worker around it: `python counting.py` runs one from ENGAGE_* variables.

It counts records per key and checks what the engine promises: offsets only go up, and never leave a hole.
COUNTING=block|raise|deaf makes the worker misbehave at the first record.
"""

import asyncio
import json
import os
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from streams.flow import Flush, Message, Record

STAMP = b"@"


class Counting:
    """Rows: key -> number of records seen. The stamp is the last row of every flush."""

    def __init__(self, partition: int) -> None:
        self.partition = partition
        self.offsets: dict[str, int] = {}
        self.counts: dict[bytes, int] = {}
        self.seq = 0
        self.before: list[Message] = []
        self.after: list[Message] = []
        self.ticks = 0
        self._changed: set[bytes] = set()
        self._moved = False

    @property
    def changed(self) -> int:
        return len(self._changed)

    def load(self, rows: Iterable[tuple[bytes, bytes]]) -> None:
        for key, value in rows:
            if key == STAMP:
                stamp = json.loads(value)
                self.offsets, self.seq = stamp["offsets"], stamp["seq"]
            else:
                self.counts[key] = int(value)

    def apply(self, topic: str, records: Sequence[Record]) -> int:
        last, applied = self.offsets.get(topic, -1), 0
        for record in records:
            if record.offset > last:
                last, applied = record.offset, applied + 1
                key = record.key or b"-"
                self.counts[key] = self.counts.get(key, 0) + 1
                self._changed.add(key)
        if applied:
            self.offsets[topic] = last
            self._moved = True
        return applied

    def flush(self) -> Flush | None:
        return self.snapshot() if self._moved else None

    def snapshot(self) -> Flush:
        self.seq += 1
        rows: list[tuple[bytes, bytes | None]] = [(key, str(self.counts[key]).encode()) for key in sorted(self._changed)]
        rows.append((STAMP, json.dumps({"offsets": self.offsets, "seq": self.seq}).encode()))
        flush = Flush(self.before, rows, self.after)
        self._changed, self._moved, self.before, self.after = set(), False, [], []
        return flush

    def tick(self, _: float) -> list[Message]:
        self.ticks += 1
        return []

    def status(self) -> Mapping[str, int]:
        return {"keys": len(self.counts)}


class Misbehaving(Counting):
    """Does what `COUNTING` says when the first record comes."""

    def apply(self, topic: str, records: Sequence[Record]) -> int:
        match os.environ["COUNTING"]:
            case "raise":
                raise RuntimeError("the state is broken")
            case "block":
                time.sleep(3600)
        return super().apply(topic, records)


def main() -> int:
    from agents.app import Engine, create_app, run_worker
    from agents.settings import Settings

    if os.environ.get("COUNTING") == "deaf":
        from agents import batches

        async def hears_nothing(*_: Any) -> dict[Any, Any]:
            await asyncio.sleep(0.5)
            return {}

        batches.poll = hears_nothing  # type: ignore[assignment]
        del os.environ["COUNTING"]
    settings = Settings.from_env(os.environ)
    engine = Engine(settings, Misbehaving if "COUNTING" in os.environ else Counting, fence=os.environ.get("UNFENCED") is None)
    return run_worker(create_app(engine))


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))
    sys.exit(main())
