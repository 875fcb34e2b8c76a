"""What the counts must be, computed a second time from the list of events that were sent. Shares no code with the product.

The product folds events one by one, in any order, into rows it corrects. Here everything is at hand: verdicts are judged
along each log (that order matters), then sessions, first views, reviews, carts, orders, tickets … are worked out from complete,
sorted lists, one subject after the other.
"""

import json
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from itertools import pairwise
from typing import Any, NamedTuple

from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

MINUTE, QUARTER, HOUR, DAY = 60_000, 900_000, 3_600_000, 86_400_000
GAP, LONGEST = 30 * MINUTE, DAY
NEVER_LATE = {"consent_changed", "erase_requested", "customer_identified"}
ANALYTICS = {
    "page_viewed", "page_left", "element_clicked", "media_played", "file_downloaded", "goal_reached", "product_viewed", "product_added",
    "product_removed", "checkout_started", "checkout_step_completed", "payment_failed", "experiment_viewed", "signed_in", "feature_used",
    "interaction_made", "message_opened", "message_clicked",
}  # fmt: skip
KEY_EVENTS = {"goal_reached", "order_completed"}
ORIGIN = {"mention_posted": "mention", "survey_answered": "survey", "ticket_opened": "ticket", "interaction_made": "comment", "community_posted": "community"}
TAILS = ("!", ".", " and the colour is nice.", ", which is terrible!!", " :)", " - would not buy again.", " 😍")
LABELS = {
    "The shoes are great": "+++0+s+", "I hate the sole": "aaaaaba", "Delivery was on Tuesday": "00+a+c+", "Comfortable, but they run small": "00+a+0+",
    "NOT good at all": "aaaaaba", "Love these": "+++++++", "It is a box": "00+a+c+",
}  # fmt: skip
"""How the texts that are made up read to a person who knows the rules of docs/sentiment.md: by beginning, one letter for each tail."""
READ = {
    "+": ("positive", []), "0": ("neutral", []), "a": ("negative", ["anger"]), "b": ("negative", ["anger", "churn"]), "c": ("negative", ["churn"]),
    "s": ("negative", ["churn", "sarcasm"]),
}  # fmt: skip
PATTERNS = 1
"""Version of the list of complaint patterns."""
INTERACTIONS = ("like", "comment", "share", "follow")
FUNNEL, FUNNEL_WINDOW = ("product_viewed", "product_added", "checkout_started", "order_completed"), HOUR
CART_OPEN, TARGET, MOST_ENGAGED = HOUR, 4 * HOUR, 30 * MINUTE
CART_EVENTS = ("product_added", "product_removed", "checkout_started", "checkout_step_completed", "payment_failed", "order_completed")


class Kept(NamedTuple):
    """How a fact is kept: sizes of its panes, label sets, topics that state or correct it, look-back beyond the grace."""

    sizes: tuple[int, ...]
    groupings: tuple[tuple[str, ...], ...]
    topics: tuple[str, ...]
    look_back: int = 0


def by(*groupings: str) -> tuple[tuple[str, ...], ...]:
    return tuple(tuple(grouping.split()) for grouping in groupings)


FINE, SITE, VISITORS = (MINUTE, DAY), ("website",), by("segment channel", "source")
ANY_TOPIC = ("website", "social", "reviews", "customers")
COMMERCE, STEPS = by("segment channel"), by("funnel step", "segment funnel step", "channel funnel step")
KEPT = {
    "page_view": Kept(FINE, by("segment channel", "source", "route"), SITE),
    "presence": Kept((MINUTE,), by("segment"), SITE),
    "session": Kept((QUARTER,), by("segment channel", "source", "route"), SITE, DAY),
    "session_goal": Kept((QUARTER,), by("segment channel goal", "source goal", "segment goal"), SITE, DAY),
    "daily_visitor": Kept((DAY,), VISITORS, SITE, 90 * DAY),
    "weekly_visitor": Kept((DAY,), VISITORS, SITE, 90 * DAY),
    "monthly_visitor": Kept((DAY,), VISITORS, SITE, 90 * DAY),
    "conversion": Kept((DAY,), by("segment goal", "channel goal"), SITE),
    "page_read": Kept(FINE, by("segment", "route"), SITE, DAY),
    "play": Kept(FINE, by("segment", "category"), SITE, DAY),
    "download": Kept(FINE, by("segment", "category"), SITE),
    "payment_failure": Kept(FINE, COMMERCE, SITE),
    "cart": Kept((QUARTER,), COMMERCE, SITE, 2 * DAY),
    "checkout": Kept((QUARTER,), COMMERCE, SITE, 2 * DAY),
    "order": Kept(FINE, by("segment channel", "currency", "segment currency", "channel currency"), SITE, 90 * DAY),
    "funnel_entry": Kept((QUARTER,), by("segment funnel", "channel funnel"), ANY_TOPIC, 2 * DAY),
    "funnel_step": Kept((QUARTER,), STEPS, ANY_TOPIC, 2 * DAY),
    "funnel_step_time": Kept((QUARTER,), STEPS, ANY_TOPIC, 2 * DAY),
    "review": Kept(FINE, by("segment source", "product"), ("reviews",), 90 * DAY),
    "ticket": Kept(FINE, COMMERCE, ("reviews",), 90 * DAY),
    "response": Kept(FINE, COMMERCE, ("reviews",), 90 * DAY),
    "resolution": Kept(FINE, COMMERCE, ("reviews",), 90 * DAY),
    "mention": Kept(FINE, by("segment network", "brand"), ("social",)),
    "text": Kept(FINE, by("segment origin", "network"), ("social", "reviews"), 90 * DAY),
    "complaint": Kept(FINE, by("complaint", "segment complaint", "origin complaint"), ("social", "reviews"), 90 * DAY),
    "engagement": Kept((QUARTER,), by("segment network", "network category", "kind", "network"), ("social",)),
    "audience_change": Kept((DAY,), by("network"), ("social",)),
    "sending": Kept(FINE, by("segment", "campaign"), ("customers",), 30 * DAY),
    "mailing": Kept(FINE, by("segment", "campaign"), ("customers",), 30 * DAY),
}
GRACE = {MINUTE: HOUR, QUARTER: 26 * HOUR, DAY: 8 * DAY}

