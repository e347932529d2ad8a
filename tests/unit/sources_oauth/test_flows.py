"""Where each platform renews tokens, and what a token's answer may look like."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from distill_grpc.sources import oauth
from distill_grpc.sources.base import OAuthFlow, PlatformError

NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("flow", "token_url"),
    [
        (oauth.github(), "https://github.com/login/oauth/access_token"),
        (
            oauth.github("https://ghe.example/api/v3"),
            "https://ghe.example/login/oauth/access_token",
        ),
        (oauth.github("https://api.o.ghe.com"), "https://o.ghe.com/login/oauth/access_token"),
        (
            oauth.github("http://127.0.0.1:81/api"),
            "http://127.0.0.1:81/login/oauth/access_token",
        ),
        (oauth.x(), "https://api.x.com/2/oauth2/token"),
        (oauth.x("http://127.0.0.1:82/"), "http://127.0.0.1:82/2/oauth2/token"),
        (oauth.x("http://127.0.0.1:82/2"), "http://127.0.0.1:82/2/oauth2/token"),
        (oauth.google(), "https://oauth2.googleapis.com/token"),
        (oauth.google("http://127.0.0.1:83/t"), "http://127.0.0.1:83/t"),
        (oauth.named_by_credentials(), None),
    ],
)
def test_tokens_are_renewed_beside_the_api(flow: OAuthFlow, token_url: str | None) -> None:
    assert flow.token_url == token_url


@pytest.mark.parametrize(
    ("credentials", "possible"),
    [
        ({"refresh_token": "r", "client_id": "c"}, True),
        ({"refresh_token": "r", "client_id": "c", "client_secret": "s"}, True),
        ({"refresh_token": "r"}, False),
        ({"client_id": "c", "access_token": "a"}, False),
        ({"refresh_token": 5, "client_id": "c"}, False),
    ],
)
def test_a_renewal_needs_a_refresh_token_and_a_client(
    credentials: dict[str, Any], possible: bool
) -> None:
    assert oauth.can_renew(oauth.x(), credentials) is possible
    assert oauth.can_renew(None, credentials) is False
    named = {**credentials, "token_url": "https://login.example/token"}
    assert oauth.can_renew(oauth.named_by_credentials(), named) is possible
    assert oauth.can_renew(oauth.named_by_credentials(), credentials) is False


@pytest.mark.parametrize(
    ("told", "end"),
    [
        ({"expires_in": 3600}, NOW + timedelta(hours=1)),
        ({"expires_in": "3600"}, NOW + timedelta(hours=1)),
        ({"expires_in": 0}, NOW),
        ({"expires_in": 10**30}, NOW + timedelta(days=366)),
        ({"expires_in": True}, None),
        ({"expires_in": -5}, None),
        ({"expires_at": "2026-11-26T13:00:00Z"}, NOW + timedelta(hours=1)),
        ({"expires_at": "2026-11-26T14:00:00.5+01:00"}, NOW + timedelta(hours=1)),
        ({"expires_at": None}, None),
        ({}, None),
    ],
)
def test_the_end_of_a_token(told: dict[str, Any], end: datetime | None) -> None:
    tokens = oauth.read_tokens({"access_token": "a", **told}, "token", now=NOW)
    assert tokens.expires_at == end
    assert tokens.values == {"token": "a"}


@pytest.mark.parametrize(
    ("told", "scopes"),
    [
        ({"scope": "read offline.access"}, ("read", "offline.access")),
        ({"scope": "repo,user"}, ("repo", "user")),
        ({"scopes": ["read", "write"]}, ("read", "write")),
        ({"scopes": [1]}, None),
        ({}, None),
    ],
)
def test_the_scopes_of_a_token(told: dict[str, Any], scopes: tuple[str, ...] | None) -> None:
    assert oauth.read_tokens({"access_token": "a", **told}, "token", now=NOW).scopes == scopes


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"access_token": None},
        {"access_token": ""},
        {"access_token": "a\nb"},
        {"access_token": "a", "expires_at": 5},
        {"access_token": "a", "expires_at": "tomorrow"},
    ],
)
def test_what_is_no_token_is_refused(answer: dict[str, Any]) -> None:
    with pytest.raises(PlatformError):
        oauth.read_tokens(answer, "token", now=NOW)


def test_tokens_do_not_show_themselves() -> None:
    tokens = oauth.read_tokens({"access_token": "SEKRET"}, "token", now=NOW)
    assert "SEKRET" not in repr(tokens)


@pytest.mark.parametrize(
    ("credentials", "wrong"),
    [
        ({}, set()),
        ({"access_token": "a"}, set()),
        ({"refresh_token": "r", "client_id": "c", "scope": "x"}, set()),
        ({"refresh_token": "r"}, {"credentials.client_id"}),
        ({"scope": "x"}, {"credentials.refresh_token", "credentials.client_id"}),
        ({"client_id": "c"}, {"credentials.refresh_token"}),
        ({"client_id": 5, "refresh_token": "r"}, {"credentials.client_id"}),
        ({"client_id": "", "refresh_token": "r"}, {"credentials.client_id"}),
        ({"client_id": "c", "refresh_token": "r\n"}, {"credentials.refresh_token"}),
    ],
)
def test_what_a_renewal_lacks_is_named(credentials: dict[str, Any], wrong: set[str]) -> None:
    assert oauth.check_renewal(oauth.github(), credentials).keys() == wrong
    assert oauth.check_renewal(None, credentials) == {}


def test_where_many_platforms_are_meant_the_credentials_name_where_to_renew() -> None:
    given = {"refresh_token": "r", "client_id": "c"}
    told = oauth.check_renewal(oauth.named_by_credentials(), given)
    assert told.keys() == {"credentials.token_url"}
