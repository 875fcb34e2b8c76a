"""What people say: mentions, reviews, and the texts of tickets, surveys, comments and posts."""

from typing import Any

from streams import events as e
from streams.admission import Counts, add, allows
from streams.facts import Mention, TextJudged
from streams.journeys import reviews
from streams.journeys.reviews import Review
from streams.ledger import DAYS_ONLY, FINE, Ledger
from streams.panes import DAY, GRACE, WATERMARK_DELAY, Pane
from streams.sentiment import judge
from streams.sites import Site
from streams.sources import UNKNOWN
from streams.subjects import Subject, Subjects

ORIGINS: dict[type[e.Event], str] = {
    e.MentionPosted: "mention", e.ReviewPosted: "review", e.SurveyAnswered: "survey", e.TicketOpened: "ticket", e.InteractionMade: "comment",
    e.CommunityPosted: "community",
}  # fmt: skip


class Voices:
    """Follows them. `newest` and `counts` are the intake's."""

    def __init__(self, ledger: Ledger, subjects: Subjects, newest: dict[str, int], counts: Counts) -> None:
        self._ledger = ledger
        self._sites = ledger.sites
        self._subjects = subjects
        self._newest = newest
        self._counts = counts

    def follow_mention(self, event: e.MentionPosted, _key: str, subject: Subject | None, at: int, level: int) -> None:
        own, brand = _brand(event, self._sites[event.site])
        if brand is None:
            return
        self._ledger.state(event.site, at, level, (event.segment, event.network, brand), Mention(own))
        if own:
            self.follow_text(event, _key, subject, at, level)

    def follow_text(self, event: Any, _key: str, subject: Subject | None, at: int, level: int) -> None:
        judged = self._judge(event, subject, at)
        if judged is not None:
            self._ledger.state(event.site, at, level, (event.segment, ORIGINS[type(event)], getattr(event, "network", None)), judged)

    def _judge(self, event: Any, subject: Subject | None, at: int) -> TextJudged | None:
        """Sentiment of an event's text; None without a text or without consent to scoring it."""
        text = e.text_of(event)
        if not text:
            return None
        if len(text) > e.FREE_TEXT_LIMIT:
            add(self._counts[event.topic], "flag.truncated")
        if not allows(self._sites[event.site], "sentiment", event, subject, at):
            return None
        sentiment = judge(text, getattr(event, "language", None))
        return TextJudged(str(sentiment.label), sentiment.compound)

    def follow_review(self, event: e.ReviewPosted, key: str, subject: Subject | None, at: int, level: int) -> None:
        """A review's content is that of its latest event, its pane that of its earliest."""
        subject = self._subjects.mark(key, subject, at)
        judged = self._judge(event, subject, at)
        label, site = self._ledger.labels.of, event.site
        review = Review(
            at, level == FINE, at, event.id, label(site, "source", event.source), None if event.product is None else label(site, "product", event.product),
            label(site, "segment", event.segment), reviews.micro_stars(event.rating, event.scale_max), None if judged is None else judged.sentiment,
            0 if judged is None else judged.compound,
        )  # fmt: skip
        name = f"{e.escape(event.source)}/{event.review}"
        if subject.reviews is None:
            subject.reviews = {}
        known = subject.reviews.get(name)
        merged = review if known is None else reviews.merge(known, review)
        subject.reviews[name] = merged
        subject.keep_until(merged.first + reviews.KNOWN_FOR)
        watermark = self._newest.get("reviews", at) - WATERMARK_DELAY
        if known is not None:
            if known.first + DAY <= watermark - GRACE[Pane.DAY] - reviews.LOOK_BACK:
                add(self._counts["reviews"], "flag.expired_correction")
                return
            self._state_review(site, known, withdraw=True)
        self._state_review(site, merged)
        if len(subject.reviews) > 1:
            subject.reviews = {name: kept for name, kept in subject.reviews.items() if kept.first + reviews.KNOWN_FOR >= watermark}

    def _state_review(self, site: str, review: Review, withdraw: bool = False) -> None:
        level = FINE if review.fine else DAYS_ONLY
        labels = (review.segment, review.source, review.product)
        self._ledger.state(site, review.first, level, labels, review, withdraw)
        if review.sentiment is not None:
            text = TextJudged(review.sentiment, review.compound)
            self._ledger.state(site, review.first, level, (review.segment, "review", UNKNOWN), text, withdraw)


def _brand(event: e.MentionPosted, site: Site) -> tuple[bool, str | None]:
    """Whether a mention is about the site itself, and the brand it counts for; None for a brand nobody configured."""
    if event.brand is None or event.brand.casefold() in site.own_brands:
        return True, site.brands[0] if site.brands else event.site
    return False, site.known_brands.get(event.brand.casefold())