Slots = dict[str, Any]
"""Value per slot (`measure.number`); a histogram is a Counter of buckets."""
PaneKey = tuple[Any, ...]
"""(fact, size, grouping, site, pane, *labels)."""
Labels = dict[str, str]
Stated = tuple[str, int, int, Labels, Slots]
"""(fact, instant whose pane it credits, how late that was, labels, slots)."""


class Sent(NamedTuple):
    """One record as it was sent; `fault` is why it must be refused as no event, None for an event."""

    topic: str
    partition: int
    value: bytes | None
    fault: str | None


class Happened(NamedTuple):
    """An applied event: its repaired time, how late it was (0 in time, 1 not in minutes, 2 only in days), its fields and place in its log."""

    at: int
    id: str
    level: int
    topic: str
    fields: dict[str, Any]
    place: int


def bucket_of(value: int) -> int:
    """Exact below 128; above, every doubling is cut into 64 buckets of one width."""
    if value < 128:
        return value
    begin, number = 128, 128
    while value >= 2 * begin:
        begin, number = 2 * begin, number + 64
    return number + (value - begin) * 64 // begin


def millis(value: int | str) -> int:
    if isinstance(value, int):
        return value
    return (datetime.fromisoformat(value) - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)


def repaired(event: dict[str, Any], sent: int) -> tuple[int, bool]:
    """Event time freed of a wrong client clock, and whether it was cut to the receipt."""
    at, received = sent, event.get("received_at")
    if "sent_at" in event and received is not None and 1_000 <= abs(received - event["sent_at"]) <= DAY:
        at += received - event["sent_at"]
    return (received, True) if received is not None and at > received + MINUTE else (at, False)


def route_of(path: str) -> str:
    return "/" + path.split("#")[0].split("?")[0].split("/")[1]


def subject_of(event: dict[str, Any]) -> str:
    if event["type"] in ("post_published", "post_measured", "audience_measured"):
        return f"network:{event['network']}" if "followers" in event else f"post:{event['post']}"
    if "customer" in event:
        return f"c:{event['customer']}"
    if "visitor" in event:
        return f"v:{event['visitor']}"
    place = event.get("network") or event.get("source") or event.get("community")
    return f"{'m' if 'community' in event else 'a'}:{place}/{event.get('author') or event.get('member')}"


