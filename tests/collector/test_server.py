"""The door as its users meet it: every route, who may, what is refused and how that is said. A real server, mostly before a real broker."""

import asyncio
import gzip
import json
import logging
import os
import time
from typing import Any

import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families

from agents.failed import Selection, count_failed, failure_of
from collector import limits
from collector.keys import Key, Keys, KeysError
from collector.routes import DEVELOPMENT, ROUTES
from collector.server import _read_keys_again
from streams import events as e
from streams.topics import partition_of
from tests.collector.served import ORIGIN, Served, StartDoor, basic, on_topic, until

MESSAGE = {"type": "page", "anonymousId": "v1", "messageId": "m1", "properties": {"path": "/shoes"}}
SEGMENT = {kind: MESSAGE | {"type": kind} for kind in ("page", "screen")} | {
    "track": {"type": "track", "event": "Product Viewed", "anonymousId": "v1", "messageId": "m2", "properties": {"product_id": "p1"}},
    "identify": {"type": "identify", "anonymousId": "v1", "userId": "42", "messageId": "m3", "traits": {}},
    "group": {"type": "group", "userId": "42", "groupId": "g", "messageId": "m4"},
    "alias": {"type": "alias", "userId": "42", "previousId": "v1", "messageId": "m5"},
}
SEGMENT |= {"batch": {"batch": [MESSAGE]}, "import": {"batch": [MESSAGE]}}
POSTHOG = {"event": "$pageview", "distinct_id": "v1", "uuid": "0198c0de-7b1a-7000-8000-000000000000", "properties": {"$current_url": "https://shop.example/a"}}
SNOWPLOW = {
    "schema": "iglu:com.snowplowanalytics.snowplow/payload_data/jsonschema/1-0-4",
    "data": [{"e": "pv", "url": "https://shop.example/a", "eid": "0198c0de-7b1a-7000-8000-000000000001", "duid": "v1", "tv": "py-1"}],
}
NATIVE = {"type": "page_viewed", "id": "n1", "site": "shop", "at": 1_790_000_000_000, "visitor": "v1", "path": "/"}


def body_for(wire: str, kind: str) -> dict[str, Any]:
    match wire:
        case "segment":
            return SEGMENT[kind]
        case "posthog":
            return {"batch": [POSTHOG]} if kind == "batch" else POSTHOG
        case "snowplow":
            return SNOWPLOW
    return NATIVE | {"at": int(time.time() * 1000)}


@pytest.mark.parametrize("route", [route for route in ROUTES if route.action == "take"], ids=lambda route: route.path)
async def test_every_path_takes_its_events(start_door: StartDoor, route: Any):
    served = await start_door()
    if route.method == "GET":
        query = {"e": "pv", "url": "https://shop.example/a", "duid": "v1", "eid": "1"}
        status, _, headers = await served.ask("GET", route.path, "write", params=query)
        assert (status, headers["Content-Type"]) == (200, "image/gif")
    else:
        status, said, headers = await served.ask("POST", route.path, "write", json=body_for(route.place.wire, route.place.kind))
        assert status == (202 if route.place.wire == "native" else 200)
        assert said["success"] is True
        assert said["accepted"] + len(said["rejected"]) >= 1
    assert headers["Access-Control-Allow-Origin"] == "*"
    assert served.door.delivery.spool.events >= 1


async def test_all_other_routes_answer(start_door: StartDoor):
    served = await start_door(development=True)
    write = served.texts["write"]
    answered = set()
    for method, path, status in (
        ("POST", "/v1/m", 200), ("GET", f"/v1/projects/{write}/settings", 200), ("POST", "/decide/", 200), ("POST", "/flags/", 200), ("GET", "/healthz", 200),
        ("GET", "/readyz", 200), ("GET", "/metrics", 200), ("GET", "/openapi.json", 200),
        ("GET", "/v1/debug/all", 200), ("GET", "/v1/debug/good", 200), ("GET", "/v1/debug/bad", 200),
        ("POST", "/v1/debug/reset", 200), ("GET", "/v1/debug/other", 404), ("GET", "/", 404), ("GET", "/v1/batch", 405),
        ("GET", f"/v1/projects/{served.texts['server']}/settings", 404), ("GET", "/v1/projects/nobody/settings", 404),
    ):  # fmt: skip
        got, said, _ = await served.ask(method, path)
        assert got == status, path
        assert said is not None
        answered.add((method, path.replace(write, "{write_key}").replace("/all", "/{which}")))
    assert {(route.method, route.path) for route in (*ROUTES, *DEVELOPMENT) if route.action != "take"} <= answered
    _, settings, _ = await served.ask("GET", f"/v1/projects/{write}/settings")
    assert settings["integrations"]["Segment.io"] == {"apiKey": write, "apiHost": f"127.0.0.1:{served.port}/v1", "protocol": "http"}
    status, said, headers = await served.ask("GET", "/v1/batch")
    assert headers["Allow"] == "POST"
    assert said == {"success": False, "reason": "method_not_allowed", "detail": "GET /v1/batch: Method Not Allowed."}


