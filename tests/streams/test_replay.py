"""Replay in one process: routing, receipts, the end of input, and the same readings however the input is cut."""

import json
import random
from datetime import UTC, datetime
from typing import Any

import pytest

from streams import events as e
from streams.examples import EXAMPLES
from streams.panes import DAY, HOUR, MINUTE, SECOND, Pane
from streams.partition import Partition
from streams.replay import Replay, Router, encode_reading, final_readings, shifted
from streams.topics import partition_of

START = int(datetime(2026, 3, 2, 8, tzinfo=UTC).timestamp()) * SECOND
SITES = ("shop", "blog", "app")
TEXTS = ("I love this shop, great!", "Terrible, I hate it.", "It arrived on Monday.", "Sehr schön 😍")


def event(kind: str, number: int, at: int, /, **fields: Any) -> dict[str, Any]:
    return {"type": kind, "id": f"e{number}", "site": "shop", "at": at} | fields


def mixed(count: int, seed: int = 1, *, hostile: bool = True, hours: int = 6) -> list[bytes]:
    """Events of several topics and sites over some hours, a little out of order; hostile ones are late, repeated, broken or from bots."""
    rnd = random.Random(seed)
    found: list[bytes] = []
    for number in range(count):
        at = START + number * hours * HOUR // count - rnd.choice((0, 0, 0, rnd.randrange(5 * MINUTE)))
        common: dict[str, Any] = {"site": rnd.choice(SITES)}
        if rnd.random() < 0.2:
            common["segment"] = rnd.choice(("smb", "enterprise"))
        who: dict[str, Any] = {rnd.choice(("customer", "visitor")): f"{rnd.randrange(150)}"}
        author = {"author": f"a/{rnd.randrange(80)}"}
        kinds: dict[str, dict[str, Any]] = {
            "page_viewed": who | {"path": f"/{rnd.choice('abcd')}/x", "referrer": rnd.choice(("https://www.google.com/", "https://t.co/x", ""))},
            "goal_reached": who | {"goal": "newsletter"},
            "order_completed": who | {"order": f"o{number}", "total_minor": 100, "currency": "EUR"},
            "mention_posted": author | {"post": f"p{number}", "network": rnd.choice(("x", "mastodon")), "text": rnd.choice(TEXTS)},
            "interaction_made": author | {"network": "x", "kind": "comment", "text": rnd.choice(TEXTS)},
            "review_posted": author | {"review": f"r{rnd.randrange(300)}", "source": "store", "rating": rnd.randrange(6), "text": rnd.choice(TEXTS)},
            "survey_answered": who | {"survey": "nps", "score": rnd.randrange(11), "comment": rnd.choice(TEXTS)},
            "ticket_opened": who | {"ticket": f"t{number}", "text": rnd.choice(TEXTS), "language": "de"},
            "consent_changed": who | {"purpose": "profiling", "granted": False},
            "spend_recorded": {"channel": "paid", "amount_minor": 5, "currency": "EUR"},
        }
        kind = rnd.choices(tuple(kinds), (50, 5, 5, 12, 6, 10, 4, 4, 2, 2))[0]
        line = json.dumps(event(kind, number, at, **common, **kinds[kind])).encode()
        found.append(line)
        if hostile:
            found += _hostile(rnd, number, at, line)
    return found


def _hostile(rnd: random.Random, number: int, at: int, line: bytes) -> list[bytes]:
    view = {"visitor": f"{rnd.randrange(150)}", "path": "/late"}
    match rnd.randrange(60):
        case 0:
            return [line]  # again
        case 1:
            return [json.dumps(event("page_viewed", number, at - rnd.choice((2 * HOUR, 30 * HOUR, 9 * DAY, 500 * DAY)), **view)).encode()]
        case 2:
            return [rnd.choice((b"{", b"[1]", b'{"type": "review_posted"}', b'{"type": "nothing"}', b"\xff", line[:-1] + b', "more": 1}'))]
        case 3:
            return [json.dumps(event("page_viewed", number, at, user_agent="Googlebot/2.1", **view)).encode()]
        case 4:  # a client's clock two hours ahead, and one that was not repaired
            return [
                json.dumps(event("page_viewed", number, at + 2 * HOUR, sent_at=at + 2 * HOUR, received_at=at + 2, **view)).encode(),
                json.dumps(event("page_viewed", number + 10**6, at + HOUR, received_at=at, **view)).encode(),
            ]
        case 5:
            return [json.dumps(event("page_viewed", number, at, path="/nobody")).encode()]
    return []


