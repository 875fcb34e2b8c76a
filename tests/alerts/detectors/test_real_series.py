"""Detectors on real series with known incidents, and on quiet days: small versions of the tables in docs/detection.md."""

from collections import Counter
from itertools import takewhile

import pytest

from alerts.detectors import Sensitivity, counts
from alerts.evaluation import ESCALATION
from benchmarks import detection
from benchmarks.detection import CALM, DATA, RATES, WILD
from tests.conftest import missing


@pytest.fixture(scope="module")
def real_data() -> None:
    if not DATA.is_dir():
        missing("Tests of real data need the folder shared/data beside the repository.")


@pytest.fixture(scope="module")
def series(real_data: None) -> dict[str, detection.LabelledSeries]:  # noqa: ARG001
    return detection.brand_mentions()


def test_the_score_is_that_of_the_benchmark(series: dict[str, detection.LabelledSeries]) -> None:
    """Figures of `expected.json`, which reproduces the published scores: 100 is perfect, 0 says nothing at all."""
    perfect = [list(range(first, last + 1)) for each in series.values() for first, last in each.windows]
    assert len(perfect) == 16
    assert detection.mention_score(series, lambda one: [first for first, _ in one.windows]).score == pytest.approx(100, abs=0.5)
    assert detection.mention_score(series, lambda _: []).score == 0
    every_row = detection.mention_score(series, lambda one: detection.static_alerts(one.values, 750, calm=None))
    assert every_row.score == pytest.approx(-36.524759, abs=1e-6)
    assert (every_row.hit, every_row.false_alerts) == (16, 413)


@pytest.mark.slow
@pytest.mark.parametrize(("directions", "hit"), [("surge", 14), ("both", 14)])
def test_labelled_windows_of_brand_mentions(series: dict[str, detection.LabelledSeries], directions: counts.Directions, hit: int) -> None:
    found = detection.mention_score(series, lambda one: detection.mention_alerts(one, "balanced", directions))
    assert found.score >= 70
    assert found.false_alerts <= 30
    assert found.hit >= hit


@pytest.mark.slow
def test_few_incidents_become_twice_as_strong_and_those_are_mostly_real(series: dict[str, detection.LabelledSeries]) -> None:
    """What `escalate` makes of brand mentions, as docs/rules.md says it."""
    found: Counter[tuple[bool, bool]] = Counter()
    for each in series.values():
        findings = list(detection.judged(each.values, detection.FIVE_MINUTES, "balanced", "surge", each.at[0]))
        for place, first in detection.onsets(findings):
            rest = list(takewhile(lambda finding: finding.state == "firing", findings[place:]))
            rises = any(finding.score >= ESCALATION * first.score for finding in rest)
            found[rises, any(begin <= place <= end for begin, end in each.windows)] += 1
    assert found == {(True, True): 4, (True, False): 2, (False, True): 14, (False, False): 23}


@pytest.mark.usefixtures("real_data")
@pytest.mark.parametrize(("sensitivity", "at_most", "events"), [("balanced", 62, 9), ("strict", 23, 2)])
def test_events_in_daily_page_views(sensitivity: Sensitivity, at_most: int, events: int) -> None:
    alerts, hit = detection.page_view_alerts(sensitivity)
    assert len(alerts) <= at_most
    assert len(hit) >= events


@pytest.mark.usefixtures("real_data")
def test_the_payment_incident_of_the_shop_is_one_alert_on_its_second_day() -> None:
    (alert,) = detection.share_alerts(detection.step_outcomes("payment_details", "purchase"))
    assert f"{alert.opened:%d %b}" == "20 May", "the incident began on 19 May"
    assert alert.finding.value > 0.5
    assert alert.finding.usual < 0.2
    assert alert.closed is not None
    assert f"{alert.closed:%d %b}" == "11 Jun", "four days after its end: a few payments a day"


@pytest.mark.usefixtures("real_data")
@pytest.mark.parametrize(("before", "after", "day"), [("shipping_details", "payment_details", "21 Apr"), ("cart", "shipping_details", "25 May")])
def test_the_other_steps_of_checkout(before: str, after: str, day: str) -> None:
    alerts = detection.share_alerts(detection.step_outcomes(before, after))
    assert [f"{alert.opened:%d %b}" for alert in alerts] == [day]


@pytest.mark.slow
@pytest.mark.parametrize("noise", [CALM, WILD])
@pytest.mark.parametrize("per_hour", RATES)
def test_quiet_days(per_hour: int, noise: float) -> None:
    """At most 0.1 alerts a day, both directions together, on days 8 to 28 of eight series."""
    seeds = 8
    alerts = sum((detection.quiet_alerts(seed, per_hour, noise) for seed in range(seeds)), Counter[str]())
    assert alerts.total() <= 0.1 * 21 * seeds


@pytest.mark.slow
@pytest.mark.parametrize(
    ("factor", "lengths", "per_hour", "least", "within"),
    [(3, detection.SURGES, 300, 0.8, 20), (5, detection.SURGES, 30, 0.8, 20), (0, detection.DROPS, 30, 0.9, 60)],
)
def test_incidents_are_found(factor: float, lengths: tuple[int, ...], per_hour: int, least: float, within: float) -> None:
    trials = detection.tried(per_hour, CALM, factor, "balanced", lengths, seeds=2)
    assert trials.made >= 40
    assert trials.share >= least
    assert sorted(trials.delays)[len(trials.delays) // 2] <= within
    if factor > 1:
        assert trials.share > trials.static / trials.made


@pytest.mark.parametrize("name", ["page-views", "shop"])
@pytest.mark.usefixtures("real_data")
def test_the_page_says_what_is_measured(name: str) -> None:
    page = detection.PAGE.read_text()
    text = {"page-views": detection.page_views, "shop": detection.shop}[name]()
    assert detection.put_into_page(page, name, text) == page, f"python benchmarks/detection.py --write {name}"


def test_the_page_has_a_place_for_every_table() -> None:
    page = detection.PAGE.read_text()
    for name in detection.TABLES:
        assert "| --- |" in detection.put_into_page(page, name, "| --- |")
