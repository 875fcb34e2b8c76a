"""Reviews: an edit (same review, later time) withdraws the earlier content and stands in the pane of the first."""

import msgspec

from streams.panes import DAY

LOOK_BACK = 90 * DAY
"""How long an edit still corrects the panes of its review."""
KNOWN_FOR = 400 * DAY
"""How long a review is recognised, so that an edit beyond the look-back is flagged and not counted anew."""
MOST = 500
"""Reviews of a subject that are recognised: with more, the older half is forgotten."""
MICRO = 1_000_000
"""Stars are summed as integers of a millionth of a star."""


class Review(msgspec.Struct, array_like=True, eq=False, gc=False):
    """A review as it stands: content of its latest event, pane of its earliest."""

    first: int
    """Earliest event time."""
    fine: bool
    """Whether it is counted in minute panes too (its first event was not partly late)."""
    at: int
    id: str
    """Latest event (time, id): the one whose content stands."""
    source: str
    product: str | None
    segment: str
    micro_stars: int | None
    """Rating scaled to five stars, in millionths; None without a rating."""
    sentiment: str | None
    """Label of its text; None without a text, or where the subject did not consent to scoring."""
    compound: int
    """VADER's compound of the text in ten-thousandths; 0 without one."""
    complaints: tuple[str, ...] = ()
    """Categories of complaint in its text, where that is negative."""
    patterns: int = 0
    """Version of the list of patterns by which its text was judged; 0 where VADER's label stands."""

    @property
    def is_rated(self) -> bool:
        return self.micro_stars is not None

    @property
    def stars(self) -> int:
        """Whole stars 1–5 by half-up rounding; below 1 counts as 1. Only of rated reviews."""
        return max(1, (2 * (self.micro_stars or 0) + MICRO) // (2 * MICRO))

    @property
    def is_low(self) -> bool:
        """Two stars or less."""
        return self.micro_stars is not None and self.micro_stars <= 2 * MICRO

    @property
    def is_scored(self) -> bool:
        return self.sentiment is not None and self.sentiment != "unsupported"


def micro_stars(rating: float | None, scale_max: float | None) -> int | None:
    """Rating × 5 ÷ scale_max in millionths of a star."""
    return None if rating is None else round(rating * 5 * MICRO / (scale_max or 5))


def merge(known: Review, new: Review) -> Review:
    """The review after one more of its events, whatever the order of arrival."""
    later = new if (known.at, known.id) <= (new.at, new.id) else known
    first, fine = min((known.first, not known.fine), (new.first, not new.fine))
    return msgspec.structs.replace(later, first=first, fine=not fine)
