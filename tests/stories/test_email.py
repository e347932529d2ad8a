"""E-mail: a mailbox of a real Dovecot through REST, from a wrong password to the new one."""

from __future__ import annotations

import asyncio
import contextlib
import imaplib
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest
from structlog.typing import EventDict

from tests.servers import dovecot as dovecots
from tests.servers.dovecot import AT_ONCE, Dovecot
from tests.stories.life import CANARY, Life, living
from tests.unit.sources_mail.mail_reading import mail

OWNER = "own-mara"
FIRST, SECOND = f"{CANARY}-first", f"{CANARY}-second"
SETTINGS = {"tls": "none", "folders": ["INBOX", "Lists"]}


@pytest.fixture(scope="module")
def dovecot() -> Iterator[Dovecot]:
    with dovecots.running() as server:
        yield server


async def test_nothing_is_lost_doubled_or_asked_too_early(
    database_url: str, tmp_path: Path, log_lines: list[EventDict], dovecot: Dovecot
) -> None:
    async with living(
        database_url, tmp_path, "email", log_lines, allow_private_addresses=True
    ) as life:
        dovecot.set_password(OWNER, FIRST)
        await _connect_and_collect(life, dovecot)
        await _news_and_deletions(life, dovecot)
        await _a_limit(life, dovecot, database_url)
        await _a_changed_password(life, dovecot)

        there = sorted(_subjects(dovecot, "INBOX") + _subjects(dovecot, "Lists"))
        assert sorted(item["title"] for item in (await life.stored()).values()) == there
        assert await life.completeness() == 1.0
        assert not any(b"Seen" in flags for flags in dovecot.flags(OWNER))


async def test_new_mail_is_there_at_once_for_who_lets_the_server_tell(
    database_url: str, tmp_path: Path, log_lines: list[EventDict], dovecot: Dovecot
) -> None:
    credentials = {"host": "127.0.0.1", "port": dovecot.port, "username": OWNER, "password": FIRST}
    async with living(
        database_url, tmp_path, "email", log_lines, allow_private_addresses=True
    ) as life:
        dovecot.set_password(OWNER, FIRST)
        answer = await life.connect(credentials=credentials, settings={"tls": "none", "idle": True})
        assert answer.status == 200, answer.text
        await life.watch(backfill_days=1, sync_frequency="6h")
        async with asyncio.timeout(30):
            while not _listened(database_url):
                await asyncio.sleep(0.1)
        _deliver(dovecot, "Told by the server")
        async with asyncio.timeout(40):
            while "Told by the server" not in _titles(await life.stored()):
                await asyncio.sleep(0.3)


def _listened(database_url: str) -> bool:
    """Whether a worker listens, and long enough to have signed in."""
    with psycopg.connect(database_url) as connection:
        row = connection.execute(
            "SELECT listened_until < now() + interval '58 seconds' FROM connections"
            " WHERE listener IS NOT NULL"
        ).fetchone()
        return row is not None and bool(row[0])


def _titles(stored: Mapping[str, Mapping[str, object]]) -> set[object]:
    return {item["title"] for item in stored.values()}


def _deliver(dovecot: Dovecot, subject: str, *, folder: str = "INBOX", hours: float = 0) -> None:
    message = mail(subject=subject, id_=f"{subject}@a.example")
    at = datetime.now(UTC) - timedelta(hours=hours)
    dovecot.deliver(OWNER, message, folder=folder, at=at)


def _subjects(dovecot: Dovecot, folder: str) -> list[str]:
    with dovecot.mailbox(OWNER) as client:
        client.select(folder, readonly=True)
        found = client.fetch("1:*", "(BODY.PEEK[HEADER.FIELDS (SUBJECT)])")[1]
    return [part[1].decode().split(": ", 1)[1].strip() for part in found if isinstance(part, tuple)]


async def _connect_and_collect(life: Life, dovecot: Dovecot) -> None:
    credentials = {"host": "127.0.0.1", "port": dovecot.port, "username": OWNER}
    _deliver(dovecot, "Lists begin", folder="Lists", hours=30)
    for number in range(120, 0, -1):
        _deliver(dovecot, f"Mail {number}", hours=number)
    wrong = await life.connect(
        credentials={**credentials, "password": f"{CANARY}-wrong"}, settings=SETTINGS
    )
    assert (wrong.status, wrong.body["error"]) == (403, "no_platform_auth")
    good = await life.connect(credentials={**credentials, "password": FIRST}, settings=SETTINGS)
    assert (good.status, good.body["account"]) == (200, OWNER), good.text
    await life.watch(backfill_days=7)
    assert len(await life.stored()) == 121


async def _news_and_deletions(life: Life, dovecot: Dovecot) -> None:
    _deliver(dovecot, "New")
    dovecot.remove(OWNER, 3, 4)
    report = await life.sync()
    assert report["status"] == "completed"
    assert (report["items_new"], report["items_deleted"]) == (1, 2)
    # The folder is numbered anew: every message is there once all the same.
    dovecot.renumber(OWNER)
    assert (await life.sync())["status"] == "completed"
    assert len(await life.stored()) == 120


async def _a_limit(life: Life, dovecot: Dovecot, database_url: str) -> None:
    """The user's own programs have all the connections that the server gives."""
    _deliver(dovecot, "During the limit")
    with contextlib.ExitStack() as others:
        for _ in range(AT_ONCE):
            others.enter_context(dovecot.mailbox(OWNER))
        report = await life.sync()
        assert report["error"] == "rate_limited"
        tried = dovecot.sign_ins(OWNER)
        for _ in range(2):
            assert (await life.refused())["error"] == "rate_limited"
        assert dovecot.sign_ins(OWNER) == tried, "tried before the pause was over"
    # What a quarter of an hour does.
    with psycopg.connect(database_url, autocommit=True) as connection:
        for table in ("connections", "connection_parts"):
            connection.execute(
                f"UPDATE {table} SET retry_at = now(), next_attempt_at = now()"
                " WHERE retry_at IS NOT NULL"
            )
    assert (await life.sync())["status"] == "completed"


async def _a_changed_password(life: Life, dovecot: Dovecot) -> None:
    dovecot.set_password(OWNER, SECOND)
    report = await life.sync()
    assert report.get("error") == "no_platform_auth", report
    connection = await life.connection()
    assert (connection["state"], connection["error"]) == ("action_required", "no_platform_auth")
    tried = dovecot.sign_ins(OWNER)
    assert (await life.sync())["status"] == "failed"
    assert dovecot.sign_ins(OWNER) == tried, "a refused password was tried again"
    _deliver(dovecot, "After the pause")
    credentials = {"host": "127.0.0.1", "port": dovecot.port, "username": OWNER}
    again = await life.connect(credentials={**credentials, "password": SECOND})
    assert (again.status, again.body["state"]) == (200, "ok"), again.text
    assert (await life.sync())["status"] == "completed"


def test_the_server_counts_connections(dovecot: Dovecot) -> None:
    """What the story stands on: one more than the limit is refused."""
    with contextlib.ExitStack() as others:
        for _ in range(AT_ONCE):
            others.enter_context(dovecot.mailbox("counted"))
        with pytest.raises(imaplib.IMAP4.error):
            others.enter_context(dovecot.mailbox("counted"))