class Oracle:
    """`sources` says which source class each (referrer, medium) has, `bots` which user agents are bots: lists the producer draws from."""

    def __init__(self, sent: Iterable[Sent], sources: dict[tuple[str | None, str | None], str], bots: frozenset[str]) -> None:
        self.sources, self.bots = sources, bots
        self.counts: dict[tuple[int, str], Counter[str]] = defaultdict(Counter)
        self.newest: dict[tuple[int, str], int] = {}
        self.subjects: dict[tuple[int, str], dict[str, Any]] = {}
        """Content of subject rows by (partition, site/subject)."""
        self.panes: dict[int, dict[PaneKey, Slots]] = defaultdict(dict)
        self.unjoined: dict[tuple[int, str], tuple[int, int]] = {}
        """Refunds and answers that found no order or ticket: at the end of the log, and on their arrival."""
        self._consents: dict[str, list[tuple[int, str, str, bool]]] = defaultdict(list)
        self._erased: dict[str, int] = {}
        self._vader = SentimentIntensityAnalyzer()
        self._scores: dict[str, int] = {}
        logs: dict[tuple[int, str], list[Sent]] = defaultdict(list)
        for record in sent:
            logs[record.partition, record.topic].append(record)
        histories: dict[tuple[int, str], list[Happened]] = defaultdict(list)
        for topic in ("customers", "website", "social", "reviews"):  # consent is known before what it governs
            for (partition, name), log in logs.items():
                if name == topic:
                    for key, happened in self._judge_log(partition, topic, log):
                        histories[partition, key].append(happened)
        for (partition, key), history in histories.items():
            self._follow(partition, key, history)

    # --- verdicts ----------------------------------------------------------------------------------------------------

    def _judge_log(self, partition: int, topic: str, log: list[Sent]) -> Iterator[tuple[str, Happened]]:
        counts = self.counts[partition, topic]
        newest = 0
        seen: set[tuple[Any, ...]] = set()
        for place, record in enumerate(log):
            counts["received"] += 1
            if record.fault is not None:
                counts["failed." + record.fault] += 1
                continue
            event = json.loads(record.value or b"")
            kind, key = event["type"], f"{event['site']}/{subject_of(event)}"
            sent = millis(event["at"])
            at, clamped = repaired(event, sent)
            if not clamped:
                newest = max(newest, at)
            behind = newest - 5_000 - at
            verdict = self._judge(event, key, at, behind, (key, kind, event["id"], sent), seen)
            counts[verdict] += 1
            if verdict != "applied":
                continue
            level = 2 if behind > 26 * HOUR else 1 if behind > HOUR else 0
            if level and kind not in NEVER_LATE:
                counts["flag.partly_late"] += 1
            if clamped:
                counts["flag.clamped"] += 1
            if kind == "consent_changed":
                self._consents[key].append((at, event["id"], event["purpose"], event["granted"]))
            elif kind == "erase_requested":
                self._erased[key] = max(at, self._erased.get(key, at))
            yield key, Happened(at, event["id"], level, topic, event, place)
        self.newest[partition, topic] = newest

    def _judge(self, event: dict[str, Any], key: str, at: int, behind: int, identity: tuple[Any, ...], seen: set[tuple[Any, ...]]) -> str:
        if behind > 400 * DAY:
            return "failed.too_old"
        if behind > 8 * DAY and event["type"] not in NEVER_LATE:
            return "late"
        if identity in seen:
            return "duplicate"
        seen.add(identity)
        if event.get("user_agent") in self.bots:
            return "bot"
        if event["type"] in ("consent_changed", "erase_requested"):
            return "applied"
        if key in self._erased and at < self._erased[key] + 400 * DAY:
            return "refused.erased"
        return "refused.no_consent" if event["type"] in ANALYTICS and not self._allows("analytics", event, key, at) else "applied"

    def _allows(self, purpose: str, event: dict[str, Any], key: str, at: int) -> bool:
        own = event.get("consent", {}).get(purpose)
        if own is not None:
            return bool(own)
        said = [change for change in self._consents[key] if change[2] == purpose and change[:2] <= (at, event["id"])]
        return max(said)[3] if said else True

    # --- one subject -------------------------------------------------------------------------------------------------

    def _follow(self, partition: int, key: str, history: list[Happened]) -> None:
        site = key.partition("/")[0]
        history.sort(key=lambda happened: (happened.at, happened.id))
        web = [h for h in history if h.topic == "website" and h.fields["type"] != "order_refunded"]
        row: dict[str, Any] = {
            "sessions": [], "views": [], "reviews": {}, "seen": (0, ""), "erased": self._erased.get(key),
            "consent": sorted(self._consents[key]) if key in self._consents and key not in self._erased else [],
            "orders": [(h.at, h.id, h.fields["order"]) for h in history if h.fields["type"] in ("order_completed", "order_refunded")],
            "tickets": [(h.at, h.id, h.fields["ticket"]) for h in ticket_steps(history)],
        }  # fmt: skip
        for happened in web:
            if happened.fields["type"] == "page_viewed":
                self._count(partition, site, "page_view", happened.at, happened.level, self._page_labels(happened.fields), {"page_views.0": 1})
        in_time = [happened for happened in web if not happened.level]
        if in_time:
            last = in_time[-1]
            row["seen"] = (last.at, last.id)
            self._count(partition, site, "presence", last.at, 0, labels_of(last, "segment"), {"active_visitors.0": 1})
        row["sessions"] = list(self._sessions(partition, site, [h for h in web if h.level < 2], [h for h in history if "segment" in h.fields]))
        row["views"] = list(self._views(partition, site, [h for h in web if h.fields["type"] == "page_viewed"]))
        self._voices(partition, site, key, history, row)
        for tell in (single_events, page_reads, plays, carts, orders, funnels, conversions, tickets, messages, impressions, audiences):
            for stated in tell(history):
                self._count(partition, site, *stated)
        for topic, flags, unjoined in ((SITE[0], *order_flags(history)), ("reviews", Counter[str](), unjoined_answers(history))):
            self.counts[partition, topic].update(+flags)
            known = self.unjoined.get((partition, topic), (0, 0))
            self.unjoined[partition, topic] = known[0] + unjoined[0], known[1] + unjoined[1]
        if web or row["reviews"] or row["consent"] or row["erased"] or any(is_remembered(h) for h in history):
            self.subjects[partition, key] = row

    def _page_labels(self, event: dict[str, Any]) -> dict[str, str]:
        medium = event.get("campaign", {}).get("medium")
        return {
            "segment": event.get("segment", "unknown"), "channel": event.get("channel", "unknown"),
            "source": self.sources[event.get("referrer"), medium], "route": route_of(event["path"]),
        }  # fmt: skip

    def _sessions(self, partition: int, site: str, web: list[Happened], carriers: list[Happened]) -> Iterator[dict[str, Any]]:
        clusters: list[list[Happened]] = []
        for happened in web:
            if clusters and happened.at - clusters[-1][-1].at < GAP:
                clusters[-1].append(happened)
                if happened.at - clusters[-1][0].at >= LONGEST:
                    raise AssertionError("the events hold a session of 24 hours, whose cuts depend on the order of arrival; take another seed")
            else:
                clusters.append([happened])
        for cluster in clusters:
            first, pages = cluster[0], [h for h in cluster if h.fields["type"] == "page_viewed"]
            keys = sum(h.fields["type"] in KEY_EVENTS for h in cluster)
            landing = self._page_labels(pages[0].fields) if pages else {}
            own = first.fields.get("segment")
            carried = [h for h in carriers if (h.at, h.id) <= (first.at, first.id)]
            session: dict[str, Any] = {
                "start": first.at, "first": first.id, "end": cluster[-1].at, "pages": len(pages), "key_events": keys, "segment": own,
                "channel": next((h.fields["channel"] for h in cluster if "channel" in h.fields), None), "source": landing.get("source"),
                "route": landing.get("route"), "carried": carried[-1].fields["segment"] if own is None and carried else None,
                "reached": ["order"] if any(h.fields["type"] == "order_completed" for h in cluster) else [], "offered": [],
            }  # fmt: skip
            yield session
            if pages:
                length = cluster[-1].at - first.at
                engaged = int(len(pages) >= 2 or keys > 0 or length > 10_000)
                labels = session_labels(session)
                self._count(partition, site, "session", first.at, 0, labels, session_slots(len(pages), length, engaged))
                self._count(partition, site, "session_goal", first.at, 0, labels | {"goal": "order"}, goal_slots(len(session["reached"])))

    def _views(self, partition: int, site: str, pages: list[Happened]) -> Iterator[tuple[Any, ...]]:
        held: dict[tuple[int, str], int] = {}
        firsts: dict[tuple[int, int], Happened] = {}
        for page in pages:
            day = page.at - page.at % DAY
            date = datetime.fromtimestamp(day / 1000, UTC)
            week = day - date.weekday() * DAY
            month = int(date.replace(day=1).timestamp()) * 1000
            for bit, start in ((1, day), (2, week), (4, month)):
                if (bit, start) not in firsts:
                    firsts[bit, start] = page
                    held[page.at, page.id] = held.get((page.at, page.id), 0) | bit
        for (bit, start), page in firsts.items():
            period = {1: "daily", 2: "weekly", 4: "monthly"}[bit]
            self._count(partition, site, f"{period}_visitor", start, 2, self._page_labels(page.fields), {f"{period}_visitors.0": 1})
        for page in {(page.at, page.id): page for page in firsts.values()}.values():
            labels = self._page_labels(page.fields)
            yield (page.at, page.id, held[page.at, page.id], labels["segment"], labels["channel"], labels["source"])

    def _voices(self, partition: int, site: str, key: str, history: list[Happened], row: dict[str, Any]) -> None:
        """Mentions, texts and reviews."""
        reviews: dict[str, list[Happened]] = defaultdict(list)
        for happened in history:
            event, kind = happened.fields, happened.fields["type"]
            segment, network = event.get("segment", "unknown"), event.get("network", "unknown")
            if kind == "review_posted":
                reviews[f"{event['source']}/{event['review']}"].append(happened)
            if kind == "mention_posted":
                if "brand" in event:
                    continue  # no brand is configured
                slots = {"mentions.0": 1, "share_of_voice.0": 1}
                self._count(partition, site, "mention", happened.at, happened.level, {"segment": segment, "network": network, "brand": site}, slots)
            text = event.get("comment" if kind == "survey_answered" else "text")
            if kind in ORIGIN and text and self._allows("sentiment", event, key, happened.at):
                understood = event.get("language", "en").replace("_", "-").split("-")[0].lower() == "en"
                labels = {"segment": segment, "origin": ORIGIN[kind], "network": network}
                score = self._score(text) if understood else None
                said, complaints = (label_of(score or 0), []) if kind == "community_posted" else read(text)
                slots = text_slots(score, said, 0 if kind == "community_posted" else PATTERNS)
                self._count(partition, site, "text", happened.at, happened.level, labels, slots)
                if understood:
                    self._complain(partition, site, happened.at, happened.level, labels, complaints)
        for name, edits in reviews.items():
            first, last = edits[0], edits[-1]
            fine = any(not edit.level for edit in edits if edit.at == first.at)
            event = last.fields
            stars = None if "rating" not in event else Fraction(event["rating"]) * 5 / Fraction(event.get("scale_max", 5))
            micro = None if stars is None else round(stars * 10**6)
            score = self._score(event["text"]) if event.get("text") and self._allows("sentiment", event, key, last.at) else None
            label, complaints = (None, []) if score is None else read(event["text"])
            labels = {"segment": event.get("segment", "unknown"), "source": event["source"], "product": event.get("product", "unknown")}
            row["reviews"][name] = {
                "first": first.at, "fine": fine, "at": last.at, "id": last.id, "source": event["source"], "product": event.get("product"),
                "segment": labels["segment"], "micro_stars": micro, "sentiment": label, "compound": score or 0, "complaints": complaints,
                "patterns": 0 if score is None else PATTERNS,
            }  # fmt: skip
            level = 0 if fine else 2
            self._count(partition, site, "review", first.at, level, labels, review_slots(stars, micro, score))
            if score is not None:
                labels |= {"origin": "review", "network": "unknown"}
                self._count(partition, site, "text", first.at, level, labels, text_slots(score, label, PATTERNS))
                self._complain(partition, site, first.at, level, labels, complaints)

    def _complain(self, partition: int, site: str, at: int, level: int, labels: Labels, complaints: list[str]) -> None:
        for complaint in complaints:
            self._count(partition, site, "complaint", at, level, labels | {"complaint": complaint}, {"complaints.0": 1})

    def _score(self, text: str) -> int:
        if text not in self._scores:
            self._scores[text] = round(self._vader.polarity_scores(text)["compound"] * 10_000)
        return self._scores[text]

    # --- panes -------------------------------------------------------------------------------------------------------

    def _count(self, partition: int, site: str, fact: str, at: int, level: int, labels: Labels, slots: Slots) -> None:
        """Add a fact to all panes it belongs to for which it did not come too late."""
        for size in KEPT[fact].sizes:
            if level > (MINUTE, QUARTER, DAY).index(size):
                continue
            for grouping in KEPT[fact].groupings:
                key = (fact, size, ",".join(grouping), site, at - at % size, *(labels[name] for name in grouping))
                add(self.panes[partition].setdefault(key, {}), slots)

    def watermark(self, partition: int, fact: str) -> int:
        return min((self.newest.get((partition, topic), 0) for topic in KEPT[fact].topics), default=0) - 5_000

    def newest_watermark(self, partition: int, fact: str) -> int:
        return max((self.newest.get((partition, topic), 0) for topic in KEPT[fact].topics), default=0) - 5_000

    def total(self) -> dict[PaneKey, Slots]:
        """Panes summed over the partitions."""
        total: dict[PaneKey, Slots] = {}
        for panes in self.panes.values():
            for key, slots in panes.items():
                add(total.setdefault(key, {}), slots)
        return total


