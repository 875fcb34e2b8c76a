"""VADER 3.3.2's rules over the official lexicon: the same doubles as `vaderSentiment`, several times faster.

C. J. Hutto and E. Gilbert, "VADER: A Parsimonious Rule-based Model for Sentiment Analysis of Social Media Text", ICWSM 2014.

Three things make it fast and change no result. What the rules need to know about a token is looked up once per distinct token. The rules
run only at words of the lexicon, and in full only where a neighbour can modify the word. Words without a valence are not added up.

The oddities of 3.3.2 are kept, since scores are compared across tools: "but" weighs equal valences twice and others not at all, "so" or "this"
before a word amplify without "never", and "badass" is never found as an idiom. Nothing here caps the length of a text, and "but" costs the square
of the words with a valence: see `streams.sentiment`.
"""

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from math import sqrt
from string import punctuation
from typing import NamedTuple

from vaderSentiment.vaderSentiment import (
    BOOSTER_DICT,
    C_INCR,
    N_SCALAR,
    NEGATE,
    SPECIAL_CASES,
    SentimentIntensityAnalyzer,
)

_official = SentimentIntensityAnalyzer()

EMOJI: dict[str, str] = {emoji: words for emoji, words in _official.emojis.items() if len(emoji) == 1}
"""Code point → its description. VADER looks at single code points, so its longer sequences never match. None is ASCII."""

LEXICON: dict[str, float] = _official.lexicon

BOOSTERS: dict[str, float] = {words: boost for words, boost in BOOSTER_DICT.items() if " " not in words}
BOOSTER_PAIRS: dict[tuple[str, ...], float] = {tuple(words.split()): boost for words, boost in BOOSTER_DICT.items() if " " in words}
IDIOMS: dict[tuple[str, ...], float] = {tuple(words.split()): valence for words, valence in SPECIAL_CASES.items() if " " in words}

CAPITALS: float = C_INCR
"""What capitals add where not all of the text is in capitals."""
NEGATION: float = N_SCALAR
"""“not good” is bad, but less so than “bad”."""
NEVER_AMPLIFIES = 1.25
"""“never so good”, “never this good”."""
TWO_WORDS_BACK, THREE_WORDS_BACK = 0.95, 0.9
"""What is left of a booster at that distance."""
BEFORE_BUT, AFTER_BUT = 0.5, 1.5
PER_EXCLAMATION_MARK, MOST_EXCLAMATION_MARKS = 0.292, 4
PER_QUESTION_MARK, MOST_QUESTION_MARKS, MANY_QUESTION_MARKS = 0.18, 3, 0.96
ALPHA = 15
"""Normalises the sum of valences to (-1, 1)."""

TOKENS_REMEMBERED = 65_536
LONGEST_REMEMBERED = 64

_PHRASE_WORDS = {word for phrase in (*BOOSTER_PAIRS, *IDIOMS) for word in phrase}
_RULE_WORDS = {"no", "or", "nor", "never", "so", "this", "without", "doubt", "least", "at", "very", "kind", "of", "but"} | _PHRASE_WORDS


@dataclass(frozen=True, slots=True, eq=False)
class Word:
    """What the rules know about a token."""

    name: str
    """The word in lower case, or nothing where no rule asks for it."""
    valence: float = 0.0
    in_lexicon: bool = False
    boost: float = 0.0
    negates: bool = False
    is_upper: bool = False

    stands_out: bool = False
    """Has a valence of its own (no booster has one), or is the “but” that divides a text."""
    interacts: bool = False
    """May change the valence of a word near it, or is changed by more than its capitals."""


def _word(name: str, lexicon: Mapping[str, float], *, is_upper: bool) -> Word:
    boosts, negates = name in BOOSTERS, name in NEGATE or "n't" in name
    return Word(
        name=name,
        valence=lexicon.get(name, 0.0),
        in_lexicon=name in lexicon,
        boost=BOOSTERS.get(name, 0.0),
        negates=negates,
        is_upper=is_upper,
        stands_out=name in lexicon or name == "but",
        interacts=boosts or negates or name in _RULE_WORDS,
    )


def _both_cases(name: str, lexicon: Mapping[str, float] = LEXICON) -> tuple[Word, Word]:
    """The word as it is, and in capitals."""
    return _word(name, lexicon, is_upper=False), _word(name, lexicon, is_upper=True)


