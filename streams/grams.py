"""Grams: what negative texts say, in phrases of one to three words, counted per site and quarter hour.

What people wrote stays with the intake. A partial names a gram by a hash of 32 bits, which many phrases share; its words travel only once three
authors of the partition have used them in the panes it holds (`streams.themes` publishes none that fewer than three wrote).

Authors are counted by linear counting (Whang, Vander-Zanden, Taylor 1990): of 64 bits each author sets one. Bits are joined by "or" across
panes and partitions, so nobody counts twice, and as many bits as are set, so many authors there are at least.
"""

from collections.abc import Iterable, Iterator, KeysView, Mapping
from heapq import nsmallest
from itertools import chain, groupby
from math import log

import msgspec
from vaderSentiment.vaderSentiment import NEGATE
from xxhash import xxh3_64_intdigest

from streams.engagement import PartialSeries, encode_value
from streams.panes import HOUR, QUARTER_HOUR, Pane
from streams.rows import GRAM_ROW
from streams.sites import Sites
from streams.texts.normal import normalise, words
from streams.vader import BOOSTERS, EMOJI, LEXICON

LEAST_AUTHORS = 3
"""No gram is shown, and no words of it leave the intake, that fewer people wrote."""
LONGEST_WORD, WORDS_READ, TEXT_READ = 24, 60, 1_000
"""Characters of a word, words and characters of a text that are looked at."""
GRAMS_PER_PANE = 4_000
"""Of a site and quarter hour in one partition; one more, and the lesser half goes."""
GRAMS_PER_FLUSH = 40_000
PARTIALS_PER_FLUSH = 32
SAMPLES, SAMPLE_LENGTH = 20, 280
"""Texts kept of a site's quarter hour in one partition where the operator asked for samples, and characters of one."""
GRACE = HOUR
"""How far behind the watermark a text still counts: that of minutes, as what is new is read over an hour."""

TOPICS = ("social", "reviews")
"""Topics whose events hold texts."""
GRAM, SAMPLE = "gram", "sample"
"""Names, among those of facts, under which partials carry the counts of grams, and samples."""
ALL = ""
"""The gram that every text holds: it counts the negative texts."""

Cells = dict[str, list[int]]
"""Per gram the texts that hold it, and the bits of their authors."""


_STOP = frozenset(
    """
    a about after again all also am an and any are as at be because been before being both but by can could did do does doing down during each even
    ever every few for from further get gets got had has have having he her here hers him his how i id if ill im in into is it its ive just many me
    more most much my myself now of off on once only or other our ours out over own rt same she should so some such than that thats the their them
    then there these they theyre this those through to u under until up us was we were weve what when where which while who whom why will with would
    yet you your youre yours
    """.split()  # noqa: SIM905
)
_BREAK, _STOPS, _PLAIN, _TELLS = range(4)
_PLAIN_WORDS = frozenset(word.replace("'", "") for word in chain(LEXICON, NEGATE, BOOSTERS))
_KINDS_KEPT = 100_000


class _Kinds(dict[str, int]):
    """What a word is to a gram: its end, nothing at either end, a word that says only how one feels (or a number, a sign), or one that tells something."""

    def __missing__(self, word: str) -> int:
        if len(word) > LONGEST_WORD or not word.isprintable() or any(sign in word for sign in "@/\\:"):
            kind = _BREAK
        elif word in _STOP or (len(word) == 1 and word.isascii() and not word.isdigit()):
            kind = _STOPS
        elif word in _PLAIN_WORDS or (word.isascii() and word.upper() == word) or not LEXICON.keys().isdisjoint(EMOJI.get(word, "").split()):
            kind = _PLAIN
        else:
            kind = _TELLS
        if len(self) >= _KINDS_KEPT:
            self.clear()
        self[word] = kind
        return kind


_kinds = _Kinds()


def grams_of(text: str) -> KeysView[str]:
    """The grams of a text's first 60 words: of one to three words, without stop words at the ends, without links, handles and addresses.

    Numbers are all `0`; a word said several times in a row is said once. Grams that say nothing but a feeling (words of VADER's lexicon) are left
    out: they only find again what made the text negative.
    """
    return _grams([word for word, _ in groupby(words(_sayable(text)))][:WORDS_READ])


