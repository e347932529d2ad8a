"""DigestService: proto to domain and back."""

from __future__ import annotations

from dataclasses import dataclass

from google.api.httpbody_pb2 import HttpBody
from sqlalchemy.ext.asyncio import AsyncEngine

from distill_grpc import clock
from distill_grpc.errors import DistillError, ErrorReason
from distill_grpc.feed import digest_feeds
from distill_grpc.feed.digest_mailing import UNSUBSCRIBE
from distill_grpc.feed.link_tokens import LinkTokens
from distill_grpc.feed.store import preferences
from distill_grpc.mail import unsubscribe_pages
from distill_grpc.proto.distill.v1 import digest_service_pb2 as pb
from distill_grpc.rpc.call import Call
from distill_grpc.syndication import TYPES


@dataclass(frozen=True, slots=True)
class DigestServicer:
    """Delivers digests by feed, and ends their mails."""

    engine: AsyncEngine
    tokens: LinkTokens
    public_url: str

    async def create_digest_feed(
        self, _request: pb.CreateDigestFeedRequest, call: Call
    ) -> pb.DigestFeed:
        """See the contract."""
        async with self.engine.begin() as connection:
            token = await digest_feeds.create(connection, call.caller.user_id, clock.utc_now())
        call.answer_with(201)
        return pb.DigestFeed(
            rss=self._address(token, "feed.rss"),
            atom=self._address(token, "feed.atom"),
            json=self._address(token, "feed.json"),
        )

    async def delete_digest_feed(
        self, _request: pb.DeleteDigestFeedRequest, call: Call
    ) -> pb.DeleteDigestFeedResponse:
        """See the contract."""
        async with self.engine.begin() as connection:
            await digest_feeds.revoke(connection, call.caller.user_id)
        return pb.DeleteDigestFeedResponse(status=pb.DeleteDigestFeedResponse.revoked)

    async def get_digest_feed(self, request: pb.GetDigestFeedRequest, _call: Call) -> HttpBody:
        """See the contract."""
        kind = request.file.partition(".")[2]
        address = self._address(request.token, request.file)
        async with self.engine.connect() as connection:
            data = await digest_feeds.read(connection, request.token, kind, address)
        return HttpBody(content_type=TYPES[kind], data=data)

    async def show_digest_unsubscription(
        self, request: pb.ShowDigestUnsubscriptionRequest, _call: Call
    ) -> HttpBody:
        """See the contract."""
        self._reader_of(request.token)
        page = unsubscribe_pages.question("Get no more digests by mail?", "unsubscribe/confirm")
        return HttpBody(content_type=unsubscribe_pages.PAGE_TYPE, data=page)

    async def confirm_digest_unsubscription(
        self, request: pb.ConfirmDigestUnsubscriptionRequest, _call: Call
    ) -> HttpBody:
        """See the contract."""
        await self._stop(request.token)
        page = unsubscribe_pages.done("You get no more digests by mail.")
        return HttpBody(content_type=unsubscribe_pages.PAGE_TYPE, data=page)

    async def stop_digest_mails(
        self, request: pb.StopDigestMailsRequest, _call: Call
    ) -> pb.StopDigestMailsResponse:
        """See the contract."""
        await self._stop(request.token)
        return pb.StopDigestMailsResponse(status=pb.StopDigestMailsResponse.unsubscribed)

    async def _stop(self, token: str) -> None:
        user_id = self._reader_of(token)
        async with self.engine.begin() as connection:
            await preferences.update_preferences(connection, user_id, mail=False)

    def _reader_of(self, token: str) -> str:
        user_id = self.tokens.read(token, UNSUBSCRIBE)
        if user_id is None:
            raise DistillError(ErrorReason.NOT_FOUND, "This address was not made here.")
        return user_id

    def _address(self, token: str, file: str) -> str:
        return f"{self.public_url}/digests/{token}/{file}"
