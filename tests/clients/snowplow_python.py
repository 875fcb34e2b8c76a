"""A further argument, `get`, chooses the pixel in place of POST."""

import json
import sys
from urllib.parse import urlsplit

from snowplow_tracker import Emitter, PageView, SelfDescribing, SelfDescribingJson, Subject, Tracker
from story import AT, KEY, STORY, URL

address = urlsplit(URL)
method = sys.argv[4] if len(sys.argv) > 4 else "post"
emitter = Emitter(address.hostname, protocol="http", port=address.port, method=method, batch_size=10 if method == "post" else 1)
at = AT.timestamp() * 1000


def told(name: str, data: dict) -> SelfDescribing:
    return SelfDescribing(SelfDescribingJson(f"iglu:com.acme/{name}/jsonschema/1-0-0", data), true_timestamp=at)


visitor = Tracker("shop", emitter, subject=Subject().set_domain_user_id("v-1"), app_id=KEY)
customer = Tracker("shop", emitter, subject=Subject().set_domain_user_id("v-1").set_user_id("42"), app_id=KEY)
page = STORY["page"]
visitor.track(PageView(page_url=page["url"], page_title=page["title"], referrer=page["referrer"], true_timestamp=at))
order = customer.track(told("order_completed", STORY["order"]))
customer.track(told("product_reviewed", STORY["review"]))
customer.track(told("wish_list_shared", STORY["wish"]))
customer.track(told("order_completed", STORY["order_without_currency"]))
customer.flush()
print(json.dumps({"order": order}))
