"""Questions about a user's items: what was collected is searched, and answers only from what it holds."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from distill_grpc.errors import invalid_argument
from distill_grpc.feed import hybrid_search, rank_fusion, reading
from distill_grpc.feed.documents import document
from distill_grpc.feed.preferring import Taste
from distill_grpc.feed.query_embedding import NOTHING, Seeker, Sought
from distill_grpc.feed.search_text import has_runs, phrased, plain
from distill_grpc.feed.spending import UserPurse, daily_limit
from distill_grpc.feed.store import item_lists, preferences
from distill_grpc.llm.answering import Answer, Answerer, Question
from distill_grpc.llm.base import Document, Statement
from distill_grpc.llm.languages import STOP_WORDS, guess_language, names_asked, pairs_of, words

ITEMS = 60  # that are read for an answer
_WORDS = 32  # of a question that are searched for
ASKED = 25.0  # seconds that an answer may take


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A question, and where the answer may lie."""

    question: str
    sources: Sequence[str] = ()
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """An answer, and what to know about it."""

    answer: Answer
    documents: Mapping[str, Document]  # those that may be cited, by id
    warnings: Sequence[str]
    seconds: float


# Takes the documents that may be cited, by id, and a statement that cites some of them.
Tell = Callable[[Mapping[str, Document], Statement], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Asker:
    """Answers questions."""

    engine: AsyncEngine
    answerer: Answerer
    llm_daily_tokens: int
    seeker: Seeker | None = None  # None: items are found by words alone

    async def ask(
        self,
        user_id: str,
        wanted: Wanted,
        *,
        known_sources: Collection[str],
        credits_available: bool,
        now: datetime,
        tell: Tell | None = None,
    ) -> Told:
        """The answer. No connection is held while it is worded, and told piece by piece.

        Raises NOT_WATCHING, INVALID_ARGUMENT naming the field, and INSUFFICIENT_CREDITS where a model
        would have to be asked.
        """
        begin = time.perf_counter()
        reading.check_sources(wanted.sources, known_sources)
        if wanted.since is not None and wanted.until is not None and wanted.since >= wanted.until:
            raise invalid_argument({"until": "must be later than since"})
        query = searched(wanted.question)
        filters = item_lists.Filters(
            query=query,
            sources=wanted.sources,
            since=wanted.since,
            until=wanted.until,
            limit=ITEMS,
        )
        sought = NOTHING
        if self.seeker is not None:
            sought = await self.seeker.seek(
                user_id, wanted.question, credits_available=credits_available, now=now
            )
        async with self.engine.connect() as connection:
            fresh = await reading.get_freshness(connection, user_id, now, wanted.since)
            rows, near = await _find(connection, user_id, filters, sought)
            taste = Taste.of(await preferences.get_preferences(connection, user_id))
        documents = [_document(row) for row in rows]
        purse = UserPurse(
            engine=self.engine,
            user_id=user_id,
            limit=daily_limit(taste.daily_llm_tokens, self.llm_daily_tokens),
            credits_available=credits_available,
            now=now,
        )
        question = Question(
            text=wanted.question,
            documents=documents,
            near=frozenset(map(str, near)),
            seconds=ASKED,
        )
        by_id = {document.id: document for document in documents}
        say = None if tell is None else partial(tell, by_id)
        answer = await self.answerer.answer(question, purse, say=say)
        incomplete = ["answer_incomplete"] if answer.incomplete else []
        return Told(
            answer=answer,
            documents=by_id,
            warnings=fresh.warning(*sought.warnings, *incomplete).warnings,
            seconds=time.perf_counter() - begin,
        )


async def _find(
    connection: AsyncConnection, user_id: str, filters: item_lists.Filters, sought: Sought
) -> tuple[list[item_lists.ItemRow], Sequence[UUID]]:
    """What may hold the answer, likeliest first, and which of it is near in meaning."""
    if not filters.query and sought.meaning is None:
        return [], ()
    walk, others, near = await hybrid_search.begin(
        connection, user_id, filters, sought, any_word=True
    )
    rows, _, _ = rank_fusion.merge(walk, others, near, filters.limit)
    return rows, walk.near


def searched(question: str) -> str:
    """The query that finds items with any word of a question that tells something; "" without one."""
    found = words(question)
    stop = STOP_WORDS.get(guess_language(found), frozenset()) | STOP_WORDS["en"]
    telling = (
        term
        for word in found
        if word not in stop and len(word) > 1
        for term in (pairs_of(word) if has_runs(word) else [word])
    )
    # Names first: words around them are found in much else.
    wanted = dict.fromkeys([*names_asked(question).values(), *telling])
    return phrased(plain(" or ".join(list(wanted)[:_WORDS])))


def _document(row: item_lists.ItemRow) -> Document:
    return document(row, datetime.fromtimestamp(row.published, UTC))
