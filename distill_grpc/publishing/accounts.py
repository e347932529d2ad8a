"""Who calls, as an account of the publishing platform."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncConnection

from distill_grpc.auth import Caller
from distill_grpc.errors import DistillError, ErrorReason
from distill_grpc.publishing.store import accounts as store

CREATOR = "creator"


def id_of(caller: Caller | None) -> UUID | None:
    """The id of the caller's account; None for strangers, and for tokens of no account."""
    if caller is None:
        return None
    try:
        return UUID(caller.user_id)
    except ValueError:
        return None


async def require(
    connection: AsyncConnection, caller: Caller, *, creator: bool = False, lock: bool = False
) -> Row[Any]:
    """The caller's account; raises FORBIDDEN where there is none, or no creator's.

    The account decides, not the token, whose claims may be old. `lock` makes the account's own
    calls wait for each other.
    """
    user_id = id_of(caller)
    account = None if user_id is None else await store.get_account(connection, user_id, lock=lock)
    if account is None:
        raise DistillError(
            ErrorReason.FORBIDDEN,
            "The token belongs to no account here. POST /api/v1/users/register makes one.",
        )
    if creator and account.role != CREATOR:
        raise DistillError(ErrorReason.FORBIDDEN, "Only creators may do that.")
    return account


async def require_creator(connection: AsyncConnection, user_id: UUID) -> Row[Any]:
    """The account of a creator; raises NOT_FOUND for readers as for nobody."""
    account = await store.get_account(connection, user_id)
    if account is None or account.role != CREATOR:
        raise DistillError(ErrorReason.NOT_FOUND, "There is no such creator.")
    return account
