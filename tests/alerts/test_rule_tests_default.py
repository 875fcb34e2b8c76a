"""The tests beside the product's own rules, as `engage rules test` runs them."""

import pytest

from alerts.cases import Case, find_files, read_tests
from alerts.rule_files import DEFAULT_RULES
from alerts.testing import run

TESTS, FAULTS = read_tests(find_files([DEFAULT_RULES]))


@pytest.mark.slow
@pytest.mark.parametrize("test", TESTS, ids=lambda test: test.name)
def test_default_rules(test: Case) -> None:
    assert FAULTS == []
    assert run(test) == []
