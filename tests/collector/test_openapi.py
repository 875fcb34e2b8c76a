"""The document of the door equals the door: every route, method and status in it, and nothing else answered."""

import json
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from collector import openapi
from collector.limits import BODY_BYTES
from collector.routes import DEVELOPMENT, ROUTES, Route
from tests.clients.official import complaints
from tests.collector.served import Served, StartDoor
from tests.collector.test_server import body_for

ALL = (*ROUTES, *DEVELOPMENT)
DOCUMENT = openapi.document("1.2.3", ALL)
OPERATIONS = {(method.upper(), path): operation for path, methods in DOCUMENT["paths"].items() for method, operation in methods.items()}


def test_its_operations_are_the_routes():
    assert OPERATIONS.keys() == {(route.method, route.path) for route in ALL}
    assert len({operation["operationId"] for operation in OPERATIONS.values()}) == len(ALL)
    assert not [path for path in openapi.document("1", ROUTES)["paths"] if "debug" in path]


async def test_the_door_serves_its_own(start_door: StartDoor):
    for development in (False, True):
        served = await start_door(development=development, spool_bytes=1 << 20)
        status, said, headers = await served.ask("GET", "/openapi.json")
        assert (status, headers["Content-Type"]) == (200, "application/json")
        assert ("/v1/debug/{which}" in said["paths"]) is development
        await served.stop()


def test_the_command_prints_it():
    done = subprocess.run([sys.executable, "-m", "agents", "events", "openapi"], capture_output=True, text=True, timeout=30, check=True)
    printed = json.loads(done.stdout)
    assert printed["paths"] == json.loads(json.dumps(DOCUMENT["paths"]))


@pytest.mark.slow
def test_it_is_valid():
    (said,) = complaints(openapi=DOCUMENT)
    assert said == []
    (said,) = complaints(openapi=DOCUMENT | {"paths": {"/": {"get": {"responses": {"2": {}}}}}})
    assert said != []


WAYS: dict[str, dict[str, Any]] = {
    "well": {},
    "without a key": {"key": None},
    "from another page": {"key": "page", "headers": {"Origin": "https://evil.example"}},
    "with noise": {"json": None, "data": b"{", "headers": {"Content-Encoding": "gzip"}},
    "with too much": {"json": None, "data": b" " * (BODY_BYTES + 1)},
    "packed otherwise": {"headers": {"Content-Encoding": "br"}},
    "through a proxy": {"headers": {"X-Forwarded-For": "203.0.113.1"}},
}
QUERY = {"e": "pv", "url": "https://shop.example/a", "duid": "v1", "eid": "1"}


async def test_all_statuses_are_in_it_and_all_in_it_are_answered(start_door: StartDoor, tmp_path: Path):
    """Each route is asked in every way that could bring another status; answers come in the form that the document says."""

    async def start(name: str, **options: Any) -> Served:
        return await start_door(development=True, spool=tmp_path / name, **{"rate": 1e6, "address_rate": 1e6} | options)

    calm, strict, full = await start("calm"), await start("strict", rate=0.01, address_rate=0.1), await start("full", spool_bytes=0)
    seen: dict[tuple[str, str], dict[int, set[str]]] = defaultdict(lambda: defaultdict(set))

    async def ask(served: Served, route: Route, key: str | None = "write", **options: Any) -> None:
        if route.place is not None:
            options = ({"params": QUERY} if route.method == "GET" else {"json": body_for(*route.place)}) | options
        path = route.path.format(write_key=served.texts[key or "server"], which="all" if key else "other")
        status, _, headers = await served.ask(route.method, path, key, **options)
        seen[route.method, route.path][status].add(headers["Content-Type"].partition(";")[0])

    for route in ALL:
        for way in WAYS.values():
            await ask(calm, route, **way)
        for _ in range(2):
            await ask(strict, route)
        await ask(full, route)
    for asked, statuses in seen.items():
        documented = {int(status): set(response["content"]) for status, response in OPERATIONS[asked]["responses"].items()}
        assert statuses == documented, asked


async def test_its_examples_are_taken(start_door: StartDoor):
    served = await start_door(rate=1e6, address_rate=1e6)
    taken = 0
    for (method, path), operation in OPERATIONS.items():
        for kind, content in operation.get("requestBody", {"content": {}})["content"].items():
            if "example" in content:
                status, said, _ = await served.ask(method, path, "server", data=json.dumps(content["example"]), headers={"Content-Type": kind})
                assert (status, said["rejected"]) == (202 if path == "/v1/events" else 200, []), path
                assert said["accepted"] == 1
                taken += 1
    assert taken > 40
