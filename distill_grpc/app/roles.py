"""The roles: a core, a facade, a node (both in one event loop, without a wire between them), a worker.

Each runs until `stop` is set, then lets work in flight finish.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack

from distill_grpc.app import audience
from distill_grpc.app.parts import PATIENCE, load_link_tokens, open_parts, public_url
from distill_grpc.app.serving import core, facade, grpc_server, local_transport
from distill_grpc.app.working import (
    build_collector,
    build_listener,
    build_mailer,
    build_tagger,
    build_ticks,
)
from distill_grpc.feed import digest_scheduling, model_tagging, syncing, tagging
from distill_grpc.feed.digest_mailing import DigestPost
from distill_grpc.feed.digest_scheduling import DigestMaker
from distill_grpc.jobs.amqp import AmqpJobs
from distill_grpc.jobs.queue import JobQueue
from distill_grpc.jobs.ticks import every
from distill_grpc.publishing.analytics import EventProcessor
from distill_grpc.publishing.relaying import Relay
from distill_grpc.settings import Settings
from http_facade.remote import RemoteTransport

Ready = Callable[[], None]


async def run_node(settings: Settings, stop: asyncio.Event, *, ready: Ready) -> None:
    """Core and facade in one event loop; ports shared with the other nodes of the machine."""
    async with core(settings) as pipeline:
        door = facade(settings, local_transport(settings, pipeline))
        async with grpc_server(settings, pipeline), door:
            ready()
            await stop.wait()


async def run_core(settings: Settings, stop: asyncio.Event, *, ready: Ready) -> None:
    """The gRPC core alone."""
    drain = settings.drain.total_seconds()
    async with core(settings) as pipeline, grpc_server(settings, pipeline, drain=drain):
        ready()
        await stop.wait()


async def run_facade(
    settings: Settings, cores: Sequence[str], stop: asyncio.Event, *, ready: Ready
) -> None:
    """The REST facade alone, in front of cores elsewhere."""
    drain = settings.drain.total_seconds()
    async with facade(settings, RemoteTransport(*cores), drain=drain):
        ready()
        await stop.wait()


async def run_worker(settings: Settings, stop: asyncio.Event, *, ready: Ready) -> None:
    """A worker: claims syncs, looks for due ones, recovers those of dead workers, tidies up."""
    async with AsyncExitStack() as stack:
        parts = await stack.enter_async_context(open_parts(settings, pool_timeout=PATIENCE))
        tokens = await load_link_tokens(parts.engine)
        collector = build_collector(parts)
        parts.queue.handle(syncing.SYNC_JOB, collector.run)
        maker = DigestMaker(engine=parts.engine, digester=parts.digester)
        parts.queue.handle(digest_scheduling.DIGEST_JOB, maker.run)
        parts.queue.handle(tagging.TAG_JOB, build_tagger(parts))
        parts.queue.handle(model_tagging.MODEL_TAG_JOB, parts.model_tagger.run)
        if parts.item_embedder is not None:
            await parts.item_embedder.begin()
        post = DigestPost(
            engine=parts.engine,
            mailer=build_mailer(settings),
            tokens=tokens,
            sender=settings.mail_from,
            public_url=public_url(settings),
        )
        listener = build_listener(parts)
        stack.push_async_callback(listener.close)
        amqp = AmqpJobs(settings.amqp_url) if settings.amqp_url else None
        if amqp is not None:
            stack.push_async_callback(amqp.close)
        events = EventProcessor(parts.engine, tokens.key)
        audience.handle_jobs(settings, parts, amqp or parts.queue, events)
        relay = Relay(parts.engine, amqp or parts.queue)
        notifier = audience.build_notifier(settings, parts.engine, tokens)
        async with asyncio.TaskGroup() as group:
            queues: list[JobQueue | AmqpJobs] = [parts.queue, *([amqp] if amqp else [])]
            working = [
                group.create_task(queue.work(stop, concurrency=settings.worker_concurrency))
                for queue in queues
            ]
            working.append(group.create_task(notifier.run(stop)))
            ticks = [
                group.create_task(every(seconds, name, task))
                for seconds, name, task in (
                    *build_ticks(parts, post, listener),
                    *audience.build_audience_ticks(parts, relay, events),
                )
            ]
            ready()
            await asyncio.wait(working)
            for tick in ticks:
                tick.cancel()
