"""The second opinion: what it hears, how the score is made, and that it is stable and bounded."""

import time

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from streams.sentiment import OVERLAY, VADER, Label, Sentiment, cap, compound, judge, understand
from streams.texts.language import Language
from streams.texts.normal import normalise, words
from streams.texts.overlay import COMPLAINTS, SERVICE_WORDS, Curve, Overlay, Tuning, sentences, shown_words, weigh
from streams.texts.patterns import LIST, Match, PatternError

PLAIN = Overlay(Tuning())
SUPER = Overlay(Tuning(), ["Super"])


def label(text: str, overlay: Overlay = PLAIN) -> str:
    return str(understand(text, None, overlay).label)


@pytest.mark.parametrize(
    ("text", "expected", "by_vader"),
    [
        ("My parcel never arrived and nobody answers", "negative", "neutral"),
        ("Please help, I would like a refund, thanks", "negative", "positive"),
        ("thanks for nothing", "negative", "positive"),
        ("Great, another delay", "negative", "positive"),
        ("I have not received my order. Thanks in advance", "negative", "positive"),
        ("I don’t like it", "neutral", "positive"),
        ("I hate this", "negative", "negative"),
        ("all sorted, thanks", "positive", "positive"),
        ("It was broken, but the new one works great. Thank you so much, all sorted now!", "positive", "positive"),
        ("thanks", "positive", "positive"),
        ("What time do you open on Sunday?", "neutral", "neutral"),
        ("I love these shoes, the sole is wonderful", "positive", "positive"),
    ],
)
def test_what_vader_does_not_hear(text: str, expected: str, by_vader: str) -> None:
    assert (label(text), str(judge(text, None).label)) == (expected, by_vader)


def test_the_name_of_the_brand_is_no_feeling() -> None:
    text = "I called @Super about my Super shoes from Super"
    assert judge(text, None).label is Label.POSITIVE
    assert (label(text), label(text, SUPER)) == ("positive", "neutral")


def test_service_words_are_no_feelings() -> None:
    assert {"please", "thanks", "help", "like", "support"} <= SERVICE_WORDS
    assert compound("please help support like thanks") > 0.5
    assert PLAIN.judge("please help support like").tone == 0.0


def matches(text: str) -> list[Match]:
    return [Match(category, int(start), int(start) + 1, LIST.patterns[0]) for category, start in (one.split(":") for one in text.split())]


@pytest.mark.parametrize(
    ("found", "tone", "score", "expected"),
    [
        ("", 0.0, 0.0, "neutral"),
        ("late:0", 0.0, 1.0, "negative"),
        ("late:0 late:3 late:6", 0.0, 2.0, "negative"),  # two hits count
        ("late:0 staff:1", 0.0, 2.0, "negative"),
        ("churn:0", 0.0, 0.5, "negative"),
        ("churn:0 churn:1 churn:2", 0.0, 1.0, "negative"),
        ("late:0", 0.6, 0.4, "positive"),
        ("late:0 sarcasm:1", 0.6, 1.65, "negative"),
        ("sarcasm:1", 0.3, 0.2, "neutral"),
        ("sarcasm:1 churn:2", 0.0, 1.75, "negative"),
        ("late:0 thanks:2", 0.0, 0.0, "positive"),
        ("late:0 thanks:2 closing:2", 0.0, 1.0, "negative"),  # a polite closing excuses nothing
        ("late:0 thanks:2 closing:2 thanks:5", 0.0, 0.0, "positive"),
        ("sarcasm:0 thanks:0", 0.0, 0.5, "negative"),  # nor do thanks for nothing
        ("thanks:0 closing:0", 0.0, -1.0, "positive"),
        ("late:0 neutralq:2", 0.0, 0.5, "negative"),
        ("neutralq:2", 0.0, -0.5, "neutral"),
        ("help:0 news:1", 0.0, 0.0, "neutral"),
        ("", -0.05, 1.5, "negative"),
        ("", -0.0499, 0.0, "neutral"),
        ("", 0.4, -0.4, "positive"),
        ("", 0.3999, -0.3999, "neutral"),
    ],
)
def test_the_score(found: str, tone: float, score: float, expected: str) -> None:
    opinion = weigh(matches(found), tone, 0.5)
    assert opinion.score == pytest.approx(score)
    assert str(opinion.label) == expected


