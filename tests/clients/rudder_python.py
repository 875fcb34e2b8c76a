import json

import rudderstack.analytics as analytics
from story import AT, KEY, STORY, URL

analytics.write_key = KEY
analytics.dataPlaneUrl = URL

analytics.page(anonymous_id="v-1", properties=STORY["page"], timestamp=AT)
analytics.identify("42", STORY["traits"], anonymous_id="v-1", timestamp=AT)
analytics.track("42", "Order Completed", STORY["order"], timestamp=AT, message_id="rudder-python-order")
analytics.track("42", "Product Reviewed", STORY["review"], timestamp=AT)
analytics.track("42", "Wish List Shared", STORY["wish"], timestamp=AT)
analytics.track("42", "Order Completed", STORY["order_without_currency"], timestamp=AT)
analytics.flush()
analytics.default_client.shutdown()
print(json.dumps({"order": "rudder-python-order"}))
