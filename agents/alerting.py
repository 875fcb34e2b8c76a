"""Rules in force, the partitions that judge by them, and the service that tells people: wired here, decided in `alerts/`."""

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final

import aiohttp
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from agents.settings import PREFIX, Settings, SettingsError
from alerts.detection import unfed
from alerts.evaluation import Alert
from alerts.notifiers import Notifier
from alerts.notifiers.alertmanager import Alertmanager
from alerts.notifiers.delivery import Delivery
from alerts.notifiers.log import Log
from alerts.notifiers.webhook import Webhook
from alerts.rule_files import DEFAULT_RULES, Fault, RulesError, files_of, read_rules, reread
from alerts.watch import Watch
from streams.flow import State
from streams.sites import Sites

log = logging.getLogger(__name__)

NO_RULES: Final = "none"
REREAD_SECONDS: Final = 5.0


def rule_paths(setting: str | None) -> list[Path]:
    """The files and directories that the setting names: the default rules where it is not set, nothing for `none`."""
    if setting is None:
        return [DEFAULT_RULES]
    return [] if setting == NO_RULES else [Path(path) for path in setting.split(",")]


class Alerting(Collector):
    """What a worker needs to judge and to tell. `states` gives the partitions it owns. Raises SettingsError for rules that cannot be used."""

    def __init__(self, settings: Settings, sites: Sites, states: Callable[[], Iterable[State]], url: Callable[[], str] = str) -> None:
        """`url` gives the address of the worker's own pages; it is asked when all listens."""
        self._settings = settings
        self._url = url
        self._sites = sites
        self._states = states
        self._paths = rule_paths(settings.rules)
        try:
            self.rules = read_rules(self._paths)
        except RulesError as error:
            raise SettingsError(f"{PREFIX}RULES: {error}") from None
        self._warn()
        self._seen = self._changed_at()
        self.faults: tuple[Fault, ...] = ()
        """Why the rule files as they are now are not in force."""
        self._delivery: Delivery | None = None

    def new_state(self, partition: int) -> Watch:
        return Watch(
            partition, self._settings.partitions, self._sites, rules=self.rules, clock=lambda: int(time.time() * 1000), runbooks=self._settings.runbooks
        )

    def watches(self) -> list[Watch]:
        return [state for state in self._states() if isinstance(state, Watch)]

    def alerts(self) -> list[Alert]:
        """What the owned partitions know of: all that fires, as last measured, and what ended lately."""
        return [alert for watch in self.watches() for alert in watch.known()]

    async def deliver(self) -> None:
        """Tell people, until cancelled."""
        async with aiohttp.ClientSession() as session:
            self._delivery = Delivery(self.watches, list(self._notifiers(session)))
            await self._delivery.run()

    def _notifiers(self, session: aiohttp.ClientSession) -> Iterator[Notifier]:
        settings = self._settings
        here = settings.external_url or self._url()
        yield Log()
        for url in (settings.alertmanager or "").split(","):
            if url:
                yield Alertmanager(session, url, here)
        if settings.webhook:
            yield Webhook(session, settings.webhook, here, secret=(settings.webhook_secret or "").encode())

    async def keep_rules(self) -> None:
        """Look for changed rule files, until cancelled."""
        while True:
            await asyncio.sleep(REREAD_SECONDS)
            self.look_at_rules()

    def look_at_rules(self) -> None:
        """Put rule files in force that changed since the last look; faulty ones leave the old rules as they are."""
        if (now := self._changed_at()) != self._seen:
            self._seen = now
            self.rules, self.faults = reread(self._paths, self.rules)
            for fault in self.faults:
                log.error("rules not put in force, the old ones stay: %s", fault)
            if not self.faults:
                log.info("%d rules in force", len(self.rules.rules))
                self._warn()
        for watch in self.watches():  # also those that were taken over since
            watch.use(self.rules)

    def _warn(self) -> None:
        for sentence in unfed(self.rules, self._sites):
            log.warning("%s", sentence)

    def _changed_at(self) -> list[tuple[str, int]]:
        return [(str(file), _changed_at(file)) for path in self._paths for file in files_of(path)]

    def describe(self) -> Iterable[Metric]:
        return ()

    def collect(self) -> Iterator[Metric]:
        yield GaugeMetricFamily("engagement_rules", "Alert rules in force.", len(self.rules.rules))
        yield GaugeMetricFamily(
            "engagement_rules_faults", "Faults of the rule files as they are now; while there are any the old rules stay.", len(self.faults)
        )
        active = GaugeMetricFamily(
            "engagement_alert_active", "Alerts that fire, by rule and severity; 0 for a rule that is calm.", labels=("rule", "severity", "site")
        )
        firing: dict[tuple[str, str, str], int] = {}
        for watch in self.watches():
            for site in watch.rollups.books:
                for rule in watch.rules.of_site(site):
                    for severity in filter(None, (rule.severity, rule.escalate)):
                        firing.setdefault((rule.name, severity, site), 0)
            for alert in watch.alerts():
                firing[alert.rule, alert.severity, alert.site] = firing.get((alert.rule, alert.severity, alert.site), 0) + 1
        for labels, number in sorted(firing.items()):
            active.add_metric(labels, number)
        yield active
        text = "Label sets that detectors look at, by what they say; over_limit: those without one, because there are too many."
        detectors = GaugeMetricFamily("engagement_detectors", text, labels=("state",))
        counted: dict[str, int] = {}
        for watch in self.watches():
            for state, number in watch.detectors().items():
                counted[state] = counted.get(state, 0) + number
        for state, number in counted.items():
            detectors.add_metric((state,), number)
        yield detectors
        sent = CounterMetricFamily("engagement_notifications", "Transitions of alerts accepted, by notifier.", labels=("notifier",))
        failed = CounterMetricFamily(
            "engagement_notifications_failed", "Transitions of alerts not accepted, by notifier and reason.", labels=("notifier", "reason")
        )
        if self._delivery is not None:
            for name, number in sorted(self._delivery.sent.items()):
                sent.add_metric((name,), number)
            for (name, reason), number in sorted(self._delivery.failed.items()):
                failed.add_metric((name, reason), number)
        yield sent
        yield failed
        yield GaugeMetricFamily(
            "engagement_outbox", "Transitions that not every notifier has accepted yet.", sum(len(watch.outbox()) for watch in self.watches())
        )


def _changed_at(file: Path) -> int:
    """Nanoseconds; 0 where there is no such file, now or any more."""
    try:
        return file.stat().st_mtime_ns
    except OSError:
        return 0