def add(into: Slots, slots: Slots) -> None:
    for name, value in slots.items():
        if isinstance(value, Counter):
            into.setdefault(name, Counter()).update(value)
        else:
            into[name] = into.get(name, 0) + value


def session_labels(session: dict[str, Any]) -> dict[str, str]:
    return {
        "segment": session["segment"] or session["carried"] or "unknown", "channel": session["channel"] or "unknown",
        "source": session["source"] or "direct", "route": session["route"] or "unknown",
    }  # fmt: skip


# --- journeys: facts of one subject from all its events, in order of time and id ---------------------------------------


def labels_of(happened: Happened, *names: str) -> Labels:
    return {name: happened.fields.get(name, "unknown") for name in names}


def first_labels(events: list[Happened], *names: str) -> Labels:
    """Of the earliest event that has one."""
    return {name: next((h.fields[name] for h in events if name in h.fields), "unknown") for name in names}


def of_types(history: list[Happened], *kinds: str) -> list[Happened]:
    return [h for h in history if h.fields["type"] in kinds]


def together(events: list[Happened], about: Callable[[Happened], Hashable]) -> list[list[Happened]]:
    groups: dict[Hashable, list[Happened]] = defaultdict(list)
    for happened in events:
        groups[about(happened)].append(happened)
    return list(groups.values())


