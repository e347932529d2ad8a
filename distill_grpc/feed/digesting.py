"""Summaries over a day or a week of the user's time zone (seed 002, /content/summary/{period})."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime, timedelta
from datetime import time as time_of_day
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from distill_grpc import clock
from distill_grpc.errors import DistillError, ErrorReason, invalid_argument
from distill_grpc.feed import watching
from distill_grpc.feed.store import items, summaries
from distill_grpc.llm.base import Digest, DigestRequest, Document, Statement, Summariser

# The newest items of a period that a summary is made from.
MAX_ITEMS = 5_000
TITLE = 120


@dataclass(frozen=True, slots=True)
class Period:
    """A day or a week of a time zone; `start` and `end` are UTC, the end is exclusive."""

    kind: str
    date: date
    tz: str
    start: datetime
    end: datetime


def period(word: str, day: str | None, tz: str, now: datetime) -> Period:
    """The period that `daily`, `weekly` or a date means; INVALID_ARGUMENT where it means none."""
    zone = _zone(tz)
    today = now.astimezone(zone).date()
    chosen = _date(day, "date") if day is not None else today
    kind, field = word, "date"
    if word not in {"daily", "weekly"}:
        if day is not None:
            raise invalid_argument({"date": "goes with daily or weekly, not with a date as period"})
        chosen, kind, field = _date(word, "period"), "daily", "period"
    first = chosen - timedelta(days=chosen.weekday()) if kind == "weekly" else chosen
    try:
        after = first + timedelta(days=7 if kind == "weekly" else 1)
        start, end = _midnight(first, zone), _midnight(after, zone)
    except OverflowError:
        raise invalid_argument({field: "is out of range"}) from None
    return Period(kind, first, tz, start, end)


async def get_summary(
    engine: AsyncEngine,
    summariser: Summariser,
    user_id: str,
    wanted: Period,
    now: datetime,
) -> Row[Any]:
    """The summary of a period: the kept one while no item changed since, else a new one.

    Raises NOT_WATCHING, and SUMMARY_UNAVAILABLE where nothing was collected in the period. No
    connection is held while the summariser works.
    """
    async with engine.begin() as connection:
        watch = await watching.require_watch(connection, user_id)
        changed = await items.get_last_change(connection, user_id, wanted.start, wanted.end)
        kept = await summaries.get_summary(connection, user_id, wanted.kind, wanted.date, wanted.tz)
        # Items are deleted before summaries are: what is kept of a past period stays good.
        if kept is not None and (changed is None or changed <= kept.last_change):
            return kept
        if changed is None:
            raise DistillError(
                ErrorReason.SUMMARY_UNAVAILABLE,
                details={"period": wanted.kind, "date": wanted.date.isoformat(), "tz": wanted.tz},
            )
        rows = await items.list_for_digest(connection, user_id, wanted.start, wanted.end, MAX_ITEMS)
    begin = time.perf_counter()
    documents = [_document(row) for row in rows]
    digest = await summariser.digest(
        DigestRequest(documents=documents, mentions=_names(watch.email))
    )
    took = time.perf_counter() - begin
    async with engine.begin() as connection:
        await summaries.upsert_summary(
            connection,
            user_id=user_id,
            period=wanted.kind,
            date=wanted.date,
            tz=wanted.tz,
            generated_at=clock.whole_seconds(now),
            last_change=changed,
            content=_content(digest, {document.id: document for document in documents}),
            items_processed=len(documents),
            sources=len({(document.source, document.author) for document in documents}),
            model=digest.model,
            processing_ms=round(took * 1000),
            confidence=digest.confidence,
        )
        return await _kept(connection, user_id, wanted)


async def _kept(connection: AsyncConnection, user_id: str, wanted: Period) -> Row[Any]:
    kept = await summaries.get_summary(connection, user_id, wanted.kind, wanted.date, wanted.tz)
    if kept is None:
        raise DistillError(ErrorReason.SUMMARY_UNAVAILABLE)
    return kept


def _document(row: Row[Any]) -> Document:
    metrics: dict[str, float] = row.metrics
    engagement = metrics.get("engagement")
    return Document(
        id=str(row.id),
        source=row.source,
        author=row.author,
        title=row.title,
        text=row.content,
        url=row.url,
        published_at=row.published_at,
        engagement=engagement if engagement is not None else sum(metrics.values()),
        language=row.language,
    )


def _content(digest: Digest, documents: dict[str, Document]) -> dict[str, Any]:
    """What a summary keeps: self-contained, as items are deleted before summaries are."""
    return {
        "highlights": [_statement(said, documents) for said in digest.highlights],
        "sections": {name: _statement(said, documents) for name, said in digest.sections.items()},
    }


def _statement(said: Statement, documents: dict[str, Document]) -> dict[str, Any]:
    return {"text": said.text, "items": [_cited(documents[i]) for i in said.document_ids]}


def _cited(document: Document) -> dict[str, str]:
    told = asdict(document)
    title = document.title or document.text
    shown = title if len(title) <= TITLE else title[: TITLE - 1].rstrip() + "…"
    return {**{k: told[k] for k in ("id", "source", "author", "url")}, "title": shown}


def _names(email: str | None) -> tuple[str, ...]:
    if not email:
        return ()
    return (email, "@" + email.partition("@")[0])


def _zone(tz: str) -> ZoneInfo:
    try:
        return ZoneInfo(tz)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise invalid_argument({"tz": "must be an IANA time zone, such as Europe/Berlin"}) from None


def _date(text: str, field: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise invalid_argument({field: "must be a date that exists, as YYYY-MM-DD"}) from None


def _midnight(day: date, zone: ZoneInfo) -> datetime:
    return datetime.combine(day, time_of_day(), zone).astimezone(UTC)