_VOCABULARY = {name: _both_cases(name) for name in (*LEXICON, *BOOSTERS, *NEGATE, *_RULE_WORDS)}
_CONTRACTED_NOT = _both_cases("n't")
_PLAIN = _both_cases("")
_BEFORE_THE_TEXT = [Word("", in_lexicon=True)] * 3
"""A word of the lexicon modifies nothing, and neither does what is not there."""
_AFTER_THE_TEXT = [Word("")] * 2


class Tokens(dict[str, Word]):
    """Token → word: a bounded memory of what was looked up. Words `without` a valence are as if the lexicon did not have them."""

    def __init__(self, without: Collection[str] = ()) -> None:
        super().__init__()
        lexicon = {name: valence for name, valence in LEXICON.items() if name not in without} if without else LEXICON
        self._vocabulary = _VOCABULARY | {name: _both_cases(name, lexicon) for name in without}

    def __missing__(self, token: str) -> Word:
        stripped = token.strip(punctuation)
        if len(stripped) <= 2:  # probably an emoticon
            stripped = token
        name = stripped.lower()
        cases = self._vocabulary.get(name)
        if cases is None:
            cases = _CONTRACTED_NOT if "n't" in name else _PLAIN
        word = cases[stripped.isupper()]
        if len(token) <= LONGEST_REMEMBERED:
            if len(self) >= TOKENS_REMEMBERED:
                self.clear()
            self[token] = word
        return word


_tokens = Tokens()
_word_of = _tokens.__getitem__
forget = _tokens.clear
"""Forgets all tokens, as a fresh process would; for measurements."""
_non_ascii = re.compile(r"[^\x00-\x7f]+")


def compound(text: str) -> float:
    """VADER's compound score, -1 to 1 in four decimals."""
    described = describe_emoji(text)  # as `heard`, without making it
    valences = _valences([_word_of(token) for token in described.split()])
    return _compound(valences, _punctuation_emphasis(described)) if valences else 0.0


class Heard(NamedTuple):
    """A text as the rules take it: texts whose words and marks are the same have the same score."""

    words: list[Word]
    described: str

    def compound(self) -> float:
        valences = _valences(self.words)
        return _compound(valences, _punctuation_emphasis(self.described)) if valences else 0.0

    def sounds_like(self, other: "Heard") -> bool:
        """Whether the other text must have the same score."""
        ours, theirs = self.described, other.described
        return self.words == other.words and ours.count("!") == theirs.count("!") and ours.count("?") == theirs.count("?")


def heard(text: str, word_of: Callable[[str], Word] = _word_of) -> Heard:
    """The words of a text; with the `word_of` of other `Tokens` those of another lexicon."""
    described = describe_emoji(text)
    return Heard(list(map(word_of, described.split())), described)


def polarity_scores(text: str) -> dict[str, float]:
    """All four scores, as the library returns them."""
    described = describe_emoji(text)
    words = [_word_of(token) for token in described.split()]
    if not words:
        return {"neg": 0.0, "neu": 0.0, "pos": 0.0, "compound": 0.0}
    valences = _valences(words)
    emphasis = _punctuation_emphasis(described)

    positive = negative = 0.0
    for valence in valences:  # not sum(), which rounds differently from Python 3.12 on; here the library does not use it
        if valence > 0:
            positive += valence + 1  # as a neutral word counts one
        else:
            negative += 1 - valence
    neutral = len(words) - len(valences)
    if positive > negative:
        positive += emphasis
    elif negative > positive:
        negative += emphasis
    total = positive + negative + neutral
    return {
        "neg": round(negative / total, 3),
        "neu": round(neutral / total, 3),
        "pos": round(positive / total, 3),
        "compound": _compound(valences, emphasis),
    }


def describe_emoji(text: str) -> str:
    """Each emoji replaced by its description. The blank before it is VADER's; VADER sets none after it."""
    if text.isascii():
        return text
    for emoji in EMOJI.keys() & "".join(_non_ascii.findall(text)):
        text = text.replace(emoji, f" {EMOJI[emoji]}")
    return text


