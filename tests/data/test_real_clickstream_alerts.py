"""A shop's clickstream with documented incidents (simulated by its authors), as events through replay and rules.

Definitions. Every row is a page view, with the event of commerce that it stands for beside it. Two sites count the same rows: `shop`, where a subject is
a user (sessions are found again by their gaps) and the segment is the platform; `visits`, where a subject is a session of the set, so that no attempt at
a funnel spans two of them, and the segment is the life cycle. Equal to the set: sessions, bounces (a single page), conversion per session, orders,
failed payments, the funnel in order, the funnel in any order (a goal per step), and payment to purchase in any order (sessions that saw the page of
payment). The step rate of a funnel is in order, which the set shuffles inside a session: its payment to purchase is recounted here. Days are UTC.
"""

from collections import defaultdict
from collections.abc import Iterator
from datetime import date, timedelta
from itertools import pairwise

import pytest

from alerts.evaluation import Alert
from alerts.rule_files import DEFAULT_RULES, read_rules
from alerts.rules import RuleSet
from streams.panes import DAY, HOUR, QUARTER_HOUR, Pane
from streams.sites import load_sites
from tests.alerts.scenes import load_rules
from tests.data.adapters import DataSet, Event, Figures, Watched, epoch_ms

SITES = load_sites("""
sites:
  shop:
    goals:
      order: {page: /payment_details}
    funnels:
      payment:
        window: 60
        steps:
          - {event: checkout_step_completed, step: payment_details, name: payment_details}
          - {event: order_completed, name: purchase}
  visits:
    goals: {add_to_cart: {}, cart: {}, shipping_details: {}, payment_details: {}}
    funnels:
      purchase:
        steps:
          - {event: product_viewed, name: product_view}
          - {event: product_added, name: add_to_cart}
          - {event: page_viewed, path: /cart, name: cart}
          - {event: checkout_step_completed, step: shipping_details, name: shipping_details}
          - {event: checkout_step_completed, step: payment_details, name: payment_details}
          - {event: order_completed, name: purchase}
""")
# Here 3 to 7 a day come to the payment. Detectors need no least number; thresholds do, so they are asked of a week and of a day:
# less than half of what is usual on the quiet days (0.51 in order, 0.82 in any order), and two fifths below the week before.
RULES = """
groups:
  - name: payment
    rules:
      - alert: PaymentStepDrop
        kpi: funnel_step_rate
        by: [funnel, step]
        where: {funnel: payment, step: purchase}
        window: 7d
        below: 0.25
        clear: 0.35
        for: 1h
        keep_firing_for: 1h
        labels: {severity: page}
        annotations: {summary: "{site}, {dimensions}: {value} of {n} (usual {usual})"}
      - alert: PaymentStepBelowLastWeek
        kpi: funnel_step_rate
        by: [funnel, step]
        where: {funnel: payment, step: purchase}
        window: 7d
        change: {below: -0.4, clear: -0.2, against: week_before}
        for: 15m
        keep_firing_for: 15m
        labels: {severity: page}
        annotations: {summary: "{site}, {dimensions}: {value} of {n}, {change} against {earlier}"}
      - alert: PaymentDrop
        kpi: goal_action_rate
        by: [source, goal]
        where: {goal: order}
        window: 7d
        below: 0.4
        clear: 0.6
        for: 1h
        keep_firing_for: 1h
        labels: {severity: page}
        annotations: {summary: "{site}: {value} of {n} who saw the page of payment pay (usual {usual})"}
      - alert: PaymentUnusual
        kpi: goal_action_rate
        by: [source, goal]
        where: {goal: order}
        detect: ratio_fall
        labels: {severity: page}
        annotations: {summary: "{site}: {value} of {n} who saw the page of payment pay (usual at least {usual})"}
      - alert: PaymentErrors
        kpi: payment_failures
        window: day
        above: 0
        cooldown: 0s
        labels: {severity: ticket}
        annotations: {summary: "{site}: {value} payments failed on {start}"}
"""
INCIDENT, QUIET = ("2024-05-19", "2024-06-07"), ("2024-03-04", "2024-04-08")
GOALS = ("add_to_cart", "cart", "shipping_details", "payment_details")
BESIDE = {
    "product_view": {"type": "product_viewed", "product": "p"},
    "add_to_cart": {"type": "product_added", "product": "p", "quantity": 1},
    "shipping_details": {"type": "checkout_step_completed", "step": "shipping_details"},
    "payment_details": {"type": "checkout_step_completed", "step": "payment_details"},
    "payment_error": {"type": "payment_failed"},
    "purchase": {"type": "order_completed", "total_minor": 0, "currency": "EUR"},
}

