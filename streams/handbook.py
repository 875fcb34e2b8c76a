"""The measures as a page, written from the catalogue. `python -m streams.handbook` prints the page kept in docs/measures.md."""

from typing import Final

from streams.admission import FLAGS, REFUSALS
from streams.engagement import FAMILIES
from streams.kpis import KPIS, Kpi
from streams.panes import DAY, HOUR, MINUTE, Pane
from streams.rollups import pane_size_of
from streams.windows import Live, Window

_HEAD: Final = """\
# Measures

What is counted, how, and from when on it can be trusted. The tables are written from the catalogue, `streams/kpis.py`, by
`python -m streams.handbook > docs/measures.md`.

## How counting works

**Time is that of the events.** An event counts when it happened, not when it arrived; a client's wrong clock is repaired from `sent_at` and `received_at`.
An event more than 60 s ahead of its receipt is clamped to the receipt.

**Panes.** Facts are counted in panes of a minute, a quarter hour or a calendar day (in the site's time zone; weeks begin on Monday). A window is the sum of its
panes and ends with the last complete one. Sliding windows up to 24 h are read from minutes or quarter hours, longer ones and calendar periods from days.

**Watermark.** Per topic and partition the newest event time less 5 s. Topics and partitions that are silent for 30 s do not hold it back,
unless their log holds events that wait to be read.

**Grace.** An event up to 1 h behind the watermark counts everywhere, up to 26 h no longer in minute panes, up to 8 days in day panes only (flag `partly_late`);
beyond that it is `late`, and beyond 400 days `failed`. Exactly the grace is in time. `consent_changed`, `erase_requested` and
`customer_identified` are never late.
Inside the first hour any order of arrival gives the same figures.

**Corrections.** A session credits the quarter hour of its start, a review the minute of its first version; what comes later corrects that
pane. Session measures are
read over panes that ended 30 min before the watermark (*matures*), so that most visits that began there have ended; one that goes on is corrected.

**States.** `ok`; `insufficient_data` below the minimum n (value and bounds are given all the same); `no_data` without anything to count:
counts are 0, everything
else is null. *n* of a count is the count, of a ratio its denominator, of a mean or quantile the number of values.
`alert_state` (`learning`, `normal`, `firing`) is what detectors and alerts say of the label set; `learning_until` when one that learns will speak.

**Bounds.** Ratios carry the Wilson interval at 95 %. Quantiles are nearest rank from buckets at most 1.6 % wide, given as the upper edge:
within 2 % of the exact one.

**Dimensions.** Each measure is counted by the label sets it lists, no other crosses; the total is the sum over any of them. Where unlike things
would be added up (goals, funnels, currencies) there is none; the measure says so. A missing label is `unknown`.

## What is not counted

Every record gets one verdict: applied, `late`, `duplicate`, `bot`, failed (with its reason, see [events.md](events.md)) or refused. They
add up to what was received.

| refused | because |
|---|---|
"""
_REFUSED: Final = {
    "erased": "the subject asked to be erased less than 400 days ago and has not agreed to analytics since",
    "no_consent": "the subject's last consent to analytics at the time of the event was a withdrawal, or the site presumes none",
}
_FLAGS_HEAD: Final = """
Flags are counted beside, on applied events only.

| flag | meaning |
|---|---|
"""
_FLAGS: Final = {
    "clamped": "the event claimed to be more than 60 s ahead of its receipt",
    "partly_late": "too late for minute panes or, beyond 26 h, for quarter hours",
    "truncated": "a free text was longer than 4,000 characters and was cut",
    "misrouted": "the record lies in a partition its key does not belong to; one event in 64 is looked at, and every one that is late or clamped",
    "unjoined": "an answer or refund came before (or without) what it is about; it is joined when that comes",
    "expired_correction": "an edit or refund came after the pane it corrects was dropped",
    "repeated_order": "an order id came again; it counts once",
    "refund_cut": "more was refunded than was left of the order; the rest is cut",
    "currency_mismatch": "a refund in another currency than its order; not counted in money",
    "notes_dropped": "what is remembered of one subject outgrew its bounds (see Limits): so many notes were forgotten",
}
_LIMITS: Final = """
## Limits

- A run of activity longer than 24 h is cut where the cap fell in order of arrival; a late event that moves the start of such a run leaves the cuts behind it.
- A segment is carried over to later events without one for sessions only; everything else takes the event's own segment, else `unknown`.
- A label has at most 50 values per site and partition, the first by arrival; later ones are `other`.
- Event ids are held for 8 days and at most 500,000 per partition. When the number binds, events older than the oldest id held are `late`.
- Of one subject 500 events of each journey (carts, orders, a funnel's steps, messages, reads, plays, tickets …) and 500 reviews are remembered, and
  192 KiB in all; of all subjects that change in one flush 6 MiB. Beyond that the older half is forgotten as if the grace ended there: what it
  tells stays counted as it is (of funnels the steps of attempts under way are kept), and what comes later about it (an order's refund, a further
  stay of a view) counts like something new. There the order of arrival may matter, and where flushes fall.
- Consent is judged on arrival: what was counted before a withdrawal was read stays counted. A withdrawal is known until 400 days after the last event
  that it refused.

## Catalogue

"""
_WORDS: Final = {"higher": "higher is better", "lower": "lower is better", "neither": "neither direction is better"}


def page() -> str:
    """The whole page."""
    return (
        _HEAD
        + "".join(f"| `{name}` | {_REFUSED[name]} |\n" for name in REFUSALS)
        + _FLAGS_HEAD
        + "".join(f"| `{flag}` | {_FLAGS[flag]} |\n" for flag in FLAGS)
        + _LIMITS
        + f"{len(KPIS)} measures.\n\n"
        + "\n".join(_entry(kpi) for kpi in KPIS)
    )


def _entry(kpi: Kpi) -> str:
    family = FAMILIES[kpi.value.fact]
    sizes = dict.fromkeys(pane_size_of(window, family) for window in kpi.windows)
    rows = {
        "question": kpi.question,
        "formula": kpi.formula,
        "unit": f"{kpi.unit}; {_WORDS[kpi.better]}",
        "source": kpi.origin,
        "use": kpi.tag,
        "dimensions": "; ".join(" × ".join(f"`{label}`" for label in grouping) for grouping in kpi.by)
        + "".join(f"; never summed over `{label}`" for label in kpi.apart),
        "panes": ", ".join("day" if size is Pane.DAY else _length(size) for size in sizes),
        "windows": ", ".join(map(_window, kpi.windows)),
        "matures": (f"{_length(kpi.matures)} after the pane's end" if kpi.matures else "at once") + ("; the site's settings decide" if kpi.matures_by else ""),
        "minimum n": str(kpi.least) if kpi.least else "none",
    }
    table = "".join(f"| {name} | {text} |\n" for name, text in rows.items())
    return f"### `{kpi.name}`\n\n{kpi.help}\n\n| | |\n|---|---|\n{table}"


def _window(window: Window) -> str:
    if isinstance(window, Live):
        return f"live, the last {window.minutes} minutes"
    if isinstance(window, str):
        return f"calendar {window}"
    return f"last {_length(window)}" if window > DAY else _length(window)


def _length(length: int) -> str:
    if length > DAY and not length % DAY:
        return f"{length // DAY} days"
    return f"{length // HOUR} h" if length >= HOUR else f"{length // MINUTE} min"


if __name__ == "__main__":
    print(page(), end="")
