"""Tokens: renewed once however many ask, committed before they are used, never lost."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError

from distill_grpc.errors import DistillError, ErrorReason
from distill_grpc.feed import tokens as feed_tokens
from distill_grpc.feed.store import tokens as token_store
from distill_grpc.sources.base import (
    Account,
    NoPlatformAuth,
    OAuthFlow,
    Page,
    PlatformError,
    RateLimited,
    SourceFailure,
    TokenExpired,
)
from distill_grpc.sources.token_service import TokenService
from tests.integration.feed.scripted import ScriptedSource, items
from tests.integration.feed.world import USER, World
from tests.servers.tokens import CentralTokens, OAuthServer

OWN = {"refresh_token": "refresh-0", "client_id": "client", "client_secret": "s3cret"}


@pytest.fixture
async def platform() -> AsyncIterator[OAuthServer]:
    """A platform that rotates refresh tokens."""
    async with OAuthServer() as server:
        yield server


@pytest.fixture
async def central() -> AsyncIterator[CentralTokens]:
    async with CentralTokens() as server:
        yield server


def oauth_source(world: World, platform: OAuthServer, **flow: Any) -> ScriptedSource:
    """A source whose pages need an access token that is good now."""
    source = ScriptedSource(
        "oauth", ("a", "b"), oauth=OAuthFlow(token_url=platform.token_url, **flow)
    )
    world.sources.clear()
    world.sources["oauth"] = source
    token = flow.get("token_name", "access_token")

    def good(credentials: Mapping[str, Any]) -> bool:
        return credentials.get(token) in platform.access_tokens

    def identify(credentials: Mapping[str, Any]) -> Account:
        if not good(credentials):
            raise TokenExpired("Expired.")
        return Account(name="ann")

    def script(request: Any) -> Any:
        for part in ("a", "b"):
            if part in request.skip:
                continue
            if not good(request.credentials):
                raise TokenExpired("Expired.")
            yield Page(part=part, items=items(part, [1], world.now()), cursor=1)

    source.account = identify
    source.script = script
    return source


def central_source(
    world: World, central: CentralTokens, jwt: str = "service-jwt"
) -> ScriptedSource:
    source = ScriptedSource("oauth", token_type="OAuth2", credentials={"access_token": "…"})
    world.sources.clear()
    world.sources["oauth"] = source
    world.tokens = replace(
        world.tokens, service=TokenService(world.http, central.url, jwt), now=world.now
    )
    source.plays(Page(part="a", items=items("a", [1], world.now())))
    return source


async def test_an_account_connects_by_its_refresh_token_alone(
    world: World, platform: OAuthServer
) -> None:
    source = oauth_source(world, platform)
    await world.connect(credentials=OWN)
    assert platform.calls == 1
    assert (await world.connection()).account == "ann"
    run = await world.watch()
    assert (await world.sync(run)).status == "completed"
    assert platform.calls == 1, "the pair from connecting is used"
    assert source.requests[-1].credentials["access_token"] == "access-1"


@pytest.mark.parametrize("token", [{}, {"access_token": "access-0"}])
async def test_credentials_that_could_never_renew_are_refused(
    world: World, platform: OAuthServer, token: dict[str, str]
) -> None:
    oauth_source(world, platform)
    with pytest.raises(DistillError) as refused:
        await world.connect(credentials={**token, "refresh_token": "refresh-0"})
    assert refused.value.reason == ErrorReason.INVALID_ARGUMENT
    assert refused.value.details.keys() == {"credentials.client_id"}
    assert platform.calls == 0


@pytest.mark.parametrize("client_auth", ["basic", "body"])
async def test_the_client_says_who_it_is_as_the_platform_wants(
    world: World, platform: OAuthServer, client_auth: str
) -> None:
    platform.client = ("client", "s3cret: with/odd+signs")
    oauth_source(world, platform, client_auth=client_auth)
    await world.connect(credentials={**OWN, "client_secret": platform.client[1]})
    assert platform.auth == [client_auth]


async def test_a_token_that_ends_is_renewed_before_it_does(
    world: World, platform: OAuthServer
) -> None:
    source = oauth_source(world, platform, token_name="token")
    await world.connect(credentials=OWN)
    await world.sync(await world.watch())
    world.tokens = replace(world.tokens, now=lambda: world.now() + timedelta(hours=1, minutes=59))
    world.ahead = timedelta(hours=1)
    await world.sync()
    assert platform.calls == 2
    assert source.requests[-1].credentials["token"] == "access-2"
    assert set(source.requests[-1].credentials) == {"token"}, "renewing is not the source's"


async def test_a_token_that_expires_in_the_middle_is_invisible_to_the_user(
    world: World, platform: OAuthServer
) -> None:
    """Part a is read, then the platform forgets the token: b is read with another, a not again."""
    source = oauth_source(world, platform)
    await world.connect(credentials=OWN)
    run = await world.watch()
    script = source.script

    def forgetful(request: Any) -> Any:
        for page in script(request):
            yield page
            if len(source.requests) == 1:
                platform.access_tokens = set()

    source.script = forgetful
    assert (await world.sync(run)).status == "completed"
    assert platform.calls == 2
    assert await world.stored() == ["a-1", "b-1"]
    assert len(source.requests) == 2
    assert source.requests[1].skip == {"a"}
    assert source.requests[1].cursors == {"a": 1}
    assert (await world.report(run))["oauth"].parts_done == 2


async def test_a_part_that_says_so_is_read_again_with_a_new_token_too(
    world: World, platform: OAuthServer
) -> None:
    source = oauth_source(world, platform)
    await world.connect(credentials=OWN)
    run = await world.watch()
    good = source.script

    def script(request: Any) -> Any:
        if request.credentials["access_token"] == "access-1":
            return [Page(part="a", failure=TokenExpired("Expired."))]
        return good(request)

    source.script = script
    assert (await world.sync(run)).status == "completed"
    assert await world.stored() == ["a-1", "b-1"]


async def test_a_refused_new_token_ends_the_run_instead_of_going_round(
    world: World, platform: OAuthServer
) -> None:
    source = oauth_source(world, platform)
    await world.connect(credentials=OWN)
    run = await world.watch()
    source.script = lambda _request: [TokenExpired("Expired.")]
    assert (await world.sync(run)).status == "failed"
    assert platform.calls == 2
    assert (await world.connection()).error_code == "token_expired"


async def test_twenty_who_find_the_token_expired_renew_it_once(
    world: World, platform: OAuthServer, database_url: str
) -> None:
    """Two processes beside this one, and tasks in each: all of them get the same new token."""
    source = oauth_source(world, platform)
    platform.access_tokens = {"old"}
    await world.connect(credentials={**OWN, "access_token": "old"})
    platform.access_tokens = set()
    platform.delay = 0.5
    row = await world.connection()
    order = {
        "database_url": database_url,
        "token_url": platform.token_url,
        "user": USER,
        "key": world.key.hex(),
        "askers": 6,
    }
    others = [
        await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "tests.integration.feed.renewer",
            json.dumps(order),
            stdout=asyncio.subprocess.PIPE,
            cwd=Path(__file__).parents[3],
        )
        for _ in range(2)
    ]
    here = await asyncio.gather(
        *(world.tokens.renewed(source.info, row, {"access_token": "old"}) for _ in range(8))
    )
    found = {str(credentials and credentials["access_token"]) for credentials in here}
    for other in others:
        found |= set(json.loads((await other.communicate())[0]))
    assert found == {"access-1"}
    assert platform.calls == 1


async def test_the_pair_is_committed_before_anybody_uses_it(
    world: World, platform: OAuthServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The database dies in that moment, twice: the pair is stored all the same, and used then."""
    source = oauth_source(world, platform)
    platform.access_tokens = {"old"}
    await world.connect(credentials={**OWN, "access_token": "old"})
    platform.access_tokens = set()
    real = token_store.update_tokens
    fails = iter([True, True])

    async def dying(*args: Any, **kwargs: Any) -> bool:
        if next(fails, False):
            import psycopg

            raise OperationalError("UPDATE", {}, psycopg.OperationalError("gone"))
        return await real(*args, **kwargs)

    monkeypatch.setattr(token_store, "update_tokens", dying)
    monkeypatch.setattr(feed_tokens, "_STORE_AGAIN", (0.01, 0.01))
    assert (await world.sync(await world.watch())).status == "completed"
    assert platform.calls == 1
    kept = (await world.ask("SELECT tokens FROM platform_tokens"))[0].tokens
    opened = world.tokens.vault.open_tokens(USER, "oauth", kept)
    assert opened["values"]["refresh_token"] == "refresh-1"
    assert source.requests[-1].credentials["access_token"] == "access-1"


