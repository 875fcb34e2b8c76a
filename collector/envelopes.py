"""Which path takes which format, and a request opened into its messages."""

from collections.abc import Mapping
from typing import Final, NamedTuple

from collector.wires import WIRES
from collector.wires.reading import Envelope
from streams.events import Rejected


class Place(NamedTuple):
    """What a path takes."""

    wire: str
    kind: str


_SEGMENT = ("batch", "track", "identify", "page", "screen", "group", "alias", "import")
_LETTERS = {"b": "batch", "t": "track", "i": "identify", "p": "page", "s": "screen", "g": "group", "a": "alias"}
PATHS: Final[dict[str, Place]] = {
    **{f"/v1/{kind}": Place("segment", kind) for kind in _SEGMENT},
    **{f"/v1/{letter}": Place("segment", kind) for letter, kind in _LETTERS.items()},
    **{path: Place("posthog", "batch") for path in ("/batch/", "/batch", "/i/v1/analytics/events")},
    **{path: Place("posthog", "capture") for path in ("/capture/", "/capture", "/e/", "/i/v0/e/")},
    "/com.snowplowanalytics.snowplow/tp2": Place("snowplow", "tp2"),
    "/i": Place("snowplow", "pixel"),
    "/v1/events": Place("native", "events"),
}
"""What a path takes. All are POST, save `/i`: a GET with everything in its query."""


def open_envelope(wire: str, kind: str, headers: Mapping[str, str], query: Mapping[str, str], body: bytes) -> Envelope | Rejected:
    """The messages of a request whose body is already decompressed.

    `wire` and `kind` are those of `PATHS`; `native` becomes `cloudevents` when headers or content say so. Names of `headers` are in
    lower case, or the mapping does not mind. Formats are told by the content, never by Content-Type, save those of CloudEvents.
    Rejected where no messages can be told apart; a bad message in a readable batch is left to `translate`. Never raises for data.
    """
    return WIRES[wire].open(kind, headers, query, body)
