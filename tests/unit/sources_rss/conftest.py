"""A feed server and a feed reader; the reader's parsers are shared, because starting them takes time."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from distill_grpc.sources.http import HttpClient
from distill_grpc.sources.registry import SourceContext
from distill_grpc.sources.rss import RssSource
from tests.servers.feeds import FeedServer


@pytest.fixture
async def server() -> AsyncIterator[FeedServer]:
    async with FeedServer() as running:
        yield running


@pytest.fixture(scope="session")
async def rss() -> AsyncIterator[RssSource]:
    http = HttpClient(allow_private_addresses=True, timeout=5)
    source = RssSource(SourceContext(http=http))
    yield source
    await source.close()
    await http.close()
