"""Who is told: one file per way of telling. A notifier takes alerts and says of each what became of it; it never raises for a peer that misbehaves."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final, NamedTuple, Protocol

import aiohttp
from yarl import URL

from alerts.evaluation import Alert

ATTEMPTS: Final = 3
"""In one round; the next round tries again."""
FIRST_DELAY, LONGEST_DELAY = 1.0, 60.0
TIMEOUT: Final = aiohttp.ClientTimeout(total=5.0)

Sleep = Callable[[float], Awaitable[None]]
Random = Callable[[], float]
"""Uniform in [0, 1): the jitter."""


class Outcome(NamedTuple):
    """What became of one alert. Without a reason it was accepted; `final`: trying again would change nothing."""

    reason: str = ""
    final: bool = False

    @property
    def is_settled(self) -> bool:
        return not self.reason or self.final


ACCEPTED: Final = Outcome()
UNREACHABLE: Final = frozenset({"connection", "timeout"})


class Notifier(Protocol):
    """One place that is told: one Alertmanager, one webhook, the log."""

    @property
    def name(self) -> str:
        """Unique among the notifiers; without secrets, as it is a label of metrics."""

    @property
    def resend_seconds(self) -> float | None:
        """How often it wants to be told again what fires; None: never."""

    async def send(self, alerts: Sequence[Alert]) -> list[Outcome]:
        """Tell of these alerts, no two with the same labels; one outcome each, in their order."""


def backoff(failures: int, random: Random) -> float:
    """Seconds to wait after so many failures in a row: exponential with full jitter (Brooker 2015), so that senders do not fall into step."""
    return random() * min(LONGEST_DELAY, FIRST_DELAY * 2.0 ** min(failures - 1, 16))


def base_url(text: str) -> URL:
    """An absolute http(s) address without query; ValueError with what is allowed. Alertmanager refuses a whole batch for one that is not."""
    try:
        url = URL(text)
    except ValueError as error:
        raise ValueError(f"{text!r} is no address ({error}); write one such as http://alertmanager:9093") from None
    if url.scheme not in {"http", "https"} or not url.host or url.query_string or url.fragment:
        raise ValueError(f"{text!r} is not allowed; write an absolute address such as http://alertmanager:9093, without query")
    return url


def place_of(url: URL) -> str:
    """An address as it may be shown: without user, password, path and query."""
    return f"{url.host}:{url.port}"


async def post(session: aiohttp.ClientSession, url: URL, body: bytes, headers: Callable[[], Mapping[str, str]], *, sleep: Sleep, random: Random) -> str:
    """POST until it is accepted, at most ATTEMPTS times; 4xx are not tried again at once. Returns the reason of the failure, or ''.

    Reasons: `connection`, `timeout`, `status_<code>`. `headers` is asked for each attempt (a signature holds the time).
    """
    for attempt in range(1, ATTEMPTS + 1):
        try:
            async with session.post(url, data=body, headers=headers(), timeout=TIMEOUT, allow_redirects=False) as answer:
                if 200 <= answer.status < 300:
                    return ""
                reason = f"status_{answer.status}"
                if answer.status < 500 and answer.status not in {408, 425, 429}:
                    return reason
        except TimeoutError:
            reason = "timeout"
        except (aiohttp.ClientError, OSError):
            reason = "connection"
        if attempt < ATTEMPTS:
            await sleep(backoff(attempt, random))
    return reason
