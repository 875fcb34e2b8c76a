"""The published clients of Segment, RudderStack, PostHog, Snowplow and CloudEvents, unmodified, before a collector as its users run it.

Each is a process of its own with one option changed, its host, and tells the story in tests/clients/story.json; all write to one
collector, each to a site of its own. Their versions are pinned in tests/clients, where they are installed when a test asks first.
"""

import asyncio
import json
import os
import shutil
import signal
import subprocess
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import datetime, timedelta
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any, NamedTuple
from urllib.request import Request, urlopen

import pytest
from msgspec.structs import replace

from agents.brokers import EmbeddedBroker
from agents.settings import Settings
from benchmarks.commands import Command, write_keys
from collector.names import normal
from deploy.kafka.kafka import free_port
from streams import events as e
from streams.topics import EVENT_TOPICS, TOPICS
from tests.clients import install
from tests.collector.served import on_topic
from tests.conftest import missing

pytestmark = pytest.mark.slow

HERE = Path(install.__file__).parent
STORY = json.loads((HERE / "story.json").read_text())
AGENT = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36"
"""A Chromium without a screen says so, and is then on the list of bots."""
AGO_SECONDS = 600
"""So long ago the story happened."""
RUN_SECONDS = 60
VISITED = STORY["page"]["url"].removeprefix("https://shop.example").removesuffix("#top")
"""Path and query of the page that the story's visitor sees."""


class Client(NamedTuple):
    """One client and what is special about it."""

    name: str
    """Also its site."""
    script: str
    option: str = ""
    lacks: frozenset[str] = frozenset()
    """Types of events that it cannot say, or that the story does not have it say."""
    untimed: frozenset[str] = frozenset()
    """Types of events to which it gives the time itself."""


SNOWPLOW = frozenset({"customer_identified", "customer_updated"})
CLOUDEVENTS = frozenset({"element_clicked"})
CLIENTS = (
    Client("segment-python", "segment_python.py"),
    Client("rudder-python", "rudder_python.py"),
    Client("posthog-python", "posthog_python.py"),
    Client("posthog-python-v1", "posthog_python.py", "v1"),
    Client("snowplow-post", "snowplow_python.py", "post", lacks=SNOWPLOW),
    Client("snowplow-get", "snowplow_python.py", "get", lacks=SNOWPLOW),
    Client("cloudevents-binary", "cloudevents_python.py", "binary", lacks=CLOUDEVENTS),
    Client("cloudevents-structured", "cloudevents_python.py", "structured", lacks=CLOUDEVENTS),
    Client("cloudevents-batch", "cloudevents_python.py", "batch", lacks=CLOUDEVENTS),
    Client("segment-node", "segment_node.mjs"),
    Client("rudder-node", "rudder_node.mjs"),
    Client("posthog-node", "posthog_node.mjs", untimed=frozenset({"customer_identified", "customer_updated"})),
    Client("segment-browser", "page.html"),
)


class Told(NamedTuple):
    """What a client said at its end, or why it did not run."""

    said: dict[str, str]
    missing: str = ""


class Arrived(NamedTuple):
    """What lies on Kafka after all clients have run."""

    settings: Settings
    collector: Command
    url: str
    at: int
    """When the story happened, in epoch seconds."""
    keys: dict[str, str]
    told: dict[str, Future[Told]]
    records: dict[tuple[str, str], list[Any]]
    """By topic and site."""

    def events(self, client: Client) -> dict[str, list[Any]]:
        """The events of a client by type. Skips when it cannot run here."""
        if why := self.told[client.name].result().missing:
            missing(why)
        found = defaultdict(list)
        for topic in EVENT_TOPICS:
            for record in self.records[topic, client.name]:
                event = e.decode(record.value, topic)
                assert isinstance(event, e.Event), event
                assert record.key == e.key_of(event).encode()
                found[e.NAMES[type(event)]].append(event)
        return found


