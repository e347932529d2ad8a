"""From the first connection to the second token: one account's life, with a ledger of everything."""

from __future__ import annotations

from datetime import timedelta

import pytest

from distill_grpc.sources.base import PlatformError, RateLimited, TokenExpired
from distill_grpc.sources.github import GithubSource
from tests.servers.github import GithubServer
from tests.servers.platform import Clock, html
from tests.servers.reader import LedgerBudgets, Reader
from tests.unit.sources_github.conftest import NOW, TOKEN

SETTINGS = {
    "include": ["notifications", "received_events", "starred"],
    "repositories": ["octo-org/octo-repo"],
}


async def test_an_accounts_life(
    github: GithubServer,
    source: GithubSource,
    reader: Reader,
    clock: Clock,
    budgets: LedgerBudgets,
) -> None:
    account = github.accounts[TOKEN]
    account.expires_at = NOW + timedelta(days=2)
    reader.settings = SETTINGS

    # Connect.
    source.check(reader.credentials, SETTINGS)
    told = await source.identify(reader.credentials, SETTINGS)
    assert (told.name, told.expires_at, told.missing_scopes) == ("octocat", account.expires_at, ())

    # Back-fill: a day of news, over several pages, in which the reader dies twice.
    github.starred = ["far/away"]
    for number in range(140):
        clock.advance(minutes=10)
        github.add_event("WatchEvent")
        if number % 2:
            github.add_thread(f"Thread {number}")
    first = github.add_release("octo-org/octo-repo", "v1.0", "The *first*")
    github.add_release("far/away", "v9.0")
    for crash in (1, 3, None):
        clock.advance(minutes=2)
        await reader.read(crash_after=crash)
    assert len(reader.items) == 140 + 70 + 2

    # A quiet hour costs a request a part, and none of them counts at GitHub.
    clock.advance(minutes=5)
    await reader.read()
    used = account.used
    clock.advance(minutes=30)
    pages = await reader.read(skip=frozenset({"starred"}))
    assert all(page.unchanged for page in pages)
    assert account.used == used

    # News, an edit, a deletion, something late.
    thread = github.threads[-1]
    clock.advance(minutes=5)
    github.touch(thread, reason="review_requested")
    late = github.add_event(created_at=(clock() - timedelta(minutes=9)).isoformat())
    first["body"] = "The best"
    gone = github.releases.pop("far/away")[0]
    github.releases["far/away"] = []
    await reader.read()
    assert reader.items[f"thread:{thread['id']}"].published_at == clock()
    assert f"event:{late['id']}" in reader.items
    assert "The best" in reader.items[f"release:{first['id']}"].content
    assert reader.deleted == [f"release:{gone['id']}"]
    assert len(reader.items) == 140 + 70 + 1 + 1

    # A limit: obeyed, then everything is made good.
    github.fault("/notifications", github.secondary(status=429, after=300))
    github.add_thread("During the limit")
    clock.advance(minutes=5)
    asked = len(github.ledger)
    with pytest.raises(RateLimited) as limited:
        await reader.read()
    for _ in range(4):
        clock.advance(minutes=1)
        with pytest.raises(RateLimited):
            await reader.read()
    assert len(github.ledger) == asked + 1
    assert limited.value.retry_at is not None
    clock.advance(seconds=(limited.value.retry_at - clock()).total_seconds())
    await reader.read()
    assert len(reader.items) == 213

    # GitHub is down for a while.
    github.fault("/", html(502), times=3)
    github.add_event()
    clock.advance(minutes=5)
    with pytest.raises(PlatformError):
        await reader.read()
    await reader.read()
    assert len(reader.items) == 214

    # The token ends; a new one goes on where the old one stopped.
    clock.advance(days=2)
    with pytest.raises(TokenExpired) as ended:
        await reader.read()
    assert ended.value.permanent
    github.add_account("ghp_second")
    github.add_thread("After the pause")
    reader.credentials = {"token": "ghp_second"}
    await reader.read()
    assert len(reader.items) == 215
    assert not github.violations
    holders = {holder for _, holder, _ in budgets.reserved}
    assert len(holders) == 2
