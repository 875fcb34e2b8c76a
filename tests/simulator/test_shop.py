"""The simulated businesses: the same bytes from the same seed, believable days, and an account that the product confirms to the last event."""

import time
from collections import Counter
from collections.abc import Sequence
from itertools import islice, pairwise

import msgspec
import pytest

from simulator.faults import BROKEN, CLEAN, DUPLICATE, Faults, Sent
from simulator.incidents import Incident
from simulator.shop import HISTORY_EVENTS, RECENT_EVENTS, SITES, SITES_YAML, Shop
from simulator.sites import APP, BUSINESSES, SHOP
from streams import events as e
from streams.admission import BotFilter, add, unaccounted
from streams.panes import HOUR, MINUTE
from streams.partition import Partition
from streams.sentiment import Label, judge
from streams.sites import load_sites
from streams.topics import partition_of
from tests.streams.records import Rec, readings

LIVE = 1_772_449_200_000
"""2026-03-02 11:00 UTC, a Monday: noon in Berlin."""
PARTITIONS = 4
SECOND = 1_000
COMPETITORS = {*SHOP.competitors, *APP.competitors}


@pytest.fixture(scope="module")
def shop() -> Shop:
    return Shop(5, LIVE)


@pytest.fixture(scope="module")
def day(shop: Shop) -> list[Sent]:
    """26 hours of the past and ten minutes of the present."""
    return shop.take(LIVE + 10 * MINUTE, 10**9)


def decoded(sent: Sequence[Sent]) -> list[e.Event]:
    return [e.DECODERS[one.topic](one.value) for one in sent if not one.verdict.startswith("failed")]


def run(incident: str | None = None, seed: int = 1, minutes: int = 5, strength: float = 1.0, **more: object) -> list[Sent]:
    """Some minutes of the present, with an incident all that time."""
    incidents = [Incident(incident, 0, minutes * MINUTE, strength)] if incident else []
    shop = Shop(seed, LIVE, history=10 * MINUTE, incidents=incidents, **more)  # type: ignore[arg-type]
    return [sent for sent in shop.take(LIVE + minutes * MINUTE, 10**9) if sent.due >= LIVE]


def kinds(sent: Sequence[Sent]) -> Counter[str]:
    return Counter(one.type for one in sent if one.verdict == "applied")


# --- bytes -----------------------------------------------------------------------------------------------------------


def test_the_seed_decides_every_byte(day: list[Sent]) -> None:
    assert list(islice(Shop(5, LIVE), 5_000)) == day[:5_000]
    assert list(islice(Shop(6, LIVE), 5_000)) != day[:5_000]


def test_taking_in_pieces_is_taking_at_once(day: list[Sent]) -> None:
    shop, pieces = Shop(5, LIVE), []
    for until in range(shop.begin, shop.begin + 2 * HOUR, 7 * MINUTE):
        while piece := shop.take(until, 100):
            assert piece[-1].due <= until
            pieces += piece
    assert pieces == day[: len(pieces)]
    assert len(pieces) > 1_000


def test_it_comes_in_the_order_of_sending_and_nothing_happens_after_it_was_sent(day: list[Sent]) -> None:
    assert all(before.due <= after.due for before, after in pairwise(day))
    ahead = [sent for sent in day if sent.at > sent.due]
    assert {sent.at - sent.due > HOUR for sent in ahead} == {True}
    assert len(ahead) < len(day) / 500


def test_what_is_not_meant_to_be_broken_decodes_under_its_own_key(day: list[Sent]) -> None:
    for sent in day:
        event = e.decode(sent.value, sent.topic)
        if isinstance(event, e.Rejected):
            assert sent.verdict == f"failed.{event.reason}", event.detail
        else:
            assert (e.key_of(event), e.NAMES[type(event)], e.millis(event.at)) == (sent.key, sent.type, sent.at)
            assert not sent.verdict.startswith("failed")


def test_every_way_to_break_an_event_gives_its_reason() -> None:
    fields = {"id": "1-1", "at": LIVE, "type": "page_viewed", "site": "shop", "visitor": "v1", "path": "/"}
    assert not isinstance(e.decode(msgspec.json.encode(fields), "website"), e.Rejected)
    for reason, breaking in BROKEN:
        rejected = e.decode(breaking(fields), "website")
        assert isinstance(rejected, e.Rejected)
        assert rejected.reason is reason


