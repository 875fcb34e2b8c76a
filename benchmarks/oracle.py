"""What the counts must be, computed a second time from the list of events that were sent. Shares no code with the product.

The product folds events one by one, in any order, into rows it corrects. Here everything is at hand: verdicts are judged
along each log (that order matters), then sessions, first views and reviews are worked out from complete lists.
"""

import json
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from fractions import Fraction
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
WEB = (("segment", "channel"), ("source",), ("route",))
VISITORS = (("segment", "channel"), ("source",))
GROUPINGS: dict[str, tuple[tuple[str, ...], ...]] = {
    "page_view": WEB, "presence": (("segment",),), "session": WEB, "daily_visitor": VISITORS, "weekly_visitor": VISITORS, "monthly_visitor": VISITORS,
    "review": (("segment", "source"), ("product",)), "mention": (("segment", "network"), ("brand",)), "text": (("segment", "origin"), ("network",)),
}  # fmt: skip
TOPICS = {"page_view": ("website",), "presence": ("website",), "session": ("website",), "daily_visitor": ("website",), "weekly_visitor": ("website",),
          "monthly_visitor": ("website",), "review": ("reviews",), "mention": ("social",), "text": ("social", "reviews")}  # fmt: skip
GRACE = {MINUTE: HOUR, QUARTER: 26 * HOUR, DAY: 8 * DAY}
LOOK_BACK = {"session": DAY, "daily_visitor": 90 * DAY, "weekly_visitor": 90 * DAY, "monthly_visitor": 90 * DAY, "review": 90 * DAY, "text": 90 * DAY}

Slots = dict[str, Any]
"""Value per slot (`measure.number`); a histogram is a Counter of buckets."""
PaneKey = tuple[Any, ...]
"""(fact, size, grouping, site, pane, *labels)."""


class Sent(NamedTuple):
    """One record as it was sent; `fault` is why it must be refused as no event, None for an event."""

    topic: str
    partition: int
    value: bytes | None
    fault: str | None


class Happened(NamedTuple):
    """An applied event: its repaired time, how late it was (0 in time, 1 not in minutes, 2 only in days), and its fields."""

    at: int
    id: str
    level: int
    topic: str
    fields: dict[str, Any]


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


