"""The normal form: what each step does, and that nothing breaks it."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.texts import normal
from streams.texts.normal import Memory, Names, normalise, word, words

BRANDS = Names(["Super", "Peak & Path", "C++ Shop", ""])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("I don’t like it", "I don't like it"),
        ("don`t, don´t, don‘t", "don't, don't, don't"),
        ("“great” „great“ great…", '"great" "great" great...'),
        ("late – again—sad", "late - again - sad"),
        ("so\u00a0good\u2009really！？", "so good really!?"),
        ("❤️ 👍🏽 so\u00adft zero\u200bwidth", "❤ 👍 soft zerowidth"),
        ("great😀product", "great 😀 product"),
        ("Q&amp;A &#39;ok&#39; &lt;3", "Q&A 'ok' <3"),
        ("see https://t.co/x?a=1 or www.shop.example/x, thanks", "see or thanks"),
        ("@help and @Help_Desk: mail me at a@b.example", "@user and @user: mail me at a@b.example"),
        ("Sooo grrreat, stilll niiice, whyyyy", "So great, still nice, why"),
        ("late,never again.Bad!Really", "late, never again. Bad! Really"),
        ("well...Nothing... 3.5 e.g. 1,000", "well... Nothing... 3.5 e.g. 1,000"),
        ("I do n't, he don t, she did nt, they wo n't, cannot", "I don't, he don't, she didn't, they won't, cannot"),
        ("#WorstServiceEver", "#WorstServiceEver"),
        (" \t\n", ""),
        ("", ""),
    ],
)
def test_steps(text: str, expected: str) -> None:
    assert normalise(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Super is super, @super and #SUPER", "@brand is @brand, @brand and @brand"),
        ("superb, supermarket, Supers", "superb, supermarket, Supers"),
        ("Peak &amp; Path", "@brand"),
        ("peak  & path’s shoes", "@brand's shoes"),
        ("the C++ Shop!", "the @brand!"),
    ],
)
def test_names_of_the_site_are_hidden(text: str, expected: str) -> None:
    assert normalise(text, BRANDS) == expected


def test_without_names_nothing_is_hidden() -> None:
    assert Names().hide("Super & (brand)") == "Super & (brand)"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("I DON'T know, really!", "i dont know really"),
        ("waited 45 minutes for the 2nd time, 3hrs", "waited 0 minutes for the 0nd time 0hrs"),
        ("u broke ur app pls", "you broke your app please"),
        ("#WorstServiceEver #fail #iOS17", "worst service ever fail i os 0"),
        ("- so ... ok ?!", "so ok"),
        ("@user & 😀", "user 😀"),
        ("# ## #!", ""),
    ],
)
def test_words(text: str, expected: str) -> None:
    assert words(text) == expected.split()


ODD = st.text(alphabet=st.one_of(st.characters(), st.sampled_from("aA.,!'’#@& 0n't\ud83d\ufe0f😀")), max_size=200)


@settings(max_examples=400, deadline=None, derandomize=True, database=None)
@given(ODD)
def test_nothing_breaks_it(text: str) -> None:
    found = normalise(text, BRANDS)
    assert found == " ".join(found.split())
    assert all((one and one == one.lower()) or not one.isascii() for one in words(found))
    assert words(found) == [one for token in found.split() for one in words(token)]


@settings(max_examples=200, deadline=None, derandomize=True, database=None)
@given(ODD)
def test_quotes_and_variation_selectors_make_no_difference(text: str) -> None:
    text = text.replace("&", "")  # a quote may complete the name of a character: &#39;
    typed = text.replace("’", "'").replace("\ufe0f", "")
    assert normalise(typed.replace("'", "’")) == normalise(typed)
    assert normalise(typed.replace("😀", "😀\ufe0f")) == normalise(typed)


def test_tokens_are_remembered_within_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(normal, "TOKENS_REMEMBERED", 10)
    memory = Memory(word)
    for number in range(100):
        assert memory[f"Word{number}!"] == "word0"
        assert len(memory) <= 10
    long = "a" * (normal.LONGEST_REMEMBERED + 1)
    assert memory[long] == long
    assert long not in memory
