"""Accounts that are listened to: by one worker at a time, for as long as the user wants it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest

from distill_grpc.feed.listening import AFTER_FAILURE, AFTER_NO_HINTS, Listener
from distill_grpc.sources.base import PlatformError, RateLimited, SourceFailure
from tests.integration.feed.scripted import ScriptedSource
from tests.integration.feed.waiting import until
from tests.integration.feed.world import USER, World

LISTENS = {"idle": True}


class TellingSource(ScriptedSource):
    """Tells what the test puts into `news`, or fails as the test says."""

    def __init__(self) -> None:
        super().__init__("telling")
        self.news: asyncio.Queue[str | BaseException] = asyncio.Queue()
        self.given: list[Mapping[str, Any]] = []
        self.open = 0

    async def hints(
        self, credentials: Mapping[str, Any], _settings: Mapping[str, Any]
    ) -> AsyncGenerator[str, None]:
        self.given.append(dict(credentials))
        self.open += 1
        try:
            while True:
                told = await self.news.get()
                if isinstance(told, BaseException):
                    raise told
                yield told
        finally:
            self.open -= 1


@pytest.fixture
def source(world: World) -> TellingSource:
    telling = TellingSource()
    world.sources.clear()
    world.sources["telling"] = telling
    return telling


@asynccontextmanager
async def listening(world: World, **options: Any) -> AsyncIterator[Listener]:
    listener = Listener(engine=world.engine, sources=world.sources, tokens=world.tokens, **options)
    try:
        yield listener
    finally:
        await listener.close()


async def watched(world: World, user: str = USER, settings: Any = None) -> None:
    """A watched account whose next sync is far away."""
    settings = LISTENS if settings is None else settings
    await world.connect(user, settings=settings, credentials={"token": "secret"})
    run = await world.watch(user, connects=False)
    await world.sync(run, user)
    await world.tell("UPDATE watches SET next_sync_at = now() + interval '5 hours'")


async def is_due(world: World, user: str = USER) -> bool:
    watch = await world.watched(user)
    return bool(watch.next_sync_at < world.now() + timedelta(minutes=1))


async def paused(world: World) -> timedelta:
    connection = await world.connection()
    assert connection.listener is None
    pause: timedelta = connection.listened_until - world.now()
    return pause


def opened(source: TellingSource, count: int = 1) -> Any:
    async def there() -> bool:
        return source.open == count

    return until(there)


async def test_what_is_told_makes_a_sync_due(world: World, source: TellingSource) -> None:
    await watched(world)
    async with listening(world) as listener:
        await listener.tick()
        await opened(source)
        assert source.given == [{"token": "secret"}]
        assert not await is_due(world)
        source.news.put_nowait("a")
        await until(lambda: is_due(world))
        assert (await world.part("a")).pushed_at is not None


async def test_who_does_not_want_it_is_not_listened_to(world: World, source: TellingSource) -> None:
    await watched(world, "user_1", settings={})
    await watched(world, "user_2", settings={"idle": False})
    async with listening(world) as listener:
        await listener.tick()
        await asyncio.sleep(0.1)
        assert source.given == []


async def test_two_workers_share_the_accounts_and_never_listen_twice(
    world: World, source: TellingSource
) -> None:
    for number in range(6):
        await watched(world, f"user_{number}")
    async with listening(world, most=4) as one, listening(world, most=4) as other:
        for _ in range(3):
            await asyncio.gather(one.tick(), other.tick())
        await opened(source, 6)
        assert len(source.given) == 6


async def test_another_takes_over_from_a_worker_that_died(
    world: World, source: TellingSource
) -> None:
    await watched(world)
    async with listening(world, lease=timedelta(seconds=0.5)) as dead:
        await dead.tick()
        await opened(source)
        async with listening(world) as other:
            await other.tick()
            await asyncio.sleep(0.6)  # the lease runs out: nobody extends it
            await other.tick()
            await opened(source, 2)
            await dead.tick()  # it was only frozen: the account is not its own any more
            await opened(source, 1)


async def test_a_worker_that_stops_hands_over_at_once(world: World, source: TellingSource) -> None:
    await watched(world)
    async with listening(world) as first:
        await first.tick()
        await opened(source)
    assert source.open == 0
    async with listening(world) as second:
        await second.tick()
        await opened(source)


@pytest.mark.parametrize("change", ["unwatch", "disconnect", "other settings"])
async def test_listening_ends_when_the_user_wants_no_more_of_it(
    world: World, source: TellingSource, change: str
) -> None:
    await watched(world)
    async with listening(world) as listener:
        await listener.tick()
        await opened(source)
        if change == "unwatch":
            await world.unwatch()
        elif change == "disconnect":
            await world.tell("DELETE FROM connections")
        else:
            await world.connect(settings={})
        await listener.tick()
        await opened(source, 0)
        await listener.tick()
        await asyncio.sleep(0.1)
        assert source.open == 0


async def test_new_credentials_are_listened_with_at_once(
    world: World, source: TellingSource
) -> None:
    await watched(world)
    async with listening(world) as listener:
        await listener.tick()
        await opened(source)
        await world.connect(settings=LISTENS, credentials={"token": "another"})
        await listener.tick()
        await until(lambda: _asked(source, 2))
        await opened(source, 1)
        assert source.given[-1] == {"token": "another"}


@pytest.mark.parametrize(
    ("failure", "pause"),
    [
        (PlatformError("It went away.", reason="broken_off"), AFTER_FAILURE),
        (PlatformError("It tells nothing.", reason="no_hints"), AFTER_NO_HINTS),
        (RuntimeError("a fault of ours"), AFTER_FAILURE),
    ],
)
async def test_after_a_failure_there_is_a_pause(
    world: World, source: TellingSource, failure: Exception, pause: timedelta
) -> None:
    await watched(world)
    async with listening(world) as listener:
        await listener.tick()
        source.news.put_nowait(failure)
        await until(lambda: _asked(source, 1))
        await opened(source, 0)
        await until(lambda: _released(world))
        assert timedelta(seconds=-5) < await paused(world) - pause <= timedelta(0)
        await listener.tick()
        await asyncio.sleep(0.1)
        assert len(source.given) == 1


async def test_the_instant_that_a_platform_names_is_kept(
    world: World, source: TellingSource
) -> None:
    await watched(world)
    async with listening(world) as listener:
        await listener.tick()
        at = world.now() + timedelta(hours=2)
        refusal: SourceFailure = RateLimited("Not now.", retry_at=at)
        source.news.put_nowait(refusal)
        await until(lambda: _released(world))
        assert timedelta(hours=1, minutes=59) < await paused(world) <= timedelta(hours=2)


async def _asked(source: TellingSource, times: int) -> bool:
    return len(source.given) == times


async def _released(world: World) -> bool:
    connection = await world.connection()
    return connection.listener is None and connection.listened_until is not None
