"""`engage sentiment`: explains, asks for labels, fits the curve."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from agents.__main__ import cli
from agents.sentiment import read_texts
from agents.settings import PREFIX

SITES = """\
sites:
  shop:
    brands: [Super]
    sentiment: {patterns: {broken: [card reader]}, mute: [rhetq]}
"""


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    for name in [name for name in os.environ if name.startswith(PREFIX)]:
        monkeypatch.delenv(name)


@pytest.fixture
def sites(tmp_path: Path) -> str:
    file = tmp_path / "sites.yml"
    file.write_text(SITES)
    return str(file)


def engage(*arguments: str, answers: str = "", **environment: str) -> Result:
    return CliRunner().invoke(cli, ["sentiment", *arguments], input=answers, env=environment, prog_name="engage")


def test_a_text_is_explained() -> None:
    result = engage("Thanks for nothing, I emailed you 3 times and the app don’t work")
    assert result.exit_code == 0
    for line in (
        "compound    +0.4404",
        "normal form Thanks for nothing, I emailed you 3 times and the app don't work",
        "language    en",
        "matched     noreply    strong    “emailed you 3 times”",
        "score       +4.25     p_negative 0.97",
        "label       negative (overlay): noreply – “emailed you 3 times”, “3 times”; broken – “don't work”; sarcasm – “Thanks for nothing”",
    ):
        assert line in result.output


def test_as_json_by_site_and_from_standard_input(sites: str) -> None:
    told = json.loads(engage("--site", "shop", "--json", "-", answers="Is the Super card reader awake", ENGAGE_SITES=sites).output)
    assert told == {
        "compound": 0.5994, "normal": "Is the @brand card reader awake", "language": "en", "score": 1.0, "label": "negative", "source": "overlay",
        "matches": [{"category": "broken", "role": "strong", "words": "card reader"}], "p_negative": pytest.approx(0.584, abs=1e-3),
        "reasons": [{"category": "broken", "words": ["card reader"]}], "patterns_version": 1,
    }  # fmt: skip
    plain = json.loads(engage("explain", "--json", "Is the Super card reader awake").output)
    assert (plain["label"], plain["matches"]) == ("positive", [])


def test_another_language_and_reviews() -> None:
    assert "language    xx (not scored)\nlabel       unsupported (vader)" in engage("Das Paket ist nicht da und niemand antwortet").output
    assert json.loads(engage("--language", "de", "--json", "ok").output)["score"] is None
    review = "The seat was fine. The crew was kind. The food was good. It was late."
    assert json.loads(engage("--json", "--review", review).output)["score"] < json.loads(engage("--json", review).output)["score"] + 2


def test_a_text_that_is_the_name_of_a_command_is_said_with_explain() -> None:
    assert "normal form label" in engage("explain", "label").output
    assert engage("label").exit_code == 2


def test_a_fault_in_the_sites_file_is_a_sentence(tmp_path: Path) -> None:
    file = tmp_path / "sites.yml"
    file.write_text("sites: {shop: {sentiment: {patterns: {broken: [fine, card ~9 reader]}}}}")
    result = engage("x", ENGAGE_SITES=str(file))
    assert result.exit_code == 2
    assert "site shop: sentiment: patterns: broken: pattern 2 ('card ~9 reader'): '~9' is no gap: ~1 to ~6" in result.output


def test_texts_of_events_and_of_lines() -> None:
    lines = [
        '{"type": "review_posted", "text": "Late"}', '{"type": "survey_answered", "comment": "Fine", "score": 3}', '{"type": "page_viewed", "path": "/"}', "",
        "just a line", '{"broken', '["a", "list"]',
    ]  # fmt: skip
    assert list(read_texts(lines)) == [("Late", True), ("Fine", False), ("just a line", False), ('["a", "list"]', False)]


def test_labels_are_asked_for_appended_and_not_asked_twice(tmp_path: Path) -> None:
    texts, labels = tmp_path / "texts.txt", tmp_path / "labels.jsonl"
    texts.write_text("It never arrived\nAll is well with it\nDas Paket ist nicht da und niemand antwortet\nSkip this one\nAnd the last one is late\n")
    first = engage("label", str(texts), "--to", str(labels), answers="y\nmaybe\nn\ns\nq\n")
    assert first.exit_code == 0, first.output
    assert "Das Paket" not in first.output
    assert f"{labels} has 2 labels" in first.output
    assert [json.loads(line) for line in labels.read_text().splitlines()] == [
        {"text": "It never arrived", "negative": True},
        {"text": "All is well with it", "negative": False},
    ]
    second = engage("label", str(texts), "--to", str(labels), answers="n\ny\n")
    assert "It never arrived" not in second.output
    assert f"{labels} has 4 labels" in second.output


def test_refit_prints_the_lines_for_the_sites_file(tmp_path: Path, sites: str) -> None:
    labels = tmp_path / "labels.jsonl"
    rows = [("It never arrived", n < 20) for n in range(30)] + [("The tent is red", n < 3) for n in range(30)]
    labels.write_text("".join(json.dumps({"text": text, "negative": negative}) + "\n" for text, negative in rows))
    result = engage("refit", str(labels), "--site", "shop", ENGAGE_SITES=sites)
    assert result.exit_code == 0, result.output
    assert "60 labels; mean calibration error 0." in result.output
    lines = result.output[result.output.index("sites:") :]
    told = json.loads(engage("refit", str(labels), "--site", "shop", "--json", ENGAGE_SITES=sites).output)
    assert lines == f"sites:\n  shop:\n    sentiment:\n      p_negative: {{slope: {told['curve']['slope']:g}, intercept: {told['curve']['intercept']:g}}}\n"
    assert told["after"]["error"] < told["before"]["error"]
    assert engage("refit", str(labels)).output.endswith("default:\n  sentiment:\n    p_negative: " + lines[lines.index("{") :])
    file = tmp_path / "new.yml"
    file.write_text(lines)
    assert engage("x", "--site", "shop", ENGAGE_SITES=str(file)).exit_code == 0


@pytest.mark.parametrize(
    ("content", "said"), [('{"text": "x", "negative": true}\n' * 3, "Labels: 3, complaints: 3"), ('\n{"text": 1}\n', "line 2: "), ("nonsense\n", "a line is {")]
)
def test_labels_that_do_not_do_are_told(tmp_path: Path, content: str, said: str) -> None:
    labels = tmp_path / "labels.jsonl"
    labels.write_text(content)
    result = engage("refit", str(labels))
    assert result.exit_code == 2
    assert said in result.output