pytestmark = pytest.mark.slow


def events(data: DataSet, site: str, subject: str, segment: str, days: tuple[str, str] = ("2024", "2025")) -> Iterator[Event]:
    for number, row in enumerate(sorted(data.rows, key=lambda row: row["timestamp"])):
        if not days[0] <= row["timestamp"][:10] <= days[1]:
            continue
        at, name = epoch_ms(row["timestamp"]), row["event"]
        common = {"id": f"{number:06}", "site": site, "at": at, "visitor": row[subject], "segment": row[segment], "channel": row["acquisition_channel"]}
        yield common | {"type": "page_viewed", "path": f"/{name}"}
        if name in BESIDE:
            yield common | BESIDE[name] | ({"order": f"{number:06}"} if name == "purchase" else {})
        if site == "visits" and name in GOALS:
            yield common | {"type": "goal_reached", "goal": name}


def attempts_to_pay(data: DataSet) -> list[tuple[int, bool]]:
    """When a user came to the payment, and whether a purchase followed within the hour; the next attempt begins after it. Without the product."""
    steps: dict[str, list[tuple[int, bool]]] = defaultdict(list)
    for row in data.rows:
        if row["event"] in ("payment_details", "purchase"):
            steps[row["user_id"]].append((epoch_ms(row["timestamp"]), row["event"] == "purchase"))
    found = []
    for of_user in steps.values():
        entered = None
        for at, paid in sorted(of_user):
            if entered is not None and (paid or at - entered > HOUR):
                within = at - entered <= HOUR
                found.append((entered, within))
                entered = None
            if entered is None and not paid:
                entered = at
        if entered is not None:
            found.append((entered, False))
    return found


@pytest.fixture(scope="module")
def data() -> DataSet:
    return DataSet("ecom_clickstream_incidents", "events.csv.gz")


@pytest.fixture(scope="module")
def shop(data: DataSet) -> Figures:
    return Figures(events(data, "shop", "user_id", "platform"), (Pane.QUARTER_HOUR, Pane.DAY), SITES)


@pytest.fixture(scope="module")
def visits(data: DataSet) -> Figures:
    return Figures(events(data, "visits", "session_id", "user_lifecycle"), (Pane.QUARTER_HOUR,), SITES)


# --- replayed ---------------------------------------------------------------------------------------------------------


def test_every_row_is_counted(shop: Figures, data: DataSet) -> None:
    counts = data.expected["event_counts"]
    beside = sum(counts[name] for name in BESIDE)
    assert shop.accounting == {"received": data.expected["events"] + beside, "applied": data.expected["events"] + beside, "unaccounted": 0}
    assert shop.count("page_views", "shop") == data.expected["events"]
    assert shop.count("orders", "shop") == counts["purchase"]
    assert shop.count("payment_failures", "shop") == counts["payment_error"]
    days = {f"{start:%F}" for start, reading in shop.of_length("payment_failures", DAY, "shop").items() if start.hour == 0 and reading.value}
    assert sorted(days) == data.expected["days_with_payment_error"]


