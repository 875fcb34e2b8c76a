"""The sites file: every field, and errors that name site and field."""

import re
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import msgspec
import pytest

from streams import sources
from streams.events import ElementClicked, PageViewed, SignedUp
from streams.panes import HOUR, Pane
from streams.sites import CHECKOUT, ConsentDefaults, Funnel, Goal, Site, SitesError, Step, fits_template, load_sites

PAGE = (Path(__file__).parents[2] / "docs" / "sites.md").read_text()


def test_a_site_that_is_not_configured_works():
    site = load_sites("")["anything"]
    assert site == Site()
    assert site.zone is UTC
    assert site.search == sources.SEARCH_HOSTS
    assert site.consent == ConsentDefaults(analytics=True, profiling=True, sentiment=True)


def test_named_sites_and_the_default():
    sites = load_sites("default: {time_zone: Europe/Paris}\nsites:\n  shop: {time_zone: Europe/Berlin, brands: [Trail], competitors: [RunCo]}\n  blog:\n")
    assert sites["shop"].zone == ZoneInfo("Europe/Berlin")
    assert sites["shop"].own_brands == {"trail"}
    assert sites["shop"].known_brands == {"runco": "RunCo"}
    assert sites["blog"] == Site()
    assert sites["elsewhere"].time_zone == "Europe/Paris"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("sites: {shop: {time_zone: Europe/Berlim}}", ["site shop", "time_zone", "Europe/Berlim", "Europe/Berlin"]),
        ("sites: {shop: {time_zone: Europe}}", ["site shop", "time_zone"]),
        ("sites: {shop: {time_zone: ../../etc/passwd}}", ["site shop", "time_zone"]),
        ("sites: {shop: {time_zone: ''}}", ["site shop", "time_zone"]),
        ("sites: {shop: {time_zone: 2}}", ["site shop", "time_zone", "str", "int"]),
        ("sites: {good: {}, shop: {hosts: shop.example}}", ["site shop", "hosts", "array"]),
        ("sites: {shop: {hosts: [1]}}", ["site shop", "hosts"]),
        ('sites: {shop: {hosts: ["https://shop.example/"]}}', ["site shop: hosts: 'https://shop.example/' is no host", "write 'shop.example'"]),
        ("default: {local: [town.example/shops]}", ["default: local: 'town.example/shops'", "write 'town.example'"]),
        ("sites: {shop: {search: ['*.find.example']}}", ["site shop: search: '*.find.example'", "write 'find.example'"]),
        ("sites: {shop: {social: ['talk.example:443', '']}}", ["site shop: social: 'talk.example:443'", "write 'talk.example'"]),
        ("sites: {shop: {social: ['']}}", ["site shop: social: ''", "write 'shop.example'"]),
        ("sites: {shop: {routes: [/cart, product]}}", ["site shop: routes: 'product'", "begins with a slash: '/product'"]),
        ("sites: {shop: {goals: {demo: {page: demo}}}}", ["site shop: goal 'demo': page: 'demo'", "'/demo'"]),
        (
            "sites: {shop: {funnels: {f: {steps: [{event: page_viewed, path: a}, {event: signed_in}]}}}}",
            ["site shop: funnel 'f': step 1: path: 'a'", "'/a'"],
        ),
        ("sites:\n  shop: {}\n  blog: {}\n  shop: {}\n", ["'shop' is given twice, the second time in line 4"]),
        ("sites: {shop: {hosts: [a.example], hosts: [b.example]}}", ["'hosts' is given twice"]),
        ("sites: {shop: {timezone: UTC}}", ["site shop", "timezone", "time_zone"]),
        ("sites: {good: {calendar: []}, shop: {calendar: [2026-12-25, 2026-02-30]}}", ["site shop", "calendar", "'2026-02-30' is no day", "as 2026-12-25"]),
        ("sites: {shop: {calendar: [2026-12-25 10:00:00]}}", ["site shop", "calendar", "'2026-12-25 10:00:00' is no day"]),
        ("sites: {shop: {calendar: [25.12.2026]}}", ["site shop", "calendar", "'25.12.2026' is no day"]),
        ("sites: {shop: {calendar: [20261225]}}", ["site shop", "calendar", "20261225 is no day"]),
        ("default: {calendar: 2026-12-25}", ["default", "calendar", "'2026-12-25' is no list", "[2026-12-25, 2026-12-26]"]),
        ("sites: {shop: {consent: {analytics: maybe}}}", ["site shop", "consent.analytics", "bool"]),
        ("sites: {shop: {consent: {tracking: true}}}", ["site shop", "consent", "tracking"]),
        ("sites: {shop: 5}", ["shop"]),
        ("sites: {Shop: {}}", ["'Shop'", "a-z"]),
        ("sites: {'a/b': {}}", ["'a/b'"]),
        ("default: {time_zone: Mars}", ["default", "time_zone", "Mars"]),
        ("site: {}", ["site"]),
        ("sites: [", ["file", "not readable as YAML", "line 1"]),
        ("x: " + "y" * (1 << 20), ["at most 1048576 characters"]),
        ("[]", ["object"]),
        ("just words", ["object"]),
        ("sites: {shop: {brands: !!python/object:os.system x}}", ["python"]),
        ("sites: {shop: {response_target: 0}}", ["site shop", "response_target", ">= 1"]),
        ("sites: {shop: {goals: [demo]}}", ["site shop", "goals", "object"]),
        ("sites: {shop: {goals: {demo: {click: x}}}}", ["site shop", "goal 'demo'", "click", "element, path, page"]),
        ("sites: {shop: {goals: {demo: {path: /x}}}}", ["site shop", "goal 'demo'", "`path`", "element", "`page`"]),
        ("sites: {shop: {goals: {'a#b': {}}}}", ["site shop", "goal 'a#b'", "without `#`"]),
        ("sites: {shop: {goals: {'': {}}}}", ["site shop", "goal ''", "1 to 64"]),
        ("sites: {shop: {goals: {1: {}}}}", ["site shop", "goals", "str", "int"]),
        ("sites: {shop: {funnels: {f: {steps: [{event: page_viewed}]}}}}", ["site shop", "funnel 'f'", "steps", ">= 2", "2 to 20"]),
        ("sites: {shop: {funnels: {f: {window: 3000, steps: []}}}}", ["site shop", "funnel 'f'", "window", "129600"]),
        (
            "sites: {shop: {funnels: {f: {window: 129601, steps: [{event: page_viewed}, {event: signed_in}]}}}}",
            ["site shop", "funnel 'f'", "`$.window`", "<= 129600", "1 to 129600 minutes"],
        ),
        ("sites: {shop: {funnels: {f: {steps: [{event: page_viewed, url: x}, {}]}}}}", ["site shop", "funnel 'f'", "url", "$.steps[0]", "route"]),
        (
            "sites: {shop: {funnels: {f: {steps: [{event: post_measured}, {event: page_viewed}]}}}}",
            ["funnel 'f'", "step 1", "'post_measured'", "goal_reached", "mention_posted", "ticket_opened", "trial_started"],
        ),
        ("sites: {shop: {funnels: {f: {steps: [{event: page_viewed}, {event: erase_requested}]}}}}", ["step 2", "'erase_requested'", "signed_up"]),
        (
            "sites: {shop: {funnels: {f: {steps: [{event: page_viewed, campaign: x}, {event: signed_in}]}}}}",
            ["step 1", "page_viewed has no campaign", "path, route, properties"],
        ),
        (
            "sites: {shop: {funnels: {f: {steps: [{event: message_clicked, path: /x}, {event: signed_in}]}}}}",
            ["step 1", "message_clicked has no path", "campaign, medium, properties"],
        ),
        ("sites: {shop: {funnels: {f: {steps: [{event: page_viewed}, {event: page_viewed}]}}}}", ["funnel 'f'", "'page_viewed'", "`name`"]),
        (
            "sites: {shop: {funnels: {f: {steps: [{event: page_viewed}, {event: order_completed, route: /x}]}}}}",
            ["step 2", "order_completed", "no route", "properties"],
        ),
        (
            "default: {funnels: {f: {steps: [{event: page_viewed, goal: x}, {event: order_completed}]}}}",
            ["default", "step 1", "no goal", "path, route, properties"],
        ),
    ],
)
def test_errors_name_site_and_field(text, words):
    with pytest.raises(SitesError) as error:
        load_sites(text, "the sites file")
    for word in ("the sites file", *words):
        assert word in str(error.value)


