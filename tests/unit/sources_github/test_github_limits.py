"""Limits are kept to the second, by GitHub's clock, and refusals mean what they say."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta

import pytest

from distill_grpc.sources import github_activity
from distill_grpc.sources.api_time import FetchClock
from distill_grpc.sources.api_walk import Turns
from distill_grpc.sources.base import (
    NoPlatformAuth,
    PlatformError,
    RateLimited,
    TokenExpired,
)
from distill_grpc.sources.github import GithubSource
from distill_grpc.sources.github_api import GithubApi
from distill_grpc.sources.http import HttpClient
from tests.servers.fixtures import fixtures_dir
from tests.servers.github import GithubServer
from tests.servers.platform import Clock, html, http_date, plain
from tests.servers.reader import LedgerBudgets, Reader
from tests.servers.recorded import RecordedServer
from tests.unit.sources_github.conftest import NOW, TOKEN

INBOX = {"include": ["notifications"]}


def obeyed(told: datetime | None, instant: datetime) -> bool:
    """Not a moment before the instant, and within two seconds after it (whole seconds, a slow test)."""
    return told is not None and instant <= told <= instant + timedelta(seconds=2)


def api_for(
    server: GithubServer | RecordedServer, http: HttpClient, budgets: LedgerBudgets, clock: Clock
) -> GithubApi:
    return GithubApi(
        http, budgets, server.origin, TOKEN, clock=FetchClock(clock()), refusals={}, turns=Turns()
    )


def recorded_limits() -> list[str]:
    return [
        "Wait",
        "WaitStuck",
        "Fail",
        "HttpStatus_Fail",
        "Wait_Secondary_Limits",
        "Wait_Secondary_Limits_Body_Marker_Only",
        "Wait_Secondary_Limits_Too_Many_Requests",
        "Wait_Secondary_Limits_Too_Many_Requests_Date_Retry_After",
        "Wait_Secondary_Limits_Too_Many_Requests_Date_Retry_After_Missing_Date_Header",
        "Wait_Secondary_Limits_Too_Many_Requests_No_Retry_After",
    ]


WAITS = {  # seconds; without `Retry-After` and with requests left it is a minute
    "Wait": 2,
    "WaitStuck": 3,
    "Fail": 30,
    "HttpStatus_Fail": 30,
    "Wait_Secondary_Limits_Too_Many_Requests": 8,
    "Wait_Secondary_Limits_Too_Many_Requests_Date_Retry_After": 8,
    "Wait_Secondary_Limits_Too_Many_Requests_Date_Retry_After_Missing_Date_Header": 8,
}


@pytest.mark.parametrize("name", recorded_limits())
async def test_every_recorded_limit_is_obeyed_to_the_second(
    name: str, http: HttpClient, budgets: LedgerBudgets, clock: Clock
) -> None:
    folder = fixtures_dir() / "github" / "secondary-limits" / f"testHandler_{name}"
    async with RecordedServer(folder, clock) as server:
        api = api_for(server, http, budgets, clock)
        await api.get("user")
        path = next(url for url in server._answers if url.startswith("/repos/"))
        with pytest.raises(RateLimited) as limited:
            await api.get(path)
        until = NOW + timedelta(seconds=WAITS.get(name, 60))
        assert obeyed(limited.value.retry_at, until), limited.value.retry_at
        # Whoever shares the budget is held back as well, and asks nothing before that.
        asked = len(server.ledger)
        clock.advance(seconds=(until - NOW).total_seconds() - 1)
        with pytest.raises(RateLimited):
            await api_for(server, http, budgets, clock).get(path)
        assert len(server.ledger) == asked
        if name != "WaitStuck":  # of which nothing after the limit was recorded
            clock.advance(seconds=3)
            assert (await api_for(server, http, budgets, clock).get(path)).status == 200


@pytest.mark.parametrize(
    ("name", "reset"),
    [
        ("testGitHubRateLimit", 3_600),
        ("testGitHubRateLimitExpirationServerFiveMinutesAhead", 3),
        ("testGitHubRateLimitExpirationServerFiveMinutesBehind", 3),
    ],
)
async def test_the_recorded_windows_are_learnt_by_the_servers_clock(
    name: str, reset: int, http: HttpClient, budgets: LedgerBudgets, clock: Clock
) -> None:
    folder = fixtures_dir() / "github" / "rate-limit" / name
    async with RecordedServer(folder, clock) as server:
        await api_for(server, http, budgets, clock).get("user")
    (budget, _, told), *_ = budgets.learnt
    assert budget == "github.requests"
    assert 4_800 < told["remaining"] < 5_000
    assert obeyed(told["resets_at"], NOW + timedelta(seconds=reset))


@pytest.mark.parametrize("status", [403, 429])
async def test_a_spent_hour_waits_for_its_end(
    status: int, github: GithubServer, reader: Reader, clock: Clock
) -> None:
    reset = str(int((NOW + timedelta(minutes=7)).timestamp()))
    headers = {"X_RateLimit_Remaining": "0", "X_RateLimit_Reset": reset}
    github.fault("/notifications", plain(status, "{}", "application/json", **headers))
    reader.settings = INBOX
    failure = await reader.fails()
    assert isinstance(failure, RateLimited)
    assert failure.reason == "primary_limit"
    assert obeyed(failure.retry_at, NOW + timedelta(minutes=7))


@pytest.mark.parametrize("skew", [timedelta(minutes=-5), timedelta(minutes=5), timedelta(days=400)])
async def test_a_wrong_clock_of_ours_changes_nothing(
    skew: timedelta, github: GithubServer, reader: Reader, clock: Clock
) -> None:
    theirs = NOW + skew
    headers = {
        "X_RateLimit_Remaining": "0",
        "X_RateLimit_Reset": str(int((theirs + timedelta(minutes=7)).timestamp())),
        "Date": http_date(theirs),
    }
    github.fault("/notifications", plain(403, "{}", "application/json", **headers))
    reader.settings = INBOX
    assert obeyed((await reader.fails()).retry_at, NOW + timedelta(minutes=7))


async def test_the_last_request_of_an_hour_is_the_last(
    github: GithubServer, reader: Reader, clock: Clock
) -> None:
    github.limit = 2
    for name in ("a/a", "a/b", "a/c"):
        github.add_release(name, "v1")
    reader.settings = {"include": [], "repositories": ["a/a", "a/b", "a/c"]}
    failure = await reader.fails()
    assert isinstance(failure, RateLimited)
    assert len(github.ledger) == 2, "the answer said that nothing was left"
    assert len(reader.items) == 2, "what was read before is kept"
    assert obeyed(failure.retry_at, NOW + timedelta(hours=1))
    clock.advance(hours=1, seconds=1)
    await reader.read()
    # The third one first: it was read longest ago, that is never.
    assert github.ledger[2].path.startswith("/repos/a/c/")
    assert len(reader.items) == 3
    assert not github.violations


async def test_a_secondary_limit_without_an_instant_doubles_its_minute(
    github: GithubServer, reader: Reader, clock: Clock
) -> None:
    reader.settings = INBOX
    for minutes in (1, 2, 4):
        github.fault("/notifications", github.secondary())
        failure = await reader.fails()
        assert obeyed(failure.retry_at, clock() + timedelta(minutes=minutes))
        assert failure.retry_at is not None
        clock.advance(seconds=(failure.retry_at - clock()).total_seconds())
    await reader.read()
    github.fault("/notifications", github.secondary())
    clock.advance(minutes=2)
    assert obeyed((await reader.fails()).retry_at, clock() + timedelta(minutes=1))
    assert not github.violations


@pytest.mark.parametrize("dated", [False, True])
async def test_a_limit_ends_the_fetch_and_names_its_end(
    dated: bool, github: GithubServer, reader: Reader, clock: Clock
) -> None:
    github.fault("received_events", github.secondary(status=429, after=90, dated=dated))
    github.add_release("a/a", "v1")
    reader.settings = {"repositories": ["a/a"]}
    failure = await reader.fails()
    assert obeyed(failure.retry_at, NOW + timedelta(seconds=90))
    assert not github.asked("releases"), "the limit is the token's, not the part's"


async def test_every_request_is_paid_for_and_reported(
    reader: Reader, github: GithubServer, budgets: LedgerBudgets
) -> None:
    await reader.read(user="u1")
    paid = [holder for name, holder, user in budgets.reserved if name == "github.requests"]
    assert len(paid) == len(github.ledger)
    assert len([name for name, *_ in budgets.reserved if name == "github.pace"]) == len(paid)
    assert len(set(paid)) == 1
    assert TOKEN not in paid[0]
    told = [told for name, _, told in budgets.learnt if name == "github.requests"]
    assert told[-1]["remaining"] == 5_000 - len(github.ledger)


async def test_a_token_that_ended_is_for_the_user_to_mend(
    github: GithubServer, reader: Reader
) -> None:
    github.accounts[TOKEN].revoked = True
    failure = await reader.fails()
    assert isinstance(failure, TokenExpired)
    assert failure.permanent
    assert len(github.ledger) == 1


async def test_a_missing_scope_fails_its_part_alone(github: GithubServer, reader: Reader) -> None:
    github.accounts[TOKEN].scopes = "read:user"
    github.add_event()
    pages = await reader.read()
    (failure,) = [page.failure for page in pages if page.failure]
    assert isinstance(failure, NoPlatformAuth)
    assert failure.reason == "missing_scope"
    assert "notifications" in failure.message
    assert len(reader.items) == 1


async def test_single_sign_on_and_a_missing_repository_are_told_apart(
    github: GithubServer, reader: Reader
) -> None:
    github.add_release("a/a", "v1")
    github.fault("/repos/a/a", github.sso())
    reader.settings = {"include": [], "repositories": ["a/a", "a/none"]}
    failures = {page.part: page.failure for page in await reader.read()}
    sso, missing = failures["releases:a/a"], failures["releases:a/none"]
    assert isinstance(sso, NoPlatformAuth)
    assert sso.reason == "sso_required"
    assert isinstance(missing, PlatformError)
    assert missing.reason == "not_found"


async def test_a_github_that_is_down_is_not_asked_for_every_part(
    github: GithubServer, reader: Reader
) -> None:
    names = [f"a/r{number}" for number in range(20)]
    reader.settings = {"include": [], "repositories": names}
    github.fault("/repos", html(502), times=100)
    with pytest.raises(PlatformError) as down:
        await reader.read()
    assert down.value.reason == "server_error"
    assert len(github.ledger) == 3


async def test_a_token_is_never_used_twice_at_once(
    github: GithubServer, source: GithubSource, reader: Reader, clock: Clock
) -> None:

    other = Reader(source, clock, {"token": TOKEN})
    github.poll_interval = 0
    await asyncio.gather(reader.read(), other.read(), source.identify({"token": TOKEN}, {}))
    assert not github.violations


async def test_the_token_goes_nowhere_else(
    github: GithubServer, reader: Reader, clock: Clock
) -> None:
    async with GithubServer(clock) as stranger:
        link = f'<{stranger.origin}/notifications?page=2>; rel="next"'
        github.fault("/notifications", plain(200, "[]", "application/json", Link=link))
        location = f"{stranger.origin}/users/octocat/received_events"
        github.fault("received_events", plain(302, "", "text/plain", Location=location))
        failures = [page.failure for page in await reader.read()]
        assert [f.reason for f in failures if f] == ["bad_link", "redirected"]
        assert stranger.ledger
        assert all("Authorization" not in asked.headers for asked in stranger.ledger)


async def test_a_fault_of_ours_ends_its_part_alone(
    github: GithubServer, reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> bool:
        raise RuntimeError("a fault of ours")

    monkeypatch.setattr(github_activity, "_spans", broken)
    github.add_thread("One")
    for _ in range(101):
        github.add_event()
    pages = {page.part: page.failure for page in await reader.read()}
    assert pages["notifications"] is None
    failure = pages["received_events"]
    assert failure is not None
    assert (failure.code, failure.reason) == ("platform_error", "internal")
    assert "fault of ours" not in failure.message
    assert len(reader.items) == 1
