"""What the FastAPI twins share: the database, and the check of tokens.

Settings: TWIN_DATABASE_URL, TWIN_JWKS (the issuer's keys in JSON).
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Annotated, ClassVar

import jwt
from fastapi import Header, HTTPException
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase
from sqlalchemy.types import TIMESTAMP, Text

_URL = os.environ["TWIN_DATABASE_URL"].replace("postgresql://", "postgresql+psycopg://", 1)
KEYS = {key["kid"]: jwt.PyJWK(key) for key in json.loads(os.environ["TWIN_JWKS"])}

engine = create_async_engine(_URL, pool_size=8, max_overflow=0)
new_session = async_sessionmaker(engine, expire_on_commit=False)


class Base(DeclarativeBase):
    type_annotation_map: ClassVar = {datetime: TIMESTAMP(timezone=True), str: Text}


_verified: dict[str, tuple[str, float]] = {}


def caller(authorization: Annotated[str, Header()]) -> str:
    """The user id of a good token."""
    token = authorization.removeprefix("Bearer ")
    digest = hashlib.sha256(token.encode()).hexdigest()
    known = _verified.get(digest)
    if known is None or known[1] <= time.time():
        try:
            key = KEYS[jwt.get_unverified_header(token)["kid"]]
            claims = jwt.decode(
                token, key, algorithms=["RS256"], options={"require": ["exp", "iat", "user_id"]}
            )
        except (jwt.PyJWTError, KeyError):
            raise HTTPException(401) from None
        known = _verified[digest] = claims["user_id"], claims["exp"]
    return known[0]


async def session() -> AsyncIterator[AsyncSession]:
    async with new_session() as opened:
        yield opened
