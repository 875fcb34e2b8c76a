"""Where a view came from (source class) and where it went (route): closed or capped words instead of addresses."""

from collections.abc import Iterable
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from streams.sites import Site

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


def source_of(referrer: str | None, medium: str | None, site: "Site") -> str:
    """Class of a view's source: the campaign's medium first, then the referrer's host against the site's lists.

    A host entry without a dot (`google`) stands for that name under any top-level domain.
    """
    if medium:
        word = medium.casefold()
        if word.startswith("paid") or word in {"cpc", "ppc", "display"}:
            return PAID
        if word in {"email", "e-mail"}:
            return EMAIL
        if word.startswith("social"):
            return SOCIAL
    if not referrer:
        return DIRECT
    host = host_of(referrer)
    if not host:
        return REFERRAL
    for hosts, name in ((site.hosts, INTERNAL), (site.local, LOCAL), (site.search, SEARCH), (site.social, SOCIAL)):
        if is_listed(host, hosts):
            return name
    return REFERRAL


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


def route_of(path: str, site: "Site") -> str:
    """Route of a path: the first configured template that fits, else the first segment; query and fragment are cut."""
    path = path.partition("#")[0].partition("?")[0]
    for pattern, template in site.route_patterns:
        if pattern.fullmatch(path):
            return template
    return "/" + path.lstrip("/").partition("/")[0]
