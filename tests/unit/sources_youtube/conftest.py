"""A YouTube of one's own, and an account to read it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest

from distill_grpc.sources.http import HttpClient
from distill_grpc.sources.registry import SourceContext
from distill_grpc.sources.youtube import YoutubeSource
from tests.servers.platform import Clock
from tests.servers.reader import LedgerBudgets, Reader
from tests.servers.youtube import YoutubeServer

NOW = datetime(2026, 3, 10, 18, 0, tzinfo=UTC)
KEY = "sekret-key"
TOKEN = "sekret-token"


@pytest.fixture
def clock() -> Clock:
    return Clock(NOW)


@pytest.fixture
async def http(clock: Clock) -> AsyncIterator[HttpClient]:
    async with HttpClient(allow_private_addresses=True, now=clock) as client:
        yield client


@pytest.fixture
async def youtube(clock: Clock) -> AsyncIterator[YoutubeServer]:
    async with YoutubeServer(clock) as server:
        server.keys.add(KEY)
        server.add_account(TOKEN)
        yield server


@pytest.fixture
def budgets(clock: Clock) -> LedgerBudgets:
    return LedgerBudgets(clock)


@pytest.fixture
def source(youtube: YoutubeServer, http: HttpClient, budgets: LedgerBudgets) -> YoutubeSource:
    return YoutubeSource(
        SourceContext(http=http, budgets=budgets, api_urls={"youtube": youtube.root})
    )


@pytest.fixture
def reader(source: YoutubeSource, clock: Clock) -> Reader:
    return Reader(source, clock, {"api_key": KEY})
