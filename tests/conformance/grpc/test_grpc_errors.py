"""Errors on the gRPC port: each is a `google.rpc.Status` with its reason, whatever went wrong."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import grpc
import psycopg
import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from distill_grpc.proto import contract
from distill_grpc.proto.distill.v1 import (
    connection_service_pb2,
    content_service_pb2,
    sync_service_pb2,
    watch_service_pb2,
)
from distill_grpc.proto.distill.v1.connection_service_pb2_grpc import ConnectionServiceStub
from distill_grpc.proto.distill.v1.content_service_pb2_grpc import ContentServiceStub
from distill_grpc.proto.distill.v1.discovery_service_pb2 import GetMetadataRequest
from distill_grpc.proto.distill.v1.discovery_service_pb2_grpc import DiscoveryServiceStub
from distill_grpc.proto.distill.v1.errors_pb2 import ErrorReason
from distill_grpc.proto.distill.v1.sync_service_pb2_grpc import SyncServiceStub
from distill_grpc.proto.distill.v1.watch_service_pb2_grpc import WatchServiceStub
from tests.conformance.calls import method
from tests.conformance.grpc.failures import failure
from tests.conformance.users import collected, watch
from tests.service import Service, start_service

REASONS = [value.name for value in ErrorReason.DESCRIPTOR.values if value.number]
HTTP_OF_CODE = {3: 400, 4: 504, 5: 404, 6: 409, 7: 403, 8: 429, 10: 409, 13: 500, 14: 503, 16: 401}


async def test_input_that_breaks_rules_is_named_by_field(idle: Service, user: str) -> None:
    stub = WatchServiceStub(idle.channel)
    request = watch_service_pb2.WatchRequest(
        options={"backfill_days": 31, "sync_frequency": "soon"}
    )
    failed = await failure(stub.Watch(request, metadata=idle.metadata(user)), "INVALID_ARGUMENT")
    assert set(failed.fields) == {"options.backfill_days", "options.sync_frequency"}
    assert all(failed.fields.values())
    assert failed.code is grpc.StatusCode.INVALID_ARGUMENT


async def test_errors_carry_what_a_client_needs(shared: Service, idle: Service, user: str) -> None:
    metadata = idle.metadata(user)
    stub = SyncServiceStub(idle.channel)
    failed = await failure(
        stub.Sync(sync_service_pb2.SyncRequest(), metadata=metadata), "NOT_WATCHING"
    )
    assert failed.code is grpc.StatusCode.NOT_FOUND
    await watch(idle, user)
    failed = await failure(
        stub.Sync(sync_service_pb2.SyncRequest(), metadata=metadata), "SYNC_IN_PROGRESS"
    )
    assert failed.code is grpc.StatusCode.ABORTED
    assert failed.info.metadata["job_id"].startswith("sync_")
    await collected(shared, user, "rss")
    stub = SyncServiceStub(shared.channel)
    failed = await failure(
        stub.Sync(sync_service_pb2.SyncRequest(), metadata=shared.metadata(user)), "RATE_LIMITED"
    )
    assert failed.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert failed.retry_in is not None
    assert 0 < failed.retry_in <= 3600
    assert failed.info.metadata["retry_after"].endswith("Z")


async def test_without_credits_the_status_says_402(idle: Service, user: str) -> None:
    metadata = (("authorization", f"Bearer {idle.token(user, credits=False)}"),)
    call = WatchServiceStub(idle.channel).Watch(watch_service_pb2.WatchRequest(), metadata=metadata)
    failed = await failure(call, "INSUFFICIENT_CREDITS")
    assert failed.code is grpc.StatusCode.FAILED_PRECONDITION
    assert failed.metadata["x-http-code"] == "402"
    assert failed.info.metadata["user_action_required"] == "true"


@pytest.mark.parametrize("reason", REASONS)
async def test_every_error_can_be_simulated(idle: Service, user: str, reason: str) -> None:
    metadata = idle.metadata(user, **{"x-distill-simulate": reason.lower()})
    call = DiscoveryServiceStub(idle.channel).GetMetadata(GetMetadataRequest(), metadata=metadata)
    failed = await failure(call, reason)
    rules = contract.error_rules(ErrorReason.Value(reason))
    http = int(failed.metadata.get("x-http-code", HTTP_OF_CODE.get(failed.code.value[0], 0)))
    assert http == rules.http_status
    assert (failed.retry_in is not None) == (reason == "RATE_LIMITED")


async def test_outside_mock_mode_nothing_is_simulated(real: Service, user: str) -> None:
    metadata = real.metadata(user, **{"x-distill-simulate": "internal_error"})
    stub = DiscoveryServiceStub(real.channel)
    assert not (await stub.GetMetadata(GetMetadataRequest(), metadata=metadata)).sources


async def test_where_to_log_in_is_a_link(database_url: str, tmp_path: Path) -> None:
    url = "https://auth.example/login"
    async with start_service(
        database_url, tmp_path, mock=True, worker=False, auth_action_url=url
    ) as service:
        call = DiscoveryServiceStub(service.channel).GetMetadata(GetMetadataRequest())
        assert (await failure(call, "AUTHENTICATION_FAILED")).link == url


async def test_after_the_limit_calls_are_refused(database_url: str, tmp_path: Path) -> None:
    async with start_service(
        database_url, tmp_path, mock=True, worker=False, api_calls_per_minute=5
    ) as service:
        stub = DiscoveryServiceStub(service.channel)
        for _ in range(5):
            await stub.GetMetadata(GetMetadataRequest(), metadata=service.metadata())
        call = stub.GetMetadata(GetMetadataRequest(), metadata=service.metadata())
        failed = await failure(call, "RATE_LIMITED")
        assert failed.retry_in is not None
        assert 1 <= failed.retry_in <= 62
        await stub.GetMetadata(GetMetadataRequest(), metadata=service.metadata("other"))


@pytest.mark.parametrize(
    "data",
    [b"\xff\xff\xff", b"\x0a\xff", b"garbage", b"\x08", b"\x0a\x02\xc3\x28", b"\x0b" * 200],
)
async def test_bytes_that_are_no_message_are_an_invalid_argument(
    idle: Service, user: str, data: bytes
) -> None:
    for name in ("/distill.v1.ContentService/Search", "/distill.v1.WatchService/Watch"):
        raw = idle.channel.unary_unary(name)
        metadata = idle.metadata(user, **{"x-request-id": "garbage-1"})
        failed = await failure(raw(data, metadata=metadata), "INVALID_ARGUMENT")
        assert failed.fields
        assert failed.metadata["x-request-id"] == "garbage-1"


async def test_a_message_of_another_version_is_understood(idle: Service, user: str) -> None:
    # A field that this version does not know (15, a string) is what a newer client may send.
    raw = idle.channel.unary_unary("/distill.v1.DiscoveryService/GetMetadata")
    await raw(b"\x7a\x03abc", metadata=idle.metadata(user))


async def test_a_message_over_the_limit_is_refused(idle: Service, user: str) -> None:
    request = content_service_pb2.SearchRequest(query="a" * (5 << 20))
    call = ContentServiceStub(idle.channel).Search(request, metadata=idle.metadata(user))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_an_rpc_that_is_none_is_unimplemented(idle: Service) -> None:
    for name in ("/distill.v1.WatchService/Nothing", "/distill.v2.WatchService/Watch", "/a/b"):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await idle.channel.unary_unary(name)(b"")
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


@pytest.mark.parametrize(
    ("since", "nanos"),
    [
        (253_402_300_800, 0),
        (-62_135_596_801, 0),
        (2**62, 0),
        (-(2**62), 0),
        (253_402_300_799, 2_000_000_000),
        (-62_135_596_800, -1),
        (0, 2**31 - 1),
        (0, -(2**31)),
    ],
)
async def test_an_instant_that_is_none_is_named(
    idle: Service, user: str, since: int, nanos: int
) -> None:
    await watch(idle, user)
    request = content_service_pb2.SearchRequest(query="a")
    for field in ("since", "until"):
        request.ClearField("since")
        getattr(request, field).CopyFrom(Timestamp(seconds=since, nanos=nanos))
        call = ContentServiceStub(idle.channel).Search(request, metadata=idle.metadata(user))
        assert set((await failure(call, "INVALID_ARGUMENT")).fields) == {field}


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("field", ["settings", "credentials"])
async def test_a_number_that_json_does_not_have_is_named(
    idle: Service, user: str, field: str, number: float
) -> None:
    request = connection_service_pb2.PutConnectionRequest(source="rss")
    getattr(request, field).update({"delay": number})
    stub = ConnectionServiceStub(idle.channel)
    failed = await failure(
        stub.PutConnection(request, metadata=idle.metadata(user)), "INVALID_ARGUMENT"
    )
    assert all(name.startswith(field) for name in failed.fields)


async def test_nul_is_refused_by_name(idle: Service, user: str) -> None:
    stub = ContentServiceStub(idle.channel)
    request = content_service_pb2.SearchRequest(query="a\0b", tags=["a", "\0"])
    failed = await failure(stub.Search(request, metadata=idle.metadata(user)), "INVALID_ARGUMENT")
    assert set(failed.fields) == {"query", "tags[1]"}
    put = connection_service_pb2.PutConnectionRequest(source="rss")
    put.settings.update({"feeds": ["https://a.example/\0"], "b\0": 1})
    call = ConnectionServiceStub(idle.channel).PutConnection(put, metadata=idle.metadata(user))
    assert (await failure(call, "INVALID_ARGUMENT")).fields


async def test_a_value_that_says_nothing_breaks_nothing(idle: Service, user: str) -> None:
    put = connection_service_pb2.PutConnectionRequest(source="rss")
    put.settings.fields["pages"].SetInParent()
    call = ConnectionServiceStub(idle.channel).PutConnection(put, metadata=idle.metadata(user))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_the_deadline_of_the_client_ends_the_work(idle: Service, user: str) -> None:
    await watch(idle, user)
    stub: Any = WatchServiceStub(idle.channel)
    async with await psycopg.AsyncConnection.connect(idle.settings.database_url) as held:
        query = "SELECT 1 FROM watches WHERE user_id = %s FOR UPDATE"
        await held.execute(query, (user,))
        began = time.monotonic()
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.Watch(
                watch_service_pb2.WatchRequest(), metadata=idle.metadata(user), timeout=0.3
            )
        assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert time.monotonic() - began < 5
        await nobody_waits_for(held)
    response = await stub.Watch(watch_service_pb2.WatchRequest(), metadata=idle.metadata(user))
    assert response.status == watch_service_pb2.WatchResponse.already_watching


async def nobody_waits_for(connection: psycopg.AsyncConnection[Any]) -> None:
    """Returns when no statement waits for this connection's locks; fails after some seconds."""
    query = (
        "SELECT count(*) FROM pg_stat_activity WHERE pg_backend_pid() = ANY(pg_blocking_pids(pid))"
    )
    end = time.monotonic() + 5
    while time.monotonic() < end:
        row = await (await connection.execute(query)).fetchone()
        if row is not None and not row[0]:
            return
    pytest.fail("the statement goes on although nobody waits for its answer")


def test_every_rpc_has_a_stub(idle: Service) -> None:
    for rpc in contract.rpcs():
        assert method(idle.channel, rpc)
