"""The documentation names what the code has: measures, events, settings, reasons, flags, commands."""

import re
from pathlib import Path

import pytest

from agents.settings import SETTINGS
from streams import handbook
from streams.admission import FLAGS, REFUSALS
from streams.events import NAMES, Reason
from streams.kpis import KPIS

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"


def page(name: str) -> str:
    return (DOCS / name).read_text()


def test_the_measures_page_is_current():
    assert page("measures.md") == handbook.page(), "python -m streams.handbook > docs/measures.md"


def test_every_measure_has_a_section():
    assert re.findall(r"^### `(\w+)`$", page("measures.md"), re.M) == [kpi.name for kpi in KPIS]


@pytest.mark.parametrize("name", NAMES.values())
def test_every_event_type_is_documented(name):
    assert re.search(rf"^### `{name}`", page("events.md"), re.M)


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.name)
def test_every_setting_is_documented(setting):
    for variable in setting.variables:
        assert f"`{variable}`" in page("brokers.md")


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_is_documented(reason):
    assert f"| `{reason}` |" in page("events.md")


@pytest.mark.parametrize("name", [*FLAGS, *REFUSALS])
def test_every_flag_and_refusal_is_documented(name):
    assert f"| `{name}` |" in page("measures.md")


def test_every_command_is_documented():
    commands = DOCS / "commands.md"
    if not commands.exists():
        pytest.skip("docs/commands.md is not written yet")
    from agents.__main__ import cli

    headings = "\n".join(re.findall(r"^## .*", commands.read_text(), re.M))
    assert [name for name in cli.commands if f"engage {name}" not in headings] == []


def test_links_between_pages_lead_somewhere():
    for path in DOCS.glob("*.md"):
        for target in re.findall(r"\]\((?!https?:|#|mailto:)([^)#\s]+)", path.read_text()):
            assert (path.parent / target).exists(), f"{path.name}: {target}"
