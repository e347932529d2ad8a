"""WebhookService: proto to domain and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from google.api.httpbody_pb2 import HttpBody
from sqlalchemy.ext.asyncio import AsyncEngine

from distill_grpc import clock
from distill_grpc.errors import DistillError, ErrorReason, invalid_argument
from distill_grpc.feed.receiving import Receiver
from distill_grpc.proto.distill.v1 import webhook_service_pb2 as pb
from distill_grpc.rpc.call import Call
from distill_grpc.sources.base import Source
from distill_grpc.sources.pushes import Answer


@dataclass(frozen=True, slots=True)
class WebhookServicer:
    """Takes pushes. Without `receiver`, no platform can reach this service."""

    engine: AsyncEngine
    sources: Mapping[str, Source]
    receiver: Receiver | None

    async def receive_webhook(self, request: pb.ReceiveWebhookRequest, call: Call) -> HttpBody:
        """See the contract."""
        receiver, source = self._known(request.source)
        async with self.engine.begin() as connection:
            await receiver.receive(
                connection,
                source,
                request.key,
                {name: call.metadata[name] for name in call.rpc.headers if name in call.metadata},
                request.body.data,
                now=clock.utc_now(),
            )
        return HttpBody(content_type="text/plain; charset=utf-8")

    async def verify_webhook(self, request: pb.VerifyWebhookRequest, call: Call) -> HttpBody:  # noqa: ARG002 -- the seam's
        """See the contract."""
        receiver, source = self._known(request.source)
        hub = request.hub
        if not hub.mode and not request.HasField("crc_token"):
            raise invalid_argument({"hub.mode": "must be given, or crc_token in its place"})
        async with self.engine.begin() as connection:
            if hub.mode:
                answer = await receiver.confirm(
                    connection,
                    source,
                    request.key,
                    mode=hub.mode,
                    topic=hub.topic,
                    challenge=hub.challenge,
                    lease_seconds=hub.lease_seconds if hub.HasField("lease_seconds") else None,
                    reason=hub.reason,
                    now=clock.utc_now(),
                )
            else:
                answer = await receiver.respond(connection, source, request.key, request.crc_token)
        return _http(answer)

    def _known(self, name: str) -> tuple[Receiver, Source]:
        source = self.sources.get(name)
        if self.receiver is None or source is None:
            raise DistillError(ErrorReason.NOT_FOUND)
        return self.receiver, source


def _http(answer: Answer) -> HttpBody:
    return HttpBody(content_type=answer.content_type, data=answer.body)
