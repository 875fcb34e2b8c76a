"""Themes: the phrases that negative texts use now and did not use before.

The owner of a site compares the last hour with the day before it: log-odds with an informative Dirichlet prior (Monroe, Colaresi, Quinn,
"Fightin' Words", Political Analysis 2008). Negative texts against the others would only find again the words that made them negative.

The score ranks, but cannot say alone what is new: among a thousand phrases chance brings some up in every hour. So each must also be too frequent for
chance at a bound on false discoveries among all of them (Benjamini, Hochberg, J. R. Stat. Soc. B 1995), and quiet windows say nothing.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from heapq import nsmallest
from itertools import chain, islice
from math import exp, lgamma, log, log1p, sqrt
from typing import NamedTuple

import msgspec

from streams.engagement import encode_key, encode_value
from streams.grams import ALL, GRACE, GRAM, LEAST_AUTHORS, authors_of, digest, grams_of, name_of
from streams.panes import DAY, HOUR, QUARTER_HOUR, Pane
from streams.readings import PublishedReading, State, bounds
from streams.rows import ROLLUP_ROW

NOW, EARLIER = HOUR, DAY
"""How long the window is, and how long what it is compared with: right before it."""
LEAST_Z, LEAST_TEXTS, LEAST_EARLIER = 2.6, 5, 30
"""What makes a theme: how sure, and in how many texts; and after how many earlier negative texts there are any."""
FALSE_DISCOVERIES = 0.05
"""Share of the themes that chance may have brought up; where nothing is new, the share of windows that may name any."""
MOST_CANDIDATES, MOST_THEMES = 60, 6
PRIOR_WEIGHT = 500
ALIKE = 0.6, 1.67
"""Of grams that contain each other one is shown when their counts have a ratio between these."""
GRAMS_KEPT = 2_000
"""Of a site and quarter hour, over all partitions, when they are compared."""
PRIOR_KEPT = 2_000
SETTLED_AFTER = NOW + GRACE
"""How long after its end a quarter hour is kept by partition and with its authors."""


class Theme(msgspec.Struct, frozen=True, omit_defaults=True):
    """One line of the ranking: a contract."""

    gram: str
    count: int
    """Negative texts of the window that hold it."""
    authors: int
    z: float
    sample: str | None = None


class Score(NamedTuple):
    name: int
    z: float


def scores(now: Mapping[int, int], earlier: Mapping[int, int], prior: Mapping[int, int]) -> list[Score]:
    """The grams of at least five texts that are used more than before, z ≥ 2.6, the surest first. All three count texts by gram.

    α = 500·(P+½)/ΣP;  δ = ln((a+α)/(A+500−a−α)) − ln((b+α)/(B+500−b−α));  z = δ ÷ √(1/(a+α) + 1/(b+α)), with A and B the sums of counts.
    """
    total, before, weight = sum(now.values()), sum(earlier.values()), sum(prior.values())
    found = []
    for name, a in now.items():
        if a >= LEAST_TEXTS and weight:
            b, alpha = earlier.get(name, 0), PRIOR_WEIGHT * (prior.get(name, 0) + 0.5) / weight
            others_now, others_before = total + PRIOR_WEIGHT - a - alpha, before + PRIOR_WEIGHT - b - alpha
            if others_now <= 0 or others_before <= 0:
                continue  # it is all that was ever said
            z = (log((a + alpha) / others_now) - log((b + alpha) / others_before)) / sqrt(1 / (a + alpha) + 1 / (b + alpha))
            if z >= LEAST_Z:
                found.append(Score(name, z))
    return sorted(found, key=lambda score: (-score.z, score.name))


def chance(now: int, earlier: int, share: float) -> float:
    """How likely so many or more of a phrase's texts lie `now` if nothing changed: if each does with probability `share`, that of all texts (binomial)."""
    texts = now + earlier
    if now <= share * texts:
        return 1.0
    term = exp(lgamma(texts + 1) - lgamma(now + 1) - lgamma(earlier + 1) + now * log(share) + earlier * log1p(-share))
    total = 0.0
    while term > 1e-15 * total:
        total += term
        term *= (texts - now) / (now + 1) * share / (1 - share)
        now += 1
    return total


