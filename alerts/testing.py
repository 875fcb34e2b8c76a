"""Unit tests of rules: what a test states is played, and what fires is compared with what it expects.

Nothing is made up for a test: stated facts go into the pane rows of a real partition, events through the whole intake, and
the rules are judged by the watch that judges them in a worker, in virtual time.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Final, Generic, NamedTuple, TypeVar

import msgspec

from alerts.cases import Case, Check, Expected
from alerts.conditions import Detect
from alerts.evaluation import Alert, instant
from alerts.explain import dimensions_text, in_unit, threshold_text
from alerts.playback import Arrival, Playback
from alerts.rules import Rule
from streams.events import millis
from streams.panes import MINUTE, utc

T = TypeVar("T")
STRIDE: Final = 15 * MINUTE
"""Facts are stated in portions of so much time, where nothing asks for less."""
NOTHING: Final = "nothing fires"


class Failure(NamedTuple):
    """Where a test found something else than it expected."""

    at: int
    """Instant (ms)."""
    alert: str
    expected: tuple[str, ...]
    found: tuple[str, ...]
    hints: tuple[str, ...] = ()
    """What the rule saw then."""


def run(test: Case) -> list[Failure]:
    """Play a test; what was not as expected, in order of time."""
    playback = Playback(test.rules, test.sites)
    failures: list[Failure] = []
    arrivals = _arrivals(test, playback)
    facts = [(feed, _Ahead(feed.facts())) for feed in test.feeds]
    spoken = [(feed.site, *span) for feed in test.feeds for span in feed.spoken()]
    events, checks = _Ahead(iter(arrivals)), _Ahead(iter(test.checks))
    for minute in _stops(test, arrivals):
        heard = {site for site, begin, end in spoken if begin < minute <= end}
        for feed, ahead in facts:
            while ahead.next is not None and ahead.next[0] <= minute:
                _, at, cell = ahead.take()
                playback.state(feed.site, feed.kpi, feed.labels, at, cell)
        while events.next is not None and events.next.at < minute:
            heard.add((events.next.record.key or b"").partition(b"/")[0].decode())
            playback.hand(events.take())
        playback.pass_to(minute, heard)
        while checks.next is not None and checks.next.at <= minute:
            failures += _differences(checks.take(), playback)
    playback.settle()
    for rule in test.rules.rules:
        if rule.name in test.never:
            failures += _not_silent(rule, playback)
    return sorted(failures, key=lambda failure: failure.at)


class _Ahead(Generic[T]):
    """An iterator whose next item can be looked at; None at its end."""

    def __init__(self, items: Iterator[T]) -> None:
        self._items = items
        self.next = next(items, None)

    def take(self) -> T:
        """The next item; there must be one."""
        item, self.next = self.next, next(self._items, None)
        assert item is not None
        return item


def _arrivals(test: Case, playback: Playback) -> list[Arrival]:
    """The events as they come: each when it happens, or with the one before it where that happened later."""
    newest, found = test.start, []
    for arrival in map(playback.arriving, test.events):
        newest = max(newest, arrival.at)
        found.append(arrival._replace(at=newest))
    return found


def _stops(test: Case, arrivals: Sequence[Arrival]) -> list[int]:
    """The minutes (ms) at which time halts: where something is asked, comes, or falls silent, and every quarter of an hour of a series."""
    of_events = [at // MINUTE * MINUTE + after for at, *_ in arrivals for after in (0, MINUTE)]
    of_speech = [edge for feed in test.feeds for span in feed.spoken() for edge in span]
    of_checks = [check.at for check in test.checks]
    end_of_series = max((feed.end for feed in test.feeds), default=test.start)
    stops = {test.start + MINUTE, end_of_series, *range(test.start, end_of_series, STRIDE), *of_events, *of_speech, *of_checks}
    return sorted(minute for minute in stops if minute > test.start)


def _differences(check: Check, playback: Playback) -> list[Failure]:
    """What fires of a rule now, compared with what must."""
    firing = [alert for alert in playback.firing() if alert.rule == check.alert]
    left, wrong = list(firing), list[tuple[str, str]]()
    for expected in sorted(check.firing, key=lambda one: -len(one.labels)):
        alert = next((alert for alert in left if expected.labels.items() <= alert.labels.items()), None)
        if alert is None:
            severity = f"as {expected.labels['severity']}" if "severity" in expected.labels else ""
            wrong.append((" ".join(filter(None, ("fires", labels_text(expected.labels), severity))), ""))
        else:
            left.remove(alert)
            wrong += _wrong(alert, expected)
    if not wrong and not left:
        return []
    wanted = [text for text, _ in wrong] or [f"{len(check.firing)} firing, no more" if check.firing else NOTHING]
    found = [text for _, text in wrong if text] + [describe(alert) for alert in left]
    return [Failure(check.at, check.alert, tuple(wanted), tuple(found or ["nothing more fires" if firing else NOTHING]), tuple(_hints(check, playback)))]


def _not_silent(rule: Rule, playback: Playback) -> Iterator[Failure]:
    """Where a rule fired that must not; or at the end, where it could not have, because nothing of its measure was counted."""
    for alert in playback.transitions:
        if alert.rule == rule.name and alert.transition == "firing":
            yield Failure(millis(alert.started), rule.name, (f"{NOTHING}, at any time",), (describe(alert),))
    if not any(True for _ in playback.label_sets(rule)):
        yield Failure(playback.reached, rule.name, (f"something of {rule.kpi.name}, or that it never fires says nothing",), (_uncounted(rule),))


def _uncounted(rule: Rule) -> str:
    return f"nothing was counted of {rule.kpi.name}" + (f" by {', '.join(rule.by)}" if rule.by else "")


def _wrong(alert: Alert, expected: Expected) -> Iterator[tuple[str, str]]:
    """Figures and texts that are not as expected: (how they should be, how they are)."""
    of = labels_text({name: value for name, value in alert.labels.items() if name in expected.labels}) or alert.rule
    for name in ("value", "usual", "n"):
        wanted, found = getattr(expected, name), getattr(alert, name)
        if wanted is not msgspec.UNSET and not is_same(wanted, found):
            yield f"{of} {name} {wanted}", f"{of} {name} {found}"
    for name, text in expected.annotations.items():
        if alert.annotations.get(name) != text:
            yield f"{of} {name}: {text}", f"{of} {name}: {alert.annotations.get(name, '')}"


def is_same(wanted: float | None, found: float | None) -> bool:
    """Whether a figure is what is wanted, to as many decimals as are written."""
    if wanted is None or found is None:
        return wanted is found
    exponent = Decimal(str(wanted)).as_tuple().exponent
    return round(Decimal(str(found)), -min(0, int(exponent))) == Decimal(str(wanted))


def describe(alert: Alert) -> str:
    """A firing alert in a line."""
    risen = "" if alert.escalated is None else f"as {alert.severity} since {instant(alert.escalated)}, "
    return f"fires {labels_text(alert.labels)} {risen}value {_number(alert.value)}, usual {_number(alert.usual)}, n {alert.n}, since {instant(alert.since)}"


def labels_text(labels: Mapping[str, str]) -> str:
    """As Prometheus writes them, without those that every alert of a rule has."""
    shown = {name: value for name, value in labels.items() if name not in ("alertname", "service", "severity", "domain")}
    return "{" + ", ".join(f'{name}="{value}"' for name, value in shown.items()) + "}" if shown else ""


def _number(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.6g}"


def _hints(check: Check, playback: Playback) -> Iterator[str]:
    """What the rule sees of each label set that does not fire."""
    rule = next(rule for rule in playback.rules.rules if rule.name == check.alert)
    firing = {(alert.site, tuple(alert.dimensions.values())) for alert in playback.firing() if alert.rule == rule.name}
    seen = [one for one in playback.label_sets(rule) if one not in firing]
    for site, values in seen:
        sees = _by_detector(rule, playback, site, values) if isinstance(rule.condition, Detect) else _by_reading(rule, playback, site, values, check.at)
        yield f"{site}, {dimensions_text(dict(zip(rule.by, values, strict=True)))}: {sees}; the rule asks for {threshold_text(rule.kpi, rule.condition)}"
    if not seen and not firing:
        yield _uncounted(rule)


def _by_reading(rule: Rule, playback: Playback, site: str, values: tuple[str, ...], at: int) -> str:
    reading = playback.read(rule, site, values, at, rule.window)
    standing = playback.owner(site).standing(site, rule.name, values)
    if reading is None or reading.value is None:
        return f"no {rule.kpi.name}"
    few = f", too few: at least {rule.least}" if reading.n < rule.least else ""
    pending = f", pending since {instant(utc(standing.since))}" if standing.phase == "pending" else ""
    return f"{rule.kpi.name} is {in_unit(rule.kpi, reading.value)} (n {reading.n:,}{few}{pending})"


def _by_detector(rule: Rule, playback: Playback, site: str, values: tuple[str, ...]) -> str:
    finding = playback.owner(site).finding(site, rule.name, values)
    if finding is None:
        return f"no {rule.kpi.name} yet"
    if finding.learning_until is not None:
        return f"learns until {instant(utc(finding.learning_until))}"
    return f"{finding.state}, {finding.value:.4g} (n {finding.n:,}, usual {finding.usual:.4g}), {finding.statistic:.3g} of the {finding.threshold:.3g} it takes"


# --- what is tested ---------------------------------------------------------------------------------------------------


class Coverage(NamedTuple):
    """What tests say about a rule."""

    fires: bool
    """Some test expects it to fire."""
    silent: bool
    """Some test expects it never to fire."""


def coverage(rules: Iterable[Rule], tests: Sequence[Case]) -> dict[str, Coverage]:
    """By rule, whether its firing and its silence are tested."""
    fires = {check.alert for test in tests for check in test.checks if check.firing}
    silent = frozenset().union(*(test.never for test in tests))
    return {rule.name: Coverage(rule.name in fires, rule.name in silent) for rule in rules}
