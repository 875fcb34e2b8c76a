"""Real sessions with and without a purchase, as events through replay.

Definitions. Conversion is the set's: rows with a purchase ÷ rows, per session and, as a row has no visitor, per visitor, each being one of its own. The
set knows neither days nor times, only month and weekend: a row lies on a day of its month that is a weekend or is not, in 2017 (any year would do). Its
pages are page views 10 s apart; of the months in `WHOLE` all of them, of the others one (34 a session would be 426,000 events). A row without any page
(six) has one here: the product knows no session without. The set's bounce rate is a mean over pages that others counted, ours is a share of sessions: it
is recounted. Site without configuration: every order reaches the goal `order`.
"""

from calendar import monthrange
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from streams.panes import DAY, QUARTER_HOUR, Pane
from tests.data.adapters import DataSet, Event, Figures

SITE, YEAR = "shop", 2017
MONTHS = {name: number for number, name in enumerate(("Jan", "Feb", "Mar", "Apr", "May", "June", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"), 1)}
WHOLE = ("Feb", "Aug")

pytestmark = pytest.mark.slow


def pages(row: dict[str, str]) -> int:
    return sum(int(row[kind]) for kind in ("Administrative", "Informational", "ProductRelated"))


def span(month: str) -> tuple[str, str]:
    """First and last day of a month."""
    return f"{YEAR}-{MONTHS[month]:02}-01", f"{YEAR}-{MONTHS[month]:02}-{monthrange(YEAR, MONTHS[month])[1]}"


def start(number: int, row: dict[str, str]) -> int:
    """Between 6 and 16 o'clock of a day that fits."""
    month = MONTHS[row["Month"]]
    days = [datetime(YEAR, month, day, 6, tzinfo=UTC) for day in range(1, monthrange(YEAR, month)[1] + 1)]
    fitting = [day for day in days if (day.weekday() >= 5) == (row["Weekend"] == "True")]
    return round(fitting[number % len(fitting)].timestamp() + number * 7919 % 36_000) * 1000


def events(data: DataSet) -> list[Event]:
    return sorted((event for number, row in enumerate(data.rows) for event in session(number, row)), key=lambda event: event["at"])


def session(number: int, row: dict[str, str]) -> Iterator[Event]:
    common = {"site": SITE, "visitor": f"v{number}", "segment": row["VisitorType"], "channel": row["TrafficType"]}
    at, views = start(number, row), max(1, pages(row)) if row["Month"] in WHOLE else 1
    for page in range(views):
        yield common | {"type": "page_viewed", "id": f"v{number}-{page}", "at": at + page * 10_000, "path": "/"}
    if row["Revenue"] == "True":
        yield common | {"type": "order_completed", "id": f"o{number}", "at": at + views * 10_000, "order": f"o{number}", "total_minor": 0, "currency": "EUR"}


@pytest.fixture(scope="module")
def data() -> DataSet:
    return DataSet("online_shoppers_intention", "sessions.csv.gz")


@pytest.fixture(scope="module")
def figures(data: DataSet) -> Figures:
    return Figures(events(data), (Pane.QUARTER_HOUR, Pane.DAY))


def test_all_rows_are_counted(figures: Figures, data: DataSet) -> None:
    viewed = sum(max(1, pages(row)) if row["Month"] in WHOLE else 1 for row in data.rows)
    received = viewed + data.expected["conversions"]
    assert figures.accounting == {"received": received, "applied": received, "unaccounted": 0}
    everything = (data.expected["conversions"], data.expected["sessions"])
    assert figures.tally("session_conversion_rate", SITE, ("source", "goal"), goal="order") == everything
    assert figures.tally("visitor_conversion_rate", SITE, ("segment", "goal"), length=DAY, goal="order") == everything


@pytest.mark.parametrize(("label", "figure"), [("segment", "by_visitor_type"), ("channel", "by_traffic_type")])
def test_conversion_by_label(figures: Figures, data: DataSet, label: str, figure: str) -> None:
    for value, expected in data.expected[figure].items():
        told = (expected["conversions"], expected["sessions"])
        assert figures.tally("session_conversion_rate", SITE, ("segment", "channel", "goal"), goal="order", **{label: value}) == told
        assert figures.tally("visitor_conversion_rate", SITE, (label, "goal"), length=DAY, goal="order", **{label: value}) == told


def test_conversion_by_month_and_weekend(figures: Figures, data: DataSet) -> None:
    for month, expected in data.expected["by_month"].items():
        told = figures.tally("session_conversion_rate", SITE, ("source", "goal"), span(month), goal="order")
        assert told == (expected["conversions"], expected["sessions"])
    panes = figures.of_length("session_conversion_rate", QUARTER_HOUR, SITE, source="direct", goal="order")
    for weekend, expected in data.expected["by_weekend"].items():
        told = [reading for start, reading in panes.items() if str(start.weekday() >= 5) == weekend]
        assert sum(reading.numerator for reading in told) == expected["conversions"]
        assert sum(reading.n for reading in told) == expected["sessions"]


@pytest.mark.parametrize("month", WHOLE)
def test_pages_and_bounces_of_whole_months(figures: Figures, data: DataSet, month: str) -> None:
    expected, days = data.expected["by_month"][month], span(month)
    panes = figures.of_length("pages_per_session", QUARTER_HOUR, SITE, source="direct")
    told = [reading for start, reading in panes.items() if start.month == MONTHS[month]]
    assert sum(reading.n for reading in told) == expected["sessions"]
    assert sum(reading.value * reading.n for reading in told) / expected["sessions"] == pytest.approx(expected["mean_pages"], abs=5e-7)
    left = sum(row["Month"] == month and pages(row) <= 1 and row["Revenue"] == "False" for row in data.rows)
    assert left > 0
    assert figures.tally("bounce_rate", SITE, ("source",), days) == (left, expected["sessions"])
