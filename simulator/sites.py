"""The two made-up businesses: an outdoor shop in Berlin and an office tool used in Europe. What they sell, and how people find them."""

from collections.abc import Iterator
from itertools import accumulate
from random import Random
from typing import Any, Final, Generic, NamedTuple, TypeVar
from zoneinfo import ZoneInfo

from simulator.days import SHOPPING, WORKING, DayShape
from simulator.texts import Thing

T = TypeVar("T")

Step = tuple[int, str, dict[str, Any] | None]
"""When (ms), under which key, and the fields of an event without `id` and `at`; None: nothing is sent, the process only waits."""
Process = Iterator[Step]
"""Something that happens step by step: a visit, a ticket, a post. It is asked for its next step once the one before has happened."""


class Mix(Generic[T]):
    """Values drawn by weight."""

    def __init__(self, *choices: tuple[T, float]) -> None:
        self.values = [value for value, _ in choices]
        self._until = list(accumulate(weight for _, weight in choices))

    def draw(self, rnd: Random) -> T:
        return rnd.choices(self.values, cum_weights=self._until)[0]


class Product(NamedTuple):
    """What is sold: a product, or a plan at a price per month."""

    name: str
    category: str
    price_minor: int
    thing: Thing


class Arrival(NamedTuple):
    """How a visit came: channel, referring address, the campaign, and how ready to buy such visitors are (1: average)."""

    channel: str
    referrer: str | None = None
    campaign: dict[str, str] | None = None
    intent: float = 1.0


class Business(NamedTuple):
    """A site and all that is particular about it."""

    site: str
    kind: str
    """`shop`: sells products; `service`: sells subscriptions."""
    brand: str
    competitors: tuple[str, ...]
    zone: ZoneInfo
    shape: DayShape
    weight: float
    """Share of all events, relative to the other sites."""
    products: tuple[Product, ...]
    landings: Mix[str]
    guides: tuple[str, ...]
    arrivals: Mix[Arrival]
    networks: Mix[str]
    platforms: Mix[str]
    campaigns: tuple[str, ...]
    files: tuple[str, ...]
    media: tuple[tuple[str, int], ...]
    """Name and length in seconds."""
    countries: Mix[str]


SITES_YAML: Final = """\
sites:
  shop:
    time_zone: Europe/Berlin
    hosts: [shop.example]
    local: [cityguide.example, runclub.example]
    brands: [Ridgeway]
    competitors: [Peakline, Northtrail]
    goals:
      newsletter: {page: /newsletter}
      booking: {page: /appointment}
      contact: {page: /contact}
  app:
    time_zone: Europe/Amsterdam
    hosts: [app.example]
    local: [startuphub.example]
    brands: [Tidemark]
    competitors: [Boardly, Plannr]
    goals:
      trial: {page: /signup}
      newsletter: {page: /newsletter}
      contact: {page: /contact}
"""
"""Settings of the sites these events are about."""


def _product(name: str, category: str, price_minor: int, title: str, *parts: str) -> Product:
    return Product(name, category, price_minor, Thing(title, parts))


_SHOES = ("sole", "heel", "lacing", "insole", "toe cap", "tread")
_JACKETS = ("hood", "zip", "lining", "fabric", "cuff", "seam")
_PACKS = ("hip belt", "strap", "rain cover", "back panel", "side pocket", "buckle")

