"""The world that the tests of the feed live in."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from distill_grpc.db.engine import create_engine
from distill_grpc.jobs.queue import JobQueue
from tests.integration.feed.scripted import ScriptedSource
from tests.integration.feed.world import World


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[World]:
    """A fresh database with one source. Nobody gives up waiting for a connection on a busy machine."""
    engine = create_engine(database_url, pool_timeout=30)
    made = World(engine, JobQueue(database_url), {"scripted": ScriptedSource()})
    yield made
    await made.http.close()
    await engine.dispose()
