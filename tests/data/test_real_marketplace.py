"""Ratings of the vendors of a marketplace, 0 to 5, without texts.

Definitions: every vendor is a site; mean and low share (≤ 2) are the set's own; in the distribution 0 counts as one star.
"""

from collections.abc import Iterator

import pytest

from streams.panes import Pane
from tests.data.adapters import DataSet, Event, Figures, epoch_ms


def events(data: DataSet) -> Iterator[Event]:
    for number, row in enumerate(data.rows):
        yield {
            "type": "review_posted",
            "id": str(number),
            "site": f"vendor-{row['vendor_id']}",
            "at": epoch_ms(row["created_at"]),
            "review": str(number),
            "source": "market",
            "customer": row["reviewer_id"],
            "rating": int(row["rating"]),
            "scale_max": 5,
        }


@pytest.fixture(scope="module")
def data() -> DataSet:
    return DataSet("marketplace_ratings_a", "ratings.csv.gz")


@pytest.fixture(scope="module")
def figures(data: DataSet) -> Figures:
    return Figures(events(data), sizes=(Pane.DAY,))


@pytest.fixture(scope="module")
def vendors(data: DataSet) -> list[str]:
    return sorted({f"vendor-{row['vendor_id']}" for row in data.rows})


def weighted(figures: Figures, vendors: list[str], kpi: str) -> float:
    rated = {vendor: figures.count("reviews", vendor) for vendor in vendors}
    return sum(figures.mean(kpi, vendor) * rated[vendor] for vendor in vendors) / sum(rated.values())


@pytest.mark.slow
def test_totals_are_those_of_the_set(figures: Figures, data: DataSet, vendors: list[str]) -> None:
    expected = data.expected
    assert figures.accounting == {"received": expected["rows"], "applied": expected["rows"], "unaccounted": 0}
    assert len(vendors) == expected["vendors"]
    assert sum(figures.count("reviews", vendor) for vendor in vendors) == expected["rows"] == 120_800
    assert weighted(figures, vendors, "mean_rating") == pytest.approx(expected["rating_mean"], abs=1e-6)
    assert weighted(figures, vendors, "low_rating_share") == pytest.approx(expected["low_rating_share(<=2)"], abs=1e-6)


@pytest.mark.slow
def test_the_distribution_counts_0_as_one_star(figures: Figures, data: DataSet, vendors: list[str]) -> None:
    histogram = {int(rating): number for rating, number in data.expected["rating_histogram"].items()}
    histogram[1] += histogram.pop(0)
    for stars, number in histogram.items():
        assert weighted(figures, vendors, f"rating_{stars}_share") == pytest.approx(number / data.expected["rows"])


@pytest.mark.slow
def test_the_ten_largest_vendors(figures: Figures, data: DataSet) -> None:
    for vendor, expected in data.expected["top_10_vendors"].items():
        site = f"vendor-{vendor}"
        assert figures.count("reviews", site) == expected["n"]
        assert figures.mean("mean_rating", site) == pytest.approx(expected["mean"], abs=1e-6)
        assert figures.mean("low_rating_share", site) == pytest.approx(expected["low_share"], abs=1e-6)


@pytest.mark.slow
def test_days_of_many_low_ratings(figures: Figures, data: DataSet, vendors: list[str]) -> None:
    """The set's rule, on our readings: n ≥ 20 and a share of 0.30 or more."""
    days = {
        (int(vendor.removeprefix("vendor-")), f"{start:%Y-%m-%d}"): (reading.n, round(float(reading.value or 0), 6))
        for vendor in vendors
        for start, reading in figures.of_length("low_rating_share", Pane.DAY, vendor).items()
        if start.hour == 0 and reading.n >= 20 and (reading.value or 0) >= 0.30
    }
    assert days == {(vendor, day): (n, share) for vendor, day, n, share in data.expected["rule_low_rating_surge"]["items"]}