def all_readings(replay: Replay) -> list[bytes]:
    return sorted(encode_reading(reading) for reading in replay.readings())


# --- routing -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", sorted(EXAMPLES))
def test_every_type_goes_to_its_topic_and_key(kind: str) -> None:
    line = json.dumps(EXAMPLES[kind]).encode()
    routed = Router(8).route(line)
    found = e.decode(line)
    assert isinstance(found, e.Event)
    key = e.key_of(found).encode()
    assert (routed.topic, routed.key, routed.partition, routed.value) == (e.TYPES[kind].topic, key, partition_of(key, 8), line)


@pytest.mark.parametrize(
    ("line", "topic"),
    [
        (b"{", "website"),
        (b'{"type": 5}', "website"),
        (b'{"type": "review_posted"}', "reviews"),
        (b'{"type": "signed_up", "x": 1}', "customers"),
        (b"[]", "website"),
    ],
)
def test_a_line_that_is_no_event_goes_where_it_claims_to_belong_and_fails(line: bytes, topic: str) -> None:
    routed = Router(8).route(line)
    assert (routed.topic, routed.key, routed.partition, routed.at, routed.headers) == (topic, None, partition_of(line, 8), None, ())
    counts = Replay().feed([line]).accounting()
    assert counts["received"] == 1
    assert counts["unaccounted"] == 0
    assert sum(number for name, number in counts.items() if name.startswith("failed.")) == 1


def test_the_receipt_is_the_newest_event_time_of_topic_and_partition() -> None:
    router = Router(1)
    ats = [1000, 500, 2000]
    views = [json.dumps(event("page_viewed", number, START + at, visitor="v", path="/")).encode() for number, at in enumerate(ats)]
    assert [router.route(line).receipt - START for line in views] == [1000, 1000, 2000]
    other = json.dumps(event("ticket_opened", 9, START + 700, visitor="v", ticket="t")).encode()
    assert router.route(other).receipt == START + 700
    own = json.dumps(event("page_viewed", 10, START + 900, received_at=START + 950, visitor="v", path="/")).encode()
    routed = router.route(own)
    assert routed.receipt == START + 950
    assert routed.headers == (("engage-receipt", str(START + 950).encode()),)


def test_what_says_no_time_happened_with_what_came_before_it() -> None:
    first, second = ({"type": "signed_in", "id": name, "site": "shop", "visitor": "v"} for name in "ab")
    timed = json.dumps(event("signed_in", 9, START, visitor="v")).encode()
    untimed = [json.dumps(line).encode() for line in (first, second, second)]
    router = Router(1)
    assert [(routed.at, routed.receipt) for routed in map(router.route, (untimed[0], timed, untimed[1]))] == [(None, 0), (START, START), (START, START)]
    assert router.route(untimed[0]).headers == (("engage-receipt", b"%d" % START),)
    said = {"received": 4, "failed.bad_time": 1, "applied": 2, "duplicate": 1, "unaccounted": 0}
    assert Replay(partitions=1).feed([untimed[0], timed, *untimed[1:]]).accounting() == said


def test_nothing_is_clamped_but_what_its_own_receipt_refutes() -> None:
    far_apart = [json.dumps(event("page_viewed", number, START + number * DAY, visitor="v", path="/")).encode() for number in range(5)]
    assert Replay().feed(far_apart).accounting() == {"received": 5, "applied": 5, "unaccounted": 0}
    ahead = json.dumps(event("page_viewed", 9, START + 6 * DAY, received_at=START + 5 * DAY, visitor="v", path="/")).encode()
    assert Replay().feed([*far_apart, ahead]).accounting()["flag.clamped"] == 1