def is_remembered(happened: Happened) -> bool:
    """Whether an event makes its subject known even if it is no website event."""
    event, kind = happened.fields, happened.fields["type"]
    if kind in ("post_measured", "post_published"):
        return happened.level < 2 and ("impressions" in event or "category" in event)
    return "segment" in event or kind in ("order_refunded", "audience_measured") or kind.startswith("message_") or bool(ticket_steps([happened]))


def single_events(history: list[Happened]) -> Iterator[Stated]:
    for h in history:
        match h.fields["type"]:
            case "file_downloaded":
                yield "download", h.at, h.level, labels_of(h, "segment", "category"), {"downloads.0": 1}
            case "payment_failed":
                yield "payment_failure", h.at, h.level, labels_of(h, "segment", "channel"), {"payment_failures.0": 1}
            case "interaction_made":
                kind = h.fields["kind"]
                if kind != "unfollow":
                    yield "engagement", h.at, h.level, labels_of(h, "segment", "network", "category", "kind"), engagement_slots(kind, 0)
                if kind in ("follow", "unfollow"):
                    won = 1 if kind == "follow" else -1
                    yield "audience_change", h.at, h.level, labels_of(h, "network"), audience_slots(0, 0, 1, won)


def page_reads(history: list[Happened]) -> Iterator[Stated]:
    """No view lasts a day here: events of one view are at most a day apart, or the producer is at fault."""
    for stays in together(of_types(history, "page_left"), lambda h: h.fields.get("view", h.id)):
        first = stays[0]
        assert stays[-1].at - first.at <= DAY
        engaged = min(MOST_ENGAGED, sum(round(h.fields["engaged_seconds"] * 1000) for h in stays))
        depths = [round(h.fields["scroll_ratio"] * 10_000) for h in stays if "scroll_ratio" in h.fields]
        labels = labels_of(first, "segment") | {"route": route_of(first.fields["path"])}
        yield "page_read", first.at, first.level, labels, {
            "engaged_time.0": 1, "engaged_time.1": engaged, "engaged_time_median.0": Counter([bucket_of(engaged)]), "scroll_depth.0": int(bool(depths)),
            "scroll_depth.1": max(depths, default=0),
        }  # fmt: skip


