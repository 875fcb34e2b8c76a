"""THE catalogue: one entry per measure. Gauges, documentation, row layouts and law tests follow from it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from streams.aggregates import Aggregate, Count, Either, Mean, Portion, Quantile, Ratio, Share, Sum
from streams.events import FileDownloaded, PageViewed, PaymentFailed
from streams.facts import Complaint, DailyVisitor, Mention, MonthlyVisitor, Presence, TextJudged, WeeklyVisitor
from streams.journeys.audiences import AudienceChange
from streams.journeys.carts import Cart, Checkout
from streams.journeys.content import DEPTH, PageRead, Play
from streams.journeys.conversions import Conversion
from streams.journeys.funnels import FunnelEntry, FunnelStep, LongFunnelEntry, LongFunnelStep, LongStepTime, StepTime
from streams.journeys.interactions import Engagement
from streams.journeys.messages import Mailing, Sending
from streams.journeys.orders import Order
from streams.journeys.reviews import MICRO, Review
from streams.journeys.sessions import Session, SessionGoal
from streams.journeys.tickets import Resolution, Response, Ticket
from streams.journeys.trials import PAYS_WITHIN, Trial
from streams.panes import DAY, HOUR, MINUTE, Pane
from streams.sentiment import THRESHOLD
from streams.sites import LONGEST_FUNNEL, Site
from streams.windows import Live, Window

FINE_WINDOWS: tuple[Window, ...] = (5 * MINUTE, 15 * MINUTE, HOUR, 24 * HOUR)
DAYS: tuple[Window, ...] = ("day", 7 * DAY, 30 * DAY)
MINUTE_WINDOWS = FINE_WINDOWS + DAYS
QUARTER_HOUR_WINDOWS: tuple[Window, ...] = (HOUR, 24 * HOUR, 7 * DAY)

WEB = (("segment", "channel"), ("source",), ("route",))
VISITORS = (("segment", "channel"), ("source",))
REVIEWS = (("segment", "source"), ("product",))
TEXTS = (("segment", "origin"), ("network",))
COMMERCE = (("segment", "channel"),)
ORDERS = (("segment", "channel"), ("currency",))
MONEY = (("segment", "currency"), ("channel", "currency"))
STEPS = (("funnel", "step"), ("segment", "funnel", "step"), ("channel", "funnel", "step"))
GOALS = (("segment", "channel", "goal"), ("source", "goal"))


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
    unit: Literal["count", "ratio", "seconds", "pages", "stars", "score", "minor", "version"]
    better: Literal["higher", "lower", "neither"]
    tag: Literal["actionable", "vanity"]
    value: Aggregate
    by: tuple[tuple[str, ...], ...]
    windows: tuple[Window, ...]
    matures: int = 0
    least: int = 0
    """Below this n the reading says `insufficient_data`."""
    apart: tuple[str, ...] = ()
    """Labels that are never summed over (goals, funnels, currencies): there is no total over them."""
    matures_by: Callable[[Site, Mapping[str, str]], int] | None = None
    """Where the site's settings decide how long panes mature, by labels that are never summed over; `matures` is what the defaults make of it."""

    def maturity(self, site: Site, grouping: tuple[str, ...], labels: tuple[str, ...]) -> int:
        """How long (ms) after its end a pane of this label set of the site is read."""
        return self.matures if self.matures_by is None else self.matures_by(site, dict(zip(grouping, labels, strict=True)))


NETWORKS = (("network",), ("network", "category"))
MAILINGS = (("segment",), ("campaign",))
READS = (("segment",), ("route",))
MEDIA = (("segment",), ("category",))


def response_target(site: Site, _labels: Mapping[str, str]) -> int:
    return site.response_target * MINUTE


def is_placed(order: Order) -> bool:
    return order.placed


def is_measured(change: AudienceChange) -> bool:
    return change.measured


def impressions_of(engagement: Engagement) -> int:
    return engagement.impressions


def is_kind(kind: str) -> Callable[[Engagement], bool]:
    return lambda engagement: engagement.kind == kind


