"""The contract with producers as JSON Schema and as a page, both written from the structs.

`python -m streams.schema` prints the page kept in docs/events.md.
"""

import json
from collections.abc import Iterable, Iterator
from typing import Any, Final

import msgspec
from msgspec import Struct, inspect

from streams.currencies import CURRENCIES
from streams.events import (
    FREE_TEXT_LIMIT,
    MAX_DEPTH,
    MAX_EVENT_BYTES,
    NAMES,
    AnyEvent,
    Campaign,
    Consent,
    Event,
    Item,
    Reason,
)
from streams.examples import EXAMPLES
from streams.topics import TOPICS

MEANINGS: Final[dict[str, str]] = {
    "type": "one of the names below",
    "id": "the same event sent twice carries the same `id` and the same `at`",
    "site": "the business or property that is monitored",
    "at": "when it happened; absent: when it was received",
    "sent_at": "the client's clock at sending; with `received_at` it repairs a wrong clock",
    "received_at": "when the collector received it; set by the collector, and believed: one years ahead makes what follows on its topic and partition too old",
    "customer": "known customer",
    "visitor": "anonymous browser or device",
    "segment": "explicit segment; rule-based ones come from the configuration",
    "channel": "how the subject came: `search`, `social`, `email`, `direct`, `referral`, `paid`, `community`, …",
    "country": "ISO 3166-1 alpha-2",
    "device": "kind of device",
    "user_agent": "used by the bot filter only",
    "consent": "what the subject allows for this event; absent: the last consent known, else the site's default",
    "properties": "your own; used by funnels, goals, segments and tracking plans",
    "amount_minor": "in minor units of the currency",
    "author": "who wrote it, as the network or source names them",
    "brand": "whom it is about; absent: the site's own brand",
    "by": "who did it",
    "campaign": "name of the campaign",
    "cart": "id of the cart; absent: the subject's own",
    "category": "a grouping of your own",
    "comment": "free text, judged for sentiment",
    "commitment": "id of the commitment",
    "community": "name of the community",
    "currency": "required with an amount; codes without minor units (`XXX`, `XTS`, metals) are none",
    "discount_minor": "discount contained in the total, in minor units",
    "due_at": "when it is due; absent: `at`",
    "element": "name of the element",
    "engaged_seconds": "time with the page in view and in use",
    "experiment": "name of the experiment",
    "feature": "name of the feature",
    "file": "name of the file",
    "followers": "total so far",
    "goal": "name of the goal",
    "granted": "true: given, false: withdrawn",
    "higher_is_better": "direction of the scale",
    "idea": "id of the idea",
    "impressions": "total so far",
    "items": "the lines of the order, each complete",
    "kind": "what kind it is",
    "language": "BCP 47, e.g. `en`",
    "length_seconds": "length of the whole",
    "link": "the link that was clicked",
    "margin_ratio": "share of the total that is margin",
    "media": "name of the video or audio",
    "medium": "how the message travels",
    "member": "the member, as the community names them",
    "message": "id of the message, the same from sending to click",
    "name": "name of the campaign",
    "network": "name of the network",
    "order": "id of the order",
    "partner": "name of the partner",
    "path": "path of the page",
    "period_days": "length of a period; absent: 30",
    "plan": "name of the plan",
    "play": "id of the play, to tell two plays of the same media apart",
    "position_seconds": "where in the media it is",
    "post": "id of the post",
    "price_minor": "price of one piece, in minor units",
    "product": "id of the product",
    "purpose": "what the consent is for",
    "quantity": "pieces",
    "rating": "0 to `scale_max`",
    "reach": "people reached, total so far",
    "reason": "why, in a word",
    "referred": "the customer who was referred",
    "referred_by": "the customer who referred",
    "referrer": "address of the page before",
    "reply_to_author": "the author this answers",
    "reply_to_member": "the member this answers",
    "request": "id of the request",
    "review": "id of the review",
    "scale_max": "end of the scale; absent: 5",
    "scale_min": "start of the scale; absent: 1",
    "score": "the answer on its scale",
    "scroll_ratio": "how far the page was scrolled",
    "source": "where the review stands",
    "state": "what happened to the play",
    "step": "name of the step",
    "survey": "kind of survey",
    "text": "free text, judged for sentiment",
    "ticket": "id of the ticket",
    "title": "title of the page",
    "total_minor": "what the customer pays, in minor units",
    "touchpoint": "what the question was about",
    "traits": "what is known about the customer now",
    "value_minor": "what it is worth, in minor units",
    "variant": "name of the variant",
    "view": "id of the page view, the same when the page is left",
}
"""What a field means, by its name: a name means the same wherever it stands, save what `_OTHERWISE` says."""
_OTHERWISE: Final[dict[tuple[str, str], str]] = {
    ("page_viewed", "campaign"): "the campaign that led here",
    ("campaign", "source"): "where the link stood",
    ("campaign", "medium"): "`cpc`, `email`, `social`, …",
    ("spend_recorded", "channel"): "what the money was spent on",
    ("consent", "analytics"): "counting of behaviour",
    ("consent", "profiling"): "scores about the subject",
    ("consent", "sentiment"): "judging of texts",
}
_REASONS: Final[dict[Reason, str]] = {
    Reason.UNSUPPORTED_ENCODING: "the record's headers name an encoding that is not read",
    Reason.TOO_LARGE: f"more than {MAX_EVENT_BYTES:,} bytes",
    Reason.EMPTY: "no bytes, only blanks, or a tombstone",
    Reason.NOT_UTF8: "the bytes are not UTF-8",
    Reason.NOT_JSON: "malformed; also a byte order mark, NaN, Infinity, half of a surrogate pair",
    Reason.TOO_DEEP: f"nested deeper than {MAX_DEPTH} levels",
    Reason.WRONG_TYPE: "not an object, or a field of another type; `5.0` is no integer, `null` stands for absence in optional fields only",
    Reason.MISSING_FIELD: "a required field is absent; an amount without `currency` too",
    Reason.UNKNOWN_TYPE: "no such `type`",
    Reason.WRONG_TOPIC: "a `type` of another topic",
    Reason.UNKNOWN_FIELD: "no such field; your own belong into `properties`",
    Reason.OUT_OF_BOUNDS: "too long, too short, too many, too large or too small",
    Reason.BAD_VALUE: "not one of the allowed words, or not of the required form",
    Reason.NO_SUBJECT: "no `customer`, no `visitor`, and no actor of its own",
    Reason.BAD_TIME: "a time without offset, of another form, or before 1990 or after 2199",
    Reason.TOO_OLD: "more than 400 days behind what its partition has seen",
    Reason.OFF_PLAN: "not as the site's tracking plan has it; judged by the collector",
}
_COMMON: Final = Event.__struct_fields__
_ALWAYS_REQUIRED: Final = tuple(field.name for field in msgspec.structs.fields(Event) if field.required)
_PARTS: Final[dict[str, type[Struct]]] = {"consent": Consent, "campaign": Campaign, "items": Item}


