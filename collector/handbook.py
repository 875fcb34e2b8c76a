"""The page for those who send with an SDK, docs/producers.md: `python -m collector.handbook > docs/producers.md`."""

from collections.abc import Iterator
from typing import Final

from collector.filling import FLAGS
from collector.money import EXPONENTS
from collector.names import SOURCES, TABLE, Row
from collector.privacy import ALLOWED_QUERY
from streams.events import EVENT_TYPES, MAX_EVENT_BYTES, MAX_PROPERTIES, MAX_TEXT, Event


def _codes(exponent: int) -> str:
    """Currencies with so many decimals."""
    return ", ".join(code for code, decimals in EXPONENTS.items() if decimals == exponent)


_FORMATS: Final = """\
# Producers

A producer keeps the SDK it has and changes one option, the host. Written from `collector/` by
`python -m collector.handbook > docs/producers.md`; the events that things become are in [events.md](events.md).

Which option that is stands in [collector.md](collector.md#one-option-in-your-sdk), for every SDK. CloudEvents and our own events may also go to the
topic itself.

What is refused does not fail its request, because SDKs drop a whole batch on a 4xx: it is kept as it came with a reason (`engage failed`), and the
rest goes on.

## What every message brings

| of an event | Segment, RudderStack | PostHog | Snowplow | CloudEvents |
|---|---|---|---|---|
| `id` | `messageId` | `uuid` | `eid` | `source` and `id` |
| `at` | `timestamp`, `originalTimestamp` | `timestamp` | `ttm`, `dtm` | `time` |
| `sent_at` | `sentAt` of the message, of the batch | `sent_at`; header `PostHog-Request-Timestamp` | `stm` | – |
| `customer` | `userId` | `distinct_id`, `$user_id` | `uid` | `subject`: `c:42` or `42` |
| `visitor` | `anonymousId` | `$device_id`, `$anon_distinct_id` | `duid`, `nuid`, `tnuid` | `subject`: `v:9f3` |

- **Sent twice, counted once:** two events are the same when site, subject, type, `id` and `at` are. All SDKs repeat both in a retry. A message with an id
  and no time happened when it was received; its event has no `at`, so a retry is the same event, for as long as ids are remembered (8 days). A message
  with a time and no id gets the hash of its bytes. **A message with neither counts every time it comes**, as of when it was sent, else received: nothing
  tells a retry from a second event. When one message makes two events, the id of the second ends with `/2`.
- A time without an offset is UTC. A client's wrong clock is repaired from `sent_at`.
- A `distinct_id` does not say whose it is: it is a visitor's where it equals `$device_id` or the event says so (`$is_identified`,
  `$process_person_profile`), and in `$groupidentify`; else a customer's. In `$create_alias` the `alias` is the customer and the `distinct_id` the visitor.
- Browsers of Segment fill `userId` in at the time of sending: what happened just before `identify` can carry it already.

| call | becomes |
|---|---|
| `page`, `screen`; `$pageview`, `$screen`; `pv`, `screen_view` | `page_viewed`; a screen's path is its name; campaign: the SDK's, else the page's `utm_…` |
| `identify`; `$identify`, `$set` | `customer_identified` where both ids are said; `customer_updated` with the traits |
| `alias`; `$create_alias` | `customer_identified` |
| `group`; `$groupidentify` | `customer_updated` with the trait `group` |
| `track`; `capture`; `se` (its action), `ue` (the name of its schema), `tr` | by its name, below |
| `$pageleave`; `pp` of a view with an id | `page_left`; a page ping stands for 10 seconds |
| `$autocapture`, `$rageclick`; `link_click`, `button_click` | `element_clicked` |
| `$feature_flag_called` | `experiment_viewed` |
"""
_NAMES: Final = """\
## Names

Case, blanks and dashes do not matter, and the name of every event of [events.md](events.md) stands for itself:
`track("feature_used", {"feature": "wish-list"})`.

**What is in no row is kept** as `element_clicked` with its name as the element, and counted (`unmapped`). Like any click it is activity on the site, but
neither a goal nor a key event of its session, until the sites file says so: `goals: {moved: {element: "Sofa Moved"}}`.

| name | becomes | says | otherwise |
|---|---|---|---|
"""
_SOURCES: Final = """\
## Properties

A field is read from the property of its own name, else from the first of these that fits. Texts are cut to what the field holds. A property that does
not fit an optional field stays among `properties`; where a required field has none that fits, the event is refused, with the path and what is needed.

| field | properties |
|---|---|
"""
_MONEY: Final = f"""\
**Money** is sent in units of the currency, as a number or a text with a dot (`12.50`, not `12,50`) and never below 0 (what is paid back is Order Refunded),
with `currency` beside it: a code of ISO 4217, capitals or not; what is none (`XXX`, `XTS`, metals) is as if it were not there. It becomes minor units:
{_codes(0)} have no decimals,
{_codes(3)} three, {_codes(4)} four, all others two. Digits beyond are rounded half up. A field that ends with `_minor` may be sent under
its own name, as an integer. `products` become `items` when all have an id and a price.

`segment`, `channel` and `country` (two letters) become the fields of that name of any event; the trait `segment` too.

Everything else of the properties is kept under `properties`: texts (cut to {MAX_TEXT} characters), numbers and bools, at most {MAX_PROPERTIES}.
Nothing of this refuses an event:

| flag | what was done |
|---|---|
"""
_REST: Final = f"""\
## Our own events

`POST /v1/events` takes one event, an array of events, or an event per line, and judges each as on the topics ([events.md](events.md)), at most
{MAX_EVENT_BYTES // 1024} KiB. `site` may be left out: it is the key's; `at` too: it happened when it was received. `received_at` is set by the collector.

## CloudEvents

Version 1.0, at `POST /v1/events` (binary, structured, batch) and on the event topics (binary: headers `ce_…`; structured:
`content-type: application/cloudevents+json`; one event per record). `type` is `io.engagement.NAME.v1`, the words of NAME parted by underscores or
dots: `io.engagement.page_viewed.v1`, `io.engagement.page.viewed.v1`. `data` is JSON: the fields of the event. `site` is an extension attribute, or a
field of the data; the record's key is the event's, as for any other.

```json
{{"specversion": "1.0", "id": "881", "source": "/crm", "type": "io.engagement.review_posted.v1", "time": "2026-03-02T09:30:00+01:00",
 "subject": "c:42", "site": "shop",
 "data": {{"review": "r-9", "source": "store", "rating": 4, "text": "Comfortable, but run small."}}}}
```

`source` and `id` together are the event's id. Without `time` it happened when it was received: by the collector, else at the record's timestamp. The
`subject` counts where the data names nobody. A field in the data wins over the attribute.

## Privacy

- `Sec-GPC: 1` and `DNT: 1` are a no to profiling (`consent.profiling: false`), whatever the message says. Counting goes on as the site's default says.
  A message's own consent is `context.consent.categoryPreferences` (Segment) with the categories `analytics`, `profiling`,
  `sentiment`, or the field `consent` of our own events.
- The user agent is judged by the list of bots and then reduced to its family (`Chrome`, `Safari`, …) and kind of device; a bot's stays as it came, so
  that it is counted as one. The agent of the request counts only if a browser sent it.
- Of URLs' queries {", ".join(f"`{name}`" for name in ALLOWED_QUERY)} are kept, fragments never; a referrer is its host.
- No event holds an IP address: what is one is taken out of properties and traits.
- What is refused is kept as it came, to be read and replayed, as long as the topic `failed` keeps it.

## Tracking plan

A YAML file says what a site sends. What is off the plan is refused with the reason `off_plan` and a sentence; `consent_changed` and `erase_requested`
never are.

```yaml
default: {{}}                     # for every site that is not named; without it they have no plan
sites:
  shop:
    other_events: refuse        # allow (default): events that are not named here may come
    events:
      order_completed:
        fields:                 # those of events.md: required, values
          cart: {{required: true}}
          currency: {{values: [EUR, USD]}}
        properties:             # your own: type (text, number, integer, bool), required, values
          coupon: {{type: text}}
        other_properties: refuse
      element_clicked:
        fields:
          element: {{values: [book, "Sofa Moved"]}}
      page_viewed: {{}}
```
"""


