"""Themes: grams, what is new among them, and the laws of their counts from the intake to the ranking of a site."""

from collections import Counter
from collections.abc import Iterable
from itertools import groupby
from math import comb, log, sqrt
from random import Random
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.view import View
from simulator import texts
from simulator.sites import SHOP
from streams import grams, themes
from streams.engagement import FAMILIES
from streams.facts import TextJudged
from streams.grams import ALL, GRAM, LEAST_AUTHORS, Grams, author_bit, authors_of, grams_of, name_of, sample_of
from streams.panes import QUARTER_HOUR
from streams.partition import ROLLUPS, TELL_SECONDS, Partition
from streams.replay import Router
from streams.rollups import themes_of
from streams.sites import Site, Sites
from streams.themes import FALSE_DISCOVERIES, GRAMS_KEPT, PRIOR_WEIGHT, Part, Theme, chance, discovery_limit, merged, scores
from streams.topics import partition_of
from tests.streams.records import T0, D, H, M, Rec, S, event, pane_rows, store

Q = QUARTER_HOUR
COMPLAINTS = (
    "awful, the parcel locker is jammed", "parcel locker jammed, I hate it", "the app crashes, terrible", "terrible app, it crashes on Monday",
    "rude agent, bad service", "the refund is missing, very bad", "horrible smell in the room",
)  # fmt: skip


def said(text: str, at: int, author: str = "ann", **fields: Any) -> dict[str, Any]:
    return event("mention_posted", at, site="shop", author=author, text=text, brand=None, language="en", **fields)


class Cluster:
    """Some partitions with the rows they have written; what they publish is carried to the owners of the sites."""

    def __init__(self, partitions: int = 3, sites: Sites | None = None) -> None:
        self.sites = sites or Sites()
        self.count = partitions
        self.rows: list[dict[bytes, bytes]] = [{} for _ in range(partitions)]
        self.log: list[list[tuple[str, Rec]]] = [[] for _ in range(partitions)]
        self.published: list[tuple[int, bytes]] = []
        self._router = Router(partitions)
        self._offsets: Counter[tuple[int, str]] = Counter()
        self.states = [Partition(number, partitions, self.sites) for number in range(partitions)]

    def put(self, wires: Iterable[dict[str, Any]]) -> "Cluster":
        for wire in wires:
            routed = self._router.route(msgspec.json.encode(wire))
            self._apply(routed.partition, routed.topic, routed.receipt, routed.value)
        return self

    def _apply(self, partition: int, topic: str, receipt: int, value: bytes) -> None:
        record = Rec(self._offsets[partition, topic], receipt, value)
        self._offsets[partition, topic] += 1
        self.log[partition].append((topic, record))
        self.states[partition].apply(topic, [record])

    def flush(self) -> "Cluster":
        for partition, flush in enumerate([state.flush() for state in self.states]):
            store(self.rows[partition], flush)
            for message in flush.after if flush is not None else ():
                if message.topic == ROLLUPS and message.key is not None:
                    self.published.append((partition, message.value))
                    self._apply(self.owner(message.key), ROLLUPS, 0, message.value)
        return self

    def crash(self) -> "Cluster":
        """All workers die when their rows are written and nothing is published yet."""
        for partition, flush in enumerate([state.flush() for state in self.states]):
            store(self.rows[partition], flush)
        return self.restart()

    def owner(self, site: bytes = b"shop") -> int:
        return partition_of(site, self.count)

    def restart(self) -> "Cluster":
        """All workers die and come back: from their rows, and the log behind them."""
        for partition in range(self.count):
            state = self.states[partition] = Partition(partition, self.count, self.sites)
            state.load(list(self.rows[partition].items()))
            for topic, record in self.log[partition]:
                state.apply(topic, [record])
        return self

    def finish(self) -> "Cluster":
        return self.flush().flush()

    def heard(self) -> dict[tuple[str, int, str], list[int]]:
        """Texts and authors by site, pane and gram, over all intakes."""
        found: dict[tuple[str, int, str], list[int]] = {}
        for state in self.states:
            for site, panes in state.intake.grams.heard.items():
                for pane, heard in panes.items():
                    for gram, (number, authors) in heard.cells.items():
                        cell = found.setdefault((site, pane, gram), [0, 0])
                        cell[0] += number
                        cell[1] |= authors
        return found

    def book(self) -> themes.SiteThemes:
        return self.states[self.owner()].rollups.books["shop"].themes

    def themes(self, at: int) -> tuple[Theme, ...]:
        return themes_of(self.states[self.owner()].rollups, "shop", at)


