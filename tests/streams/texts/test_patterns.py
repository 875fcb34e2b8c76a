"""The list of complaint patterns: every pattern matches and misses, the fast matcher finds what the definition says, faults are told."""

import csv
import gzip
import random
from collections.abc import Iterator, Sequence
from importlib import resources

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from xxhash import xxh3_64_hexdigest

from streams.texts.normal import NO_NAMES, Names, normalise, words
from streams.texts.patterns import END, LIST, ROLES, Pattern, PatternError, Patterns, Slot, read_list, read_pattern
from tests.data.adapters import DATA

FILLER = "qqx"
ALL = Patterns(LIST.patterns)
EACH = pytest.mark.parametrize("pattern", LIST.patterns, ids=lambda pattern: f"{pattern.category}: {pattern.text[:60]}")


def example(slot: Slot) -> str:
    """A word that fits a slot."""
    for found in (sorted(slot.exact), sorted(slot.prefixes), [f"qq{ending}" for ending in sorted(slot.endings)]):
        if found:
            return found[0]
    return FILLER


def text_of(pattern: Pattern, *, widen: int | None = None, spoil: int | None = None) -> list[str]:
    """Words that fit a pattern, as far apart as it allows; with one gap a word too wide, or in one slot a word that does not fit."""
    found: list[str] = []
    for place, (slot, gap) in enumerate(zip(pattern.slots, pattern.gaps, strict=True)):
        found += [FILLER] * (0 if slot.any else gap + (place == widen))
        found.append(FILLER if place == spoil else example(slot))
    return found[:-1] if found[-1] == END else found


def test_the_filler_fits_nothing_but_any_word() -> None:
    assert ALL.find([FILLER]) == []
    assert not any(slot.fits(FILLER) and not slot.any for pattern in LIST.patterns for slot in pattern.slots)


@EACH
def test_every_pattern_matches_a_text(pattern: Pattern) -> None:
    found = text_of(pattern)
    assert (0, len(found)) in [(match.start, match.end) for match in Patterns([pattern]).find(found)]
    assert any(match.category == pattern.category and match.start == 0 for match in ALL.find(found)), "among all others too"
    assert words(" ".join(found)) == found, "the words are as the normal form has them"


@EACH
def test_every_pattern_misses_a_text(pattern: Pattern) -> None:
    alone = Patterns([pattern])
    assert alone.find([FILLER] * 10) == []
    for place, slot in enumerate(pattern.slots):
        if not slot.any and slot.exact != {END}:
            assert alone.find(text_of(pattern, spoil=place)) == [], f"without the word in slot {place + 1}"
        if place and not slot.any and not any(before.any or before.fits(example(slot)) for before in pattern.slots[:place]):
            assert alone.find(text_of(pattern, widen=place)) == [], f"slot {place + 1} is a word too far away"


CAUGHT = {
    "wait": ["been on hold for 45 minutes", "still waiting", "two weeks later", "this is taking forever"],
    "late": ["yet another delay", "running late", "it is still not here", "not on time", "missed my appointment"],
    "nodelivery": ["it never arrived", "where is my order", "delivered to the wrong house", "missing item", "an empty box"],
    "cancel": ["they cancelled my booking", "I was refused", "turned away", "closed early"],
    "money": ["charged twice", "I want my money back", "hidden fees", "a waste of time", "a rip-off"],
    "broken": ["it doesn't work", "keeps crashing", "I can't log in", "the site is down", "no internet", "stopped working"],
    "noreply": ["no response", "nobody answers", "emailed you 3 times", "I have been ignored"],
    "staff": ["a rude manager", "your agent had no clue", "terrible service", "they told me one thing but another happened"],
    "anger": ["what a joke", "a shambles", "unacceptable", "fed up with it", "are you kidding", "you let me down"],
    "repeat": ["yet again it broke", "every single time", "the third replacement", "the same problem"],
    "rhetq": ["why is your site so slow", "what is going on", "how come", "any update"],
    "promise": ["it was supposed to come", "I was told yes", "they said it would", "not as described"],
    "churn": ["cancel my subscription", "switching to another provider", "never use it again", "you lost a customer", "I will report you"],
    "sarcasm": ["thanks for nothing", "great, another delay", "well done, it failed", "love how you keep me waiting", "way to go"],
    "help": ["can someone fix it", "please help", "need assistance"],
    "neutralq": ["do you sell tents", "what time do you open", "how do I return it", "I am looking for a tent"],
    "thanks": ["thank you so much", "all sorted now", "great service", "kudos"],
    "news": ["the firm announces a plan", "a giveaway", "promo code"],
    "closing": ["thanks in advance", "thank you"],
}  # fmt: skip
CALM = "The red tent stands beside the lake and the children read a book"


def test_what_the_categories_are_for() -> None:
    assert list(CAUGHT) == list(LIST.roles)
    missed = [
        (category, text) for category, texts in CAUGHT.items() for text in texts if category not in {m.category for m in ALL.find(words(normalise(text)))}
    ]
    assert missed == []
    assert ALL.find(words(normalise(CALM))) == []


# --- the definition, written plainly -----------------------------------------------------------------------------------


def naive(pattern: Pattern, found: Sequence[str]) -> list[int]:
    """Where a pattern begins in a text."""
    text = [*found, END]

    def follows(place: int, at: int) -> bool:
        if place == len(pattern.slots):
            return True
        last = min(at + pattern.gaps[place], len(text) - 1) if place else at
        return any(pattern.slots[place].fits(text[here]) and follows(place + 1, here + 1) for here in range(at, last + 1))

    return [start for start in range(len(text)) if follows(0, start)]


