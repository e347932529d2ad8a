"""How timelines are walked: nothing lost, nothing twice, whatever X does between two pages."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from distill_grpc.sources.http import HttpClient
from distill_grpc.sources.registry import SourceContext
from distill_grpc.sources.x import XSource
from tests.servers.x import Fault, XServer
from tests.unit.sources_x.x_reading import Reader, StrictBudgets


def publish_many(server: XServer, count: int, *, on: str = "home", minutes: float = 10) -> None:
    start = server.world.now - timedelta(minutes=minutes * count)
    for n in range(count):
        server.world.publish(f"{on} {n}", on=[on], at=start + timedelta(minutes=minutes * n))


async def test_a_first_read_goes_back_as_far_as_wanted(server: XServer, reader: Reader) -> None:
    publish_many(server, 30, minutes=240)  # five days
    await reader.read()
    wanted = {p.text for p in server.world.shown("home") if p.at >= server.world.now - timedelta(3)}
    assert reader.texts() == wanted


async def test_the_mark_moves_only_when_the_walk_ends(server: XServer, reader: Reader) -> None:
    publish_many(server, 50)
    server.page_limit = 10
    await reader.read(pages=2)
    assert "mark" not in reader.cursors["home"]
    assert len(reader.items) == 20
    server.world.publish("newer")
    await reader.read()
    assert "newer" not in reader.texts()  # the walk that was under way goes on where it was
    assert len(reader.items) == 50
    assert reader.cursors["home"]["mark"]
    await reader.read()
    assert reader.items.keys() == server.world.first_ids("home")


async def test_every_page_of_a_walk_asks_for_the_same(server: XServer, reader: Reader) -> None:
    publish_many(server, 40)
    server.page_limit = 10
    await reader.read()
    asked = [{**a.query, "pagination_token": ""} for a in server.asked("home")]
    assert len(asked) == 4
    assert all(query == asked[0] for query in asked)


async def test_a_forgotten_page_token_begins_the_walk_anew(server: XServer, reader: Reader) -> None:
    publish_many(server, 50)
    server.page_limit = 10
    await reader.read(pages=3)
    server.forget_pages()
    server.world.publish("newer")
    await reader.read()
    assert reader.items.keys() == server.world.first_ids("home")


async def test_a_walk_goes_on_below_what_it_met_on_a_later_day(
    server: XServer, reader: Reader
) -> None:
    publish_many(server, 50, minutes=30)
    server.page_limit = 10
    await reader.read(pages=4)
    server.forget_pages()
    server.world.pass_time(days=1)
    before = len(server.asked("home"))
    await reader.read()
    assert len(server.asked("home")) - before == 1 + 2  # refused, then the rest only
    await reader.read()
    assert reader.items.keys() >= server.world.first_ids("home")


async def test_a_token_that_is_refused_again_fails_the_part_only(
    server: XServer, reader_of: Callable[..., Reader]
) -> None:
    reader = reader_of()
    publish_many(server, 30)
    server.world.publish("to me", on=["mentions"])
    server.page_limit = 10
    server.before_page = [lambda: None] + [server.forget_pages] * 10
    pages = await reader.read()
    assert [p.failure.reason for p in pages if p.failure] == ["bad_token"]
    assert "to me" in reader.texts()
    server.before_page = []
    await reader.read()
    assert reader.items.keys() >= server.world.first_ids("home")


async def test_empty_pages_with_a_next_token_are_gone_through(
    server: XServer, reader: Reader
) -> None:
    publish_many(server, 5)
    server.empty_pages = 3
    await reader.read()
    assert reader.items.keys() == server.world.first_ids("home")


async def test_pages_that_lead_in_a_circle_are_left(server: XServer, reader: Reader) -> None:
    publish_many(server, 5)

    def circle(answer: dict[str, object]) -> dict[str, object]:
        return {**answer, "meta": {"result_count": 5, "next_token": "again"}}

    server.fail("home", Fault(change=circle), Fault(json=circle({})), Fault(json=circle({})))
    pages = await reader.read()
    assert [p.failure.reason for p in pages if p.failure] == ["circle"]
    assert len(server.asked("home")) == 2
    await reader.read()
    assert reader.items.keys() == server.world.first_ids("home")
    assert reader.cursors["home"]["mark"]


@pytest.mark.parametrize("late", [1, 60, 600, 899])
async def test_late_posts_within_a_quarter_of_an_hour_are_caught(
    server: XServer, reader: Reader, late: int
) -> None:
    at = server.world.now - timedelta(seconds=1)
    server.world.publish("late", at=at, late=timedelta(seconds=late + 1))
    server.world.publish("in time")
    await reader.read()
    assert reader.texts() == {"in time"}
    server.world.pass_time(seconds=late)
    server.world.publish("after")
    await reader.read()
    assert reader.texts() == {"in time", "late", "after"}


async def test_known_posts_in_the_overlap_are_not_brought_again(
    server: XServer, reader: Reader
) -> None:
    publish_many(server, 10, minutes=1)
    await reader.read()
    pages = await reader.read()
    assert [page.unchanged for page in pages] == [True]


async def test_an_edit_replaces_its_post(server: XServer, reader: Reader) -> None:
    post = server.world.publish("frist")
    await reader.read()
    server.world.pass_time(minutes=5)
    server.world.edit(post, "first")
    await reader.read()
    (item,) = reader.items.values()
    assert item.platform_id == str(post.id)
    assert item.content == "first"
    assert item.published_at is not None
    assert abs(item.published_at - post.at) < timedelta(seconds=1)
    assert not reader.deleted


async def test_a_deleted_post_is_told_while_it_is_in_the_overlap(
    server: XServer, reader: Reader
) -> None:
    publish_many(server, 6, minutes=1)
    await reader.read()
    gone = server.world.shown("home")[2]
    server.world.delete(gone)
    pages = await reader.read()
    assert pages[-1].deleted == [str(gone.id)]
    assert not pages[-1].unchanged
    again = await reader.read()
    assert again[-1].unchanged
    assert len(server.asked("lookup")) == 1


async def test_what_is_only_hidden_is_not_taken_for_deleted(
    server: XServer, reader: Reader
) -> None:
    publish_many(server, 6, minutes=1)
    await reader.read()
    hidden = server.world.shown("home")[2]
    server.world.timelines["home"].remove(hidden.id)
    await reader.read()
    assert not reader.deleted
    server.fail("lookup", Fault(status=503, json={}))
    await reader.read()
    assert not reader.deleted


async def test_a_list_is_read_until_enough_is_known(
    server: XServer, reader_of: Callable[..., Reader]
) -> None:
    reader = reader_of(timelines=["list:7"])
    publish_many(server, 120, on="list:7", minutes=10)
    server.page_limit = 10
    await reader.read()
    assert reader.items.keys() == server.world.first_ids("list:7")
    server.world.pass_time(hours=1)
    # A late one far behind the newest known posts: the first known post ends nothing.
    server.world.publish("late", on=["list:7"], at=server.world.now - timedelta(hours=2))
    server.world.publish("new", on=["list:7"])
    before = len(server.asked("list"))
    await reader.read()
    assert {"late", "new"} <= reader.texts()
    assert len(server.asked("list")) - before == 4  # 30 known posts, 2 new ones
    assert all("since_id" not in asked.query for asked in server.asked("list"))


async def test_a_list_that_was_left_in_the_middle_is_read_to_its_end(
    server: XServer, reader_of: Callable[..., Reader]
) -> None:
    reader = reader_of(timelines=["list:7"])
    publish_many(server, 100, on="list:7", minutes=10)
    server.page_limit = 40
    await reader.read(pages=1)
    server.forget_pages()
    await reader.read()
    assert reader.items.keys() == server.world.first_ids("list:7")


async def test_a_gap_is_told_where_more_was_posted_than_mentions_reach(
    server: XServer, reader_of: Callable[..., Reader]
) -> None:
    reader = reader_of(timelines=["mentions"])
    server.world.reach["mentions"] = 800
    publish_many(server, 5, on="mentions")
    assert not (await reader.read())[-1].gap
    server.world.pass_time(hours=5)
    publish_many(server, 900, on="mentions", minutes=0.3)
    pages = await reader.read()
    assert [page.gap for page in pages] == [False] * (len(pages) - 1) + [True]
    server.world.publish("one more", on=["mentions"])
    assert not (await reader.read())[-1].gap


async def test_a_gap_is_told_where_home_was_not_read_for_longer_than_it_reaches(
    server: XServer, reader: Reader
) -> None:
    server.world.publish("old")
    await reader.read()
    server.world.pass_time(days=9)
    server.world.publish("new")
    assert (await reader.read())[-1].gap
    # A quiet week that was read daily is no gap.
    for _ in range(9):
        server.world.pass_time(days=1)
        pages = await reader.read()
        assert not pages[-1].gap


async def test_another_account_begins_afresh(server: XServer, reader: Reader) -> None:
    server.world.publish("one")
    await reader.read()
    server.world.people["555"] = "other"
    server.world.me = "555"
    server.tokens.add("token-2")
    reader.token = "token-2"
    pages = await reader.read()
    assert len(pages[0].items) == 1  # its own first read, not the other's cursor
    assert reader.cursors["home"]["me"] == "555"


async def test_lists_of_the_user_are_read_where_wanted(
    server: XServer, reader_of: Callable[..., Reader]
) -> None:
    reader = reader_of(timelines=["home"], own_lists=True)
    assert reader.source.parts(reader.settings) == ()
    server.world.own_lists = ["7", "8"]
    for on in ("home", "list:7", "list:8"):
        server.world.publish(on, on=[on])
    await reader.read()
    assert reader.texts() == {"home", "list:7", "list:8"}
    server.world.own_lists = ["8"]
    pages = await reader.read()
    assert [page.part for page in pages if page.ended] == ["list:7"]
    assert reader.cursors.keys() == {"home", "list:8"}


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(seed=st.integers(0, 2**32), steps=st.integers(3, 8))
async def test_whatever_happens_everything_served_is_stored_once(
    http: HttpClient, seed: int, steps: int
) -> None:
    """Drift, repeats, reversed pages, late posts, crashes and forgotten tokens, at random."""
    chance = Random(seed)
    async with XServer() as server:
        source = XSource(
            SourceContext(http=http, budgets=StrictBudgets(server), api_urls={"x": server.url})
        )
        reader = Reader(source, server, {"timelines": ["home", "list:7"], "daily_usd": 1000})
        server.world.timelines["list:7"] = []
        server.page_limit = chance.choice([5, 7, 20])
        server.reverse_pages = chance.random() < 0.3
        server.repeat_pages = chance.random() < 0.3

        def post() -> None:
            for _ in range(chance.randint(0, 12)):
                late = timedelta(seconds=chance.choice([0, 0, 0, 30, 800]))
                on = chance.choice([["home"], ["list:7"], ["home", "list:7"]])
                at = server.world.now - timedelta(seconds=chance.randint(0, 60))
                server.world.publish(str(chance.random()), on=on, at=at, late=late)

        for _ in range(steps):
            server.world.pass_time(minutes=chance.randint(1, 14))
            post()
            server.before_page = [post, post] if chance.random() < 0.5 else []
            server.empty_pages = chance.choice([0, 0, 2])
            if chance.random() < 0.3:
                server.forget_pages()
            await reader.read(pages=chance.choice([None, 1, 2, 3]))
        server.before_page, server.empty_pages = [], 0
        for _ in range(3):
            server.world.pass_time(minutes=14)
            await reader.read()
        shown = server.world.first_ids("home") | server.world.first_ids("list:7")
        assert reader.items.keys() == shown
        assert server.served() == shown
        assert not reader.deleted


@pytest.mark.parametrize("part", ["home", "mentions"])
async def test_a_longer_period_wanted_later_is_walked_below_the_end_of_the_first(
    server: XServer, reader_of: Callable[..., Reader], part: str
) -> None:
    reader = reader_of(timelines=[part])
    publish_many(server, 60, on=part, minutes=120)  # five days
    server.page_limit = 10
    reader.days = 1
    await reader.read()
    assert 0 < len(reader.items) < 14
    first = set(reader.items)
    server.world.pass_time(days=1)
    server.world.publish("new", on=[part])
    await reader.read()
    assert len(reader.items) == len(first) + 1, "a period that stays brings nothing older"
    before, served = len(server.asked(part)), len(reader.items)
    reader.days = 7
    pages = await reader.read()
    assert reader.items.keys() == server.world.first_ids(part)
    brought = [item.platform_id for page in pages for item in page.items]
    assert len(brought) == len(set(brought)) == len(reader.items) - served
    assert len(server.asked(part)) - before <= 7, "what was walked is not asked for again"
    assert len(server.asked(part)) == before + len(pages)
    (page,) = await reader.read()
    assert page.unchanged


async def test_a_walk_to_older_posts_goes_on_where_it_broke_off_after_the_news(
    server: XServer, reader: Reader
) -> None:
    publish_many(server, 60, minutes=120)
    server.page_limit = 10
    reader.days = 1
    await reader.read()
    reader.days = 6
    await reader.read(pages=3)
    held = len(reader.items)
    server.forget_pages()
    server.world.pass_time(minutes=30)
    server.world.publish("new")
    pages = await reader.read()
    assert [item.content for item in pages[0].items] == ["new"]
    assert sum(len(page.items) for page in pages) == len(reader.items) - held
    assert reader.items.keys() == server.world.first_ids("home")


async def test_a_walk_to_older_posts_keeps_to_the_days_money(
    server: XServer, reader_of: Callable[..., Reader], budgets: StrictBudgets
) -> None:
    reader = reader_of(timelines=["home"], daily_usd=0.25)
    publish_many(server, 60, minutes=120)
    reader.days = 0.5
    await reader.read()
    reader.days = 6
    for _ in range(12):
        await reader.read()
        server.world.pass_time(hours=24)
        if reader.failure is None:
            break
        assert reader.failure.reason == "budget_spent"
    wanted = {p.text for p in server.world.shown("home")}
    assert len(reader.texts() & wanted) >= 40
