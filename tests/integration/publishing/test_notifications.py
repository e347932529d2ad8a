"""Mails about new posts: whom they go to, what they say, and what mail servers do to them."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
import structlog
from sqlalchemy.ext.asyncio import AsyncEngine

from distill_grpc.mail.logged import LogMailer
from distill_grpc.mail.smtp import SmtpMailer
from distill_grpc.publishing.notifying import Notifier, Patience, SteadyPace
from tests.integration.publishing import platform
from tests.integration.publishing.platform import ADDRESSES, accounts, announce, publish, subscribe
from tests.servers.smtp import MailServer, header, mail_server

QUICK = Patience(first=timedelta(0), lease=timedelta(seconds=4), mail=2.0)


def notifier(engine: AsyncEngine, server: MailServer | None, **changes: Any) -> Notifier:
    return Notifier(
        engine=engine,
        mailer=(
            LogMailer()
            if server is None
            else SmtpMailer.from_url(f"smtp://127.0.0.1:{server.port}")
        ),
        links=platform.links(),
        addresses=ADDRESSES,
        sender="distill@example.org",
        **{"pace": SteadyPace(10_000), "patience": QUICK, "sends": server is not None, **changes},
    )


async def announced(engine: AsyncEngine, readers: int, **post: str) -> tuple[UUID, list[UUID]]:
    """A post of a creator who has so many subscribers, with its deliveries."""
    creator = (await accounts(engine, 1, "creator"))[0]
    subscribers = await accounts(engine, readers)
    await subscribe(engine, subscribers, creator)
    post_id = await publish(engine, creator, **post)
    await announce(engine, post_id)
    return post_id, subscribers


async def statuses(engine: AsyncEngine) -> dict[str, int]:
    query = "SELECT status, count(*) FROM deliveries GROUP BY status"
    return dict(await platform.rows(engine, query))


async def test_every_subscriber_gets_one_mail_however_often_the_job_runs(
    engine: AsyncEngine,
) -> None:
    async with mail_server() as server:
        post_id, _ = await announced(engine, 23)
        await asyncio.gather(*(announce(engine, post_id) for _ in range(4)))
        both = [notifier(engine, server) for _ in range(2)]
        await asyncio.gather(*(one.send_due() for one in both))
        await notifier(engine, server).send_due()
    assert await statuses(engine) == {"sent": 23}
    assert len(server.messages) == len(set(server.recipients)) == 23
    assert len({message["Message-ID"] for message in server.messages}) == 23


async def test_only_those_who_had_subscribed_and_still_do_get_a_mail(engine: AsyncEngine) -> None:
    async with mail_server() as server:
        creator = (await accounts(engine, 1, "creator"))[0]
        gone, late, going, stays = await accounts(engine, 4)
        await subscribe(engine, [gone, going, stays], creator)
        await platform.execute(
            engine,
            "UPDATE subscriptions SET status = 'cancelled', cancelled_at = now()"
            " WHERE subscriber_id = :id",
            id=gone,
        )
        post_id = await publish(engine, creator)
        await subscribe(engine, [late], creator)
        await platform.execute(
            engine,
            "UPDATE subscriptions SET subscribed_at = now() WHERE subscriber_id = :id",
            id=late,
        )
        await announce(engine, post_id)
        await platform.execute(
            engine,
            "UPDATE subscriptions SET status = 'cancelled', cancelled_at = now()"
            " WHERE subscriber_id = :id",
            id=going,
        )
        await notifier(engine, server).send_due()
    assert await statuses(engine) == {"sent": 1, "cancelled": 1}
    found = await platform.rows(engine, "SELECT email FROM users WHERE id = :id", id=stays)
    assert server.recipients == [found[0].email]


async def test_a_mail_has_text_safe_html_and_an_end_of_one_click(engine: AsyncEngine) -> None:
    hostile = "Hello <script>alert(1)</script> *you* & <b onclick='x()'>me</b>"
    async with mail_server() as server:
        with structlog.contextvars.bound_contextvars(request_id="req-7" * 20):
            post_id, readers = await announced(
                engine, 1, title="A <b>title</b>, \u00fcber alles", content=hostile
            )
        await notifier(engine, server).send_due()
    message = server.messages[0]
    assert message["Subject"] == "A <b>title</b>, \u00fcber alles"
    (sent,) = server.received
    assert header(sent, "X-Request-Id") == "req-7" * 20
    assert header(sent, "List-Unsubscribe-Post") == "List-Unsubscribe=One-Click"
    told = header(sent, "List-Unsubscribe")
    assert f"List-Unsubscribe: {told}\r\n".encode() in sent
    link = told.strip("<>")
    assert link.startswith("https://distill.example/api/v1/unsubscribe/")
    creator = (await platform.rows(engine, "SELECT creator_id FROM posts"))[0].creator_id
    assert platform.links().pair(link.rpartition("/")[2]) == (readers[0], creator)
    plain = message.get_body(("plain",))
    rich = message.get_body(("html",))
    assert plain is not None
    assert rich is not None
    assert "Hello" in plain.get_content()
    assert "<" not in plain.get_content().split("--")[0][30:]
    html = rich.get_content()
    assert "<em>you</em>" in html
    assert "A &lt;b&gt;title" in html
    assert "script" not in html
    assert "onclick" not in html
    assert str(post_id) in html


async def test_the_text_of_a_mail_tells_where_links_lead(engine: AsyncEngine) -> None:
    content = (
        "[the paper](http://x.example/a?b=1&c=2), <https://y.example/>, [write](mailto:a@b.example)"
    )
    async with mail_server() as server:
        await announced(engine, 1, content=content)
        await notifier(engine, server).send_due()
    plain = server.messages[0].get_body(("plain",))
    assert plain is not None
    expected = "the paper (http://x.example/a?b=1&c=2), https://y.example/, write"
    assert expected in plain.get_content().splitlines()


async def test_a_greylisted_mail_is_sent_again_with_the_same_id(engine: AsyncEngine) -> None:
    async with mail_server() as server:
        await announced(engine, 1)
        server.answers = ["451 greylisted, try again"] * 2
        one = notifier(engine, server)
        for _ in range(3):
            await one.send_due()
    assert await statuses(engine) == {"sent": 1}
    delivery = (await platform.rows(engine, "SELECT failures FROM deliveries"))[0]
    assert delivery.failures == 2


async def test_an_address_that_is_refused_for_good_gets_nothing_any_more(
    engine: AsyncEngine,
) -> None:
    async with mail_server() as server:
        creator = (await accounts(engine, 1, "creator"))[0]
        readers = await accounts(engine, 2)
        await subscribe(engine, readers, creator)
        server.answers = ["550 no such user"]
        await announce(engine, await publish(engine, creator, "One"))
        await notifier(engine, server).send_due()
        assert await statuses(engine) == {"refused": 1, "sent": 1}
        await announce(engine, await publish(engine, creator, "Two"))
        await notifier(engine, server).send_due()
    assert await statuses(engine) == {"refused": 1, "sent": 2, "suppressed": 1}


async def test_a_refused_message_is_no_reason_to_suppress_the_address(engine: AsyncEngine) -> None:
    async with mail_server() as server:
        server.after_data = ["554 looks like spam"]
        await announced(engine, 1)
        await notifier(engine, server).send_due()
    assert await statuses(engine) == {"refused": 1}
    assert await platform.rows(engine, "SELECT 1 FROM suppressions") == []


async def test_what_fails_too_often_is_given_up(engine: AsyncEngine) -> None:
    async with mail_server() as server:
        await announced(engine, 1)
        server.answers = ["451 later"] * 3
        one = notifier(engine, server, patience=replace(QUICK, failures=3))
        for _ in range(5):
            await one.send_due()
    assert await statuses(engine) == {"given_up": 1}
    assert server.messages == []


async def test_a_server_that_falls_silent_holds_up_one_mail_for_its_time(
    engine: AsyncEngine,
) -> None:
    async with mail_server() as server:
        await announced(engine, 3)
        server.after_data = ["silence"]
        quick = notifier(
            engine, server, patience=replace(QUICK, mail=0.5, first=timedelta(hours=1))
        )
        await quick.send_due()
    assert await statuses(engine) == {"pending": 1, "sent": 2}


async def test_while_the_mail_server_is_away_deliveries_wait_and_none_is_charged(
    engine: AsyncEngine,
) -> None:
    async with mail_server() as server:
        gone = server.port
    await announced(engine, 30)
    server.port = gone
    one = notifier(engine, server, patience=replace(QUICK, first=timedelta(seconds=30)))
    assert await one.send_due() == 0
    assert await one.send_due() == 0  # it asks nobody while it is quiet
    found = await platform.rows(
        engine, "SELECT sum(failures) AS n, sum(claim) AS c FROM deliveries"
    )
    assert (found[0].n, found[0].c) == (0, QUICK.batch)
    assert await statuses(engine) == {"pending": 30}


async def test_mails_go_out_no_faster_than_allowed(engine: AsyncEngine) -> None:
    async with mail_server() as server:
        await announced(engine, 6)
        started = asyncio.get_running_loop().time()
        await notifier(engine, server, pace=SteadyPace(10)).send_due()
        assert asyncio.get_running_loop().time() - started >= 0.5
    assert await statuses(engine) == {"sent": 6}


async def test_without_a_mail_server_deliveries_are_marked_as_logged(
    engine: AsyncEngine, capsys: pytest.CaptureFixture[str]
) -> None:
    await announced(engine, 2)
    await notifier(engine, None).send_due()
    assert await statuses(engine) == {"logged": 2}
    said = capsys.readouterr()
    assert "reader-" not in said.out + said.err


async def test_a_worker_that_lost_its_lease_writes_nothing_and_sends_nothing(
    engine: AsyncEngine,
) -> None:
    async with mail_server() as server:
        await announced(engine, 2)
        slow = notifier(
            engine,
            server,
            pace=SteadyPace(1),
            patience=replace(QUICK, lease=timedelta(seconds=1), mail=0.5),
        )
        first = asyncio.create_task(slow.send_due())
        await asyncio.sleep(1.1)
        await notifier(engine, server).send_due()
        await first
        await asyncio.sleep(1.1)
        await notifier(engine, server).send_due()
    assert await statuses(engine) == {"sent": 2}
    assert len(server.messages) == 2
