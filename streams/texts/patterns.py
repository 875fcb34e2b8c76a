"""Word patterns by category: what complaints look like. The list is data (`patterns.txt`, with a version); a site may add to it and mute categories.

A pattern is a row of slots; a slot is a set of words, prefixes, or a class; between two slots up to n other words may stand. All patterns are matched at
once: each has a bit, and a word has for every place of a pattern the bits of the patterns it fits there. That is looked up once per distinct word.
"""

import re
from collections.abc import Mapping, Sequence
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
WORDS_REMEMBERED = 100_000
LONGEST_REMEMBERED = 64

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
    """Patterns, compiled. `find` says which of them a text holds."""

    def __init__(self, patterns: Sequence[Pattern]) -> None:
        self.patterns = tuple(patterns)
        depth = max((len(pattern.slots) for pattern in patterns), default=1)
        self._nothing = (0,) * max(depth, 2)
        self._exact: dict[str, tuple[int, ...]] = {}
        self._prefixes: dict[str, tuple[int, ...]] = {}
        self._endings: dict[str, tuple[int, ...]] = {}
        self._any = self._nothing
        self._single = 0
        """Patterns of one slot."""
        self._last = list(self._nothing)
        """By place: patterns whose last slot it is."""
        self._within: list[list[int]] = [[] for _ in self._nothing]
        """By place and number of words between: patterns that allow so many before that place."""
        for number, pattern in enumerate(patterns):
            self._compile(1 << number, pattern)
        self._exact = {entry: fits if entry == END else _either(fits, self._any) for entry, fits in self._exact.items()}
        self._prefix_lengths = sorted({len(prefix) for prefix in self._prefixes})
        self._fits: dict[str, tuple[int, ...]] = {}
        """What was looked up, within bounds."""

    def _compile(self, bit: int, pattern: Pattern) -> None:
        for place, (slot, gap) in enumerate(zip(pattern.slots, pattern.gaps, strict=True)):
            here = tuple(bit if at == place else 0 for at in range(len(self._nothing)))
            for table, found in ((self._exact, slot.exact), (self._prefixes, slot.prefixes), (self._endings, slot.endings)):
                for entry in found:
                    table[entry] = _either(table.get(entry, self._nothing), here)
            if slot.any:
                self._any = _either(self._any, here)
            within = self._within[place]
            within += [0] * (gap + 1 - len(within))
            for between in range(gap + 1):
                within[between] |= bit
        last = len(pattern.slots) - 1
        self._last[last] |= bit
        if not last:
            self._single |= bit

    def _look_up(self, found: str) -> tuple[int, ...]:
        """The patterns a word fits, by place."""
        fits = self._exact.get(found, self._nothing if found == END else self._any)
        if found != END:
            for length in self._prefix_lengths:
                more = self._prefixes.get(found[:length])
                if more is not None and length <= len(found):
                    fits = _either(fits, more)
            for ending, more in self._endings.items():
                if found.endswith(ending):
                    fits = _either(fits, more)
        if len(found) <= LONGEST_REMEMBERED:
            if len(self._fits) >= WORDS_REMEMBERED:
                self._fits.clear()
            self._fits[found] = fits
        return fits

    def forget(self) -> None:
        """Forgets all words, as a fresh process would; for measurements."""
        self._fits.clear()

    def find(self, words: Sequence[str]) -> list[Match]:
        """One match for each category and place where one begins, in the order of the text."""
        known, look_up = self._fits.get, self._look_up
        fits = [known(found) or look_up(found) for found in (*words, END)]
        single, within = self._single, self._within[1]
        possible = reduce(or_, [fit[0] for fit in fits]) & reduce(or_, [fit[1] for fit in fits], single)
        matches: list[Match] = []
        if possible:
            for start, fit in enumerate(fits):
                alive = fit[0] & possible
                if alive:
                    completed = [(alone, start)] if (alone := alive & single) else []
                    here, reached = start, dict[int, int]()
                    for allowed, following in zip(within, fits[start + 1 : start + 1 + len(within)], strict=False):
                        here += 1
                        if fitting := alive & allowed & following[1]:
                            reached[here] = fitting
                    if reached:
                        self._follow(reached, fits, completed)
                    if completed:
                        self._note(completed, start, len(words), matches)
        return matches

    def _follow(self, reached: dict[int, int], fits: list[tuple[int, ...]], completed: list[tuple[int, int]]) -> None:
        """Add the patterns that are completed and where; `reached` has, by place in the text, those whose second slot the word there fits."""
        place = 1
        while reached:
            last = self._last[place]
            completed += [(done, at) for at, bits in reached.items() if (done := bits & last)]
            before = {at: more for at, bits in reached.items() if (more := bits & ~last)}
            place, reached = place + 1, {}
            for at, bits in before.items():
                for here, allowed in zip(range(at + 1, len(fits)), self._within[place], strict=False):
                    if fitting := bits & allowed & fits[here][place]:
                        reached[here] = reached.get(here, 0) | fitting

    def _note(self, completed: list[tuple[int, int]], start: int, words: int, matches: list[Match]) -> None:
        """One match of each category, the shortest."""
        found = set[str]()
        for bits, end in completed:
            while bits:
                number = bits.bit_length() - 1
                bits ^= 1 << number
                pattern = self.patterns[number]
                if pattern.category not in found:
                    found.add(pattern.category)
                    matches.append(Match(pattern.category, start, min(end + 1, words), pattern))


def _either(some: tuple[int, ...], more: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(map(or_, some, more))


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
