"""The official library is the oracle: every score is compared with it bit by bit."""

import csv
import gzip
import hashlib
import json
import random
import struct
import time
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from vaderSentiment.vaderSentiment import BOOSTER_DICT, NEGATE, SPECIAL_CASES, SentimentIntensityAnalyzer

from streams import vader
from streams.sentiment import LONGEST_TEXT, MOST_EMOJI, Label, Sentiment, cap, compound, judge, understand
from streams.texts.language import Language
from streams.texts.overlay import Overlay, Tuning

DATA = Path(__file__).parents[2].parent / "shared" / "data"
TEXTS = {
    "vader_ground_truth_social": "ground_truth.csv.gz",
    "airline_seat_reviews": "reviews.csv.gz",
    "fight_night_tweets": "tweets.csv.gz",
}
with_data = pytest.mark.skipif(not all((DATA / name / file).exists() for name, file in TEXTS.items()), reason="the shared data sets are not here")

OFFICIAL = SentimentIntensityAnalyzer()

# Each rule of VADER and each oddity of 3.3.2 at least once; all there is to start from where the shared data sets are missing.
OWN_TEXTS = [
    "",
    " \t\n",
    "!!! ???",
    "Great",
    "GREAT",
    "My parcel arrived today!",
    "The delivery was fast and the shop is very helpful.",
    "The delivery was fast and the shop is VERY helpful!!!",
    "The DELIVERY was fast and the shop is VERY HELPFUL!!!!!!",
    "VERY HELPFUL SHOP",
    "I am not happy.",
    "I wasn't happy, it isn't really a good product.",
    "They couldn't've been good, and I n't-ed a great deal.",
    "Never so happy, never this good, never that good.",
    "We were never really so pleased.",
    "I say it so many good times, and this very good thing, and this quite lovely one.",  # "so" and "this" without "never"
    "Without a doubt an excellent idea. Without doubt excellent. Without any good doubt.",
    "The support was good, but the parcel was broken and the box was ugly.",
    "good good but good good good but bad bad good",  # equal valences around "but"
    "but good BUT bad",
    "nice but",
    "at least good, at very least good, the least good, least good",
    "This is kind of good. That is sort of bad, just enough good. Kind of. kind",
    "no good, no really good, no bad or good, no fun nor joy, no, NO problem, No",
    "the shit, the bomb, bad ass shop, badass shop, bus stop, yeah right, kiss of death, to die for, my beating heart",
    "we all know this is the shit and that kiss of death and it is a food to die for",
    "one two three bad ass and one two three yeah right so it is",
    "Is that good? Is that good?? Is that good??? Is that good????",
    "Sad :( then glad :) or :-D or ;) or <3 or :'(",
    "I love it ❤ and ❤️ it 😀😡👍🏽great😀product 🆙 🔛 ‼ ™",
    "what is he wearing 😱😂😂",  # -0.0 (on Python 3.11; later ones add up floats differently)
    "Je ne suis pas content du tout. Das Paket kam nie an.",
    "don’t like it “great” great…",
    "  good\u00a0bad\u2028good\u3000very\u200bgood\x1cgood\x85bad",
    "\ud83d good \udc00\ude00",
    "UPPER lower Ǆ ǅ ǆ İstanbul ΣΑΣ ﬁne ß",
    "bad " * 400 + "but " + "good " * 400,
]

GLUE = [" ", " ", " ", " ", " ", "  ", "\t", "\n", "\u00a0", "\u2028", "\x1c", "\u200b", "", ", ", ". "]
TAILS = ["", "", "", "", "!", "!!", "!!!", "!!!!!", "?", "??", "???", "????", "?!", "...", ":)", "'s", "n't", "’t", "\ufe0f"]
RULE_WORDS = " ".join(
    [
        "but but but no no nor or never never so this without doubt least least at very kind of kind of sort of just enough kindof",
        "not don't isn't aint cannot despite n't good good good bad bad GOOD BAD love hate a is it was I A",
        *SPECIAL_CASES,
    ]
).split()


def bits(scores: dict[str, float]) -> tuple[list[str], bytes]:
    return list(scores), struct.pack("4d", *scores.values())


def differences(texts: Iterable[str]) -> list[str]:
    """The texts on which a score is not the library's to the last bit, sign of zero included."""
    different = []
    for text in texts:
        expected = OFFICIAL.polarity_scores(text)
        same = bits(vader.polarity_scores(text)) == bits(expected)
        if not same or {struct.pack("d", found) for found in (compound(text), vader.heard(text).compound())} != {struct.pack("d", expected["compound"])}:
            different.append(text)
    return different


