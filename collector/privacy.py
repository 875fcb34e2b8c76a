"""What of a request may go on into an event. Nothing here is undone later: what is not written is not kept.

- `Sec-GPC: 1` and `DNT: 1` say no to profiling, whatever the event itself says. They are about profiling and passing on, so counting
  goes on as the site's default says; a withdrawn consent to analytics is an event (`consent_changed`) or a field of one (`consent`).
- The user agent tells bots, which stay as they came, because they are nobody; of everyone else's only the family is kept.
- Of queries only what is on the list stays (`utm_*`); fragments go. A referrer is its host.
- An address (IP) is in no event: the door has it for its rates only, and what looks like one is taken out of the properties.
"""

import ipaddress
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Any, Final
from urllib.parse import unquote_plus

import msgspec

from streams.admission import BotFilter
from streams.events import Consent, Event
from streams.sources import host_of

ALLOWED_QUERY: Final = ("utm_*",)
"""Parameters of a URL that stay; `*` stands for any end."""
AGENT_LIMIT: Final = 512
_FAMILIES: Final = (
    ("Edg", "Edge"),
    ("OPR/", "Opera"),
    ("SamsungBrowser/", "Samsung Internet"),
    ("Firefox/", "Firefox"),
    ("FxiOS/", "Firefox"),
    ("Chrome/", "Chrome"),
    ("CriOS/", "Chrome"),
    ("Trident/", "Internet Explorer"),
    ("MSIE ", "Internet Explorer"),
    ("Safari/", "Safari"),
)
"""What a user agent contains, and the family it tells: the first that fits (most say Chrome and Safari too)."""
OTHER: Final = "other"
_ADDRESSES: Final = ("path", "link")
_MAYBE_ADDRESSES: Final = ("element", "file", "media")


def reduced(event: Event, opted_out: bool, user_agent: str | None, allowed: Sequence[str] = ALLOWED_QUERY) -> Event:
    """An event without what is not to be kept. `user_agent` is the request's: it counts where the event has none and a browser sent it
    (the libraries of servers are on the list of bots, and the people they speak about are not)."""
    changes: dict[str, Any] = {}
    if opted_out:
        consent = event.consent or Consent()
        changes["consent"] = Consent(consent.analytics, False, consent.sentiment)
    agent = event.user_agent or (user_agent if user_agent is not None and user_agent.startswith("Mozilla/") else None)
    if agent is not None:
        changes["user_agent"] = family_of(agent[:AGENT_LIMIT])
        if event.device is None and (device := device_of(agent[:AGENT_LIMIT])) is not None:
            changes["device"] = device
    for field in _ADDRESSES:
        if address := getattr(event, field, None):
            changes[field] = cut_query(address, allowed)
    for field in _MAYBE_ADDRESSES:
        name = getattr(event, field, None)
        if name is not None and "://" in name:
            changes[field] = cut_query(name, allowed)
    referrer = getattr(event, "referrer", None)
    if referrer is not None:
        changes["referrer"] = host_of(referrer) or None
    for field in ("properties", "traits"):
        entries = getattr(event, field, None)
        if entries is not None:
            changes[field] = _without_addresses(entries, allowed)
    changes = {field: value for field, value in changes.items() if getattr(event, field) != value}
    return msgspec.structs.replace(event, **changes) if changes else event


@lru_cache(maxsize=10_000)
def family_of(agent: str) -> str:
    """The browser's family; the agent itself where it is on the list of bots, so that the intake still counts it as one."""
    if BotFilter().judge(agent):
        return agent
    return next((family for words, family in _FAMILIES if words in agent), OTHER)


@lru_cache(maxsize=10_000)
def device_of(agent: str) -> str | None:
    """`mobile`, `tablet` or `desktop` of a browser; None where it does not tell."""
    if "iPad" in agent or "Tablet" in agent or ("Android" in agent and "Mobile" not in agent):
        return "tablet"
    if "Mobi" in agent:
        return "mobile"
    return "desktop" if any(words in agent for words in ("Windows NT", "Macintosh", "X11;")) else None


def cut_query(address: str, allowed: Sequence[str] = ALLOWED_QUERY) -> str:
    """A path or URL without fragment, and with those parameters only that are allowed."""
    address = address.partition("#")[0]
    start, question, query = address.partition("?")
    if not question:
        return address
    kept = "&".join(part for part in query.split("&") if _is_allowed(unquote_plus(part.partition("=")[0]), allowed))
    return f"{start}?{kept}" if kept else start


def _is_allowed(name: str, allowed: Sequence[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in allowed)


def _without_addresses(entries: Mapping[str, Any], allowed: Sequence[str]) -> dict[str, Any]:
    """Entries without IP addresses, and URLs among them with their query cut."""
    kept = {}
    for name, value in entries.items():
        if isinstance(value, str):
            if "://" in value:
                value = cut_query(value, allowed)
            elif is_ip(value):
                continue
        kept[name] = value
    return kept


def is_ip(text: str) -> bool:
    """Whether a text is an IP address, of either kind."""
    if len(text) > 45 or not (text.count(".") == 3 or ":" in text):
        return False
    try:
        ipaddress.ip_address(text.strip("[] "))
    except ValueError:
        return False
    return True
