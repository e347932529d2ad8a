"""AudienceService: proto to domain and back."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from uuid import UUID

from google.api.httpbody_pb2 import HttpBody
from sqlalchemy.ext.asyncio import AsyncEngine

from distill_grpc import clock
from distill_grpc.mail.unsubscribe_pages import PAGE_TYPE
from distill_grpc.proto.distill.publishing.v1 import audience_service_pb2 as pb
from distill_grpc.publishing import feeds, stats, unsubscribing
from distill_grpc.publishing.links import SubscriptionLinks
from distill_grpc.rpc.call import Call


@dataclass(frozen=True, slots=True)
class AudienceServicer:
    """Feeds, the end of mails, figures."""

    engine: AsyncEngine
    addresses: feeds.Addresses
    links: SubscriptionLinks

    async def get_rss_feed(self, request: pb.GetRssFeedRequest, _call: Call) -> HttpBody:
        """See the contract."""
        return await self._feed(request.creator_id, "rss")

    async def get_atom_feed(self, request: pb.GetAtomFeedRequest, _call: Call) -> HttpBody:
        """See the contract."""
        return await self._feed(request.creator_id, "atom")

    async def get_json_feed(self, request: pb.GetJsonFeedRequest, _call: Call) -> HttpBody:
        """See the contract."""
        return await self._feed(request.creator_id, "json")

    async def show_unsubscription(
        self, request: pb.ShowUnsubscriptionRequest, _call: Call
    ) -> HttpBody:
        """See the contract."""
        async with self.engine.connect() as connection:
            page = await unsubscribing.question(connection, self.links, request.token)
        return HttpBody(content_type=PAGE_TYPE, data=page)

    async def end_subscription(self, request: pb.EndSubscriptionRequest, _call: Call) -> HttpBody:
        """See the contract."""
        async with self.engine.begin() as connection:
            page = await unsubscribing.end(
                connection, self.links, request.token, now=clock.utc_now()
            )
        return HttpBody(content_type=PAGE_TYPE, data=page)

    async def get_stats(self, request: pb.GetStatsRequest, call: Call) -> pb.Stats:
        """See the contract."""
        creator_id = UUID(request.creator_id)
        async with self.engine.connect() as connection:
            found = await stats.of_creator(
                connection, call.caller, creator_id, days=request.days, now=clock.utc_now()
            )
        response = pb.Stats(
            creator_id=str(creator_id),
            views=found.views,
            subscribers=found.subscribers,
            deliveries=pb.Stats.Deliveries(**found.deliveries),
        )
        for day in found.days:
            response.days.add(**{**asdict(day), "date": day.date.isoformat()})
        return response

    async def _feed(self, creator_id: str, kind: str) -> HttpBody:
        async with self.engine.connect() as connection:
            data, content_type = await feeds.read(
                connection, self.addresses, UUID(creator_id), kind
            )
        return HttpBody(content_type=content_type, data=data)
