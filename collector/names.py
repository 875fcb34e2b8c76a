"""What the names that SDKs send mean here: the table from semantic names and properties to our events.

Names are those of the Segment spec (https://segment.com/docs/connections/spec/: e-commerce v2, e-mail, video, B2B SaaS, A/B testing)
and a few of our own; case, blanks and dashes do not matter, and the name of every event of ours stands for itself. What is in no row
is kept as `element_clicked` with the name as its element: an operator makes it a goal with `goals: {NAME: {element: "…"}}`.
"""

import re
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from streams.events import TYPES, Event
from streams.examples import EXAMPLES


class Row(NamedTuple):
    """What a name becomes."""

    event: str
    example: Mapping[str, Any]
    """Properties as the spec has them."""
    always: Mapping[str, Any] = {}
    """Fields that the name itself says."""
    otherwise: Mapping[str, Any] = {}
    """Fields where no property says anything else."""
    sources: Mapping[str, tuple[str, ...]] = {}
    """Properties that a field is read from, in place of those in SOURCES."""


SOURCES: Final[dict[str, tuple[str, ...]]] = {
    "amount_minor": ("amount", "total", "refund", "revenue", "value", "price"),
    "author": ("author_id", "author_name"),
    "brand": ("brand_name",),
    "by": ("answered_by", "resolved_by"),
    "campaign": ("campaign_name", "campaign_id"),
    "cart": ("cart_id", "cartId"),
    "comment": ("feedback", "text"),
    "community": ("community_id", "community_name"),
    "discount_minor": ("discount",),
    "element": ("element_id", "button", "link", "text"),
    "engaged_seconds": ("engaged_time", "time_engaged"),
    "experiment": ("experiment_name", "experiment_id"),
    "feature": ("feature_name", "feature_id"),
    "file": ("file_name", "filename", "url"),
    "followers": ("followers_count",),
    "goal": ("goal_name", "goal_id", "name"),
    "length_seconds": ("total_length", "duration"),
    "link": ("link_url",),
    "margin_ratio": ("margin",),
    "media": ("content_asset_id", "asset_id", "video_id", "title", "content_asset_ids"),
    "message": ("email_id", "message_id", "sms_id", "push_id"),
    "network": ("platform",),
    "order": ("order_id", "orderId", "transaction_id"),
    "period_days": ("billing_period_days",),
    "plan": ("plan_name", "plan_id", "trial_plan_name"),
    "play": ("session_id",),
    "position_seconds": ("position",),
    "post": ("post_id",),
    "price_minor": ("price", "unit_price"),
    "product": ("product_id", "productId", "sku", "name"),
    "referred": ("referred_id", "referred_user_id"),
    "referred_by": ("referrer_id", "referral_code"),
    "reply_to_author": ("target_author_id",),
    "review": ("review_id",),
    "score": ("rating", "value"),
    "scroll_ratio": ("scroll_depth",),
    "step": ("step_name", "checkout_step"),
    "text": ("review_body", "body", "comment", "message"),
    "ticket": ("ticket_id", "conversation_id"),
    "total_minor": ("total", "revenue", "value"),
    "value_minor": ("value", "revenue"),
    "variant": ("variation_name", "variation_id", "variant_name"),
    "view": ("page_view_id",),
}
"""The properties a field of ours is read from, the first that fits, after that of its own name. Amounts are in units of the currency."""

_ORDER: Final = {
    "order_id": "50314b8e", "total": 27.50, "revenue": 25.00, "currency": "USD", "discount": 2.50,
    "products": [{"product_id": "507f1f77", "sku": "45790-32", "name": "Monopoly: 3rd Edition", "price": 19, "quantity": 1}],
}  # fmt: skip
_PRODUCT: Final = {
    "product_id": "507f1f77", "category": "Games", "name": "Monopoly: 3rd Edition", "price": 18.99, "quantity": 1, "currency": "usd", "cart_id": "skdjsidj",
}  # fmt: skip
_REVIEW: Final = {"product_id": "507f1f77", "review_id": "kdfjrj39", "review_body": "I love this product", "rating": "5"}
_EXPERIMENT: Final = {"experiment_id": "1234", "experiment_name": "checkout-button", "variation_id": "36", "variation_name": "green"}
_MAIL: Final = {"email_id": "18vzF7u3z", "email_subject": "First order shipped", "campaign_id": "123", "campaign_name": "New campaign"}
_VIDEO: Final = {"session_id": "12345", "content_asset_id": "0129370", "title": "Trail running", "position": 0, "total_length": 392}
_PLAN: Final = {"plan": "pro", "amount": "29.00", "currency": "EUR", "period_days": 30}
_EMAIL: Final = {"medium": "email"}
_UNTITLED: Final = {"campaign": "unknown"}


def _mail(event: str, **more: Any) -> Row:
    return Row(event, {**_MAIL, **more}, always=_EMAIL, otherwise=_UNTITLED)


def _video(state: str, **more: Any) -> Row:
    sources = {"position_seconds": ("position", "total_length")} if state == "completed" else {}
    return Row("media_played", {**_VIDEO, **more}, always={"state": state}, otherwise={"position_seconds": 0, "length_seconds": 0}, sources=sources)


