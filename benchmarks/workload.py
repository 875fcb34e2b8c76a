"""Events to measure with: seeded, so that two runs with the same seed and clock make the same bytes, and shaped like some busy hours of five shops.

About 2,000 of 60,000 visitors are in a session at any time; a session has about six events; segment, channel, device and country
stay with the visitor. Texts are put together from phrases, so that hardly two are alike.
"""

import random
import zlib
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, NamedTuple

import msgspec

from streams.topics import partition_of

SITES = ("shop", "outdoor.example", "kitchen.example", "books.example", "garden.example")
SEGMENTS = ("new", "returning", "loyal", "business", "student")
CHANNELS = ("search", "direct", "email", "social", "paid", "referral")
COUNTRIES = ("DE", "US", "GB", "FR", "NL", "SE", "ES", "IT", "PL", "AT")
NETWORKS = ("mastodon", "bluesky", "instagram", "reddit", "youtube")
PLATFORMS = ("store", "trusted-reviews", "maps")
REFERRERS = ("https://www.google.com/", "https://www.bing.com/", "https://duckduckgo.com/", "https://mastodon.social/", "https://www.reddit.com/r/shoes")
CAMPAIGNS = (("google", "cpc", "spring"), ("newsletter", "email", "weekly"), ("instagram", "social", "launch"), ("partner", "affiliate", "summer"))
ELEMENTS = ("add-to-cart", "open-menu", "size-guide", "wish-list", "play-video", "show-more", "filter-price", "share")
GOALS = ("newsletter", "account", "contact", "store-finder")
VISITORS = 60_000
ACTIVE = 2_000
SECONDS_BETWEEN_EVENTS = 30.0
"""Of one active visitor: so 2,000 of them make about 67 events a second, and 500,000 events span two hours."""
LAST_OF_SESSION = 1 / 6
PARTITIONS = 4

_KINDS = ("trail", "road", "city", "kids", "winter", "summer", "sale", "new", "gift", "basics")
_THINGS = ("shoes", "jackets", "tents", "knives", "pans", "novels", "seeds", "lamps", "bags", "socks")
_PRODUCTS = tuple(f"/{thing}/{kind}{tail}" for thing in _THINGS for kind in _KINDS for tail in ("", "/page-2"))
PATHS = ("/", "/cart", "/checkout", "/about", "/help/returns", *_PRODUCTS)

_CHROME = "Mozilla/5.0 ({}) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/{}.0.0.0 {}Safari/537.36"
_SAFARI = "Mozilla/5.0 ({}) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/{} {}Safari/{}"
_FIREFOX = "Mozilla/5.0 ({}; rv:{}.0) Gecko/20100101 Firefox/{}.0"
_WINDOWS, _MAC, _LINUX = "Windows NT 10.0; Win64; x64", "Macintosh; Intel Mac OS X 10_15_7", "X11; Linux x86_64"
_IPHONE, _ANDROID = "iPhone; CPU iPhone OS {} like Mac OS X", "Linux; Android 10; K"
DESKTOPS = (
    *(_CHROME.format(system, number, "") for system in (_WINDOWS, _MAC, _LINUX) for number in (139, 140)),
    *(_FIREFOX.format(system, number, number) for system in (_WINDOWS, _LINUX) for number in (142, 143)),
    _SAFARI.format(_MAC, "18.6", "", "605.1.15"),
    _CHROME.format(_WINDOWS, 140, "") + " Edg/140.0.0.0",
)
PHONES = (
    *(_CHROME.format(_ANDROID, number, "Mobile ") for number in (137, 138, 139, 140)),
    *(_SAFARI.format(_IPHONE.format(system.replace(".", "_")), system, "Mobile/15E148 ", "604.1") for system in ("17.6", "18.5", "18.6")),
    "Mozilla/5.0 (Android 15; Mobile; rv:143.0) Gecko/143.0 Firefox/143.0",
)

