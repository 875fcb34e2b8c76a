"""What happened: one frozen struct per event type, decoded from bytes or explained as rejected.

Wire names, field names and units are the contract with producers (docs/events.md is written from this module).
The intake decodes with the topic's decoder alone; everything that makes a rejection readable is computed only after that has failed.
"""

import json
import re
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from enum import StrEnum
from functools import cache
from typing import Annotated, Any, ClassVar, Final, Literal, NamedTuple, TypeAlias, get_args, get_type_hints

import msgspec
from msgspec import Meta, Struct

from streams.currencies import Currency
from streams.panes import DAY, SECOND
from streams.words import suggest

MAX_EVENT_BYTES: Final = 32 * 1024
MAX_DEPTH: Final = 32
FREE_TEXT_LIMIT: Final = 4_000
"""Characters of a free text that are kept; longer ones are accepted and cut."""
EARLIEST: Final = 631_152_000_000
"""1990-01-01 in epoch milliseconds; an event time before it is no milliseconds at all."""
LATEST: Final = 7_258_118_400_000
"""2200-01-01 in epoch milliseconds, exclusive."""


class Reason(StrEnum):
    """Why an event is not counted, in the order in which it is checked."""

    UNSUPPORTED_ENCODING = "unsupported_encoding"
    TOO_LARGE = "too_large"
    EMPTY = "empty"
    NOT_UTF8 = "not_utf8"
    NOT_JSON = "not_json"
    TOO_DEEP = "too_deep"
    WRONG_TYPE = "wrong_type"
    MISSING_FIELD = "missing_field"
    UNKNOWN_TYPE = "unknown_type"
    WRONG_TOPIC = "wrong_topic"
    UNKNOWN_FIELD = "unknown_field"
    OUT_OF_BOUNDS = "out_of_bounds"
    BAD_VALUE = "bad_value"
    NO_SUBJECT = "no_subject"
    BAD_TIME = "bad_time"
    TOO_OLD = "too_old"
    OFF_PLAN = "off_plan"


class Rejected(NamedTuple):
    """A value that is no event: where it breaks which rule, and the bytes as they came."""

    reason: Reason
    path: str
    detail: str
    raw: bytes = b""


def failure_headers(rejected: Rejected, topic: str) -> tuple[tuple[str, bytes], ...]:
    """The first headers of a record on the topic `failed`: why, and on which topic (short name) the event came."""
    return (
        ("engage-reason", rejected.reason.encode()),
        ("engage-path", rejected.path.encode("utf-8", "replace")),
        ("engage-detail", rejected.detail.encode("utf-8", "replace")),
        ("engage-topic", topic.encode()),
    )


class _FormatError(ValueError):
    """A broken rule on its way to becoming a `Rejected`; msgspec passes it on as the cause of its own error."""

    def __init__(self, reason: Reason, path: str, detail: str) -> None:
        super().__init__(detail)
        self.reason, self.path, self.detail = reason, path, detail


# --- field types -----------------------------------------------------------------------------------------------------

MAX_ID: Final = 128
MAX_TEXT: Final = 256
MAX_SHORT_TEXT: Final = 64
MAX_LONG_TEXT: Final = 2_048
"""Characters of what these types hold."""
MAX_PROPERTIES: Final = 32
MAX_ITEMS: Final = 200
Id: TypeAlias = Annotated[str, Meta(min_length=1, max_length=MAX_ID)]
SITE_PATTERN: Final = "[a-z0-9][a-z0-9._-]{0,63}"
SITE_FORM: Final = "must be 1 to 64 of a-z, 0-9, dot, dash and underscore, and begin with a letter or digit"
Site: TypeAlias = Annotated[str, Meta(pattern=rf"^{SITE_PATTERN}\Z")]
Integer: TypeAlias = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
Instant: TypeAlias = Integer | Annotated[datetime, Meta(tz=True)]
"""Epoch milliseconds, or RFC 3339 text with an offset; `millis` makes one of both."""
Name: TypeAlias = Annotated[str, Meta(min_length=1, max_length=MAX_TEXT)]
Text: TypeAlias = Annotated[str, Meta(max_length=MAX_TEXT)]
ShortText: TypeAlias = Annotated[str, Meta(max_length=MAX_SHORT_TEXT)]
LongText: TypeAlias = Annotated[str, Meta(max_length=MAX_LONG_TEXT)]
FreeText: TypeAlias = str
"""Bounded by the size of the event only: what is too long to keep is cut, not refused."""
Country: TypeAlias = Annotated[str, Meta(pattern=r"^[A-Z]{2}\Z")]
Amount: TypeAlias = Annotated[int, Meta(ge=0, le=10**12)]
Quantity: TypeAlias = Annotated[int, Meta(ge=1, le=9_999)]
Days: TypeAlias = Annotated[int, Meta(ge=1, le=36_500)]
Share: TypeAlias = Annotated[float, Meta(ge=0, le=1)]
Seconds: TypeAlias = Annotated[float, Meta(ge=0, le=10**9)]
Score: TypeAlias = Annotated[float, Meta(ge=-(10**6), le=10**6)]
Properties: TypeAlias = Annotated[dict[Text, Text | Integer | float | bool], Meta(max_length=MAX_PROPERTIES)]