TABLE: Final[dict[str, Row]] = {
    # e-commerce
    "Product Viewed": Row("product_viewed", _PRODUCT),
    "Product Added": Row("product_added", _PRODUCT, otherwise={"quantity": 1}),
    "Product Removed": Row("product_removed", _PRODUCT, otherwise={"quantity": 1}),
    "Checkout Started": Row("checkout_started", {"order_id": "50314b8e", "value": 27.50, "currency": "USD", "cart_id": "skdjsidj"}),
    "Checkout Step Completed": Row("checkout_step_completed", {"checkout_id": "50314b8e", "step": 2, "shipping_method": "Fedex"}),
    "Payment Info Entered": Row("checkout_step_completed", {"checkout_id": "50314b8e", "payment_method": "Visa"}, otherwise={"step": "payment info"}),
    "Payment Failed": Row("payment_failed", {"order_id": "50314b8e", "reason": "card_declined"}),
    "Order Completed": Row("order_completed", _ORDER),
    "Order Refunded": Row("order_refunded", {"order_id": "50314b8e", "total": 27.50, "currency": "USD"}),
    "Order Cancelled": Row("order_refunded", {"order_id": "50314b8e", "total": 27.50, "currency": "USD"}),
    "Product Reviewed": Row("review_posted", _REVIEW, otherwise={"source": "website"}),
    # e-mail and other messages
    "Email Sent": _mail("message_sent"),
    "Email Delivered": _mail("message_delivered"),
    "Email Opened": _mail("message_opened"),
    "Email Link Clicked": _mail("message_clicked", link_url="https://shop.example/spring"),
    "Email Bounced": _mail("message_bounced"),
    "Email Marked as Spam": _mail("message_complained"),
    "Unsubscribed": _mail("message_unsubscribed"),
    # video
    "Video Playback Started": _video("started"),
    "Video Content Started": _video("started"),
    "Video Content Playing": _video("progress", position=120),
    "Video Playback Completed": _video("completed", position=392),
    "Video Content Completed": _video("completed", position=392),
    # B2B SaaS
    "Signed Up": Row("signed_up", {"type": "organic", "plan": "free", "referrer_id": "17"}),
    "Signed In": Row("signed_in", {"username": "pgibbons"}),
    "Trial Started": Row("trial_started", {"trial_start_date": "2026-03-02", "trial_plan_name": "Business"}),
    "Invite Sent": Row("referral_made", {"invitee_role": "Owner"}),
    "Subscription Started": Row("subscription_started", _PLAN),
    "Subscription Renewed": Row("subscription_renewed", _PLAN),
    "Subscription Cancelled": Row("subscription_cancelled", {"plan": "pro", "reason": "too_expensive"}),
    # A/B testing, clicks, downloads
    "Experiment Viewed": Row("experiment_viewed", _EXPERIMENT),
    "Element Clicked": Row("element_clicked", {"element": "add-to-cart"}),
    "Button Clicked": Row("element_clicked", {"button": "add-to-cart"}),
    "Link Clicked": Row("element_clicked", {"link": "size guide"}),
    "File Downloaded": Row("file_downloaded", {"file_name": "size-guide.pdf"}),
    "Feature Used": Row("feature_used", {"feature_name": "wish-list"}),
    "Goal Reached": Row("goal_reached", {"goal": "newsletter", "value": 1.50, "currency": "EUR"}),
    # ours
    "Content Engaged": Row("page_left", {"path": "/shoes/trail", "scroll_pct": 80, "engaged_seconds": 42.5}),
    "Survey Answered": Row("survey_answered", {"survey": "ces", "score": 2, "scale_max": 7, "direction": "lower", "comment": "Quick and easy."}),
    "Social Post": Row("mention_posted", {"post_id": "x-12", "network": "mastodon", "author_id": "trail_fan", "text": "Great shoes."}),
    "Social Interaction": Row("interaction_made", {"kind": "Like", "network": "mastodon", "post_id": "p-77", "author_id": "trail_fan"}),
    "Support Ticket Opened": Row("ticket_opened", {"ticket_id": "t-55", "text": "Where is my parcel?"}),
    "Support Ticket Answered": Row("ticket_answered", {"ticket_id": "t-55", "by": "agent"}),
    "Support Ticket Closed": Row("ticket_resolved", {"ticket_id": "t-55"}),
    "Spend Recorded": Row("spend_recorded", {"channel": "paid", "amount": 450, "currency": "EUR", "campaign": "spring"}),
    "Consent Changed": Row("consent_changed", {"purpose": "analytics", "granted": False}),
    "Erase Requested": Row("erase_requested", {}),
}  # fmt: skip
"""By name: what becomes of what is tracked under it."""


def normal(name: str) -> str:
    """`Order Completed`, `order-completed` and `order_completed` are the same name."""
    return re.sub(r"[\W_]+", "_", name.casefold()).strip("_")


def _own_row(name: str) -> Row:
    common = (*Event.__struct_fields__, "type")
    return Row(name, {field: value for field, value in EXAMPLES[name].items() if field not in common})


_ROWS: Final[dict[str, Row]] = {**{name: _own_row(name) for name in TYPES}, **{normal(name): row for name, row in TABLE.items()}, **TABLE}


def row_of(name: str) -> Row | None:
    """What a name becomes; None for one that is in no row."""
    return _ROWS.get(name) or _ROWS.get(normal(name))
