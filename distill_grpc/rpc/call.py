"""A call as the pipeline sees it, whichever transport brought it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from google.protobuf.message import Message
from google.rpc.status_pb2 import Status

from distill_grpc.auth import Caller
from distill_grpc.errors import DistillError, ErrorReason
from distill_grpc.proto.contract import Rpc

# Metadata by which the core tells a REST door the HTTP status where gRPC's codes cannot.
HTTP_CODE = "x-http-code"
REQUEST_ID = "x-request-id"
# Metadata by which a REST door tells of a HEAD, which is answered as the GET of the same path.
HTTP_METHOD = "x-http-method"


# Takes one event of a stream on its way to the client.
Send = Callable[[Message], Awaitable[None]]


async def _unsent(_: Message) -> None:
    raise TypeError("this RPC does not stream")


@dataclass(slots=True)
class Call:
    """One call on its way through the pipeline."""

    rpc: Rpc
    metadata: Mapping[str, str]
    # The client's, as far as those who carried the call can be believed; empty where unknown.
    address: str = ""
    request_id: str = ""
    authenticated: Caller | None = None
    response_metadata: dict[str, str] = field(default_factory=dict)
    # True where what came over the wire is no such message; the request is then an empty one.
    unreadable: bool = False
    # Of an RPC that streams: hands an event to the client, and waits while that one does not read.
    send: Send = _unsent

    @property
    def caller(self) -> Caller:
        """Who calls. An RPC that is not public has one."""
        if self.authenticated is None:
            raise DistillError(ErrorReason.AUTHENTICATION_FAILED)
        return self.authenticated

    def answer_with(self, http_status: int) -> None:
        """Sets the HTTP status of a successful answer where it is not 200."""
        self.response_metadata[HTTP_CODE] = str(http_status)


class CallFailed(Exception):  # noqa: N818 -- the outcome of a call, not a fault of ours
    """What a failed call is answered with; metadata travel in the call's `response_metadata`."""

    def __init__(self, status: Status) -> None:
        self.status = status
        super().__init__(status.message)


# A method that streams sends its events by `call.send`, and returns the last of them.
Method = Callable[[Message, Call], Awaitable[Message]]
Step = Callable[[Message], Awaitable[Message]]
# A concern does its part and calls the next step, or refuses by raising.
Concern = Callable[[Call, Message, Step], Awaitable[Message]]