def funnel_kpis(
    prefix: str, which: str, entry: type[FunnelEntry], step: type[FunnelStep], time: type[StepTime], windows: tuple[Window, ...], matures: int, pane: Pane
) -> tuple[Kpi, ...]:
    """The measures of the funnels that are counted in panes of one size. Each funnel matures by its own window."""
    of_funnel = which and f", in funnels{which}"

    def own_window(site: Site, labels: Mapping[str, str]) -> int:
        known = {name: funnel.window * MINUTE for name, funnel in site.funnels.items() if funnel.pane is pane}
        return known.get(labels.get("funnel", ""), max(known.values(), default=0))

    def kpi(
        name: str, text: str, question: str, formula: str, origin: str, unit: Literal["ratio", "seconds"], better: Literal["higher", "lower"], value: Aggregate,
        by: tuple[tuple[str, ...], ...] = STEPS,
    ) -> Kpi:  # fmt: skip
        least = RATIO_LEAST if unit == "ratio" else MEAN_LEAST
        return Kpi(
            f"{prefix}funnel_{name}", text, question, formula, origin, unit, better, "actionable", value, by, windows, matures, least, ("funnel",), own_window
        )

    return (
        kpi(
            "completion_rate", f"Share of attempts at a funnel{which} that came to its last step.", "How many come through?",
            "attempts completed ÷ attempts entered", "GA4: funnel exploration", "ratio", "higher", Share(entry, lambda entry: entry.completed),
            (("segment", "funnel"), ("channel", "funnel")),
        ),
        kpi(
            "step_rate", f"Share of attempts at a step of a funnel{which} that reached it.", "Where do people go on?",
            "attempts that reached the step ÷ attempts at the step before", "GA4: funnel exploration", "ratio", "higher", Share(step, lambda step: step.reached),
        ),
        kpi(
            "drop_off", f"Share of attempts that ended before a step of a funnel{which}.", "Where do people give up?", "1 − step rate", "GA4: abandonment rate",
            "ratio", "lower", Share(step, lambda step: not step.reached),
        ),
        kpi(
            "step_seconds_median", f"Median time from the step before{of_funnel}.", "How long does a step take?", "nearest rank ⌈0.5·n⌉, within 2 %", "nearest rank",
            "seconds", "lower", Quantile(time, lambda step: step.after, 0.5, scale=1000),
        ),
        kpi(
            "step_seconds_p90", f"90th percentile of the time from the step before{of_funnel}.", "How long does a step take the slowest?",
            "nearest rank ⌈0.9·n⌉, within 2 %", "nearest rank", "seconds", "lower", Quantile(time, lambda step: step.after, 0.9, scale=1000),
        ),
    )  # fmt: skip


