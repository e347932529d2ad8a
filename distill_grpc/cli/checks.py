"""What `distill doctor` looks at: one function a thing, which says what it found."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from distill_grpc.cli import environment as environment_module
from distill_grpc.cli import ports, probes
from distill_grpc.cli.failure import Failure, last_line
from distill_grpc.cli.probes import TIMEOUT
from distill_grpc.cli.tokens import has_keys
from distill_grpc.settings import Settings

if TYPE_CHECKING:
    from distill_grpc.encryption import Keyring

OLDEST_POSTGRES = 15

State = Literal["ok", "warn", "fail"]
_OF_HEALTH: dict[str, State] = {"healthy": "ok", "serving": "ok", "degraded": "warn"}


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check found; `mend` says what to do where it is not `ok`."""

    state: State
    text: str
    mend: str = ""


async def data_directory(settings: Settings) -> Finding:
    """Whether it can be written, and has room."""
    folder = settings.data_dir.expanduser().absolute()
    nearest = next(path for path in (folder, *folder.parents) if path.exists())
    if not nearest.is_dir() or not os.access(nearest, os.W_OK | os.X_OK):
        return Finding(
            "fail", f"{folder} cannot be written", "mend its owner, or set DISTILL_DATA_DIR"
        )
    free = os.statvfs(nearest)
    gigabytes = free.f_bavail * free.f_frsize / 1e9
    if gigabytes < 1:
        return Finding("warn", f"{folder} has {gigabytes:.1f} GB left", "make room on that disk")
    return Finding("ok", f"{folder}, {gigabytes:.0f} GB left")


async def database(settings: Settings) -> Finding:
    """Whether it answers, is new enough, and has the newest schema."""
    from distill_grpc.db.embedded import EmbeddedPostgres, EmbeddedPostgresError

    if settings.database_url is not None:
        return await asyncio.to_thread(_look_into, settings.database_url, "")
    embedded = EmbeddedPostgres(settings.data_dir)
    was_running = embedded.is_running()
    if not embedded.cluster.exists():
        return Finding("ok", "embedded, not made yet: `distill serve` makes it")
    try:
        dsn = await embedded.start()
        try:
            note = "embedded, in use" if was_running else "embedded"
            return await asyncio.to_thread(_look_into, dsn, note)
        finally:
            await embedded.stop()
    except EmbeddedPostgresError as error:
        return Finding("fail", str(error))


def _look_into(dsn: str, note: str) -> Finding:
    import psycopg
    from sqlalchemy import create_engine, make_url, pool

    from distill_grpc.cli.database import named
    from distill_grpc.db.migrate import pending

    name = note or named(dsn)
    try:
        with psycopg.connect(dsn, connect_timeout=int(TIMEOUT)) as connection:
            version = connection.info.server_version // 10_000
    except psycopg.OperationalError as error:
        return Finding(
            "fail", f"{name}: {last_line(error)}", "start it, or mend DISTILL_DATABASE_URL"
        )
    if version < OLDEST_POSTGRES:
        return Finding(
            "fail", f"{name} is PostgreSQL {version}", f"{OLDEST_POSTGRES} or newer is needed"
        )
    engine = create_engine(
        make_url(dsn).set(drivername="postgresql+psycopg"), poolclass=pool.NullPool
    )
    with engine.connect() as connected:
        missing = pending(connected)
    if missing:
        return Finding(
            "warn",
            f"{name}, PostgreSQL {version}, lacks {', '.join(missing)}",
            "run `distill migrate`",
        )
    return Finding("ok", f"{name}, PostgreSQL {version}, schema up to date")


async def signing_key(settings: Settings) -> Finding:
    """Whether the local issuer's key can be read."""
    if not has_keys(settings.data_dir):
        return Finding("ok", "not made yet: the first start or `distill token` makes it")
    from distill_grpc.auth.local import LocalIssuer
    from distill_grpc.key_files import KeyFileError

    try:
        issuer = LocalIssuer.load(settings.data_dir)
    except KeyFileError as error:
        return Finding("fail", str(error), "mend it, or move it away to get a new one")
    return Finding("ok", f"key {issuer.kid[:12]}")


async def environment(_settings: Settings) -> Finding:
    """Whether what is set is a setting; the values have been checked."""
    if strays := environment_module.strays():
        return Finding("warn", "; ".join(strays))
    return Finding("ok", "every value is allowed")


async def encryption_keys(settings: Settings) -> Finding:
    """Whether the keys for stored credentials can be used."""
    from distill_grpc.encryption import KeyFileError, Keyring

    if (
        not settings.encryption_keys
        and not (settings.data_dir / "keys" / "credentials.key").exists()
    ):
        return Finding("ok", "not made yet: the first start makes one")
    try:
        ring = Keyring.load(settings.encryption_keys, settings.data_dir)
    except (ValueError, KeyFileError) as error:
        return Finding("fail", str(error), "mend DISTILL_ENCRYPTION_KEYS or the file")
    there = f"{len(ring.key_ids)} of them, {ring.current_key_id[:12]} encrypts"
    if settings.database_url is None and not _is_running(settings):
        return Finding("ok", there)
    return await _key_use(settings, ring, there)


def _is_running(settings: Settings) -> bool:
    from distill_grpc.db.embedded import EmbeddedPostgres

    return EmbeddedPostgres(settings.data_dir).is_running()


