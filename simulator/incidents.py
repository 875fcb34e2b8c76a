"""What may go wrong, or very well, at a set time: incidents, as text and as values."""

import math
import re
from collections.abc import Iterable
from typing import Final, NamedTuple

from streams.durations import YEAR, parse_duration

KINDS: Final = {
    "feedback_storm": "many negative reviews, mentions and tickets about one cause",
    "payment_failure": "the payment step fails",
    "traffic_drop": "most visitors stay away",
    "viral_post": "one post brings visitors and praise",
    "bot_wave": "crawlers come in crowds",
}
"""Every kind, and what it does."""
_INCIDENT: Final = re.compile(r"(?P<kind>\w+)@(?P<start>[\w.]+)\+(?P<length>[\w.]+)(?:\*(?P<strength>\d+(?:\.\d+)?))?")
STRONGEST: Final = 100.0


class Incident(NamedTuple):
    """An incident: `start` in ms after the live start, `length` in ms; at strength 1 it is plain to see, at 0 nothing happens."""

    kind: str
    start: int
    length: int
    strength: float = 1.0


def parse_incident(text: str) -> Incident:
    """`feedback_storm@45s+60s` (45 s after the start, 60 s long) or `payment_failure@2m+3m*2` (twice as strong); raises ValueError with what is allowed."""
    match = _INCIDENT.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is no incident; write KIND@START+LENGTH or KIND@START+LENGTH*STRENGTH, for example feedback_storm@45s+60s.")
    if match["kind"] not in KINDS:
        raise ValueError(f"{match['kind']!r} is no kind of incident; there are {', '.join(KINDS)}.")
    strength = float(match["strength"] or 1)
    if strength > STRONGEST:
        raise ValueError(f"A strength of {strength:g} is too much; {STRONGEST:g} is the most.")
    return Incident(match["kind"], parse_duration(match["start"], YEAR), parse_duration(match["length"], YEAR), strength)


class Calendar:
    """The incidents of one run, asked by instant (ms)."""

    def __init__(self, incidents: Iterable[Incident], live: int) -> None:
        self.planned = [incident._replace(start=live + incident.start) for incident in incidents]
        self._edges = sorted({edge for incident in self.planned for edge in (incident.start, incident.start + incident.length)})

    def strength(self, kind: str, at: int) -> float:
        """Of all incidents of a kind together; 0 when there is none."""
        if not self.planned:
            return 0.0
        return math.fsum(incident.strength for incident in self.planned if incident.kind == kind and incident.start <= at < incident.start + incident.length)

    def next_edge(self, at: int) -> int | None:
        """When the next incident begins or ends after `at`."""
        return next((edge for edge in self._edges if edge > at), None)
