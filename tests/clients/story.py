"""What every client in this folder tells, and what they are told: address of the collector, key, and when it happened (epoch seconds).

A visitor, v-1, sees a page, is then known as the customer 42, orders, writes a review, shares a wish list (a name that means nothing
to the collector), and places an order whose event lacks its currency. Each script ends with one line of JSON: ids of events, as far as
its client tells or takes them.
"""

import json
import sys
from datetime import UTC, datetime
from pathlib import Path

STORY = json.loads((Path(__file__).parent / "story.json").read_text())
URL, KEY = sys.argv[1:3]
AT = datetime.fromtimestamp(int(sys.argv[3]), UTC)
