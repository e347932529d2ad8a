"""ContentService: proto to domain and back."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Literal
from uuid import UUID

from google.protobuf.timestamp_pb2 import Timestamp
from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncEngine

from distill_grpc import clock
from distill_grpc.errors import invalid_argument
from distill_grpc.feed import asking, periods, reading, search_stream
from distill_grpc.feed.conversion import fill_item, item_key, set_about, set_facets, set_listing
from distill_grpc.feed.digesting import Digester, Spender, cited
from distill_grpc.feed.page_tokens import PageTokens
from distill_grpc.feed.query_embedding import NOTHING, Seeker, Sought
from distill_grpc.llm.answering import together
from distill_grpc.llm.base import Document, Statement
from distill_grpc.proto.distill.v1 import content_service_pb2 as pb
from distill_grpc.rpc.call import Call
from distill_grpc.rpc.instants import set_instant

_REASONS = {
    "nothing_found": pb.AskResponse.nothing_found,
    "not_answered": pb.AskResponse.not_answered,
}
Bounded = pb.SearchRequest | pb.SearchStreamRequest | pb.AskRequest | pb.AskStreamRequest
# What google.protobuf.Timestamp may hold, in seconds.
_FIRST, _LAST = -62_135_596_800, 253_402_300_799


@dataclass(frozen=True, slots=True)
class ContentServicer:
    """Serves items and summaries. Lists need no transaction: `reads` is in autocommit."""

    reads: AsyncEngine
    tokens: PageTokens
    sources: Collection[str]
    digester: Digester
    asker: asking.Asker
    seeker: Seeker | None = None  # None: searches go by words alone

    async def list_recent(self, request: pb.ListRecentRequest, call: Call) -> pb.ListRecentResponse:
        """See the contract."""
        async with self.reads.connect() as connection:
            listing = await reading.list_recent(
                connection,
                self.tokens,
                call.caller.user_id,
                known_sources=self.sources,
                hours=request.hours,
                limit=request.limit,
                sources=request.sources,
                include_raw=request.include_raw,
                page_token=request.page_token or None,
                now=clock.utc_now(),
            )
        response = pb.ListRecentResponse()
        set_listing(response, listing)
        return response

    async def search(self, request: pb.SearchRequest, call: Call) -> pb.SearchResponse:
        """See the contract."""
        wanted = replace(_searched(request), limit=request.limit, facets=request.facets)
        now = clock.utc_now()
        sought = NOTHING if request.page_token else await self._sought(wanted, call, now)
        async with self.reads.connect() as connection:
            found = await reading.search(
                connection,
                self.tokens,
                call.caller.user_id,
                wanted,
                known_sources=self.sources,
                page_token=request.page_token or None,
                now=now,
                sought=sought,
            )
        response = pb.SearchResponse()
        set_listing(response, found.listing)
        for item, row in zip(response.data, found.listing.items, strict=True):
            if row.id in found.snippets:
                item.snippet = found.snippets[row.id]
        if found.facets is not None:
            set_facets(response.facets, found.facets)
        return response

    async def search_stream(self, request: pb.SearchStreamRequest, call: Call) -> pb.SearchEvent:
        """See the contract."""
        wanted, now = _searched(request), clock.utc_now()
        pages = search_stream.pages(
            self.reads,
            self.tokens,
            call.caller.user_id,
            wanted,
            known_sources=self.sources,
            page_token=request.page_token or None,
            now=now,
            sought=NOTHING if request.page_token else await self._sought(wanted, call, now),
        )
        about, count = None, 0
        async with aclosing(pages):
            async for found in pages:
                last = found.listing
                about = replace(about or last, next_page_token=last.next_page_token)
                count += len(last.items)
                for row in last.items:
                    event = pb.SearchEvent()
                    fill_item(event.item, row)
                    if row.id in found.snippets:
                        event.item.snippet = found.snippets[row.id]
                    await call.send(event)
        done = pb.SearchEvent()
        if about is not None:
            set_about(done.done, about, count)
        return done

    async def _sought(self, wanted: reading.Search, call: Call, now: datetime) -> Sought:
        """What a search looks for besides its words."""
        if self.seeker is None:
            return NOTHING
        text = reading.meant(wanted, known_sources=self.sources, now=now)
        return await self.seeker.seek(
            call.caller.user_id, text, credits_available=call.caller.credits_available, now=now
        )

    async def ask(self, request: pb.AskRequest, call: Call) -> pb.AskResponse:
        """See the contract."""
        return _answer(await self._ask(request, call))

    async def ask_stream(self, request: pb.AskStreamRequest, call: Call) -> pb.AskEvent:
        """See the contract."""

        async def tell(documents: Mapping[str, Document], said: Statement) -> None:
            event = pb.AskEvent()
            _add_statement(event.statement, said, documents)
            await call.send(event)

        told = await self._ask(request, call, tell)
        done = pb.AskDone()
        if told.answer.reason is not None:
            done.reason = _REASONS[told.answer.reason]
        _set_made(done.metadata, told)
        return pb.AskEvent(done=done)

    async def _ask(
        self,
        request: pb.AskRequest | pb.AskStreamRequest,
        call: Call,
        tell: asking.Tell | None = None,
    ) -> asking.Told:
        wanted = asking.Wanted(
            question=request.question,
            sources=request.sources,
            since=_instant(request, "since"),
            until=_instant(request, "until"),
        )
        return await self.asker.ask(
            call.caller.user_id,
            wanted,
            known_sources=self.sources,
            credits_available=call.caller.credits_available,
            now=clock.utc_now(),
            tell=tell,
        )

    async def get_summary(self, request: pb.GetSummaryRequest, call: Call) -> pb.GetSummaryResponse:
        """See the contract."""
        return await self._summary(request, call, anew=False)

    async def regenerate_summary(
        self, request: pb.RegenerateSummaryRequest, call: Call
    ) -> pb.GetSummaryResponse:
        """See the contract."""
        return await self._summary(request, call, anew=True)

    async def _summary(
        self,
        request: pb.GetSummaryRequest | pb.RegenerateSummaryRequest,
        call: Call,
        *,
        anew: bool,
    ) -> pb.GetSummaryResponse:
        now = clock.utc_now()
        day = request.date if request.HasField("date") else None
        wanted = periods.period(request.period, day, request.tz, now)
        spender = Spender(credits_available=call.caller.credits_available)
        row = await self.digester.get_summary(call.caller.user_id, wanted, spender, now, anew=anew)
        return _response(row, wanted)


def _searched(request: pb.SearchRequest | pb.SearchStreamRequest) -> reading.Search:
    return reading.Search(
        text=request.query,
        sources=request.sources,
        tags=request.tags,
        authors=request.authors,
        since=_instant(request, "since"),
        until=_instant(request, "until"),
        highlight=request.highlight,
    )


def _instant(request: Bounded, field: Literal["since", "until"]) -> datetime | None:
    if not request.HasField(field):
        return None
    value: Timestamp = getattr(request, field)
    if not (_FIRST <= value.seconds <= _LAST and 0 <= value.nanos < 10**9):
        raise invalid_argument({field: "must be an instant from year 1 to 9999"})
    moment = datetime.fromtimestamp(value.seconds, UTC)
    return moment + timedelta(microseconds=value.nanos // 1000)


def _answer(told: asking.Told) -> pb.AskResponse:
    response = pb.AskResponse()
    for said in told.answer.statements:
        _add_statement(response.statements.add(), said, told.documents)
    if told.answer.reason is None:
        response.answer = together(told.answer.statements)
    else:
        response.reason = _REASONS[told.answer.reason]
    _set_made(response.metadata, told)
    return response


def _add_statement(
    target: pb.AskResponse.Statement, said: Statement, documents: Mapping[str, Document]
) -> None:
    target.text = said.text
    _add_cited(target.items, (cited(documents[id_]) for id_ in said.document_ids))


def _set_made(target: pb.AskResponse.Metadata, told: asking.Told) -> None:
    target.model_used = told.answer.model
    target.processing_time = f"{told.seconds:.1f}s"
    target.confidence = told.answer.confidence
    target.warnings.extend(told.warnings)


def _response(row: Row[Any], wanted: periods.Period) -> pb.GetSummaryResponse:
    response = pb.GetSummaryResponse()
    summary = response.summary
    summary.period = row.period
    summary.date = row.date.isoformat()
    set_instant(summary.generated_at, row.generated_at)
    for index, said in enumerate(row.content["highlights"]):
        summary.content.highlights.append(said["text"])
        _cite(summary.content.citations.add(highlight=index), said)
    for name, said in row.content["sections"].items():
        summary.content.sections[name] = said["text"]
        _cite(summary.content.citations.add(section=name), said)
    summary.statistics.items_processed = row.items_processed
    summary.statistics.sources = row.sources
    set_instant(summary.statistics.time_range.start, wanted.start)
    set_instant(summary.statistics.time_range.end, wanted.end - timedelta(seconds=1))
    response.metadata.model_used = row.model
    response.metadata.processing_time = f"{row.processing_ms / 1000:.1f}s"
    response.metadata.confidence = row.confidence
    return response


def _cite(citation: pb.Citation, said: Mapping[str, Any]) -> None:
    citation.why.extend(said.get("why", ()))  # absent in summaries of older versions
    _add_cited(citation.items, said["items"])


def _add_cited(target: Any, items: Iterable[Mapping[str, str]]) -> None:
    for told in items:
        item = target.add(
            id=item_key(UUID(told["id"])),
            source=told["source"],
            author=told["author"],
            title=told["title"],
        )
        if told["url"]:
            item.url = told["url"]
