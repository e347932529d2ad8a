"""What X's answers mean: limits, money, refusals, and answers that are none."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import orjson
import pytest

from distill_grpc.sources.base import (
    InvalidConnection,
    NoPlatformAuth,
    PlatformError,
    RateLimited,
    TokenExpired,
)
from distill_grpc.sources.x import INFO, XSource
from tests.servers.x import PROBLEMS, Fault, XServer, until_reset
from tests.unit.sources_x.x_reading import Reader, StrictBudgets

NEW_429 = {"title": "Too Many Requests", "type": "about:blank", "status": 429, "detail": "slow"}
OLD_429 = {"errors": [{"code": 88, "message": "Rate limit exceeded"}]}


@pytest.mark.parametrize("body", [NEW_429, OLD_429], ids=["new", "old"])
async def test_a_limit_holds_for_its_endpoint_until_its_window_ends(
    server: XServer, reader_of: Callable[..., Reader], body: dict[str, Any]
) -> None:
    reader = reader_of()
    server.world.publish("home")
    server.world.publish("to me", on=["mentions"])
    server.world.pass_time(minutes=4)
    server.fail("home", Fault(status=429, json=body))
    pages = await reader.read()
    (failure,) = [page.failure for page in pages if page.failure]
    assert isinstance(failure, RateLimited)
    assert failure.retry_at is not None
    wait = failure.retry_at - server.world.now
    assert abs(wait - until_reset(server)) < timedelta(seconds=2)
    assert reader.texts() == {"to me"}
    asked = len(server.asked("home"))
    await reader.read()
    assert len(server.asked("home")) == asked  # nobody asks before the window ends
    server.world.pass_time(minutes=11, seconds=3)
    await reader.read()
    assert "home" in reader.texts()


async def test_no_window_is_ever_overrun(server: XServer, reader: Reader) -> None:
    server.limits["home"] = 180
    for _ in range(200):
        await reader.read()
    assert len(server.asked("home")) == 180
    assert server.violations == 0


async def test_what_x_says_is_left_is_learned(
    server: XServer, reader: Reader, budgets: StrictBudgets
) -> None:
    await reader.read()
    assert ("x.home", 179) in budgets.learned
    assert ("x.me", 74) in budgets.learned


@pytest.mark.parametrize(
    "fault",
    [
        Fault(status=429, json={**NEW_429, "type": PROBLEMS + "usage-capped"}),
        Fault(status=402, json={"title": "CreditsDepleted", "detail": "no credits"}),
    ],
    ids=["capped", "credits"],
)
async def test_a_cap_on_usage_stops_the_account_for_long(
    server: XServer, reader_of: Callable[..., Reader], fault: Fault
) -> None:
    reader = reader_of()
    server.fail("home", fault)
    await reader.read()
    assert isinstance(reader.failure, RateLimited)
    assert reader.failure.reason == "usage_capped"
    assert reader.failure.retry_at is not None
    assert reader.failure.retry_at > server.world.now
    assert not server.asked("mentions")


async def test_money_is_counted_as_x_counts_it(
    server: XServer, reader_of: Callable[..., Reader], budgets: StrictBudgets
) -> None:
    reader = reader_of()
    for n in range(30):
        server.world.publish(f"post {n}", on=["home"], author="100" if n % 2 else "101")
        server.world.publish(f"to me {n}", on=["mentions", "home"])
    await reader.read()
    assert server.cost == pytest.approx(60 * 0.005 + 3 * 0.010)
    assert budgets.money() == pytest.approx(server.cost, abs=0.002)
    spent = server.cost
    await reader.read()  # the same again on the same day
    assert server.cost == pytest.approx(spent)
    assert budgets.money() == pytest.approx(spent, abs=0.002)  # a little in advance
    server.world.pass_time(days=1)
    server.world.publish("tomorrow")
    await reader.read()
    assert budgets.money() >= server.cost


async def test_a_spent_day_stops_the_account_until_midnight(
    server: XServer, reader_of: Callable[..., Reader], budgets: StrictBudgets
) -> None:
    reader = reader_of(timelines=["home"], daily_usd=0.5)
    for n in range(300):
        server.world.publish(f"post {n}", at=server.world.now - timedelta(minutes=n))
    await reader.read()
    assert isinstance(reader.failure, RateLimited)
    assert reader.failure.reason == "budget_spent"
    assert reader.failure.retry_at is not None
    assert reader.failure.retry_at.hour == 0
    assert server.cost < 0.5 * 1.25 + 0.02  # a page over it at the most
    assert budgets.money() <= 0.5 + 1e-9
    for _ in range(5):
        server.world.pass_time(days=1)
        await reader.read()
    assert len(reader.items) == 300


async def test_an_expired_token_is_told(server: XServer, reader: Reader) -> None:
    server.world.publish("one")
    server.tokens = {"token-2"}
    await reader.read()
    assert isinstance(reader.failure, TokenExpired)
    reader.token = "token-2"
    await reader.read()
    assert reader.texts() == {"one"}


async def test_the_token_stands_in_no_address_and_no_failure(
    server: XServer, reader: Reader, capsys: pytest.CaptureFixture[str]
) -> None:
    server.fail("home", Fault(status=403, json={"detail": "no", "type": PROBLEMS + "forbidden"}))
    pages = await reader.read()
    assert "token-1" not in repr(server.ledger) + repr(pages) + str(pages[0].failure)
    assert "token-1" not in capsys.readouterr().out


@pytest.mark.parametrize("kind", ["client-forbidden", "not-authorized-for-resource"])
async def test_a_refusal_is_told_with_xs_own_word(
    server: XServer, reader: Reader, kind: str
) -> None:
    problem = {"title": "Forbidden", "detail": "not this one", "type": PROBLEMS + kind}
    server.fail("home", Fault(status=403, json=problem))
    pages = await reader.read()
    failure = reader.failure or pages[0].failure
    assert isinstance(failure, NoPlatformAuth)
    assert failure.reason == kind
    assert "not this one" in failure.message


async def test_a_list_that_is_gone_fails_alone_and_for_good(
    server: XServer, reader_of: Callable[..., Reader]
) -> None:
    reader = reader_of(timelines=["list:9", "home"])
    server.world.publish("home")
    pages = await reader.read()
    assert pages[0].failure is not None
    assert (pages[0].failure.reason, pages[0].failure.permanent) == ("gone", True)
    assert reader.texts() == {"home"}


@pytest.mark.parametrize("status", [500, 502, 503, 504])
async def test_a_failing_x_is_a_failing_platform(
    server: XServer, reader: Reader, status: int
) -> None:
    server.world.publish("one")
    server.fail("home", Fault(status=status, body=b"<html>down</html>"))
    pages = await reader.read()
    assert isinstance(pages[0].failure, PlatformError)
    await reader.read()
    assert reader.texts() == {"one"}


async def test_an_answer_that_breaks_off_is_a_failing_platform(
    server: XServer, reader: Reader
) -> None:
    server.fail("home", Fault(drop=True), Fault(drop=True))
    pages = await reader.read()
    assert isinstance(pages[0].failure, PlatformError)


async def test_an_answer_cut_anywhere_changes_nothing(server: XServer, reader: Reader) -> None:
    for n in range(3):
        server.world.publish(f"post {n}")
    await reader.read()
    kept = reader.cursors["home"]["mark"]
    server.world.pass_time(minutes=1)
    server.world.publish("new")
    whole = orjson.dumps({"data": [{"id": "1745023713801142277", "text": "x"}], "meta": {}})
    for cut in range(len(whole)):
        server.fail("home", Fault(body=whole[:cut]))
        server.world.pass_time(minutes=1)
        server._used.clear()
        pages = await reader.read()
        assert isinstance(pages[0].failure, PlatformError), whole[:cut]
        assert reader.cursors["home"]["mark"] == kept
    server.world.pass_time(hours=1)
    await reader.read()
    assert "new" in reader.texts()


HOSTILE = [
    b"<html>hello</html>",
    b"[]",
    b"null",
    b"{}",
    b'{"data": NaN}',
    b"[" * 10_000,
    b'{"data":' * 5_000,
    b"\xff\xfe{}",
    b'{"errors": [{"type": "https://api.x.com/2/problems/whatever"}]}',
]
ODD = [
    {"data": "text", "meta": 3},
    {"data": [1, None, [], {"id": 5}, {"id": "x"}, {"id": "9" * 30}], "meta": {"next_token": 7}},
    {"data": [{"id": "12", "text": None, "public_metrics": {"like_count": "many"}}], "meta": {}},
    {"data": [{"id": "1745023713801142277", "text": "\ud83d a\u0000b", "entities": {"urls": 3}}]},
    {"data": [{"id": "1745023713801142277", "text": 5, "created_at": "0001-01-01T00:00:00+23:59",
               "edit_history_tweet_ids": [None], "referenced_tweets": [{"type": "quoted"}]}]},
    {"data": [{"id": "1745023713801142277", "note_tweet": {"text": "a", "entities": {"urls": [
        {"url": "a", "expanded_url": "javascript:alert(1)"}]}}, "lang": "x" * 99}]},
]  # fmt: skip


@pytest.mark.parametrize("body", HOSTILE)
async def test_what_is_no_answer_is_a_failing_platform(
    server: XServer, reader: Reader, body: bytes
) -> None:
    server.fail("home", Fault(body=body))
    pages = await reader.read()
    assert isinstance(pages[0].failure, PlatformError)
    assert "home" not in reader.cursors


@pytest.mark.parametrize("answer", ODD)
async def test_odd_answers_are_read_as_far_as_they_go(
    server: XServer, reader: Reader, answer: dict[str, Any]
) -> None:
    reader.days = 4_000
    server.fail("home", Fault(body=json.dumps(answer).encode()))
    pages = await reader.read()
    assert pages
    server.world.publish("fine")
    await reader.read()
    assert "fine" in reader.texts()


async def test_identify_says_who_it_is(source: XSource, server: XServer) -> None:
    account = await source.identify({"access_token": "token-1"}, {})
    assert (account.name, account.id) == ("distill_reader", server.world.me)
    with pytest.raises(TokenExpired):
        await source.identify({"access_token": "wrong"}, {})


@pytest.mark.parametrize(
    ("credentials", "settings", "wrong"),
    [
        ({}, {}, {"credentials.access_token"}),
        ({"access_token": "a b"}, {}, {"credentials.access_token"}),
        ({"access_token": "a\nb"}, {}, {"credentials.access_token"}),
        ({"access_token": "t", "refresh_token": 5}, {}, {"credentials.refresh_token"}),
        ({"access_token": "t"}, {"timelines": []}, {"settings.timelines"}),
        ({"access_token": "t"}, {"timelines": ["home", "home"]}, {"settings.timelines[1]"}),
        ({"access_token": "t"}, {"timelines": ["list:0"]}, {"settings.timelines[0]"}),
        ({"access_token": "t"}, {"timelines": ["list:../me"]}, {"settings.timelines[0]"}),
        ({"access_token": "t"}, {"own_lists": "yes"}, {"settings.own_lists"}),
        ({"access_token": "t"}, {"daily_usd": 0}, {"settings.daily_usd"}),
        ({"access_token": "t"}, {"daily_usd": float("nan")}, {"settings.daily_usd"}),
        ({"access_token": "t"}, {"daily_usd": True}, {"settings.daily_usd"}),
        ({"access_token": "t"}, {"field_names": "status"}, {"settings.field_names"}),
        ({"access_token": "t"}, {"field_names": []}, {"settings.field_names"}),
    ],
)
async def test_each_wrong_field_is_named(
    source: XSource, credentials: dict[str, Any], settings: dict[str, Any], wrong: set[str]
) -> None:
    with pytest.raises(InvalidConnection) as refused:
        source.check(credentials, settings)
    assert refused.value.details.keys() == wrong


def test_the_facts_are_complete() -> None:
    assert INFO.refresh_supported
    assert {"tweet.read", "users.read", "list.read", "offline.access"} == set(INFO.oauth_scopes)
    assert len(INFO.limits) == 4