@pytest.mark.parametrize(
    ("status", "body", "code", "permanent"),
    [
        (400, '{"error": "invalid_grant"}', "no_platform_auth", True),
        (200, '{"error": "bad_refresh_token"}', "no_platform_auth", True),
        (400, '{"error": "invalid_request"}', "no_platform_auth", True),
        (401, '{"error": "invalid_client"}', "token_expired", True),
        (500, "<h1>Oops</h1>", "platform_error", False),
        (503, "", "platform_error", False),
        (429, "", "rate_limited", False),
        (200, "<h1>Welcome</h1>", "platform_error", False),
        (200, '{"access_token": ""}', "platform_error", False),
        (200, '{"access_token": "a\\r\\nb"}', "platform_error", False),
        (200, '["access_token"]', "platform_error", False),
        (302, "", "platform_error", False),
    ],
)
async def test_a_renewal_that_fails_says_whose_matter_it_is(
    world: World, platform: OAuthServer, status: int, body: str, code: str, permanent: bool
) -> None:
    oauth_source(world, platform)
    platform.access_tokens = {"old"}
    await world.connect(credentials={**OWN, "access_token": "old"})
    platform.access_tokens = set()
    headers = {"Location": "http://127.0.0.1:1/"} if status == 302 else {}
    platform.breaks(status, body, **headers)
    run = await world.watch(connects=False)
    result = await world.sync(run)
    assert result.status == "failed"
    row = await world.connection()
    assert (row.error_code, row.permanent) == (code, permanent)
    if permanent:
        return
    # Nothing was lost by it: the next run renews.
    await world.tell("UPDATE connections SET next_attempt_at = NULL, retry_at = NULL")
    assert (await world.sync()).status == "completed"


