"""What a worker does: syncs and digests from the queue, and its recurring tasks."""

from __future__ import annotations

import os
import socket
import uuid
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from distill_grpc import clock
from distill_grpc.app.parts import Parts
from distill_grpc.db import replies
from distill_grpc.errors import DistillError, ErrorReason
from distill_grpc.feed import digest_scheduling, model_tagging, periods, retention, syncing, tagging
from distill_grpc.feed.collecting import Collector
from distill_grpc.feed.digest_mailing import DigestPost
from distill_grpc.feed.digesting import Spender
from distill_grpc.feed.listening import Listener
from distill_grpc.feed.subscribing import Subscriber
from distill_grpc.jobs import given_up
from distill_grpc.jobs import queue as jobs
from distill_grpc.mail.base import Mailer
from distill_grpc.mail.logged import LogMailer
from distill_grpc.mail.smtp import SmtpMailer
from distill_grpc.rpc.idempotency import KEPT
from distill_grpc.settings import Settings

# Seconds between the recurring tasks.
SCHEDULE_TICK = 2.0
SUBSCRIBE_TICK = 2.0
DIGEST_TICK = 5.0
MAIL_TICK = 5.0
EMBED_TICK = 2.0
LISTEN_TICK = 5.0
RETENTION_TICK = 600.0


def build_collector(parts: Parts) -> Collector:
    """What runs syncs in a worker."""

    async def enqueue_again(connection: AsyncConnection, user_id: str, run_id: UUID) -> None:
        job = {"user_id": user_id, "run_id": str(run_id)}
        await parts.queue.enqueue(connection, syncing.SYNC_JOB, [job])

    async def make_summaries(user_id: str, types: tuple[str, ...]) -> None:
        for name in types:
            now = clock.utc_now()
            wanted = periods.period(name.rsplit("/", 1)[1], None, "UTC", now)
            # Who asked for the sync had credits; it is not begun without.
            spender = Spender(credits_available=True, waits=False)
            try:
                await parts.digester.get_summary(user_id, wanted, spender, now)
            except DistillError as error:
                if error.reason != ErrorReason.SUMMARY_UNAVAILABLE:
                    raise

    return Collector(
        engine=parts.engine,
        sources=parts.sources,
        policy=parts.policy,
        worker=f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}",
        tokens=parts.tokens,
        enqueue_again=enqueue_again,
        enrich=build_enricher(parts),
        make_summaries=make_summaries,
        pushing=parts.pushing,
    )


def build_enricher(parts: Parts) -> Callable[[str], Awaitable[None]]:
    """What is done to the items of a user after a sync: vectors are asked for, tags are given."""
    tag_items = build_tagger(parts)

    async def enrich(user_id: str) -> None:
        if parts.item_embedder is not None:
            await parts.item_embedder.mark_due(user_id)
        await tag_items(user_id)

    return enrich


def build_tagger(parts: Parts) -> Callable[[str], Awaitable[None]]:
    """What tags the items of a user that their vocabulary has not tagged yet, offline.

    Where the user wants it and a model is set, a job of its own asks that afterwards.
    """

    async def tag_items(user_id: str) -> None:
        await tagging.tag_items(parts.engine, user_id)
        if parts.tag_chooser is not None:
            async with parts.engine.begin() as connection:
                await model_tagging.enqueue_wanted(connection, parts.queue, user_id)

    return tag_items


def build_listener(parts: Parts) -> Listener:
    """What a worker listens with."""
    return Listener(engine=parts.engine, sources=parts.sources, tokens=parts.tokens)


def build_ticks(
    parts: Parts, post: DigestPost, listener: Listener
) -> list[tuple[float, str, Callable[[], Any]]]:
    """The recurring tasks: seconds between two, a name for the log, what is done."""

    async def enqueue_due() -> None:
        async with parts.engine.begin() as connection:
            await syncing.enqueue_due(connection, parts.queue, clock.utc_now())

    async def enqueue_digests() -> None:
        async with parts.engine.begin() as connection:
            await digest_scheduling.enqueue_due(connection, parts.queue, clock.utc_now())

    async def recover() -> None:
        await parts.queue.recover()
        async with parts.engine.begin() as connection:
            await syncing.enqueue_abandoned(connection, parts.queue)

    async def enforce_retention() -> None:
        await retention.enforce(parts.engine, parts.policy, clock.utc_now())

    async def forget_jobs() -> None:
        async with parts.engine.begin() as connection:
            await given_up.forget(connection, clock.utc_now())

    async def forget_replies() -> None:
        async with parts.engine.begin() as connection:
            await replies.delete_older_than(connection, KEPT)

    ticks: list[tuple[float, str, Callable[[], Any]]] = [
        (SCHEDULE_TICK, "schedule", enqueue_due),
        (DIGEST_TICK, "digests", enqueue_digests),
        (MAIL_TICK, "mail", post.send_due),
        (LISTEN_TICK, "listening", listener.tick),
        (jobs.RECOVERY, "recovery", recover),
        (RETENTION_TICK, "retention", enforce_retention),
        (RETENTION_TICK, "given_up_jobs", forget_jobs),
        (RETENTION_TICK, "keyed_replies", forget_replies),
    ]
    if parts.pushing is not None:
        subscriber = Subscriber(engine=parts.engine, sources=parts.sources, pushing=parts.pushing)
        ticks.append((SUBSCRIBE_TICK, "subscriptions", subscriber.tick))
    if parts.item_embedder is not None:
        ticks.append((EMBED_TICK, "embeddings", parts.item_embedder.work))
    return ticks


def build_mailer(settings: Settings) -> Mailer:
    """The way of mails: a server, or the log."""
    return SmtpMailer.from_url(settings.smtp_url) if settings.smtp_url else LogMailer()
