"""An ordinary day of a small outdoor shop: visitors who look, buy and write, and the dirt that real streams carry.

Pure and seeded: the same seed, start and rate give the same bytes. Event times follow the rate: event i happens i ÷ rate seconds after the start.
"""

import json
from collections import deque
from collections.abc import Iterator
from heapq import heappop, heappush
from random import Random
from typing import Any, NamedTuple

SITE = "shop"
SITES_YAML = """\
sites:
  shop:
    hosts: [shop.example]
    local: [cityguide.example, runclub.example]
    brands: [Ridgeway]
    competitors: [Peakline, Northtrail]
"""
"""Settings of the site these events are about."""

DUPLICATES, LATE, MALFORMED, BOTS = 0.005, 0.005, 0.003, 0.01
"""Shares of all events."""
MENTIONS, REVIEWS, SURVEYS, TICKETS, SIGN_UPS = 0.07, 0.035, 0.01, 0.005, 0.005
DELAYS = (2 * 3_600_000, 30 * 3_600_000, 9 * 86_400_000)
"""How late the late ones are (ms): past the minutes, past the quarter hours, past everything."""
CLEAN_AT_FIRST = 300
"""Events before the first late one, so that it finds a watermark to be behind."""
COMES_BACK = 0.12
REMEMBERED = 400


class Produced(NamedTuple):
    """A record to be: short topic, key, value."""

    topic: str
    key: str
    value: bytes


class _Product(NamedTuple):
    name: str
    category: str
    price_minor: int


PRODUCTS = (
    _Product("trail-7", "shoes", 12_900),
    _Product("ridge-low", "shoes", 9_900),
    _Product("approach-2", "shoes", 14_900),
    _Product("drizzle", "jackets", 17_900),
    _Product("summit-down", "jackets", 24_900),
    _Product("daypack-22", "packs", 7_900),
    _Product("trek-45", "packs", 15_900),
)
_REFERRERS: tuple[tuple[str | None, str | None, int], ...] = (
    (None, None, 30),
    ("https://www.google.com/", None, 26),
    ("https://www.google.com/", "cpc", 10),
    ("https://www.instagram.com/", None, 10),
    ("https://t.co/x1", "social", 5),
    (None, "email", 9),
    ("https://cityguide.example/sports", None, 4),
    ("https://hikersblog.example/best-shoes", None, 6),
)
_SEGMENTS = (("new", 55), ("regular", 35), ("member", 10))
_COUNTRIES = ("DE", "DE", "DE", "AT", "CH", "NL", "FR")
_AGENTS = (
    ("web", "desktop", "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/139.0.0.0 Safari/537.36"),
    (
        "web",
        "mobile",
        "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.5 Mobile/15E148 Safari/604.1",
    ),
    ("web", "mobile", "Mozilla/5.0 (Linux; Android 15; Pixel 8) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/139.0.0.0 Mobile Safari/537.36"),
    ("app", "mobile", "RidgewayShop/4.2 (Android 15)"),
)
_BOTS = (
    "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
    "Mozilla/5.0 (compatible; bingbot/2.0; +http://www.bing.com/bingbot.htm)",
    "Mozilla/5.0 (compatible; AhrefsBot/7.0; +http://ahrefs.com/robot/)",
)
_GUIDES = ("/guides/sizing", "/guides/care", "/guides/packing")

