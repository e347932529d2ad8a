"""SyncService: proto to domain and back."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncEngine

from distill_grpc import clock
from distill_grpc.errors import invalid_argument
from distill_grpc.feed import syncing
from distill_grpc.feed.policy import Policy
from distill_grpc.jobs.queue import JobQueue
from distill_grpc.proto import contract
from distill_grpc.proto.distill.v1 import sync_service_pb2 as pb
from distill_grpc.rpc.call import Call
from distill_grpc.rpc.instants import set_instant

_DATA_TYPES = tuple(name for rpc in contract.rpcs() for name in rpc.data_types)


@dataclass(frozen=True, slots=True)
class SyncServicer:
    """Queues syncs and says how they go."""

    engine: AsyncEngine
    queue: JobQueue
    sources: Collection[str]
    policy: Policy

    async def sync(self, request: pb.SyncRequest, call: Call) -> pb.SyncResponse:
        """See the contract."""
        _check_types(request.types)
        async with self.engine.begin() as connection:
            queued = await syncing.request_sync(
                connection,
                self.queue,
                call.caller,
                sources=self.sources,
                types=request.types,
                force=request.force,
                policy=self.policy,
                now=clock.utc_now(),
            )
        call.answer_with(202)
        response = pb.SyncResponse(
            status=pb.SyncResponse.syncing, job_id=syncing.job_id(queued.run_id)
        )
        set_instant(response.estimated_completion, queued.estimated_completion)
        return response

    async def get_sync_job(
        self, request: pb.GetSyncJobRequest, call: Call
    ) -> pb.GetSyncJobResponse:
        """See the contract."""
        async with self.engine.connect() as connection:
            run, sources = await syncing.get_run(connection, call.caller.user_id, request.job_id)
        return _job(run, sources)


def _check_types(types: Sequence[str]) -> None:
    wrong = {
        f"types[{index}]": f"must be one of {', '.join(_DATA_TYPES)}"
        for index, name in enumerate(types)
        if name not in _DATA_TYPES
    }
    if wrong:
        raise invalid_argument(wrong)


def _job(run: Row[Any], sources: Sequence[Row[Any]]) -> pb.GetSyncJobResponse:
    response = pb.GetSyncJobResponse(
        job_id=syncing.job_id(run.id),
        status=run.status,
        trigger=run.trigger,
        items_new=sum(row.items_new for row in sources),
        items_updated=sum(row.items_updated for row in sources),
        items_deleted=sum(row.items_deleted for row in sources),
        progress=_progress(run, sources),
    )
    set_instant(response.queued_at, run.queued_at)
    set_instant(response.started_at, run.started_at)
    set_instant(response.finished_at, run.finished_at)
    if run.finished_at is None:
        set_instant(response.estimated_completion, run.estimated_completion)
    for row in sources:
        result = response.sources.add(
            source=row.source,
            status=row.status,
            items_new=row.items_new,
            items_updated=row.items_updated,
            items_deleted=row.items_deleted,
            parts_done=row.parts_done,
            parts_total=max(row.parts_total, row.parts_done),
            parts_failed=row.parts_failed,
        )
        if row.error_code:
            result.error = row.error_code
            result.message = row.error_message or ""
        set_instant(result.retry_after, row.retry_at)
    return response


def _progress(run: Row[Any], sources: Sequence[Row[Any]]) -> float:
    if run.finished_at is not None:
        return 1.0
    total = sum(max(row.parts_total, 1) for row in sources)
    done = sum(
        max(row.parts_total, 1) if row.status not in {"queued", "running"} else row.parts_done
        for row in sources
    )
    return round(min(0.99, done / total), 4) if total else 0.0
