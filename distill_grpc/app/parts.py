"""What the roles stand on: opened and closed in one place."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from importlib.metadata import version

import structlog
from sqlalchemy.ext.asyncio import AsyncEngine

from distill_grpc.auth import LocalIssuer
from distill_grpc.db.engine import create_engine
from distill_grpc.encryption import Keyring
from distill_grpc.feed import keys
from distill_grpc.feed.asking import Asker
from distill_grpc.feed.budgets import PostgresBudgets
from distill_grpc.feed.digesting import Digester
from distill_grpc.feed.item_embedding import ItemEmbedder
from distill_grpc.feed.link_tokens import LinkTokens
from distill_grpc.feed.model_tagging import ModelTagger
from distill_grpc.feed.policy import Policy
from distill_grpc.feed.pushing import Pushing
from distill_grpc.feed.query_embedding import Seeker
from distill_grpc.feed.sealing import Vault
from distill_grpc.feed.store import embeddings, state
from distill_grpc.feed.tokens import TokenKeeper
from distill_grpc.jobs.queue import JobQueue
from distill_grpc.key_files import KeyFileError
from distill_grpc.llm.answering import Answerer, OfflineAnswerer
from distill_grpc.llm.base import Summariser
from distill_grpc.llm.chat import Chat, Prices
from distill_grpc.llm.embedding import Embedder
from distill_grpc.llm.embedding_prefixes import Prefixes, of_model
from distill_grpc.llm.offline import OfflineSummariser
from distill_grpc.llm.openai import OpenAiSummariser
from distill_grpc.llm.openai_answers import OpenAiAnswerer
from distill_grpc.llm.tag_choosing import OpenAiTagChooser, TagChooser
from distill_grpc.settings import Settings, SettingsError
from distill_grpc.sources import registry
from distill_grpc.sources.http import HttpClient
from distill_grpc.sources.registry import OwnInstance, Registry
from distill_grpc.sources.token_service import TokenService

log = structlog.get_logger()

VERSION = version("distill")
# Seconds that what is not asked by a caller waits for a connection: it has time.
PATIENCE = 15.0
# Connections beside the pool, opened when they are first needed.
BUDGET_CONNECTIONS = 2
RENEWAL_CONNECTIONS = 4
# How long a token lives by which a worker reads this service as one of its users.
OWN_TOKEN = timedelta(minutes=5)
# Where a door that listens on every address is found on its own machine.
_LOOPBACK = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}  # noqa: S104 -- looked up, never bound


@dataclass(frozen=True, slots=True)
class Parts:
    """What both the core and the worker stand on."""

    engine: AsyncEngine
    queue: JobQueue
    sources: Registry
    policy: Policy
    tokens: TokenKeeper
    summariser: Summariser
    http: HttpClient
    answerer: Answerer = field(default_factory=OfflineAnswerer)
    tag_chooser: TagChooser | None = None  # None: tags are found offline only
    pushing: Pushing | None = None  # None: no platform can reach this service
    seeker: Seeker | None = None  # None: nothing is found by meaning

    @property
    def reads(self) -> AsyncEngine:
        """The pool in autocommit, for reads of one statement: a transaction costs two round trips."""
        return self.engine.execution_options(isolation_level="AUTOCOMMIT")

    @property
    def item_embedder(self) -> ItemEmbedder | None:
        """What makes the vectors of items."""
        if self.seeker is None:
            return None
        return ItemEmbedder(
            engine=self.engine,
            embedder=self.seeker.embedder,
            llm_daily_tokens=self.policy.llm_daily_tokens,
        )

    @property
    def asker(self) -> Asker:
        """What answers questions."""
        return Asker(
            engine=self.engine,
            answerer=self.answerer,
            llm_daily_tokens=self.policy.llm_daily_tokens,
            seeker=self.seeker,
        )

    @property
    def digester(self) -> Digester:
        """What makes summaries."""
        return Digester(
            engine=self.engine,
            summariser=self.summariser,
            llm_daily_tokens=self.policy.llm_daily_tokens,
            embedding_model=None if self.seeker is None else self.seeker.embedder.name,
        )

    @property
    def model_tagger(self) -> ModelTagger:
        """What tags by a model."""
        return ModelTagger(
            engine=self.engine,
            chooser=self.tag_chooser,
            llm_daily_tokens=self.policy.llm_daily_tokens,
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
        with one_line("DISTILL_SOURCES"):
            sources = registry.build(
                settings.sources,
                mock=settings.mock,
                http=http,
                budgets=PostgresBudgets(_side_engine(settings, stack, BUDGET_CONNECTIONS)),
                api_urls=settings.api_urls,
                google_token_url=settings.google_token_url,
                own=_own_instance(settings, http),
            )
        stack.push_async_callback(sources.close)
        with one_line("DISTILL_ENCRYPTION_KEYS"):
            vault = Vault(Keyring.load(settings.encryption_keys, settings.data_dir))
            await keys.require_all(engine, vault.keyring)
        chat = _chat(settings, stack)
        yield Parts(
            engine=engine,
            queue=JobQueue(settings.database_url),
            sources=sources,
            policy=build_policy(settings),
            tokens=TokenKeeper(
                engine=engine,
                patient=_side_engine(settings, stack, RENEWAL_CONNECTIONS),
                vault=vault,
                http=http.trusting(*_token_urls(sources)),
                guarded=http,
                service=_token_service(settings, http),
            ),
            summariser=OfflineSummariser() if chat is None else OpenAiSummariser(chat),
            answerer=OfflineAnswerer() if chat is None else OpenAiAnswerer(chat),
            tag_chooser=None if chat is None else OpenAiTagChooser(chat),
            http=http,
            pushing=Pushing(vault.keyring, settings.public_url) if settings.public_url else None,
            seeker=await _seeker(settings, engine, stack),
        )


def _own_instance(settings: Settings, http: HttpClient) -> OwnInstance | None:
    """This service as its own users see it; None where users are another issuer's.

    Only where every user is the local issuer's does a user's id say which account they have.
    """
    host, _, port = settings.http_address.rpartition(":")
    if settings.mock or settings.jwt_jwks_url or not settings.local_issuer:
        return None
    if settings.public_url is None and port == "0":
        return None  # nobody knows yet where the door will be
    with one_line("DISTILL_DATA_DIR"):
        issuer = LocalIssuer.load(settings.data_dir)

    def token(user: str) -> str:
        return issuer.issue(user_id=user, email=None, expires_in=OWN_TOKEN)

    here = _LOOPBACK.get(host, host)
    url = settings.public_url or f"http://{here}:{port}"
    return OwnInstance(url=url, http=http.trusting(url), token=token)


def _side_engine(settings: Settings, stack: AsyncExitStack, size: int) -> AsyncEngine:
    """Connections that wait for others, so that these do not keep the pool from everybody else."""
    engine = create_engine(settings.database_url or "", pool_size=size, pool_timeout=PATIENCE)
    stack.push_async_callback(engine.dispose)
    return engine


def _chat(settings: Settings, stack: AsyncExitStack) -> Chat | None:
    if settings.summary_model is None:
        return None
    chat = Chat.open(
        api_key=settings.openai_api_key,
        base_url=settings.openai_base_url,
        model=settings.summary_model,
        prices=Prices(settings.llm_input_price, settings.llm_output_price),
    )
    stack.push_async_callback(chat.close)
    return chat


async def _seeker(settings: Settings, engine: AsyncEngine, stack: AsyncExitStack) -> Seeker | None:
    """What finds by meaning; None where nobody wants it, or the database cannot hold vectors."""
    if settings.embedding_model is None:
        return None
    async with engine.connect() as connection:
        if not await embeddings.can_hold_vectors(connection):
            log.warning("no_vectors", why="the database lacks pgvector; see `distill doctor`")
            return None
    known = of_model(settings.embedding_model)
    embedder = Embedder.open(
        api_key=settings.embedding_key,
        base_url=settings.embedding_base_url or settings.openai_base_url,
        model=settings.embedding_model,
        price=settings.embedding_price,
        dimensions=settings.embedding_dimensions,
        prefixes=Prefixes(
            _given(settings.embedding_text_prefix, known.text),
            _given(settings.embedding_query_prefix, known.query),
        ),
    )
    stack.push_async_callback(embedder.close)
    return Seeker(
        engine=engine,
        embedder=embedder,
        llm_daily_tokens=settings.llm_daily_tokens,
        floor=settings.embedding_floor,
    )


def _given(setting: str | None, otherwise: str) -> str:
    return otherwise if setting is None else setting.lstrip()


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


def build_policy(settings: Settings) -> Policy:
    """The numbers that the rules of the feed go by."""
    return Policy(
        sync_frequency=settings.sync_frequency,
        sync_min_interval=settings.sync_min_interval,
        raw_retention=settings.raw_retention,
        summary_retention=settings.summary_retention,
        llm_daily_tokens=settings.llm_daily_tokens,
        connects_by_itself=settings.mock,
    )


async def load_link_tokens(engine: AsyncEngine) -> LinkTokens:
    """What makes secret addresses, by a key that all processes share."""
    async with engine.begin() as connection:
        key = await state.get_or_insert_value(
            connection, state.LINK_TOKEN_KEY, secrets.token_bytes(32)
        )
    return LinkTokens(key)


def public_url(settings: Settings) -> str:
    """Where the world finds the REST door."""
    return settings.public_url or f"http://{settings.http_address}"


@contextmanager
def one_line(name: str) -> Iterator[None]:
    """Faults of what a setting says become the one line that stops the start."""
    try:
        yield
    except (ValueError, OSError, KeyFileError) as error:
        raise SettingsError(f"{name}: {error}") from None
