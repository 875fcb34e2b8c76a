"""Rules of a running worker: read at start, read again when they change, and what /metrics says of them."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from agents.alerting import Alerting, rule_paths
from agents.settings import Settings, SettingsError
from alerts.rule_files import DEFAULT_RULES
from streams.sites import Site, Sites

RULE = """
groups:
  - name: g
    rules:
      - alert: {name}
        kpi: page_views
        window: 1h
        above: 10
        labels: {{severity: page}}
        annotations: {{summary: "{{value}} views"}}
"""


def alerting(rules: str | None = None) -> Alerting:
    states: list[object] = []
    made = Alerting(Settings(rules=rules), Sites(), lambda: states)  # type: ignore[arg-type, return-value]
    states.append(made.new_state(0))
    return made


def test_the_rules_of_the_product_are_in_force_where_none_are_named() -> None:
    assert rule_paths(None) == [DEFAULT_RULES]
    assert len(alerting().rules.rules) > 10
    assert alerting("none").rules.rules == ()


def test_a_worker_does_not_start_with_faulty_rules(tmp_path: Path) -> None:
    file = tmp_path / "rules.yml"
    file.write_text(RULE.format(name="Busy").replace("kpi: page_views", "kpi: page_veiws"))
    with pytest.raises(SettingsError, match=r"ENGAGE_RULES.*rules\.yml.*Busy.*page_veiws"):
        alerting(str(file))


def test_changed_rules_come_in_force_and_faulty_ones_do_not(tmp_path: Path) -> None:
    file = tmp_path / "rules.yml"
    file.write_text(RULE.format(name="Busy"))
    running = alerting(str(file))
    (watch,) = running.watches()
    for number, (text, names, faults) in enumerate(
        (
            (RULE.format(name="Busier"), ["Busier"], 0),
            ("groups: 7", ["Busier"], 1),
            (RULE.format(name="Calm"), ["Calm"], 0),
        )
    ):
        file.write_text(text)
        os.utime(file, (number + 1, number + 1))
        running.look_at_rules()
        assert [rule.name for rule in watch.rules.rules] == names
        assert len(running.faults) == faults


def test_a_detector_that_no_outcome_reaches_is_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "rules.yml"
    file.write_text(RULE.format(name="Slow").replace("page_views", "response_in_target_share").replace("window: 1h\n        above: 10", "detect: ratio_fall"))
    Alerting(Settings(rules=str(file)), Sites({"shop": Site(response_target=2880)}), list)
    (warning,) = caplog.messages
    assert warning.startswith("Slow, site shop: ")


def test_every_metric_is_clean_and_documented() -> None:
    registry = CollectorRegistry()
    registry.register(alerting())
    text = generate_latest(registry).decode()
    page = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text()
    names = set(re.findall(r"^# TYPE (\w+)", text, re.M))
    assert {"engagement_rules", "engagement_alert_active", "engagement_outbox"} <= names
    assert [name for name in sorted(names) if f"`{name}`" not in page] == []
    promtool = shutil.which("promtool")
    if promtool is None:
        message = "promtool is missing: install Debian's package prometheus"
        pytest.fail(message) if os.environ.get("CI") else pytest.skip(message)
    checked = subprocess.run([promtool, "check", "metrics"], input=text, capture_output=True, text=True, check=False)
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, "")
