"""WatchService: proto to domain and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncEngine

from distill_grpc import clock
from distill_grpc.feed import connecting, watching
from distill_grpc.feed.policy import Policy
from distill_grpc.feed.tokens import TokenKeeper
from distill_grpc.jobs.queue import JobQueue
from distill_grpc.proto import contract
from distill_grpc.proto.distill.v1 import watch_service_pb2 as pb
from distill_grpc.rpc.call import Call
from distill_grpc.rpc.instants import set_instant
from distill_grpc.sources.base import Source

_DEFAULT_DAYS: int = contract.default(
    pb.WatchRequest.Options.DESCRIPTOR.fields_by_name["backfill_days"]
)


@dataclass(frozen=True, slots=True)
class WatchServicer:
    """Begins and ends watches."""

    engine: AsyncEngine
    queue: JobQueue
    sources: Mapping[str, Source]
    policy: Policy
    tokens: TokenKeeper

    async def watch(self, request: pb.WatchRequest, call: Call) -> pb.WatchResponse:
        """See the contract."""
        options = request.options
        frequency = options.sync_frequency if options.HasField("sync_frequency") else None
        days = options.backfill_days if options.HasField("backfill_days") else None
        if call.caller.credits_available:
            await connecting.connect_centrally(
                self.engine, call.caller.user_id, self.sources, self.tokens
            )
        async with self.engine.begin() as connection:
            done = await watching.watch(
                connection,
                self.queue,
                call.caller,
                sources=self.sources,
                backfill_days=days,
                default_backfill_days=_DEFAULT_DAYS,
                sync_frequency=clock.parse_duration(frequency) if frequency else None,
                policy=self.policy,
                now=clock.utc_now(),
            )
        status = pb.WatchResponse.watching if done.new else pb.WatchResponse.already_watching
        response = pb.WatchResponse(status=status)
        set_instant(response.since, done.since)
        set_instant(response.last_sync, done.last_sync)
        set_instant(response.next_sync, done.next_sync)
        if done.new:
            response.backfill_status = "queued"
            call.answer_with(201)
        return response

    async def unwatch(self, _request: pb.UnwatchRequest, call: Call) -> pb.UnwatchResponse:
        """See the contract."""
        async with self.engine.begin() as connection:
            done = await watching.unwatch(
                connection, call.caller.user_id, policy=self.policy, now=clock.utc_now()
            )
        if done is None:
            return pb.UnwatchResponse(status=pb.UnwatchResponse.not_watching)
        return pb.UnwatchResponse(
            status=pb.UnwatchResponse.unwatched,
            watched_duration=clock.in_words(done.duration),
            data_retention=f"Data will be retained for {clock.in_words(done.retention)}",
        )
