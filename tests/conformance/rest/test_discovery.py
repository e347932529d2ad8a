"""What the service says about itself: `/api`, `/capabilities`, `/metadata` and the public keys."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import jwt
import pytest

from distill_grpc.proto import contract
from tests.conformance.seeds import (
    DATE,
    assert_error,
    assert_shaped,
    example,
    instant,
    seconds_from_now,
)
from tests.conformance.users import collected, watch
from tests.databases import fresh_database
from tests.service import DOORS, Door, Service, start_service

Json = Any

# Those with a secret in their path are public to whoever knows it.
PUBLIC = [
    rpc.path
    for rpc in contract.rpcs()
    if rpc.public and rpc.package == "distill.v1" and not rpc.path_fields
]


@pytest.fixture(scope="module")
async def chosen(postgres: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Service]:
    """A service whose operator chose otherwise."""
    with fresh_database(postgres) as address:
        async with start_service(
            address,
            tmp_path_factory.mktemp("chosen"),
            mock=True,
            worker=False,
            sources="rss",
            sync_frequency="2h",
            raw_retention="3d",
            summary_retention="10d",
            api_calls_per_minute=250,
        ) as running:
            yield running


@pytest.mark.parametrize("path", PUBLIC)
@pytest.mark.parametrize("door", DOORS)
async def test_public_endpoints_answer_without_a_token(
    shared: Service, door: Door, path: str
) -> None:
    answer = await shared.call("GET", path, user=None, door=door)
    assert answer.status == 200
    # A token that is no token changes nothing.
    headers = {"Authorization": "Bearer garbage"}
    answer = await shared.call("GET", path, headers=headers, door=door)
    assert answer.status == 200


@pytest.mark.parametrize("door", DOORS)
async def test_api_has_every_key_of_the_seed(shared: Service, door: Door) -> None:
    body = (await shared.call("GET", "/api", user=None, door=door)).body
    assert set(body) == set(example("api"))
    like = example("api")
    del like["endpoints"]["/sync"]["returns"]["next_sync"]  # the seed's own example has none
    assert_shaped(body, like)
    assert body["service"] == "distill"
    for path, told in like["endpoints"].items():
        assert body["endpoints"][path]["method"] == told["method"]
        assert set(told.get("errors", ())) <= set(body["endpoints"][path].get("errors", ()))
    assert body["endpoints"]["/watch"]["returns"]["status"] == "watching|already_watching"
    assert body["endpoints"]["/unwatch"]["returns"]["status"] == "unwatched|not_watching"
    assert body["endpoints"]["/sync"]["returns"]["status"] == "syncing|rate_limited|completed"
    force = body["endpoints"]["/sync"]["parameters"]["force"]
    assert force.startswith("boolean - Bypass rate limit checks")
    assert "default: false" in force


async def test_api_describes_every_rpc_and_only_those(shared: Service) -> None:
    told = (await shared.call("GET", "/api", user=None)).body["endpoints"]
    said: set[tuple[str, str]] = set()
    for key, doc in told.items():
        path = key.rpartition(" ")[2]
        assert set(doc) >= {"method", "description", "returns"}, key
        assert doc["description"], key
        said.add((doc["method"], path))
    assert said == {(rpc.http_method, rpc.path) for rpc in contract.rpcs()}
    assert len(told) == len(contract.rpcs())


async def test_api_and_capabilities_say_what_the_operator_chose(chosen: Service) -> None:
    api = (await chosen.call("GET", "/api", user=None)).body
    assert api["service"] == "rss-feeder"
    assert api["rate_limits"] == {
        "sync_frequency": "Every 2 hours",
        "api_calls": "250 per minute per user",
        "streams": "8 at once per user",
    }
    told = (await chosen.call("GET", "/capabilities", user=None)).body
    assert told["service"] == "rss-feeder"
    assert told["data_retention"]["raw_data"] == "3 days"
    assert told["data_retention"]["summaries"] == "10 days"
    assert told["sync_behavior"]["frequency"] == "Every 2 hours when watching"
    assert [source["name"] for source in told["sources"]] == ["rss"]
    answer = await chosen.call("POST", "/watch", user="chooser")
    apart = instant(answer.body["next_sync"]) - instant(answer.body["since"])
    assert apart.total_seconds() == 7200
    left = await chosen.call("POST", "/unwatch", user="chooser")
    assert left.body["data_retention"] == "Data will be retained for 3 days"


@pytest.mark.parametrize("door", DOORS)
async def test_capabilities_have_every_key_of_the_seed(shared: Service, door: Door) -> None:
    body = (await shared.call("GET", "/capabilities", user=None, door=door)).body
    like = example("capabilities")
    assert set(body) == {*like, "sources"}
    types = {one["type"]: one for one in body["supported_data_types"]}
    for told in like.pop("supported_data_types"):
        assert_shaped(types[told["type"]], told)
    assert_shaped(body, like)
    assert set(types) == {name for rpc in contract.rpcs() for name in rpc.data_types}
    for name, data_type in types.items():
        assert data_type["path_pattern"] == f"/{name}"
    assert types["content/recent"]["parameters"]["hours"] == {
        "type": "integer",
        "default": 24,
        "min": 1,
        "max": 168,
        "description": "How many hours of history to return",
    }
    limit = types["content/recent"]["parameters"]["limit"]
    assert (limit["default"], limit["min"], limit["max"]) == (100, 1, 500)
    date = types["content/summary/daily"]["parameters"]["date"]
    assert (date["type"], date["format"]) == ("date", "YYYY-MM-DD")
    assert types["content/summary/daily"]["requirements"]
    assert body["sync_behavior"]["backfill"].startswith("7 days on initial watch")
    assert body["sync_behavior"]["incremental"] is True


async def test_capabilities_say_how_to_connect_each_source(shared: Service) -> None:
    body = (await shared.call("GET", "/capabilities", user=None)).body
    sources = {source["name"]: source for source in body["sources"]}
    assert {"email", "github", "rss", "x", "youtube"} <= set(sources)
    assert "feeds" in sources["rss"]["settings"]
    assert "token" in sources["github"]["credentials"]
    for source in sources.values():
        assert set(source) == {
            "name",
            "title",
            "description",
            "oauth_scopes",
            "token_type",
            "refresh_supported",
            "credentials",
            "settings",
            "limits",
            "central_tokens",
        }
    scopes = body["platform_requirements"]["oauth_scopes"]
    assert scopes == list(dict.fromkeys(s for one in body["sources"] for s in one["oauth_scopes"]))


@pytest.mark.parametrize("path", PUBLIC)
async def test_public_endpoints_take_no_parameters(shared: Service, path: str) -> None:
    answer = await shared.call("GET", f"{path}?verbose=1", user=None)
    assert_error(answer, "invalid_argument", details={"verbose"})


async def test_the_public_keys_verify_a_token(shared: Service) -> None:
    body = (await shared.call("GET", "/.well-known/jwks.json", user=None)).body
    (key,) = body["keys"]
    assert set(key) == {"kty", "use", "alg", "kid", "n", "e"}
    token = shared.token("key-user")
    assert jwt.get_unverified_header(token)["kid"] == key["kid"]
    claims = jwt.decode(token, jwt.PyJWK(key).key, algorithms=["RS256"])
    assert claims["user_id"] == "key-user"


@pytest.mark.parametrize("door", DOORS)
async def test_metadata_have_every_key_of_the_seed(shared: Service, user: str, door: Door) -> None:
    await collected(shared, user, "rss", "github")
    assert (await shared.call("GET", "/content/summary/weekly", user=user)).status == 200
    daily = await shared.call("GET", "/content/summary/daily", user=user)
    body = (await shared.call("GET", "/metadata", user=user, door=door)).body
    like = example("metadata")
    assert set(body) == {*like, "sources"}
    endpoints = {one["path"]: one for one in body["available_endpoints"]}
    assert set(endpoints) == {f"/{name}" for rpc in contract.rpcs() for name in rpc.data_types}
    for told in like.pop("available_endpoints"):
        got = endpoints[told["path"]]
        if told["path"].endswith("daily") and daily.status == 404:
            del told["latest_summary"]  # just after midnight
        assert set(got) - {"stream_path"} == set(told)
        rpc = next(
            one for one in contract.rpcs() if told["path"].removeprefix("/") in one.data_types
        )
        assert got.get("stream_path", "") == rpc.stream_path
        assert_shaped(got, told)
        assert got["method"] == told["method"]
    assert_shaped(body, like)
    assert body["user_status"]["last_sync_status"] == "completed"
    assert body["statistics"]["total_items"] == sum(s["item_count"] for s in body["sources"])
    assert body["statistics"]["summaries_generated"] == (2 if daily.status == 200 else 1)
    assert DATE.fullmatch(endpoints["/content/summary/weekly"]["latest_summary"])


async def test_metadata_tell_the_truth(shared: Service, reader: str) -> None:
    body = (await shared.call("GET", "/metadata", user=reader)).body
    endpoints = {one["path"]: one for one in body["available_endpoints"]}
    recent = (await shared.call("GET", "/content/recent?limit=500", user=reader)).body
    assert endpoints["/content/recent"]["item_count"] == recent["metadata"]["count"]
    assert endpoints["/content/recent"]["data_freshness"] == recent["metadata"]["freshness"]
    assert endpoints["/content/recent"]["completeness"] == 1.0
    everything = await shared.call("GET", "/content/recent?limit=500&hours=168", user=reader)
    stamps = [item["timestamp"] for item in everything.body["data"]]
    span = endpoints["/content/search"]["date_range"]
    assert span["end"] == stamps[0]
    assert instant(span["start"]) <= instant(stamps[-1])
    assert {source["state"] for source in body["sources"]} == {"ok"}
    assert body["statistics"]["storage_used"].endswith((" KB", " MB"))


async def test_metadata_before_the_first_sync(idle: Service, user: str) -> None:
    await watch(idle, user, sync_frequency="2h")
    body = (await idle.call("GET", "/metadata", user=user)).body
    assert set(body["user_status"]) == {"watching", "since", "next_sync", "sync_frequency"}
    assert body["user_status"]["sync_frequency"] == "2h"
    assert seconds_from_now(body["user_status"]["next_sync"]) > 0
    endpoints = {one["path"]: one for one in body["available_endpoints"]}
    assert endpoints["/content/recent"]["item_count"] == 0
    assert "data_freshness" not in endpoints["/content/recent"]
    assert endpoints["/content/summary/daily"]["available_dates"] == []
    assert {source["state"] for source in body["sources"]} == {"pending"}
    assert body["statistics"] == {
        "total_items": 0,
        "storage_used": "0 B",
        "summaries_generated": 0,
    }


@pytest.mark.parametrize("door", DOORS)
async def test_metadata_of_a_stranger_are_empty(idle: Service, user: str, door: Door) -> None:
    answer = await idle.call("GET", "/metadata", user=user, door=door)
    assert answer.status == 200
    assert answer.body == {
        "user_status": {"watching": False},
        "available_endpoints": [],
        "statistics": {"total_items": 0, "storage_used": "0 B", "summaries_generated": 0},
        "sources": [],
    }
