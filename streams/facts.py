"""What the measures count: one type per fact, the labels it carries, and the sizes of panes it is counted in.

A fact credits the pane of one instant. Facts that may change later (a session that turns out engaged, a review that is
edited) are withdrawn and stated anew in the pane of their start.
"""

from dataclasses import dataclass
from typing import Any

import msgspec

from streams.events import FileDownloaded, PageViewed, PaymentFailed
from streams.journeys import content, messages, orders, tickets, trials
from streams.journeys.audiences import AudienceChange
from streams.journeys.carts import Cart, Checkout
from streams.journeys.content import PageRead, Play
from streams.journeys.conversions import Conversion
from streams.journeys.funnels import FunnelEntry, FunnelStep, LongFunnelEntry, LongFunnelStep, LongStepTime, StepTime
from streams.journeys.interactions import Engagement
from streams.journeys.messages import Mailing, Sending
from streams.journeys.orders import Order
from streams.journeys.reviews import LOOK_BACK, Review
from streams.journeys.sessions import Session, SessionGoal
from streams.journeys.tickets import Resolution, Response, Ticket
from streams.journeys.trials import Trial
from streams.panes import DAY, Pane
from streams.sites import LONGEST_FUNNEL
from streams.topics import EVENT_TOPICS


class Presence:
    """A subject's last website event: it stands in that event's minute until the next one moves it."""


class DailyVisitor:
    """A subject with a page view on a calendar day."""


class WeeklyVisitor:
    """A subject with a page view in a calendar week (from Monday)."""


class MonthlyVisitor:
    """A subject with a page view in a calendar month."""


class Mention(msgspec.Struct, frozen=True, gc=False):
    """A post that names the site or a configured competitor."""

    own: bool


class TextJudged(msgspec.Struct, frozen=True, gc=False):
    """A text about the site and its sentiment."""

    sentiment: str
    compound: int
    patterns: int = 0
    """Version of the list of patterns that gave the label; 0 where it is VADER's."""

    @property
    def is_scored(self) -> bool:
        return self.sentiment != "unsupported"


class Complaint:
    """A category of complaint in a negative text about the site; a text has at most three."""


@dataclass(frozen=True)
class Fact:
    """How a fact type is kept. `name` is in the keys of rows: a contract."""

    type: type[Any]
    name: str
    labels: tuple[str, ...]
    panes: tuple[Pane, ...]
    topics: tuple[str, ...]
    """Topics whose events state or correct it: their watermarks decide when its panes can change no more."""
    look_back: int = 0
    """How long (ms) beyond the grace its panes are kept for corrections."""


FUNNEL, FUNNEL_STEP = ("segment", "channel", "funnel"), ("segment", "channel", "funnel", "step")

