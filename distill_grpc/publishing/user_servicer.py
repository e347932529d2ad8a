"""UserService: proto to domain and back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncEngine

from distill_grpc import clock
from distill_grpc.proto.distill.publishing.v1 import user_service_pb2 as pb
from distill_grpc.publishing import accounts, texts, users
from distill_grpc.publishing.limits import Limits
from distill_grpc.publishing.passwords import Passwords
from distill_grpc.rpc.call import Call
from distill_grpc.rpc.instants import set_instant


@dataclass(frozen=True, slots=True)
class UserServicer:
    """Accounts, logging in, profiles."""

    engine: AsyncEngine
    passwords: Passwords
    issuer: users.Issuer
    limits: Limits

    async def register(self, request: pb.RegisterRequest, call: Call) -> pb.User:
        """See the contract."""
        await self.limits.registration(call.address)
        users.check_email(request.email)
        new = users.NewAccount(
            email=request.email,
            password_hash=await self.passwords.hash(request.password),
            username=request.username,
            role=pb.User.Role.Name(request.role),
        )
        async with self.engine.begin() as connection:
            account = await users.register(connection, new, now=clock.utc_now())
        call.answer_with(201)
        response = _user(account, own=True)
        set_instant(response.created_at, account.created_at)
        return response

    async def login(self, request: pb.LoginRequest, call: Call) -> pb.LoginResponse:
        """See the contract."""
        await self.limits.login(texts.key(request.email), call.address)
        token = await users.log_in(
            self.engine,
            self.passwords,
            self.issuer,
            email=request.email,
            password=request.password,
        )
        return pb.LoginResponse(access_token=token, token_type="bearer")  # noqa: S106 -- a kind

    async def get_user(self, request: pb.GetUserRequest, call: Call) -> pb.User:
        """See the contract."""
        async with self.engine.connect() as connection:
            account = await users.get(connection, UUID(request.id))
        response = _user(account, own=accounts.id_of(call.caller) == account.id)
        response.bio = account.bio
        set_instant(response.created_at, account.created_at)
        return response

    async def update_user(self, request: pb.UpdateUserRequest, call: Call) -> pb.User:
        """See the contract."""
        async with self.engine.begin() as connection:
            account = await users.update(
                connection,
                call.caller,
                UUID(request.id),
                username=request.username if request.HasField("username") else None,
                bio=request.bio if request.HasField("bio") else None,
                now=clock.utc_now(),
            )
        response = _user(account, own=True)
        response.bio = account.bio
        set_instant(response.updated_at, account.updated_at)
        return response


def _user(account: Row[Any], *, own: bool) -> pb.User:
    return pb.User(
        id=str(account.id),
        email=account.email if own else None,
        username=account.username,
        role=account.role,
    )
