"""Accounts: making one, logging in, and the profile."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Protocol
from uuid import UUID

from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from distill_grpc.auth import Caller
from distill_grpc.errors import DistillError, ErrorReason, invalid_argument
from distill_grpc.mail import headers
from distill_grpc.publishing import accounts, texts
from distill_grpc.publishing.ids import new_id
from distill_grpc.publishing.passwords import Passwords
from distill_grpc.publishing.store import accounts as store

# How long a token is good.
TOKEN_LIFE = timedelta(hours=12)


class Issuer(Protocol):
    """Signs tokens."""

    def issue(
        self, *, user_id: str, email: str | None, expires_in: timedelta, claims: dict[str, Any]
    ) -> str:
        """A signed token with these claims."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class NewAccount:
    """What somebody registers with; `role` is `creator` or `reader`."""

    email: str
    password_hash: str
    username: str
    role: str


def check_email(email: str) -> None:
    """Raises INVALID_ARGUMENT where mail could never go to the address."""
    if headers.address(email) is None:
        raise invalid_argument({"email": "must be an address that mail can go to"})


async def register(connection: AsyncConnection, new: NewAccount, *, now: datetime) -> Row[Any]:
    """Makes an account; raises ALREADY_EXISTS naming each field that somebody has."""
    email_key, username_key = texts.key(new.email), texts.key(new.username)
    account = await store.insert_account(
        connection,
        id=new_id(now),
        email=unicodedata.normalize("NFC", new.email),
        email_key=email_key,
        password_hash=new.password_hash,
        username=new.username,
        username_key=username_key,
        bio="",
        role=new.role,
        created_at=now,
        updated_at=now,
    )
    if account is None:
        taken = await store.list_taken(connection, email_key=email_key, username_key=username_key)
        raise _taken(*sorted(taken))
    return account


async def log_in(
    engine: AsyncEngine, passwords: Passwords, issuer: Issuer, *, email: str, password: str
) -> str:
    """A token for the account; raises INVALID_CREDENTIALS, in the same time for nobody's address.

    No connection is held while the password is worked on.
    """
    async with engine.connect() as connection:
        account = await store.find_by_email(connection, texts.key(email))
    stored = None if account is None else account.password_hash
    good = await passwords.verify(stored, password)
    if account is None or not good:
        raise DistillError(ErrorReason.INVALID_CREDENTIALS)
    if passwords.is_outdated(account.password_hash):
        renewed = await passwords.hash(password)
        async with engine.begin() as connection:
            await store.update_account(connection, account.id, password_hash=renewed)
    return issuer.issue(
        user_id=str(account.id),
        email=account.email,
        expires_in=TOKEN_LIFE,
        claims={"role": account.role},
    )


async def get(connection: AsyncConnection, user_id: UUID) -> Row[Any]:
    """An account; raises NOT_FOUND."""
    account = await store.get_account(connection, user_id)
    if account is None:
        raise DistillError(ErrorReason.NOT_FOUND, "There is no such user.")
    return account


async def update(
    connection: AsyncConnection,
    caller: Caller,
    user_id: UUID,
    *,
    username: str | None,
    bio: str | None,
    now: datetime,
) -> Row[Any]:
    """Changes what is not None in one's own profile; raises FORBIDDEN for anybody else's."""
    account = await accounts.require(connection, caller, lock=True)
    if account.id != user_id:  # before it is looked for: who may not, learns nothing
        raise DistillError(ErrorReason.FORBIDDEN, "You can change your own profile only.")
    changed: dict[str, Any] = {}
    if username is not None and username != account.username:
        changed |= {"username": username, "username_key": texts.key(username)}
    if bio is not None and texts.lines(bio) != account.bio:
        changed["bio"] = texts.lines(bio)
    if not changed:
        return account
    updated = await store.update_account(connection, account.id, updated_at=now, **changed)
    if updated is None:
        raise _taken("username")
    return updated


def _taken(*fields: str) -> DistillError:
    named = dict.fromkeys(fields or ("username",), "is taken")
    said = ", ".join("e-mail address" if f == "email" else f for f in named)
    return DistillError(ErrorReason.ALREADY_EXISTS, f"Taken already: {said}.", details=named)