_OPENINGS = (
    "", "Honestly, ", "Wow! ", "Update: ", "So, ", "After two weeks: ", "Not going to lie, ", "FYI: ", "First impression: ", "Okay, ", "Sadly, ",
    "Good news: ", "Day 3 and ", "Friends asked, so: ", "Just unpacked it. ", "Quick note: ", "To be fair, ", "Hmm. ", "Finally! ",
    "Long story short: ",
)  # fmt: skip
_SUBJECTS = (
    "the delivery", "their support", "the new jacket", "my order", "the app", "the checkout", "this tent", "the trail shoe", "customer service",
    "the packaging", "the size guide", "the return", "their newsletter", "the price", "the quality", "the website", "the pan I bought",
    "the second pair", "the colour", "the zip", "the staff in the store", "the gift wrapping", "the discount code", "the warranty", "the sole",
    "the fabric", "the refund", "their chat", "the tracking", "the fit",
)  # fmt: skip
_VERDICTS = (
    "is great", "is really good", "was not good at all", "was terrible", "is AMAZING", "could be better", "is okay I guess", "is a disappointment",
    "works fine", "broke after a week", "exceeded my expectations", "is worth every cent", "is way too expensive", "arrived damaged",
    "arrived two days early", "never arrived", "is super comfortable", "is kind of boring", "is nothing special", "made my day", "was a pain",
    "is the best I have had", "is the worst so far", "was handled kindly", "is so slow", "feels cheap", "looks lovely", "was surprisingly easy",
    "isn't bad", "wasn't very helpful", "is barely usable", "is absolutely fantastic", "confused me", "left me frustrated",
    "was solved within an hour", "is exactly as described", "runs small", "smells weird", "is perfect for winter", "fell apart", "was free of charge",
    "got lost", "is beautiful", "has improved a lot", "was cancelled without a word",
)  # fmt: skip
_JOINTS = (" and ", ", but ", ". Also ", "; ", " while ", ". On the other hand ", ", and yet ", ". Still, ", " because ", ". Meanwhile ")
_CLOSINGS = (
    ".", "!", "!!!", " :)", " :(", " Would buy again.", " Never again.", " Thanks a lot!", " Not happy.", " 5 stars from me.", " Anyone else?",
    " I love it ❤", " Shame.", " Recommended!", " Ugh.", " lol", " Please fix this.", " No complaints.", " 😀", " 😡", " Will see.", " Keep it up!",
    " Meh.", " What a mess.", " Happy customer here.", " #unboxing", " Pretty sure I will return it.", " Can't wait for the next one!",
    " Hope that helps.", " So sad.",
)  # fmt: skip
_FILLERS = ("", "", "", "last week ", "in the rain ", "for my sister ", "on the second try ", "as always ", "this time ", "compared with others ")

_encode = msgspec.json.Encoder().encode


class Produced(NamedTuple):
    """One record, with the short name of its topic."""

    topic: str
    key: bytes
    value: bytes


class Visitor(NamedTuple):
    """What stays with a visitor."""

    name: str
    site: str
    segment: str
    channel: str
    country: str
    device: str
    user_agent: str
    key: bytes


