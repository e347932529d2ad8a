"""Requests that are wrong before they mean anything: each gets the seed's body and the right status."""

from __future__ import annotations

import asyncio
from io import BytesIO
from typing import Any

import pytest

from distill_grpc.proto import contract
from tests.conformance.calls import path_of
from tests.conformance.seeds import assert_error
from tests.service import DOORS, Door, Service

Json = Any

JSON = {"Content-Type": "application/json"}
TAKE_A_BODY = [(rpc.http_method, path_of(rpc)) for rpc in contract.rpcs() if rpc.body]
# The others take bytes of any kind.
TAKE_JSON = [
    (rpc.http_method, path_of(rpc)) for rpc in contract.rpcs() if rpc.body and not rpc.takes_raw
]
DEEP = 10_000

# Bytes that hold no JSON object, by what is wrong with them.
GARBAGE: dict[str, bytes] = {
    "a word": b"garbage",
    "a number": b"42",
    "a string": b'"options"',
    "null": b"null",
    "true": b"true",
    "an array": b"[]",
    "an array of objects": b"[{}]",
    "truncated": b'{"options": {"backfill_days": ',
    "truncated in a string": b'{"options": "',
    "two objects": b"{}{}",
    "trailing garbage": b"{} x",
    "trailing comma": b'{"options": {},}',
    "comment": b'{"force": true} // why',
    "single quotes": b"{'options': {}}",
    "name without quotes": b"{options: {}}",
    "deep arrays": b'{"options":' + b"[" * DEEP + b"]" * DEEP + b"}",
    "deep objects": b'{"a":' * DEEP + b"1" + b"}" * DEEP,
    "deep and truncated": b"[" * DEEP,
    "a name twice": b'{"options": {}, "options": {}}',
    "a name twice inside": b'{"options": {"backfill_days": 1, "backfill_days": 2}}',
    "NaN": b'{"options": {"backfill_days": NaN}}',
    "Infinity": b'{"options": {"backfill_days": -Infinity}}',
    "a number too large": b'{"options": {"backfill_days": 1e999}}',
    "a number of many digits": b'{"options": {"backfill_days": ' + b"9" * 100_000 + b"}}",
    "leading zero": b'{"options": {"backfill_days": 07}}',
    "NUL in a value": b'{"options": {"sync_frequency": "30m\\u0000"}}',
    "NUL in a name": b'{"options\\u0000": {}}',
    "raw NUL": b'{"options": {"sync_frequency": "30m\0"}}',
    "raw newline in a string": b'{"options": {"sync_frequency": "30\nm"}}',
    "half a surrogate pair": b'{"options": {"sync_frequency": "\\ud83d"}}',
    "surrogates the wrong way round": b'{"options": {"sync_frequency": "\\ude00\\ud83d"}}',
    "half a surrogate pair in a name": b'{"\\udc00": 1}',
    "a byte order mark": b"\xef\xbb\xbf{}",
    "UTF-16": '{"options": {}}'.encode("utf-16"),
    "UTF-32": '{"options": {}}'.encode("utf-32-le"),
    "Latin-1": b'{"options": {"sync_frequency": "\xfc"}}',
    "an overlong encoding": b'{"options": {"sync_frequency": "\xc0\xaf"}}',
    "an encoded surrogate": b'{"options": {"sync_frequency": "\xed\xa0\x80"}}',
    "a cut character": b'{"options": {"sync_frequency": "\xf0\x9f\x98',
    "a bad escape": b'{"options": "\\x41"}',
    "a form": b"force=true&types=content",
    "XML": b"<watch/>",
    "protobuf": b"\x0a\x02\x08\x07",
    "an unknown name of great length": b'{"' + b"a" * 100_000 + b'": 1}',
}


@pytest.mark.parametrize("name", GARBAGE)
@pytest.mark.parametrize("door", DOORS)
async def test_what_is_no_json_object_is_an_invalid_argument(
    idle: Service, user: str, door: Door, name: str
) -> None:
    answer = await idle.call(
        "POST", "/watch", user=user, door=door, data=GARBAGE[name], headers=JSON
    )
    body = assert_error(answer, "invalid_argument")
    assert body["details"]
    assert len(answer.text) < 2000  # a long request makes no long answer
    assert (await idle.call("POST", "/unwatch", user=user)).body == {"status": "not_watching"}


@pytest.mark.parametrize(("method", "path"), TAKE_JSON)
async def test_every_endpoint_with_a_body_refuses_garbage(
    idle: Service, user: str, method: str, path: str
) -> None:
    for data in (b"garbage", b"[]", b'{"never_heard_of": 1}'):
        answer = await idle.call(method, path, user=user, data=data, headers=JSON)
        assert assert_error(answer, "invalid_argument", details=None)["details"]


