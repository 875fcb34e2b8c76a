"""Source classes and routes."""

import pytest

from streams.sites import Site
from streams.sources import host_of

SITE = Site(hosts=("shop.example", "localhost"), local=("town.example",), routes=("/product/*", "/product/*/reviews", "/a.b"))


@pytest.mark.parametrize(
    ("referrer", "medium", "source"),
    [
        (None, None, "direct"),
        ("", None, "direct"),
        # the campaign's medium comes first
        ("https://www.google.com/", "cpc", "paid"),
        ("https://shop.example/", "PPC", "paid"),
        (None, "display", "paid"),
        (None, "paid-social", "paid"),
        (None, "Email", "email"),
        (None, "e-mail", "email"),
        ("https://www.google.com/", "social-media", "social"),
        ("https://www.google.com/", "banner", "search"),
        (None, "banner", "direct"),
        # hosts: own, local, search, social, else referral
        ("https://shop.example/cart", None, "internal"),
        ("https://WWW.Shop.Example./cart", None, "internal"),
        ("http://localhost:8000/", None, "internal"),
        ("https://news.town.example/", None, "local"),
        ("https://nottown.example/", None, "referral"),
        ("https://town.example.evil.net/", None, "referral"),
        ("https://t.co/abc", None, "social"),
        ("https://adt.co/abc", None, "referral"),
        ("https://m.facebook.com/", None, "social"),
        ("android-app://com.example.mail/", None, "referral"),
        # google under any top-level domain, and not as a mere part of a name
        ("https://www.google.com/", None, "search"),
        ("https://google.de", None, "search"),
        ("https://www.google.co.uk/search?q=1", None, "search"),
        ("https://google.com.br/", None, "search"),
        ("https://yandex.com.tr/", None, "search"),
        ("https://google.evil.example/", None, "referral"),
        ("https://notgoogle.com/", None, "referral"),
        ("https://search.brave.com/", None, "search"),
        ("https://brave.com/", None, "referral"),
        # whatever a browser may send
        ("www.google.com/search", None, "search"),
        ("http://[bad", None, "referral"),
        ("not a url", None, "referral"),
        ("https:///path", None, "referral"),
    ],
)
def test_source_of_a_view(referrer, medium, source):
    assert SITE.source_of(referrer, medium) == source


def test_own_hosts_may_be_written_in_any_case():
    assert Site(hosts=("Shop.Example",)).source_of("https://shop.example/", None) == "internal"


def test_a_host_that_is_no_host_is_none():
    assert host_of("http://[::1") == ""
    assert host_of("http://[::1]:80/") == "::1"


@pytest.mark.parametrize(
    ("path", "route"),
    [
        ("/", "/"),
        ("", "/"),
        ("/blog/2026/why", "/blog"),
        ("blog/2026", "/blog"),
        ("/blog?page=2", "/blog"),
        ("/?utm_source=x", "/"),
        ("/#top", "/"),
        ("/shop#a?b", "/shop"),
        ("/product/trail-7", "/product/*"),
        ("/product/trail-7?size=42", "/product/*"),
        ("/product/trail-7/reviews", "/product/*/reviews"),
        ("/product/trail-7/photos", "/product"),
        ("/product/", "/product/*"),
        ("/a.b", "/a.b"),
        ("/aXb", "/aXb"),
        ("//double", "/double"),
    ],
)
def test_route_of_a_path(path, route):
    assert SITE.route_of(path) == route


def test_the_first_template_that_fits_names_the_route():
    assert Site(routes=("/*/cart", "/de/*")).route_of("/de/cart") == "/*/cart"
