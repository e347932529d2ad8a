"""YouTube: one account's life through REST, with a token that is renewed and a day that is spent."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from structlog.typing import EventDict

from tests.servers.platform import Clock, plain
from tests.servers.tokens import OAuthServer
from tests.servers.youtube import YoutubeServer, midnight
from tests.stories.life import CANARY, Life, living

FIRST, LAST = f"ya29.{CANARY}-first", f"ya29.{CANARY}-last"
SETTINGS = {"channels": ["@byhandle"], "subscriptions": True}


class RunningClock(Clock):
    """A clock that goes on by itself, days behind ours, so that a test may set it forward."""

    def __call__(self) -> datetime:
        behind = datetime.now(UTC) - timedelta(days=3)
        return behind + (super().__call__() - datetime.min.replace(tzinfo=UTC))

    @classmethod
    def started(cls) -> RunningClock:
        return cls(datetime.min.replace(tzinfo=UTC))


async def test_nothing_is_lost_doubled_or_asked_too_early(
    database_url: str, tmp_path: Path, log_lines: list[EventDict]
) -> None:
    clock = RunningClock.started()
    async with (
        YoutubeServer(clock) as youtube,
        OAuthServer(secret=f"{CANARY}-client") as google,
        living(
            database_url,
            tmp_path,
            "youtube",
            log_lines,
            youtube_api_url=youtube.root,
            google_token_url=google.token_url,
        ) as life,
    ):
        google.prefix, google.rotates = f"{CANARY}-", False
        google.refresh_tokens = {f"{CANARY}-refresh"}
        google.issued = youtube.add_account
        youtube.add_account(FIRST)
        busy = await _connect_and_collect(life, youtube, clock)
        await _news_edits_and_deletions(life, youtube, busy)
        await _a_limit(life, youtube, busy)
        await _a_spent_day(life, youtube, busy, clock)
        await _a_renewed_token(life, youtube, google, busy)
        await _a_revoked_access(life, youtube, google, busy)

        assert (await life.stored()).keys() == youtube.videos.keys()
        assert youtube.served["video"] >= youtube.videos.keys()
        assert await life.completeness() == 1.0
        assert youtube.violations == []


async def _connect_and_collect(life: Life, youtube: YoutubeServer, clock: Clock) -> str:
    """Returns a channel in which much happens."""
    wrong = await life.connect(credentials={"access_token": f"{CANARY}-wrong"}, settings=SETTINGS)
    assert (wrong.status, wrong.body["error"]) == (401, "token_expired")

    handle = youtube.add_channel("By handle", handle="@byhandle")
    busy, quiet = youtube.add_channel("Busy"), youtube.add_channel("Quiet")
    youtube.subscriptions = [busy, quiet]
    for number in range(110, 0, -1):
        moment = clock() - timedelta(minutes=5 * number)
        youtube.add_video(busy, f"Busy {number}", published=moment, added=moment, updated=moment)
    youtube.add_video(handle, "Handle 1")
    youtube.add_video(quiet, "Quiet 1")
    renewable = {"refresh_token": f"{CANARY}-refresh", "client_id": "client"}
    credentials = {**renewable, "client_secret": f"{CANARY}-client", "access_token": FIRST}
    good = await life.connect(credentials=credentials, settings=SETTINGS)
    assert (good.status, good.body["account"]) == (200, "You"), good.text
    await life.watch(backfill_days=7)
    assert (await life.stored()).keys() == youtube.videos.keys()
    return busy


async def _news_edits_and_deletions(life: Life, youtube: YoutubeServer, busy: str) -> None:
    assert (await life.sync())["status"] == "completed"  # the feeds are known from now on
    new = youtube.add_video(busy, "Busy again")
    edited, deleted = youtube.channels[busy]["videos"][3:5]
    youtube.edit(edited, title="Corrected")
    report = await life.sync()
    assert (report["items_new"], report["items_updated"]) == (1, 1)
    youtube.delete(deleted)
    assert (await life.sync())["items_deleted"] == 1
    stored = await life.stored()
    assert new in stored
    assert deleted not in stored
    assert stored[edited]["title"] == "Corrected"


async def _a_limit(life: Life, youtube: YoutubeServer, busy: str) -> None:
    body = '{"error": {"code": 429, "errors": [{"reason": "rateLimitExceeded"}]}}'
    youtube.fault("/v3/videos", plain(429, body, "application/json", Retry_After="3"))
    video = youtube.add_video(busy, "During the limit")
    assert (await life.sync())["error"] == "rate_limited"
    await _waits(life, youtube)
    assert video in await life.stored()


async def _a_spent_day(life: Life, youtube: YoutubeServer, busy: str, clock: Clock) -> None:
    """By YouTube's own clock it is four seconds to midnight Pacific time."""
    clock.advance(seconds=(midnight(clock()) - clock()).total_seconds() - 4)
    youtube.quota = 0
    video = youtube.add_video(busy, "On the last of the day")
    assert (await life.sync())["error"] == "rate_limited"
    youtube.quota = 10_000
    await _waits(life, youtube)
    assert video in await life.stored()


async def _waits(life: Life, youtube: YoutubeServer) -> None:
    await life.goes_on(await life.waits(youtube.ledger))


async def _a_renewed_token(
    life: Life, youtube: YoutubeServer, google: OAuthServer, busy: str
) -> None:
    youtube.accounts[FIRST].revoked = True
    video = youtube.add_video(busy, "After two hours")
    assert (await life.sync())["status"] == "completed"
    assert google.calls == 1
    assert video in await life.stored()
    assert (await life.connection())["state"] == "ok"


async def _a_revoked_access(
    life: Life, youtube: YoutubeServer, google: OAuthServer, busy: str
) -> None:
    for account in youtube.accounts.values():
        account.revoked = True
    google.refresh_tokens = set()
    assert (await life.sync())["error"] == "no_platform_auth"
    connection = await life.connection()
    assert (connection["state"], connection["error"]) == ("action_required", "no_platform_auth")
    asked = len(youtube.ledger), google.calls
    assert (await life.sync())["status"] == "failed"
    assert (len(youtube.ledger), google.calls) == asked

    youtube.add_account(LAST)
    youtube.add_video(busy, "After the pause")
    again = await life.connect(credentials={"access_token": LAST})
    assert (again.status, again.body["state"]) == (200, "ok")
    assert (await life.sync())["status"] == "completed"
