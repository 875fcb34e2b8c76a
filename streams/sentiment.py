"""What a customer's text says about how they feel: VADER's compound score of the capped text, and the label that follows from it."""

from enum import StrEnum

from msgspec import Struct

from streams.vader import EMOJI, compound

__all__ = ["LONGEST_TEXT", "MOST_EMOJI", "THRESHOLD", "Label", "Sentiment", "cap", "compound", "judge"]

LONGEST_TEXT = 1_000
"""Characters of a text that are scored."""
MOST_EMOJI = 64
"""Code points of VADER's emoji list that are scored."""
THRESHOLD = 500
"""Ten-thousandths of compound from which a text is positive, or on the other side negative."""


class Label(StrEnum):
    NEGATIVE = "negative"
    NEUTRAL = "neutral"
    POSITIVE = "positive"
    UNSUPPORTED = "unsupported"
    """Not in English: VADER would call it neutral without having understood a word."""


class Sentiment(Struct, frozen=True, gc=False):
    label: Label
    compound: int
    """In ten-thousandths, so that sums do not depend on the order of the texts."""


UNSUPPORTED = Sentiment(Label.UNSUPPORTED, 0)


def judge(text: str, language: str | None) -> Sentiment:
    """The sentiment of a text. `language` is the tag that its source states (`en`, `pt-BR`, `de_AT`), or None."""
    if language is not None and not _is_understood(language):
        return UNSUPPORTED
    capped, _ = cap(text)
    score = round(compound(capped) * 10_000)
    if score >= THRESHOLD:
        return Sentiment(Label.POSITIVE, score)
    if score <= -THRESHOLD:
        return Sentiment(Label.NEGATIVE, score)
    return Sentiment(Label.NEUTRAL, score)


def cap(text: str) -> tuple[str, bool]:
    """The part of a text that is scored, and whether anything was cut: 1,000 characters, and of those what stands before the 65th emoji."""
    capped = text[:LONGEST_TEXT]
    non_ascii = len(capped) - len(capped.encode("ascii", "ignore"))
    if non_ascii > MOST_EMOJI:  # else there cannot be too many
        emoji = [place for place, character in enumerate(capped) if character in EMOJI]
        if len(emoji) > MOST_EMOJI:
            capped = capped[: emoji[MOST_EMOJI]]
    return capped, len(capped) < len(text)


def _is_understood(language: str) -> bool:
    """English, or a source that does not know what language it is."""
    primary = language.replace("_", "-").partition("-")[0]
    return primary.strip().lower() in ("en", "und", "")
