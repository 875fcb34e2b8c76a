"""Incidents as text."""

import pytest

from simulator.incidents import KINDS, Calendar, Incident, parse_incident


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("feedback_storm@45s+60s", Incident("feedback_storm", 45_000, 60_000)),
        ("payment_failure@2m+3m*2", Incident("payment_failure", 120_000, 180_000, 2.0)),
        (" bot_wave@0+1h30m*0.5 ", Incident("bot_wave", 0, 5_400_000, 0.5)),
    ],
)
def test_incidents(text: str, expected: Incident) -> None:
    assert parse_incident(text) == expected
    assert expected.kind in KINDS


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("feedback_storm", "write KIND@START"),
        ("feedback_storm@45+60s", "no duration"),
        ("feedback_storm@45s+367d", "longer than 366 days"),
        ("feedback_strom@45s+60s", "there are feedback_storm"),
        ("bot_wave@1s+1s*1000", "too much"),
        ("bot_wave@1s+1s*-1", "write KIND@START"),
    ],
)
def test_what_is_no_incident(text: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        parse_incident(text)


def test_the_calendar_adds_up_what_overlaps_and_knows_the_next_edge() -> None:
    calendar = Calendar([Incident("bot_wave", 10, 20), Incident("bot_wave", 20, 20, 2.0), Incident("traffic_drop", 0, 5)], live=1_000)
    assert [calendar.strength("bot_wave", 1_000 + at) for at in (9, 10, 20, 29, 30, 39, 40)] == [0, 1, 3, 3, 2, 2, 0]
    assert [calendar.next_edge(1_000 + at) for at in (-1, 0, 10, 40)] == [1_000, 1_005, 1_020, None]
