"""Posts, comments and logins as many would write them: FastAPI, Pydantic, SQLAlchemy's ORM.

The answers, the token check, the parameters of argon2id and the database are Distill's; what it
leaves out is what a small service leaves out: limits, the counting of views, request ids, logs.
Settings: those of `twins`, and TWIN_SIGNING_KEY (the file of the key that signs tokens).
"""

from __future__ import annotations

import os
import time
import unicodedata
import uuid
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

import jwt
from argon2 import PasswordHasher
from argon2.exceptions import VerificationError
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from fastapi import Depends, FastAPI, HTTPException, Query
from fastapi.concurrency import run_in_threadpool
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import ForeignKey, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, joinedload, mapped_column, relationship
from twins import KEYS, Base, caller, new_session, session

_SIGNING_KEY = load_pem_private_key(Path(os.environ["TWIN_SIGNING_KEY"]).read_bytes(), None)
_KID = next(iter(KEYS))
_LIFE = 12 * 3600  # seconds
_hasher = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)

app = FastAPI()


class User(Base):
    __tablename__ = "users"
    id: Mapped[UUID] = mapped_column(primary_key=True)
    email: Mapped[str]
    email_key: Mapped[str]
    password_hash: Mapped[str]
    role: Mapped[str]


class PostTotal(Base):
    __tablename__ = "post_totals"
    post_id: Mapped[UUID] = mapped_column(ForeignKey("posts.id"), primary_key=True)
    views: Mapped[int]


class Post(Base):
    __tablename__ = "posts"
    id: Mapped[UUID] = mapped_column(primary_key=True)
    creator_id: Mapped[UUID]
    title: Mapped[str]
    content: Mapped[str]
    content_format: Mapped[str]
    content_html: Mapped[str]
    slug: Mapped[str]
    status: Mapped[str]
    scheduled_at: Mapped[datetime | None]
    published_at: Mapped[datetime | None]
    total: Mapped[PostTotal | None] = relationship()

    @property
    def view_count(self) -> int | None:
        if self.status != "published":
            return None
        return self.total.views if self.total else 0


class Comment(Base):
    __tablename__ = "comments"
    post_id: Mapped[UUID] = mapped_column(primary_key=True)
    id: Mapped[UUID] = mapped_column(primary_key=True)
    author_id: Mapped[UUID]
    parent_comment_id: Mapped[UUID | None]
    path: Mapped[bytes]
    content: Mapped[str]
    content_html: Mapped[str]
    created_at: Mapped[datetime]
    deleted_at: Mapped[datetime | None]

    @property
    def user_id(self) -> str:
        return "" if self.deleted_at else str(self.author_id)

    @property
    def deleted(self) -> bool | None:
        return True if self.deleted_at else None


class PostOut(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    id: UUID
    creator_id: UUID
    title: str
    content: str
    status: str
    published_at: datetime | None
    scheduled_at: datetime | None
    content_format: str
    content_html: str
    slug: str
    view_count: int | None


class CommentOut(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    id: UUID
    user_id: str
    content: str
    created_at: datetime
    parent_comment_id: UUID | None
    content_html: str
    deleted: bool | None


class LoginIn(BaseModel):
    email: str = Field(min_length=1, max_length=254)
    password: str = Field(min_length=1, max_length=128)


class LoginOut(BaseModel):
    access_token: str
    token_type: str


Caller = Annotated[str, Depends(caller)]
Session = Annotated[AsyncSession, Depends(session)]


@app.get("/health")
async def health() -> dict[str, str]:
    return {"status": "healthy"}


@app.get("/api/v1/posts/{post_id}", response_model=PostOut, response_model_exclude_none=True)
async def get_post(post_id: UUID, user_id: Caller, db: Session) -> Any:
    return await _post(db, post_id, user_id)


@app.get(
    "/api/v1/posts/{post_id}/comments",
    response_model=list[CommentOut],
    response_model_exclude_none=True,
)
async def list_comments(
    post_id: UUID,
    user_id: Caller,
    db: Session,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    offset: Annotated[int, Query(ge=0, le=1_000_000)] = 0,
) -> Any:
    await _post(db, post_id, user_id)
    query = select(Comment).where(Comment.post_id == post_id).order_by(Comment.path)
    return list(await db.scalars(query.limit(limit).offset(offset)))


@app.post("/api/v1/users/login", response_model=LoginOut)
async def login(given: LoginIn) -> Any:
    async with new_session() as db:  # given back before the password is worked on
        user = await db.scalar(select(User).where(User.email_key == _key(given.email)))
    if user is None:
        raise HTTPException(401)
    try:
        await run_in_threadpool(
            _hasher.verify, user.password_hash, unicodedata.normalize("NFC", given.password)
        )
    except VerificationError:
        raise HTTPException(401) from None
    return {"access_token": _token(user), "token_type": "bearer"}


async def _post(db: AsyncSession, post_id: UUID, user_id: str) -> Post:
    post = await db.get(Post, post_id, options=[joinedload(Post.total)])
    if post is None or (post.status != "published" and str(post.creator_id) != user_id):
        raise HTTPException(404)
    return post


def _key(email: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", email).casefold())


def _token(user: User) -> str:
    now = int(time.time())
    claims = {
        "iss": "distill-local",
        "sub": str(user.id),
        "user_id": str(user.id),
        "email": user.email,
        "role": user.role,
        "credits_available": True,
        "iat": now,
        "exp": now + _LIFE,
        "jti": uuid.uuid4().hex,
    }
    return jwt.encode(claims, _SIGNING_KEY, algorithm="RS256", headers={"kid": _KID})
