"""The door as an OpenAPI 3.1 document: `GET /openapi.json`, and `engage events openapi`. Its operations are those of `collector.routes`.

Bodies are described as the clients send them, not as strictly as they are read: what an event needs beyond that is said event by event
in the answer.
"""

from collections.abc import Iterable
from typing import Any, Final

from collector.limits import BODY_BYTES, EVENTS, UNPACKED_BYTES, UNPACKED_RATIO
from collector.routes import Route
from streams.cloudevents import BATCH, STRUCTURED
from streams.events import NAMES
from streams.examples import EXAMPLES
from streams.schema import components

VERSION: Final = "3.1.0"
_TEXT: Final = {"type": "string"}
_OBJECT: Final = {"type": "object"}
_TIME: Final = {"type": ["string", "integer"], "description": "RFC 3339, or epoch milliseconds"}
_WORD: Final = {"type": ["string", "null"]}


def _schema(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}


def _object(*required: str, **properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, **({"required": list(required)} if required else {})}


def _list(name: str) -> dict[str, Any]:
    return {"type": "array", "items": _schema(name), "maxItems": EVENTS}


_SCHEMAS: Final[dict[str, Any]] = {
    "SegmentMessage": {
        "description": "A message of the SDKs of Segment and RudderStack: https://segment.com/docs/connections/spec/common/",
        **_object(
            type={"enum": ["track", "identify", "page", "screen", "group", "alias"]}, event=_TEXT, name=_WORD, messageId=_TEXT, userId=_WORD, anonymousId=_WORD,
            previousId=_TEXT, groupId=_TEXT, properties=_OBJECT, traits=_OBJECT, context=_OBJECT, timestamp=_TIME, originalTimestamp=_TIME, sentAt=_TIME,
            writeKey=_TEXT,
        ),
    },
    "SegmentBatch": _object("batch", batch=_list("SegmentMessage"), sentAt=_TIME, writeKey=_TEXT),
    "PostHogEvent": {
        "description": "An event of PostHog's SDKs: https://posthog.com/docs/api/capture",
        **_object(event=_TEXT, distinct_id=_TEXT, uuid=_TEXT, properties=_OBJECT, timestamp=_TIME, api_key=_TEXT),
    },
    "PostHogBatch": _object("batch", batch=_list("PostHogEvent"), api_key=_TEXT, sent_at=_TIME, historical_migration={"type": "boolean"}),
    "SnowplowPayload": {
        "description": "A payload of Snowplow's trackers, all texts: https://docs.snowplow.io/docs/events/going-deeper/event-parameters/",
        **_object("e", e={"enum": ["pv", "pp", "se", "ue", "tr", "ti"]}, eid=_TEXT, dtm=_TEXT, stm=_TEXT, uid=_TEXT, duid=_TEXT, aid=_TEXT, url=_TEXT),
        "additionalProperties": _TEXT,
    },
    "SnowplowBatch": _object("data", schema=_TEXT, data=_list("SnowplowPayload")),
    "CloudEvent": {
        "description": "A CloudEvent 1.0 in structured mode; in binary mode its attributes are headers (`ce-type`, …).",
        **_object(
            "specversion", "id", "source", "type",
            specversion={"const": "1.0"}, id={**_TEXT, "minLength": 1}, source={**_TEXT, "minLength": 1}, time=_TEXT, subject=_TEXT, site=_TEXT, data=_OBJECT,
            type={**_TEXT, "pattern": r"^io\.engagement\.[a-z_.]+\.v1$"},
        ),
    },
    "Rejected": _object("reason", "path", "detail", reason=_TEXT, path={**_TEXT, "description": "where in the message"}, detail=_TEXT),
    "Taken": {
        "description": "Everything is safe. What was rejected lies on the topic `failed`; the first twenty reasons are here.",
        **_object(
            "success", "accepted", "rejected",
            success={"const": True}, accepted={"type": "integer"}, rejected={"type": "array", "items": _schema("Rejected")},
            status={"const": 1, "description": "for PostHog's SDKs"}, results={**_OBJECT, "description": "for PostHog's SDKs: by uuid, rejected ones only"},
        ),
    },
    "Fault": {
        "description": "Nothing of the request was taken.",
        **_object("success", "reason", "detail", success={"const": False}, reason=_TEXT, detail={**_TEXT, "description": "what to do, in a sentence"}),
    },
    "Done": _object("success", success={"const": True}),
}  # fmt: skip
_TOLD: Final = {"type": "track", "event": "Product Viewed", "userId": "42", "messageId": "m-1", "properties": {"product_id": "trail-7", "category": "shoes"}}
_CAPTURED: Final = {"event": "Product Viewed", "distinct_id": "42", "uuid": "0198c0de-7b1a-7000-8000-000000000000", "properties": {"product_id": "trail-7"}}
_TRACKED: Final = {"e": "pv", "url": "https://shop.example/shoes", "eid": "0198c0de-7b1a-7000-8000-000000000001", "duid": "v-1"}
_CLOUD_EVENT: Final = {
    "specversion": "1.0", "type": "io.engagement.page_viewed.v1", "source": "/shop", "id": "1", "time": "2026-03-02T10:15:00Z", "subject": "v:9f3",
    "data": {"path": "/shoes"},
}  # fmt: skip
_EXAMPLES: Final[dict[str, Any]] = {
    "SegmentMessage": _TOLD,
    "SegmentBatch": {"batch": [_TOLD]},
    "PostHogEvent": _CAPTURED,
    "PostHogBatch": {"batch": [_CAPTURED]},
    "SnowplowBatch": {"schema": "iglu:com.snowplowanalytics.snowplow/payload_data/jsonschema/1-0-4", "data": [_TRACKED]},
}
_BODIES: Final[dict[tuple[str, str], tuple[str, ...]]] = {
    ("segment", "batch"): ("SegmentBatch",),
    ("segment", "import"): ("SegmentBatch",),
    ("segment", ""): ("SegmentMessage", "SegmentBatch"),
    ("posthog", "batch"): ("PostHogBatch",),
    ("posthog", ""): ("PostHogEvent", "PostHogBatch"),
    ("snowplow", ""): ("SnowplowBatch",),
}
"""By format and kind of path; an empty kind stands for all others."""
_FAULTS: Final = {
    400: "The body cannot be told apart into messages.",
    401: "There is no key, or none that is known.",
    403: "The key may not be used from this origin.",
    404: "There is nothing here, or not for who comes through a proxy.",
    413: f"More than {BODY_BYTES:,} bytes, {UNPACKED_BYTES:,} unpacked, {UNPACKED_RATIO} times its size unpacked, or {EVENTS} events.",
    415: "A Content-Encoding other than gzip.",
    429: "More than the rate of the key or of the address; send it again after Retry-After.",
    503: "Not now: Kafka is away and the spool is full, or too much is on its way; send it again after Retry-After.",
}
_ANSWERS: Final[dict[str, tuple[str, Any, tuple[int, ...]]]] = {
    "swallow": ("Measures that an SDK takes of itself: taken and forgotten.", _schema("Done"), ()),
    "settings": ("What the browser SDK of Segment loads first.", _OBJECT, (404, 429)),
    "flags": ("PostHog's feature flags: there are none.", _OBJECT, ()),
    "healthz": ("Whether the process answers.", None, ()),
    "readyz": ("Whether a next event can be kept, however large, by Kafka or in the spool; 503 where not.", None, (404, 503)),
    "metrics": ("For Prometheus.", None, (404,)),
    "openapi": ("This document.", _OBJECT, ()),
    "debug": ("In development mode: `all` counts, `good` and `bad` show the last events.", {"type": ["object", "array"]}, (404,)),
    "reset": ("In development mode: forget them.", _schema("Done"), (404,)),
}
"""By action, all but `take`: what it is for, the schema of the answer (None: a text), and the faults beside 200."""
_TAKE_FAULTS: Final = (400, 401, 403, 413, 415, 429, 503)
_HEADERS: Final = {
    401: {"WWW-Authenticate": {"schema": _TEXT}},
    429: {"Retry-After": {"schema": {"type": "integer"}, "description": "seconds", "required": True}},
    503: {"Retry-After": {"schema": {"type": "integer"}, "description": "seconds"}},
}