def plays(history: list[Happened]) -> Iterator[Stated]:
    """Every play has an id here and lasts less than a day."""
    for reports in together(of_types(history, "media_played"), lambda h: (h.fields["media"], h.fields["play"])):
        first = reports[0]
        assert reports[-1].at - first.at <= DAY
        positions = [(h.at, round(h.fields["position_seconds"] * 1000)) for h in reports]
        watched = sum(max(0, min(later[1] - earlier[1], later[0] - earlier[0])) for earlier, later in pairwise(positions))
        started = any(h.fields["state"] == "started" for h in reports)
        ended = any(h.fields["state"] == "completed" or h.fields["position_seconds"] >= 0.9 * h.fields["length_seconds"] for h in reports)
        slots = {"video_completion_rate.0": int(started), "video_completion_rate.1": int(started and ended), "watch_time.0": 1, "watch_time.1": watched}
        yield "play", first.at, first.level, labels_of(first, "segment", "category"), slots


def carts(history: list[Happened]) -> Iterator[Stated]:
    """Each cart id by itself: what concerns it, cut where it was left for more than an hour, ordered, or emptied."""
    events = [h for h in of_types(history, *CART_EVENTS) if h.level < 2]
    for cart in {h.fields.get("cart") for h in events}:
        concerned = [h for h in events if h.fields["type"] == "payment_failed" or h.fields.get("cart") == cart or ends_all(h, cart)]
        opened: dict[str, list[Happened]] = {}
        content: Counter[str] = Counter()
        for h in concerned:
            kind = h.fields["type"]
            for fact in [fact for fact, story in opened.items() if h.at > story[-1].at + CART_OPEN]:
                yield cart_fact(fact, opened.pop(fact), 0)
            for fact, opens in (("cart", "product_added"), ("checkout", "checkout_started")):
                if kind == opens and fact not in opened:
                    opened[fact] = []
                    if fact == "cart":
                        content.clear()
            for story in opened.values():
                story.append(h)
            if kind == "order_completed":
                yield from (cart_fact(fact, story, 1) for fact, story in opened.items())
                opened = {}
            if kind in ("product_added", "product_removed") and "cart" in opened:
                product, quantity = h.fields["product"], h.fields["quantity"]
                content[product] = max(0, content[product] + (quantity if kind == "product_added" else -quantity))
                if not content.total():
                    opened = {}
        yield from (cart_fact(fact, story, 0) for fact, story in opened.items())


def ends_all(happened: Happened, cart: str | None) -> bool:
    """An order ends the cart without an id; one without an id ends all."""
    return happened.fields["type"] == "order_completed" and None in (cart, happened.fields.get("cart"))


def cart_fact(fact: str, story: list[Happened], ordered: int) -> Stated:
    slots = {f"{fact}_abandonment.0": 1, f"{fact}_abandonment.1": 1 - ordered}
    return fact, story[0].at, 0, first_labels(story, "segment", "channel"), slots


def told_of_orders(history: list[Happened]) -> Iterator[tuple[list[Happened], list[Happened]]]:
    """Per order id: what placed it and what refunded it. All lies within 90 days here."""
    for told in together(of_types(history, "order_completed", "order_refunded"), lambda h: h.fields["order"]):
        yield of_types(told, "order_completed"), of_types(told, "order_refunded")


def orders(history: list[Happened]) -> Iterator[Stated]:
    for placed, refunds in told_of_orders(history):
        if placed:
            order, total = placed[0], placed[0].fields["total_minor"]
            refunded = min(total, sum(h.fields["amount_minor"] for h in refunds if h.fields["currency"] == order.fields["currency"]))
            slots = {"orders.0": 1, "average_order_value.1": total - refunded, "refund_share.1": int(refunded > 0)}
            yield "order", order.at, order.level, labels_of(order, "segment", "channel", "currency"), slots
        else:
            for h in refunds:
                slots = {"orders.0": 0, "average_order_value.1": -h.fields["amount_minor"], "refund_share.1": 0}
                yield "order", h.at, h.level, labels_of(h, "segment", "channel", "currency"), slots


def order_flags(history: list[Happened]) -> tuple[Counter[str], tuple[int, int]]:
    flags: Counter[str] = Counter()
    never = early = 0
    for placed, refunds in told_of_orders(history):
        never += 0 if placed else len(refunds)
        early += sum(all(order.place > refund.place for order in placed) for refund in refunds)
        if placed:
            flags["flag.repeated_order"] += len(placed) - 1
            left = placed[0].fields["total_minor"]
            for h in refunds:
                if h.fields["currency"] != placed[0].fields["currency"]:
                    flags["flag.currency_mismatch"] += 1
                else:
                    flags["flag.refund_cut"] += h.fields["amount_minor"] > left
                    left = max(0, left - h.fields["amount_minor"])
    return flags, (never, early)


