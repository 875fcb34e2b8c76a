"""The second opinion on a text to or about a business: complaints that VADER does not hear, politeness that it takes for joy.

The standard score is never changed; this is a label beside it, with its reasons. Weights and thresholds were fitted on public texts to support accounts
and brands (see docs/sentiment.md); `p_negative` is to be refitted per site.
"""

import re
from collections.abc import Iterable, Sequence
from enum import StrEnum
from functools import lru_cache
from math import exp
from typing import Annotated, Final, NamedTuple

import msgspec
from msgspec import Meta

from streams.texts.language import forget as forget_votes
from streams.texts.normal import NO_NAMES, Memory, Names, normalise, words, words_of
from streams.texts.normal import forget as forget_tokens
from streams.texts.patterns import LIST, MOST_SITE_PATTERNS, STRONG, WEAK, Match, Pattern, PatternError, Patterns, read_pattern
from streams.vader import Heard, Tokens, Word, describe_emoji, heard

MOST_REASONS: Final = 3
COUNTED: Final = 2
"""Hits of a category that count."""
WEAK_WEIGHT, THANKS, QUESTION, BAD_TONE, SARCASM = 0.5, 1.0, 0.5, 1.5, 0.75
BAD_TONE_FROM, GOOD_TONE_FROM = -0.05, 0.4
STRONG_CATEGORIES = tuple(name for name, role in LIST.roles.items() if role == STRONG)
WEAK_CATEGORIES = tuple(name for name, role in LIST.roles.items() if role == WEAK)
COMPLAINTS: Final = (*STRONG_CATEGORIES, *WEAK_CATEGORIES)
"""The categories a reason may have."""
SERVICE_WORDS: Final = LIST.classes["SERVICE"].exact
"""Polite and business words that are no feelings in a text to a company."""

_SENTENCE_ENDS = re.compile(r"(?<=[.!?]) ")
_tone_tokens = Tokens(without=SERVICE_WORDS)
_tone_word_of = _tone_tokens.__getitem__


class Token(msgspec.Struct, frozen=True, gc=False):
    """What is known of one token of a normal form."""

    sounds: Word
    fits: tuple[int, ...]
    """The slots of patterns that each of its words fits."""


class Label(StrEnum):
    NEGATIVE = "negative"
    NEUTRAL = "neutral"
    POSITIVE = "positive"
    UNSUPPORTED = "unsupported"
    """Not in English: VADER would call it neutral without having understood a word."""