def document(version: str, routes: Iterable[Route]) -> dict[str, Any]:
    """The document of these routes. `version` is the product's."""
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route)
    events = components(NAMES, "#/components/schemas/{name}")[1]
    for struct in NAMES:  # the key says of which site
        events[struct.__name__]["required"].remove("site")
    any_event = {"oneOf": [_schema(struct.__name__) for struct in NAMES]}
    return {
        "openapi": VERSION,
        "info": {
            "title": "engagement-monitor collector",
            "version": version,
            "description": "Takes events from the SDKs of Segment, RudderStack, PostHog and Snowplow, CloudEvents, and events of its own. "
            "2xx: it is safe; single events may be rejected, the answer says why. 4xx: it is wrong and stays wrong. 429, 503: send it again. "
            "OPTIONS is answered with 204 everywhere, a method that a path does not have with 405, any other path with 404.",
        },
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {
            "schemas": {**_SCHEMAS, "AnyEvent": any_event, **events},
            "securitySchemes": {
                "basic": {"type": "http", "scheme": "basic", "description": "the key as the user's name, without password"},
                "bearer": {"type": "http", "scheme": "bearer", "description": "the key"},
            },
        },
    }


def _operation(route: Route) -> dict[str, Any]:
    named = route.path.strip("/").replace("{", "").replace("}", "").replace("/", "_").replace(".", "_") + "_" * (route.path.endswith("/"))
    operation: dict[str, Any] = {"operationId": f"{route.action}_{named}"}
    if route.place is not None:
        wire, kind = route.place
        body = _BODIES.get((wire, kind)) or _BODIES.get((wire, ""))
        operation |= {"summary": f"Events in the format of {wire}.", "tags": [wire], "security": [{"basic": []}, {"bearer": []}, {}]}
        if kind == "pixel":
            known = _SCHEMAS["SnowplowPayload"]["properties"]
            operation["parameters"] = [
                {"name": name, "in": "query", "schema": schema, "required": name == "e", **({"example": _TRACKED[name]} if name in _TRACKED else {})}
                for name, schema in known.items()
            ]
            answer = {"description": "Safe, or rejected; a pixel.", "content": {"image/gif": {}}}
        else:
            operation["requestBody"] = {"required": True, "content": _native() if body is None else _content(*body)}
            answer = {"description": "Everything is safe.", "content": {"application/json": {"schema": _schema("Taken")}}}
        operation["responses"] = {"202" if wire == "native" else "200": answer, **_faults(_TAKE_FAULTS)}
        return operation
    summary, schema, faults = _ANSWERS[route.action]
    content = {"text/plain": {"schema": _TEXT}} if schema is None else {"application/json": {"schema": schema}}
    operation |= {"summary": summary, "responses": {"200": {"description": "As asked.", "content": content}, **_faults(faults)}}
    if "{" in route.path:
        name = route.path[route.path.index("{") + 1 : route.path.index("}")]
        operation["parameters"] = [{"name": name, "in": "path", "required": True, "schema": _TEXT}]
    if route.action == "readyz":
        operation["responses"]["503"]["content"] = content
    return operation


def _faults(statuses: Iterable[int]) -> dict[str, Any]:
    content = {"application/json": {"schema": _schema("Fault")}}
    return {str(status): {"description": _FAULTS[status], "content": content, "headers": _HEADERS.get(status, {})} for status in statuses}


def _content(*names: str) -> dict[str, Any]:
    """Formats are told by the content: browsers send text/plain, to need no preflight."""
    schema = _schema(names[0]) if len(names) == 1 else {"anyOf": [_schema(name) for name in names]}
    return {kind: {"schema": schema, "example": _EXAMPLES[names[0]]} for kind in ("application/json", "text/plain")}


def _native() -> dict[str, Any]:
    cloudevent = _schema("CloudEvent")
    return {
        "application/json": {"schema": {"anyOf": [_schema("AnyEvent"), _list("AnyEvent")]}, "example": EXAMPLES["page_viewed"]},
        "application/x-ndjson": {"schema": _TEXT},
        STRUCTURED: {"schema": cloudevent, "example": _CLOUD_EVENT},
        BATCH: {"schema": {"type": "array", "items": cloudevent, "maxItems": EVENTS}, "example": [_CLOUD_EVENT]},
    }