def subject_of(event: dict[str, Any]) -> str:
    if "customer" in event:
        return "c:" + event["customer"]
    if "visitor" in event:
        return "v:" + event["visitor"]
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
        for record in log:
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
            yield key, Happened(at, event["id"], level, topic, event)
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
        }  # fmt: skip
        for happened in web:
            if happened.fields["type"] == "page_viewed":
                self._count(partition, "page_view", site, happened.at, happened.level, self._page_labels(happened.fields), {"page_views.0": 1})
        in_time = [happened for happened in web if not happened.level]
        if in_time:
            last = in_time[-1]
            row["seen"] = (last.at, last.id)
            self._count(partition, "presence", site, last.at, 0, {"segment": last.fields.get("segment", "unknown")}, {"active_visitors.0": 1})
        row["sessions"] = list(self._sessions(partition, site, [h for h in web if h.level < 2], [h for h in history if "segment" in h.fields]))
        row["views"] = list(self._views(partition, site, [h for h in web if h.fields["type"] == "page_viewed"]))
        self._voices(partition, site, key, history, row)
        if web or row["reviews"] or row["consent"] or row["erased"] or any("segment" in h.fields for h in history):
            self.subjects[partition, key] = row

    def _page_labels(self, event: dict[str, Any]) -> dict[str, str]:
        medium = event.get("campaign", {}).get("medium")
        path = event["path"].split("#")[0].split("?")[0]
        return {
            "segment": event.get("segment", "unknown"), "channel": event.get("channel", "unknown"),
            "source": self.sources[event.get("referrer"), medium], "route": "/" + path.split("/")[1],
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
            session = {
                "start": first.at, "first": first.id, "end": cluster[-1].at, "pages": len(pages), "key_events": keys, "segment": own,
                "channel": next((h.fields["channel"] for h in cluster if "channel" in h.fields), None), "source": landing.get("source"),
                "route": landing.get("route"), "carried": carried[-1].fields["segment"] if own is None and carried else None,
            }  # fmt: skip
            yield session
            if pages:
                length = cluster[-1].at - first.at
                engaged = int(len(pages) >= 2 or keys > 0 or length > 10_000)
                labels = session_labels(session)
                self._count(partition, "session", site, first.at, 0, labels, session_slots(len(pages), length, engaged))

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
            self._count(partition, f"{period}_visitor", site, start, 2, self._page_labels(page.fields), {f"{period}_visitors.0": 1})
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
                self._count(partition, "mention", site, happened.at, happened.level, {"segment": segment, "network": network, "brand": site}, slots)
            text = event.get("comment" if kind == "survey_answered" else "text")
            if kind in ORIGIN and text and self._allows("sentiment", event, key, happened.at):
                understood = event.get("language", "en").replace("_", "-").split("-")[0].lower() == "en"
                labels = {"segment": segment, "origin": ORIGIN[kind], "network": network}
                self._count(partition, "text", site, happened.at, happened.level, labels, text_slots(self._score(text) if understood else None))
        for name, edits in reviews.items():
            first, last = edits[0], edits[-1]
            fine = any(not edit.level for edit in edits if edit.at == first.at)
            event = last.fields
            stars = None if "rating" not in event else Fraction(event["rating"]) * 5 / Fraction(event.get("scale_max", 5))
            micro = None if stars is None else round(stars * 10**6)
            score = self._score(event["text"]) if event.get("text") and self._allows("sentiment", event, key, last.at) else None
            labels = {"segment": event.get("segment", "unknown"), "source": event["source"], "product": event.get("product", "unknown")}
            row["reviews"][name] = {
                "first": first.at, "fine": fine, "at": last.at, "id": last.id, "source": event["source"], "product": event.get("product"),
                "segment": labels["segment"], "micro_stars": micro, "sentiment": None if score is None else label_of(score), "compound": score or 0,
            }  # fmt: skip
            level = 0 if fine else 2
            self._count(partition, "review", site, first.at, level, labels, review_slots(stars, micro, score))
            if score is not None:
                self._count(partition, "text", site, first.at, level, labels | {"origin": "review", "network": "unknown"}, text_slots(score))

    def _score(self, text: str) -> int:
        if text not in self._scores:
            self._scores[text] = round(self._vader.polarity_scores(text)["compound"] * 10_000)
        return self._scores[text]

    # --- panes -------------------------------------------------------------------------------------------------------

    def _count(self, partition: int, fact: str, site: str, at: int, level: int, labels: dict[str, str], slots: Slots) -> None:
        """Add a fact to the panes it belongs to: its finest one unless it came too late, and its day."""
        sizes = (QUARTER,) if fact == "session" else (MINUTE,) if fact == "presence" else (DAY,) if fact.endswith("visitor") or level else (MINUTE, DAY)
        for size in sizes:
            for grouping in GROUPINGS[fact]:
                key = (fact, size, ",".join(grouping), site, at - at % size, *(labels[name] for name in grouping))
                add(self.panes[partition].setdefault(key, {}), slots)

    def watermark(self, partition: int, fact: str) -> int:
        return min((self.newest.get((partition, topic), 0) for topic in TOPICS[fact]), default=0) - 5_000

    def newest_watermark(self, partition: int, fact: str) -> int:
        return max((self.newest.get((partition, topic), 0) for topic in TOPICS[fact]), default=0) - 5_000

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


def session_slots(pages: int, length: int, engaged: int) -> Slots:
    return {
        "sessions.0": 1, "bounce_rate.0": 1, "bounce_rate.1": 1 - engaged, "engagement_rate.0": 1, "engagement_rate.1": engaged, "pages_per_session.0": 1,
        "pages_per_session.1": pages, "pages_per_session_p90.0": Counter([bucket_of(pages)]), "session_duration.0": 1, "session_duration.1": length,
        "session_duration_median.0": Counter([bucket_of(length)]), "session_duration_p90.0": Counter([bucket_of(length)]),
    }  # fmt: skip


def label_of(score: int) -> str:
    return "positive" if score >= 500 else "negative" if score <= -500 else "neutral"


def text_slots(score: int | None) -> Slots:
    """Of a text with its compound in ten-thousandths; None for a language that is not scored."""
    scored, label = int(score is not None), "" if score is None else label_of(score)
    slots: Slots = {"texts_scored.0": scored, "unsupported_share.0": 1, "unsupported_share.1": 1 - scored, "mean_sentiment.0": scored}
    for name in ("negative", "neutral", "positive"):
        slots |= {f"{name}_share.0": scored, f"{name}_share.1": int(label == name)}
    return slots | {"mean_sentiment.1": score or 0, "net_sentiment.0": scored, "net_sentiment.1": (label == "positive") - (label == "negative")}


def review_slots(stars: Fraction | None, micro: int | None, score: int | None) -> Slots:
    rated = int(stars is not None)
    rounded = None if stars is None else max(1, math.floor(stars + Fraction(1, 2)))
    slots: Slots = {"reviews.0": 1, "mean_rating.0": rated, "mean_rating.1": micro or 0, "low_rating_share.0": rated}
    slots |= {"low_rating_share.1": int(stars is not None and stars <= 2), "review_sentiment.0": int(score is not None), "review_sentiment.1": score or 0}
    for number in range(1, 6):
        slots |= {f"rating_{number}_share.0": rated, f"rating_{number}_share.1": int(rounded == number)}
    return slots
