"""A normal form of what people type: one kind of quotes, no links and names, no streeetched words; and the words of it that are looked for.

Only the second opinion reads it (`streams.texts.overlay`); the standard score is of the text as written. What depends on one token alone is
remembered by token; what concerns the whole text is done only where a cheap test says that it is needed.
"""

import html
import re
from collections.abc import Callable, Iterable
from itertools import chain
from string import punctuation
from typing import Generic, TypeVar

from streams.vader import BOOSTERS, EMOJI, LEXICON

BRAND, USER = "@brand", "@user"
"""What stands for the names of the site, and for anyone's handle."""
TOKENS_REMEMBERED = 100_000
LONGEST_REMEMBERED = 64
Found = TypeVar("Found")

_DELETED = "\ufe0e\ufe0f\u200b\u200c\u200d\u2060\ufeff\u00ad" + "".join(map(chr, range(0x1F3FB, 0x1F400)))
"""Variation selectors, joiners, invisible blanks, soft hyphens, skin tones."""
_TYPOGRAPHY = str.maketrans(
    dict.fromkeys("’‘‛ʼ´′", "'") | dict.fromkeys("“”„‟«»″", '"') | dict.fromkeys("\u00a0\u2007\u2008\u2009\u200a\u202f\u205f\u3000", " ")
    | dict.fromkeys("–—―", " - ") | {"…": "...", "！": "!", "？": "?"} | dict.fromkeys(_DELETED)
)  # fmt: skip

_LINK = re.compile(r"(?:https?://|www\.)\S*", re.IGNORECASE)
_HANDLE = re.compile(r"(?<!\w)@(?!brand\b)\w+")
_LETTERS = re.compile(r"[A-Za-z]+")
_STRETCHED = re.compile(r"([A-Za-z])\1\1+")
_GLUED = re.compile(r"(?<=[^\W\d_])([,;!?]+|\.{2,})(?=[^\W\d_])|(?<=[a-z])(\.)(?=[A-Z])")
_PARTED_NOT = re.compile(
    r"\b(?:(do|does|did|is|are|was|were|has|have|had|ca|could|wo|would|should|ai|must|need|might)(?: n't| nt)"
    r"|(do|does|did|is|are|was|were|has|have|had|ca|could|wo|would|should|ai|must|need|might)n t)\b",
    re.IGNORECASE,
)
_ENDS = ".,;:!?()\"'"
_HUMPS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+|[^\W\d_A-Za-z]+")
_DIGITS = re.compile(r"\d+")
_SHORT_FORMS = {"u": "you", "ur": "your", "pls": "please"}
_KNOWN = LEXICON.keys() | BOOSTERS.keys()
_WITH_DOUBLE = """all been book bill call cool door fee feel food full keep look see seen sell seem soon still tell too week well will off pool room agree
    tomorrow really need coffee issue process access address follow happen better little middle wrap app apps bottle different email"""
_DOUBLED = frozenset(_WITH_DOUBLE.split())
"""Words with a double letter that the lexicon does not have."""


class Memory(dict[str, Found], Generic[Found]):
    """What a function says of a token, within bounds: all is forgotten when it grows too large, and a long token is not remembered."""

    def __init__(self, find: Callable[[str], Found]) -> None:
        super().__init__()
        self._find = find

    def __missing__(self, token: str) -> Found:
        found = self._find(token)
        if len(token) <= LONGEST_REMEMBERED:
            if len(self) >= TOKENS_REMEMBERED:
                self.clear()
            self[token] = found
        return found


class Names:
    """The names of a site. Each is replaced by `@brand`, a hashtag or handle of it too, because a brand may be called Super or Delight."""

    def __init__(self, names: Iterable[str] = ()) -> None:
        found = {" ".join(name.translate(_TYPOGRAPHY).lower().split()) for name in names} - {""}
        self._begin = sorted({name.partition(" ")[0] for name in found})
        alternatives = "|".join(r"\s+".join(map(re.escape, name.split())) for name in sorted(found, key=lambda name: (-len(name), name)))
        self._pattern = re.compile(rf"(?<!\w)[@#]?(?:{alternatives})(?!\w)", re.IGNORECASE)

    def hide(self, text: str) -> str:
        """The text with `@brand` in place of the names."""
        if not self._begin:
            return text
        lower = text.lower()
        for begin in self._begin:
            if begin in lower:
                return self._pattern.sub(BRAND, text)
        return text


NO_NAMES = Names()


def normalise(text: str, names: Names = NO_NAMES) -> str:
    """The normal form: words parted by single blanks. Hashtags stay whole, as topics are no feelings; `words` splits them."""
    if "&" in text:
        text = html.unescape(text)
    if not text.isascii():
        text = text.translate(_TYPOGRAPHY)
        for emoji in EMOJI.keys() & set(text):
            text = text.replace(emoji, f" {emoji} ")
    pieces = list(map(_piece_of, names.hide(text).split()))
    if "" in pieces:
        pieces = [piece for piece in pieces if piece]
    normal = " ".join(pieces)
    if " n't" in normal or " nt" in normal or "n t " in normal:
        normal = _PARTED_NOT.sub(_join_not, normal)
    return normal


def words(normal: str) -> list[str]:
    """What patterns and themes compare: lower case, without outer punctuation and apostrophes, numbers as `0`, CamelCase hashtags split."""
    return list(chain.from_iterable(map(_words_of, normal.split())))


def words_of(token: str) -> tuple[str, ...]:
    """The words of one token of a normal form: one, none where it is punctuation alone, perhaps several of a hashtag."""
    if token[0] == "#":
        return tuple(found for part in _HUMPS.findall(token) if (found := word(part)))
    found = word(token)
    return (found,) if found else ()


def word(token: str) -> str:
    """One token as `words` has it; nothing where it is punctuation alone."""
    found = token.strip(punctuation).lower()
    if not found.isalpha():
        found = _DIGITS.sub("0", found.replace("'", ""))
    return _SHORT_FORMS.get(found, found)


def _join_not(match: re.Match[str]) -> str:
    """“do n't”, “don t”, “did nt” as one word."""
    return f"{match[1] or match[2]}n't"


def _piece(token: str) -> str:
    """What stands for one token of the text: nothing for a link, several words where a blank is missing."""
    if not token.strip(_ENDS).isalpha():
        token = token.replace("`", "'")
        if "/" in token or "." in token:
            token = _LINK.sub(" ", token)
        if "@" in token:
            token = _HANDLE.sub(USER, token)
        token = " ".join(_GLUED.sub(r"\1\2 ", token).split())
    return _LETTERS.sub(_unstretched, token) if _STRETCHED.search(token) is not None else token


def _unstretched(match: re.Match[str]) -> str:
    """A word as it is where it is known, else with two letters in place of each three or more, else with one."""
    stretched = match[0]
    if stretched.lower() in _KNOWN:
        return stretched
    double = _STRETCHED.sub(r"\1\1", stretched)
    return double if double.lower() in _KNOWN or double.lower() in _DOUBLED else _STRETCHED.sub(r"\1", stretched)


_pieces, _words = Memory(_piece), Memory(words_of)
_piece_of, _words_of = _pieces.__getitem__, _words.__getitem__


def forget() -> None:
    """Forgets all tokens, as a fresh process would; for measurements."""
    _pieces.clear()
    _words.clear()
