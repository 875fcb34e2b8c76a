"""A further argument, `v1`, chooses the newer of its two formats."""

import json
import sys

from posthog import Posthog
from story import AT, KEY, STORY, URL

client = Posthog(KEY, host=URL, capture_mode=sys.argv[4] if len(sys.argv) > 4 else "v0")
page = STORY["page"]
nobody = {"$process_person_profile": False}

client.capture(
    "$pageview", distinct_id="v-1", properties={"$current_url": page["url"], "$referrer": page["referrer"], "title": page["title"], **nobody}, timestamp=AT
)
client.alias("v-1", "42", timestamp=AT)
client.set(distinct_id="42", properties=STORY["traits"], timestamp=AT)
order = client.capture("Order Completed", distinct_id="42", properties=STORY["order"], timestamp=AT)
client.capture("Product Reviewed", distinct_id="42", properties=STORY["review"], timestamp=AT)
client.capture("Wish List Shared", distinct_id="42", properties=STORY["wish"], timestamp=AT)
client.capture("Order Completed", distinct_id="42", properties=STORY["order_without_currency"], timestamp=AT)
client.shutdown()
print(json.dumps({"order": order}))
