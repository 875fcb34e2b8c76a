"""Alertmanager, API v2: one notifier per instance (Alertmanagers share what they sent, not what they were told).

It keeps alerts in memory only, replaces annotations by those of the last post, and lets an alert go at its `endsAt`: so
everything is said completely, each minute, with an end four minutes ahead.

It knows an alert by its labels, and routes by `severity`, which is one of them: an alert whose severity rises is another one
there. So the one it was is ended in the same request, for as long as ends are repeated.
"""

import asyncio
import random as randomness
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
import msgspec

from alerts.evaluation import Alert, resolved, unescalated
from alerts.notifiers import ACCEPTED, UNREACHABLE, Outcome, Random, Sleep, base_url, place_of, post
from alerts.watch import END_REPEATED
from streams.events import millis

RESEND_SECONDS = 60.0
ENDS_AFTER = 4
"""In resends: a missed one or two must not resolve an alert that fires."""
CONTENT_REFUSED = ("status_400", "status_413", "status_422")
"""Answers that are about the alert itself: saying it again changes nothing."""


def now_utc() -> datetime:
    return datetime.now(UTC)


class Alertmanager:
    """One instance at `url`; `external_url` is where people find us, for the link in each alert."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        url: str,
        external_url: str,
        *,
        resend_seconds: float = RESEND_SECONDS,
        now: Callable[[], datetime] = now_utc,
        sleep: Sleep = asyncio.sleep,
        random: Random = randomness.random,
    ) -> None:
        address = base_url(url)
        self.name = f"alertmanager {place_of(address)}"
        self.resend_seconds: float | None = resend_seconds
        self._lifetime = timedelta(seconds=ENDS_AFTER * resend_seconds)
        self._url = address / "api/v2/alerts"
        self._external_url = base_url(external_url)
        self._session = session
        self._now, self._sleep, self._random = now, sleep, random

    async def send(self, alerts: Sequence[Alert]) -> list[Outcome]:
        """All in one request; when that is refused, one by one, because one bad alert takes the whole batch with it."""
        reason = await self._post(alerts)
        if not reason:
            return [ACCEPTED] * len(alerts)
        if len(alerts) > 1 and reason.startswith("status_4"):
            outcomes: list[Outcome] = []
            for alert in alerts:
                unreachable = bool(outcomes) and outcomes[-1].reason in UNREACHABLE
                outcomes.append(outcomes[-1] if unreachable else _outcome(await self._post([alert])))
            return outcomes
        return [_outcome(reason)] * len(alerts)

    async def _post(self, alerts: Sequence[Alert]) -> str:
        now = self._now()
        body = msgspec.json.encode([self._wire(one, now) for alert in alerts for one in _as_known(alert, now)])
        return await post(self._session, self._url, body, _json, sleep=self._sleep, random=self._random)

    def _wire(self, alert: Alert, now: datetime) -> dict[str, Any]:
        """Event time may lie ahead of this clock: a resolve must not lie in the future, nor a start behind its end."""
        ends = now + self._lifetime if alert.state == "firing" else min(alert.ended or now, now)
        return {
            "labels": alert.labels,
            "annotations": alert.annotations,
            "startsAt": min(alert.started, ends),
            "endsAt": ends,
            "generatorURL": str(self._external_url / "alerts" / alert.id),
        }


def _as_known(alert: Alert, now: datetime) -> Iterator[Alert]:
    yield alert
    if alert.escalated is not None and now <= alert.escalated + timedelta(milliseconds=END_REPEATED):
        yield resolved(unescalated(alert), millis(alert.escalated))


def _json() -> Mapping[str, str]:
    return {"Content-Type": "application/json"}


def _outcome(reason: str) -> Outcome:
    return Outcome(reason, final=reason in CONTENT_REFUSED)
