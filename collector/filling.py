"""A message of an SDK made into the fields of our events: what the table of names says, done."""

import re
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from typing import Any, Final, NamedTuple
from urllib.parse import parse_qs, urlsplit

from msgspec import inspect

from collector.money import NUMBER, currency_of, minor_units
from collector.names import SOURCES, Row, normal, row_of
from collector.wires.reading import Said, instant, text_of
from streams.events import (
    EVENT_TYPES,
    MAX_ITEMS,
    MAX_LONG_TEXT,
    MAX_PROPERTIES,
    MAX_SHORT_TEXT,
    MAX_TEXT,
    NAMES,
    TYPES,
    Campaign,
    Event,
    Item,
    Reason,
    Rejected,
    SpendRecorded,
)
from streams.schema import form_of

UNMAPPED, LEFT_OUT, CUT = "unmapped", "properties_left_out", "cut"
MISFIT, NO_CURRENCY, ITEMS_LEFT_OUT = "misfit", "no_currency", "items_left_out"
FLAGS: Final = {
    UNMAPPED: "a name in no row of the table: kept as `element_clicked`",
    LEFT_OUT: "properties that are no text, number or bool, or beyond the 32nd",
    CUT: "a text that was longer than is kept",
    MISFIT: "a property that does not fit the field it is for: kept among `properties`",
    NO_CURRENCY: "an amount without its currency: kept among `properties`",
    ITEMS_LEFT_OUT: "an order some of whose products have no id, price or quantity, or that has more than 200: counted without them",
}
"""What is counted beside, once per event, and never refuses one."""
Flags = set[str]

# --- fields ----------------------------------------------------------------------------------------------------------

UNFIT: Final = object()
"""What a property is that cannot become the field."""
Fit = Callable[[Any, Flags], Any]


def _fit_text(longest: int | None) -> Fit:
    def fit(value: Any, flags: Flags) -> Any:
        if isinstance(value, list) and value:
            value = value[0]
        text = text_of(value)
        if text is None:
            return UNFIT
        if longest is not None and len(text) > longest:
            flags.add(CUT)
            return text[:longest]
        return text

    return fit


def _fit_number(lowest: float | None, highest: float | None, whole: bool) -> Fit:
    def fit(value: Any, _flags: Flags) -> Any:
        if isinstance(value, str):
            value = Decimal(value) if NUMBER.fullmatch(value) else None
        if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
            return UNFIT
        if (lowest is not None and value < lowest) or (highest is not None and value > highest):
            return UNFIT
        if whole:
            return int(value) if value == int(value) else UNFIT
        return float(value)

    return fit


def _fit_word(words: Iterable[Any]) -> Fit:
    known = frozenset(words)

    def fit(value: Any, _flags: Flags) -> Any:
        word = normal(value) if isinstance(value, str) else None
        return word if word in known else UNFIT

    return fit


def _fit_bool(value: Any, _flags: Flags) -> Any:
    if isinstance(value, str):
        value = {"true": True, "false": False}.get(value.casefold())
    return value if isinstance(value, bool) else UNFIT


def _fit_instant(value: Any, _flags: Flags) -> Any:
    when = instant(value)
    return UNFIT if when is None else when


def _fit_map(value: Any, flags: Flags) -> Any:
    return flat(value, flags) if isinstance(value, dict) else UNFIT


def _fit_code(pattern: str) -> Fit:
    code = re.compile(pattern)

    def fit(value: Any, _flags: Flags) -> Any:
        return value.upper() if isinstance(value, str) and code.match(value.upper()) else UNFIT

    return fit


def _fit_of(form: inspect.Type) -> Fit | None:
    """How a property becomes a field of this form; None for what is made in another way."""
    parts = [part for part in form.types if not isinstance(part, inspect.NoneType)] if isinstance(form, inspect.UnionType) else [form]
    if any(isinstance(part, inspect.DateTimeType) for part in parts):
        return _fit_instant
    match parts[0]:
        case inspect.StrType(pattern=str(pattern)):
            return _fit_code(pattern)
        case inspect.StrType(max_length=longest):
            return _fit_text(longest)
        case inspect.IntType(ge=lowest, le=highest):
            return _fit_number(lowest, highest, whole=True)
        case inspect.FloatType(ge=lowest, le=highest):
            return _fit_number(lowest, highest, whole=False)
        case inspect.LiteralType(values=words):
            return _fit_word(words)
        case inspect.BoolType():
            return _fit_bool
        case inspect.DictType():
            return _fit_map
    return None


