"""Kill workers and the broker at random while events come in, then compare every row with a recount: `python benchmarks/prove_exact.py --help`.

Progress goes to stderr; the last line of stdout is one JSON object. Exit code 0 if nothing is lost, double, torn, wrong or unaccounted.
docs/exactness.md tells what that proves.
"""

import argparse
import asyncio
import json
import os
import platform
import random
import signal
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.partitioner import DefaultPartitioner
from msgspec.structs import replace

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
sys.path.insert(0, str(ROOT))

from agents import admin  # noqa: E402
from agents.settings import Settings  # noqa: E402
from benchmarks import oracle as recount  # noqa: E402
from benchmarks.oracle import DAY, HOUR, MINUTE, QUARTER, Oracle, PaneKey, Sent, Slots  # noqa: E402
from benchmarks.runs import prove, say  # noqa: E402
from deploy.kafka import kafka as local_kafka  # noqa: E402
from streams.journeys.reviews import Review  # noqa: E402
from streams.journeys.sessions import Session  # noqa: E402
from streams.subjects import Subject  # noqa: E402

EVENT_TOPICS = ("customers", "website", "social", "reviews")
START = int(datetime(2025, 2, 28, 6, tzinfo=UTC).timestamp()) * 1000
"""Event time of the first event: the run crosses the end of a month and of a week."""
RUN_DAYS = 2.9
SESSION_TIMEOUT = 5.0
COMPACTED_OFTEN = {"segment.ms": "10000", "min.cleanable.dirty.ratio": "0.01", "max.compaction.lag.ms": "20000"}


# --- the events ------------------------------------------------------------------------------------------------------

SITES = ("shop", "blog", "club")
SEGMENTS = ("new", "loyal", "trade")
CHANNELS = ("web", "app", "kiosk")
PATHS = ("/", "/blog/spring?ref=1", "/blog/summer", "/product/7", "/product/9#photos", "/cart", "/about/team", "/help")
SOURCES: dict[tuple[str | None, str | None], str] = {
    (None, None): "direct",
    ("https://www.google.de/search?q=shoes", None): "search",
    ("https://duckduckgo.com/", None): "search",
    ("https://m.facebook.com/story/1", None): "social",
    ("https://runners.example.org/links", None): "referral",
    ("https://www.google.de/search?q=shoes", "cpc"): "paid",
    (None, "email"): "email",
    ("https://runners.example.org/links", "social"): "social",
}
BOTS = frozenset({"Googlebot/2.1 (+http://www.google.com/bot.html)", "Mozilla/5.0 (compatible; bingbot/2.0; +http://www.bing.com/bingbot.htm)"})
PEOPLE = ("", "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0")
WORDS = (
    ("The shoes are great", "I hate the sole", "Delivery was on Tuesday", "Comfortable, but they run small", "NOT good at all", "Love these", "It is a box"),
    ("!", ".", " and the colour is nice.", ", which is terrible!!", " :)", " - would not buy again.", " 😍"),
)
VISITS = {
    "page_viewed": 58, "goal_reached": 6, "order_completed": 5, "order_refunded": 3, "page_left": 7, "product_viewed": 2, "product_added": 5,
    "product_removed": 3, "checkout_started": 2, "checkout_step_completed": 1, "payment_failed": 1, "media_played": 3, "file_downloaded": 1,
}  # fmt: skip
"""What happens on the website, and how often."""
LATE = ((0.01, 2 * HOUR), (0.0125, 26 * HOUR + 10 * MINUTE), (0.015, 27 * HOUR), (0.02, 9 * DAY), (0.021, 401 * DAY))
"""Below which share of a die an event is how much behind."""
MALFORMED: tuple[tuple[str, bytes | None], ...] = (
    ("empty", b""), ("empty", None), ("empty", b"  \n"), ("not_utf8", b'{"type": "\xff\xfe"}'), ("not_json", b"{not json"), ("wrong_type", b"[1, 2]"),
    ("missing_field", b'{"id": "x", "site": "shop"}'), ("unknown_type", b'{"type": "page_seen", "id": "x"}'), ("too_large", b'"' + b"x" * 40_000 + b'"'),
)  # fmt: skip


class Plan(NamedTuple):
    """What will be sent, in order; what is in `first` has been applied before the rest begins."""

    first: list[tuple[Sent, bytes]]
    rest: list[tuple[Sent, bytes]]


