"""Funnels: which events are steps, what an attempt is, the laws of journeys, and a recount that searches each step anew."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams import events as e
from streams.journeys.following import Stated
from streams.journeys.funnels import SHORT, FunnelEntry, FunnelStep, StepTime
from streams.panes import DAY, HOUR, MINUTE
from streams.sites import Funnel, Site, Step, load_sites
from tests.streams.journey_laws import START, check_laws, facts_of, happens, notes_of, stories

T = START
SHOP = Site(
    routes=("/shop/*",),
    funnels={
        "browse": Funnel(steps=(Step(event="page_viewed", name="first"), Step(event="page_viewed", name="second"), Step(event="goal_reached")), window=60),
        "buy": Funnel(steps=(Step(event="page_viewed", route="/shop/*"), Step(event="goal_reached", goal="buy"))),
    },
)
KINDS = (
    happens(e.PageViewed, path=st.sampled_from(("/", "/shop/1")))
    | happens(e.PageViewed, path=st.sampled_from(("/", "/shop/2?a")))
    | happens(e.GoalReached, goal=st.sampled_from(("buy", "buy", "other")))
)


def view(at, path="/", **fields):
    return e.PageViewed(id=f"v{at}{path}", site="s", at=at, visitor="v", path=path, **fields)


def goal(at, name="buy", event_id=None, **fields):
    return e.GoalReached(id=event_id or f"g{at}", site="s", at=at, visitor="v", goal=name, **fields)


def made(kind, at, **fields):
    fields = {"order_completed": {"order": "o", "total_minor": 1, "currency": "EUR"}, "product_viewed": {"product": "x"}}.get(kind, {}) | fields
    if kind == "product_added":
        fields = {"product": "x", "quantity": 1} | fields
    return e.TYPES[kind](id=f"{kind}{at}", site="s", at=at, visitor="v", **fields)


def reached(stated):
    """How many steps of how many attempts at a funnel were reached, by step."""
    return Counter((one.labels[2], "entry" if isinstance(one.fact, FunnelEntry) else one.labels[3]) for one in stated if not isinstance(one.fact, StepTime)
                   and (isinstance(one.fact, FunnelEntry) or one.fact.reached))  # fmt: skip


def funnel(*steps, window=1440):
    return Site(funnels={"f": Funnel(steps=tuple(Step(**step) for step in steps), window=window)})


def test_the_checkout_is_the_funnel_of_a_site_that_configures_none():
    steps = ("product_viewed", "product_added", "checkout_started", "order_completed")
    told = facts_of(SHORT, [made(kind, T + number * MINUTE, channel="email" if number == 2 else None) for number, kind in enumerate(steps)])
    labels = (None, "email", "checkout")
    assert told == [
        Stated(FunnelEntry(True), T, labels),
        *(Stated(fact, T, (*labels, step)) for step in steps[1:] for fact in (FunnelStep(True), StepTime(MINUTE))),
    ]


def test_an_attempt_states_the_steps_it_reached_and_the_one_it_did_not():
    told = facts_of(SHORT, [made("product_viewed", T), made("product_added", T + 5)])
    assert [(one.fact, one.labels[3:]) for one in told] == [
        (FunnelEntry(False), ()), (FunnelStep(True), ("product_added",)), (StepTime(5), ("product_added",)), (FunnelStep(False), ("checkout_started",)),
    ]  # fmt: skip
    assert facts_of(SHORT, [made("order_completed", T)]) == []


def test_the_steps_come_in_their_order_with_anything_between():
    site = funnel({"event": "page_viewed"}, {"event": "signed_in"}, {"event": "goal_reached"})
    early = [view(T), goal(T + 1), made("signed_in", T + 2)]
    assert reached(facts_of(SHORT, early, site)) == {("f", "entry"): 1, ("f", "signed_in"): 1}
    assert reached(facts_of(SHORT, [*early, made("signed_in", T + 3), goal(T + 4)], site))["f", "goal_reached"] == 1


def test_the_window_counts_from_the_entry_and_includes_its_end():
    site = funnel({"event": "page_viewed"}, {"event": "goal_reached"}, window=30)
    assert reached(facts_of(SHORT, [view(T), view(T + 20 * MINUTE), goal(T + 30 * MINUTE)], site)) == {("f", "entry"): 1, ("f", "goal_reached"): 1}
    assert reached(facts_of(SHORT, [view(T), view(T + 20 * MINUTE), goal(T + 30 * MINUTE + 1)], site)) == {("f", "entry"): 1}
    assert reached(facts_of(SHORT, [view(T), view(T + 30 * MINUTE + 1), goal(T + 31 * MINUTE)], site)) == {("f", "entry"): 2, ("f", "goal_reached"): 1}


def test_after_the_last_step_a_new_attempt_may_open():
    site = funnel({"event": "page_viewed"}, {"event": "goal_reached"})
    told = facts_of(SHORT, [view(T), goal(T + 1), goal(T + 2), view(T + 3), goal(T + 4)], site)
    assert reached(told) == {("f", "entry"): 2, ("f", "goal_reached"): 2}


def test_equal_times_count_in_the_order_of_the_steps():
    site = funnel({"event": "page_viewed"}, {"event": "goal_reached"})
    assert reached(facts_of(SHORT, [goal(T, event_id="0"), view(T)], site)) == {("f", "entry"): 1, ("f", "goal_reached"): 1}


def test_one_event_is_one_step():
    site = funnel({"event": "page_viewed", "name": "one"}, {"event": "page_viewed", "name": "two"})
    assert reached(facts_of(SHORT, [view(T)], site)) == {("f", "entry"): 1}
    assert reached(facts_of(SHORT, [view(T), view(T + 1)], site)) == {("f", "entry"): 1, ("f", "two"): 1}


@pytest.mark.parametrize(
    ("step", "fitting", "other"),
    [
        ({"event": "page_viewed", "path": "/shop/*"}, view(T, "/shop/1?q=2#a"), view(T, "/shop/1/2")),
        ({"event": "page_viewed", "route": "/shop/*"}, view(T, "/shop/1?q=2"), view(T, "/shop")),
        (
            {"event": "element_clicked", "element": "buy", "path": "/"},
            made("element_clicked", T, element="buy", path="/"),
            made("element_clicked", T, element="buy"),
        ),
        ({"event": "goal_reached", "goal": "buy"}, goal(T), goal(T, "sell")),
        ({"event": "checkout_step_completed", "step": "pay"}, made("checkout_step_completed", T, step="pay"), made("checkout_step_completed", T)),
        ({"event": "product_viewed", "category": "x"}, made("product_viewed", T, category="x"), made("product_viewed", T, category="y")),
        ({"event": "product_added", "product": "p"}, made("product_added", T, product="p"), made("product_added", T, product="q")),
        ({"event": "page_viewed", "properties": {"a": True}}, view(T, properties={"a": True, "b": 1}), view(T, properties={"a": 1})),
        ({"event": "page_viewed", "properties": {"a": 1}}, view(T, properties={"a": 1.0}), view(T, properties={"a": True})),
        ({"event": "page_viewed", "properties": {"a": "x"}}, view(T, properties={"a": "x"}), view(T)),
    ],
)
def test_a_step_may_ask_for_fields(step, fitting, other):
    site = load_sites("").default
    site = Site(routes=("/shop/*",), funnels=funnel(step, {"event": "signed_in"}).funnels, consent=site.consent)
    assert reached(facts_of(SHORT, [fitting], site)) == {("f", "entry"): 1}
    assert facts_of(SHORT, [other], site) == []


def test_what_a_changed_funnel_has_counted_stays_as_it_was():
    events = [view(T), goal(T + 1)]
    before = funnel({"event": "page_viewed"}, {"event": "goal_reached"})
    after = funnel({"event": "page_viewed"}, {"event": "goal_reached"}, window=60)
    notes = notes_of(SHORT, events, before)
    assert list(SHORT.facts(notes, before))
    assert not list(SHORT.facts(notes, after)), "so nothing is withdrawn"
    assert not notes_of(SHORT, events, Site(funnels={}))


@given(stories(KINDS, (0, 1, MINUTE, 20 * MINUTE, HOUR - 1, HOUR, HOUR + 1, 5 * HOUR, DAY, 30 * HOUR)))
def test_laws(arrivals):
    check_laws(SHORT, arrivals, SHOP)


@given(stories(KINDS, (0, 1, MINUTE, 20 * MINUTE, HOUR, HOUR + 1, 5 * HOUR, DAY), most=24))
def test_a_recount_agrees(arrivals):
    def is_view(event):
        return isinstance(event, e.PageViewed)

    def is_goal(event):
        return isinstance(event, e.GoalReached)

    browse = recount("browse", arrivals, {"first": is_view, "second": is_view, "goal_reached": is_goal}, HOUR)
    steps = {
        "page_viewed": lambda event: is_view(event) and event.path.startswith("/shop"),
        "goal_reached": lambda event: is_goal(event) and event.goal == "buy",
    }
    assert Counter(facts_of(SHORT, arrivals, SHOP)) == browse + recount("buy", arrivals, steps, DAY)


def recount(name, arrivals, steps, window):
    """Search: the first entry, from there the first of each further step inside the window; go on behind the attempt."""
    fits = list(steps.values())

    def rank(event):
        return next((number for number, fit in enumerate(fits) if fit(event)), len(fits))

    events = sorted(arrivals, key=lambda event: (event.at, rank(event), event.id))
    found: Counter[Stated] = Counter()
    start = 0
    while (entry := next((place for place in range(start, len(events)) if fits[0](events[place])), None)) is not None:
        inside = [place for place in range(entry, len(events)) if events[place].at <= events[entry].at + window]
        taken = [entry]
        for fit in fits[1:]:
            step = next((place for place in inside if place > taken[-1] and fit(events[place])), None)
            if step is None:
                break
            taken.append(step)
        done = len(taken) == len(fits)
        labels = [next((value for place in taken if (value := getattr(events[place], label)) is not None), None) for label in ("segment", "channel")]
        at = events[entry].at
        found[Stated(FunnelEntry(done), at, (*labels, name))] += 1
        for number, label in list(enumerate(steps))[1:]:
            if number <= len(taken):
                found[Stated(FunnelStep(number < len(taken)), at, (*labels, name, label))] += 1
            if number < len(taken):
                found[Stated(StepTime(events[taken[number]].at - events[taken[number - 1]].at), at, (*labels, name, label))] += 1
        start = (taken if done else inside)[-1] + 1
    return found
