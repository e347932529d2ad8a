"""Accounts of platforms over REST and gRPC: connecting, central tokens, and no secret anywhere."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql
from structlog.typing import EventDict

from distill_grpc.proto.distill.v1 import connection_service_pb2 as pb
from distill_grpc.proto.distill.v1 import connection_service_pb2_grpc as stubs
from distill_grpc.sources import registry
from distill_grpc.sources.base import (
    Account,
    FetchRequest,
    InvalidConnection,
    Item,
    NoPlatformAuth,
    OAuthFlow,
    Page,
    PlatformError,
    RateLimited,
    SourceInfo,
    TokenExpired,
)
from distill_grpc.sources.budgets import Budget, SlidingWindow
from distill_grpc.sources.registry import Registry, SourceContext
from tests.databases import fresh_database
from tests.servers.tokens import CentralTokens, OAuthServer
from tests.service import TRANSPORTS, Door, Service, start_service

CANARY = "SEKRET"
BUDGET = Budget(name="hub.requests", strategy=SlidingWindow(limit=50, seconds=3600))


class HubSource:
    """A platform with accounts: what a credential is decides how it answers."""

    def __init__(self, context: SourceContext, oauth: OAuthServer) -> None:
        self._context = context
        self._oauth = oauth
        self.info = SourceInfo(
            name="hub",
            title="Hub",
            description="Plays a platform with accounts.",
            oauth_scopes=("read", "offline.access"),
            token_type="OAuth2",
            credentials={"access_token": "a token"},
            settings={"parts": "list of what is read"},
            oauth=OAuthFlow(token_url=oauth.token_url, client_auth="basic"),
        )

    def check(self, credentials: Mapping[str, Any], settings: Mapping[str, Any]) -> None:
        if not credentials.get("access_token"):
            raise InvalidConnection({"credentials.access_token": "is needed"})

    async def identify(
        self, credentials: Mapping[str, Any], settings: Mapping[str, Any]
    ) -> Account:
        token = credentials["access_token"]
        await self._context.budgets.reserve(BUDGET, "a-digest")
        if "refused" in token:
            raise NoPlatformAuth("The platform refuses the token.", permanent=True)
        if "away" in token:
            raise PlatformError("The platform did not answer.", reason="timeout")
        if "busy" in token:
            until = datetime.now(UTC) + timedelta(minutes=10)
            raise RateLimited("The platform asked to wait.", retry_at=until)
        if "old" in token:
            raise TokenExpired("The token has expired.")
        return Account(
            name="ann",
            id="7",
            scopes=("read",),
            missing_scopes=("offline.access",),
            expires_at=datetime.now(UTC) + timedelta(days=3),
        )

    def parts(self, settings: Mapping[str, Any]) -> tuple[str, ...]:
        return tuple(settings.get("parts", ("home",)))

    async def fetch(self, request: FetchRequest) -> AsyncIterator[Page]:
        await self._context.budgets.reserve(BUDGET, "a-digest")
        token = request.credentials["access_token"]
        if "breaks" in token:
            raise RuntimeError(f"a fault that tells {token}")
        if "old" in token:
            raise TokenExpired("The token has expired.")
        item = Item(platform_id="1", published_at=request.now, content="An item.", author="Ann")
        for part in self.parts(request.settings):
            yield Page(part=part, items=[item], cursor={"at": 1})


@pytest.fixture(scope="module")
async def oauth() -> AsyncIterator[OAuthServer]:
    async with OAuthServer(secret=f"{CANARY}-client") as server:
        server.prefix = f"{CANARY}-new-"
        yield server


@pytest.fixture(scope="module")
async def central() -> AsyncIterator[CentralTokens]:
    async with CentralTokens(jwt=f"{CANARY}-service-jwt") as server:
        yield server


@pytest.fixture(scope="module")
async def hub(
    postgres: str,
    tmp_path_factory: pytest.TempPathFactory,
    oauth: OAuthServer,
    central: CentralTokens,
) -> AsyncIterator[Service]:
    """A whole Distill with this one source, its real HTTP client and private addresses refused."""

    def build(_names: tuple[str, ...], **given: Any) -> Registry:
        context = SourceContext(http=given["http"], budgets=given["budgets"])
        return Registry({"hub": HubSource(context, oauth)})

    with fresh_database(postgres) as address, pytest.MonkeyPatch.context() as patch:
        patch.setattr(registry, "build", build)
        async with start_service(
            address,
            tmp_path_factory.mktemp("hub"),
            token_service_url=central.url,
            service_jwt=central.jwt,
        ) as running:
            yield running


async def connect(hub: Service, user: str, body: Any = None, door: Door = "local") -> Any:
    return await hub.call("PUT", "/connections/hub", body or {}, user=user, door=door)


@pytest.mark.parametrize("door", TRANSPORTS)
async def test_what_the_platform_tells_is_shown(hub: Service, user: str, door: Door) -> None:
    body = {"credentials": {"access_token": f"{CANARY}-good"}}
    answer = await connect(hub, user, body, door)
    assert answer.status == 200, answer.text
    assert answer.body["account"] == "ann"
    assert answer.body["scopes"] == ["read"]
    assert answer.body["missing_scopes"] == ["offline.access"]
    assert answer.body["warnings"] == ["missing_scope:offline.access", "credentials_expire"]
    assert answer.body["has_credentials"] is True
    assert answer.body["expires_at"].endswith("Z")


@pytest.mark.parametrize("door", TRANSPORTS)
@pytest.mark.parametrize(
    ("token", "status", "code"),
    [
        ("refused", 403, "no_platform_auth"),
        ("away", 502, "platform_error"),
        ("busy", 429, "rate_limited"),
        ("old", 401, "token_expired"),
    ],
)
async def test_refusals_keep_their_words_and_store_nothing(
    hub: Service, user: str, door: Door, token: str, status: int, code: str
) -> None:
    body = {"credentials": {"access_token": f"{CANARY}-{token}"}}
    answer = await connect(hub, user, body, door)
    assert (answer.status, answer.body["error"]) == (status, code)
    assert answer.body["user_action_required"] is (code in {"no_platform_auth", "token_expired"})
    assert ("retry_after" in answer.body) is (code == "rate_limited")
    assert CANARY not in answer.text
    assert (await hub.call("GET", "/connections", user=user)).body == {"connections": []}


async def test_a_wrong_credential_is_named(hub: Service, user: str, central: CentralTokens) -> None:
    answer = await connect(hub, user, {"credentials": {"token": f"{CANARY}-typo"}})
    assert answer.status == 400
    assert answer.body["details"] == {"credentials.access_token": "is needed"}
    assert CANARY not in answer.text


async def test_settings_are_enough_where_the_central_service_has_the_token(
    hub: Service, user: str, central: CentralTokens
) -> None:
    central.holds("hub", user, f"{CANARY}-central")
    answer = await connect(hub, user, {"settings": {"parts": ["home", "mentions"]}})
    assert answer.status == 200, answer.text
    assert answer.body["has_credentials"] is False
    assert [part["name"] for part in answer.body["parts"]] == ["home", "mentions"]
    assert "credentials_expire" not in answer.body["warnings"]


async def test_who_signed_in_centrally_only_has_to_be_watched(
    hub: Service, user: str, central: CentralTokens
) -> None:
    refused = await hub.call("POST", "/watch", user=user)
    assert (refused.status, refused.body["error"]) == (403, "no_platform_auth")
    central.holds("hub", user, f"{CANARY}-central")
    assert (await hub.call("POST", "/watch", user=user)).status == 201
    metadata = await hub.synced(user)
    assert [source["source"] for source in metadata["sources"]] == ["hub"]
    assert metadata["statistics"]["total_items"] == 1


async def test_without_a_token_there_it_says_what_to_do(hub: Service, user: str) -> None:
    answer = await connect(hub, user)
    assert (answer.status, answer.body["error"]) == (403, "no_platform_auth")
    assert "central token service" in answer.body["message"]


async def test_metadata_tells_what_the_account_may_still_spend(hub: Service, user: str) -> None:
    await connect(hub, user, {"credentials": {"access_token": f"{CANARY}-good"}})
    assert (await hub.call("POST", "/watch", user=user)).status == 201
    metadata = await hub.synced(user)
    (source,) = metadata["sources"]
    assert source["account"] == "ann"
    assert source["warnings"] == ["missing_scope:offline.access", "credentials_expire"]
    (budget,) = source["budgets"]
    assert (budget["name"], budget["unit"], budget["limit"]) == ("hub.requests", "requests", 50)
    assert 0 < budget["left"] < 50
    assert budget["resets_at"].endswith("Z")


async def test_capabilities_tell_the_truth_about_the_source(hub: Service) -> None:
    answer = (await hub.call("GET", "/capabilities", user=None)).body
    needs = answer["platform_requirements"]
    assert needs == {
        "oauth_scopes": ["read", "offline.access"],
        "token_type": "OAuth2",
        "refresh_supported": True,
    }
    (source,) = answer["sources"]
    assert source["central_tokens"] is True
    assert set(source["credentials"]) == {
        "access_token",
        "refresh_token",
        "client_id",
        "client_secret",
        "scope",
    }


async def test_no_secret_is_found_anywhere_in_clear(
    hub: Service,
    oauth: OAuthServer,
    central: CentralTokens,
    log_lines: list[EventDict],
    tmp_path: Path,
) -> None:
    """Every way that a secret can go, then a look at everything that was said, logged and stored."""
    said: list[str] = []

    async def call(*what: Any, **more: Any) -> Any:
        answer = await hub.call(*what, **more)
        said.append(answer.text + json.dumps(dict(answer.headers)))
        return answer

    oauth.refresh_tokens = {f"{CANARY}-refresh"}
    renewable = {
        "refresh_token": f"{CANARY}-refresh",
        "client_id": "client",
        "client_secret": f"{CANARY}-client",
        "access_token": f"{CANARY}-old",
    }
    central.holds("hub", "canary-2", f"{CANARY}-central")
    wishes = {
        "canary-0": {"credentials": {"access_token": f"{CANARY}-breaks"}},
        "canary-1": {"credentials": renewable},
        "canary-2": {},
        "canary-3": {"credentials": {"access_token": f"{CANARY}-refused"}},
        "canary-4": {"credentials": {"access_token": {"nested": f"{CANARY}-odd"}}},
        "canary-5": {"credentials": f"{CANARY}-no-object"},
        "canary-6": {"credentials": {**renewable, "refresh_token": f"{CANARY}-revoked"}},
    }
    statuses = []
    for user, wish in wishes.items():
        for door in TRANSPORTS:
            answer = await call("PUT", "/connections/hub", wish, user=user, door=door)
        statuses.append(answer.status)
        if answer.status == 200:
            assert (await call("POST", "/watch", user=user)).status == 201
            await hub.synced(user)
        for path in ("/connections", "/connections/hub", "/metadata", "/content/recent"):
            await call("GET", path, user=user)
    assert statuses == [200, 200, 200, 403, 200, 400, 403]
    oauth.breaks(500, f"{CANARY}-in-an-error-page")
    central.breaks(200, f'{{"access_token": "{CANARY}-cut')
    for user in ("canary-1", "canary-2"):
        await call("PUT", "/connections/hub", wishes[user], user=user)
    await call("GET", "/metrics", user=None)
    await call("GET", "/health", user=None)
    stub = stubs.ConnectionServiceStub(hub.channel)  # type: ignore[no-untyped-call]
    answered = await stub.ListConnections(
        pb.ListConnectionsRequest(), metadata=hub.metadata("canary-1")
    )
    said.append(str(answered))

    found = [text for text in said if CANARY in text]
    assert found == []
    logged = [line for line in log_lines if CANARY in str(line) or CANARY in repr(line)]
    # A source that puts a token into an exception of its own is its fault; the message is logged
    # whole for the operator, and nothing but that.
    assert [line["event"] for line in logged] == ["source_broke"] * len(logged)
    assert stored_in_clear(str(hub.settings.database_url)) == []
    for path in hub.settings.data_dir.rglob("*"):
        if path.is_file():
            assert CANARY.encode() not in path.read_bytes(), path


def stored_in_clear(database_url: str) -> list[str]:
    """The tables that hold the canary as text, or as the bytes of a text."""
    found = []
    with psycopg.connect(database_url) as connection:
        tables = connection.execute(
            "SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'"
        ).fetchall()
        assert len(tables) > 10
        for (table,) in tables:
            whole = sql.SQL("SELECT count(*) FROM {0} AS t WHERE t::text ILIKE ANY(%s)")
            patterns = [f"%{CANARY}%", f"%{CANARY.encode().hex()}%"]
            (count,) = connection.execute(
                whole.format(sql.Identifier(table)), [patterns]
            ).fetchone() or (0,)
            if count:
                found.append(table)
    return found