def meaning(owner: str, field: str) -> str:
    """What a field means. `owner` is the wire name of its type, or of the field whose part it is."""
    return _OTHERWISE.get((owner, field)) or MEANINGS[field]


# --- JSON Schema -----------------------------------------------------------------------------------------------------


def schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of one event of any type."""
    (any_event,), definitions = components([AnyEvent], "#/$defs/{name}")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "Event", **any_event, "$defs": definitions}


def components(types: Iterable[Any], ref_template: str) -> tuple[tuple[dict[str, Any], ...], dict[str, Any]]:
    """The schemas of types, and those of all structs in them by name, which name each other as `ref_template` says; events' fields with their meaning."""
    schemas, definitions = msgspec.json.schema_components(types, ref_template=ref_template)
    owners = {struct.__name__: name for struct, name in NAMES.items()} | {part.__name__: field for field, part in _PARTS.items()}
    for name in owners.keys() & definitions.keys():
        _describe(owners[name], definitions[name])
    return schemas, definitions


def _describe(owner: str, definition: dict[str, Any]) -> None:
    properties = definition["properties"]
    definition["title"] = owner
    for field, content in properties.items():
        content.setdefault("description", meaning(owner, field))
        # Python's end of text is written `\Z`, ECMA's `$`.
        for part in (content, *content.get("anyOf", ())):
            if "pattern" in part:
                part["pattern"] = part["pattern"].replace(r"\Z", "$")
    amounts = [field for field in properties if field.endswith("_minor") and field not in definition["required"]]
    if "currency" in properties and "currency" not in definition["required"]:
        definition["dependentRequired"] = {field: ["currency"] for field in amounts}