def mailing_kpis(medium: str, noun: str) -> tuple[Kpi, ...]:
    """The measures of messages by one medium. A row with a message that stands on its delivery counts those alone, else the sendings that stand in."""

    def sent(message: Sending) -> bool:
        return message.medium == medium

    def arrived(message: Sending) -> bool:
        return message.medium == medium and message.delivered

    def not_bounced(message: Sending) -> bool:
        return message.medium == medium and not message.bounced

    def delivered(mailing: Mailing) -> bool:
        return mailing.medium == medium and mailing.delivered

    def stands_in(mailing: Mailing) -> bool:
        return mailing.medium == medium and not mailing.delivered

    def opened(mailing: Mailing) -> bool:
        return mailing.opened

    def share(of: Callable[[Mailing], bool], among: Callable[[Mailing], bool] | None = None) -> Either[Mailing]:
        def of_those(base: Callable[[Mailing], bool]) -> Share[Mailing]:
            n = base if among is None else lambda mailing: base(mailing) and among(mailing)
            return Share(Mailing, lambda mailing: n(mailing) and of(mailing), n)

        return Either(Mailing, delivered, of_those(delivered), of_those(stands_in))

    def rate(
        name: str,
        text: str,
        question: str,
        formula: str,
        value: Either[Any],
        better: Literal["higher", "lower"] = "higher",
        tag: Literal["actionable", "vanity"] = "actionable",
    ) -> Kpi:
        return Kpi(
            f"{medium}_{name}",
            text,
            question,
            formula + "; unique per message and recipient",
            "e-mail marketing",
            unit="ratio",
            better=better,
            tag=tag,
            value=value,
            by=MAILINGS,
            windows=MINUTE_WINDOWS,
            matures=HOUR,
            least=RATIO_LEAST,
        )

    base = "delivered (sent and not bounced where no delivery is reported)"
    return (
        rate(
            "delivery_rate", f"Share of {noun} sent that were delivered.", "Do our messages arrive?",
            "delivered ÷ sent (not bounced ÷ sent where no delivery is reported)",
            Either(Sending, arrived, Share(Sending, arrived, sent), Share(Sending, not_bounced, sent)),
        ),
        rate("open_rate", f"Share of {noun} delivered that were opened.", "Do our subjects make people look?", f"opened ÷ {base}", share(opened), tag="vanity"),
        rate("click_through_rate", f"Share of {noun} delivered that were clicked.", "Do our messages make people come?", f"clicked ÷ {base}", share(lambda mailing: mailing.clicked)),
        rate(
            "click_to_open_rate", f"Share of {noun} opened that were clicked too.", "Does the content keep what the subject promises?",
            "opened and clicked ÷ opened", share(lambda mailing: mailing.clicked, among=opened),
        ),
        rate("unsubscribe_rate", f"Share of {noun} delivered that led to an unsubscription.", "Do we write too much?", f"unsubscribed ÷ {base}", share(lambda mailing: mailing.unsubscribed), "lower"),
        rate("complaint_rate", f"Share of {noun} delivered that were marked as spam.", "Do people want to hear from us?", f"complaints ÷ {base}", share(lambda mailing: mailing.complained), "lower"),
    )  # fmt: skip


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
        "negative_share", "Share of scored texts that are negative.", "Is the mood turning?",
        "texts whose label is negative ÷ scored texts; the label hears complaints, not feelings alone", "own: overlay on VADER", unit="ratio", better="lower", tag="actionable",
        value=Share(TextJudged, lambda text: text.sentiment == "negative", among=is_scored), by=TEXTS, windows=MINUTE_WINDOWS,
        least=RATIO_LEAST,
    ),
    Kpi(
        "vader_negative_share", "Share of scored texts that are negative by VADER alone.", "Would the standard score say the same?",
        "texts with compound ≤ −0.05 ÷ scored texts", "VADER (Hutto and Gilbert 2014)", unit="ratio", better="lower", tag="actionable",
        value=Share(TextJudged, lambda text: text.is_scored and text.compound <= -THRESHOLD, among=is_scored), by=TEXTS, windows=MINUTE_WINDOWS,
        least=RATIO_LEAST,
    ),
    Kpi(
        "neutral_share", "Share of scored texts that are neutral.", "How many do not take sides?", "texts whose label is neutral ÷ scored texts",
        "own: overlay on VADER", unit="ratio", better="neither", tag="actionable",
        value=Share(TextJudged, lambda text: text.sentiment == "neutral", among=is_scored), by=TEXTS, windows=MINUTE_WINDOWS,
        least=RATIO_LEAST,
    ),
    Kpi(
        "positive_share", "Share of scored texts that are positive.", "How many are happy with us?", "texts whose label is positive ÷ scored texts",
        "own: overlay on VADER", unit="ratio", better="higher", tag="actionable",
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
        "complaints", "Complaints in negative texts, by what they are about: a text counts for each of at most three categories.",
        "What do people complain about?", "number of categories of complaint found in texts whose label is negative", "own: overlay on VADER", unit="count",
        better="lower", tag="actionable", value=Count(Complaint), by=(("complaint",),), windows=MINUTE_WINDOWS,
    ),
    Kpi(
        "complaint_share", "Share of complaints that are about one thing.", "What do people complain about most?", "complaints of the category ÷ complaints",
        "own: overlay on VADER", unit="ratio", better="neither", tag="actionable", value=Portion(Complaint),
        by=(("segment", "complaint"), ("origin", "complaint")), windows=MINUTE_WINDOWS, least=RATIO_LEAST,
    ),
    Kpi(
        "pattern_version", "Version of the list of complaint patterns behind the labels; between two versions where a window holds texts of both.",
        "May these shares be compared?", "Σ version ÷ texts with a label of the overlay", "own: overlay on VADER", unit="version", better="neither", tag="vanity",
        value=Mean(TextJudged, lambda text: text.patterns, among=lambda text: text.patterns > 0), by=TEXTS, windows=(24 * HOUR, *DAYS), least=1,
    ),
    Kpi(
        "unsupported_share", "Share of texts in a language that is not scored.", "How much do we not understand?", "texts not in English ÷ texts", "own",
        unit="ratio", better="lower", tag="actionable", value=Share(TextJudged, lambda text: not text.is_scored), by=TEXTS, windows=MINUTE_WINDOWS,
        least=RATIO_LEAST,
    ),
    Kpi(
        "feedback_volume", "Texts that people wrote about the site, whatever their language.", "How much feedback do we get, and where?",
        "texts that may be read (consent to `sentiment`)", "own", unit="count", better="neither", tag="vanity", value=Count(TextJudged), by=TEXTS[:1],
        windows=MINUTE_WINDOWS,
    ),
    Kpi(
        "session_conversion_rate", "Share of sessions that reached a goal; `order` is the goal that every order reaches.", "Do visits turn into results?",
        "sessions with the goal ÷ sessions", "GA4: session key event rate", unit="ratio", better="higher", tag="actionable",
        value=Share(SessionGoal, lambda goal: goal.reached), by=GOALS, windows=QUARTER_HOUR_WINDOWS, matures=30 * MINUTE, least=RATIO_LEAST, apart=("goal",),
    ),
    Kpi(
        "goal_action_rate", "Share of the sessions that saw a goal's page in which it was reached.", "Do our key pages lead to action?",
        "sessions with the goal ÷ sessions that saw its page (all sessions where the goal has none)", "GA4: key events on key pages", unit="ratio",
        better="higher", tag="actionable", value=Share(SessionGoal, lambda goal: goal.reached and goal.offered, among=lambda goal: goal.offered),
        by=GOALS, windows=QUARTER_HOUR_WINDOWS, matures=30 * MINUTE, least=RATIO_LEAST, apart=("goal",),
    ),
    Kpi(
        "local_referral_share", "Share of sessions that came from local directories, partners and community sites.", "Does the neighbourhood send us visitors?",
        "sessions with source `local` ÷ sessions", "own", unit="ratio", better="higher", tag="actionable",
        value=Share(Session, lambda session: session.is_local), by=(("segment", "channel"),), windows=QUARTER_HOUR_WINDOWS, matures=30 * MINUTE,
        least=RATIO_LEAST,
    ),
    Kpi(
        "local_conversion_rate", "Share of the sessions from local referrals that reached a goal.", "Are visitors from the neighbourhood worth it?",
        "sessions with source `local` and the goal ÷ sessions with source `local`", "own", unit="ratio", better="higher", tag="actionable",
        value=Share(SessionGoal, lambda goal: goal.local and goal.reached, among=lambda goal: goal.local), by=(("segment", "goal"),),
        windows=QUARTER_HOUR_WINDOWS, matures=30 * MINUTE, least=RATIO_LEAST, apart=("goal",),
    ),
    Kpi(
        "interactions", "Likes, comments, shares and follows.", "How much do people react to us?", "number of likes, comments, shares and follows",
        "social media marketing", unit="count", better="higher", tag="vanity", value=Count(Engagement, lambda engagement: engagement.is_interaction),
        by=(("segment", "network"), ("network", "category"), ("kind",)), windows=QUARTER_HOUR_WINDOWS,
    ),
    Kpi(
        "impressions", "Impressions that posts gained.", "How often are our posts seen?", "Σ (total of a post − its previous total)",
        "social media marketing", unit="count", better="higher", tag="vanity", value=Sum(Engagement, impressions_of, among=lambda engagement: engagement.kind is None), by=NETWORKS,
        windows=QUARTER_HOUR_WINDOWS,
    ),
    Kpi(
        "interaction_rate", "Likes, comments, shares and follows per impression (basis: impressions).", "Do people who see our posts react?",
        "likes, comments, shares and follows ÷ impressions gained", "social media marketing", unit="ratio", better="higher", tag="actionable",
        value=Ratio(Engagement, lambda engagement: engagement.is_interaction, impressions_of), by=NETWORKS, windows=QUARTER_HOUR_WINDOWS, least=RATIO_LEAST,
    ),
    *(
        Kpi(
            f"{kind}_rate", f"{kind.capitalize()}s per impression (basis: impressions).", f"Which reaction do our posts get: {kind}s?",
            f"{kind}s ÷ impressions gained", "social media marketing", unit="ratio", better="higher", tag="actionable",
            value=Ratio(Engagement, is_kind(kind), impressions_of), by=NETWORKS, windows=QUARTER_HOUR_WINDOWS, least=RATIO_LEAST,
        )
        for kind in ("like", "comment", "share", "follow")
    ),
    Kpi(
        "composite_interaction_rate", "Weighted interactions, saves and clicks among them, per impression (basis: impressions).",
        "Do our posts make people do anything at all?", "Σ weight of the kind ÷ impressions gained; every weight is 1", "social media marketing",
        unit="ratio", better="higher", tag="actionable", value=Ratio(Engagement, lambda engagement: engagement.weight, impressions_of), by=NETWORKS,
        windows=QUARTER_HOUR_WINDOWS, least=RATIO_LEAST,
    ),
    Kpi(
        "follower_growth", "Followers won less followers lost.", "Does our audience grow?",
        "difference of followers measured, else follows − unfollows", "social media marketing", unit="count", better="higher", tag="vanity",
        value=Either(
            AudienceChange, is_measured, Sum(AudienceChange, lambda change: change.difference, among=is_measured),
            Sum(AudienceChange, lambda change: change.follows, among=lambda change: not change.measured),
        ),
        by=(("network",),), windows=DAYS, apart=("network",),
    ),
    *mailing_kpis("email", "e-mails"),
    Kpi(
        "engaged_time", "Mean time a page was in view and in use.", "Are our pages read?", "Σ engaged time of views, at most 30 min each ÷ views left",
        "Snowplow: engaged time", unit="seconds", better="higher", tag="actionable", value=Mean(PageRead, lambda read: read.engaged, scale=1000), by=READS,
        windows=MINUTE_WINDOWS, least=MEAN_LEAST,
    ),
    Kpi(
        "engaged_time_median", "Median time a page was in view and in use.", "How long is the usual page read?", "nearest rank ⌈0.5·n⌉, within 2 %",
        "nearest rank", unit="seconds", better="higher", tag="actionable", value=Quantile(PageRead, lambda read: read.engaged, 0.5, scale=1000), by=READS,
        windows=MINUTE_WINDOWS, least=MEAN_LEAST,
    ),
    Kpi(
        "scroll_depth", "Mean of the deepest scroll of a view, as a share of the page.", "How far down do people read?",
        "Σ deepest scroll ratio ÷ views left with a scroll ratio", "Snowplow: maximum scroll depth", unit="ratio", better="higher", tag="actionable",
        value=Mean(PageRead, lambda read: read.depth or 0, scale=DEPTH, among=lambda read: read.depth is not None), by=READS, windows=MINUTE_WINDOWS,
        least=MEAN_LEAST,
    ),
    Kpi(
        "video_completion_rate", "Share of plays started that reached 90 % or their end.", "Are our videos watched to the end?",
        "plays started that reached 90 % or were reported complete ÷ plays started", "video analytics", unit="ratio", better="higher", tag="actionable",
        value=Share(Play, lambda play: play.completed, among=lambda play: play.started), by=MEDIA, windows=MINUTE_WINDOWS, matures=HOUR, least=RATIO_LEAST,
    ),
    Kpi(
        "watch_time", "Time that videos and audio were played.", "How much of our media is consumed?",
        "Σ over plays of what the position gained between two reports, at most the time between them", "video analytics", unit="seconds",
        better="higher", tag="vanity", value=Sum(Play, lambda play: play.watched, scale=1000), by=MEDIA, windows=MINUTE_WINDOWS, least=1,
    ),
    Kpi(
        "downloads", "Files downloaded.", "What do people take home?", "number of file_downloaded events", "web analytics", unit="count", better="higher",
        tag="vanity", value=Count(FileDownloaded), by=MEDIA, windows=MINUTE_WINDOWS,
    ),
    Kpi(
        "visitor_conversion_rate", "Share of a day's visitors who reached a goal.", "Do people do what we hope for?",
        "subjects who reached the goal that day ÷ subjects with a page view or the goal that day", "GA4: user key event rate", unit="ratio", better="higher",
        tag="actionable", value=Share(Conversion, lambda conversion: conversion.reached), by=(("segment", "goal"), ("channel", "goal")), windows=DAYS,
        least=RATIO_LEAST, apart=("goal",),
    ),
    Kpi(
        "cart_abandonment", "Share of carts that no order followed.", "Do people leave with their carts full?",
        "carts without an order within 60 min of their last event ÷ carts opened", "Baymard", unit="ratio", better="lower", tag="actionable",
        value=Share(Cart, lambda cart: not cart.ordered), by=COMMERCE, windows=QUARTER_HOUR_WINDOWS, matures=HOUR, least=RATIO_LEAST,
    ),
    Kpi(
        "checkout_abandonment", "Share of checkouts that no order followed.", "Do people give up at the till?",
        "checkouts without an order within 60 min of their last event ÷ checkouts started", "Baymard", unit="ratio", better="lower", tag="actionable",
        value=Share(Checkout, lambda checkout: not checkout.ordered), by=COMMERCE, windows=QUARTER_HOUR_WINDOWS, matures=HOUR, least=RATIO_LEAST,
    ),
    Kpi(
        "orders", "Orders.", "How much do we sell?", "number of order ids", "retail", unit="count", better="higher", tag="vanity",
        value=Count(Order, is_placed), by=ORDERS, windows=MINUTE_WINDOWS,
    ),
    Kpi(
        "average_order_value", "Mean value of an order after refunds, in minor units of its currency.", "How much does an order bring?",
        "Σ (total − refunds) ÷ orders, by currency", "retail", unit="minor", better="higher", tag="actionable",
        value=Mean(Order, lambda order: order.net, among=is_placed), by=MONEY, windows=MINUTE_WINDOWS, least=RATING_LEAST, apart=("currency",),
    ),
    Kpi(
        "refund_share", "Share of orders of which money was refunded.", "Do customers keep what they buy?", "orders with a refund ÷ orders", "retail",
        unit="ratio", better="lower", tag="actionable", value=Share(Order, lambda order: order.placed and order.refunded > 0, among=is_placed), by=ORDERS,
        windows=MINUTE_WINDOWS, least=RATIO_LEAST,
    ),
    *funnel_kpis("", "", FunnelEntry, FunnelStep, StepTime, QUARTER_HOUR_WINDOWS, HOUR, Pane.QUARTER_HOUR),
    *funnel_kpis("long_", " of more than 24 hours", LongFunnelEntry, LongFunnelStep, LongStepTime, DAYS, LONGEST_FUNNEL, Pane.DAY),
    Kpi(
        "payment_failures", "Payments that failed.", "Can people pay?", "number of payment_failed events", "retail", unit="count", better="lower",
        tag="actionable", value=Count(PaymentFailed), by=COMMERCE, windows=MINUTE_WINDOWS,
    ),
    Kpi(
        "tickets", "Support tickets opened.", "How much help do people need?", "number of ticket ids", "service desk", unit="count", better="lower",
        tag="actionable", value=Count(Ticket), by=COMMERCE, windows=MINUTE_WINDOWS,
    ),
    Kpi(
        "response_in_target_share", "Share of tickets answered within the site's target.", "Do we keep our promise?",
        "tickets answered within the target ÷ tickets older than the target", "service desk", unit="ratio", better="higher", tag="actionable",
        value=Share(Ticket, lambda ticket: ticket.in_target), by=COMMERCE, windows=DAYS, matures=4 * HOUR, least=RATIO_LEAST, matures_by=response_target,
    ),
    Kpi(
        "support_response_time", "Mean time to the first answer to a ticket.", "How long do people wait for us?",
        "Σ (first answer − opening) ÷ tickets answered", "service desk", unit="seconds", better="lower", tag="actionable",
        value=Mean(Response, lambda response: response.after, scale=1000), by=COMMERCE, windows=MINUTE_WINDOWS, least=MEAN_LEAST,
    ),
    *(
        Kpi(
            f"support_response_time_{name}", f"{words} of the time to the first answer to a ticket.", f"How long is the {wait} wait?",
            f"nearest rank ⌈{q:g}·n⌉, within 2 %", "nearest rank", unit="seconds", better="lower", tag="actionable",
            value=Quantile(Response, lambda response: response.after, q, scale=1000), by=COMMERCE, windows=MINUTE_WINDOWS, least=MEAN_LEAST,
        )
        for name, words, wait, q in (("median", "Median", "usual", 0.5), ("p90", "90th percentile", "longest", 0.9))
    ),
    Kpi(
        "resolution_time_median", "Median time until a ticket is resolved.", "How long until it is settled?", "nearest rank ⌈0.5·n⌉, within 2 %", "nearest rank",
        unit="seconds", better="lower", tag="actionable", value=Quantile(Resolution, lambda resolution: resolution.after, 0.5, scale=1000), by=COMMERCE,
        windows=MINUTE_WINDOWS, least=MEAN_LEAST,
    ),
    Kpi(
        "trial_conversion_rate", "Share of first trials that became a subscription within 30 days.", "Does trying lead to buying?",
        "first trials followed by a subscription within 30 days ÷ first trials older than that", "SaaS: trial-to-paid", unit="ratio", better="higher",
        tag="actionable", value=Share(Trial, lambda trial: trial.paid), by=(("segment",), ("channel",)), windows=DAYS, matures=PAYS_WITHIN,
        least=RATIO_LEAST,
    ),
)  # fmt: skip
KPI_BY_NAME = {kpi.name: kpi for kpi in KPIS}
