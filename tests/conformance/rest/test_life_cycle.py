"""The watch life cycle through both doors, in the seed's words."""

from __future__ import annotations

import re

import pytest

from tests.service import DOORS, Door, Service

INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")


@pytest.mark.parametrize("door", DOORS)
async def test_a_new_watch_is_201_and_a_second_one_200(service: Service, door: Door) -> None:
    first = await service.call("POST", "/watch", door=door)
    assert first.status == 201
    assert set(first.body) == {"status", "since", "next_sync", "backfill_status"}
    assert first.body["status"] == "watching"
    assert first.body["backfill_status"] == "queued"
    assert INSTANT.fullmatch(first.body["since"])
    await service.synced()
    second = await service.call("POST", "/watch", door=door)
    assert second.status == 200
    assert set(second.body) == {"status", "since", "last_sync", "next_sync"}
    assert second.body["status"] == "already_watching"
    assert second.body["since"] == first.body["since"]
