"""An answer of Chat Completions that comes in pieces (`chat.completion.chunk` in server-sent events)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import orjson

from distill_grpc.event_reader import EventReader, EventTooLarge

# Takes the next piece of an answer's text.
Heard = Callable[[str], Awaitable[None]]

_WRAPPED = 10  # times as many bytes as the text has: each piece is wrapped in JSON of its own


class Broken(Exception):  # noqa: N818 -- what the other side did, not a fault of ours
    """The answer does not go on, or is none."""

    def __init__(self, why: Literal["unavailable", "garbage", "too_large"]) -> None:
        self.why: Literal["unavailable", "garbage", "too_large"] = why
        super().__init__(why)


@dataclass(slots=True)
class Growing:
    """The answer as far as it has come. `usage` is what the server counted, as it told it."""

    most: int  # characters that it may have
    pieces: list[str] = field(default_factory=list)
    size: int = 0
    finish: str | None = None
    refused: bool = False
    usage: Any = None

    def add(self, data: str) -> str:
        """The text of a chunk; raises `Broken`."""
        try:
            value = orjson.loads(data)
            if value.get("error"):
                raise Broken("unavailable")
            self.usage = value.get("usage") or self.usage
            choices = value["choices"]
            if not choices:
                return ""  # the chunk that counts
            delta = choices[0].get("delta") or {}
            self.finish = choices[0].get("finish_reason") or self.finish
            text = delta.get("content")
            self.refused |= bool(delta.get("refusal")) or self.finish == "content_filter"
        except (orjson.JSONDecodeError, KeyError, IndexError, TypeError, AttributeError):
            raise Broken("garbage") from None
        if not isinstance(text, str):
            return ""
        self.size += len(text)
        if self.size > self.most:
            raise Broken("too_large")
        self.pieces.append(text)
        return text


async def follow(chunks: AsyncIterator[bytes], heard: Heard, *, most: int) -> Growing:
    """The whole answer, after each piece was handed on; raises `Broken`, also where the end is missing."""
    reader = EventReader(most)
    answer = Growing(most)
    size = 0
    async for data in chunks:
        size += len(data)
        if size > _WRAPPED * most:
            raise Broken("too_large")
        try:
            events = reader.feed(data)
        except EventTooLarge:
            raise Broken("too_large") from None
        for event in events:
            if event.data == "[DONE]":
                return answer
            if piece := answer.add(event.data):
                await heard(piece)
    if answer.finish is None:
        raise Broken("unavailable")
    return answer  # some servers leave the last word out