# --- grams -----------------------------------------------------------------------------------------------------------


def test_grams_tell_what_a_text_is_about_and_not_how_it_feels():
    found = grams_of("My PARCEL is 3 days late, this is awful: see https://x.example/1 @shop ann@mail.example #LateAgain")
    assert {"parcel", "parcel is 0", "0 days late", "days late", "late"} <= found
    assert not found & {"my", "is", "awful", "my parcel", "parcel is", "0", "3", "shop", "user"}
    assert not any(sign in gram for gram in found for sign in ("@", "http", "mail"))


@pytest.mark.parametrize("text", ["awful", "I hate this so much, terrible!!", "no no no", "😭😭😭", "50-0", "@bob https://x.example", ""])
def test_a_feeling_alone_is_no_gram(text):
    assert grams_of(text) == set()


def test_negations_and_numbers_say_something_with_a_word():
    assert {"never arrived", "0 rounds"} <= grams_of("never arrived after 10 rounds")


@given(st.text(max_size=300))
def test_grams_of_any_text_are_bounded_words(text):
    found = grams_of(text)
    assert len(found) <= 3 * grams.WORDS_READ
    assert all(1 <= len(gram.split()) <= 3 and len(gram) <= 3 * grams.LONGEST_WORD + 2 for gram in found)


def test_samples_show_no_addresses_and_no_long_numbers():
    assert sample_of("@shop my order 4711123 is late, mail ann@mail.example https://x.example/4711") == "my order … is late, mail"


@given(st.sets(st.text(max_size=8), max_size=200))
def test_there_are_at_least_as_many_authors_as_bits(authors):
    bits = 0
    for author in authors:
        bits |= author_bit(author)
    assert bits.bit_count() <= len(authors)
    assert bits.bit_count() <= authors_of(bits, 10**6) or bits == 0
    assert authors_of(bits, len(authors)) <= len(authors)


def test_the_number_of_authors_is_about_right():
    for number in (3, 20, 100):
        bits = 0
        for author in range(number):
            bits |= author_bit(f"c:{author}")
        assert authors_of(bits, 10**6) == pytest.approx(number, rel=0.25, abs=1)


# --- what is new -----------------------------------------------------------------------------------------------------


def naive(now: dict[int, int], earlier: dict[int, int], prior: dict[int, int], name: int) -> float:
    """The formula as it is written in Monroe, Colaresi and Quinn 2008, equations 15, 16 and 19 to 22."""
    alpha = 500 * (prior.get(name, 0) + 0.5) / sum(prior.values())
    odds = [
        (counts.get(name, 0) + alpha) / (sum(counts.values()) + 500 - counts.get(name, 0) - alpha) for counts in (now, earlier)
    ]  # fmt: skip
    variance = 1 / (now.get(name, 0) + alpha) + 1 / (earlier.get(name, 0) + alpha)
    return (log(odds[0]) - log(odds[1])) / sqrt(variance)


COUNTS = st.dictionaries(st.integers(0, 30), st.integers(1, 200), max_size=30)


