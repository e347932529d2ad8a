"""Servers that break off, lie, fall silent or never end: the account heals, and no thread is held."""

from __future__ import annotations

import asyncio
import base64
import threading
import time
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from distill_grpc.sources.base import (
    NoPlatformAuth,
    PlatformError,
    RateLimited,
    SourceFailure,
    TokenExpired,
)
from distill_grpc.sources.email import EmailSource
from distill_grpc.sources.http import HttpClient
from distill_grpc.sources.registry import SourceContext
from tests.servers.imap import ScriptedImap, Talk
from tests.unit.sources_mail.mail_reading import Reader, mail


@pytest.fixture(scope="module")
async def source() -> AsyncIterator[EmailSource]:
    """Impatient."""
    async with HttpClient(allow_private_addresses=True) as http:
        ready = EmailSource(SourceContext(http=http), command_seconds=1.0)
        yield ready
        await ready.close()


def fill(scripted: ScriptedImap, count: int = 3) -> None:
    scripted.messages |= {n: mail(subject=f"m{n}") for n in range(1, count + 1)}


async def failed(reader: Reader) -> SourceFailure:
    """How the read failed, of the account or of its only folder."""
    pages = await reader.read()
    failure = reader.failure or next((page.failure for page in pages if page.failure), None)
    assert failure is not None
    return failure


async def test_a_decent_server_is_read(scripted: ScriptedImap, reader: Reader) -> None:
    fill(scripted)
    await reader.read()
    assert reader.titles() == ["m1", "m2", "m3"]
    assert "EXAMINE" in " ".join(scripted.commands)
    assert not [c for c in scripted.commands if c.startswith("SELECT") or "BODY[" in c]


async def test_a_server_that_breaks_off_within_a_message_is_read_on(
    scripted: ScriptedImap, reader: Reader
) -> None:
    fill(scripted)

    async def bye(talk: Talk, command: str) -> None:
        body = scripted.messages[1]
        await talk.raw(b"* 1 FETCH (UID 1 BODY[] {%d}\r\n%s)\r\n" % (len(body), body))
        await talk.raw(b"* 2 FETCH (UID 2 BODY[] {500}\r\nhalf of it")
        talk.hang_up()

    scripted.on("BODY.PEEK", bye)
    assert isinstance(await failed(reader), PlatformError)
    scripted.forget_scripts()
    await reader.read()
    assert reader.titles() == ["m1", "m2", "m3"]
    assert "stumbled_at" not in reader.cursors["INBOX"]


async def test_one_message_that_always_breaks_off_does_not_hold_up_the_others(
    scripted: ScriptedImap, reader: Reader
) -> None:
    fill(scripted, 5)

    async def bye(talk: Talk, command: str) -> None:
        if "3" in command.split()[2].split(","):
            await talk.say("* BYE")
            talk.hang_up()
        else:
            await scripted._decently(talk, command)

    scripted.on("BODY.PEEK", bye)
    for _ in range(4):
        await reader.read()
    assert reader.titles() == ["", "m1", "m2", "m4", "m5"]
    (lost,) = [item for item in reader.items.values() if not item.title]
    assert lost.raw["failure"] == "not_sent"
    assert "could not be read" in lost.content


