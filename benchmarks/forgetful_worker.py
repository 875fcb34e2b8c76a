"""The worker that `prove_alerts.py --forget` runs: the product's, but after a restart it has forgotten what was decided and not yet told."""

import os
import sys
from collections.abc import Iterable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from agents.alerting import Alerting
from agents.app import Engine, create_app, run_worker
from agents.settings import Settings
from alerts.watch import OUTBOX_ROW, Watch
from streams.sites import Sites


class Forgetful(Watch):
    """Loads all rows but those of the outbox."""

    def load(self, rows: Iterable[tuple[bytes, bytes]]) -> None:
        super().load((key, value) for key, value in rows if not key.startswith(OUTBOX_ROW))


class ForgetfulAlerting(Alerting):
    def new_state(self, partition: int) -> Watch:
        watch = super().new_state(partition)
        return Forgetful(partition, self._settings.partitions, watch.sites, rules=watch.rules, clock=watch.clock, runbooks=watch.runbooks)


def main() -> int:
    settings = Settings.from_env(os.environ)
    alerting = ForgetfulAlerting(settings, Sites(), lambda: engine.states())
    engine = Engine(settings, alerting.new_state, collectors=[alerting], beside=[alerting.deliver])
    return run_worker(create_app(engine))


if __name__ == "__main__":
    sys.exit(main())
