"""The core behind its pipeline, and the doors in front of it."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from ipaddress import ip_address

import structlog

from distill_grpc import clock
from distill_grpc.app.audience import build_addresses, build_links
from distill_grpc.app.guards import build_limiter, build_limits, build_verifiers, trusted_proxies
from distill_grpc.app.parts import (
    VERSION,
    Parts,
    load_link_tokens,
    one_line,
    open_parts,
    public_url,
)
from distill_grpc.app.probing import Probe, build_probes
from distill_grpc.auth import LocalIssuer, TokenVerifier
from distill_grpc.feed.connection_servicer import ConnectionServicer
from distill_grpc.feed.content_servicer import ContentServicer
from distill_grpc.feed.digest_servicer import DigestServicer
from distill_grpc.feed.discovery_servicer import DiscoveryServicer
from distill_grpc.feed.link_tokens import LinkTokens
from distill_grpc.feed.page_tokens import PageTokens
from distill_grpc.feed.preference_servicer import PreferenceServicer
from distill_grpc.feed.receiving import Receiver
from distill_grpc.feed.store import state
from distill_grpc.feed.sync_servicer import SyncServicer
from distill_grpc.feed.tag_servicer import TagServicer
from distill_grpc.feed.watch_servicer import WatchServicer
from distill_grpc.feed.webhook_servicer import WebhookServicer
from distill_grpc.llm.openai import OpenAiSummariser
from distill_grpc.publishing.analytics import EventRecorder
from distill_grpc.publishing.audience_servicer import AudienceServicer
from distill_grpc.publishing.comment_servicer import CommentServicer
from distill_grpc.publishing.limits import Limits
from distill_grpc.publishing.passwords import Passwords
from distill_grpc.publishing.post_servicer import PostServicer
from distill_grpc.publishing.subscription_servicer import SubscriptionServicer
from distill_grpc.publishing.threads import BoundedThreads
from distill_grpc.publishing.user_servicer import UserServicer
from distill_grpc.ratelimit import CallLimiter
from distill_grpc.rpc.access_log import access_log
from distill_grpc.rpc.authentication import authentication
from distill_grpc.rpc.call import Concern
from distill_grpc.rpc.error_translation import error_translation
from distill_grpc.rpc.idempotency import idempotency
from distill_grpc.rpc.local import LocalTransport
from distill_grpc.rpc.pipeline import Pipeline
from distill_grpc.rpc.rate_limiting import rate_limiting
from distill_grpc.rpc.request_id import request_id
from distill_grpc.rpc.server import GrpcServer
from distill_grpc.rpc.simulation import simulation
from distill_grpc.rpc.stream_limit import stream_limit
from distill_grpc.rpc.validation import validation
from distill_grpc.settings import Settings
from http_facade.app import build_app
from http_facade.server import start
from http_facade.settings import FacadeSettings
from http_facade.transport import Transport

log = structlog.get_logger()


@asynccontextmanager
async def core(settings: Settings) -> AsyncIterator[Pipeline]:
    """The servicers behind their pipeline."""
    async with AsyncExitStack() as stack:
        parts = await stack.enter_async_context(open_parts(settings))
        with one_line("DISTILL_DATA_DIR"):
            issuer = LocalIssuer.load(settings.data_dir)
            limiter = build_limiter(settings, "calls", settings.api_calls_per_minute, stack)
            limits = build_limits(settings, stack)
        async with parts.engine.begin() as connection:
            key = await state.get_or_insert_value(
                connection, state.PAGE_TOKEN_KEY, secrets.token_bytes(32)
            )
        links = await load_link_tokens(parts.engine)
        probes = build_probes(settings)
        for probe in probes:
            stack.push_async_callback(_end, asyncio.create_task(probe.run()))
        yield Pipeline(
            _concerns(settings, parts, build_verifiers(settings, issuer, stack), limiter),
            {
                **_servicers(
                    settings,
                    parts,
                    issuer=issuer,
                    tokens=PageTokens(key),
                    links=links,
                    limiter=limiter,
                    probes=probes,
                ),
                **_publishing_servicers(
                    settings, parts, issuer=issuer, links=links, limits=limits, stack=stack
                ),
            },
            of_streams=[stream_limit()],
        )


def _concerns(
    settings: Settings,
    parts: Parts,
    verifiers: Mapping[str, TokenVerifier],
    limiter: CallLimiter,
) -> list[Concern]:
    """The concerns of every call, outermost first."""
    return [
        request_id,
        access_log,
        error_translation,
        *([simulation] if settings.mock else []),
        authentication(verifiers, action_url=settings.auth_action_url),
        rate_limiting(limiter, per_minute=settings.api_calls_per_minute),
        validation,
        idempotency(parts.engine, parts.tokens.vault.keyring),
    ]


def _servicers(
    settings: Settings,
    parts: Parts,
    *,
    issuer: LocalIssuer,
    tokens: PageTokens,
    links: LinkTokens,
    limiter: CallLimiter,
    probes: Sequence[Probe],
) -> dict[str, object]:
    """Each service of the contract by its full name."""
    return {
        "distill.v1.DiscoveryService": DiscoveryServicer(
            engine=parts.engine,
            sources=parts.sources,
            policy=parts.policy,
            service=service_name(settings, parts.sources),
            version=VERSION,
            calls_per_minute=settings.api_calls_per_minute,
            started_at=clock.utc_now(),
            jwks=issuer.jwks(),
            central_tokens=parts.tokens.service is not None,
            degraded_parts=partial(_degraded, settings, limiter, parts, probes),
            summary_model=settings.summary_model,
            embedder=parts.seeker.embedder if parts.seeker is not None else None,
        ),
        "distill.v1.WatchService": WatchServicer(
            parts.engine, parts.queue, parts.sources, parts.policy, parts.tokens
        ),
        "distill.v1.SyncService": SyncServicer(
            parts.engine, parts.queue, tuple(parts.sources), parts.policy
        ),
        "distill.v1.ContentService": ContentServicer(
            parts.reads,
            tokens,
            tuple(parts.sources),
            parts.digester,
            parts.asker,
            parts.seeker,
        ),
        "distill.v1.ConnectionService": ConnectionServicer(
            parts.engine, parts.sources, parts.tokens, parts.pushing
        ),
        "distill.v1.WebhookService": WebhookServicer(
            parts.engine,
            parts.sources,
            Receiver(parts.pushing, parts.tokens.vault.open_credentials) if parts.pushing else None,
        ),
        "distill.v1.PreferenceService": PreferenceServicer(parts.engine, tuple(parts.sources)),
        "distill.v1.TagService": TagServicer(parts.engine, parts.queue),
        "distill.v1.DigestService": DigestServicer(parts.engine, links, public_url(settings)),
    }


def _publishing_servicers(
    settings: Settings,
    parts: Parts,
    *,
    issuer: LocalIssuer,
    links: LinkTokens,
    limits: Limits,
    stack: AsyncExitStack,
) -> dict[str, object]:
    """The services of the publishing platform by their full names."""
    events = EventRecorder(parts.engine)
    stack.push_async_callback(_end, asyncio.create_task(events.run()))
    hashing = BoundedThreads("passwords")
    rendering = BoundedThreads("rendering")
    for threads in (hashing, rendering):
        stack.callback(threads.close)
    package = "distill.publishing.v1"
    return {
        f"{package}.UserService": UserServicer(parts.engine, Passwords(hashing), issuer, limits),
        f"{package}.PostService": PostServicer(parts.engine, parts.reads, rendering, events),
        f"{package}.CommentService": CommentServicer(parts.engine, parts.reads, rendering),
        f"{package}.SubscriptionService": SubscriptionServicer(parts.engine),
        f"{package}.AudienceService": AudienceServicer(
            parts.engine, build_addresses(settings), build_links(links)
        ),
    }


async def _end(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait({task})


def service_name(settings: Settings, sources: Mapping[str, object]) -> str:
    """The name in `/api` and `/capabilities`."""
    if settings.service_name:
        return settings.service_name
    return f"{next(iter(sources))}-feeder" if len(sources) == 1 else "distill"


def _degraded(
    settings: Settings, limiter: CallLimiter, parts: Parts, probes: Sequence[Probe]
) -> dict[str, str]:
    found = {"redis": limiter.degraded} if limiter.degraded else {}
    summariser = parts.summariser
    if isinstance(summariser, OpenAiSummariser) and summariser.degraded:
        found["llm"] = f"digests are made offline ({summariser.degraded})"
    if parts.seeker is None and settings.embedding_model:
        found["embeddings"] = "items are found by words alone (no pgvector)"
    elif parts.seeker is not None and parts.seeker.embedder.degraded:
        found["embeddings"] = f"items are found by words alone ({parts.seeker.embedder.degraded})"
    found.update({probe.name: probe.away for probe in probes if probe.away})
    return found


@asynccontextmanager
async def grpc_server(
    settings: Settings, pipeline: Pipeline, *, drain: float = 0.0
) -> AsyncIterator[int]:
    """The core on its port, which is yielded: an address may leave the choice to the system.

    At the end it is drained for `drain` seconds.
    """
    address = settings.grpc_address
    server = GrpcServer(
        pipeline,
        address=address,
        with_reflection=_reflects(settings),
        trusted=trusted_proxies(settings),
    )
    await server.start()
    log.info("grpc_listening", address=address)
    try:
        yield server.port
    finally:
        await server.stop(drain=drain)


def local_transport(settings: Settings, pipeline: Pipeline) -> LocalTransport:
    """The way of a facade to the core in its own process."""
    return LocalTransport(pipeline, trusted=trusted_proxies(settings))


def _reflects(settings: Settings) -> bool:
    if settings.grpc_reflection != "auto":
        return settings.grpc_reflection == "1"
    host = settings.grpc_address.rpartition(":")[0].strip("[]")
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


@asynccontextmanager
async def facade(
    settings: Settings, transport: Transport, *, drain: float = 0.0
) -> AsyncIterator[int]:
    """The REST door on its port, which is yielded. At the end it is drained for `drain` seconds."""
    own = FacadeSettings(
        address=settings.http_address,
        version=VERSION,
        cors_origins=settings.cors_origins,
        simulate=settings.mock,
    )
    runner = await start(build_app(transport, own), own, reuse_port=True)
    log.info("http_listening", address=settings.http_address)
    try:
        yield int(runner.addresses[0][1])
    finally:
        await runner.drain(drain)
        await runner.cleanup()
