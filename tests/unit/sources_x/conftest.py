from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from distill_grpc.sources.http import HttpClient
from distill_grpc.sources.registry import SourceContext
from distill_grpc.sources.x import XSource
from tests.servers.x import XServer
from tests.unit.sources_x.x_reading import Reader, StrictBudgets


@pytest.fixture
async def server() -> AsyncIterator[XServer]:
    async with XServer() as ready:
        yield ready


@pytest.fixture
def budgets(server: XServer) -> StrictBudgets:
    return StrictBudgets(server)


@pytest.fixture
async def http() -> AsyncIterator[HttpClient]:
    async with HttpClient(allow_private_addresses=True) as client:
        yield client


@pytest.fixture
async def source(server: XServer, http: HttpClient, budgets: StrictBudgets) -> XSource:
    return XSource(SourceContext(http=http, budgets=budgets, api_urls={"x": server.url}))


@pytest.fixture
def reader(source: XSource, server: XServer) -> Reader:
    return Reader(source, server, {"timelines": ["home"], "daily_usd": 100})


@pytest.fixture
def reader_of(source: XSource, server: XServer) -> Callable[..., Reader]:
    def make(**settings: Any) -> Reader:
        return Reader(source, server, {"daily_usd": 100, **settings})

    return make
