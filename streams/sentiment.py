"""What a customer's text says about how they feel: the standard score, and a label with its source and reasons.

`compound` is VADER's score of the capped text as written, for every text, whatever the label says. The label of a text to or about the business comes from
the overlay (`streams.texts.overlay`), which hears complaints; that of general chatter follows from `compound`.
"""

from msgspec import Struct

from streams.texts.language import Language, language_of
from streams.texts.normal import normalise
from streams.texts.overlay import Label, Overlay
from streams.vader import EMOJI, compound, heard

__all__ = ["LONGEST_TEXT", "MOST_EMOJI", "OVERLAY", "THRESHOLD", "VADER", "Label", "Sentiment", "cap", "compound", "judge", "understand", "vader_label"]

LONGEST_TEXT = 1_000
"""Characters of a text that are scored."""
MOST_EMOJI = 64
"""Code points of VADER's emoji list that are scored."""
THRESHOLD = 500
"""Ten-thousandths of compound from which VADER calls a text positive, or on the other side negative."""
VADER, OVERLAY = "vader", "overlay"
"""Sources of a label."""


class Sentiment(Struct, frozen=True, gc=False):
    label: Label
    compound: int
    """In ten-thousandths, so that sums do not depend on the order of the texts."""
    source: str = VADER
    score: int = 0
    """The overlay's, in ten-thousandths; 0 without its opinion."""
    p_negative: float | None = None
    """Probability that a person would call it a complaint; None without the overlay's opinion."""
    reasons: tuple[str, ...] = ()
    """At most three categories of complaint, of a text that the overlay calls negative."""
    language: Language = Language.ENGLISH


def judge(text: str, language: str | None) -> Sentiment:
    """The standard sentiment of a text: VADER's label. `language` is the tag that its source states (`en`, `pt-BR`, `de_AT`), or None; it is believed."""
    score = round(compound(cap(text)[0]) * 10_000)
    if not _is_understood(language):
        return Sentiment(Label.UNSUPPORTED, score, language=Language.UNSUPPORTED)
    return Sentiment(vader_label(score), score)


def understand(text: str, language: str | None, overlay: Overlay, *, addressed: bool = True, in_sentences: bool = False) -> Sentiment:
    """The sentiment of a text of a site with that overlay.

    Stated or detected, a language that is not English is not supported. A text that is `addressed` to or about the business has the overlay's label,
    chatter has VADER's; `in_sentences` for reviews, which are long. Where the site has switched the overlay off, `judge` decides.
    """
    if not overlay.tuning.overlay:
        return judge(text, language)
    capped, _ = cap(text)
    written = heard(capped)
    standard = written.compound()
    score = round(standard * 10_000)
    if not _is_understood(language):
        return Sentiment(Label.UNSUPPORTED, score, language=Language.UNSUPPORTED)
    normal = normalise(capped, overlay.names)
    state = language_of(normal)
    if state is Language.UNSUPPORTED:
        return Sentiment(Label.UNSUPPORTED, score, language=state)
    if not addressed:
        return Sentiment(vader_label(score), score, language=state)
    opinion = overlay.judge_sentences(normal) if in_sentences else overlay.judge(normal, written, standard)
    return Sentiment(opinion.label, score, OVERLAY, round(opinion.score * 10_000), overlay.tuning.p_negative.at(opinion.score), opinion.reasons, state)


def vader_label(score: int) -> Label:
    """The label that VADER's authors recommend for a compound in ten-thousandths."""
    if score >= THRESHOLD:
        return Label.POSITIVE
    return Label.NEGATIVE if score <= -THRESHOLD else Label.NEUTRAL


def cap(text: str) -> tuple[str, bool]:
    """The part of a text that is scored, and whether anything was cut: 1,000 characters, and of those what stands before the 65th emoji."""
    capped = text[:LONGEST_TEXT]
    non_ascii = len(capped) - len(capped.encode("ascii", "ignore"))
    if non_ascii > MOST_EMOJI:  # else there cannot be too many
        emoji = [place for place, character in enumerate(capped) if character in EMOJI]
        if len(emoji) > MOST_EMOJI:
            capped = capped[: emoji[MOST_EMOJI]]
    return capped, len(capped) < len(text)


def _is_understood(language: str | None) -> bool:
    """English, or a source that does not know what language it is."""
    if language is None:
        return True
    primary = language.replace("_", "-").partition("-")[0]
    return primary.strip().lower() in ("en", "und", "")
