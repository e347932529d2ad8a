"""`/content/recent` as many would write it: FastAPI, Pydantic response models, SQLAlchemy's ORM.

The answers, the token check (RS256, tokens remembered until they expire) and the database are
Distill's; what it leaves out is what a small service leaves out: limits, request ids, logs, metrics.
"""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any
from uuid import UUID

from fastapi import Depends, FastAPI, HTTPException, Query
from pydantic import BaseModel, ConfigDict, Field, field_serializer
from sqlalchemy import ForeignKey, select
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column, relationship, selectinload
from sqlalchemy.types import Text
from twins import Base, caller, session

app = FastAPI()


class Item(Base):
    __tablename__ = "items"
    user_id: Mapped[str] = mapped_column(primary_key=True)
    id: Mapped[UUID] = mapped_column(primary_key=True)
    source: Mapped[str]
    platform_id: Mapped[str]
    published_at: Mapped[datetime]
    content: Mapped[str]
    title: Mapped[str]
    author: Mapped[str]
    url: Mapped[str]
    kind: Mapped[str]
    thread_id: Mapped[str]
    metrics: Mapped[dict[str, Any]] = mapped_column(JSONB)
    ai_tags: Mapped[list[str]] = mapped_column(ARRAY(Text))


class Watch(Base):
    __tablename__ = "watches"
    user_id: Mapped[str] = mapped_column(primary_key=True)
    unwatched_at: Mapped[datetime | None]
    sync_interval: Mapped[int]
    parts: Mapped[list[Part]] = relationship()


class Part(Base):
    __tablename__ = "connection_parts"
    user_id: Mapped[str] = mapped_column(ForeignKey("watches.user_id"), primary_key=True)
    source: Mapped[str] = mapped_column(primary_key=True)
    part_key: Mapped[UUID] = mapped_column(primary_key=True)
    last_success_at: Mapped[datetime | None]


class ItemOut(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    id: UUID
    platform_id: str
    timestamp: datetime = Field(validation_alias="published_at")
    content: str
    author: str
    metrics: dict[str, float]
    ai_tags: list[str]
    source: str
    title: str
    url: str
    kind: str
    thread_id: str

    @field_serializer("id")
    def item_key(self, value: UUID) -> str:
        return f"item_{value.hex}"


class Metadata(BaseModel):
    query_time: datetime
    freshness: datetime | None
    completeness: float
    warnings: list[str]
    count: int
    has_more: bool
    next_page_token: str | None = None


class Recent(BaseModel):
    data: list[ItemOut]
    metadata: Metadata


@app.get("/health")
async def health() -> dict[str, str]:
    return {"status": "healthy"}


@app.get("/content/recent", response_model=Recent)
async def recent(
    user_id: Annotated[str, Depends(caller)],
    db: Annotated[AsyncSession, Depends(session)],
    hours: Annotated[int, Query(ge=1, le=168)] = 24,
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
) -> Any:
    now = datetime.now(UTC).replace(microsecond=0)
    watch = await db.get(Watch, user_id, options=[selectinload(Watch.parts)])
    if watch is None or watch.unwatched_at is not None:
        raise HTTPException(404)
    query = (
        select(Item)
        .where(Item.user_id == user_id, Item.published_at >= now - timedelta(hours=hours))
        .order_by(Item.published_at.desc(), Item.id.desc())
        .limit(limit + 1)
    )
    found = list(await db.scalars(query))
    page = found[:limit]
    oldest = now - 2 * timedelta(seconds=watch.sync_interval)
    reads = [part.last_success_at for part in watch.parts if part.last_success_at is not None]
    current = sum(read >= oldest for read in reads)
    return {
        "data": page,
        "metadata": {
            "query_time": now,
            "freshness": min(reads, default=None),
            "completeness": round(current / len(watch.parts), 4) if watch.parts else 0.0,
            "warnings": [] if current == len(watch.parts) else ["some_data_delayed"],
            "count": len(page),
            "has_more": len(found) > limit,
            "next_page_token": _token(page[-1]) if len(found) > limit else None,
        },
    }


def _token(last: Item) -> str:
    return base64.urlsafe_b64encode(f"{last.published_at.isoformat()} {last.id}".encode()).decode()
