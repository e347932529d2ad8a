"""Users whose digests are due, and those who make and send them: the production code, at any instant."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

from distill_grpc.feed import digest_scheduling, ingesting, preferring
from distill_grpc.feed.digest_mailing import DigestPost
from distill_grpc.feed.digest_scheduling import DigestMaker
from distill_grpc.feed.digesting import Digester
from distill_grpc.feed.link_tokens import LinkTokens
from distill_grpc.feed.store.items import upsert_items
from distill_grpc.llm.base import Summariser
from distill_grpc.llm.offline import OfflineSummariser
from distill_grpc.mail.base import Mailer
from distill_grpc.mail.smtp import SmtpMailer
from distill_grpc.sources.base import Item
from tests.integration.feed.world import USER, World, caller
from tests.servers.smtp import MailServer

DAY = timedelta(days=1)
YESTERDAY = datetime.now(UTC).date() - DAY
NOON = datetime.combine(YESTERDAY, datetime.min.time(), UTC) + timedelta(hours=12)
# Yesterday's digest is due today at seven in the morning.
DUE = datetime.combine(YESTERDAY + DAY, datetime.min.time(), UTC) + timedelta(hours=7)

NEWS = (
    "The city museum returned forty bronze statues to Benin after long talks.",
    "Train drivers accepted a pay rise of nine percent and ended their strike.",
    "A battery maker will build a sodium cell factory near Leipzig with 900 jobs.",
    "Biologists counted eighty otters along the river, the most since 1974.",
)


async def collect(world: World, user: str = USER, *, at: datetime = NOON, tag: str = "") -> None:
    """Stores news of a day."""
    found = [
        Item(
            platform_id=f"{tag}{n}-{at.date()}",
            published_at=at + timedelta(minutes=n),
            content=f"{text} {tag}".strip(),
            author=f"Author {n}",
            title=f"News {n}",
            url=f"https://news.example/{n}?user={user}",
        )
        for n, text in enumerate(NEWS)
    ]
    rows = ingesting.rows("scripted", found, since=at - DAY, now=world.now())
    async with world.engine.begin() as connection:
        await upsert_items(connection, user, "scripted", rows, world.now())


async def prefer(
    world: World, user: str = USER, *, now: datetime | None = None, **wanted: Any
) -> Any:
    async with world.engine.begin() as connection:
        return await preferring.update(
            connection,
            caller(user),
            {"weekly": False, **wanted},
            known_sources=tuple(world.sources),
            now=now or DUE - timedelta(hours=1),
        )


async def subscriber(world: World, user: str = USER, **wanted: Any) -> None:
    """A watched user with news of yesterday, a sync after midnight, and a digest due at seven."""
    await world.watch(user)
    await collect(world, user)
    await synced(world, user, DUE - timedelta(hours=6))
    await prefer(world, user, **{"digest_hour": 7, "mail": True, **wanted})


async def synced(world: World, user: str, at: datetime | None) -> None:
    await world.tell(
        "UPDATE watches SET last_sync_at = :at WHERE user_id = :user", at=at, user=user
    )


async def tick(world: World, now: datetime) -> list[dict[str, Any]]:
    """What the scheduler enqueues at that instant."""
    await world.tell("DELETE FROM procrastinate_jobs")
    async with world.engine.begin() as connection:
        await digest_scheduling.enqueue_due(connection, world.queue, now)
    rows = await world.ask("SELECT args FROM procrastinate_jobs ORDER BY id")
    return [{k: row.args[k] for k in ("user_id", "day")} for row in rows]


def digester(world: World, summariser: Summariser | None = None, tokens: int = 200_000) -> Digester:
    return Digester(
        engine=world.engine,
        summariser=summariser or OfflineSummariser(),
        llm_daily_tokens=tokens,
    )


def maker(world: World, now: datetime, summariser: Summariser | None = None) -> DigestMaker:
    return DigestMaker(engine=world.engine, digester=digester(world, summariser), now=lambda: now)


def post(world: World, mailer: Mailer, now: datetime) -> DigestPost:
    return DigestPost(
        engine=world.engine,
        mailer=mailer,
        tokens=LinkTokens(b"k" * 32),
        sender="distill@example.org",
        public_url="https://distill.example",
        now=lambda: now,
    )


def smtp(server: MailServer) -> SmtpMailer:
    return SmtpMailer("127.0.0.1", server.port, None, None, tls=False, timeout=1.0)


async def summaries(world: World) -> list[tuple[str, date]]:
    rows = await world.ask("SELECT user_id, date FROM summaries ORDER BY user_id, date")
    return [(row.user_id, row.date) for row in rows]


async def mails(world: World) -> list[tuple[str, str, int]]:
    rows = await world.ask("SELECT user_id, status, attempts FROM digest_mails ORDER BY user_id")
    return [(row.user_id, row.status, row.attempts) for row in rows]