# --- the page --------------------------------------------------------------------------------------------------------

_INTRODUCTION: Final = f"""\
# Events

What producers send: one JSON object per event, UTF-8, at most {MAX_EVENT_BYTES // 1024} KiB. Written from `streams/events.py` by
`python -m streams.schema > docs/events.md`; `engage events schema` prints the same as JSON Schema.

Names and units stay once released. New optional fields may come; nothing changes its meaning. Money is an integer in minor units with a
currency, ratios lie between 0 and 1, durations are seconds, times are RFC 3339 with an offset or integer epoch milliseconds. Free texts are
kept up to {FREE_TEXT_LIMIT:,} characters; what is beyond is cut. In an optional field `null` is the same as absent. An event without `at` happened when it was
received: at its `received_at`, else at the timestamp of its record.

Events with the same site, subject, type, `id` and `at` are one: the first counts.

A record may as well be a [CloudEvent](producers.md#cloudevents) around the event; what SDKs send by HTTP becomes these events ([producers.md](producers.md)).
"""
_SUBJECTS: Final = """\
## Subject and key

The **subject** is whom an event is about: `customer`, else `visitor`, else the type's own actor. An event without one is refused, save the
site-level types (marked °), which are about the site and touch no subject. The Kafka key is `site/subject` in UTF-8, spread by Kafka's default
partitioner (murmur2), so that all events of a subject meet in one partition. In every name `%` is written `%25` and `/` is written `%2F`.

| subject of | is | example key |
|---|---|---|
| a customer | `c:CUSTOMER` | `shop/c:42` |
| a visitor; always for `customer_identified` | `v:VISITOR` | `shop/v:9f3` |
| an author on a network | `a:NETWORK/AUTHOR` | `shop/a:mastodon/trail_fan` |
| an author of a review | `a:SOURCE/AUTHOR` | `shop/a:store/bo` |
| a member of a community | `m:COMMUNITY/MEMBER` | `shop/m:runners/ada` |
| a partner | `p:PARTNER` | `shop/p:run-club` |
| `post_published`, `post_measured` | `post:POST` | `shop/post:p-77` |
| `audience_measured` | `network:NETWORK` | `shop/network:mastodon` |
| `spend_recorded` | `channel:CHANNEL` | `shop/channel:paid` |

What staff or systems send about someone (answers, outcomes, refunds, messages) carries that customer's, visitor's or author's subject.
"""
_REFUSED: Final = """\
## Rejections

An event that breaks a rule is not counted. It goes to the topic `failed` as it came, with the first of these reasons, a path such as `$.rating`
and a sentence; of several wrong fields any is named.

| reason | when |
|---|---|
"""


def page() -> str:
    """The page for producers, docs/events.md."""
    return "\n".join((_INTRODUCTION, _common_section(), _SUBJECTS, *_topic_sections(), _reasons_section()))


def _common_section() -> str:
    rows = ["| `type` | text, required | one of the names below |", *_rows("", _fields(Event, _COMMON))]
    return "\n".join(("## Common fields\n", *_HEAD, *rows, ""))


