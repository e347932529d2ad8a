"""The composition root: the only place that knows everybody.

Four roles are put together here: a core, a facade, a node (both in one event loop, without a wire
between them) and a worker. Each runs until `stop` is set, then lets work in flight finish.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from ipaddress import ip_address, ip_network
from typing import Any
from uuid import UUID

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from distill_grpc import clock
from distill_grpc.auth import JwksKeys, LocalIssuer, TokenVerifier, TrustedIssuer
from distill_grpc.db import replies
from distill_grpc.db.engine import create_engine
from distill_grpc.encryption import Keyring
from distill_grpc.errors import DistillError, ErrorReason
from distill_grpc.feed import digesting, keys, retention, syncing
from distill_grpc.feed.budgets import PostgresBudgets
from distill_grpc.feed.collecting import Collector
from distill_grpc.feed.connection_servicer import ConnectionServicer
from distill_grpc.feed.content_servicer import ContentServicer
from distill_grpc.feed.discovery_servicer import DiscoveryServicer
from distill_grpc.feed.page_tokens import PageTokens
from distill_grpc.feed.policy import Policy
from distill_grpc.feed.pushing import Pushing
from distill_grpc.feed.receiving import Receiver
from distill_grpc.feed.sealing import Vault
from distill_grpc.feed.store import state
from distill_grpc.feed.subscribing import Subscriber
from distill_grpc.feed.sync_servicer import SyncServicer
from distill_grpc.feed.tokens import TokenKeeper
from distill_grpc.feed.watch_servicer import WatchServicer
from distill_grpc.feed.webhook_servicer import WebhookServicer
from distill_grpc.jobs import queue as jobs
from distill_grpc.jobs.queue import JobQueue
from distill_grpc.jobs.ticks import every
from distill_grpc.key_files import KeyFileError
from distill_grpc.llm.base import Summariser
from distill_grpc.llm.offline import OfflineSummariser
from distill_grpc.publishing import posts
from distill_grpc.publishing.comment_servicer import CommentServicer
from distill_grpc.publishing.limits import LOGINS_PER_ACCOUNT, Limits
from distill_grpc.publishing.passwords import Passwords
from distill_grpc.publishing.post_servicer import PostServicer
from distill_grpc.publishing.subscription_servicer import SubscriptionServicer
from distill_grpc.publishing.threads import BoundedThreads
from distill_grpc.publishing.user_servicer import UserServicer
from distill_grpc.ratelimit import CallLimiter, LocalCallLimiter, RedisCallLimiter
from distill_grpc.rpc.access_log import access_log
from distill_grpc.rpc.addresses import Network
from distill_grpc.rpc.authentication import authentication
from distill_grpc.rpc.call import Concern
from distill_grpc.rpc.error_translation import error_translation
from distill_grpc.rpc.idempotency import KEPT, idempotency
from distill_grpc.rpc.local import LocalTransport
from distill_grpc.rpc.pipeline import Pipeline
from distill_grpc.rpc.rate_limiting import rate_limiting
from distill_grpc.rpc.request_id import request_id
from distill_grpc.rpc.server import GrpcServer
from distill_grpc.rpc.simulation import simulation
from distill_grpc.rpc.validation import validation
from distill_grpc.settings import Settings, SettingsError
from distill_grpc.sources import registry
from distill_grpc.sources.http import HttpClient
from distill_grpc.sources.registry import Registry
from distill_grpc.sources.token_service import TokenService
from http_facade.app import build_app
from http_facade.remote import RemoteTransport
from http_facade.server import start
from http_facade.settings import FacadeSettings
from http_facade.transport import Transport

log = structlog.get_logger()

VERSION = version("distill")
Ready = Callable[[], None]

# Seconds between the recurring tasks of a worker.
SCHEDULE_TICK = 2.0
SUBSCRIBE_TICK = 2.0
RETENTION_TICK = 600.0
# Seconds that a sync waits for a connection of the pool: unlike a caller, it has time.
WORKER_PATIENCE = 15.0
# Connections beside the pool, opened when they are first needed.
BUDGET_CONNECTIONS = 2
RENEWAL_CONNECTIONS = 4


@dataclass(frozen=True, slots=True)
class Parts:
    """What both the core and the worker stand on."""

    engine: AsyncEngine
    queue: JobQueue
    sources: Registry
    policy: Policy
    tokens: TokenKeeper
    summariser: Summariser
    pushing: Pushing | None = None  # None: no platform can reach this service


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
    async with open_parts(settings, pool_timeout=WORKER_PATIENCE) as parts:
        collector = build_collector(parts)
        parts.queue.handle(syncing.SYNC_JOB, collector.run)
        async with asyncio.TaskGroup() as group:
            working = group.create_task(
                parts.queue.work(stop, concurrency=settings.worker_concurrency)
            )
            ticks = [
                group.create_task(every(seconds, name, task))
                for seconds, name, task in _ticks(parts)
            ]
            ready()
            await working
            for tick in ticks:
                tick.cancel()


def _ticks(parts: Parts) -> list[tuple[float, str, Callable[[], Any]]]:
    async def enqueue_due() -> None:
        async with parts.engine.begin() as connection:
            await syncing.enqueue_due(connection, parts.queue, clock.utc_now())

    async def recover() -> None:
        await parts.queue.recover()
        async with parts.engine.begin() as connection:
            await syncing.enqueue_abandoned(connection, parts.queue)

    async def enforce_retention() -> None:
        await retention.enforce(parts.engine, parts.policy, clock.utc_now())

    async def publish_due() -> None:
        async with parts.engine.begin() as connection:
            await posts.publish_due(connection, clock.utc_now())

    async def forget_replies() -> None:
        async with parts.engine.begin() as connection:
            await replies.delete_older_than(connection, KEPT)

    ticks: list[tuple[float, str, Callable[[], Any]]] = [
        (SCHEDULE_TICK, "schedule", enqueue_due),
        (jobs.RECOVERY, "recovery", recover),
        (RETENTION_TICK, "retention", enforce_retention),
        (SCHEDULE_TICK, "publication", publish_due),
        (RETENTION_TICK, "keyed_replies", forget_replies),
    ]
    if parts.pushing is not None:
        subscriber = Subscriber(engine=parts.engine, sources=parts.sources, pushing=parts.pushing)
        ticks.append((SUBSCRIBE_TICK, "subscriptions", subscriber.tick))
    return ticks


@asynccontextmanager
async def core(settings: Settings) -> AsyncIterator[Pipeline]:
    """The servicers behind their pipeline."""
    async with AsyncExitStack() as stack:
        parts = await stack.enter_async_context(open_parts(settings))
        with _one_line("DISTILL_DATA_DIR"):
            issuer = LocalIssuer.load(settings.data_dir)
            limiter = _limiter(settings, "calls", settings.api_calls_per_minute, stack)
            limits = _publishing_limits(settings, stack)
        async with parts.engine.begin() as connection:
            key = await state.get_or_insert_value(
                connection, state.PAGE_TOKEN_KEY, secrets.token_bytes(32)
            )
        yield Pipeline(
            _concerns(settings, parts, _verifiers(settings, issuer, stack), limiter),
            {
                **_servicers(settings, parts, issuer, PageTokens(key), limiter),
                **_publishing_servicers(parts, issuer, limits, stack),
            },
        )


@asynccontextmanager
async def open_parts(settings: Settings, *, pool_timeout: float = 2.0) -> AsyncIterator[Parts]:
    """Opens what both roles stand on, and closes it."""
    if settings.database_url is None:
        raise SettingsError("DISTILL_DATABASE_URL: no database was started")
    async with AsyncExitStack() as stack:
        engine = create_engine(settings.database_url, pool_timeout=pool_timeout)
        stack.push_async_callback(engine.dispose)
        http = HttpClient(
            allow_private_addresses=settings.allow_private_addresses,
            user_agent=f"Distill/{VERSION} (feed reader; self-hosted)",
        )
        stack.push_async_callback(http.close)
        with _one_line("DISTILL_SOURCES"):
            sources = registry.build(
                settings.sources,
                mock=settings.mock,
                http=http,
                budgets=PostgresBudgets(_side_engine(settings, stack, BUDGET_CONNECTIONS)),
                api_urls=settings.api_urls,
                google_token_url=settings.google_token_url,
            )
        stack.push_async_callback(sources.close)
        with _one_line("DISTILL_ENCRYPTION_KEYS"):
            vault = Vault(Keyring.load(settings.encryption_keys, settings.data_dir))
            await keys.require_all(engine, vault.keyring)
        yield Parts(
            engine=engine,
            queue=JobQueue(settings.database_url),
            sources=sources,
            policy=_policy(settings),
            tokens=TokenKeeper(
                engine=engine,
                patient=_side_engine(settings, stack, RENEWAL_CONNECTIONS),
                vault=vault,
                http=http.trusting(*_token_urls(sources)),
                guarded=http,
                service=_token_service(settings, http),
            ),
            summariser=OfflineSummariser(),
            pushing=Pushing(vault.keyring, settings.public_url) if settings.public_url else None,
        )


def _side_engine(settings: Settings, stack: AsyncExitStack, size: int) -> AsyncEngine:
    """Connections that wait for others, so that these do not keep the pool from everybody else."""
    engine = create_engine(
        settings.database_url or "", pool_size=size, pool_timeout=WORKER_PATIENCE
    )
    stack.push_async_callback(engine.dispose)
    return engine


def _token_urls(sources: Registry) -> list[str]:
    flows = [source.info.oauth for source in sources.values()]
    return [flow.token_url for flow in flows if flow is not None and flow.token_url is not None]


def _token_service(settings: Settings, http: HttpClient) -> TokenService | None:
    if settings.token_service_url is None or settings.service_jwt is None:
        return None
    return TokenService(
        http.trusting(settings.token_service_url),
        settings.token_service_url,
        settings.service_jwt.get_secret_value(),
    )


@contextmanager
def _one_line(name: str) -> Iterator[None]:
    """Faults of what a setting says become the one line that stops the start."""
    try:
        yield
    except (ValueError, OSError, KeyFileError) as error:
        raise SettingsError(f"{name}: {error}") from None


def _policy(settings: Settings) -> Policy:
    return Policy(
        sync_frequency=settings.sync_frequency,
        sync_min_interval=settings.sync_min_interval,
        raw_retention=settings.raw_retention,
        summary_retention=settings.summary_retention,
        connects_by_itself=settings.mock,
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
        idempotency(parts.engine),
    ]


def _servicers(
    settings: Settings,
    parts: Parts,
    issuer: LocalIssuer,
    tokens: PageTokens,
    limiter: CallLimiter,
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
            degraded_parts=partial(_degraded, limiter),
        ),
        "distill.v1.WatchService": WatchServicer(
            parts.engine, parts.queue, parts.sources, parts.policy, parts.tokens
        ),
        "distill.v1.SyncService": SyncServicer(
            parts.engine, parts.queue, tuple(parts.sources), parts.policy
        ),
        "distill.v1.ContentService": ContentServicer(
            parts.engine,
            parts.engine.execution_options(isolation_level="AUTOCOMMIT"),
            tokens,
            tuple(parts.sources),
            parts.summariser,
        ),
        "distill.v1.ConnectionService": ConnectionServicer(
            parts.engine, parts.sources, parts.tokens, parts.pushing
        ),
        "distill.v1.WebhookService": WebhookServicer(
            parts.engine,
            parts.sources,
            Receiver(parts.pushing, parts.tokens.vault.open_credentials) if parts.pushing else None,
        ),
    }


def _publishing_servicers(
    parts: Parts, issuer: LocalIssuer, limits: Limits, stack: AsyncExitStack
) -> dict[str, object]:
    """The services of the publishing platform by their full names."""
    hashing = BoundedThreads("passwords")
    rendering = BoundedThreads("rendering")
    for threads in (hashing, rendering):
        stack.callback(threads.close)
    package = "distill.publishing.v1"
    return {
        f"{package}.UserService": UserServicer(parts.engine, Passwords(hashing), issuer, limits),
        f"{package}.PostService": PostServicer(parts.engine, rendering),
        f"{package}.CommentService": CommentServicer(parts.engine, rendering),
        f"{package}.SubscriptionService": SubscriptionServicer(parts.engine),
    }


def service_name(settings: Settings, sources: Mapping[str, object]) -> str:
    """The name in `/api` and `/capabilities`."""
    if settings.service_name:
        return settings.service_name
    return f"{next(iter(sources))}-feeder" if len(sources) == 1 else "distill"


def _verifiers(
    settings: Settings, issuer: LocalIssuer, stack: AsyncExitStack
) -> dict[str, TokenVerifier]:
    """Whose tokens open which surface: the local issuer's always open `/api/v1`, and nobody else's do."""
    issuers: list[TrustedIssuer] = []
    if settings.local_issuer:
        issuers.append(issuer.trusted())
    if settings.jwt_jwks_url:
        keys = JwksKeys(settings.jwt_jwks_url)
        stack.push_async_callback(keys.close)
        issuers.append(
            TrustedIssuer(
                keys=keys,
                iss=settings.jwt_issuer,
                audience=settings.jwt_audience,
                authorized_parties=frozenset(settings.jwt_authorized_parties),
            )
        )
    with _one_line("DISTILL_JWT_ISSUER"):
        return {
            "distill.v1": TokenVerifier(issuers),
            "distill.publishing.v1": TokenVerifier([issuer.trusted()]),
        }


def _limiter(
    settings: Settings,
    name: str,
    limit: int,
    stack: AsyncExitStack,
    *,
    window: float = 60.0,
    slots: int = 65_536,
) -> CallLimiter:
    """A counter that the processes of this machine share, or in Redis, those of the fleet."""
    folder = settings.data_dir / "run"
    folder.mkdir(parents=True, exist_ok=True)
    limiter: CallLimiter = LocalCallLimiter(folder / name, limit=limit, window=window, slots=slots)
    if settings.redis_url is not None:
        limiter = RedisCallLimiter(
            settings.redis_url, limit=limit, window=window, name=name, fallback=limiter
        )
    stack.push_async_callback(limiter.close)
    return limiter


def _publishing_limits(settings: Settings, stack: AsyncExitStack) -> Limits:
    def limiter(name: str, limit: int, window: float = 60.0) -> CallLimiter:
        return _limiter(settings, name, limit, stack, window=window, slots=16_384)

    return Limits(
        logins_per_account=limiter("account-logins", LOGINS_PER_ACCOUNT),
        logins_per_address=limiter("logins", settings.logins_per_minute),
        registrations_per_address=limiter(
            "registrations", settings.registrations_per_hour, window=3600.0
        ),
    )


def _degraded(limiter: CallLimiter) -> dict[str, str]:
    return {"redis": limiter.degraded} if limiter.degraded else {}


def build_collector(parts: Parts) -> Collector:
    """What runs syncs in a worker."""

    async def enqueue_again(connection: AsyncConnection, user_id: str, run_id: UUID) -> None:
        job = {"user_id": user_id, "run_id": str(run_id)}
        await parts.queue.enqueue(connection, syncing.SYNC_JOB, [job])

    async def make_summaries(user_id: str, types: tuple[str, ...]) -> None:
        for name in types:
            now = clock.utc_now()
            wanted = digesting.period(name.rsplit("/", 1)[1], None, "UTC", now)
            try:
                await digesting.get_summary(parts.engine, parts.summariser, user_id, wanted, now)
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
        make_summaries=make_summaries,
        pushing=parts.pushing,
    )


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
        trusted=_trusted_proxies(settings),
    )
    await server.start()
    log.info("grpc_listening", address=address)
    try:
        yield server.port
    finally:
        await server.stop(drain=drain)


def local_transport(settings: Settings, pipeline: Pipeline) -> LocalTransport:
    """The way of a facade to the core in its own process."""
    return LocalTransport(pipeline, trusted=_trusted_proxies(settings))


def _trusted_proxies(settings: Settings) -> list[Network]:
    return [ip_network(text) for text in settings.trusted_proxies]


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