def _valences(words: list[Word]) -> list[float]:
    """The valences that are not zero, in the order of the text, after every rule but that of punctuation."""
    places = [place for place, word in enumerate(words, len(_BEFORE_THE_TEXT)) if word.stands_out]
    if not places:
        return []
    capitals = [word.is_upper for word in words]
    caps_stand_out = True in capitals and False in capitals
    words = [*_BEFORE_THE_TEXT, *words, *_AFTER_THE_TEXT]

    valences = []
    valued = []
    but = None
    for place in places:
        word = words[place]
        if word.interacts or words[place - 1].interacts or words[place - 2].interacts or words[place - 3].interacts:
            if word.name == "but":
                but = place if but is None else but
                continue
            valence = _in_context(words, place, caps_stand_out)
        else:
            valence = _with_capitals(word, word.valence, caps_stand_out)
        if valence:
            valences.append(valence)
            valued.append(place)
    if but is not None:
        _weigh_around_but(valences, valued, but)
    return valences


def _with_capitals(word: Word, valence: float, caps_stand_out: bool) -> float:
    if word.is_upper and caps_stand_out:
        return valence + CAPITALS if valence > 0 else valence - CAPITALS
    return valence


def _in_context(words: list[Word], place: int, caps_stand_out: bool) -> float:
    """The valence of a word of the lexicon as the words around it modify it."""
    third, second, first, word, following = words[place - 3 : place + 2]
    if word.name == "kind" and following.name == "of":
        return 0.0

    valence = word.valence
    if word.name == "no" and following.in_lexicon:
        valence = 0.0
    if first.name == "no" or second.name == "no" or (third.name == "no" and first.name in ("or", "nor")):
        valence = word.valence * NEGATION
    valence = _with_capitals(word, valence, caps_stand_out)

    if not first.in_lexicon:
        valence += _boost(first, valence, caps_stand_out)
        if first.negates:
            valence *= NEGATION
    if not second.in_lexicon:
        valence += _boost(second, valence, caps_stand_out) * TWO_WORDS_BACK
        if second.name == "never" and first.name in ("so", "this"):
            valence *= NEVER_AMPLIFIES
        elif second.negates and not (second.name == "without" and first.name == "doubt"):
            valence *= NEGATION
    if not third.in_lexicon:
        valence += _boost(third, valence, caps_stand_out) * THREE_WORDS_BACK
        if (third.name == "never" and second.name in ("so", "this")) or first.name in ("so", "this"):
            valence *= NEVER_AMPLIFIES
        elif third.negates and not (third.name == "without" and "doubt" in (second.name, first.name)):
            valence *= NEGATION
        valence = _with_idioms(valence, words, place)

    if first.name == "least" and second.name not in ("at", "very"):
        valence *= NEGATION
    return valence


def _boost(booster: Word, valence: float, caps_stand_out: bool) -> float:
    """What a word like “very” or “slightly” adds to the valence after it."""
    if not booster.boost:
        return 0.0
    boost = -booster.boost if valence < 0 else booster.boost
    if booster.is_upper and caps_stand_out:
        boost += CAPITALS if valence > 0 else -CAPITALS
    return boost


def _with_idioms(valence: float, words: list[Word], place: int) -> float:
    """“the bomb”, “kiss of death”: an idiom's valence replaces the word's; “kind of” before it then boosts."""
    third, second, first, zero, next_, after_next = [word.name for word in words[place - 3 : place + 3]]
    for phrase in ((first, zero), (second, first, zero), (second, first), (third, second, first), (third, second)):
        if phrase in IDIOMS:
            valence = IDIOMS[phrase]
            break
    valence = IDIOMS.get((zero, next_), valence)
    valence = IDIOMS.get((zero, next_, after_next), valence)
    for pair in ((third, second), (second, first)):
        valence += BOOSTER_PAIRS.get(pair, 0.0)
    return valence


def _weigh_around_but(valences: list[float], places: list[int], but: int) -> None:
    """Halves what stands before the first “but” and adds half to what follows it.

    As in 3.3.2 it is the first *equal* valence that is weighed, in a list that changes on the way.
    """
    for valence in valences:
        first = valences.index(valence)
        valences[first] = valence * (BEFORE_BUT if places[first] < but else AFTER_BUT)


def _punctuation_emphasis(text: str) -> float:
    exclamation_marks = min(text.count("!"), MOST_EXCLAMATION_MARKS) * PER_EXCLAMATION_MARK
    question_marks = text.count("?")
    if question_marks < 2:
        return exclamation_marks
    return exclamation_marks + (question_marks * PER_QUESTION_MARK if question_marks <= MOST_QUESTION_MARKS else MANY_QUESTION_MARKS)


def _compound(valences: list[float], emphasis: float) -> float:
    total = float(sum(valences))
    if total > 0:
        total += emphasis
    elif total < 0:
        total -= emphasis
    return round(total / sqrt(total * total + ALPHA), 4)