@pytest.mark.parametrize(("method", "path"), TAKE_JSON)
@pytest.mark.parametrize(
    "kind", ["text/plain", "application/xml", "multipart/form-data; boundary=a", "garbage"]
)
async def test_every_endpoint_with_a_body_refuses_other_types(
    idle: Service, user: str, method: str, path: str, kind: str
) -> None:
    headers = {"Content-Type": kind}
    answer = await idle.call(method, path, user=user, data=b'{"query": "a"}', headers=headers)
    assert_error(answer, "unsupported_media_type")


@pytest.mark.parametrize(("method", "path"), TAKE_A_BODY)
@pytest.mark.parametrize("door", DOORS)
async def test_every_endpoint_with_a_body_bounds_it(
    idle: Service, user: str, door: Door, method: str, path: str
) -> None:
    data = BytesIO(b'{"query": "' + b"a" * (1 << 20) + b'"}')
    answer = await idle.call(method, path, user=user, door=door, data=data, headers=JSON)
    assert_error(answer, "payload_too_large")
    # The door is open for the next one.
    assert (await idle.call("GET", "/api", user=None, door=door)).status == 200


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize(
    "path",
    [
        "/nowhere",
        "/watch/",
        "/watch/me",
        "//watch",
        "/WATCH",
        "/api/v1x",
        "/content",
        "/content/summary",
        "/content/summary/",
        "/content/summary/daily/more",
        "/sync/",
        "/connections/",
        "/.well-known/",
        "/%2e%2e/etc/passwd",
        "/distill.v1.WatchService/Watch",
        "/a" * 100,
    ],
)
async def test_a_path_that_is_none_is_not_found(idle: Service, door: Door, path: str) -> None:
    for user in (None, "anybody"):
        answer = await idle.call("GET", path, user=user, door=door)
        assert_error(answer, "not_found", details={})


def methods_by_path() -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for rpc in contract.rpcs():
        found.setdefault(path_of(rpc), set()).add(rpc.http_method)
    return found


@pytest.mark.parametrize("path", methods_by_path())
@pytest.mark.parametrize("door", DOORS)
async def test_a_method_that_a_path_does_not_have_is_told_which_it_has(
    idle: Service, door: Door, path: str
) -> None:
    has = methods_by_path()[path] | {"OPTIONS"}
    has |= {"HEAD"} if "GET" in has else set()
    for method in {"GET", "POST", "PUT", "PATCH", "DELETE"} - has:
        answer = await idle.call(method, path, user="anybody", door=door)
        assert_error(answer, "method_not_allowed", details={})
        assert set(answer.headers["Allow"].split(", ")) == has
    options = await idle.call("OPTIONS", path, user=None, door=door)
    assert (options.status, options.text) == (204, "")
    assert set(options.headers["Allow"].split(", ")) == has


@pytest.mark.parametrize("door", DOORS)
async def test_head_is_get_without_a_body(shared: Service, reader: str, door: Door) -> None:
    for path, user in (("/api", None), ("/metadata", reader), ("/content/recent", reader)):
        head = await shared.call("HEAD", path, user=user, door=door)
        assert (head.status, head.text) == (200, "")
        assert int(head.headers["Content-Length"]) > 0
    head = await shared.call("HEAD", "/metadata", user=None, door=door)
    assert (head.status, head.text) == (401, "")


async def test_a_query_where_none_is_taken_is_refused(idle: Service, user: str) -> None:
    for method, path in (("POST", "/watch"), ("POST", "/sync"), ("PUT", "/connections/rss")):
        answer = await idle.call(method, f"{path}?force=true", user=user)
        assert_error(answer, "invalid_argument", details={"force"})


async def test_a_body_where_none_is_taken_is_refused(idle: Service, user: str) -> None:
    for method, path in (("GET", "/metadata"), ("GET", "/api"), ("DELETE", "/connections/rss")):
        answer = await idle.call(method, path, {"a": 1}, user=user)
        assert_error(answer, "invalid_argument", details={"body"})


async def test_many_wrong_requests_at_once_are_all_answered(idle: Service, user: str) -> None:
    calls = [
        idle.call("POST", "/watch", user=user, door=door, data=data, headers=JSON)
        for data in GARBAGE.values()
        for door in DOORS
    ]
    for answer in await asyncio.gather(*calls):
        assert_error(answer, "invalid_argument")
