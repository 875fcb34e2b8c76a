"""A fuzzer of HTTP interfaces against the door and its own document: whatever comes, nothing breaks, and answers are those of the document."""

import json
import os
import subprocess
from pathlib import Path
from urllib.request import urlopen

import pytest
from msgspec.structs import replace
from prometheus_client.parser import text_string_to_metric_families

from agents.settings import Settings
from benchmarks.commands import Command, write_keys
from collector.routes import DEVELOPMENT, ROUTES
from tests.clients import install
from tests.conftest import missing

pytestmark = pytest.mark.slow

SECONDS = 12
CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance,response_headers_conformance"
TOTALS = ("accepted", "rejected", "faults")


def test_no_request_breaks_the_door(embedded_topics: Settings, tmp_path: Path):
    try:
        fuzzer = install.python().with_name("schemathesis")
    except install.UnavailableError as error:
        missing(error)
    (key,) = write_keys(tmp_path / "keys.yml", [{"name": "fuzz", "kind": "server", "site": "shop", "rate": 1e6}])
    settings = replace(
        embedded_topics, collector_port=0, collector_keys=str(tmp_path / "keys.yml"), collector_spool=str(tmp_path / "spool"),
        collector_address_rate=1e6, collector_development=True,
    )  # fmt: skip
    with Command("collector", settings, tmp_path) as collector:
        url = collector.url()
        report = tmp_path / "report.json"
        options = [f"--max-time={SECONDS}", "--phases=examples,coverage,fuzzing", f"--checks={CHECKS}", "--continue-on-failure", "--no-shrink"]
        options += ["--generation-database=none", f"--report-json-path={report}", f"--header=Authorization: Bearer {key}", "--suppress-health-check=all"]
        options += ["--seed=1"] if os.environ.get("CI") else []
        done = subprocess.run([fuzzer, "run", f"{url}/openapi.json", *options], cwd=tmp_path, capture_output=True, text=True, timeout=180, check=False)
        assert report.exists(), done.stdout[-4000:]
        found = json.loads(report.read_text())
        assert found["failures"] == [], done.stdout[-8000:]
        # CPython 3.11 sometimes fails inside the fuzzer, when it describes its own large strategies.
        assert [error for error in found["errors"] if "AST constructor" not in json.dumps(error)] == [], done.stdout[-8000:]
        assert found["operations"]["tested"] >= len(ROUTES) + len(DEVELOPMENT) - 1  # where it has the document from it does not ask again
        assert found["test_cases"]["generated"] > 300
        with urlopen(f"{url}/metrics", timeout=5) as answer:
            samples = [sample for family in text_string_to_metric_families(answer.read().decode()) for sample in family.samples]
        total = {name: sum(sample.value for sample in samples if sample.name == f"engagement_collector_{name}_total") for name in TOTALS}
        assert min(total.values()) > 20, total
        assert collector.terminate() == 0
        assert "Traceback" not in collector.log
