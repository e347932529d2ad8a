"""A few seeds of the chaos scenarios; `make chaos` runs all of them."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.chaos import __main__ as chaos
from tests.chaos import crash_points, crashes, databases, loads
from tests.chaos.fleet import Nursery
from tests.chaos.server import Server

pytestmark = pytest.mark.chaos

# `CHAOS_SEED` replays another one.
SEED = int(os.environ.get("CHAOS_SEED", "0"))
# One point of each kind of place: in a transaction, between two, in the queue, at a hand-over.
POINTS = (
    "commit.schedule.after",
    "fetch_job.after",
    "commit.claim.after",
    "upsert.after",
    "commit.page.after",
    "commit.finish.before",
    "end_job.before",
    "commit.release.before",
)


@pytest.fixture(scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Server]:
    """A PostgreSQL that may be restarted without disturbing other tests."""
    folder: Path = tmp_path_factory.mktemp("chaos")
    async with Server(folder, durable=True) as running:
        yield running


@pytest.fixture(scope="module")
async def nursery() -> AsyncIterator[Nursery]:
    """Where workers come from."""
    async with Nursery() as running:
        yield running


async def test_workers_killed_in_the_middle_lose_nothing_and_repeat_nothing(
    server: Server, nursery: Nursery
) -> None:
    scenarios = chaos.crash_scenarios(
        server.address, nursery, POINTS, range(SEED, SEED + 1), sandbox=False
    )
    group = await chaos.run("crashes", scenarios, parallel=8)
    assert not group.failed
    assert max(group.results) < crashes.RESUMED_WITHIN


async def test_a_commit_whose_answer_is_lost_is_not_done_twice(
    server: Server, nursery: Nursery
) -> None:
    await crashes.answer_lost(server.address, nursery, "commit.page.after", SEED)


async def test_a_frozen_worker_that_wakes_up_writes_nothing(
    server: Server, nursery: Nursery
) -> None:
    assert await loads.frozen(server.address, nursery, SEED) > 0


async def test_a_worker_that_is_asked_to_stop_hands_its_work_over(
    server: Server, nursery: Nursery
) -> None:
    assert await loads.drained(server.address, nursery, SEED) < 10


async def test_a_restart_of_the_database_is_a_503_and_nothing_more(
    server: Server, nursery: Nursery
) -> None:
    outage = await databases.restarted(server, nursery, SEED, times=1)
    assert outage.api_back < databases.API_BACK_WITHIN


def test_there_are_many_crash_points() -> None:
    assert len(set(crash_points.ALL)) == len(crash_points.ALL) >= 50
