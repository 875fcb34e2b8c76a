"""What a request, a sender and an address may take."""

import gzip
import json
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector import limits
from collector.limits import Buckets, Fault, client_address, neighbourhood, networks, too_deep, unpack

BOMB = gzip.compress(b"\0" * (64 << 20))


def status(result: bytes | Fault) -> int:
    assert isinstance(result, Fault)
    assert result.detail.endswith(".")
    return result.status


def test_plain_and_gzip_are_understood():
    assert unpack(b"{}", "") == unpack(b"{}", "identity") == b"{}"
    text = bytes(range(256)) * 10
    assert unpack(gzip.compress(text), "gzip") == unpack(gzip.compress(text), "GZIP ") == text
    assert unpack(gzip.compress(text) + gzip.compress(text), "gzip") == text * 2


@pytest.mark.parametrize("encoding", ["deflate", "br", "zstd", "gzip, gzip", "identity, gzip", "x" * 9000])
def test_other_encodings_are_not(encoding: str):
    assert status(unpack(b"x", encoding)) == 415


@pytest.mark.parametrize(
    "body",
    [b"no gzip", gzip.compress(b"cut" * 100)[:-9], zlib.compress(b"zlib"), gzip.compress(b"x") + b"rubbish"],
    ids=["plain", "cut", "zlib", "rubbish"],
)
def test_broken_gzip_is_said(body: bytes):
    assert status(unpack(body, "gzip")) == 400


def test_a_bomb_is_stopped_by_ratio_and_by_size():
    assert len(BOMB) < limits.BODY_BYTES
    assert status(unpack(BOMB, "gzip")) == 413
    noise = b"".join(zlib.crc32(b"%d" % n).to_bytes(4, "big") for n in range(530_000))  # does not shrink: the ratio alone would let it pass
    assert status(unpack(gzip.compress(noise), "gzip")) == 413
    assert unpack(gzip.compress(noise[: 2 << 20]), "gzip") == noise[: 2 << 20]
    assert status(unpack(gzip.compress(b"a" * 100_000), "gzip")) == 413
    assert status(unpack(gzip.compress(b"a" * 4000) * 50, "gzip")) == 413


JSON = st.recursive(st.none() | st.integers() | st.text(), lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4))


def depth_of(value: object) -> int:
    if isinstance(value, dict):
        return 1 + max(map(depth_of, value.values()), default=0)
    if isinstance(value, list):
        return 1 + max(map(depth_of, value), default=0)
    return 0


@given(JSON, st.integers(1, 6), st.booleans())
def test_depth_is_that_of_the_parsed_value(value: object, depth: int, ascii_only: bool):
    assert too_deep(json.dumps(value, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass"), depth) == (depth_of(value) > depth)


@pytest.mark.parametrize("text", ['"[[[[[["', r'"\"[[[[["', r'"\\\"[[[[["', r'["\\",[["x"]],"[[[["]', "]]]]]", "[[}}]]]["])
def test_brackets_in_texts_do_not_nest(text: str):
    assert not too_deep(text.encode(), 4)


def test_deep_nesting_is_found_at_once():
    for opener in (b"[", b'{"a":'):
        assert too_deep(opener * 100_000)
    assert too_deep(b"[" * (2 << 20))
    assert not too_deep(b"[]," * 600_000)


def test_the_weight_of_a_body_follows_from_its_size_and_its_values():
    assert limits.weight_of(b"{}", limits.parts_in(b"{}")) == 0
    batch = json.dumps({"batch": [{"type": "page", "properties": {"path": "/", "title": "t"}, "context": {"ip": "x"}}] * 100}).encode()
    assert 0 < limits.weight_of(batch, limits.parts_in(batch)) < limits.HEAVY, "what an SDK sends at once is light"
    assert limits.weight_of(b"1," * 50_000, 50_000) > 10 * limits.HEAVY
    assert limits.weight_of(b"x" * (1 << 20), 0) > limits.HEAVY


def test_the_client_is_behind_trusted_proxies_only():
    proxies = networks("10.0.0.0/8, ::1")
    assert client_address("203.0.113.9", "1.2.3.4", proxies) == "203.0.113.9", "anyone can send the header"
    assert client_address("10.1.1.1", "1.2.3.4", proxies) == "1.2.3.4"
    assert client_address("10.1.1.1", "6.6.6.6, 1.2.3.4, 10.9.9.9", proxies) == "1.2.3.4", "what stands before is the client's own word"
    assert client_address("10.1.1.1", "rubbish", proxies) == "10.1.1.1"
    assert client_address("10.1.1.1", "10.2.2.2", proxies) == "10.1.1.1"
    assert client_address("::1", "2001:db8::1", proxies) == "2001:db8::1"
    assert client_address("", "1.2.3.4", proxies) == ""
    with pytest.raises(ValueError, match="'localhost'"):
        networks("localhost")


def test_who_is_limited_together():
    assert neighbourhood("192.0.2.7") == neighbourhood("::ffff:192.0.2.7") == "192.0.2.7"
    assert neighbourhood("2001:db8:1:2:3::4") == neighbourhood("2001:db8:1:2::9") == "2001:db8:1:2::/64"
    assert neighbourhood("no address") == "no address"


def test_a_bucket_empties_and_fills():
    buckets = Buckets()
    assert [buckets.take("a", 1, 100.0, rate=2, burst=3) for _ in range(4)] == [0, 0, 0, 0.5]
    assert buckets.take("b", 1, 100.0, rate=2, burst=3) == 0, "another sender"
    assert buckets.take("a", 1, 100.25, rate=2, burst=3) == 0.25
    assert buckets.take("a", 1, 100.5, rate=2, burst=3) == 0
    assert buckets.take("a", 3, 900.0, rate=2, burst=3) == 0, "never more than the burst"
    assert buckets.take("a", 1, 900.0, rate=2, burst=3) == 0.5
    assert buckets.take("a", 1, 1.0, rate=2, burst=3) == 0.5, "a clock that goes back gives nothing"


def test_what_is_larger_than_the_burst_is_paid_for_afterwards():
    buckets = Buckets()
    assert buckets.take("a", 500, 0.0, rate=10, burst=100) == 0
    assert buckets.take("a", 1, 40.0, rate=10, burst=100) == pytest.approx(0.1)
    assert buckets.take("a", 1, 40.2, rate=10, burst=100) == 0


@given(st.lists(st.tuples(st.floats(0, 5), st.integers(1, 20)), max_size=60))
def test_no_more_is_let_through_than_the_rate(steps: list[tuple[float, int]]):
    buckets, now, taken = Buckets(), 0.0, 0
    for pause, tokens in steps:
        now += pause
        taken += 0 if buckets.take("a", tokens, now, rate=3, burst=20) else tokens
        assert taken <= 20 + 3 * now + 1e-6


def test_a_charge_makes_debts_that_end():
    buckets = Buckets()
    buckets.charge("a", 25, 0.0, rate=2, burst=10)
    assert buckets.take("a", 1, 0.0, rate=2, burst=10) == pytest.approx((1 + 10) / 2), "never deeper than one burst"
    assert buckets.take("a", 1, 6.0, rate=2, burst=10) == 0


def test_a_flood_of_names_is_bounded():
    buckets = Buckets(most=100)
    for number in range(1_000):
        buckets.take(str(number), 1, float(number), rate=1, burst=1)
    assert len(buckets) == 100
