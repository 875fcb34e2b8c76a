"""PostHog: `/batch/`, `/capture/`, `/i/v1/analytics/events`.

https://posthog.com/docs/api/capture; the v1 format and the special events as its SDKs for Python, Node and browsers send them.
"""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from collector.wires.reading import (
    Envelope,
    Reading,
    Said,
    fields_of,
    first_instant,
    identity,
    instant,
    map_in,
    parts_and_messages,
    text_of,
    value_in,
)
from streams.events import Reason, Rejected

SENT_HEADER = "posthog-request-timestamp"
OPENING = {"$pageview": "page", "$screen": "page", "$identify": "identify", "$set": "identify", "$create_alias": "alias", "$groupidentify": "group"}
"""What is not simply tracked."""
NAMES = {
    "$pageleave": "Content Engaged",
    "$autocapture": "Element Clicked",
    "$rageclick": "Element Clicked",
    "$feature_flag_called": "Experiment Viewed",
}
"""Special events that have a name in the table of names."""
CAMPAIGN = {"source": "utm_source", "medium": "utm_medium", "name": "utm_campaign"}


def open(kind: str, headers: Mapping[str, str], _query: Mapping[str, str], body: bytes) -> Envelope | Rejected:  # noqa: A001
    """A batch, or one event."""
    opened = parts_and_messages(body, "events", must_be_batch=kind == "batch")
    if isinstance(opened, Rejected):
        return opened
    parts, messages = opened
    key = text_of(value_in(parts.get("api_key"))) or text_of(value_in(parts.get("token")))
    sent_at = instant(value_in(parts.get("sent_at")))
    return Envelope("posthog", kind, messages, key, instant(headers.get(SENT_HEADER)) if sent_at is None else sent_at)


def read(raw: bytes, envelope: Envelope, _site: str) -> Reading:
    """One event."""
    fields = fields_of(raw)
    if isinstance(fields, Rejected):
        return fields
    event = text_of(fields.get("event"))
    if event is None:
        return Rejected(Reason.MISSING_FIELD, "$.event", "The field `event` is required: the name of the event, a text.")
    at = first_instant(fields, "timestamp")
    if isinstance(at, Rejected):
        return at
    own = map_in(fields, "properties")
    skewed = own.get("$ignore_sent_at") is not True and map_in(fields, "options").get("disable_skew_correction") is not True
    customer, visitor = _who(fields, own)
    verb = OPENING.get(event, "track")
    said = Said(
        verb,
        NAMES.get(event, event) if verb == "track" else "",
        identity(fields.get("uuid")) or "",
        at,
        envelope.sent_at if skewed else None,
        customer,
        visitor,
        _own_names(event, own),
        _page(own),
        {part: own[name] for part, name in CAMPAIGN.items() if isinstance(own.get(name), str)},
        text_of(own.get("$raw_user_agent")) or text_of(own.get("$useragent")),
        text_of(own.get("$device_type")),
        who="`distinct_id`",
    )
    match event:
        case "$identify" | "$set":
            traits = {**map_in(fields, "$set_once"), **map_in(own, "$set_once"), **map_in(fields, "$set"), **map_in(own, "$set")}
            return said._replace(properties=traits, place="$.$set" if "$set" in fields else "$.properties.$set")
        case "$create_alias":
            return said._replace(customer=identity(own.get("alias")), visitor=identity(own.get("distinct_id")) or identity(fields.get("distinct_id")))
        case "$groupidentify":
            # a group is no person: its `distinct_id` is made up by the library
            named = said._replace(name=text_of(own.get("$group_key")) or "", customer=None, visitor=identity(fields.get("distinct_id")))
            return named._replace(properties=map_in(own, "$group_set"), place="$.properties.$group_set")
    return said


def _who(fields: Mapping[str, Any], own: Mapping[str, Any]) -> tuple[str | None, str | None]:
    """Customer and visitor. A `distinct_id` is a customer's unless something says that it is a device's."""
    who = identity(fields.get("distinct_id")) or identity(own.get("distinct_id"))
    device = identity(own.get("$anon_distinct_id")) or identity(own.get("$device_id"))
    known = identity(own.get("$user_id"))
    profiled = own.get("$process_person_profile", map_in(fields, "options").get("process_person_profile"))
    if known is None and (who == device or own.get("$is_identified") is False or profiled is False):
        return None, who or device
    return known or who, device


def _own_names(event: str, own: Mapping[str, Any]) -> dict[str, Any]:
    """The properties that are not PostHog's (`$…`), and what our events want of those, under their names in the table."""
    kept = {name: value for name, value in own.items() if not name.startswith("$") and name not in ("distinct_id", "token")}
    if event == "$pageleave":
        kept |= {"path": own.get("$prev_pageview_pathname", own.get("$pathname")), "engaged_seconds": own.get("$prev_pageview_duration", 0)}
        kept |= {"scroll_ratio": own.get("$prev_pageview_max_scroll_percentage"), "view": own.get("$prev_pageview_id", own.get("$pageview_id"))}
    elif event in ("$autocapture", "$rageclick"):
        kept |= {"element": _element(own), "action": own.get("$event_type", event)}
    elif event == "$feature_flag_called":
        kept |= {"experiment": own.get("$feature_flag"), "variant": _variant(own.get("$feature_flag_response"))}
    elif event == "$pageview":
        kept |= {"view": own.get("$pageview_id")}
    return {name: value for name, value in kept.items() if value is not None}


def _variant(response: Any) -> Any:
    """A flag without variants answers with a boolean."""
    return {True: "true", False: "false"}[response] if isinstance(response, bool) else response


def _element(own: Mapping[str, Any]) -> str:
    """What an operator would call the element: its id or data attribute, else its text, else its tag."""
    elements = own.get("$elements")
    first = elements[0] if isinstance(elements, list) and elements and isinstance(elements[0], dict) else {}
    for name in ("attr__data-attr", "attr__data-ph-capture-attribute", "attr__id", "attr_id", "$el_text", "text", "tag_name"):
        found = text_of(first.get(name))
        if found is not None:
            return found
    return text_of(own.get("$el_text")) or text_of(own.get("$elements_chain")) or "autocapture"


def _page(own: Mapping[str, Any]) -> dict[str, Any]:
    screen = text_of(own.get("$screen_name"))
    page = {
        "url": own.get("$current_url"),
        "path": own.get("$pathname") or (screen and "/" + screen.strip("/")),
        "title": own.get("$title", own.get("title")),
        "referrer": None if own.get("$referrer") == "$direct" else own.get("$referrer"),
    }
    return {name: value for name, value in page.items() if value is not None and not isinstance(value, Decimal)}