class Producer:
    """Makes up events; the same seed gives the same ones."""

    def __init__(self, seed: int, events: int, partitions: int) -> None:
        self.random = random.Random(seed)
        self.events = events
        self.partitions = list(range(partitions))
        self.partitioner = DefaultPartitioner()
        self.step = RUN_DAYS * DAY / events
        self.active = max(20, round(12 * MINUTE / self.step))
        self.people: list[tuple[str, str, int]] = []
        """(site, subject field and name, number) of those on the sites now."""
        self.former: list[tuple[str, str, int]] = []
        self.number = 0
        self.reviews: list[dict[str, Any]] = []
        self.steps: Counter[str] = Counter()
        """How far subjects are in the funnel."""
        self.orders: list[dict[str, Any]] = []
        self.tickets: list[dict[str, Any]] = []
        self.messages: list[dict[str, Any]] = []
        """Who and what may be spoken of again: some before it was heard of first."""
        self.totals: Counter[str] = Counter()
        """Impressions of posts and followers of networks so far."""

    def plan(self) -> Plan:
        first = [self.pack("customers", event) for event in self.settle_consent()]
        rest: list[tuple[Sent, bytes]] = []
        old: list[tuple[Sent, bytes]] = []
        for index in range(self.events - len(first)):
            dice = self.random.random()
            if dice < 0.015 and old:
                rest.append(self.random.choice(old[-20_000:]))  # the same event once more
                continue
            if dice < 0.022:
                reason, value = self.random.choice(MALFORMED)
                topic = self.random.choice(EVENT_TOPICS)
                key = f"shop/v:{self.random.randrange(1_000)}".encode()
                rest.append((Sent(topic, self.partition(key), value, reason), key))
                continue
            rest.append(self.pack(*self.event(START + round(index * self.step))))
            old.append(rest[-1])
        return Plan(first, rest)

    def partition(self, key: bytes) -> int:
        return int(self.partitioner(key, self.partitions, self.partitions))

    def pack(self, topic: str, event: dict[str, Any]) -> tuple[Sent, bytes]:
        fault = None
        if self.random.random() < 0.002:
            fault, event = self.random.choice(
                [("unknown_field", event | {"colour": "red"}), ("bad_time", event | {"at": event["at"] // 1000}), ("wrong_type", event | {"id": 7})]
            )
        key = f"{event['site']}/{recount.subject_of(event)}".encode()
        if fault is None and self.random.random() < 0.05 and "sent_at" not in event and "received_at" not in event:
            event = event | {"at": datetime.fromtimestamp(event["at"] / 1000, UTC).isoformat(timespec="milliseconds")}
        return Sent(topic, self.partition(key), json.dumps(event).encode(), fault), key

    def settle_consent(self) -> Iterator[dict[str, Any]]:
        """Whoever withdraws (some grant again a day later) or is erased does so before anything else is sent."""
        for number in range(0, self.events // 8, 40):
            site, purpose = SITES[number % 3], "sentiment" if number % 80 else "analytics"
            base = {"site": site, "customer": f"k{number}", "type": "consent_changed", "purpose": purpose}
            yield base | {"id": f"w{number}", "at": START + self.random.randrange(DAY), "granted": False}
            if number % 3 == 0:
                yield base | {"id": f"g{number}", "at": START + DAY + self.random.randrange(DAY), "granted": True}
            if number % 200 == 0:
                yield {"site": SITES[(number + 1) % 3], "customer": f"k{number + 1}", "type": "erase_requested", "id": f"e{number}", "at": START}

    def person(self) -> tuple[str, str, int]:
        while len(self.people) < self.active:
            if self.former and self.random.random() < 0.3:
                self.people.append(self.former.pop(self.random.randrange(len(self.former))))
            else:
                self.number += 1
                self.people.append((SITES[self.number % 3], "customer" if self.number % 4 < 2 else "visitor", self.number))
        place = self.random.randrange(len(self.people))
        person = self.people[place]
        if self.random.random() < 0.07:
            self.former.append(self.people.pop(place))
        return person

    def event(self, now: int) -> tuple[str, dict[str, Any]]:
        rnd = self.random
        self.number_of_event = getattr(self, "number_of_event", 0) + 1
        site, field, number = self.person()
        at, dice = now + rnd.randrange(-90_000, 90_000), rnd.random()
        delay = next((behind for share, behind in LATE if dice < share), 0)
        event: dict[str, Any] = {"id": f"{rnd.randrange(16**8):08x}{self.number_of_event}", "site": site, field: f"k{number}", "at": at - delay}
        if rnd.random() < 0.02:
            event["user_agent"] = rnd.choice(sorted(BOTS))
        elif rnd.random() < 0.3:
            event["user_agent"] = rnd.choice(PEOPLE)
        if rnd.random() < 0.01:
            event["consent"] = rnd.choice([{"analytics": False}, {"sentiment": False}, {"analytics": True}])
        dice = rnd.random()
        if dice < 0.01:
            event |= {"sent_at": event["at"] + 1_000, "received_at": event["at"] + 1_000 + rnd.choice((500, 20_000, -20_000))}
        elif dice < 0.015:
            event |= {"received_at": event["at"], "at": event["at"] + 3 * HOUR}  # clamped
        kind = rnd.random()
        if kind < 0.8:
            if rnd.random() < 0.1 and not delay:
                event["segment"] = SEGMENTS[number % 3] if at < START + 1.5 * DAY else SEGMENTS[(number + 1) % 3]
            return "website", self.visit(rnd, event)
        if kind < 0.88:
            return "social", self.post(rnd, event)
        if kind < 0.96:
            return "reviews", self.voice(rnd, event)
        return "customers", self.letter(rnd, event)

    def known(self, event: dict[str, Any], things: list[dict[str, Any]], chance: float, new: dict[str, Any]) -> dict[str, Any]:
        """The event about one of the last things spoken of, with its subject, or about a new one."""
        if things and self.random.random() < chance:
            event = {name: value for name, value in event.items() if name not in ("customer", "visitor")}
            return event | self.random.choice(things[-100:])
        things.append({name: event[name] for name in ("site", "customer", "visitor") if name in event} | new)
        return event | new

    def visit(self, rnd: random.Random, event: dict[str, Any]) -> dict[str, Any]:
        kind = rnd.choices(list(VISITS), list(VISITS.values()))[0]
        if rnd.random() < 0.2:  # as people do who come to buy
            who = f"{event['site']}/{recount.subject_of(event | {'type': kind})}"
            kind = recount.FUNNEL[self.steps[who] % len(recount.FUNNEL)]
            self.steps[who] += 1
        event = event | {"type": kind}
        if rnd.random() < 0.6:
            event["channel"] = rnd.choice(CHANNELS)
        if kind in recount.CART_EVENTS and kind != "payment_failed" and rnd.random() < 0.3:
            event["cart"] = rnd.choice(("a", "b"))
        match kind:
            case "page_viewed":
                referrer, medium = rnd.choice(list(SOURCES))
                event["path"] = rnd.choice(PATHS)
                if referrer:
                    event["referrer"] = referrer
                if medium:
                    event["campaign"] = {"source": "s", "medium": medium}
            case "goal_reached":
                event["goal"] = "newsletter"
            case "order_completed" | "order_refunded":
                event = self.order(rnd, event)
            case "page_left":
                event |= {"path": rnd.choice(PATHS), "engaged_seconds": rnd.randrange(3_000) / 10}
                event |= rnd.choice(({}, {"scroll_ratio": rnd.randrange(101) / 100}))
                event |= rnd.choice(({}, {"view": f"v{event['at'] // HOUR}"}))
            case "product_viewed":
                event["product"] = "trail-7"
            case "product_added" | "product_removed":
                event |= {"product": rnd.choice(("trail-7", "road-2")), "quantity": rnd.randrange(1, 4)}
            case "media_played":
                event |= {"media": "film", "play": f"y{event['at'] // HOUR}", "state": rnd.choice(("started", "progress", "progress", "completed"))}
                event |= {"position_seconds": rnd.randrange(601), "length_seconds": 600}
            case "file_downloaded":
                event |= {"file": "size chart", "category": rnd.choice(("guides", "manuals"))}
        return event

    def order(self, rnd: random.Random, event: dict[str, Any]) -> dict[str, Any]:
        """Some orders are told twice, some refunds before their order, some in another currency, some beyond the total."""
        new = {"order": f"o{rnd.randrange(10**9)}", "total_minor": rnd.randrange(10_000), "currency": rnd.choice(("EUR", "EUR", "CHF"))}
        if event["type"] == "order_completed":
            return self.known(event, self.orders, 0.15, new)
        event = self.known(event, self.orders, 0.8, new)
        event["amount_minor"] = round(event.pop("total_minor") * rnd.choice((0.2, 0.6, 1)))
        return event if rnd.random() < 0.9 else event | {"currency": "USD"}

    def post(self, rnd: random.Random, event: dict[str, Any]) -> dict[str, Any]:
        event = event | {"network": rnd.choice(("mastodon", "bluesky"))}
        text, dice = "".join(rnd.choice(words) for words in WORDS), rnd.random()
        if dice < 0.6:
            for field in ("customer", "visitor"):  # keyed by its author
                event.pop(field, None)
            event |= {"type": "mention_posted", "post": f"p{rnd.randrange(10**9)}", "author": f"a{rnd.randrange(500)}", "text": text}
            if rnd.random() < 0.1:
                event["brand"] = "Somebody Else"
            if rnd.random() < 0.3:
                event["language"] = rnd.choice(("en", "en-GB", "de", "pt_BR"))
            return event
        if rnd.random() < 0.5 and dice < 0.95:
            event["category"] = rnd.choice(("news", "tips"))
        if dice < 0.85:
            kind = rnd.choice(("like", "comment", "share", "follow", "unfollow", "save", "click"))
            return event | {"type": "interaction_made", "kind": kind, "author": "someone"} | ({"text": text} if kind == "comment" else {})
        if dice < 0.95:
            event |= {"type": "post_published", "post": f"p{rnd.randrange(30)}"}
            if rnd.random() < 0.8:
                name = f"{event['site']}/{event['network']}/{event['post']}"
                self.totals[name] += rnd.randrange(-5, 100)
                event |= {"type": "post_measured", "impressions": max(0, self.totals[name])}
            return event
        name = f"{event['site']}/{event['network']}"
        self.totals[name] += rnd.randrange(-3, 10)
        return event | {"type": "audience_measured", "followers": 1_000 + self.totals[name]}

    def letter(self, rnd: random.Random, event: dict[str, Any]) -> dict[str, Any]:
        if rnd.random() < 0.1:
            return event | {"type": "signed_up", "plan": "free"}
        kind = rnd.choice(("sent", "sent", "delivered", "opened", "opened", "clicked", "bounced", "unsubscribed", "complained"))
        new = {"message": f"m{rnd.randrange(50)}", "campaign": rnd.choice(("spring", "welcome")), "medium": rnd.choice(("email", "email", "sms"))}
        return self.known(event, self.messages, 0.1 if kind == "sent" else 0.9, new) | {"type": f"message_{kind}"}

    def voice(self, rnd: random.Random, event: dict[str, Any]) -> dict[str, Any]:
        text = "".join(rnd.choice(words) for words in WORDS)
        dice = rnd.random()
        if dice < 0.3:
            kind = rnd.choice(("opened", "answered", "resolved"))
            event = self.known(event, self.tickets, 0.1 if kind == "opened" else 0.9, {"ticket": f"t{rnd.randrange(10**9)}"}) | {"type": f"ticket_{kind}"}
            if kind == "opened" and rnd.random() < 0.5:
                event["text"] = text
            if kind == "answered" and rnd.random() < 0.6:
                event["by"] = rnd.choice(("agent", "community", "self"))
            if rnd.random() < 0.6:
                event["channel"] = rnd.choice(CHANNELS)
            return event
        if dice < 0.45:
            return event | {"type": "survey_answered", "survey": "csat", "score": rnd.randrange(1, 6), "comment": text}
        edit = rnd.choice(self.reviews[-300:]) if self.reviews and rnd.random() < 0.3 else None
        for field in ("customer", "visitor"):
            event.pop(field, None)
        event |= {"type": "review_posted", "review": f"r{rnd.randrange(10**9)}", "source": rnd.choice(("store", "maps")), "author": f"a{rnd.randrange(2_000)}"}
        if edit is not None:
            event |= {name: edit[name] for name in ("review", "source", "author", "site")}
        if rnd.random() < 0.9:
            event |= {"rating": rnd.randrange(11) / 2, "scale_max": rnd.choice((5, 10))}
        if rnd.random() < 0.6:
            event["text"] = text
        if rnd.random() < 0.5:
            event["product"] = rnd.choice(("trail-7", "road-2"))
        if edit is None:
            self.reviews.append(event)
        return event


# --- the run ---------------------------------------------------------------------------------------------------------


class Run:
    """A broker, workers, a producer, and what happens to them."""

    def __init__(self, options: argparse.Namespace, directory: Path) -> None:
        self.options, self.directory = options, directory
        self.random = random.Random(options.seed + 1)
        self.workers: dict[int, subprocess.Popen[bytes]] = {}
        self.exits: Counter[str] = Counter()
        self.done: Counter[str] = Counter()
        self.produced = 0
        self.plan = Producer(options.seed, options.events, options.partitions).plan()
        self.kafka = local_kafka.Kafka(directory / "kafka", port=0, dies_with_me=True)

    async def run(self) -> dict[str, Any]:
        await asyncio.to_thread(self.kafka.start)
        self.settings = Settings(
            broker=self.kafka.address, app_id="prove", topic_prefix="prove.", partitions=self.options.partitions, session_timeout=SESSION_TIMEOUT, heartbeat=1.0
        )
        self.connection = self.settings.client_kwargs()
        admin.TOPICS = tuple(t._replace(config={**t.config, **COMPACTED_OFTEN}) if t.name == "state" else t for t in admin.TOPICS)  # type: ignore[assignment,attr-defined]
        await admin.create_topics(self.settings)
        supervisor = asyncio.create_task(self.supervise())
        try:
            self.producer = AIOKafkaProducer(
                **self.connection, enable_idempotence=True, acks="all", compression_type="zstd", max_batch_size=1 << 20, request_timeout_ms=120_000
            )
            await self.producer.start()
            await self.send(self.plan.first)
            self.start(0)
            self.start(1)
            say(f"Kafka on {self.kafka.address}; {len(self.plan.first)} changes of consent first")
            await self.until_read(self.plan.first)
            chaos = self.actions()
            duration = sum(seconds for _, seconds in chaos) + 10
            producing = asyncio.create_task(self.produce(len(self.plan.rest) / duration))
            await asyncio.sleep(5)
            for action, _ in chaos:
                await getattr(self, action)()
                say(f"{dict(self.done)}; {self.produced} events sent, workers ended {dict(self.exits)}")
            await producing
            await self.producer.stop()
            await self.until_read(self.plan.first + self.plan.rest)
            await asyncio.sleep(2.5)  # the last readings
            supervisor.cancel()
            self.end()
            return await self.compare()
        finally:
            supervisor.cancel()
            self.end()
            self.kafka.kill()

    # --- workers -----------------------------------------------------------------------------------------------------

    def start(self, number: int) -> None:
        own = replace(self.settings, http_port=0, instance_id="prove-0" if number == 0 else None, flush_seconds=self.options.flush_seconds)
        environment = own.environment(os.environ) | {
            "PROVE_NO_FENCE": "1" if self.options.no_fence else "", "PROVE_NO_STAMP_CHECK": "1" if self.options.no_stamp_check else "",
        }  # fmt: skip
        with (self.directory / f"worker{number}.log").open("ab") as log:
            self.workers[number] = subprocess.Popen([sys.executable, str(HERE / "chaos_worker.py")], env=environment, stdout=log, stderr=log, cwd=ROOT)

    async def supervise(self) -> None:
        while True:
            for number, process in list(self.workers.items()):
                if process.poll() is not None:
                    self.exits[str(process.returncode)] += 1
                    if process.returncode == 78:
                        say(f"worker {number} refused to start; last lines of its log:\n" + self.log_of(number))
                        await asyncio.sleep(2)
                    self.start(number)
            await asyncio.sleep(0.1)

    def log_of(self, number: int) -> str:
        return "\n".join((self.directory / f"worker{number}.log").read_text(errors="replace").splitlines()[-8:])

    def end(self) -> None:
        for process in self.workers.values():
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.kill()
            process.wait()

    # --- what happens to them ----------------------------------------------------------------------------------------

    def actions(self) -> list[tuple[str, float]]:
        """Names of methods and about how many seconds each takes."""
        o = self.options
        chaos = [("kill", 3.5)] * o.kills + [("pause", o.pause_seconds + 4)] * o.stops + [("join", 7.0)] * o.joins
        self.random.shuffle(chaos)
        for number in range(o.broker_kills):
            chaos.insert((number + 1) * len(chaos) // (o.broker_kills + 1), ("kill_broker", 12.0))
        return chaos

    def pick(self) -> subprocess.Popen[bytes]:
        return self.workers[self.random.randrange(2)]

    async def kill(self) -> None:
        process = self.pick()
        if process.poll() is None:
            process.kill()
        self.done["kills"] += 1
        await asyncio.sleep(1 + 5 * self.random.random())

    async def pause(self) -> None:
        """Longer than the session timeout: its partitions are taken while it sleeps, then it goes on where it was."""
        process = self.pick()
        if process.poll() is None:
            process.send_signal(signal.SIGSTOP)
            await asyncio.sleep(self.options.pause_seconds - 0.5 + self.random.random())
            process.send_signal(signal.SIGCONT)
        self.done["stops"] += 1
        await asyncio.sleep(2 + 3 * self.random.random())

    async def join(self) -> None:
        """A third worker comes for a while and leaves in good order."""
        self.start(2)
        await asyncio.sleep(5)
        process = self.workers.pop(2)
        process.terminate()
        self.exits[f"left: {await asyncio.to_thread(process.wait, 20)}"] += 1
        self.done["joins"] += 1

    async def kill_broker(self) -> None:
        await asyncio.to_thread(self.kafka.kill)
        await asyncio.sleep(1)
        await asyncio.to_thread(self.kafka.start)
        self.done["broker_kills"] += 1
        await asyncio.sleep(6)

    # --- sending and waiting -----------------------------------------------------------------------------------------

    async def produce(self, rate: float) -> None:
        begun, events = time.monotonic(), self.plan.rest
        while self.produced < len(events):
            due = min(len(events), round((time.monotonic() - begun) * rate))
            # A broker that was away is given what has gathered in pieces.
            await self.send(events[self.produced : min(due, self.produced + 2_000)])
            self.produced = min(due, self.produced + 2_000)
            await asyncio.sleep(0.05)

    async def send(self, events: list[tuple[Sent, bytes]]) -> None:
        by_log: dict[tuple[str, int], list[tuple[Sent, bytes]]] = defaultdict(list)
        for event, key in events:
            by_log[event.topic, event.partition].append((event, key))
        sent = []
        for (topic, partition), log in by_log.items():
            batch = self.producer.create_batch()
            for event, key in log:
                if batch.append(key=key, value=event.value, timestamp=None) is None:
                    sent.append(await self.producer.send_batch(batch, self.settings.topic(topic), partition=partition))
                    batch = self.producer.create_batch()
                    batch.append(key=key, value=event.value, timestamp=None)
            sent.append(await self.producer.send_batch(batch, self.settings.topic(topic), partition=partition))
        await asyncio.gather(*sent)

    async def until_read(self, events: list[tuple[Sent, bytes]]) -> None:
        """Until the stamps cover these events and all partials; after a while the run goes on and what is missing is counted as lost."""
        wanted = Counter((event.partition, event.topic) for event, _ in events)
        deadline, calm = time.monotonic() + self.options.catch_up_seconds, 0
        while calm < 2:
            rows = await self.read_state()
            stamps = {partition: msgspec.msgpack.decode(found[b"@"])["offsets"] if b"@" in found else {} for partition, found in rows.items()}
            ends = await self.ends("rollups")
            reached = all(stamps[partition].get(topic, -1) >= number - 1 for (partition, topic), number in wanted.items())
            reached = reached and all(stamps[partition].get("rollups", -1) == end - 1 for partition, end in ends.items())
            calm = calm + 1 if reached else 0
            if time.monotonic() > deadline:
                say("not everything was read in time; workers' logs end with")
                for number in self.workers:
                    say(self.log_of(number))
                return
            await asyncio.sleep(0.5)

    async def ends(self, topic: str) -> dict[int, int]:
        consumer = AIOKafkaConsumer(**self.connection)
        await consumer.start()
        try:
            tps = [TopicPartition(self.settings.topic(topic), partition) for partition in range(self.options.partitions)]
            return {tp.partition: end for tp, end in (await consumer.end_offsets(tps)).items()}
        finally:
            await consumer.stop()

    async def read_log(self, topic: str) -> list[Any]:
        """All records of a topic that are still there, up to its end now."""
        consumer = AIOKafkaConsumer(**self.connection, enable_auto_commit=False, max_partition_fetch_bytes=8 << 20, fetch_max_wait_ms=100)
        await consumer.start()
        records: list[Any] = []
        try:
            tps = [TopicPartition(self.settings.topic(topic), partition) for partition in range(self.options.partitions)]
            consumer.assign(tps)
            await consumer.seek_to_beginning(*tps)
            ends = await consumer.end_offsets(tps)
            while any([await consumer.position(tp) < ends[tp] for tp in tps]):
                for batch in (await consumer.getmany(timeout_ms=300)).values():
                    records += batch
        finally:
            await consumer.stop()
        return records

    async def read_state(self) -> dict[int, dict[bytes, bytes]]:
        rows: dict[int, dict[bytes, bytes]] = {partition: {} for partition in range(self.options.partitions)}
        records = await self.read_log("state")
        self.state_records = len(records)
        for record in records:
            if record.value is None:
                rows[record.partition].pop(record.key, None)
            else:
                rows[record.partition][record.key] = record.value
        return rows

    async def compare(self) -> dict[str, Any]:
        rows, written = await self.read_state(), sum((await self.ends("state")).values())
        say(f"state: {sum(map(len, rows.values()))} rows; {self.state_records} of {written} records left by compaction; recounting")
        readings = [msgspec.json.decode(record.value) for record in await self.read_log("readings")]
        ends = {topic: await self.ends(topic) for topic in EVENT_TOPICS}
        want = Oracle((event for event, _ in self.plan.first + self.plan.rest), SOURCES, BOTS)
        verdict = Verdict(want, rows)
        for topic, per_partition in ends.items():
            for partition, end in per_partition.items():
                if end != want.counts[partition, topic]["received"]:
                    raise AssertionError(f"the producer is at fault: {topic}[{partition}] holds {end} records")
        verdict.judge_accounting()
        verdict.judge_subjects()
        verdict.judge_panes()
        verdict.judge_rollups()
        verdict.judge_readings(readings)
        say(f"compared {dict(verdict.compared)}; not known to the recount: {sorted(verdict.unknown) or 'nothing'}")
        total: Counter[str] = sum(want.counts.values(), Counter())
        say(f"verdicts {dict(sorted(total.items()))}; workers ended {dict(self.exits)}")
        return {
            "events": total["received"], "kills": self.done["kills"], "stops": self.done["stops"], "broker_kills": self.done["broker_kills"],
            "joins": self.done["joins"], "lost": verdict.lost, "double": verdict.double, "torn": verdict.torn, "wrong_rows": verdict.wrong_rows,
            "unaccounted": verdict.unaccounted, "compared": dict(verdict.compared), "ended": dict(self.exits), "seed": self.options.seed,
            "versions": {"python": platform.python_version()} | {name: version(name) for name in ("faust-streaming", "aiokafka", "vaderSentiment")},
        }  # fmt: skip


# --- the comparison --------------------------------------------------------------------------------------------------


READ: dict[str, tuple[str, str, str | None]] = {
    "page_views": ("page_view", "page_views.0", None), "sessions": ("session", "sessions.0", None), "reviews": ("review", "reviews.0", None),
    "mentions": ("mention", "mentions.0", None), "daily_visitors": ("daily_visitor", "daily_visitors.0", None), "orders": ("order", "orders.0", None),
    "tickets": ("ticket", "tickets.0", None), "interactions": ("engagement", "interactions.0", None), "downloads": ("download", "downloads.0", None),
    "payment_failures": ("payment_failure", "payment_failures.0", None),
}  # fmt: skip
SHARES = {
    "bounce_rate": "session", "negative_share": "text", "cart_abandonment": "cart", "checkout_abandonment": "checkout",
    "session_conversion_rate": "session_goal", "visitor_conversion_rate": "conversion", "funnel_completion_rate": "funnel_entry",
    "funnel_step_rate": "funnel_step",
}  # fmt: skip
READ |= {kpi: (fact, f"{kpi}.1", f"{kpi}.0") for kpi, fact in SHARES.items()}
"""Measures of which readings are compared: fact, slot, and the slot it is divided by."""
Series = tuple[Any, ...]
"""(measure, site, dimensions, length, whether it may be a calendar day)."""


def last_readings(messages: list[dict[str, Any]]) -> dict[Series, tuple[int, int, dict[str, Any]]]:
    """The last reading of each series and length, with start and end of its window."""
    last: dict[Series, tuple[int, int, dict[str, Any]]] = {}
    for message in messages:
        for reading in message["readings"]:
            if reading["kpi"] not in READ:
                continue
            start, end = (recount.millis(reading["window"][side]) for side in ("start", "end"))
            key = (
                reading["kpi"],
                reading["site"],
                tuple(reading["dimensions"].items()),
                end - start,
                end - start == DAY and end % DAY == 0 and QUARTER not in recount.KEPT[READ[reading["kpi"]][0]].sizes,
            )
            if key not in last or end >= last[key][1]:
                last[key] = (start, end, reading)
    return last


class Verdict:
    """Rows of the state topic against the recount."""

    def __init__(self, want: Oracle, rows: dict[int, dict[bytes, bytes]]) -> None:
        self.want, self.rows = want, rows
        self.lost = self.double = self.torn = self.wrong_rows = self.unaccounted = 0
        self.compared: Counter[str] = Counter()
        self.unknown: set[str] = set()
        self._shown = 0
        self.stamps = {partition: msgspec.msgpack.decode(found[b"@"]) for partition, found in rows.items() if b"@" in found}
        self.layout: dict[str, list[str]] = next(iter(self.stamps.values()))["layout"]
        self.names = {name: place for place, name in enumerate(Subject.__struct_fields__)}
        self.got_sessions: dict[int, list[tuple[str, dict[str, Any]]]] = defaultdict(list)
        self.got_panes: dict[int, dict[PaneKey, Slots]] = defaultdict(dict)

    def wrong(self, what: str, key: object, want: object, got: object) -> None:
        self.wrong_rows += 1
        self.show(what, key, want, got)

    def show(self, what: str, key: object, want: object, got: object) -> None:
        self._shown += 1
        if self._shown <= 12:
            say(f"{what} {key}:\n    want {want}\n    got  {got}")

    def weigh(self, want: int, got: int) -> None:
        self.lost += max(0, want - got)
        self.double += max(0, got - want)

    def judge_accounting(self) -> None:
        for partition in self.rows:
            counted = self.stamps.get(partition, {}).get("intake", {}).get("counts", {})
            offsets = self.stamps.get(partition, {}).get("offsets", {})
            for topic in EVENT_TOPICS:
                want, got = self.want.counts[partition, topic], Counter(counted.get(topic, {}))
                self.compared["accounts"] += 1
                least, most = self.want.unjoined.get((partition, topic), (0, 0))
                if not least <= got.pop("flag.unjoined", 0) <= most:
                    self.wrong("unjoined", f"{topic}[{partition}]", f"{least} to {most}", counted.get(topic, {}).get("flag.unjoined"))
                for name in want | got:
                    self.weigh(want[name], got[name])
                if want != got:
                    self.wrong("accounting", f"{topic}[{partition}]", dict(want), dict(got))
                verdicts = sum(n for name, n in got.items() if name.split(".")[0] in ("applied", "late", "duplicate", "bot", "failed", "refused"))
                self.unaccounted += abs(got["received"] - verdicts)
                if got["received"] != offsets.get(topic, -1) + 1:
                    self.torn += 1
                    self.show("torn stamp", f"{topic}[{partition}]", offsets.get(topic, -1) + 1, got["received"])

    def judge_subjects(self) -> None:
        for partition, found in self.rows.items():
            rows = {key[2:].decode(): msgspec.msgpack.decode(value) for key, value in found.items() if key[:2] == b"s/"}
            for key in rows.keys() | {key for own, key in self.want.subjects if own == partition}:
                self.compared["subjects"] += 1
                want = self.want.subjects.get((partition, key))
                if want is None or key not in rows:
                    self.wrong("subject", key, want, rows.get(key))
                    continue
                got = self.read_subject(partition, key, rows[key])
                settled = self.want.newest.get((partition, "website"), 0) - 5_000 - 26 * HOUR - 30 * MINUTE
                kept = {session["start"] for session in got["sessions"]}
                want = want | {"sessions": [s for s in want["sessions"] if s["end"] >= settled or s["start"] in kept]}
                if got != want:
                    self.wrong("subject", key, *({name: side[name] for name in want if want[name] != got[name]} for side in (want, got)))

    def read_subject(self, partition: int, key: str, row: list[Any]) -> dict[str, Any]:
        def field(name: str) -> Any:
            return row[self.names[name]]

        sessions = [dict(zip(Session.__struct_fields__, session, strict=True)) for session in field("sessions")]
        for session in sessions:
            del session["later"]
            session["carried"] = session["carried"] if session["segment"] is None else None  # else without meaning
        self.got_sessions[partition] += [(key.partition("/")[0], session) for session in sessions]
        return {
            "sessions": sessions,
            "views": sorted(tuple(view) for view in field("views")),
            "reviews": {name: dict(zip(Review.__struct_fields__, review, strict=True)) for name, review in (field("reviews") or {}).items()},
            "seen": (field("seen"), field("seen_id")),
            "erased": field("erased"),
            "consent": [tuple(change) for change in field("consent") or ()],
            "orders": [(at, event, order) for at, event, _, order, *_ in field("notes").get("orders", ())],
            "tickets": [(at, event, ticket) for at, event, _, ticket, *_ in field("notes").get("tickets", ())],
        }

    def slots(self, fact: str, cell: list[Any]) -> Slots:
        values = dict(zip(self.layout[fact], cell, strict=True))
        return {name: Counter(value) if isinstance(value, dict) else value for name, value in values.items()}

    def judge_row(self, what: str, key: PaneKey, want: Slots, got: Slots | None, expired: bool) -> None:
        """A row that was dropped when it expired is not compared; anything else that is missing counts as zero."""
        if got is None and expired:
            return
        self.compared[what] += 1
        right = True
        for name in self.layout[key[0]]:
            if want and name not in want:
                self.unknown.add(name)
                continue
            wanted, found = want.get(name, 0), (got or {}).get(name, 0)
            if isinstance(wanted, Counter) or isinstance(found, Counter):
                wanted, found = wanted or Counter(), found or Counter()
                pairs = [(wanted[bucket], found[bucket]) for bucket in wanted | found]
            else:
                pairs = [(wanted, found)]
            for one, other in pairs:
                if what == "panes":
                    self.weigh(one, other)
                right = right and one == other
        if not right:
            self.wrong(what, key, want, got)

    def knows(self, fact: str, grouping: str) -> bool:
        if fact in recount.KEPT and tuple(grouping.split(",")) in recount.KEPT[fact].groupings:
            return True
        self.unknown.add(f"{fact} by {grouping}")
        return False

    def judge_panes(self) -> None:
        for partition, found in self.rows.items():
            for key, value in found.items():
                if key[:1] == b"p":
                    fact, size, grouping, *rest = msgspec.json.decode(key[1:])
                    if not self.knows(fact, grouping):
                        continue
                    self.got_panes[partition][fact, size, grouping, *rest] = self.slots(fact, msgspec.msgpack.decode(value, strict=False, type=list[Any])[1])
            got = self.got_panes[partition]
            for pane in got.keys() | self.want.panes[partition].keys():
                fact, size, _, _, start = pane[:5]
                keep = recount.GRACE[size] + recount.KEPT[fact].look_back
                expired = start + size <= self.want.newest_watermark(partition, fact) - keep
                self.judge_row("panes", pane, self.want.panes[partition].get(pane, {}), got.get(pane), expired)
            self.judge_relations(partition)

    def judge_relations(self, partition: int) -> None:
        """Rows of one flush must agree: panes of sessions with the sessions in the rows of subjects, as both were stored."""
        since = self.want.newest.get((partition, "website"), 0) - 26 * HOUR
        sums: dict[PaneKey, Slots] = {}
        for site, session in self.got_sessions[partition]:
            if session["pages"] and session["start"] - session["start"] % QUARTER >= since:
                length = session["end"] - session["start"]
                engaged = int(session["pages"] >= 2 or session["key_events"] > 0 or length > 10_000)
                labels = recount.session_labels(session)
                for grouping in recount.KEPT["session"].groupings:
                    key = ("session", QUARTER, ",".join(grouping), site, session["start"] - session["start"] % QUARTER, *(labels[name] for name in grouping))
                    recount.add(sums.setdefault(key, {}), recount.session_slots(session["pages"], length, engaged))
        for key in sums.keys() | {key for key in self.got_panes[partition] if key[0] == "session" and key[4] >= since}:
            want, got = sums.get(key, {}), self.got_panes[partition].get(key, {})
            self.compared["relations"] += 1
            known = [name for name in self.layout["session"] if name in want or not want]
            if any((want.get(name) or 0) != (got.get(name) or 0) for name in known):
                self.torn += 1
                self.show("torn", key, want, got)

    def judge_rollups(self) -> None:
        total = self.want.total()
        got: dict[PaneKey, Slots] = {}
        newest = {fact: max(self.want.newest_watermark(partition, fact) for partition in self.rows) for fact in recount.KEPT}
        for found in self.rows.values():
            for key, value in found.items():
                if key[:1] != b"r":
                    continue
                site, fact, size, grouping, *rest = msgspec.json.decode(key[1:])
                pane = (fact, size, grouping, site, *rest)
                if not self.knows(fact, grouping):
                    continue
                parts = msgspec.msgpack.decode(value, strict=False, type=dict[int, Any])
                if pane in got:
                    self.wrong("rollups: two owners", pane, None, None)
                slots: Slots = got.setdefault(pane, {})
                for _, cell in parts.values():
                    recount.add(slots, self.slots(fact, cell))
        latest = max(newest.values()) + 10 * MINUTE
        for pane in got.keys() | total.keys():
            fact, size, _, _, start = pane[:5]
            if fact == "presence" and start <= newest[fact] - HOUR:
                continue  # who left an expired minute is taken back only where it is read: in the last five
            kept = {MINUTE: 26 * HOUR, QUARTER: 15 * DAY, DAY: 400 * DAY}[size]
            self.judge_row("rollups", pane, total.get(pane, {}), got.get(pane), start + 2 * size < latest - kept)

    def judge_readings(self, messages: list[dict[str, Any]]) -> None:
        """The last reading of every series and length against the same window of the recount."""
        last = last_readings(messages)
        reached: dict[tuple[Any, ...], int] = {}
        for (kpi, site, _, *clock), (_, end, _) in last.items():
            reached[kpi, site, *clock] = max(end, reached.get((kpi, site, *clock), 0))
        total = self.want.total()
        series: dict[tuple[Any, ...], list[tuple[int, Slots]]] = defaultdict(list)
        for (fact, size, grouping, site, pane, *labels), slots in total.items():
            series[fact, size, site, tuple(zip(grouping.split(","), labels, strict=True))].append((pane, slots))
            if tuple(grouping.split(",")) == recount.KEPT[fact].groupings[0]:
                series[fact, size, site, ()].append((pane, slots))
        for (kpi, site, dimensions, length, aligned), (start, end, reading) in last.items():
            if not reading["n"]:
                continue  # a window without facts moves on unannounced
            if end < reached[kpi, site, length, aligned]:
                self.compared["readings left behind"] += 1  # a new owner does not know that it must announce that nothing is left
                continue
            fact, above, below = READ[kpi]
            kept = recount.KEPT[fact].sizes
            if QUARTER in kept:
                sizes = [QUARTER]
            elif kept == (DAY,) or length > DAY:
                sizes = [DAY]
            else:  # a sliding day that ends at midnight cannot be told from a calendar day
                sizes = [MINUTE, DAY] if aligned and length == DAY else [MINUTE]
            self.compared["readings"] += 1
            wanted = []
            for size in sizes:
                panes = [slots for pane, slots in series[fact, size, site, dimensions] if start <= pane < end]
                hits = sum(slots.get(above, 0) for slots in panes)
                n = hits if below is None else sum(slots.get(below, 0) for slots in panes)
                wanted.append((n, None if not n else hits if below is None else hits / n))
            if (reading["n"], reading["value"]) not in wanted:
                self.wrong("reading", (kpi, site, dimensions, length, start, end), wanted, (reading["n"], reading["value"]))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default, text in (
        ("kills", 20, "kill -9 of a worker"), ("stops", 10, "pauses of a worker beyond the session timeout"), ("broker-kills", 1, "kill -9 of the broker"),
        ("joins", 2, "third workers that come and go"), ("events", 200_000, "records sent"), ("seed", 1, "of events and chaos"),
        ("partitions", 4, "of every topic"), ("catch-up-seconds", 90, "longest wait for the workers at the end"),
    ):  # fmt: skip
        parser.add_argument(f"--{name}", type=int, default=default, help=f"{text} ({default})")
    parser.add_argument("--pause-seconds", type=float, default=SESSION_TIMEOUT + 2, help=f"how long a pause is; the session timeout is {SESSION_TIMEOUT:g}")
    parser.add_argument("--flush-seconds", type=float, default=0.25, help="how often workers write what changed")
    parser.add_argument("--no-fence", action="store_true", help="control: paused workers may write when they wake up; the run must fail")
    parser.add_argument("--no-stamp-check", action="store_true", help="control: records before the stamp are applied again; the run must fail")
    parser.add_argument("--keep", action="store_true", help="keep the folder with the broker's data and the workers' logs")
    options = parser.parse_args()
    return prove("prove-exact", lambda directory: Run(options, directory).run(), ("lost", "double", "torn", "wrong_rows", "unaccounted"), keep=options.keep)


if __name__ == "__main__":
    sys.exit(main())
