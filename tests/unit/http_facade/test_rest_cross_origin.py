"""Browsers' cross-origin calls."""

from __future__ import annotations

from tests.unit.http_facade.rest_door import Door, opened

APP = "https://app.example"
PREFLIGHT = {"Origin": APP, "Access-Control-Request-Method": "POST"}


async def test_no_origin_may_call_by_default(door: Door) -> None:
    reply = await door.ask("OPTIONS", "/sync", headers=PREFLIGHT)
    assert not [name for name in reply.headers if name.startswith("Access-Control")]


async def test_a_named_origin_may_call_and_others_may_not() -> None:
    async with opened(cors_origins=(APP,)) as door:
        reply = await door.ask("GET", "/nope", headers={"Origin": APP})
        assert reply.status == 404
        assert reply.headers["Access-Control-Allow-Origin"] == APP
        assert reply.headers["Vary"] == "Origin"
        assert "X-Request-Id" in reply.headers["Access-Control-Expose-Headers"]
        for origin in ("https://evil.example", "https://app.example.evil", "null"):
            other = await door.ask("GET", "/api", headers={"Origin": origin})
            assert "Access-Control-Allow-Origin" not in other.headers
            assert other.headers["Vary"] == "Origin"


async def test_a_preflight_names_methods_and_headers() -> None:
    async with opened(cors_origins=(APP,)) as door:
        reply = await door.ask("OPTIONS", "/connections/rss", headers=PREFLIGHT)
        assert reply.status == 204
        assert reply.headers["Access-Control-Allow-Origin"] == APP
        methods = reply.headers["Access-Control-Allow-Methods"]
        assert methods == "DELETE, GET, HEAD, OPTIONS, PUT"
        assert "Authorization" in reply.headers["Access-Control-Allow-Headers"]
        assert "Access-Control-Allow-Credentials" not in reply.headers
        plain = await door.ask("OPTIONS", "/sync", headers={"Origin": APP})
        assert "Access-Control-Allow-Methods" not in plain.headers


async def test_a_star_lets_every_origin_call() -> None:
    async with opened(cors_origins=("*",)) as door:
        reply = await door.ask("GET", "/api", headers={"Origin": "https://any.example"})
        assert reply.headers["Access-Control-Allow-Origin"] == "*"
        assert "Access-Control-Allow-Origin" not in (await door.ask("GET", "/api")).headers
