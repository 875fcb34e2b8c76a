"""The kinds of rows in the topic `state`."""

from alerts.watch import DETECTION_ROW, OUTBOX_ROW, STANDING_ROW
from streams.rows import KINDS


def test_the_first_byte_of_a_key_tells_its_kind() -> None:
    every = (*KINDS, STANDING_ROW, OUTBOX_ROW, DETECTION_ROW)
    assert b" ".join(sorted(every)).decode() == "@ a/ d/ g/ i/ k/ l/ o/ p r s/ w/"
    assert len({kind[:1] for kind in every}) == len(every)