@pytest.mark.parametrize(
    "reply",
    [
        b"* 1 FETCH (UID 1 BODY[] {99999999999}\r\n",
        b"* 1 FETCH (UID 1 BODY[] {27000000}\r\n",
        b"* 1 FETCH (UID 1 BODY[] {20}\r\nshort)\r\n{tag} OK done\r\n",
        b"* 1 FETCH (UID 1 BODY[] {3}\r\nmuch longer than that)\r\n{tag} OK done\r\n",
        b"hello\r\n",
        b"\xff\xfe\x00\r\n",
        b"* 1 FETCH (UID 999 BODY[] {2}\r\nhi)\r\n{tag} OK done\r\n",
        b"* 1 FETCH (UID 1 BODY[] NIL)\r\n{tag} OK done\r\n",
        b"* 99999999999999999999999 FETCH ()\r\n{tag} OK done\r\n",
        b"x" * 9_000_000 + b"\r\n",
    ],
    ids=["huge", "large", "short", "long", "garbage", "binary", "foreign", "nil", "number", "line"],
)
async def test_lies_cost_the_read_and_nothing_else(
    scripted: ScriptedImap, reader: Reader, reply: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("distill_grpc.sources.mail_client._SILENCE", 1.0)
    fill(scripted)

    async def lie(talk: Talk, command: str) -> None:
        await talk.raw(reply.replace(b"{tag}", talk.tag.encode()))

    scripted.on("BODY.PEEK", lie)
    await reader.read()
    assert len(reader.items) <= 1
    scripted.forget_scripts()
    reader.now += timedelta(days=1)  # the daily comparison finds what was passed over
    await reader.read()
    assert set(reader.titles()) >= {"m2", "m3"}
    assert len(reader.items) == 3


async def test_the_range_to_the_last_message_brings_nothing_twice(
    scripted: ScriptedImap, reader: Reader
) -> None:
    fill(scripted)
    await reader.read()
    scripted.messages[4] = mail(subject="m4")
    scripted.on("EXAMINE", _without_uidnext)
    pages = await reader.read()
    assert [item.title for page in pages for item in page.items] == ["m4"]
    pages = await reader.read()
    assert not [item for page in pages for item in page.items]


async def _without_uidnext(talk: Talk, command: str) -> None:
    talk.messages = {n: mail(subject=f"m{n}") for n in range(1, 5)}
    await talk.say("* 4 EXISTS", "* OK [UIDVALIDITY 7] valid", "{tag} OK done")


async def test_a_server_that_numbers_nothing_for_good_brings_nothing_twice(
    scripted: ScriptedImap, reader: Reader
) -> None:
    fill(scripted)
    scripted.uidvalidity = None
    await reader.read()
    scripted.messages[4] = mail(subject="m4")
    pages = await reader.read()
    assert [item.title for page in pages for item in page.items] == ["m4"]


async def _never(talk: Talk, command: str) -> None:
    await talk.sleep()


async def _endless(talk: Talk, command: str) -> None:
    while True:
        await talk.raw(b"* 1 EXISTS\r\n" * 10_000)
        await asyncio.sleep(0)  # writing alone may never let anybody else go on


async def _drop_by_drop(talk: Talk, command: str) -> None:
    await talk.raw(b"* 1 FETCH (UID 1 BODY[] {1000000}\r\n")
    while True:
        await talk.raw(b"x")
        await asyncio.sleep(0.05)


@pytest.mark.parametrize("reply", [_never, _endless, _drop_by_drop])
@pytest.mark.parametrize("at", ["LOGIN", "EXAMINE", "BODY.PEEK"])
async def test_a_server_that_never_ends_is_left_in_time(
    scripted: ScriptedImap,
    reader: Reader,
    at: str,
    reply: object,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("distill_grpc.sources.mail_session._OPEN_SECONDS", 1.0)
    monkeypatch.setattr("distill_grpc.sources.mail_folder.COMMAND_SECONDS", 1.0)
    fill(scripted)
    scripted.on(at, reply)  # type: ignore[arg-type]
    began = time.monotonic()
    assert isinstance(await failed(reader), PlatformError)
    assert time.monotonic() - began < 5
    await _no_thread_at_work()
    scripted.forget_scripts()
    await reader.read()
    assert reader.titles() == ["m1", "m2", "m3"]


async def test_a_server_that_says_nothing_at_all_is_left_in_time(
    scripted: ScriptedImap, reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("distill_grpc.sources.mail_session._OPEN_SECONDS", 0.5)
    scripted.greeting = None
    failure = await failed(reader)
    assert failure.reason == "timeout"
    await _no_thread_at_work()


async def test_a_read_that_is_cancelled_holds_no_thread(
    scripted: ScriptedImap, reader: Reader
) -> None:
    fill(scripted)
    scripted.on("BODY.PEEK", _never)
    task = asyncio.create_task(reader.read())
    while not any("BODY.PEEK" in command for command in scripted.commands):
        await asyncio.sleep(0.01)
    task.cancel()
    await asyncio.wait([task])
    await _no_thread_at_work()


async def test_a_dead_peer_is_noticed_while_waiting_for_news(
    scripted: ScriptedImap, reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("distill_grpc.sources.email._IDLE_SECONDS", 0.2)
    scripted.capabilities += " IDLE"

    async def idle(talk: Talk, command: str) -> None:
        await talk.say("+ idling")
        await talk.sleep()

    scripted.on("IDLE", idle)
    with pytest.raises(PlatformError) as noticed:
        await anext(reader.source.hints(reader.credentials, reader.settings))
    assert noticed.value.reason == "timeout"
    await _no_thread_at_work()


async def test_a_server_that_cannot_wait_says_so(scripted: ScriptedImap, reader: Reader) -> None:
    with pytest.raises(PlatformError) as told:
        await anext(reader.source.hints(reader.credentials, reader.settings))
    assert told.value.reason == "no_hints"


async def test_what_stands_before_encryption_is_not_believed(
    scripted: ScriptedImap, reader: Reader
) -> None:
    scripted.capabilities += " STARTTLS"

    async def inject(talk: Talk, command: str) -> None:
        await talk.raw(talk.tag.encode() + b" OK go\r\n* CAPABILITY IMAP4rev1\r\n")

    scripted.on("STARTTLS", inject)
    reader.settings["tls"] = "starttls"
    assert isinstance(await failed(reader), PlatformError)
    assert not [command for command in scripted.commands if command.startswith("LOGIN")]


async def test_a_server_without_starttls_gets_no_password(
    scripted: ScriptedImap, reader: Reader
) -> None:
    reader.settings["tls"] = "starttls"
    assert (await failed(reader)).reason == "no_tls"
    assert not [command for command in scripted.commands if command.startswith("LOGIN")]


@pytest.mark.parametrize(
    ("answer", "kind", "reason"),
    [
        ("NO [AUTHENTICATIONFAILED] wrong", NoPlatformAuth, "refused"),
        ("NO [AUTHORIZATIONFAILED] not you", NoPlatformAuth, "refused"),
        ("NO Login failed.", NoPlatformAuth, "refused"),
        ("NO [EXPIRED] password expired", TokenExpired, "expired"),
        ("NO [UNAVAILABLE] Temporary authentication failure", PlatformError, "broken_off"),
        ("NO Temporary failure, try again", PlatformError, "unavailable"),
        ("NO [SERVERBUG] oops", PlatformError, "broken_off"),
        ("NO [LIMIT] Too many simultaneous connections", RateLimited, "too_many_requests"),
        ("NO Too many simultaneous connections. (Failure)", RateLimited, "too_many_requests"),
        ("NO Account exceeded command or bandwidth limits.", RateLimited, "too_many_requests"),
        ("BAD what", NoPlatformAuth, "refused"),
    ],
)
async def test_refusals_to_sign_in_mean_what_they_say(
    scripted: ScriptedImap, reader: Reader, answer: str, kind: type[SourceFailure], reason: str
) -> None:
    async def refuse(talk: Talk, command: str) -> None:
        await talk.say("{tag} " + answer)

    scripted.on("LOGIN", refuse)
    failure = await failed(reader)
    assert type(failure) is kind
    assert failure.reason == reason
    if kind is RateLimited:
        assert failure.retry_at is not None
        assert failure.retry_at > reader.now


@pytest.mark.parametrize(
    ("answer", "kind", "permanent"),
    [
        ("NO [NOPERM] no right", NoPlatformAuth, False),
        ("NO [NONEXISTENT] gone", PlatformError, True),
        ("NO Mailbox doesn't exist: INBOX", PlatformError, True),
        ("NO [INUSE] later", PlatformError, False),
        ("BAD what", PlatformError, False),
    ],
)
async def test_refusals_of_a_folder_mean_what_they_say(
    scripted: ScriptedImap, reader: Reader, answer: str, kind: type[SourceFailure], permanent: bool
) -> None:
    async def refuse(talk: Talk, command: str) -> None:
        await talk.say("{tag} " + answer)

    scripted.on("EXAMINE", refuse)
    failure = await failed(reader)
    assert type(failure) is kind
    assert failure.permanent is permanent


@pytest.mark.parametrize(("status", "kind"), [("400", TokenExpired), ("500", NoPlatformAuth)])
async def test_a_refused_token_is_told_apart(
    scripted: ScriptedImap, reader: Reader, status: str, kind: type[SourceFailure]
) -> None:
    del reader.credentials["password"]
    reader.credentials["access_token"] = "ya29.token"
    sent: list[bytes] = []

    async def xoauth2(talk: Talk, command: str) -> None:
        await talk.say("+ ")
        sent.append(base64.b64decode((await talk.reader.readline()).strip()))
        await talk.say("+ " + base64.b64encode(b'{"status":"%s"}' % status.encode()).decode())
        assert (await talk.reader.readline()).strip() == b""
        await talk.say("{tag} NO [AUTHENTICATIONFAILED] refused")

    scripted.on("AUTHENTICATE XOAUTH2", xoauth2)
    failure = await failed(reader)
    assert type(failure) is kind
    assert sent == [b"user=u\x01auth=Bearer ya29.token\x01\x01"]


async def test_a_message_that_is_too_large_is_named_and_not_fetched(
    scripted: ScriptedImap, reader: Reader
) -> None:
    fill(scripted, 2)

    async def large(talk: Talk, command: str) -> None:
        told = 'INTERNALDATE "10-Jan-2024 09:00:00 +0000" RFC822.SIZE'
        await talk.say(
            f"* 1 FETCH (UID 1 {told} 30000000)", f"* 2 FETCH (UID 2 {told} 50)", "{tag} OK done"
        )

    scripted.on("RFC822.SIZE", large)
    await reader.read()
    assert reader.titles() == ["m1", "m2"]
    (item,) = [item for item in reader.items.values() if item.title == "m1"]
    assert item.raw["failure"] == "too_large"
    assert "25 MB" in item.content
    assert [c for c in scripted.commands if "BODY.PEEK[]<0.65536>" in c]


async def _no_thread_at_work() -> None:
    """Waits until every mail thread is idle; fails where one is held."""
    for _ in range(100):
        busy = [
            thread
            for thread in threading.enumerate()
            if thread.name.startswith("distill-mail") and _is_busy(thread)
        ]
        if not busy:
            return
        await asyncio.sleep(0.05)
    raise AssertionError(f"{busy} are at work")


def _is_busy(thread: threading.Thread) -> bool:
    import sys

    frame = sys._current_frames().get(thread.ident or 0)
    while frame is not None:
        if "mail_client" in frame.f_code.co_filename or "imaplib" in frame.f_code.co_filename:
            return True
        frame = frame.f_back
    return False
