"""The standard services beside our own: health checking and reflection."""

from __future__ import annotations

import time
from pathlib import Path

import grpc
import pytest
from google.protobuf import descriptor_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from distill_grpc import app
from distill_grpc.proto import contract
from tests.service import Service, start_service

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


@pytest.mark.parametrize("service", ["", *(one.full_name for one in contract.services())])
async def test_every_service_is_serving(shared: Service, service: str) -> None:
    stub = health_pb2_grpc.HealthStub(shared.channel)
    answer = await stub.Check(health_pb2.HealthCheckRequest(service=service))
    assert answer.status == SERVING


async def test_a_service_that_is_none_is_not_found(shared: Service) -> None:
    stub = health_pb2_grpc.HealthStub(shared.channel)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.Check(health_pb2.HealthCheckRequest(service="distill.v1.NoService"))
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


async def test_who_watches_is_told_before_the_server_stops(
    database_url: str, tmp_path: Path
) -> None:
    async with (
        start_service(database_url, tmp_path, mock=True, worker=False) as service,
        app.core(service.settings) as pipeline,
    ):
        async with app.grpc_server(service.settings, pipeline) as port:
            channel = grpc.aio.insecure_channel(f"127.0.0.1:{port}")
            stub = health_pb2_grpc.HealthStub(channel)
            told = stub.Watch(health_pb2.HealthCheckRequest())
            assert (await told.read()).status == SERVING
            began = time.monotonic()
        # Who watches does not hold the server up either.
        assert time.monotonic() - began < 8
        assert (await told.read()).status == NOT_SERVING
        told.cancel()
        await channel.close()


async def reflected(service: Service, **request: str) -> reflection_pb2.ServerReflectionResponse:
    stub = reflection_pb2_grpc.ServerReflectionStub(service.channel)
    asked = reflection_pb2.ServerReflectionRequest(**request)
    async for answer in stub.ServerReflectionInfo(iter([asked])):
        return answer
    raise AssertionError("no answer")


async def test_reflection_lists_the_services(shared: Service) -> None:
    answer = await reflected(shared, list_services="")
    listed = {one.name for one in answer.list_services_response.service}
    assert listed == {
        *(service.full_name for service in contract.services()),
        "grpc.health.v1.Health",
        "grpc.reflection.v1alpha.ServerReflection",
    }


async def test_reflection_describes_each_of_them(shared: Service) -> None:
    for service in contract.services():
        answer = await reflected(shared, file_containing_symbol=service.full_name)
        files = [
            descriptor_pb2.FileDescriptorProto.FromString(data)
            for data in answer.file_descriptor_response.file_descriptor_proto
        ]
        names = {f"{file.package}.{one.name}" for file in files for one in file.service}
        assert service.full_name in names


async def test_reflection_can_be_switched_off(database_url: str, tmp_path: Path) -> None:
    async with start_service(
        database_url, tmp_path, mock=True, worker=False, grpc_reflection="0"
    ) as service:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await reflected(service, list_services="")
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
