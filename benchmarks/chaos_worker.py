"""The worker that `prove_exact.py` kills: the product's, from ENGAGE_* variables, or with one of its guards taken out.

PROVE_NO_FENCE=1: zombies may write. PROVE_NO_STAMP_CHECK=1: a new owner starts some records before its stamp and applies them again.
"""

import os
import sys
from collections.abc import Iterable
from pathlib import Path
from uuid import uuid4

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from agents import app as worker
from agents.publishing import FencedWriter, Identity
from agents.settings import Settings
from streams.partition import Partition

REPEATED = 200
"""Records per topic that the worker without stamp check reads again."""


class Forgetful(Partition):
    """Loads the rows but not how far they reach."""

    def load(self, rows: Iterable[tuple[bytes, bytes]]) -> None:
        super().load(rows)
        self.offsets = {topic: offset - REPEATED for topic, offset in self.offsets.items() if offset >= REPEATED}


class Unfenced(FencedWriter):
    """Takes a partition under a name of its own, so that the broker refuses nobody who held it before. `fence=False` is not enough for that:
    it only keeps the worker from using the fence as a proof; a real broker raises the epoch of a known name all the same."""

    async def _new_identity(self, transactional_id: str) -> Identity:
        return await super()._new_identity(f"{transactional_id}-{uuid4()}")


def main() -> int:
    settings = Settings.from_env(os.environ)
    fence = not os.environ.get("PROVE_NO_FENCE")
    if not fence:
        worker.FencedWriter = Unfenced  # type: ignore[attr-defined]
    state = Forgetful if os.environ.get("PROVE_NO_STAMP_CHECK") else Partition
    engine = worker.Engine(settings, lambda partition: state(partition, settings.partitions), fence=fence)
    return worker.run_worker(worker.create_app(engine))


if __name__ == "__main__":
    sys.exit(main())
