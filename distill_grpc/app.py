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
from datetime import timedelta
from functools import partial
from importlib.metadata import version
from ipaddress import ip_address, ip_network
from typing import Any
from uuid import UUID

import orjson
import structlog
from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from distill_grpc import clock
from distill_grpc.auth import JwksKeys, LocalIssuer, TokenVerifier, TrustedIssuer
from distill_grpc.db import replies
from distill_grpc.db.engine import create_engine
from distill_grpc.encryption import CannotDecrypt, Keyring
from distill_grpc.errors import DistillError, ErrorReason
from distill_grpc.feed import digest_scheduling, periods, retention, syncing
from distill_grpc.feed.collecting import Collector
from distill_grpc.feed.connection_servicer import ConnectionServicer
from distill_grpc.feed.content_servicer import ContentServicer
from distill_grpc.feed.digest_mailing import DigestPost
from distill_grpc.feed.digest_scheduling import DigestMaker
from distill_grpc.feed.digest_servicer import DigestServicer
from distill_grpc.feed.digesting import Digester, Spender
from distill_grpc.feed.discovery_servicer import DiscoveryServicer
from distill_grpc.feed.link_tokens import LinkTokens
from distill_grpc.feed.page_tokens import PageTokens
from distill_grpc.feed.policy import Policy
from distill_grpc.feed.preference_servicer import PreferenceServicer
from distill_grpc.feed.store import state
from distill_grpc.feed.sync_servicer import SyncServicer
from distill_grpc.feed.watch_servicer import WatchServicer
from distill_grpc.jobs import queue as jobs
from distill_grpc.jobs.amqp import AmqpJobs
from distill_grpc.jobs.queue import JobQueue
from distill_grpc.jobs.ticks import every
from distill_grpc.key_files import KeyFileError
from distill_grpc.llm.base import Summariser
from distill_grpc.llm.chat import Chat, Prices
from distill_grpc.llm.offline import OfflineSummariser
from distill_grpc.llm.openai import OpenAiSummariser
from distill_grpc.mail.base import Mailer
from distill_grpc.mail.logged import LogMailer
from distill_grpc.mail.smtp import SmtpMailer
from distill_grpc.publishing import posts
from distill_grpc.publishing.analytics import ANALYTICS_JOB, EventProcessor, EventRecorder
from distill_grpc.publishing.announcing import Announcer
from distill_grpc.publishing.audience_servicer import AudienceServicer
from distill_grpc.publishing.comment_servicer import CommentServicer
from distill_grpc.publishing.feeds import Addresses
from distill_grpc.publishing.limits import LOGINS_PER_ACCOUNT, Limits
from distill_grpc.publishing.links import SubscriptionLinks
from distill_grpc.publishing.notifying import Notifier, SteadyPace
from distill_grpc.publishing.passwords import Passwords
from distill_grpc.publishing.pinging import PING_JOB, HubPinger
from distill_grpc.publishing.post_servicer import PostServicer
from distill_grpc.publishing.relaying import Relay
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
from distill_grpc.sources.registry import OwnInstance, Registry
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
DIGEST_TICK = 5.0
MAIL_TICK = 5.0
RELAY_TICK = 1.0
RETENTION_TICK = 600.0
# How long a token lives by which a worker reads this service as one of its users.
OWN_TOKEN = timedelta(minutes=5)
# Attempts of a job of the publishing platform after the first; the last comes hours later.
JOB_RETRIES = 13
# Seconds that a sync waits for a connection of the pool: unlike a caller, it has time.
WORKER_PATIENCE = 15.0


@dataclass(frozen=True, slots=True)
class Parts:
    """What both the core and the worker stand on."""

    engine: AsyncEngine
    queue: JobQueue
    sources: Registry
    policy: Policy
    keyring: Keyring
    summariser: Summariser
    http: HttpClient

    @property
    def digester(self) -> Digester:
        """What makes summaries."""
        return Digester(
            engine=self.engine,
            summariser=self.summariser,
            llm_daily_tokens=self.policy.llm_daily_tokens,
        )


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
        parts = await stack.enter_async_context(open_parts(settings, pool_timeout=WORKER_PATIENCE))
        links = await _link_tokens(parts.engine)
        collector = build_collector(parts)
        parts.queue.handle(syncing.SYNC_JOB, collector.run)
        maker = DigestMaker(engine=parts.engine, digester=parts.digester)
        parts.queue.handle(digest_scheduling.DIGEST_JOB, maker.run)
        post = DigestPost(
            engine=parts.engine,
            mailer=_mailer(settings),
            tokens=links,
            sender=settings.mail_from,
            public_url=_public_url(settings),
        )
        amqp = AmqpJobs(settings.amqp_url) if settings.amqp_url else None
        if amqp is not None:
            stack.push_async_callback(amqp.close)
        events = EventProcessor(parts.engine, links.key)
        _handle_publishing(settings, parts, amqp or parts.queue, events)
        relay = Relay(parts.engine, amqp or parts.queue)
        notifier = build_notifier(settings, parts.engine, links)
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
                    *_ticks(parts, post),
                    *_publishing_ticks(parts, relay, events),
                )
            ]
            ready()
            await asyncio.wait(working)
            for tick in ticks:
                tick.cancel()


