"""DiscoveryService: what the service is, how it does, and what it has for a user."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

import structlog
from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncEngine

from distill_grpc import clock
from distill_grpc.db.engine import is_timeout, is_unavailable
from distill_grpc.feed import budgets, describing, freshness
from distill_grpc.feed.policy import Policy
from distill_grpc.feed.preferring import Taste
from distill_grpc.feed.spending import daily_limit
from distill_grpc.feed.store import (
    connections,
    embeddings,
    items,
    llm_usage,
    preferences,
    state,
    summaries,
    watches,
)
from distill_grpc.llm.embedding import Embedder
from distill_grpc.proto import contract
from distill_grpc.proto.distill.v1 import discovery_service_pb2 as pb
from distill_grpc.rpc.call import Call
from distill_grpc.rpc.instants import set_earliest, set_instant
from distill_grpc.sources.base import Source

log = structlog.get_logger()

SEARCHABLE = ("text", "author", "tags")
RECENT_HOURS = 24
# Workers note every cycle, some seconds apart; after this long none is alive.
CYCLE_OVERDUE = timedelta(seconds=60)


@dataclass(frozen=True, slots=True, kw_only=True)
class DiscoveryServicer:
    """Answers from descriptors, sources and the database; nothing is typed twice."""

    engine: AsyncEngine
    sources: Mapping[str, Source]
    policy: Policy
    service: str
    version: str
    calls_per_minute: int
    started_at: datetime
    jwks: Sequence[Mapping[str, str]]
    central_tokens: bool  # whether the central token service hands out tokens
    # Optional parts that are away, by name, and why.
    degraded_parts: Callable[[], Mapping[str, str]]
    summary_model: str | None = None
    embedder: Embedder | None = None

    async def get_api(self, _request: pb.GetApiRequest, _call: Call) -> pb.GetApiResponse:
        """See the contract."""
        return describing.api(
            service=self.service,
            version=self.version,
            sources=self.sources,
            policy=self.policy,
            calls_per_minute=self.calls_per_minute,
        )

    async def get_capabilities(
        self, _request: pb.GetCapabilitiesRequest, _call: Call
    ) -> pb.GetCapabilitiesResponse:
        """See the contract."""
        return describing.capabilities(
            service=self.service,
            version=self.version,
            sources=self.sources,
            policy=self.policy,
            central_tokens=self.central_tokens,
        )

    async def get_jwks(self, _request: pb.GetJwksRequest, _call: Call) -> pb.GetJwksResponse:
        """See the contract."""
        return pb.GetJwksResponse(keys=[pb.JsonWebKey(**key) for key in self.jwks])

    async def get_health(self, _request: pb.GetHealthRequest, call: Call) -> pb.GetHealthResponse:
        """See the contract."""
        now = clock.utc_now()
        response = pb.GetHealthResponse(
            status=pb.GetHealthResponse.healthy,
            version=self.version,
            uptime=clock.uptime(now - self.started_at),
            platform_api_status="unknown",
        )
        response.degraded_parts.update(self.degraded_parts())
        try:
            async with self.engine.connect() as connection:
                response.active_users = await watches.count_active(connection)
                read = await connections.count_by_error(connection)
                cycle = await state.get_instant(connection, state.LAST_SYNC_CYCLE)
        except Exception as error:
            if not (is_unavailable(error) or is_timeout(error)):
                raise
            response.status = pb.GetHealthResponse.unhealthy
            response.degraded_parts["database"] = "cannot be reached"
            call.answer_with(503)
            return response
        response.platform_api_status = _platforms(read)
        set_instant(response.last_sync_cycle, cycle)
        if (cycle is None or now - cycle > CYCLE_OVERDUE) and now - self.started_at > CYCLE_OVERDUE:
            response.degraded_parts["worker"] = "no worker has looked for due syncs lately"
        if response.degraded_parts:
            response.status = pb.GetHealthResponse.degraded
        return response

    async def get_metadata(
        self, _request: pb.GetMetadataRequest, call: Call
    ) -> pb.GetMetadataResponse:
        """See the contract."""
        user_id = call.caller.user_id
        now = clock.utc_now()
        async with self.engine.connect() as connection:
            watch = await watches.get_watch(connection, user_id)
            if watch is None or watch.unwatched_at is not None:
                return pb.GetMetadataResponse(
                    user_status=pb.GetMetadataResponse.UserStatus(watching=False),
                    statistics=pb.GetMetadataResponse.Statistics(storage_used=_size(0)),
                )
            own = await connections.list_connections(connection, user_id)
            parts = await connections.list_parts(connection, user_id)
            numbers = await items.get_statistics(
                connection, user_id, now - timedelta(hours=RECENT_HOURS)
            )
            per_source = await items.count_by_source(connection, user_id)
            dates = await summaries.list_dates(connection, user_id)
            count = await summaries.count_summaries(connection, user_id)
            left = await budgets.list_left(connection, user_id, now)
            used = await llm_usage.get_usage(connection, user_id, now.date())
            taste = Taste.of(await preferences.get_preferences(connection, user_id))
            embedded = 0
            if self.embedder is not None:
                embedded = await embeddings.count_embedded(connection, user_id, self.embedder.name)
        since = now - timedelta(hours=RECENT_HOURS)
        interval = timedelta(seconds=watch.sync_interval)
        fresh = freshness.measure(own, parts, interval=interval, now=now, since=since)
        response = pb.GetMetadataResponse()
        _set_user(response.user_status, watch)
        _add_endpoints(response, numbers, fresh, dates)
        response.statistics.total_items = numbers.total
        response.statistics.storage_used = _size(numbers.stored_bytes)
        response.statistics.summaries_generated = count
        if self.embedder is not None:
            share = min(1.0, embedded / numbers.total) if numbers.total else 1.0
            response.statistics.embedded = round(share, 4)
        for row in own:
            its_parts = [part for part in parts if part.source == row.source]
            measured = freshness.measure([row], its_parts, interval=interval, now=now, since=since)
            status = _add_source(response, row, its_parts, measured, per_source.get(row.source, 0))
            warnings = [f"gap:{source}" for source in freshness.gaps(its_parts, since)]
            status.warnings.extend(warnings + freshness.connection_warnings(row, now))
            for budget in left:
                if budget.name.partition(".")[0] == row.source:
                    _add_budget(status, budget)
        if self.summary_model is not None or self.embedder is not None:
            limit = daily_limit(taste.daily_llm_tokens, self.policy.llm_daily_tokens)
            _set_usage(response.llm, self.summary_model or "", used, limit, now.date())
        if self.embedder is not None:
            response.llm.embedding_model = self.embedder.model
        return response


def _set_usage(
    told: pb.GetMetadataResponse.LlmUsage, model: str, used: Row[Any] | None, limit: int, day: date
) -> None:
    told.model = model
    told.date = day.isoformat()
    told.daily_tokens = limit
    if used is not None:
        told.calls = used.calls
        told.tokens = used.prompt_tokens + used.completion_tokens + used.reserved
        told.cost_usd = used.cost / 1_000_000


def _set_user(status: pb.GetMetadataResponse.UserStatus, watch: Row[Any]) -> None:
    status.watching = True
    set_instant(status.since, watch.since)
    set_instant(status.last_sync, watch.last_sync_at)
    set_instant(status.next_sync, watch.next_sync_at)
    status.sync_frequency = clock.short(timedelta(seconds=watch.sync_interval))
    if watch.last_sync_status:
        status.last_sync_status = watch.last_sync_status


def _add_endpoints(
    response: pb.GetMetadataResponse,
    numbers: Any,
    fresh: freshness.Freshness,
    dates: Sequence[tuple[str, date]],
) -> None:
    """One entry a data type of the contract, with what there is behind it."""
    for rpc in contract.rpcs():
        for name in rpc.data_types:
            endpoint = response.available_endpoints.add(
                path=f"/{name}", method=rpc.http_method, description=rpc.doc
            )
            if rpc.stream_path:
                endpoint.stream_path = rpc.stream_path
            if name == "content/recent":
                endpoint.description = f"Recent content from the last {RECENT_HOURS} hours"
                set_instant(endpoint.data_freshness, fresh.fresh_until)
                endpoint.item_count = numbers.recent
                endpoint.completeness = fresh.completeness
            elif name == "content/search":
                endpoint.searchable_fields.extend(SEARCHABLE)
                set_instant(endpoint.date_range.start, numbers.oldest)
                set_instant(endpoint.date_range.end, numbers.newest)
            else:
                period = name.rsplit("/", 1)[1]
                days = [day.isoformat() for kind, day in dates if kind == period]
                endpoint.available_dates.SetInParent()
                endpoint.available_dates.extend(days)
                if days:
                    endpoint.latest_summary = days[0]


def _add_source(
    response: pb.GetMetadataResponse,
    row: Row[Any],
    parts: Sequence[Row[Any]],
    measured: freshness.Freshness,
    count: int,
) -> pb.GetMetadataResponse.SourceStatus:
    status = response.sources.add(
        source=row.source,
        state=freshness.connection_state(row, parts),
        item_count=count,
        completeness=measured.completeness,
    )
    set_instant(status.last_success, row.last_success_at)
    set_earliest(status.retry_after, row.retry_at)
    if row.account:
        status.account = row.account
    if row.error_code:
        status.error, status.message = row.error_code, row.error_message or ""
    return status


def _add_budget(status: pb.GetMetadataResponse.SourceStatus, budget: budgets.BudgetLeft) -> None:
    shown = status.budgets.add(
        name=budget.name,
        unit=budget.unit,
        limit=round(budget.limit, 2),
        left=round(budget.left, 2),
    )
    set_earliest(shown.resets_at, budget.resets_at)
    set_earliest(shown.blocked_until, budget.blocked_until)


def _platforms(read: Mapping[str, tuple[int, int]]) -> str:
    """`down` where every source's last read failed by the platform, `degraded` where some did."""
    if not read:
        return "unknown"
    failing = [source for source, (failed, total) in read.items() if failed * 2 > total]
    if len(failing) == len(read):
        return "down"
    return "degraded" if failing else "operational"


def _size(stored: int) -> str:
    size = float(stored)
    for unit in ("B", "KB", "MB", "GB"):
        if size < 1000 or unit == "GB":
            return f"{size:.0f} B" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    raise AssertionError
