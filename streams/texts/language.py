"""Whether a text is English: votes of very common words, no model.

A word that is common in k of the languages below gives each 1/k of a vote. What is not English is not scored: VADER would call most of it
neutral without having understood a word. What gives no evidence either way is scored, and says so.
"""

import re
from collections.abc import Iterable
from enum import StrEnum
from itertools import chain
from math import lcm
from typing import NamedTuple

from streams.texts.normal import Memory


class Language(StrEnum):
    ENGLISH = "en"
    UNSUPPORTED = "xx"
    """Another language: not scored, counted by itself."""
    UNDETERMINED = "und"
    """No evidence: scored, with less confidence."""


LEAST_LATIN = 0.7
"""Share of Latin letters below which a text is in another script."""
LEAST_ENGLISH, JUDGED_WORDS = 0.08, 5
"""From so many words on, a smaller share of English votes is no evidence."""
SILENT_WORDS = 3
"""A text of more words that gives no evidence at all is undetermined."""

_COMMON = {
    "en": """the a an and of to in is it i you that was for on are with my have be at this not but they he she we me so your can do what all just its
        from if or when there out up get been will no has had were don as by about like how our after who did them now would am their im
        one more than some then very only why s t ll ve re m didn doesn isn got going her his him us too again over
        where here good know see time day really still oh could even much because into off back new very any well""",
    "es": """el la los las un una de del que y en es por para con no se lo le su al como más pero ya muy me mi te tu yo esto esta este está eso son
        ser hay cuando todo nada porque sin sobre también hasta donde qué si ha fue tengo tiene estoy hoy gracias nos les soy""",
    "pt": """o a os as um uma de do da dos das que e em no na nos nas é por para com não se eu você ele ela isso esse essa mais mas muito meu minha
        já também foi está são ser ter tem quando como só vai pra até sem aqui hoje ainda nem nada tudo obrigado ao""",
    "fr": """le la les un une des du de et en est que qui pas ne je tu il elle nous vous on ce cette ces mon ma mes ton son sa ses au aux avec pour
        dans sur par plus mais ou où sont suis être fait bien très j qu ai y si tout moi merci ça comme""",
    "it": """il lo la gli le un una di del della che e è in per con non si mi ti ci sono ho ha hai questo questa quello più ma come anche io tu lui
        lei noi se molto tutto tutti nel nella al alla da dei delle perché quando mio mia cosa solo sempre grazie ancora""",
    "de": """der die das und ist ich nicht du es ein eine einen zu mit auf für den dem des im von sie er wir ihr an auch sich so wie aber was noch
        nur schon mir mich dich wenn bei hat habe haben sind war bin kann mal ja oder dass nach aus wird immer mein meine wieder um""",
    "nl": """de het een en van ik je niet dat die is in op te voor met zijn er maar om ook aan nog wel dan als naar bij mijn heb hebben heeft wat
        zo we ze hij geen was kan uit over nu meer moet deze door al weer gaan goed jij""",
    "hi": """hai ka ki ke ko nahi nahin mein main se aur kya ho bhi yeh ye woh tha thi kar raha rahe rahi hain ek hum tum aap mera meri tera kuch
        koi jo toh bhai kyu kyun ab sab bahut karo apna apne liye jab tak par ne kaise haan accha""",
    "id": """yang dan di ke dari ini itu tidak ada saya aku kamu dengan untuk akan juga sudah bisa lagi kita mereka dia ya gak nggak ga aja banget
        karena pada apa kalau tapi jadi atau sama orang mau belum kok sih dong lah nya buat udah""",
    "tl": """ang ng sa na ay mga ko mo ako ka siya kami tayo kayo nila niya ito iyan iyon hindi di wala mayroon pa po lang naman kasi pero kung
        para at ni si yung ba din rin talaga ano nang sana dahil nga""",
    "tr": """ve bir bu da de için çok ne ben sen o biz siz ile mi mı var yok değil gibi ama daha kadar her şey olarak olan diye bana sana beni seni
        benim senin ki en sonra iyi nasıl neden şimdi artık hiç""",
}
_OTHERS = tuple(language for language in _COMMON if language != "en")
VOTE = lcm(*range(1, len(_COMMON) + 1))
"""One vote as an integer that divides by the number of languages, so that sums are exact."""
_KNOWN: dict[str, tuple[str, ...]] = {}
"""Word → the languages in which it is very common."""
for _language, _text in _COMMON.items():
    for _word in dict.fromkeys(_text.split()):
        _KNOWN[_word] = (*_KNOWN.get(_word, ()), _language)

