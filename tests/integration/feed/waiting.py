"""Waiting for what happens beside a test."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable


async def until(happened: Callable[[], Awaitable[bool]], *, timeout: float = 30.0) -> None:
    """Returns as soon as `happened` says so; TimeoutError where it does not in time."""
    async with asyncio.timeout(timeout):
        while not await happened():
            await asyncio.sleep(0.01)
