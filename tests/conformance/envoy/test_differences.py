"""What Envoy answers otherwise than the facade: the list of envoy/README.md, each line held here."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import pytest

from tests.conformance.seeds import assert_error
from tests.conformance.users import store, story, watch
from tests.envoy_door import needs_envoy
from tests.service import Answer, Service

pytestmark = needs_envoy

Json = Any
JSON = {"Content-Type": "application/json"}


async def both(service: Service, method: str, path: str, **more: Json) -> tuple[Answer, Answer]:
    facade = await service.call(method, path, door="local", **more)
    envoy = await service.call(method, path, door="envoy", **more)
    return facade, envoy


@pytest.mark.parametrize(
    "raw",
    [
        b"[]",
        b"null",
        b"3",
        b'"text"',
        b"{",
        b'{"force": true,}',
        b"{'force': true}",
        b'{"force": true} {}',
        b"\xef\xbb\xbf{}",
        b'{"a": "\x01"}',
        b'{"a": NaN}',
        b'{"a": -Infinity}',
        b'{"a": 1e400}',
        b'{"a": ' + b"9" * 5000 + b"}",
        b'{"a": "\xff"}',
        b'{"a": "\xed\xa0\x80"}',
        b'{"a": 1, "a": 2}',
        b'{"a": {"b": 1, "b": 2}}',
        b'{"force": "\\u0000"}',
        b'{"types": ["\\ud800"]}',
        b'{"types": ["\\ud83d\\ude00\\ud83d"]}',
        b'{"a": ' + b"[" * 64 + b"]" * 64 + b"}",
        b'{"a": 01}',
        b'{"a": .5}',
        b'{"a": 1.}',
        b'{"a": +1}',
        b'{"a": "\\x"}',
        b'{"a": "\\u12"}',
        b'{"a"}',
        b'{"a": tru}',
        b"\x00",
        b'{"a": "unended',
    ],
)
async def test_the_words_about_malformed_json_are_envoys_but_name_the_same_fault(
    idle: Service, user: str, raw: bytes
) -> None:
    facade, envoy = await both(idle, "POST", "/sync", data=raw, headers=JSON, user=user)
    ours = assert_error(envoy, "invalid_argument")["details"]
    its = assert_error(facade, "invalid_argument")["details"]
    assert set(ours) == set(its)
    for name, rule in its.items():
        assert ours[name].partition(" (")[0] == rule.partition(" (")[0]


async def test_a_name_that_cannot_be_printed_is_shown_as_it_is(idle: Service, user: str) -> None:
    facade, envoy = await both(idle, "POST", "/sync", json={"\x80": 1}, user=user)
    assert list(envoy.body["details"]) == ["\x80"]
    assert list(facade.body["details"]) == ['"\\u0080"']


async def test_whole_doubles_print_without_a_point_and_maps_in_any_order(
    idle: Service, user: str
) -> None:
    await watch(idle, user)
    await store(idle, user, story(1, metrics={"b": 45.0, "a": 0.5}))
    facade, envoy = await both(idle, "GET", "/content/recent", user=user)
    assert '"completeness":1,' in envoy.text or '"completeness":0,' in envoy.text
    assert '"completeness":1.0,' in facade.text or '"completeness":0.0,' in facade.text
    assert envoy.body["data"] == facade.body["data"]


async def test_the_metrics_are_envoys_own(idle: Service) -> None:
    _, envoy = await both(idle, "GET", "/metrics", user=None)
    assert envoy.status == 200
    assert "envoy_http_downstream_rq_total" in envoy.text
    assert "distill_http_requests" not in envoy.text


async def test_only_the_facade_gives_tags_to_what_may_be_kept(idle: Service) -> None:
    facade, envoy = await both(idle, "GET", "/api", user=None)
    assert facade.headers["Cache-Control"] == envoy.headers["Cache-Control"]
    known = {"If-None-Match": facade.headers["ETag"]}
    facade, envoy = await both(idle, "GET", "/api", user=None, headers=known)
    assert (facade.status, envoy.status) == (304, 200)
    assert "ETag" not in envoy.headers


async def test_a_new_request_id_has_the_form_of_a_uuid(idle: Service) -> None:
    facade, envoy = await both(idle, "GET", "/api", user=None)
    assert re.fullmatch(r"[0-9a-f]{32}", facade.headers["X-Request-Id"])
    assert re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", envoy.headers["X-Request-Id"])


async def test_names_of_headers_are_in_lower_case_and_those_with_underscores_unseen(
    idle: Service,
) -> None:
    _, envoy = await both(
        idle, "GET", "/api", user=None, headers={"x_y": "1", "authorization_": "a"}
    )
    assert envoy.status == 200


@pytest.mark.parametrize("version", [b"1.0", b"9.9"])
async def test_a_version_that_is_not_1_1_is_taken_for_1_0(idle: Service, version: bytes) -> None:
    host, _, port = (await idle.envoy.url()).removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"GET /api HTTP/" + version + b"\r\n\r\n")
    assert (await reader.readline()).startswith(b"HTTP/1.0 200")
    writer.close()


@pytest.mark.parametrize("depth", [1, 30])
async def test_what_is_nested_goes_through(idle: Service, user: str, depth: int) -> None:
    nested: Json = {}
    for _ in range(depth):
        nested = {"a": nested}
    body = {"settings": {"deep": nested}}
    facade, envoy = await both(idle, "PUT", "/connections/rss", json=body, user=user)
    assert (envoy.status, envoy.body) == (facade.status, facade.body)


@pytest.mark.parametrize(
    "since",
    [
        "2024-01-10T10:00:00Z",
        "2024-01-10T10:00:00.123456789Z",
        "2024-01-10T10:00:00+01:00",
        "2024-01-10T10:00:00.5-23:59",
        "2024-02-29T00:00:00Z",
        "2023-02-29T00:00:00Z",
        "2024-01-10T10:00:60Z",
        "2024-01-10T24:00:00Z",
        "2024-13-10T10:00:00Z",
        "2024-01-10T10:00:00",
        "2024-01-10 10:00:00Z",
        "2024-01-10T10:00:00.1234567890Z",
        "0000-01-10T10:00:00Z",
        "0001-01-01T00:00:00+01:00",
        "9999-12-31T23:59:59Z",
        "9999-12-31T23:59:59-01:00",
        "2024-01-10T10:00:00+24:00",
        "",
        "now",
        1704880800,
        None,
    ],
)
async def test_instants_are_read_alike(idle: Service, user: str, since: Json) -> None:
    body = {"query": "x", "since": since}
    await watch(idle, user)
    facade, envoy = await both(idle, "POST", "/content/search", json=body, user=user)
    assert envoy.status == facade.status, (facade.text, envoy.text)
    if facade.status != 200:
        assert envoy.body == facade.body


async def test_an_instant_in_small_letters_is_read_by_the_facade_only(
    idle: Service, user: str
) -> None:
    body = {"query": "x", "since": "2024-01-10t10:00:00z"}
    await watch(idle, user)
    facade, envoy = await both(idle, "POST", "/content/search", json=body, user=user)
    assert facade.status == 200
    assert_error(envoy, "invalid_argument", details={"since"})