def funnels(history: list[Happened]) -> Iterator[Stated]:
    """The default funnel: from each entry the first event that is the next step, until the last step or the window's end."""
    left = [h for h in of_types(history, *FUNNEL) if h.level < 2]
    left.sort(key=lambda h: (h.at, FUNNEL.index(h.fields["type"]), h.id))
    while entries := [place for place, h in enumerate(left) if h.fields["type"] == FUNNEL[0]]:
        entry, steps = entries[0], [left[entries[0]]]
        window = [h for h in left[entry + 1 :] if h.at <= steps[0].at + FUNNEL_WINDOW]
        used = len(window)
        for place, h in enumerate(window, 1):
            if len(steps) < len(FUNNEL) and h.fields["type"] == FUNNEL[len(steps)]:
                steps.append(h)
                if len(steps) == len(FUNNEL):
                    used = place
        left = left[entry + 1 + used :]
        at, labels = steps[0].at, first_labels(steps, "segment", "channel") | {"funnel": "checkout"}
        completed = int(len(steps) == len(FUNNEL))
        yield "funnel_entry", at, 0, labels, {"funnel_completion_rate.0": 1, "funnel_completion_rate.1": completed}
        for number in range(1, min(len(steps) + 1, len(FUNNEL))):
            step, reached = labels | {"step": FUNNEL[number]}, int(number < len(steps))
            yield "funnel_step", at, 0, step, {"funnel_step_rate.0": 1, "funnel_step_rate.1": reached, "funnel_drop_off.1": 1 - reached}
            if reached:
                bucket = bucket_of(steps[number].at - steps[number - 1].at)
                yield "funnel_step_time", at, 0, step, {f"funnel_step_seconds_{name}.0": Counter([bucket]) for name in ("median", "p90")}