@settings(max_examples=60)
@given(COUNTS, COUNTS, COUNTS)
def test_the_score_is_the_published_formula(now, earlier, long_run):
    prior = Counter(now) + Counter(earlier) + Counter({98: 1, 99: 1}) + Counter(long_run)
    found = dict(scores(now, earlier, prior))
    for name, count in now.items():
        z = naive(now, earlier, prior, name)
        assert (name in found) == (count >= 5 and z >= 2.6)
        if name in found:
            assert found[name] == pytest.approx(z)
    assert [z for _, z in scores(now, earlier, prior)] == sorted(found.values(), reverse=True)


@pytest.mark.parametrize(("now", "earlier", "prior"), [({}, {}, {}), ({1: 9}, {}, {}), ({1: 9}, {}, {1: 9}), ({1: 9}, {1: 9}, {1: 18})])
def test_where_nothing_else_was_ever_said_nothing_is_new(now, earlier, prior):
    assert scores(now, earlier, prior) == []


@given(st.integers(0, 60), st.integers(0, 60), st.floats(0.01, 0.99))
def test_the_chance_is_the_tail_of_the_binomial(now, earlier, share):
    texts = now + earlier
    exact = sum(comb(texts, more) * share**more * (1 - share) ** (texts - more) for more in range(now, texts + 1))
    assert chance(now, earlier, share) == (1.0 if now <= share * texts else pytest.approx(exact, rel=1e-9))


@pytest.mark.parametrize(("now", "earlier"), [(10**5, 10**5), (5, 10**6), (10**6, 5)])
def test_the_chance_of_many_texts_is_a_probability(now, earlier):
    assert 0 <= chance(now, earlier, 0.04) <= 1


@given(st.lists(st.floats(0, 1), max_size=20), st.integers(20, 2_000))
def test_discoveries_are_those_of_benjamini_and_hochberg(chances, tested):
    """As they define it: reject the k smallest, k the largest rank whose p is at most rank·q/m."""
    ordered = sorted(chances)
    rejected = max([rank for rank in range(1, len(ordered) + 1) if ordered[rank - 1] <= FALSE_DISCOVERIES * rank / tested], default=0)
    assert sum(p <= discovery_limit(chances, tested) for p in chances if p > 0) == sum(p > 0 for p in ordered[:rejected])


def test_a_known_answer():
    """Worked by hand: α = 500·20.5/2000 = 5.125."""
    now, earlier, prior = {1: 20, 2: 480}, {1: 10, 2: 990}, {1: 20, 2: 1980}
    assert PRIOR_WEIGHT * 20.5 / 2000 == 5.125
    ((name, z),) = scores(now, earlier, prior)
    assert (name, round(z, 3)) == (1, round((log(25.125 / 974.875) - log(15.125 / 1484.875)) / sqrt(1 / 25.125 + 1 / 15.125), 3)) == (1, 2.852)


def theme(gram: str, count: int, z: float) -> Theme:
    return Theme(gram, count, 3, z)


def test_grams_that_contain_each_other_are_one_theme():
    found = [theme("locker", 20, 9), theme("parcel locker", 18, 8), theme("parcel", 40, 7), theme("new parcel locker", 10, 6), theme("lock", 20, 5)]
    assert [one.gram for one in merged(found)] == ["parcel locker", "parcel", "new parcel locker", "lock"]
    joined = [theme("carrier", 12, 6), theme("way and blame", 12, 5), theme("blame", 50, 4), theme("blame the carrier", 12, 3)]
    assert [one.gram for one in merged(joined)] == ["blame the carrier", "blame"], "what goes on from one to the other makes them one"


# --- laws ------------------------------------------------------------------------------------------------------------

TEXTS = st.lists(st.tuples(st.sampled_from(COMPLAINTS), st.integers(0, 40), st.integers(0, 59)), min_size=1, max_size=30)
CUTS = st.frozensets(st.integers(0, 29), max_size=6)


def wires_of(drawn: Iterable[tuple[str, int, int]]) -> list[dict[str, Any]]:
    return [said(text, T0 + minute * M, f"a{author}", id=f"i{number}") for number, (text, author, minute) in enumerate(drawn)]


