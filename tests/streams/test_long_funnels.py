"""Funnels of more than a day, and funnels whose steps lie on several topics: edges, laws of journeys, what is kept, and whole partitions
(any order of arrival, flushes and restarts anywhere) against a recount from the events as they were sent."""

from collections import Counter

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from streams import events as e
from streams.engagement import FAMILY_BY_NAME
from streams.journeys.funnels import LONG, SHORT, LongFunnelEntry, LongFunnelStep, LongStepTime
from streams.journeys.told import JOURNEY_BY_NAME, MOST
from streams.panes import DAY, GRACE, HOUR, MINUTE, Pane
from streams.partition import ROLLUPS, Partition
from streams.sites import Sites, load_sites
from tests.streams.journey_laws import START, check_laws, facts_of, happens, notes_of, stories
from tests.streams.records import T0, Rec, event, pane_rows, readings, record, store, topic_of

T = START
SITE = load_sites("""
default:
  funnels:
    trial:
      window: 20160                # 14 days
      steps: [{event: signed_up}, {event: trial_started}, {event: subscription_started}]
    mail:
      window: 4320                 # 3 days
      steps: [{event: message_clicked, medium: email}, {event: product_viewed}, {event: order_completed}]
    quick:
      window: 60
      steps: [{event: message_clicked, medium: email}, {event: order_completed}]
""").default
DAYS_OF = {"trial": 14, "mail": 3}
STEPS_OF = {
    "trial": ("signed_up", "trial_started", "subscription_started"),
    "mail": ("message_clicked", "product_viewed", "order_completed"),
    "quick": ("message_clicked", "order_completed"),
}
LONG_FACTS = {"long_funnel_entry", "long_funnel_step", "long_funnel_step_time"}


def made(kind, at, **fields):
    return msgspec.convert(event(kind, at, site="s", customer="1", segment=None, channel=None, **fields), e.TYPES[kind])


def told(*events):
    return [(one.fact, one.at, one.labels[2:]) for one in facts_of(LONG, events, SITE)]


def reached(events, journey=LONG):
    return [(one.labels[2], one.fact.completed) for one in facts_of(journey, events, SITE) if hasattr(one.fact, "completed")]


def test_a_trial_over_two_weeks():
    events = [made("signed_up", T), made("trial_started", T + DAY), made("subscription_started", T + 14 * DAY)]
    assert told(*events) == [
        (LongFunnelEntry(True), T, ("trial",)),
        (LongFunnelStep(True), T, ("trial", "trial_started")),
        (LongStepTime(DAY), T, ("trial", "trial_started")),
        (LongFunnelStep(True), T, ("trial", "subscription_started")),
        (LongStepTime(13 * DAY), T, ("trial", "subscription_started")),
    ]
    assert facts_of(SHORT, events, SITE) == [], "quarter hours are for funnels of up to a day"


def test_a_step_exactly_at_the_window_counts():
    for late, completed in ((0, True), (1, False)):
        events = [made("signed_up", T), made("trial_started", T + HOUR), made("subscription_started", T + 14 * DAY + late)]
        assert reached(events) == [("trial", completed)]


def test_equal_times_on_different_topics_count_in_the_order_of_the_steps():
    events = [made("order_completed", T, id="0"), made("product_viewed", T, id="1"), made("message_clicked", T, id="2", medium="email")]
    assert reached(events) == [("mail", True)]
    assert reached(events, SHORT) == [("quick", True)]
    assert reached([made("order_completed", T), made("message_clicked", T + 1, medium="email")], SHORT) == [("quick", False)]


def test_a_message_of_another_medium_is_no_step():
    assert reached([made("message_clicked", T, medium="sms"), made("product_viewed", T + 1)]) == []


KINDS = (
    happens(e.SignedUp)
    | happens(e.TrialStarted)
    | happens(e.SubscriptionStarted, plan=st.just("pro"))
    | happens(e.MessageClicked, message=st.just("m"), campaign=st.just("c"), medium=st.sampled_from(("email", "email", "sms")))
    | happens(e.ProductViewed, product=st.just("p"))
    | happens(e.OrderCompleted, order=st.just("o"), total_minor=st.just(1), currency=st.just("EUR"))
)
GAPS = (0, 1, MINUTE, HOUR, HOUR + 1, DAY, 3 * DAY - HOUR, 3 * DAY, 3 * DAY + 1, 8 * DAY, 14 * DAY, 14 * DAY + 1)


