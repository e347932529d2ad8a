"""The route table, and what HTTP methods mean for every path."""

from __future__ import annotations

import pytest

from distill_grpc.proto import contract
from http_facade.errors import Refusal
from http_facade.routes import Route, RouteError, RouteTable
from tests.unit.http_facade.rest_door import Door


def table(*routes: str) -> RouteTable[str]:
    return RouteTable(
        [Route(*route.split(" "), name=route, target=route) for route in routes]  # type: ignore[misc]
    )


def found(routes: RouteTable[str], method: str, path: str) -> tuple[str, dict[str, str]] | None:
    match = routes.find(method, path)
    return None if match.route is None else (match.route.target, dict(match.variables))


def test_two_rpcs_that_claim_one_route_stop_the_start() -> None:
    with pytest.raises(RouteError, match="both claim GET /a/"):
        table("GET /a/{x}", "GET /a/{y}")


@pytest.mark.parametrize("template", ["a", "/a/{x=**}", "/a:", "/a:b/c", "/a//b", "/a/", "/a/{X}"])
def test_a_template_that_is_not_understood_stops_the_start(template: str) -> None:
    with pytest.raises(RouteError, match="GET"):
        table(f"GET {template}")


def test_a_verb_after_the_last_segment_is_a_path_of_its_own() -> None:
    routes = table(
        "GET /a/{x}", "POST /a/{x}:make", "POST /a/b:make", "GET /a/{x}/c", "POST /d:make"
    )
    assert found(routes, "POST", "/a/1:make") == ("POST /a/{x}:make", {"x": "1"})
    assert found(routes, "POST", "/a/1%3Amake") == ("POST /a/{x}:make", {"x": "1"})
    assert found(routes, "POST", "/a/b:make") == ("POST /a/b:make", {})
    assert found(routes, "POST", "/a/x:y:make") == ("POST /a/{x}:make", {"x": "x:y"})
    assert found(routes, "POST", "/d:make") == ("POST /d:make", {})
    # What is no verb belongs to the segment.
    assert found(routes, "GET", "/a/1:other") == ("GET /a/{x}", {"x": "1:other"})
    assert found(routes, "GET", "/a/1:make/c") == ("GET /a/{x}/c", {"x": "1:make"})
    assert routes.find("PUT", "/a/1:make").allowed == ("OPTIONS", "POST")
    assert found(routes, "POST", "/a/:make") is None


def test_a_path_that_is_spelled_out_is_no_variable_for_any_method() -> None:
    routes = table("GET /users/{id}", "GET /users/me", "PUT /users/{id}", "GET /users/{id}/posts")
    assert found(routes, "GET", "/users/me") == ("GET /users/me", {})
    assert found(routes, "PUT", "/users/me") is None
    assert found(routes, "PUT", "/users/you") == ("PUT /users/{id}", {"id": "you"})
    assert found(routes, "GET", "/users/me/posts") == ("GET /users/{id}/posts", {"id": "me"})
    assert routes.find("DELETE", "/users/me").allowed == ("GET", "HEAD", "OPTIONS")


def test_an_encoded_slash_stays_inside_its_segment() -> None:
    routes = table("GET /a/{x}", "GET /a/{x}/b")
    assert found(routes, "GET", "/a/1%2Fb") == ("GET /a/{x}", {"x": "1/b"})
    assert found(routes, "GET", "/%61/1") == ("GET /a/{x}", {"x": "1"})


@pytest.mark.parametrize("path", ["/", "/a/", "/a//b", "//a", "/b", "a", "", "/a/1/2", "/" * 99])
def test_every_other_path_is_unknown(path: str) -> None:
    with pytest.raises(Refusal):
        table("GET /a", "GET /a/{x}").find("GET", path)


@pytest.mark.parametrize("rpc", contract.rpcs(), ids=lambda rpc: rpc.name)
async def test_every_rpc_of_the_contract_is_served_at_its_route(
    door: Door, rpc: contract.Rpc
) -> None:
    path = rpc.path
    for name in rpc.path_fields:
        path = path.replace(f"{{{name}}}", "x")
    reply = await door.ask(rpc.http_method, path)
    assert reply.status == 200
    assert door.core.last.rpc == rpc
    options = await door.ask("OPTIONS", path)
    assert options.status == 204
    assert options.raw == b""
    assert rpc.http_method in options.headers["Allow"].split(", ")


async def test_head_is_get_without_the_body(door: Door) -> None:
    get, head = await door.ask("GET", "/api"), await door.ask("HEAD", "/api")
    assert (head.status, head.raw) == (200, b"")
    assert head.headers["Content-Length"] == str(len(get.raw))
    assert head.headers["Content-Type"] == get.headers["Content-Type"]


async def test_a_known_path_with_another_method_says_which_are_allowed(door: Door) -> None:
    reply = await door.ask("DELETE", "/watch")
    assert reply.status == 405
    assert reply.headers["Allow"] == "OPTIONS, POST"
    assert reply.json["error"] == "method_not_allowed"
    several = await door.ask("PATCH", "/connections/rss")
    assert several.headers["Allow"] == "DELETE, GET, HEAD, OPTIONS, PUT"


@pytest.mark.parametrize("path", ["/nope", "/watch/", "/Watch", "/api/v1", "/content/recent/x/y"])
async def test_an_unknown_path_is_not_found(door: Door, path: str) -> None:
    for method in ("GET", "POST", "OPTIONS"):
        assert (await door.ask(method, path)).status == 404


async def test_under_api_v1_errors_have_the_body_of_seed_001(door: Door) -> None:
    reply = await door.ask("GET", "/api/v1/nothing")
    assert reply.json == {
        "detail": "There is no such path. GET /api lists them.",
        "code": "NOT_FOUND",
        "field_errors": {},
    }


async def test_targets_that_are_no_paths_are_understood(door: Door) -> None:
    star = await door.raw(b"OPTIONS * HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    assert star.startswith(b"HTTP/1.1 204")
    whole = b"GET http://a.example/api?x=1 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    assert b'"x":"unknown parameter' in await door.raw(whole)
    connect = await door.raw(b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    assert connect.startswith(b"HTTP/1.1 4")
    assert b'"error":' in connect
