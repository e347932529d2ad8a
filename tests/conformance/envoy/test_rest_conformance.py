"""The suite of every REST door, through Envoy."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from yarl import URL

from tests.envoy_door import MISSING, is_installed, needs_envoy
from tests.service import Service
from tests.unit.http_facade.rest_conformance import RPCS, Ask, RestConformance
from tests.unit.http_facade.rest_door import Reply


def test_the_rest_suite_runs_through_envoy() -> None:
    if not is_installed():
        pytest.skip(MISSING)


@pytest.fixture
async def ask(idle: Service) -> AsyncIterator[Ask]:
    url = await idle.envoy.url()

    async def ask(method: str, path: str, **options: Any) -> Reply:
        options.setdefault("allow_redirects", False)
        async with session.request(method, URL(url + path, encoded=True), **options) as response:
            return Reply(response.status, response.headers, await response.read())

    async with aiohttp.ClientSession() as session:
        yield ask


@needs_envoy
class TestRestOfEnvoy(RestConformance):
    async def test_the_door_describes_itself(self, ask: Ask) -> None:
        spec = (await ask("GET", "/openapi.json")).json
        assert set(spec["paths"]) == {rpc.path for rpc in RPCS}
        assert (await ask("GET", "/docs")).status == 200
        # The numbers are Envoy's own, which have no help texts.
        assert (await ask("GET", "/metrics")).raw.startswith(b"# TYPE envoy_")
