"""Who comes to a site and what they do there: visits with pages, products, carts, checkouts, goals; people come back, and some become customers."""

from collections.abc import Callable
from heapq import heappop, heappush
from itertools import count
from random import Random
from typing import Any, Final

from simulator.incidents import Calendar
from simulator.sites import BOTS, DEVICES, Arrival, Business, Mix, Process, Product, Step
from streams.panes import HOUR, MINUTE

REMEMBERED: Final = 30_000
"""People who may come back; beyond that, whoever is new is forgotten."""
COMES_AGAIN: Final = 0.38
"""Share of visits by someone who was there before."""
GUEST_OPENS_ACCOUNT: Final = 0.45
BOUNCES: Final = 0.36
USUAL_FAILURE: Final = 0.045
"""Share of payments that fail on an ordinary day."""
FAILURE_REASONS: Final = Mix(("card_declined", 55), ("insufficient_funds", 20), ("3ds_failed", 15), ("timeout", 10))
QUANTITIES: Final = Mix((1, 82), (2, 14), (3, 4))
FEATURES: Final = Mix(("create-task", 40), ("board", 25), ("calendar-sync", 12), ("report", 10), ("invite", 5), ("export", 5), ("automation", 3))
CANCEL_REASONS: Final = ("too_expensive", "missing_feature", "switched", "not_used", "other")


class Person:
    """A browser, and the customer behind it once that is known."""

    __slots__ = ("context", "customer", "orders", "paying", "visitor", "visits")

    def __init__(self, visitor: str, context: dict[str, str]) -> None:
        self.visitor = visitor
        self.context = context
        self.customer: str | None = None
        self.visits = 0
        self.orders = 0
        self.paying: Product | None = None
        """The plan of a subscriber."""

    @property
    def segment(self) -> str:
        if self.orders >= 2 or self.visits >= 6:
            return "loyal"
        return "returning" if self.visits > 1 else "new"


class Visit:
    """One visit: what all its events say, and the pages so far."""

    __slots__ = ("at", "fields", "intent", "key", "pages", "path", "person")

    def __init__(self, person: Person, site: str, arrival: Arrival, at: int) -> None:
        self.person = person
        self.at = at
        self.intent = arrival.intent * {"new": 0.75, "returning": 1.25, "loyal": 2.2}[person.segment]
        self.path = ""
        self.pages = 0
        self.key = f"{site}/c:{person.customer}" if person.customer else f"{site}/v:{person.visitor}"
        self.fields: dict[str, Any] = {"site": site, "visitor": person.visitor, "segment": person.segment, "channel": arrival.channel, **person.context}
        if person.customer:
            self.fields["customer"] = person.customer

    def step(self, kind: str, **own: Any) -> Step:
        return self.at, self.key, {"type": kind, **self.fields, **own}


