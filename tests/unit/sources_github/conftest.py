"""A GitHub of one's own, and an account to read it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest

from distill_grpc.sources.github import GithubSource
from distill_grpc.sources.http import HttpClient
from distill_grpc.sources.registry import SourceContext
from tests.servers.github import GithubServer
from tests.servers.platform import Clock
from tests.servers.reader import LedgerBudgets, Reader

NOW = datetime(2026, 3, 10, 10, 0, tzinfo=UTC)
TOKEN = "ghp_sekret"


@pytest.fixture
def clock() -> Clock:
    return Clock(NOW)


@pytest.fixture
async def http(clock: Clock) -> AsyncIterator[HttpClient]:
    async with HttpClient(allow_private_addresses=True, now=clock) as client:
        yield client


@pytest.fixture
async def github(clock: Clock) -> AsyncIterator[GithubServer]:
    async with GithubServer(clock) as server:
        server.add_account(TOKEN)
        yield server


@pytest.fixture
def budgets(clock: Clock) -> LedgerBudgets:
    return LedgerBudgets(clock)


@pytest.fixture
def source(github: GithubServer, http: HttpClient, budgets: LedgerBudgets) -> GithubSource:
    return GithubSource(
        SourceContext(http=http, budgets=budgets, api_urls={"github": github.origin})
    )


@pytest.fixture
def reader(source: GithubSource, clock: Clock) -> Reader:
    return Reader(source, clock, {"token": TOKEN})
