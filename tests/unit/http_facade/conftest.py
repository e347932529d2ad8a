from __future__ import annotations

import socket
from collections.abc import AsyncIterator

import pytest

from tests.unit.http_facade.rest_door import Door, opened


@pytest.fixture
async def door() -> AsyncIterator[Door]:
    async with opened() as door:
        yield door


@pytest.fixture
def unused_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