def test_shifting_moves_every_instant_of_an_event_and_leaves_the_rest() -> None:
    line = json.dumps(event("commitment_due", 1, START, customer="1", commitment="x", kind="visit", due_at="2026-03-02T10:00:00+01:00")).encode()
    moved = json.loads(shifted(line, HOUR))
    assert (moved["at"], moved["due_at"]) == (START + HOUR, "2026-03-02T11:00:00+01:00")
    assert shifted(b'{"at": 5}', HOUR) == b'{"at": 5}'


# --- counting ----------------------------------------------------------------------------------------------------------


def test_the_accounting_knows_every_line() -> None:
    lines = mixed(3000)
    counts = Replay().feed(lines).accounting()
    assert counts["received"] == len(lines)
    assert counts["unaccounted"] == 0
    assert {"applied", "late", "duplicate", "bot", "failed.too_old", "failed.not_json", "failed.no_subject", "flag.clamped", "flag.partly_late"} <= set(counts)


@pytest.mark.parametrize("chunk", [1, 37, 100_000])
def test_readings_do_not_depend_on_where_the_flushes_are(chunk: int) -> None:
    lines = mixed(600)
    usual, other = Replay(partitions=4).feed(lines, 100), Replay(partitions=4).feed(lines, chunk)
    assert all_readings(other) == all_readings(usual)
    assert other.accounting() == usual.accounting()


def test_a_subject_is_forgotten_by_event_time_not_by_the_sweep_of_a_flush() -> None:
    """Two months: what a subject carried is forgotten after 45 days of silence, wherever the flushes are."""
    lines = mixed(1200, seed=100, hours=24 * 60)
    assert all_readings(Replay(partitions=4).feed(lines, 17)) == all_readings(Replay(partitions=4).feed(lines, 200))


@pytest.mark.parametrize("partitions", [1, 3, 16])
def test_readings_of_tame_input_do_not_depend_on_the_number_of_partitions(partitions: int) -> None:
    lines = mixed(800, hostile=False)
    assert all_readings(Replay(partitions=partitions).feed(lines)) == all_readings(Replay().feed(lines))


@pytest.mark.parametrize("order", [("reviews", "social", "website", "customers"), ("customers", "website", "reviews", "social")])
def test_readings_do_not_depend_on_how_topics_interleave(order: tuple[str, ...]) -> None:
    """Kafka keeps the order of a partition, not of topics: here each topic comes after the other."""
    lines = mixed(1500, seed=3)
    router = Router(4)
    by_topic = sorted(lines, key=lambda line: order.index(router.route(line).topic))
    usual, other = Replay(partitions=4).feed(lines, 200), Replay(partitions=4).feed(by_topic, 130)
    assert all_readings(other) == all_readings(usual)
    assert other.accounting() == usual.accounting()


class Restarted(Replay):
    """After every flush each partition is thrown away and loaded from its rows, as a new owner would."""

    def __init__(self, partitions: int) -> None:
        super().__init__(partitions=partitions)
        self.rows: list[dict[bytes, bytes]] = [{} for _ in range(partitions)]

    def _flush(self) -> None:
        for number, (partition, table) in enumerate(zip(self.partitions, self.rows, strict=True)):
            flush = partition.snapshot()
            for key, value in flush.rows:
                if value is None:
                    table.pop(key, None)
                else:
                    table[key] = value
            self.partitions[number] = Partition(number, len(self.partitions))
            self.partitions[number].load(table.items())
            self._carry(flush)


@pytest.mark.parametrize("seed", [1, 2])
def test_restarts_change_nothing(seed: int) -> None:
    lines = mixed(1500, seed)
    usual, restarted = Replay(partitions=2).feed(lines, 90), Restarted(2).feed(lines, 90)
    restarted._flush()  # the last partials
    assert all_readings(restarted) == all_readings(usual)
    assert restarted.accounting() == usual.accounting()


