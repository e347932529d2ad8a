"""`/health`: healthy, degraded where an optional part is away, unhealthy without the database."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import make_url

from tests.conformance.seeds import ALWAYS, assert_error, assert_shaped, example
from tests.conformance.users import collected, watch
from tests.databases import drop_database
from tests.service import DOORS, Door, Service, start_service

UPTIME = re.compile(r"(\d+ days?, )?\d{1,2}:\d\d:\d\d")


@pytest.mark.parametrize("door", DOORS)
async def test_a_service_that_works_is_healthy(shared: Service, reader: str, door: Door) -> None:
    answer = await shared.call("GET", "/health", user=None, door=door)
    assert answer.status == 200
    assert set(answer.body) == {*example("health"), "degraded_parts"}
    assert_shaped(answer.body, example("health"))
    assert answer.body["status"] == "healthy"
    assert answer.body["degraded_parts"] == {}
    assert UPTIME.fullmatch(answer.body["uptime"])
    assert answer.body["active_users"] >= 1


async def test_users_who_are_watched_are_counted(service: Service) -> None:
    async def health() -> tuple[int, str]:
        body = (await service.call("GET", "/health", user=None)).body
        return body["active_users"], body["platform_api_status"]

    assert await health() == (0, "unknown")
    await collected(service, "one", "rss")
    await watch(service, "two")
    assert await health() == (2, "operational")
    await service.call("POST", "/unwatch", user="two")
    assert (await health())[0] == 1


async def test_platforms_that_fail_are_told(service: Service) -> None:
    for user, source, failure in (("a", "rss", None), ("b", "x", "platform_error")):
        settings = {"simulate": failure} if failure else {}
        await service.call("PUT", f"/connections/{source}", {"settings": settings}, user=user)
        await watch(service, user)
        await service.synced(user)
    body = (await service.call("GET", "/health", user=None)).body
    assert body["platform_api_status"] == "degraded"
    assert body["status"] == "healthy"  # of the service's own parts nothing is away
    await service.call("POST", "/unwatch", user="a")
    await service.call("DELETE", "/connections/rss", user="a")
    body = (await service.call("GET", "/health", user=None)).body
    assert body["platform_api_status"] == "down"


@pytest.mark.parametrize("door", DOORS)
async def test_an_optional_part_that_is_away_degrades(
    database_url: str, tmp_path: Path, door: Door
) -> None:
    async with start_service(
        database_url, tmp_path, mock=True, worker=False, redis_url="redis://127.0.0.1:1/0"
    ) as service:
        # Calls are counted all the same.
        assert (await service.call("GET", "/metadata", door=door)).status == 200
        answer = await service.call("GET", "/health", user=None, door=door)
    assert answer.status == 200
    assert answer.body["status"] == "degraded"
    assert set(answer.body["degraded_parts"]) == {"redis"}
    assert answer.body["degraded_parts"]["redis"]


async def test_servers_of_mail_and_jobs_that_are_away_degrade(
    database_url: str, tmp_path: Path
) -> None:
    away = {"smtp_url": "smtp://127.0.0.1:1", "amqp_url": "amqp://guest:guest@127.0.0.1:1/"}
    async with (
        start_service(database_url, tmp_path, mock=True, worker=False, **away) as service,
        asyncio.timeout(10),
    ):
        body: dict[str, Any] = {"degraded_parts": {}}
        while set(body["degraded_parts"]) != {"mail", "rabbitmq"}:
            await asyncio.sleep(0.05)
            body = (await service.call("GET", "/health", user=None)).body
    assert body["status"] == "degraded"
    assert "guest" not in str(body)


async def test_without_its_database_the_service_is_unhealthy_and_says_so(
    postgres: str, database_url: str, tmp_path: Path
) -> None:
    async with start_service(database_url, tmp_path, mock=True, worker=False) as service:
        assert (await service.call("GET", "/health", user=None)).status == 200
        name = make_url(database_url).database
        assert name
        with psycopg.connect(server(postgres), autocommit=True) as admin:
            drop_database(admin, name)
        for door in DOORS:
            answer = await service.call("GET", "/health", user=None, door=door)
            assert answer.status == 503
            assert answer.body["status"] == "unhealthy"
            assert answer.body["degraded_parts"] == {"database": "cannot be reached"}
            assert set(answer.body) >= {"status", "version", "uptime", "active_users"}
            assert "psycopg" not in answer.text
            assert name not in answer.text
            body = assert_error(await service.call("GET", "/metadata", door=door), "unavailable")
            assert set(body) == {*ALWAYS, "retry_after"}
            # What needs no database goes on.
            assert (await service.call("GET", "/api", user=None, door=door)).status == 200


async def test_connections_that_the_server_cut_are_replaced_unnoticed(service: Service) -> None:
    await watch(service, "cut")
    async with await psycopg.AsyncConnection.connect(service.settings.database_url) as connection:
        await connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
    for _ in range(10):
        assert (await service.call("GET", "/metadata", user="cut")).status == 200
    assert (await service.call("GET", "/health", user=None)).body["status"] == "healthy"
    # The worker goes on too.
    metadata = await collected(service, "after", "rss")
    assert metadata["user_status"]["last_sync_status"] == "completed"


def server(postgres: str) -> str:
    return make_url(postgres).set(database="postgres").render_as_string(hide_password=False)