_THINGS = {
    "shoes": ("shoes", "sole", "heel", "lacing", "trail runners"),
    "jackets": ("jacket", "hood", "zip", "lining", "fabric"),
    "packs": ("pack", "hip belt", "straps", "rain cover", "back panel"),
}
_GOOD = (
    "The {thing} of the {product} is excellent, I love it.",
    "Two weeks in the rain and the {thing} still looks great. Very happy!",
    "Best {thing} I have owned so far, comfortable from the first hour.",
    "Fast delivery, friendly answer to my question, and the {product} fits perfectly.",
    "I was sceptical about the {product}, but it is really good.",
    "Honestly impressed: light, sturdy and a fair price. Thank you!",
    "Wore the {product} across the Alps, no blisters. Amazing.",
    "Nice {thing}, and the people at the counter were a great help 😀",
)
_BAD = (
    "The {thing} of the {product} broke after three days. Very disappointed.",
    "My parcel is late again and nobody answers. This is awful.",
    "The {product} runs far too small, and the return was a pain.",
    "Terrible {thing}, it leaks at the first shower.",
    "I paid full price and got a scratched {product}. Not good.",
    "Would not buy the {product} again: the {thing} is a bad joke.",
    "The checkout failed twice and I was still charged. Angry!",
)
_PLAIN = (
    "Is the {product} in stock in size 42?",
    "Bought the {product} on Tuesday, it arrived on Friday.",
    "Does anyone know the weight of the {product}?",
    "The {product} comes in three colours this year.",
    "Comparing the {thing} of the {product} with last year's one.",
    "Opening hours of the store changed to nine until six.",
)
_FOREIGN = (
    ("de", "Der Rucksack ist angekommen und passt sehr gut zu meiner neuen Jacke."),
    ("de", "Die Lieferung hat leider fast zwei Wochen gedauert und niemand hat geantwortet."),
    ("fr", "Les chaussures sont arrivées hier et elles sont vraiment très confortables."),
    ("es", "La chaqueta es muy bonita pero la talla es demasiado pequeña para mí."),
)
_BROKEN = (
    b'{"id": "cut-off", "type": "page_viewed", "site": "shop", "at"',
    b"page_viewed;shop;9f3;/shoes",
    b"\xff\xfe\x00not text",
    b'{"id": "x1", "type": "page_veiwed", "site": "shop", "at": 1767225600000, "visitor": "9f3", "path": "/"}',
    b'{"id": "x2", "type": "page_viewed", "site": "shop", "visitor": "9f3", "path": "/"}',
    b'{"id": "x3", "type": "page_viewed", "site": "shop", "at": "yesterday", "visitor": "9f3", "path": "/"}',
    b"",
)

_Step = tuple[int, dict[str, Any]]
"""Milliseconds to wait, then these fields of an event."""


def events(seed: int, start_ms: int, rate_per_second: float) -> Iterator[Produced]:
    """An endless stream; event i carries the time `start_ms` + i ÷ rate, unless it is late, a duplicate or malformed."""
    return _Shop(seed, start_ms, rate_per_second).stream()


