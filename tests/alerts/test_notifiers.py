"""Notifiers against what they talk to: a real Alertmanager from Debian, a real HTTP server, and outboxes of real partitions."""

import asyncio
import contextlib
import hashlib
import hmac
import json
import logging
import os
import shutil
import socket
import subprocess
import threading
import time
import urllib.request
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import aiohttp
import msgspec
import pytest
from aiohttp import web
from msgspec.structs import replace

from alerts.evaluation import Alert
from alerts.notifiers import ACCEPTED, ATTEMPTS, LONGEST_DELAY, Outcome, backoff, base_url
from alerts.notifiers.alertmanager import Alertmanager
from alerts.notifiers.delivery import Delivery
from alerts.notifiers.log import Log
from alerts.notifiers.webhook import KEY_HEADER, SIGNATURE_HEADER, TIMESTAMP_HEADER, Webhook, sign
from alerts.rules import RuleSet
from alerts.watch import OUTBOX_ROW, Watch
from streams.readings import bounds
from tests.alerts.scenes import Scene, reviews
from tests.streams.records import T0, M

HERE = "https://engage.example/shop"


def alert(name: str = "Surge", *, state: str = "firing", ago: float = 120.0, **labels: str) -> Alert:
    """An alert that fired `ago` seconds before now."""
    started = datetime.now(UTC).replace(microsecond=0) - timedelta(seconds=ago)
    return Alert(
        id=f"{name}-id", rule=name, site="shop", labels={"alertname": name, "site": "shop", "service": "engagement", "severity": "page", **labels},
        dimensions={}, severity=labels.get("severity", "page"), state="firing" if state == "firing" else "resolved", since=started, started=started,
        ended=None if state == "firing" else started + timedelta(seconds=60), kpi="negative_share", value=0.6, usual=0.1, n=50, low=0.5, high=0.7,
        numerator=30, window=bounds(T0, T0 + M), threshold="above 50 %",
        annotations={"summary": "60 % negative", "description": "30 of 50", "runbook_url": "https://docs.example/Surge.md"},
    )  # fmt: skip


def risen(first: Alert, ago: float = 60.0) -> Alert:
    """The same, its severity risen from ticket to page `ago` seconds before now."""
    at = datetime.now(UTC).replace(microsecond=0) - timedelta(seconds=ago)
    return replace(first, severity="page", labels=first.labels | {"severity": "page"}, escalated=at, escalated_from="ticket", value=0.9)


class Patience:
    """A clock that moves only when someone sleeps."""

    def __init__(self) -> None:
        self.now = 1_000.0
        self.slept: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds
        await asyncio.sleep(0)

    def clock(self) -> float:
        return self.now


def no_jitter() -> float:
    return 1.0


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as opened:
        yield opened


def free_port() -> int:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        port: int = bound.getsockname()[1]
        return port


# --- a real Alertmanager ----------------------------------------------------------------------------------------------


class Pager:
    """A real Alertmanager and the receiver it notifies."""

    def __init__(self, url: str, received: list[dict[str, Any]]) -> None:
        self.url = url
        self.received = received

    def post(self, alerts: Any, content_type: str = "application/json") -> int:
        request = urllib.request.Request(f"{self.url}/api/v2/alerts", json.dumps(alerts).encode(), {"Content-Type": content_type})
        try:
            with urllib.request.urlopen(request) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            with error:
                return error.code

    def known(self, name: str) -> list[dict[str, Any]]:
        with urllib.request.urlopen(f"{self.url}/api/v2/alerts?filter=alertname%3D%22{name}%22") as answer:
            found: list[dict[str, Any]] = json.load(answer)
            return found

    def notified(self, name: str, status: str, seconds: float = 15.0) -> dict[str, Any]:
        """The notice of this alert with this status, waited for."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            for notice in list(self.received):
                for one in notice["alerts"]:
                    if one["labels"]["alertname"] == name and one["status"] == status:
                        return {"notice": notice, "alert": one}
            time.sleep(0.05)
        raise AssertionError(f"no notice that {name} is {status} within {seconds} s: {self.received}")


@pytest.fixture(scope="module")
def pager(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pager]:
    binary = shutil.which("prometheus-alertmanager") or shutil.which("alertmanager")
    if binary is None:
        message = "Alertmanager is missing: install Debian's package prometheus-alertmanager"
        pytest.fail(message) if os.environ.get("CI") else pytest.skip(message)
    received: list[dict[str, Any]] = []

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            received.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    receiver = ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    thread = threading.Thread(target=receiver.serve_forever, daemon=True)
    thread.start()
    directory, port = tmp_path_factory.mktemp("alertmanager"), free_port()
    config = directory / "alertmanager.yml"
    config.write_text(
        f"""
