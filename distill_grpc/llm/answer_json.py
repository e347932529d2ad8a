"""The JSON in what a model says, and the bytes of what its server says, both within limits."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Protocol

import orjson


class Body(Protocol):
    """An answer whose bytes come one after the other."""

    def iter_bytes(self) -> AsyncIterator[bytes]:
        """The bytes."""
        ...


async def read_whole(response: Body, most: int) -> bytes | None:
    """All bytes of an answer; None where they are more than `most`."""
    body = bytearray()
    async for chunk in response.iter_bytes():
        body += chunk
        if len(body) > most:
            return None
    return bytes(body)


def list_in(text: str, name: str) -> list[Any] | None:
    """The list of that name in a model's answer; None where there is none.

    JSON may stand in a fence or between words.
    """
    start, end = text.find("{"), text.rfind("}")
    if start < 0 or end < start:
        return None
    try:
        value = orjson.loads(text[start : end + 1].replace("\x00", ""))
    except orjson.JSONDecodeError:
        return None
    found = value.get(name) if isinstance(value, dict) else None
    return found if isinstance(found, list) else None
