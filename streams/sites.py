"""What an operator may say about a site: time zone, own and known hosts, routes, brands, consent where an event says nothing."""

import re
from collections.abc import Mapping
from datetime import UTC, tzinfo
from functools import cached_property
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec
import yaml

from streams import sources

SITE_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")


class ConsentDefaults(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Purposes that hold for a subject who never said anything."""

    analytics: bool = True
    profiling: bool = True
    sentiment: bool = True


class Site(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, dict=True):
    """Settings of one site; every field has a default, so an unconfigured site works."""

    time_zone: str = "UTC"
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
    consent: ConsentDefaults = ConsentDefaults()

    @cached_property
    def zone(self) -> tzinfo:
        return UTC if self.time_zone == "UTC" else ZoneInfo(self.time_zone)

    @cached_property
    def own_brands(self) -> frozenset[str]:
        return frozenset(brand.casefold() for brand in self.brands)

    @cached_property
    def known_brands(self) -> Mapping[str, str]:
        """Configured competitors by their name in lower case, as they are to be shown."""
        return {brand.casefold(): brand for brand in self.competitors}

    @cached_property
    def route_patterns(self) -> tuple[tuple[re.Pattern[str], str], ...]:
        return tuple((re.compile(re.escape(route).replace(r"\*", "[^/]*")), route) for route in self.routes)


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


def load_sites(text: str, name: str = "sites file") -> Sites:
    """Read a sites file (YAML: `default:` and `sites: {NAME: …}`); raises SitesError with what to change."""
    try:
        content = yaml.safe_load(text)
        file = msgspec.convert({} if content is None else content, _SitesFile)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise SitesError(f"{name}: {error}") from error
    for site_name in file.sites:
        if not SITE_NAME.fullmatch(site_name):
            raise SitesError(f"{name}: site {site_name!r}: a site's name is up to 64 of a-z, 0-9, dot, dash and underscore, the first a letter or digit")
    return Sites({site_name: _site(fields, f"{name}: site {site_name}") for site_name, fields in file.sites.items()}, _site(file.default, f"{name}: default"))


def _site(fields: Any, where: str) -> Site:
    try:
        site = msgspec.convert({} if fields is None else fields, Site)
    except msgspec.ValidationError as error:
        raise SitesError(f"{where}: {error}; fields: {', '.join(Site.__struct_fields__)}") from error
    try:
        site.zone  # noqa: B018 (a cached property that raises for an unknown name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise SitesError(f"{where}: time_zone {site.time_zone!r} is not known; use a name such as Europe/Berlin") from error
    return site