def rows(name: str) -> list[dict[str, str]]:
    with gzip.open(DATA / name / TEXTS[name], "rt", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def expectations(name: str) -> dict[str, object]:
    expected = json.loads((DATA / name / "expected.json").read_text(encoding="utf-8"))["expected"]
    assert isinstance(expected, dict)
    return expected


@pytest.fixture(scope="module")
def corpus() -> list[str]:
    found = [row["text"] for name, file in TEXTS.items() if (DATA / name / file).exists() for row in rows(name)]
    return OWN_TEXTS + found


# The scores are the library's


def test_texts_score_as_in_the_library(corpus: list[str]) -> None:
    assert differences(corpus) == []


def test_capped_texts_score_as_in_the_library(corpus: list[str]) -> None:
    assert differences(capped for capped, cut in map(cap, corpus) if cut) == []


def test_every_word_of_the_lexicon_scores_as_in_the_library() -> None:
    words = [*OFFICIAL.lexicon, *BOOSTER_DICT, *NEGATE, *SPECIAL_CASES, *OFFICIAL.emojis]
    texts = [form for word in words for form in (word, word.upper(), f"we find it is a {word}")]
    assert differences(texts) == []


@pytest.mark.parametrize("seed", range(4))
def test_random_texts_score_as_in_the_library(seed: int) -> None:
    chance = random.Random(seed)
    lexicon, boosters, emoji = sorted(OFFICIAL.lexicon), sorted(BOOSTER_DICT), sorted(vader.EMOJI)
    forms: list[Callable[[str], str]] = [str, str, str, str, str.lower, str.upper, str.capitalize, str.swapcase]

    def word() -> str:
        source = chance.choices((RULE_WORDS, lexicon, boosters, NEGATE, emoji), (10, 5, 2, 2, 1))[0]
        return chance.choice(forms)(chance.choice(source)) + chance.choice(TAILS) + chance.choice(GLUE)

    assert differences("".join([word() for _ in range(chance.randint(1, 24))]) for _ in range(12_000)) == []


@pytest.mark.parametrize("seed", range(2))
def test_disturbed_texts_score_as_in_the_library(corpus: list[str], seed: int) -> None:
    chance = random.Random(seed)
    own = [*RULE_WORDS, *BOOSTER_DICT, *NEGATE, *SPECIAL_CASES, *sorted(vader.EMOJI), "!!!", "???"]

    def disturbed(text: str) -> str:
        words = text[:400].split(" ")
        for _ in range(chance.randint(1, 6)):
            place = chance.randrange(len(words) + 1)
            match chance.randrange(4):
                case 0:
                    words.insert(place, chance.choice(own))
                case 1:
                    words[place : place + 1] = [word.upper() for word in words[place : place + 1]]
                case 2:
                    words[place : place + 3] = [chance.choice(GLUE).join(words[place : place + 3])]
                case 3:
                    words[place : place + 1] = words[place : place + 1] * 2
        return " ".join(words)

    assert differences(disturbed(text) for text in chance.choices(corpus, k=8_000)) == []


FRAGMENTS = st.one_of(
    st.sampled_from(RULE_WORDS),
    st.sampled_from(sorted(OFFICIAL.lexicon)),
    st.sampled_from(sorted(vader.EMOJI)),
    st.sampled_from(GLUE),
    st.sampled_from(TAILS),
    st.text(max_size=6),
    st.characters(categories=["Cs", "Zs", "Zl", "Zp", "Cc", "Mn"]),
)


@settings(max_examples=1_500, deadline=None, derandomize=True, database=None)
@given(st.lists(FRAGMENTS, max_size=24), st.sampled_from(["", " "]))
@example(["this", "is", "bad"] * 8, " ")
def test_any_text_scores_as_in_the_library(fragments: list[str], glue: str) -> None:
    assert differences([glue.join(fragments)]) == []


def test_what_the_shortcuts_rely_on() -> None:
    assert not any(emoji.isascii() for emoji in vader.EMOJI)  # an ASCII text has no emoji
    assert vader.EMOJI.keys().isdisjoint("".join(vader.EMOJI.values()))  # a description is not described again
    assert 0.0 not in OFFICIAL.lexicon.values()  # no valence of zero is left out that capitals would have changed
    assert not {"least", "at", "but", "so", "this", "never", "without", *BOOSTER_DICT, *NEGATE} & OFFICIAL.lexicon.keys()


def test_tokens_are_remembered_within_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vader, "TOKENS_REMEMBERED", 10)
    tokens = vader.Tokens()
    for number in range(100):
        assert tokens[f"word{number}"] is tokens[f"word{number}"]
        assert len(tokens) <= 10
    long = "a" * (vader.LONGEST_REMEMBERED + 1)
    assert tokens[long].name == ""
    assert long not in tokens