class _Field(NamedTuple):
    name: str
    fit: Fit
    required: bool
    money: bool
    form: str
    """What it can be made of, in words."""


def _fields_named(struct: type[Event] | type[Item], names: Iterable[str]) -> tuple[_Field, ...]:
    info = inspect.type_info(struct)
    assert isinstance(info, inspect.StructType)
    made = ((field, _fit_of(field.type)) for field in info.fields if field.name in names)
    return tuple(_Field(field.name, fit, field.required, field.name.endswith("_minor"), form_of(field.type)) for field, fit in made if fit is not None)


def _own_fields(struct: type[Event] | type[Item]) -> tuple[_Field, ...]:
    """The fields of a type that properties become."""
    own = {name for name in struct.__struct_fields__ if name not in Event.__struct_fields__ and name != "currency"}
    return _fields_named(struct, own | {"channel"} if struct is SpendRecorded else own)


_FIELDS: Final = {NAMES[struct]: _own_fields(struct) for struct in EVENT_TYPES}
_ITEM_FIELDS: Final = _own_fields(Item)
_LABELS: Final = _fields_named(Event, ("segment", "channel", "country"))
"""Fields of every event that properties of the same name become."""
_HAS_CURRENCY: Final = frozenset(name for name, struct in TYPES.items() if "currency" in struct.__struct_fields__)


def flat(properties: Mapping[str, Any], flags: Flags, used: Iterable[str] = ()) -> dict[str, Any]:
    """What of the properties is text, number or bool, at most 32; texts are cut to 256 characters."""
    kept: dict[str, Any] = {}
    for name, value in properties.items():
        if value is None or name in used:
            continue
        if len(kept) == MAX_PROPERTIES:
            flags.add(LEFT_OUT)
            break
        if isinstance(value, str):
            if len(value) > MAX_TEXT:
                flags.add(CUT)
                value = value[:MAX_TEXT]
        elif isinstance(value, Decimal):
            value = float(value)
            if value in (float("inf"), float("-inf")):
                flags.add(LEFT_OUT)
                continue
        elif not (isinstance(value, bool | float) or (isinstance(value, int) and -(2**63) <= value < 2**63)):
            flags.add(LEFT_OUT)
            continue
        kept[name[:MAX_TEXT]] = value
    return kept


# --- events ----------------------------------------------------------------------------------------------------------

Fields = dict[str, Any]


def events_of(said: Said, flags: Flags) -> list[Fields] | Rejected:
    """The fields of the events that a message makes, without those that all have (id, site, times, subject). Adds to `flags`."""
    return _VERBS[said.verb](said, flags)


def _track(said: Said, flags: Flags) -> list[Fields] | Rejected:
    if not said.name:
        return Rejected(Reason.MISSING_FIELD, "$.event", "What is tracked must have a name: the field `event`.")
    row = row_of(said.name)
    if row is None:
        flags.add(UNMAPPED)
        return [_candidate(said, flags)]
    fields = _filled(row, said, flags)
    return fields if isinstance(fields, Rejected) else [fields]


def _candidate(said: Said, flags: Flags) -> Fields:
    """What has no row, as a click on an element of its name: counted, and a goal as soon as an operator says so."""
    fields: Fields = {"type": "element_clicked", "element": said.name[:MAX_TEXT]}
    path = _path(said)
    if path is not None:
        fields["path"] = path
    return _completed(fields, said.properties, flags)


def _completed(fields: Fields, properties: Mapping[str, Any], flags: Flags, used: Iterable[str] = ()) -> Fields:
    """The fields with the labels that the properties say, and with what is left of the properties."""
    labels: Fields = {}
    for label in _LABELS:
        given = properties.get(label.name)
        if given is not None and label.name not in fields and (value := label.fit(given, flags)) is not UNFIT:
            labels[label.name] = value
    rest = flat(properties, flags, {*used, *labels})
    return {**fields, **labels, "properties": rest} if rest else {**fields, **labels}