def _handle_publishing(
    settings: Settings, parts: Parts, queue: JobQueue | AmqpJobs, events: EventProcessor
) -> None:
    addresses = _addresses(settings)
    queue.handle(posts.NOTIFY_JOB, Announcer(parts.engine, addresses).run, retries=JOB_RETRIES)
    queue.handle(ANALYTICS_JOB, events.run, retries=JOB_RETRIES)
    pinger = HubPinger(addresses, parts.http)
    queue.handle(PING_JOB, pinger.run, retries=JOB_RETRIES)


def build_notifier(settings: Settings, engine: AsyncEngine, links: LinkTokens) -> Notifier:
    """What mails new posts in a worker."""
    return Notifier(
        engine=engine,
        mailer=_mailer(settings),
        links=SubscriptionLinks(links.sign, links.read),
        addresses=_addresses(settings),
        sender=settings.mail_from,
        pace=SteadyPace(settings.mails_per_second),
        sends=settings.smtp_url is not None,
    )


def _ticks(parts: Parts, post: DigestPost) -> list[tuple[float, str, Callable[[], Any]]]:
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

    async def forget_replies() -> None:
        async with parts.engine.begin() as connection:
            await replies.delete_older_than(connection, KEPT)

    return [
        (SCHEDULE_TICK, "schedule", enqueue_due),
        (DIGEST_TICK, "digests", enqueue_digests),
        (MAIL_TICK, "mail", post.send_due),
        (jobs.RECOVERY, "recovery", recover),
        (RETENTION_TICK, "retention", enforce_retention),
        (RETENTION_TICK, "keyed_replies", forget_replies),
    ]


def _publishing_ticks(
    parts: Parts, relay: Relay, events: EventProcessor
) -> list[tuple[float, str, Callable[[], Any]]]:
    async def publish_due() -> None:
        async with parts.engine.begin() as connection:
            await posts.publish_due(connection, clock.utc_now())

    async def forget_events() -> None:
        await events.forget(clock.utc_now())

    return [
        (SCHEDULE_TICK, "publication", publish_due),
        (RELAY_TICK, "outbox", relay.hand_on),
        (RETENTION_TICK, "outbox_retention", relay.forget),
        (RETENTION_TICK, "analytics_retention", forget_events),
    ]


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
        links = await _link_tokens(parts.engine)
        yield Pipeline(
            _concerns(settings, parts, _verifiers(settings, issuer, stack), limiter),
            {
                **_servicers(
                    settings,
                    parts,
                    issuer=issuer,
                    tokens=PageTokens(key),
                    links=links,
                    limiter=limiter,
                ),
                **_publishing_servicers(
                    settings, parts, issuer=issuer, links=links, limits=limits, stack=stack
                ),
            },
        )


async def _link_tokens(engine: AsyncEngine) -> LinkTokens:
    async with engine.begin() as connection:
        key = await state.get_or_insert_value(
            connection, state.LINK_TOKEN_KEY, secrets.token_bytes(32)
        )
    return LinkTokens(key)


def _public_url(settings: Settings) -> str:
    return settings.public_url or f"http://{settings.http_address}"


def _addresses(settings: Settings) -> Addresses:
    return Addresses(_public_url(settings), settings.websub_hub)


def _mailer(settings: Settings) -> Mailer:
    return SmtpMailer.from_url(settings.smtp_url) if settings.smtp_url else LogMailer()


