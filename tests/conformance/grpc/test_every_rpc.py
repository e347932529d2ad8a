"""Every RPC over the wire, by the generated stubs, as a program in any language would call it."""

from __future__ import annotations

import asyncio

import grpc
import pytest
from google.protobuf import json_format

from distill_grpc.feed.digest_mailing import UNSUBSCRIBE
from distill_grpc.proto import contract
from tests.conformance.calls import (
    CONSUMER_SECRET,
    any_request,
    method,
    publishing_requests,
    received,
    requests,
    signature,
)
from tests.conformance.grpc.failures import failure
from tests.conformance.users import link_tokens, store, story
from tests.service import Service

# Those that name something in their path must find it first.
PUBLIC = [
    rpc for rpc in contract.rpcs() if rpc.public and not (rpc.optional_token or rpc.path_fields)
]
DISTILL = {rpc.full_name for rpc in contract.rpcs() if rpc.package == "distill.v1"}
CLOSED = [rpc for rpc in contract.rpcs() if not rpc.public]
ACCEPTED = {
    "/distill.v1.WatchService/Watch": "201",
    "/distill.v1.SyncService/Sync": "202",
    "/distill.v1.DigestService/CreateDigestFeed": "201",
}


def test_there_is_a_request_for_every_rpc() -> None:
    assert set(requests("sync_a")) == DISTILL
    both = DISTILL | set(publishing_requests())
    assert both == {rpc.full_name for rpc in contract.rpcs()}


async def test_every_rpc_succeeds_once_in_the_life_of_a_user(shared: Service, user: str) -> None:
    metadata = shared.metadata(user, **{"x-request-id": f"life-{user}"}, **signature())
    credentials = {"credentials": {"consumer_secret": CONSUMER_SECRET}}
    made = await shared.call("PUT", "/connections/x", credentials, user=user)
    key = made.body["webhook"]["url"].rpartition("/")[2]
    job_id = feed_token = ""
    done = []
    for full_name, request in requests("", key).items():
        rpc = contract.rpc(full_name)
        if full_name.endswith("/GetSyncJob"):
            request.job_id = job_id
        if full_name.endswith("/GetDigestFeed"):
            request.token = feed_token
        if full_name.endswith(("/StopDigestMails", "DigestUnsubscription")):
            request.token = (await link_tokens(shared)).sign(user, UNSUBSCRIBE)
        if full_name.endswith("/Sync"):
            await shared.synced(user)
        call = method(shared.channel, rpc)(request, metadata=metadata, timeout=10)
        response = (await received(call))[-1]
        assert isinstance(response, rpc.response_class)
        assert await call.code() is grpc.StatusCode.OK
        told = dict(await call.initial_metadata())
        assert told["x-request-id"] == f"life-{user}"
        assert told.get("x-http-code") == ACCEPTED.get(full_name)
        if full_name.endswith("/CreateDigestFeed"):
            feed_token = response.atom.split("/")[-2]
        if full_name.endswith("/Sync"):
            job_id = response.job_id
            await shared.job_done(job_id, user)
            await store(shared, user, story(1))
        done.append(full_name)
    assert set(done) == DISTILL


async def test_what_grpc_and_rest_say_is_the_same(shared: Service, reader: str) -> None:
    for full_name, path in (
        ("/distill.v1.DiscoveryService/GetApi", "/api"),
        ("/distill.v1.DiscoveryService/GetCapabilities", "/capabilities"),
        ("/distill.v1.DiscoveryService/GetJwks", "/.well-known/jwks.json"),
        ("/distill.v1.DiscoveryService/GetMetadata", "/metadata"),
        ("/distill.v1.ConnectionService/ListConnections", "/connections"),
    ):
        rpc = contract.rpc(full_name)
        call = method(shared.channel, rpc)
        response = await call(rpc.request_class(), metadata=shared.metadata(reader))
        answer = await shared.call("GET", path, user=reader)
        # ProtoJSON leaves out what is zero and the seeds print it; that a message holds the same
        # is seen when both are read.
        parsed = json_format.ParseDict(answer.body, rpc.response_class())
        assert parsed == response


@pytest.mark.parametrize("rpc", PUBLIC, ids=lambda rpc: rpc.name)
async def test_public_rpcs_answer_whatever_stands_for_a_token(
    shared: Service, rpc: contract.Rpc
) -> None:
    call = method(shared.channel, rpc)
    for metadata in ((), (("authorization", "Bearer garbage"),)):
        named = publishing_requests(name=f"{rpc.name}-{len(metadata)}")
        answer = call(named.get(rpc.full_name) or any_request(rpc), metadata=metadata)
        if rpc.name == "Login":  # by a name that nobody has
            await failure(answer, "INVALID_CREDENTIALS")
        else:
            assert isinstance(await answer, rpc.response_class)


@pytest.mark.parametrize("rpc", CLOSED, ids=lambda rpc: rpc.name)
async def test_every_other_rpc_refuses_who_has_no_token(shared: Service, rpc: contract.Rpc) -> None:
    call = method(shared.channel, rpc)
    good = shared.token("reader")
    for metadata in (
        (),
        (("authorization", ""),),
        (("authorization", "Bearer garbage"),),
        (("authorization", good),),
        (("x-authorization", f"Bearer {good}"),),
        (("authorization-bin", f"Bearer {good}".encode()),),
        (("user_id", "reader"), ("x-user-id", "reader")),
        # Two could be read differently by two readers.
        (("authorization", f"Bearer {good}"), ("authorization", f"Bearer {good}")),
    ):
        request = any_request(rpc)
        failed = await failure(call(request, metadata=metadata), "AUTHENTICATION_FAILED")
        assert failed.code is grpc.StatusCode.UNAUTHENTICATED
        assert "x-http-code" not in failed.metadata  # 401 follows from the code


async def test_calls_side_by_side_are_answered_each_by_its_own(shared: Service) -> None:
    call = method(shared.channel, contract.rpc("/distill.v1.ConnectionService/PutConnection"))

    async def one(number: int) -> None:
        request = requests("")["/distill.v1.ConnectionService/PutConnection"]
        request.settings.update({"delay": number / 100})
        response = await call(request, metadata=shared.metadata(f"side-by-side-{number}"))
        assert response.settings["delay"] == number / 100

    await asyncio.gather(*(one(number) for number in range(30)))