def _filled(row: Row, said: Said, flags: Flags) -> Fields | Rejected:
    fields: Fields = {"type": row.event, **row.always}
    properties = _prepared(row.event, said.properties)
    currency = currency_of(properties) if row.event in _HAS_CURRENCY else None
    used = {"currency"} if currency is not None else set()
    for field in _FIELDS[row.event]:
        if field.name in row.always:
            continue
        sources = (field.name, *row.sources.get(field.name, SOURCES.get(field.name, ())))
        found, value = _first_fit(field, sources, properties, currency, flags)
        if value is not UNFIT:
            fields[field.name] = value
            used.add(found)
        elif field.name == "path" and (path := _path(said)) is not None:
            fields["path"] = path
        elif field.name in row.otherwise:
            fields[field.name] = row.otherwise[field.name]
        elif field.required:
            return _lacking(row.event, field, sources, found, properties, currency, said)
        if found and value is UNFIT:
            flags.add(NO_CURRENCY if field.money and currency is None else MISFIT)
    if currency is not None:
        fields["currency"] = currency
    if row.event == "order_completed":
        _add_items(fields, properties, currency, used, flags)
    return _completed(fields, properties, flags, used)


def _first_fit(field: _Field, sources: Iterable[str], properties: Mapping[str, Any], currency: str | None, flags: Flags) -> tuple[str, Any]:
    """The property that becomes the field, and what it becomes; UNFIT with the first that does not fit, or with ''."""
    misfit = ""
    for name in sources:
        given = properties.get(name)
        if given is None or given == "":
            continue
        if field.money and name != field.name:
            minor = None if currency is None else minor_units(given, currency)
            value = UNFIT if minor is None else minor
        else:
            value = field.fit(given, flags)
        if value is not UNFIT:
            return name, value
        misfit = misfit or name
    return misfit, UNFIT


def _lacking(event: str, field: _Field, sources: tuple[str, ...], misfit: str, properties: Mapping[str, Any], currency: str | None, said: Said) -> Rejected:
    if field.money and currency is None:
        given = properties.get("currency")
        what = "" if given is None else f", not {_shown(given)}"
        return Rejected(
            Reason.MISSING_FIELD, f"{said.place}.currency", f"{_quoted(said)} needs the property `currency`: a currency of ISO 4217, such as EUR{what}."
        )
    wanted = sources[1] if len(sources) > 1 else sources[0]
    if misfit:
        of_whom = f"{_quoted(said)} becomes {event}, and its `{field.name}` cannot be made of {_shown(properties[misfit])}"
        return Rejected(Reason.WRONG_TYPE, f"{said.place}.{misfit}", f"{of_whom}: {_wanted(field, misfit, properties[misfit], currency)}.")
    names = " or ".join(f"`{name}`" for name in dict.fromkeys((wanted, field.name)))
    return Rejected(Reason.MISSING_FIELD, f"{said.place}.{wanted}", f"{_quoted(said)} becomes {event}, and needs the property {names}.")


def _wanted(field: _Field, given_as: str, given: Any, currency: str | None) -> str:
    """What the field can be made of, when it cannot be made of what was given under this name."""
    if not field.money:
        return f"it takes {field.form}"
    if str(given).startswith("-"):
        return "an amount is not below 0, and what is paid back is an event of its own, Order Refunded"
    if given_as == field.name:
        return "send a whole number of minor units, such as 1250 for 12.50 EUR"
    return f"send an amount in {currency} with a dot before its decimals and nothing between its thousands, such as 1250.50"


def _shown(value: Any) -> str:
    return repr(value[:64]) if isinstance(value, str) else "an object" if isinstance(value, dict) else "a list" if isinstance(value, list) else str(value)[:64]


def _quoted(said: Said) -> str:
    return repr(said.name[:64])


def _prepared(event: str, properties: Mapping[str, Any]) -> Mapping[str, Any]:
    """Properties in the form of their field where that is not only another name: shares in per cent, the direction of a scale."""
    if event == "survey_answered" and properties.get("direction") in ("higher", "lower"):
        return {**_without(properties, "direction"), "higher_is_better": properties["direction"] == "higher"}
    if event == "page_left":
        seconds, share = (value if isinstance(value, int | float | Decimal) else None for value in map(properties.get, ("engaged_seconds", "scroll_pct")))
        if seconds is not None:
            properties = {**properties, "engaged_seconds": min(max(seconds, 0), 1800)}  # a tab left open is no half-hour of reading
        if share is not None:
            properties = {**_without(properties, "scroll_pct"), "scroll_ratio": min(max(float(share) / 100, 0.0), 1.0)}
    return properties


def _without(properties: Mapping[str, Any], name: str) -> dict[str, Any]:
    return {own: value for own, value in properties.items() if own != name}


