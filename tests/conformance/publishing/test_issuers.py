"""Whose tokens open `/api/v1` and whose open Distill, as the operator decides."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from aiohttp import web

from distill_grpc.auth import LocalIssuer
from tests.conformance.publishing.people import person
from tests.service import Service, start_service


async def statuses(service: Service, token: str) -> tuple[int, int]:
    """What a token gets at Distill and at `/api/v1`."""
    headers = {"Authorization": f"Bearer {token}"}
    distill = await service.call("GET", "/metadata", user=None, headers=headers)
    user = "/api/v1/users/01a217c9-792a-736d-bb2c-b6dfc9a2f809"
    platform = await service.call("GET", user, user=None, headers=headers)
    return distill.status, platform.status


async def test_with_an_issuer_of_the_operators_own_logins_open_the_platform_alone(
    database_url: str, tmp_path: Path
) -> None:
    clerk = LocalIssuer.load(tmp_path / "clerk")

    async def keys(_: web.Request) -> web.Response:
        return web.json_response({"keys": clerk.jwks()})

    server = web.Application()
    server.router.add_get("/jwks.json", keys)
    runner = web.AppRunner(server)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    async with start_service(
        database_url,
        tmp_path / "own",
        worker=False,
        jwt_jwks_url=f"http://127.0.0.1:{port}/jwks.json",
    ) as service:
        ada = await person(service)
        assert service.settings.local_issuer is False
        assert await statuses(service, ada.token) == (401, 404)
        assert await statuses(service, service.token("somebody")) == (401, 404)
        foreign = clerk.issue(user_id=ada.id, email=None, expires_in=timedelta(hours=1))
        assert await statuses(service, foreign) == (200, 401)
    await runner.cleanup()


async def test_without_one_logins_open_both(real: Service) -> None:
    ada = await person(real)
    assert await statuses(real, ada.token) == (200, 404)
