"""Where a view came from: a closed list of words, and the hosts of search engines and social networks."""

from collections.abc import Iterable
from urllib.parse import urlsplit

DIRECT, INTERNAL, SEARCH, SOCIAL, EMAIL, PAID, LOCAL, REFERRAL = "direct", "internal", "search", "social", "email", "paid", "local", "referral"
UNKNOWN = "unknown"
OTHER = "other"

SEARCH_HOSTS = (
    "google", "bing.com", "duckduckgo.com", "yahoo", "baidu.com", "yandex", "ecosia.org", "startpage.com", "qwant.com", "search.brave.com",
)  # fmt: skip
SOCIAL_HOSTS = (
    "facebook.com", "fb.com", "instagram.com", "t.co", "twitter.com", "x.com", "linkedin.com", "lnkd.in", "pinterest.com", "reddit.com",
    "tiktok.com", "youtube.com", "youtu.be", "threads.net", "bsky.app", "mastodon.social", "whatsapp.com", "t.me", "vk.com", "news.ycombinator.com",
)  # fmt: skip


def host_of(url: str) -> str:
    """Host of an absolute or scheme-less address, in lower case; empty when there is none."""
    try:
        return (urlsplit(url if "//" in url else "//" + url).hostname or "").rstrip(".")
    except ValueError:
        return ""


def is_listed(host: str, entries: Iterable[str]) -> bool:
    """Whether a host equals an entry or ends with it at a dot; an entry without a dot may stand before any top-level domain."""
    for entry in map(str.lower, entries):
        if host == entry or host.endswith("." + entry):
            return True
        if "." not in entry and entry in _names(host):
            return True
    return False


def _names(host: str) -> list[str]:
    """The part of a host before its top-level domain; before a second level such as `co.uk` and `com.br` too."""
    *_, name, second, _top = ("", "", *host.split("."))
    return [second, name] if len(second) <= 3 else [second]
