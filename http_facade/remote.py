"""The transport to a core elsewhere: gRPC over a few channels."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from itertools import count
from typing import Any

import grpc
import structlog
from google.protobuf.message import DecodeError, Message
from google.rpc.status_pb2 import Status

from distill_grpc.proto.contract import Rpc
from distill_grpc.proto.distill.v1.errors_pb2 import ErrorReason
from http_facade.errors import status_of
from http_facade.transport import Outcome

_log = structlog.get_logger()

_STATUS_DETAILS = "grpc-status-details-bin"
_RETRY_IN = 1.0  # seconds; a core that restarts is back about then

_OPTIONS: tuple[tuple[str, int], ...] = (
    # Without pools of their own, channels to one address share one connection, and with it one of
    # the processes that share the port.
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.max_receive_message_length", 64 << 20),
    # A core that comes back is found within these, not within gRPC's two minutes.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 2_000),
    # A peer that is gone without a word is noticed while calls wait for it.
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 5_000),
)


class RemoteTransport:
    """Calls the core at `target` (`host:port`, or any gRPC name) over `channels` connections."""

    def __init__(self, target: str, *, channels: int = 2) -> None:
        """Must be called with a running event loop; connects when the first call is made."""
        self._channels = [
            grpc.aio.insecure_channel(target, options=_OPTIONS) for _ in range(channels)
        ]
        self._turns = count()
        self._calls: dict[tuple[int, str], Any] = {}

    async def call(
        self, rpc: Rpc, request: Message, metadata: Mapping[str, str], timeout: float
    ) -> Outcome:
        """Calls `rpc`; never raises but for cancellation: what fails is in the outcome's status."""
        try:
            call = self._method(rpc)(
                request, timeout=timeout, metadata=tuple(metadata.items()), wait_for_ready=False
            )
            response = await call
            told = _merged(await call.initial_metadata(), await call.trailing_metadata())
        except grpc.aio.AioRpcError as error:
            told = _merged(error.initial_metadata(), error.trailing_metadata())
            return Outcome(status=_status(rpc, error), metadata=told)
        except asyncio.CancelledError:
            raise
        except Exception:
            _log.exception("core_call_failed", rpc=rpc.full_name)
            return Outcome(status=status_of(ErrorReason.INTERNAL_ERROR))
        return Outcome(response=response, metadata=told)

    async def close(self) -> None:
        """Closes the channels; calls that still wait are cancelled."""
        await asyncio.gather(*(channel.close() for channel in self._channels))

    def _method(self, rpc: Rpc) -> Any:
        key = (next(self._turns) % len(self._channels), rpc.full_name)
        method = self._calls.get(key)
        if method is None:
            method = self._channels[key[0]].unary_unary(
                rpc.full_name,
                request_serializer=rpc.request_class.SerializeToString,
                response_deserializer=rpc.response_class.FromString,
            )
            self._calls[key] = method
        return method


def _merged(*parts: Iterable[tuple[str, Any]] | None) -> dict[str, str]:
    """Metadata of text; binary values (`-bin`) are read elsewhere or by nobody."""
    return {k: v for part in parts for k, v in part or () if isinstance(v, str)}


def _status(rpc: Rpc, error: grpc.aio.AioRpcError) -> Status:
    """The status that the core sent, else one of ours for what gRPC itself ran into."""
    for key, value in error.trailing_metadata() or ():
        if key == _STATUS_DETAILS:
            try:
                return Status.FromString(value)
            except DecodeError:
                break
    code = error.code()
    text = error.details() or ""
    _log.warning("core_call_broke", rpc=rpc.full_name, grpc_code=code.name, grpc_message=text)
    if code is grpc.StatusCode.UNAVAILABLE:
        return status_of(ErrorReason.UNAVAILABLE, retry_in=_RETRY_IN)
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return status_of(ErrorReason.DEADLINE_EXCEEDED)
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED and "larger than max" in text:
        return status_of(ErrorReason.INTERNAL_ERROR)
    return Status(code=code.value[0], message=text)
