"""How folders of a real server are read: what came, what is gone, and what was overlooked."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from datetime import timedelta
from random import Random

import pytest

from distill_grpc.sources.base import InvalidConnection, NoPlatformAuth, PlatformError
from distill_grpc.sources.email import EmailSource
from distill_grpc.sources.http import HttpClient
from distill_grpc.sources.registry import SourceContext
from tests.servers.dovecot import NAME, Dovecot
from tests.unit.sources_mail.mail_reading import NOW, Mailbox, Reader, mail


async def test_a_first_read_goes_back_as_far_as_wanted(mailbox: Mailbox) -> None:
    mailbox.deliver(mail(subject="old"), hours=24 * 8)
    mailbox.deliver(mail(subject="just"), hours=24 * 7 - 1)
    mailbox.deliver(mail(subject="new"))
    pages = await mailbox.read()
    assert mailbox.titles() == ["just", "new"]
    assert pages[-1].last
    assert {item.published_at for item in mailbox.items.values()} == {
        NOW - timedelta(hours=1),
        NOW - timedelta(hours=24 * 7 - 1),
    }


async def test_later_reads_bring_what_is_new(mailbox: Mailbox) -> None:
    mailbox.deliver(mail(subject="one"))
    await mailbox.read()
    assert [page.unchanged for page in await mailbox.read()] == [True]
    mailbox.deliver(mail(subject="two"))
    pages = await mailbox.read()
    assert [item.title for page in pages for item in page.items] == ["two"]


async def test_reading_leaves_no_trace(mailbox: Mailbox) -> None:
    mailbox.deliver(mail(subject="one"))
    before = mailbox.server.flags(mailbox.user)
    await mailbox.read()
    assert mailbox.server.flags(mailbox.user) == before
    assert b"Seen" not in before[0]


async def test_the_last_message_is_not_read_again(mailbox: Mailbox) -> None:
    """Dovecot answers `UID n:*` with the last message, where n is above it."""
    for n in range(3):
        mailbox.deliver(mail(subject=f"m{n}"))
    with mailbox.server.mailbox(mailbox.user) as client:
        client.select("INBOX", readonly=True)
        assert b"UID 3" in client.uid("FETCH", "4:*", "(FLAGS)")[1][0]
    await mailbox.read()
    mailbox.server.remove(mailbox.user, 1)
    pages = await mailbox.read()
    assert not [item for page in pages for item in page.items]


async def test_deleted_messages_are_told(mailbox: Mailbox) -> None:
    for n in range(4):
        mailbox.deliver(mail(subject=f"m{n}"))
    await mailbox.read()
    mailbox.server.remove(mailbox.user, 2, 4)
    mailbox.deliver(mail(subject="m4"))
    await mailbox.read()
    assert mailbox.titles() == ["m0", "m2", "m4"]
    assert len(mailbox.deleted) == 2


async def test_a_message_that_moved_to_another_folder_stays(mailbox: Mailbox) -> None:
    mailbox.settings["folders"] = ["INBOX", "Archive"]
    mailbox.deliver(mail(subject="stays"))
    mailbox.deliver(mail(subject="other"), folder="Archive")
    await mailbox.read()
    with mailbox.server.mailbox(mailbox.user) as client:
        client.select("INBOX")
        client.uid("MOVE", "1", "Archive")
    await mailbox.read()
    await mailbox.read()
    assert mailbox.titles() == ["other", "stays"]
    assert not mailbox.deleted


async def test_a_mailbox_that_is_numbered_anew_brings_nothing_twice(mailbox: Mailbox) -> None:
    for n in range(5):
        mailbox.deliver(mail(subject=f"m{n}", id_=f"{n}@a.example"))
    await mailbox.read()
    before, items = mailbox.cursors["INBOX"]["uidvalidity"], dict(mailbox.items)
    mailbox.server.renumber(mailbox.user)
    mailbox.deliver(mail(subject="m5", id_="5@a.example"))
    pages = await mailbox.read()
    assert mailbox.cursors["INBOX"]["uidvalidity"] != before
    assert [item.title for page in pages for item in page.items] == ["m5"]
    assert mailbox.items.keys() > items.keys()
    mailbox.server.remove(mailbox.user, 1)
    await mailbox.read()
    assert mailbox.titles() == ["m1", "m2", "m3", "m4", "m5"]


async def test_a_message_id_that_is_used_twice_replaces_nothing(mailbox: Mailbox) -> None:
    mailbox.deliver(mail("the true one", id_="1@a.example"))
    await mailbox.read()
    mailbox.deliver(mail("an attacker's", id_="1@a.example"))
    await mailbox.read()
    assert {item.content for item in mailbox.items.values()} == {"the true one", "an attacker's"}


async def test_a_message_that_was_overlooked_is_found_the_next_day(mailbox: Mailbox) -> None:
    for n in range(5):
        mailbox.deliver(mail(subject=f"m{n}"))
    await mailbox.read()
    lost = mailbox.cursors["INBOX"]["known"].pop("3")
    del mailbox.items[lost]
    await mailbox.read()
    assert lost not in mailbox.items
    mailbox.now += timedelta(days=1)
    await mailbox.read()
    assert lost in mailbox.items


async def test_many_messages_come_in_pages_and_resume_after_any(mailbox: Mailbox) -> None:
    chance = Random(7)
    with mailbox.server.mailbox(mailbox.user) as client:
        for n in range(230):
            client.append("INBOX", "", '"10-Jan-2024 09:00:00 +0000"', mail(subject=f"m{n}"))
    while True:
        pages = await mailbox.read(pages=chance.choice([1, 2]))
        if pages[-1].last:
            break
    assert len(mailbox.items) == 230
    assert len(mailbox.cursors["INBOX"]["known"]) == 230
    assert [page.unchanged for page in await mailbox.read()] == [True]


async def test_every_folder_fails_alone(mailbox: Mailbox) -> None:
    mailbox.settings["folders"] = ["Nowhere", "Entwürfe & mehr", "INBOX"]
    mailbox.deliver(mail(subject="here"))
    with mailbox.server.mailbox(mailbox.user) as client:
        client.create('"Entw&APw-rfe &- mehr"')
        client.append('"Entw&APw-rfe &- mehr"', "", '"10-Jan-2024 09:00:00 +0000"', mail())
    pages = await mailbox.read()
    failed = {page.part: page.failure for page in pages if page.failure}
    assert failed.keys() == {"Nowhere"}
    assert (failed["Nowhere"].reason, failed["Nowhere"].permanent) == ("gone", True)
    assert mailbox.titles() == ["News", "here"]


async def test_identify_says_who_it_is_and_which_folder_is_missing(mailbox: Mailbox) -> None:
    account = await mailbox.source.identify(mailbox.credentials, mailbox.settings)
    assert account.name == mailbox.user
    mailbox.settings["folders"] = ["INBOX", "Nowhere"]
    with pytest.raises(InvalidConnection) as refused:
        await mailbox.source.identify(mailbox.credentials, mailbox.settings)
    assert refused.value.details.keys() == {"settings.folders[1]"}


@pytest.mark.parametrize("password", ["wrong", 'qu"ote\\s', "pässwort"])
async def test_a_wrong_password_is_told_and_not_tried_again(
    mailbox: Mailbox, password: str
) -> None:
    mailbox.credentials["password"] = password
    await mailbox.read()
    assert isinstance(mailbox.failure, NoPlatformAuth)
    assert mailbox.failure.permanent
    assert password not in str(mailbox.failure)


async def test_idle_tells_of_news(mailbox: Mailbox) -> None:
    mailbox.deliver(mail())
    hints = mailbox.source.hints(mailbox.credentials, mailbox.settings)
    told = asyncio.ensure_future(anext(hints))
    await asyncio.sleep(0.5)
    assert not told.done()
    await asyncio.to_thread(mailbox.deliver, mail(subject="news"))
    assert await asyncio.wait_for(told, 10) == "INBOX"
    await hints.aclose()  # type: ignore[attr-defined]


@pytest.fixture
async def encrypted(dovecot: Dovecot) -> AsyncIterator[EmailSource]:
    async def lookup(host: str) -> list[str]:
        return ["127.0.0.1"] if host.endswith(".example") else []

    async with HttpClient(
        allow_private_addresses=True, resolver=lookup, tls=dovecot.trusting()
    ) as http:
        source = EmailSource(SourceContext(http=http))
        yield source
        await source.close()


@pytest.mark.parametrize("tls", ["implicit", "starttls"])
async def test_connections_are_encrypted_and_the_name_is_checked(
    dovecot: Dovecot, encrypted: EmailSource, mailbox: Mailbox, tls: str
) -> None:
    mailbox.deliver(mail(subject="secret"))
    port = dovecot.tls_port if tls == "implicit" else dovecot.port
    credentials = {**mailbox.credentials, "host": NAME, "port": port}
    reader = Reader(encrypted, credentials, {"tls": tls})
    await reader.read()
    assert reader.titles() == ["secret"]
    reader.credentials["host"] = "other.example"
    await reader.read()
    assert reader.failure is not None
    assert reader.failure.reason == "tls"


async def test_an_authority_that_nobody_knows_is_refused(
    dovecot: Dovecot, source: EmailSource, mailbox: Mailbox
) -> None:
    reader = Reader(source, {**mailbox.credentials, "port": dovecot.tls_port}, {})
    await reader.read()
    assert reader.failure is not None
    assert reader.failure.reason == "tls"


async def test_a_server_without_encryption_gets_no_password() -> None:
    addresses: list[str] = []

    async def lookup(host: str) -> list[str]:
        return ["93.184.216.34"]

    def refuse(*given: object, **more: object) -> socket.socket:
        addresses.append(str(given))
        raise AssertionError("connected")

    async with HttpClient(allow_private_addresses=False, resolver=lookup) as http:
        source = EmailSource(SourceContext(http=http))
        credentials = {"host": "mail.example.com", "username": "u", "password": "p"}
        reader = Reader(source, credentials, {"tls": "none"})
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(socket, "create_connection", refuse)
            await reader.read()
        await source.close()
    assert reader.failure is not None
    assert (reader.failure.reason, reader.failure.permanent) == ("tls_required", True)
    assert not addresses


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "localhost", "127.1", "0x7f000001", "2130706433", "::1", "169.254.169.254"],
)
async def test_private_servers_are_not_reached(dovecot: Dovecot, host: str) -> None:
    async with HttpClient(allow_private_addresses=False) as http:
        source = EmailSource(SourceContext(http=http))
        credentials = {"host": host, "port": dovecot.port, "username": "u", "password": "p"}
        for tls in ("implicit", "starttls", "none"):
            reader = Reader(source, credentials, {"tls": tls})
            await reader.read()
            assert isinstance(reader.failure, PlatformError)
            assert reader.failure.reason in {"private_address", "dns"}
        await source.close()


async def test_a_name_is_looked_up_once_and_that_address_connected_to(
    dovecot: Dovecot, mailbox: Mailbox
) -> None:
    asked: list[str] = []

    async def lookup(host: str) -> list[str]:
        asked.append(host)
        return ["127.0.0.1"]

    mailbox.deliver(mail(subject="here"))
    async with HttpClient(allow_private_addresses=True, resolver=lookup) as http:
        source = EmailSource(SourceContext(http=http))
        reader = Reader(
            source, {**mailbox.credentials, "host": "no.such.name.example"}, {"tls": "none"}
        )
        await reader.read()
        await source.close()
    assert reader.titles() == ["here"]
    assert asked == ["no.such.name.example"]


def test_the_authority_of_the_tests_is_trusted_by_nobody_else(dovecot: Dovecot) -> None:
    with (
        socket.create_connection(("127.0.0.1", dovecot.tls_port)) as plain,
        pytest.raises(ssl.SSLCertVerificationError),
    ):
        ssl.create_default_context().wrap_socket(plain, server_hostname=NAME)


async def test_another_mailbox_is_read_from_its_start_and_takes_nothing_away(
    mailbox: Mailbox, dovecot: Dovecot, source: EmailSource
) -> None:
    for n in range(4):
        mailbox.deliver(mail(subject=f"hers {n}"))
    await mailbox.read()
    other = Mailbox(dovecot, f"{mailbox.user}-other", source)
    other.deliver(mail(subject="his"))
    # Servers number mailboxes by the second in which they were made: two may have the same.
    with dovecot.mailbox(other.user) as client:
        client.select("INBOX", readonly=True)
        other_validity = int(client.response("UIDVALIDITY")[1][0])
    mailbox.cursors["INBOX"]["uidvalidity"] = other_validity
    mailbox.credentials = other.credentials
    await mailbox.read()
    assert mailbox.titles() == ["hers 0", "hers 1", "hers 2", "hers 3", "his"]
    assert not mailbox.deleted
    dovecot.remove(other.user, 1)
    await mailbox.read()
    assert mailbox.titles() == ["hers 0", "hers 1", "hers 2", "hers 3"]


async def test_the_same_mailbox_goes_on_however_its_servers_name_is_written(
    mailbox: Mailbox,
) -> None:
    mailbox.credentials["host"] = "localhost"
    mailbox.deliver(mail(subject="one"))
    await mailbox.read()
    mailbox.credentials["host"] = "LOCALHOST"
    assert [page.unchanged for page in await mailbox.read()] == [True]


async def test_a_longer_period_wanted_later_brings_the_older_messages(mailbox: Mailbox) -> None:
    mailbox.days = 1
    for hours in (24 * 9, 24 * 5, 24 * 3, 2):
        mailbox.deliver(mail(subject=f"{hours} hours"), hours=hours)
    await mailbox.read()
    assert mailbox.titles() == ["2 hours"]
    mailbox.days = 7
    await mailbox.read()
    assert mailbox.titles() == ["120 hours", "2 hours", "72 hours"]
    assert [page.unchanged for page in await mailbox.read()] == [True]


async def test_older_messages_that_are_fetched_later_survive_an_interruption(
    mailbox: Mailbox,
) -> None:
    mailbox.days = 1
    for n in range(120):
        mailbox.deliver(mail(subject=f"m{n}"), hours=24 * 5)
    mailbox.deliver(mail(subject="new"))
    await mailbox.read()
    mailbox.days = 7
    await mailbox.read(pages=1)
    assert len(mailbox.items) == 51
    mailbox.deliver(mail(subject="newer"))
    pages = await mailbox.read()
    assert len(mailbox.items) == 122
    assert sum(len(page.items) for page in pages) == 71
