"""The formats of producers: each is one file with `open` (a request into messages) and `read` (a message into what it says)."""

from collections.abc import Mapping
from typing import Final, Protocol

from collector.wires import cloudevents, native, posthog, segment, snowplow
from collector.wires.reading import Envelope, Reading
from streams.events import Rejected


class Wire(Protocol):
    """What such a file has."""

    def open(self, kind: str, headers: Mapping[str, str], query: Mapping[str, str], body: bytes, /) -> Envelope | Rejected: ...

    def read(self, raw: bytes, envelope: Envelope, site: str, /) -> Reading: ...


WIRES: Final[dict[str, Wire]] = {
    "segment": segment,
    "posthog": posthog,
    "snowplow": snowplow,
    "cloudevents": cloudevents,
    "native": native,
}
