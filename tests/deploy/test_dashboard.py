"""The dashboard: written from the catalogue, as Grafana's linter wants it, and every query answered by a real Prometheus."""

import asyncio
import json
import re
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import yaml

from agents.metrics import metric_name
from streams.kpis import KPIS
from tests.deploy.serving import Fed

ROOT = Path(__file__).parents[2]
FILE = ROOT / "deploy/grafana/dashboards/overview.json"
DASHBOARD: dict[str, Any] = json.loads(FILE.read_text())
PANELS: list[dict[str, Any]] = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
QUERIES = [(panel["title"], target["expr"]) for panel in PANELS for target in panel["targets"]]
SITE = "shop"
VARIABLES = {"$site": SITE, "$segment": ".*", "$__rate_interval": "1m"}
SOURCE = {"type": "prometheus", "uid": "${datasource}"}


def test_the_file_is_what_the_catalogue_says() -> None:
    written = subprocess.run([sys.executable, "deploy/grafana/build.py"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert FILE.read_text() == written, "python deploy/grafana/build.py > deploy/grafana/dashboards/overview.json"


@pytest.mark.parametrize("kpi", KPIS, ids=lambda kpi: kpi.name)
def test_every_measure_has_a_panel_and_its_n(kpi: Any) -> None:
    (shown,) = [panel for panel in PANELS if panel["title"] == kpi.name.replace("_", " ").capitalize() and panel["type"] == "timeseries"]
    assert kpi.help in shown["description"]
    names = {name for target in shown["targets"] for name in re.findall(r"engagement_\w+", target["expr"])}
    assert metric_name(kpi) in names or f"engagement_{kpi.name}_numerator" in names
    assert kpi.unit == "count" or shown["targets"][-1]["legendFormat"].split()[0] == "n"


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: f"{panel['id']} {panel['title']}")
def test_panels_keep_to_the_rules_of_the_dashboard_linter(panel: dict[str, Any]) -> None:
    assert panel["title"]
    assert panel["description"]
    assert panel["fieldConfig"]["defaults"]["unit"]
    assert panel["datasource"] == SOURCE
    for target in panel["targets"]:
        assert target["datasource"] == SOURCE
        assert set(re.findall(r"\[([^\]]+)\]", target["expr"])) <= {"$__rate_interval"}
        assert set(re.findall(r"\$\w+", target["expr"])) <= set(VARIABLES)


def test_panels_have_their_own_ids_and_do_not_overlap() -> None:
    panels = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        cells = {(x, y) for x in range(place["x"], place["x"] + place["w"]) for y in range(place["y"], place["y"] + place["h"])}
        assert not cells & taken, panel["title"]
        assert max(x for x, _ in cells) < 24
        taken |= cells


def test_site_and_segment_can_be_chosen() -> None:
    assert [variable["name"] for variable in DASHBOARD["templating"]["list"]] == ["datasource", "site", "segment"]
    provisioned = yaml.safe_load((ROOT / "deploy/grafana/provisioning/datasources/prometheus.yml").read_text())["datasources"]
    assert [source["type"] for source in provisioned if source.get("isDefault")] == ["prometheus"]


class Prometheus:
    """A real one, scraping one worker every second with the project's own configuration and rules."""

    def __init__(self, program: str, directory: Path, target: str) -> None:
        config = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text())
        config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
        config["rule_files"] = [str(ROOT / "deploy/prometheus" / pattern) for pattern in config["rule_files"]]
        worker = config["scrape_configs"][0]
        assert worker.pop("dns_sd_configs")
        worker |= {"static_configs": [{"targets": [target]}], "scrape_timeout": "1s"}
        del config["alerting"]
        config["scrape_configs"] = [worker]
        (directory / "prometheus.yml").write_text(yaml.safe_dump(config))
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.address = f"127.0.0.1:{probe.getsockname()[1]}"
        self.log_file = directory / "log"
        arguments = [f"--config.file={directory}/prometheus.yml", f"--storage.tsdb.path={directory}/data", f"--web.listen-address={self.address}"]
        with self.log_file.open("wb") as log:
            self.process = subprocess.Popen([program, *arguments], stdout=log, stderr=log, cwd=directory)

    def get(self, path: str, **query: str) -> Any:
        url = f"http://{self.address}/api/v1/{path}?{urllib.parse.urlencode(query)}"
        try:
            with urllib.request.urlopen(url, timeout=10) as response:
                return json.load(response)["data"]
        except urllib.error.HTTPError as error:
            with error:
                raise AssertionError(f"{query}: {error.read().decode()}") from None

    async def ask(self, query: str) -> list[Any]:
        """Samples that are numbers."""
        for name, value in VARIABLES.items():
            query = query.replace(name, value)
        result = (await asyncio.to_thread(self.get, "query", query=query))["result"]
        return [sample for sample in result if sample["value"][1] != "NaN"]

    async def until(self, query: str, seconds: float = 30.0) -> None:
        deadline = time.monotonic() + seconds
        while True:
            assert self.process.poll() is None, self.log_file.read_text()
            try:
                if await self.ask(query):
                    return
            except OSError:
                pass
            assert time.monotonic() < deadline, f"{query}\n{self.log_file.read_text()}"
            await asyncio.sleep(0.2)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def scraped(fed: Fed, program: Callable[[str], str], tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Prometheus]:
    await fed.server.start()
    prometheus = Prometheus(program("prometheus"), tmp_path_factory.mktemp("prometheus"), f"127.0.0.1:{fed.server.port}")
    try:
        await prometheus.until("count_over_time(engagement_ready[1m]) >= 2")
        fed.go_on()
        await prometheus.until("increase(engagement_flush_duration_seconds_count[1m]) > 0")
        yield prometheus
    finally:
        prometheus.process.terminate()
        prometheus.process.wait(10)
        await fed.server.stop()


