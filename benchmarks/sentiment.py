"""What judging a text costs: the standard scorer, and with the overlay, warm and cold; beside the official library, which is the measure.

    python benchmarks/sentiment.py            the figures: one JSON object, the last line of standard output

Texts are those of the workload, about 110 characters, hardly two alike. Rounds of all kinds take turns, and the best of each counts.
*Cold* forgets every token before a round. Microseconds are of CPU time of this process.
"""

import gc
import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

from benchmarks.workload import Workload
from streams import vader
from streams.sentiment import judge, understand
from streams.texts.overlay import Overlay, Tuning, forget

TEXTS = 3_000
ROUNDS = 5


class Cost(NamedTuple):
    """Microseconds of CPU a text."""

    official: float
    plain_warm: float
    plain_cold: float
    overlay_warm: float
    overlay_cold: float
    overlay_in_sentences: float

    def as_json(self) -> dict[str, float]:
        return {name: round(value, 1) for name, value in self._asdict().items()} | {
            "overlay_warm_texts_per_cpu_s": round(1e6 / self.overlay_warm),
            "overlay_warm_of_official": round(self.overlay_warm / self.official, 2),
            "overlay_cold_of_plain_cold": round(self.overlay_cold / self.plain_cold, 2),
        }


def measure(texts: Sequence[str], rounds: int = ROUNDS) -> Cost:
    """The cost of each way to judge these texts."""
    official, overlay = SentimentIntensityAnalyzer(), Overlay(Tuning(), ["Trail Shop"])

    def plain(text: str) -> object:
        return judge(text, None)

    def both(text: str) -> object:
        return understand(text, None, overlay)

    def by_sentence(text: str) -> object:
        return understand(text, None, overlay, in_sentences=True)

    def forget_all() -> None:
        vader.forget()
        forget(overlay)

    ways: tuple[tuple[Callable[[str], object], bool], ...] = (
        (official.polarity_scores, False), (plain, False), (plain, True), (both, False), (both, True), (by_sentence, False),
    )  # fmt: skip
    best = [float("inf")] * len(ways)
    for text in texts:
        by_sentence(text)
    gc.collect()
    gc.freeze()  # as the worker does
    for _ in range(rounds):
        for place, (way, cold) in enumerate(ways):
            if cold:
                forget_all()
            started = time.process_time()
            for text in texts:
                way(text)
            best[place] = min(best[place], (time.process_time() - started) / len(texts) * 1e6)
            if cold:  # warm again
                for text in texts:
                    by_sentence(text)
    gc.unfreeze()
    return Cost(*best)


def made_up_texts(number: int = TEXTS) -> list[str]:
    workload = Workload(5, text=True)
    return [workload.text() for _ in range(number)]


if __name__ == "__main__":
    print(json.dumps(measure(made_up_texts()).as_json()))
