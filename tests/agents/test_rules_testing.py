"""`engage rules test`: one line per test, a difference that can be read, and exit codes for scripts."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from agents.__main__ import cli
from tests.alerts.scenes import QUIET, SURGE

PASSES = """
tests:
  - name: a surge fires
    series: [{kpi: negative_share, values: '1/10x9 8/10x9'}]
    expect: [{at: 13m, alert: Surge, firing: [{value: 0.52}]}]
  - name: good texts
    series: [{kpi: negative_share, values: '1/10x29'}]
    never: all
"""
FAILS = PASSES.replace("at: 13m", "at: 12m")


def engage(*arguments: str, **environment: str) -> Result:
    return CliRunner().invoke(cli, arguments, env=environment, prog_name="engage")


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    (tmp_path / "surge.yml").write_text(SURGE)
    (tmp_path / "surge_test.yml").write_text(PASSES)
    return tmp_path


def test_tests_that_pass_are_a_line_each(rules: Path) -> None:
    done = engage("rules", "test", str(rules))
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    assert [line.rpartition(" (")[0] for line in lines] == ["ok    surge_test.yml: a surge fires", "ok    surge_test.yml: good texts", "2 passed, 0 failed"]


def test_a_file_of_rules_and_the_setting_stand_for_the_tests_beside_them(rules: Path) -> None:
    for done in (engage("rules", "test", str(rules / "surge.yml")), engage("rules", "test", ENGAGE_RULES=str(rules))):
        assert (done.exit_code, "2 passed, 0 failed" in done.stdout) == (0, True)


def test_one_that_fails_says_what_was_expected_what_was_found_and_what_the_rule_saw(rules: Path) -> None:
    (rules / "surge_test.yml").write_text(FAILS)
    done = engage("rules", "test", str(rules))
    assert done.exit_code == 1
    lines = done.stdout.splitlines()
    assert lines[0].startswith("FAIL  surge_test.yml: a surge fires (")
    assert lines[1:5] == [
        "      at 12m (2026-03-02 00:12 UTC), Surge",
        "      - fires",
        "      + nothing fires",
        "        shop, all: negative_share is 38 % (n 50); the rule asks for above 50 %, clears at 30 %",
    ]
    assert lines[-1].startswith("1 passed, 1 failed")


def test_only_some(rules: Path) -> None:
    (rules / "surge_test.yml").write_text(FAILS)
    assert engage("rules", "test", str(rules), "--only", "GOOD").exit_code == 0
    done = engage("rules", "test", str(rules), "--only", "bad")
    assert (done.exit_code, "no test has 'bad' in its name" in done.stdout) == (2, True)


def test_what_nobody_tests_is_named(rules: Path) -> None:
    (rules / "quiet.yml").write_text(QUIET)
    (rules / "surge_test.yml").write_text("rule_files: [surge.yml, quiet.yml]" + PASSES.replace("never: all", "never: [Surge]"))
    assert "Not tested: Quiet (firing and silence).\n" in engage("rules", "test", str(rules)).stdout


def test_for_programs(rules: Path) -> None:
    (rules / "surge_test.yml").write_text(FAILS)
    done = engage("rules", "test", str(rules), "--json")
    found = json.loads(done.stdout)
    assert (done.exit_code, found["exit_code"], found["passed"], found["failed"], found["faults"]) == (1, 1, 1, 1, [])
    assert found["coverage"] == {"Surge": {"fires": True, "silent": True}}
    [failed, _] = found["tests"]
    [failure] = failed["failures"]
    assert (failed["name"], failed["ok"]) == ("a surge fires", False)
    assert (failure["at"], failure["after_seconds"], failure["alert"], failure["found"]) == ("2026-03-02T00:12:00Z", 720, "Surge", ["nothing fires"])


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (PASSES.replace("expect:", "expects:"), "surge_test.yml: a surge fires: Object contains unknown field `expects`; fields: name, start"),
        (PASSES.replace("alert: Surge", "alert: Serge"), "surge_test.yml: a surge fires: expect 1: alert: 'Serge' is no rule of these files; rules: Surge"),
    ],
)
def test_files_that_cannot_be_used_run_nothing(rules: Path, content: str, says: str) -> None:
    (rules / "surge_test.yml").write_text(content)
    done = engage("rules", "test", str(rules))
    assert (done.exit_code, says in done.stdout, "1 fault; no test was run." in done.stdout) == (2, True, True), done.output
    [fault] = json.loads(engage("rules", "test", str(rules), "--json").stdout)["faults"]
    assert fault["test"] == "a surge fires"


def test_rules_without_tests_are_told(rules: Path) -> None:
    (rules / "surge_test.yml").unlink()
    done = engage("rules", "test", str(rules))
    assert (done.exit_code, "there are no tests here: those of shop.yml are in shop_test.yml beside it" in done.stdout) == (2, True)


def test_tests_are_no_rules(rules: Path) -> None:
    done = engage("rules", "check", str(rules))
    assert (done.exit_code, done.stdout) == (0, "All rules can be used (1).\n")
