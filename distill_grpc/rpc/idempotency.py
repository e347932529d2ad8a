"""Concern: a call that is repeated with its `Idempotency-Key` happens once.

Of RPCs that are `(rpc).keyed`, the first call with a key is made and its response kept for a day; later
ones get that response. A call that fails changed nothing and gives its key back, and so does one whose
client leaves or whose time is over before it commits anything; from then on it goes on to its end, and
its response is kept. A call whose end nobody knows, because its process died or its database went away
while it committed, is not made again: its key says so until it is forgotten.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import structlog
from google.protobuf.message import Message
from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncEngine

from distill_grpc import clock
from distill_grpc.db import commits, replies
from distill_grpc.db.commits import Commits
from distill_grpc.encryption import Keyring
from distill_grpc.errors import DistillError, ErrorReason, invalid_argument
from distill_grpc.rpc.call import HTTP_CODE, Call, Concern, Step

log = structlog.get_logger()

KEY = "idempotency-key"
KEPT = timedelta(hours=24)
# No call takes longer (`rpc/server.py`, DEADLINE): one that has no answer by then has died.
_LONGEST = timedelta(seconds=60)
_SOON = clock.parse_duration("1s")
_SOUND = re.compile(r"[\x21-\x7e]{1,255}", re.ASCII)


def idempotency(engine: AsyncEngine, keyring: Keyring) -> Concern:
    """Keeps what keyed calls were answered with in the database of `engine`.

    Requests are known again by hashes that only `keyring` can make, as they may hold passwords.
    """
    running: set[asyncio.Task[Message]] = set()

    async def concern(call: Call, request: Message, step: Step) -> Message:
        key = call.metadata.get(KEY)
        if key is None or not call.rpc.keyed:
            return await step(request)
        if not _SOUND.fullmatch(key):
            raise invalid_argument({KEY: "must be 1 to 255 visible ASCII characters"})
        hashes = keyring.digests(_told(call, request), purpose="keyed request")
        keyed = _Keyed(engine, _owner(call), key, hashes)
        task = asyncio.create_task(keyed.run(call, request, step))
        running.add(task)
        task.add_done_callback(running.discard)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            task.add_done_callback(_looked_at)
            if keyed.leave():
                task.cancel()
            raise

    return concern


def _looked_at(task: asyncio.Task[Message]) -> None:
    if not task.cancelled():
        task.exception()  # nobody waits for it any more


@dataclass(slots=True)
class _Keyed:
    """One call with its owner's key. `hashes` of the request are by each key of the ring, newest first."""

    engine: AsyncEngine
    owner: str
    key: str
    hashes: Sequence[bytes]
    left: bool = field(default=False, init=False)
    commits: Commits | None = field(default=None, init=False)  # None before and after the call

    def leave(self) -> bool:
        """Nobody waits any more; True where `run` may be cancelled, as no commit has begun."""
        self.left = True
        return self.commits is not None and not self.commits.begun

    async def run(self, call: Call, request: Message, step: Step) -> Message:
        """The response of the call, or of the first one with its key."""
        known = await self.begin()
        if known is not None:
            return _replay(known, call, self.hashes)
        if self.left:
            await self.give_back()
            raise asyncio.CancelledError
        self.commits = commits.watch()
        try:
            response = await step(request)
            await self.keep(call, response)
        except BaseException as error:
            committed, self.commits = self.commits.begun, None
            if isinstance(error, DistillError) or not committed:
                await self.give_back()
            raise
        return response

    async def begin(self) -> Row[Any] | None:
        """Takes the key; what is known of it where it is taken."""
        while True:
            async with self.engine.begin() as connection:
                if await replies.insert_call(connection, self.owner, self.key, self.hashes[0]):
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


def _replay(known: Row[Any], call: Call, hashes: Sequence[bytes]) -> Message:
    if known.request_hash not in hashes:
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


def _told(call: Call, request: Message) -> bytes:
    """All that the call says, its secrets too."""
    return call.rpc.full_name.encode() + b"\0" + request.SerializeToString(deterministic=True)