route: {{receiver: us, group_by: [alertname], group_wait: 1s, group_interval: 1s, repeat_interval: 1h}}
receivers: [{{name: us, webhook_configs: [{{url: "http://127.0.0.1:{receiver.server_port}/", send_resolved: true}}]}}]
"""
    )
    process = subprocess.Popen(
        [binary, f"--config.file={config}", f"--storage.path={directory}", f"--web.listen-address=127.0.0.1:{port}", "--cluster.listen-address="],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(200):
            with contextlib.suppress(OSError), urllib.request.urlopen(f"{url}/-/ready"):
                break
            assert process.poll() is None, "Alertmanager ended"
            time.sleep(0.05)
        else:
            pytest.fail("Alertmanager did not become ready within 10 s")
        yield Pager(url, received)
    finally:
        process.terminate()
        process.wait()
        receiver.shutdown()
        receiver.server_close()
        thread.join()


def wire(name: str, **fields: Any) -> dict[str, Any]:
    return {"labels": {"alertname": name}, **fields}


FUTURE = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
BAD_FOR_ALL = [
    ("a value that is no text", wire("Bad", annotations={"n": 7}), {400}),
    ("a link that is no address", wire("Bad", generatorURL="not a url"), {400, 422}),
]


@pytest.mark.parametrize(("what", "bad", "codes"), BAD_FOR_ALL, ids=[case[0] for case in BAD_FOR_ALL])
def test_one_bad_alert_takes_the_whole_batch_with_it(pager: Pager, what: str, bad: dict[str, Any], codes: set[int]) -> None:
    good = wire("Beside" + "".join(filter(str.isalpha, what)))
    assert pager.post([good, bad]) in codes
    assert pager.known(good["labels"]["alertname"]) == []


def test_what_alertmanager_refuses(pager: Pager) -> None:
    assert pager.post([{"labels": {}}]) == 400
    assert pager.post({"labels": {"alertname": "Object"}}) == 400
    assert pager.post([wire("Backwards", startsAt=FUTURE, endsAt="2020-01-01T00:00:00Z")]) == 400
    assert pager.post([wire("Type")], "text/plain") == 415
    assert pager.post([{"labels": {"alertname": "Name", "bad-label": "x"}}]) == 400


def test_a_missing_end_is_five_minutes_ahead_and_an_empty_label_is_dropped(pager: Pager) -> None:
    assert pager.post([{"labels": {"alertname": "Plain", "empty": ""}}]) == 200
    known = pager.known("Plain")[0]
    ends = datetime.fromisoformat(known["endsAt"])
    assert timedelta(minutes=4, seconds=50) < ends - datetime.now(UTC) <= timedelta(minutes=5)
    assert known["labels"] == {"alertname": "Plain"}


async def test_firing_then_resolved_with_everything_people_need(pager: Pager, session: aiohttp.ClientSession) -> None:
    notifier = Alertmanager(session, pager.url, HERE)
    firing = alert("Whole")
    assert await notifier.send([firing]) == [ACCEPTED]
    known = (await asyncio.to_thread(pager.known, "Whole"))[0]
    assert known["labels"] == firing.labels
    assert known["annotations"] == firing.annotations
    assert known["generatorURL"] == f"{HERE}/alerts/Whole-id"
    assert datetime.fromisoformat(known["startsAt"]) == firing.started
    ends = datetime.fromisoformat(known["endsAt"])
    assert timedelta(seconds=230) < ends - datetime.now(UTC) <= timedelta(seconds=240), "four resends ahead"
    notice = await asyncio.to_thread(pager.notified, "Whole", "firing")
    assert notice["alert"]["annotations"] == firing.annotations
    assert notice["alert"]["endsAt"] == "0001-01-01T00:00:00Z"
    assert await notifier.send([replace(firing, state="resolved", ended=firing.started + timedelta(seconds=60))]) == [ACCEPTED]
    notice = await asyncio.to_thread(pager.notified, "Whole", "resolved")
    assert notice["alert"]["annotations"] == firing.annotations, "annotations are those of the last post"
    assert notice["alert"]["generatorURL"] == f"{HERE}/alerts/Whole-id"
    assert await asyncio.to_thread(pager.known, "Whole") == [], "it is over"


async def test_of_an_alert_whose_severity_rises_alertmanager_knows_one_at_a_time(pager: Pager, session: aiohttp.ClientSession) -> None:
    """To it they are two: the first ends as the second begins, and the people of the first are told."""
    notifier, first = Alertmanager(session, pager.url, HERE), alert("Rise", severity="ticket")
    second = risen(first)

    async def severities() -> list[str]:
        return [one["labels"]["severity"] for one in await asyncio.to_thread(pager.known, "Rise")]

    assert await notifier.send([first]) == [ACCEPTED]
    assert await severities() == ["ticket"]
    await asyncio.to_thread(pager.notified, "Rise", "firing")
    assert await notifier.send([second, alert("Beside")]) == [ACCEPTED] * 2
    assert await severities() == ["page"]
    ended = (await asyncio.to_thread(pager.notified, "Rise", "resolved"))["alert"]
    assert ended["labels"] == first.labels
    assert datetime.fromisoformat(ended["endsAt"]) == second.escalated
    assert ended["generatorURL"] == f"{HERE}/alerts/Rise-id", "the same page for both"
    notices = [notice for notice in pager.received if notice["groupLabels"] == {"alertname": "Rise"}]
    assert {"page"} in [{one["labels"]["severity"] for one in notice["alerts"] if one["status"] == "firing"} for notice in notices]
    assert await notifier.send([second]) == [ACCEPTED], "said again"
    assert await severities() == ["page"]
    assert await notifier.send([replace(second, state="resolved", ended=second.escalated + timedelta(seconds=30))]) == [ACCEPTED]
    assert await severities() == []


@pytest.mark.parametrize(("minutes", "known"), [(14, []), (16, ["ticket"])])
async def test_the_end_of_what_it_was_is_said_for_a_quarter_of_an_hour(pager: Pager, session: aiohttp.ClientSession, minutes: int, known: list[str]) -> None:
    notifier, first = Alertmanager(session, pager.url, HERE), alert(f"Rose{minutes}", ago=3600.0, severity="ticket")
    for one in (first, risen(first, ago=60.0 * minutes)):
        assert await notifier.send([one]) == [ACCEPTED]
    assert sorted(one["labels"]["severity"] for one in await asyncio.to_thread(pager.known, first.rule)) == sorted([*known, "page"])


async def test_a_bad_alert_is_sent_alone_and_the_others_arrive(pager: Pager, session: aiohttp.ClientSession) -> None:
    patience = Patience()
    notifier = Alertmanager(session, pager.url, HERE, sleep=patience.sleep)
    outcomes = await notifier.send([alert("One"), alert("Spoilt", **{"bad-label": "x"}), alert("Two")])
    assert outcomes == [ACCEPTED, Outcome("status_400", final=True), ACCEPTED]
    assert patience.slept == [], "what is refused is not said again at once"
    assert [len(await asyncio.to_thread(pager.known, name)) for name in ("One", "Spoilt", "Two")] == [1, 0, 1]


async def test_event_time_ahead_of_the_clock_is_accepted(pager: Pager, session: aiohttp.ClientSession) -> None:
    notifier = Alertmanager(session, pager.url, HERE)
    assert await notifier.send([alert("Ahead", ago=-90 * 60.0)]) == [ACCEPTED]
    assert await notifier.send([alert("Ahead", ago=-90 * 60.0, state="resolved")]) == [ACCEPTED]
    assert await asyncio.to_thread(pager.known, "Ahead") == []


async def test_an_alertmanager_that_is_away_is_asked_a_few_times(session: aiohttp.ClientSession) -> None:
    patience = Patience()
    notifier = Alertmanager(session, f"http://127.0.0.1:{free_port()}", HERE, sleep=patience.sleep, random=no_jitter)
    outcomes = await notifier.send([alert("One"), alert("Two")])
    assert outcomes == [Outcome("connection")] * 2
    assert not outcomes[0].is_settled
    assert patience.slept == [1.0, 2.0]


# --- a webhook ----------------------------------------------------------------------------------------------------------


class Endpoint:
    """A real HTTP server that answers with the given codes, then 200, and remembers what it was told."""

    def __init__(self) -> None:
        self.codes: dict[str, list[int]] = defaultdict(list)
        """Answers to come, by alert; `*` for any."""
        self.seen: list[tuple[dict[str, str], bytes]] = []
        self.url = ""

    async def answer(self, request: web.Request) -> web.Response:
        body = await request.read()
        self.seen.append((dict(request.headers), body))
        name = json.loads(body)["alerts"][0]["labels"]["alertname"]
        codes = self.codes[name] or self.codes["*"]
        return web.Response(status=codes.pop(0) if codes else 200, headers={"Location": "/hook/elsewhere"})

    async def elsewhere(self, _: web.Request) -> web.Response:
        return web.Response()

    def told(self) -> list[tuple[str, str]]:
        notices = [json.loads(body) for _, body in self.seen]
        return [(notice["alerts"][0]["labels"]["alertname"], notice["status"]) for notice in notices]


@pytest.fixture
async def endpoint() -> AsyncIterator[Endpoint]:
    known = Endpoint()
    app = web.Application()
    app.router.add_post("/hook", known.answer)
    app.router.add_route("*", "/hook/elsewhere", known.elsewhere)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    known.url = f"http://127.0.0.1:{runner.addresses[0][1]}/hook"
    yield known
    await runner.cleanup()


async def test_a_webhook_speaks_as_alertmanager_does(session: aiohttp.ClientSession, endpoint: Endpoint, pager: Pager) -> None:
    firing = alert("Shape")
    assert await Webhook(session, endpoint.url, HERE).send([firing]) == [ACCEPTED]
    ours = json.loads(endpoint.seen[0][1])
    await Alertmanager(session, pager.url, HERE).send([firing])
    theirs = (await asyncio.to_thread(pager.notified, "Shape", "firing"))["notice"]
    assert ours.keys() == theirs.keys()
    assert ours["alerts"][0].keys() == theirs["alerts"][0].keys()
    for name in ("version", "status", "truncatedAlerts", "commonLabels", "commonAnnotations"):
        assert ours[name] == theirs[name], name
    for name in ("status", "labels", "annotations", "endsAt", "generatorURL"):
        assert ours["alerts"][0][name] == theirs["alerts"][0][name], name
    assert datetime.fromisoformat(ours["alerts"][0]["startsAt"]) == datetime.fromisoformat(theirs["alerts"][0]["startsAt"])


async def test_a_webhook_signs_and_repeats_with_the_same_key(session: aiohttp.ClientSession, endpoint: Endpoint) -> None:
    patience = Patience()
    endpoint.codes["*"] = [500, 503]
    hook = Webhook(session, endpoint.url, HERE, secret=b"s3cret", now=patience.clock, sleep=patience.sleep, random=no_jitter)
    assert await hook.send([alert()]) == [ACCEPTED]
    assert patience.slept == [1.0, 2.0]
    headers, bodies = [seen for seen, _ in endpoint.seen], {body for _, body in endpoint.seen}
    assert len(headers) == ATTEMPTS == 3
    assert len(bodies) == 1
    assert {seen[KEY_HEADER] for seen in headers} == {"Surge-id-firing"}
    assert [seen[TIMESTAMP_HEADER] for seen in headers] == ["1000", "1001", "1003"]
    for seen, body in endpoint.seen:
        expected = hmac.new(b"s3cret", seen[TIMESTAMP_HEADER].encode() + b"." + body, hashlib.sha256).hexdigest()
        assert hmac.compare_digest(seen[SIGNATURE_HEADER], f"v1={expected}")
    assert sign(b"other", "1000", b"{}") != sign(b"s3cret", "1000", b"{}")


async def test_a_refusal_is_not_hammered_and_not_final(session: aiohttp.ClientSession, endpoint: Endpoint) -> None:
    patience = Patience()
    endpoint.codes["*"] = [401, 302]
    hook = Webhook(session, endpoint.url, HERE, sleep=patience.sleep)
    assert await hook.send([alert()]) == [Outcome("status_401")], "a receiver can be mended"
    assert await hook.send([alert()]) == [Outcome("status_302")], "nobody is followed elsewhere"
    assert SIGNATURE_HEADER not in endpoint.seen[0][0]
    assert len(endpoint.seen) == 2


async def test_a_receiver_that_is_away_is_asked_once_per_round_for_all(session: aiohttp.ClientSession) -> None:
    patience = Patience()
    hook = Webhook(session, f"http://127.0.0.1:{free_port()}/hook?token=abc", HERE, sleep=patience.sleep, random=no_jitter)
    assert await hook.send([alert("One"), alert("Two")]) == [Outcome("connection")] * 2
    assert len(patience.slept) == ATTEMPTS - 1
    assert "token" not in hook.name


@pytest.mark.parametrize("address", ["", "alertmanager:9093", "ftp://a/", "http://", "/alerts", "http://a/?x=1", "http://a/#x", "http://[::1"])
def test_addresses_that_are_refused(address: str) -> None:
    with pytest.raises(ValueError, match=r"write (an absolute|one such)"):
        base_url(address)


def test_waiting_grows_with_jitter_and_is_bounded() -> None:
    assert [backoff(failures, no_jitter) for failures in range(1, 8)] == [1, 2, 4, 8, 16, 32, 60]
    assert backoff(10_000, no_jitter) == LONGEST_DELAY
    assert backoff(3, lambda: 0.25) == 1.0


async def test_the_log_says_it_in_one_line(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="alerts.notifiers.log"):
        assert await Log().send([alert(), risen(alert()), alert(state="resolved")]) == [ACCEPTED] * 3
    assert [(record.levelno, record.getMessage()) for record in caplog.records] == [
        (logging.ERROR, "alert firing Surge Surge-id: 60 % negative"),
        (logging.ERROR, "alert escalated Surge Surge-id: 60 % negative"),
        (logging.INFO, "alert resolved Surge Surge-id: 60 % negative"),
    ]


# --- delivery -----------------------------------------------------------------------------------------------------------


def firing_scene(resolve: bool = False) -> Scene:
    scene = Scene()
    for minute in range(30 if resolve else 15):
        bad = 10 <= minute < 20
        scene.feed(*reviews(T0 + minute * M, 8 if bad else 1, 2 if bad else 9)).tick()
    return scene


async def test_an_entry_is_forgotten_when_each_notifier_has_it(session: aiohttp.ClientSession, endpoint: Endpoint, pager: Pager) -> None:
    scene, patience = firing_scene(), Patience()
    endpoint.codes["*"] = [500] * 3
    hook = Webhook(session, endpoint.url, HERE, sleep=patience.sleep, random=no_jitter)
    manager = Alertmanager(session, pager.url, HERE, sleep=patience.sleep)
    delivery = Delivery(lambda: [scene.watch], [hook, manager], clock=patience.clock, sleep=patience.sleep, random=no_jitter)
    for notifier in (hook, manager):
        await delivery.tell(notifier)
    assert len(scene.pending()) == 1, "the webhook has not"
    assert len(await asyncio.to_thread(pager.known, "Surge")) == 1, "and holds nobody up"
    assert delivery.sent == {manager.name: 1}
    assert delivery.failed == {(hook.name, "status_500"): 1}
    await delivery.tell(hook)
    assert len(endpoint.seen) == 3, "it waits a while"
    patience.now += 60
    for notifier in (hook, manager):
        await delivery.tell(notifier)
    assert scene.pending() == []
    assert delivery.sent == {manager.name: 1, hook.name: 1}
    assert len({headers[KEY_HEADER] for headers, _ in endpoint.seen}) == 1
    await delivery.tell(hook)
    assert len(endpoint.seen) == 4, "once is enough"


async def test_what_fires_is_said_again_while_another_notifier_is_behind(session: aiohttp.ClientSession, endpoint: Endpoint, pager: Pager) -> None:
    scene, patience, wall = firing_scene(), Patience(), [datetime.now(UTC)]
    endpoint.codes["*"] = [500] * 100
    hook = Webhook(session, endpoint.url, HERE, sleep=patience.sleep)
    manager = Alertmanager(session, pager.url, HERE, now=lambda: wall[0], sleep=patience.sleep)
    delivery = Delivery(lambda: [scene.watch], [hook, manager], clock=patience.clock, sleep=patience.sleep)

    async def ends() -> datetime:
        await delivery.tell(hook)
        await delivery.tell(manager)
        return datetime.fromisoformat((await asyncio.to_thread(pager.known, "Surge"))[0]["endsAt"])

    first = await ends()
    patience.now, wall[0] = patience.now + 30, wall[0] + timedelta(seconds=30)
    assert await ends() == first, "not yet"
    patience.now, wall[0] = patience.now + 40, wall[0] + timedelta(seconds=40)
    assert await ends() == first + timedelta(seconds=70)
    assert len(scene.pending()) == 1


async def test_what_was_not_accepted_is_not_said_again_in_the_same_round(session: aiohttp.ClientSession) -> None:
    scene, patience = firing_scene(), Patience()
    manager = Alertmanager(session, f"http://127.0.0.1:{free_port()}", HERE, sleep=patience.sleep)
    delivery = Delivery(lambda: [scene.watch], [manager], clock=patience.clock, sleep=patience.sleep)
    await delivery.tell(manager)
    assert delivery.failed == {(manager.name, "connection"): 1}
    assert len(patience.slept) == ATTEMPTS - 1


async def test_an_end_does_not_overtake_its_beginning(session: aiohttp.ClientSession, endpoint: Endpoint) -> None:
    scene, patience = firing_scene(resolve=True), Patience()
    endpoint.codes["*"] = [500] * 3
    hook = Webhook(session, endpoint.url, HERE, sleep=patience.sleep, random=no_jitter)
    delivery = Delivery(lambda: [scene.watch], [hook], clock=patience.clock, sleep=patience.sleep, random=no_jitter)
    await delivery.tell(hook)
    assert endpoint.told() == [("Surge", "firing")] * 3
    patience.now += 60
    await delivery.tell(hook)
    assert endpoint.told()[3:] == [("Surge", "firing"), ("Surge", "resolved")]
    assert scene.pending() == []


async def test_the_second_notice_does_not_overtake_the_first(session: aiohttp.ClientSession, endpoint: Endpoint) -> None:
    first = alert("Rise", severity="ticket")
    second = risen(first)
    last = replace(second, state="resolved", ended=second.escalated + timedelta(seconds=30))
    watch, patience = Watch(0, 1, rules=RuleSet(), clock=lambda: T0), Patience()
    watch.load([(OUTBOX_ROW + f"{one.id}/{one.transition}".encode(), msgspec.msgpack.encode(one)) for one in (last, second, first)])
    endpoint.codes["*"] = [500] * 3
    hook = Webhook(session, endpoint.url, HERE, sleep=patience.sleep, random=no_jitter)
    delivery = Delivery(lambda: [watch], [hook], clock=patience.clock, sleep=patience.sleep, random=no_jitter)
    await delivery.tell(hook)
    assert len(endpoint.seen) == 3
    patience.now += 60
    await delivery.tell(hook)
    assert [headers[KEY_HEADER] for headers, _ in endpoint.seen] == ["Rise-id-firing"] * 4 + ["Rise-id-escalated", "Rise-id-resolved"]
    told = [json.loads(body)["alerts"][0] for _, body in endpoint.seen[3:]]
    assert [(one["status"], one["labels"]["severity"], one["fingerprint"]) for one in told] == [
        ("firing", "ticket", "Rise-id"),
        ("firing", "page", "Rise-id"),
        ("resolved", "page", "Rise-id"),
    ]
    assert watch.outbox() == []


async def test_a_bad_alert_blocks_no_other_and_is_given_up_in_the_end(
    session: aiohttp.ClientSession, endpoint: Endpoint, caplog: pytest.LogCaptureFixture
) -> None:
    rules = """groups: [{name: g, rules: [
        {alert: Bad, kpi: negative_share, window: 5m, above: 0.5, labels: {severity: page}, annotations: {summary: x}},
        {alert: Good, kpi: negative_share, window: 5m, above: 0.5, labels: {severity: page}, annotations: {summary: x}}]}]"""
    scene, patience = Scene(rules), Patience()
    for minute in range(5):
        scene.feed(*reviews(T0 + minute * M, 10, 0)).tick()
    endpoint.codes["Bad"] = [500] * 100
    hook = Webhook(session, endpoint.url, HERE, sleep=patience.sleep, random=no_jitter)
    delivery = Delivery(lambda: [scene.watch], [hook], clock=patience.clock, sleep=patience.sleep, random=no_jitter, give_up_seconds=300.0)
    await delivery.tell(hook)
    assert ("Good", "firing") in endpoint.told()
    assert [scene.watch.outbox()[0].rule] == ["Bad"]
    for _ in range(12):
        patience.now += 60
        await delivery.tell(hook)
    assert scene.pending() == []
    assert delivery.failed[hook.name, "expired"] == 1
    assert "was not told that Bad" in caplog.text


async def test_after_a_restart_it_is_told_again_with_the_same_key(session: aiohttp.ClientSession, endpoint: Endpoint) -> None:
    scene, patience = firing_scene(), Patience()
    for _ in range(2):
        hook = Webhook(session, endpoint.url, HERE, sleep=patience.sleep)
        delivery = Delivery(lambda: [scene.watch], [hook], clock=patience.clock, sleep=patience.sleep)
        await delivery.tell(hook)
        scene.restart()  # before the flush that forgets it
    assert len({headers[KEY_HEADER] for headers, _ in endpoint.seen}) == 1
    assert endpoint.told() == [("Surge", "firing")] * 2


async def test_it_runs_until_it_is_cancelled(session: aiohttp.ClientSession, endpoint: Endpoint) -> None:
    scene, told = firing_scene(), asyncio.Event()

    async def sleep(seconds: float) -> None:
        if not scene.pending():
            told.set()
        await asyncio.sleep(min(seconds, 0.01))

    running = asyncio.create_task(Delivery(lambda: [scene.watch], [Webhook(session, endpoint.url, HERE), Log()], sleep=sleep).run())
    await asyncio.wait_for(told.wait(), 10)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert endpoint.told() == [("Surge", "firing")]


def test_notifiers_have_names_of_their_own() -> None:
    with pytest.raises(ValueError, match="each notifier is named once"):
        Delivery(list, [Log(), Log()])
    with pytest.raises(ValueError, match="at least one: none"):
        Delivery(list, [])
