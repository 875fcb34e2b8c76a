"""What one subject can cost: the size of its row and the work of a flush, whatever it sends; and what is forgotten beyond the bounds."""

import random
from collections import Counter, defaultdict
from time import process_time

import msgspec
import pytest
from msgspec import inspect

from streams import events as e
from streams.engagement import FAMILY_BY_NAME
from streams.events import TYPES
from streams.examples import EXAMPLES
from streams.journeys.orders import Order
from streams.journeys.told import JOURNEYS, MOST
from streams.partition import Partition
from streams.rows import SUBJECT_ROW
from streams.sites import Funnel, Goal, Site, Sites, Step
from streams.subjects import MOST_BYTES, MOST_BYTES_OF_ALL
from tests.streams.journey_laws import moment, notes_of
from tests.streams.records import T0, D, H, M, event, pane_rows, record, topic_of

FUNNEL = tuple(Step(event=name) for name in ("product_viewed", "product_added", "order_completed"))
SITES = Sites({"shop": Site(funnels={"day": Funnel(steps=FUNNEL, window=1440), "month": Funnel(steps=FUNNEL, window=43_200)}, goals={"newsletter": Goal()})})
FORGETS = ("erase_requested", "consent_changed")
"""Events after which there is less to remember."""
GIVEN = ("customer", "visitor", "device", "user_agent", "network", "post", "currency")
TEXT_FIELDS = {
    name: {
        field.name: kind.max_length
        for field in inspect.type_info(struct).fields
        for kind in (field.type.types if isinstance(field.type, inspect.UnionType) else (field.type,))
        if isinstance(kind, inspect.StrType) and kind.max_length and field.name not in GIVEN
    }
    for name, struct in TYPES.items()
}
"""The texts of each event type that a producer chooses, with their limits."""


def feed(partition, wires):
    """Apply events topic by topic, as polls bring them."""
    for topic in e.DECODERS:
        first = partition.offsets.get(topic, -1) + 1
        partition.apply(topic, [record(first + place, wire) for place, wire in enumerate(wire for wire in wires if topic_of(wire) == topic)])


