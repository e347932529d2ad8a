"""`X-Distill-Simulate`: every standard error on request in mock mode, and never outside it."""

from __future__ import annotations

import pytest

from distill_grpc.proto import contract
from tests.conformance.seeds import RULES, assert_error, seconds_from_now
from tests.service import DOORS, Door, Service


@pytest.mark.parametrize("code", RULES)
@pytest.mark.parametrize("door", DOORS)
async def test_every_error_can_be_simulated(
    shared: Service, reader: str, door: Door, code: str
) -> None:
    headers = {"X-Distill-Simulate": code}
    for path, user in (("/metadata", reader), ("/api", None), ("/health", None)):
        answer = await shared.call("GET", path, user=user, door=door, headers=headers)
        body = assert_error(answer, code)
        if code == "rate_limited":
            assert seconds_from_now(body["retry_after"]) > 0
    answer = await shared.call("POST", "/watch", user=reader, door=door, headers=headers)
    assert_error(answer, code)


@pytest.mark.parametrize("code", RULES)
@pytest.mark.parametrize("door", DOORS)
async def test_publishing_simulates_in_its_own_body(shared: Service, door: Door, code: str) -> None:
    headers = {"X-Distill-Simulate": code}
    answer = await shared.call("GET", "/api/v1/posts/1", user=None, door=door, headers=headers)
    assert answer.body["code"] == code.upper()
    assert_error(answer, code)


@pytest.mark.parametrize("door", DOORS)
async def test_nothing_happens_where_an_error_is_simulated(
    idle: Service, user: str, door: Door
) -> None:
    headers = {"X-Distill-Simulate": "platform_error"}
    answer = await idle.call("POST", "/watch", user=user, door=door, headers=headers)
    assert_error(answer, "platform_error")
    assert (await idle.call("POST", "/unwatch", user=user)).body == {"status": "not_watching"}


@pytest.mark.parametrize("code", ["no_such_error", "RATE_LIMITED", "rate-limited", "x" * 65])
@pytest.mark.parametrize("door", DOORS)
async def test_a_code_that_is_none_is_told_which_there_are(
    shared: Service, reader: str, door: Door, code: str
) -> None:
    headers = {"X-Distill-Simulate": code}
    answer = await shared.call("GET", "/metadata", user=reader, door=door, headers=headers)
    body = assert_error(answer, "invalid_argument", details={"x-distill-simulate"})
    assert all(code in body["details"]["x-distill-simulate"] for code in RULES)


@pytest.mark.parametrize("door", DOORS)
async def test_outside_mock_mode_the_header_is_ignored(
    real: Service, user: str, door: Door
) -> None:
    for code in (*RULES, "no_such_error"):
        headers = {"X-Distill-Simulate": code}
        answer = await real.call("GET", "/metadata", user=user, door=door, headers=headers)
        assert answer.status == 200
    # Nor does it open anything.
    headers = {"X-Distill-Simulate": "not_found"}
    for rpc in contract.rpcs():
        if not rpc.public and not rpc.path_fields:
            answer = await real.call(
                rpc.http_method, rpc.path, user=None, door=door, headers=headers
            )
            assert answer.status == 401
