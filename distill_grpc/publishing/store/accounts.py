"""Accounts."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from sqlalchemy import Row, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from distill_grpc.publishing.models import User

_users = User.__table__


async def get_account(
    connection: AsyncConnection, user_id: UUID, *, lock: bool = False
) -> Row[Any] | None:
    """An account by its id; against others of its own calls where `lock` is set."""
    query = select(_users).where(User.id == user_id)
    # No stronger: what refers to the account must not wait for it.
    found = await connection.execute(query.with_for_update(key_share=True) if lock else query)
    return found.one_or_none()


async def find_by_email(connection: AsyncConnection, email_key: str) -> Row[Any] | None:
    """The account of an address."""
    query = select(_users).where(User.email_key == email_key)
    return (await connection.execute(query)).one_or_none()


async def insert_account(connection: AsyncConnection, **values: Any) -> Row[Any] | None:
    """Inserts an account; None where its address or its name is taken."""
    statement = insert(User).values(**values).on_conflict_do_nothing().returning(*_users.c)
    return (await connection.execute(statement)).one_or_none()


async def list_taken(connection: AsyncConnection, *, email_key: str, username_key: str) -> set[str]:
    """Which of `email` and `username` somebody has."""
    query = select(User.email_key, User.username_key).where(
        (User.email_key == email_key) | (User.username_key == username_key)
    )
    taken = set()
    for email, username in await connection.execute(query):
        taken |= {"email"} if email == email_key else set()
        taken |= {"username"} if username == username_key else set()
    return taken


async def update_account(
    connection: AsyncConnection, user_id: UUID, **values: Any
) -> Row[Any] | None:
    """Changes columns of an account; None where its new name is taken."""
    statement = update(User).where(User.id == user_id).values(**values).returning(*_users.c)
    try:
        async with connection.begin_nested():
            return (await connection.execute(statement)).one()
    except IntegrityError:
        return None
