"""Creators on another Distill platform: a reader's life through REST, over two logins."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from structlog.typing import EventDict

from tests.servers.creators import CreatorsServer, creator_id, token
from tests.stories.life import CANARY, Life, living

FIRST, SECOND = token(also=f"{CANARY}-first"), token(also=f"{CANARY}-second")
ADA, BOB = creator_id(1), creator_id(2)


def now() -> datetime:
    return datetime.now(UTC)


async def test_nothing_is_lost_doubled_or_asked_too_early(
    database_url: str, tmp_path: Path, log_lines: list[EventDict]
) -> None:
    async with (
        CreatorsServer(now) as platform,
        living(database_url, tmp_path, "creators", log_lines, allow_private_addresses=True) as life,
    ):
        platform.accounts.clear()
        platform.add_account(FIRST)
        await _connect_and_collect(life, platform)
        await _news_and_edits(life, platform)
        await _a_limit(life, platform)
        await _an_ended_login(life, platform)
        await _one_followed_no_more(life, platform)

        assert set(await life.stored()) == platform.served["post"]
        assert platform.served["post"] == {p["id"] for ps in platform.posts.values() for p in ps}
        assert await life.completeness() == 1.0
        assert platform.violations == []


async def _connect_and_collect(life: Life, platform: CreatorsServer) -> None:
    settings = {"url": platform.origin}
    wrong = await life.connect(
        credentials={"access_token": token(also=f"{CANARY}-wrong")}, settings=settings
    )
    assert (wrong.status, wrong.body["error"]) == (401, "token_expired"), wrong.text
    assert (await life.call("GET", "/connections")).body["connections"] == []

    platform.add(ADA, 70, until=now() - timedelta(minutes=30))
    platform.add(BOB, 3, until=now() - timedelta(hours=5))
    platform.follow(ADA, BOB)
    good = await life.connect(credentials={"access_token": FIRST}, settings=settings)
    assert (good.status, good.body["account"]) == (200, "name-0001"), good.text
    await life.watch(backfill_days=7)
    assert len(await life.stored()) == 73


async def _news_and_edits(life: Life, platform: CreatorsServer) -> None:
    (new,) = platform.add(BOB, 1, until=now())
    edited = platform.posts[ADA][-2]["id"]
    platform.edit(edited, "<p>Put right</p>")
    report = await life.sync()
    assert (report["items_new"], report["items_updated"]) == (1, 1)
    stored = await life.stored()
    assert new in stored
    assert stored[edited]["content"] == "Put right"


async def _a_limit(life: Life, platform: CreatorsServer) -> None:
    missed = platform.add(ADA, 40, until=now(), apart=timedelta(seconds=30))
    platform.retry_after = 3
    platform.limit = platform.accounts[FIRST].used + 6  # in the middle of what is looked up
    assert (await life.sync())["error"] == "rate_limited"
    platform.limit = 1_000
    await life.goes_on(await life.waits(platform.ledger))
    assert set(missed) <= set(await life.stored())


async def _an_ended_login(life: Life, platform: CreatorsServer) -> None:
    platform.accounts[FIRST].revoked = True
    await life.ends_with_its_token(platform.ledger)
    platform.add_account(SECOND)
    (after,) = platform.add(BOB, 1, until=now())
    await life.reconnects(access_token=SECOND)
    assert after in await life.stored()


async def _one_followed_no_more(life: Life, platform: CreatorsServer) -> None:
    platform.follow(BOB, status="cancelled")
    assert (await life.sync())["status"] == "completed"
    parts = {part["name"] for part in (await life.connection())["parts"]}
    assert parts == {"subscriptions", ADA}
