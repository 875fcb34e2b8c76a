"""`engage rules`."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from agents.commands.base import Whole, ask, examples, finish, json_option, print_json, read_settings, sentence
from streams.topics import EVENT_TOPICS

if TYPE_CHECKING:
    from agents.rules import Tested


@click.group(epilog=examples("engage rules check", "engage rules test rules/", "engage rules replay march.jsonl.gz"))
def rules() -> None:
    """The rules that alerts follow: whether they can be used, do what they should, and what they would have said of the past."""


@rules.command(epilog=examples("engage rules check", "engage rules check rules/ more.yml --json"))
@click.argument("paths", nargs=-1, type=click.Path(exists=True, path_type=Path))
@json_option()
def check(paths: tuple[Path, ...], as_json: bool) -> None:
    """Say what is wrong with rule files and directories (default: those of ENGAGE_RULES, else the product's own); exit code 1 if anything is."""
    from agents.alerting import rule_paths
    from agents.files import read_sites
    from alerts.detection import unfed
    from alerts.rule_files import RulesError, read_rules

    settings = read_settings()
    faults, number = [], 0
    try:
        in_force = read_rules(paths or rule_paths(settings.rules))
        faults, number = list(unfed(in_force, read_sites(settings))), len(in_force.rules)
    except RulesError as error:
        faults = [str(fault) for fault in error.faults]
    if as_json:
        print_json({"rules": number, "faults": faults})
    else:
        click.echo("\n".join(faults) or (f"All rules can be used ({number})." if number else "There is no rule: nothing will be told."))
    finish(1 if faults else 0)


@rules.command(epilog=examples("engage rules test", "engage rules test rules/ --only night", "engage rules test rules/shop_test.yml --json"))
@click.argument("paths", nargs=-1, type=click.Path(exists=True, path_type=Path))
@click.option("--only", default="", metavar="TEXT", help="Only tests with this in their name.")
@json_option()
def test(paths: tuple[Path, ...], only: str, as_json: bool) -> None:
    """Run the tests beside rule files: those of shop.yml are in shop_test.yml.

    PATHS are files and directories (default: the rules of ENGAGE_RULES, else the product's own). Tests run in virtual time through the same code as a
    worker. Exit code 1 if a test fails, 2 if there is none or a file cannot be used.
    """
    from agents import rules as trying
    from agents.alerting import rule_paths

    def say(tested: "Tested") -> None:
        if not as_json:
            click.echo("\n".join(trying.tested_lines(tested)))

    report = trying.run_tests(paths or rule_paths(read_settings().rules), only, say)
    click.echo(trying.encoded(report.fields()) if as_json else "\n".join(trying.report_lines(report)))
    finish(report.exit_code)


@rules.command(
    epilog=examples(
        "engage rules replay march.jsonl.gz",
        "engage rules replay --rules new.yml --rule TrafficDrop march.jsonl.gz",
        "engage rules replay --site shop --from -7d",
        "engage rules replay reviews social --json > would-have-fired.json",
    ),
)
@click.argument("sources", nargs=-1, metavar="[FILE|TOPIC]...")
@click.option("--rules", "paths", multiple=True, type=click.Path(exists=True, path_type=Path), help="File or directory of rules (default: those in force).")
@click.option("--rule", "names", multiple=True, metavar="NAME", help="Only this rule; may be given several times.")
@click.option("--site", help="Only this site.")
@click.option("--from", "begin", metavar="TIME", help="Say nothing of what fires before: 2026-03-02, 2026-03-02T10:00, or -7d for a week ago.")
@click.option("--to", "end", metavar="TIME", help="Do not read what was received from then on.")
@click.option("--partitions", type=Whole(1, 1024), help="Partitions for files (default: those of the settings); 1 is fastest.")
@click.option("--alerts", "shown", type=Whole(0), default=10, show_default=True, help="Show at most so many alerts of each rule with a chart.")
@click.option("--fail-if-fires", is_flag=True, help="Exit code 1 if anything would have fired.")
@json_option()
def replay(
    sources: tuple[str, ...], paths: tuple[Path, ...], names: tuple[str, ...], site: str | None, begin: str | None, end: str | None, partitions: int | None,
    shown: int, fail_if_fires: bool, as_json: bool,
) -> None:  # fmt: skip
    """Say what rules would have said of the past: when they would have fired, how long, on what, with a chart of the measure.

    Reads FILES of events (JSON lines in the order in which they were received, also .gz; `-` is standard input), or event topics of Kafka as far as they
    go now (without any: all four). Nobody is told of anything. What comes before --from is read too: rules compare with it and learn from it.
    """
    from agents import rules as trying
    from agents.alerting import rule_paths
    from agents.commands.progress import progress
    from agents.files import read_sites
    from agents.replay import STDIN, Lines
    from alerts.rule_files import RulesError, read_rules

    settings = read_settings()
    sites = read_sites(settings)
    topics = [source for source in sources if source in EVENT_TOPICS]
    if topics and len(topics) < len(sources):
        raise click.UsageError("Give files or topics, not both.")
    if missing := [source for source in sources if source not in EVENT_TOPICS and source != STDIN and not Path(source).is_file()]:
        raise click.UsageError(f"There is no file {missing[0]!r}; topics are {', '.join(EVENT_TOPICS)}.")
    with sentence(RulesError, ValueError):
        in_force = trying.select_rules(read_rules(paths or rule_paths(settings.rules)), names)
        wanted = trying.wanted(site, begin, end)
    with progress() as show:
        if sources and not topics:
            found = trying.replay_files(Lines(sources), in_force, sites, partitions or settings.partitions, wanted, show)
        else:
            found = ask(trying.replay_topics(settings, topics or EVENT_TOPICS, in_force, sites, wanted, show))
    click.echo(trying.encoded(found.fields()) if as_json else "\n".join(trying.replayed_lines(found, shown)))
    finish(1 if fail_if_fires and found.backtest.incidents else 0)
