"""Snowplow's tracker protocol: `POST /com.snowplowanalytics.snowplow/tp2`, and its pixel `GET /i`. All values are texts.

https://docs.snowplow.io/docs/events/going-deeper/event-parameters/
"""

import base64
import binascii
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from collector.wires.reading import Envelope, Reading, Said, fields_of, first_instant, identity, list_of, map_in, parts_of, text_of, value_in
from streams.events import Reason, Rejected

EVENTS: Final = ("pv", "pp", "se", "ue", "tr", "ti")
HEARTBEAT: Final = 10
"""Seconds between two page pings: the trackers' usual setting, which no ping tells."""
NAMES: Final = {"link_click": "Element Clicked", "add_to_cart": "Product Added", "remove_from_cart": "Product Removed", "button_click": "Element Clicked"}
"""Snowplow's own self-describing events that are called otherwise in the table of names."""
PROPERTIES: Final[dict[str, dict[str, tuple[str, ...]]]] = {
    "link_click": {"element": ("elementId", "targetUrl")},
    "button_click": {"element": ("id", "label")},
    "add_to_cart": {"price": ("unitPrice",), "product_id": ("sku",)},
    "remove_from_cart": {"price": ("unitPrice",), "product_id": ("sku",)},
}
"""Their properties that are called otherwise there."""


def open(kind: str, _headers: Mapping[str, str], query: Mapping[str, str], body: bytes) -> Envelope | Rejected:  # noqa: A001
    """The payloads of a POST, or the one in the query of a GET."""
    if kind == "pixel":
        return Envelope("snowplow", kind, (msgspec.json.encode(dict(query)),), query.get("aid"))
    parts = parts_of(body)
    if isinstance(parts, Rejected):
        return parts
    if "data" not in parts:
        return Rejected(Reason.MISSING_FIELD, "$.data", "The field `data` is required: an array of payloads.", body)
    messages = list_of(parts["data"], "$.data")
    if isinstance(messages, Rejected):
        return messages
    first = value_in(messages[0]) if messages else None
    return Envelope("snowplow", kind, messages, text_of(first.get("aid")) if isinstance(first, dict) else None)


def read(raw: bytes, _envelope: Envelope, _site: str) -> Reading:
    """One payload."""
    fields = fields_of(raw)
    if isinstance(fields, Rejected):
        return fields
    kind = fields.get("e")
    if kind not in EVENTS:
        reason = Reason.MISSING_FIELD if kind is None else Reason.UNKNOWN_TYPE
        return Rejected(reason, "$.e", f"The field `e` must be one of: {', '.join(EVENTS)}.")
    true_time, created, sent = (first_instant(fields, name) for name in ("ttm", "dtm", "stm"))
    if isinstance(true_time, Rejected):
        return true_time
    if isinstance(created, Rejected):
        return created
    sent_at = None
    if true_time is None and created is not None and isinstance(sent, int):
        sent_at = max(created, sent)  # some trackers cut `stm` to whole seconds; a true time needs no repair
    said = Said(
        "track",
        "",
        identity(fields.get("eid")) or "",
        created if true_time is None else true_time,
        sent_at,
        identity(fields.get("uid")),
        identity(fields.get("duid")) or identity(fields.get("nuid")) or identity(fields.get("tnuid")),
        {},
        _page(fields),
        {},
        text_of(fields.get("ua")),
        {"mob": "mobile", "tv": "tv", "pc": "desktop"}.get(str(fields.get("p"))),  # `web` says no device; the agent may
        place="$",
        who="`uid` or `duid`",
    )
    return _OPENED[str(kind)](said, fields)


def _page_view(said: Said, fields: Mapping[str, Any]) -> Said:
    view = _view(fields)
    return said._replace(verb="page", properties={} if view is None else {"view": view})


def _page_ping(said: Said, fields: Mapping[str, Any]) -> Said:
    """Ten seconds more on a page whose view is known; without it only a sign of life."""
    view = _view(fields)
    if view is None:
        return said._replace(name="page_ping")
    return said._replace(name="Content Engaged", properties={"view": view, "engaged_seconds": HEARTBEAT, "scroll_ratio": _scrolled(fields)})


