"""THE catalogue: one entry per measure. Gauges, documentation, row layouts and law tests follow from it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from streams.aggregates import Aggregate, Count, Mean, Portion, Quantile, Share
from streams.events import PageViewed
from streams.facts import DailyVisitor, Mention, MonthlyVisitor, Presence, TextJudged, WeeklyVisitor
from streams.journeys.reviews import MICRO, Review
from streams.journeys.sessions import Session
from streams.panes import DAY, HOUR, MINUTE

Calendar = Literal["day", "week", "month"]


@dataclass(frozen=True)
class Live:
    """A window of the minute of the newest event time and those before it (`minutes` in all)."""

    minutes: int


Window = int | Calendar | Live
"""A sliding length in ms (whole days where it is a multiple of a day), the last complete calendar period, or a live gauge."""

FINE_WINDOWS: tuple[Window, ...] = (5 * MINUTE, 15 * MINUTE, HOUR, 24 * HOUR)
DAYS: tuple[Window, ...] = ("day", 7 * DAY, 30 * DAY)
MINUTE_WINDOWS = FINE_WINDOWS + DAYS
QUARTER_HOUR_WINDOWS: tuple[Window, ...] = (HOUR, 24 * HOUR, 7 * DAY)

WEB = (("segment", "channel"), ("source",), ("route",))
VISITORS = (("segment", "channel"), ("source",))
REVIEWS = (("segment", "source"), ("product",))
TEXTS = (("segment", "origin"), ("network",))


# Conditions that several measures share are named, so that they share one slot.
def is_rated(review: Review) -> bool:
    return review.is_rated


def has_stars(stars: int) -> Callable[[Review], bool]:
    return lambda review: review.is_rated and review.stars == stars


def is_scored(text: TextJudged) -> bool:
    return text.is_scored


RATIO_LEAST, MEAN_LEAST, RATING_LEAST = 20, 10, 5


@dataclass(frozen=True)
class Kpi:
    """One measure. `by` lists the label sets it is counted by; `matures` is how long (ms) after its end a pane is read."""

    name: str
    help: str
    question: str
    formula: str
    origin: str
    """Where the definition comes from."""
    unit: Literal["count", "ratio", "seconds", "pages", "stars", "score"]
    better: Literal["higher", "lower", "neither"]
    tag: Literal["actionable", "vanity"]
    value: Aggregate
    by: tuple[tuple[str, ...], ...]
    windows: tuple[Window, ...]
    matures: int = 0
    least: int = 0
    """Below this n the reading says `insufficient_data`."""


KPIS = (
    Kpi(
        "page_views", "Page views.", "How much are we looked at?", "number of page_viewed events", "Web Analytics Association 2007",
        unit="count", better="higher", tag="vanity", value=Count(PageViewed), by=WEB, windows=MINUTE_WINDOWS,
    ),
    Kpi(
        "active_visitors", "Visitors active in the minute of the newest event or the four before.", "Who is here right now?",
        "subjects whose last website event lies in those five minutes", "Plausible: current visitors",
        unit="count", better="higher", tag="vanity", value=Count(Presence), by=(("segment",),), windows=(Live(5),),
    ),
    Kpi(
        "daily_visitors", "Unique visitors of a calendar day.", "How many people did we reach that day?", "subjects with at least one page view", "Plausible",
        unit="count", better="higher", tag="vanity", value=Count(DailyVisitor), by=VISITORS, windows=("day",),
    ),
    Kpi(
        "weekly_visitors", "Unique visitors of a calendar week.", "How many people did we reach that week?", "subjects with at least one page view", "Plausible",
        unit="count", better="higher", tag="vanity", value=Count(WeeklyVisitor), by=VISITORS, windows=("week",),
    ),
    Kpi(
        "monthly_visitors", "Unique visitors of a calendar month.", "How many people did we reach that month?", "subjects with at least one page view", "Plausible",
        unit="count", better="higher", tag="vanity", value=Count(MonthlyVisitor), by=VISITORS, windows=("month",),
    ),
    Kpi(
        "sessions", "Sessions that started.", "How many visits did we get?",
        "clusters of a subject's website events with gaps under 30 min and at least one page view", "GA4; cap of 24 h as in PostHog",
        unit="count", better="higher", tag="vanity", value=Count(Session), by=WEB, windows=QUARTER_HOUR_WINDOWS,
    ),
    Kpi(
        "bounce_rate", "Share of sessions that ended without engagement.", "Do visitors find what they came for?", "1 − engaged sessions ÷ sessions", "GA4",
        unit="ratio", better="lower", tag="actionable", value=Share(Session, lambda session: not session.engaged), by=WEB,
        windows=QUARTER_HOUR_WINDOWS, matures=30 * MINUTE, least=RATIO_LEAST,
    ),
    Kpi(
        "engagement_rate", "Share of sessions longer than 10 s, with two page views, or with a key event.", "Do visits turn into engagement?",
        "engaged sessions ÷ sessions", "GA4", unit="ratio", better="higher", tag="actionable", value=Share(Session, lambda session: session.engaged), by=WEB,
        windows=QUARTER_HOUR_WINDOWS, matures=30 * MINUTE, least=RATIO_LEAST,
    ),
    Kpi(
        "pages_per_session", "Mean page views of a session.", "How far do visitors go?", "page views in sessions ÷ sessions", "GA4: views per session",
        unit="pages", better="higher", tag="actionable", value=Mean(Session, lambda session: session.pages), by=WEB, windows=QUARTER_HOUR_WINDOWS,
        matures=30 * MINUTE, least=MEAN_LEAST,
    ),
    Kpi(
        "pages_per_session_p90", "90th percentile of page views of a session.", "How far do the keenest go?", "nearest rank ⌈0.9·n⌉, within 2 %", "nearest rank",
        unit="pages", better="higher", tag="actionable", value=Quantile(Session, lambda session: session.pages, 0.9), by=WEB, windows=QUARTER_HOUR_WINDOWS,
        matures=30 * MINUTE, least=MEAN_LEAST,
    ),
    Kpi(
        "session_duration", "Mean time from a session's first to its last event.", "How long do visitors stay?", "Σ (last − first event) ÷ sessions", "Matomo",
        unit="seconds", better="higher", tag="actionable", value=Mean(Session, lambda session: session.duration, scale=1000), by=WEB,
        windows=QUARTER_HOUR_WINDOWS, matures=30 * MINUTE, least=MEAN_LEAST,
    ),
    Kpi(
        "session_duration_median", "Median session duration.", "How long does the usual visit last?", "nearest rank ⌈0.5·n⌉, within 2 %", "nearest rank",
        unit="seconds", better="higher", tag="actionable", value=Quantile(Session, lambda session: session.duration, 0.5, scale=1000), by=WEB,
        windows=QUARTER_HOUR_WINDOWS, matures=30 * MINUTE, least=MEAN_LEAST,
    ),
    Kpi(
        "session_duration_p90", "90th percentile of session duration.", "How long do the longest visits last?", "nearest rank ⌈0.9·n⌉, within 2 %", "nearest rank",
        unit="seconds", better="higher", tag="actionable", value=Quantile(Session, lambda session: session.duration, 0.9, scale=1000), by=WEB,
        windows=QUARTER_HOUR_WINDOWS, matures=30 * MINUTE, least=MEAN_LEAST,
    ),
    Kpi(
        "reviews", "Reviews posted.", "How much feedback do we get?", "number of reviews; an edit does not count again", "review platforms",
        unit="count", better="higher", tag="vanity", value=Count(Review), by=REVIEWS, windows=MINUTE_WINDOWS,
    ),
    Kpi(
        "mean_rating", "Mean star rating of reviews, scaled to five stars.", "How satisfied are reviewers?", "Σ rating × 5 ÷ scale_max ÷ rated reviews",
        "review platforms", unit="stars", better="higher", tag="actionable",
        value=Mean(Review, lambda review: review.micro_stars or 0, scale=MICRO, among=is_rated), by=REVIEWS, windows=MINUTE_WINDOWS,
        least=RATING_LEAST,
    ),
    Kpi(
        "low_rating_share", "Share of rated reviews with two stars or less.", "How many are unhappy?", "rated reviews ≤ 2 stars ÷ rated reviews",
        "review platforms", unit="ratio", better="lower", tag="actionable", value=Share(Review, lambda review: review.is_low, among=is_rated),
        by=REVIEWS, windows=MINUTE_WINDOWS, least=RATIO_LEAST,
    ),
    *(
        Kpi(
            f"rating_{stars}_share", f"Share of rated reviews with {stars} stars (half-up rounding).", "How are ratings distributed?",
            f"rated reviews of {stars} stars ÷ rated reviews", "review platforms", unit="ratio", better="higher" if stars > 3 else "lower", tag="actionable",
            value=Share(Review, has_stars(stars), among=is_rated),
            by=REVIEWS, windows=MINUTE_WINDOWS, least=RATIO_LEAST,
        )
        for stars in (1, 2, 3, 4, 5)
    ),
    Kpi(
        "review_sentiment", "Mean VADER compound of review texts, −1 to 1.", "How do reviews sound?", "Σ compound ÷ scored review texts",
        "VADER (Hutto and Gilbert 2014)", unit="score", better="higher", tag="actionable",
        value=Mean(Review, lambda review: review.compound if review.is_scored else 0, scale=10_000, among=lambda review: review.is_scored),
        by=REVIEWS, windows=MINUTE_WINDOWS, least=MEAN_LEAST,
    ),
    Kpi(
        "mentions", "Posts that mention the site.", "How much are we talked about?", "number of mention_posted about the site's own brand", "social listening",
        unit="count", better="higher", tag="vanity", value=Count(Mention, lambda mention: mention.own), by=(("segment", "network"),), windows=MINUTE_WINDOWS,
    ),
    Kpi(
        "share_of_voice", "Share of mentions that are about a brand, among the site and its named competitors.", "Are we talked about more than our competitors?",
        "mentions of the brand ÷ mentions of all configured brands", "social listening", unit="ratio", better="higher", tag="actionable",
        value=Portion(Mention), by=(("brand",),), windows=MINUTE_WINDOWS, least=RATIO_LEAST,
    ),
    Kpi(
        "texts_scored", "Texts about the site that were scored.", "How much do people write to us and about us?", "scored texts", "own", unit="count",
        better="neither", tag="vanity", value=Count(TextJudged, is_scored), by=TEXTS, windows=MINUTE_WINDOWS,
    ),
    Kpi(
        "negative_share", "Share of scored texts that are negative.", "Is the mood turning?", "texts with compound ≤ −0.05 ÷ scored texts",
        "VADER (Hutto and Gilbert 2014)", unit="ratio", better="lower", tag="actionable",
        value=Share(TextJudged, lambda text: text.sentiment == "negative", among=is_scored), by=TEXTS, windows=MINUTE_WINDOWS,
        least=RATIO_LEAST,
    ),
    Kpi(
        "neutral_share", "Share of scored texts that are neutral.", "How many do not take sides?", "texts with −0.05 < compound < 0.05 ÷ scored texts",
        "VADER (Hutto and Gilbert 2014)", unit="ratio", better="neither", tag="actionable",
        value=Share(TextJudged, lambda text: text.sentiment == "neutral", among=is_scored), by=TEXTS, windows=MINUTE_WINDOWS,
        least=RATIO_LEAST,
    ),
    Kpi(
        "positive_share", "Share of scored texts that are positive.", "How many are happy with us?", "texts with compound ≥ 0.05 ÷ scored texts",
        "VADER (Hutto and Gilbert 2014)", unit="ratio", better="higher", tag="actionable",
        value=Share(TextJudged, lambda text: text.sentiment == "positive", among=is_scored), by=TEXTS, windows=MINUTE_WINDOWS,
        least=RATIO_LEAST,
    ),
    Kpi(
        "net_sentiment", "Positive less negative texts among scored texts, −1 to 1.", "Which way does the mood lean?", "(positive − negative) ÷ scored texts",
        "social listening", unit="score", better="higher", tag="actionable",
        value=Mean(TextJudged, lambda text: (text.sentiment == "positive") - (text.sentiment == "negative"), among=is_scored), by=TEXTS,
        windows=MINUTE_WINDOWS, least=RATIO_LEAST,
    ),
    Kpi(
        "mean_sentiment", "Mean VADER compound of scored texts, −1 to 1.", "How strong is the mood?", "Σ compound ÷ scored texts",
        "VADER (Hutto and Gilbert 2014)", unit="score", better="higher", tag="actionable",
        value=Mean(TextJudged, lambda text: text.compound if text.is_scored else 0, scale=10_000, among=is_scored), by=TEXTS, windows=MINUTE_WINDOWS, least=MEAN_LEAST,
    ),
    Kpi(
        "unsupported_share", "Share of texts in a language that is not scored.", "How much do we not understand?", "texts not in English ÷ texts", "own",
        unit="ratio", better="lower", tag="actionable", value=Share(TextJudged, lambda text: not text.is_scored), by=TEXTS, windows=MINUTE_WINDOWS,
        least=RATIO_LEAST,
    ),
)  # fmt: skip