def page() -> str:
    """The page for producers."""
    return "\n".join((_FORMATS, _NAMES + "".join(_name_rows()), _SOURCES + "".join(_source_rows()), _MONEY + "".join(_flag_rows()), _REST))


def _name_rows() -> Iterator[str]:
    for name, row in TABLE.items():
        says = ", ".join(f"`{field}` {value}" for field, value in row.always.items())
        yield f"| {name} | `{row.event}` | {says} | {', '.join((*_given(row), *_otherwise(row)))} |\n"


def _given(row: Row) -> Iterator[str]:
    """Sources of its own."""
    for field, names in row.sources.items():
        yield f"`{field}` from {', '.join(f'`{name}`' for name in names)}"


def _otherwise(row: Row) -> Iterator[str]:
    for field, value in row.otherwise.items():
        yield f"`{field}` {value}"


def _source_rows() -> Iterator[str]:
    fields = sorted({field for struct in EVENT_TYPES for field in struct.__struct_fields__ if field not in Event.__struct_fields__})
    for field in fields:
        if field in SOURCES:
            yield f"| `{field}` | {', '.join(f'`{name}`' for name in SOURCES[field])} |\n"


def _flag_rows() -> Iterator[str]:
    yield from (f"| `{flag}` | {meaning} |\n" for flag, meaning in FLAGS.items())


if __name__ == "__main__":
    print(page(), end="")