async def test_without_a_refresh_token_an_expired_one_is_the_end(
    world: World, platform: OAuthServer
) -> None:
    oauth_source(world, platform)
    platform.access_tokens = {"old"}
    await world.connect(credentials={"access_token": "old"})
    platform.access_tokens = set()
    assert (await world.sync(await world.watch(connects=False))).status == "failed"
    assert (await world.connection()).error_code == "token_expired"
    assert platform.calls == 0


async def test_new_credentials_take_the_place_of_all_that_was_kept(
    world: World, platform: OAuthServer
) -> None:
    source = oauth_source(world, platform)
    await world.connect(credentials=OWN)
    platform.access_tokens = {"fresh"}
    await world.connect(credentials={"access_token": "fresh"})
    assert await world.ask("SELECT 1 FROM platform_tokens") == []
    assert (await world.sync(await world.watch(connects=False))).status == "completed"
    assert source.requests[-1].credentials == {"access_token": "fresh"}


async def test_the_central_service_stands_in_for_credentials(
    world: World, central: CentralTokens
) -> None:
    source = central_source(world, central)
    central.holds("oauth", USER, "from-central")
    await world.connect(settings={"parts": ["a"]})
    row = await world.connection()
    assert row.credentials is None
    assert row.scopes == ["read", "write"]
    assert (await world.sync(await world.watch(connects=False))).status == "completed"
    await world.sync()
    assert source.requests[-1].credentials == {"access_token": "from-central"}
    assert central.calls == 1, "answers are kept until they end"
    assert central.paths == [f"/tokens/oauth/{USER}"]


