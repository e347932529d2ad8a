"""The pipeline: concerns in their order around the methods of the servicers."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import partial

from google.protobuf.message import Message

from distill_grpc.proto import contract
from distill_grpc.rpc.call import Call, Concern, Method, Step


class Pipeline:
    """Runs every call through the same concerns, outermost first, whatever its transport."""

    def __init__(
        self,
        concerns: Sequence[Concern],
        servicers: Mapping[str, object],
        *,
        of_streams: Sequence[Concern] = (),
    ) -> None:
        """`servicers` by the full name of their service; each RPC must have its method.

        `of_streams` are more concerns, inside of the others, of RPCs that stream.
        """
        self._concerns = tuple(concerns)
        self._of_streams = (*concerns, *of_streams)
        self._methods = {
            rpc.full_name: _method(rpc, servicers[rpc.service.full_name])
            for rpc in contract.rpcs()
            if rpc.service.full_name in servicers
        }

    @property
    def full_names(self) -> frozenset[str]:
        """The wire names of the RPCs that are served."""
        return frozenset(self._methods)

    async def run(self, call: Call, request: Message) -> Message:
        """The response; raises `CallFailed` where there is none.

        Of an RPC that streams it is the last event; those before it go through `call.send`. The concerns lie
        around all of it, so that the log tells how the whole stream ended.
        """
        concerns = self._of_streams if call.rpc.streams else self._concerns
        return await self._step(call, concerns, 0)(request)

    def _step(self, call: Call, concerns: tuple[Concern, ...], index: int) -> Step:
        if index == len(concerns):
            method = self._methods[call.rpc.full_name]
            return lambda request: method(request, call)
        concern = concerns[index]
        return lambda request: concern(call, request, self._step(call, concerns, index + 1))


def _method(rpc: contract.Rpc, servicer: object) -> Method:
    name = re.sub(r"(?<!^)(?=[A-Z])", "_", rpc.name).lower()
    method = getattr(servicer, name, None)
    if method is None:
        raise TypeError(f"{type(servicer).__name__} lacks `{name}` for {rpc.full_name}")
    return partial(method)
