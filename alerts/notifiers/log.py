"""The log of the worker: it is always told."""

import logging
from collections.abc import Sequence

from alerts.evaluation import Alert
from alerts.notifiers import ACCEPTED, Outcome

log = logging.getLogger(__name__)

LEVELS = {"page": logging.ERROR, "ticket": logging.WARNING, "info": logging.INFO}


class Log:
    """One line per transition, at a level that fits the severity."""

    name = "log"
    resend_seconds: float | None = None

    async def send(self, alerts: Sequence[Alert]) -> list[Outcome]:
        for alert in alerts:
            level = LEVELS.get(alert.severity, logging.WARNING) if alert.state == "firing" else logging.INFO
            log.log(level, "alert %s %s %s: %s", alert.transition, alert.rule, alert.id, alert.annotations.get("summary", ""))
        return [ACCEPTED] * len(alerts)