class _Shop:
    def __init__(self, seed: int, start_ms: int, rate: float) -> None:
        if rate <= 0:
            raise ValueError("the rate must be above 0 events per second")
        self.rnd = Random(seed)
        self.seed = seed
        self.start = start_ms
        self.rate = rate
        self.made = 0
        self.people = 0
        self.due: list[tuple[float, int, Iterator[_Step]]] = []
        """When which visit goes on."""
        self.known: deque[dict[str, Any]] = deque(maxlen=REMEMBERED)
        """Visitors who may come back."""
        self.recent: deque[Produced] = deque(maxlen=REMEMBERED)

    def stream(self) -> Iterator[Produced]:
        while True:
            at = self.start + self.made * 1000.0 / self.rate
            self.made += 1
            produced = self._next(at)
            yield produced

    def _next(self, at: float) -> Produced:
        lot = self.rnd.random()
        for share, make in (
            (DUPLICATES, self._duplicate), (LATE, self._late), (MALFORMED, self._malformed), (BOTS, self._bot), (MENTIONS, self._mention),
            (REVIEWS, self._review), (SURVEYS, self._survey), (TICKETS, self._ticket), (SIGN_UPS, self._sign_up),
        ):  # fmt: skip
            if lot < share:
                return make(int(at))
            lot -= share
        return self._go_on(at)

    # --- visits ------------------------------------------------------------------------------------------------------

    def _go_on(self, at: float) -> Produced:
        """The visit that is due goes on; when none is, someone comes in."""
        while True:
            if self.due and self.due[0][0] <= at:
                _, number, visit = heappop(self.due)
            else:
                number, visit = self.made, self._visit()
            step = next(visit, None)
            if step is None:
                continue
            wait, fields = step
            heappush(self.due, (at + wait, number, visit))
            return self._keep(self._event("website", f"v:{fields['visitor']}", int(at), fields))

    def _visitor(self) -> dict[str, Any]:
        rnd = self.rnd
        if len(self.known) > 50 and rnd.random() < COMES_BACK:
            return rnd.choice(self.known)
        channel, device, agent = rnd.choice(_AGENTS)
        who = {
            "visitor": self._name("v"),
            "segment": self._weighted(_SEGMENTS),
            "channel": channel,
            "device": device,
            "country": rnd.choice(_COUNTRIES),
            "user_agent": agent,
        }
        self.known.append(who)
        return who

    def _visit(self) -> Iterator[_Step]:
        """One visit. What is yielded first of a step is the wait until the next one."""
        rnd, who = self.rnd, self._visitor()
        product = rnd.choice(PRODUCTS)
        landing = rnd.choice(("/", f"/{product.category}", f"/{product.category}/{product.name}", rnd.choice(_GUIDES), "/"))
        referrer, medium, _ = rnd.choices(_REFERRERS, [weight for _, _, weight in _REFERRERS])[0]
        arrival: dict[str, Any] = {} if referrer is None else {"referrer": referrer}
        if medium is not None:
            arrival["campaign"] = {"source": "newsletter" if medium == "email" else "ads", "medium": medium, "name": "autumn"}
        yield self._think(12), who | {"type": "page_viewed", "path": landing} | arrival
        if rnd.random() < 0.42:  # not what they came for
            return
        before = landing
        for _ in range(rnd.randint(1, 5)):
            product = rnd.choice(PRODUCTS) if rnd.random() < 0.4 else product
            path = rnd.choice((f"/{product.category}", f"/{product.category}/{product.name}", f"/{product.category}/{product.name}", rnd.choice(_GUIDES)))
            yield self._think(25), who | {"type": "page_viewed", "path": path, "referrer": f"https://shop.example{before}"}
            before = path
            if path.endswith(product.name):
                price = {"product": product.name, "price_minor": product.price_minor, "currency": "EUR"}
                yield self._think(8), who | {"type": "product_viewed", "category": product.category} | price
        if rnd.random() < 0.08:
            yield self._think(5), who | {"type": "page_viewed", "path": "/newsletter", "referrer": f"https://shop.example{before}"}
            yield self._think(5), who | {"type": "goal_reached", "goal": "newsletter", "path": "/newsletter"}
        if rnd.random() < 0.2:
            yield from self._buy(who, product)

    def _buy(self, who: dict[str, Any], product: _Product) -> Iterator[_Step]:
        rnd, cart = self.rnd, self._name("k")
        price = {"price_minor": product.price_minor, "currency": "EUR"}
        yield self._think(10), who | {"type": "product_added", "product": product.name, "quantity": 1, "cart": cart} | price
        yield self._think(10), who | {"type": "page_viewed", "path": "/cart", "referrer": "https://shop.example/"}
        if rnd.random() < 0.4:
            return
        yield self._think(30), who | {"type": "checkout_started", "cart": cart}
        if rnd.random() < 0.1:
            yield self._think(20), who | {"type": "payment_failed", "reason": "card_declined"}
        if rnd.random() < 0.2:
            return
        line = {"product": product.name, "quantity": 1, "price_minor": product.price_minor}
        order = {"order": self._name("o"), "cart": cart, "total_minor": product.price_minor, "currency": "EUR", "items": [line]}
        yield self._think(15), who | {"type": "order_completed"} | order

    # --- what people write -------------------------------------------------------------------------------------------

    def _mention(self, at: int) -> Produced:
        rnd = self.rnd
        network = self._weighted((("mastodon", 4), ("instagram", 3), ("reddit", 2)))
        author = f"hiker{rnd.randrange(3_000)}"
        own: dict[str, Any] = {"post": self._name("x"), "network": network, "author": author, "reach": int(rnd.lognormvariate(5, 1.2))} | self._words(0.3, 0.25)
        brand = self._weighted(((None, 80), ("Peakline", 13), ("Northtrail", 7)))
        if brand is not None:
            own["brand"] = brand
        return self._keep(self._event("social", f"a:{network}/{author}", at, {"type": "mention_posted", **own}))

    def _review(self, at: int) -> Produced:
        rnd = self.rnd
        stars = self._weighted(((5, 45), (4, 27), (3, 12), (2, 7), (1, 9)))
        product = rnd.choice(PRODUCTS)
        source, customer = rnd.choice(("store", "store", "trustedshops")), f"{rnd.randrange(5_000)}"
        own = {"review": self._name("r"), "source": source, "rating": stars, "product": product.name, "customer": customer}
        if rnd.random() < 0.8:
            own |= self._words(0.85 if stars > 3 else 0.1, 0.8 if stars < 3 else 0.05, product)
            own.pop("language", None)
        return self._keep(self._event("reviews", f"c:{customer}", at, {"type": "review_posted", **own}))

    def _survey(self, at: int) -> Produced:
        customer = f"{self.rnd.randrange(5_000)}"
        score = self._weighted(((10, 22), (9, 24), (8, 20), (7, 12), (6, 6), (5, 5), (3, 5), (1, 6)))
        own: dict[str, Any] = {"type": "survey_answered", "survey": "nps", "score": score, "touchpoint": "delivery", "customer": customer}
        if self.rnd.random() < 0.5:
            own["comment"] = self._words(0.8 if score > 8 else 0.2, 0.7 if score < 7 else 0.1)["text"]
        return self._keep(self._event("reviews", f"c:{customer}", at, own))

    def _ticket(self, at: int) -> Produced:
        customer = f"{self.rnd.randrange(5_000)}"
        own = {"type": "ticket_opened", "ticket": self._name("t"), "touchpoint": "delivery", "customer": customer, "text": self._words(0.05, 0.6)["text"]}
        return self._keep(self._event("reviews", f"c:{customer}", at, own))

    def _sign_up(self, at: int) -> Produced:
        customer = self._name("c")
        return self._keep(self._event("customers", f"c:{customer}", at, {"type": "signed_up", "customer": customer, "plan": "club"}))

    def _words(self, good: float, bad: float, product: _Product | None = None) -> dict[str, str]:
        """A short text, good or bad with these probabilities, else neither; with its language."""
        rnd = self.rnd
        if rnd.random() < 0.04:
            language, text = rnd.choice(_FOREIGN)
            return {"text": text, "language": language}
        product = product or rnd.choice(PRODUCTS)
        lot = rnd.random()
        sentence = rnd.choice(_GOOD if lot < good else _BAD if lot < good + bad else _PLAIN)
        return {"text": sentence.format(product=product.name, thing=rnd.choice(_THINGS[product.category])), "language": "en"}

    # --- the dirt ----------------------------------------------------------------------------------------------------

    def _duplicate(self, at: int) -> Produced:
        return self.rnd.choice(self.recent) if self.recent else self._go_on(at)

    def _late(self, at: int) -> Produced:
        """An event that took a long way: a page view of long ago."""
        if self.made <= CLEAN_AT_FIRST:
            return self._go_on(at)
        visitor = self._name("v")
        fields = {"type": "page_viewed", "visitor": visitor, "path": "/", "segment": "new", "channel": "app"}
        return self._event("website", f"v:{visitor}", at - self.rnd.choice(DELAYS), fields)

    def _malformed(self, _at: int) -> Produced:
        return Produced("website", f"{SITE}/v:{self.rnd.randrange(1_000)}", self.rnd.choice(_BROKEN))

    def _bot(self, at: int) -> Produced:
        visitor = f"bot{self.rnd.randrange(20)}"
        path = self.rnd.choice(("/", "/shoes", "/jackets", *_GUIDES))
        return self._event("website", f"v:{visitor}", at, {"type": "page_viewed", "visitor": visitor, "path": path, "user_agent": self.rnd.choice(_BOTS)})

    # --- common ------------------------------------------------------------------------------------------------------

    def _event(self, topic: str, subject: str, at: int, fields: dict[str, Any]) -> Produced:
        event = {"id": f"{self.seed:x}-{self.made:x}", "site": SITE, "at": at, **fields}
        return Produced(topic, f"{SITE}/{subject}", json.dumps(event, ensure_ascii=False, separators=(",", ":")).encode())

    def _keep(self, produced: Produced) -> Produced:
        """Remember an ordinary event: some come twice."""
        self.recent.append(produced)
        return produced

    def _name(self, kind: str) -> str:
        self.people += 1
        return f"{kind}{self.seed:x}-{self.people:x}"

    def _think(self, mean_seconds: float) -> int:
        return 400 + int(min(self.rnd.expovariate(1 / mean_seconds), 600) * 1000)

    def _weighted(self, choices: tuple[tuple[Any, int], ...]) -> Any:
        return self.rnd.choices([value for value, _ in choices], [weight for _, weight in choices])[0]
