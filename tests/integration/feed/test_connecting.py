"""Connecting an account: the platform is asked whose it is, and only then anything is stored."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from distill_grpc.errors import DistillError
from distill_grpc.feed import connecting, freshness
from distill_grpc.sources.base import (
    Account,
    InvalidConnection,
    NoPlatformAuth,
    Page,
    PlatformError,
    RateLimited,
    TokenExpired,
)
from tests.integration.feed.world import USER, World

LATER = datetime(2030, 1, 1, tzinfo=UTC)


async def stored(world: World) -> int:
    rows = await world.ask("SELECT 1 FROM connections UNION ALL SELECT 1 FROM connection_parts")
    return len(rows)


async def test_what_the_platform_tells_is_stored_and_given_to_the_source(world: World) -> None:
    world.source.account = Account(
        name="octocat\x00",
        id="583231",
        scopes=("notifications", "read:user"),
        missing_scopes=("repo",),
        expires_at=LATER,
    )
    await world.connect(credentials={"token": "t0ken"})
    row = await world.connection()
    assert (row.account, row.account_id) == ("octocat", "583231")
    assert row.scopes == ["notifications", "read:user"]
    assert row.expires_at == LATER
    assert freshness.connection_warnings(row, world.now()) == ["missing_scope:repo"]
    assert world.source.identified == [({"token": "t0ken"}, {})]
    run = await world.watch()
    await world.sync(run)
    request = world.source.requests[-1]
    assert (request.user, request.account) == (USER, "octocat")
    assert request.credentials == {"token": "t0ken"}


@pytest.mark.parametrize(
    ("failure", "code"),
    [
        (NoPlatformAuth("Bad credentials.", permanent=True), "no_platform_auth"),
        (TokenExpired("Expired."), "token_expired"),
        (PlatformError("Away.", reason="timeout"), "platform_error"),
        (RateLimited("Wait.", retry_at=LATER), "rate_limited"),
    ],
)
async def test_what_the_platform_refuses_is_told_and_not_stored(
    world: World, failure: Exception, code: str
) -> None:
    world.source.account = failure
    with pytest.raises(DistillError) as refused:
        await world.connect(credentials={"token": "t0ken"})
    assert refused.value.code == code
    assert refused.value.retry_after == (LATER if code == "rate_limited" else None)
    assert await stored(world) == 0


async def test_what_is_there_stays_when_a_change_is_refused(world: World) -> None:
    await world.connect(credentials={"token": "good"}, settings={"parts": ["a", "b"]})
    before = await world.connection()
    world.source.account = NoPlatformAuth("Bad credentials.")
    with pytest.raises(DistillError):
        await world.connect(credentials={"token": "bad"}, settings={"parts": ["c"]})
    assert await world.connection() == before
    assert {row.part for row in await world.ask("SELECT part FROM connection_parts")} == {"a", "b"}


async def test_what_only_the_platform_can_know_to_be_wrong_is_named(world: World) -> None:
    world.source.account = InvalidConnection({"settings.channels[0]": "is no channel"})
    with pytest.raises(DistillError) as refused:
        await world.connect(settings={"channels": ["nobody"]})
    assert refused.value.code == "invalid_argument"
    assert refused.value.details == {"settings.channels[0]": "is no channel"}


async def test_a_platform_that_does_not_answer_is_given_up(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connecting, "IDENTIFY_TIMEOUT", 0.05)
    world.source.account = asyncio.Event()
    with pytest.raises(DistillError) as refused:
        await world.connect()
    assert refused.value.code == "platform_error"
    assert await stored(world) == 0


async def test_no_connection_of_the_pool_is_held_while_a_platform_thinks(world: World) -> None:
    thinking = asyncio.Event()
    world.source.account = thinking
    users = [f"user_{n}" for n in range(20)]  # more than the pool has connections
    waiting = [asyncio.create_task(world.connect(user)) for user in users]
    async with asyncio.timeout(20):
        while len(world.source.identified) < len(users):
            await asyncio.sleep(0.01)
    thinking.set()
    await asyncio.gather(*waiting)
    assert len(await world.ask("SELECT 1 FROM connections")) == len(users)


async def test_settings_alone_keep_the_credentials_also_when_both_change_at_once(
    world: World,
) -> None:
    await world.connect(credentials={"token": "one"}, settings={"parts": ["a"]})
    thinking = asyncio.Event()
    world.source.account = thinking
    slow = asyncio.create_task(world.connect(settings={"parts": ["b"]}))
    while len(world.source.identified) < 2:
        await asyncio.sleep(0.01)
    world.source.account = Account()
    await world.connect(credentials={"token": "two"})
    thinking.set()
    await slow
    row = await world.connection()
    assert world.tokens.vault.open_credentials(row) == {"token": "two"}
    assert row.settings == {"parts": ["b"]}
    # The credentials that are kept are those that the platform was asked about at the end.
    assert world.source.identified[-1] == ({"token": "two"}, {"parts": ["b"]})


@pytest.mark.parametrize(("days", "warned"), [(-1, True), (6.9, True), (7.1, False), (None, False)])
async def test_the_user_is_told_a_week_before_the_credentials_end(
    world: World, days: float | None, warned: bool
) -> None:
    ends = world.now() + timedelta(days=days) if days is not None else None
    world.source.account = Account(expires_at=ends)
    await world.connect(credentials={"token": "t0ken"})
    warnings = freshness.connection_warnings(await world.connection(), world.now())
    assert warnings == (["credentials_expire"] if warned else [])


async def test_connecting_again_replaces_what_the_platform_had_told(world: World) -> None:
    world.source.account = Account(name="old", missing_scopes=("repo",), expires_at=LATER)
    await world.connect(credentials={"token": "t0ken"})
    world.source.account = Account(name="new")
    await world.connect(credentials={"token": "other"})
    row: Any = await world.connection()
    assert (row.account, row.missing_scopes, row.expires_at) == ("new", [], None)


async def shown(world: World) -> tuple[str, str | None]:
    """The state of the account, and the error that its part `a` shows."""
    row, part = await world.connection(), await world.part("a")
    return freshness.connection_state(row, [part]), part.error_code


async def test_an_account_that_fails_as_a_whole_is_failing_until_it_is_read(world: World) -> None:
    world.source.plays(Page(part="a"))
    await world.sync(await world.watch())
    assert await shown(world) == ("ok", None)
    world.source.plays(PlatformError("Away.", reason="timeout"))
    await world.sync(await world.request())
    assert await shown(world) == ("failing", None)
    world.source.plays(Page(part="a"))
    await world.sync(await world.request())
    assert await shown(world) == ("ok", None)


async def test_a_part_that_is_given_a_new_chance_is_pending_without_its_old_error(
    world: World,
) -> None:
    world.source.plays(Page(part="a"))
    await world.sync(await world.watch())
    gone = PlatformError("Gone.", reason="gone", permanent=True)
    world.source.plays(Page(part="a", failure=gone))
    await world.sync()
    assert await shown(world) == ("action_required", "platform_error")
    await world.connect()
    assert await shown(world) == ("pending", None)
    assert (await world.part("a")).error_message is None
    world.source.plays(Page(part="a"))
    await world.sync()
    assert await shown(world) == ("ok", None)
