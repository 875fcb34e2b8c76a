"""What people complain about in a window: the reasons an alert gives."""

from streams.kpis import KPIS, Window
from streams.rollups import Rollups
from streams.texts.overlay import COMPLAINTS

MOST_NAMED = 3
_COMPLAINTS = next(kpi for kpi in KPIS if kpi.name == "complaints")


def top_complaints(rollups: Rollups, site: str, window: Window, watermark: int, most: int = MOST_NAMED) -> tuple[tuple[str, int], ...]:
    """The categories that most negative texts of a site name, with how many, over a window as of a watermark; none without complaints.

    At most `most`, the most frequent first, in the order of the list of patterns where they are equal.
    """
    found = []
    for category in COMPLAINTS:
        reading = rollups.read_as_of(site, _COMPLAINTS, ("complaint",), (category,), window, watermark)
        if reading is not None and reading.n > 0:
            found.append((category, reading.n))
    return tuple(sorted(found, key=lambda named: -named[1])[:most])