@pytest.fixture(scope="module")
def arrived(embedded: EmbeddedBroker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Arrived]:
    directory = tmp_path_factory.mktemp("clients")
    with ShopPage() as page, ThreadPoolExecutor(3) as pool:
        keys = ({"name": c.name, "kind": "write", "site": c.name, "origins": [page.origin] * c.script.endswith(".html")} for c in CLIENTS)
        shown = dict(zip((client.name for client in CLIENTS), write_keys(directory / "keys.yml", keys), strict=True))
        settings = embedded.settings(Settings(app_id="clients", topic_prefix=f"{directory.name}.", http_port=0), partitions=1)
        settings = replace(settings, collector_port=0, collector_keys=str(directory / "keys.yml"), collector_spool=str(directory / "spool"))
        for topic in TOPICS:
            embedded.create(settings.topic(topic.name), 1)
        with Command("collector", settings, directory) as collector:
            url, at = collector.url(), int(time.time()) - AGO_SECONDS
            told = {client.name: pool.submit(run, client, url, shown[client.name], at, page, directory) for client in CLIENTS}
            for future in told.values():
                future.exception()
            records = defaultdict(list)
            for topic in (*EVENT_TOPICS, "failed"):
                for record in asyncio.run(on_topic(settings, topic)):
                    records[topic, record.key.decode().partition("/")[0]].append(record)
            yield Arrived(settings, collector, url, at, shown, told, records)


def run(client: Client, url: str, key: str, at: int, page: "ShopPage", directory: Path) -> Told:
    """Run a client to its end. Raises AssertionError with what it said when it fails."""
    try:
        if client.script.endswith(".html"):
            install.node_modules()
            return page.open(directory / "profile", f"{url},{key},{at}")
        program = ["node"] if install.node_modules() and client.script.endswith(".mjs") else [str(install.python())]
    except install.UnavailableError as error:
        return Told({}, str(error))
    command = [*program, client.script, url, key, str(at), *filter(None, [client.option])]
    done = subprocess.run(command, cwd=HERE, capture_output=True, text=True, timeout=RUN_SECONDS, check=False)
    assert done.returncode == 0, done.stderr
    return Told(json.loads(done.stdout.splitlines()[-1]))