@pytest.mark.slow
@pytest.mark.asyncio(loop_scope="module")
async def test_every_panel_is_answered_with_data(scraped: Prometheus, fed: Fed) -> None:
    empty = [(title, query) for title, query in QUERIES if not await scraped.ask(query)]
    without_events = {kpi.name.replace("_", " ").capitalize() for kpi in KPIS if kpi.name not in fed.measured(SITE)}
    assert [one for one in empty if one[0] not in without_events] == []
    assert len(fed.measured(SITE)) >= 0.9 * len(KPIS)
    assert len(QUERIES) > 50


@pytest.mark.slow
@pytest.mark.asyncio(loop_scope="module")
async def test_measures_put_together_over_segments_are_those_of_the_total(scraped: Prometheus) -> None:
    compared = 0
    for kpi in KPIS:
        panel = next(panel for panel in PANELS if panel["title"] == kpi.name.replace("_", " ").capitalize() and panel["type"] == "timeseries")
        query = panel["targets"][0]["expr"]
        window = re.search(r'window="(\w+)"', query)
        assert window is not None
        total = await scraped.ask(f'{metric_name(kpi)}{{site="$site",by="",window="{window[1]}"}}')
        if not query.startswith("sum(") or not total:
            continue
        (answer,) = await scraped.ask(query)
        assert float(answer["value"][1]) == pytest.approx(float(total[0]["value"][1])), kpi.name
        compared += 1
    assert compared >= 20


@pytest.mark.slow
@pytest.mark.asyncio(loop_scope="module")
async def test_the_choices_of_the_variables_are_there(scraped: Prometheus) -> None:
    for variable in DASHBOARD["templating"]["list"][1:]:
        asked = re.fullmatch(r"label_values\((.+), (\w+)\)", variable["query"]["query"])
        assert asked is not None
        samples = await scraped.ask(asked[1])
        values = {sample["metric"].get(asked[2]) for sample in samples} - {None}
        assert SITE in values if variable["name"] == "site" else len(values) >= 3


@pytest.mark.slow
@pytest.mark.asyncio(loop_scope="module")
async def test_one_segment_is_less_than_all(scraped: Prometheus) -> None:
    query = next(query for title, query in QUERIES if title == "Sessions")
    (everyone,) = await scraped.ask(query)
    (some,) = await scraped.ask(query.replace("$segment", "new"))
    assert 0 < float(some["value"][1]) < float(everyone["value"][1])


@pytest.mark.slow
@pytest.mark.asyncio(loop_scope="module")
async def test_rules_are_evaluated_without_an_error_and_only_the_watchdog_fires(scraped: Prometheus) -> None:
    await scraped.until('ALERTS{alertname="Watchdog"}')
    rules = [rule for group in (await asyncio.to_thread(scraped.get, "rules"))["groups"] for rule in group["rules"]]
    assert {rule["name"]: rule.get("lastError", "") for rule in rules if rule["health"] != "ok"} == {}
    firing = {sample["metric"]["alertname"] for sample in await scraped.ask('ALERTS{alertstate="firing"}')}
    assert firing == {"Watchdog"}