class Curve(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """p_negative = 1 ÷ (1 + exp(−(slope · score + intercept))). The defaults hold for texts to support, where about 60 % complain."""

    slope: Annotated[float, Meta(gt=0, le=20)] = 0.98
    intercept: Annotated[float, Meta(ge=-20, le=20)] = -0.64

    def at(self, score: float) -> float:
        return 1 / (1 + exp(-(self.slope * score + self.intercept)))


class Tuning(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What an operator may say about the judging of a site's texts."""

    overlay: bool = True
    """Whether texts to and about the site get the second opinion; without it VADER's label stands."""
    patterns: dict[str, tuple[str, ...]] = {}
    """Patterns of the site's own, by category."""
    mute: tuple[str, ...] = ()
    """Categories that are not looked for."""
    threshold: Annotated[float, Meta(ge=0.25, le=10)] = 0.5
    """Score from which a text is negative."""
    p_negative: Curve = Curve()


class Reason(NamedTuple):
    """Why: a category, and the words that were found."""

    category: str
    words: tuple[str, ...]


class Opinion(NamedTuple):
    """What the overlay says of a text."""

    label: Label
    score: float
    tone: float
    counts: dict[str, int]
    """Hits by category, in the order of the list of patterns."""

    @property
    def reasons(self) -> tuple[str, ...]:
        """The categories that weigh most, of a negative text."""
        if self.label is not Label.NEGATIVE:
            return ()
        found = [name for name in COMPLAINTS if name in self.counts]
        return tuple(sorted(found, key=lambda name: -_weight(name) * min(self.counts[name], COUNTED))[:MOST_REASONS])


def _weight(category: str) -> float:
    return 1.0 if category in STRONG_CATEGORIES else WEAK_WEIGHT


class Overlay:
    """The second opinion as a site has tuned it; raises PatternError for patterns that cannot be used."""

    def __init__(self, tuning: Tuning, brands: Iterable[str] = ()) -> None:
        self.tuning = tuning
        self.names = Names(brands)
        self.patterns, self.tokens = _compiled(site_patterns(tuning, self.names), tuning.mute)

    def normalise(self, text: str) -> str:
        """The normal form, without the site's names."""
        return normalise(text, self.names)

    def judge(self, normal: str, written: Heard | None = None, standard: float = 0.0) -> Opinion:
        """The opinion on a text in its normal form; `written` is the text as written and `standard` its compound, which saves a pass where both sound alike."""
        tokens = list(map(self.tokens.__getitem__, normal.split()))
        toned = Heard([token.sounds for token in tokens], normal) if describe_emoji(normal) is normal else heard(normal, _tone_word_of)
        tone = standard if written is not None and toned.sounds_like(written) else toned.compound()
        return weigh(self.patterns.match([fits for token in tokens for fits in token.fits]), tone, self.tuning.threshold)

    def judge_sentences(self, normal: str) -> Opinion:
        """The opinion on a long text: the mean score of its sentences, because hits grow with length. Measured on reviews (docs/sentiment.md)."""
        opinions = [self.judge(sentence) for sentence in sentences(normal)]
        if len(opinions) < 2:
            return opinions[0] if opinions else self.judge(normal)
        counts: dict[str, int] = {}
        for opinion in opinions:
            for name, count in opinion.counts.items():
                counts[name] = counts.get(name, 0) + count
        score = sum([opinion.score for opinion in opinions]) / len(opinions)
        tone = sum([opinion.tone for opinion in opinions]) / len(opinions)
        leaning = sum([(opinion.label is Label.POSITIVE) - (opinion.label is Label.NEGATIVE) for opinion in opinions])
        label = Label.NEGATIVE if score >= self.tuning.threshold else Label.POSITIVE if leaning > 0 else Label.NEUTRAL
        return Opinion(label, score, tone, counts)

    def matches(self, normal: str) -> list[tuple[Match, str]]:
        """Every pattern found, with the words as they were written: the explanation."""
        shown = shown_words(normal)
        return [(match, " ".join(shown[match.start : match.end])) for match in self.patterns.find(words(normal))]


def forget(overlay: Overlay) -> None:
    """Forgets all tokens, as a fresh process would; for measurements."""
    _tone_tokens.clear()
    overlay.tokens.clear()
    forget_tokens()
    forget_votes()


def sentences(normal: str) -> list[str]:
    """The sentences of a text in its normal form: they end with a full stop, an exclamation or a question mark before a blank."""
    return [sentence for sentence in _SENTENCE_ENDS.split(normal) if sentence]


def weigh(matches: Sequence[Match], tone: float, threshold: float) -> Opinion:
    """Score and label from the matches and the tone (VADER of the normal form with service words neutral)."""
    counts: dict[str, int] = {}
    strong = weak = 0
    for match in matches:
        category = match.category
        seen = counts[category] = counts.get(category, 0) + 1
        if seen <= COUNTED:
            strong += category in _STRONG
            weak += category in _WEAK
    evidence = strong + WEAK_WEIGHT * weak
    thanked = "thanks" in counts and _is_thanked(matches, evidence)
    score = evidence - max(tone, 0.0)
    if thanked:
        score -= THANKS
    if "neutralq" in counts:
        score -= QUESTION
    if tone <= BAD_TONE_FROM:
        score += BAD_TONE
    if "sarcasm" in counts and evidence >= 1:
        score += SARCASM
    label = Label.NEGATIVE if score >= threshold else Label.POSITIVE if thanked or tone >= GOOD_TONE_FROM else Label.NEUTRAL
    return Opinion(label, score, tone, counts)


_STRONG, _WEAK = frozenset(STRONG_CATEGORIES), frozenset(WEAK_CATEGORIES)


def _is_thanked(matches: Sequence[Match], evidence: float) -> bool:
    """Whether there is gratitude that is neither sarcasm nor, beside a complaint, a polite closing: “thanks for nothing”, “… Thanks in advance”."""
    if not evidence:
        return True
    claimed = {match.start for match in matches if match.category in ("sarcasm", "closing")}
    return any(match.start not in claimed for match in matches if match.category == "thanks")


def shown_words(normal: str) -> list[str]:
    """The words of a text as they were written, one for each of `words`."""
    shown: list[str] = []
    for token in normal.split():
        found = words(token)
        shown += [token.strip('.,;:!?"()')] if len(found) == 1 else found
    return shown


def site_patterns(tuning: Tuning, names: Names = NO_NAMES) -> tuple[Pattern, ...]:
    """The site's own patterns; raises PatternError with place and what is allowed."""
    allowed = ", ".join(LIST.roles)
    for category in (*tuning.mute, *tuning.patterns):
        if category not in LIST.roles:
            raise PatternError(f"{category!r} is no category; categories: {allowed}")
    found = []
    for category, texts in tuning.patterns.items():
        for number, text in enumerate(texts, 1):
            try:
                found.append(read_pattern(category, text, LIST.classes, names))
            except PatternError as error:
                raise PatternError(f"patterns: {category}: pattern {number} ({text[:80]!r}): {error}") from error
    if len(found) > MOST_SITE_PATTERNS:
        raise PatternError(f"patterns: {len(found)} of them; at most {MOST_SITE_PATTERNS} are allowed")
    return tuple(found)


@lru_cache(maxsize=64)
def _compiled(own: tuple[Pattern, ...], mute: tuple[str, ...]) -> tuple[Patterns, Memory[Token]]:
    patterns = Patterns([pattern for pattern in (*LIST.patterns, *own) if pattern.category not in mute])
    return patterns, Memory(lambda token: Token(_tone_word_of(token), tuple(map(patterns.fits, words_of(token)))))
