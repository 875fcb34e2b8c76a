"""What people say about a site: reviews, mentions, tickets, surveys, comments; and what the site itself publishes."""

from collections.abc import Callable
from itertools import count
from random import Random
from typing import Any, Final

from simulator import texts
from simulator.sites import Business, Mix, Process
from streams.panes import HOUR, MINUTE

FOREIGN: Final = 0.04
"""Share of texts that are not in English."""
STARS: Final = Mix((5, 48), (4, 26), (3, 11), (2, 6), (1, 9))
TONES_OF_STARS: Final = {
    5: Mix((texts.POSITIVE, 97), (texts.NEUTRAL, 3)),
    4: Mix((texts.POSITIVE, 85), (texts.MIXED, 15)),
    3: Mix((texts.MIXED, 60), (texts.NEUTRAL, 30), (texts.NEGATIVE, 10)),
    2: Mix((texts.NEGATIVE, 80), (texts.MIXED, 20)),
    1: Mix((texts.NEGATIVE, 99), (texts.MIXED, 1)),
}
MENTION_TONES: Final = Mix((texts.POSITIVE, 38), (texts.NEUTRAL, 42), (texts.NEGATIVE, 15), (texts.MIXED, 5))
COMMENT_TONES: Final = Mix((texts.POSITIVE, 55), (texts.NEUTRAL, 33), (texts.NEGATIVE, 9), (texts.MIXED, 3))
COMPLAINING_TICKETS: Final = 0.3
PROMOTERS: Final = Mix((10, 24), (9, 22), (8, 18), (7, 12), (6, 7), (5, 6), (4, 2), (3, 3), (2, 2), (1, 2), (0, 2))
SATISFACTION: Final = Mix((5, 46), (4, 32), (3, 11), (2, 5), (1, 6))
EFFORT: Final = Mix((7, 30), (6, 28), (5, 18), (4, 9), (3, 6), (2, 5), (1, 4))
TOUCHPOINTS: Final = Mix(("delivery", 40), ("support", 30), ("website", 20), ("store", 10))
KINDS: Final = Mix(("like", 66), ("comment", 9), ("share", 7), ("save", 6), ("click", 8), ("follow", 3.4), ("unfollow", 0.6))
CATEGORIES: Final = ("how-to", "product", "people", "offer")
AUTHORS: Final = 9_000
_FIRST: Final = ("trail", "river", "moss", "stone", "cloud", "tin", "paper", "north", "quiet", "orange", "slow", "early", "coffee", "pixel", "harbour", "lemon")
_SECOND: Final = ("fox", "walker", "maker", "reader", "rider", "otter", "gardener", "runner", "pilot", "baker", "crow", "painter", "sailor", "smith")


