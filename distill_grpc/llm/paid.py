"""A call of a model that is paid for: set aside before, settled after, whatever becomes of it."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from distill_grpc.llm.base import Purse, Usage
from distill_grpc.llm.chat import Chat, ChatFailed, ChatRefused, Reply
from distill_grpc.llm.chat_stream import Heard


async def paid(
    chat: Chat,
    purse: Purse,
    messages: list[Any],
    schema: dict[str, Any],
    *,
    tokens: int,
    until: float,
    heard: Heard | None = None,
) -> Reply | ChatFailed:
    """Reserves, calls, settles; what a server does not count is settled at its bound.

    `until` is an instant of `time.monotonic()`; `heard` is given the answer's text as it comes.

    Raises what `purse` raises where the user has no credits.
    """
    bound = chat.bound(messages, schema, tokens)
    if until <= time.monotonic():
        return ChatFailed("timeout", charged=False)
    if not await purse.reserve(bound):
        return ChatFailed("budget", charged=False)
    at_most = chat.prices.usage(bound - tokens, tokens)
    spent = at_most
    try:
        seconds = max(0.1, until - time.monotonic())
        # A server that sends a byte now and then keeps within the limits of single reads.
        async with asyncio.timeout(seconds):
            reply = await chat.ask(
                messages, schema, max_tokens=tokens, seconds=seconds, heard=heard
            )
    except TimeoutError:
        return ChatFailed("timeout", charged=True)
    except ChatRefused as refused:
        spent = refused.usage or at_most
        return refused
    except ChatFailed as failed:
        spent = at_most if failed.charged else Usage()
        return failed
    else:
        spent = reply.usage or at_most
        return reply
    finally:
        # Also where this is cancelled: what may have been charged is counted.
        await asyncio.shield(purse.settle(bound, spent))