class ShopPage:
    """The shop's own server, whose page has the browser's client in it; for the browser the collector is another origin."""

    def __enter__(self) -> "ShopPage":
        self._done: SimpleQueue[dict[str, str]] = SimpleQueue()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Files, self._done.put))
        self.origin = f"http://localhost:{self._server.server_address[1]}"
        Thread(target=self._server.serve_forever, name="page", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def open(self, profile: Path, told: str) -> Told:
        """Open the page in a real browser without a screen, and wait until the page says that it is done."""
        if (chromium := shutil.which("chromium")) is None:
            return Told({}, "the client for browsers needs Debian's package chromium")
        options = ["--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-dev-shm-usage", f"--user-agent={AGENT}"]
        command = [chromium, *options, f"--user-data-dir={profile}", f"{self.origin}{VISITED}#{told}"]
        with (profile.parent / "chromium.log").open("wb") as log:
            browser = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        try:
            said = self._done.get(timeout=RUN_SECONDS)
        except Empty:
            raise AssertionError((profile.parent / "chromium.log").read_text(errors="replace")) from None
        finally:
            os.killpg(browser.pid, signal.SIGKILL)
            browser.wait()
        assert "error" not in said, said
        return Told(said)


class _Files(SimpleHTTPRequestHandler):
    def __init__(self, done: Callable[[dict[str, str]], None], *arguments: Any) -> None:
        self._done = done
        super().__init__(*arguments, directory=str(HERE))

    def translate_path(self, path: str) -> str:
        name = "/page.html" if path.startswith("/shoes") else path.replace("/dist/", "/node_modules/@segment/analytics-next/dist/umd/")
        return super().translate_path(name)

    def do_POST(self) -> None:
        self._done(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.mark.parametrize("client", CLIENTS, ids=lambda client: client.name)
def test_its_events_arrive_as_what_they_are(arrived: Arrived, client: Client):
    events = arrived.events(client)
    told = arrived.told[client.name].result().said
    expected = {"page_viewed", "customer_identified", "customer_updated", "order_completed", "review_posted", "element_clicked"} - client.lacks
    assert set(events) == expected

    (page,) = [event for event in events["page_viewed"] if event.path != "/Basket"]
    assert (page.path, page.visitor, page.customer) == ("/shoes?utm_source=news&utm_medium=email", "v-1", None)
    assert page.referrer == "www.google.com"
    assert (page.campaign.source, page.campaign.medium) == ("news", "email")

    if "customer_identified" in expected:
        assert ("v-1", "42") in {(event.visitor, event.customer) for event in events["customer_identified"]}
        assert {"plan": "pro"} in [event.traits for event in events["customer_updated"]]

    (order,) = events["order_completed"]
    assert (order.customer, order.order, order.total_minor, order.currency) == ("42", "o-1", 2750, "USD")
    assert [(item.product, item.quantity, item.price_minor) for item in order.items] == [("p-7", 1, 1900)]
    assert order.id == told.get("order", order.id)

    (review,) = events["review_posted"]
    assert (review.customer, review.review, review.product, review.rating) == ("42", "r-1", "p-7", 5)
    assert review.text == STORY["review"]["review_body"]

    if "element_clicked" in expected:
        (wish,) = events["element_clicked"]
        assert (normal(wish.element), wish.properties["list"]) == ("wish_list_shared", "birthday")

    (record,) = arrived.records["failed", client.name]
    headers = dict(record.headers)
    assert (headers["engage-reason"], headers["engage-path"].rpartition(b".")[2]) == (b"missing_field", b"currency")


@pytest.mark.parametrize("client", CLIENTS, ids=lambda client: client.name)
def test_times_and_ids_are_right(arrived: Arrived, client: Client):
    events = [event for found in arrived.events(client).values() for event in found]
    ids = [(event.id, type(event)) for event in events]
    assert len(set(ids)) == len(ids)
    for event in events:
        at = arrived.at * 1000 if e.NAMES[type(event)] not in client.untimed else e.millis(event.received_at)
        assert abs(e.event_time(event) - at) < 5_000, "the time is the story's, whatever the way took"
        assert AGO_SECONDS - 5 < e.millis(event.received_at) / 1000 - arrived.at < AGO_SECONDS + 5 * RUN_SECONDS


def test_a_worker_counts_them_into_readings(arrived: Arrived, tmp_path: Path):
    """The story is ten minutes old, so its minute is complete as soon as anything newer has come on each topic."""
    able = [client for client in CLIENTS if not arrived.told[client.name].result().missing]
    now = int(time.time() * 1000)
    ends = (
        {"type": "page_viewed", "id": "end-1", "at": now, "visitor": "v-9", "path": "/"},
        {"type": "review_answered", "id": "end-2", "at": now, "customer": "9", "review": "r-9", "source": "website"},
        {"type": "signed_up", "id": "end-3", "at": now, "customer": "9"},
    )
    for event in ends:
        request = Request(arrived.url + "/v1/events", json.dumps(event).encode(), {"Authorization": f"Bearer {arrived.keys['segment-python']}"})
        with urlopen(request, timeout=10) as answer:
            assert json.loads(answer.read())["accepted"] == 1
    wanted = {(client.name, kpi): value for client in able for kpi, value in READ.items()}
    got: dict[tuple[str, str], float] = {}
    with Command("worker", arrived.settings, tmp_path, "--embedded") as worker:
        deadline = time.monotonic() + 60
        while got != wanted and time.monotonic() < deadline:
            readings = [reading for record in asyncio.run(on_topic(arrived.settings, "readings")) for reading in json.loads(record.value)["readings"]]
            got = {(r["site"], r["kpi"]): r["value"] for r in readings if (r["site"], r["kpi"]) in wanted and not r["dimensions"] and is_an_hour(r["window"])}
        assert got == wanted, worker.log


READ = {"orders": 1, "reviews": 1, "mean_rating": 5.0, "mean_sentiment": 0.8519}
"""What a site's story comes to: measures over an hour, all labels together."""


def is_an_hour(window: dict[str, str]) -> bool:
    return datetime.fromisoformat(window["end"]) - datetime.fromisoformat(window["start"]) == timedelta(hours=1)


def test_what_clients_send_while_the_collector_restarts_arrives_once(embedded_topics: Settings, tmp_path: Path):
    (key,) = write_keys(tmp_path / "keys.yml", [{"name": "shop", "kind": "server", "site": "shop"}])
    settings = replace(embedded_topics, collector_port=free_port(), collector_keys=str(tmp_path / "keys.yml"), collector_spool=str(tmp_path / "spool"))
    with Command("collector", settings, tmp_path) as collector:
        url = collector.url()
    with ShopPage() as page, ThreadPoolExecutor() as pool:
        scripts = ("segment_python.py", "segment_node.mjs")
        told = [pool.submit(run, Client("shop", script), url, key, int(time.time()), page, tmp_path) for script in scripts]
        time.sleep(1.5)
        with Command("collector", settings, tmp_path) as collector:
            assert collector.url() == url
            results = [future.result() for future in told]
            assert collector.terminate() == 0
    for why in filter(None, (result.missing for result in results)):
        missing(why)
    ids = [json.loads(record.value)["id"] for topic in EVENT_TOPICS for record in asyncio.run(on_topic(settings, topic))]
    assert len(ids) == len(set(ids)) >= 12
    assert {result.said["order"] for result in results} <= set(ids)
