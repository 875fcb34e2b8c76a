"""The sites file: every field, and errors that name site and field."""

import re
from datetime import UTC
from pathlib import Path
from zoneinfo import ZoneInfo

import msgspec
import pytest

from streams import sources
from streams.sites import ConsentDefaults, Site, SitesError, load_sites

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
        ("sites: {shop: {timezone: UTC}}", ["site shop", "timezone", "time_zone"]),
        ("sites: {shop: {consent: {analytics: maybe}}}", ["site shop", "consent.analytics", "bool"]),
        ("sites: {shop: {consent: {tracking: true}}}", ["site shop", "consent", "tracking"]),
        ("sites: {shop: 5}", ["shop"]),
        ("sites: {Shop: {}}", ["'Shop'", "a-z"]),
        ("sites: {'a/b': {}}", ["'a/b'"]),
        ("default: {time_zone: Mars}", ["default", "time_zone", "Mars"]),
        ("site: {}", ["site"]),
        ("sites: [", ["file"]),
        ("[]", ["object"]),
        ("just words", ["object"]),
        ("sites: {shop: {brands: !!python/object:os.system x}}", ["python"]),
    ],
)
def test_errors_name_site_and_field(text, words):
    with pytest.raises(SitesError) as error:
        load_sites(text, "the sites file")
    for word in ("the sites file", *words):
        assert word in str(error.value)


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
