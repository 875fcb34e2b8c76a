"""The kinds of rows in the topic `state`: how their keys begin. A contract; the first byte alone tells the kind.

The rows of alerts (`a/`, `d/`, `o/`) are named in `alerts.watch`.
"""

from typing import Final

STAMP: Final = b"@"
"""The last row of every batch: how far the partition has read, and its counters."""
SUBJECT_ROW: Final = b"s/"
PANE_ROW: Final = b"p"
"""What the partition has counted in a pane; JSON follows, as behind `ROLLUP_ROW`."""
ID_ROW: Final = b"i/"
LABEL_ROW: Final = b"l/"
GRAM_ROW: Final = b"g/"
LEARNER_ROW: Final = b"k/"
ROLLUP_ROW: Final = b"r"
"""What all partitions have counted of a site, kept by its owner."""
SITE_ROW: Final = b"w/"
"""Watermarks of a site, kept by its owner."""
KINDS: Final = (STAMP, SUBJECT_ROW, PANE_ROW, ID_ROW, LABEL_ROW, GRAM_ROW, LEARNER_ROW, ROLLUP_ROW, SITE_ROW)
