"""What the detectors find, what they miss and how often they are wrong: the tables of docs/detection.md.

    python benchmarks/detection.py                      all tables, as Markdown, on standard output (some minutes)
    python benchmarks/detection.py quiet recall         these tables
    python benchmarks/detection.py --write              put them into docs/detection.md

Progress goes to standard error. Made-up series are seeded; the tables of real data need the folder shared/data beside the repository.
"""

import argparse
import csv
import gzip
import io
import json
import random
import statistics
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from functools import partial
from itertools import pairwise
from math import exp, pi, sin
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import msgspec  # noqa: E402

from alerts.detectors import Finding, Sensitivity, counts, ratios  # noqa: E402
from benchmarks.runs import say  # noqa: E402
from streams.panes import DAY, HOUR, MINUTE  # noqa: E402

DATA = ROOT.parent / "shared" / "data"
PAGE = ROOT / "docs" / "detection.md"
BEGIN = 1_704_067_200_000
"""Monday, 1 January 2024."""
FIVE_MINUTES = 5 * MINUTE
SENSITIVITIES: tuple[Sensitivity, ...] = ("sensitive", "balanced", "strict")
RATES = (3, 30, 300, 3_000)
CALM, WILD = 30.0, 8.0
"""Shape of the gamma that every hour's rate is multiplied with: it varies by 18 % and by 35 %."""


# --- made-up counts --------------------------------------------------------------------------------------------------


def poisson(rng: random.Random, mean: float) -> int:
    if mean > 400:
        return poisson(rng, mean / 2) + poisson(rng, mean / 2)
    limit, product, count = exp(-mean), rng.random(), 0
    while product > limit:
        product *= rng.random()
        count += 1
    return count


