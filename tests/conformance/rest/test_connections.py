"""`/connections`: connect, look, change, disconnect; what is wrong is named, secrets never return."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest
from structlog.typing import EventDict

from tests.conformance.seeds import INSTANT, assert_error
from tests.conformance.users import collected, connect, watch
from tests.service import DOORS, Answer, Door, Service

Json = Any

FEEDS = ["https://one.example/feed.xml", "https://two.example/atom"]
CANARY = "canary-5f3a9c1e"


async def put(service: Service, user: str, source: str, body: Json, door: Door = "local") -> Answer:
    return await service.call("PUT", f"/connections/{source}", body, user=user, door=door)


@pytest.mark.parametrize("door", DOORS)
async def test_a_connection_is_made_shown_and_ended(real: Service, user: str, door: Door) -> None:
    made = await put(real, user, "rss", {"settings": {"feeds": FEEDS}}, door)
    assert made.status == 200
    assert set(made.body) == {
        "source",
        "state",
        "settings",
        "has_credentials",
        "connected_at",
        "parts",
        "scopes",
        "missing_scopes",
        "warnings",
    }
    assert (made.body["source"], made.body["state"]) == ("rss", "pending")
    assert made.body["settings"] == {"feeds": FEEDS}
    assert made.body["has_credentials"] is False
    assert INSTANT.fullmatch(made.body["connected_at"])
    assert [(p["name"], p["state"], p["failures"]) for p in made.body["parts"]] == [
        (feed, "pending", 0) for feed in FEEDS
    ]
    shown = await real.call("GET", "/connections/rss", user=user, door=door)
    assert (shown.status, shown.body) == (200, made.body)
    listed = await real.call("GET", "/connections", user=user, door=door)
    assert (listed.status, listed.body) == (200, {"connections": [made.body]})
    ended = await real.call("DELETE", "/connections/rss", user=user, door=door)
    assert (ended.status, ended.body) == (200, {"source": "rss", "status": "disconnected"})
    assert_error(await real.call("GET", "/connections/rss", user=user, door=door), "not_found")
    assert_error(await real.call("DELETE", "/connections/rss", user=user, door=door), "not_found")
    listed = await real.call("GET", "/connections", user=user, door=door)
    assert listed.body == {"connections": []}


async def test_connections_are_listed_by_name(idle: Service, user: str) -> None:
    for source in ("x", "email", "rss"):
        await connect(idle, user, source)
    listed = (await idle.call("GET", "/connections", user=user)).body["connections"]
    assert [one["source"] for one in listed] == ["email", "rss", "x"]
    assert all(one["state"] == "pending" for one in listed)


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        (None, {"settings.feeds"}),
        ({}, {"settings.feeds"}),
        ({"settings": {}}, {"settings.feeds"}),
        ({"settings": {"feeds": []}}, {"settings.feeds"}),
        ({"settings": {"feeds": "https://one.example/"}}, {"settings.feeds"}),
        ({"settings": {"feeds": [FEEDS[0], "two"]}}, {"settings.feeds[1]"}),
        (
            {"settings": {"feeds": [1, FEEDS[0], None, {}]}},
            {"settings.feeds[0]", "settings.feeds[2]", "settings.feeds[3]"},
        ),
        ({"settings": {"feeds": [FEEDS[0], FEEDS[0]]}}, {"settings.feeds[1]"}),
        ({"settings": {"feeds": ["file:///etc/passwd"]}}, {"settings.feeds[0]"}),
        ({"settings": {"feeds": ["https://a:b@c.example/"]}}, {"settings.feeds[0]"}),
        ({"settings": {"feeds": [f"https://one.example/{'a' * 9000}"]}}, {"settings.feeds[0]"}),
        ({"settings": {"feeds": FEEDS, "every": "1h"}}, {"settings.every"}),
        ({"settings": {"feeds": FEEDS}, "credentials": {"token": "t"}}, {"credentials.token"}),
        ({"settings": []}, {"settings"}),
        ({"settings": "feeds"}, {"settings"}),
        ({"settings": {"feeds": FEEDS}, "credentials": "secret"}, {"credentials"}),
        ({"feeds": FEEDS}, {"feeds"}),
        ({"settings": {"feeds": FEEDS}, "source": "rss"}, {"source"}),
        ({"settings": {"feeds": ["https://one.example/\u0000"]}}, {"settings.feeds[0]"}),
        ({"settings": {"a\u0000b": 1}}, {"settings"}),
    ],
)
@pytest.mark.parametrize("door", DOORS)
async def test_what_is_wrong_is_named_and_nothing_is_stored(
    real: Service, user: str, door: Door, body: Json, fields: set[str]
) -> None:
    answer = await put(real, user, "rss", body, door)
    assert_error(answer, "invalid_argument", details=fields)
    assert (await real.call("GET", "/connections", user=user)).body == {"connections": []}


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("source", ["nowhere", "RSS", "rss%20", "%C3%BC", "rss;a", "..%2Frss"])
async def test_an_unknown_source_is_not_found(
    idle: Service, user: str, door: Door, source: str
) -> None:
    for method in ("PUT", "GET", "DELETE"):
        answer = await idle.call(method, f"/connections/{source}", user=user, door=door)
        assert_error(answer, "not_found", details={})
    told = await put(idle, user, source, {}, door)
    assert "rss" in told.body["message"]  # what there is


async def test_a_name_longer_than_any_is_refused_by_its_rule(idle: Service, user: str) -> None:
    answer = await put(idle, user, "a" * 101, {})
    assert_error(answer, "invalid_argument", details={"source"})


async def test_what_is_left_out_stays_as_it_was(idle: Service, user: str) -> None:
    secret = {"token": CANARY}
    first = await put(idle, user, "github", {"credentials": secret, "settings": {"pages": 2}})
    assert first.body["has_credentials"] is True
    assert first.body["settings"] == {"pages": 2}
    second = await put(idle, user, "github", {"settings": {"pages": 3}})
    assert (second.body["has_credentials"], second.body["settings"]) == (True, {"pages": 3})
    third = await put(idle, user, "github", {"credentials": {"token": "another"}})
    assert (third.body["has_credentials"], third.body["settings"]) == (True, {"pages": 3})
    fourth = await put(idle, user, "github", None)
    assert fourth.body == third.body
    emptied = await put(idle, user, "github", {"credentials": {}, "settings": {}})
    assert (emptied.body["has_credentials"], emptied.body["settings"]) == (False, {})
    assert emptied.body["connected_at"] == first.body["connected_at"]


async def test_a_wrong_change_changes_nothing(real: Service, user: str) -> None:
    made = await put(real, user, "rss", {"settings": {"feeds": FEEDS}})
    answer = await put(real, user, "rss", {"settings": {"feeds": ["nonsense"]}})
    assert_error(answer, "invalid_argument", details={"settings.feeds[0]"})
    assert (await real.call("GET", "/connections/rss", user=user)).body == made.body


async def test_feeds_that_are_no_longer_named_are_forgotten(real: Service, user: str) -> None:
    await put(real, user, "rss", {"settings": {"feeds": FEEDS}})
    changed = await put(real, user, "rss", {"settings": {"feeds": [FEEDS[1]]}})
    assert [part["name"] for part in changed.body["parts"]] == [FEEDS[1]]


@pytest.mark.parametrize(
    "settings",
    [
        {"pages": 5, "delay": 0.25},
        {"simulate_parts": {"https://blog.harborlabs.example/feed.xml": "platform_error"}},
        {"feeds": ["https://z\u00fcrich.example/\U0001f600?a=b&c=%20#d"]},
    ],
)
async def test_settings_come_back_as_they_were_given(
    idle: Service, user: str, settings: Json
) -> None:
    for door in DOORS:
        answer = await put(idle, user, "rss", {"settings": settings}, door)
        assert (answer.status, answer.body.get("settings")) == (200, settings), answer.text[:500]


@pytest.mark.parametrize(
    "value", [1e300, -1e300, 2**63, 2**64, 9007199254740993, 0.1, 1.5e-300, [[[]]], {"a": {"b": 1}}]
)
async def test_any_json_value_may_stand_where_a_secret_stands(
    idle: Service, user: str, value: Json
) -> None:
    answer = await put(idle, user, "github", {"credentials": {"token": value}})
    assert answer.status in {200, 400}, answer.text[:500]


async def test_many_feeds_are_taken_and_too_many_refused(real: Service, user: str) -> None:
    feeds = [f"https://host-{n}.example/{'a' * 200}/feed.xml" for n in range(1001)]
    answer = await put(real, user, "rss", {"settings": {"feeds": feeds[:200]}})
    assert answer.status == 200
    assert len(answer.body["parts"]) == 200
    answer = await put(real, user, "rss", {"settings": {"feeds": feeds}})
    assert_error(answer, "invalid_argument", details={"settings.feeds"})


async def test_how_each_part_does_is_shown(shared: Service, user: str) -> None:
    good, bad = "https://good.example/feed", "https://bad.example/feed"
    settings = {"feeds": [good, bad], "simulate_parts": {bad: "platform_error"}}
    await connect(shared, user, settings=settings)
    await watch(shared, user)
    await shared.synced(user)
    body = (await shared.call("GET", "/connections/rss", user=user)).body
    assert (body["state"], body["error"]) == ("failing", "platform_error")
    parts = {part["name"]: part for part in body["parts"]}
    assert parts[good]["state"] == "ok"
    assert INSTANT.fullmatch(parts[good]["last_success"])
    assert (parts[bad]["state"], parts[bad]["error"]) == ("failing", "platform_error")
    assert parts[bad]["failures"] == 1
    assert parts[bad]["message"]
    assert INSTANT.fullmatch(parts[bad]["next_attempt"])
    # Changing something gives it a new chance.
    mended = await connect(shared, user, settings={"feeds": [good, bad]})
    assert {part["failures"] for part in mended.body["parts"]} == {0}


async def test_disconnecting_keeps_the_items(shared: Service, user: str) -> None:
    await collected(shared, user, "rss")
    before = await shared.call("GET", "/content/recent", user=user)
    await shared.call("DELETE", "/connections/rss", user=user)
    after = await shared.call("GET", "/content/recent", user=user)
    assert after.body["data"] == before.body["data"]
    assert (await shared.call("GET", "/metadata", user=user)).body["sources"] == []


async def test_a_secret_never_comes_back_and_is_never_logged(
    shared: Service, user: str, log_lines: list[EventDict]
) -> None:
    said: list[str] = []

    async def call(method: str, path: str, body: Json = None) -> None:
        for door in DOORS:
            answer = await shared.call(method, path, body, user=user, door=door)
            said.extend([answer.text, str(answer.headers)])

    secrets = {
        "github": {"token": CANARY},
        "x": {"access_token": CANARY, "refresh_token": f"x-{CANARY}"},
        "email": {"host": "mail.example", "username": "u", "password": CANARY},
        "youtube": {"api_key": CANARY},
    }
    for source, credentials in secrets.items():
        await call("PUT", f"/connections/{source}", {"credentials": credentials})
        await call("GET", f"/connections/{source}")
        # Refused in several ways, each time with the secret in hand.
        wrong: list[Json] = [
            {"credentials": {CANARY: CANARY}},
            {"credentials": credentials, "settings": {"pages": 0}},
            {"credentials": [CANARY]},
        ]
        for body in wrong:
            answer = await shared.call("PUT", f"/connections/{source}", body, user=user)
            said.append(answer.text.replace(f"credentials.{CANARY}", ""))  # the field's own name
            assert answer.status == 400
    await call("GET", "/connections")
    await call("POST", "/watch")
    await shared.synced(user)
    await call("GET", "/metadata")
    await call("GET", "/content/recent?include_raw=true&limit=500")
    await call("GET", "/content/summary/weekly")
    await call("POST", "/content/search", {"query": "the night train"})
    await call("GET", "/health")
    await call("GET", "/metrics")
    assert CANARY not in "".join(said)
    assert len(log_lines) > 50
    token = shared.token(user)
    for line in log_lines:
        assert CANARY not in repr(line)
        assert token.rpartition(".")[0] not in repr(line)


async def test_a_secret_is_stored_sealed(idle: Service, user: str) -> None:
    await put(idle, user, "github", {"credentials": {"token": CANARY}})
    async with await psycopg.AsyncConnection.connect(idle.settings.database_url) as connection:
        query = "SELECT credentials, connections::text FROM connections WHERE user_id = %s"
        row = await (await connection.execute(query, (user,))).fetchone()
    assert row is not None
    assert CANARY.encode() not in row[0]
    assert CANARY.encode().hex() not in row[1]
