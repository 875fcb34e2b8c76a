"""A rule over real ratings: every vendor-day that the data set's own count calls a surge of low ratings is found, and no other."""

from collections import defaultdict

import pytest

from tests.alerts.scenes import Scene
from tests.data.adapters import DataSet, epoch_ms
from tests.streams.records import D

# A vendor's day with at least 20 ratings, 30 % of them two stars or less: the definition of the set (`rule_low_rating_surge`).
RULES = """
groups:
  - name: vendors
    rules:
      - alert: LowRatings
        kpi: low_rating_share
        window: day
        above: 0.2999
        least: 20
        cooldown: 0s
        labels: {severity: ticket}
        annotations: {summary: "{site}: {value} of {n} on {start}"}
"""
MONTH = "2006-12"
"""All surges of the set lie in it; 34,378 ratings of 211 vendors."""


@pytest.fixture(scope="module")
def data() -> DataSet:
    return DataSet("marketplace_ratings_a", "ratings.csv.gz")


@pytest.mark.slow
def test_surges_of_low_ratings_are_those_of_the_set(data: DataSet) -> None:
    surges = {(f"vendor-{vendor}", day): (n, share) for vendor, day, n, share in data.expected["rule_low_rating_surge"]["items"]}
    assert len(surges) == 4
    days = defaultdict(list)
    for number, row in enumerate(data.rows):
        if row["created_at"].startswith(MONTH):
            site, at = f"vendor-{row['vendor_id']}", epoch_ms(row["created_at"])
            rating = {"rating": int(row["rating"]), "scale_max": 5, "customer": row["reviewer_id"], "review": str(number)}
            days[row["created_at"][:10]].append({"type": "review_posted", "id": str(number), "site": site, "at": at, "source": "market", **rating})
    scene = Scene(RULES)
    for day in sorted(days):
        scene.feed(*days[day]).tick()
    scene.tick(D / 1000)  # nothing more comes, and the clocks of the sites go on: the last day ends
    fired = {(alert.site, f"{alert.window.start:%Y-%m-%d}"): (alert.n, round(alert.value, 6)) for alert in scene.published if alert.state == "firing"}
    assert fired == surges
    assert scene.watch.status()["unaccounted"] == 0
