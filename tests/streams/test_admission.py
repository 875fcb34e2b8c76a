"""Bots, the ids of events already judged, and the counters that account for every record."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.admission import BOT_VERDICTS_KEPT, BotFilter, SeenIds, unaccounted
from tests.streams.records import T0, D, M


@pytest.mark.parametrize(
    ("agent", "bot"),
    [
        ("", False),
        ("Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36", False),
        ("Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.1 Mobile/15E148 Safari/604.1", False),
        ("Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)", True),
        ("Mozilla/5.0 (compatible; bingbot/2.0; +http://www.bing.com/bingbot.htm)", True),
        ("facebookexternalhit/1.1", True),
    ],
)
def test_bots_by_user_agent(agent, bot):
    assert BotFilter().judge(agent) is bot if agent else BotFilter().verdicts[agent] is bot


def test_verdicts_on_agents_are_bounded():
    bots = BotFilter()
    for number in range(BOT_VERDICTS_KEPT):
        bots.verdicts[str(number)] = False
    assert bots.judge("Googlebot/2.1")
    assert bots.verdicts == {"": False, "Googlebot/2.1": True}


def test_unaccounted_is_received_less_verdicts():
    assert unaccounted({"received": 6, "applied": 1, "late": 1, "duplicate": 1, "bot": 1, "failed.empty": 1, "refused.erased": 1, "flag.clamped": 9}) == 0
    assert unaccounted({"received": 2, "applied": 1}) == 1


def add(seen: SeenIds, ids, at: int, topic: str = "website") -> None:
    for identity in ids:
        seen.ids.add(identity)
        seen.fresh.append(identity)
    seen.newest[topic] = max(at, seen.newest.get(topic, at))


def drained(seen: SeenIds, rows: dict, seq: int, watermark: int) -> None:
    for key, value in seen.drain(seq, {"website": watermark}):
        if value is None:
            del rows[key]
        else:
            rows[key] = value


def reloaded(rows: dict, seen: SeenIds) -> SeenIds:
    again = SeenIds(seen.most)
    again.horizon = dict(seen.horizon)
    again.load(rows.items())
    return again


def test_rows_of_ten_minutes_are_merged_into_one():
    seen, rows = SeenIds(), {}
    for minute in range(10):
        add(seen, [minute], T0 + minute * M)
        drained(seen, rows, minute, T0)
    assert len(rows) == 10
    add(seen, [99], T0 + 10 * M)
    drained(seen, rows, 10, T0)
    assert list(rows) == [b"i/0"]
    assert reloaded(rows, seen).ids == {*range(10), 99}


def test_ids_expire_eight_days_behind_the_watermark():
    seen, rows = SeenIds(), {}
    add(seen, [1], T0)
    drained(seen, rows, 1, T0)
    add(seen, [2], T0 + 10 * M)
    drained(seen, rows, 2, T0)
    drained(seen, rows, 3, T0 + 10 * M + 8 * D)
    assert seen.ids == {1, 2}, "exactly the grace is still held"
    drained(seen, rows, 4, T0 + 10 * M + 8 * D + 1)
    assert (seen.ids, rows, seen.horizon) == (set(), {}, {})


def test_when_the_number_binds_the_oldest_go_and_the_horizon_says_so():
    seen, rows = SeenIds(most=16), {}
    for number in range(12):
        add(seen, [2 * number, 2 * number + 1], T0 + number * M)
        drained(seen, rows, number, T0)
    assert len(seen.ids) == 16
    assert seen.ids == set(range(8, 24)), "oldest first"
    assert seen.horizon == {"website": T0 + 3 * M}
    assert seen.held_since() == {"website": T0 + 4 * M}
    assert reloaded(rows, seen).ids == seen.ids


@settings(max_examples=60)
@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 4 * 60)), min_size=1, max_size=60), st.integers(0, 60), st.sampled_from([24, 10_000]))
def test_a_restart_at_any_flush_changes_nothing(flushes, cut, most):
    """Ids, horizon and rows are those of a run without the restart."""

    def run(stop: int | None):
        seen, rows, newest, fresh = SeenIds(most), {}, T0, iter(range(10**6))
        for number, (ids, minutes) in enumerate(flushes):
            if number == stop:
                seen = reloaded(rows, seen)
            newest = max(newest, T0 + number * 30 * M + minutes * M)
            add(seen, [next(fresh) for _ in range(ids)], newest) if ids else None
            drained(seen, rows, number, newest)
        return rows, seen.ids, seen.horizon, seen.held_since()

    assert run(cut) == run(None)
