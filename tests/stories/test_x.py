"""X: one account's life through REST, with tokens that rotate; and one with the token service."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from structlog.typing import EventDict

from tests.servers.tokens import CentralTokens
from tests.servers.x import Fault, XServer
from tests.servers.x_world import XWorld
from tests.stories.life import CANARY, Life, living

SETTINGS = {"timelines": ["home", "mentions"], "daily_usd": 50}
FIRST, LAST = f"{CANARY}-first", f"{CANARY}-last"


async def test_nothing_is_lost_doubled_or_asked_too_early(
    database_url: str, tmp_path: Path, log_lines: list[EventDict]
) -> None:
    world = XWorld(datetime.now(UTC), runs=True)
    async with (
        XServer(world) as x,
        living(database_url, tmp_path, "x", log_lines, x_api_url=x.url) as life,
    ):
        x.tokens, x.refresh_tokens = {FIRST}, {f"{CANARY}-refresh"}
        x.token_prefix = f"{CANARY}-"
        x.page_limit = 25
        await _connect_and_collect(life, x)
        deleted = await _news_edits_and_deletions(life, x)
        await _a_limit(life, x)
        await _renewed_and_revoked_tokens(life, x)

        assert (await life.stored()).keys() == x.served() - deleted
        shown = world.first_ids("home") | world.first_ids("mentions")
        assert (await life.stored()).keys() == shown
        assert await life.completeness() == 1.0
        assert x.violations == 0


async def _connect_and_collect(life: Life, x: XServer) -> None:
    credentials = {
        "access_token": f"{CANARY}-wrong",
        "refresh_token": f"{CANARY}-wrong",
        "client_id": "client",
    }
    wrong = await life.connect(credentials=credentials, settings=SETTINGS)
    assert (wrong.status, wrong.body["error"]) == (403, "no_platform_auth"), wrong.text

    for minutes in range(600, 0, -5):
        x.world.publish(f"home {minutes}", at=x.world.now - timedelta(minutes=minutes))
    credentials |= {"access_token": FIRST, "refresh_token": f"{CANARY}-refresh"}
    good = await life.connect(credentials=credentials, settings=SETTINGS)
    assert (good.status, good.body["account"]) == (200, "distill_reader"), good.text
    await life.watch(backfill_days=7)
    assert len(await life.stored()) == 120


async def _news_edits_and_deletions(life: Life, x: XServer) -> set[str]:
    """Returns what was deleted."""
    kept = x.world.publish("spelt rong")
    gone = x.world.publish("regretted")
    x.world.publish("late", at=x.world.now - timedelta(minutes=8))
    assert (await life.sync())["items_new"] == 3
    x.world.edit(kept, "spelt wrong")
    x.world.delete(gone)
    x.world.publish("to me", on=["mentions"])
    report = await life.sync()
    assert (report["items_new"], report["items_updated"], report["items_deleted"]) == (1, 1, 1)
    stored = await life.stored()
    assert stored[str(kept.id)]["content"] == "spelt wrong"
    return {str(gone.id)}


async def _a_limit(life: Life, x: XServer) -> None:
    problem = {"title": "Too Many Requests", "type": "about:blank", "status": 429}
    x.fail("home", Fault(status=429, json=problem, headers={"Retry-After": "3"}))
    post = x.world.publish("behind the limit")
    report = await life.sync()
    assert report["error"] == "rate_limited"
    asked = len(x.asked("home"))
    for _ in range(2):
        await life.sync()  # the other timeline may be read
    assert len(x.asked("home")) == asked, "asked before the instant that X named"
    await life.goes_on(report["retry_after"])
    assert str(post.id) in await life.stored()


async def _renewed_and_revoked_tokens(life: Life, x: XServer) -> None:
    x.tokens.clear()
    post = x.world.publish("two hours later")
    assert (await life.sync())["status"] == "completed"
    assert str(post.id) in await life.stored()
    assert [asked.status for asked in x.asked("token")] == [400, 200]

    x.tokens.clear()
    x.refresh_tokens.clear()
    assert (await life.sync())["error"] == "no_platform_auth"
    assert (await life.connection())["state"] == "action_required"
    asked = len(x.ledger)
    assert (await life.sync())["status"] == "failed"
    assert len(x.ledger) == asked

    x.tokens.add(LAST)
    x.world.publish("meanwhile")
    again = await life.connect(credentials={"access_token": LAST})
    assert (again.status, again.body["state"]) == (200, "ok")
    assert (await life.sync())["status"] == "completed"


async def test_a_user_of_the_token_service_just_watches(
    database_url: str, tmp_path: Path, log_lines: list[EventDict]
) -> None:
    """Onboarding by the service framework: tokens are handed out, and renewed elsewhere."""
    world = XWorld(datetime.now(UTC), runs=True)
    async with (
        XServer(world) as x,
        CentralTokens(jwt=f"{CANARY}-service") as central,
        living(
            database_url,
            tmp_path,
            "x",
            log_lines,
            x_api_url=x.url,
            token_service_url=central.url,
            service_jwt=central.jwt,
        ) as life,
    ):
        x.tokens = {FIRST}
        world.publish("hello", at=world.now - timedelta(hours=1))
        nobody = await life.connect()
        assert (nobody.status, nobody.body["error"]) == (403, "no_platform_auth")

        central.holds("x", life.user, FIRST)
        await life.watch()
        connection = await life.connection()
        assert connection["account"] == "distill_reader"
        assert connection["has_credentials"] is False
        assert len(await life.stored()) == 1

        before = central.calls
        assert (await life.sync())["status"] == "completed"
        assert central.calls == before, "a token that is good is not asked for again"

        x.tokens = {LAST}
        central.holds("x", life.user, LAST)
        world.publish("after the token's end")
        assert (await life.sync())["status"] == "completed"
        assert central.calls == before + 1
        assert len(await life.stored()) == 2

        x.tokens = set()
        assert (await life.sync())["error"] == "token_expired"
        x.tokens = {f"{CANARY}-third"}
        central.holds("x", life.user, f"{CANARY}-third")
        assert (await life.connect()).status == 200
        assert (await life.sync())["status"] == "completed"

        assert set(central.paths) == {f"/tokens/x/{life.user}"}
        assert (await life.stored()).keys() == x.served()
        assert x.asked("token") == []
        assert x.violations == 0
