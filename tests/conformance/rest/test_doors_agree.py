"""The local and the remote transport give the same answers: same status, same body, same headers."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from distill_grpc.proto import contract
from tests.conformance.seeds import RULES
from tests.conformance.users import connect
from tests.service import TRANSPORTS, Answer, Service

Json = Any

# What differs between any two answers.
CHANGING_HEADERS = {"date", "x-request-id", "content-length", "retry-after"}
CHANGING = re.compile(
    r'"(uptime|last_sync_cycle|platform_api_status|query_time|retry_after|next_page_token)":"[^"]*"'
)

NOBODY = "00000000-0000-4000-8000-000000000000"
CASES: list[tuple[str, str, Json]] = [
    ("GET", "/api", None),
    ("GET", "/capabilities", None),
    ("GET", "/health", None),
    ("GET", "/.well-known/jwks.json", None),
    ("GET", "/openapi.json", None),
    ("GET", "/metadata", None),
    ("HEAD", "/metadata", None),
    ("OPTIONS", "/watch", None),
    ("GET", "/connections", None),
    ("GET", "/connections/rss", None),
    ("GET", "/connections/nowhere", None),
    ("GET", "/content/recent?hours=168&limit=500&include_raw=true", None),
    ("GET", "/content/recent?sources=rss,x&limit=7", None),
    ("GET", "/content/recent?page_token=garbage", None),
    ("GET", "/content/recent?hours=0&limit=0", None),
    ("POST", "/content/search", {"query": "train or vulnerability"}),
    ("POST", "/content/search", {"query": "the"}),
    ("POST", "/content/search", {"query": "a", "since": "yesterday", "limit": 501}),
    ("GET", "/content/summary/daily?tz=Europe/Berlin", None),
    ("GET", "/content/summary/weekly", None),
    ("GET", "/content/summary/2001-01-01", None),
    ("GET", "/content/summary/never", None),
    ("POST", "/watch", {"options": {"backfill_days": 31, "sync_frequency": "1s"}}),
    ("POST", "/sync", None),
    ("POST", "/sync", {"types": ["nonsense"]}),
    ("GET", "/sync/sync_abc", None),
    ("PUT", "/connections/rss", {"settings": {"pages": 0, "feeds": [1]}}),
    ("PUT", "/connections/nowhere", {}),
    ("DELETE", "/connections/nowhere", None),
    *(
        ("GET", f"/api/v1/creators/{NOBODY}/posts?status={status}", None)
        for status in ("draft", "DRAFT", "status_unspecified", "1")
    ),
    *(
        ("PUT", f"/api/v1/posts/{NOBODY}", {"status": status})
        for status in ("Draft", "status_unspecified", 1)
    ),
    ("POST", "/api/v1/users/register", {"role": "Creator"}),
    ("POST", "/api/v1/posts", {"title": "T", "content": "C", "content_format": "HTML"}),
    ("GET", "/nowhere", None),
    ("DELETE", "/watch", None),
]


def comparable(answer: Answer) -> Json:
    headers = {k.lower(): v for k, v in answer.headers.items() if k.lower() not in CHANGING_HEADERS}
    return answer.status, headers, CHANGING.sub(r'"\1":"…"', answer.text)


async def assert_same(
    service: Service, method: str, path: str, body: Json = None, **more: Json
) -> Answer:
    one, other = [await service.call(method, path, body, door=door, **more) for door in TRANSPORTS]
    assert comparable(one) == comparable(other)
    assert set(one.headers) == set(other.headers)
    return one


@pytest.mark.parametrize(("method", "path", "body"), CASES)
async def test_an_answer_is_the_same_through_both_transports(
    shared: Service, reader: str, method: str, path: str, body: Json
) -> None:
    await assert_same(shared, method, path, body, user=reader)
    await assert_same(shared, method, path, body, user=None)
    await assert_same(shared, method, path, body, user="nobody-known")


async def test_what_changes_nothing_is_the_same_through_both_transports(
    shared: Service, reader: str
) -> None:
    assert (await assert_same(shared, "POST", "/watch", user=reader)).status == 200
    assert (await assert_same(shared, "POST", "/sync", user=reader)).status == 429
    assert (await assert_same(shared, "POST", "/unwatch", user="nobody-known")).status == 200


async def test_what_has_no_order_is_printed_in_one(idle: Service, user: str) -> None:
    part = "https://a.example/"
    known = {"pages": 2, "feeds": [part], "delay": 1, "simulate_parts": {part: "token_expired"}}
    await connect(idle, user, settings=known)
    await assert_same(idle, "GET", "/connections", user=user)
    unknown = {"settings": dict.fromkeys("zyxwvutsrq", 0)}
    answer = await assert_same(idle, "PUT", "/connections/rss", unknown, user=user)
    assert list(answer.body["details"]) == [f"settings.{name}" for name in "qrstuvwxyz"]


@pytest.mark.parametrize("code", RULES)
async def test_every_error_is_the_same_through_both_transports(
    shared: Service, reader: str, code: str
) -> None:
    headers = {"X-Distill-Simulate": code}
    await assert_same(shared, "GET", "/metadata", user=reader, headers=headers)
    await assert_same(shared, "GET", "/health", user=None, headers=headers)


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXTS
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)
WORDS = st.sampled_from(
    ["24", "0", "-1", "168", "true", "false", "rss", "rss,x", "daily", "2024-01-10", "UTC", "train"]
)
GETS = [rpc for rpc in contract.rpcs() if rpc.http_method == "GET" and not rpc.public]
# Those that change nothing that another example could see.
BODIES = {
    "/content/search": ["query", "sources", "tags", "authors", "since", "until", "limit"],
    "/sync": ["force", "types"],
}


@st.composite
def questions(draw: st.DrawFn) -> tuple[str, str, Json]:
    """A request that may or may not be good."""
    if draw(st.booleans()):
        path = draw(st.sampled_from(sorted(BODIES)))
        names = st.sampled_from(BODIES[path]) | TEXTS
        body = draw(
            st.dictionaries(names, VALUES | WORDS | st.lists(WORDS, max_size=3), max_size=4)
        )
        if body.get("force") is True:
            body["types"] = ["nonsense"]
        return "POST", path, body
    rpc = draw(st.sampled_from(GETS))
    path = rpc.path
    for name in rpc.path_fields:
        path = path.replace(f"{{{name}}}", quote(draw(WORDS | TEXTS.filter(len)), safe=""))
    fields = [field.name for field in rpc.descriptor.input_type.fields]
    keys = st.sampled_from([*fields, "unknown"])
    pairs = draw(st.lists(st.tuples(keys, WORDS | TEXTS), max_size=3))
    query = "&".join(f"{key}={quote(value, safe='')}" for key, value in pairs)
    return "GET", f"{path}?{query}" if query else path, None


@settings(
    max_examples=200,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(question=questions())
async def test_any_request_gets_the_same_answer_and_no_fault(
    shared: Service, reader: str, question: tuple[str, str, Json]
) -> None:
    method, path, body = question
    answer = await assert_same(shared, method, path, body, user=reader)
    assert answer.status < 500, answer.text
