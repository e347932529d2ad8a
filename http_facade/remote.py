"""The transport to cores elsewhere: gRPC over a few channels to each."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping
from typing import Any

import grpc
import structlog
from google.protobuf.message import DecodeError, Message
from google.rpc.status_pb2 import Status

from distill_grpc.proto.contract import Rpc
from distill_grpc.proto.distill.v1.errors_pb2 import ErrorReason
from http_facade.cores import Cores
from http_facade.errors import status_of
from http_facade.transport import Outcome, Send

_log = structlog.get_logger()

_STATUS_DETAILS = "grpc-status-details-bin"
_RETRY_IN = 1.0  # seconds; a core that restarts is back about then
# How gRPC says that it lost the core; CANCELLED comes from one that is stopping.
_LOST = frozenset({grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED})
# What only reads is asked again where a connection breaks: so often, after these seconds.
_PAUSES = (0.0, 0.1, 0.3)


class RemoteTransport:
    """Calls the cores at `targets` (`host:port`, or any gRPC name) over `channels` connections each.

    A call goes to a core that serves. One that only reads is asked again of another where its core
    breaks off; any other only where gRPC knows that its core never saw it.
    """

    def __init__(self, *targets: str, channels: int = 2) -> None:
        """Must be called with a running event loop; connects when the first call is made."""
        self._cores = Cores(targets, per_core=channels)
        # Of their own: streams that last minutes take no place from calls.
        self._of_streams = Cores(targets, per_core=channels)
        self._calls: dict[tuple[int, str], Any] = {}

    async def call(
        self, rpc: Rpc, request: Message, metadata: Mapping[str, str], timeout: float
    ) -> Outcome:
        """Calls `rpc`; never raises but for cancellation: what fails is in the outcome's status."""
        ends = time.monotonic() + timeout
        pauses = iter(_PAUSES if rpc.http_method == "GET" else ())
        while True:
            try:
                return await self._once(rpc, request, metadata, ends)
            except grpc.aio.AioRpcError as error:
                again = _broke_off(error) and self._cores.hopeful()
                pause = next(pauses, None) if again else None
                if pause is None or time.monotonic() + pause >= ends:
                    told = _merged(error.initial_metadata(), error.trailing_metadata())
                    return Outcome(status=_status(rpc, error), metadata=told)
                await asyncio.sleep(pause)
            except Exception:
                _log.exception("core_call_failed", rpc=rpc.full_name)
                return Outcome(status=status_of(ErrorReason.INTERNAL_ERROR))

    async def stream(
        self,
        rpc: Rpc,
        request: Message,
        metadata: Mapping[str, str],
        timeout: float,
        send: Send,
    ) -> Outcome:
        """See `Transport`. A stream is never begun again: nobody knows which events have arrived."""
        try:
            async with self._of_streams.turn() as channel:
                call = self._method(channel, rpc)(
                    request,
                    timeout=timeout,
                    metadata=tuple(metadata.items()),
                    wait_for_ready=False,
                )
                try:
                    async for event in call:
                        await send(event)
                finally:
                    call.cancel()  # where it has not ended: the core works for nobody
        except grpc.aio.AioRpcError as error:
            told = _merged(error.initial_metadata(), error.trailing_metadata())
            return Outcome(status=_status(rpc, error), metadata=told)
        except Exception:
            _log.exception("core_stream_failed", rpc=rpc.full_name)
            return Outcome(status=status_of(ErrorReason.INTERNAL_ERROR))
        return Outcome()

    async def close(self) -> None:
        """Closes the channels; calls that still wait are cancelled."""
        await asyncio.gather(self._cores.close(), self._of_streams.close())

    async def _once(
        self, rpc: Rpc, request: Message, metadata: Mapping[str, str], ends: float
    ) -> Outcome:
        async with self._cores.turn() as channel:
            call = self._method(channel, rpc)(
                request,
                timeout=max(0.0, ends - time.monotonic()),
                metadata=tuple(metadata.items()),
                wait_for_ready=False,
            )
            response = await call
            told = _merged(await call.initial_metadata(), await call.trailing_metadata())
        return Outcome(response=response, metadata=told)

    def _method(self, channel: int, rpc: Rpc) -> Any:
        key = (channel, rpc.full_name)
        method = self._calls.get(key)
        if method is None:
            core = (self._of_streams if rpc.streams else self._cores)[channel]
            make: Any = core.unary_stream if rpc.streams else core.unary_unary
            method = make(
                rpc.full_name,
                request_serializer=rpc.request_class.SerializeToString,
                response_deserializer=rpc.response_class.FromString,
            )
            self._calls[key] = method
        return method


def _merged(*parts: Iterable[tuple[str, Any]] | None) -> dict[str, str]:
    """Metadata of text; binary values (`-bin`) are read elsewhere or by nobody."""
    return {k: v for part in parts for k, v in part or () if isinstance(v, str)}


def _broke_off(error: grpc.aio.AioRpcError) -> bool:
    """True where gRPC lost the core; the core's own word comes with details."""
    told = dict(error.trailing_metadata() or ())
    return error.code() in _LOST and _STATUS_DETAILS not in told


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
    if code in _LOST:
        return status_of(ErrorReason.UNAVAILABLE, retry_in=_RETRY_IN)
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return status_of(ErrorReason.DEADLINE_EXCEEDED)
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED and "larger than max" in text:
        return status_of(ErrorReason.INTERNAL_ERROR)
    return Status(code=code.value[0], message=text)
