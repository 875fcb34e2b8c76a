"""What `engage run` shows: a table that follows the stream on a terminal, lines elsewhere."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from rich.console import Console, Group, RenderableType
from rich.measure import Measurement
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from streams.admission import VERDICTS
from streams.aggregates import Quantile
from streams.kpis import KPIS
from streams.panes import DAY, HOUR, MINUTE
from streams.windows import window_name

KEEPS_NOTHING: Final = "The embedded broker keeps nothing: when this ends, events and measures are gone."
TOP: Final = (
    ("active_visitors", 5 * MINUTE),
    ("page_views", 5 * MINUTE),
    ("negative_share", 5 * MINUTE),
    ("negative_share", HOUR),
    ("net_sentiment", HOUR),
    ("mean_rating", HOUR),
    ("low_rating_share", HOUR),
    ("mentions", HOUR),
    ("reviews", HOUR),
    ("tickets", HOUR),
    ("page_views", HOUR),
    ("sessions", HOUR),
    ("bounce_rate", HOUR),
    ("engagement_rate", HOUR),
    ("pages_per_session", HOUR),
    ("session_duration_median", HOUR),
    ("orders", HOUR),
    ("cart_abandonment", HOUR),
    ("payment_failures", HOUR),
)
"""Measures on the screen, each with the length of its window (ms)."""
SITES_SHOWN: Final = 2
LINE_MEASURES: Final = 8
"""Of a site, where there is no screen."""
PARTS: Final = ("value", "usual", "n")
"""What the screen has of a site; without room it does without the last ones."""
ALERTS_SHOWN: Final = 5
STYLES: Final = {"page": "bold red", "ticket": "yellow", "info": "cyan"}
UNITS: Final = {kpi.name: kpi.unit for kpi in KPIS}
QUANTILES: Final = frozenset(kpi.name for kpi in KPIS if isinstance(kpi.value, Quantile))

ReadingKey = tuple[str, str, int]
"""Site, measure, length of the window (ms)."""


@dataclass(frozen=True)
class Shown:
    """One reading of a site's total, as it came from the topic `readings`."""

    value: float | int | None
    n: int
    state: str
    alert_state: str | None = None
    learning_until: str | None = None


@dataclass
class Status:
    """What a worker says on /status, added up over its partitions."""

    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(("received", *VERDICTS), 0))
    unaccounted: int = 0
    lag: int = 0
    ready: bool = False

    @classmethod
    def of(cls, status: Mapping[str, Any]) -> "Status":
        total = cls(ready=bool(status["ready"]))
        for partition in status["partitions"].values():
            state = partition["state"]
            total.unaccounted += abs(state["unaccounted"])
            total.lag += sum(partition["lag"].values())
            for counts in state["counts"].values():
                for name, number in counts.items():
                    verdict = name.partition(".")[0]
                    if verdict in total.counts:
                        total.counts[verdict] += number
        return total