class Visitors:
    """The people of one site."""

    def __init__(self, business: Business, rnd: Random, prefix: str, calendar: Calendar, start: Callable[[Process], None]) -> None:
        self.business = business
        self.rnd = rnd
        self.calendar = calendar
        self.start = start
        self.buyers: list[str] = []
        """Customers of late, for those who write: the newest overwrites the oldest."""
        self._prefix = prefix
        self._numbers = count(1)
        self._waiting: list[tuple[int, int, Person]] = []
        """Who comes back when."""

    def name(self, kind: str) -> str:
        return f"{kind}{self._prefix}{next(self._numbers):x}"

    def some_customer(self, rnd: Random) -> str:
        """A customer of late, or one of old."""
        return rnd.choice(self.buyers) if self.buyers and rnd.random() < 0.5 else self.name("c")

    def strength(self, kind: str, at: int) -> float:
        return self.calendar.strength(kind, at)

    # --- who --------------------------------------------------------------------------------------------------------

    def _person(self, at: int) -> Person:
        if self.rnd.random() < COMES_AGAIN:
            return heappop(self._waiting)[2] if self._waiting and self._waiting[0][0] <= at else self._from_before()
        return self._stranger()

    def _stranger(self) -> Person:
        device, agent = DEVICES.draw(self.rnd)
        return Person(self.name("v"), {"device": device, "country": self.business.countries.draw(self.rnd), "user_agent": agent})

    def _from_before(self) -> Person:
        """Someone who knew the site before the simulation began."""
        person = self._stranger()
        person.visits = self.rnd.randint(1, 7)
        if self.rnd.random() < 0.4:
            person.customer = self.name("c")
            person.orders = self.rnd.choice((1, 1, 1, 2, 3, 5))
            if self.business.kind == "service":
                person.paying = self.rnd.choice(self.business.products)
        return person

    def _leave(self, visit: Visit) -> None:
        """Perhaps they come back, in some hours: never so soon that two visits would be one."""
        chance = 0.75 if visit.person.customer else 0.4
        if self.rnd.random() < chance and len(self._waiting) < REMEMBERED:
            heappush(self._waiting, (visit.at + 45 * MINUTE + int(self.rnd.lognormvariate(1.6, 0.8) * HOUR), next(self._numbers), visit.person))

    def _think(self, visit: Visit, mean_seconds: float) -> None:
        visit.at += 600 + int(min(self.rnd.expovariate(1 / mean_seconds), 8 * mean_seconds, 1_500) * 1000)

    # --- a visit -----------------------------------------------------------------------------------------------------

    def visit(self, at: int, arrival: Arrival | None = None) -> Process:
        """One visit from its first page to its last event."""
        rnd, business = self.rnd, self.business
        person = self._person(at)
        person.visits += 1
        arrival = arrival or business.arrivals.draw(rnd)
        visit = Visit(person, business.site, arrival, at)
        if person.paying and rnd.random() < 0.8:
            yield from self._work(visit)
        else:
            yield from self._browse(visit, arrival)
        self._leave(visit)

    def _browse(self, visit: Visit, arrival: Arrival) -> Process:
        rnd, business = self.rnd, self.business
        landing = business.landings.draw(rnd)
        product = rnd.choice(business.products)
        path = self._product_path(product) if landing == "product" else rnd.choice(business.guides) if landing == "guide" else landing
        yield visit.step("page_viewed", path=path, view=self._view(visit, path), **_campaign(arrival))
        if rnd.random() < BOUNCES:
            if rnd.random() < 0.6:
                self._think(visit, 9)
                yield self._left(visit, rnd.uniform(0.5, 9))
            return
        if visit.person.customer and rnd.random() < 0.6:
            self._think(visit, 6)
            yield visit.step("signed_in")
        yield from self._extras(visit)
        looked: Product | None = None
        for _ in range(rnd.choice((1, 1, 2, 2, 3, 4, 6))):
            product = rnd.choice(business.products) if rnd.random() < 0.5 else product
            if business.kind == "shop":
                path = rnd.choice((f"/{product.category}", self._product_path(product), self._product_path(product), rnd.choice(business.guides)))
            else:
                path = rnd.choice(("/features", "/pricing", "/pricing", "/customers", rnd.choice(business.guides)))
            yield from self._go(visit, path)
            if path == self._product_path(product):
                looked = product
                self._think(visit, 4)
                yield visit.step("product_viewed", product=product.name, category=product.category, price_minor=product.price_minor, currency="EUR")
        yield from self._goals(visit)
        if business.kind == "service":
            if visit.person.customer is None and rnd.random() < 0.05 * visit.intent:
                yield from self._sign_up(visit)
        elif looked is not None and rnd.random() < 0.09 * visit.intent:
            yield from self._cart(visit, looked)
        elif rnd.random() < 0.7:
            self._think(visit, 25)
            yield self._left(visit, rnd.lognormvariate(3.2, 0.9))

    def _product_path(self, product: Product) -> str:
        return f"/{product.category}/{product.name}" if self.business.kind == "shop" else "/pricing"

    def _view(self, visit: Visit, path: str) -> str:
        visit.path = path
        visit.pages += 1
        return f"{visit.person.visitor}-{visit.person.visits}.{visit.pages}"

    def _left(self, visit: Visit, seconds: float) -> Step:
        view = f"{visit.person.visitor}-{visit.person.visits}.{visit.pages}"
        seconds, scroll = round(min(seconds, 1_800), 1), round(self.rnd.betavariate(2, 1.6), 2)
        return visit.step("page_left", path=visit.path, view=view, engaged_seconds=seconds, scroll_ratio=scroll)

    def _go(self, visit: Visit, path: str) -> Process:
        """From one page to the next."""
        before, since = visit.path, visit.at
        self._think(visit, 32)
        if self.rnd.random() < 0.55:
            yield self._left(visit, (visit.at - since) / 1000 * self.rnd.uniform(0.4, 1.0))
            visit.at += 150
        yield visit.step("page_viewed", path=path, view=self._view(visit, path), referrer=f"https://{self.business.site}.example{before}")

    def _extras(self, visit: Visit) -> Process:
        """What some do besides reading."""
        rnd, lot = self.rnd, self.rnd.random()
        if lot < 0.05:
            media, length = rnd.choice(self.business.media)
            play = self.name("p")
            common = {"media": media, "play": play, "length_seconds": length, "category": "video"}
            self._think(visit, 6)
            yield visit.step("media_played", state="started", position_seconds=0, **common)
            for part in (0.25, 0.5, 0.75, 1):
                if rnd.random() < 0.25:
                    return
                visit.at += int(min(length / 4, 300) * 1000)
                yield visit.step("media_played", state="completed" if part == 1 else "progress", position_seconds=round(length * part, 1), **common)
        elif lot < 0.08:
            self._think(visit, 12)
            yield visit.step("file_downloaded", file=rnd.choice(self.business.files), category="guides")
        elif lot < 0.2:
            self._think(visit, 5)
            yield visit.step("element_clicked", element=rnd.choice(("menu", "search", "size-filter", "chat", "hero-button")), path=visit.path)

    def _goals(self, visit: Visit) -> Process:
        """Some see the page of a goal, a part of those reach it."""
        rnd, lot = self.rnd, self.rnd.random()
        for goal, path, sees, reaches, value in (
            ("newsletter", "/newsletter", 0.06, 0.35, 150), ("booking", "/appointment", 0.03, 0.3, 1_500), ("contact", "/contact", 0.035, 0.3, 400),
        ):  # fmt: skip
            if lot < sees:
                yield from self._go(visit, path)
                if rnd.random() < reaches:
                    self._think(visit, 30)
                    yield visit.step("goal_reached", goal=goal, path=path, value_minor=value, currency="EUR")
                return
            lot -= sees

    # --- a purchase --------------------------------------------------------------------------------------------------

    def _cart(self, visit: Visit, product: Product) -> Process:
        """From the first product in the cart to the order; most stop on the way."""
        rnd, cart = self.rnd, self.name("k")
        lines: dict[str, tuple[Product, int]] = {}
        others = [rnd.choice(self.business.products)] if rnd.random() < 0.25 else []
        for wanted in (product, *others):
            quantity = QUANTITIES.draw(rnd)
            lines[wanted.name] = (wanted, quantity + lines.get(wanted.name, (wanted, 0))[1])
            self._think(visit, 12)
            yield visit.step("product_added", product=wanted.name, quantity=quantity, price_minor=wanted.price_minor, currency="EUR", cart=cart)
        if len(lines) > 1 and rnd.random() < 0.3:
            dropped, quantity = lines.popitem()[1]
            self._think(visit, 15)
            yield visit.step("product_removed", product=dropped.name, quantity=quantity, cart=cart)
        yield from self._go(visit, "/cart")
        if rnd.random() < 0.42:
            self._remind(visit)
            return
        self._think(visit, 12)
        yield visit.step("experiment_viewed", experiment="checkout-button", variant="green" if visit.person.visitor.encode()[-1] % 2 else "blue")
        yield visit.step("checkout_started", cart=cart)
        for name, stays in (("address", 0.88), ("shipping", 0.93)):
            if rnd.random() > stays:
                self._remind(visit)
                return
            self._think(visit, 22)
            yield visit.step("checkout_step_completed", cart=cart, step=name)
        order = self.name("o")
        for attempt in (1, 2, 3):
            self._think(visit, 20)
            if rnd.random() >= max(USUAL_FAILURE, min(0.97, 0.9 * self.strength("payment_failure", visit.at))):
                break
            yield visit.step("payment_failed", order=order, reason=FAILURE_REASONS.draw(rnd))
            if attempt == 3 or rnd.random() < 0.35:
                return
        yield visit.step("checkout_step_completed", cart=cart, step="payment")
        visit.at += 800
        yield from self._order(visit, order, cart, lines)

    def _order(self, visit: Visit, order: str, cart: str, lines: dict[str, tuple[Product, int]]) -> Process:
        rnd, person = self.rnd, visit.person
        total = sum(product.price_minor * quantity for product, quantity in lines.values())
        discount = total // 10 if rnd.random() < 0.15 else 0
        items = [{"product": product.name, "quantity": quantity, "price_minor": product.price_minor} for product, quantity in lines.values()]
        own: dict[str, Any] = {"discount_minor": discount} if discount else {}
        own |= {"total_minor": total - discount, "currency": "EUR", "items": items, "margin_ratio": round(rnd.uniform(0.3, 0.55), 2)}
        yield visit.step("order_completed", order=order, cart=cart, **own)
        person.orders += 1
        if rnd.random() < 0.12:
            self.start(self._refund(visit, order, total - discount))
        if person.customer is None and rnd.random() < GUEST_OPENS_ACCOUNT:
            yield from self._become_customer(visit, {"plan": "club"})
        if person.customer:
            self._bought(person.customer)

    def _bought(self, customer: str) -> None:
        if len(self.buyers) < 2_000:
            self.buyers.append(customer)
        else:
            self.buyers[self.rnd.randrange(len(self.buyers))] = customer

    def _become_customer(self, visit: Visit, own: dict[str, Any]) -> Process:
        """The visit goes on as the visitor's; from the next one on it is the customer who comes."""
        site, person = self.business.site, visit.person
        customer = person.customer = self.name("c")
        if self.rnd.random() < 0.08:
            own = own | {"referred_by": self.some_customer(self.rnd)}
        visit.at += 900
        yield visit.at, f"{site}/c:{customer}", {"type": "signed_up", "site": site, "customer": customer, "segment": visit.fields["segment"], **own}
        yield visit.at, f"{site}/v:{person.visitor}", {"type": "customer_identified", "site": site, "visitor": person.visitor, "customer": customer}

    def _refund(self, visit: Visit, order: str, total: int) -> Process:
        rnd = self.rnd
        amount = total if rnd.random() < 0.7 else max(1, total // 2)
        who: dict[str, Any] = {name: visit.fields[name] for name in ("site", "visitor", "customer", "segment") if name in visit.fields}
        fields = {"type": "order_refunded", **who, "order": order, "amount_minor": amount, "currency": "EUR"}
        yield visit.at + int(rnd.lognormvariate(1.5, 0.8) * HOUR), visit.key, fields

    def _remind(self, visit: Visit) -> None:
        """An e-mail an hour after a customer left a cart behind."""
        if visit.person.customer:
            self.start(self.message(visit.at + HOUR, "cart-reminder", visit.person.customer))

    # --- a service ---------------------------------------------------------------------------------------------------

    def _work(self, visit: Visit) -> Process:
        """A subscriber uses the product."""
        rnd = self.rnd
        yield visit.step("page_viewed", path="/login", view=self._view(visit, "/login"))
        self._think(visit, 6)
        yield visit.step("signed_in")
        yield from self._go(visit, "/workspace")
        for _ in range(rnd.randint(2, 9)):
            self._think(visit, 70)
            yield visit.step("feature_used", feature=FEATURES.draw(rnd))
        person, plan = visit.person, visit.person.paying
        if plan is not None and rnd.random() < 0.05:
            cancels = rnd.random() < 0.25
            yield self._subscription(visit, "subscription_cancelled" if cancels else "subscription_renewed", plan)
            if cancels:
                person.paying = None

    def _sign_up(self, visit: Visit) -> Process:
        """A trial; most subscribe or vanish within a day, which is short so that a simulation shows it."""
        rnd, person = self.rnd, visit.person
        plan = rnd.choice(self.business.products)
        yield from self._go(visit, "/signup")
        if rnd.random() < 0.35:
            return
        self._think(visit, 60)
        yield visit.step("goal_reached", goal="trial", path="/signup", value_minor=plan.price_minor, currency="EUR")
        yield from self._become_customer(visit, {"plan": plan.name})
        customer = person.customer
        assert customer is not None
        self._bought(customer)
        fields = {"site": self.business.site, "customer": customer}
        yield visit.at, f"{self.business.site}/c:{customer}", {"type": "trial_started", **fields, "plan": plan.name}
        self.start(self._welcome(visit.at, customer))
        if rnd.random() < 0.3:
            person.paying = plan
            self.start(iter([self._subscription(visit, "subscription_started", plan, int(rnd.uniform(1, 20) * HOUR))]))

    def _subscription(self, visit: Visit, kind: str, plan: Product, wait: int = 0) -> Step:
        customer = visit.person.customer
        own: dict[str, Any] = {"plan": plan.name, "amount_minor": plan.price_minor, "currency": "EUR", "period_days": 30}
        if kind == "subscription_cancelled":
            own["reason"] = self.rnd.choice(CANCEL_REASONS)
        return visit.at + wait, f"{self.business.site}/c:{customer}", {"type": kind, "site": self.business.site, "customer": customer, **own}

    def _welcome(self, at: int, customer: str) -> Process:
        """A new customer is owed a call, and both agree on a date."""
        rnd, key = self.rnd, f"{self.business.site}/c:{customer}"
        fields = {"site": self.business.site, "customer": customer}
        request = {"request": self.name("q"), "kind": "welcome_call"}
        yield at + 1_000, key, {"type": "request_made", **fields, **request}
        at += 2_000 + int(rnd.lognormvariate(0.6, 0.9) * HOUR)
        yield at, key, {"type": "request_answered", **fields, **request}
        due = at + 4 * HOUR
        commitment: dict[str, Any] = {"commitment": self.name("d"), "kind": "appointment", "due_at": due}
        yield at + MINUTE, key, {"type": "commitment_due", **fields, **commitment}
        yield due + 5 * MINUTE, key, {"type": "commitment_kept" if rnd.random() < 0.85 else "commitment_missed", **fields, **commitment}

    # --- messages ----------------------------------------------------------------------------------------------------

    def message(self, at: int, campaign: str | None = None, customer: str | None = None) -> Process:
        """One message to one customer, and what becomes of it."""
        rnd, site = self.rnd, self.business.site
        customer = customer or self.some_customer(rnd)
        key, fields = f"{site}/c:{customer}", {"site": site, "customer": customer}
        medium = "email" if rnd.random() < 0.92 else "push"
        fields |= {"message": self.name("m"), "campaign": campaign or rnd.choice(self.business.campaigns), "medium": medium, "variant": rnd.choice("ab")}
        yield at, key, {"type": "message_sent", **fields}
        at += 1_000 + int(rnd.expovariate(1 / 5_000))
        if rnd.random() < 0.015:
            yield at, key, {"type": "message_bounced", **fields}
            return
        yield at, key, {"type": "message_delivered", **fields}
        if rnd.random() > (0.38 if fields["variant"] == "a" else 0.33):
            return
        at += 20_000 + int(rnd.lognormvariate(2.8, 1.2) * MINUTE)
        yield at, key, {"type": "message_opened", **fields}
        at += 5_000 + int(rnd.expovariate(1 / 30_000))
        lot = rnd.random()
        if lot < 0.14:
            yield at, key, {"type": "message_clicked", **fields, "link": f"https://{site}.example/{fields['campaign']}"}
        elif lot < 0.152:
            yield at, key, {"type": "message_unsubscribed", **fields}
        elif lot < 0.154:
            yield at, key, {"type": "message_complained", **fields}

    def chore(self, at: int) -> Process:
        """A customer changes something, or recommends the site."""
        rnd, site = self.rnd, self.business.site
        customer = self.some_customer(rnd)
        own = rnd.choice(
            (
                {"type": "customer_updated", "traits": {"newsletter": rnd.random() < 0.7, "tier": rnd.choice(("silver", "gold"))}},
                {"type": "referral_made", "referred": self.name("c")},
                {"type": "consent_changed", "purpose": rnd.choice(("analytics", "profiling")), "granted": True},
            )
        )
        yield at, f"{site}/c:{customer}", {"site": site, "customer": customer, **own}

    # --- not people --------------------------------------------------------------------------------------------------

    def crawl(self, at: int) -> Process:
        """A crawler looks at some pages."""
        rnd, site = self.rnd, self.business.site
        visitor, agent = f"bot{rnd.randrange(40)}", rnd.choice(BOTS)
        for _ in range(rnd.randint(1, 6)):
            path = rnd.choice((*self.business.guides, "/", self._product_path(rnd.choice(self.business.products))))
            yield at, f"{site}/v:{visitor}", {"type": "page_viewed", "site": site, "visitor": visitor, "path": path, "user_agent": agent}
            at += 300 + int(rnd.expovariate(1 / 900))

    def decline(self, at: int) -> Process:
        """Someone whose browser says that nothing may be analysed."""
        site, visitor = self.business.site, self.name("v")
        for path in ("/", self.rnd.choice(self.business.guides)):
            fields = {"type": "page_viewed", "site": site, "visitor": visitor, "path": path, "consent": {"analytics": False, "profiling": False}}
            yield at, f"{site}/v:{visitor}", fields
            at += 2_000 + int(self.rnd.expovariate(1 / 20_000))


def _campaign(arrival: Arrival) -> dict[str, Any]:
    own: dict[str, Any] = {} if arrival.referrer is None else {"referrer": arrival.referrer}
    return own if arrival.campaign is None else own | {"campaign": arrival.campaign}