def test_the_end_of_input_matures_everything_and_says_it_once() -> None:
    lines = [json.dumps(event("page_viewed", number, START + number * MINUTE, visitor="v", path="/")).encode() for number in range(3)]
    replay = Replay().feed(lines)
    found = [json.loads(encode_reading(reading)) for reading in replay.readings()]
    assert list(found[0]) == ["kpi", "site", "dimensions", "window", "value", "n", "low", "high", "state"]
    total = [(r["kpi"], r["window"]["start"], r["window"]["end"], r["value"]) for r in found if not r["dimensions"]]
    assert len(total) == len(set(total))
    day = ("2026-03-02T00:00:00Z", "2026-03-03T00:00:00Z")
    for kpi, start, end, value in [
        ("page_views", "2026-03-02T08:01:00Z", "2026-03-02T08:02:00Z", 1),
        ("page_views", *day, 3),
        ("daily_visitors", *day, 1),
        ("weekly_visitors", "2026-03-02T00:00:00Z", "2026-03-09T00:00:00Z", 1),
        ("sessions", "2026-03-02T08:00:00Z", "2026-03-02T08:15:00Z", 1),
        ("pages_per_session", *day, 3.0),  # the last 24 hours, matured
        ("session_duration", *day, 120.0),
        ("active_visitors", "2026-03-02T07:58:00Z", "2026-03-02T08:03:00Z", 1),
    ]:
        assert (kpi, start, end, value) in total
    assert not [r for r in found if r["state"] == "no_data"]
    assert [r["kpi"] for r in found if not r["dimensions"]].count("active_visitors") == 1
    only_days = {json.loads(encode_reading(reading))["window"]["start"] for reading in replay.readings((Pane.DAY,))}
    assert "2026-03-02T08:01:00Z" not in only_days


def test_no_input_no_readings() -> None:
    replay = Replay().feed([])
    assert list(replay.readings()) == []
    assert replay.accounting() == {"received": 0, "unaccounted": 0}
    assert list(final_readings(replay.partitions[0].rollups)) == []


def sparse(seed: int, number: int, days: int) -> list[bytes]:
    """Eight people over a long time, each event by chance, here and there a page view soon after; up to 50 minutes out of order."""
    draw = random.Random(seed)
    wires: list[dict[str, Any]] = []
    for n in range(number):
        wire: dict[str, Any] = {"id": f"{n}", "site": "shop", "at": START + int(draw.random() * days * DAY), "visitor": f"v{draw.randrange(8)}"}
        wire |= draw.choice(({}, {"segment": "a"}, {"segment": "b"})) | draw.choice(({}, {"channel": "x"}))
        wire |= draw.choice((
            {"type": "page_viewed", "path": "/"}, {"type": "page_viewed", "path": "/a"}, {"type": "product_added", "product": "p", "quantity": 1},
            {"type": "order_completed", "order": f"o{draw.randrange(40)}", "total_minor": 100, "currency": "EUR"},
            {"type": "order_refunded", "order": f"o{draw.randrange(40)}", "amount_minor": 60, "currency": "EUR"},
            {"type": "review_posted", "review": f"r{draw.randrange(60)}", "source": "s", "rating": draw.randrange(1, 6)},
            {"type": draw.choice(("ticket_opened", "ticket_answered")), "ticket": f"t{draw.randrange(30)}"},
            {"type": draw.choice(("message_sent", "message_opened")), "message": f"m{draw.randrange(30)}", "campaign": "c", "medium": "email"},
        ))  # fmt: skip
        wires.append(wire)
        if draw.random() < 0.5:
            later = wire["at"] + draw.randrange(1, 40 * MINUTE)
            wires.append({"id": f"{n}+", "type": "page_viewed", "path": "/z", "site": "shop", "at": later, "visitor": wire["visitor"]})
    return [json.dumps(wire).encode() for wire in sorted(wires, key=lambda wire: wire["at"] + draw.randrange(50 * MINUTE))]


@pytest.mark.parametrize(("seed", "days"), [(1, 500), (2, 60), (3, 5)])
def test_it_does_not_matter_how_long_a_flush_waits(seed: int, days: int) -> None:
    lines = sparse(seed, 300, days)
    usual = Replay(partitions=2).feed(lines, 90)
    for chunk in (1, 5_000):
        other = Replay(partitions=2).feed(lines, chunk)
        assert all_readings(other) == all_readings(usual)
        assert other.accounting() == usual.accounting()
