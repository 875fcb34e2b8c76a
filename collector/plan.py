"""The tracking plan: which events and properties a site sends, and what they hold.

What is off the plan is refused at the door (`off_plan`), so that a renamed property is noticed by the team that renamed it. Wishes of
a subject (consent, erasure) are never off the plan.
"""

from collections.abc import Mapping
from functools import cached_property
from typing import Any, Final, Literal

import msgspec

from streams import strict_yaml
from streams.events import NAMES, SITE_FORM, TYPES, ConsentChanged, EraseRequested, Event, Reason
from streams.sites import SITE_NAME
from streams.words import suggest

EXEMPT: Final = (ConsentChanged, EraseRequested)
Scalar = str | int | float | bool
Others = Literal["allow", "refuse"]
_FORMS: Final[dict[str, tuple[type, ...]]] = {"text": (str,), "number": (int, float), "integer": (int,), "bool": (bool,)}


class Planned(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, dict=True):
    """What is planned of one field or property."""

    type: Literal["text", "number", "integer", "bool"] | None = None
    """Of a property; fields have their types."""
    required: bool = False
    values: tuple[Scalar, ...] = ()
    """What it may be; empty: anything."""

    @cached_property
    def allowed(self) -> frozenset[tuple[str, Scalar]]:
        return frozenset(_told(value) for value in self.values)

    def fault_of(self, value: Any) -> str | None:
        """What is wrong with a value, as the end of a sentence."""
        if self.type is not None and (type(value) not in _FORMS[self.type]):
            return f"must be {'an' if self.type == 'integer' else 'a'} {self.type}"
        if self.values and _told(value) not in self.allowed:
            return f"must be one of: {', '.join(map(_shown, self.values))}"
        return None


class EventPlan(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is planned of one event."""

    fields: dict[str, Planned] = {}
    properties: dict[str, Planned] = {}
    other_properties: Others = "allow"


class Plan(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What one site has planned, by the name of the event."""

    events: dict[str, EventPlan] = {}
    other_events: Others = "allow"


class Plans:
    """The plans of all sites: `plans[site]` is its own, else the default's, else None."""

    def __init__(self, named: Mapping[str, Plan], default: Plan | None = None) -> None:
        self.named = dict(named)
        self.default = default

    def __getitem__(self, site: str) -> Plan | None:
        return self.named.get(site, self.default)


class PlanError(ValueError):
    """A plan file that cannot be used; the text names the place and what is allowed."""


class _File(msgspec.Struct, forbid_unknown_fields=True):
    default: Any = None
    sites: dict[str, Any] = {}


def load_plans(text: str, name: str = "plan file") -> Plans:
    """Read a plan file (YAML: `default:` and `sites: {NAME: …}`); raises PlanError."""
    try:
        content = strict_yaml.load(text)
        file = msgspec.convert({} if content is None else content, _File)
    except (ValueError, msgspec.ValidationError) as error:
        raise PlanError(f"{name}: {error}; a plan file holds `default:` and `sites:`") from None
    for site in file.sites:
        if not SITE_NAME.fullmatch(site):
            raise PlanError(f"{name}: site {site!r}: a site's name {SITE_FORM}")
    named = {site: _plan(content, f"{name}: site {site}") for site, content in file.sites.items()}
    return Plans(named, None if file.default is None else _plan(file.default, f"{name}: default"))


def _plan(content: Any, where: str) -> Plan:
    events = content.get("events") if isinstance(content, dict) else None
    if isinstance(events, dict):  # each by itself first, so that a mistake is told with its name
        for event, planned in events.items():
            if event not in TYPES:
                raise PlanError(f"{where}: there is no event {event!r}.{suggest(str(event), TYPES)} Events: {', '.join(TYPES)}")
            _check_event(str(event), planned, f"{where}: event {event}")
    try:
        return msgspec.convert({} if content is None else content, Plan)
    except msgspec.ValidationError as error:
        raise PlanError(f"{where}: {error}; fields: events, other_events (allow or refuse)") from None


def _check_event(event: str, content: Any, where: str) -> None:
    for kind in ("fields", "properties"):
        entries = content.get(kind) if isinstance(content, dict) else None
        for name, planned in entries.items() if isinstance(entries, dict) else ():
            _check_entry(planned, f"{where}: {kind}: {name}")
            known = TYPES[event].__struct_fields__
            if kind == "fields" and name not in known:
                raise PlanError(f"{where}: {event} has no field {name!r}.{suggest(str(name), known)} Fields: {', '.join(known)}; your own are `properties`")
            if kind == "fields" and isinstance(planned, dict) and "type" in planned:
                raise PlanError(f"{where}: fields: {name}: a field has its type already; leave `type` out")
    try:
        msgspec.convert(content, EventPlan)
    except msgspec.ValidationError as error:
        raise PlanError(f"{where}: {error}; fields: {', '.join(EventPlan.__struct_fields__)}; an event that is only to be allowed is {{}}") from None


def _check_entry(content: Any, where: str) -> None:
    try:
        planned = msgspec.convert(content, Planned)
    except msgspec.ValidationError as error:
        raise PlanError(f"{where}: {error}; fields: type ({', '.join(_FORMS)}), required, values") from None
    for value in planned.values:
        if planned.type is not None and type(value) not in _FORMS[planned.type]:
            raise PlanError(f"{where}: the value {_shown(value)} is not of the type {planned.type}")


def check(plan: Plan, event: Event) -> tuple[Reason, str, str] | None:
    """Why an event is off the plan (reason, path, sentence); None when it is on it."""
    if isinstance(event, EXEMPT):
        return None
    name = NAMES[type(event)]
    planned = plan.events.get(name)
    if planned is None:
        return None if plan.other_events == "allow" else (Reason.OFF_PLAN, "$.type", f"The tracking plan of {event.site} has no {name}.")
    for field, wanted in planned.fields.items():
        fault = _fault(getattr(event, field), wanted, name, f"field `{field}`")
        if fault is not None:
            return Reason.OFF_PLAN, f"$.{field}", fault
    properties = event.properties or {}
    for field, wanted in planned.properties.items():
        fault = _fault(properties.get(field), wanted, name, f"property `{field}`")
        if fault is not None:
            return Reason.OFF_PLAN, f"$.properties.{field}", fault
    if planned.other_properties == "refuse":
        for field in properties:
            if field not in planned.properties:
                sentence = f"The tracking plan has no property {field[:64]!r} of {name}.{suggest(field, planned.properties)}"
                return Reason.OFF_PLAN, f"$.properties.{field[:64]}", sentence
    return None


def _fault(value: Any, wanted: Planned, event: str, what: str) -> str | None:
    if value is None:
        return f"By the tracking plan {event} needs the {what}." if wanted.required else None
    fault = wanted.fault_of(value)
    return None if fault is None else f"By the tracking plan the {what} of {event} {fault}."


def _told(value: Scalar) -> tuple[str, Scalar]:
    """True is not 1, and 5.0 is 5."""
    return ("bool" if isinstance(value, bool) else "text" if isinstance(value, str) else "number"), value


def _shown(value: Scalar) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
