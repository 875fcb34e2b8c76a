"""The simulated stream: businesses, their visitors and their public, put on one time line, with dirt and incidents.

Pure and seeded: the same arguments give the same bytes. Time is data: nothing here reads a clock.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from heapq import heappop, heappush
from itertools import count
from random import Random
from typing import Any, Final

import msgspec

from simulator import texts
from simulator.days import busyness
from simulator.faults import APPLIED, BOT, DUPLICATE, FAILED, LATE, NO_CONSENT, TOPIC_OF, Faults, Sent, Tally, break_event
from simulator.incidents import Calendar, Incident
from simulator.sites import BUSINESSES, SITES_YAML, Arrival, Business, Process
from simulator.visitors import Visitors
from simulator.voices import Voices
from streams.panes import DAY, HOUR, MINUTE

__all__ = ["SITES", "SITES_YAML", "Shop", "Tally"]

SITES: Final = tuple(business.site for business in BUSINESSES)
HISTORY: Final = 26 * HOUR
HISTORY_EVENTS: Final = 45_000
"""About so many events make up the history, however high the rate is."""
RECENT: Final = 15 * MINUTE
RECENT_EVENTS: Final = 20_000
"""The last minutes before the live start have the live rate, as far as these events reach."""
WARM: Final = 3_000
"""Events of a site before the first stale one: it must find a watermark to be behind."""
LONGEST_LOOK: Final = MINUTE
"""Traffic changes within this time (ms) only at incidents."""

# How many events one process brings (measured; a test holds the sum to the rate), and its share of all events.
_VISIT_EVENTS: Final = {"shop": 6.3, "service": 5.7}
_EVENTS: Final = {"message": 2.4, "mention": 1.0, "review": 1.23, "ticket": 2.85, "survey": 1.0, "post": 15.4, "reaction": 1.0, "community": 1.11, "chore": 1.0}
_CRAWLED: Final = 3.5
_SHARES: Final = {
    "visit": 0.77, "message": 0.06, "mention": 0.035, "review": 0.03, "ticket": 0.025, "survey": 0.015, "post": 0.03, "reaction": 0.005, "community": 0.01,
    "chore": 0.003,
}  # fmt: skip
TEXTS_PER_EVENT: Final = 0.06
"""Scored texts among all events, roughly: what a storm is measured against."""
STORM: Final = 4.0
"""A feedback storm of strength 1 brings so many complaints for each usual text."""
VIRAL_MENTIONS: Final = 3.0
"""The same of praise, for a post that goes viral."""
VIRAL: Final = Arrival("social", "https://www.instagram.com/", {"source": "instagram", "medium": "social", "name": "viral"}, 0.5)

_encode = msgspec.json.Encoder().encode
_Work = tuple[int, int, Sent | None, str, dict[str, Any] | None, Process | None, str]
"""Due (ms), number, a record ready to be sent or the key and fields of an event, the process that goes on, and the verdict."""
_Source = tuple[str, Callable[[int], float], Callable[[int], Process], str]
"""Name, how many per ms, what begins, and the verdict on its events."""


class Shop:
    """An endless stream of records in the order of their sending; `live` (epoch ms) is when the past ends.

    `rate` is events per second at the live start, over all sites; from there on it goes with the hour of the day. The history
    before has its own, lower rate (ms of it: `history`). Iterate it, or `take` what is due; `tally` counts what was handed out.
    Incidents happen at the first of the sites. Raises ValueError for a rate or site that cannot be.
    """

    def __init__(
        self,
        seed: int,
        live: int,
        *,
        rate: float = 50.0,
        sites: Iterable[str] = SITES,
        history: int = HISTORY,
        incidents: Iterable[Incident] = (),
        faults: Faults | None = None,
    ) -> None:
        if rate <= 0:
            raise ValueError("the rate must be above 0 events per second")
        known = {business.site: business for business in BUSINESSES}
        wanted = tuple(dict.fromkeys(sites))
        unknown = [site for site in wanted if site not in known]
        if unknown or not wanted:
            raise ValueError(f"there is no site {', '.join(unknown)}; there are {', '.join(SITES)}" if unknown else "at least one site is needed")
        self.seed, self.live, self.rate = seed, live, rate
        self.begin = live - history
        self.calendar = Calendar(incidents, live)
        self.faults = faults or Faults()
        self.tally = Tally()
        self._dirt = Random(f"{seed} dirt")
        self._heap: list[_Work] = []
        self._numbers = count(1).__next__
        self._made = 0
        self._recent_from = live - min(RECENT, int(RECENT_EVENTS / rate * 1000), history)
        self._history_rate = min(rate, HISTORY_EVENTS / (history / 1000)) if history else rate
        businesses = [known[site] for site in wanted]
        for business in businesses:
            self._open(business, businesses)

    # --- the time line -----------------------------------------------------------------------------------------------

    def take(self, until: int, most: int) -> list[Sent]:
        """What is due at or before `until` (ms) and was not handed out yet, at most so many."""
        taken: list[Sent] = []
        heap = self._heap
        while len(taken) < most and heap[0][0] <= until:
            if (sent := self._go_on()) is not None:
                taken.append(sent)
        return taken

    def __iter__(self) -> Iterator[Sent]:
        while True:
            if (sent := self._go_on()) is not None:
                yield sent

    def _go_on(self) -> Sent | None:
        """What comes next happens; returns what is sent by it."""
        due, number, ready, key, fields, process, verdict = heappop(self._heap)
        step = None if process is None else next(process, None)
        if step is not None:
            heappush(self._heap, (max(step[0], due), number, None, step[1], step[2], process, verdict))
        if ready is not None:
            return self._hand_out(ready)
        return None if fields is None else self._send(due, key, fields, verdict)

    def _start(self, process: Process, verdict: str = APPLIED) -> None:
        step = next(process, None)
        if step is not None:
            heappush(self._heap, (step[0], self._numbers(), None, step[1], step[2], process, verdict))

    def _hold(self, sent: Sent) -> None:
        heappush(self._heap, (sent.due, self._numbers(), sent, "", None, None, ""))

    def _send(self, due: int, key: str, fields: dict[str, Any], verdict: str) -> Sent | None:
        """The record of an event, after what may happen to it on the way."""
        self._made += 1
        kind = fields["type"]
        topic = TOPIC_OF[kind]
        event = {"id": f"{self.seed:x}-{self._made:x}", "at": due, **fields}
        if verdict == APPLIED:
            faults, lot = self.faults, self._dirt.random()
            if lot < faults.delayed:
                wait = int(self._dirt.uniform(2, 55) * MINUTE)
                self._hold(Sent(due + wait, topic, key, _encode(event), due, kind, verdict))
                return None
            lot -= faults.delayed
            if topic == "website":
                if lot < faults.ahead:
                    event["at"] = due + int(self._dirt.uniform(2, 40) * HOUR)
                    self.tally.clamped += 1
                elif lot < faults.ahead + faults.bad / _SHARES["visit"]:
                    self._made += 1
                    reason, value = break_event(self._dirt, event | {"id": f"{self.seed:x}-{self._made:x}"})
                    self._hold(Sent(due + 40, topic, key, value, due, kind, f"{FAILED}.{reason}"))
        return self._hand_out(Sent(due, topic, key, _encode(event), event["at"], kind, verdict))

    def _hand_out(self, sent: Sent) -> Sent:
        tally, verdict = self.tally, sent.verdict
        tally.verdicts[verdict] += 1
        tally.topics[sent.topic] += 1
        if verdict == APPLIED:
            tally.types[sent.type] += 1
        if verdict in (APPLIED, BOT) and self._dirt.random() < self.faults.duplicates:
            wait = 200 + int(min(self._dirt.expovariate(1 / 20_000), 600_000))
            self._hold(sent._replace(due=sent.due + wait, verdict=DUPLICATE))
        return sent

    # --- who comes when ----------------------------------------------------------------------------------------------

    def _open(self, business: Business, businesses: Sequence[Business]) -> None:
        """Start all that goes on at one of the sites. Incidents happen at the first one."""
        prefix, begin, faults = f"{self.seed:x}{business.site[0]}", self.begin, self.faults
        calendar = self.calendar if business is businesses[0] else Calendar((), self.live)
        visitors = Visitors(business, Random(f"{self.seed} {business.site} visitors"), prefix, calendar, self._start)
        voices = Voices(business, Random(f"{self.seed} {business.site} voices"), prefix, visitors.some_customer, self._start)
        weight = business.weight / sum(other.weight for other in businesses)
        at_start = sum(other.weight * busyness(self.live, other.zone, other.shape) for other in businesses)
        at_live = business.weight / at_start

        def pace(at: int) -> float:
            """Events per ms, all kinds."""
            busy = busyness(at, business.zone, business.shape)
            return (self.rate * at_live if at >= self._recent_from else self._history_rate * weight) * busy / 1000

        def visits(at: int) -> float:
            drop = 1 - min(0.98, 0.85 * calendar.strength("traffic_drop", at))
            return pace(at) * drop * _SHARES["visit"] / _VISIT_EVENTS[business.kind]

        def often(share: float) -> Callable[[int], float]:
            """Processes per ms that have this share of all events, by one event each."""
            return lambda at: pace(at) * share

        sources: list[_Source] = [
            ("visit", visits, visitors.visit, APPLIED),
            ("bots", often(faults.bots / _CRAWLED), visitors.crawl, BOT),
            ("declined", often(faults.declined / 2), visitors.decline, NO_CONSENT),
        ]
        makers: dict[str, Callable[[int], Process]] = {
            "message": visitors.message, "mention": voices.mention, "review": voices.review, "ticket": voices.ticket, "survey": voices.survey,
            "post": voices.post, "reaction": voices.reaction, "community": voices.community, "chore": visitors.chore,
        }  # fmt: skip
        sources += [(name, often(_SHARES[name] / _EVENTS[name]), make, APPLIED) for name, make in makers.items()]
        if faults.stale:
            warm = begin + int(WARM / (pace(begin) or 1))
            sources.append(("stale", lambda at: pace(at) * faults.stale if at > warm else 0.0, partial(_stale, business.site, visitors.name), LATE))
        for name, rate, make, verdict in sources:
            self._start(self._arrivals(Random(f"{self.seed} {business.site} {name}"), begin, None, rate, make, verdict))
        self._start(voices.accounts(begin))
        for number, incident in enumerate(calendar.planned):
            self._start(self._incident(incident, Random(f"{self.seed} incident {number}"), pace, visitors, voices))

    def _arrivals(
        self, rnd: Random, at: int, end: int | None, often: Callable[[int], float], make: Callable[[int], Process], verdict: str = APPLIED
    ) -> Process:
        """Starts processes at random moments, `often(at)` per ms on average."""
        edge = self.calendar.next_edge(at)
        while end is None or at < end:
            limit = at + LONGEST_LOOK
            if edge is not None and edge < limit:
                limit = edge
            rate = often(at)
            after = at + rnd.expovariate(rate) if rate > 0 else limit
            if after < limit:
                at = int(after) + 1
                if end is None or at < end:
                    yield at, "", None
                    self._start(make(at), verdict)
            else:  # nothing until then: ask again, with the traffic of then
                at = limit
                yield at, "", None
            if edge is not None and at >= edge:
                edge = self.calendar.next_edge(at)

    def _incident(self, incident: Incident, rnd: Random, pace: Callable[[int], float], visitors: Visitors, voices: Voices) -> Process:
        """What an incident adds; what it takes away or spoils is asked for where that happens."""
        end, strength = incident.start + incident.length, incident.strength
        add = partial(self._arrivals, rnd, incident.start, end)
        if incident.kind == "feedback_storm":
            cause = texts.pick_cause(rnd, voices.business.kind)

            def complain(at: int) -> Process:
                lot = rnd.random()
                if lot < 0.45:
                    return voices.mention(at, texts.NEGATIVE, cause)
                return voices.review(at, 1 if lot < 0.7 else 2, cause) if lot < 0.75 else voices.ticket(at, cause)

            return add(lambda at: pace(at) * TEXTS_PER_EVENT * STORM * strength, complain)
        if incident.kind == "viral_post":
            praise = add(lambda at: pace(at) * TEXTS_PER_EVENT * VIRAL_MENTIONS * strength, lambda at: voices.mention(at, texts.POSITIVE, "quality"))
            self._start(praise)
            self._start(voices.post(incident.start, strength))
            return add(lambda at: pace(at) * strength / _VISIT_EVENTS[visitors.business.kind], lambda at: visitors.visit(at, VIRAL))
        if incident.kind == "bot_wave":
            return add(lambda at: pace(at) * strength / _CRAWLED, visitors.crawl, BOT)
        return iter(())


def _stale(site: str, name: Callable[[str], str], at: int) -> Process:
    """A page view that took nine days to arrive."""
    visitor = name("v")
    yield at, f"{site}/v:{visitor}", {"type": "page_viewed", "site": site, "visitor": visitor, "path": "/", "at": at - 9 * DAY}
