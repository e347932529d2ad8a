"""Services that many tests share: each test keeps to users of its own."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Iterator

import pytest
import structlog
from structlog.typing import EventDict, WrappedLogger

from tests.conformance.users import collected
from tests.databases import fresh_database
from tests.service import Service, start_service

PUBLIC_URL = "https://distill.example.com"
_numbers = itertools.count(1)


@pytest.fixture(scope="package")
async def shared(postgres: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Service]:
    """Core, both doors and a worker in mock mode, one for all of these tests.

    Between two syncs lies an hour, so that nobody's may come too soon however slow the machine is.
    """
    with fresh_database(postgres) as address:
        async with start_service(
            address,
            tmp_path_factory.mktemp("shared"),
            mock=True,
            sync_min_interval="1h",
            public_url=PUBLIC_URL,
        ) as running:
            yield running


@pytest.fixture(scope="package")
async def idle(postgres: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Service]:
    """Like `shared`, but without a worker: what is queued stays queued."""
    with fresh_database(postgres) as address:
        async with start_service(
            address,
            tmp_path_factory.mktemp("idle"),
            mock=True,
            worker=False,
            public_url=PUBLIC_URL,
        ) as running:
            yield running


@pytest.fixture(scope="package")
async def real(postgres: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Service]:
    """Core and both doors outside mock mode, without a worker: nothing is ever fetched."""
    with fresh_database(postgres) as address:
        async with start_service(
            address, tmp_path_factory.mktemp("real"), mock=False, worker=False
        ) as running:
            yield running


@pytest.fixture
def user() -> str:
    """A user whom no other test knows."""
    return f"user-{next(_numbers)}"


@pytest.fixture(scope="package")
async def reader(shared: Service) -> str:
    """A user of `shared` with collected items, for tests that only read."""
    await collected(shared, "reader")
    return "reader"


@pytest.fixture
def log_lines() -> Iterator[list[EventDict]]:
    """Every line that is logged, as it is before the net that takes secrets out."""
    lines: list[EventDict] = []

    def collect(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        lines.append(dict(event))
        raise structlog.DropEvent

    before = structlog.get_config()
    structlog.configure(
        processors=[structlog.contextvars.merge_contextvars, collect],
        cache_logger_on_first_use=False,
    )
    yield lines
    structlog.configure(**before)
