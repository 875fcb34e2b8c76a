"""The SDK of CloudEvents makes messages; they are sent with the HTTP library that is there. A further argument says in which mode."""

import json
import sys

import requests
from cloudevents.core.bindings.http import to_binary_event, to_structured_event
from cloudevents.core.v1.event import CloudEvent
from story import AT, KEY, STORY, URL

mode = sys.argv[4]
order, review = STORY["order"], STORY["review"]
lines = [{"product": line["product_id"], "quantity": line["quantity"], "price_minor": line["price"] * 100} for line in order["products"]]


def event(name: str, number: str, subject: str, data: dict) -> CloudEvent:
    attributes = {
        "type": f"io.engagement.{name}.v1",
        "source": "/shop/backend",
        "id": number,
        "subject": subject,
        "time": AT,
        "datacontenttype": "application/json",
    }
    return CloudEvent(attributes, data)


events = [
    event(
        "page_viewed",
        "1",
        "v:v-1",
        {
            "path": "/shoes?utm_source=news&utm_medium=email&session=secret",
            "referrer": STORY["page"]["referrer"],
            "campaign": {"source": "news", "medium": "email"},
        },
    ),
    event("customer_identified", "2", "v:v-1", {"visitor": "v-1", "customer": "42"}),
    event("customer_updated", "3", "c:42", {"traits": STORY["traits"]}),
    event("order_completed", "4", "c:42", {"order": "o-1", "total_minor": 2750, "currency": "USD", "items": lines}),
    event("review_posted", "5", "c:42", {"review": "r-1", "source": "website", "product": "p-7", "rating": 5, "text": review["review_body"]}),
    event("order_completed", "6", "c:42", {"order": "o-2", "total_minor": 2750}),
]
if mode == "batch":  # which the SDK does not write
    batch = b"[" + b",".join(to_structured_event(event).body for event in events) + b"]"
    messages = [({"content-type": "application/cloudevents-batch+json"}, batch)]
else:
    make = {"binary": to_binary_event, "structured": to_structured_event}[mode]
    messages = [(message.headers, message.body) for message in map(make, events)]
for headers, body in messages:
    answer = requests.post(f"{URL}/v1/events", data=body, headers={**headers, "Authorization": f"Bearer {KEY}"}, timeout=10)
    assert answer.status_code == 202, answer.text
print(json.dumps({"order": "/shop/backend#4"}))