def run(
    wires: Iterable[dict[str, Any]], flushes: frozenset[int] = frozenset(), restarts: frozenset[int] = frozenset(), crashes: frozenset[int] = frozenset()
) -> Cluster:
    cluster = Cluster()
    for number, wire in enumerate(wires):
        cluster.put([wire])
        if number in flushes | restarts:
            cluster.flush()
        if number in restarts:
            cluster.put([wire]).restart()
        if number in crashes:
            cluster.crash()
    return cluster.finish()


def counted(cluster: Cluster) -> Any:
    """What the owner of the site knows, whatever flush said it. Words are said with the quarter hour in which a third author came."""
    parts = {(pane, partition): msgspec.msgpack.decode(row, type=Part) for pane, some in cluster.book().parts.items() for partition, (_, row) in some.items()}
    words = {word for part in parts.values() for word in part.words}
    return cluster.heard(), words, {place: (part.texts, part.authors) for place, part in parts.items()}, cluster.themes(T0 + H - 1)


@settings(max_examples=25, deadline=None)
@given(TEXTS, st.data(), CUTS, CUTS, CUTS)
def test_order_flushes_and_crashes_do_not_matter(drawn, data, flushes, restarts, crashes):
    wires = wires_of(drawn)
    assert counted(run(data.draw(st.permutations(wires)), flushes, restarts, crashes)) == counted(run(wires))


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(COMPLAINTS), st.integers(0, 40), st.integers(0, 60)), min_size=1, max_size=30), st.data(), CUTS, CUTS, CUTS)
def test_nor_do_they_where_quarter_hours_are_dropped_meanwhile(drawn, data, flushes, restarts, crashes):
    """Texts over many hours, each under way for up to 55 minutes: what may not change any more is dropped, but never before it is told."""
    at, wires = T0, []
    for number, (text, author, minutes) in enumerate(drawn):
        at += minutes * M
        wires.append((at + data.draw(st.integers(0, 55)) * M, number, said(text, at, f"a{author}", id=f"i{number}")))
    arrived = [wire for _, _, wire in sorted(wires, key=lambda one: one[:2])]
    assert counted(run(arrived, flushes, restarts, crashes))[2] == counted(run(wire for _, _, wire in wires))[2]


@settings(max_examples=15, deadline=None)
@given(TEXTS, CUTS)
def test_replay_of_what_was_read_is_a_no_op(drawn, flushes):
    cluster = run(wires_of(drawn), flushes)
    before = counted(cluster)
    for restarted in (False, True):
        if restarted:
            cluster.restart()
        for partition, state in enumerate(cluster.states):
            assert not any(state.apply(topic, [record]) for topic, record in cluster.log[partition])
        assert counted(cluster) == before


@settings(max_examples=15, deadline=None)
@given(TEXTS, CUTS, st.data())
def test_partials_may_come_in_any_order_and_again(drawn, flushes, data):
    plain = run(wires_of(drawn), flushes)
    mixed = Partition(plain.owner(), plain.count, Sites())
    values = [value for _, value in plain.published]
    mixed.rollups.apply(data.draw(st.permutations(values)))
    mixed.rollups.apply(data.draw(st.lists(st.sampled_from(values), max_size=4)))
    assert mixed.rollups.books["shop"].themes.parts == plain.book().parts
    assert themes_of(mixed.rollups, "shop", T0 + H - 1) == plain.themes(T0 + H - 1)


def test_a_text_counts_once_in_each_gram_whatever_the_partitions():
    wires = wires_of((text, author, author % 60) for author, text in enumerate(COMPLAINTS * 20))
    one, many = Cluster(1).put(wires).finish(), Cluster(8).put(wires).finish()
    assert one.heard() == many.heard()
    total: Counter[str] = Counter()
    for (_, _, gram), (number, _) in one.heard().items():
        total[gram] += number
    assert total[ALL] == len(wires)
    assert total["parcel locker"] == 40


