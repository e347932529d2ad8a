"""What may be written down for GitHub, and what a token says about itself."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from distill_grpc.sources.base import InvalidConnection, PlatformError, TokenExpired
from distill_grpc.sources.github import GithubSource
from distill_grpc.sources.http import HttpClient
from distill_grpc.sources.registry import SourceContext
from tests.servers.github import GithubServer
from tests.servers.platform import plain
from tests.unit.sources_github.conftest import TOKEN

GOOD = {"token": TOKEN}


@pytest.mark.parametrize(
    ("credentials", "settings", "fields"),
    [
        ({}, {}, {"credentials.token"}),
        ({"token": ""}, {}, {"credentials.token"}),
        ({"token": "a b"}, {}, {"credentials.token"}),
        ({"token": "a\r\nX: y"}, {}, {"credentials.token"}),
        (
            {"token": 7, "pin": 1},
            {"colour": 1},
            {"credentials.token", "credentials.pin", "settings.colour"},
        ),
        (GOOD, {"include": "notifications"}, {"settings.include"}),
        (GOOD, {"include": ["notifications", "notifications"]}, {"settings.include[1]"}),
        (GOOD, {"include": ["mail", {}]}, {"settings.include[0]", "settings.include[1]"}),
        (GOOD, {"include": []}, {"settings.repositories"}),
        (GOOD, {"repositories": {}}, {"settings.repositories"}),
        (GOOD, {"repositories": ["a/b"] * 301}, {"settings.repositories"}),
        (
            GOOD,
            {"repositories": ["a/b", "A/B", "a", "a/b/c", "a/..", 7, "a/b?x"]},
            {f"settings.repositories[{n}]" for n in range(1, 7)},
        ),
        ({"token": "github_pat_x"}, {}, {"credentials.token"}),
    ],
)
def test_each_wrong_field_is_named(
    credentials: dict[str, Any], settings: dict[str, Any], fields: set[str], source: GithubSource
) -> None:
    with pytest.raises(InvalidConnection) as wrong:
        source.check(credentials, settings)
    assert set(wrong.value.details) == fields


def test_a_fine_grained_token_may_read_what_it_can(source: GithubSource) -> None:
    source.check({"token": "github_pat_x"}, {"include": ["received_events"]})
    source.check({"token": "github_pat_x"}, {"include": [], "repositories": ["a/b"]})


@pytest.mark.parametrize(
    ("settings", "parts"),
    [
        ({}, ("notifications", "received_events")),
        ({"include": [], "repositories": ["a/b"]}, ("releases:a/b",)),
        ({"repositories": ["a/b"]}, ("notifications", "received_events", "releases:a/b")),
        ({"include": ["notifications", "starred"]}, ()),
    ],
)
def test_parts_are_those_that_the_settings_name(
    settings: dict[str, Any], parts: tuple[str, ...], source: GithubSource
) -> None:
    assert source.parts(settings) == parts


@pytest.mark.parametrize(
    ("granted", "settings", "scopes", "missing"),
    [
        ("notifications, read:user", {}, ("notifications", "read:user"), ()),
        ("repo, user", {}, ("repo", "user"), ()),
        ("gist", {}, ("gist",), ("notifications", "read:user")),
        ("gist", {"include": [], "repositories": ["a/b"]}, ("gist",), ()),
        ("", {}, (), ("notifications", "read:user")),
        (None, {}, None, ()),
    ],
)
async def test_a_token_says_what_it_may_do(
    granted: str | None,
    settings: dict[str, Any],
    scopes: tuple[str, ...] | None,
    missing: tuple[str, ...],
    github: GithubServer,
    source: GithubSource,
) -> None:
    github.accounts[TOKEN].scopes = granted
    account = await source.identify(GOOD, settings)
    assert (account.name, account.id) == ("octocat", "583231")
    assert (account.scopes, account.missing_scopes) == (scopes, missing)
    assert account.expires_at is None


@pytest.mark.parametrize(
    ("written", "instant"),
    [
        ("2026-12-24 10:00:00 UTC", datetime(2026, 12, 24, 10, tzinfo=UTC)),
        ("2026-12-24 10:00:00 +0100", datetime(2026, 12, 24, 9, tzinfo=UTC)),
        ("2026-12-24 10:00:00 -0800", datetime(2026, 12, 24, 18, tzinfo=UTC)),
        ("soon", None),
        ("2026-13-45 10:00:00 UTC", None),
    ],
)
async def test_a_token_says_when_it_ends(
    written: str, instant: datetime | None, github: GithubServer, source: GithubSource
) -> None:
    headers = {"github_authentication_token_expiration": written}
    github.fault("/user", plain(200, '{"login": "o", "id": 1}', "application/json", **headers))
    assert (await source.identify(GOOD, {})).expires_at == instant


async def test_a_refused_token_is_no_account(github: GithubServer, source: GithubSource) -> None:
    with pytest.raises(TokenExpired):
        await source.identify({"token": "other"}, {})
    github.fault("/user", plain(200, '{"login": null}', "application/json"))
    with pytest.raises(PlatformError):
        await source.identify(GOOD, {})


@pytest.mark.parametrize(
    ("root", "site"),
    [
        ({}, "https://github.com"),
        ({"github": "https://api.github.com/"}, "https://github.com"),
        ({"github": "https://github.corp.example/api/v3"}, "https://github.corp.example"),
    ],
)
def test_links_lead_to_the_github_that_is_read(
    root: dict[str, str], site: str, http: HttpClient
) -> None:
    assert GithubSource(SourceContext(http=http, api_urls=root))._site == site