def test_history_is_short_and_quickly_made(day: list[Sent]) -> None:
    assert 0.7 * HISTORY_EVENTS < sum(sent.due < LIVE for sent in day) < 1.2 * (HISTORY_EVENTS + RECENT_EVENTS)
    shop, started = Shop(2, LIVE), time.process_time()
    made = len(shop.take(LIVE, 20_000))
    assert made / (time.process_time() - started) > 20_000


# --- the account -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [1, 2])
def test_the_product_confirms_the_tally(seed: int) -> None:
    incidents = [Incident("bot_wave", 10 * SECOND, 20 * SECOND), Incident("feedback_storm", 0, MINUTE)]
    shop = Shop(seed, LIVE, rate=2, history=2 * HOUR, incidents=incidents, faults=Faults(stale=0.002))
    sites = load_sites(SITES_YAML)
    partitions = [Partition(number, PARTITIONS, sites) for number in range(PARTITIONS)]
    offsets: Counter[tuple[int, str]] = Counter()
    while block := shop.take(LIVE + MINUTE, 2_000):
        batches: dict[tuple[int, str], list[Rec]] = {}
        for sent in block:
            place = partition_of(sent.key.encode(), PARTITIONS), sent.topic
            batches.setdefault(place, []).append(Rec(offsets[place], sent.due, sent.value))
            offsets[place] += 1
        for (number, topic), records in batches.items():
            partitions[number].apply(topic, records)
        for partition in partitions:
            partition.flush()
    counted: dict[str, int] = {}
    for partition in partitions:
        for counts in partition.accounting().values():
            for name, number in counts.items():
                add(counted, name, number)
    verdicts = {name: number for name, number in counted.items() if name != "received" and not name.startswith("flag.")}
    assert verdicts == dict(shop.tally.verdicts)
    assert counted["received"] == shop.tally.sent == sum(offsets.values())
    assert counted["flag.clamped"] == shop.tally.clamped > 0
    assert unaccounted(counted) == 0
    account = shop.tally.accounting()
    assert account.pop("received") == sum(account.values())
    assert all(account[verdict] for verdict in ("applied", "late", "duplicate", "bot", "failed", "refused"))


def test_faults_keep_to_their_shares_and_can_be_left_out(day: list[Sent], shop: Shop) -> None:
    shares = {verdict: number / shop.tally.sent for verdict, number in shop.tally.accounting().items()}
    assert shares["duplicate"] == pytest.approx(shop.faults.duplicates, rel=0.25)
    assert shares["failed"] == pytest.approx(shop.faults.bad, rel=0.25)
    assert shares["bot"] == pytest.approx(shop.faults.bots, rel=0.4)
    arrived = [sent for sent in day if sent.verdict == "applied" and sent.at < LIVE - HOUR]
    delayed = [sent for sent in arrived if sent.due > sent.at]
    assert len(delayed) / len(arrived) == pytest.approx(shop.faults.delayed, rel=0.25)
    assert all(2 * MINUTE <= sent.due - sent.at <= HOUR for sent in delayed)
    clean = Shop(5, LIVE, history=2 * HOUR, faults=CLEAN)
    assert all(sent.verdict == "applied" and sent.at == sent.due for sent in clean.take(LIVE, 10**9))


def test_a_duplicate_is_the_same_record_again(day: list[Sent]) -> None:
    seen = set()
    for sent in day:
        if sent.verdict == DUPLICATE:
            assert (sent.topic, sent.key, sent.value) in seen
        seen.add((sent.topic, sent.key, sent.value))


def test_bots_say_so(day: list[Sent]) -> None:
    agents = {(e.DECODERS[sent.topic](sent.value).user_agent or "", sent.verdict) for sent in day if sent.verdict in ("applied", "bot")}
    bots = BotFilter()
    for agent, verdict in agents:
        assert (agent != "" and bots.judge(agent)) is (verdict == "bot")


# --- believable ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rate", [5.0, 50.0])
def test_the_rate_is_kept(rate: float) -> None:
    shop = Shop(3, LIVE, rate=rate, sites=("shop",))
    shop.take(LIVE, 10**9)
    assert len(shop.take(LIVE + 10 * MINUTE, 10**9)) / 600 == pytest.approx(rate, rel=0.2)