async def _key_use(settings: Settings, ring: Keyring, there: str) -> Finding:
    """Which keys are still in use; a database that does not answer has a check of its own."""
    from sqlalchemy.exc import SQLAlchemyError

    from distill_grpc.cli.database import database as opened
    from distill_grpc.db.engine import create_engine
    from distill_grpc.feed import keys

    try:
        async with opened(settings, migrate=False) as dsn:
            engine = create_engine(dsn, pool_size=1)
            try:
                uses = await keys.list_keys(engine, ring)
            finally:
                await engine.dispose()
    except (Failure, SQLAlchemyError):
        return Finding("ok", there)
    missing = sum(use.values for use in uses if not use.is_there)
    if missing:
        return Finding(
            "fail",
            f"{there}; {missing} values are sealed with keys that are not there",
            "add the keys to DISTILL_ENCRYPTION_KEYS, or `distill keys forget`",
        )
    old = [use for use in uses if use.is_there and not use.seals]
    if busy := [use for use in old if use.values]:
        return Finding(
            "warn",
            f"{there}; {len(busy)} older still in use",
            "`distill keys rotate` seals everything with the newest",
        )
    return Finding("ok", there + (f"; {len(old)} older can be taken away" if old else ""))


async def http_address(settings: Settings) -> Finding:
    """Whether the facade's address is free, or a Distill answers there."""
    return await _address(settings.http_address, "DISTILL_HTTP_ADDRESS", probes.rest_health)


async def grpc_address(settings: Settings) -> Finding:
    """Whether the core's address is free, or a Distill answers there."""
    return await _address(settings.grpc_address, "DISTILL_GRPC_ADDRESS", probes.grpc_health)


async def _address(
    address: str, variable: str, health: Callable[[str], Awaitable[str | None]]
) -> Finding:
    try:
        ports.claim(address, variable)
    except Failure as failure:
        status = await health(ports.reachable(address))
        if status is None:
            return Finding("warn", str(failure))
        return Finding(_OF_HEALTH.get(status, "fail"), f"a Distill answers at {address}: {status}")
    return Finding("ok", f"{address} is free")


async def sources(settings: Settings) -> Finding:
    """Whether the sources that are asked for can be loaded."""
    from distill_grpc.sources.http import HttpClient
    from distill_grpc.sources.registry import build

    http = HttpClient(allow_private_addresses=settings.allow_private_addresses)
    try:
        sources = build(settings.sources, mock=settings.mock, http=http, api_urls=settings.api_urls)
    except ValueError as error:
        return Finding("fail", str(error), "mend DISTILL_SOURCES")
    finally:
        await http.close()
    names = ", ".join(sources)
    await sources.close()
    if not names:
        return Finding("fail", "none is installed", "install Distill again")
    return Finding("ok", names + (" (all played by mock data)" if settings.mock else ""))


async def jwks(settings: Settings) -> Finding:
    """Whether the token issuer's keys can be fetched."""
    if settings.jwt_jwks_url is None:
        return Finding("ok", "not asked for: the local issuer signs")
    import aiohttp

    try:
        body = await probes.get_json(settings.jwt_jwks_url)
        keys = body["keys"]
    except (aiohttp.ClientError, TimeoutError, ValueError, KeyError, TypeError) as error:
        what = last_line(error) or type(error).__name__
        return Finding(
            "fail", f"no keys at {settings.jwt_jwks_url}: {what}", "mend DISTILL_JWT_JWKS_URL"
        )
    if not keys:
        return Finding("fail", f"{settings.jwt_jwks_url} lists no key", "mend DISTILL_JWT_JWKS_URL")
    return Finding("ok", f"{len(keys)} at {settings.jwt_jwks_url}")


async def redis(settings: Settings) -> Finding:
    """Whether the shared counters answer."""
    if settings.redis_url is None:
        return Finding("ok", "not asked for: calls are counted on this machine")
    from redis.asyncio import Redis
    from redis.exceptions import RedisError

    client = Redis.from_url(
        settings.redis_url, socket_timeout=TIMEOUT, socket_connect_timeout=TIMEOUT
    )
    try:
        await client.ping()
    except (RedisError, OSError) as error:
        return Finding("warn", f"does not answer: {last_line(error)}", "mend DISTILL_REDIS_URL")
    finally:
        await client.aclose()
    return Finding("ok", "answers")


_ANSWER = {
    "type": "object",
    "properties": {"ok": {"type": "boolean"}},
    "required": ["ok"],
    "additionalProperties": False,
}


async def summariser(settings: Settings) -> Finding:
    """Who writes the digests; a model is asked for one word."""
    from distill_grpc.llm.chat import Chat, ChatFailed, Prices
    from distill_grpc.llm.offline import OfflineSummariser

    if settings.summary_model:
        chat = Chat.open(
            api_key=settings.openai_api_key,
            base_url=settings.openai_base_url,
            model=settings.summary_model,
            prices=Prices(),
        )
        asked = [{"role": "user", "content": 'Answer with the JSON {"ok": true} and nothing else.'}]
        try:
            await chat.ask(asked, _ANSWER, max_tokens=1_000, seconds=20)
        except ChatFailed as failed:
            return Finding(
                "warn",
                f"{settings.summary_model} gives no answer ({failed.why}); digests are made offline",
                "mend DISTILL_OPENAI_API_KEY, DISTILL_OPENAI_BASE_URL or DISTILL_SUMMARY_MODEL",
            )
        finally:
            await chat.close()
        return Finding("ok", f"{settings.summary_model} answers")
    if settings.openai_api_key:
        return Finding(
            "ok",
            f"{OfflineSummariser().name}: there is a key, but DISTILL_SUMMARY_MODEL names no model",
        )
    return Finding("ok", f"{OfflineSummariser().name}: on this machine, without a language model")