class Workload:
    """A stream of events. `text` mixes in 15 % mentions and 5 % reviews."""

    def __init__(self, seed: int, *, text: bool, tag: str = "0") -> None:
        self._random = random.Random(seed)
        self._tag = f"0198{zlib.crc32(f'{seed}/{tag}'.encode()):08x}"
        self._text = text
        self._count = 0
        self._visitors = [self._visitor(number) for number in range(VISITORS)]
        self._active = [(self._random.choice(self._visitors), self._random.random() < LAST_OF_SESSION) for _ in range(ACTIVE)]
        self.texts = 0

    def _visitor(self, number: int) -> Visitor:
        draw = self._random
        site = draw.choices(SITES, (40, 25, 15, 12, 8))[0]
        phone = draw.random() < 0.6
        name = f"v-{number * 2_654_435_761 % 2**32:08x}{number:05x}"
        return Visitor(
            name, site, draw.choice(SEGMENTS), draw.choice(CHANNELS), draw.choice(COUNTRIES), "mobile" if phone else "desktop",
            draw.choice(PHONES if phone else DESKTOPS), f"{site}/{name}".encode(),
        )  # fmt: skip

    def event(self, at: int) -> Produced:
        """The next event, at this instant (epoch milliseconds)."""
        self._count += 1
        share = self._random.random() if self._text else 0.0
        common = {"id": f"{self._tag}-{self._count:09x}", "at": at - int(self._random.random() * 400)}
        if share < 0.8:
            return self._website(common)
        self.texts += 1
        return self._mention(common) if share < 0.95 else self._review(common)

    def _website(self, common: dict[str, Any]) -> Produced:
        draw = self._random.random
        slot = int(draw() * ACTIVE)
        visitor, started = self._active[slot]
        event = {
            **common, "site": visitor.site, "visitor": visitor.name, "segment": visitor.segment, "channel": visitor.channel, "country": visitor.country,
            "device": visitor.device, "user_agent": visitor.user_agent,
        }  # fmt: skip
        path = PATHS[int(draw() * draw() * len(PATHS))]
        share = draw() if started else 0.0
        if share < 0.55:
            event |= {"type": "page_viewed", "path": path}
            if not started:
                event["referrer"] = REFERRERS[int(draw() * len(REFERRERS))]
                if draw() < 0.3:
                    event["campaign"] = dict(zip(("source", "medium", "name"), CAMPAIGNS[int(draw() * len(CAMPAIGNS))], strict=True))
        elif share < 0.75:
            event |= {"type": "page_left", "path": path, "engaged_seconds": round(draw() * 90, 1), "scroll_ratio": round(draw(), 2)}
        elif share < 0.86:
            event |= {"type": "element_clicked", "path": path, "element": ELEMENTS[int(draw() * len(ELEMENTS))]}
        elif share < 0.95:
            event |= {
                "type": "product_viewed",
                "product": f"p-{int(draw() * 400)}",
                "category": _THINGS[int(draw() * 10)],
                "price_minor": 990,
                "currency": "EUR",
            }
        elif share < 0.98:
            event |= {"type": "product_added", "product": f"p-{int(draw() * 400)}", "quantity": 1, "price_minor": 4990, "currency": "EUR", "cart": "k-5"}
        else:
            event |= {"type": "goal_reached", "goal": GOALS[int(draw() * len(GOALS))], "path": path}
        self._active[slot] = (self._visitors[int(draw() * VISITORS)], False) if draw() < LAST_OF_SESSION else (visitor, True)
        return Produced("website", visitor.key, _encode(event))

    def _mention(self, common: dict[str, Any]) -> Produced:
        draw = self._random
        site, author = draw.choice(SITES), f"user_{draw.randrange(20_000)}"
        event = {
            "type": "mention_posted", **common, "site": site, "post": f"post-{self._count:09x}", "network": draw.choice(NETWORKS), "author": author,
            "segment": draw.choice(SEGMENTS), "reach": draw.randrange(5_000), "language": "en", "text": self.text(),
        }  # fmt: skip
        return Produced("social", f"{site}/{author}".encode(), _encode(event))

    def _review(self, common: dict[str, Any]) -> Produced:
        draw = self._random
        site, author = draw.choice(SITES), f"reader_{draw.randrange(20_000)}"
        event = {
            "type": "review_posted", **common, "site": site, "review": f"r-{self._count:09x}", "source": draw.choice(PLATFORMS), "author": author,
            "rating": draw.choice((1, 2, 3, 4, 4, 5, 5, 5)), "product": f"p-{draw.randrange(40)}", "segment": draw.choice(SEGMENTS), "text": self.text(),
        }  # fmt: skip
        return Produced("reviews", f"{site}/{author}".encode(), _encode(event))

    def text(self) -> str:
        """A post of one to three statements, 30 to 250 characters."""
        pick = self._random.choice
        statements = [f"{pick(_SUBJECTS)} {pick(_FILLERS)}{pick(_VERDICTS)}" for _ in range(pick((1, 2, 2, 3)))]
        joined = statements[0] + "".join(pick(_JOINTS) + statement for statement in statements[1:])
        return pick(_OPENINGS) + joined + pick(_CLOSINGS)


def stream(seed: int, events: int, end: int, *, text: bool, gap: float = SECONDS_BETWEEN_EVENTS) -> Iterator[Produced]:
    """That many events whose times end at `end` (epoch milliseconds), at the pace of 2,000 active visitors with `gap` seconds between two of theirs."""
    workload = Workload(seed, text=text)
    step = gap * 1000 / ACTIVE
    start = end - events * step
    for number in range(events):
        yield workload.event(int(start + number * step))


def probe(site: str, visitor: str, at: int) -> Produced:
    """A page view of a visitor nobody has seen before."""
    event = {"type": "page_viewed", "id": f"probe-{visitor}", "site": site, "at": at, "visitor": visitor, "segment": "new", "channel": "direct", "path": "/"}
    return Produced("website", f"{site}/{visitor}".encode(), _encode(event))


@lru_cache(maxsize=200_000)
def partition(key: bytes) -> int:
    """Where a producer would send the key."""
    return partition_of(key, PARTITIONS)
