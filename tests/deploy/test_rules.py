"""Prometheus' and Alertmanager's own tools, and what they cannot know: runbooks, severities, metrics that exist."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from agents.settings import Settings
from streams.labels import LABELS_KEPT

ROOT = Path(__file__).parents[2]
RULE_FILES = sorted((ROOT / "deploy/prometheus/rules").glob("*.yml"))
RULE_TESTS = sorted((ROOT / "deploy/prometheus/tests").glob("*.yml"))
RULES: list[dict[str, Any]] = [rule for file in RULE_FILES for group in yaml.safe_load(file.read_text())["groups"] for rule in group["rules"]]
ALERTMANAGER = "deploy/alertmanager/alertmanager.yml"

each_rule = pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])


def test_the_configuration_of_prometheus_is_valid(run: Callable[..., str]) -> None:
    assert f"{len(RULE_FILES)} rule files found" in run("promtool", "check", "config", "deploy/prometheus/prometheus.yml")


def test_rules_pass_the_lint(run: Callable[..., str]) -> None:
    run("promtool", "check", "rules", "--lint=all", "--lint-fatal", *map(str, RULE_FILES))


@pytest.mark.parametrize("file", RULE_TESTS, ids=lambda file: file.stem)
def test_rules_fire_when_they_should_and_only_then(run: Callable[..., str], file: Path) -> None:
    assert "SUCCESS" in run("promtool", "test", "rules", str(file))


@each_rule
def test_every_rule_has_a_test(rule: dict[str, Any]) -> None:
    assert any(rule["alert"] in file.read_text() for file in RULE_TESTS)


@each_rule
def test_every_rule_says_how_bad_it_is_and_what_to_do(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in {"page", "ticket", "info", "none"}
    assert rule["labels"]["service"] == "engagement"
    assert len(rule["annotations"]["summary"]) <= 120
    page, _, anchor = rule["annotations"]["runbook_url"].partition("#")
    assert anchor == rule["alert"].lower()
    assert re.search(rf"^### {rule['alert']}$", (ROOT / page).read_text(), re.M)


@each_rule
def test_rules_ask_for_metrics_that_are_documented(rule: dict[str, Any]) -> None:
    documented = (ROOT / "docs/metrics.md").read_text() + (ROOT / "docs/collector.md").read_text()
    for name in re.findall(r"engagement_\w+", rule["expr"]):
        assert f"`{name}`" in documented


def test_rules_judge_by_the_limits_of_the_product() -> None:
    judged = {rule["alert"]: rule["expr"] for rule in RULES}
    assert judged["EngagementLabelsFull"].endswith(f">= {LABELS_KEPT}")
    assert judged["EngagementLag"].endswith(f"> {Settings().max_lag}")


def test_the_configuration_of_alertmanager_is_valid(run: Callable[..., str]) -> None:
    assert "SUCCESS" in run("amtool", "check-config", ALERTMANAGER)


@pytest.mark.parametrize(
    ("labels", "receiver"),
    [
        ({"alertname": "EngagementLag", "severity": "page", "domain": "pipeline"}, "webhook"),
        ({"alertname": "NegativeSentimentSurge", "severity": "ticket", "site": "shop"}, "webhook"),
        ({"alertname": "EngagementLabelsFull", "severity": "info"}, "nobody"),
        ({"alertname": "Watchdog", "severity": "none"}, "heartbeat"),
        ({"alertname": "Unknown"}, "webhook"),
    ],
    ids=lambda value: value if isinstance(value, str) else value["alertname"],
)
def test_alerts_reach_their_receiver(run: Callable[..., str], labels: dict[str, str], receiver: str) -> None:
    pairs = [f"{name}={value}" for name, value in labels.items()]
    assert run("amtool", "config", "routes", "test", "--config.file", ALERTMANAGER, *pairs).strip() == receiver


def test_every_alert_has_a_route_of_its_severity() -> None:
    route = yaml.safe_load((ROOT / ALERTMANAGER).read_text())["route"]
    matched = {matcher for child in route["routes"] for matcher in child["matchers"]}
    assert {'severity="ticket"', 'severity="info"', 'alertname="Watchdog"'} == matched  # page: the route itself
    assert route["group_by"] == ["alertname", "site"]
