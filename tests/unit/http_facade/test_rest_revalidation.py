"""Answers that are the same for everybody are sent again only where they changed."""

from __future__ import annotations

import pytest

from distill_grpc.proto.distill.v1 import discovery_service_pb2 as pb
from tests.unit.http_facade.rest_door import Door


@pytest.mark.parametrize("path", ["/api", "/openapi.json", "/docs"])
async def test_what_the_client_has_is_not_sent_again(door: Door, path: str) -> None:
    first = await door.ask("GET", path)
    tag = first.headers["ETag"]
    assert tag.startswith('W/"')
    for told in (tag, f'"other", {tag}', tag.removeprefix("W/"), "*"):
        again = await door.ask("GET", path, headers={"If-None-Match": told})
        assert (again.status, again.raw) == (304, b"")
        assert again.headers["ETag"] == tag
        assert again.headers["Cache-Control"] == "no-cache"
    other = await door.ask("GET", path, headers={"If-None-Match": 'W/"other"'})
    assert (other.status, other.raw) == (200, first.raw)


async def test_another_body_has_another_tag(door: Door) -> None:
    door.core.responds(pb.GetApiResponse(service="one"))
    one = (await door.ask("GET", "/api")).headers["ETag"]
    door.core.responds(pb.GetApiResponse(service="two"))
    two = await door.ask("GET", "/api", headers={"If-None-Match": one})
    assert two.status == 200
    assert two.headers["ETag"] != one


async def test_what_is_a_user_s_own_an_error_or_of_the_moment_has_none(door: Door) -> None:
    for path in ("/metadata", "/nope", "/health"):
        reply = await door.ask("GET", path, headers={"If-None-Match": "*"})
        assert reply.status != 304
        assert "ETag" not in reply.headers
