"""What `engage run` shows: a table that follows the stream on a terminal, lines elsewhere."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from streams.kpis import KPIS
from streams.panes import HOUR, MINUTE

KEEPS_NOTHING: Final = "The embedded broker keeps nothing: when this ends, events and measures are gone."
VERDICTS: Final = ("applied", "late", "duplicate", "bot", "failed", "refused")
TOP: Final = (
    ("active_visitors", 5 * MINUTE),
    ("page_views", 5 * MINUTE),
    ("page_views", HOUR),
    ("sessions", HOUR),
    ("bounce_rate", HOUR),
    ("engagement_rate", HOUR),
    ("pages_per_session", HOUR),
    ("session_duration_median", HOUR),
    ("mentions", HOUR),
    ("net_sentiment", HOUR),
    ("negative_share", HOUR),
    ("reviews", HOUR),
    ("mean_rating", HOUR),
    ("low_rating_share", HOUR),
)
"""Measures on the screen, each with the length of its window (ms)."""
SITES_SHOWN: Final = 3
UNITS: Final = {kpi.name: kpi.unit for kpi in KPIS}
STATES: Final = {"ok": "ok", "no_data": "no data", "insufficient_data": "too few"}

ReadingKey = tuple[str, str, int]
"""Site, measure, length of the window (ms)."""


@dataclass(frozen=True)
class Shown:
    """One reading of a site's total, as it came from the topic `readings`."""

    value: float | int | None
    n: int
    state: str


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
    phase: str = "starting"
    seconds: float = 0.0
    produced: int = 0
    produced_rate: float = 0.0
    applied_rate: float = 0.0
    status: Status = field(default_factory=Status)
    readings: dict[ReadingKey, Shown] = field(default_factory=dict)
    readings_seen: int = 0

    def take(self, message: Mapping[str, Any]) -> None:
        """Note a message of the topic `readings`; totals are shown, all are counted."""
        for reading in message["readings"]:
            self.readings_seen += 1
            if not reading["dimensions"]:
                key = (message["site"], reading["kpi"], length_of(reading["window"]))
                self.readings[key] = Shown(reading["value"], reading["n"], reading["state"])

    def top(self) -> Iterator[tuple[str, str, int, Shown]]:
        """Site, measure, window and reading of the rows to show."""
        sites = sorted({site for site, _, _ in self.readings})[:SITES_SHOWN]
        for site in sites:
            for kpi, length in TOP:
                if (shown := self.readings.get((site, kpi, length))) is not None:
                    yield site, kpi, length, shown

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
        measures = "  ".join(f"{kpi}[{window(length)}]={formatted(kpi, shown)}" for _, kpi, length, shown in self.top() if shown.value is not None)
        return f"{self.rates()} | {self.accounting()} | {measures or 'no measures yet'}"

    def screen(self) -> RenderableType:
        """For a terminal."""
        table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
        for title, justify in (("site", "left"), ("measure", "left"), ("value", "right"), ("n", "right"), ("window", "left"), ("state", "left")):
            table.add_column(title, justify=justify)  # type: ignore[arg-type]
        for site, kpi, length, shown in self.top():
            style = "" if shown.state == "ok" else "dim"
            table.add_row(site, kpi, formatted(kpi, shown), f"{shown.n:,}", window(length), STATES.get(shown.state, shown.state), style=style)
        if not table.row_count:
            table.add_row("", "waiting for the first measures", "", "", "", "", style="dim")
        wrong = self.status.unaccounted != 0
        return Group(
            Text(f"broker   {self.broker} (embedded)", style="dim"),
            Text(f"metrics  {self.metrics}", style="dim"),
            Text(KEEPS_NOTHING, style="yellow"),
            Text(""),
            table,
            Text(""),
            Text(self.rates()),
            Text(self.accounting(), style="bold red" if wrong else ""),
            Text("Ctrl-C ends it.", style="dim"),
        )


def length_of(bounds: Mapping[str, str]) -> int:
    """Length (ms) of a window as it is published."""
    return round((datetime.fromisoformat(bounds["end"]) - datetime.fromisoformat(bounds["start"])).total_seconds() * 1000)


def window(length: int) -> str:
    return f"{length // HOUR} h" if length % HOUR == 0 else f"{length // MINUTE} min"


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
