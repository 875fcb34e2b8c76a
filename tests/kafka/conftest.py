"""A real Kafka with TLS, passwords and access lists."""

from collections.abc import Iterator
from typing import Any

import pytest

USERS = {name: f"the password of {name}" for name in ("worker", "door", "reader", "deployer", "nobody")}


@pytest.fixture(scope="session")
def secure_kafka(local_kafka: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """SASL_SSL with SCRAM-SHA-512; nothing is allowed that was not granted, except to `admin`."""
    node = local_kafka(tmp_path_factory.mktemp("secure"), secure=True, users=USERS)
    node.start()
    yield node
    node.kill()