@given(stories(KINDS, GAPS))
@settings(max_examples=60)
def test_laws(arrivals):
    check_laws(LONG, arrivals, SITE, GRACE[Pane.DAY])
    check_laws(SHORT, arrivals, SITE, GRACE[Pane.QUARTER_HOUR])


@given(stories(KINDS, GAPS, most=24))
def test_a_recount_agrees(arrivals):
    found = Counter((type(one.fact).__name__, *msgspec.structs.astuple(one.fact), one.at, *one.labels[2:]) for one in facts_of(LONG, arrivals, SITE))
    sent = [(one.at, e.NAMES[type(one)], one.id, getattr(one, "medium", None)) for one in arrivals]
    expected: Counter = Counter()
    for funnel, days in DAYS_OF.items():
        for at, times in attempts(sent, STEPS_OF[funnel], days * DAY):
            expected["LongFunnelEntry", len(times) == 3, at, funnel] += 1
            for number, step in enumerate(STEPS_OF[funnel][1:], 1):
                if number <= len(times):
                    expected["LongFunnelStep", number < len(times), at, funnel, step] += 1
                if number < len(times):
                    expected["LongStepTime", times[number] - times[number - 1], at, funnel, step] += 1
    assert found == expected


def attempts(sent, steps, window):
    """Entry and times of the steps of each attempt, from (time, type, id, medium) in any order: the first entry, from there the first of each
    further step; it goes on behind the attempt's last step or its window."""
    left = sorted(((at, steps.index(kind), name) for at, kind, name, medium in sent if kind in steps and (kind != "message_clicked" or medium == "email")))
    while entries := [place for place, (_, step, _) in enumerate(left) if step == 0]:
        entry = left[entries[0]]
        times, taken = [entry[0]], entries[0]
        for wanted in range(1, len(steps)):
            later = [place for place in range(taken + 1, len(left)) if left[place][1] == wanted and left[place][0] <= entry[0] + window]
            if not later:
                break
            taken = later[0]
            times.append(left[taken][0])
        yield entry[0], times
        done = len(times) == len(steps)
        left = left[taken + 1 :] if done else [one for one in left[entries[0] + 1 :] if one[0] > entry[0] + window]


# --- what is kept ----------------------------------------------------------------------------------------------------


def test_of_what_no_event_in_time_can_change_only_the_steps_under_way_are_kept():
    views = [made("product_viewed", T + number * MINUTE) for number in range(1, 200)]
    notes = notes_of(LONG, [made("message_clicked", T, medium="email"), made("signed_up", T), *views], SITE)
    kept = LONG.keep(notes, T + DAY, SITE)
    assert kept == notes
    kept = LONG.keep(notes, T + DAY / 2 + GRACE[Pane.DAY], SITE)
    assert sorted(one[0] - T for one in kept) == [0, 0, MINUTE], "the click, the view that followed, the sign-up"
    assert Counter(LONG.facts(kept, SITE)) == Counter(LONG.facts(notes, SITE))
    assert [one[0] - T for one in LONG.keep(kept, T + 4 * DAY + GRACE[Pane.DAY], SITE)] == [0], "three days are over, fourteen are not"
    assert LONG.keep(kept, T + 15 * DAY + GRACE[Pane.DAY], SITE) == []


def test_a_busy_subject_is_bounded():
    views = [made("product_viewed", T + number) for number in range(1, 3 * MOST)]
    events = [made("message_clicked", T, medium="email"), *views]
    kept = JOURNEY_BY_NAME["long_funnels"].newer(notes_of(LONG, events, SITE), SITE)
    assert len(kept) == 3 * MOST // 2 + 2, "the click and the first view are steps under way"
    order = made("order_completed", T + DAY)
    assert reached([*events, order]) == [("mail", True)]
    assert [one.fact.completed for one in LONG.facts([*kept, *notes_of(LONG, [order], SITE)], SITE) if isinstance(one.fact, LongFunnelEntry)] == [True]
    same = [made("product_viewed", T + 1) for _ in range(2 * MOST)]
    assert len(JOURNEY_BY_NAME["long_funnels"].newer(notes_of(LONG, same, SITE), SITE)) <= MOST, "also where all have the same time"


# --- whole partitions ------------------------------------------------------------------------------------------------

