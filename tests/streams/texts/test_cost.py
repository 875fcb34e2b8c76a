"""What the second opinion may cost: one call of the official library, and no more memory than its bounds. docs/sentiment.md has the figures."""

import pytest

from benchmarks.sentiment import made_up_texts, measure
from streams.texts import normal, overlay
from streams.texts.overlay import Overlay, Tuning, forget


@pytest.mark.slow
def test_the_overlay_costs_about_one_call_of_the_official_library() -> None:
    """A ratio within one process, whose rounds take turns: it holds on a busy machine too."""
    cost = measure(made_up_texts(600), rounds=5)
    assert cost.overlay_warm < 1.25 * cost.official
    assert cost.overlay_cold < 1.6 * cost.official
    assert cost.plain_warm < 0.3 * cost.official


def test_what_is_remembered_can_be_forgotten_and_changes_nothing() -> None:
    own = Overlay(Tuning())
    texts = made_up_texts(200)
    before = [own.judge(own.normalise(text)) for text in texts]
    assert own.tokens
    assert overlay._tone_tokens
    forget(own)
    assert not own.tokens
    assert not overlay._tone_tokens
    assert [own.judge(own.normalise(text)) for text in texts] == before


def test_tokens_are_remembered_within_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(normal, "TOKENS_REMEMBERED", 10)
    own = Overlay(Tuning(mute=("news",)))
    for number in range(100):
        own.judge("late " + "word" * (number % 30))
        assert len(own.tokens) <= 10
    assert "late" in own.tokens
    assert max(map(len, own.tokens)) <= normal.LONGEST_REMEMBERED