def test_as_many_texts_are_taken_as_the_measures_call_negative():
    texts_of = [*COMPLAINTS, "all fine, thank you", "it is a parcel", "love it"]
    state = Cluster(1).put(said(texts_of[number % 10], T0 + number * M, f"a{number}") for number in range(60)).finish().states[0].intake
    family, taken, counted_negative = FAMILIES[TextJudged], Counter[int](), Counter[int]()
    for key, cell in pane_rows(state).items():
        if key[:3] == ("text", M, "network"):
            counted_negative[key[4] - key[4] % Q] += cell[family.indices["negative_share"][1]]
    for pane, heard in state.grams.heard["shop"].items():
        taken[pane] = heard.cells[ALL][0]
    assert taken == counted_negative
    assert taken.total() == 42


def test_what_fewer_than_three_wrote_never_leaves_the_intake():
    secret, shared = "my neighbour Karl Ohnesorg is horrible", "the drop box at the station is awful"
    cluster = Cluster(1).put([said(secret, T0, "a"), said(secret, T0 + M, "b"), said(secret, T0 + 2 * M, "b")])
    cluster.put(said(shared, T0 + number * M, f"x{number}") for number in range(3)).finish()
    sent = b"".join(value for _, value in cluster.published)
    assert b"drop box" in sent
    assert b"Ohnesorg" not in sent
    assert b"ohnesorg" not in sent
    assert b"neighbour" not in sent
    rows = b"".join(value for key, value in cluster.rows[0].items() if key[:1] == b"r")
    assert b"drop box" in rows
    assert b"ohnesorg" not in rows
    assert name_of("karl ohnesorg") in msgspec.msgpack.decode(cluster.book().parts[T0][0][1], type=Part).texts, "it is counted all the same"


def test_no_theme_without_three_authors():
    early = [said(text, T0 + number * M, f"e{number}") for number, text in enumerate(COMPLAINTS * 6)]
    storm = [said("the drawbridge is stuck, awful", T0 + 2 * H + number * S, f"s{number % 2}") for number in range(50)]
    alone = Cluster(1).put(early + storm).finish()
    assert not any("drawbridge" in found.gram for found in alone.themes(T0 + 2 * H + M))
    third = alone.put([said("the drawbridge is stuck, awful", T0 + 2 * H + 2 * M, "another")]).finish()
    assert any("drawbridge" in found.gram for found in third.themes(T0 + 2 * H + M))


def test_copies_late_texts_and_those_that_may_not_be_read_are_not_counted():
    sites = Sites({"shop": Site(consent=msgspec.convert({"sentiment": False}, type(Site().consent)))})
    assert Cluster(1, sites).put([said(COMPLAINTS[0], T0)]).finish().heard() == {}
    cluster = Cluster(1).put([said("RT @ann: " + COMPLAINTS[0], T0), said("all fine, thank you", T0)])
    cluster.put([said("all fine", T0 + 3 * H), said(COMPLAINTS[0], T0 + 30 * M)]).finish()
    assert cluster.heard() == {}


# --- bounds ----------------------------------------------------------------------------------------------------------


def letters(number: int) -> str:
    """A word of its own for every number; digits would all be the same."""
    return "q" + "".join(chr(ord("a") + int(digit)) for digit in str(number))


def test_the_counts_of_a_pane_are_bounded_and_a_restart_prunes_alike():
    cluster = Cluster(1)
    for number in range(300):
        words = " ".join(letters(20 * number + word) for word in range(20))
        cluster.put([said(f"awful parcel {words}", T0 + number * S, f"a{number}")])
        if number % 10 == 9:
            cluster.flush()
    held = cluster.finish().heard()
    assert grams.GRAMS_PER_PANE // 2 <= len(held) <= grams.GRAMS_PER_PANE
    assert held["shop", T0, "parcel"][0] == 300
    assert cluster.states[0].intake.grams.pruned > 0
    assert cluster.restart().heard() == held
    largest = max(len(value) for value in cluster.rows[0].values())
    assert largest < 120_000
    assert max(len(value) for _, value in cluster.published) < 120_000