def test_holidays_are_days_of_the_site():
    sites = load_sites("sites: {far: {time_zone: Pacific/Auckland, calendar: [2026-12-25, '2027-01-01', 2026-12-25]}, here: {calendar: [2026-12-25]}, none:}")
    christmas = round(datetime(2026, 12, 25, tzinfo=UTC).timestamp() * 1000)
    hours = {name: [hour for hour in range(-24, 48) if sites[name].is_holiday(christmas + hour * HOUR)] for name in ("far", "here", "none")}
    assert hours == {"far": list(range(-13, 11)), "here": list(range(24)), "none": []}


def test_the_page_has_every_field():
    table = dict(re.findall(r"^\| `([a-z._]+)` \|(.*)$", PAGE, re.M))
    fields = [field.name for field in msgspec.structs.fields(Site) if field.name != "consent"]
    assert set(table) == {*fields, *(f"consent.{field.name}" for field in msgspec.structs.fields(ConsentDefaults))}


def test_the_example_on_the_page_is_read():
    example = re.search(r"```yaml\n(.*?)```", PAGE, re.S)
    assert example is not None
    sites = load_sites(example[1])
    assert set(sites.named) == {"shop", "blog"}
    used = set(re.findall(r"^ +([a-z_]+):", example[1], re.M))
    assert used.issuperset(Site.__struct_fields__), "the example shows every field"


