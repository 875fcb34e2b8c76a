"""How texts are counted: labels, complaints by category, and the version of the list."""

import pytest

from streams.engagement import FAMILIES
from streams.facts import Complaint, TextJudged
from streams.kpis import KPIS
from streams.sites import load_sites
from streams.texts.patterns import LIST
from tests.streams.records import T0, D, M, event, feed, intake, pane_rows

KPI = {kpi.name: kpi for kpi in KPIS}
LATE, CALM, BAD = "My parcel is late and nobody answers", "The tent is red and the sun is out", "I hate this terrible tent"


def texts(state, grouping: str = "segment,origin", size: int = M) -> dict[tuple, dict]:
    """All measures of texts by labels."""
    family = FAMILIES[TextJudged]
    return {
        key[5:]: {kpi.name: kpi.value.result([cell[i] for i in family.indices[kpi.name]], cell).value for kpi in family.kpis}
        for key, cell in pane_rows(state).items()
        if key[:3] == ("text", size, grouping) and cell[family.indices["unsupported_share"][0]]
    }


def complaints(state, grouping: str = "origin,complaint", size: int = M) -> dict[tuple, int]:
    index = FAMILIES[Complaint].indices["complaints"][0]
    return {key[5:]: cell[index] for key, cell in pane_rows(state).items() if key[:3] == ("complaint", size, grouping) and cell[index]}


def mention(text: str, at: int = T0, **fields) -> dict:
    return event("mention_posted", at, **{"text": text, **fields})


@pytest.mark.parametrize(
    ("kind", "fields", "origin", "negative"),
    [
        ("mention_posted", {"text": LATE}, "mention", 1.0),
        ("review_posted", {"text": LATE, "rating": 1}, "review", 1.0),
        ("survey_answered", {"comment": LATE, "survey": "nps", "score": 2}, "survey", 1.0),
        ("ticket_opened", {"text": LATE}, "ticket", 1.0),
        ("interaction_made", {"text": LATE, "kind": "comment"}, "comment", 1.0),
        ("community_posted", {"text": LATE}, "community", 0.0),  # members among themselves: VADER's label
    ],
)
def test_which_texts_have_the_overlays_label(kind: str, fields: dict, origin: str, negative: float) -> None:
    state = intake(event(kind, T0) | fields)
    [(labels, found)] = texts(state).items()
    assert labels[1] == origin
    assert (found["negative_share"], found["vader_negative_share"], found["texts_scored"]) == (negative, 0.0, 1)
    assert found["pattern_version"] == (LIST.version if negative else None)
    assert complaints(state) == ({(origin, "late"): 1, (origin, "noreply"): 1} if negative else {})


def test_complaints_are_those_of_negative_texts_by_each_grouping() -> None:
    state = intake(mention(LATE, segment="vip"), mention(CALM), mention("It was late, but all is sorted now, thank you so much", segment="vip"), mention(BAD))
    assert complaints(state, "complaint") == {("late",): 1, ("noreply",): 1, ("anger",): 1}
    assert complaints(state, "segment,complaint") == {("vip", "late"): 1, ("vip", "noreply"): 1, ("unknown", "anger"): 1}
    assert complaints(state, "complaint", D) == {("late",): 1, ("noreply",): 1, ("anger",): 1}


def test_what_is_not_english_is_counted_apart() -> None:
    state = intake(mention("Das Paket ist nicht da und niemand antwortet"), mention(LATE, language="pt-BR"), mention(LATE))
    [found] = texts(state).values()
    assert (found["texts_scored"], found["unsupported_share"], found["negative_share"]) == (1, pytest.approx(2 / 3), 1.0)


def test_without_consent_nothing_is_counted() -> None:
    state = intake(mention(LATE, consent={"sentiment": False}))
    assert (texts(state), complaints(state)) == ({}, {})


def test_an_edit_of_a_review_takes_its_complaints_back() -> None:
    def review(at: int, text: str | None, **fields) -> dict:
        return event("review_posted", at, **{"author": "bo", "review": "r1", "text": text, **fields})

    state = intake(review(T0, LATE))
    feed(state, [review(T0 + M, "I hate the terrible smell")])
    assert complaints(state) == {("review", "anger"): 1}
    state.drain(1)
    feed(state, [review(T0 + 2 * M, CALM)])
    assert complaints(state) == {}
    [found] = texts(state).values()
    assert (found["texts_scored"], found["negative_share"]) == (1, 0.0)


def test_a_site_has_its_own_overlay() -> None:
    sites = load_sites("sites: {acme: {brands: [Delight], sentiment: {overlay: false}}, other: {brands: [Delight], sentiment: {mute: [late, noreply]}}}")
    for site, text, negative in (("acme", LATE, 0.0), ("other", LATE, 0.0), ("other", BAD, 1.0), ("third", LATE, 1.0)):
        state = intake(mention(text, site=site), sites=sites)
        [found] = texts(state).values()
        assert found["negative_share"] == negative, (site, text)
        assert (found["pattern_version"] is None) is (site == "acme")


def test_versions_do_not_mix_silently() -> None:
    family, version = FAMILIES[TextJudged], KPI["pattern_version"]
    cell = family.empty()
    for fact in (TextJudged("negative", 0, 1), TextJudged("neutral", 0, 2), TextJudged("neutral", 0, 0), TextJudged("unsupported", 0, 0)):
        family.put(cell, family.measure(fact))
    found = version.value.result([cell[i] for i in family.indices["pattern_version"]], cell)
    assert (found.value, found.n) == (1.5, 2), "between two versions: not comparable"