def conversions(history: list[Happened]) -> Iterator[Stated]:
    """`order` is the only goal with a rate."""
    for day in together(of_types(history, "page_viewed", "order_completed"), lambda h: h.at // DAY):
        labels = labels_of(day[0], "segment", "channel") | {"goal": "order"}
        slots = {"visitor_conversion_rate.0": 1, "visitor_conversion_rate.1": int(bool(of_types(day, "order_completed")))}
        yield "conversion", day[0].at, 2, labels, slots


def ticket_steps(history: list[Happened]) -> list[Happened]:
    """What is said of tickets, without customers' own answers."""
    found = of_types(history, "ticket_opened", "ticket_answered", "ticket_resolved")
    return [h for h in found if h.fields["type"] != "ticket_answered" or h.fields.get("by") != "self"]


def tickets(history: list[Happened]) -> Iterator[Stated]:
    for told in together(ticket_steps(history), lambda h: h.fields["ticket"]):
        if not (opened := of_types(told, "ticket_opened")):
            continue
        ticket, labels = opened[0], labels_of(opened[0], "segment", "channel")
        answered, resolved = ([max(0, h.at - ticket.at) for h in of_types(told, kind)][:1] for kind in ("ticket_answered", "ticket_resolved"))
        in_target = int(bool(answered) and answered[0] <= TARGET)
        yield "ticket", ticket.at, ticket.level, labels, {"tickets.0": 1, "response_in_target_share.1": in_target}
        for after in answered:
            bucket = bucket_of(after)
            yield "response", ticket.at, ticket.level, labels, {
                "support_response_time.0": 1, "support_response_time.1": after, "support_response_time_median.0": Counter([bucket]),
                "support_response_time_p90.0": Counter([bucket]),
            }  # fmt: skip
        for after in resolved:
            yield "resolution", ticket.at, ticket.level, labels, {"resolution_time_median.0": Counter([bucket_of(after)])}


def unjoined_answers(history: list[Happened]) -> tuple[int, int]:
    never = early = 0
    for told in together(ticket_steps(history), lambda h: h.fields["ticket"]):
        opened = of_types(told, "ticket_opened")
        later = [h for h in told if h not in opened]
        never += 0 if opened else len(later)
        early += sum(all(ticket.place > h.place for ticket in opened) for h in later)
    return never, early


def messages(history: list[Happened]) -> Iterator[Stated]:
    """All that is said of a message lies within 30 days here."""
    found = [h for h in history if h.fields["type"].startswith("message_")]
    for told in together(found, lambda h: (h.fields["message"], h.fields["medium"])):
        first: dict[str, Happened] = {}
        for h in told:
            first.setdefault(h.fields["type"].removeprefix("message_"), h)
        email, sent, delivered, bounced = int(told[0].fields["medium"] == "email"), first.get("sent"), first.get("delivered"), "bounced" in first
        if sent is not None:
            yield "sending", sent.at, sent.level, labels_of(sent, "segment", "campaign"), {
                "email_delivery_rate.0": email * (delivered is not None), "email_delivery_rate.1": email, "email_delivery_rate.4": email * (not bounced),
            }  # fmt: skip
        base = delivered or (None if bounced else sent)
        if base is not None:
            labels = labels_of(base, "segment", "campaign")
            if labels["segment"] == "unknown" and sent is not None:
                labels |= labels_of(sent, "segment")
            yield "mailing", base.at, base.level, labels, mailing_slots(email, delivered is not None, first.keys())


def impressions(history: list[Happened]) -> Iterator[Stated]:
    posts = [h for h in of_types(history, "post_published", "post_measured") if h.level < 2]
    for told in together(posts, lambda h: h.fields["network"]):
        category, total = "unknown", 0
        for h in sorted(told, key=lambda h: (h.at, "impressions" in h.fields, h.id)):
            category = h.fields.get("category", category)
            gain = h.fields.get("impressions", total) - total
            total += gain
            if gain:
                yield "engagement", h.at, h.level, labels_of(h, "segment", "network", "kind") | {"category": category}, engagement_slots(None, gain)


def audiences(history: list[Happened]) -> Iterator[Stated]:
    for before, after in pairwise(of_types(history, "audience_measured")):
        change = after.fields["followers"] - before.fields["followers"]
        yield "audience_change", after.at, 2, labels_of(after, "network"), audience_slots(1, change, 0, 0)


# --- slots -----------------------------------------------------------------------------------------------------------


def session_slots(pages: int, length: int, engaged: int) -> Slots:
    return {
        "sessions.0": 1, "bounce_rate.0": 1, "bounce_rate.1": 1 - engaged, "engagement_rate.0": 1, "engagement_rate.1": engaged, "pages_per_session.0": 1,
        "pages_per_session.1": pages, "pages_per_session_p90.0": Counter([bucket_of(pages)]), "session_duration.0": 1, "session_duration.1": length,
        "session_duration_median.0": Counter([bucket_of(length)]), "session_duration_p90.0": Counter([bucket_of(length)]), "local_referral_share.1": 0,
    }  # fmt: skip


def goal_slots(reached: int) -> Slots:
    """No session is local, and the goal has no page of its own."""
    return {
        "session_conversion_rate.0": 1, "session_conversion_rate.1": reached, "goal_action_rate.0": 1, "goal_action_rate.1": reached,
        "local_conversion_rate.0": 0, "local_conversion_rate.1": 0,
    }  # fmt: skip


def engagement_slots(kind: str | None, gain: int) -> Slots:
    did = int(kind in INTERACTIONS)
    return {
        "interactions.0": did, "impressions.0": int(kind is None), "impressions.1": gain, "interaction_rate.0": did,
        "composite_interaction_rate.0": int(kind is not None),
    } | {f"{name}_rate.0": int(kind == name) for name in INTERACTIONS}  # fmt: skip


def audience_slots(measured: int, change: int, reported: int, won: int) -> Slots:
    return {"follower_growth.0": measured, "follower_growth.2": change, "follower_growth.3": reported, "follower_growth.4": won}


def mailing_slots(email: int, delivered: bool, kinds: Iterable[str]) -> Slots:
    """Messages that stand on a delivery, and beside them those for which the sending stands in."""
    bases = email * delivered, email * (not delivered)
    opened, clicked, unsubscribed, complained = (name in kinds for name in ("opened", "clicked", "unsubscribed", "complained"))
    slots: Slots = {"email_open_rate.0": bases[0], "email_open_rate.3": bases[1]}
    for place, base in zip((2, 4), bases, strict=True):
        slots |= {
            f"email_open_rate.{place}": base * opened, f"email_click_through_rate.{place}": base * clicked,
            f"email_click_to_open_rate.{place - 1}": base * opened, f"email_click_to_open_rate.{place}": base * (opened and clicked),
            f"email_unsubscribe_rate.{place}": base * unsubscribed, f"email_complaint_rate.{place}": base * complained,
        }  # fmt: skip
    return slots


def label_of(score: int) -> str:
    return "positive" if score >= 500 else "negative" if score <= -500 else "neutral"


def read(text: str) -> tuple[str, list[str]]:
    """Label and complaints of a made-up text."""
    [(begin, letters)] = [(begin, letters) for begin, letters in LABELS.items() if text.startswith(begin)]
    return READ[letters[TAILS.index(text.removeprefix(begin))]]


def text_slots(score: int | None, label: str | None, patterns: int) -> Slots:
    """Of a text with its compound in ten-thousandths, None for a language that is not scored; with its label, and the version of patterns behind it."""
    scored, label, patterns = (0, "", 0) if score is None else (1, label, patterns)
    slots: Slots = {"texts_scored.0": scored, "unsupported_share.0": 1, "unsupported_share.1": 1 - scored, "mean_sentiment.0": scored}
    for name in ("negative", "neutral", "positive"):
        slots |= {f"{name}_share.0": scored, f"{name}_share.1": int(label == name)}
    slots |= {"vader_negative_share.1": int(scored and (score or 0) <= -500), "pattern_version.0": int(patterns > 0), "pattern_version.1": patterns}
    return slots | {"mean_sentiment.1": score or 0, "net_sentiment.0": scored, "net_sentiment.1": (label == "positive") - (label == "negative")}


def review_slots(stars: Fraction | None, micro: int | None, score: int | None) -> Slots:
    rated = int(stars is not None)
    rounded = None if stars is None else max(1, math.floor(stars + Fraction(1, 2)))
    slots: Slots = {"reviews.0": 1, "mean_rating.0": rated, "mean_rating.1": micro or 0, "low_rating_share.0": rated}
    slots |= {"low_rating_share.1": int(stars is not None and stars <= 2), "review_sentiment.0": int(score is not None), "review_sentiment.1": score or 0}
    for number in range(1, 6):
        slots |= {f"rating_{number}_share.0": rated, f"rating_{number}_share.1": int(rounded == number)}
    return slots