FIELDS = {
    "signed_up": {}, "trial_started": {}, "subscription_started": {"plan": "pro"}, "message_clicked": {"medium": "email"}, "product_viewed": {"product": "p"},
    "order_completed": {"total_minor": 1},
}  # fmt: skip


@st.composite
def logs(draw, gaps):
    """Events of two customers on two topics, by time."""
    wires, at = [], T0
    drawn = draw(st.lists(st.tuples(st.sampled_from(sorted(FIELDS)), st.sampled_from("112"), st.sampled_from(gaps)), min_size=1, max_size=14))
    for number, (kind, customer, gap) in enumerate(drawn):
        at += gap
        wires.append(event(kind, at, id=f"{draw(st.integers(0, 9))}-{number}", customer=customer, visitor=None, segment=None, channel=None, **FIELDS[kind]))
        if kind == "order_completed":
            wires[-1]["order"] = f"o{number}"
    return wires


def run(wires, flush_after=frozenset(), restart_after=frozenset()):
    """A partition that has applied these events, flushed and restarted on the way (it then reads its rows and the whole log again)."""
    sites = Sites(default=SITE)
    partition, rows, log, offsets = Partition(0, 1, sites), {}, [], {}

    def put(topic, value):
        offsets[topic] = offsets.get(topic, -1) + 1
        made = [record(offsets[topic], value)] if topic != ROLLUPS else [Rec(offsets[topic], 0, value)]
        log.append((topic, made))
        partition.apply(topic, made)

    def flush():
        flushed = partition.flush()
        store(rows, flushed)
        for message in flushed.after if flushed is not None else ():
            put(ROLLUPS, message.value)

    for number, wire in enumerate(wires):
        put(topic_of(wire), wire)
        if number in flush_after | restart_after:
            flush()
        if number in restart_after:
            partition = Partition(0, 1, sites)
            partition.load(list(rows.items()))
            for topic, records in log:
                partition.apply(topic, records)
    flush()
    flush()
    return partition


def funnel_rows(partition, facts):
    """Rows of these facts by (fact, grouping, pane, labels), of panes that are kept whenever a flush comes."""
    newest = max(partition.intake.newest.values())
    look_back = {"funnel": 3 * DAY, "long_f": 85 * DAY}
    return {
        (fact, grouping, pane, *labels): cell
        for (fact, _, grouping, _, pane, *labels), cell in pane_rows(partition.intake).items()
        if fact in facts and pane > newest - look_back[fact[:6]]
    }


def under_way(wires, shifts):
    return [wire for _, _, wire in sorted((wire["at"] + shift, number, wire) for number, (wire, shift) in enumerate(zip(wires, shifts, strict=True)))]


CUTS = st.frozensets(st.integers(0, 13))


@settings(max_examples=60, deadline=None)
@given(logs(GAPS), st.data(), CUTS, CUTS)
def test_any_arrival_inside_eight_days_gives_the_same_days_and_a_recount_agrees(wires, data, flushes, restarts):
    shifts = [data.draw(st.integers(0, 7 * 24)) * HOUR for _ in wires]
    found = funnel_rows(run(under_way(wires, shifts), flushes, restarts), LONG_FACTS)
    assert found == funnel_rows(run(wires), LONG_FACTS)
    newest = max(wire["at"] for wire in wires)
    expected: Counter = Counter()
    for customer in "12":
        sent = [(wire["at"], wire["type"], wire["id"], wire.get("medium")) for wire in wires if wire["customer"] == customer]
        for funnel, days in DAYS_OF.items():
            for at, times in attempts(sent, STEPS_OF[funnel], days * DAY):
                if at - at % DAY > newest - 85 * DAY:
                    expected[at - at % DAY, funnel, "n"] += 1
                    expected[at - at % DAY, funnel, "completed"] += len(times) == 3
    n, hits = FAMILY_BY_NAME["long_funnel_entry"].indices["long_funnel_completion_rate"]
    counted: Counter = Counter()
    for (fact, grouping, pane, _, funnel, *_), cell in found.items():
        if (fact, grouping) == ("long_funnel_entry", "channel,funnel"):
            counted[pane, funnel, "n"] += cell[n]
            counted[pane, funnel, "completed"] += cell[hits]
    assert +counted == +expected


