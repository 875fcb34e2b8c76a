"""`engage sentiment`."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from agents.commands.base import Sentence, examples, json_option, need, print_json, read_settings, sentence

if TYPE_CHECKING:
    from streams.sites import Site


class ExplainOrCommand(click.Group):
    """`engage sentiment TEXT` explains the text, unless it is the name of a command."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands and args[0] not in ctx.help_option_names:
            args = ["explain", *args]  # options may come before the text
        return super().parse_args(ctx, args)


@click.group(
    cls=ExplainOrCommand,
    epilog=examples('engage sentiment "Great, another delay"', "engage sentiment label reviews.jsonl --to labels.jsonl", "engage sentiment refit labels.jsonl"),
)
def sentiment() -> None:
    """Say what is made of a text and why; label texts, and fit the probability to the labels."""


_site = click.option("--site", default="default", show_default=True, help="Judge as this site of ENGAGE_SITES does: its names, patterns and numbers.")


def _named(site: str) -> "Site":
    from agents.files import read_sites

    settings = read_settings()
    sites = read_sites(settings)
    if settings.sites is not None and site != "default":  # a site that is not named there has the defaults, but nobody asks for those by its name
        try:
            need(site, sites.named, "site")
        except ValueError as error:
            raise Sentence(f"{settings.sites}: {error}") from None
    return sites[site]


@sentiment.command(
    epilog=examples(
        'engage sentiment "Great, another delay"',
        'engage sentiment --site shop --review "Nice room. Nobody answers."',
        "engage sentiment --json - < text.txt",
    ),
)
@click.argument("text")
@_site
@click.option("--language", help="The language tag that the source states (default: it is detected).")
@click.option("--review", is_flag=True, help="Judge it as a review: sentence by sentence.")
@json_option()
def explain(text: str, site: str, language: str | None, review: bool, as_json: bool) -> None:
    """Explain one text (`-`: standard input): its standard score, normal form, language, the patterns found with their words, score and label."""
    from agents import sentiment as texts

    if text == "-":
        text = click.get_text_stream("stdin", encoding="utf-8", errors="replace").read()
    explained = texts.explain(text, _named(site), language, review=review)
    if as_json:
        print_json(texts.as_json(explained))
    else:
        click.echo(texts.as_text(explained))


@sentiment.command(epilog=examples("engage sentiment label reviews.jsonl --to labels.jsonl", "engage sentiment label tweets.txt --to labels.jsonl --site shop"))
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--to", "labels", type=click.Path(dir_okay=False, path_type=Path), required=True, help="The file of labels; new ones are appended.")
@_site
def label(file: Path, labels: Path, site: str) -> None:
    """Show the texts of a file (events as JSON lines, or a text per line) one by one and ask: is it a complaint?

    What has a label already is not asked again, so you can go on where you stopped. About 50 labels are enough for `refit`; take texts as they come.
    """
    from agents import sentiment as texts

    of_site = _named(site)
    answers = click.Choice(["y", "n", "s", "q"])

    def ask(question: str) -> str:
        return str(click.prompt(question, type=answers, show_choices=False))

    with sentence(texts.LabelsError), file.open(encoding="utf-8", errors="replace") as lines:
        known = texts.label_texts(texts.read_texts(lines), labels, of_site, ask, click.echo)
    click.echo(f"{labels} has {known} label{'s' if known != 1 else ''}")


@sentiment.command(epilog=examples("engage sentiment refit labels.jsonl", "engage sentiment refit labels.jsonl --site shop --json"))
@click.argument("labels", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@_site
@json_option()
def refit(labels: Path, site: str, as_json: bool) -> None:
    """Fit the two numbers of p_negative to at least 50 labels, and print the lines for the sites file with the calibration before and after."""
    from agents import sentiment as texts
    from streams.texts.calibration import CalibrationError

    with sentence(texts.LabelsError, CalibrationError):
        fitted = texts.refit(texts.read_labels(labels), _named(site))
    if as_json:
        print_json(texts.refit_json(fitted))
    else:
        click.echo(texts.refit_text(site, fitted))