def test_one_flush_is_bounded():
    heard = Grams(Sites())
    for number in range(1_000):
        heard.note("shop", f"c:{number}", T0, " ".join(letters(60 * number + word) for word in range(60)))
    assert heard.changed > 20_000, "so many that a flush is due"
    ((_, row),) = heard.drain(1)
    assert row is not None
    assert len(row) < 2_500_000


def test_many_sites_are_told_of_a_few_at_a_time():
    heard = Grams(Sites())
    for number in range(100):
        heard.note(f"shop{number}", "c:1", T0, "the parcel is awful")
    heard.drain(1)
    told = [len(heard.tell(seq)) for seq in (1, 2, 3, 4)]
    assert told == [32, 32, 32, 4]
    assert not heard.waits


def test_while_time_is_known_the_owners_are_told_at_most_every_15_seconds():
    cluster = Cluster(1)
    state = cluster.states[0]

    def told() -> int:
        cluster.flush()
        return sum(GRAM.encode() in value for _, value in cluster.published)

    state.tick(100.0)
    cluster.put([said(COMPLAINTS[0], T0, "a")])
    assert told() == 1
    cluster.put([said(COMPLAINTS[0], T0 + S, "b")])
    assert told() == 1
    state.tick(100.0 + TELL_SECONDS)
    assert told() == 2, "also when nothing has come since"
    cluster.flush().flush()
    assert state.flush() is None


def test_old_rows_are_dropped_with_their_panes():
    cluster = Cluster(1).put([said(COMPLAINTS[0], T0, "a")]).flush()
    assert any(key.startswith(b"g/") for key in cluster.rows[0])
    cluster.put([said("all fine", T0 + 3 * H)]).finish()
    assert not any(key.startswith(b"g/") for key in cluster.rows[0])
    assert cluster.heard() == {}
    cluster.restart()
    assert cluster.states[0].intake.grams.horizon > T0 + Q


