"""Browsers' cross-origin calls through Envoy: as the facade answers them."""

from __future__ import annotations

from tests.conformance.envoy.scripted import Asked
from tests.envoy_door import needs_envoy
from tests.service import Service
from tests.unit.http_facade.rest_door import opened

pytestmark = needs_envoy

APP = "https://app.example"


async def test_preflights_and_calls_get_the_facades_headers(envoy: Asked) -> None:
    cases = [
        ("OPTIONS", "/connections/rss", {"Origin": APP, "Access-Control-Request-Method": "PUT"}),
        ("OPTIONS", "/sync", {"Origin": APP}),
        (
            "OPTIONS",
            "/sync",
            {"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"},
        ),
        ("GET", "/nope", {"Origin": APP}),
        ("GET", "/nope", {"Origin": "null"}),
        ("GET", "/nope", {}),
        ("PATCH", "/watch", {"Origin": APP}),
    ]
    async with opened(cors_origins=(APP,)) as facade:
        for method, path, headers in cases:
            mine = await envoy.ask(method, path, headers=headers)
            its = await facade.ask(method, path, headers=headers)
            assert mine.status == its.status
            for name in set(mine.headers) | set(its.headers):
                if name.lower().startswith("access-control"):
                    assert mine.headers.get(name) == its.headers.get(name), (path, name)
            assert "Origin" in mine.headers["Vary"]


async def test_no_origin_may_call_by_default(idle: Service) -> None:
    headers = {"Origin": APP, "Access-Control-Request-Method": "POST"}
    answer = await idle.call("OPTIONS", "/sync", door="envoy", headers=headers)
    assert answer.status == 204
    assert not [name for name in answer.headers if name.lower().startswith("access-control")]
