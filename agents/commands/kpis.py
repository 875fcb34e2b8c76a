"""`engage kpis`."""

import click

from agents.commands.base import examples, json_option, print_json


@click.command(epilog=examples("engage kpis", "engage kpis --json"))
@json_option("Print a JSON array.")
def kpis(as_json: bool) -> None:
    """List the measures: what each answers, how it is calculated, and where its definition comes from."""
    from streams.kpis import KPIS

    rows = [
        {"name": kpi.name, "question": kpi.question, "formula": kpi.formula, "unit": kpi.unit, "source": kpi.origin, "tag": kpi.tag, "help": kpi.help}
        for kpi in KPIS
    ]
    if as_json:
        print_json(rows)
        return
    for row in rows:
        click.echo(f"{click.style(row['name'], bold=True)} ({row['unit']}, {row['tag']})\n  {row['question']}\n  = {row['formula']}   [{row['source']}]")
