"""Events as Hypothesis strategies, drawn from the structs within the bounds of their fields (`from_type` ignores those)."""

import json
from datetime import UTC, datetime, timedelta, timezone
from functools import cache
from typing import Any

from hypothesis import strategies as st
from msgspec import inspect

from streams.events import EARLIEST, EVENT_TYPES, LATEST, NAMES, TYPES, Event

Wire = dict[str, Any]
_DAY = 86_400_000
_MILLIS = st.integers(EARLIEST + 2 * _DAY, LATEST - 2 * _DAY)
"""Two days from the ends, so that a repaired clock stays inside."""
_TEXTS = st.characters(exclude_categories=("Cs",))


def events(name: str | None = None, **fixed: Any) -> st.SearchStrategy[Wire]:
    """Valid events as JSON-ready dicts, of one type (wire name) or of all; `fixed` sets fields."""
    if name is None:
        return st.sampled_from(EVENT_TYPES).flatmap(lambda struct: events(NAMES[struct], **fixed))
    return _fields(TYPES[name]).map(lambda fields: _repaired(name, {"type": name, **fields, **fixed}))


def raw_events(name: str | None = None, **fixed: Any) -> st.SearchStrategy[bytes]:
    """The same as bytes, with the fields in any order."""
    return events(name, **fixed).flatmap(lambda event: st.permutations(list(event.items()))).map(lambda items: encode(dict(items)))


def encode(event: Wire) -> bytes:
    return json.dumps(event, ensure_ascii=False).encode()


def json_values() -> st.SearchStrategy[Any]:
    """Any JSON value, for fields that hold the wrong thing."""
    leaves = st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False) | st.text(_TEXTS, max_size=20)
    return st.recursive(leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(_TEXTS, max_size=8), inner, max_size=3), max_leaves=6)


@cache
def _fields(struct: type[Event]) -> st.SearchStrategy[Wire]:
    return _object(inspect.type_info(struct))


def _object(info: inspect.Type) -> st.SearchStrategy[Wire]:
    assert isinstance(info, inspect.StructType)
    required = {field.encode_name: _value(field.type) for field in info.fields if field.required}
    optional = {field.encode_name: _value(field.type) for field in info.fields if not field.required}
    return st.fixed_dictionaries(required, optional=optional)


def _value(form: inspect.Type) -> st.SearchStrategy[Any]:
    match form:
        case inspect.UnionType(types=parts) if any(isinstance(part, inspect.DateTimeType) for part in parts):
            return _MILLIS | _MILLIS.flatmap(_written)
        case inspect.UnionType(types=parts):
            return st.one_of(*map(_value, parts))
        case inspect.NoneType():
            return st.none()
        case inspect.BoolType():
            return st.booleans()
        case inspect.IntType(ge=lowest, le=highest):
            return st.integers(lowest, highest)
        case inspect.FloatType(ge=lowest, le=highest):
            return st.floats(lowest, highest, allow_nan=False, allow_infinity=False)
        case inspect.StrType(pattern=str(pattern)):
            return st.from_regex(pattern, fullmatch=True)
        case inspect.StrType(min_length=lowest, max_length=highest):
            return st.text(_TEXTS, min_size=lowest or 0, max_size=min(highest or 40, 40))
        case inspect.LiteralType(values=words):
            return st.sampled_from(words)
        case inspect.ListType(item_type=item):
            return st.lists(_value(item), max_size=3)
        case inspect.DictType(key_type=key, value_type=value):
            return st.dictionaries(_value(key), _value(value), max_size=4)
        case inspect.StructType():
            return _object(form)
    raise TypeError(f"no strategy for {form}")


def _written(time: int) -> st.SearchStrategy[str]:
    """An instant as RFC 3339 text in some time zone."""
    instant = datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=time)
    zones = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
    return zones.map(lambda zone: instant.astimezone(zone).isoformat(timespec="milliseconds"))


def _repaired(name: str, event: Wire) -> Wire:
    """The same event with the rules kept that cross fields."""
    if event.get("currency") is None and any(field.endswith("_minor") and value is not None for field, value in event.items()):
        event["currency"] = "EUR"
    if name == "review_posted":
        event["scale_max"] = max(abs(event.get("scale_max") or 5), 1)
        event["rating"] = _inside(event.get("rating"), 0, event["scale_max"])
    if name == "survey_answered":
        _repair_scale(event)
    struct = TYPES[name]
    if not struct.site_level and event.get("customer") is None and event.get("visitor") is None:
        event["visitor"] = "9f3"
    return event


def _repair_scale(event: Wire) -> None:
    if event["survey"] in ("nps", "enps"):
        event["score"] = _inside(event["score"], 0, 10)
        return
    lowest = event.get("scale_min")
    lowest = 1 if lowest is None else min(lowest, 999_999)
    highest = event.get("scale_max")
    highest = lowest + 1 if highest is None or highest <= lowest else highest
    event |= {"scale_min": lowest, "scale_max": highest, "score": _inside(event["score"], lowest, highest)}
    if event.get("higher_is_better") is None:
        event["higher_is_better"] = event["survey"] != "ces"


def _inside(value: float | None, lowest: float, highest: float) -> float | None:
    return None if value is None else min(max(value, lowest), highest)
