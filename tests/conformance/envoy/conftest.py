from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.conformance.envoy.scripted import Asked, envoy_before
from tests.service import Service


@pytest.fixture(scope="package")
async def envoy(idle: Service) -> AsyncIterator[Asked]:
    """Envoy in front of `idle`, with what differs from the defaults so that tests are short."""
    arguments = ("--body-timeout", "1", "--cors-origins", "https://app.example")
    async with envoy_before(idle.grpc_address, arguments=arguments) as asked:
        yield asked
