"""What YouTube's refusals mean, and that its quota is kept."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from distill_grpc.sources.base import (
    InvalidConnection,
    NoPlatformAuth,
    PlatformError,
    RateLimited,
    TokenExpired,
)
from distill_grpc.sources.http import HttpClient
from distill_grpc.sources.registry import SourceContext
from distill_grpc.sources.youtube import YoutubeSource
from tests.servers.fixtures import fixtures_dir
from tests.servers.platform import Clock, html, http_date, plain
from tests.servers.reader import LedgerBudgets, Reader
from tests.servers.youtube import YoutubeServer, midnight
from tests.unit.sources_youtube.conftest import KEY, NOW, TOKEN


@pytest.fixture
def channel(youtube: YoutubeServer, reader: Reader) -> str:
    made = youtube.add_channel("Slow Machines", handle="@slowmachines")
    youtube.add_video(made, "First")
    reader.settings = {"channels": [made], "feeds": False}
    return made


def obeyed(told: datetime | None, instant: datetime) -> bool:
    return told is not None and instant <= told <= instant + timedelta(seconds=2)


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        ("2026-03-07T18:00:00+00:00", "2026-03-08T08:00:00+00:00"),
        # Summer time begins on 8 March 2026: that day has 23 hours.
        ("2026-03-08T08:00:00+00:00", "2026-03-09T07:00:00+00:00"),
        ("2026-07-01T06:59:59+00:00", "2026-07-01T07:00:00+00:00"),
        # It ends on 1 November: that day has 25.
        ("2026-11-01T07:00:00+00:00", "2026-11-02T08:00:00+00:00"),
        ("2026-12-31T23:00:00+00:00", "2027-01-01T08:00:00+00:00"),
    ],
)
async def test_a_spent_day_lasts_until_midnight_pacific_time(
    now: str, expected: str, youtube: YoutubeServer, reader: Reader, clock: Clock, channel: str
) -> None:
    clock.advance(seconds=(datetime.fromisoformat(now) - clock()).total_seconds())
    assert midnight(clock()) == datetime.fromisoformat(expected)
    youtube.quota = 0
    failure = await reader.fails()
    assert isinstance(failure, RateLimited)
    assert failure.reason == "quota_exceeded"
    assert obeyed(failure.retry_at, datetime.fromisoformat(expected))


async def test_the_day_is_the_servers(
    youtube: YoutubeServer, reader: Reader, clock: Clock, channel: str
) -> None:
    theirs = datetime(2026, 3, 10, 6, 59, 30, tzinfo=UTC)  # half a minute before midnight
    body = '{"error": {"code": 403, "errors": [{"reason": "quotaExceeded"}]}}'
    youtube.fault("/playlistItems", plain(403, body, "application/json", Date=http_date(theirs)))
    assert obeyed((await reader.fails()).retry_at, NOW + timedelta(seconds=30))


async def test_a_spent_day_is_over_for_everybody_who_shares_it(
    youtube: YoutubeServer, reader: Reader, clock: Clock, channel: str, budgets: LedgerBudgets
) -> None:
    youtube.quota = 0
    await reader.fails()
    clock.advance(hours=5)
    assert isinstance(await reader.fails(), RateLimited)
    assert len(youtube.ledger) == 1
    clock.advance(hours=20)
    youtube.quota = 10_000
    await reader.read()
    assert len(reader.items) == 1
    assert not youtube.violations


async def test_keys_and_projects_pay_separately_and_are_told_who_asks(
    youtube: YoutubeServer, reader: Reader, channel: str, budgets: LedgerBudgets
) -> None:
    await reader.read(user="u1")
    reader.credentials = {"access_token": TOKEN}
    reader.settings = {"channels": [channel], "subscriptions": True, "feeds": False}
    await reader.read(user="u2")
    assert [(name, user) for name, _, user in budgets.reserved[:2]] == [
        ("youtube.key_units", "u1")
    ] * 2
    assert {(name, holder, user) for name, holder, user in budgets.reserved[2:]} == {
        ("youtube.project_units", "project", "u2")
    }
    assert KEY not in budgets.reserved[0][1]
    assert len(budgets.reserved) == len(youtube.ledger)


async def test_secrets_stand_in_headers_only(
    youtube: YoutubeServer, reader: Reader, channel: str
) -> None:
    reader.credentials = {"api_key": KEY, "access_token": TOKEN}
    reader.settings = {"channels": [channel], "subscriptions": True}
    await reader.read()
    await reader.read()
    assert youtube.asked("/feeds/")
    for asked in youtube.ledger:
        assert KEY not in asked.path
        assert TOKEN not in asked.path
        assert "/feeds/" not in asked.path or not {"X-Goog-Api-Key", "Authorization"} & set(
            asked.headers
        )


@pytest.mark.parametrize(
    ("status", "reason", "google", "kind", "word"),
    [
        (403, "rateLimitExceeded", "", RateLimited, "too_many_requests"),
        (403, "userRateLimitExceeded", "", RateLimited, "too_many_requests"),
        (429, "x", "RESOURCE_EXHAUSTED", RateLimited, "too_many_requests"),
        (401, "authError", "UNAUTHENTICATED", TokenExpired, "bad_credentials"),
        (403, "forbidden", "", NoPlatformAuth, "forbidden"),
        (403, "subscriptionForbidden", "", NoPlatformAuth, "forbidden"),
        (403, "authenticatedUserAccountSuspended", "", NoPlatformAuth, "forbidden"),
        (403, "insufficientPermissions", "", NoPlatformAuth, "missing_scope"),
        (403, "accessNotConfigured", "", NoPlatformAuth, "not_configured"),
        (403, "playlistItemsNotAccessible", "", PlatformError, "not_accessible"),
        (400, "keyInvalid", "", NoPlatformAuth, "bad_key"),
        (400, "badRequest", "", PlatformError, "status_400"),
        (500, "backendError", "", PlatformError, "server_error"),
        (503, "x", "UNAVAILABLE", PlatformError, "server_error"),
    ],
)
async def test_reasons_are_understood(
    status: int,
    reason: str,
    google: str,
    kind: type[Exception],
    word: str,
    youtube: YoutubeServer,
    reader: Reader,
    channel: str,
) -> None:
    youtube.fault("/playlistItems", youtube.refuse(status, reason, google))
    failure = await reader.fails()
    assert type(failure) is kind
    assert failure.reason == word
    if kind is RateLimited:
        assert obeyed(failure.retry_at, NOW + timedelta(seconds=60))


@pytest.mark.parametrize(
    ("name", "kind", "word"),
    [
        ("error_response.json", NoPlatformAuth, "bad_key"),
        ("apidata/error_permission_resp.json", NoPlatformAuth, "forbidden"),
        ("error_response_simple.json", PlatformError, "status_400"),
    ],
)
async def test_recorded_errors_are_understood(
    name: str,
    kind: type[Exception],
    word: str,
    youtube: YoutubeServer,
    reader: Reader,
    channel: str,
) -> None:
    body = (fixtures_dir() / "youtube" / name).read_bytes()
    status = 403 if b'"code": 403' in body else 400
    youtube.fault("/playlistItems", plain(status, body, "application/json"))
    failure = await reader.fails()
    assert type(failure) is kind
    assert failure.reason == word


async def test_refused_credentials_are_not_tried_for_every_channel(
    youtube: YoutubeServer, reader: Reader, channel: str
) -> None:
    reader.settings = {
        "channels": [youtube.add_channel(f"C{n}") for n in range(10)],
        "feeds": False,
    }
    reader.credentials = {"api_key": "unknown"}
    failure = await reader.fails()
    assert isinstance(failure, NoPlatformAuth)
    assert failure.permanent
    assert len(youtube.ledger) == 1


@pytest.mark.parametrize("refresh", [False, True])
async def test_an_expired_token_is_permanent_unless_it_can_be_renewed(
    refresh: bool, youtube: YoutubeServer, reader: Reader, clock: Clock
) -> None:
    youtube.accounts[TOKEN].expires_at = NOW
    more = {"refresh_token": "r"} if refresh else {}
    reader.credentials, reader.settings = {"access_token": TOKEN, **more}, {}
    failure = await reader.fails()
    assert isinstance(failure, TokenExpired)
    assert failure.permanent is not refresh


async def test_a_token_says_whose_it_is(source: YoutubeSource, youtube: YoutubeServer) -> None:
    account = await source.identify({"access_token": TOKEN}, {})
    assert (account.name, account.id) == ("You", "UC" + "m" * 22)
    with pytest.raises(TokenExpired):
        await source.identify({"access_token": "other"}, {})
    with pytest.raises(NoPlatformAuth):
        await source.identify({"api_key": "other"}, {"channels": ["@slowmachines"]})


async def test_connecting_names_each_channel_that_is_not_there(
    source: YoutubeSource, youtube: YoutubeServer, channel: str
) -> None:
    others = [youtube.add_channel(f"C{number}") for number in range(60)]
    named = [*others, "UC" + "x" * 22, "@slowmachines", "https://youtube.com/user/nobody"]
    with pytest.raises(InvalidConnection) as wrong:
        await source.identify({"api_key": KEY}, {"channels": named})
    assert wrong.value.details == {
        "settings.channels[60]": "is no channel of YouTube",
        "settings.channels[62]": "is no channel of YouTube",
    }
    assert len(youtube.ledger) == 2 + 2, "ids cost a unit for 50"
    named = [*others, "@slowmachines"]
    assert (await source.identify({"api_key": KEY}, {"channels": named})).name == ""


CHANNELS = {"channels": ["@slowmachines"]}


@pytest.mark.parametrize(
    ("credentials", "settings", "fields"),
    [
        ({}, CHANNELS, {"credentials.api_key"}),
        ({"api_key": ""}, CHANNELS, {"credentials.api_key"}),
        ({"api_key": 7, "pin": 1}, CHANNELS, {"credentials.api_key", "credentials.pin"}),
        ({"api_key": "a b"}, CHANNELS, {"credentials.api_key"}),
        ({"api_key": KEY}, {}, {"settings.channels"}),
        ({"api_key": KEY}, {"channels": []}, {"settings.channels"}),
        ({"api_key": KEY}, {"channels": "@x"}, {"settings.channels"}),
        ({"api_key": KEY}, {"channels": ["@a1b", "@a1b"]}, {"settings.channels[1]"}),
        (
            {"api_key": KEY},
            {"channels": ["x", 7, "https://youtube.com/c/x", "https://evil.example/@abc", "@a1b"]},
            {f"settings.channels[{n}]" for n in range(4)},
        ),
        ({"api_key": KEY}, {"channels": ["@abc"] * 501}, {"settings.channels"}),
        ({"api_key": KEY}, {**CHANNELS, "subscriptions": True}, {"settings.subscriptions"}),
        ({"access_token": TOKEN}, {"subscriptions": False}, {"settings.channels"}),
        (
            {"access_token": TOKEN},
            {"shorts": "no", "feeds": 1},
            {"settings.shorts", "settings.feeds"},
        ),
    ],
)
def test_each_wrong_field_is_named(
    credentials: dict[str, Any], settings: dict[str, Any], fields: set[str], source: YoutubeSource
) -> None:
    with pytest.raises(InvalidConnection) as wrong:
        source.check(credentials, settings)
    assert set(wrong.value.details) == fields
    assert KEY not in str(wrong.value)


async def test_a_youtube_that_is_down_is_not_asked_for_every_channel(
    youtube: YoutubeServer, reader: Reader
) -> None:
    named = [youtube.add_channel(f"C{number}") for number in range(10)]
    reader.settings = {"channels": named, "feeds": False}
    youtube.fault("/playlistItems", html(502), times=100)
    with pytest.raises(PlatformError):
        await reader.read()
    assert len(youtube.ledger) == 3


def test_without_a_root_of_ones_own_the_public_ones_are_used(http: HttpClient) -> None:
    source = YoutubeSource(SourceContext(http=http))
    assert source._root == "https://youtube.googleapis.com/youtube/v3"
    assert source._feeds == "https://www.youtube.com/feeds/videos.xml"