def test_sessions_found_again_by_their_gaps(shop: Figures, data: DataSet) -> None:
    rebuilt = data.expected["rebuilt_sessions_user_gap_30min"]
    assert shop.tally("bounce_rate", "shop") == (rebuilt["bounced_sessions(hits==1)"], rebuilt["sessions"])
    assert shop.mean("pages_per_session", "shop", QUARTER_HOUR) == pytest.approx(rebuilt["hits_per_session"], abs=5e-7)
    assert shop.mean("session_duration", "shop", QUARTER_HOUR) == pytest.approx(rebuilt["mean_duration_s"], abs=5e-7)
    for monday, expected in data.expected["weekly(monday)"].items():
        days = (monday, f"{date.fromisoformat(monday) + timedelta(days=6)}")
        assert shop.tally("session_conversion_rate", "shop", ("source", "goal"), days, goal="order") == (expected["purchases"], expected["sessions"])


@pytest.mark.parametrize(("of", "label", "figure"), [("shop", "segment", "platform"), ("shop", "channel", "channel"), ("visits", "segment", "lifecycle")])
def test_conversion(shop: Figures, visits: Figures, data: DataSet, of: str, label: str, figure: str) -> None:
    figures = shop if of == "shop" else visits
    for value, expected in data.expected[f"conversion_by_{figure}"].items():
        converted = figures.tally("session_conversion_rate", of, ("segment", "channel", "goal"), goal="order", **{label: value})
        assert converted == (expected["purchases"], expected["sessions"])


def test_the_funnel_in_order_and_in_any_order(visits: Figures, data: DataSet) -> None:
    expected = data.expected["funnel_in_order_sessions"]
    for before, step in pairwise(expected):
        assert visits.tally("funnel_step_rate", "visits", ("funnel", "step"), step=step) == (expected[step], expected[before])
    completed = visits.tally("funnel_completion_rate", "visits", ("segment", "funnel"))
    assert completed == (expected["purchase"], expected["product_view"])
    for goal in (*GOALS, "order"):
        in_any_order = data.expected["funnel_any_order_sessions"]["purchase" if goal == "order" else goal]
        assert visits.tally("session_conversion_rate", "visits", ("source", "goal"), goal=goal) == (in_any_order, data.expected["sessions"])


def test_windows_of_the_incidents(shop: Figures, data: DataSet) -> None:
    attempts = attempts_to_pay(data)
    for name, expected in data.expected["incident_windows"].items():
        first, last = days = tuple(name.rpartition("_")[2].split(".."))
        assert shop.tally("session_conversion_rate", "shop", ("source", "goal"), days, goal="order") == (expected["purchases"], expected["sessions"])
        paid, saw = shop.tally("goal_action_rate", "shop", ("source", "goal"), days, goal="order")
        assert saw == expected["sessions_reaching_payment"]
        assert paid / saw == pytest.approx(expected["payment_to_purchase"], abs=5e-7)
        told = [paid for at, paid in attempts if epoch_ms(first) <= at < epoch_ms(last) + DAY]
        assert shop.tally("funnel_step_rate", "shop", ("funnel", "step"), days, step="purchase") == (sum(told), len(told))


# --- watched ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def scene(data: DataSet) -> Watched:
    """From a week before the quiet days to the end of the incident, with the rules of the product and these."""
    rules = RuleSet((*read_rules([DEFAULT_RULES]).rules, *load_rules(RULES).rules))
    return Watched(events(data, "shop", "user_id", "platform", ("2024-02-26", "2024-06-14")), rules, SITES, every=2 * HOUR)


def transitions(scene: Watched, rule: str) -> list[Alert]:
    """Of the incident: alerts that fired within or after it, each state once."""
    told = {(alert.id, alert.state): alert for alert in reversed(scene.transitions(rule)) if f"{alert.started:%F}" > "2024-05-14"}
    return sorted(told.values(), key=lambda alert: (alert.started, alert.state))


def test_quiet_days_raise_nothing(scene: Watched) -> None:
    """Neither a rule of the product nor one of these; nor did anything fire before."""
    assert [alert for alert in scene.published if f"{alert.started:%F}" <= QUIET[1]] == []
    assert scene.watch.status()["unaccounted"] == 0


