"""What is taken out of events at the door."""

import json
from typing import Any

import pytest

from collector.privacy import cut_query, device_of, family_of, is_ip, reduced
from streams import events as e
from streams.admission import BotFilter
from streams.examples import EXAMPLES

CHROME = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0.0.0 Safari/537.36"
IPHONE = "Mozilla/5.0 (iPhone; CPU iPhone OS 17_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.0 Mobile/15E148 Safari/604.1"
EDGE = CHROME + " Edg/120.0.0.0"
GOOGLEBOT = "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)"


def event(name: str, **fields: Any) -> Any:
    found = e.decode(json.dumps({**EXAMPLES[name], **fields}).encode())
    assert not isinstance(found, e.Rejected), found
    return found


@pytest.mark.parametrize(
    ("agent", "family", "device"),
    [
        (CHROME, "Chrome", "desktop"),
        (IPHONE, "Safari", "mobile"),
        (EDGE, "Edge", "desktop"),
        ("Mozilla/5.0 (Android 14; Tablet; rv:120.0) Gecko/120.0 Firefox/120.0", "Firefox", "tablet"),
        ("Mozilla/5.0 (Linux; Android 14; SM-S901B) AppleWebKit/537.36 Chrome/120.0 Mobile Safari/537.36 OPR/76.0", "Opera", "mobile"),
        ("Mozilla/5.0 (Linux; Android 14) SamsungBrowser/23.0 Chrome/115.0 Mobile Safari/537.36", "Samsung Internet", "mobile"),
        ("Mozilla/5.0 (Windows NT 10.0; Trident/7.0; rv:11.0) like Gecko", "Internet Explorer", "desktop"),
        ("an app of somebody", "other", None),
    ],
)
def test_of_an_agent_its_family_is_kept(agent, family, device):
    assert (family_of(agent), device_of(agent)) == (family, device)
    assert not BotFilter().judge(family), "a person must not become a bot"


@pytest.mark.parametrize("agent", [GOOGLEBOT, "python-requests/2.31.0", "curl/8.5.0"])
def test_bots_stay_recognisable(agent):
    assert BotFilter().judge(family_of(agent))
    assert BotFilter().judge(reduced(event("signed_in", user_agent=agent), False, None).user_agent)


def test_the_agent_of_the_request_counts_where_a_browser_sent_it():
    assert reduced(event("signed_in"), False, CHROME).user_agent == "Chrome"
    assert reduced(event("signed_in"), False, GOOGLEBOT).user_agent == GOOGLEBOT
    assert reduced(event("signed_in"), False, "analytics-python/2.4.0").user_agent is None
    assert reduced(event("signed_in"), False, "python-requests/2.31.0").user_agent is None
    assert reduced(event("signed_in", user_agent=IPHONE), False, CHROME).user_agent == "Safari"


def test_the_device_is_told_by_the_agent_where_the_event_does_not():
    assert reduced(event("signed_in", user_agent=IPHONE), False, None).device == "mobile"
    assert reduced(event("signed_in", user_agent=IPHONE, device="kiosk"), False, None).device == "kiosk"


@pytest.mark.parametrize("own", [None, {}, {"analytics": False}, {"profiling": True, "sentiment": True}, {"profiling": False}])
def test_an_opt_out_is_a_no_to_profiling_and_to_nothing_else(own):
    sent = event("page_viewed", consent=own)
    said = own or {}
    assert reduced(sent, False, None).consent == sent.consent
    assert reduced(sent, True, None).consent == e.Consent(said.get("analytics"), False, said.get("sentiment"))


@pytest.mark.parametrize(
    ("address", "kept"),
    [
        ("/a", "/a"),
        ("/a?", "/a"),
        ("/a?utm_source=x&token=1&utm_campaign=y", "/a?utm_source=x&utm_campaign=y"),
        ("/a?email=a%40b.example", "/a"),
        ("/a?utm%5Fsource=x", "/a?utm%5Fsource=x"),
        ("/a#access_token=7", "/a"),
        ("/a#x?utm_source=1", "/a"),
        ("/a?UTM_SOURCE=1", "/a"),
    ],
)
def test_of_a_query_what_is_allowed_is_kept(address, kept):
    assert cut_query(address) == kept


def test_other_parameters_can_be_allowed():
    assert cut_query("/a?q=shoes&page=2&utm_source=x", ("q", "page")) == "/a?q=shoes&page=2"


def test_addresses_are_cut_wherever_they_stand():
    view = reduced(event("page_viewed", path="/a?id=7&utm_medium=x", referrer="https://user:pass@www.google.com:443/search?q=me#f"), False, None)
    assert (view.path, view.referrer) == ("/a?utm_medium=x", "www.google.com")
    assert reduced(event("page_viewed", referrer="/inside?x"), False, None).referrer is None
    assert reduced(event("message_clicked", link="https://a.example/x?user=7"), False, None).link == "https://a.example/x"
    assert reduced(event("element_clicked", element="https://a.example/x?user=7"), False, None).element == "https://a.example/x"
    assert reduced(event("element_clicked", element="Really?"), False, None).element == "Really?"
    assert reduced(event("signed_in", properties={"page": "https://a.example/x?user=7", "why": "a?b"}), False, None).properties == {
        "page": "https://a.example/x", "why": "a?b",
    }  # fmt: skip


@pytest.mark.parametrize("address", ["203.0.113.9", "::1", "2001:db8::8a2e:370:7334", "[2001:db8::1]", "::ffff:203.0.113.9"])
def test_no_event_has_an_ip_address(address):
    assert is_ip(address)
    assert reduced(event("signed_in", properties={"ip": address, "n": 1}), False, None).properties == {"n": 1}
    assert reduced(event("customer_updated", traits={"last": address}), False, None).traits == {}


@pytest.mark.parametrize("text", ["1.2.3", "12:30", "a:b", "1.2.3.4.5", "v1.2.3.4", "", "999.1.1.1"])
def test_what_is_no_address_stays(text):
    assert not is_ip(text)


@pytest.mark.parametrize("name", e.TYPES)
def test_events_without_anything_private_stay_as_they_are(name):
    sent = event(name, **({"referrer": None} if "referrer" in e.TYPES[name].__struct_fields__ else {}))
    assert reduced(sent, False, None) is sent
