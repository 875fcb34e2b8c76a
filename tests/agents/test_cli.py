"""The command `engage`: help with examples everywhere, and settings that cannot be used are one sentence and exit code 2."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from agents.__main__ import cli
from agents.brokers import EmbeddedBroker
from agents.settings import PREFIX, Settings
from streams.events import TYPES
from streams.kpis import KPIS
from streams.topics import TOPICS

DOCUMENT = Path(__file__).parents[2] / "docs" / "commands.md"


def commands(command: click.Command = cli, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    yield path, command
    if isinstance(command, click.Group):
        for name, child in command.commands.items():
            yield from commands(child, (*path, name))


ALL = dict(commands())


def engage(*arguments: str, **environment: str) -> Result:
    return CliRunner().invoke(cli, arguments, env=environment, prog_name="engage")


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    for name in [name for name in os.environ if name.startswith(PREFIX)]:
        monkeypatch.delenv(name)


@pytest.mark.parametrize("path", ALL, ids=" ".join)
def test_every_command_has_help(path: tuple[str, ...]) -> None:
    result = engage(*path, "--help")
    assert result.exit_code == 0
    assert result.output.startswith("Usage: engage")
    assert ALL[path].help
    assert "Examples:\n    " in result.output


@pytest.mark.parametrize("path", [path for path in ALL if path], ids=" ".join)
def test_every_command_is_documented(path: tuple[str, ...]) -> None:
    assert f"engage {' '.join(path)}" in DOCUMENT.read_text()


@pytest.mark.parametrize("path", [path for path in ALL if path], ids=" ".join)
def test_every_option_is_documented_and_explained(path: tuple[str, ...]) -> None:
    text = DOCUMENT.read_text()
    for parameter in ALL[path].params:
        if isinstance(parameter, click.Option) and not parameter.hidden:
            assert parameter.help
            assert [option for option in parameter.opts if option not in text] == []


def test_starting_the_command_imports_no_more_than_it_must() -> None:
    slow = ("faust", "aiokafka", "uvloop", "aiohttp", "confluent_kafka", "rich", "streams.sites", "agents.tail")
    program = f"import sys, agents.__main__; print([name for name in {slow} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], cwd=DOCUMENT.parents[1], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_version() -> None:
    result = engage("--version")
    assert result.exit_code == 0
    assert result.output.startswith("engage, version ")


@pytest.mark.parametrize(
    "command", [("worker",), ("run",), ("topics", "check"), ("topics", "create"), ("tail",), ("failed", "list"), ("replay", __file__)], ids=" ".join
)
@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("ENGAGE_PARTITIONS", "many", "ENGAGE_PARTITIONS is 'many'; allowed: a whole number"),
        ("ENGAGE_PARTITION", "8", "ENGAGE_PARTITION is not a setting. The nearest one is ENGAGE_PARTITIONS"),
    ],
)
def test_a_bad_setting_is_a_sentence(command: tuple[str, ...], variable: str, value: str, said: str) -> None:
    result = engage(*command, **{variable: value})
    assert result.exit_code == 2
    assert said in result.output
    assert "Traceback" not in result.output


def test_a_bad_sites_file_is_a_sentence(tmp_path: Path) -> None:
    file = tmp_path / "sites.yml"
    file.write_text("sites: {shop: {time_zone: Europe/Atlantis}}")
    result = engage("worker", ENGAGE_SITES=str(file))
    assert result.exit_code == 2
    assert "site shop: time_zone 'Europe/Atlantis' is not known" in result.output


@pytest.mark.parametrize(
    ("command", "variable"),
    [
        (("worker",), "ENGAGE_SITES"),
        (("replay", "--broker", "none", __file__), "ENGAGE_SITES"),
        (("sentiment", "Great, another delay"), "ENGAGE_SITES"),
        (("doctor",), "ENGAGE_SITES"),
        (("collector",), "ENGAGE_COLLECTOR_KEYS"),
        (("collector",), "ENGAGE_COLLECTOR_PLAN"),
        (("failed", "replay", "--reason", "bad_time"), "ENGAGE_COLLECTOR_PLAN"),
    ],
    ids=str,
)
def test_a_file_that_cannot_be_read_is_a_sentence_with_its_name(command: tuple[str, ...], variable: str, tmp_path: Path) -> None:
    file = tmp_path / "file.yml"
    file.write_bytes(b"\xff\xfe")
    result = engage(*command, **{"ENGAGE_COLLECTOR_DEVELOPMENT": "on", "ENGAGE_BROKER": "127.0.0.1:1", variable: str(file)})
    assert result.exit_code == 2
    assert f"{file}: 'utf-8' codec can't decode byte 0xff" in result.output


@pytest.mark.parametrize("command", ["check", "create"])
def test_an_unreachable_broker_is_a_sentence(command: str) -> None:
    result = engage("topics", command, ENGAGE_BROKER="127.0.0.1:1")
    assert result.exit_code == 2
    assert "No Kafka answers (127.0.0.1:1" in result.output


@pytest.mark.parametrize("arguments", [("nonsense",), ("run", "--rate", "0"), ("run", "--replay", "not-there.jsonl"), ("kpis", "--yaml"), ("failed",)])
def test_wrong_usage_is_2(arguments: tuple[str, ...]) -> None:
    assert engage(*arguments).exit_code == 2


def test_topics_are_checked_made_and_found(embedded: EmbeddedBroker, fresh: Settings) -> None:
    environment = {"ENGAGE_BROKER": embedded.address, "ENGAGE_TOPIC_PREFIX": fresh.topic_prefix, "ENGAGE_PARTITIONS": "4"}
    missing = engage("topics", "check", "--json", **environment)
    assert missing.exit_code == 1
    (finding,) = json.loads(missing.output)["findings"]
    assert finding["fatal"]
    assert "engage topics create" in engage("topics", "check", **environment).output
    made = engage("topics", "create", "--json", **environment)
    assert made.exit_code == 0
    assert json.loads(made.output)["created"] == [fresh.topic(topic.name) for topic in TOPICS]
    assert engage("topics", "create", **environment).output == "All topics exist already.\n"
    assert json.loads(engage("topics", "check", "--json", **environment).output) == {"findings": []}
    assert engage("topics", "check", **environment).exit_code == 0


def test_the_schema_is_json_with_every_type() -> None:
    result = engage("events", "schema")
    assert result.exit_code == 0
    assert all(f'"{name}"' in result.output for name in TYPES)
    assert json.loads(result.output)["$schema"]


def test_kpis_lists_the_catalogue() -> None:
    rows = json.loads(engage("kpis", "--json").output)
    assert [row["name"] for row in rows] == [kpi.name for kpi in KPIS]
    assert all(row[field] for row in rows for field in ("question", "formula", "unit", "source", "tag"))
    text = engage("kpis").output
    assert all(f"{kpi.name} ({kpi.unit}, {kpi.tag})" in text for kpi in KPIS)