@settings(max_examples=40, deadline=None)
@given(logs((0, 1, MINUTE, 30 * MINUTE, HOUR, HOUR + 1)), st.data(), CUTS, CUTS)
def test_any_arrival_inside_a_day_gives_the_same_quarter_hours_across_topics(wires, data, flushes, restarts):
    shifts = [data.draw(st.integers(0, 25 * 60)) * MINUTE for _ in wires]
    facts = {"funnel_entry", "funnel_step", "funnel_step_time"}
    assert funnel_rows(run(under_way(wires, shifts), flushes, restarts), facts) == funnel_rows(run(wires), facts)


def test_a_topic_that_is_behind_is_waited_for():
    """Three days of orders are read, and flushed one by one, before the first click comes."""
    clicks = [event("message_clicked", T0 + number * DAY // 2, customer="1", medium="email") for number in range(6)]
    orders = [event("order_completed", click["at"] + MINUTE, customer="1", order=f"o{number}") for number, click in enumerate(clicks)]
    found = funnel_rows(run([*orders, *clicks], frozenset(range(12))), {"funnel_entry"})
    n, hits = FAMILY_BY_NAME["funnel_entry"].indices["funnel_completion_rate"]
    assert [(cell[n], cell[hits]) for (_, grouping, *_), cell in found.items() if grouping == "channel,funnel"] == [(1, 1)] * 6
    assert found == funnel_rows(run(under_way([*orders, *clicks], [0] * 12)), {"funnel_entry"})


def test_what_is_too_late_for_minutes_is_corrected_in_its_quarter_hour():
    """The click is late to the measures of messages, which are counted by the minute; that is nothing to the funnel."""
    wires = [event("signed_up", T0 + 2 * HOUR, customer="1"), event("message_clicked", T0, customer="1", medium="email")]
    wires.append(event("order_completed", T0 + MINUTE, customer="1"))
    found = funnel_rows(run(wires, {0, 1}), {"funnel_entry"})
    n, hits = FAMILY_BY_NAME["funnel_entry"].indices["funnel_completion_rate"]
    assert [(cell[n], cell[hits]) for (_, grouping, *_), cell in found.items() if grouping == "channel,funnel"] == [(1, 1)]


def test_each_funnel_is_read_after_its_own_window():
    wires = [event("signed_up", T0, customer=str(number)) for number in range(3)]
    wires += [event("message_clicked", T0, customer=str(number), medium="email") for number in range(3)]
    wires += [event("product_viewed", T0 + DAY, customer="1", visitor=None), event("trial_started", T0 + DAY, customer="1")]
    partition = run(wires)

    def said(watermark, kpi):
        """What it said of the first step after the entry."""
        return {
            (reading.dimensions["funnel"], reading.length): (reading.value, reading.n)
            for reading in readings(partition, watermark)
            if reading.kpi == kpi and reading.dimensions.get("step") == STEPS_OF[reading.dimensions["funnel"]][1] and len(reading.dimensions) == 2
        }

    third, week, month = 1 / 3, 7 * DAY, 30 * DAY
    assert said(T0 + 4 * DAY - 1, "long_funnel_step_rate") == {}, "the day of entry and the three days of the funnel are not over"
    assert said(T0 + 4 * DAY, "long_funnel_step_rate") == {("mail", length): (third, 3) for length in ("day", week, month)}
    assert said(T0 + 15 * DAY - 1, "long_funnel_step_rate") == {("mail", month): (third, 3)}
    after = said(T0 + 15 * DAY, "long_funnel_step_rate")
    assert after == {("mail", month): (third, 3)} | {("trial", length): (third, 3) for length in ("day", week, month)}
    assert said(T0 + 15 * MINUTE + HOUR, "funnel_step_rate") == {("quick", length): (0.0, 3) for length in (HOUR, DAY, 7 * DAY)}


def test_what_is_published_waits_for_the_window_of_each_funnel():
    wires = [event(kind, T0, customer="1", **fields) for kind, fields in (("signed_up", {}), ("message_clicked", {"medium": "email"}))]
    for days, funnels in ((3, set()), (5, {"mail"}), (16, {"mail", "trial"})):
        later = [event(kind, T0 + days * DAY, customer="2") for kind in ("signed_in", "customer_updated")]
        messages = [msgspec.json.decode(message.value) for message in run([*wires, *later]).rollups.tick(0.0)]
        said = [reading for message in messages for reading in message["readings"] if reading["kpi"] == "long_funnel_completion_rate"]
        assert {reading["dimensions"]["funnel"] for reading in said if reading["n"]} == funnels