def test_days_have_their_shape() -> None:
    hours: Counter[tuple[str, int]] = Counter()
    shop = Shop(4, LIVE, rate=0.5, history=24 * HOUR)
    for sent in shop.take(LIVE, 10**9):
        if sent.type == "page_viewed" and sent.verdict == "applied" and (sent.due < shop.begin + 23 * HOUR):
            site = sent.key.partition("/")[0]
            hours[site, (sent.due // HOUR + 1) % 24] += 1  # UTC+1 in both time zones
    assert hours["shop", 20] > 4 * max(1, hours["shop", 3])
    assert hours["app", 10] > 4 * max(1, hours["app", 3])
    assert hours["shop", 20] / hours["shop", 9] > 1.2 * hours["app", 20] / hours["app", 9]


def test_visitors_buy_about_as_often_as_in_real_shops(day: list[Sent]) -> None:
    events = [event for event in decoded(day) if event.site == "shop"]
    visits = sum(isinstance(event, e.PageViewed) and event.user_agent is not None and (event.view or "").endswith(".1") for event in events)
    count = Counter(type(event) for event in events)
    assert 0.015 < count[e.OrderCompleted] / visits < 0.045
    assert 0.5 < 1 - count[e.OrderCompleted] / len({event.cart for event in events if isinstance(event, e.ProductAdded)}) < 0.8
    assert count[e.ProductViewed] > 5 * count[e.ProductAdded] > 5 * count[e.CheckoutStarted] > 5 * count[e.OrderCompleted] > 0
    assert 1.5 < count[e.PageViewed] / visits < 5


def test_people_come_back_and_become_customers(day: list[Sent]) -> None:
    events = decoded(day)
    identified = {event.visitor for event in events if isinstance(event, e.CustomerIdentified)}
    as_visitor = {event.visitor for event in events if isinstance(event, e.PageViewed) and event.customer is None}
    as_customer = {event.visitor for event in events if isinstance(event, e.PageViewed) and event.customer is not None}
    assert identified <= as_visitor
    assert len(identified & as_customer) > 5
    assert {event.segment for event in events if isinstance(event, e.PageViewed)} >= {"new", "returning", "loyal"}


def test_nearly_everything_that_can_happen_happens(day: list[Sent]) -> None:
    never = set(e.TYPES) - set(kinds(day))
    assert never <= {"partner_active", "erase_requested", "commitment_missed", "message_complained", "idea_implemented"}


def test_texts_vary_and_go_with_the_stars(day: list[Sent]) -> None:
    events = decoded([sent for sent in day if sent.verdict == "applied"])
    written = [text for event in events if (text := e.text_of(event))]
    assert len(written) > 4_000
    assert len(set(written)) / len(written) > 0.85
    labels: Counter[tuple[int, str]] = Counter()
    for event in events:
        if isinstance(event, e.ReviewPosted) and event.text and event.rating:
            labels[round(event.rating), judge(event.text, None).label] += 1
    for stars, label in ((1, Label.NEGATIVE), (5, Label.POSITIVE)):
        assert labels[stars, label] > 0.85 * sum(number for (given, _), number in labels.items() if given == stars)
    assert 0.01 < sum(getattr(event, "language", None) in ("de", "fr") for event in events) / len(written) < 0.1


# --- incidents -------------------------------------------------------------------------------------------------------


def negative_share(sent: Sequence[Sent], begin: int, end: int) -> float:
    """Of the scored texts about the shop that were written between two instants."""
    labels = Counter(
        judge(text, getattr(event, "language", None)).label
        for event in decoded([one for one in sent if one.verdict == "applied" and begin <= one.at < end])
        if event.site == "shop" and getattr(event, "brand", None) not in COMPETITORS and (text := e.text_of(event))
    )
    scored = labels.total() - labels[Label.UNSUPPORTED]
    assert scored > 100
    return labels[Label.NEGATIVE] / scored


@pytest.mark.parametrize("seed", range(1, 6))
def test_a_minute_of_storm_shows_in_five_minutes(seed: int) -> None:
    quiet = run(seed=seed)
    shop = Shop(seed, LIVE, history=10 * MINUTE, incidents=[Incident("feedback_storm", 45 * SECOND, 60 * SECOND)])
    stormy = shop.take(LIVE + 6 * MINUTE, 10**9)
    usual = negative_share(quiet, LIVE, LIVE + 5 * MINUTE)
    assert 0.12 < usual < 0.3
    assert negative_share(stormy, LIVE - 195 * SECOND, LIVE + 105 * SECOND) > usual + 0.2
    assert negative_share(stormy, LIVE + 45 * SECOND, LIVE + 105 * SECOND) > 0.7
    assert negative_share(stormy, LIVE - 5 * MINUTE, LIVE) < 0.3


@pytest.mark.slow
def test_the_measure_of_the_product_says_so_too() -> None:
    def read(site: str, incidents: Sequence[Incident]) -> float:
        shop, partition, offsets = Shop(1, LIVE, rate=30, history=10 * MINUTE, incidents=incidents), Partition(0, 1, load_sites(SITES_YAML)), Counter[str]()
        for sent in shop.take(LIVE + 125 * SECOND, 10**9):
            partition.apply(sent.topic, [Rec(offsets[sent.topic], sent.due, sent.value)])
            offsets[sent.topic] += 1
        partition.apply("rollups", [Rec(number, 0, message.value) for number, message in enumerate(partition.snapshot().after)])
        [reading] = [
            reading
            for reading in readings(partition, LIVE + 2 * MINUTE)
            if (reading.kpi, reading.site, reading.dimensions, reading.length) == ("negative_share", site, {}, 5 * MINUTE)
        ]
        assert reading.value is not None
        assert reading.n > 100
        return reading.value

    storm = [Incident("feedback_storm", 45 * SECOND, 60 * SECOND)]
    assert read("shop", storm) > read("shop", ()) + 0.2
    assert read("app", storm) == pytest.approx(read("app", ()), abs=0.05), "incidents happen at the first site"


def test_a_storm_has_one_cause() -> None:
    texts = [event.touchpoint for event in decoded(run("feedback_storm", sites=("shop",))) if isinstance(event, e.TicketOpened)]
    [(_, most)] = Counter(texts).most_common(1)
    assert most > 0.7 * len(texts) > 20


@pytest.mark.slow
def test_payments_fail() -> None:
    usual, failing = kinds(run(minutes=10, rate=100)), kinds(run("payment_failure", minutes=10, rate=100))
    assert usual["order_completed"] > 30
    assert failing["payment_failed"] > 5 * usual["payment_failed"] > 0
    assert failing["order_completed"] < 0.4 * usual["order_completed"]


def test_traffic_drops() -> None:
    usual, dropped = run(minutes=10, sites=("shop",)), run("traffic_drop", minutes=10, sites=("shop",))
    late = LIVE + 5 * MINUTE  # those who were there before stay a while
    assert kinds([one for one in dropped if one.due > late])["page_viewed"] < 0.5 * kinds([one for one in usual if one.due > late])["page_viewed"]
    assert kinds(dropped)["mention_posted"] == pytest.approx(kinds(usual)["mention_posted"], rel=0.2)


def test_a_post_goes_viral() -> None:
    usual, viral = run(), run("viral_post")
    assert kinds(viral)["page_viewed"] > 1.3 * kinds(usual)["page_viewed"]
    assert kinds(viral)["mention_posted"] > 2 * kinds(usual)["mention_posted"]
    assert negative_share(viral, LIVE, LIVE + 5 * MINUTE) < negative_share(usual, LIVE, LIVE + 5 * MINUTE) - 0.05


def test_bots_come_in_crowds() -> None:
    usual, wave = (sum(sent.verdict == "bot" for sent in run(incident)) for incident in (None, "bot_wave"))
    assert wave > 20 * usual > 0


def test_a_stronger_incident_is_stronger() -> None:
    assert sum(sent.verdict == "bot" for sent in run("bot_wave", strength=2)) > 1.6 * sum(sent.verdict == "bot" for sent in run("bot_wave"))


# --- arguments -------------------------------------------------------------------------------------------------------


def test_only_the_sites_asked_for() -> None:
    assert {sent.key.partition("/")[0] for sent in run(sites=("app",), minutes=1)} == {"app"}
    assert SITES == ("shop", "app")


def test_incidents_happen_at_the_first_site() -> None:
    bots = Counter(sent.key.partition("/")[0] for sent in run("bot_wave", minutes=2, sites=("app", "shop")) if sent.verdict == "bot")
    assert bots["app"] > 10 * bots["shop"]


def test_without_history_it_begins_now() -> None:
    assert Shop(1, LIVE, history=0).take(LIVE + MINUTE, 1)[0].due >= LIVE


def test_the_sites_file_names_every_site() -> None:
    named = load_sites(SITES_YAML).named
    assert set(named) == set(SITES)
    for business in BUSINESSES:
        site = named[business.site]
        assert (site.brands, site.competitors, site.zone) == ((business.brand,), business.competitors, business.zone)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [({"rate": 0}, "rate"), ({"sites": ("shop", "shpo")}, "no site shpo; there are shop, app"), ({"sites": ()}, "at least one site")],
)
def test_what_cannot_be_is_refused(arguments: dict[str, object], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        Shop(1, LIVE, **arguments)  # type: ignore[arg-type]
