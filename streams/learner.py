"""What starred reviews teach about reviews without stars: an online logistic regression per site and partition, off unless the site asks for it.

Words and pairs of words of the normal form, present or not, scaled by 1/√n, in pieces of 30 words, with VADER's compound beside them; AdaGrad
(Duchi, Hazan, Singer, JMLR 2011). Reviews of at most two stars are examples of negative ones, of at least four stars of others; those between teach nothing.

The weights are a function of the topic `reviews` of the partition: each review that is counted is learned once, in the order of the log. So they
are used for texts of that topic alone, which stand in the same order; a text on another topic could meet other weights after a restart.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from math import exp, sqrt

import msgspec
from xxhash import xxh3_64_intdigest

from streams.journeys.reviews import MICRO
from streams.rows import LEARNER_ROW
from streams.sentiment import OVERLAY, Label, Sentiment
from streams.texts.normal import words
from streams.texts.overlay import Overlay

LEAST_REVIEWS = 300
"""Starred reviews before anything is said."""
PIECE = 30
PIECES = 8
"""Words of a piece, and pieces of a review that are learned."""
FEATURES, FEATURES_LEFT = 30_000, 25_000
"""Weights of a site in a partition; one more, and the smallest go until so many are left."""
STEP = 0.3
WEIGHT, MOST = 0.3, 3.0
"""What a unit of log-odds adds to the score of the overlay, and how many units count."""

_BIAS, _COMPOUND = 0, 1
"""Features that every piece has; all others are hashes."""
_COUNT = 2
"""Where, among the weights, a row says how many reviews were learned."""

Features = list[tuple[int, float]]
"""Present features with their values, in the order of the text: sums of floats depend on it."""


def pieces_of(normal: str, compound: int) -> list[Features]:
    """A text in its normal form, cut into pieces; `compound` is VADER's of the whole, in ten-thousandths."""
    said = words(normal)
    return [_features(said[start : start + PIECE], compound / 10_000) for start in range(0, min(len(said), PIECE * PIECES), PIECE)]


def _features(said: Sequence[str], compound: float) -> Features:
    names = dict.fromkeys((*said, *(f"{one} {other}" for one, other in pairwise(said))))
    value = 1 / sqrt(len(names))
    return [(_BIAS, 1.0), (_COMPOUND, compound), *((xxh3_64_intdigest(name.encode()) | 4, value) for name in names)]


class Weights:
    """The weights of one site in one partition: per feature its weight and the sum of squared gradients."""

    def __init__(self) -> None:
        self.of: dict[int, tuple[float, float]] = {}
        self.reviews = 0
        self.changed: dict[int, None] = {}
        """Features whose rows the next flush writes, or deletes where there is no weight any more."""

    def log_odds(self, pieces: Sequence[Features]) -> float:
        """Of being negative: the mean over the pieces."""
        return sum([self._sum(piece) for piece in pieces]) / len(pieces) if pieces else 0.0

    def _sum(self, piece: Features) -> float:
        of, total = self.of, 0.0
        for name, value in piece:
            known = of.get(name)
            if known is not None:
                total += known[0] * value
        return total

    def learn(self, pieces: Sequence[Features], negative: bool) -> None:
        """One step for each piece."""
        of, changed = self.of, self.changed
        for piece in pieces:
            error = 1 / (1 + exp(-max(-30.0, min(30.0, self._sum(piece))))) - negative
            for name, value in piece:
                weight, squares = of.get(name, (0.0, 0.0))
                gradient = error * value
                squares += gradient * gradient
                if squares:
                    of[name] = weight - STEP * gradient / sqrt(squares), squares
                    changed[name] = None
        self.reviews += 1
        if len(of) > FEATURES:
            for name in sorted(of, key=lambda name: (name > _COMPOUND, -abs(of[name][0]), name))[FEATURES_LEFT:]:
                del of[name]
                changed[name] = None

    @property
    def is_ready(self) -> bool:
        return self.reviews >= LEAST_REVIEWS


class Learner:
    """The weights of one partition, by site."""

    def __init__(self) -> None:
        self.sites: dict[str, Weights] = {}

    def learn(self, site: str, normal: str, compound: int, micro_stars: int) -> None:
        """Take up a starred review; `micro_stars` of five, in millionths."""
        stars = micro_stars / MICRO
        if stars <= 2 or stars >= 4:
            self.sites.setdefault(site, Weights()).learn(pieces_of(normal, compound), negative=stars <= 2)

    def advise(self, site: str, normal: str, judged: Sentiment, overlay: Overlay) -> Sentiment:
        """The sentiment of a text without stars, with what was learned: 0.3 × log-odds, between −3 and 3, is added to the overlay's score.

        A text that is not negative any more is neutral. Nothing is added before 300 reviews, or where the overlay has no opinion.
        """
        known = self.sites.get(site)
        if known is None or not known.is_ready or judged.source != OVERLAY:
            return judged
        added = WEIGHT * max(-MOST, min(MOST, known.log_odds(pieces_of(normal, judged.compound))))
        score = judged.score / 10_000 + added
        label = judged.label
        if score >= overlay.tuning.threshold:
            label = Label.NEGATIVE
        elif label is Label.NEGATIVE:
            label = Label.NEUTRAL
        return msgspec.structs.replace(
            judged,
            label=label,
            score=round(score * 10_000),
            p_negative=overlay.tuning.p_negative.at(score),
            reasons=judged.reasons if label is Label.NEGATIVE else (),
        )

    @property
    def changed(self) -> int:
        """Rows the next flush will write."""
        return sum(len(weights.changed) for weights in self.sites.values())

    def drain(self) -> Iterator[tuple[bytes, bytes | None]]:
        """State rows of what was learned since the last call: hashes and numbers, no words."""
        for site, weights in self.sites.items():
            if weights.changed:
                head = LEARNER_ROW + site.encode() + b"/"
                yield head + _name(_COUNT), _encode((float(weights.reviews), 0.0))
                for name in weights.changed:
                    known = weights.of.get(name)
                    yield head + _name(name), None if known is None else _encode(known)
                weights.changed = {}

    def load(self, rows: Iterable[tuple[bytes, bytes]]) -> None:
        """Take over rows of the state topic."""
        for key, value in rows:
            site, _, digits = key[len(LEARNER_ROW) :].partition(b"/")
            weights, name = self.sites.setdefault(site.decode(), Weights()), int.from_bytes(digits, "big")
            if name == _COUNT:
                weights.reviews = int(_decode(value)[0])
            else:
                weights.of[name] = _decode(value)


def _name(name: int) -> bytes:
    return name.to_bytes(8, "big")


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(tuple[float, float]).decode