def test_goals_and_funnels():
    f = "{window: 90, steps: [{event: page_viewed, route: /x}, {event: element_clicked, name: two, properties: {a: true}}]}"
    g = "{steps: [{event: page_viewed}, {event: signed_in}]}"
    goals = "{demo: {element: book, path: /x}, call: {element: book}, letter: {}}"
    site = load_sites(f"default: {{goals: {goals}, response_target: 30, funnels: {{f: {f}, g: {g}}}}}").default
    assert site.goal_names == ("order", "demo", "call", "letter")
    assert site.click_goals == {"book": (("demo", "/x"), ("call", None))}
    assert site.goals["letter"] == Goal()
    assert site.response_target == 30
    first, second = Step(event="page_viewed", route="/x"), Step(event="element_clicked", name="two", properties={"a": True})
    assert site.funnels["f"] == Funnel(steps=(first, second), window=90)
    key = site.funnels["f"].key("f")
    steps = site.funnel_steps[Pane.QUARTER_HOUR]
    assert [step[1:] for step in steps[PageViewed]] == [(1, first), (1, Step(event="page_viewed"))]
    assert steps[ElementClicked] == ((key, 2, second),)


def test_a_funnel_longer_than_a_day_is_counted_in_days():
    steps = "steps: [{event: signed_up}, {event: trial_started, plan: pro}, {event: message_clicked, medium: email, campaign: welcome}]"
    site = load_sites(
        f"default: {{funnels: {{day: {{window: 1440, {steps}}}, long: {{window: 1441, {steps}}}, longest: {{window: 129600, {steps}}}}}}}"
    ).default
    assert {name: funnel.pane for name, funnel in site.funnels.items()} == {"day": Pane.QUARTER_HOUR, "long": Pane.DAY, "longest": Pane.DAY}
    assert {pane: [key.partition("#")[0] for key, _, _ in steps.get(SignedUp, ())] for pane, steps in site.funnel_steps.items()} == {
        Pane.MINUTE: [], Pane.QUARTER_HOUR: ["day"], Pane.DAY: ["long", "longest"],
    }  # fmt: skip
    assert [step.equal for step in site.funnels["long"].steps] == [(), (("plan", "pro"),), (("campaign", "welcome"), ("medium", "email"))]


def test_without_a_word_there_is_the_checkout_and_the_goal_order():
    assert Site().funnels == {"checkout": CHECKOUT}
    assert Site().goal_names == ("order",)
    assert not any(load_sites("default: {funnels: {}}").default.funnel_steps.values())


def test_the_version_of_a_funnel_follows_its_definition_alone():
    steps = (Step(event="page_viewed"), Step(event="signed_in"))
    assert Funnel(steps=steps).key("f") == Funnel(steps=tuple(steps)).key("f")
    others = [Funnel(steps=steps, window=60), Funnel(steps=steps[::-1]), Funnel(steps=(Step(event="page_viewed", name="x"), steps[1]))]
    assert len({funnel.key("f") for funnel in (Funnel(steps=steps), *others)}) == 4
    assert CHECKOUT.key("checkout") == "checkout#3cd7ac59", "a definition that stays as it was keeps its version"
    assert Funnel(steps=(Step(event="trial_started", plan="pro"), steps[1])).key("f") != Funnel(steps=(Step(event="trial_started"), steps[1])).key("f")


@pytest.mark.parametrize(
    ("template", "path", "fits"),
    [("/a/*", "/a/b?c#d", True), ("/a/*", "/a/b/c", False), ("/a", "/a#b", True), ("/a", "/A", False), ("/a", None, False), (None, None, True)],
)
def test_templates_of_paths(template, path, fits):
    assert fits_template(template, path) is fits


def test_what_sites_have_in_common_may_be_written_once():
    sites = load_sites("default: &all {time_zone: Europe/Paris, brands: [A]}\nsites:\n  shop: {<<: *all, brands: [B]}\n  blog: *all\n")
    assert (sites["shop"].time_zone, sites["shop"].brands, sites["blog"].brands) == ("Europe/Paris", ("B",), ("A",))
