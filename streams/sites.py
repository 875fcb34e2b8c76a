"""What an operator may say about a site: time zone, holidays, own and known hosts, routes, brands, goals, funnels, the
response time aimed at, consent where an event says nothing."""

import re
from collections.abc import Mapping
from datetime import UTC, date, tzinfo
from functools import cached_property, lru_cache
from typing import Annotated, Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec
from msgspec import Meta
from xxhash import xxh3_64_hexdigest

from streams import sources, strict_yaml
from streams.events import EVENT_TYPES, NAMES, SITE_FORM, SITE_PATTERN, ConsentChanged, CustomerIdentified, EraseRequested, Event, PageViewed
from streams.panes import DAY, MINUTE, Pane, local
from streams.texts.overlay import Overlay, Tuning
from streams.texts.patterns import PatternError

SITE_NAME = re.compile(SITE_PATTERN)
STEP_EVENTS = {NAMES[event]: event for event in EVENT_TYPES if not event.site_level and event not in (ConsentChanged, EraseRequested, CustomerIdentified)}
"""What a step of a funnel may wait for: what a subject does or is sent, on any topic."""
STEP_VALUES_ADDED = ("campaign", "medium", "plan", "feature")
"""Those that the first versions of funnels did not know."""
STEP_VALUES = ("goal", "step", "element", "product", "category", *STEP_VALUES_ADDED)
STEP_FILTERS = ("path", "route", *STEP_VALUES)
LONGEST_FUNNEL = 90 * DAY
LONGEST_SEGMENT = 128
LABEL = re.compile(r"[^\s#][^#]{0,63}")
"""Names of funnels, steps and goals: they become labels, and `#` parts a funnel's name from its version."""