async def test_preflights_are_answered_everywhere(start_door: StartDoor):
    served = await start_door()
    for path in {route.path for route in ROUTES} | {"/anything"}:
        asked = {"Origin": ORIGIN, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization,content-type,x-retry-count"}
        status, _, headers = await served.ask("OPTIONS", path, headers=asked)
        assert status == 204
        assert headers["Access-Control-Allow-Origin"] == "*"
        assert {"authorization", "content-type", "x-retry-count"} <= set(headers["Access-Control-Allow-Headers"].split(", "))
        assert "Access-Control-Allow-Credentials" not in headers


async def test_outside_development_nothing_is_shown(start_door: StartDoor):
    served = await start_door()
    assert (await served.ask("GET", "/v1/debug/all"))[0] == 404


async def test_operators_pages_are_not_for_who_comes_through_a_proxy(start_door: StartDoor):
    served = await start_door(development=True)
    for method, path in (("GET", "/metrics"), ("GET", "/readyz"), ("GET", "/v1/debug/all"), ("POST", "/v1/debug/reset")):
        assert (await served.ask(method, path, headers={"X-Forwarded-For": "203.0.113.1"}))[0] == 404
        assert (await served.ask(method, path))[0] == 200


# --- who may ---------------------------------------------------------------------------------------------------------


def credentials(text: str, how: str) -> dict[str, str]:
    return {"basic": basic(text), "bearer": {"Authorization": f"Bearer {text}"}, "body": {}}[how]


@pytest.mark.parametrize("name", ["write", "page", "server", "unknown", "altered", "none"])
@pytest.mark.parametrize("how", ["basic", "bearer", "body"])
@pytest.mark.parametrize("origin", [None, ORIGIN, "https://evil.example"])
async def test_who_may_send(start_door: StartDoor, name: str, how: str, origin: str | None):
    served = await start_door()
    text = (served.texts | {"unknown": "wk_unknown", "altered": served.texts["server"][:-1] + "!", "none": ""})[name]
    headers = credentials(text, how) if text else {}
    if origin is not None:
        headers["Origin"] = origin
    body = {"batch": [MESSAGE]} | ({"writeKey": text} if how == "body" and text else {})
    status, said, answer = await served.ask("POST", "/v1/batch", headers=headers, json=body)
    if name in ("write", "server") or (name == "page" and origin == ORIGIN):
        assert (status, said["accepted"]) == (200, 1)
    elif name == "page":
        assert (status, said["reason"]) == (403, "origin")
    else:
        assert (status, said["reason"]) == (401, "no_key" if name == "none" else "unknown_key")
        assert answer["WWW-Authenticate"] == "Basic"
    assert served.door.delivery.spool.events == (status == 200)


async def test_a_key_writes_to_its_own_site_only(start_door: StartDoor):
    served = await start_door()
    status, said, _ = await served.ask("POST", "/v1/events", "server", json=NATIVE | {"site": "other", "at": int(time.time() * 1000)})
    assert (status, said["accepted"], said["rejected"][0]["path"]) == (202, 0, "$.site")


@pytest.mark.parametrize("header", ["Basic", "Basic !!!", "Basic " + "é".encode("latin-1").decode("latin-1"), "Digest x", "Bearer", "Basic /w=="])
async def test_credentials_that_are_none(start_door: StartDoor, header: str):
    served = await start_door()
    assert (await served.ask("POST", "/v1/batch", headers={"Authorization": header}, json={"batch": [MESSAGE]}))[0] == 401


async def test_keys_are_read_again(start_door: StartDoor):
    now: list[Any] = [Keys()]

    def read() -> Any:
        if isinstance(now[0], Exception):
            raise now[0]
        return now[0]

    served = await start_door(read_keys=read)
    assert (await served.ask("POST", "/v1/batch", "write", json={"batch": [MESSAGE]}))[0] == 401
    now[0] = Keys([Key(name="w", kind="write", site="shop", key=served.texts["write"])])
    _read_keys_again(served.door)
    assert (await served.ask("POST", "/v1/batch", "write", json={"batch": [MESSAGE]}))[0] == 200
    now[0] = KeysError("broken")
    _read_keys_again(served.door)
    assert (await served.ask("POST", "/v1/batch", "write", json={"batch": [MESSAGE]}))[0] == 200


# --- what is refused -------------------------------------------------------------------------------------------------


async def test_what_is_wrong_with_a_body_is_said(start_door: StartDoor):
    served = await start_door()
    deep = b'{"batch":[{"type":"track","event":"x","userId":"1","properties":' + b"[" * 5000 + b"]" * 5000 + b"}]}"
    noise = b'{"batch":[' + b",".join([json.dumps(MESSAGE).encode()] * 501) + b"]}"
    for body, headers, status, reason in (
        (b"", {}, 400, "empty"),
        (b"no json", {}, 400, "not_json"),
        (b"[]", {}, 400, "wrong_type"),
        (b"\xff", {}, 400, "not_utf8"),
        (deep, {}, 400, "too_deep"),
        (b"x" * (limits.BODY_BYTES + 1), {}, 413, "too_large"),
        (gzip.compress(b"\0" * (32 << 20)), {"Content-Encoding": "gzip"}, 413, "too_large"),
        (b"no gzip", {"Content-Encoding": "gzip"}, 400, "bad_gzip"),
        (b"{}", {"Content-Encoding": "br"}, 415, "unsupported_encoding"),
        (gzip.compress(gzip.compress(b"{}")), {"Content-Encoding": "gzip, gzip"}, 415, "unsupported_encoding"),
        (noise, {}, 413, "too_many_events"),
    ):
        got, said, _ = await served.ask("POST", "/v1/batch", "write", data=body, headers=headers)
        assert (got, said["success"], said["reason"]) == (status, False, reason)
        assert said["detail"]
    assert served.door.delivery.spool.events == 0
    assert served.door._held == 0


async def test_a_body_without_a_length_is_bounded_too(start_door: StartDoor):
    served = await start_door()

    async def endless() -> Any:
        for _ in range(200):
            yield b" " * 8192

    assert (await served.ask("POST", "/v1/batch", "write", data=endless()))[0] == 413

    async def short() -> Any:
        yield b'{"batch":['
        yield json.dumps(MESSAGE).encode() + b"]}"

    assert (await served.ask("POST", "/v1/batch", "write", data=short()))[0] == 200


async def test_gzip_and_any_content_type_are_fine(start_door: StartDoor):
    served = await start_door()
    body = json.dumps({"batch": [MESSAGE] * 3}).encode()
    for data, headers in (
        (body, {"Content-Type": "text/plain"}),
        (body, {"Content-Type": "application/x-www-form-urlencoded"}),
        (gzip.compress(body), {"Content-Encoding": "gzip", "Content-Type": "application/json"}),
    ):
        status, said, _ = await served.ask("POST", "/v1/batch", "write", data=data, headers=headers)
        assert (status, said["accepted"]) == (200, 3)
    status, _, _ = await served.ask("POST", "/e/?compression=gzip-js", "write", data=gzip.compress(json.dumps(POSTHOG).encode()))
    assert status == 200


async def test_one_bad_event_does_not_stop_the_others(start_door: StartDoor):
    served = await start_door()
    big = {"type": "track", "event": "Big", "userId": "1", "properties": {"text": "x" * 40_000}}
    status, said, _ = await served.ask("POST", "/v1/batch", "server", json={"batch": [MESSAGE, {"type": "track"}, big, MESSAGE, 17]})
    assert (status, said["accepted"]) == (200, 2)
    assert [why["reason"] for why in said["rejected"]][:1] == ["missing_field"]
    assert len(said["rejected"]) == 3
    status, said, _ = await served.ask("POST", "/batch/", "write", json={"batch": [POSTHOG, {"uuid": "u9"}]})
    assert (said["status"], said["results"]["u9"]["result"], len(said["results"])) == (1, "drop", 1)


async def test_rates_of_key_and_address(start_door: StartDoor):
    served = await start_door(rate=1, address_rate=20)
    ten = {"batch": [MESSAGE] * 10}
    assert (await served.ask("POST", "/v1/batch", "write", json=ten))[0] == 200
    status, said, headers = await served.ask("POST", "/v1/batch", "write", json=ten)
    assert (status, said["reason"]) == (429, "key_rate")
    assert 9 <= int(headers["Retry-After"]) <= 10
    assert (await served.ask("POST", "/v1/batch", "server", json=ten))[0] == 200, "another key"
    statuses = [await served.ask("POST", "/v1/batch", json=ten) for _ in range(45)]
    assert {status for status, _, _ in statuses} == {401, 429}
    status, said, headers = statuses[-1]
    assert (said["reason"], headers["Retry-After"]) == ("address_rate", "1")
    assert (await served.ask("POST", "/v1/batch", "server", json=ten))[1]["reason"] == "key_rate", "a server key is not stopped by its address"


async def test_hostile_bodies_share_a_small_budget_and_server_keys_do_not(start_door: StartDoor):
    served = await start_door()
    bomb = gzip.compress(b"\0" * (40 << 20))
    many = b'{"batch":[' + b"1," * 90_000 + b"1]}"
    for body, headers in ((bomb, {"Content-Encoding": "gzip"}), (many, {})):
        statuses = [(await served.ask("POST", "/v1/batch", data=body, headers=headers))[0] for _ in range(20)]
        assert set(statuses) == {413, 429}
        assert statuses.count(429) >= 12
    packed = gzip.compress(json.dumps({"batch": [MESSAGE | {"messageId": os.urandom(9).hex()} for _ in range(400)]}).encode())
    for _ in range(30):
        status, said, _ = await served.ask("POST", "/v1/batch", "server", data=packed, headers={"Content-Encoding": "gzip"})
        assert (status, said["accepted"]) == (200, 400)


async def test_a_server_key_in_the_body_has_the_same_right(start_door: StartDoor):
    served = await start_door(rate=1_000_000)
    body = {"batch": [SEGMENT["track"] | {"properties": {"list": "1," * 200}}] * 400, "writeKey": served.texts["server"]}
    statuses = [(await served.ask("POST", "/v1/batch", json=body))[0] for _ in range(20)]
    assert set(statuses) == {200}
    body["writeKey"] = served.texts["write"]
    statuses = [(await served.ask("POST", "/v1/batch", json=body))[0] for _ in range(20)]
    assert set(statuses) == {200, 429}


async def test_addresses_behind_a_trusted_proxy_are_told_apart(start_door: StartDoor):
    served = await start_door(address_rate=5, proxies=limits.networks("127.0.0.1"))
    for number in range(30):
        status, _, _ = await served.ask("POST", "/v1/batch", "write", json={"batch": [MESSAGE]}, headers={"X-Forwarded-For": f"6.6.6.6, 203.0.113.{number}"})
        assert status == 200
    statuses = set()
    for number in range(15):
        said_by_client = {"X-Forwarded-For": f"{number}.6.6.6, 203.0.113.1"}
        statuses.add((await served.ask("POST", "/v1/batch", "write", json={"batch": [MESSAGE]}, headers=said_by_client))[0])
    assert statuses == {200, 429}


# --- the promise -----------------------------------------------------------------------------------------------------


async def test_events_arrive_typed_with_their_key_and_partition(start_door: StartDoor, embedded_topics: Any):
    served = await start_door(embedded_topics)
    for number in range(20):
        batch = [MESSAGE | {"anonymousId": f"v{number}", "messageId": f"m{number}"}, SEGMENT["track"] | {"userId": f"c{number}", "messageId": f"t{number}"}]
        status, said, _ = await served.ask("POST", "/v1/batch", "write", json={"batch": batch})
        assert (status, said["accepted"]) == (200, 2)
    assert (await served.ask("POST", "/v1/events", "server", json=NATIVE | {"at": int(time.time() * 1000)}))[0] == 202
    records = await served.records()
    events = [e.decode(record.value, "website") for record in records]
    assert {type(event) for event in events} == {e.PageViewed, e.ProductViewed}
    assert len(events) == 41
    for record, event in zip(records, events, strict=True):
        assert isinstance(event, e.Event)
        assert record.key == e.key_of(event).encode()
        assert record.partition == partition_of(record.key, served.settings.partitions)
        assert abs(e.millis(event.received_at or 0) - time.time() * 1000) < 60_000


async def test_what_is_rejected_lies_on_failed_with_reason_and_bytes(start_door: StartDoor, embedded_topics: Any):
    served = await start_door(embedded_topics)
    await served.ask("POST", "/v1/batch", "write", data=b'{"batch":[{"type" : "track", "userId":"1"}]}')
    (record,) = await served.records("failed")
    failure = failure_of(record)
    assert (failure.reason, failure.path, failure.value) == ("missing_field", "$.event", b'{"type" : "track", "userId":"1"}')
    assert (failure.topic, failure.headers) == ("collector", ())
    assert dict(record.headers)["engage-wire"] == b"segment"
    assert abs(failure.received - time.time() * 1000) < 60_000
    (group,) = await count_failed(served.settings, Selection(site="shop"))
    assert (group.reason, group.site, group.events) == ("missing_field", "shop", 1)


async def test_a_full_spool_says_come_again(start_door: StartDoor):
    served = await start_door(spool_bytes=20_000)
    statuses = []
    for number in range(40):
        status, said, headers = await served.ask("POST", "/v1/batch", "server", json={"batch": [MESSAGE | {"messageId": f"{number}/{n}"} for n in range(10)]})
        statuses.append(status)
    assert set(statuses) == {200, 503}
    assert (said["reason"], headers["Retry-After"]) == ("spool_full", "5")
    assert served.door.delivery.spool.events == 10 * statuses.count(200), "all of a request, or nothing"
    assert (await served.ask("GET", "/readyz"))[0] == 503


async def test_a_door_that_is_ready_keeps_the_largest_event(start_door: StartDoor):
    served = await start_door(spool_bytes=200_000)
    at = int(time.time() * 1000)
    review = {"type": "review_posted", "id": "1", "site": "shop", "at": at, "review": "r", "source": "s", "customer": "\N{GRINNING FACE}" * 128, "text": ""}
    review["text"] = "x" * (e.MAX_EVENT_BYTES - len(msgspec.json.encode(review | {"received_at": at})))
    kept = 0
    while (await served.ask("GET", "/readyz"))[0] == 200:
        assert (await served.ask("POST", "/v1/events", "server", data=msgspec.json.encode(review)))[1] == {"success": True, "accepted": 1, "rejected": []}
        kept += 1
    front = served.door.delivery.spool.front(1)
    assert front is not None
    assert len(front.messages[0].value) == e.MAX_EVENT_BYTES
    assert kept == 200_000 // limits.EVENT_ROOM
    status, said, _ = await served.ask("GET", "/readyz")
    assert (status, said.startswith("Kafka is away, 5 events in the spool")) == (503, True)


async def test_what_was_acknowledged_without_kafka_arrives_later(start_door: StartDoor, embedded_topics: Any):
    away = await start_door()
    for number in range(30):
        assert (await away.ask("POST", "/v1/batch", "server", json={"batch": [MESSAGE | {"messageId": f"m{number}"}]}))[0] == 200
    assert "Kafka is away, 30 events in the spool" in (await away.ask("GET", "/readyz"))[1]
    await away.stop()
    later = await start_door(embedded_topics)
    records = await later.records()
    assert [json.loads(record.value)["id"] for record in records if record.key == b"shop/v:v1"] == [f"m{number}" for number in range(30)]


async def test_who_goes_away_early_stops_nobody(start_door: StartDoor, embedded_topics: Any):
    served = await start_door(embedded_topics)
    body = json.dumps({"batch": [MESSAGE]}).encode()
    head = head_of(served, f"Content-Length: {len(body)}")
    for cut in (head + body, head + body[:10], head[:20]):
        _, writer = await asyncio.open_connection("127.0.0.1", served.port)
        writer.write(cut)
        writer.transport.abort()
    status, said, _ = await served.ask("POST", "/v1/batch", "write", json={"batch": [MESSAGE]})
    assert (status, said["accepted"]) == (200, 1)
    await until(lambda: served.door._held == 0)


async def test_many_at_once_share_their_flushes(start_door: StartDoor, embedded_topics: Any):
    served = await start_door(embedded_topics)

    async def send(number: int) -> int:
        return (await served.ask("POST", "/v1/track", "server", json=SEGMENT["track"] | {"messageId": f"m{number}"}))[0]

    assert set(await asyncio.gather(*map(send, range(300)))) == {200}
    assert len({json.loads(record.value)["id"] for record in await on_topic(served.settings)}) == 300


# --- what operators see ----------------------------------------------------------------------------------------------


async def test_development_shows_good_and_bad(start_door: StartDoor):
    served = await start_door(development=True)
    await served.ask("POST", "/v1/batch", "write", json={"batch": [MESSAGE, {"type": "track"}]})
    assert (await served.ask("GET", "/v1/debug/all"))[1] == {"total": 2, "good": 1, "bad": 1}
    (good,) = (await served.ask("GET", "/v1/debug/good"))[1]
    assert (good["topic"], good["key"], good["event"]["type"], good["wire"]) == ("website", "shop/v:v1", "page_viewed", "segment")
    (bad,) = (await served.ask("GET", "/v1/debug/bad"))[1]
    assert (bad["reason"], bad["path"], json.loads(bad["raw"])) == ("missing_field", "$.event", {"type": "track"})
    assert (await served.ask("POST", "/v1/debug/reset"))[0] == 200
    assert (await served.ask("GET", "/v1/debug/all"))[1] == {"total": 0, "good": 0, "bad": 0}


async def test_metrics_are_as_prometheus_wants_them_and_documented(start_door: StartDoor, request: pytest.FixtureRequest):
    served = await start_door()
    await served.ask("POST", "/v1/batch", "write", json={"batch": [MESSAGE, {"type": "track"}]})
    await served.ask("POST", "/v1/batch", "write", data=b"no json")
    status, text, headers = await served.ask("GET", "/metrics")
    assert status == 200
    assert headers["Content-Type"].startswith("text/plain")
    families = [family for family in text_string_to_metric_families(text) if family.name.startswith("engagement_")]
    values = {(sample.name, *sorted(sample.labels.values())): sample.value for family in families for sample in family.samples}
    assert values["engagement_collector_accepted_total", "segment"] == 1
    assert values["engagement_collector_rejected_total", "missing_field", "segment"] == 1
    assert values["engagement_collector_requests_total", "200", "segment"] == 1
    assert values["engagement_collector_requests_total", "400", "segment"] == 1
    assert values["engagement_collector_faults_total", "not_json"] == 1
    assert values["engagement_collector_spool_events",] == 2
    assert values["engagement_collector_kafka_up",] == 0
    page = (request.config.rootpath / "docs" / "collector.md").read_text()
    for family in families:
        assert family.documentation
        assert f"`{family.name + '_total' * (family.type == 'counter')}`" in page, family.name


async def test_what_is_no_http_is_counted_and_not_logged(start_door: StartDoor, caplog: pytest.LogCaptureFixture):
    served = await start_door()
    both = head_of(served, "Content-Length: 5\r\nTransfer-Encoding: chunked")
    long = b"GET / HTTP/1.1\r\nA: " + b"canary" * 2000 + b"\r\n\r\n"
    for nonsense in (b"NONSENSE canary\r\n\r\n", long, b"\x16\x03\x01 canary\r\n\r\n", both + b"0\r\n\r\n"):
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
        writer.write(nonsense)
        assert b" 400 " in await asyncio.wait_for(reader.readline(), 5)
        writer.close()
    assert 'faults_total{reason="malformed"} 4.0' in (await served.ask("GET", "/metrics"))[1]
    assert not [record for record in caplog.records if record.name.startswith(("aiohttp", "collector.http"))]


def head_of(served: Served, more: str) -> bytes:
    return f"POST /v1/batch HTTP/1.1\r\nHost: x\r\nAuthorization: {basic(served.texts['write'])['Authorization']}\r\n{more}\r\n\r\n".encode()


async def test_logs_and_metrics_name_nobody(start_door: StartDoor, caplog: pytest.LogCaptureFixture):
    served = await start_door()
    with caplog.at_level(logging.DEBUG):
        await served.ask("POST", "/v1/batch", "server", json={"batch": [MESSAGE | {"userId": "canary@example.com"}]})
        await served.ask("POST", "/v1/batch", headers=basic("sk_backend_canary"), data=b"canary@example.com")
        _, text, _ = await served.ask("GET", "/metrics")
    assert "127.0.0.1" not in text
    for secret in ("canary", served.texts["server"]):
        assert secret not in text
        assert not [record for record in caplog.records if record.name.startswith("collector") and secret in record.getMessage()]