def test_the_detector_finds_the_broken_payment_on_its_second_day(scene: Watched) -> None:
    """One alert, on 20 May, called off when people can pay again; in any order, so that the set's shuffling of events within a session does not matter."""
    firing, resolved = transitions(scene, "PaymentUnusual")
    assert (firing.state, resolved.state) == ("firing", "resolved")
    assert f"{firing.started:%F}" == "2024-05-20"
    assert INCIDENT[1] < f"{resolved.ended:%F}" < "2024-06-13"
    assert firing.value < 0.5 < 0.75 < firing.usual
    assert firing.n < 20
    why = firing.explanation
    assert why is not None
    assert (why.detector, why.statistic >= why.limit) == ("evidence", True)
    assert f"usual at least {100 * firing.usual:.1f} %" in firing.annotations["why"]


def test_the_rules_of_the_product_find_the_step(scene: Watched, data: DataSet) -> None:
    """In order the step is noisier, because events are shuffled inside a session; it is found on the third or fourth day, spread over all segments."""
    firing, resolved = transitions(scene, "FunnelStepDrop")
    assert INCIDENT[0] < f"{firing.started:%F}" < "2024-05-24"
    assert INCIDENT[1] < f"{resolved.ended:%F}" < "2024-06-14"
    assert firing.dimensions == {"funnel": "payment", "step": "purchase"}
    assert firing.explanation is not None
    assert "segment" in {one.label for one in firing.explanation.dimensions if not one.values}, "not who comes to it: the step itself"
    attempts = [paid for at, paid in attempts_to_pay(data) if firing.window.start.timestamp() * 1000 <= at < firing.window.end.timestamp() * 1000]
    assert (firing.numerator, firing.n) == (sum(attempts), len(attempts))


def test_thresholds_tell_of_the_payment_incident_and_call_it_off(scene: Watched, data: DataSet) -> None:
    attempts = attempts_to_pay(data)
    for rule in ("PaymentStepDrop", "PaymentDrop"):
        firing, resolved = transitions(scene, rule)
        assert (firing.state, resolved.state) == ("firing", "resolved")
        assert INCIDENT[0] < f"{firing.started:%F}" < "2024-05-26", "within a week, the length of the window"
        assert INCIDENT[1] < f"{resolved.ended:%F}" <= "2024-06-15", "and a week after its end it is over"
        assert firing.usual > 1.5 * firing.value
    below_last_week = transitions(scene, "PaymentStepBelowLastWeek")
    assert [alert.state for alert in below_last_week[:2]] == ["firing", "resolved"]
    assert INCIDENT[0] < f"{below_last_week[0].started:%F}" < "2024-05-26"
    assert "2024-05-26" < f"{below_last_week[1].ended:%F}" < INCIDENT[1], "from then on the week before is the incident's own"
    assert below_last_week[-1].state == "resolved"
    for alert in [*transitions(scene, "PaymentStepDrop"), *below_last_week]:
        told = [paid for at, paid in attempts if alert.window.start.timestamp() * 1000 <= at < alert.window.end.timestamp() * 1000]
        assert (alert.numerator, alert.n) == (sum(told), len(told))
    # The days with failed payments are two runs, parted by a day without: each is told when its first day is over, and called off a day after its last.
    days = [date.fromisoformat(day) for day in data.expected["days_with_payment_error"]]
    edges = [(f"{day:%F}", "firing") for day in days if day - timedelta(days=1) not in days] + [
        (f"{day:%F}", "resolved") for day in (day + timedelta(days=1) for day in days) if day not in days
    ]
    assert len(edges) == 4
    assert [(f"{alert.window.start:%F}", alert.state) for alert in transitions(scene, "PaymentErrors")] == sorted(edges)
    of_ours = {rule.name for rule in load_rules(RULES).rules}
    told_of = {(alert.id, alert.state) for alert in scene.published if alert.rule in of_ours}
    assert told_of <= {(alert.id, alert.state) for alert in scene.watch.outbox()}, "people are told of all"
