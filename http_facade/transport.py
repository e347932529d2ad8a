"""The seam between the REST door and the core: two transports implement it.

`http_facade/remote.py` speaks gRPC to a core elsewhere; `distill_grpc/rpc/local.py` calls the core
that lives in the same process. One test suite holds both to the same answers.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from google.protobuf.message import Message
from google.rpc.status_pb2 import Status

from distill_grpc.proto.contract import Rpc


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a call: a response, or the status of its error; and metadata for both."""

    response: Message | None = None
    status: Status | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)


# Takes one event of a stream, and returns when the client can take the next.
Send = Callable[[Message], Awaitable[None]]


class Transport(Protocol):
    """Carries calls to the core."""

    async def call(
        self, rpc: Rpc, request: Message, metadata: Mapping[str, str], timeout: float
    ) -> Outcome:
        """Calls `rpc`; never raises but for cancellation: what fails is in the outcome's status."""
        ...

    async def stream(
        self,
        rpc: Rpc,
        request: Message,
        metadata: Mapping[str, str],
        timeout: float,
        send: Send,
    ) -> Outcome:
        """Calls an RPC that streams and hands each event to `send`, until it ends or is cancelled.

        Never raises but for cancellation, which ends the call; the outcome's status says what failed, before
        the first event or after some.
        """
        ...

    async def close(self) -> None:
        """Lets go of what it holds."""
        ...