def usual_rate(per_hour: float, hour: int) -> float:
    """Of an hour since Monday: ups and downs over the day, quiet weekends; on average `per_hour`."""
    of_day = 1 + 0.7 * sin((hour % 24 - 8) / 12 * pi)
    return per_hour * of_day * (0.7 if hour // 24 % 7 >= 5 else 1) / (1 - 0.3 * 2 / 7)


def made_rates(rng: random.Random, per_hour: float, noise: float, days: int, step: int) -> Iterator[float]:
    """The expected count of every pane: counts drawn from it are negative-binomial."""
    for hour in range(days * 24):
        rate = usual_rate(per_hour, hour) * rng.gammavariate(noise, 1 / noise)
        for _ in range(HOUR // step):
            yield rate * step / HOUR


def onsets(findings: Iterable[Finding]) -> Iterator[tuple[int, Finding]]:
    """Place and finding of every incident's first firing; re-openings are the same incident."""
    since = None
    for place, finding in enumerate(findings):
        if finding.state == "firing" and finding.since != since:
            since = finding.since
            yield place, finding


def judged(
    values: Iterable[int | None], step: int, sensitivity: Sensitivity = "balanced", directions: counts.Directions = "both", begin: int = BEGIN
) -> Iterator[Finding]:
    state = counts.start(step)
    for number, value in enumerate(values):
        yield counts.advance(state, begin + number * step, value, sensitivity, directions)


def quiet_counts(seed: int, per_hour: float, noise: float, days: int = 28, step: int = FIVE_MINUTES) -> Iterator[int]:
    rng = random.Random(f"{seed} {per_hour} {noise}")
    return (poisson(rng, rate) for rate in made_rates(rng, per_hour, noise, days, step))


def quiet_alerts(seed: int, per_hour: float, noise: float, sensitivity: Sensitivity = "balanced", step: int = FIVE_MINUTES) -> Counter[str]:
    """Alerts by rule on 28 quiet days, counted from the eighth on."""
    findings = judged(quiet_counts(seed, per_hour, noise, step=step), step, sensitivity)
    return Counter(str(finding.rule) for place, finding in onsets(findings) if place * step >= 7 * DAY)


def static_quiet_alerts(seed: int, per_hour: float, noise: float) -> int:
    """The same of the static rule, whose warm-up is the first week."""
    week = 7 * DAY // FIVE_MINUTES
    alerts = static_alerts(list(quiet_counts(seed, per_hour, noise)), week, calm=6 * HOUR // FIVE_MINUTES)
    return sum(place >= week for place in alerts)


# --- real series -----------------------------------------------------------------------------------------------------


class LabelledSeries(NamedTuple):
    """Instants (ms), values and the windows of the labels as places in them."""

    at: list[int]
    values: list[int]
    windows: list[tuple[int, int]]


def rows_of(folder: str, table: str) -> list[dict[str, str]]:
    with gzip.open(DATA / folder / table) as file:
        return list(csv.DictReader(io.StringIO(file.read().decode(), newline="")))


def instant(text: str) -> int:
    return round(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


def brand_mentions() -> dict[str, LabelledSeries]:
    """Five brands' mentions per five minutes, with the labelled windows of the Numenta Anomaly Benchmark."""
    found: dict[str, LabelledSeries] = defaultdict(lambda: LabelledSeries([], [], []))
    for row in rows_of("nab_brand_mentions_a", "series.csv.gz"):
        series = found[row["series"]]
        series.at.append(instant(row["timestamp"]))
        series.values.append(int(float(row["value"])))
    for name, label in json.loads((DATA / "nab_brand_mentions_a" / "labels.json").read_text()).items():
        places = {at: place for place, at in enumerate(found[name].at)}
        found[name].windows.extend((places[instant(first)], places[instant(last)]) for first, last in label["anomaly_windows"])
    return dict(found)


class NabScore(NamedTuple):
    """Of the standard profile; `score` is 0 for a detector that never fires and 100 for a perfect one."""

    raw: float
    windows: int
    hit: int
    false_alerts: int

    @property
    def score(self) -> float:
        return 100 * (self.raw + self.windows) / (2 * self.windows)


def nab_score(rows: int, windows: Sequence[tuple[int, int]], alerts: Iterable[int]) -> NabScore:
    """The standard profile (hits 1, misses 1, false alerts 0.11) of alerts at these places of a series.

    Of a window only the earliest alert counts, more the earlier; a false alert counts less just after a
    window. The first 15 % (at most 750 rows) are probation.
    """
    hits: dict[int, float] = {}
    raw, false = 0.0, 0
    for place in sorted(alerts):
        if place < min(int(0.15 * rows), 750):
            continue
        window = next((number for number, (first, last) in enumerate(windows) if first <= place <= last), None)
        if window is None:
            before = [(first, last) for first, last in windows if last < place]
            raw += 0.11 * (_decayed((place - before[-1][1]) / (before[-1][1] - before[-1][0])) if before else -1.0)
            false += 1
        elif window not in hits:
            first, last = windows[window]
            hits[window] = _decayed(-(last - place + 1) / (last - first + 1)) / _decayed(-1.0)
    return NabScore(raw + sum(hits.values()) - (len(windows) - len(hits)), len(windows), len(hits), false)


def _decayed(position: float) -> float:
    return -1.0 if position > 3 else 2 / (1 + exp(5 * position)) - 1


def static_alerts(values: Sequence[int], warm_up: int, spreads: float = 6.0, *, calm: int | None) -> list[int]:
    """The usual rule: above mean + 6 standard deviations of the first values. `calm`: so many panes below 0.6 of it end an incident; None: each is one."""
    first = values[:warm_up]
    limit = statistics.fmean(first) + spreads * statistics.pstdev(first)
    found, last_loud = [], None
    for place, value in enumerate(values):
        if value > limit and (calm is None or last_loud is None or place - last_loud > calm):
            found.append(place)
        if calm is not None and value > 0.6 * limit and (value > limit or (last_loud is not None and place - last_loud <= calm)):
            last_loud = place
    return found


def mention_score(series: dict[str, LabelledSeries], alerts: Callable[[LabelledSeries], Iterable[int]]) -> NabScore:
    of_all = [nab_score(len(each.at), each.windows, alerts(each)) for each in series.values()]
    return NabScore(*(sum(one[field] for one in of_all) for field in range(4)))  # type: ignore[arg-type]


def mention_alerts(series: LabelledSeries, sensitivity: Sensitivity = "balanced", directions: counts.Directions = "surge") -> list[int]:
    return [place for place, _ in onsets(judged(series.values, FIVE_MINUTES, sensitivity, directions, series.at[0]))]


def page_view_alerts(sensitivity: Sensitivity = "balanced") -> tuple[list[str], list[str]]:
    """Days of the alerts on eight years of one article's daily views, and the listed events that have one on the day or the next."""
    days = [(row["date"], round(exp(float(row["log_views"])))) for row in rows_of("wiki_pageviews", "peyton_manning.csv.gz")]
    state = counts.start(DAY)
    found = [days[place][0] for place, _ in onsets(counts.advance(state, instant(day), views, sensitivity, "surge") for day, views in days)]
    expected = json.loads((DATA / "wiki_pageviews" / "expected.json").read_text())["expected"]["event_days"]["listed"]
    present = {day for day, _ in days}
    hit = [day for day in expected if day in present and {day, str(date.fromisoformat(day) + timedelta(days=1))} & set(found)]
    return found, hit


FUNNEL = ("product_view", "add_to_cart", "cart", "shipping_details", "payment_details", "purchase")


class ShareAlert(NamedTuple):
    opened: datetime
    finding: Finding
    closed: datetime | None


def step_outcomes(before: str | None, after: str) -> list[tuple[int, bool]]:
    """When each session of the shop reached a step (None: began), and whether it failed to reach the other, in whatever order."""
    sessions: dict[str, list[tuple[int, str]]] = defaultdict(list)
    for row in rows_of("ecom_clickstream_incidents", "events.csv.gz"):
        sessions[row["session_id"]].append((instant(row["timestamp"]), row["event"]))
    found = []
    for events in sessions.values():
        reached = [at for at, name in events if before in (None, name)]
        if reached:
            found.append((min(reached), all(name != after for _, name in events)))
    return sorted(found)


def share_alerts(outcomes: Iterable[tuple[int, bool]], sensitivity: Sensitivity = "balanced") -> list[ShareAlert]:
    state, since = ratios.start(), None
    found: list[ShareAlert] = []
    for at, bad in outcomes:
        finding = ratios.advance(state, at, int(bad), 1, sensitivity)
        moment = datetime.fromtimestamp(at / 1000, UTC)
        if finding.state == "firing" and finding.since != since:
            found.append(ShareAlert(moment, finding, None))
            since = finding.since
        elif finding.state != "firing" and found and found[-1].closed is None:
            found[-1] = found[-1]._replace(closed=moment)
    return found


# --- incidents put into made-up counts --------------------------------------------------------------------------------


class Trials(NamedTuple):
    """What became of incidents: how many there were, minutes until the alert of those found, and alerts of a static rule for comparison."""

    made: int
    delays: list[float]
    static: int

    @property
    def share(self) -> float:
        return len(self.delays) / self.made

    def cell(self) -> str:
        return "0" if not self.delays else f"{self.share:.0%}, {statistics.median(self.delays):.0f} min"


def tried(
    per_hour: float, noise: float, factor: float, sensitivity: Sensitivity, lengths: Sequence[int], seeds: int, hours: tuple[int, int] = (0, 24), each: int = 7
) -> Trials:
    """Incidents of `lengths` minutes in which the rate is `factor` times the usual, begun at random in the third and fourth week of quiet days.

    The state is copied where an incident begins and lives on without it, so that incidents do not meet. One is found if an alert opens until half an hour
    after its end. The static rule is mean + 6 sd of the first week, on the same five minutes.
    """
    made = static = 0
    delays: list[float] = []
    for seed in range(seeds):
        rng = random.Random(f"{seed} {per_hour} {noise} incidents")
        rates = list(made_rates(rng, per_hour, noise, 28, FIVE_MINUTES))
        week = 7 * DAY // FIVE_MINUTES
        begins = {rng.randrange(2 * week, 4 * week - 100) for _ in range(12 * each * len(lengths))}
        wanted = sorted(place for place in begins if hours[0] <= place // 12 % 24 < hours[1])
        chosen = set(rng.sample(wanted, min(len(wanted), each * len(lengths))))
        state, limit, first = counts.start(FIVE_MINUTES), 0.0, []
        for place, rate in enumerate(rates):
            if place in chosen and not state.is_open:
                length = lengths[made % len(lengths)] // 5
                copy = msgspec.msgpack.decode(msgspec.msgpack.encode(state), type=counts.CountState)
                made += 1
                seen = False
                delay: float | None = None
                for later in range(length + 6):
                    value = poisson(rng, rates[place + later] * (factor if later < length else 1))
                    finding = counts.advance(copy, BEGIN + (place + later) * FIVE_MINUTES, value, sensitivity)
                    if finding.state == "firing" and delay is None:
                        delay = 5.0 * (later + 1)
                    seen = seen or (later < length and value > limit)
                static += seen
                if delay is not None:
                    delays.append(delay)
            value = poisson(rng, rate)
            if place < week:
                first.append(value)
            elif place == week:
                limit = statistics.fmean(first) + 6 * statistics.pstdev(first)
            counts.advance(state, BEGIN + place * FIVE_MINUTES, value, sensitivity)
    return Trials(made, delays, static)


SURGES, DROPS = (15, 30, 60), (60, 120, 180)


# --- made-up shares ---------------------------------------------------------------------------------------------------


def made_share(rng: random.Random, share: float, correlation: float) -> float:
    """The share of an hour: outcomes of the same hour are correlated."""
    if not correlation:
        return share
    weight = 1 / correlation - 1
    return rng.betavariate(share * weight, (1 - share) * weight)


def share_trial(seed: int, per_day: int, base: float, correlation: float, factor: float | None) -> tuple[int, int | None]:
    """False alerts in the third and fourth week, and after how many outcomes of the day then following, with `factor` times the share, an alert opens."""
    rng = random.Random(f"{seed} {per_day} {base} {correlation}")
    state, since, false = ratios.start(), None, 0
    for hour in range(29 * 24):
        risen = hour >= 28 * 24
        if risen and factor is None:
            break
        share = made_share(rng, min(0.95, base * (factor or 1)) if risen else base, correlation)
        instants = sorted(rng.randrange(HOUR) for _ in range(poisson(rng, per_day / 24)))
        for number, moment in enumerate(instants):
            finding = ratios.advance(state, BEGIN + hour * HOUR + moment, int(rng.random() < share), 1)
            if finding.state == "firing" and finding.since != since:
                since = finding.since
                if risen:
                    return false, (hour - 28 * 24) * per_day // 24 + number + 1
                false += hour >= 14 * 24
    return false, None


# --- the tables -------------------------------------------------------------------------------------------------------


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def mentions() -> str:
    series = brand_mentions()
    rows = [(f"{one}, surges", mention_score(series, partial(mention_alerts, sensitivity=one))) for one in SENSITIVITIES]
    rows.append(("balanced, surges and drops", mention_score(series, lambda one: mention_alerts(one, "balanced", "both"))))
    rows.append(("static mean + 6 sd of the warm-up, one alert until calm for 6 h", mention_score(series, lambda one: static_alerts(one.values, 750, calm=72))))
    rows.append(("the same, every row an alert", mention_score(series, lambda one: static_alerts(one.values, 750, calm=None))))
    return table(
        ("detector", "score", "windows hit", "false alerts"), [(name, f"{of.score:.1f}", f"{of.hit} of {of.windows}", of.false_alerts) for name, of in rows]
    )


def page_views() -> str:
    found = {sensitivity: page_view_alerts(sensitivity) for sensitivity in SENSITIVITIES}
    return table(("setting", "alerts in 8 years", "of 11 listed events"), [(name, len(alerts), len(hit)) for name, (alerts, hit) in found.items()])


def shop() -> str:
    steps = [*pairwise(FUNNEL), (None, "purchase")]
    rows = []
    for before, after in steps:
        alerts = share_alerts(step_outcomes(before, after))
        texts = [f"{one.opened:%-d %b %H:%M} (share {one.finding.value:.0%} of {one.finding.n}, usual {one.finding.usual:.0%})" for one in alerts]
        rows.append((f"{before or 'session'} → {after}", "; ".join(texts) or "none"))
    return table(("step", "alerts in six months"), rows)


def quiet(seeds: int) -> str:
    rows = []
    for step in (FIVE_MINUTES, MINUTE):
        for noise, name in ((CALM, "calm"), (WILD, "wild")):
            for sensitivity in SENSITIVITIES if step == FIVE_MINUTES else ("balanced",):
                cells = []
                for rate in RATES:
                    number = seeds if step == FIVE_MINUTES else max(1, seeds // 4)
                    alerts: Counter[str] = sum((quiet_alerts(seed, rate, noise, sensitivity, step=step) for seed in range(number)), Counter())
                    drops = alerts["drop"]
                    cells.append(f"{(alerts.total() - drops) / number / 21:.3f} + {drops / number / 21:.3f}")
                    say(f"quiet: {name}, {sensitivity}, {rate}/h, panes of {step // MINUTE} min: {cells[-1]}")
                rows.append((f"{sensitivity}, {name}, panes of {step // MINUTE} min", *cells))
            if step == FIVE_MINUTES:
                static = [sum(static_quiet_alerts(seed, rate, noise) for seed in range(seeds)) / seeds / 21 for rate in RATES]
                rows.append((f"*static mean + 6 sd, {name}*", *(f"*{one:.3f}*" for one in static)))
    return table(("surges + drops a day", *(f"{rate:,}/h" for rate in RATES)), rows)


def recall(seeds: int) -> str:
    cases: list[tuple[str, float, Sensitivity, float, Sequence[int], tuple[int, int]]] = [
        *((f"balanced ×{factor}", CALM, "balanced", factor, SURGES, (0, 24)) for factor in (2, 3, 5)),
        *((f"balanced ×{factor}, wild", WILD, "balanced", factor, SURGES, (0, 24)) for factor in (2, 3, 5)),
        *((f"balanced ×{factor}, 0–6 h", CALM, "balanced", factor, SURGES, (0, 6)) for factor in (3, 5)),
        *((f"{name} ×{factor}", CALM, name, factor, SURGES, (0, 24)) for name in ("sensitive", "strict") for factor in (2, 3, 5)),
        *((f"balanced, drop to {factor:.0%}", CALM, "balanced", factor, DROPS, (0, 24)) for factor in (0.5, 0.2, 0)),
    ]
    rows = []
    for name, noise, sensitivity, factor, lengths, hours in cases:
        trials = [tried(rate, noise, factor, sensitivity, lengths, seeds, hours) for rate in RATES]
        rows.append((name, *(one.cell() for one in trials)))
        if sensitivity == "balanced" and factor >= 1:
            rows.append(("*static mean + 6 sd*", *(f"*{one.static / one.made:.0%}*" for one in trials)))
        say(f"recall: {rows[-1]}, of {trials[0].made}")
    return table(("incident", *(f"{rate:,}/h" for rate in RATES)), rows)


def shares(seeds: int) -> str:
    rows = []
    for per_day in (200, 1_000):
        for base in (0.05, 0.15, 0.3):
            false = [sum(share_trial(seed, per_day, base, correlation, None)[0] for seed in range(seeds)) / seeds / 14 for correlation in (0, 0.01, 0.03, 0.06)]
            cells = []
            for factor in (1.5, 2, 3):
                found = [after for seed in range(seeds) if (after := share_trial(seed, per_day, base, 0.01, factor)[1]) is not None]
                cells.append(f"{len(found)} of {seeds}" + (f", {statistics.median(found):.0f}" if found else ""))
            rows.append((f"{per_day:,} a day, usually {base:.0%}", " / ".join(f"{one:.3f}" for one in false), *cells))
            say(f"shares: {rows[-1]}")
    return table(("outcomes", "false alerts a day, ρ 0 / .01 / .03 / .06", "×1.5", "×2", "×3"), rows)


def changed(per_hour: float, seed: int, change: Callable[[int, float], float | None], days: int = 28) -> list[str]:
    """Alerts and notes of a series that is quiet for 14 days and whose rate is then changed, with the days since."""
    rng = random.Random(f"{seed} {per_hour} situations")
    begin = 14 * DAY // FIVE_MINUTES
    rates = (rate if place < begin else change(place - begin, rate) for place, rate in enumerate(made_rates(rng, per_hour, CALM, days, FIVE_MINUTES)))
    found, since = [], None
    for place, finding in enumerate(judged((None if rate is None else poisson(rng, rate) for rate in rates), FIVE_MINUTES)):
        if place >= begin and finding.state == "firing" and finding.since != since:
            since = finding.since
            found.append(f"{finding.rule} at {(place + 1 - begin) * FIVE_MINUTES / DAY:.2f} d")
        if finding.note:
            found.append(f"{finding.note} at {(place + 1 - begin) * FIVE_MINUTES / DAY:.2f} d")
    return found


def situations(seeds: int) -> str:
    day = DAY // FIVE_MINUTES
    cases: list[tuple[str, Callable[[int, float], float | None]]] = [
        ("nothing", lambda _, rate: rate),
        ("×3 for good", lambda _, rate: 3 * rate),
        ("×10 for good", lambda _, rate: 10 * rate),
        ("a third for good", lambda _, rate: rate / 3),
        ("×5 for 12 hours", lambda place, rate: 5 * rate if place < day // 2 else rate),
        ("the collector is down for 6 h, fed as zeros", lambda place, rate: 0 if place < day // 4 else rate),
        ("the same hours not known", lambda place, rate: None if place < day // 4 else rate),
        ("one day at 40 % (a holiday)", lambda place, rate: 0.4 * rate if place < day else rate),
    ]
    rows = []
    for name, change in cases:
        cells = []
        for per_hour in (30, 300):
            series = [changed(per_hour, seed, change) for seed in range(seeds)]
            alerts = sum("accepted" not in text for found in series for text in found)
            first = sum("at 0." in found[0] for found in series if found)
            cells += [f"{alerts / seeds:.1f}", f"{first} of {seeds}", sum("accepted" in text for found in series for text in found)]
        rows.append((name, *cells))
    return table(("what changes", *("alerts at 30/h", "first on day 1", "accepted", "alerts at 300/h", "first on day 1", "accepted")), rows)


def holiday(per_hour: float, seed: int, first: int, days: int, factor: float, *, told: bool, outage: bool) -> list[float]:
    """Days, since day `first`, of the alerts of a series whose rate is `factor` times the usual for some days; of the first afternoon two hours a tenth."""
    rng, day, state = random.Random(f"{seed} {per_hour} situations"), DAY // FIVE_MINUTES, counts.start(FIVE_MINUTES)
    begin, end = first * day, (first + days) * day
    findings = []
    for place, rate in enumerate(made_rates(rng, per_hour, CALM, first + days + 2, FIVE_MINUTES)):
        off = begin <= place < end
        out = outage and begin + 14 * 12 <= place < begin + 16 * 12
        y = poisson(rng, rate * (factor if off else 1) * (0.1 if out else 1))
        findings.append(counts.advance(state, BEGIN + place * FIVE_MINUTES, y, holiday=told and off))
    return [(place + 1 - begin) / day for place, _ in onsets(findings) if place >= begin]


def holidays(seeds: int) -> str:
    cases = (
        ("one day: on it + the day after", 1, 0.4, False),
        ("three days: on them + the day after", 3, 0.4, False),
        ("outage at 14:00 of the holiday is told", 1, 0.4, True),
        ("a day of the calendar like any other: on it + the day after", 1, 1.0, False),
    )
    rows = []
    for name, days, factor, outage in cases:
        cells = []
        for per_hour, told in ((30, False), (30, True), (300, False), (300, True)):
            found = [holiday(per_hour, seed, first, days, factor, told=told, outage=outage) for seed in range(seeds) for first in (16, 17)]
            if outage:
                cells.append(f"{sum(any(14 / 24 < at <= 16.1 / 24 for at in one) for one in found)} of {len(found)}")
            else:
                cells.append(f"{sum(at <= days for one in found for at in one)} + {sum(days < at <= days + 1 for one in found for at in one)}")
        rows.append((name, *cells))
    return table(("", "30/h, without", "with calendar", "300/h, without", "with calendar"), rows)


class Cost(NamedTuple):
    us_per_pane: float
    state_bytes: int


def cost_of(step: int) -> Cost:
    """Of a detector of counts: CPU time of `advance` per pane, both directions and windows, and size of its state (MessagePack) after two weeks."""
    rng, state = random.Random(step), counts.start(step)
    values = [poisson(rng, rate) for rate in made_rates(rng, 300, CALM, 14, step)]
    cpu = time.process_time()
    for number, value in enumerate(values):
        counts.advance(state, BEGIN + number * step, value)
    return Cost(round((time.process_time() - cpu) / len(values) * 1e6, 1), len(msgspec.msgpack.encode(state)))


def cost_of_shares() -> Cost:
    """The same of a detector of shares, for five minutes of ten outcomes."""
    rng, state = random.Random(1), ratios.start()
    panes = [sum(rng.random() < 0.15 for _ in range(10)) for _ in range(14 * DAY // FIVE_MINUTES)]
    cpu = time.process_time()
    for number, bad in enumerate(panes):
        ratios.advance(state, BEGIN + number * FIVE_MINUTES, bad, 10)
    return Cost(round((time.process_time() - cpu) / len(panes) * 1e6, 1), len(msgspec.msgpack.encode(state)))


def detector_costs() -> dict[str, Cost]:
    """What `make bench` says of detectors."""
    return {"counts_1m": cost_of(MINUTE), "counts_5m": cost_of(FIVE_MINUTES), "counts_15m": cost_of(15 * MINUTE), "ratios_5m": cost_of_shares()}


def cost() -> str:
    rows = [(name, f"{figures.us_per_pane} µs", f"{figures.state_bytes:,} B") for name, figures in detector_costs().items()]
    return table(("detector and panes", "per pane", "state of a series"), rows)


TABLES: dict[str, Callable[[argparse.Namespace], str]] = {
    "mentions": lambda _: mentions(),
    "page-views": lambda _: page_views(),
    "shop": lambda _: shop(),
    "quiet": lambda options: quiet(options.seeds),
    "recall": lambda options: recall(max(1, options.seeds // 4)),
    "shares": lambda options: shares(max(1, options.seeds // 2)),
    "situations": lambda options: situations(max(1, options.seeds // 2)),
    "holidays": lambda options: holidays(max(1, options.seeds // 2)),
    "cost": lambda _: cost(),
}
OF_REAL_DATA = ("mentions", "page-views", "shop")


def put_into_page(page: str, name: str, text: str) -> str:
    """The page with the table between its two marks replaced."""
    first, last = f"<!-- table: {name} -->\n", f"<!-- end: {name} -->"
    head, _, rest = page.partition(first)
    old, mark, tail = rest.partition(last)
    if not mark:
        raise SystemExit(f"{PAGE}: no place for the table {name}; put the lines {first.strip()} and {last} where it belongs")
    del old
    return f"{head}{first}{text}\n{last}{tail}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tables", nargs="*", choices=[[], *TABLES], help=f"of {', '.join(TABLES)}; none: all")
    parser.add_argument(
        "--seeds",
        type=int,
        default=16,
        help="series per figure of `quiet` (default 16); a quarter for `recall`, half for `shares`, `situations`, `holidays`",
    )
    parser.add_argument("--write", action="store_true", help="put the tables into docs/detection.md")
    options = parser.parse_args()
    page = PAGE.read_text() if options.write else ""
    for name in options.tables or TABLES:
        if name in OF_REAL_DATA and not DATA.is_dir():
            say(f"{name} is left out: it needs the folder shared/data beside the repository")
            continue
        text = TABLES[name](options)
        print(f"{name}\n\n{text}\n", flush=True)
        if options.write:
            page = put_into_page(page, name, text)
    if options.write:
        PAGE.write_text(page)
    return 0


if __name__ == "__main__":
    sys.exit(main())