class Consent(Struct, frozen=True, gc=False, forbid_unknown_fields=True, omit_defaults=True):
    """What the subject allows; a part that is absent follows the site's default."""

    analytics: bool | None = None
    profiling: bool | None = None
    sentiment: bool | None = None


class Campaign(Struct, frozen=True, gc=False, forbid_unknown_fields=True, omit_defaults=True):
    """The campaign that led to a page view."""

    source: Text | None = None
    medium: Text | None = None
    name: Text | None = None


class Item(Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    """One line of an order."""

    product: Name
    quantity: Quantity
    price_minor: Amount


Items: TypeAlias = Annotated[list[Item], Meta(max_length=MAX_ITEMS)]


class Event(Struct, kw_only=True, frozen=True, gc=False, forbid_unknown_fields=True, omit_defaults=True, tag_field="type"):
    """What every event carries."""

    topic: ClassVar[str]
    """Short name of the topic the type belongs to."""
    site_level: ClassVar[bool] = False
    """True when the event is about the site and touches no subject."""
    analytics: ClassVar[bool] = False
    """True when a withdrawn consent to analytics refuses the event."""

    id: Id
    site: Site
    at: Instant | None = None
    """Absent: it happened when it was received. What makes two events the same then holds no time, so that a repeat is one, whenever it comes."""
    sent_at: Instant | None = None
    received_at: Instant | None = None
    customer: Id | None = None
    visitor: Id | None = None
    segment: ShortText | None = None
    channel: ShortText | None = None
    country: Country | None = None
    device: Annotated[str, Meta(max_length=32)] | None = None
    user_agent: Annotated[str, Meta(max_length=512)] | None = None
    consent: Consent | None = None
    properties: Properties | None = None


# --- website ---------------------------------------------------------------------------------------------------------


class WebsiteEvent(Event, frozen=True, kw_only=True):
    topic = "website"
    analytics = True


class PageViewed(WebsiteEvent, tag="page_viewed", frozen=True, kw_only=True):
    """A page was shown."""

    path: LongText
    title: LongText | None = None
    referrer: LongText | None = None
    campaign: Campaign | None = None
    view: Text | None = None


class PageLeft(WebsiteEvent, tag="page_left", frozen=True, kw_only=True):
    """A page was closed or hidden."""

    path: LongText
    view: Text | None = None
    engaged_seconds: Annotated[float, Meta(ge=0, le=1_800)]
    scroll_ratio: Share | None = None


class ElementClicked(WebsiteEvent, tag="element_clicked", frozen=True, kw_only=True):
    """A button, link or other element was clicked."""

    element: Name
    path: LongText | None = None


class MediaPlayed(WebsiteEvent, tag="media_played", frozen=True, kw_only=True):
    """A video or audio was started, went on, or was played to its end."""

    media: Name
    play: Text | None = None
    state: Literal["started", "progress", "completed"]
    position_seconds: Seconds
    length_seconds: Seconds
    category: Text | None = None


class FileDownloaded(WebsiteEvent, tag="file_downloaded", frozen=True, kw_only=True):
    """A file was downloaded."""

    file: Name
    category: Text | None = None


class GoalReached(WebsiteEvent, tag="goal_reached", frozen=True, kw_only=True):
    """The subject did what the business wants: subscribed, asked for a demo, …"""

    goal: Name
    path: LongText | None = None
    value_minor: Amount | None = None
    currency: Currency | None = None

    def __post_init__(self) -> None:
        _check_currency(self.value_minor, self.currency)


class ProductViewed(WebsiteEvent, tag="product_viewed", frozen=True, kw_only=True):
    """A product was looked at."""

    product: Name
    category: Text | None = None
    price_minor: Amount | None = None
    currency: Currency | None = None

    def __post_init__(self) -> None:
        _check_currency(self.price_minor, self.currency)


class _CartChange(WebsiteEvent, frozen=True, kw_only=True):
    product: Name
    quantity: Quantity
    price_minor: Amount | None = None
    currency: Currency | None = None
    cart: Text | None = None

    def __post_init__(self) -> None:
        _check_currency(self.price_minor, self.currency)


class ProductAdded(_CartChange, tag="product_added", frozen=True, kw_only=True):
    """A product was put into the cart."""


class ProductRemoved(_CartChange, tag="product_removed", frozen=True, kw_only=True):
    """A product was taken out of the cart."""


class _Checkout(WebsiteEvent, frozen=True, kw_only=True):
    cart: Text | None = None
    step: Text | None = None


class CheckoutStarted(_Checkout, tag="checkout_started", frozen=True, kw_only=True):
    """The checkout was opened."""


class CheckoutStepCompleted(_Checkout, tag="checkout_step_completed", frozen=True, kw_only=True):
    """One step of the checkout was completed."""


class PaymentFailed(WebsiteEvent, tag="payment_failed", frozen=True, kw_only=True):
    """A payment was refused or broke off."""

    order: Text | None = None
    reason: Text | None = None


class OrderCompleted(WebsiteEvent, tag="order_completed", frozen=True, kw_only=True):
    """An order was placed."""

    analytics = False

    order: Name
    cart: Text | None = None
    total_minor: Amount
    currency: Currency
    items: Items | None = None
    discount_minor: Amount | None = None
    margin_ratio: Share | None = None


class OrderRefunded(WebsiteEvent, tag="order_refunded", frozen=True, kw_only=True):
    """An order was refunded, in part or whole."""

    analytics = False

    order: Name
    amount_minor: Amount
    currency: Currency


class ExperimentViewed(WebsiteEvent, tag="experiment_viewed", frozen=True, kw_only=True):
    """The subject saw a variant of an experiment."""

    experiment: Name
    variant: Name


class SignedIn(WebsiteEvent, tag="signed_in", frozen=True, kw_only=True):
    """A customer signed in."""


class FeatureUsed(WebsiteEvent, tag="feature_used", frozen=True, kw_only=True):
    """A feature of the product was used."""

    feature: Name


# --- social ----------------------------------------------------------------------------------------------------------


class SocialEvent(Event, frozen=True, kw_only=True):
    topic = "social"


class PostPublished(SocialEvent, tag="post_published", frozen=True, kw_only=True):
    """The business published a post."""

    site_level = True

    post: Name
    network: Name
    category: Text | None = None


class PostMeasured(SocialEvent, tag="post_measured", frozen=True, kw_only=True):
    """How far a post has come: totals so far, not gains."""

    site_level = True

    post: Name
    network: Name
    category: Text | None = None
    impressions: Amount | None = None
    reach: Amount | None = None


class AudienceMeasured(SocialEvent, tag="audience_measured", frozen=True, kw_only=True):
    """How many follow the business: the total so far."""

    site_level = True

    network: Name
    followers: Amount


class InteractionMade(SocialEvent, tag="interaction_made", frozen=True, kw_only=True):
    """Someone reacted to the business or to one of its posts."""

    analytics = True

    network: Name
    kind: Literal["like", "comment", "share", "save", "click", "follow", "unfollow"]
    post: Text | None = None
    category: Text | None = None
    author: Text | None = None
    text: FreeText | None = None


class MentionPosted(SocialEvent, tag="mention_posted", frozen=True, kw_only=True):
    """Someone wrote about a brand."""

    post: Name
    network: Name
    author: Name
    text: FreeText
    brand: Text | None = None
    reach: Amount | None = None
    reply_to_author: Text | None = None
    language: Text | None = None


class _Membership(SocialEvent, frozen=True, kw_only=True):
    community: Name
    member: Text | None = None


class CommunityJoined(_Membership, tag="community_joined", frozen=True, kw_only=True):
    """Someone became a member of a community."""


class CommunityLeft(_Membership, tag="community_left", frozen=True, kw_only=True):
    """A member left a community."""


class CommunityPosted(SocialEvent, tag="community_posted", frozen=True, kw_only=True):
    """A member wrote in a community."""

    community: Name
    kind: Literal["question", "answer", "post", "event"]
    member: Text | None = None
    text: FreeText | None = None
    reply_to_member: Text | None = None


class _Idea(SocialEvent, frozen=True, kw_only=True):
    idea: Name
    community: Text | None = None
    value_minor: Amount | None = None
    currency: Currency | None = None

    def __post_init__(self) -> None:
        _check_currency(self.value_minor, self.currency)


class IdeaSubmitted(_Idea, tag="idea_submitted", frozen=True, kw_only=True):
    """Someone proposed an idea."""


class IdeaImplemented(_Idea, tag="idea_implemented", frozen=True, kw_only=True):
    """An idea was put into practice; carries the subject of who proposed it."""


class PartnerActive(SocialEvent, tag="partner_active", frozen=True, kw_only=True):
    """A partner did something for the business."""

    partner: Name
    kind: Name
    value_minor: Amount | None = None
    currency: Currency | None = None

    def __post_init__(self) -> None:
        _check_currency(self.value_minor, self.currency)


# --- reviews ---------------------------------------------------------------------------------------------------------


class ReviewsEvent(Event, frozen=True, kw_only=True):
    topic = "reviews"


class ReviewPosted(ReviewsEvent, tag="review_posted", frozen=True, kw_only=True):
    """A review was written or edited; an edit carries the same `review` at a later time."""

    review: Name
    source: Name
    rating: Score | None = None
    scale_max: Score | None = None
    product: Text | None = None
    author: Text | None = None
    text: FreeText | None = None

    def __post_init__(self) -> None:
        _check_scale("rating", self.rating, 0, 5 if self.scale_max is None else self.scale_max)


class ReviewAnswered(ReviewsEvent, tag="review_answered", frozen=True, kw_only=True):
    """The business answered a review; carries the review's customer, visitor or author."""

    review: Name
    source: Name
    author: Text | None = None


class SurveyAnswered(ReviewsEvent, tag="survey_answered", frozen=True, kw_only=True):
    """A survey was answered. NPS and eNPS run from 0 to 10; CES needs `scale_max` and `higher_is_better`."""

    survey: Literal["nps", "csat", "ces", "enps"]
    score: Score
    scale_min: Score | None = None
    scale_max: Score | None = None
    higher_is_better: bool | None = None
    touchpoint: Text | None = None
    comment: FreeText | None = None

    def __post_init__(self) -> None:
        if self.survey in ("nps", "enps"):
            _check_scale("score", self.score, 0, 10)
            return
        if self.survey == "ces":
            _check_present("scale_max", self.scale_max, "a customer effort score needs its scale")
            _check_present("higher_is_better", self.higher_is_better, "a customer effort score needs the direction of its scale")
        _check_scale("score", self.score, 1 if self.scale_min is None else self.scale_min, 5 if self.scale_max is None else self.scale_max)


class TicketOpened(ReviewsEvent, tag="ticket_opened", frozen=True, kw_only=True):
    """A support ticket was opened."""

    ticket: Name
    touchpoint: Text | None = None
    text: FreeText | None = None


class _TicketStep(ReviewsEvent, frozen=True, kw_only=True):
    ticket: Name
    by: Literal["agent", "community", "self"] | None = None


class TicketAnswered(_TicketStep, tag="ticket_answered", frozen=True, kw_only=True):
    """A ticket was answered; carries the subject of who opened it."""


class TicketResolved(_TicketStep, tag="ticket_resolved", frozen=True, kw_only=True):
    """A ticket was resolved; carries the subject of who opened it."""


# --- customers -------------------------------------------------------------------------------------------------------


class CustomersEvent(Event, frozen=True, kw_only=True):
    topic = "customers"


class SignedUp(CustomersEvent, tag="signed_up", frozen=True, kw_only=True):
    """Someone became a customer."""

    plan: Text | None = None
    referred_by: Text | None = None


class CustomerIdentified(CustomersEvent, tag="customer_identified", frozen=True, kw_only=True):
    """The visitor is this customer; keyed by the visitor."""

    visitor: Id
    customer: Id


class CustomerUpdated(CustomersEvent, tag="customer_updated", frozen=True, kw_only=True):
    """What is known about a customer changed."""

    traits: Properties


class TrialStarted(CustomersEvent, tag="trial_started", frozen=True, kw_only=True):
    """A trial was started."""

    plan: Text | None = None


class _Subscription(CustomersEvent, frozen=True, kw_only=True):
    plan: Name
    amount_minor: Amount | None = None
    currency: Currency | None = None
    period_days: Days | None = None
    reason: Text | None = None

    def __post_init__(self) -> None:
        _check_currency(self.amount_minor, self.currency)


class SubscriptionStarted(_Subscription, tag="subscription_started", frozen=True, kw_only=True):
    """A subscription was taken out."""


class SubscriptionRenewed(_Subscription, tag="subscription_renewed", frozen=True, kw_only=True):
    """A subscription was renewed."""


class SubscriptionCancelled(_Subscription, tag="subscription_cancelled", frozen=True, kw_only=True):
    """A subscription was cancelled."""


class _Message(CustomersEvent, frozen=True, kw_only=True):
    message: Name
    campaign: Name
    medium: Literal["email", "sms", "push"]
    variant: Text | None = None
    link: LongText | None = None


class MessageSent(_Message, tag="message_sent", frozen=True, kw_only=True):
    """A message was sent to the subject."""


class MessageDelivered(_Message, tag="message_delivered", frozen=True, kw_only=True):
    """A message reached the subject's mailbox or device."""


class MessageOpened(_Message, tag="message_opened", frozen=True, kw_only=True):
    """A message was opened."""

    analytics = True


class MessageClicked(_Message, tag="message_clicked", frozen=True, kw_only=True):
    """A link in a message was clicked."""

    analytics = True


class MessageBounced(_Message, tag="message_bounced", frozen=True, kw_only=True):
    """A message could not be delivered."""


class MessageUnsubscribed(_Message, tag="message_unsubscribed", frozen=True, kw_only=True):
    """The subject unsubscribed by a message."""


class MessageComplained(_Message, tag="message_complained", frozen=True, kw_only=True):
    """The subject marked a message as spam."""


class SpendRecorded(CustomersEvent, tag="spend_recorded", frozen=True, kw_only=True):
    """Money was spent on a channel."""

    site_level = True

    channel: Annotated[str, Meta(min_length=1, max_length=MAX_SHORT_TEXT)]
    amount_minor: Amount
    currency: Currency
    campaign: Text | None = None


class ReferralMade(CustomersEvent, tag="referral_made", frozen=True, kw_only=True):
    """The subject recommended the business to someone."""

    referred: Text | None = None


class _Request(CustomersEvent, frozen=True, kw_only=True):
    request: Name
    kind: Name


class RequestMade(_Request, tag="request_made", frozen=True, kw_only=True):
    """A customer is owed something: a welcome call, support, a deliverable, …"""


class RequestAnswered(_Request, tag="request_answered", frozen=True, kw_only=True):
    """What was owed was done; carries the customer's subject."""


class _Commitment(CustomersEvent, frozen=True, kw_only=True):
    commitment: Name
    kind: Name
    due_at: Instant | None = None


class CommitmentDue(_Commitment, tag="commitment_due", frozen=True, kw_only=True):
    """A customer agreed to something: an appointment, a medication, a review of a deliverable, …"""


class CommitmentKept(_Commitment, tag="commitment_kept", frozen=True, kw_only=True):
    """A commitment was kept."""


class CommitmentMissed(_Commitment, tag="commitment_missed", frozen=True, kw_only=True):
    """A commitment was missed."""


class ConsentChanged(CustomersEvent, tag="consent_changed", frozen=True, kw_only=True):
    """The subject gave or withdrew a consent."""

    purpose: Literal["analytics", "profiling", "sentiment"]
    granted: bool


class EraseRequested(CustomersEvent, tag="erase_requested", frozen=True, kw_only=True):
    """The subject asked to be erased."""


# --- rules that cross fields -----------------------------------------------------------------------------------------


def _check_present(field: str, value: object, why: str) -> None:
    if value is None:
        raise _FormatError(Reason.MISSING_FIELD, f"$.{field}", f"The field `{field}` is required: {why}.")


def _check_currency(amount: int | None, currency: str | None) -> None:
    if amount is not None:
        _check_present("currency", currency, "an amount needs its currency")


def _check_scale(field: str, value: float | None, lowest: float, highest: float) -> None:
    if highest <= lowest:
        raise _FormatError(Reason.OUT_OF_BOUNDS, "$.scale_max", f"The scale must end above its start of {lowest:g}.")
    if value is not None and not lowest <= value <= highest:
        raise _FormatError(Reason.OUT_OF_BOUNDS, f"$.{field}", f"The {field} must lie between {lowest:g} and {highest:g}.")


# --- the vocabulary --------------------------------------------------------------------------------------------------

Website: TypeAlias = (
    PageViewed
    | PageLeft
    | ElementClicked
    | MediaPlayed
    | FileDownloaded
    | GoalReached
    | ProductViewed
    | ProductAdded
    | ProductRemoved
    | CheckoutStarted
    | CheckoutStepCompleted
    | PaymentFailed
    | OrderCompleted
    | OrderRefunded
    | ExperimentViewed
    | SignedIn
    | FeatureUsed
)
Social: TypeAlias = (
    PostPublished
    | PostMeasured
    | AudienceMeasured
    | InteractionMade
    | MentionPosted
    | CommunityJoined
    | CommunityLeft
    | CommunityPosted
    | IdeaSubmitted
    | IdeaImplemented
    | PartnerActive
)
Reviews: TypeAlias = ReviewPosted | ReviewAnswered | SurveyAnswered | TicketOpened | TicketAnswered | TicketResolved
Customers: TypeAlias = (
    SignedUp
    | CustomerIdentified
    | CustomerUpdated
    | TrialStarted
    | SubscriptionStarted
    | SubscriptionRenewed
    | SubscriptionCancelled
    | MessageSent
    | MessageDelivered
    | MessageOpened
    | MessageClicked
    | MessageBounced
    | MessageUnsubscribed
    | MessageComplained
    | SpendRecorded
    | ReferralMade
    | RequestMade
    | RequestAnswered
    | CommitmentDue
    | CommitmentKept
    | CommitmentMissed
    | ConsentChanged
    | EraseRequested
)
AnyEvent: TypeAlias = Website | Social | Reviews | Customers

EVENT_TYPES: Final[tuple[type[Event], ...]] = get_args(AnyEvent)
NAMES: Final[dict[type[Event], str]] = {struct: str(struct.__struct_config__.tag) for struct in EVENT_TYPES}
"""The wire name of each struct."""
TYPES: Final[dict[str, type[Event]]] = {name: struct for struct, name in NAMES.items()}
"""The struct of each wire name."""

decode_website: Final[Callable[[bytes], Website]] = msgspec.json.Decoder(Website).decode
decode_social: Final[Callable[[bytes], Social]] = msgspec.json.Decoder(Social).decode
decode_reviews: Final[Callable[[bytes], Reviews]] = msgspec.json.Decoder(Reviews).decode
decode_customers: Final[Callable[[bytes], Customers]] = msgspec.json.Decoder(Customers).decode

DECODERS: Final[dict[str, Callable[[bytes], Event]]] = {
    "website": decode_website,
    "social": decode_social,
    "reviews": decode_reviews,
    "customers": decode_customers,
}
"""The bare decoder of each topic; raises for anything that is no event of it. Size, subject and time are left to the caller."""
_decode_any: Final[Callable[[bytes], AnyEvent]] = msgspec.json.Decoder(AnyEvent).decode


# --- time ------------------------------------------------------------------------------------------------------------

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def millis(value: int | datetime) -> int:
    """An instant in epoch milliseconds, exact; finer fractions are cut."""
    if isinstance(value, int):
        return value
    since = value - _EPOCH
    return since.days * DAY + since.seconds * SECOND + since.microseconds // 1_000


def event_time(event: Event, receipt: int | None = None) -> int | None:
    """When it happened in epoch milliseconds, freed of a wrong client clock; None when it is no plausible time.

    An event that says no time happened when it was received: at its `received_at`, else at `receipt`, the time of its record.
    """
    at = event.at
    if at is None:
        at = receipt if event.received_at is None else event.received_at
        if at is None:
            return None
        time = millis(at)
        return time if EARLIEST <= time < LATEST else None
    time = at if at.__class__ is int else millis(at)
    if event.sent_at is not None and event.received_at is not None:
        sent, received = millis(event.sent_at), millis(event.received_at)
        if SECOND <= abs(received - sent) <= DAY:
            time += received - sent
    return time if EARLIEST <= time < LATEST else None


# --- subject and key -------------------------------------------------------------------------------------------------


def escape(name: str) -> str:
    """A name as a part of a key: without `/`."""
    if "/" in name or "%" in name:
        return name.replace("%", "%25").replace("/", "%2F")
    return name


def _actor(kind: str, name: str | None, place: str = "") -> str | None:
    """The subject of who acted in a place (network, source, community); None without a name."""
    if not name:
        return None
    return f"{kind}:{escape(place)}/{escape(name)}" if place else f"{kind}:{escape(name)}"


# These are keyed by one thing, whoever else they name.
_OWN_SUBJECTS: Final[dict[type[Event], Callable[[Any], str]]] = {
    PostPublished: lambda event: "post:" + escape(event.post),
    PostMeasured: lambda event: "post:" + escape(event.post),
    AudienceMeasured: lambda event: "network:" + escape(event.network),
    SpendRecorded: lambda event: "channel:" + escape(event.channel),
    CustomerIdentified: lambda event: "v:" + escape(event.visitor),
}
_ACTORS: Final[dict[type[Event], Callable[[Any], str | None]]] = {
    InteractionMade: lambda event: _actor("a", event.author, event.network),
    MentionPosted: lambda event: _actor("a", event.author, event.network),
    CommunityJoined: lambda event: _actor("m", event.member, event.community),
    CommunityLeft: lambda event: _actor("m", event.member, event.community),
    CommunityPosted: lambda event: _actor("m", event.member, event.community),
    PartnerActive: lambda event: _actor("p", event.partner),
    ReviewPosted: lambda event: _actor("a", event.author, event.source),
    ReviewAnswered: lambda event: _actor("a", event.author, event.source),
}


def subject_of(event: Event) -> str | None:
    """Whom or what the event is about, with its kind: `c:42`, `v:9f3`, `a:network/name`, …; None when it names nobody."""
    own = _OWN_SUBJECTS.get(event.__class__)
    if own is not None:
        return own(event)
    name = event.customer
    if name is not None:
        return "c:" + name if "/" not in name and "%" not in name else "c:" + escape(name)
    name = event.visitor
    if name is not None:
        return "v:" + name if "/" not in name and "%" not in name else "v:" + escape(name)
    actor = _ACTORS.get(event.__class__)
    return None if actor is None else actor(event)


def key_of(event: Event) -> str:
    """The Kafka key, `site/subject`. Raises ValueError for an event without a subject."""
    subject = subject_of(event)
    if subject is None:
        raise ValueError("an event without a subject has no key")
    return f"{event.site}/{subject}"


_TEXTS: Final[dict[type[Event], Callable[[Any], str | None]]] = {
    InteractionMade: lambda event: event.text,
    MentionPosted: lambda event: event.text,
    CommunityPosted: lambda event: event.text,
    ReviewPosted: lambda event: event.text,
    SurveyAnswered: lambda event: event.comment,
    TicketOpened: lambda event: event.text,
}


def text_of(event: Event) -> str | None:
    """The free text to be scored, uncut; None when the event has none."""
    text = _TEXTS.get(event.__class__)
    return None if text is None else text(event)


# --- decoding --------------------------------------------------------------------------------------------------------


def decode(raw: bytes | None, topic: str | None = None) -> Event | Rejected:
    """One event from its bytes, all checks done; without a topic (short name) types of every topic are taken. Never raises for data."""
    if raw is None or len(raw) > MAX_EVENT_BYTES:
        return explain(raw, topic)
    try:
        event = _decode_any(raw) if topic is None else DECODERS[topic](raw)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return explain(raw, topic)
    if subject_of(event) is None or event_time(event, EARLIEST) is None:
        return explain(raw, topic)
    return event


def explain(raw: bytes | None, topic: str | None = None, receipt: int = EARLIEST) -> Rejected:
    """Why these bytes, received at `receipt`, are no event of the topic (short name; None: of any). Slow and exact, for what `decode` refuses;
    never raises for data."""
    try:
        _check(raw, topic, receipt)
    except _FormatError as fault:
        return Rejected(fault.reason, fault.path, fault.detail, raw or b"")
    except RecursionError:
        return Rejected(Reason.TOO_DEEP, "$", f"Nested deeper than {MAX_DEPTH} levels.", raw or b"")
    except Exception as error:
        # Whatever this is, the bytes were refused before; an error raised here would stop the partition for good.
        return Rejected(Reason.BAD_VALUE, "$", f"Not explained: {type(error).__name__}.", raw or b"")
    return Rejected(Reason.BAD_VALUE, "$", "No fault was found.", raw or b"")


def _check(raw: bytes | None, topic: str | None, receipt: int) -> None:
    fields = _parse(_read(raw))
    struct = _struct_of(fields, topic)
    event = _typed(raw or b"", fields, struct)
    if subject_of(event) is None:
        raise _FormatError(Reason.NO_SUBJECT, "$", f"{NAMES[struct]} must name whom it is about: {_subject_fields(struct)}.")
    if event_time(event, receipt) is None:
        if event.at is None and event.received_at is None:
            raise _FormatError(Reason.BAD_TIME, "$.at", "The event says no time (`at`), and neither does its record.")
        path = "$.received_at" if event.at is None else "$.at"
        raise _FormatError(Reason.BAD_TIME, path, "The event time must lie between 1990 and 2200; integers are epoch milliseconds.")


def _read(raw: bytes | None) -> str:
    if raw is not None and len(raw) > MAX_EVENT_BYTES:
        raise _FormatError(Reason.TOO_LARGE, "$", f"{len(raw)} bytes; at most {MAX_EVENT_BYTES} are taken.")
    if raw is None or not raw.strip():
        raise _FormatError(Reason.EMPTY, "$", "There is nothing in it.")
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise _FormatError(Reason.NOT_UTF8, "$", f"Not UTF-8 at byte {error.start}.") from None


def _parse(text: str) -> dict[str, Any]:
    """The JSON object as it is. Only the first digits of an integer are read: enough to see that it is too large."""
    try:
        value = json.loads(text, parse_int=lambda digits: int(digits[:40]), parse_constant=_refuse_constant)
        _walk(value, 1)
    except json.JSONDecodeError as error:
        raise _FormatError(Reason.NOT_JSON, "$", f"Not JSON: {error.msg} at character {error.pos}.") from None
    except UnicodeEncodeError:
        raise _FormatError(Reason.NOT_JSON, "$", "Not JSON: half of a surrogate pair.") from None
    if not isinstance(value, dict):
        raise _FormatError(Reason.WRONG_TYPE, "$", "An event is a JSON object.")
    return value


def _refuse_constant(word: str) -> None:
    raise _FormatError(Reason.NOT_JSON, "$", f"Not JSON: {word} is no number.")


def _walk(value: object, depth: int) -> None:
    """Raises UnicodeEncodeError for half a surrogate pair, `_FormatError` for too many levels; the outermost object is level 1."""
    if isinstance(value, str):
        value.encode()
    elif isinstance(value, dict | list):
        if depth > MAX_DEPTH:
            raise _FormatError(Reason.TOO_DEEP, "$", f"Nested deeper than {MAX_DEPTH} levels.")
        if isinstance(value, dict):
            for name in value:
                name.encode()
        for part in value.values() if isinstance(value, dict) else value:
            _walk(part, depth + 1)


def _struct_of(fields: dict[str, Any], topic: str | None) -> type[Event]:
    if "type" not in fields:
        raise _FormatError(Reason.MISSING_FIELD, "$.type", "The field `type` is required.")
    name = fields["type"]
    if not isinstance(name, str):
        raise _FormatError(Reason.WRONG_TYPE, "$.type", "The field `type` must be a text.")
    struct = TYPES.get(name)
    if struct is None:
        known = [known for known, struct in TYPES.items() if topic in (None, struct.topic)]
        raise _FormatError(Reason.UNKNOWN_TYPE, "$.type", f"There is no type {_quote(name)}.{suggest(name, TYPES)} {_list('Types', known)}")
    if topic not in (None, struct.topic):
        raise _FormatError(Reason.WRONG_TOPIC, "$.type", f"{name} belongs on the topic {struct.topic}, not on {topic}.")
    return struct


def _typed(raw: bytes, fields: dict[str, Any], struct: type[Event]) -> Event:
    try:
        return DECODERS[struct.topic](raw)
    except msgspec.ValidationError as error:
        if isinstance(error.__cause__, _FormatError):
            raise error.__cause__ from None
        raise _translate(str(error), fields, struct) from None
    except msgspec.DecodeError as error:
        raise _FormatError(Reason.NOT_JSON, "$", f"{error}.") from None


# What msgspec says, and the reason it is for us. Tests reach every line, so that a change of its words is noticed.
_PLACE = re.compile(r"(?s)(.*?)(?: - at (?:`key` in )?`(\$[^`]*)`)?\Z")
_FIELD = re.compile(r"(?s)Object (missing required|contains unknown) field `(.*)`")
_NO_TIME = re.compile(r"Invalid RFC3339|Expected `datetime` with a timezone")
_OTHER_TYPE = re.compile(r"Expected `([^`]*)`, got `([^`]*)`")
_BEYOND = re.compile(r".* out of range|Expected `([^`]*)` (of length )?([<>])=? ([\d.e+-]+)")
_KINDS: Final = {
    "str": "a text", "int": "a whole number", "float": "a number", "bool": "true or false", "array": "a list", "object": "an object", "null": "null",
    "datetime": "a time",
}  # fmt: skip
_TIMES: Final = "times are RFC 3339 with an offset, such as 2026-03-02T09:30:00+01:00, or integer epoch milliseconds"
_AMOUNTS: Final = " Amounts are whole numbers in minor units of their currency: 12.50 EUR is 1250."
_FORMS: Final = {
    "site": SITE_FORM,
    "country": "must be a code of ISO 3166 in capitals, such as DE",
    "currency": "must be a currency of ISO 4217 in capitals, such as EUR",
}
"""What texts of one form must be."""
_MAPS: Final = ("properties", "traits")
_NESTED: Final[dict[str, type[Struct]]] = {"campaign": Campaign, "consent": Consent, "items": Item}


def _translate(message: str, fields: dict[str, Any], struct: type[Event]) -> _FormatError:
    match = _PLACE.match(message)
    assert match is not None
    text, path = match[1], match[2] or "$"
    field = path[2:].partition("[")[0].partition(".")[0]
    if named := _FIELD.fullmatch(text):
        return _field_fault(named[1], named[2], path, NAMES[struct] if path == "$" else field, _NESTED.get(field, struct))
    if field in _MAPS:
        path = _entry_path(field, fields)
    place = f"The field `{path[2:]}`"
    if _NO_TIME.match(text):
        return _FormatError(Reason.BAD_TIME, path, f"{place} is no such time: {_TIMES}.")
    if other := _OTHER_TYPE.match(text):
        return _FormatError(Reason.WRONG_TYPE, path, f"{place} {_of_type(other[1], other[2], path.endswith('_minor'))}")
    if beyond := _BEYOND.match(text):
        return _FormatError(Reason.OUT_OF_BOUNDS, path, f"{place} {_within(beyond[1], beyond[2], beyond[3], beyond[4], path.endswith('_minor'))}")
    if field == "type":
        return _FormatError(Reason.BAD_VALUE, path, "The field `type` is given twice.")
    if field in _FORMS:
        return _FormatError(Reason.BAD_VALUE, path, f"{place} {_FORMS[field]}, not {_quote(str(fields.get(field)))}.")
    allowed = _allowed(struct, field)
    if not allowed:
        return _FormatError(Reason.BAD_VALUE, path, f"{place}: {text}.")
    return _FormatError(Reason.BAD_VALUE, path, f"Not an allowed word.{suggest(str(fields.get(field)), allowed)} {_list('Allowed', allowed)}")


def _of_type(wanted: str, got: str, is_amount: bool) -> str:
    """What a value of another type should be, and how to send it so; both types in msgspec's names."""
    kinds = [kind for kind in wanted.split(" | ") if kind != "null"]
    if "datetime" in kinds:
        return f"must be a time, not {_KINDS.get(got, got)}: {_TIMES}."
    given = "a number with a point or an exponent" if got == "float" and "int" in kinds else _KINDS.get(got, got)
    said = f"must be {' or '.join(_KINDS.get(kind, kind) for kind in kinds)}, not {given}."
    if is_amount:
        return said + _AMOUNTS
    return said + (" Write it without quotes." if got == "str" and kinds[0] in ("int", "float") else "")


def _within(kind: str | None, length: str | None, side: str | None, bound: str | None, is_amount: bool) -> str:
    """The bound that a value breaks. `kind` is msgspec's name of a type; None where a number is too large for any."""
    if kind is None or bound is None:
        return "is a number too large to be kept."
    number = f"{float(bound):,.15g}" if "." in bound else f"{int(bound):,}"
    if length:
        many = "characters" if kind.startswith("str") else "entries"
        return f"must have at most {number} {many}." if side == "<" else "must not be empty."
    if side == ">" and is_amount:
        return f"must not be below {number}. What is paid back is an event of its own, `order_refunded`, with an amount above 0."
    return f"must be at {'most' if side == '<' else 'least'} {number}."


def _field_fault(what: str, name: str, path: str, owner: str, struct: type[Struct]) -> _FormatError:
    if what == "missing required":
        return _FormatError(Reason.MISSING_FIELD, f"{path}.{name}", f"The field `{name}` is required.")
    known = struct.__struct_fields__
    return _FormatError(Reason.UNKNOWN_FIELD, f"{path}.{name[:64]}", f"{owner} has no field {_quote(name)}.{suggest(name, known)} {_list('Fields', known)}")


def _entry_path(field: str, fields: dict[str, Any]) -> str:
    """The path of the first entry of a map that breaks its bounds; of the map itself when none does on its own."""
    entries = fields.get(field)
    for name, value in entries.items() if isinstance(entries, dict) else ():
        try:
            msgspec.convert({name: value}, Properties)
        except msgspec.ValidationError:
            return f"$.{field}.{name[:64]}"
    return f"$.{field}"


@cache
def _allowed(struct: type[Event], field: str) -> tuple[str, ...]:
    """The words a field may hold; empty when it is no closed list."""
    hint = get_type_hints(struct).get(field)
    return tuple(word for part in (hint, *get_args(hint)) for word in get_args(part) if isinstance(word, str))


def _subject_fields(struct: type[Event]) -> str:
    actor = next((field for field in ("author", "member", "partner") if struct in _ACTORS and field in struct.__struct_fields__), None)
    return f"`customer`, `visitor` or `{actor}`" if actor else "`customer` or `visitor`"


def _quote(name: str) -> str:
    return repr(name if len(name) <= 64 else name[:64] + "…")


def _list(title: str, words: Iterable[str]) -> str:
    return f"{title}: {', '.join(words)}."
