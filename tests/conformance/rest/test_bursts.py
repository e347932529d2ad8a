"""Many calls in the same instant: each is answered, none is thrown away by a limit between the doors."""

from __future__ import annotations

import asyncio
from collections import Counter

import aiohttp
import pytest

from tests.service import DOORS, Door, Service

AT_ONCE = 400  # beyond what one connection between a door and a core carries at a time


@pytest.mark.parametrize("door", DOORS)
async def test_a_burst_of_calls_is_answered_to_the_last(
    idle: Service, user: str, door: Door
) -> None:
    url = await idle.address(door) + "/content/search"
    headers = {"Authorization": f"Bearer {idle.token(user)}"}
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http:

        async def ask() -> int:
            # Refused by the core, which reads no database for that. A POST is never sent twice.
            body = {"query": "word", "limit": 501}
            async with http.post(url, json=body, headers=headers) as response:
                await response.read()
                return response.status

        statuses = Counter(await asyncio.gather(*(ask() for _ in range(AT_ONCE))))
    assert statuses == {400: AT_ONCE}