def discovery_limit(chances: Iterable[float], tested: int) -> float:
    """The chance up to which what happened is a discovery, 0 where nothing is, of so many tested: the largest p₍ᵢ₎ ≤ 0.05·i ÷ tested (Benjamini, Hochberg)."""
    return max((p for rank, p in enumerate(sorted(chances), 1) if p <= FALSE_DISCOVERIES * rank / tested), default=0.0)


def merged(themes: Iterable[Theme]) -> Iterator[Theme]:
    """Themes without those that say the same: of phrases in about as many texts that contain each other, or of which one goes on where the other ends,
    the longest, in the place of the surest."""
    alike: list[list[Theme]] = []
    for theme in themes:
        near = [some for some in alike if any(_say_the_same(theme, one) for one in some)]
        alike = [some for some in alike if some not in near[1:]]
        if near:
            near[0] += [theme, *chain.from_iterable(near[1:])]
        else:
            alike.append([theme])
    return (max(some, key=lambda theme: theme.gram.count(" ")) for some in alike)


def _say_the_same(one: Theme, other: Theme) -> bool:
    if not ALIKE[0] <= one.count / other.count <= ALIKE[1]:
        return False
    longer, shorter = (one.gram, other.gram) if len(one.gram) > len(other.gram) else (other.gram, one.gram)
    first, second = one.gram.split(), other.gram.split()
    return f" {shorter} " in f" {longer} " or any(first[-size:] == second[:size] or second[-size:] == first[:size] for size in (1, 2))


class Part(msgspec.Struct, array_like=True, frozen=True):
    """What one source partition says of a quarter hour, as of one of its flushes: texts and bits of authors by gram, the words it may say."""

    seq: int
    texts: dict[int, int] = {}
    authors: dict[int, int] = {}
    words: tuple[str, ...] = ()
    samples: tuple[str, ...] = ()


class Past(msgspec.Struct, array_like=True, frozen=True):
    """What is left of a quarter hour that is settled, or of all that came before the last day."""

    texts: dict[int, int] = {}
    words: tuple[str, ...] = ()
    day: int = 0
    """Of the long run: the day (number since the epoch) of its newest pane."""


_decode_part = msgspec.msgpack.Decoder(Part).decode
_decode_past = msgspec.msgpack.Decoder(Past).decode


class Ranking(NamedTuple):
    """The themes of a window, [start, end) in ms, and of how many negative texts; `known`: whether there were enough before it."""

    start: int
    end: int
    texts: int
    known: bool
    themes: tuple[Theme, ...]

    def reading(self, site: str) -> "ThemesReading":
        """The ranking as it is published."""
        state: State = "no_data" if not self.texts else "ok" if self.known else "insufficient_data"
        window = bounds(self.start, self.end)
        return ThemesReading(THEMES, site, {}, window, len(self.themes), self.texts, None, None, state, ranking=self.themes)


THEMES = "themes"


class ThemesReading(PublishedReading, frozen=True, kw_only=True):
    """A reading whose `value` is how many themes there are, and whose `n` the negative texts of the window: a contract."""

    ranking: tuple[Theme, ...]