def _grams(said: list[str]) -> KeysView[str]:
    kinds = [_kinds[word] for word in said]
    found: dict[str, None] = {}
    for start, kind in enumerate(kinds):
        if kind <= _STOPS:
            continue
        tells = False
        for end in range(start, min(start + 3, len(said))):
            kind = kinds[end]
            if kind == _BREAK:
                break
            tells = tells or kind == _TELLS
            if tells and kind != _STOPS:
                found[said[start] if start == end else " ".join(said[start : end + 1])] = None
    return found.keys()


def _sayable(text: str) -> str:
    """The normal form without links, handles and addresses."""
    normal = normalise(text[:TEXT_READ])
    return " ".join([piece for piece in normal.split() if "@" not in piece]) if "@" in normal else normal


def sample_of(text: str) -> str:
    """What may be shown of a text: its begin, without links, handles, addresses and long numbers."""
    return " ".join("…" if sum(map(str.isdigit, piece)) > 4 else piece for piece in _sayable(text).split())[:SAMPLE_LENGTH]


def digest(text: str) -> int:
    return xxh3_64_intdigest(text.encode())


def is_copy(text: str) -> bool:
    """Whether a text is someone else's, passed on."""
    return text[:4].upper() == "RT @"


def author_bit(subject: str) -> int:
    return 1 << (digest(subject) & 63)


def authors_of(bits: int, texts: int) -> int:
    """About how many authors set these bits, at least as many as are set; 266 stands for more."""
    clear = max(1, 64 - bits.bit_count())
    return min(texts, max(bits.bit_count(), round(-64 * log(clear / 64))))


def name_of(gram: str) -> int:
    """The 32 bits that stand for a gram outside the intake."""
    return digest(gram) & 0xFFFF_FFFF


class Heard(msgspec.Struct, array_like=True, eq=False):
    """What negative texts of one site and quarter hour said."""

    cells: Cells = {}
    samples: list[str] = []

    def add(self, other: "Heard") -> None:
        for gram, (texts, authors) in other.cells.items():
            cell = self.cells.get(gram)
            if cell is None:
                self.cells[gram] = [texts, authors]
            else:
                cell[0] += texts
                cell[1] |= authors
        if other.samples:
            self.samples = nsmallest(SAMPLES, {*self.samples, *other.samples}, key=digest)


_Pane = tuple[str, int]
"""A site, and the start of a quarter hour."""
_decode_heard = msgspec.msgpack.Decoder(dict[str, dict[int, Heard]]).decode