def _topic_sections() -> Iterator[str]:
    for topic in TOPICS:
        if topic.events:
            yield f"## Topic `{topic.name}`\n\n{topic.holds[0].upper()}{topic.holds[1:]}.\n"
            yield from (_type_section(struct) for struct in topic.events)


def _type_section(struct: type[Event]) -> str:
    name = NAMES[struct]
    own = [field for field in _fields(struct, struct.__struct_fields__) if field.name not in _COMMON or _is_own_rule(field)]
    note = " Refused where consent to analytics was withdrawn." if struct.analytics else ""
    table = (*_HEAD, *_rows(name, own), "") if own else ("No fields of its own.", "")
    example = json.dumps(EXAMPLES[name], ensure_ascii=False)
    return "\n".join((f"### `{name}`{' °' if struct.site_level else ''}\n", f"{struct.__doc__}{note}\n", *table, "```json", example, "```", ""))


def _is_own_rule(field: inspect.Field) -> bool:
    """True for a common field that this type requires although it is optional elsewhere."""
    return field.required and field.name not in _ALWAYS_REQUIRED


def _reasons_section() -> str:
    return _REFUSED + "".join(f"| `{reason}` | {_REASONS[reason]} |\n" for reason in Reason)


_HEAD: Final = ("| field | form | meaning |", "|---|---|---|")


def _fields(struct: type[Struct], names: Iterable[str]) -> list[inspect.Field]:
    info = inspect.type_info(struct)
    assert isinstance(info, inspect.StructType)
    by_name = {field.name: field for field in info.fields}
    return [by_name[name] for name in names]


def _rows(owner: str, fields: Iterable[inspect.Field]) -> Iterator[str]:
    for field in fields:
        yield f"| `{field.name}` | {form_of(field.type)}{', required' if field.required else ''} | {meaning(owner, field.name)} |"
        part = _PARTS.get(field.name)
        if part is not None and _holds_struct(field.type):
            yield from (row.replace("| `", f"| `{field.name}.", 1) for row in _rows(field.name, _fields(part, part.__struct_fields__)))


def _choices(form: inspect.Type) -> list[inspect.Type]:
    """The types a field may have, without null."""
    return [part for part in form.types if not isinstance(part, inspect.NoneType)] if isinstance(form, inspect.UnionType) else [form]


def _holds_struct(form: inspect.Type) -> bool:
    return any(isinstance(part, inspect.StructType | inspect.ListType) for part in _choices(form))


def form_of(form: inspect.Type) -> str:
    """A type in words, as in the tables of the page."""
    parts = _choices(form)
    if any(isinstance(part, inspect.DateTimeType) for part in parts):
        return "time"
    return " or ".join(_one_form(part) for part in parts)


def _one_form(form: inspect.Type) -> str:
    match form:
        case inspect.StrType(pattern=str(pattern)):
            return f"text `{pattern.removeprefix('^').removesuffix(chr(92) + 'Z')}`"
        case inspect.StrType(min_length=lowest, max_length=highest):
            return f"text{_bounds(lowest, highest)}"
        case inspect.IntType(ge=lowest, le=highest):
            return f"integer{_bounds(lowest, highest)}"
        case inspect.FloatType(ge=lowest, le=highest):
            return f"number{_bounds(lowest, highest)}"
        case inspect.LiteralType(values=words) if CURRENCIES.issuperset(words):
            return "currency of ISO 4217, such as `EUR`"
        case inspect.LiteralType(values=words):
            return ", ".join(f"`{word}`" for word in words)
        case inspect.DictType(max_length=most):
            return f"map of text → text ≤ 256, number or bool; ≤ {most} entries"
        case inspect.ListType(max_length=most):
            return f"list ≤ {most}"
        case inspect.BoolType():
            return "bool"
        case inspect.StructType():
            return "object"
    raise TypeError(f"no words for {form}")


def _bounds(lowest: float | None, highest: float | None) -> str:
    if highest is None:
        return ""
    return f" ≤ {highest:,}" if lowest is None else f" {lowest:,} to {highest:,}"


if __name__ == "__main__":
    print(page(), end="")
