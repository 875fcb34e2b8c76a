"""Unique visitors by calendar day, week and month of the site's time zone, with the labels of the earliest view."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.engagement import FAMILIES
from streams.facts import DailyVisitor, MonthlyVisitor, WeeklyVisitor
from streams.sites import Site, Sites
from tests.streams.records import T0, D, H, event, intake, pane_rows, view

BERLIN = ZoneInfo("Europe/Berlin")
FACTS = {"daily_visitor": DailyVisitor, "weekly_visitor": WeeklyVisitor, "monthly_visitor": MonthlyVisitor}


def visitors(state, fact: str, zone=UTC) -> dict[tuple, int]:
    """Visitors by (date of the period's start, source)."""
    index = FAMILIES[FACTS[fact]].indices[f"{fact}s"][0]
    rows = {key: cell for key, cell in pane_rows(state).items() if key[0] == fact and key[2] == "source"}
    return {(datetime.fromtimestamp(key[4] / 1000, zone).date().isoformat(), key[5]): cell[index] for key, cell in rows.items()}


def test_a_subject_counts_once_per_day_week_and_month():
    state = intake(view(T0), view(T0 + H), view(T0 + D), view(T0 + 7 * D), view(T0 + 30 * D), event("element_clicked", T0 + 31 * D, visitor="v1"))
    assert [day for day, _ in visitors(state, "daily_visitor")] == ["2026-03-02", "2026-03-03", "2026-03-09", "2026-04-01"]
    assert [day for day, _ in visitors(state, "weekly_visitor")] == ["2026-03-02", "2026-03-09", "2026-03-30"]
    assert [day for day, _ in visitors(state, "monthly_visitor")] == ["2026-03-01", "2026-04-01"]


@pytest.mark.parametrize("named", [True, False], ids=["named", "default"])
def test_days_are_those_of_the_sites_zone(named):
    """23:30 and 00:30 in Berlin are one day in UTC and two in Berlin."""
    site = Site(time_zone="Europe/Berlin")
    sites = Sites({"shop": site}) if named else Sites(default=site)
    state = intake(view(T0 - 90 * 60_000), view(T0 - 30 * 60_000), sites=sites)
    assert [day for day, _ in visitors(state, "daily_visitor", BERLIN)] == ["2026-03-01", "2026-03-02"]
    assert [day for day, _ in visitors(state, "weekly_visitor", BERLIN)] == ["2026-02-23", "2026-03-02"]
    assert len(visitors(state, "monthly_visitor", BERLIN)) == 1


def test_the_labels_are_those_of_the_earliest_view():
    wires = [view(T0 + H, referrer="https://t.co/"), view(T0, referrer="https://www.google.com/")]
    for fact in FACTS:
        for order in (1, -1):
            assert [(source, n) for (_, source), n in visitors(intake(*wires[::order]), fact).items()] == [("search", 1)]


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 7 * 24), st.sampled_from(["v1", "v2"]), st.sampled_from([None, "https://t.co/"])), min_size=1, max_size=20),
    st.sampled_from(["UTC", "Europe/Berlin", "Pacific/Apia"]),
    st.data(),
)
def test_any_order_gives_the_visitors_of_the_sorted_views(moments, name, data):
    """Over a week: all three periods are inside their grace of 8 days."""
    zone = ZoneInfo(name)
    wires = [view(T0 + hours * H, id=f"{number:02}", visitor=visitor, referrer=referrer) for number, (hours, visitor, referrer) in enumerate(moments)]
    state = intake(*data.draw(st.permutations(wires)), sites=Sites(default=Site(time_zone=name)))
    earliest: dict[tuple, str] = {}
    for wire in sorted(wires, key=lambda wire: (wire["at"], wire["id"])):
        date = datetime.fromtimestamp(wire["at"] / 1000, zone).date()
        monday = date.fromordinal(date.toordinal() - date.weekday())
        for fact, start in (("daily_visitor", date), ("weekly_visitor", monday), ("monthly_visitor", date.replace(day=1))):
            earliest.setdefault((fact, start.isoformat(), wire["visitor"]), "social" if "referrer" in wire else "direct")
    expected: dict[tuple, int] = {}
    for (fact, start, _), source in earliest.items():
        expected[fact, start, source] = expected.get((fact, start, source), 0) + 1
    assert {(fact, *key): number for fact in FACTS for key, number in visitors(state, fact, zone).items()} == expected
