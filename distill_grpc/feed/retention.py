"""What is kept for how long, and the deleting of the rest (seed 002, data_retention)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from distill_grpc.feed import digest_scheduling
from distill_grpc.feed.policy import Policy
from distill_grpc.feed.pushing import REMEMBERED
from distill_grpc.feed.store import (
    budgets,
    connections,
    digest_mails,
    embedding_states,
    items,
    llm_usage,
    preferences,
    pushes,
    runs,
    summaries,
    tags,
    turns,
    watches,
)

log = structlog.get_logger()

# Rows that one transaction deletes: small enough never to hold locks for long.
BATCH = 2_000
USERS = 20
# Longer than any platform's period that budgets are counted in.
BUDGETS_KEPT = timedelta(days=32)
# Turns that ended so long ago belong to nobody.
ABANDONED = timedelta(hours=1)
# Longer that items are kept for the digest of their week, which comes hours after its end.
UNTIL_DIGESTED = timedelta(days=1) + digest_scheduling.PATIENCE

Delete = Callable[[AsyncConnection], Awaitable[int]]


async def enforce(engine: AsyncEngine, policy: Policy, now: datetime) -> dict[str, int]:
    """Deletes what is past its time, in batches; returns how much of what."""
    deleted = {
        "items": await _in_batches(
            engine,
            lambda c: items.delete_collected_before(
                c, now - policy.raw_retention, UNTIL_DIGESTED, BATCH
            ),
        ),
        "summaries": await _in_batches(
            engine,
            lambda c: summaries.delete_generated_before(c, now - policy.summary_retention, BATCH),
        ),
        "sync_runs": await _in_batches(
            engine, lambda c: runs.delete_finished_before(c, now - policy.raw_retention, BATCH)
        ),
        "pushes": await _in_batches(
            engine, lambda c: pushes.delete_deliveries_before(c, now - REMEMBERED, BATCH)
        ),
        "llm_memory": await _in_batches(
            engine,
            lambda c: llm_usage.delete_remembered_before(c, now - policy.raw_retention, BATCH),
        ),
        "llm_usage": await _in_batches(
            engine,
            lambda c: llm_usage.delete_usage_before(
                c, (now - policy.summary_retention).date(), BATCH
            ),
        ),
        "digest_mails": await _in_batches(
            engine,
            lambda c: digest_mails.delete_created_before(c, now - policy.summary_retention, BATCH),
        ),
        "turns": await _in_batches(
            engine, lambda c: turns.delete_ended_before(c, now - ABANDONED, BATCH)
        ),
        "budgets": await _in_batches(
            engine, lambda c: budgets.delete_unused_since(c, now - BUDGETS_KEPT, BATCH)
        ),
        "users": await _purge_users(engine, now),
    }
    if any(deleted.values()):
        log.info("retention_enforced", **deleted)
    return deleted


async def _in_batches(engine: AsyncEngine, delete: Delete) -> int:
    total = 0
    while True:
        async with engine.begin() as connection:
            count = await delete(connection)
        total += count
        if count < BATCH:
            return total


async def _purge_users(engine: AsyncEngine, now: datetime) -> int:
    """Deletes everything of users who left longer ago than the retention."""
    purged = 0
    while True:
        async with engine.begin() as connection:
            leaving = await watches.list_purgeable(connection, now, USERS)
            for user_id in leaving:
                # The watch is locked: nobody can come back in between.
                while await items.delete_of_user(connection, user_id, BATCH) == BATCH:
                    pass
                await summaries.delete_of_user(connection, user_id)
                await digest_mails.delete_of_user(connection, user_id)
                await llm_usage.delete_of_user(connection, user_id)
                await preferences.delete_of_user(connection, user_id)
                await tags.delete_of_user(connection, user_id)
                await turns.delete_of_user(connection, user_id)
                await embedding_states.delete_of_user(connection, user_id)
                await runs.delete_of_user(connection, user_id)
                await connections.delete_connections(connection, user_id)
                await pushes.delete_of_user(connection, user_id)
                await budgets.delete_of_user(connection, user_id)
                await watches.delete_watch(connection, user_id)
        purged += len(leaving)
        if len(leaving) < USERS:
            return purged
