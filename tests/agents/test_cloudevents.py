"""CloudEvents as the SDK binds them to Kafka, in the light records that aiokafka's C code makes of a record batch."""

import json

from aiokafka.record.default_records import DefaultRecordBatch, DefaultRecordBatchBuilder

from agents.tail import decode_record
from streams import events as e
from streams.examples import EXAMPLES
from streams.intake import Intake
from streams.sites import Sites

T0 = 1_772_409_600_000
ATTRIBUTES = {
    "specversion": b"1.0", "id": b"1", "source": b"/crm", "type": b"io.engagement.page_viewed.v1", "time": b"2026-03-02T00:00:00Z", "subject": b"v:9f3",
    "site": b"shop",
}  # fmt: skip


def test_light_records_carry_cloudevents():
    binary = [*((f"ce_{name}", value) for name, value in ATTRIBUTES.items()), ("content-type", b"application/json")]
    structured = json.dumps({**{name: value.decode() for name, value in ATTRIBUTES.items()}, "id": "2", "data": {"path": "/b"}}).encode()
    plain = json.dumps({**EXAMPLES["page_viewed"], "at": T0}).encode()
    builder = DefaultRecordBatchBuilder(2, 0, False, -1, -1, -1, 1 << 16)
    for offset, (value, headers) in enumerate([(b'{"path":"/a"}', binary), (structured, [("content-type", b"application/cloudevents+json")]), (plain, [])]):
        assert builder.append(offset, T0, None, value, headers) is not None
    records = list(DefaultRecordBatch(bytes(builder.build())))
    state = Intake(0, 1, Sites())
    state.apply("website", records)
    assert state.counts["website"]["applied"] == state.counts["website"]["received"] == 3
    found = [decode_record(record.value, "website", record.headers) for record in records]
    assert [(event.id, event.path) for event in found if isinstance(event, e.PageViewed)] == [
        ("/crm#1", "/a"), ("/crm#2", "/b"), ("0198c0de-7b1a", "/shoes/trail"),
    ]  # fmt: skip
