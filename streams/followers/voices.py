"""What people say: mentions, reviews, and the texts of tickets, surveys, comments and posts."""

from typing import Any

from streams import events as e
from streams.admission import Counts, add, allows
from streams.facts import Complaint, Mention, TextJudged
from streams.grams import Grams
from streams.journeys import reviews
from streams.journeys.reviews import Review
from streams.learner import Learner
from streams.ledger import DAYS_ONLY, FINE, Ledger
from streams.panes import DAY, GRACE, WATERMARK_DELAY, Pane
from streams.sentiment import OVERLAY, Label, Sentiment, cap, understand
from streams.sites import Site
from streams.sources import UNKNOWN
from streams.subjects import Subject, Subjects
from streams.texts.patterns import LIST

ORIGINS: dict[type[e.Event], str] = {
    e.MentionPosted: "mention", e.ReviewPosted: "review", e.SurveyAnswered: "survey", e.TicketOpened: "ticket", e.InteractionMade: "comment",
    e.CommunityPosted: "community",
}  # fmt: skip
"""Posts of a community are members talking among themselves: they keep VADER's label. All else is said to or about the business."""


class Voices:
    """Follows them. `newest` and `counts` are the intake's."""

    def __init__(self, ledger: Ledger, subjects: Subjects, newest: dict[str, int], counts: Counts, grams: Grams, learner: Learner) -> None:
        self._ledger = ledger
        self._grams = grams
        self._learner = learner
        self._sites = ledger.sites
        self._subjects = subjects
        self._newest = newest
        self._counts = counts

    def follow_mention(self, event: e.MentionPosted, key: str, subject: Subject | None, at: int, level: int) -> None:
        own, brand = _brand(event, self._sites[event.site])
        if brand is None:
            return
        self._ledger.state(event.site, at, level, (event.segment, event.network, brand), Mention(own))
        if own:
            self.follow_text(event, key, subject, at, level)

    def follow_text(self, event: Any, key: str, subject: Subject | None, at: int, level: int) -> None:
        judged = self._judge(event, subject, at)
        if judged is not None:
            text = TextJudged(str(judged.label), judged.compound, _version(judged))
            self._state_text(event.site, at, level, event.segment, ORIGINS[type(event)], getattr(event, "network", None), text, judged.reasons)
            self._note_grams(event, key, at, level, judged)

    def _state_text(
        self, site: str, at: int, level: int, segment: str | None, origin: str, network: str | None, text: TextJudged, complaints: tuple[str, ...],
        withdraw: bool = False,
    ) -> None:  # fmt: skip
        """State (or withdraw) a text and the categories of complaint in it."""
        self._ledger.state(site, at, level, (segment, origin, network), text, withdraw)
        for category in complaints:
            self._ledger.state(site, at, level, (segment, origin, category), COMPLAINT, withdraw)

    def _note_grams(self, event: Any, key: str, at: int, level: int, judged: Sentiment | None) -> None:
        """What a negative text says is counted where it is written, also when it replaces an older one: an edit says it again."""
        if level == FINE and judged is not None and judged.label is Label.NEGATIVE:
            self._grams.note(event.site, key, at, e.text_of(event) or "")

    def _judge(self, event: Any, subject: Subject | None, at: int) -> Sentiment | None:
        """Sentiment of an event's text; None without a text or without consent to scoring it."""
        text = e.text_of(event)
        if not text:
            return None
        if len(text) > e.FREE_TEXT_LIMIT:
            add(self._counts[event.topic], "flag.truncated")
        site, kind = self._sites[event.site], type(event)
        if not allows(site, "sentiment", event, subject, at):
            return None
        judged = understand(text, getattr(event, "language", None), site.overlay, addressed=kind is not e.CommunityPosted, in_sentences=kind is e.ReviewPosted)
        return self._learn(event, site, text, judged) if site.learn_from_stars and kind in LEARNED else judged

    def _learn(self, event: e.ReviewPosted | e.SurveyAnswered, site: Site, text: str, judged: Sentiment) -> Sentiment:
        """Take a starred review for an example; of a text without stars the sentiment with what was learned so far."""
        if judged.label is Label.UNSUPPORTED:
            return judged
        normal = site.overlay.normalise(cap(text)[0])
        stars = reviews.micro_stars(event.rating, event.scale_max) if isinstance(event, e.ReviewPosted) else None
        if stars is None:
            return self._learner.advise(event.site, normal, judged, site.overlay)
        self._learner.learn(event.site, normal, judged.compound, stars)
        return judged

    def follow_review(self, event: e.ReviewPosted, key: str, subject: Subject | None, at: int, level: int) -> None:
        """A review's content is that of its latest event, its pane that of its earliest."""
        subject = self._subjects.mark(key, subject, at)
        judged = self._judge(event, subject, at)
        self._note_grams(event, key, at, level, judged)
        label, site = self._ledger.labels.of, event.site
        review = Review(
            at, level == FINE, at, event.id, label(site, "source", event.source), None if event.product is None else label(site, "product", event.product),
            label(site, "segment", event.segment), reviews.micro_stars(event.rating, event.scale_max), None if judged is None else str(judged.label),
            0 if judged is None else judged.compound, () if judged is None else judged.reasons, 0 if judged is None else _version(judged),
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
        if len(subject.reviews) > reviews.MOST:
            add(self._counts["reviews"], "flag.notes_dropped", subject.forget_older("reviews"))

    def _state_review(self, site: str, review: Review, withdraw: bool = False) -> None:
        level = FINE if review.fine else DAYS_ONLY
        labels = (review.segment, review.source, review.product)
        self._ledger.state(site, review.first, level, labels, review, withdraw)
        if review.sentiment is not None:
            text = TextJudged(review.sentiment, review.compound, review.patterns)
            self._state_text(site, review.first, level, review.segment, "review", UNKNOWN, text, review.complaints, withdraw)


COMPLAINT = Complaint()
LEARNED = (e.ReviewPosted, e.SurveyAnswered)
"""Texts that stars teach about: of one kind, and on one topic, so that their order is that of its log."""


def _version(judged: Sentiment) -> int:
    """Version of the list of patterns behind a label; 0 where it is VADER's."""
    return LIST.version if judged.source == OVERLAY else 0


def _brand(event: e.MentionPosted, site: Site) -> tuple[bool, str | None]:
    """Whether a mention is about the site itself, and the brand it counts for; None for a brand nobody configured."""
    if event.brand is None or event.brand.casefold() in site.own_brands:
        return True, site.brands[0] if site.brands else event.site
    return False, site.known_brands.get(event.brand.casefold())