class ConsentDefaults(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Purposes that hold for a subject who never said anything."""

    analytics: bool = True
    profiling: bool = True
    sentiment: bool = True


class Goal(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A goal whose rate is wanted: reached by `goal_reached` of its name, and by clicks on `element` where one is configured."""

    element: str | None = None
    path: str | None = None
    """Template of the page the click is made on; None: any."""
    page: str | None = None
    """Template of the key page: where the goal can be seen; None: everywhere."""


class Step(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, dict=True):
    """What a step of a funnel waits for: an event whose fields have these values. `path` is a template; `route` is the path's route."""

    event: str
    name: str = ""
    """Label of the step; the event's name where it is empty."""
    path: str | None = None
    route: str | None = None
    goal: str | None = None
    step: str | None = None
    element: str | None = None
    product: str | None = None
    category: str | None = None
    properties: dict[str, str | int | float | bool] = {}
    campaign: str | None = None
    medium: str | None = None
    plan: str | None = None
    feature: str | None = None

    @property
    def label(self) -> str:
        return self.name or self.event

    @cached_property
    def equal(self) -> tuple[tuple[str, str], ...]:
        """Fields of the event that must have exactly this value."""
        return tuple((field, value) for field in STEP_VALUES if (value := getattr(self, field)) is not None)


class Funnel(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, dict=True):
    """Steps in their order, and how long (minutes, up to 90 days) after the first one the others count."""

    steps: Annotated[tuple[Step, ...], Meta(min_length=2, max_length=20)]
    window: Annotated[int, Meta(ge=1, le=LONGEST_FUNNEL // MINUTE)] = 1440

    @cached_property
    def pane(self) -> Pane:
        """Size of the panes it is counted in: quarter hours, and days where its window is longer than one."""
        return Pane.QUARTER_HOUR if self.window * MINUTE <= DAY else Pane.DAY

    def key(self, name: str) -> str:
        """Its name with a version that changes with the definition, so that what an older one has counted stays as it was."""
        return f"{name}#{self._version}"

    @cached_property
    def _version(self) -> str:
        plain = msgspec.to_builtins(self)
        for step in plain["steps"]:
            for field in STEP_VALUES_ADDED:  # without them a definition keeps the version it always had
                if step[field] is None:
                    del step[field]
        return xxh3_64_hexdigest(msgspec.msgpack.encode(plain))[:8]


CHECKOUT = Funnel(steps=tuple(Step(event=name) for name in ("product_viewed", "product_added", "checkout_started", "order_completed")), window=60)


class Site(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, dict=True):
    """Settings of one site; every field has a default, so an unconfigured site works."""

    time_zone: str = "UTC"
    calendar: frozenset[date] = frozenset()
    """Holidays: detectors of counts take them for quiet days of a weekend."""
    hosts: tuple[str, ...] = ()
    """Own hosts: views referred by them are `internal`."""
    local: tuple[str, ...] = ()
    """Hosts of local partners, directories and community sites: source `local`."""
    search: tuple[str, ...] = sources.SEARCH_HOSTS
    social: tuple[str, ...] = sources.SOCIAL_HOSTS
    routes: tuple[str, ...] = ()
    """Templates such as `/product/*`; the first that fits names the route."""
    brands: tuple[str, ...] = ()
    """The site's own names; a mention without a brand is about the site."""
    competitors: tuple[str, ...] = ()
    goals: dict[str, Goal] = {}
    """Goals that have a rate, beside `order`, which always has one."""
    funnels: dict[str, Funnel] = msgspec.field(default_factory=lambda: {"checkout": CHECKOUT})
    response_target: Annotated[int, Meta(ge=1, le=10_080)] = 240
    """Minutes (at most a week) within which a ticket is to be answered."""
    learn_from_stars: bool = False
    """Whether starred reviews teach what texts without stars mean (`streams.learner`)."""
    samples: bool = False
    """Whether a text may be shown beside the theme it stands for; else no text leaves the worker that reads it."""
    consent: ConsentDefaults = ConsentDefaults()
    sentiment: Tuning = Tuning()
    """How texts to and about the site are judged."""

    @cached_property
    def overlay(self) -> Overlay:
        """The second opinion on its texts; raises PatternError for patterns that cannot be used."""
        return Overlay(self.sentiment, self.brands)

    @cached_property
    def zone(self) -> tzinfo:
        return UTC if self.time_zone == "UTC" else ZoneInfo(self.time_zone)

    def is_holiday(self, at: int) -> bool:
        """Whether the instant `at` (ms) lies in a day of the calendar."""
        return bool(self.calendar) and local(at, self.zone).date() in self.calendar

    @cached_property
    def own_brands(self) -> frozenset[str]:
        return frozenset(brand.casefold() for brand in self.brands)

    @cached_property
    def known_brands(self) -> Mapping[str, str]:
        """Configured competitors by their name in lower case, as they are to be shown."""
        return {brand.casefold(): brand for brand in self.competitors}

    @cached_property
    def route_patterns(self) -> tuple[tuple[re.Pattern[str], str], ...]:
        return tuple((template_pattern(route), route) for route in self.routes)

    def source_of(self, referrer: str | None, medium: str | None) -> str:
        """Class of a view's source: the campaign's medium first, then the referrer's host against the site's lists.

        A host entry without a dot (`google`) stands for that name under any top-level domain.
        """
        if medium:
            word = medium.casefold()
            if word.startswith("paid") or word in {"cpc", "ppc", "display"}:
                return sources.PAID
            if word in {"email", "e-mail"}:
                return sources.EMAIL
            if word.startswith("social"):
                return sources.SOCIAL
        if not referrer:
            return sources.DIRECT
        host = sources.host_of(referrer)
        if not host:
            return sources.REFERRAL
        for hosts, name in ((self.hosts, sources.INTERNAL), (self.local, sources.LOCAL), (self.search, sources.SEARCH), (self.social, sources.SOCIAL)):
            if sources.is_listed(host, hosts):
                return name
        return sources.REFERRAL

    def route_of(self, path: str) -> str:
        """Route of a path: the first configured template that fits, else (up to 128 characters of) the first segment; query and fragment are cut."""
        path = path.partition("#")[0].partition("?")[0]
        for pattern, template in self.route_patterns:
            if pattern.fullmatch(path):
                return template
        return "/" + path.lstrip("/").partition("/")[0][:LONGEST_SEGMENT]

    @cached_property
    def goal_names(self) -> tuple[str, ...]:
        """All goals that have a rate."""
        return tuple(dict.fromkeys((ORDER, *self.goals)))

    @cached_property
    def click_goals(self) -> Mapping[str, tuple[tuple[str, str | None], ...]]:
        """By element: the goals that a click on it reaches, and the template of their page (None: any)."""
        found: dict[str, tuple[tuple[str, str | None], ...]] = {}
        for name, goal in self.goals.items():
            if goal.element is not None:
                found[goal.element] = (*found.get(goal.element, ()), (name, goal.path))
        return found

    @cached_property
    def funnel_steps(self) -> Mapping[Pane, Mapping[type[Event], tuple[tuple[str, int, Step], ...]]]:
        """By size of panes and type of event: the steps it may be, each with the key of its funnel's present version and its place as a bit."""
        found: dict[Pane, dict[type[Event], tuple[tuple[str, int, Step], ...]]] = {pane: {} for pane in Pane}
        for name, funnel in self.funnels.items():
            steps = found[funnel.pane]
            for place, step in enumerate(funnel.steps):
                event = STEP_EVENTS[step.event]
                steps[event] = (*steps.get(event, ()), (funnel.key(name), 1 << place, step))
        return found


ORDER = "order"
"""The goal that every order reaches."""


@lru_cache(maxsize=4_096)
def template_pattern(template: str) -> re.Pattern[str]:
    """What fits a template of paths: `*` stands for one segment."""
    return re.compile(re.escape(template).replace(r"\*", "[^/]*"))


def fits_template(template: str | None, path: str | None) -> bool:
    """Whether a path without its query and fragment fits a template; without a template everything does."""
    return template is None or (path is not None and template_pattern(template).fullmatch(path.partition("#")[0].partition("?")[0]) is not None)


class SitesError(ValueError):
    """The sites file cannot be used; the text names file, site and field, and what is allowed."""


class Sites:
    """Settings by site name, with the defaults for every site not named."""

    def __init__(self, named: Mapping[str, Site] | None = None, default: Site | None = None) -> None:
        self.default = default or Site()
        self.named = dict(named or {})

    def __getitem__(self, name: str) -> Site:
        return self.named.get(name, self.default)


class _SitesFile(msgspec.Struct, forbid_unknown_fields=True):
    sites: dict[str, Any] = {}
    default: Any = None


class _Loader(strict_yaml.UniqueKeys):
    """Takes aliases, so that what sites have in common is written once; leaves dates as texts, so that one there is not is told with its site and field."""


_Loader.add_constructor("tag:yaml.org,2002:timestamp", lambda _, node: node.value)


def load_sites(text: str, name: str = "sites file") -> Sites:
    """Read a sites file (YAML: `default:` and `sites: {NAME: …}`); raises SitesError with what to change."""
    try:
        content = strict_yaml.load(text, _Loader)
        file = msgspec.convert({} if content is None else content, _SitesFile)
    except ValueError as error:
        raise SitesError(f"{name}: {error}") from error
    for site_name in file.sites:
        if not SITE_NAME.fullmatch(site_name):
            raise SitesError(f"{name}: site {site_name!r}: a site's name {SITE_FORM}")
    return Sites({site_name: _site(fields, f"{name}: site {site_name}") for site_name, fields in file.sites.items()}, _site(file.default, f"{name}: default"))


def _site(fields: Any, where: str) -> Site:
    if isinstance(fields, dict):  # each by itself first, so that a mistake is told with its name
        _check_days(fields.get("calendar"), f"{where}: calendar")
        _check_form(fields.get("goals"), Goal, f"{where}: goal", ", ".join(Goal.__struct_fields__))
        of_funnel = f"steps (2 to 20), window (1 to {LONGEST_FUNNEL // MINUTE} minutes); of a step: {', '.join(Step.__struct_fields__)}"
        _check_form(fields.get("funnels"), Funnel, f"{where}: funnel", of_funnel)
    try:
        site = msgspec.convert({} if fields is None else fields, Site)
    except msgspec.ValidationError as error:
        raise SitesError(f"{where}: {error}; fields: {', '.join(Site.__struct_fields__)}") from error
    try:
        site.zone  # noqa: B018 (a cached property that raises for an unknown name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise SitesError(f"{where}: time_zone {site.time_zone!r} is not known; use a name such as Europe/Berlin") from error
    try:
        site.overlay  # noqa: B018 (compiles the patterns)
    except PatternError as error:
        raise SitesError(f"{where}: sentiment: {error}") from error
    for field in ("hosts", "local", "search", "social"):
        _check_hosts(getattr(site, field), f"{where}: {field}")
    for route in site.routes:
        _check_template(route, f"{where}: routes")
    for name, goal in site.goals.items():
        _check_name(name, f"{where}: goal {name!r}")
        _check_template(goal.path, f"{where}: goal {name!r}: path")
        _check_template(goal.page, f"{where}: goal {name!r}: page")
        if goal.path is not None and goal.element is None:
            raise SitesError(f"{where}: goal {name!r}: `path` says where `element` is clicked; name the element, or use `page` for where the goal can be seen")
    for name, funnel in site.funnels.items():
        _check_name(name, f"{where}: funnel {name!r}")
        _check_steps(funnel, f"{where}: funnel {name!r}")
    return site


def _check_days(days: Any, where: str) -> None:
    if days is not None and not isinstance(days, list):
        raise SitesError(f"{where}: {days!r} is no list; write days as [2026-12-25, 2026-12-26]")
    for day in days or ():
        try:
            msgspec.convert(day, date)
        except msgspec.ValidationError:
            raise SitesError(f"{where}: {day!r} is no day; write each by itself as 2026-12-25") from None


def _check_form(named: Any, form: type[Goal | Funnel], where: str, allowed: str) -> None:
    if isinstance(named, dict):
        for name, fields in named.items():
            try:
                msgspec.convert(fields, form)
            except msgspec.ValidationError as error:
                raise SitesError(f"{where} {name!r}: {error}; fields: {allowed}") from error


def _check_hosts(hosts: tuple[str, ...], where: str) -> None:
    for entry in hosts:
        host = sources.host_of(entry).removeprefix("*.")
        if not host or host != entry.lower():
            raise SitesError(f"{where}: {entry!r} is no host; write {host or 'shop.example'!r}, which also stands for all that ends with it at a dot")


def _check_template(template: str | None, where: str) -> None:
    if template is not None and not template.startswith("/"):
        raise SitesError(f"{where}: {template!r} fits no path; a template begins with a slash: {'/' + template!r}")


def _check_name(name: str, where: str) -> None:
    if not LABEL.fullmatch(name):
        raise SitesError(f"{where}: a name is 1 to 64 characters without `#`, and does not begin with a blank")


def _check_steps(funnel: Funnel, where: str) -> None:
    labels = [step.label for step in funnel.steps]
    for number, step in enumerate(funnel.steps, 1):
        place = f"{where}: step {number}"
        if step.event not in STEP_EVENTS:
            raise SitesError(f"{place}: event {step.event!r} cannot be a step; allowed: {', '.join(STEP_EVENTS)}")
        _check_name(step.label, place)
        _check_template(step.path, f"{place}: path")
        if labels.count(step.label) > 1:
            raise SitesError(f"{place}: two steps are called {step.label!r}; give each a `name` of its own")
        event = STEP_EVENTS[step.event]
        known = set(event.__struct_fields__).difference(("campaign",) if event is PageViewed else ())  # that of a page view is no text
        usable = [field for field in STEP_FILTERS if ("path" if field == "route" else field) in known]
        for field in STEP_FILTERS:
            if getattr(step, field) is not None and field not in usable:
                raise SitesError(f"{place}: {step.event} has no {field}; usable with it: {', '.join([*usable, 'properties'])}")