def _add_items(fields: Fields, properties: Mapping[str, Any], currency: str | None, used: set[str], flags: Flags) -> None:
    """The lines of an order, if all are complete."""
    products = properties.get("items", properties.get("products"))
    if not isinstance(products, list) or currency is None:
        return
    used |= {"items", "products"}
    items = [_item(product, currency, flags) for product in products[: MAX_ITEMS + 1]]
    if None in items or len(items) > MAX_ITEMS:
        flags.add(ITEMS_LEFT_OUT)
    else:
        fields["items"] = items


def _item(product: Any, currency: str, flags: Flags) -> Fields | None:
    if not isinstance(product, dict):
        return None
    item: Fields = {}
    for field in _ITEM_FIELDS:
        _, value = _first_fit(field, (field.name, *SOURCES.get(field.name, ())), product, currency, flags)
        if value is not UNFIT:
            item[field.name] = value
        elif field.name == "quantity":
            item["quantity"] = 1
        else:
            return None
    return item


# --- pages and people ------------------------------------------------------------------------------------------------


def _page(said: Said, flags: Flags) -> list[Fields] | Rejected:
    path = _path(said)
    if path is None and said.name:
        path = "/" + said.name.strip("/")
    if path is None:
        return Rejected(Reason.MISSING_FIELD, f"{said.place}.url", "A page needs its `url`, its `path` or a name.")
    fields: Fields = {"type": "page_viewed", "path": path[:MAX_LONG_TEXT]}
    for name in ("title", "referrer", "view"):
        value = text_of(said.properties.get(name)) or text_of(said.page.get(name))
        if value is not None:
            fields[name] = value[: MAX_LONG_TEXT if name != "view" else MAX_TEXT]
    campaign = _campaign(said)
    if campaign:
        fields["campaign"] = campaign
    return [_completed(fields, said.properties, flags, ("url", "path", "search", "title", "referrer", "view"))]


def _path(said: Said) -> str | None:
    """Path and query of where it happened; which of the query stays is not decided here."""
    for place in (said.properties, said.page):
        path, url, search = (text_of(place.get(name)) for name in ("path", "url", "search"))
        if url is not None:
            try:
                parts = urlsplit(url)
            except ValueError:
                parts = urlsplit("")
            path, search = path or parts.path or ("/" if parts.netloc else None), search or parts.query
        if path is not None:
            query = (search or "").lstrip("?")
            return (path if "?" in path or not query else f"{path}?{query}")[:MAX_LONG_TEXT]
    return None


def _campaign(said: Said) -> dict[str, str]:
    """As the SDK says it, else as the query of the page does."""
    given: dict[str, Any] = {name: said.campaign.get(name) for name in Campaign.__struct_fields__}
    if not any(given.values()):
        query = (_path(said) or "").partition("?")[2]
        if "utm_" in query:
            try:
                parsed = parse_qs(query, max_num_fields=100)
            except ValueError:
                parsed = {}
            given = {name: parsed.get("utm_campaign" if name == "name" else f"utm_{name}", [None])[0] for name in given}
    return {name: text[:MAX_TEXT] for name, value in given.items() if (text := text_of(value)) is not None}


def _identify(said: Said, flags: Flags) -> list[Fields]:
    """Who the visitor is, where both ids are said; and what is known of the customer, where anything is said or nothing else would be left."""
    events: list[Fields] = []
    if said.customer is not None and said.visitor is not None and said.customer != said.visitor:
        events.append({"type": "customer_identified"})
    if said.properties or not events:
        segment = text_of(said.properties.get("segment"))
        updated = {"type": "customer_updated", "traits": flat(said.properties, flags)}
        events.append(updated if segment is None else {**updated, "segment": segment[:MAX_SHORT_TEXT]})
    return events


def _group(said: Said, flags: Flags) -> list[Fields] | Rejected:
    """The group is a trait of its member."""
    if not said.name:
        return Rejected(Reason.MISSING_FIELD, "$.groupId", "A group needs its id: the field `groupId`.")
    return [{"type": "customer_updated", "traits": flat({"group": said.name, **said.properties}, flags)}]


def _alias(said: Said, _flags: Flags) -> list[Fields] | Rejected:
    if said.visitor is None or said.customer is None:
        name = "previousId" if said.visitor is None else "userId"
        return Rejected(Reason.MISSING_FIELD, f"$.{name}", "An alias needs both ids: the one before and the one from now on.")
    return [{"type": "customer_identified"}]


_VERBS: Final[dict[str, Callable[[Said, Flags], list[Fields] | Rejected]]] = {
    "track": _track,
    "page": _page,
    "identify": _identify,
    "group": _group,
    "alias": _alias,
}
