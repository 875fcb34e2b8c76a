"""`engage rules replay`: the same alerts from a file and from Kafka, with how long and on what; a chart; exit codes that scripts can use."""

import asyncio
import gzip
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner, Result

from agents import rules
from agents.__main__ import cli
from agents.reading import open_log
from agents.replay import publish
from agents.settings import PREFIX, Settings
from tests.alerts.scenes import SURGE, reviews, views
from tests.streams.records import T0, D, M


def engage(*arguments: str, **environment: str) -> Result:
    return CliRunner().invoke(cli, arguments, env=environment, prog_name="engage")


def variables(settings: Settings) -> dict[str, str]:
    return {f"{PREFIX}{name.upper()}": str(getattr(settings, name)) for name in ("broker", "app_id", "topic_prefix", "partitions")}


@pytest.fixture(scope="module")
def past(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A surge of bad reviews from minute 10 to 19 at `shop`, page views of `blog` beside it, then an hour of silence and a last view."""
    wires: list[dict[str, Any]] = []
    for minute in range(40):
        bad = minute in range(10, 20)
        wires += reviews(T0 + minute * M, 8 if bad else 1, 2 if bad else 9)
        wires += views(T0 + minute * M, 3, site="blog")
    wires += views(T0 + 100 * M, 1, site="blog")
    file = tmp_path_factory.mktemp("past") / "past.jsonl.gz"
    file.write_bytes(gzip.compress(b"\n".join(map(msgspec.json.encode, wires))))
    return file


@pytest.fixture(scope="module")
def surge(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("rules") / "surge.yml"
    file.write_text(SURGE)
    return file


def replayed(*arguments: str, **environment: str) -> Any:
    done = engage("rules", "replay", "--json", *arguments, **environment)
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def test_a_file_tells_when_how_long_and_on_what(past: Path, surge: Path) -> None:
    found = replayed(str(past), "--rules", str(surge))
    [rule] = found["rules"]
    [alert] = rule["alerts"]
    assert (found["fired"], rule["rule"], rule["fired"], rule["firing_seconds"]) == (1, "Surge", 1, 11 * 60)
    assert (alert["site"], alert["started"], alert["ended"]) == ("shop", "2026-03-02T00:13:00Z", "2026-03-02T00:24:00Z")
    assert (alert["value"], alert["usual"], alert["n"], alert["numerator"]) == (0.52, 0.1, 50, 26)
    points = dict(alert["points"])
    assert (points[T0 + 10 * M], points[T0 + 15 * M], points[T0 + 30 * M]) == (0.1, 0.8, 0.1)
    assert found["sites"] == ["blog", "shop"]
    assert (found["accounting"]["received"], found["accounting"]["unaccounted"]) == (521, 0)


def test_any_number_of_partitions_gives_the_same_alerts(past: Path, surge: Path) -> None:
    one, seven = (replayed(str(past), "--rules", str(surge), "--partitions", number)["rules"] for number in ("1", "7"))
    assert one == seven


def test_people_see_a_chart_with_the_threshold(past: Path, surge: Path) -> None:
    done = engage("rules", "replay", str(past), "--rules", str(surge))
    assert done.exit_code == 0
    assert done.stdout.startswith("Surge would have fired once\n\n  2026-03-02 00:13 UTC  for 11m  shop  negative_share 52 %, usual 10 %, n 50  (above 50 %")
    chart = [line for line in done.stdout.splitlines() if "│" in line]
    assert chart[0].strip().startswith("80 % │")
    [threshold] = [line for line in chart if line.strip().startswith("50 % │")]
    assert "┈▂█" in threshold
    [marks] = [line for line in done.stdout.splitlines() if "└" in line]
    assert marks.index("▽") - marks.index("▲") == 11, "one column a minute"
    assert "1 rule would have fired once from 2026-03-01 23:59 UTC to 2026-03-02 01:41 UTC (2 sites, 521 events" in done.stdout


def test_a_silence_is_judged_minute_by_minute_although_nothing_comes(past: Path, tmp_path: Path) -> None:
    quiet = tmp_path / "quiet.yml"
    quiet.write_text(
        "groups: [{name: g, rules: [{alert: Quiet, kpi: page_views, absent: 30m, least: 20, labels: {severity: page}, annotations: {summary: '{value}'}}]}]"
    )
    [rule] = replayed(str(past), "--rules", str(quiet))["rules"]
    assert [(alert["site"], alert["started"], alert["ended"]) for alert in rule["alerts"]] == [("blog", "2026-03-02T01:10:00Z", "2026-03-02T01:41:00Z")]


def test_of_one_site_only_its_events_are_read(past: Path, surge: Path) -> None:
    found = replayed(str(past), "--rules", str(surge), "--site", "blog")
    assert (found["sites"], found["fired"], found["accounting"]["received"]) == (["blog"], 0, 121)


def test_what_lies_before_the_beginning_is_learnt_from_and_not_told(past: Path, surge: Path) -> None:
    later = replayed(str(past), "--rules", str(surge), "--from", "2026-03-02T00:14")
    assert (later["from"], later["fired"], later["accounting"]["received"]) == ("2026-03-02T00:14:00Z", 0, 521)
    sooner = replayed(str(past), "--rules", str(surge), "--from", "2026-03-02T00:10", "--to", "2026-03-02T00:16")
    [alert] = sooner["rules"][0]["alerts"]
    assert (alert["usual"], alert["ended"], alert["seconds"]) == (0.1, None, 3 * 60), "it still fires where the reading ends"
    assert sooner["accounting"]["received"] == 16 * 13


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["--fail-if-fires"], 1, "would have fired once"),
        (["--fail-if-fires", "--to", "2026-03-02T00:05"], 0, "would have fired never"),
        (["--rule", "Surge", "--alerts", "0"], 0, "1 rule would have fired once"),
        (["--site", "nobody"], 0, "No event was read, so nothing was judged."),
        (["--rule", "Nope"], 2, "there is no rule 'Nope'; rules: Surge"),
        (["--from", "yesterday"], 2, "'yesterday' is no time; write 2026-03-02"),
        (["website"], 2, "files or topics, not both"),
        (["missing.jsonl"], 2, "There is no file 'missing.jsonl'; topics are website, social, reviews, customers"),
    ],
)
def test_exit_codes(past: Path, surge: Path, arguments: list[str], code: int, says: str) -> None:
    done = engage("rules", "replay", str(past), "--rules", str(surge), *arguments)
    assert (done.exit_code, says in done.output) == (code, True), done.output


def test_a_file_that_breaks_off_and_rules_that_cannot_be_used_are_sentences(past: Path, surge: Path, tmp_path: Path) -> None:
    torn = tmp_path / "torn.jsonl.gz"
    torn.write_bytes(past.read_bytes()[:-100])
    done = engage("rules", "replay", str(torn), "--rules", str(surge))
    assert (done.exit_code, "cannot be read to its end" in done.output) == (2, True)
    broken = tmp_path / "broken.yml"
    broken.write_text(SURGE.replace("negative_share", "negativity"))
    done = engage("rules", "replay", str(past), "--rules", str(broken))
    assert (done.exit_code, "'negativity' is not a measure" in done.output) == (2, True)


def test_input_that_is_not_in_order_is_told(past: Path, surge: Path, tmp_path: Path) -> None:
    lines = gzip.decompress(past.read_bytes()).splitlines()
    shuffled = tmp_path / "shuffled.jsonl"
    shuffled.write_bytes(b"\n".join(msgspec.json.encode(msgspec.json.decode(line) | {"at": T0 + D}) if b"v1772409660000-0" in line else line for line in lines))
    done = engage("rules", "replay", str(shuffled), "--rules", str(surge), "--partitions", "1")
    assert "came too late to be counted in full. The input must be in the order in which it was received." in done.stdout


def test_standard_input_and_progress_elsewhere_than_on_the_answer(past: Path, surge: Path) -> None:
    lines = gzip.decompress(past.read_bytes())
    done = subprocess.run(
        [sys.executable, "-m", "agents", "rules", "replay", "-", "--rules", str(surge), "--json"], input=lines, capture_output=True, check=True
    )
    assert json.loads(done.stdout)["fired"] == 1
    assert done.stderr == b""


# --- topics ----------------------------------------------------------------------------------------------------------


async def test_topics_tell_what_the_file_told(embedded_topics: Settings, past: Path, surge: Path) -> None:
    await publish(embedded_topics, [str(past)])
    from_file = replayed(str(past), "--rules", str(surge))
    from_topics = await asyncio.to_thread(replayed, "--rules", str(surge), **variables(embedded_topics))
    assert from_topics["rules"] == from_file["rules"]
    assert from_topics["accounting"] == from_file["accounting"]
    of_one = await asyncio.to_thread(replayed, "website", "--rules", str(surge), **variables(embedded_topics))
    assert (of_one["fired"], of_one["accounting"]["received"]) == (0, 121)
    until = await asyncio.to_thread(replayed, "--rules", str(surge), "--to", "2026-03-02T00:16", **variables(embedded_topics))
    assert (until["fired"], until["accounting"]["received"]) == (1, 16 * 13)


async def test_partitions_are_merged_in_order_and_read_in_portions(embedded_topics: Settings, past: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    await publish(embedded_topics, [str(past)])
    monkeypatch.setattr(rules, "CHUNK", 7)
    async with open_log(embedded_topics, "website", "reviews") as log:
        found = [record async for records in rules.in_order(log, await log.begins(), await log.ends()) for record in records]
    assert len(found) == 521
    assert list(map(rules.receipt_of, found)) == sorted(map(rules.receipt_of, found))
    assert len({(record.topic, record.partition) for record in found}) > 2


def test_a_broker_that_is_not_there_is_a_sentence(surge: Path) -> None:
    done = engage("rules", "replay", "--rules", str(surge), ENGAGE_BROKER="127.0.0.1:1")
    assert (done.exit_code, "No Kafka answers" in done.output) == (2, True), done.output
