"""The keys file, and who a key lets in."""

import pytest

from collector.keys import KeysError, add_key, create_key, digest, entry_text, load_keys, server_key_in

WRITE = "keys:\n  - {name: web, kind: write, site: shop, key: wk_0123456789, origins: ['https://Shop.example', 'http://localhost:3000'], rate: 5}\n"
SECRET = "sk_back_" + "x" * 43
SERVER = f"  - name: back\n    kind: server\n    site: shop\n    hash: {digest(SECRET)}\n"


def test_keys_are_found_by_their_text_alone():
    keys = load_keys(WRITE + SERVER)
    web, back = keys.find("wk_0123456789"), keys.find(SECRET)
    assert (web, back) == keys.all
    assert (web.events_per_second, back.events_per_second) == (5, 10_000)
    for text in ("", "wk_", "wk_012345678", digest(SECRET), SECRET + "x", SECRET[:-1], "sk_back_", "sk_web_wk_0123456789", "sk_nobody_" + "x" * 43, "\0", "é"):
        assert keys.find(text) is None, text


def test_a_server_key_is_seen_in_a_body_that_is_not_parsed():
    filling = b'{"batch":[' + b"1," * 20_000 + b"1]"
    assert server_key_in(filling + b', "api_key" : "' + SECRET.encode() + b'"}') == SECRET
    assert server_key_in(b'{"writeKey":"' + SECRET.encode() + b'",' + filling) == SECRET
    assert server_key_in(filling + b',"api_key":"wk_0123456789"}') is None
    assert server_key_in(b"") is None


def test_two_server_keys_of_a_site_hold_at_once():
    (first, one), (second, two) = create_key("back-1", "server", "shop"), create_key("back-2", "server", "shop")
    keys = load_keys(add_key(add_key("", first), second))
    assert (keys.find(one), keys.find(two)) == (first, second)
    assert load_keys(add_key("", second)).find(one) is None


def test_a_write_key_is_used_from_its_origins():
    web, back = load_keys(WRITE + SERVER).all
    assert web.admits("https://shop.example")
    assert web.admits("HTTP://localhost:3000")
    for origin in ("https://evil.example", "https://shop.example.evil", "http://shop.example", "null", "", None):
        assert not web.admits(origin), origin
    assert back.admits(None)
    anywhere, _ = create_key("any", "write", "shop")
    assert anywhere.admits(None)
    assert anywhere.admits("https://anyone.example")


def test_a_new_key_goes_to_the_end_and_comments_stay():
    text = "# ours\n" + WRITE
    key, secret = create_key("back", "server", "shop", rate=50)
    grown = add_key(text, key)
    assert grown == text + entry_text(key)
    assert secret not in grown
    assert load_keys(grown).find(secret) == key
    for empty in ("", "keys:\n", "# none yet\nkeys:"):
        assert load_keys(empty).all == ()
        assert load_keys(add_key(empty, key)).all == (key,)
    with pytest.raises(KeysError, match="'back' is given twice"):
        add_key(grown, key)
    with pytest.raises(KeysError, match=r"Nothing was written|by hand"):
        add_key("keys: []\n", key)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[]", "Expected `object`"),
        ("keys: [", "keys file"),
        ("keys: " + "[" * 3000, "keys file"),
        ("key: []", "unknown field `key`"),
        ("keys: [1]", "key 1: Expected `object`"),
        ("keys: [{name: a, kind: admin, site: s}]", "Invalid enum value 'admin'"),
        ("keys: [{name: A, kind: write, site: s, key: abcdefgh}]", "a name is"),
        ("keys: [{name: a, kind: write, site: S, key: abcdefgh}]", "a site's name must be"),
        ("keys: [{name: a, kind: write, site: s}]", "a write key has a `key`"),
        ("keys: [{name: a, kind: write, site: s, key: short}]", "8 to 100"),
        (f"keys: [{{name: a, kind: write, site: s, key: {SECRET}}}]", "not beginning with sk_"),
        ("keys: [{name: a, kind: server, site: s, key: abcdefgh}]", "a server key has a `hash`"),
        ("keys: [{name: a, kind: server, site: s, hash: 'sha256:12'}]", "a server key has a `hash`"),
        ("keys: [{name: a, kind: write, site: s, key: abcdefgh, rate: 0}]", "Expected `float` > 0.0"),
        ("keys: [{name: a, kind: write, site: s, key: abcdefgh, origins: [shop.example]}]", "as a browser sends it"),
        ("keys: [{name: a, kind: write, site: s, key: abcdefgh, origins: ['https://shop.example/']}]", "without a path"),
        ("keys: [{name: a, kind: write, site: s, key: abcdefgh}, {name: b, kind: write, site: s, key: abcdefgh}]", "is given twice"),
        ("keys: [{name: 12, kind: write, site: s, key: abcdefgh}]", "Expected `str`, got `int` - at `$.name`"),
        ("x" * 2_000_000, "at most 1048576"),
        ("keys: [{name: a, kind: write, site: s, key: abcdefgh, site: t}]", "'site' is given twice"),
    ],
)
def test_mistakes_are_told(text: str, says: str):
    with pytest.raises(KeysError) as caught:
        load_keys(text)
    assert says in str(caught.value)
