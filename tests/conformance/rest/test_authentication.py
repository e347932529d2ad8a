"""Tokens at the REST door: what opens it, what does not, and in which words it is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from distill_grpc.proto import contract
from tests.conformance.calls import path_of
from tests.conformance.seeds import ALWAYS, assert_error, example
from tests.conformance.tokens import Forger, claims
from tests.service import DOORS, Door, Service, start_service

Json = Any

CLOSED = [rpc for rpc in contract.rpcs() if not rpc.public]
PUBLIC = {
    *("/api", "/capabilities", "/health", "/.well-known/jwks.json"),
    "/webhooks/{source}/{key}",  # a signature proves who calls
    "/digests/{token}/{file}",  # the token in the address is the secret
    *("/digests/{token}/unsubscribe", "/digests/{token}/unsubscribe/confirm"),
}
PUBLIC_PUBLISHING = {
    "POST /api/v1/users/register",
    "POST /api/v1/users/login",
    "GET /api/v1/posts/{id}",
    "GET /api/v1/creators/{creator_id}/posts",
    "GET /api/v1/posts/{post_id}/comments",
    *(f"GET /api/v1/creators/{{creator_id}}/feed.{form}" for form in ("rss", "atom", "json")),
    # The token in the address of a mail's end is the secret.
    *(f"{method} /api/v1/unsubscribe/{{token}}" for method in ("GET", "POST")),
}
BODIES = {"/distill.v1.ContentService/Search": {"query": "a"}}


def test_only_discovery_and_what_everybody_may_read_is_public() -> None:
    public = [rpc for rpc in contract.rpcs() if rpc.public]
    assert {rpc.path for rpc in public if rpc.package == "distill.v1"} == PUBLIC
    others = {f"{rpc.http_method} {rpc.path}" for rpc in public if rpc.package != "distill.v1"}
    assert others == PUBLIC_PUBLISHING


@pytest.mark.parametrize("rpc", CLOSED, ids=lambda rpc: rpc.name)
@pytest.mark.parametrize("door", DOORS)
async def test_every_other_endpoint_refuses_who_has_no_token(
    idle: Service, door: Door, rpc: contract.Rpc
) -> None:
    body = BODIES.get(rpc.full_name, {} if rpc.body else None)
    for headers in ({}, {"Authorization": "Bearer garbage"}, {"Authorization": ""}):
        answer = await idle.call(
            rpc.http_method, path_of(rpc), body, user=None, door=door, headers=headers
        )
        told = assert_error(answer, "authentication_failed", details={})
        assert set(told) == ALWAYS
        assert told["message"] == example("error_authentication_failed")["message"]
        assert told["user_action_required"] is True
        assert answer.headers["WWW-Authenticate"] == "Bearer"


@pytest.mark.parametrize("door", DOORS)
async def test_a_token_anywhere_else_is_none(idle: Service, user: str, door: Door) -> None:
    token = idle.token(user)
    for headers in (
        {"X-Authorization": f"Bearer {token}"},
        {"Cookie": f"token={token}; authorization={token}"},
        {"Proxy-Authorization": f"Bearer {token}"},
        {"X-User-Id": user, "user_id": user},
        {"Grpc-Metadata-Authorization": f"Bearer {token}"},
    ):
        answer = await idle.call("GET", "/metadata", user=None, door=door, headers=headers)
        assert_error(answer, "authentication_failed")
    for query in ("token", "access_token", "authorization", "jwt"):
        answer = await idle.call("GET", f"/metadata?{query}={token}", user=None, door=door)
        assert answer.status in {400, 401}
        assert token not in answer.text
    answer = await idle.call("POST", "/watch", {"token": token}, user=None, door=door)
    assert answer.status in {400, 401}


@pytest.mark.parametrize("said", [False, None, "true", 1, "yes", [True]])
async def test_credits_are_available_where_the_token_says_literally_true(
    idle: Service, said: Json
) -> None:
    token = Forger(idle).sign(claims(credits_available=said))
    headers = {"Authorization": f"Bearer {token}"}
    answer = await idle.call("POST", "/watch", user=None, headers=headers)
    assert_error(answer, "insufficient_credits")


async def test_the_user_is_the_tokens_and_no_one_elses(idle: Service) -> None:
    forger = Forger(idle)
    for user in ("Ärger 東京", "a/b?c=d&e", "x" * 255, "-", "' OR 1=1 --", "user_1 "[:6]):
        token = forger.sign(claims(user_id=user, sub=user))
        headers = {"Authorization": f"Bearer {token}"}
        for status in (201, 200):
            answer = await idle.call("POST", "/watch", user=None, headers=headers)
            assert answer.status == status


async def test_where_to_log_in_is_told(database_url: str, tmp_path: Path) -> None:
    url = "https://auth.example/login"
    async with start_service(
        database_url, tmp_path, mock=True, worker=False, auth_action_url=url
    ) as service:
        for door in DOORS:
            answer = await service.call("POST", "/watch", user=None, door=door)
            body = assert_error(answer, "authentication_failed")
            assert set(body) == set(example("error_authentication_failed"))
            assert body["action_url"] == url


async def test_without_the_local_issuer_its_tokens_open_nothing(
    database_url: str, tmp_path: Path
) -> None:
    async with start_service(
        database_url, tmp_path, mock=True, worker=False, local_issuer=False
    ) as service:
        for door in DOORS:
            answer = await service.call("GET", "/metadata", door=door)
            assert_error(answer, "authentication_failed")
            assert (await service.call("GET", "/api", door=door)).status == 200


async def test_keys_that_cannot_be_read_are_no_fault_of_the_caller(
    database_url: str, tmp_path: Path
) -> None:
    async with start_service(
        database_url,
        tmp_path,
        mock=True,
        worker=False,
        jwt_jwks_url="http://127.0.0.1:1/jwks.json",
        jwt_issuer="https://clerk.example",
    ) as service:
        forger = Forger(service)
        told = claims(iss="https://clerk.example")
        headers = {"Authorization": f"Bearer {forger.sign(told)}"}
        for door in DOORS:
            answer = await service.call("GET", "/metadata", user=None, door=door, headers=headers)
            body = assert_error(answer, "unavailable")
            assert "retry_after" in body