@dataclass
class View:
    """All that is on the screen."""

    broker: str = ""
    metrics: str = ""
    door: str = ""
    """Where events may be sent to, and with which key."""
    phase: str = "starting"
    seconds: float = 0.0
    made: int = 0
    """Events of the made-up shop or the file."""
    sent_in: int = 0
    """Events that came from outside, through the collector."""
    refused_at_door: int = 0
    """Of those sent to the collector, what it refused: on the topic `failed`, with the reason. They never were on a topic of events."""
    on_log: int = 0
    """Events on their topics when the run ended; 0 before."""
    produced_rate: float = 0.0
    applied_rate: float = 0.0
    status: Status = field(default_factory=Status)
    readings: dict[ReadingKey, Shown] = field(default_factory=dict)
    readings_seen: int = 0
    alerts: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    """The latest transition of every alert, by its id."""
    transitions: list[tuple[str, str]] = field(default_factory=list)
    """Rule and state of every transition, in order."""
    _before: dict[ReadingKey, float | None] = field(default_factory=dict)
    """What was usual as the last trouble of a site began."""
    _reached: dict[str, datetime] = field(default_factory=dict)
    """By site, the end of its newest window."""

    @property
    def produced(self) -> int:
        return self.made + self.sent_in

    @property
    def elsewhere(self) -> int:
        """Events that others sent to the broker."""
        return max(0, max(self.on_log, self.status.counts["received"]) - self.produced)

    @property
    def missing(self) -> int:
        """Events that the worker has not received, of those on the log and of those that were acknowledged to us."""
        return max(0, max(self.produced, self.on_log) - self.status.counts["received"])

    def take(self, message: Mapping[str, Any]) -> None:
        """Note a message of the topic `readings`; totals are shown, all are counted."""
        for reading in message["readings"]:
            self.readings_seen += 1
            if not reading["dimensions"]:
                key = (message["site"], reading["kpi"], length_of(reading["window"]))
                said = reading.get("alert_state"), reading.get("learning_until")
                self.readings[key] = Shown(reading["value"], reading["n"], reading["state"], *said)
                end = datetime.fromisoformat(reading["window"]["end"])
                self._reached[key[0]] = max(self._reached.get(key[0], end), end)

    def sites(self, most: int = SITES_SHOWN) -> list[str]:
        """Those to show, the busiest first."""
        return sorted({site for site, _, _ in self.readings}, key=lambda site: (-self._size(site), site))[:most]

    def top(self) -> Iterator[tuple[str, str, int, Shown]]:
        """Site, measure, window and reading of the rows to show."""
        for site in self.sites():
            for kpi, length in TOP:
                if (shown := self.readings.get((site, kpi, length))) is not None:
                    yield site, kpi, length, shown

    def _size(self, site: str) -> int:
        """How much goes on there: the busiest site stands first."""
        return max((shown.n for (name, kpi, _), shown in self.readings.items() if name == site and kpi == "page_views"), default=0)

    def take_alert(self, alert: Mapping[str, Any]) -> None:
        """Note a message of the topic `alerts`; what was said already is not new."""
        if (known := self.alerts.get(alert["id"])) is None or known["state"] != alert["state"]:
            self.transitions.append((alert["rule"], alert["state"]))
            if alert["state"] == "firing" and not self._is_troubled(alert["site"]):
                self._before |= {key: self._of_the_rest(*key) for key in self.readings if key[0] == alert["site"]}
        self.alerts[alert["id"]] = alert

    def usual(self, site: str, kpi: str, length: int) -> float | None:
        """What the measure says of the rest of the last 24 hours. As long as these hold trouble, what they said before it: an incident is not usual."""
        return self._before.get((site, kpi, length)) if self._is_troubled(site) else self._of_the_rest(site, kpi, length)

    def _is_troubled(self, site: str) -> bool:
        """Whether an alert of the site fires, or ended within the last 24 hours of its events."""
        ends = [alert.get("ended") for alert in self.alerts.values() if alert["site"] == site]
        return any(end is None or datetime.fromisoformat(end) + timedelta(days=1) > self._reached.get(site, datetime.min.replace(tzinfo=UTC)) for end in ends)

    def _of_the_rest(self, site: str, kpi: str, length: int) -> float | None:
        """What the measure says of the rest of the last 24 hours, for counts of a part of them as long as the window; None where there is no rest."""
        day, now = self.readings.get((site, kpi, DAY)), self.readings.get((site, kpi, length))
        if day is None or now is None or day.value is None or length >= DAY:
            return None
        if UNITS[kpi] == "count":
            return (day.value - (now.value or 0)) * length / (DAY - length)
        if now.value is None or kpi in QUANTILES:
            return day.value
        rest = day.n - now.n
        return (day.value * day.n - now.value * now.n) / rest if rest > 0 else None

    def accounting(self) -> str:
        """Where every event went."""
        counts = self.status.counts
        parts = " · ".join(f"{name} {counts[name]:,}" for name in VERDICTS)
        beside = f" · refused at the door {self.refused_at_door:,}" if self.refused_at_door else ""
        others = f" · {self.elsewhere:,} came from elsewhere" if self.on_log and self.elsewhere else ""
        return f"received {counts['received']:,} = {parts} · unaccounted {self.status.unaccounted:,}{beside}{others}"

    def rates(self) -> str:
        return (
            f"{self.phase} · {self.seconds:.0f} s · produced {self.produced:,} ({self.produced_rate:,.0f}/s) · "
            f"applied {self.applied_rate:,.0f}/s · lag {self.status.lag:,}"
        )

    def lines(self) -> str:
        """For a file or a pipe: a line, and one for each site."""
        firing = "".join(f" | FIRING {alert['annotations'].get('summary', alert['rule'])}" for alert in self.firing())
        said = [f"{self.rates()} | {self.accounting()}{firing}"]
        for site in self.sites():
            of_site = [(kpi, length, shown) for name, kpi, length, shown in self.top() if name == site and shown.value is not None]
            said.append(f"  {site}: " + "  ".join(f"{kpi}[{window_name(length)}]={formatted(kpi, shown)}" for kpi, length, shown in of_site[:LINE_MEASURES]))
        return "\n".join(said)

    def firing(self) -> list[Mapping[str, Any]]:
        return [alert for alert in self.alerts.values() if alert["state"] == "firing"]

    def _alert_lines(self) -> Iterator[RenderableType]:
        """What fires, the gravest first and the latest of these, then what is over; of the first also why."""
        graver = list(STYLES)[::-1]
        shown = sorted(self.alerts.values(), key=lambda alert: (alert["state"] == "firing", graver.index(alert["severity"]), alert["started"]), reverse=True)
        for place, alert in enumerate(shown[:ALERTS_SHOWN]):
            fires = alert["state"] == "firing"
            style = STYLES[alert["severity"]] if fires else "green"
            yield Text(f"{'▲' if fires else '✓'} {alert['rule']}  {alert['annotations']['summary']}", style=style, no_wrap=True, overflow="ellipsis")
            if fires and place == 0:
                why = alert["annotations"].get("why") or alert["annotations"].get("description", "")
                yield Padding(Text(why, style="dim"), (0, 0, 0, 2))

    def screen(self, console: Console) -> RenderableType:
        """What fits there: what fires stands above the measures, which take the rest; what there is no room for is named."""
        sites, parts = self._fitting(console)
        above = Group(
            Text(f"broker {self.broker} (embedded) · metrics {self.metrics}", style="dim"),
            Text(f"events {self.door}", style="dim"),
            Text(f"{KEEPS_NOTHING} Ctrl-C ends it.", style="yellow"),
            Text(""),
            Text(self.rates()),
            Text(self.accounting(), style="bold red" if self.status.unaccounted else ""),
            Text(""),
            *(self._alert_lines() if self.alerts else [Text("no alerts", style="dim")]),
            Text(""),
        )
        below = Text(self._legend(sites, parts), style="dim")
        taken = sum(len(console.render_lines(part)) for part in (above, below))
        return Group(above, self._table(max(3, console.height - taken - 2), sites, parts), below)  # but for the titles, and a line to spare

    def _legend(self, sites: Sequence[str], parts: Sequence[str]) -> str:
        """What the table's words mean, and what it leaves out."""
        troubled = ", ".join(site for site in sites if self._is_troubled(site))
        said = [f"usual: the rest of the last 24 hours{f' ({troubled}: those before the alert)' if troubled else ''}", "n: facts behind it"]
        said.append("grey: too few of them")
        if learning := min((shown.learning_until for *_, shown in self.top() if shown.learning_until), default=None):
            said.append(f"…: detectors learn what is usual until {datetime.fromisoformat(learning):%d %b %H:%M} UTC")
        if more := len({site for site, _, _ in self.readings}) - len(sites):
            said.append(f"{more} more site{'s' * (more > 1)}")
        if left_out := [part for part in PARTS if part not in parts]:
            said.append(f"a wider terminal shows {' and '.join(left_out)}")
        return " · ".join(said)

    def _fitting(self, console: Console) -> tuple[Sequence[str], Sequence[str]]:
        """The sites that fit beside each other, and what there is room for of each."""
        layouts = [(self.sites(most), PARTS) for most in range(SITES_SHOWN, 0, -1)] + [(self.sites(1), PARTS[:number]) for number in (2, 1)]
        unbounded = console.options.update(width=1_000)
        fitting = (layout for layout in layouts if Measurement.get(console, unbounded, self._table(len(TOP), *layout)).maximum <= console.width)
        return next(fitting, layouts[-1])

    def _table(self, rows: int, sites: Sequence[str], parts: Sequence[str]) -> Table:
        """The first rows: one per measure and window, and for each site its value, what is usual, and over how many facts it is."""
        table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 1, 0, 0))
        table.add_column("measure", no_wrap=True)
        table.add_column("over", no_wrap=True)
        for site in sites:
            titles: tuple[Text | str, ...] = (Text(site, style="bold not dim"), *parts[1:])
            for title in titles:
                table.add_column(title, justify="right", no_wrap=True, min_width=7)
        firing = {(alert["site"], alert["kpi"], length_of(alert["window"])): STYLES[alert["severity"]] for alert in self.firing()}
        known = [(kpi, length) for kpi, length in TOP if any((site, kpi, length) in self.readings for site in sites)]
        for kpi, length in known[:rows]:
            keys = [(site, kpi, length) for site in sites]
            table.add_row(kpi, window_name(length), *(cell for key in keys for cell in list(self._cells(key, firing.get(key, "")))[: len(parts)]))
        if not table.row_count:
            table.add_row(Text("waiting for the first measures", style="dim"))
        return table

    def _cells(self, key: ReadingKey, style: str) -> Iterator[Text]:
        """Value, usual and n; grey where there are too few facts. A count is its own n, and the made-up past is too thin to say what is usual of it."""
        shown, kpi = self.readings.get(key), key[1]
        if shown is None:
            yield from (Text(), Text(), Text())
            return
        usual = None if UNITS[kpi] == "count" else self.usual(*key)
        learns = " …" if shown.alert_state == "learning" else ""
        yield Text(formatted(kpi, shown) + learns, style=style if shown.state == "ok" else "dim")
        yield Text("" if usual is None else formatted(kpi, replace(shown, value=usual)), style="dim")
        yield Text("" if UNITS[kpi] == "count" else f"{shown.n:,}", style="dim")


def can_redraw(console: Console) -> bool:
    """Whether a screen can be kept up to date there; a dumb terminal gets lines, as a file does."""
    return console.is_terminal and not console.is_dumb_terminal


def length_of(bounds: Mapping[str, str]) -> int:
    """Length (ms) of a window as it is published."""
    return round((datetime.fromisoformat(bounds["end"]) - datetime.fromisoformat(bounds["start"])).total_seconds() * 1000)


def formatted(kpi: str, shown: Shown) -> str:
    """A value as people read it."""
    value = shown.value
    if value is None:
        return "–"
    match UNITS.get(kpi):
        case "ratio":
            return f"{100 * value:.1f} %"
        case "seconds":
            return f"{value:.0f} s"
        case "stars":
            return f"{value:.2f}"
        case "score":
            return f"{value:+.2f}"
        case "pages":
            return f"{value:.1f}"
        case _:
            return f"{value:,.0f}"
