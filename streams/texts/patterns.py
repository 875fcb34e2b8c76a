"""Word patterns by category: what complaints look like. The list is data (`patterns.txt`, with a version); a site may add to it and mute categories.

A pattern is a row of slots; a slot is a set of words, prefixes, or a class; between two slots up to n other words may stand. All patterns are matched at
once: each slot has a bit, and a word has the bits of the slots it fits.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import reduce
from importlib import resources
from operator import or_
from typing import Final, NamedTuple

from streams.texts.normal import NO_NAMES, Names, word

STRONG, WEAK, REDUCES, REPORTED = ROLES = ("strong", "weak", "reduces", "reported")
END: Final = "$"
"""The end of the text, as a slot."""
MOST_SLOTS, WIDEST_GAP, LONGEST_PATTERN, MOST_SITE_PATTERNS = 5, 6, 500, 200
SHORTEST_PREFIX = 2

_GAP = re.compile(r"~([1-9]\d?)")
_CLASS = re.compile(r"\{([A-Z]+)\}")


class PatternError(ValueError):
    """A pattern cannot be used; the text names the place in it and what is allowed."""


class Slot(NamedTuple):
    """Words that fit one place of a pattern."""

    exact: frozenset[str] = frozenset()
    prefixes: frozenset[str] = frozenset()
    endings: frozenset[str] = frozenset()
    any: bool = False

    def fits(self, found: str) -> bool:
        """Whether a word fits (the definition; matching looks words up instead)."""
        if found in self.exact or found == END:
            return found in self.exact
        return self.any or found.startswith(tuple(self.prefixes)) or found.endswith(tuple(self.endings))

    def __or__(self, other: "Slot") -> "Slot":
        return Slot(self.exact | other.exact, self.prefixes | other.prefixes, self.endings | other.endings, self.any or other.any)


class Pattern(NamedTuple):
    """One line of the list."""

    category: str
    text: str
    slots: tuple[Slot, ...]
    gaps: tuple[int, ...]
    """How many other words may stand before each slot; 0 before the first."""


class PatternList(NamedTuple):
    """The list as it is shipped."""

    version: int
    roles: dict[str, str]
    """Category → role, in the order of the list."""
    classes: dict[str, Slot]
    patterns: tuple[Pattern, ...]


class Match(NamedTuple):
    """A pattern found: words `start` to `end` (exclusive) of the text."""

    category: str
    start: int
    end: int
    pattern: Pattern


class Patterns:
    """Patterns, compiled. `find` says which of them a text holds.

    The bit of pattern n at place k is k · width + n, so that a shift by the width asks for the next slot of all patterns at once.
    """

    def __init__(self, patterns: Sequence[Pattern]) -> None:
        self.patterns = tuple(patterns)
        self._width = max(1, len(patterns))
        self._depth = max((len(pattern.slots) for pattern in patterns), default=1)
        self._exact: dict[str, int] = {}
        self._prefixes: dict[str, int] = {}
        self._endings: dict[str, int] = {}
        self._any = self._last = self._beyond = 0
        """Slots that any word fits, slots that end a pattern, and the places after these."""
        self._within = [0] * (1 + max((gap for pattern in patterns for gap in pattern.gaps), default=0))
        """By number of words between: the slots that allow so many before them."""
        for number, pattern in enumerate(patterns):
            self._compile(number, pattern)
        self._prefix_lengths = sorted({len(prefix) for prefix in self._prefixes})
        self._begins = {prefix[:SHORTEST_PREFIX] for prefix in self._prefixes}

    def _compile(self, number: int, pattern: Pattern) -> None:
        bits = [1 << place * self._width + number for place in range(self._depth)]
        for bit, slot, gap in zip(bits, pattern.slots, pattern.gaps, strict=False):
            for table, found in ((self._exact, slot.exact), (self._prefixes, slot.prefixes), (self._endings, slot.endings)):
                for entry in found:
                    table[entry] = table.get(entry, 0) | bit
            if slot.any:
                self._any |= bit
            for between in range(gap + 1):
                self._within[between] |= bit
        self._last |= bits[len(pattern.slots) - 1]
        self._beyond |= sum(bits[len(pattern.slots) :])

    def fits(self, found: str) -> int:
        """The slots that a word fits."""
        if found == END:
            return self._exact.get(END, 0)
        fits = self._exact.get(found, 0)
        if found[:SHORTEST_PREFIX] in self._begins:
            for length in self._prefix_lengths:
                fits |= self._prefixes.get(found[:length], 0)
        for ending, more in self._endings.items():
            if found.endswith(ending):
                fits |= more
        return fits | self._any if fits else self._any

    def find(self, words: Iterable[str]) -> list[Match]:
        """One match for each category and place where one begins, in the order of the text."""
        return self.match(map(self.fits, words))

    def match(self, words: Iterable[int]) -> list[Match]:
        """The same, of words as the slots they fit."""
        fits = [*words, self.fits(END)]
        seen = reduce(or_, fits) | self._beyond
        possible = seen & ((1 << self._width) - 1)
        for place in range(1, self._depth):
            possible &= seen >> place * self._width
        matches: list[Match] = []
        if possible:  # patterns of which each slot is somewhere
            for start, alive in [(start, alive) for start, fit in enumerate(fits) if (alive := fit & possible)]:
                if completed := self._follow(start, alive, fits):
                    self._note(completed, start, len(fits) - 1, matches)
        return matches

    def _follow(self, start: int, alive: int, fits: list[int]) -> list[tuple[int, int]]:
        """Which of the patterns that begin at a word are completed, and where, those of fewer slots first."""
        width, within, last = self._width, self._within, self._last
        completed: list[tuple[int, int]] = []
        reached = {start: alive}
        while reached:
            following: dict[int, int] = {}
            for at, bits in reached.items():
                if done := bits & last:
                    completed.append((done, at))
                if bits := (bits ^ done) << width:
                    for between, fit in enumerate(fits[at + 1 : at + 1 + len(within)]):
                        if (fitting := bits & fit) and (fitting := fitting & within[between]):
                            here = at + 1 + between
                            following[here] = following.get(here, 0) | fitting
            reached = following
        return completed

    def _note(self, completed: list[tuple[int, int]], start: int, words: int, matches: list[Match]) -> None:
        """One match of each category, the shortest."""
        found = set[str]()
        for bits, end in completed:
            while bits:
                place = bits.bit_length() - 1
                bits ^= 1 << place
                pattern = self.patterns[place % self._width]
                if pattern.category not in found:
                    found.add(pattern.category)
                    matches.append(Match(pattern.category, start, min(end + 1, words), pattern))


# --- reading the list ------------------------------------------------------------------------------------------------


def read_list(text: str) -> PatternList:
    """The list from its text; raises PatternError with the line."""
    version, category = 0, ""
    roles: dict[str, str] = {}
    classes: dict[str, Slot] = {}
    patterns: list[Pattern] = []
    for number, line in enumerate(text.splitlines(), 1):
        try:
            match line.split():
                case [] | ["#", *_]:
                    pass
                case ["version", digits]:
                    version = int(digits)
                case [name, "=", *entries] if (named := _CLASS.fullmatch(name)) is not None:
                    classes[named[1]] = reduce(or_, [_entry(entry) for entry in entries], Slot())
                case [name, role] if name.startswith("@") and role in ROLES:
                    category = name[1:]
                    roles[category] = role
                case _ if category:
                    patterns.append(read_pattern(category, line, classes))
                case _:
                    raise PatternError("a pattern before the first category")
        except ValueError as error:
            raise PatternError(f"line {number}: {error}") from error
    return PatternList(version, roles, classes, tuple(patterns))


def read_pattern(category: str, text: str, classes: Mapping[str, Slot], names: Names = NO_NAMES) -> Pattern:
    """One pattern from its text; raises PatternError that says what is allowed."""
    if len(text) > LONGEST_PATTERN:
        raise PatternError(f"it is longer than {LONGEST_PATTERN} characters")
    slots: list[Slot] = []
    gaps: list[int] = []
    gap: int | None = None
    for part in names.hide(text).split():
        if part.startswith("~"):
            found = _GAP.fullmatch(part)
            if found is None or int(found[1]) > WIDEST_GAP:
                raise PatternError(f"{part!r} is no gap: ~1 to ~{WIDEST_GAP} say how many other words may stand between two slots")
            if gap is not None or not slots:
                raise PatternError(f"the gap {part!r} must stand between two slots")
            gap = int(found[1])
            continue
        slots.append(reduce(or_, [_alternative(entry, classes) for entry in part.split("|")]))
        gaps.append(gap or 0)
        gap = None
    if gap is not None:
        raise PatternError("a gap must stand between two slots; nothing follows the last one")
    if not 1 <= len(slots) <= MOST_SLOTS:
        raise PatternError(f"it has {len(slots)} slots; 1 to {MOST_SLOTS} words or classes, parted by blanks, are allowed")
    if all(slot.any for slot in slots):
        raise PatternError("it fits every text; name at least one word")
    return Pattern(category, text, tuple(slots), tuple(gaps))


def _alternative(entry: str, classes: Mapping[str, Slot]) -> Slot:
    if "{" in entry or "}" in entry:
        named = _CLASS.fullmatch(entry)
        if named is None or named[1] not in classes:
            raise PatternError(f"{entry!r} is no class of words; classes: {', '.join(f'{{{name}}}' for name in classes)}")
        return classes[named[1]]
    return _entry(entry)


def _entry(entry: str) -> Slot:
    if entry == "*":
        return Slot(any=True)
    if entry == END:
        return Slot(exact=frozenset([END]))
    stem = word(entry.strip("*"))
    if not stem or "*" in stem or (entry.startswith("*") and entry.endswith("*")):
        raise PatternError(f"{entry!r} is no word; a slot is words parted by |, a prefix (delay*), an ending (*ing), a class or {END}")
    if "*" in entry and len(stem) < SHORTEST_PREFIX:
        raise PatternError(f"{entry!r} would fit too much; at least {SHORTEST_PREFIX} letters beside the *")
    if entry.endswith("*"):
        return Slot(prefixes=frozenset([stem]))
    return Slot(endings=frozenset([stem])) if entry.startswith("*") else Slot(exact=frozenset([stem]))


LIST: Final = read_list(resources.files("streams.texts").joinpath("patterns.txt").read_text(encoding="utf-8"))
