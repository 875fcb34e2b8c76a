"""The command `engage`: help with examples everywhere, and settings that cannot be used are one sentence and exit code 2."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from agents.__main__ import cli
from agents.brokers import EmbeddedBroker
from agents.commands.base import Commands, duration
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
    assert f"{file}: This is no UTF-8 (byte 0)." in result.output


@pytest.mark.parametrize("error", [KeyboardInterrupt(), click.Abort()], ids=repr)
def test_ctrl_c_in_any_command_is_130_and_a_sentence(error: BaseException) -> None:
    @click.group(cls=Commands)
    def group() -> None: ...

    @group.command()
    def work() -> None:
        raise error

    done = CliRunner().invoke(group, ["work"])
    assert (done.exit_code, done.stderr) == (130, "\nStopped.\n")


def test_ctrl_c_while_standard_input_is_read(tmp_path: Path) -> None:
    out = tmp_path / "readings.jsonl"
    command = [sys.executable, "-m", "agents", "replay", "--broker", "none", "--readings", str(out), "-"]
    with subprocess.Popen(command, cwd=DOCUMENT.parents[1], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        while not out.exists():
            assert process.poll() is None
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=20)
    assert (process.returncode, errors) == (130, b"\nStopped.\n")


def test_a_file_that_cannot_be_written_is_a_sentence(tmp_path: Path) -> None:
    nowhere = str(tmp_path / "no" / "file")
    texts = tmp_path / "texts"
    texts.write_text("Great, another delay\n")
    for arguments in (
        ("keys", "create", "--site", "shop", "--file", nowhere),
        ("replay", "--broker", "none", "--readings", nowhere, str(texts)),
        ("sentiment", "label", str(texts), "--to", nowhere),
    ):
        result = engage(*arguments)
        assert (result.exit_code, result.stderr) == (2, f"Error: {nowhere}: No such file or directory.\n")


def test_readings_do_not_overwrite_what_they_are_read_from(tmp_path: Path) -> None:
    file, link = tmp_path / "events.jsonl", tmp_path / "link"
    file.write_bytes(b"{}\n")
    link.symlink_to(file)
    result = engage("replay", "--broker", "none", "--readings", str(link), str(file))
    assert result.exit_code == 2
    assert f"--readings would overwrite {link}" in result.stderr
    assert file.read_bytes() == b"{}\n"


def test_a_terminal_without_the_signs_of_a_text_ends_nothing() -> None:
    command = [sys.executable, "-m", "agents", "send", "--dry-run", "--type", "page_viewed", "--site", "acme", "visitor=v→", "path=/", "title=→"]
    done = subprocess.run(command, cwd=DOCUMENT.parents[1], env=os.environ | {"PYTHONIOENCODING": "latin-1"}, capture_output=True, check=True)
    assert b'"visitor":"v\\u2192"' in done.stdout


def test_a_text_that_is_no_utf_8_is_explained_all_the_same() -> None:
    result = CliRunner().invoke(cli, ["sentiment", "-"], input=b"Great, another delay \xff", prog_name="engage")
    assert result.exit_code == 0, result.output
    assert "normal form great, another delay \ufffd" in result.stdout.lower()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("tail", "--type", "page_veiwed"), "There is no type 'page_veiwed'. Did you mean `page_viewed`?"),
        (("tail", "--subject", "42"), "'42' names no subject: write its kind before it, c:42 for a customer, v:42 for a visitor."),
        (("failed", "list", "--reason", "off_pan"), "There is no reason 'off_pan'. Did you mean `off_plan`?"),
        (("failed", "show", "--reason", "zzz"), "There is no reason 'zzz'. There are unsupported_encoding, "),
        (("replay", "--broker", "foo", __file__), "'foo' is no broker; allowed: none, host:port, or several separated by commas."),
        (("simulate", "--rate", "abc"), "'abc' is not a valid number."),
        (("simulate", "--seed", "1.5"), "'1.5' is not a valid integer."),
        (("simulate", "--duration", "abc"), "'abc' is no duration; write for example 45s"),
        (("tail", "--for", "abc"), "'abc' is no duration; write for example 45s"),
        (("send", str(DOCUMENT.parent)), f"'{DOCUMENT.parent}' is a directory."),
    ],
    ids=str,
)
def test_what_cannot_be_meant_is_said_with_what_may(arguments: tuple[str, ...], said: str) -> None:
    result = engage(*arguments)
    assert result.exit_code == 2
    assert said in result.stderr


def test_a_site_that_the_sites_file_does_not_have(tmp_path: Path) -> None:
    file = tmp_path / "sites.yml"
    file.write_text("sites: {shop: {}}")
    wrong = engage("sentiment", "--site", "shoop", "Great", ENGAGE_SITES=str(file))
    assert (wrong.exit_code, wrong.stderr) == (2, f"Error: {file}: There is no site 'shoop'. Did you mean `shop`?\n")
    for right in (("--site", "shop"), ()):
        assert engage("sentiment", *right, "Great", ENGAGE_SITES=str(file)).exit_code == 0
    assert engage("sentiment", "--site", "shoop", "Great").exit_code == 0, "without a file all sites are alike"


@pytest.mark.parametrize(("text", "length"), [("10s", 10_000), ("2", 2_000), ("0.5", 500), ("250ms", 250), ("1h30m", 5_400_000), ("0", 0)])
def test_lengths_of_time(text: str, length: int) -> None:
    assert duration(text) == length


@pytest.mark.parametrize("command", ["check", "create"])
def test_an_unreachable_broker_is_a_sentence(command: str) -> None:
    result = engage("topics", command, ENGAGE_BROKER="127.0.0.1:1")
    assert result.exit_code == 2
    assert result.stderr.startswith("Error: No Kafka answers (127.0.0.1:1: Connection refused). Start one")


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
