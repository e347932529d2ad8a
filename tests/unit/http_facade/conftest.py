from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.unit.http_facade.rest_door import Door, opened


@pytest.fixture
async def door() -> AsyncIterator[Door]:
    async with opened() as door:
        yield door