_FIELD = 40
"""Bits of each count where votes are one number, so that a text's are one sum."""
_COUNT = (1 << _FIELD) - 1


class Votes(NamedTuple):
    """What a token or a text says."""

    words: int
    english: int
    foreign: int
    """All votes that are not for English."""

    def packed(self) -> int:
        """As one number."""
        return self.words | self.english << _FIELD | self.foreign << 2 * _FIELD

    @classmethod
    def of(cls, packed: int) -> "Votes":
        return cls(packed & _COUNT, packed >> _FIELD & _COUNT, packed >> 2 * _FIELD)


def _shares(known: tuple[str, ...]) -> Votes:
    share = VOTE // len(known)
    return Votes(1, share * ("en" in known), share * (len(known) - ("en" in known)))


_VOTES = {word: _shares(known).packed() for word, known in _KNOWN.items()}
_UNKNOWN, _UNKNOWN_WITH_ACCENT = Votes(1, 0, 0).packed(), Votes(1, 0, VOTE // 2).packed()
_RUNS = re.compile(r"[^\W\d_]+")
_LATIN_ENDS = 0x250
_MORE_LATIN = range(0x1E00, 0x1F00)


def language_of(normal: str) -> Language:
    """The language state of a text in its normal form (`streams.texts.normal`)."""
    tokens = normal.split()
    words, english, foreign = Votes.of(sum(map(_votes_of, tokens)))
    if not words:
        return Language.UNDETERMINED
    if not normal.isascii() and _is_other_script(normal):
        return Language.UNSUPPORTED
    if foreign > english and _most_foreign(tokens) > english:  # one language has at most the votes of all
        return Language.UNSUPPORTED
    if (words >= JUDGED_WORDS and english < LEAST_ENGLISH * VOTE * words) or (not english and not foreign and words > SILENT_WORDS):
        return Language.UNDETERMINED
    return Language.ENGLISH


def votes_of(token: str) -> int:
    """The packed votes of one token of a normal form."""
    return sum([_VOTES.get(word) or (_UNKNOWN if word.isascii() else _UNKNOWN_WITH_ACCENT) for word in _words_of(token)])


def _most_foreign(tokens: Iterable[str]) -> int:
    """The votes of the language that has the most, and half a vote for each word that no list knows and that has a letter beyond ASCII."""
    totals, against = dict.fromkeys(_OTHERS, 0), 0
    for word in chain.from_iterable(map(_words_of, tokens)):
        known = _KNOWN.get(word, ())
        for language in known:
            if language != "en":
                totals[language] += VOTE // len(known)
        if not known and not word.isascii():
            against += VOTE // 2
    return max(totals.values()) + against


def _words_of(token: str) -> list[str]:
    """The runs of letters of a token; none of handles and hashtags."""
    if token[0] in "@#":
        return []
    lower = token.lower()
    return [lower] if lower.isalpha() else _RUNS.findall(lower)


def _is_other_script(normal: str) -> bool:
    letters = [ord(letter) for token in normal.split() if token[0] not in "@#" for letter in token if letter.isalpha()]
    latin = sum([code < _LATIN_ENDS or code in _MORE_LATIN for code in letters])
    return latin < LEAST_LATIN * len(letters)


_tokens = Memory(votes_of)
_votes_of = _tokens.__getitem__
forget = _tokens.clear
"""Forgets all tokens, as a fresh process would; for measurements."""