class SiteThemes:
    """The grams of one site over all partitions. Rows stay bytes until they are read: once a quarter hour, or when an alert asks."""

    def __init__(self, site: str) -> None:
        self.site = site
        self.parts: dict[int, dict[int, tuple[int, bytes]]] = {}
        """Per pane the latest part of each source partition, with its flush number."""
        self.settled: dict[int, bytes] = {}
        self.long_run: bytes | None = None
        self.horizon = 0
        """Panes before this are settled."""
        self.version = 0
        """Counts the changes, so that what was read is read again only when it may differ."""
        self._rows: dict[bytes, bytes | None] = {}
        self._last: tuple[tuple[int, int], Ranking] | None = None
        self._published: tuple[int, tuple[Theme, ...]] = 0, ()
        """End and themes of the ranking last published."""

    def merge(self, partition: int, seq: int, pane: int, counts: list[dict[int, int]], said: tuple[str, ...], samples: tuple[str, ...]) -> None:
        """Take over what a source partition says of a pane, unless something later is known."""
        parts = self.parts.get(pane, {})
        if pane < self.horizon or (partition in parts and seq <= parts[partition][0]):
            return
        row = encode_value(Part(seq, counts[0], counts[1], said, samples))
        self.parts.setdefault(pane, parts)[partition] = (seq, row)
        self._rows[self._key(pane, partition)] = row
        self.version += 1

    def ranking(self, at: int) -> Ranking:
        """The themes of the quarter hour that holds `at` and the three before it, against the day before these."""
        pane = at - at % QUARTER_HOUR
        if self._last is None or self._last[0] != (pane, self.version):
            self._last = (pane, self.version), self._rank(pane + QUARTER_HOUR - NOW, pane + QUARTER_HOUR)
        return self._last[1]

    def _rank(self, start: int, end: int) -> Ranking:
        parts = {pane: [_decode_part(row) for _, row in self.parts[pane].values()] for pane in self.parts if start - EARLIER <= pane < end}
        window = [part for pane, some in parts.items() if pane >= start for part in some]
        past = [_decode_past(row) for pane, row in self.settled.items() if start - EARLIER <= pane < start]
        long_run = Past() if self.long_run is None else _decode_past(self.long_run)
        now = _sum(_kept(_sum(part.texts for part in some)) for pane, some in parts.items() if pane >= start)
        before = [_kept(_sum(part.texts for part in some)) for pane, some in parts.items() if pane < start] + [one.texts for one in past]
        earlier = _sum(before)
        texts, texts_before = now.pop(_ALL, 0), earlier.pop(_ALL, 0)
        known = texts_before >= LEAST_EARLIER
        found: list[Theme] = []
        if known:
            both = _sum((now, earlier))
            prior = _sum((both, long_run.texts))
            del prior[_ALL]
            tested = sum(count >= LEAST_TEXTS for count in both.values())
            sure = _beyond_chance(scores(now, earlier, prior), now, before, texts / (texts + texts_before), tested)
            said = [part.words for some in parts.values() for part in some] + [one.words for one in (*past, long_run)] if sure else []
            names = {name_of(gram): gram for gram in chain.from_iterable(said)}
            for name, z in sure:
                bits = 0
                for part in window:
                    bits |= part.authors.get(name, 0)
                if name in names and bits.bit_count() >= LEAST_AUTHORS:
                    found.append(Theme(names[name], now[name], authors_of(bits, now[name]), round(z, 2)))
        samples = sorted({sample for part in window for sample in part.samples}, key=digest)
        return Ranking(start, end, texts, known, tuple(_with_sample(theme, samples) for theme in islice(merged(found[:MOST_CANDIDATES]), MOST_THEMES)))

    def news(self, watermark: int, say_all: bool) -> Iterator[ThemesReading]:
        """The ranking of the last complete quarter hour and the three before, where it says something else than the last one published.

        `say_all`: another owner may have published one that we do not know, so that there is none is said as well.
        """
        ranking = self.ranking(watermark - watermark % QUARTER_HOUR - 1)
        end, themes = self._published
        if say_all or ranking.themes != themes or (themes and ranking.end != end):
            self._published = ranking.end, ranking.themes
            yield ranking.reading(self.site)

    def settle(self, watermark: int) -> bool:
        """Put quarter hours together that are over, and add those to the long run that left the last day; whether anything changed.

        The long run forgets half of its counts every day: a word that nobody knew is the more surprising the more was said before it.
        """
        horizon = (watermark - SETTLED_AFTER) // QUARTER_HOUR * QUARTER_HOUR
        left = horizon - EARLIER
        if horizon <= self.horizon:
            return False
        self.horizon = horizon
        before = len(self._rows)
        for pane in sorted(pane for pane in self.parts if pane < horizon):
            parts = self.parts.pop(pane)
            self._rows |= dict.fromkeys((self._key(pane, partition) for partition in parts), None)
            some = [_decode_part(row) for _, row in parts.values()]
            self.settled[pane] = self._rows[self._key(pane)] = _past(_sum(part.texts for part in some), (part.words for part in some), GRAMS_KEPT)
        for pane in sorted(pane for pane in self.settled if pane < left):
            self.long_run = self._rows[self._key()] = _add_to_long_run(self.long_run, self.settled.pop(pane), pane // DAY)
            self._rows[self._key(pane)] = None
        return len(self._rows) != before

    def _key(self, pane: int = -1, partition: int = -1) -> bytes:
        head, tail = encode_key(ROLLUP_ROW, (self.site, GRAM, int(Pane.QUARTER_HOUR), ""), (str(partition),) if partition >= 0 else ())
        return b"%b%d%b" % (head, pane, tail)

    @property
    def changed(self) -> int:
        """How many rows of usual size the next flush will write for it."""
        return sum(128 + len(row or b"") for row in self._rows.values()) // 128

    def drain(self) -> dict[bytes, bytes | None]:
        rows, self._rows = self._rows, {}
        return rows

    def load(self, pane: int, labels: list[str], value: bytes) -> None:
        """Take over one row."""
        self.version += 1
        if labels:
            self.parts.setdefault(pane, {})[int(labels[0])] = (_decode_part(value).seq, value)
        elif pane < 0:
            self.long_run = value
        else:
            self.settled[pane] = value
            self.horizon = max(self.horizon, pane + QUARTER_HOUR)


_ALL = name_of(ALL)


def _sum(counts: Iterable[Mapping[int, int]]) -> Counter[int]:
    total: Counter[int] = Counter()
    for some in counts:
        total.update(some)
    return total


def _kept(texts: Mapping[int, int], most: int = GRAMS_KEPT) -> dict[int, int]:
    """The grams in most texts. The window is cut as the past was, else what was cut there would look new."""
    return dict(nsmallest(most, texts.items(), key=lambda item: (-item[1], item[0]))) if len(texts) > most else dict(texts)


def _beyond_chance(found: Collection[Score], now: Mapping[int, int], before: Collection[Mapping[int, int]], share: float, tested: int) -> list[Score]:
    """Those that are discoveries among so many `tested`. What was cut from a pane before may have been in as many texts as what was kept of it."""
    cuts = [(texts, min(texts.values()) if len(texts) >= GRAMS_KEPT else 0) for texts in before]
    chances = {name: chance(now[name], sum([texts.get(name, cut) for texts, cut in cuts]), share) for name, _ in found}
    most = discovery_limit(chances.values(), tested)
    return [score for score in found if chances[score.name] <= most]


def _past(texts: Mapping[int, int], said: Iterable[Iterable[str]], most: int, day: int = 0) -> bytes:
    kept = _kept(texts, most)
    return encode_value(Past(kept, tuple(sorted(gram for gram in set(chain.from_iterable(said)) if name_of(gram) in kept)), day))


def _add_to_long_run(known: bytes | None, pane: bytes, day: int) -> bytes:
    old, new = Past(day=day) if known is None else _decode_past(known), _decode_past(pane)
    days = max(0, day - old.day)
    texts = {name: left for name, count in old.texts.items() if (left := count >> days)}
    return _past(_sum((texts, new.texts)), (old.words, new.words), PRIOR_KEPT, max(day, old.day))


def _with_sample(theme: Theme, samples: Iterable[str]) -> Theme:
    return msgspec.structs.replace(theme, sample=next((sample for sample in samples if theme.gram in grams_of(sample)), None))
