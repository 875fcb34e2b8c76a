"""The worker that `prove_exact.py` kills: the product's, from ENGAGE_* variables, or with one of its guards taken out.

PROVE_NO_FENCE=1: zombies may write. PROVE_NO_STAMP_CHECK=1: a new owner starts some records before its stamp and applies them again.
"""

import os
import sys
from collections.abc import Iterable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from agents.app import create_app, run_worker
from agents.settings import Settings
from streams.partition import Partition

REPEATED = 200
"""Records per topic that the worker without stamp check reads again."""


class Forgetful(Partition):
    """Loads the rows but not how far they reach."""

    def load(self, rows: Iterable[tuple[bytes, bytes]]) -> None:
        super().load(rows)
        self.offsets = {topic: offset - REPEATED for topic, offset in self.offsets.items() if offset >= REPEATED}


def main() -> int:
    settings = Settings.from_env(os.environ)
    state = Forgetful if os.environ.get("PROVE_NO_STAMP_CHECK") else Partition
    app = create_app(settings, lambda partition: state(partition, settings.partitions), fence=not os.environ.get("PROVE_NO_FENCE"))
    return run_worker(app)


if __name__ == "__main__":
    sys.exit(main())
