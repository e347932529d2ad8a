"""Keys for stored credentials: rotated while everything runs, and missed where they are missing."""

from __future__ import annotations

import asyncio
import base64
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncConnection

from distill_grpc.encryption import Keyring
from distill_grpc.feed import keys
from distill_grpc.feed.pushing import Pushing
from distill_grpc.feed.sealing import Vault
from distill_grpc.feed.store import pushes, tokens
from distill_grpc.settings import SettingsError
from distill_grpc.sources.base import Page
from tests.integration.feed.scripted import items
from tests.integration.feed.world import World
from tests.service import start_service

OLD, NEW = os.urandom(32), os.urandom(32)


def given(world: World, *ring: bytes) -> Keyring:
    """The keys that everybody has from now on, newest first."""
    keyring = Keyring(ring)
    world.tokens = replace(world.tokens, vault=Vault(keyring))
    return keyring


async def populated(world: World, users: int) -> None:
    for n in range(users):
        user = f"user_{n}"
        await world.connect(user, credentials={"token": f"secret {n}"})
        sealed = world.tokens.vault.seal_tokens(user, "scripted", {"values": {"a": user}})
        async with world.engine.begin() as connection:
            await tokens.upsert_tokens(connection, user, "scripted", sealed=sealed, good_until=None)


async def opened(world: World, users: int) -> list[Any]:
    found = []
    for n in range(users):
        row = await world.connection(user=f"user_{n}")
        found.append(world.tokens.vault.open_credentials(row)["token"])
    return found


@pytest.mark.parametrize("batch", [1, 2, 7, 100])
async def test_after_a_rotation_the_old_key_can_be_taken_away(
    world: World, monkeypatch: pytest.MonkeyPatch, batch: int
) -> None:
    monkeypatch.setattr(keys, "BATCH", batch)
    old = given(world, OLD)
    await populated(world, 7)
    both = given(world, NEW, OLD)
    uses = await keys.list_keys(world.engine, both)
    assert [(use.key_id, use.values, use.seals) for use in uses] == [
        (both.current_key_id, 0, True),
        (old.current_key_id, 14, False),
    ]
    done = await keys.rotate(world.engine, both)
    assert (done.sealed, done.left) == ({"credentials": 7, "tokens": 7, "push secrets": 0}, 0)
    new = given(world, NEW)
    await keys.require_all(world.engine, new)
    assert await opened(world, 7) == [f"secret {n}" for n in range(7)]
    again = await keys.rotate(world.engine, new)
    assert again.sealed == dict.fromkeys(done.sealed, 0)


async def test_a_rotation_seals_push_secrets_too_and_their_addresses_stay(world: World) -> None:
    old = given(world, OLD)
    urls = {}
    async with world.engine.begin() as connection:
        for n in range(5):
            user = f"user_{n}"
            await Pushing(old, "https://here.example").offered(
                connection,
                user,
                "rss",
                "a",
                hub="https://hub.example/",
                topic="https://feeds.example/a",
                now=world.now(),
            )
            urls[user] = await push_url(connection, old, user)
    both, new = given(world, NEW, OLD), given(world, NEW)
    with pytest.raises(ValueError, match="5 stored values"):
        await keys.require_all(world.engine, new)
    done = await keys.rotate(world.engine, both)
    assert (done.sealed["push secrets"], done.left) == (5, 0)
    await keys.require_all(world.engine, new)
    async with world.engine.connect() as connection:
        assert {user: await push_url(connection, new, user) for user in urls} == urls


async def push_url(connection: AsyncConnection, keyring: Keyring, user: str) -> str:
    (endpoint,) = await pushes.list_of_user(connection, user)
    return Pushing(keyring, "https://here.example").url(endpoint)


async def test_push_addresses_of_a_lost_key_go_with_it(world: World) -> None:
    old, new = given(world, OLD), given(world, NEW)
    hub: dict[str, Any] = {"hub": "https://hub.example/", "topic": "https://feeds.example/a"}
    async with world.engine.begin() as connection:
        for n, keyring in enumerate([old, new]):
            pushing = Pushing(keyring, "https://here.example")
            await pushing.offered(connection, f"user_{n}", "rss", "a", **hub, now=world.now())
    assert await keys.forget_missing(world.engine, new) == 1
    async with world.engine.connect() as connection:
        assert await pushes.list_of_user(connection, "user_0") == []
        assert await push_url(connection, new, "user_1")


async def test_two_rotations_at_once_disturb_neither_each_other_nor_syncs(world: World) -> None:
    given(world, OLD)
    await populated(world, 12)
    both = given(world, NEW, OLD)
    world.source.plays(Page(part="a", items=items("a", [1], world.now())))
    runs = [await world.watch(f"user_{n}") for n in range(12)]
    done = await asyncio.gather(
        keys.rotate(world.engine, both),
        keys.rotate(world.engine, both),
        *(world.sync(run, f"user_{n}") for n, run in enumerate(runs)),
    )
    assert [run.status for run in done[2:]] == ["completed"] * 12
    assert done[0].left == done[1].left == 0
    given(world, NEW)
    assert await opened(world, 12) == [f"secret {n}" for n in range(12)]


async def test_a_missing_key_stops_the_start_and_says_how_to_go_on(world: World) -> None:
    old = given(world, OLD)
    await populated(world, 2)
    new = given(world, NEW)
    with pytest.raises(ValueError, match="4 stored values") as refused:
        await keys.require_all(world.engine, new)
    assert old.current_key_id in str(refused.value)
    assert (await keys.rotate(world.engine, new)).left == 4
    assert await keys.forget_missing(world.engine, new) == 4
    await keys.require_all(world.engine, new)
    assert (await world.connection(user="user_0")).credentials is None


async def test_with_nothing_sealed_any_key_will_do(world: World) -> None:
    await world.connect()
    await keys.require_all(world.engine, Keyring([NEW]))


async def test_a_service_whose_key_was_lost_does_not_start(
    database_url: str, tmp_path: Path
) -> None:
    first, other = base64.b64encode(OLD).decode(), base64.b64encode(NEW).decode()
    options = {"mock": True, "worker": False}
    async with start_service(
        database_url, tmp_path, encryption_keys=(first,), **options
    ) as service:
        body = {"credentials": {"token": "s3cret"}}
        assert (await service.call("PUT", "/connections/github", body)).status == 200
    with pytest.raises(SettingsError, match="DISTILL_ENCRYPTION_KEYS: 1 stored value") as refused:
        async with start_service(database_url, tmp_path, encryption_keys=(other,), **options):
            pytest.fail("it started")
    assert "\n" not in str(refused.value)
    async with start_service(
        database_url, tmp_path, encryption_keys=(other, first), **options
    ) as service:
        assert (await service.call("GET", "/connections/github")).status == 200
