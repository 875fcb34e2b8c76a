"""What is kept of a refused message beside its bytes: enough to translate it once more, after the tracking plan, the sender's fault or ours is mended."""

from collections.abc import Mapping
from typing import Final, NamedTuple

from collector.plan import Plan
from collector.translation import Context, Outcome, translate
from collector.wires import WIRES
from collector.wires.reading import Envelope
from streams.flow import Headers

TOPIC: Final = "collector"
"""What stands for a topic in the headers of a message that never came on one."""


class Origin(NamedTuple):
    """How a refused message came in."""

    site: str
    wire: str
    kind: str
    sent_at: int | None = None
    """The client's clock at sending, in epoch milliseconds."""
    opted_out: bool = False

    @property
    def headers(self) -> Headers:
        """As they stand in the topic `failed`."""
        said = [("engage-wire", self.wire.encode()), ("engage-kind", self.kind.encode()), ("engage-site", self.site.encode())]
        if self.sent_at is not None:
            said.append(("engage-sent-at", b"%d" % self.sent_at))
        if self.opted_out:
            said.append(("engage-opted-out", b"1"))
        return tuple(said)


def origin_of(headers: Mapping[str, bytes]) -> Origin | None:
    """What the headers of a failed event say of it; None where it did not come through the door."""
    text = {name: headers.get(f"engage-{name}", b"").decode(errors="replace") for name in ("topic", "site", "wire", "kind", "sent-at", "opted-out")}
    if text["topic"] != TOPIC or text["wire"] not in WIRES:
        return None
    sent_at = int(text["sent-at"]) if text["sent-at"].isdecimal() else None
    return Origin(text["site"], text["wire"], text["kind"], sent_at, text["opted-out"] == "1")


def translate_again(raw: bytes, origin: Origin, received_at: int, plan: Plan | None) -> list[Outcome]:
    """What the message becomes today; `received_at` (epoch milliseconds) is when it came."""
    envelope = Envelope(origin.wire, origin.kind, (raw,), sent_at=origin.sent_at)
    return translate(envelope, Context(origin.site, received_at, opted_out=origin.opted_out, plan=plan))
