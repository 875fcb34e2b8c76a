"""What `engage run` shows: a table that follows the stream on a terminal, lines elsewhere."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Final

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from agents.metrics import window_name
from streams.aggregates import Quantile
from streams.kpis import KPIS
from streams.panes import DAY, HOUR, MINUTE

KEEPS_NOTHING: Final = "The embedded broker keeps nothing: when this ends, events and measures are gone."
VERDICTS: Final = ("applied", "late", "duplicate", "bot", "failed", "refused")
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
    produced_rate: float = 0.0
    applied_rate: float = 0.0
    status: Status = field(default_factory=Status)
    readings: dict[ReadingKey, Shown] = field(default_factory=dict)
    readings_seen: int = 0
    alerts: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    """The latest transition of every alert, by its id."""
    transitions: list[tuple[str, str]] = field(default_factory=list)
    """Rule and state of every transition, in order."""

    @property
    def produced(self) -> int:
        return self.made + self.sent_in

    def take(self, message: Mapping[str, Any]) -> None:
        """Note a message of the topic `readings`; totals are shown, all are counted."""
        for reading in message["readings"]:
            self.readings_seen += 1
            if not reading["dimensions"]:
                key = (message["site"], reading["kpi"], length_of(reading["window"]))
                said = reading.get("alert_state"), reading.get("learning_until")
                self.readings[key] = Shown(reading["value"], reading["n"], reading["state"], *said)

    def sites(self) -> list[str]:
        """Those to show, the busiest first."""
        return sorted({site for site, _, _ in self.readings}, key=lambda site: (-self._size(site), site))[:SITES_SHOWN]

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
        self.alerts[alert["id"]] = alert

    def usual(self, site: str, kpi: str, length: int) -> float | None:
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
        return f"received {counts['received']:,} = {parts} · unaccounted {self.status.unaccounted:,}"

    def rates(self) -> str:
        return (
            f"{self.phase} · {self.seconds:.0f} s · produced {self.produced:,} ({self.produced_rate:,.0f}/s) · "
            f"applied {self.applied_rate:,.0f}/s · lag {self.status.lag:,}"
        )

    def line(self) -> str:
        """For a file or a pipe: one line."""
        measures = "  ".join(f"{kpi}[{window_name(length)}]={formatted(kpi, shown)}" for _, kpi, length, shown in self.top() if shown.value is not None)
        firing = "".join(f" | FIRING {alert['annotations'].get('summary', alert['rule'])}" for alert in self.firing())
        return f"{self.rates()} | {self.accounting()}{firing} | {measures or 'no measures yet'}"

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

    def screen(self, height: int = 1_000) -> RenderableType:
        """For a terminal with so many lines: what fires stands above the measures, which take what is left."""
        wrong = self.status.unaccounted != 0
        above = [
            Text(f"broker {self.broker} (embedded) · metrics {self.metrics}", style="dim"),
            Text(f"events {self.door}", style="dim"),
            Text(f"{KEEPS_NOTHING} Ctrl-C ends it.", style="yellow"),
            Text(""),
            Text(self.rates()),
            Text(self.accounting(), style="bold red" if wrong else ""),
            Text(""),
            *(self._alert_lines() if self.alerts else [Text("no alerts", style="dim")]),
            Text(""),
        ]
        learning = min((shown.learning_until for *_, shown in self.top() if shown.learning_until), default=None)
        until = f" · …: detectors learn what is usual until {datetime.fromisoformat(learning):%d %b %H:%M} UTC" if learning else ""
        below = Text(f"usual: the rest of the last 24 hours · n: facts behind it · grey: too few of them{until}", style="dim")
        return Group(*above, self._table(max(3, height - len(above) - 6)), below)  # a line for the titles, and some that may be broken

    def _table(self, rows: int) -> Table:
        """The first rows: one per measure and window, and for each site its value, what is usual, and over how many facts it is."""
        sites = self.sites()
        table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 1, 0, 0))
        table.add_column("measure", no_wrap=True)
        table.add_column("over", no_wrap=True)
        for site in sites:
            for title in (Text(site, style="bold not dim"), "usual", "n"):
                table.add_column(title, justify="right", no_wrap=True, min_width=7)
        firing = {(alert["site"], alert["kpi"], length_of(alert["window"])): STYLES[alert["severity"]] for alert in self.firing()}
        known = [(kpi, length) for kpi, length in TOP if any((site, kpi, length) in self.readings for site in sites)]
        for kpi, length in known[:rows]:
            keys = [(site, kpi, length) for site in sites]
            table.add_row(kpi, window_name(length), *(cell for key in keys for cell in self._cells(key, firing.get(key, ""))))
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
