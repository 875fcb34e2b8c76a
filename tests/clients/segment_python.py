import json

import segment.analytics as analytics
from story import AT, KEY, STORY, URL

analytics.write_key = KEY
analytics.host = URL

analytics.page(anonymous_id="v-1", properties=STORY["page"], timestamp=AT)
analytics.identify("42", STORY["traits"], anonymous_id="v-1", timestamp=AT)
analytics.track("42", "Order Completed", STORY["order"], timestamp=AT, message_id="segment-python-order")
analytics.track("42", "Product Reviewed", STORY["review"], timestamp=AT)
analytics.track("42", "Wish List Shared", STORY["wish"], timestamp=AT)
analytics.track("42", "Order Completed", STORY["order_without_currency"], timestamp=AT)
analytics.group("42", "acme", {"seats": 5}, timestamp=AT)
analytics.alias("v-2", "42", timestamp=AT)
analytics.screen("42", name="Basket", timestamp=AT)
analytics.shutdown()
print(json.dumps({"order": "segment-python-order"}))