def flood(kinds, number):
    """Events of one customer (posts and networks: of one of each), in turns: bursts and quiet days; texts as long as they may be and ever new,
    then a few that come again and again; a tenth of the events come late."""
    draw, at = random.Random(1), T0
    for place in range(number):
        at += draw.choice((0, 10, 1_000, M) if place // 5_000 % 2 else (10, M, 31 * M, 3 * H))
        kind = draw.choice(kinds)
        new = str(place if place // 2_500 % 2 else place % 40)
        texts = {name: new.ljust(min(limit, 300), "x" if name != "path" else "/") for name, limit in TEXT_FIELDS[kind].items()}
        wire = {**EXAMPLES[kind], **texts, "id": f"{place:0128}", "at": at - draw.choice((0,) * 8 + (H, 2 * D)), "customer": "c"}
        if "path" in texts:
            wire["path"] = "/" + texts["path"]
        if "text" in wire:
            wire["text"] = "it broke"
        yield wire


KINDS = {
    "everything": ([name for name in TYPES if name not in FORGETS], 20_000),
    "carts": (["product_added", "product_removed", "checkout_started", "payment_failed"], 6_000),
    "refunds": (["order_refunded"], 6_000),
    "answers": (["ticket_answered"], 6_000),
    "reviews": (["review_posted"], 6_000),
    "visits": (["page_viewed", "page_left"], 6_000),
}  # fmt: skip


@pytest.mark.parametrize(("kinds", "number"), KINDS.values(), ids=KINDS)
def test_a_subject_costs_little_whatever_it_sends(kinds, number):
    partition, wires = Partition(0, 1, SITES), list(flood(kinds, number))
    largest, cost = 0, 0.0
    for start in range(0, number, 2_000):
        feed(partition, wires[start : start + 2_000])
        began = process_time()
        flush = partition.flush()
        cost = max(cost, process_time() - began)
        largest = max([largest, *(len(value) for key, value in flush.rows if key.startswith(SUBJECT_ROW) and value)])
    counts = partition.accounting()
    assert sum(topic["applied"] for topic in counts.values()) == number
    assert sum(topic.get("flag.notes_dropped", 0) for topic in counts.values()) > 0
    assert largest <= MOST_BYTES, "a flush takes 8 MiB"
    assert all(len(notes) <= MOST for subject in partition.intake.subjects.known.values() for notes in subject.notes.values())
    assert cost < 1, "seconds of a flush of 2,000 events"


def test_many_large_subjects_fit_into_one_flush():
    partition = Partition(0, 1)
    wires = [event("page_left", T0 + n, id=f"{n:0128}", visitor=f"v{n % 100}", view=f"{n:0256}", path="/" + "p" * 2000) for n in range(20_000)]
    feed(partition, wires)
    rows = [value for key, value in partition.flush().rows if key.startswith(SUBJECT_ROW)]
    assert len(rows) == 100
    assert MOST_BYTES_OF_ALL / 4 < sum(map(len, rows)) <= MOST_BYTES_OF_ALL
    assert partition.accounting()["website"]["applied"] == len(wires)


@pytest.mark.parametrize("told", JOURNEYS, ids=[told.journey.name for told in JOURNEYS])
def test_what_is_forgotten_stays_counted_as_it_is(told):
    """The newer half of the notes tells nothing that all of them did not, so nothing that never was stated can be withdrawn."""
    site = SITES["shop"]
    kinds = [e.NAMES[kind] for kind in told.journey.events]
    events = [msgspec.convert(wire, TYPES[wire["type"]]) for wire in flood(kinds, 600)]
    known = notes_of(told.journey, events, site)
    assert len(known) > 30
    while known:
        kept = list(told.newer(known, site))
        assert len(kept) <= len(known) * 3 // 4
        assert [moment(note) for note in kept] == [moment(note) for note in known if moment(note) in set(map(moment, kept))], "in their order"
        assert not Counter(told.journey.facts(kept, site)) - Counter(told.journey.facts(known, site))
        known = kept


def test_orders_beyond_the_bound_count_once_each_and_their_refunds_count():
    """Money adds up also where a refund no longer finds its order."""
    partition = Partition(0, 1)
    orders = [event("order_completed", T0 + n * M, order=f"o{n}", total_minor=100, currency="EUR") for n in range(3 * MOST)]
    refunds = [event("order_refunded", T0 + D + n * M, order=f"o{n}", amount_minor=30, currency="EUR") for n in (0, 3 * MOST - 1)]
    for start in range(0, len(orders), 70):
        feed(partition, orders[start : start + 70])
        partition.flush()
    feed(partition, refunds)
    counts = partition.accounting()["website"]
    partition.flush()
    family, expected = FAMILY_BY_NAME["order"], FAMILY_BY_NAME["order"].empty()
    for order in (*[Order(True, 100, 0)] * (3 * MOST - 1), Order(True, 100, 30), Order(False, 0, 30)):
        family.add(expected, family.measure(order))
    found: defaultdict = defaultdict(family.empty)
    for (fact, size, grouping, *_), cell in pane_rows(partition.intake).items():
        if (fact, size) == ("order", D):
            family.add(found[grouping], cell)
    assert found
    assert all(cell == expected for cell in found.values())
    assert counts["flag.unjoined"] == 1, "of the forgotten order"
    assert counts["flag.notes_dropped"] > MOST


def test_one_flush_of_half_a_year_is_the_same_as_many():
    """More notes than are kept of a subject in one flush, but of a time so long that the bound is far away."""
    wires = [event("page_left", T0 + n * 3 * H + stay, view=f"w{n}", visitor="v", engaged_seconds=5) for n in range(2 * MOST) for stay in (0, M)]
    once, often = Partition(0, 1), Partition(0, 1)
    feed(once, wires)
    for start in range(0, len(wires), 90):
        feed(often, wires[start : start + 90])
        often.flush()
    once.flush()
    assert "flag.notes_dropped" not in once.accounting()["website"]
    assert once.accounting() == often.accounting()
    assert pane_rows(once.intake) == pane_rows(often.intake)
