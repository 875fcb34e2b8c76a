"""A webhook: the JSON of Alertmanager's own webhooks (version 4), one alert per request, signed, with an idempotency key."""

import asyncio
import hmac
import random as randomness
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import aiohttp
import msgspec

from alerts.evaluation import Alert
from alerts.notifiers import UNREACHABLE, Outcome, Random, Sleep, base_url, place_of, post

NEVER = "0001-01-01T00:00:00Z"
"""`endsAt` of what still fires, as Alertmanager writes it."""
TIMESTAMP_HEADER, SIGNATURE_HEADER, KEY_HEADER = "X-Engagement-Timestamp", "X-Engagement-Signature", "Idempotency-Key"


def sign(secret: bytes, timestamp: str, body: bytes) -> str:
    """`v1=` and the hex HMAC-SHA256 of timestamp, a dot and the body: what a receiver computes and compares in constant time."""
    return "v1=" + hmac.digest(secret, timestamp.encode() + b"." + body, "sha256").hex()


class Webhook:
    """Posts to `url`; without a secret nothing is signed. Whatever is not 2xx is tried again later: a receiver can be mended."""

    resend_seconds: float | None = None

    def __init__(
        self,
        session: aiohttp.ClientSession,
        url: str,
        external_url: str,
        *,
        secret: bytes = b"",
        now: Callable[[], float] = time.time,
        sleep: Sleep = asyncio.sleep,
        random: Random = randomness.random,
    ) -> None:
        self._url = base_url(url.partition("?")[0]).update_query(url.partition("?")[2])
        self._external_url = base_url(external_url)
        self.name = f"webhook {place_of(self._url)}"
        self._session, self._secret = session, secret
        self._now, self._sleep, self._random = now, sleep, random

    async def send(self, alerts: Sequence[Alert]) -> list[Outcome]:
        """One request each. A receiver that cannot be reached is not asked for the rest of this round."""
        outcomes: list[Outcome] = []
        for alert in alerts:
            if outcomes and outcomes[-1].reason in UNREACHABLE:
                outcomes.append(outcomes[-1])
                continue
            body = msgspec.json.encode(self._wire(alert))
            outcomes.append(Outcome(await post(self._session, self._url, body, self._headers(alert, body), sleep=self._sleep, random=self._random)))
        return outcomes

    def _headers(self, alert: Alert, body: bytes) -> Callable[[], Mapping[str, str]]:
        def headers() -> Mapping[str, str]:
            timestamp = str(int(self._now()))
            plain = {"Content-Type": "application/json", KEY_HEADER: f"{alert.id}-{alert.transition}", TIMESTAMP_HEADER: timestamp}
            return {**plain, SIGNATURE_HEADER: sign(self._secret, timestamp, body)} if self._secret else plain

        return headers

    def _wire(self, alert: Alert) -> dict[str, Any]:
        one = {
            "status": alert.state,
            "labels": alert.labels,
            "annotations": alert.annotations,
            "startsAt": alert.started,
            "endsAt": alert.ended or NEVER,
            "generatorURL": str(self._external_url / "alerts" / alert.id),
            "fingerprint": alert.id,
        }
        return {
            "version": "4",
            "groupKey": f'{{}}:{{alertname="{alert.rule}", site="{alert.site}"}}',
            "truncatedAlerts": 0,
            "status": alert.state,
            "receiver": "webhook",
            "groupLabels": {"alertname": alert.rule, "site": alert.site},
            "commonLabels": alert.labels,
            "commonAnnotations": alert.annotations,
            "externalURL": str(self._external_url),
            "alerts": [one],
        }