def _summariser(settings: Settings, stack: AsyncExitStack) -> Summariser:
    if settings.summary_model is None:
        return OfflineSummariser()
    chat = Chat.open(
        api_key=settings.openai_api_key,
        base_url=settings.openai_base_url,
        model=settings.summary_model,
        prices=Prices(settings.llm_input_price, settings.llm_output_price),
    )
    stack.push_async_callback(chat.close)
    return OpenAiSummariser(chat)


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
                own=_own_instance(settings, stack),
            )
        stack.push_async_callback(sources.close)
        with _one_line("DISTILL_ENCRYPTION_KEYS"):
            keyring = Keyring.load(settings.encryption_keys, settings.data_dir)
        yield Parts(
            engine=engine,
            queue=JobQueue(settings.database_url),
            sources=sources,
            policy=_policy(settings),
            keyring=keyring,
            summariser=_summariser(settings, stack),
            http=http,
        )


def _own_instance(settings: Settings, stack: AsyncExitStack) -> OwnInstance | None:
    """This service as its own users see it; None where users are another issuer's.

    Only where every user is the local issuer's does a user's id say which account they have.
    """
    if settings.jwt_jwks_url or not settings.local_issuer:
        return None
    with _one_line("DISTILL_DATA_DIR"):
        issuer = LocalIssuer.load(settings.data_dir)
    http = HttpClient(allow_private_addresses=True, user_agent=f"Distill/{VERSION}")
    stack.push_async_callback(http.close)

    def token(user: str) -> str:
        return issuer.issue(user_id=user, email=None, expires_in=OWN_TOKEN)

    return OwnInstance(url=_public_url(settings), http=http, token=token)


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
        llm_daily_tokens=settings.llm_daily_tokens,
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
    *,
    issuer: LocalIssuer,
    tokens: PageTokens,
    links: LinkTokens,
    limiter: CallLimiter,
) -> dict[str, object]:
    """Each service of the contract by its full name."""
    open_credentials = partial(_open_credentials, parts.keyring)
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
            degraded_parts=partial(_degraded, limiter, parts.summariser),
            summary_model=settings.summary_model,
        ),
        "distill.v1.WatchService": WatchServicer(
            parts.engine, parts.queue, tuple(parts.sources), parts.policy
        ),
        "distill.v1.SyncService": SyncServicer(
            parts.engine, parts.queue, tuple(parts.sources), parts.policy
        ),
        "distill.v1.ContentService": ContentServicer(
            parts.engine.execution_options(isolation_level="AUTOCOMMIT"),
            tokens,
            tuple(parts.sources),
            parts.digester,
        ),
        "distill.v1.ConnectionService": ConnectionServicer(
            parts.engine, parts.sources, partial(_seal, parts.keyring), open_credentials
        ),
        "distill.v1.PreferenceService": PreferenceServicer(parts.engine, tuple(parts.sources)),
        "distill.v1.DigestService": DigestServicer(parts.engine, links, _public_url(settings)),
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
        f"{package}.PostService": PostServicer(parts.engine, rendering, events),
        f"{package}.CommentService": CommentServicer(parts.engine, rendering),
        f"{package}.SubscriptionService": SubscriptionServicer(parts.engine),
        f"{package}.AudienceService": AudienceServicer(
            parts.engine, _addresses(settings), SubscriptionLinks(links.sign, links.read)
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


def _degraded(limiter: CallLimiter, summariser: Summariser) -> dict[str, str]:
    found = {"redis": limiter.degraded} if limiter.degraded else {}
    if isinstance(summariser, OpenAiSummariser) and summariser.degraded:
        found["llm"] = f"digests are made offline ({summariser.degraded})"
    return found


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
        open_credentials=partial(_open_credentials, parts.keyring),
        enqueue_again=enqueue_again,
        make_summaries=make_summaries,
    )


def _seal(keyring: Keyring, user_id: str, source: str, credentials: Mapping[str, Any]) -> bytes:
    return keyring.seal(
        orjson.dumps(credentials), context=("connections", "credentials", user_id, source)
    )


def _open_credentials(keyring: Keyring, row: Row[Any]) -> Mapping[str, Any]:
    """What a connection row holds; raises NO_PLATFORM_AUTH where no key opens it."""
    if row.credentials is None:
        return {}
    try:
        opened = keyring.open(
            row.credentials, context=("connections", "credentials", row.user_id, row.source)
        )
    except CannotDecrypt:
        raise DistillError(
            ErrorReason.NO_PLATFORM_AUTH,
            "The stored credentials cannot be read any more. Connect the account again.",
        ) from None
    credentials: Mapping[str, Any] = orjson.loads(opened)
    return credentials


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