def test_settled_quarter_hours_keep_their_counts_and_the_long_run_forgets_half_a_day():
    site = themes.SiteThemes("shop")
    for day in range(3):
        for partition in (0, 1):
            site.merge(partition, 1, T0 + day * D, [{name_of(ALL): 8, name_of("parcel"): 4}, {name_of("parcel"): 7}], ("parcel",), ())
    before = site._rank(T0 + 2 * D + H, T0 + 2 * D + 2 * H)
    assert site.settle(T0 + 2 * D + 3 * H)
    assert not site.settle(T0 + 2 * D + 3 * H), "once"
    after = site._rank(T0 + 2 * D + H, T0 + 2 * D + 2 * H)
    assert before == after
    assert set(site.settled) == {T0 + 2 * D}
    long_run = themes._decode_past(site.long_run)
    assert (long_run.texts[name_of("parcel")], long_run.words) == (8 // 2 + 8, ("parcel",))
    rows = {key: value for key, value in site.drain().items() if value is not None}
    assert len(rows) == 2
    site.merge(2, 9, T0, [{name_of("parcel"): 4}, {}], (), ())
    assert site.drain() == {}, "what is settled is settled"


def test_what_is_settled_is_bounded_with_the_window_cut_alike():
    site = themes.SiteThemes("shop")
    counts = {name_of(f"w{number}"): 1 + number % 3 for number in range(5_000)} | {name_of(ALL): 5_000}
    site.merge(0, 1, T0, [counts, {}], tuple(f"w{number}" for number in range(5_000)), ())
    site.settle(T0 + D)
    (row,) = site.settled.values()
    assert len(themes._decode_past(row).texts) == GRAMS_KEPT
    assert len(row) < 40_000
    for hour in range(1, 5):
        site.merge(0, 1, T0 + hour * H, [counts, dict.fromkeys(counts, 255)], (), ())
    assert site.ranking(T0 + 4 * H).themes == (), "the same once more is not new"


def test_rows_bring_everything_back():
    cluster = Cluster(2).put(wires_of((text, author, author % 60) for author, text in enumerate(COMPLAINTS * 12)))
    cluster.put([said("the drawbridge is stuck, awful", T0 + 3 * H + number * S, f"s{number}") for number in range(30)]).finish()
    for state in cluster.states:
        state.tick(1.0)
    expected = cluster.put([said("all fine", T0 + 3 * H + 2 * M)]).finish().themes(T0 + 3 * H)
    assert expected
    assert cluster.book().settled
    settled = dict(cluster.book().settled)
    cluster.restart()
    assert (cluster.themes(T0 + 3 * H), cluster.book().settled) == (expected, settled)
    assert set(cluster.book().parts) == {T0 + 3 * H}


# --- a storm ---------------------------------------------------------------------------------------------------------


def day_of_complaints(storm_at: int | None, sites: Sites | None = None, seed: int = 1) -> Cluster:
    """A day with 40 complaints an hour about anything, and perhaps 60 in 20 minutes about delivery near its end."""
    rnd = Random(seed)
    causes = [cause for cause in texts.CAUSES if cause != "delivery"] * 2 + ["delivery"]
    times = sorted(rnd.uniform(0, 24 * H) for _ in range(24 * 40))
    found = [(T0 + int(at), texts.write(rnd, texts.NEGATIVE, rnd.choice(causes), rnd.choice(SHOP.products).thing)) for at in times]
    if storm_at is not None:
        found += [(storm_at + number * 20 * S, texts.write(rnd, texts.NEGATIVE, "delivery", rnd.choice(SHOP.products).thing)) for number in range(60)]
    cluster = Cluster(8, sites)
    for _, some in groupby(sorted(found), key=lambda one: one[0] // Q):
        cluster.put(said(text, at, f"a{rnd.randrange(10**6)}") for at, text in some).flush()
    return cluster.finish()


STORM = T0 + 23 * H + 30 * M


@pytest.fixture(scope="module")
def stormy() -> Cluster:
    return day_of_complaints(STORM)


def test_a_quiet_day_has_hardly_any_themes(stormy):
    """Windows of an hour with 40 complaints each, 84 of them, and next to each other three quarters alike: one word in a few of them."""
    quiet = [stormy.themes(T0 + quarter * Q) for quarter in range(8, 92)]
    assert sum(map(bool, quiet)) <= 4
    assert max(map(len, quiet)) <= 1


@pytest.mark.parametrize(("words", "quarters", "most"), [(800, 100, 3), (8_000, 36, 0)], ids=["all kept", "many cut"])
def test_where_nothing_changes_there_are_hardly_any_themes_however_much_is_said(words, quarters, most):
    """Texts of words by Zipf's law, 600 an hour, in which chance alone brings words to z ≥ 2.6."""
    rnd, site = Random(words), themes.SiteThemes("shop")
    names = [name_of(f"w{number}") for number in range(words)]
    weights = [1 / (rank + 10) for rank in range(words)]
    panes = []
    for quarter in range(quarters):
        counts = Counter(name for _ in range(150) for name in {*rnd.choices(names, weights, k=40)})
        site.merge(0, 1, T0 + quarter * Q, [counts | {name_of(ALL): 150}, dict.fromkeys(counts, 255)], tuple(f"w{number}" for number in range(words)), ())
        panes.append(counts)
    assert (max(map(len, panes)) > GRAMS_KEPT) == (words == 8_000)
    earlier, now = Counter[int](), Counter[int]()
    for quarter, counts in enumerate(panes):
        (earlier if quarter < quarters - 4 else now).update(counts)
    assert scores(now, earlier, now + earlier)
    quiet = [site._rank(T0 + (quarter - 4) * Q, T0 + quarter * Q) for quarter in range(12, quarters + 1, 4)]
    assert all(ranking.texts == 600 and ranking.known for ranking in quiet)
    assert sum(bool(ranking.themes) for ranking in quiet) <= most, "about one in twenty, as words that do not depend on each other"


def test_a_parcel_storm_has_its_words(stormy):
    found = stormy.themes(STORM + 25 * M)
    words = {word for one in found for word in one.gram.split()}
    assert {"parcel", "carrier", "tracking"} & words, found
    assert len(words) >= 5
    assert min(one.z for one in found) > 4
    assert len(found) <= themes.MOST_THEMES
    assert all(one.count >= 5 and one.authors >= LEAST_AUTHORS and one.z >= 2.6 and one.sample is None for one in found)


def test_there_are_none_before_30_earlier_texts():
    few = [said(COMPLAINTS[4], T0 + number * M, f"e{number}") for number in range(29)]
    storm = [said(COMPLAINTS[0], T0 + 2 * H + number * S, f"s{number}") for number in range(30)]
    assert Cluster(1).put(few + storm).finish().themes(T0 + 2 * H) == ()
    assert Cluster(1).put([said(COMPLAINTS[5], T0, "e"), *few, *storm]).finish().themes(T0 + 2 * H)


def test_samples_travel_only_where_the_operator_asked_for_them(stormy):
    shown = day_of_complaints(STORM, Sites({"shop": Site(samples=True)})).themes(STORM + 25 * M)
    plain = stormy.themes(STORM + 25 * M)
    assert [one.gram for one in shown] == [one.gram for one in plain]
    assert any(one.sample for one in shown)
    assert all(one.gram in grams_of(one.sample) for one in shown if one.sample)


# --- what is published -----------------------------------------------------------------------------------------------


def test_a_ranking_is_published_like_a_reading_and_read_by_those_who_read_readings():
    cluster = Cluster(1).put(said(COMPLAINTS[number % 7], T0 + number * M, f"e{number}") for number in range(60))
    cluster.put(said("the drawbridge is stuck, awful", T0 + 2 * H + number * S, f"s{number}") for number in range(40))
    cluster.put([said("all fine", T0 + 2 * H + 16 * M)]).finish()
    view, said_of = View(), []
    for now in (1.0, 2.0):
        for message in cluster.states[0].tick(now):
            content = msgspec.json.decode(message.value)
            view.take(content)
            said_of += [reading for reading in content["readings"] if reading["kpi"] == "themes"]
    (reading,) = said_of
    assert {name: reading[name] for name in ("site", "dimensions", "value", "n", "low", "high", "state")} == {
        "site": "shop", "dimensions": {}, "value": len(reading["ranking"]), "n": 40, "low": None, "high": None, "state": "ok",
    }  # fmt: skip
    assert reading["window"] == {"start": "2026-03-02T01:15:00Z", "end": "2026-03-02T02:15:00Z"}
    first = reading["ranking"][0]
    assert set(first) == {"gram", "count", "authors", "z"}
    assert (first["count"], "drawbridge" in first["gram"]) == (40, True)
    assert 30 <= first["authors"] <= 40
    assert view.readings["shop", "themes", H].n == 40
    cluster.put([said("all fine", T0 + 3 * H + 31 * M)]).finish()
    (over,) = [one for message in cluster.states[0].tick(3.0) for one in msgspec.json.decode(message.value)["readings"] if one["kpi"] == "themes"]
    assert (over["value"], over["ranking"], over["state"]) == (0, [], "no_data"), "that it is over is said once"


def test_a_site_without_texts_publishes_none():
    cluster = Cluster(1).put([event("page_viewed", T0 + number * M, site="shop") for number in range(40)]).finish()
    assert b'"themes"' not in b"".join(message.value for message in cluster.states[0].tick(1.0))
    assert themes_of(cluster.states[0].rollups, "nowhere", T0) == ()
