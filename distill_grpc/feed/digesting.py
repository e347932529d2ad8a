"""Summaries over a day or a week of the user's time zone (seed 002, /content/summary/{period})."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from distill_grpc import clock
from distill_grpc.errors import DistillError, ErrorReason
from distill_grpc.feed import watching
from distill_grpc.feed.documents import document
from distill_grpc.feed.periods import Period
from distill_grpc.feed.preferring import Taste
from distill_grpc.feed.spending import UserPurse, daily_limit
from distill_grpc.feed.store import connections, embeddings, items, preferences, summaries
from distill_grpc.feed.turns import POLL, Turn
from distill_grpc.llm.base import Digest, DigestRequest, Document, Statement, Summariser

# The newest items of a period that a summary is made from.
MAX_ITEMS = 5_000
TITLE = 120
# Seconds that a summary may take: while somebody waits for the answer, and where nobody does.
ASKED, SCHEDULED = 25.0, 55.0
EXTRACT = (
    2.0  # … of that left where waiting for another's writing ends: whoever began earlier has ended
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Spender:
    """Who asks for a summary, as far as it costs something."""

    credits_available: bool
    waits: bool = (
        True  # for the answer; else it was scheduled, and without credits it is made offline
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Digester:
    """Makes summaries and keeps them."""

    engine: AsyncEngine
    summariser: Summariser
    llm_daily_tokens: int
    embedding_model: str | None = None  # whose vectors help to see who tells the same

    async def get_summary(
        self, user_id: str, wanted: Period, spender: Spender, now: datetime, *, anew: bool = False
    ) -> Row[Any]:
        """The summary of a period: the kept one while no item changed since, else a new one.

        With `anew` it is made in any case. One process writes it at a time: the others wait for what it
        wrote, and where that takes too long, they get what is kept, or an extract. Raises NOT_WATCHING;
        SUMMARY_UNAVAILABLE where nothing was collected in the period, or less of it is left than the
        kept summary was made from; and INSUFFICIENT_CREDITS where a model would have to be asked. No
        connection is held while the summariser works.
        """
        until = time.monotonic() + (ASKED if spender.waits else SCHEDULED)
        work = f"summary {wanted.kind} {wanted.date} {wanted.tz}"
        turn = Turn(engine=self.engine, user_id=user_id, work=work)
        while True:
            async with self.engine.connect() as connection:
                await watching.require_watch(connection, user_id)
                good, _ = await _look(connection, user_id, wanted, anew=anew)
            if good is not None:
                return good
            if await turn.take() or time.monotonic() >= until - EXTRACT:
                break
            await asyncio.sleep(POLL)
        async with turn.kept():
            return await self._write(user_id, wanted, spender, now, _Chance(turn, until, anew))

    async def _write(
        self, user_id: str, wanted: Period, spender: Spender, now: datetime, chance: _Chance
    ) -> Row[Any]:
        async with self.engine.begin() as connection:
            # Again, as whoever had the turn before may have written it.
            good, changed = await _look(connection, user_id, wanted, anew=chance.anew)
            if good is not None:
                return good
            watch = await watching.require_watch(connection, user_id)
            rows = await items.list_for_digest(
                connection, user_id, wanted.start, wanted.end, MAX_ITEMS
            )
            kept = await _find_kept(connection, user_id, wanted)
            if chance.anew and kept is not None and len(rows) < kept.items_processed:
                raise _unavailable(
                    wanted, "Items of that period were deleted since; the summary kept says more."
                )
            taste = Taste.of(await preferences.get_preferences(connection, user_id))
            own = await connections.list_connections(connection, user_id)
            meanings = {}
            if self.embedding_model is not None:
                ids = [row.id for row in rows]
                meanings = await embeddings.list_vectors(
                    connection, user_id, self.embedding_model, ids
                )
        accounts = [row.account for row in own if row.account]
        begin = time.perf_counter()
        documents = [_document(row) for row in rows]
        request = DigestRequest(
            documents=documents,
            mentions=names(watch.email, accounts, taste.names),
            max_highlights=taste.highlights,
            limit=taste.limit,
            language=taste.language,
            tags=taste.tags,
            sources=taste.sources,
            authors=taste.authors,
            sections=taste.sections,
            seconds=max(0.0, chance.until - time.monotonic()),
            meanings={str(id_): vector for id_, vector in meanings.items()},
        )
        purse = UserPurse(
            engine=self.engine,
            user_id=user_id,
            limit=daily_limit(taste.daily_llm_tokens, self.llm_daily_tokens),
            credits_available=spender.credits_available,
            now=now,
        )
        may_spend = chance.turn.is_taken and (spender.waits or spender.credits_available)
        digest = await self.summariser.digest(request, purse if may_spend else None)
        took = time.perf_counter() - begin
        async with self.engine.begin() as connection:
            # Whoever lost the turn, or never had it, leaves what another one wrote.
            replace = await chance.turn.end(connection)
            await summaries.upsert_summary(
                connection,
                replace=replace,
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
            found = await _find_kept(connection, user_id, wanted)
        if found is None:
            raise _unavailable(wanted)
        return found


class _Chance(NamedTuple):
    """The circumstances of a writing."""

    turn: Turn
    until: float  # time.monotonic()
    anew: bool


def names(email: str | None, accounts: Iterable[str], own: Iterable[str]) -> tuple[str, ...]:
    """Names by which a user may be mentioned; those of accounts with their sign only."""
    found: dict[str, None] = {}
    if email:
        found |= {email: None, "@" + email.partition("@")[0]: None}
    for account in accounts:
        name = account.strip().lstrip("@")
        if name and len(name) <= 100:
            # `octocat` is a word like another; an address or a full name is not.
            found[name if "@" in name or " " in name else f"@{name}"] = None
    found.update(dict.fromkeys(name.strip() for name in own if name.strip()))
    return tuple(found)


async def _look(
    connection: AsyncConnection, user_id: str, wanted: Period, *, anew: bool
) -> tuple[Row[Any] | None, datetime | None]:
    """The kept summary where no item changed since, and the last change.

    Raises SUMMARY_UNAVAILABLE where there is nothing to make one from.
    """
    changed = await items.get_last_change(connection, user_id, wanted.start, wanted.end)
    kept = None if anew else await _find_kept(connection, user_id, wanted)
    # Items are deleted before summaries are: what is kept of a past period stays good.
    if kept is not None and (changed is None or changed <= kept.last_change):
        return kept, changed
    if changed is None:
        raise _unavailable(wanted)
    return None, changed


async def _find_kept(connection: AsyncConnection, user_id: str, wanted: Period) -> Row[Any] | None:
    return await summaries.get_summary(connection, user_id, wanted.kind, wanted.date, wanted.tz)


def _unavailable(wanted: Period, message: str | None = None) -> DistillError:
    return DistillError(
        ErrorReason.SUMMARY_UNAVAILABLE,
        message,
        details={"period": wanted.kind, "date": wanted.date.isoformat(), "tz": wanted.tz},
    )


def _document(row: Row[Any]) -> Document:
    metrics: dict[str, float] = row.metrics
    engagement = metrics.get("engagement")
    return document(
        row,
        row.published_at,
        engagement=engagement if engagement is not None else sum(metrics.values()),
        language=row.language,
        tags=tuple(row.ai_tags),
    )


def _content(digest: Digest, documents: dict[str, Document]) -> dict[str, Any]:
    """What a summary keeps: self-contained, as items are deleted before summaries are."""
    return {
        "highlights": [_statement(said, documents) for said in digest.highlights],
        "sections": {name: _statement(said, documents) for name, said in digest.sections.items()},
    }


def _statement(said: Statement, documents: dict[str, Document]) -> dict[str, Any]:
    items = [cited(documents[id_]) for id_ in said.document_ids]
    return {"text": said.text, "items": items, "why": list(said.why)}


def cited(document: Document) -> dict[str, str]:
    """What a citation tells of a document."""
    told = asdict(document)
    title = document.title or document.text
    shown = title if len(title) <= TITLE else title[: TITLE - 1].rstrip() + "…"
    return {**{k: told[k] for k in ("id", "source", "author", "url")}, "title": shown}
