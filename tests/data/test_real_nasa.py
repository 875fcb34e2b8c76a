"""A web server's log of 1995: page views, visitors, sessions.

Definitions: a page view is GET answered 200 or 304 of a path that is no picture, film or archive (the set's own). The set starts a
session after *more* than 30 minutes, we (as GA4) after 30 minutes, so sessions are recounted here by both rules.
"""

import re
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise

import pytest

from streams.panes import DAY, HOUR, MINUTE
from tests.data.adapters import DataSet, Event, Figures

STATIC = re.compile(r"(?i)\.(gif|jpe?g|xbm|mpg|mpeg|wav|au|mov|avi|txt|map|css|js|ico|pdf|zip)$")
SITE = "nasa"


def page_views(data: DataSet) -> list[dict[str, str]]:
    return [row for row in data.rows if row["method"] == "GET" and row["response"] in ("200", "304") and not STATIC.search(row["url"])]


def events(data: DataSet) -> Iterator[Event]:
    for number, row in enumerate(page_views(data)):
        yield {
            "type": "page_viewed",
            "id": str(number),
            "site": SITE,
            "at": int(row["time"]) * 1000,
            "visitor": row["host"],
            "path": row["url"],
        }


def recount(data: DataSet, gap_exactly_30_splits: bool) -> list[list[int]]:
    """Sessions as lists of times, by host and gap, without the product."""
    times: dict[str, list[int]] = {}
    for row in page_views(data):
        times.setdefault(row["host"], []).append(int(row["time"]))
    found: list[list[int]] = []
    for of_host in times.values():
        session = [of_host[0]]
        for before, after in pairwise(of_host):
            gap = after - before
            if gap > 1800 or (gap == 1800 and gap_exactly_30_splits):
                found.append(session)
                session = []
            session.append(after)
        found.append(session)
    return found


@pytest.fixture(scope="module")
def data() -> DataSet:
    return DataSet("nasa_http_1995_08_01", "access.csv.gz")


@pytest.fixture(scope="module")
def figures(data: DataSet) -> Figures:
    return Figures(events(data))


def test_every_event_is_applied(figures: Figures, data: DataSet) -> None:
    expected = data.expected["pageviews"]
    assert figures.accounting == {"received": expected, "applied": expected, "unaccounted": 0}


def test_page_views_and_visitors_are_those_of_the_set(figures: Figures, data: DataSet) -> None:
    assert figures.one("page_views", DAY, SITE).value == figures.count("page_views", SITE) == figures.count("page_views", SITE, MINUTE) == 8968
    assert figures.one("daily_visitors", DAY, SITE).value == data.expected["sessions_gap_30min"]["visitors"] == 2229


def test_page_views_per_minute(figures: Figures, data: DataSet) -> None:
    recounted = Counter(int(row["time"]) // 60 for row in page_views(data))
    said = {int(start.timestamp()) // 60: reading.value for start, reading in figures.of_length("page_views", MINUTE, SITE).items()}
    assert said == recounted


def test_the_recount_gives_the_figures_of_the_set_under_its_rule(data: DataSet) -> None:
    sessions, expected = recount(data, gap_exactly_30_splits=False), data.expected["sessions_gap_30min"]
    assert len(sessions) == expected["sessions"] == 2822
    assert sum(len(session) == 1 for session in sessions) == expected["bounced_sessions(hits==1)"]
    assert sum(session[-1] - session[0] for session in sessions) / len(sessions) == pytest.approx(expected["mean_duration_s"], abs=1e-6)


def test_sessions_by_our_rule(figures: Figures, data: DataSet) -> None:
    """One gap is exactly 30:00, so there is one session more than the set says."""
    sessions = recount(data, gap_exactly_30_splits=True)
    assert len(sessions) == data.expected["sessions_gap_30min"]["sessions"] + 1
    assert figures.count("sessions", SITE, 15 * MINUTE) == len(sessions)
    # GA4: a bounce has one page view, no key event, and lasts no more than 10 s.
    bounced = sum(len(session) == 1 and session[-1] - session[0] <= 10 for session in sessions)
    bounce_rate = figures.one("bounce_rate", DAY, SITE)
    assert (bounce_rate.value, bounce_rate.numerator, bounce_rate.n) == (bounced / len(sessions), bounced, len(sessions))
    assert figures.one("engagement_rate", DAY, SITE).value == pytest.approx(1 - bounced / len(sessions))
    assert figures.one("pages_per_session", DAY, SITE).value == pytest.approx(8968 / len(sessions))
    assert figures.one("session_duration", DAY, SITE).value == pytest.approx(sum(session[-1] - session[0] for session in sessions) / len(sessions))


@pytest.mark.parametrize(("kpi", "q"), [("session_duration_median", 0.5), ("session_duration_p90", 0.9)])
def test_quantiles_of_duration_within_two_per_cent(figures: Figures, data: DataSet, kpi: str, q: float) -> None:
    durations = sorted(session[-1] - session[0] for session in recount(data, gap_exactly_30_splits=True))
    exact = durations[-(-round(q * 100) * len(durations) // 100) - 1]  # nearest rank
    assert figures.one(kpi, DAY, SITE).value == pytest.approx(exact, rel=0.02)


def test_views_by_route_add_up_to_the_total(figures: Figures, data: DataSet) -> None:
    """`/shuttle/…` is one route: the first segment of the path, however many slashes stand before it."""
    recounted = sum(re.match(r"/+shuttle(?:[/?#]|$)", row["url"]) is not None for row in page_views(data))
    assert figures.one("page_views", DAY, SITE, route="/shuttle").value == recounted
    hours = Counter(int(row["time"]) // 3600 for row in page_views(data))
    minutes = figures.of_length("page_views", MINUTE, SITE)
    for hour, views in hours.items():
        assert sum(int(reading.value or 0) for start, reading in minutes.items() if int(start.timestamp() * 1000) // HOUR == hour) == views