async def test_kept_answers_are_asked_for_again_before_they_end(
    world: World, central: CentralTokens
) -> None:
    central_source(world, central)
    ends = (world.now() + timedelta(hours=1)).isoformat()
    central.holds("oauth", USER, "one", expires_at=ends)
    await world.connect()
    run = await world.watch(connects=False)
    await world.sync(run)
    assert central.calls == 1
    world.ahead = timedelta(minutes=59)
    central.holds("oauth", USER, "two")
    await world.sync()
    assert central.calls == 2
    assert world.source.requests[-1].credentials == {"access_token": "two"}


async def test_twenty_askers_make_one_call(world: World, central: CentralTokens) -> None:
    source = central_source(world, central)
    central.holds("oauth", USER, "one")
    await world.connect()
    await world.tell("UPDATE platform_tokens SET good_until = now() - interval '1 second'")
    central.calls, central.delay = 0, 0.3
    # Keepers of their own, as workers of a fleet have.
    keepers = [replace(world.tokens, _renewing=type(world.tokens._renewing)()) for _ in range(4)]
    row = await world.connection()
    found = await asyncio.gather(*(keepers[n % 4].current(source.info, row) for n in range(20)))
    assert [one["access_token"] for one in found] == ["one"] * 20
    assert central.calls == 1


async def test_users_with_special_names_are_asked_for_by_their_names(
    world: World, central: CentralTokens
) -> None:
    central_source(world, central)
    user = "auth0|a/b?c#d e"
    central.holds("oauth", user, "one")
    await world.connect(user)
    assert central.paths == ["/tokens/oauth/auth0%7Ca%2Fb%3Fc%23d%20e"]


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (401, "", PlatformError),
        (403, "", PlatformError),
        (404, "", NoPlatformAuth),
        (429, "", RateLimited),
        (500, "", PlatformError),
        (302, "", PlatformError),
        (200, "{", PlatformError),
        (200, "[]", PlatformError),
        (200, "{}", PlatformError),
        (200, '{"access_token": 5}', PlatformError),
        (200, '{"access_token": "a", "expires_at": "soon"}', PlatformError),
        (200, '{"access_token": "a", "expires_at": "2024-01-10T12:00:00"}', PlatformError),
        (200, '{"access_token": "a", "expires_at": "2024-01-10T12:00:00Z"}', TokenExpired),
        (200, '{"access_token": "' + "x" * 100_000 + '"}', PlatformError),
    ],
)
async def test_what_the_central_service_says_is_told_for_what_it_is(
    world: World, central: CentralTokens, status: int, body: str, kind: type[SourceFailure]
) -> None:
    central_source(world, central)
    headers = {"Location": f"{central.url}/tokens/oauth/other"} if status == 302 else {}
    central.breaks(status, body, **headers)
    with pytest.raises(DistillError) as refused:
        await world.connect()
    assert refused.value.code == kind.code
    assert central.calls == 1
    assert await world.ask("SELECT 1 FROM connections") == []


async def test_own_credentials_go_before_the_central_service(
    world: World, central: CentralTokens
) -> None:
    source = central_source(world, central)
    await world.connect(credentials={"access_token": "own"})
    await world.sync(await world.watch(connects=False))
    assert source.requests[-1].credentials == {"access_token": "own"}
    assert central.calls == 0


async def test_a_central_service_that_is_away_fails_one_source_and_not_the_run(
    world: World, central: CentralTokens
) -> None:
    central_source(world, central)
    central.holds("oauth", USER, "one")
    other = world.add_source("other")
    other.plays(Page(part="a", items=items("a", [1], world.now())))
    await world.connect(source="oauth")
    await world.connect(source="other")
    await world.tell("UPDATE platform_tokens SET good_until = now() - interval '1 second'")
    central.breaks(503)
    run = await world.watch(connects=False)
    assert (await world.sync(run)).status == "partial"
    assert (await world.report(run))["oauth"].error_code == "platform_error"
    # Away for a moment is not for ever.
    await world.tell("UPDATE connections SET next_attempt_at = NULL")
    assert (await world.sync()).status == "completed"