# Published figures


@with_data
@pytest.mark.parametrize("source", ["tweet", "amazon"])
def test_ground_truth_figures(source: str) -> None:
    scores = [(row["id"], row["text"]) for row in rows("vader_ground_truth_social") if row["source"] == source]
    expected = expectations("vader_ground_truth_social")[source]
    assert isinstance(expected, dict)
    assert _fingerprint(scores) == expected["scores_sha256"]
    assert Counter(judge(text, "en").label for _, text in scores) == expected["vader_class_counts"]


@with_data
def test_fight_night_figures() -> None:
    scores = [(row["tweet_id"], row["text"]) for row in rows("fight_night_tweets")]
    expected = expectations("fight_night_tweets")
    assert _fingerprint(scores) == expected["scores_sha256"]
    assert Counter(judge(text, None).label for _, text in scores) == expected["vader_counts"]


def _fingerprint(texts: list[tuple[str, str]]) -> str:
    return hashlib.sha256("\n".join(f"{name}\t{compound(text):.4f}" for name, text in texts).encode()).hexdigest()


# What is scored


def test_a_text_within_the_caps_stays_as_it_is() -> None:
    for text in ("", "good", "a" * LONGEST_TEXT, "😀" * MOST_EMOJI, "é" + "😀" * MOST_EMOJI, "é" * LONGEST_TEXT, "\ufe0f" * 200):
        assert cap(text) == (text, False)


def test_a_text_is_cut_to_a_thousand_characters() -> None:
    assert cap("a" * (LONGEST_TEXT + 1)) == ("a" * LONGEST_TEXT, True)
    assert cap("é" * 5_000) == ("é" * LONGEST_TEXT, True)


def test_a_text_is_cut_before_the_sixty_fifth_emoji() -> None:
    assert cap("😀" * 65) == ("😀" * 64, True)
    assert cap("so 😀 é " * 65 + "good") == ("so 😀 é " * 64 + "so ", True)
    assert cap("é" * 100 + "👍🏽" * 40) == ("é" * 100 + "👍🏽" * 32, True)  # a skin tone is on the list


def test_emoji_behind_the_thousandth_character_do_not_count() -> None:
    text = "😀" * 64 + "a" * 936
    assert cap(text + "😀") == (text, True)


@given(st.text(alphabet=st.one_of(st.characters(), st.sampled_from("a é😀👍\ud83d")), max_size=300), st.integers(1, 30))
@settings(max_examples=200, deadline=None, derandomize=True, database=None)
def test_cap_keeps_the_longest_start_within_both_caps(text: str, times: int) -> None:
    text *= times
    capped, cut = cap(text)
    assert text.startswith(capped)
    assert cut == (capped != text)
    assert len(capped) <= LONGEST_TEXT
    assert _emoji(capped) <= MOST_EMOJI
    if cut:
        assert len(capped) == LONGEST_TEXT or _emoji(text[: len(capped) + 1]) == MOST_EMOJI + 1


def _emoji(text: str) -> int:
    return sum(character in vader.EMOJI for character in text)


# The verdict


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("I love this shop", Label.POSITIVE),
        ("I hate this shop", Label.NEGATIVE),
        ("I bought it in this shop", Label.NEUTRAL),
        ("", Label.NEUTRAL),
        (" \t\u2028", Label.NEUTRAL),
        ("\ud83d\ude00 \udfff", Label.NEUTRAL),
    ],
)
def test_labels(text: str, label: Label) -> None:
    assert judge(text, "en").label is label


@pytest.mark.parametrize(
    ("score", "label"),
    [
        (0.05, "positive"),
        (0.0499, "neutral"),
        (0.0, "neutral"),
        (-0.0, "neutral"),
        (-0.0499, "neutral"),
        (-0.05, "negative"),
        (1.0, "positive"),
        (-1.0, "negative"),
    ],
)
def test_thresholds(monkeypatch: pytest.MonkeyPatch, score: float, label: str) -> None:
    monkeypatch.setattr("streams.sentiment.compound", lambda _: score)
    assert judge("", None) == Sentiment(Label(label), round(score * 10_000))


