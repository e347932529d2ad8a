"""A broker that the tests here share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.servers.rabbitmq import RabbitMQ, rabbitmq


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitMQ]:
    """A running RabbitMQ."""
    with rabbitmq(tmp_path_factory.mktemp("rabbitmq")) as running:
        yield running