SHOP: Final = Business(
    site="shop",
    kind="shop",
    brand="Ridgeway",
    competitors=("Peakline", "Northtrail"),
    zone=ZoneInfo("Europe/Berlin"),
    shape=SHOPPING,
    weight=0.75,
    products=(
        _product("trail-7", "shoes", 12_900, "Trail 7", *_SHOES),
        _product("ridge-low", "shoes", 9_900, "Ridge Low", *_SHOES),
        _product("approach-2", "shoes", 14_900, "Approach 2", *_SHOES),
        _product("glacier-mid", "shoes", 18_900, "Glacier Mid", *_SHOES),
        _product("drizzle", "jackets", 17_900, "Drizzle jacket", *_JACKETS),
        _product("summit-down", "jackets", 24_900, "Summit down jacket", *_JACKETS),
        _product("breeze", "jackets", 8_900, "Breeze jacket", *_JACKETS),
        _product("daypack-22", "packs", 7_900, "Daypack 22", *_PACKS),
        _product("trek-45", "packs", 15_900, "Trek 45", *_PACKS),
        _product("merino-tee", "basics", 4_900, "Merino tee", "collar", "seam", "fabric", "sleeve"),
        _product("trail-sock", "basics", 1_490, "Trail sock", "heel", "toe", "cuff"),
        _product("head-torch", "gear", 3_990, "Head torch", "battery", "strap", "button", "beam"),
    ),
    landings=Mix(("/", 30), ("/shoes", 12), ("/jackets", 8), ("/packs", 5), ("product", 25), ("guide", 14), ("/sale", 6)),
    guides=("/guides/sizing", "/guides/care", "/guides/packing", "/guides/first-trail"),
    arrivals=Mix(
        (Arrival("direct"), 22),
        (Arrival("search", "https://www.google.com/"), 24),
        (Arrival("search", "https://duckduckgo.com/"), 3),
        (Arrival("search", "https://www.bing.com/"), 3),
        (Arrival("paid", "https://www.google.com/", {"source": "google", "medium": "cpc", "name": "autumn-shoes"}, 1.1), 13),
        (Arrival("paid", "https://www.instagram.com/", {"source": "instagram", "medium": "paid-social", "name": "autumn-look"}, 0.5), 5),
        (Arrival("social", "https://www.instagram.com/", None, 0.4), 8),
        (Arrival("social", "https://www.youtube.com/", None, 0.5), 3),
        (Arrival("social", "https://www.reddit.com/r/hiking", None, 0.6), 3),
        (Arrival("email", None, {"source": "newsletter", "medium": "email", "name": "weekly-news"}, 1.8), 8),
        (Arrival("local", "https://cityguide.example/sports", None, 1.2), 2),
        (Arrival("local", "https://runclub.example/partners", None, 1.5), 2),
        (Arrival("referral", "https://hikersblog.example/best-shoes", None, 1.1), 4),
    ),
    networks=Mix(("instagram", 35), ("mastodon", 15), ("reddit", 20), ("facebook", 20), ("tiktok", 10)),
    platforms=Mix(("store", 50), ("trustedshops", 30), ("google", 20)),
    campaigns=("weekly-news", "welcome", "autumn-sale", "back-in-stock"),
    files=("size-guide.pdf", "care-guide.pdf", "packing-list.pdf"),
    media=(("trail-7-tour", 95), ("lacing-how-to", 180), ("store-portrait", 60)),
    countries=Mix(("DE", 70), ("AT", 12), ("CH", 8), ("NL", 6), ("FR", 4)),
)
APP: Final = Business(
    site="app",
    kind="service",
    brand="Tidemark",
    competitors=("Boardly", "Plannr"),
    zone=ZoneInfo("Europe/Amsterdam"),
    shape=WORKING,
    weight=0.25,
    products=(
        _product("starter", "plans", 900, "Starter plan", "calendar", "task list", "export", "search"),
        _product("team", "plans", 2_900, "Team plan", "board view", "calendar", "chat", "sync", "report"),
        _product("business", "plans", 8_900, "Business plan", "audit log", "report", "single sign-on", "sync", "calendar"),
    ),
    landings=Mix(("/", 40), ("/features", 18), ("/pricing", 16), ("guide", 26)),
    guides=("/blog/remote-teams", "/blog/meetings", "/blog/time-boxing"),
    arrivals=Mix(
        (Arrival("direct"), 30),
        (Arrival("search", "https://www.google.com/"), 32),
        (Arrival("search", "https://www.bing.com/"), 5),
        (Arrival("paid", "https://www.google.com/", {"source": "google", "medium": "cpc", "name": "team-planner"}, 1.2), 14),
        (Arrival("social", "https://www.linkedin.com/", None, 0.7), 8),
        (Arrival("email", None, {"source": "product-news", "medium": "email", "name": "product-news"}, 1.3), 5),
        (Arrival("referral", "https://toolreviews.example/planners", None, 1.6), 5),
        (Arrival("local", "https://startuphub.example/tools", None, 1.2), 1),
    ),
    networks=Mix(("linkedin", 50), ("mastodon", 20), ("reddit", 30)),
    platforms=Mix(("g2", 55), ("capterra", 45)),
    campaigns=("product-news", "onboarding", "webinar"),
    files=("security-whitepaper.pdf", "price-list.pdf"),
    media=(("product-tour", 140), ("webinar-recording", 2_400)),
    countries=Mix(("NL", 30), ("DE", 30), ("BE", 15), ("GB", 15), ("IE", 10)),
)
BUSINESSES: Final = (SHOP, APP)

DEVICES: Final = Mix(
    (("desktop", "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/139.0.0.0 Safari/537.36"), 26),
    (("desktop", "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.5 Safari/605.1.15"), 10),
    (("desktop", "Mozilla/5.0 (X11; Linux x86_64; rv:142.0) Gecko/20100101 Firefox/142.0"), 6),
    (("mobile", "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.5 Mobile/15E148 Safari/604.1"), 30),
    (("mobile", "Mozilla/5.0 (Linux; Android 15; Pixel 8) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/139.0.0.0 Mobile Safari/537.36"), 24),
    (("tablet", "Mozilla/5.0 (iPad; CPU OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.5 Mobile/15E148 Safari/604.1"), 4),
)
BOTS: Final = (
    "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
    "Mozilla/5.0 (compatible; bingbot/2.0; +http://www.bing.com/bingbot.htm)",
    "Mozilla/5.0 (compatible; AhrefsBot/7.0; +http://ahrefs.com/robot/)",
    "Mozilla/5.0 AppleWebKit/537.36 (KHTML, like Gecko; compatible; GPTBot/1.2; +https://openai.com/gptbot)",
)

if __name__ == "__main__":
    print(SITES_YAML, end="")