class Voices:
    """The public of one site."""

    def __init__(self, business: Business, rnd: Random, prefix: str, some_customer: Callable[[Random], str], start: Callable[[Process], None]) -> None:
        self.business = business
        self.rnd = rnd
        self.start = start
        self.some_customer = some_customer
        self._prefix = prefix
        self._numbers = count(1)
        self._followers = {network: rnd.randint(900, 9_000) for network in business.networks.values}

    def name(self, kind: str) -> str:
        return f"{kind}{self._prefix}{next(self._numbers):x}"

    def _author(self) -> tuple[str, int]:
        """A name and how many people it reaches; a few write much and reach many."""
        number = min(int(self.rnd.paretovariate(0.35)), AUTHORS)
        name = f"{_FIRST[number % 16]}_{_SECOND[number // 16 % 14]}{number}"
        return name, int(60 + 40_000 / (number + 3) + self.rnd.lognormvariate(4.5, 0.8))

    def _write(self, tone: str, cause: str | None = None) -> str:
        rnd = self.rnd
        return texts.write(rnd, tone, cause or texts.pick_cause(rnd, self.business.kind), rnd.choice(self.business.products).thing)

    # --- texts -------------------------------------------------------------------------------------------------------

    def mention(self, at: int, tone: str | None = None, cause: str | None = None) -> Process:
        """Someone writes about the site, or about a competitor; with a tone given it is about the site."""
        rnd, site = self.rnd, self.business.site
        author, reach = self._author()
        network = self.business.networks.draw(rnd)
        fields: dict[str, Any] = {"type": "mention_posted", "site": site, "post": self.name("x"), "network": network, "author": author, "reach": reach}
        lot = rnd.random()
        if tone is None and lot < 0.2:
            fields["brand"] = rnd.choice(self.business.competitors)
        elif lot < 0.5:
            fields["brand"] = self.business.brand
        if tone is None and rnd.random() < 2 * FOREIGN:
            fields["language"], fields["text"] = texts.write_foreign(rnd, rnd.choice(self.business.products).thing)
        else:
            fields |= {"language": "en", "text": self._write(tone or MENTION_TONES.draw(rnd), cause)}
        yield at, f"{site}/a:{network}/{author}", fields

    def review(self, at: int, stars: int | None = None, cause: str | None = None) -> Process:
        """A review whose text goes with its stars; some are answered, a few are changed later."""
        rnd, site = self.rnd, self.business.site
        source = self.business.platforms.draw(rnd)
        product = rnd.choice(self.business.products)
        given = stars or STARS.draw(rnd)
        who: dict[str, Any]
        if rnd.random() < 0.6:
            customer = self.some_customer(rnd)
            key, who = f"{site}/c:{customer}", {"site": site, "customer": customer}
        else:
            author, _ = self._author()
            key, who = f"{site}/a:{source}/{author}", {"site": site, "author": author}
        fields = {"type": "review_posted", **who, "review": self.name("r"), "source": source, "product": product.name}
        yield at, key, fields | self._rated(given, cause, product.thing)
        at += int(rnd.lognormvariate(0.5, 1.0) * HOUR)
        if rnd.random() < (0.6 if given <= 2 else 0.15):
            yield at, key, {"type": "review_answered", **who, "review": fields["review"], "source": source}
            if given <= 2 and rnd.random() < 0.1:  # the answer helped
                yield at + int(rnd.lognormvariate(0.5, 1.0) * HOUR), key, fields | self._rated(min(5, given + 2), cause, product.thing)

    def _rated(self, stars: int, cause: str | None, thing: texts.Thing) -> dict[str, Any]:
        rnd = self.rnd
        if rnd.random() < 0.12 and cause is None:
            return {"rating": stars}
        if rnd.random() < FOREIGN and cause is None and stars in (3, 4):
            return {"rating": stars, "text": texts.write_foreign(rnd, thing)[1]}
        return {"rating": stars, "text": texts.write(rnd, TONES_OF_STARS[stars].draw(rnd), cause or texts.pick_cause(rnd, self.business.kind), thing)}

    def ticket(self, at: int, cause: str | None = None) -> Process:
        """A question or complaint to support, the answer, the solution."""
        rnd, site = self.rnd, self.business.site
        customer = self.some_customer(rnd)
        key, fields = f"{site}/c:{customer}", {"site": site, "customer": customer, "ticket": self.name("t")}
        tone = texts.NEGATIVE if cause or rnd.random() < COMPLAINING_TICKETS else texts.NEUTRAL
        about = cause or texts.pick_cause(rnd, self.business.kind)
        text = texts.write_ticket(rnd, tone, about, rnd.choice(self.business.products).thing)
        yield at, key, {"type": "ticket_opened", **fields, "touchpoint": about, "text": text}
        at += 30_000 + int(rnd.lognormvariate(2.7, 0.9) * MINUTE)
        by = "agent" if rnd.random() < 0.85 else "community"
        yield at, key, {"type": "ticket_answered", **fields, "by": by}
        if rnd.random() < 0.85:
            yield at + int(rnd.lognormvariate(3.3, 1.0) * MINUTE), key, {"type": "ticket_resolved", **fields, "by": by}

    def survey(self, at: int) -> Process:
        """One answer: how likely to recommend, how satisfied, how much effort."""
        rnd, site = self.rnd, self.business.site
        customer = self.some_customer(rnd)
        fields: dict[str, Any] = {"type": "survey_answered", "site": site, "customer": customer, "touchpoint": TOUCHPOINTS.draw(rnd)}
        lot = rnd.random()
        if lot < 0.5:
            score = PROMOTERS.draw(rnd)
            fields |= {"survey": "nps", "score": score}
            liked = score / 10
        elif lot < 0.85:
            score = SATISFACTION.draw(rnd)
            fields |= {"survey": "csat", "score": score}
            liked = (score - 1) / 4
        else:
            score = EFFORT.draw(rnd)
            fields |= {"survey": "ces", "score": score, "scale_max": 7, "higher_is_better": True}
            liked = (score - 1) / 6
        if rnd.random() < 0.4:
            fields["comment"] = self._write(texts.POSITIVE if liked > 0.85 else texts.NEGATIVE if liked < 0.5 else rnd.choice((texts.NEUTRAL, texts.MIXED)))
        yield at, f"{site}/c:{customer}", fields

    def community(self, at: int) -> Process:
        """Someone joins the community, writes in it, has an idea, or leaves."""
        rnd, site = self.rnd, self.business.site
        member, _ = self._author()
        name = f"{self.business.brand.lower()}-club"
        key, fields = f"{site}/m:{name}/{member}", {"site": site, "community": name, "member": member}
        lot = rnd.random()
        if lot < 0.05:
            yield at, key, {"type": "community_left", **fields}
            return
        if lot < 0.2:
            yield at, key, {"type": "community_joined", **fields}
            at += 60_000 + int(rnd.expovariate(1 / 600_000))
        if lot < 0.95:
            kind = rnd.choice(("question", "answer", "answer", "post"))
            yield at, key, {"type": "community_posted", **fields, "kind": kind, "text": self._write(COMMENT_TONES.draw(rnd))}
            return
        customer, idea = self.some_customer(rnd), {"idea": self.name("i"), "community": name}
        key = f"{site}/c:{customer}"
        yield at, key, {"type": "idea_submitted", "site": site, "customer": customer, **idea}
        if rnd.random() < 0.2:
            at += int(rnd.uniform(1, 12) * HOUR)
            yield at, key, {"type": "idea_implemented", "site": site, "customer": customer, **idea, "value_minor": 50_000, "currency": "EUR"}

    # --- the site's own posts ----------------------------------------------------------------------------------------

    def post(self, at: int, viral: float = 0.0) -> Process:
        """A post of the site: measured as it spreads for some hours, with reactions."""
        rnd, site = self.rnd, self.business.site
        network, category = self.business.networks.draw(rnd), rnd.choice(CATEGORIES)
        post = self.name("s")
        key, fields = f"{site}/post:{post}", {"site": site, "post": post, "network": network, "category": category}
        yield at, key, {"type": "post_published", **fields}
        most = int(rnd.lognormvariate(7, 0.7) * (1 + 20 * viral))
        reach = rnd.uniform(0.55, 0.8)
        for _ in range(int(rnd.expovariate(1 / (9 + 60 * viral)))):
            self.start(self.reaction(at + 30_000 + int(rnd.expovariate(1 / (80 * MINUTE))), network, post, category))
        shown, age = 0.0, 0
        for wait in (5, 10, 15, 30, 60, 120):
            age += wait
            shown = most * (1 - 2 ** (-age / 45))
            yield at + age * MINUTE, key, {"type": "post_measured", **fields, "impressions": int(shown), "reach": int(shown * reach)}

    def reaction(self, at: int, network: str | None = None, post: str | None = None, category: str | None = None) -> Process:
        """A like, comment, share, …; without a post it is about the site's page."""
        rnd, site = self.rnd, self.business.site
        author, _ = self._author()
        network = network or self.business.networks.draw(rnd)
        kind = KINDS.draw(rnd)
        fields: dict[str, Any] = {"type": "interaction_made", "site": site, "network": network, "kind": kind, "author": author}
        if kind in ("follow", "unfollow"):
            self._followers[network] += 1 if kind == "follow" else -1
        elif post is not None:
            fields |= {"post": post, "category": category}
        if kind == "comment":
            fields["text"] = self._write(COMMENT_TONES.draw(rnd))
        yield at, f"{site}/a:{network}/{author}", fields

    def accounts(self, at: int) -> Process:
        """Once an hour: how many follow the site on each network, and what its advertising cost."""
        site = self.business.site
        while True:
            for network, followers in self._followers.items():
                yield at, f"{site}/network:{network}", {"type": "audience_measured", "site": site, "network": network, "followers": followers}
            for channel in ("paid", "social"):
                amount = int(self.rnd.uniform(0.8, 1.2) * (2_200 if channel == "paid" else 700))
                fields = {"type": "spend_recorded", "site": site, "channel": channel, "amount_minor": amount, "currency": "EUR"}
                yield at, f"{site}/channel:{channel}", fields
            at += HOUR
