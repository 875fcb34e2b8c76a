"""What the link in an alert shows: what the worker knows of it, on a small page for people. Programs get the message of the topic `alerts`."""

from collections.abc import Iterable, Iterator
from html import escape
from typing import Final

from alerts.evaluation import Alert, instant
from alerts.explain import dimensions_text, in_unit
from streams.kpis import KPI_BY_NAME

HEADERS: Final = {"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'"}
"""Nothing on a page comes from elsewhere, and nothing in it runs: annotations hold words that customers wrote."""
BACK: Final = '<p><a href="../alerts">What fires</a></p>'
STYLE: Final = "body{font:16px/1.5 sans-serif;max-width:50em;margin:2em auto;padding:0 1em}th{text-align:left;vertical-align:top;padding-right:1em}"
HAVE_A_PLACE: Final = ("summary", "why", "runbook_url")
"""Annotations that are not repeated below."""


def alert_page(alert: Alert) -> str:
    """All that is known of one alert."""
    summary = alert.annotations.get("summary", alert.rule)
    rows = "".join(f"<tr><th>{escape(name)}</th><td>{_linked(text)}</td></tr>\n" for name, text in _rows(alert) if text)
    return _page(f"{alert.rule}: {_state(alert)}", f"<p>{escape(summary)}</p>\n<table>{rows}</table>", BACK)


def alerts_page(alerts: Iterable[Alert]) -> str:
    """What fires, each with its page, the latest first."""
    items = "".join(f'<li><a href="alerts/{alert.id}">{escape(alert.rule)}</a> {escape(alert.annotations.get("summary", alert.site))}</li>' for alert in alerts)
    return _page("What fires", f"<ul>{items}</ul>" if items else "<p>Nothing fires on the partitions of this worker.</p>")


def message_page(title: str, text: str) -> str:
    """One sentence."""
    return _page(title, f"<p>{escape(text)}</p>", BACK)


def _state(alert: Alert) -> str:
    return "firing" if alert.ended is None else f"resolved at {instant(alert.ended)}"


def _rows(alert: Alert) -> Iterator[tuple[str, str]]:
    """Name and text, in the order in which someone who was woken up asks. Instants are event times."""
    kpi = KPI_BY_NAME[alert.kpi]
    yield "site", alert.site
    yield "for", dimensions_text(alert.dimensions)
    yield "state", _state(alert)
    yield "fired", instant(alert.started)
    yield "condition since", instant(alert.since)
    yield "severity", alert.severity
    yield "value", f"{in_unit(kpi, alert.value)} ({kpi.name}, {instant(alert.window.start)} to {instant(alert.window.end)})"
    yield "95 % bounds", "" if alert.low is None or alert.high is None else f"{in_unit(kpi, alert.low)} to {in_unit(kpi, alert.high)}"
    yield "usual", in_unit(kpi, alert.usual)
    yield "n", f"{alert.n:,}"
    yield "the rule asks for", alert.threshold
    yield "why", alert.annotations.get("why") or (alert.explanation.text if alert.explanation else "")
    yield "runbook", alert.annotations.get("runbook_url", "")
    yield from ((name, text) for name, text in alert.annotations.items() if name not in HAVE_A_PLACE)
    yield "labels", ", ".join(f"{name}={text}" for name, text in alert.labels.items())
    yield "id", alert.id


def _linked(text: str) -> str:
    """As HTML; an address can be followed."""
    return f'<a href="{escape(text)}">{escape(text)}</a>' if text.startswith(("https://", "http://")) and " " not in text else escape(text)


def _page(title: str, *parts: str) -> str:
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{escape(title)}</title><style>{STYLE}</style>'
    return f'<!doctype html><html lang="en"><head>{head}</head><body><h1>{escape(title)}</h1>\n' + "\n".join(parts) + "</body></html>\n"
