"""The suite of every door, here in front of a core that only knows who may call what."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from distill_grpc.proto.distill.v1.errors_pb2 import ErrorReason
from http_facade.errors import status_of
from http_facade.transport import Outcome
from tests.unit.http_facade.rest_conformance import Ask, RestConformance
from tests.unit.http_facade.rest_door import Call, FakeCore, opened


async def gatekeeper(call: Call) -> Outcome:
    if not call.rpc.public:
        return Outcome(status=status_of(ErrorReason.AUTHENTICATION_FAILED))
    response = call.rpc.response_class()
    for field in response.DESCRIPTOR.fields:
        if field.enum_type is not None and not field.is_repeated:
            setattr(response, field.name, field.enum_type.values[1].number)
    return Outcome(response=response, metadata={"x-http-code": str(call.rpc.statuses[0])})


@pytest.fixture
async def ask() -> AsyncIterator[Ask]:
    async with opened(FakeCore(answer=gatekeeper)) as door:
        yield door.ask


class TestRestOfTheDoorAlone(RestConformance):
    pass