def _structured(said: Said, fields: Mapping[str, Any]) -> Said:
    own = {"category": "se_ca", "label": "se_la", "property": "se_pr", "value": "se_va"}
    return said._replace(name=text_of(fields.get("se_ac")) or "", properties={name: fields[key] for name, key in own.items() if key in fields})


def _self_describing(said: Said, fields: Mapping[str, Any]) -> Said | Rejected:
    place = "ue_pr" if "ue_pr" in fields else "ue_px"
    outer = _unpacked(fields, "ue_pr", "ue_px")
    inner = map_in(outer, "data")
    name = _schema_name(inner.get("schema"))
    if name is None:
        return Rejected(Reason.BAD_VALUE, f"$.{place}", "A self-describing event needs `data.schema`, such as iglu:com.acme/order_completed/jsonschema/1-0-0.")
    data = map_in(inner, "data")
    own = dict(data)
    for field, names in PROPERTIES.get(name, {}).items():
        value = next((data[one] for one in names if text_of(data.get(one)) is not None), None)
        if value is not None:
            own[field] = value
    if name == "screen_view":
        return said._replace(verb="page", page={"path": "/" + (text_of(data.get("name")) or "").strip("/")}, properties=own)
    return said._replace(name=NAMES.get(name, name), properties=own, place=f"$.{place}.data.data")


def _transaction(said: Said, fields: Mapping[str, Any]) -> Said:
    own = {"order_id": "tr_id", "total": "tr_tt", "currency": "tr_cu", "affiliation": "tr_af", "tax": "tr_tx", "shipping": "tr_sh"}
    return said._replace(name="Order Completed", properties={name: fields[key] for name, key in own.items() if key in fields})


def _transaction_item(said: Said, fields: Mapping[str, Any]) -> Said:
    """Comes beside its transaction and says nothing that is counted."""
    own = {"order_id": "ti_id", "product_id": "ti_sk", "price": "ti_pr", "quantity": "ti_qu", "currency": "ti_cu"}
    return said._replace(name="transaction_item", properties={name: fields[key] for name, key in own.items() if key in fields})


_OPENED = {"pv": _page_view, "pp": _page_ping, "se": _structured, "ue": _self_describing, "tr": _transaction, "ti": _transaction_item}


def _unpacked(fields: Mapping[str, Any], plain: str, packed: str) -> dict[str, Any]:
    """A JSON object that stands in a text, plain or in base64 (URL-safe, without padding)."""
    text = fields.get(plain)
    if not isinstance(text, str):
        coded = fields.get(packed)
        if not isinstance(coded, str):
            return {}
        try:
            text = base64.b64decode(coded + "=" * (-len(coded) % 4), altchars=b"-_").decode()
        except (binascii.Error, ValueError):
            return {}
    value = value_in(text)
    return value if isinstance(value, dict) else {}


def _schema_name(schema: Any) -> str | None:
    """`order_completed` of iglu:com.acme/order_completed/jsonschema/1-0-0."""
    parts = schema.split("/") if isinstance(schema, str) and schema.startswith("iglu:") else ()
    return parts[1] if len(parts) == 4 and parts[1] else None


def _view(fields: Mapping[str, Any]) -> str | None:
    """Id of the page view, in the web page context."""
    contexts = _unpacked(fields, "co", "cx").get("data")
    for context in contexts if isinstance(contexts, list) else ():
        if isinstance(context, dict) and _schema_name(context.get("schema")) == "web_page":
            return text_of(map_in(context, "data").get("id"))
    return None


def _scrolled(fields: Mapping[str, Any]) -> float | None:
    """How much of the page (height in `ds`) has been in view (height in `vp`) at the deepest offset (`pp_may`)."""
    try:
        height = int(str(fields["ds"]).split("x")[1])
        seen = int(str(fields["vp"]).split("x")[1]) + int(str(fields["pp_may"]))
    except (KeyError, IndexError, ValueError):
        return None
    return min(1.0, max(0.0, seen / height)) if height > 0 else None


def _page(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: fields[key] for name, key in {"url": "url", "title": "page", "referrer": "refr"}.items() if isinstance(fields.get(key), str)}