def hits(found: Sequence[str]) -> set[tuple[str, int]]:
    return {(pattern.category, start) for pattern in LIST.patterns for start in naive(pattern, found)}


def fast(found: Sequence[str]) -> list[tuple[str, int]]:
    return [(match.category, match.start) for match in ALL.find(found)]


def real_texts() -> Iterator[str]:
    for name, file in (("vader_ground_truth_social", "ground_truth.csv.gz"), ("airline_seat_reviews", "reviews.csv.gz")):
        if (DATA / name / file).exists():
            with gzip.open(DATA / name / file, "rt", encoding="utf-8", newline="") as rows:
                yield from (row["text"] for row in csv.DictReader(rows))


def test_real_texts_match_as_the_definition_says() -> None:
    texts = list(real_texts())
    if not texts:
        pytest.skip("The public texts are not there; this test needs the folder shared/data beside the repository.")
    for text in random.Random(5).sample(texts, 150):
        found = words(normalise(text[:300]))
        assert sorted(fast(found)) == sorted(hits(found))


LITERALS = sorted({word for pattern in LIST.patterns for slot in pattern.slots for word in (*slot.exact, *slot.prefixes)} - {END})


@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(st.lists(st.sampled_from([*LITERALS, FILLER, "working"]), max_size=25))
def test_any_words_match_as_the_definition_says(found: list[str]) -> None:
    once = fast(found)
    assert len(set(once)) == len(once), "one match for each category and start"
    assert set(once) == hits(found)


@settings(max_examples=200, deadline=None, derandomize=True, database=None)
@given(st.lists(st.text(max_size=8), max_size=30))
def test_no_words_raise(found: list[str]) -> None:
    for match in ALL.find(found):
        assert 0 <= match.start < match.end <= len(found)


# --- the list, and how it is read ----------------------------------------------------------------------------------------


def test_the_list_is_what_was_published() -> None:
    assert LIST.version == 1
    assert len([pattern for pattern in LIST.patterns if pattern.category != "closing"]) == 263
    assert set(LIST.roles.values()) == set(ROLES)
    assert len({(pattern.category, pattern.text) for pattern in LIST.patterns}) == len(LIST.patterns)


def test_a_changed_list_needs_a_new_version() -> None:
    """Figures of different lists are not comparable: a change of a class or a pattern must change the version, and this number with it."""
    text = resources.files("streams.texts").joinpath("patterns.txt").read_text(encoding="utf-8")
    content = "\n".join(line for line in text.splitlines() if line.strip() and not line.startswith(("#", "version")))
    assert (LIST.version, xxh3_64_hexdigest(content.encode())) == (1, "8f72782e66dda695")


FAULTS = [
    ("", "it has 0 slots; 1 to 5"),
    ("a ~2", "nothing follows the last one"),
    ("~2 a", "the gap '~2' must stand between two slots"),
    ("a ~1 ~2 b", "the gap '~2' must stand between two slots"),
    ("card ~x reader", "'~x' is no gap: ~1 to ~6"),
    ("card ~7 reader", "'~7' is no gap: ~1 to ~6"),
    ("card {NOPE}", "'{NOPE}' is no class of words; classes: {SERVICE}, {NEG}"),
    ("card {neg}", "'{neg}' is no class"),
    ("a||b", "'' is no word"),
    ("card !?", "'!?' is no word"),
    ("c*d", "'c*d' is no word"),
    ("*mid*", "'*mid*' is no word"),
    ("d*", "'d*' would fit too much; at least 2"),
    ("{ANY}", "it fits every text"),
    ("* ~3 {ANY}", "it fits every text"),
    ("one two three four five six", "it has 6 slots; 1 to 5"),
    ("a " * 300, "longer than 500"),
]


@pytest.mark.parametrize(("text", "said"), FAULTS)
def test_faults_of_patterns_are_told(text: str, said: str) -> None:
    with pytest.raises(PatternError) as told:
        read_pattern("broken", text, LIST.classes)
    assert said in str(told.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("version x", "line 1:"),
        ("late", "line 1: a pattern before the first category"),
        ("@late loud\nlate", "line 1:"),
        ("@late strong\n\nlate ~9 x", "line 3:"),
    ],
)
def test_faults_of_a_list_are_told_with_their_line(text: str, said: str) -> None:
    with pytest.raises(PatternError, match=said):
        read_list(text)


@pytest.mark.parametrize(
    ("pattern", "text", "found"),
    [
        ("card reader", "The card reader!", True),
        ("card reader", "a card for the reader", False),
        ("card ~2 reader", "a card for the reader", True),
        ("queue at desk 3", "Queue at desk 14", True),
        ("Don't|won’t scan", "it won't scan", False),
        ("Don't|wont scan", "it won't scan", True),
        ("scann*|*board broke*", "the scanner broke", True),
        ("scann*|*board broke*", "my keyboard is broken", False),
        ("scann*|*board ~1 broke*", "my keyboard is broken", True),
        ("trail app", "The Trail app", True),
        ("reader $", "about the reader", True),
        ("reader $", "the reader is here", False),
    ],
)
def test_site_patterns(pattern: str, text: str, found: bool) -> None:
    names = Names(["Trail"]) if "trail" in pattern else NO_NAMES
    own = Patterns([read_pattern("broken", pattern, LIST.classes, names)])
    assert bool(own.find(words(normalise(text, names)))) is found
