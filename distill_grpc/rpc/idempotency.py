"""Concern: a call that is repeated with its `Idempotency-Key` happens once.

Of RPCs that are `(rpc).keyed`, the first call with a key is made and its response kept for a day; later
ones get that response. A call that fails changed nothing and gives its key back. A call whose end
nobody knows, because its process died, is not made again: its key says so until it is forgotten.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import structlog
from google.protobuf.message import Message
from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncEngine

from distill_grpc import clock
from distill_grpc.db import replies
from distill_grpc.errors import DistillError, ErrorReason, invalid_argument
from distill_grpc.rpc.call import HTTP_CODE, Call, Concern, Step

log = structlog.get_logger()

KEY = "idempotency-key"
KEPT = timedelta(hours=24)
# No call takes longer (`rpc/server.py`, DEADLINE): one that has no answer by then has died.
_LONGEST = timedelta(seconds=60)
_SOON = clock.parse_duration("1s")
_SOUND = re.compile(r"[\x21-\x7e]{1,255}", re.ASCII)


def idempotency(engine: AsyncEngine) -> Concern:
    """Keeps what keyed calls were answered with in the database of `engine`."""

    async def concern(call: Call, request: Message, step: Step) -> Message:
        key = call.metadata.get(KEY)
        if key is None or not call.rpc.keyed:
            return await step(request)
        if not _SOUND.fullmatch(key):
            raise invalid_argument({KEY: "must be 1 to 255 visible ASCII characters"})
        keyed = _Keyed(engine, _owner(call), key, _hash(call, request))
        known = await keyed.begin()
        if known is not None:
            return _replay(known, call, keyed.request_hash)
        try:
            response = await step(request)
        except Exception:  # but not a cancellation, which may come when all is done
            await asyncio.shield(keyed.give_back())
            raise
        await asyncio.shield(keyed.keep(call, response))
        return response

    return concern


@dataclass(frozen=True, slots=True)
class _Keyed:
    """One key of one owner."""

    engine: AsyncEngine
    owner: str
    key: str
    request_hash: bytes

    async def begin(self) -> Row[Any] | None:
        """Takes the key; what is known of it where it is taken."""
        while True:
            async with self.engine.begin() as connection:
                if await replies.insert_call(connection, self.owner, self.key, self.request_hash):
                    return None
                known = await replies.get_reply(connection, self.owner, self.key)
            if known is not None:  # else it was given back in between
                return known

    async def keep(self, call: Call, response: Message) -> None:
        code = call.response_metadata.get(HTTP_CODE)
        data = response.SerializeToString(deterministic=True)
        try:
            async with self.engine.begin() as connection:
                await replies.update_reply(
                    connection, self.owner, self.key, data, int(code) if code else None
                )
        except Exception as error:
            # The call went well, and its caller shall know; only a repetition will not.
            log.warning("keyed_reply_lost", error=type(error).__name__)

    async def give_back(self) -> None:
        try:
            async with self.engine.begin() as connection:
                await replies.delete_call(connection, self.owner, self.key)
        except Exception as error:
            log.warning("key_not_given_back", error=type(error).__name__)


def _replay(known: Row[Any], call: Call, request_hash: bytes) -> Message:
    if known.request_hash != request_hash:
        raise DistillError(ErrorReason.IDEMPOTENCY_KEY_REUSED)
    if known.response is not None:
        if known.http_code is not None:
            call.answer_with(known.http_code)
        return call.rpc.response_class.FromString(known.response)
    now = clock.utc_now()
    if now - known.created_at > _LONGEST:
        raise DistillError(
            ErrorReason.CONFLICT,
            "How the first call with this Idempotency-Key ended is not known. Look what is there "
            "before you try again with a new key.",
        )
    raise DistillError(ErrorReason.REQUEST_IN_PROGRESS, retry_after=now + _SOON)


def _owner(call: Call) -> str:
    if call.authenticated is not None:
        return f"{call.rpc.package} {call.authenticated.user_id}"
    return f"{call.rpc.package} from {call.address}"


def _hash(call: Call, request: Message) -> bytes:
    """The request's hash without its secrets, which must not be guessable from it."""
    told = type(request)()
    told.CopyFrom(request)
    for field in told.DESCRIPTOR.fields:
        if field.GetOptions().debug_redact:
            told.ClearField(field.name)
    text = call.rpc.full_name.encode() + b"\0" + told.SerializeToString(deterministic=True)
    return hashlib.sha256(text).digest()
