"""GitHub: one account's life through REST, from a wrong token to the second one."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from structlog.typing import EventDict

from tests.servers.github import GithubServer, stamp
from tests.stories.life import CANARY, Life, living

SETTINGS = {
    "include": ["notifications", "received_events", "starred"],
    "repositories": ["octo-org/octo-repo"],
}
FIRST, SECOND = f"ghp_{CANARY}first", f"ghp_{CANARY}second"


def now() -> datetime:
    return datetime.now(UTC)


async def test_nothing_is_lost_doubled_or_asked_too_early(
    database_url: str, tmp_path: Path, log_lines: list[EventDict]
) -> None:
    async with (
        GithubServer(now) as github,
        living(database_url, tmp_path, "github", log_lines, github_api_url=github.origin) as life,
    ):
        github.poll_interval = 0
        github.add_account(FIRST, expires_at=now() + timedelta(days=60))
        await _connect_and_collect(life, github)
        deleted = await _news_edits_and_deletions(life, github)
        await _a_limit(life, github)
        await _an_ended_token(life, github)
        await _a_star_taken_away(life, github)

        known = {f"{kind}:{id_}" for kind, ids in github.served.items() for id_ in ids}
        assert set(await life.stored()) == known - deleted
        assert await life.completeness() == 1.0
        assert github.violations == []


async def _connect_and_collect(life: Life, github: GithubServer) -> None:
    wrong = await life.connect(credentials={"token": f"{CANARY}-wrong"}, settings=SETTINGS)
    assert wrong.status == 401
    assert wrong.body["error"] in {"token_expired", "no_platform_auth"}
    assert (await life.call("GET", "/connections")).body["connections"] == []

    github.starred = ["far/away"]
    for number in range(230, 0, -1):
        moment = stamp(now() - timedelta(minutes=20 * number))
        github.add_event("WatchEvent", created_at=moment)
        if number % 3 == 0:
            github.add_thread(f"Thread {number}", updated_at=moment)
    github.add_release("octo-org/octo-repo", "v1.0", "The *first*")
    github.add_release("far/away", "v8.0")
    github.add_release("far/away", "v9.0")
    good = await life.connect(credentials={"token": FIRST}, settings=SETTINGS)
    assert good.status == 200, good.text
    assert good.body["account"] == "octocat"
    await life.watch(backfill_days=7)
    assert len(await life.stored()) == 230 + 76 + 3


async def _news_edits_and_deletions(life: Life, github: GithubServer) -> set[str]:
    """Returns what was deleted."""
    first = github.releases["octo-org/octo-repo"][0]
    first["body"] = "The best"
    thread = github.threads[-1]
    github.touch(thread, reason="review_requested")
    event = github.add_event()
    gone = github.releases["far/away"].pop(1)
    report = await life.sync()
    assert report["status"] == "completed"
    assert (report["items_new"], report["items_updated"], report["items_deleted"]) == (1, 2, 1)
    stored = await life.stored()
    assert "The best" in stored[f"release:{first['id']}"]["content"]
    assert f"event:{event['id']}" in stored
    return {f"release:{gone['id']}"}


async def _a_limit(life: Life, github: GithubServer) -> None:
    github.fault("/notifications", github.secondary(status=429, after=3))
    during = github.add_thread("During the limit")
    report = await life.sync()
    assert report["error"] == "rate_limited"
    await life.goes_on(await life.waits(github.ledger))
    assert f"thread:{during['id']}" in await life.stored()


async def _an_ended_token(life: Life, github: GithubServer) -> None:
    github.accounts[FIRST].revoked = True
    await life.ends_with_its_token(github.ledger)
    github.add_account(SECOND)
    after = github.add_thread("After the pause")
    await life.reconnects(token=SECOND)
    assert f"thread:{after['id']}" in await life.stored()


async def _a_star_taken_away(life: Life, github: GithubServer) -> None:
    github.starred = []
    assert (await life.sync())["status"] == "completed"
    parts = [part["name"] for part in (await life.connection())["parts"]]
    assert sorted(parts) == [
        "notifications",
        "received_events",
        "releases:octo-org/octo-repo",
        "starred",
    ]