def test_ten_thousandths_are_the_score(corpus: list[str]) -> None:
    for text in corpus[:5_000]:
        score = judge(text, None).compound
        assert type(score) is int
        assert score / 10_000 == compound(cap(text)[0])


def test_the_standard_score_is_the_same_with_and_without_the_overlay(corpus: list[str]) -> None:
    overlay = Overlay(Tuning(patterns={"broken": ("good", "not")}), ["good", "love"])
    for text in corpus[:4_000]:
        plain = judge(text, None).compound
        assert understand(text, None, overlay).compound == plain
        assert understand(text, None, overlay, in_sentences=True).compound == plain
        assert understand(text, None, overlay, addressed=False).compound == plain
        assert understand(text, "de", overlay).compound == plain


def test_a_reduced_lexicon_is_the_lexicon_without_those_words() -> None:
    tokens = vader.Tokens(without=["good", "terrible"])
    for text in ("this is not a good thing!", "a terrible, lovely day", "good but terrible", "good"):
        expected = OFFICIAL.polarity_scores(text.replace("good", "qqx").replace("terrible", "qqx"))["compound"]
        assert vader.heard(text, tokens.__getitem__).compound() == expected
    calm, good = "a lovely day!", "a good day!"
    assert vader.heard(calm, tokens.__getitem__).sounds_like(vader.heard("@b lovely xyz!"))
    assert not vader.heard(calm, tokens.__getitem__).sounds_like(vader.heard("a lovely day"))
    assert not vader.heard(good, tokens.__getitem__).sounds_like(vader.heard(good))


def test_every_compound_is_a_whole_number_of_ten_thousandths() -> None:
    assert all(round(round(n / 10_000, 4) * 10_000) == n for n in range(-10_000, 10_001))


@pytest.mark.parametrize("language", [None, "en", "EN", "en-US", "en_GB", "En-Latn-GB", " en ", "und", "UND", "und-Latn", ""])
def test_english_and_unknown_languages_are_judged(language: str | None) -> None:
    assert judge("I love this shop", language) == Sentiment(Label.POSITIVE, 6369)


@pytest.mark.parametrize("language", ["de", "pt-BR", "zh_Hant_TW", "eng", "enm", "e", "x-en", "mul", "?", "\ud800", "de-en"])
def test_other_languages_are_not(language: str) -> None:
    assert judge("I love this shop", language) == Sentiment(Label.UNSUPPORTED, 6369, language=Language.UNSUPPORTED)


@given(st.text(alphabet=st.characters(), max_size=200), st.none() | st.text(alphabet=st.characters(), max_size=8))
@settings(max_examples=300, deadline=None, derandomize=True, database=None)
def test_no_text_and_no_language_raises(text: str, language: str | None) -> None:
    sentiment = judge(text, language)
    assert -10_000 <= sentiment.compound <= 10_000
    assert sentiment.label in set(Label)


def test_only_the_capped_text_counts() -> None:
    assert judge("a " * 500 + "I love this shop", None) == Sentiment(Label.NEUTRAL, 0)
    assert judge("🐟" * 64 + " I love it 🐟", None) != judge("🐟" * 65 + " I love it", None)


# What a text may cost

WORST = {
    "one emoji": "😀",
    "all emoji": "".join(vader.EMOJI),
    "longest description": max(vader.EMOJI, key=lambda emoji: len(vader.EMOJI[emoji])),
    "emoji and blanks": "😀 ",
    "but": "good but ",
    "smileys and one but": "but " + ":) " * 400_000,
    "different smileys": "but :) :( ;) =) =( :D x3 :* ",
    "boosters": "very good ",
    "capitals": "VERY GOOD so ",
    "negations": "isn't good ",
    "no": "no ",
    "idioms": "the shit bad ass kiss of death ",
    "zero width": "\u200b",
    "zero width in words": "good\u200b ",
    "combining": "e\u0301\u0302\u0303",
    "combining only": "\u0301",
    "surrogates": "\ud83d",
    "odd blanks": "\u2028\u00a0\t",
    "one token": "a",
    "punctuation": "!?.",
}


@pytest.mark.parametrize("length", [100, 1_000, 10_000, 1_000_000])
@pytest.mark.parametrize("unit", WORST.values(), ids=WORST.keys())
def test_no_text_takes_long(unit: str, length: int) -> None:
    text = (unit * (length // len(unit) + 1))[:length]
    assert min(_seconds(text) for _ in range(3)) < 0.020


def _seconds(text: str) -> float:
    vader.forget()
    started = time.process_time()
    judge(text, None)
    return time.process_time() - started