def test_reasons_are_the_categories_that_weigh_most() -> None:
    opinion = weigh(matches("churn:0 late:1 staff:2 staff:4 rhetq:5 anger:6 thanks:9"), -0.5, 0.5)
    assert opinion.reasons == ("staff", "late", "anger")
    assert weigh(matches("late:0 thanks:1"), 0.5, 0.5).reasons == ()
    assert set(opinion.counts) - set(COMPLAINTS) == {"thanks"}


@pytest.mark.parametrize(("score", "p"), [(0.0, 0.345), (0.5, 0.463), (1.0, 0.584), (2.0, 0.789), (4.0, 0.964), (-3.0, 0.027)])
def test_the_probability_of_a_complaint(score: float, p: float) -> None:
    assert Curve().at(score) == pytest.approx(p, abs=5e-4)
    assert Curve(slope=20, intercept=20).at(1_000) == 1.0


def test_a_sentiment_says_where_it_comes_from() -> None:
    text = "My parcel never arrived"
    found = understand(text, "en", PLAIN)
    assert found == Sentiment(Label.NEGATIVE, 0, OVERLAY, 10_000, Curve().at(1.0), ("nodelivery",), Language.ENGLISH)
    assert understand(text, "en", PLAIN, addressed=False) == Sentiment(Label.NEUTRAL, 0), "chatter keeps VADER's label"
    assert understand(text, "en", Overlay(Tuning(overlay=False))) == Sentiment(Label.NEUTRAL, 0)
    assert understand("Soave Classico Monteforte Vigneti", None, PLAIN).language is Language.UNDETERMINED


@pytest.mark.parametrize(("text", "language"), [("My parcel never arrived", "de"), ("Das Paket ist nicht da und niemand antwortet", None)])
def test_what_is_not_english_is_not_scored_but_has_its_compound(text: str, language: str | None) -> None:
    found = understand(text, language, PLAIN)
    assert (found.label, found.source, found.p_negative, found.reasons) == (Label.UNSUPPORTED, VADER, None, ())
    assert found.compound == round(compound(text) * 10_000)


def test_a_site_adds_patterns_mutes_categories_and_moves_the_threshold() -> None:
    text = "Is your card reader awake?"
    assert label(text) == "neutral"
    assert label(text, Overlay(Tuning(patterns={"broken": ("card reader", "zip")}))) == "negative"
    assert label("It is late", PLAIN) == "negative"
    assert label("It is late", Overlay(Tuning(mute=("late",)))) == "neutral"
    assert label("I will not buy again", PLAIN) == "negative"
    assert label("I will not buy again", Overlay(Tuning(threshold=0.75))) == "neutral"


@pytest.mark.parametrize(
    ("tuning", "said"),
    [
        (Tuning(mute=("angry",)), "'angry' is no category; categories: wait, late"),
        (Tuning(patterns={"angry": ("x",)}), "'angry' is no category"),
        (Tuning(patterns={"broken": ("fine", "card ~x reader")}), "patterns: broken: pattern 2 ('card ~x reader'): '~x' is no gap: ~1 to ~6"),
        (Tuning(patterns={"broken": tuple(f"word{n} x" for n in range(201))}), "201 of them; at most 200"),
    ],
)
def test_faults_of_a_tuning_are_told(tuning: Tuning, said: str) -> None:
    with pytest.raises(PatternError) as told:
        Overlay(tuning)
    assert said in str(told.value)


# --- long texts ------------------------------------------------------------------------------------------------------


def test_sentences() -> None:
    assert sentences("It was late. Really?! No... 3.5 stars") == ["It was late.", "Really?!", "No...", "3.5 stars"]
    assert sentences("") == []


def test_a_review_is_the_mean_of_its_sentences() -> None:
    text = "The seat was comfortable. The food was good. The crew was friendly. It was a pleasant flight. We were an hour late."
    whole, by_sentence = PLAIN.judge(text), PLAIN.judge_sentences(text)
    scores = [PLAIN.judge(sentence).score for sentence in sentences(text)]
    assert by_sentence.score == pytest.approx(sum(scores) / 5)
    assert by_sentence.label is Label.POSITIVE
    assert by_sentence.counts["late"] == whole.counts["late"]
    assert PLAIN.judge_sentences("It never arrived") == PLAIN.judge("It never arrived")
    assert PLAIN.judge_sentences("") == PLAIN.judge("")