class Grams:
    """The grams of one partition's negative texts. A flush writes what it heard as one row; the counts are the sum of the rows."""

    def __init__(self, sites: Sites) -> None:
        self._sites = sites
        self.heard: dict[str, dict[int, Heard]] = {}
        """By site and pane."""
        self.horizon = 0
        """Panes that end at or before this are no longer kept."""
        self.pruned = 0
        """Grams dropped because there were too many, since the process started."""
        self._fresh: dict[str, dict[int, Heard]] = {}
        self._size = 0
        self._rows: dict[int, int] = {}
        """Rows held, by the number of their flush, with their newest pane."""
        self._dropped = 0, 0
        """Horizon and flush of the last look for expired panes."""
        self._untold: dict[_Pane, None] = {}
        self.told = 0
        """The flush up to which everything was told. As the stamp of a flush has it, it is acknowledged: what a flush sends arrives before the next begins."""

    def note(self, site: str, subject: str, at: int, text: str) -> None:
        """Count the grams of a negative text. `subject` is its author, `at` its time (ms); it must not lie further back than the grace."""
        pane = at - at % QUARTER_HOUR
        if pane + QUARTER_HOUR <= self.horizon or is_copy(text):
            return
        heard = self._fresh.setdefault(site, {}).setdefault(pane, Heard())
        cells, author, grams = heard.cells, author_bit(subject), grams_of(text)
        for gram in (ALL, *grams):
            cell = cells.get(gram)
            if cell is None:
                cells[gram] = [1, author]
            else:
                cell[0] += 1
                cell[1] |= author
        self._size += len(grams)
        if self._sites[site].samples:
            heard.add(Heard({}, [sample_of(text)]))

    @property
    def changed(self) -> int:
        """How many rows of usual size the next flush will write for them."""
        return self._size // 8

    @property
    def waits(self) -> bool:
        """Whether something is counted that the owners of the sites have not been told."""
        return bool(self._untold)

    def drain(self, seq: int) -> list[tuple[bytes, bytes | None]]:
        """The row of what was heard since the last call, and tombstones of rows that hold nothing any more."""
        rows: list[tuple[bytes, bytes | None]] = [(key, None) for key in self._drop()]
        fresh, size = self._fresh, self._size
        self._fresh, self._size = {}, 0
        if not fresh:
            return rows
        if size > GRAMS_PER_FLUSH:
            share = GRAMS_PER_FLUSH / size
            for heard in chain.from_iterable(panes.values() for panes in fresh.values()):
                self._prune(heard, max(1, int(len(heard.cells) * share)))
        rows.append((GRAM_ROW + b"%d" % seq, encode_value(fresh)))
        self._add(seq, fresh)
        return rows

    def _add(self, seq: int, fresh: dict[str, dict[int, Heard]]) -> None:
        self._rows[seq] = max(pane for panes in fresh.values() for pane in panes)
        for site, panes in fresh.items():
            for pane, heard in panes.items():
                known = self.heard.setdefault(site, {}).setdefault(pane, Heard())
                known.add(heard)
                if len(known.cells) > GRAMS_PER_PANE:
                    self._prune(known, GRAMS_PER_PANE // 2)
                self._untold[site, pane] = None

    def _prune(self, heard: Heard, most: int) -> None:
        """Keep those in most texts, of equals the shorter."""
        kept = nsmallest(most, heard.cells, key=lambda gram: (-heard.cells[gram][0], gram.count(" "), gram))
        self.pruned += len(heard.cells) - len(kept)
        heard.cells = {gram: heard.cells[gram] for gram in kept}

    def tell(self, seq: int) -> list[tuple[str, list[PartialSeries]]]:
        """What the owners of the sites are to know, by site: whole panes, cumulative, a bounded number of them; those left over `waits` for."""
        told = list(self._untold)[:PARTIALS_PER_FLUSH]
        for pane in told:
            del self._untold[pane]
        if not self._untold:
            self.told = seq
        return [(site, list(self._partials(site, pane))) for site, pane in told]

    def _partials(self, site: str, pane: int) -> Iterator[PartialSeries]:
        heard, panes = self.heard[site][pane], [held.cells for held in self.heard[site].values()]
        said = tuple(gram for gram in heard.cells if gram and _authors(panes, gram) >= LEAST_AUTHORS)
        counts = [{name_of(gram): cell[part] for gram, cell in heard.cells.items()} for part in (0, 1)]
        yield PartialSeries(GRAM, int(Pane.QUARTER_HOUR), "", said, {pane: counts})
        if heard.samples:
            yield PartialSeries(SAMPLE, int(Pane.QUARTER_HOUR), "", tuple(heard.samples), {pane: []})

    def expire(self, watermarks: Mapping[str, int]) -> None:
        """Let go, by the next flush on, of panes that no text may change any more."""
        self.horizon = max(self.horizon, min((at for topic, at in watermarks.items() if topic in TOPICS), default=0) - GRACE)

    def _drop(self) -> Iterator[bytes]:
        """Drop expired panes, once they are told; yields the keys of the rows that held nothing else."""
        if self._dropped == (self.horizon, self.told):
            return
        self._dropped = self.horizon, self.told
        for site, panes in list(self.heard.items()):
            for pane in [pane for pane in panes if pane + QUARTER_HOUR <= self.horizon and (site, pane) not in self._untold]:
                del panes[pane]
            if not panes:
                del self.heard[site]
        oldest = min((pane for panes in self.heard.values() for pane in panes), default=self.horizon)
        for seq in [seq for seq, newest in self._rows.items() if newest < oldest]:
            del self._rows[seq]
            yield GRAM_ROW + b"%d" % seq

    def load(self, rows: Iterable[tuple[bytes, bytes]], horizon: int, told: int) -> None:
        """Take over rows of the state topic. What may not have been told is told again."""
        self.horizon, self.told = horizon, told
        for seq, value in sorted((int(key[len(GRAM_ROW) :]), value) for key, value in rows):
            known = dict(self._untold)
            self._add(seq, _decode_heard(value))
            if seq <= told:
                self._untold = known

    def count(self) -> int:
        """Grams held."""
        return sum(len(heard.cells) for panes in self.heard.values() for heard in panes.values())


def _authors(panes: Iterable[Cells], gram: str) -> int:
    bits = 0
    for cells in panes:
        cell = cells.get(gram)
        if cell is not None:
            bits |= cell[1]
    return bits.bit_count()
