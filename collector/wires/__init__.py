"""The formats of producers: each is one file with `open` (a request into messages) and `read` (a message into what it says)."""

from types import ModuleType
from typing import Final

from collector.wires import cloudevents, native, posthog, segment, snowplow

WIRES: Final[dict[str, ModuleType]] = {
    "segment": segment,
    "posthog": posthog,
    "snowplow": snowplow,
    "cloudevents": cloudevents,
    "native": native,
}