# --- properties ------------------------------------------------------------------------------------------------------

SAID = "parcel never arrived nobody answers thanks great another delay don't can't wasn't love hate refund 😀 ❤ 😡 still waiting, not good! why?"
PIECES = st.one_of(
    st.sampled_from(SAID.split(" ")),
    st.text(alphabet=st.characters(exclude_characters="&"), max_size=6),
)  # fmt: skip
TEXTS = st.lists(PIECES, max_size=30).map(" ".join)


@settings(max_examples=500, deadline=None, derandomize=True, database=None)
@given(TEXTS, st.booleans(), st.none() | st.text(max_size=5))
def test_any_text_has_a_sentiment_and_its_standard_score(text: str, review: bool, language: str | None) -> None:
    found = understand(text, language, SUPER, in_sentences=review)
    assert found.compound == judge(text, None).compound == round(compound(cap(text)[0]) * 10_000)
    assert len(found.reasons) <= 3
    assert set(found.reasons) <= set(COMPLAINTS)
    assert (found.p_negative is None) is (found.source == VADER)
    assert found.p_negative is None or 0 <= found.p_negative <= 1
    assert not found.reasons or found.label is Label.NEGATIVE


@settings(max_examples=400, deadline=None, derandomize=True, database=None)
@given(TEXTS, st.booleans())
@example("I don't like it. It isn't good, it wasn't \"great\"", False)
@example("❤ ❤ 😀 not 😡", True)
def test_the_label_does_not_depend_on_quotes_and_variation_selectors(text: str, review: bool) -> None:
    typed = text.replace("’", "'").replace("“", '"').replace("”", '"').replace("\ufe0f", "")[:400]
    expected = understand(typed, None, SUPER, in_sentences=review)
    curly = typed.replace("'", "’").replace('"', "“")
    selected = typed.replace("❤", "❤\ufe0f").replace("😀", "😀\ufe0f").replace("😡", "😡\ufe0f")
    for other in (curly, selected):
        found = understand(other, None, SUPER, in_sentences=review)
        assert (found.label, found.score, found.reasons, found.language) == (expected.label, expected.score, expected.reasons, expected.language)


WORST = {
    "pattern words": "been tried 3 times but still no one ",
    "numbers": "0 ",
    "negations": "not ",
    "letters": "a ",
    "questions": "why? ",
    "sentences": "no. ",
    "full stops": ". ",
    "glued": "a,b;c!D?e.F",
    "stretched": "aaabbbccc ",
    "one word": "a",
    "handles": "@a @b ",
    "hashtags": "#WorstServiceEver ",
    "one hashtag": "#" + "Ab" * 500,
    "characters by name": "&amp;&#39;",
    "ampersands": "&" * 1_000,
    "links": "https://x.example/y ",
    "emoji": "😀❤️👍🏽",
    "names": "super super",
    "parted not": "do n't ",
    "accents": "é ñ ü ",
    "combining": "e\u0301\u0302",
    "surrogates": "\ud83d",
}
SLOT = "a|not|no|0"
GREEDY = Overlay(Tuning(patterns={"broken": tuple(f"{SLOT} ~6 {SLOT} ~6 {SLOT} ~6 {SLOT} ~6 zz{n}" for n in range(60))}), ["super", "super super"])


@pytest.mark.parametrize("length", [100, 1_000, 100_000])
@pytest.mark.parametrize("unit", WORST.values(), ids=WORST.keys())
def test_no_text_takes_long(unit: str, length: int) -> None:
    text = (unit * (length // len(unit) + 1))[:length]
    assert min(_seconds(text, overlay) for overlay in (PLAIN, GREEDY) for _ in range(3)) < 0.020
    assert min(_seconds(text, GREEDY) for _ in range(3)) < 0.040, "with the greediest patterns of a site's own"


def _seconds(text: str, overlay: Overlay) -> float:
    started = time.process_time()
    understand(text, None, overlay, in_sentences=True)
    understand(text, None, overlay)
    return (time.process_time() - started) / 2


def test_words_of_a_text_and_as_they_were_written_are_as_many() -> None:
    for text in ("Don't - #WorstServiceEver 45 (minutes)!", "u broke it…again", ":) - 😀"):
        normal = normalise(text)
        assert len(shown_words(normal)) == len(words(normal))