FACTS = (
    Fact(PageViewed, "page_view", ("segment", "channel", "source", "route"), (Pane.MINUTE, Pane.DAY), ("website",)),
    Fact(Presence, "presence", ("segment",), (Pane.MINUTE,), ("website",)),
    Fact(Session, "session", ("segment", "channel", "source", "route"), (Pane.QUARTER_HOUR,), ("website",), look_back=DAY),
    Fact(SessionGoal, "session_goal", ("segment", "channel", "source", "goal"), (Pane.QUARTER_HOUR,), ("website",), look_back=DAY),
    Fact(DailyVisitor, "daily_visitor", ("segment", "channel", "source"), (Pane.DAY,), ("website",), look_back=90 * DAY),
    Fact(WeeklyVisitor, "weekly_visitor", ("segment", "channel", "source"), (Pane.DAY,), ("website",), look_back=90 * DAY),
    Fact(MonthlyVisitor, "monthly_visitor", ("segment", "channel", "source"), (Pane.DAY,), ("website",), look_back=90 * DAY),
    Fact(Review, "review", ("segment", "source", "product"), (Pane.MINUTE, Pane.DAY), ("reviews",), look_back=LOOK_BACK),
    Fact(Mention, "mention", ("segment", "network", "brand"), (Pane.MINUTE, Pane.DAY), ("social",)),
    Fact(TextJudged, "text", ("segment", "origin", "network"), (Pane.MINUTE, Pane.DAY), ("social", "reviews"), look_back=LOOK_BACK),
    Fact(Complaint, "complaint", ("segment", "origin", "complaint"), (Pane.MINUTE, Pane.DAY), ("social", "reviews"), look_back=LOOK_BACK),
    Fact(Engagement, "engagement", ("segment", "network", "category", "kind"), (Pane.QUARTER_HOUR,), ("social",)),
    Fact(AudienceChange, "audience_change", ("network",), (Pane.DAY,), ("social",)),
    Fact(Sending, "sending", ("segment", "campaign", "medium"), (Pane.MINUTE, Pane.DAY), ("customers",), look_back=messages.LOOK_BACK),
    Fact(Mailing, "mailing", ("segment", "campaign", "medium"), (Pane.MINUTE, Pane.DAY), ("customers",), look_back=messages.LOOK_BACK),
    Fact(PageRead, "page_read", ("segment", "route"), (Pane.MINUTE, Pane.DAY), ("website",), look_back=content.LONGEST),
    Fact(Play, "play", ("segment", "category"), (Pane.MINUTE, Pane.DAY), ("website",), look_back=content.LONGEST),
    Fact(FileDownloaded, "download", ("segment", "category"), (Pane.MINUTE, Pane.DAY), ("website",)),
    Fact(Conversion, "conversion", ("segment", "channel", "goal"), (Pane.DAY,), ("website",)),
    Fact(FunnelEntry, "funnel_entry", FUNNEL, (Pane.QUARTER_HOUR,), EVENT_TOPICS, look_back=2 * DAY),
    Fact(FunnelStep, "funnel_step", FUNNEL_STEP, (Pane.QUARTER_HOUR,), EVENT_TOPICS, look_back=2 * DAY),
    Fact(StepTime, "funnel_step_time", FUNNEL_STEP, (Pane.QUARTER_HOUR,), EVENT_TOPICS, look_back=2 * DAY),
    Fact(LongFunnelEntry, "long_funnel_entry", FUNNEL, (Pane.DAY,), EVENT_TOPICS, look_back=LONGEST_FUNNEL + DAY),
    Fact(LongFunnelStep, "long_funnel_step", FUNNEL_STEP, (Pane.DAY,), EVENT_TOPICS, look_back=LONGEST_FUNNEL + DAY),
    Fact(LongStepTime, "long_funnel_step_time", FUNNEL_STEP, (Pane.DAY,), EVENT_TOPICS, look_back=LONGEST_FUNNEL + DAY),
    Fact(Cart, "cart", ("segment", "channel"), (Pane.QUARTER_HOUR,), ("website",), look_back=2 * DAY),
    Fact(Checkout, "checkout", ("segment", "channel"), (Pane.QUARTER_HOUR,), ("website",), look_back=2 * DAY),
    Fact(Order, "order", ("segment", "channel", "currency"), (Pane.MINUTE, Pane.DAY), ("website",), look_back=orders.LOOK_BACK),
    Fact(Ticket, "ticket", ("segment", "channel"), (Pane.MINUTE, Pane.DAY), ("reviews",), look_back=tickets.LOOK_BACK),
    Fact(Response, "response", ("segment", "channel"), (Pane.MINUTE, Pane.DAY), ("reviews",), look_back=tickets.LOOK_BACK),
    Fact(Resolution, "resolution", ("segment", "channel"), (Pane.MINUTE, Pane.DAY), ("reviews",), look_back=tickets.LOOK_BACK),
    Fact(PaymentFailed, "payment_failure", ("segment", "channel"), (Pane.MINUTE, Pane.DAY), ("website",)),
    Fact(Trial, "trial", ("segment", "channel"), (Pane.DAY,), ("customers",), look_back=trials.PAYS_WITHIN),
)
