"""The made-up shop: the same bytes from the same seed, nothing the product would refuse by mistake, and the promised shares of dirt."""

from collections import Counter
from itertools import islice

import pytest

from simulator.stream import BOTS, DUPLICATES, LATE, MALFORMED, SITE, SITES_YAML, Produced, events
from streams import events as e
from streams.admission import BotFilter
from streams.sites import load_sites

START = 1_767_225_600_000
COUNT = 30_000
RATE = 40.0


@pytest.fixture(scope="module")
def produced() -> list[Produced]:
    return list(islice(events(5, START, RATE), COUNT))


def test_the_seed_decides_every_byte(produced: list[Produced]) -> None:
    assert list(islice(events(5, START, RATE), 2_000)) == produced[:2_000]
    assert list(islice(events(6, START, RATE), 2_000)) != produced[:2_000]


def test_what_is_not_malformed_decodes_under_its_own_key(produced: list[Produced]) -> None:
    refused = 0
    for topic, key, value in produced:
        event = e.decode(value, topic)
        if isinstance(event, e.Rejected):
            refused += 1
        else:
            assert e.key_of(event) == key
            assert event.site == SITE
    assert refused / COUNT == pytest.approx(MALFORMED, rel=0.4)


def test_the_clock_sets_the_times_and_few_are_late(produced: list[Produced]) -> None:
    late, delays = 0, set()
    for number, (topic, _, value) in enumerate(produced):
        event = e.decode(value, topic)
        if isinstance(event, e.Rejected):
            continue
        behind = START + number * 1000 / RATE - (e.event_time(event) or 0)
        assert behind > -1
        if behind > 3_600_000:
            late += 1
            delays.add(round(behind / 3_600_000))
    assert late / COUNT == pytest.approx(LATE, rel=0.4)
    assert delays == {2, 30, 9 * 24}


def test_duplicates_bots_and_texts_keep_to_their_shares(produced: list[Produced]) -> None:
    good = [event for topic, _, value in produced if not isinstance(event := e.decode(value, topic), e.Rejected)]
    times = Counter((event.site, e.subject_of(event), type(event), event.id) for event in good)
    assert sum(count - 1 for count in times.values()) / COUNT == pytest.approx(DUPLICATES, rel=0.4)
    agents = Counter(event.user_agent for event in good)
    bots = BotFilter()
    assert sum(count for agent, count in agents.items() if agent is not None and bots.judge(agent)) / COUNT == pytest.approx(BOTS, rel=0.4)
    texts = [text for event in good if (text := e.text_of(event))]
    assert 0.05 < len(texts) / COUNT < 0.2
    assert len(set(texts)) > 150
    assert {topic for topic, _, _ in produced} == {"website", "social", "reviews", "customers"}


def test_the_sites_file_of_the_shop_is_one() -> None:
    assert load_sites(SITES_YAML).named[SITE].own_brands


def test_a_rate_must_be_positive() -> None:
    with pytest.raises(ValueError, match="rate"):
        events(1, START, 0)
