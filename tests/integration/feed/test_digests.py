"""Digests at the user's hour, by mail and within a budget: exactly once, whoever works on them."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import date, datetime, timedelta
from typing import Any

import pytest

from distill_grpc.db.engine import create_engine
from distill_grpc.errors import DistillError, ErrorReason
from distill_grpc.feed import digest_scheduling, ingesting, preferring, retention
from distill_grpc.feed.digest_mailing import UNSUBSCRIBE, WAITS
from distill_grpc.feed.digest_scheduling import DigestMaker
from distill_grpc.feed.digesting import Spender
from distill_grpc.feed.link_tokens import LinkTokens
from distill_grpc.feed.periods import period
from distill_grpc.feed.spending import UserPurse
from distill_grpc.feed.store import llm_usage
from distill_grpc.feed.store.items import upsert_items
from distill_grpc.llm.base import Usage
from distill_grpc.llm.chat import Chat, Prices
from distill_grpc.llm.openai import OpenAiSummariser
from distill_grpc.mail.smtp import SmtpMailer
from distill_grpc.sources.base import Item
from tests.integration.feed.digested import (
    DAY,
    DUE,
    NOON,
    YESTERDAY,
    collect,
    digester,
    mails,
    maker,
    post,
    prefer,
    smtp,
    subscriber,
    summaries,
    synced,
    tick,
)
from tests.integration.feed.world import USER, World
from tests.servers.openai import KEY, MODEL, OpenAiServer, honest, openai_server
from tests.servers.smtp import MailServer, header, mail_server

# --- When -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("hour", "tz", "now", "day", "due"),
    [
        (7, "UTC", "2026-11-26T06:59:59+00:00", "2026-11-25", "2026-11-26T07:00:00+00:00"),
        (7, "UTC", "2026-11-26T07:00:00+00:00", "2026-11-26", "2026-11-27T07:00:00+00:00"),
        (0, "UTC", "2026-11-26T12:00:00+00:00", "2026-11-26", "2026-11-27T00:00:00+00:00"),
        (7, "Asia/Tokyo", "2026-11-25T23:00:00+00:00", "2026-11-26", "2026-11-26T22:00:00+00:00"),
        (
            7,
            "America/New_York",
            "2026-11-26T03:00:00+00:00",
            "2026-11-25",
            "2026-11-26T12:00:00+00:00",
        ),
        # The hour that the clocks skip, and the one that they have twice.
        (
            2,
            "Europe/Berlin",
            "2026-03-28T12:00:00+00:00",
            "2026-03-28",
            "2026-03-29T01:00:00+00:00",
        ),
        (
            2,
            "Europe/Berlin",
            "2026-10-24T12:00:00+00:00",
            "2026-10-24",
            "2026-10-25T00:00:00+00:00",
        ),
    ],
)
def test_the_first_digest_is_due_when_the_clock_next_shows_the_hour(
    hour: int, tz: str, now: str, day: str, due: str
) -> None:
    found = preferring.first_due("daily", hour, tz, datetime.fromisoformat(now))
    assert found == (date.fromisoformat(day), datetime.fromisoformat(due))


async def test_a_digest_is_enqueued_at_its_hour_and_made_once(world: World) -> None:
    await subscriber(world)
    assert await tick(world, DUE - timedelta(seconds=1)) == []
    job = {"user_id": USER, "day": YESTERDAY.isoformat()}
    assert await tick(world, DUE) == [job]
    assert await tick(world, DUE + timedelta(minutes=1)) == []  # it is in hand
    await maker(world, DUE).run(**job)
    assert await summaries(world) == [(USER, YESTERDAY)]
    assert await tick(world, DUE + timedelta(hours=20)) == []
    # The next day has its own.
    await synced(world, USER, DUE + timedelta(hours=18))
    assert await tick(world, DUE + DAY) == [{**job, "day": (YESTERDAY + DAY).isoformat()}]


async def test_a_lost_job_is_enqueued_again(world: World) -> None:
    await subscriber(world)
    first = await tick(world, DUE)
    later = DUE + digest_scheduling.LEASE
    assert await tick(world, later) == first


async def test_several_workers_make_one_digest_and_one_mail(
    world: World, database_url: str
) -> None:
    await subscriber(world)
    (job,) = await tick(world, DUE)
    engine = create_engine(database_url, pool_timeout=30)
    makers = [
        DigestMaker(engine=each, digester=digester(world), now=lambda: DUE)
        for each in (world.engine, engine, world.engine, engine)
    ]
    await asyncio.gather(*(each.run(**job) for each in makers))
    await engine.dispose()
    assert await summaries(world) == [(USER, YESTERDAY)]
    assert await mails(world) == [(USER, "waiting", 0)]
    async with mail_server() as server:
        posts = [post(world, smtp(server), DUE + timedelta(seconds=1)) for _ in range(4)]
        await asyncio.gather(*(each.send_due() for each in posts))
        assert len(server.messages) == 1
    assert await mails(world) == [(USER, "sent", 1)]


async def test_a_digest_waits_for_the_sync_that_covers_the_day_but_not_for_ever(
    world: World,
) -> None:
    await subscriber(world)
    await synced(world, USER, DUE - timedelta(hours=8))  # before midnight
    assert await tick(world, DUE) == []
    assert await tick(world, DUE + digest_scheduling.LOOK_AGAIN) == []
    assert len(await tick(world, DUE + digest_scheduling.PATIENCE)) == 1


async def test_after_a_long_stop_only_the_newest_day_is_made(world: World) -> None:
    await subscriber(world)
    await synced(world, USER, DUE + 3 * DAY)
    jobs = await tick(world, DUE + 3 * DAY)
    assert [job["day"] for job in jobs] == [(YESTERDAY + 3 * DAY).isoformat()]


async def test_a_day_without_items_is_passed_over_without_a_mail(world: World) -> None:
    await world.watch()
    await synced(world, USER, DUE)
    await prefer(world, digest_hour=7, mail=True)
    (job,) = await tick(world, DUE)
    await maker(world, DUE).run(**job)
    assert await mails(world) == []
    assert await tick(world, DUE + timedelta(hours=1)) == []


async def test_who_left_or_wants_no_hour_gets_none(world: World) -> None:
    await subscriber(world)
    await prefer(world, digest_hour=None)
    assert await tick(world, DUE) == []
    await prefer(world, digest_hour=7, now=DUE - timedelta(hours=1))
    await world.unwatch()
    assert await tick(world, DUE) == []


async def test_preferences_that_keep_the_hour_keep_the_schedule(world: World) -> None:
    await subscriber(world)
    (job,) = await tick(world, DUE)
    await maker(world, DUE).run(**job)
    await prefer(world, digest_hour=7, mail=True, length="short", now=DUE)
    assert await tick(world, DUE + timedelta(hours=1)) == []


# --- Mail -----------------------------------------------------------------------------------------


@asynccontextmanager
async def with_mail(world: World, **wanted: Any) -> AsyncIterator[MailServer]:
    """A server, and a mail that waits."""
    await subscriber(world, **wanted)
    (job,) = await tick(world, DUE)
    await maker(world, DUE).run(**job)
    async with mail_server() as server:
        yield server


async def test_a_mail_is_text_and_html_and_can_be_left_with_one_click(world: World) -> None:
    async with with_mail(world) as server:
        assert await post(world, smtp(server), DUE).send_due() == 1
    (message,) = server.messages
    assert server.recipients == [f"{USER}@example.com"]
    assert message["Subject"] == f"Your digest of {YESTERDAY}"
    assert message["From"] == "Distill <distill@example.org>"
    assert message["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    address = header(server.received[0], "List-Unsubscribe").strip("<>")
    assert address.startswith("https://distill.example/digests/")
    token = address.split("/")[-2]
    assert LinkTokens(b"k" * 32).read(token, UNSUBSCRIBE) == USER
    assert [part.get_content_type() for part in message.iter_parts()] == ["text/plain", "text/html"]
    for part in message.iter_parts():
        text = part.get_content()
        assert "bronze statues" in text
        assert "https://news.example/0" in text
        # What a person can do about it.
        assert address in text
        assert "distill preferences set --hour" in text
        assert "PUT https://distill.example/preferences" in text


@pytest.mark.parametrize("utf8", [False, True])
@pytest.mark.parametrize("user", ["user_2NNEqL2nrIRdJ194ndJqAHwEfxC", "auth0|" + "u" * 249])
async def test_the_address_of_one_click_is_sent_as_it_is_whatever_its_length(
    world: World, user: str, utf8: bool
) -> None:
    await subscriber(world, user)
    await world.tell("UPDATE watches SET email = 'reader@b\u00fccher.example'")
    (job,) = await tick(world, DUE)
    await maker(world, DUE).run(**job)
    async with mail_server(utf8=utf8) as server:
        assert await post(world, smtp(server), DUE).send_due() == 1
    (sent,) = server.received
    token = LinkTokens(b"k" * 32).sign(user, UNSUBSCRIBE)
    told = f"<https://distill.example/digests/{token}/unsubscribe>"
    assert header(sent, "List-Unsubscribe") == told
    assert f"List-Unsubscribe: {told}\r\n".encode() in sent
    assert header(sent, "List-Unsubscribe-Post") == "List-Unsubscribe=One-Click"
    assert re.fullmatch(r"<digest\.[0-9a-f]{40}@example\.org>", header(sent, "Message-ID"))
    # A domain beyond ASCII is spelled as DNS spells it.
    assert server.recipients == [header(sent, "To")] == ["reader@xn--bcher-kva.example"]
    assert max(map(len, sent.split(b"\r\n"))) <= 998


async def test_a_mail_that_was_not_taken_is_sent_again_as_the_same_message(world: World) -> None:
    async with with_mail(world) as server:
        server.answers = ["451 greylisted"]
        server.after_data = ["silence", "452 try later"]
        now = DUE
        for wait in WAITS[:3]:
            assert await post(world, smtp(server), now).send_due() == 0
            assert await post(world, smtp(server), now + wait / 2).send_due() == 0  # not yet
            now += wait
        assert await post(world, smtp(server), now).send_due() == 1
        again = post(world, smtp(server), now)
        async with world.engine.connect():
            row = (await world.ask("SELECT * FROM summaries"))[0]
        composed = again.compose(row, f"{USER}@example.com")
        assert composed is not None
        assert server.messages[0]["Message-ID"] == composed["Message-ID"]
    assert await mails(world) == [(USER, "sent", 4)]


async def test_an_address_that_is_refused_gets_no_more_mail(world: World) -> None:
    async with with_mail(world) as server:
        server.answers = ["550 No such user"]
        assert await post(world, smtp(server), DUE).send_due() == 0
        assert await post(world, smtp(server), DUE + DAY).send_due() == 0
        assert not server.messages
    assert await mails(world) == [(USER, "refused", 1)]
    (row,) = await world.ask("SELECT mail FROM preferences")
    assert row.mail is False


async def test_a_server_that_is_away_is_tried_a_few_times(world: World) -> None:
    async with with_mail(world):
        pass
    away = SmtpMailer("127.0.0.1", 1, None, None, tls=False, timeout=0.5)
    now = DUE
    for wait in (*WAITS, DAY):
        await post(world, away, now).send_due()
        now += wait
    assert await mails(world) == [(USER, "given_up", len(WAITS) + 1)]


async def test_who_unsubscribes_before_the_mail_went_gets_none(world: World) -> None:
    async with with_mail(world) as server:
        await world.tell("UPDATE preferences SET mail = false")
        assert await post(world, smtp(server), DUE).send_due() == 0
        assert not server.messages
    assert await mails(world) == [(USER, "given_up", 1)]


async def test_items_cannot_put_headers_or_tags_into_a_mail(world: World) -> None:
    await subscriber(world)
    evil = Item(
        platform_id="evil",
        published_at=NOON,
        content="<script>alert(1)</script> The harbour was dredged by two ships in the month of May.",
        author="Eve\r\nBcc: all@example.com",
        title="Harbour\r\nBcc: all@example.com <img src=x>",
        url="javascript:alert(1)",
    )
    rows = ingesting.rows("scripted", [evil], since=NOON - DAY, now=world.now())
    async with world.engine.begin() as connection:
        await upsert_items(connection, USER, "scripted", rows, world.now())
    (job,) = await tick(world, DUE)
    await maker(world, DUE).run(**job)
    async with mail_server() as server:
        assert await post(world, smtp(server), DUE).send_due() == 1
    (message,) = server.messages
    assert message["Bcc"] is None
    html = list(message.iter_parts())[1].get_content()
    assert "<script" not in html
    assert "<img" not in html
    assert "javascript:" not in html


# --- What a model costs ---------------------------------------------------------------------------


@asynccontextmanager
async def model(**prices: float) -> AsyncIterator[tuple[OpenAiSummariser, OpenAiServer]]:
    async with openai_server(honest) as server:
        chat = Chat.open(api_key=KEY, base_url=server.url, model=MODEL, prices=Prices(**prices))
        writer = OpenAiSummariser(chat)
        try:
            yield writer, server
        finally:
            await writer.close()


def purse(world: World, limit: int, *, credits_available: bool = True) -> UserPurse:
    return UserPurse(
        engine=world.engine,
        user_id=USER,
        limit=limit,
        credits_available=credits_available,
        now=DUE,
    )


async def used(world: World) -> tuple[int, int, int]:
    async with world.engine.connect() as connection:
        row = await llm_usage.get_usage(connection, USER, DUE.date())
    return (
        (row.calls, row.prompt_tokens + row.completion_tokens, row.reserved) if row else (0, 0, 0)
    )


async def test_a_budget_holds_to_the_token_whoever_asks_at_once(world: World) -> None:
    own = purse(world, limit=1000)
    granted = await asyncio.gather(*(own.reserve(70) for _ in range(30)))
    assert sum(granted) == 14  # 980; one more would be 1050
    assert await own.reserve(21) is False
    assert await own.reserve(20) is True
    assert await used(world) == (15, 0, 1000)
    await own.settle(70, Usage(30, 10, 5))
    assert await used(world) == (15, 40, 930)
    assert await own.reserve(31) is False
    assert await own.reserve(30) is True


async def test_nothing_larger_than_the_budget_is_reserved_on_a_fresh_day(world: World) -> None:
    assert await purse(world, limit=100).reserve(101) is False
    assert await used(world) == (0, 0, 0)


async def test_a_model_s_digest_is_counted_and_nothing_is_written_twice(world: World) -> None:
    await subscriber(world)
    wanted = period(YESTERDAY.isoformat(), None, "UTC", DUE)
    spender = Spender(credits_available=True)
    async with model(prompt=1.0, completion=1.0) as (writer, server):
        made = digester(world, writer)
        row = await made.get_summary(USER, wanted, spender, DUE)
        assert row.model == MODEL
        calls = len(server.requests)
        assert await used(world) == (calls, server.counted, 0)
        await made.get_summary(USER, wanted, spender, DUE)  # kept
        await made.get_summary(USER, wanted, spender, DUE, anew=True)  # remembered
        assert len(server.requests) == calls
    (row,) = await world.ask("SELECT cost FROM llm_usage")
    assert row.cost == server.counted


async def test_without_credits_a_model_is_not_asked_and_what_is_kept_is_given(
    world: World,
) -> None:
    await subscriber(world)
    wanted = period(YESTERDAY.isoformat(), None, "UTC", DUE)
    poor = Spender(credits_available=False)
    async with model() as (writer, server):
        made = digester(world, writer)
        with pytest.raises(DistillError) as refused:
            await made.get_summary(USER, wanted, poor, DUE)
        assert refused.value.reason == ErrorReason.INSUFFICIENT_CREDITS
        assert not server.requests
        await made.get_summary(USER, wanted, Spender(credits_available=True), DUE)
        # Nothing would be asked for: it is kept, remembered, or beyond the budget.
        assert (await made.get_summary(USER, wanted, poor, DUE)).model == MODEL
        assert (await made.get_summary(USER, wanted, poor, DUE, anew=True)).model == MODEL
        await world.tell("DELETE FROM llm_memory")
        spent = digester(world, writer, tokens=10)
        row = await spent.get_summary(USER, wanted, poor, DUE, anew=True)
        assert row.model == "fallback:textrank"
    offline = await digester(world).get_summary(USER, wanted, poor, DUE, anew=True)
    assert offline.model == "textrank"


async def test_a_scheduled_digest_without_credits_is_made_offline(world: World) -> None:
    await subscriber(world)
    await world.tell("UPDATE preferences SET credits_available = false")
    (job,) = await tick(world, DUE)
    async with model() as (writer, server):
        await maker(world, DUE, writer).run(**job)
        assert not server.requests
    (row,) = await world.ask("SELECT model FROM summaries")
    assert row.model == "textrank"


async def test_no_model_sees_another_user_s_items(world: World) -> None:
    await subscriber(world)
    await subscriber(world, "other")
    await collect(world, "other", tag="SECRETOFOTHER")
    wanted = period(YESTERDAY.isoformat(), None, "UTC", DUE)
    async with model() as (writer, server):
        await digester(world, writer).get_summary(
            USER, wanted, Spender(credits_available=True), DUE
        )
        assert server.requests
        assert "SECRETOFOTHER" not in str(server.requests)


async def test_making_anew_never_loses_what_deleted_items_said(world: World) -> None:
    await subscriber(world)
    wanted = period(YESTERDAY.isoformat(), None, "UTC", DUE)
    spender = Spender(credits_available=True)
    made = digester(world)
    await made.get_summary(USER, wanted, spender, DUE)
    await world.tell("DELETE FROM items WHERE title = 'News 0'")
    with pytest.raises(DistillError) as refused:
        await made.get_summary(USER, wanted, spender, DUE, anew=True)
    assert refused.value.reason == ErrorReason.SUMMARY_UNAVAILABLE
    assert (await made.get_summary(USER, wanted, spender, DUE)).items_processed == 4


# --- The end --------------------------------------------------------------------------------------


async def test_everything_of_a_user_who_left_is_deleted(world: World) -> None:
    async with with_mail(world):
        pass
    await purse(world, limit=100).reserve(10)
    await purse(world, limit=100).remember({"k": [1]})
    await world.unwatch()
    await world.tell("UPDATE watches SET purge_at = now()")
    await retention.enforce(world.engine, world.policy, world.now() + timedelta(minutes=1))
    for table in ("preferences", "digest_mails", "llm_usage", "llm_memory", "summaries"):
        assert not await world.ask(f"SELECT 1 FROM {table}"), table
