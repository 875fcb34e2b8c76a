"""Whether a text is English."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.texts.language import VOTE, Language, Votes, language_of, votes_of
from streams.texts.normal import normalise

TEXTS = {
    "en": "My parcel never arrived and nobody answers the phone.",
    "en, short": "Great shoes!",
    "en, with a name from elsewhere": "I had a coffee at the café with Zoë, it was lovely",
    "es": "Llevo tres semanas esperando y nadie me contesta, muy mal servicio",
    "pt": "Não recebi o meu pedido e ninguém responde, péssimo",
    "fr": "Toujours pas de nouvelles de mon colis, c'est beaucoup trop long",
    "it": "Il pacco non è mai arrivato e nessuno risponde",
    "de": "Das Paket ist seit Tagen unterwegs und niemand antwortet mir",
    "nl": "Mijn pakket is nog steeds niet aangekomen en niemand reageert",
    "hi": "mera order abhi tak nahi aaya aur koi jawab nahi de raha hai",
    "id": "paket saya belum datang dan tidak ada yang menjawab",
    "tl": "hindi pa dumating ang order ko at wala silang sagot",
    "tr": "siparişim hâlâ gelmedi ve kimse cevap vermiyor, çok kötü",
    "ru": "Где моя посылка? Никто не отвечает",
    "ar": "أين طلبي؟ لا أحد يجيب",
    "zh": "我的包裹还没到",
}


@pytest.mark.parametrize("name", TEXTS)
def test_languages(name: str) -> None:
    expected = Language.ENGLISH if name.startswith("en") else Language.UNSUPPORTED
    assert language_of(normalise(TEXTS[name])) is expected


@pytest.mark.parametrize("text", ["", "👊👊", "@user #LaCasa", "https://x.example", "12 + 5", "Soave Classico Monteforte Vigneti"])
def test_without_evidence_it_is_undetermined(text: str) -> None:
    assert language_of(normalise(text)) is Language.UNDETERMINED


def test_many_words_with_hardly_one_of_english_are_no_evidence() -> None:
    assert language_of(" ".join(["soccer"] * 13 + ["the"])) is Language.UNDETERMINED
    assert language_of(" ".join(["soccer"] * 11 + ["the"])) is Language.ENGLISH


def test_a_vote_is_shared_by_the_languages_that_have_the_word() -> None:
    assert all(VOTE % n == 0 for n in range(1, 12))
    assert Votes.of(votes_of("the")) == (1, VOTE, 0)
    assert Votes.of(votes_of("is")) == (1, VOTE // 2, VOTE // 2), "English and Dutch"
    assert Votes.of(votes_of("señora")) == (1, 0, VOTE // 2)
    assert Votes.of(votes_of("is") + votes_of("c'est") + votes_of("#the")) == (3, VOTE // 2, VOTE // 2 + VOTE)


def test_names_links_and_hashtags_have_no_vote() -> None:
    assert language_of(normalise("the order is late @el_perro_de_la_casa #esto #es #nada https://el.la.example/los/que")) is Language.ENGLISH


@settings(max_examples=300, deadline=None, derandomize=True, database=None)
@given(st.text(alphabet=st.one_of(st.characters(), st.sampled_from("aeióñ @#.")), max_size=200))
def test_no_text_raises(text: str) -> None:
    assert language_of(normalise(text)) in set(Language)
