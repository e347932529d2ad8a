"""SubscriptionService: proto to domain and back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncEngine

from distill_grpc import clock
from distill_grpc.proto.distill.publishing.v1 import subscription_service_pb2 as pb
from distill_grpc.publishing import subscriptions
from distill_grpc.rpc.call import Call
from distill_grpc.rpc.instants import set_instant


@dataclass(frozen=True, slots=True)
class SubscriptionServicer:
    """Who follows whom."""

    engine: AsyncEngine

    async def subscribe(self, request: pb.SubscribeRequest, call: Call) -> pb.Subscription:
        """See the contract."""
        async with self.engine.begin() as connection:
            subscription, new = await subscriptions.subscribe(
                connection, call.caller, UUID(request.creator_id), now=clock.utc_now()
            )
        if new:
            call.answer_with(201)
        return _subscription(subscription)

    async def unsubscribe(self, request: pb.UnsubscribeRequest, call: Call) -> pb.Subscription:
        """See the contract."""
        async with self.engine.begin() as connection:
            subscription = await subscriptions.unsubscribe(
                connection, call.caller, UUID(request.creator_id), now=clock.utc_now()
            )
        return _subscription(subscription)

    async def list_subscriptions(
        self, request: pb.ListSubscriptionsRequest, call: Call
    ) -> pb.ListSubscriptionsResponse:
        """See the contract."""
        async with self.engine.connect() as connection:
            found = await subscriptions.list_own(
                connection,
                call.caller,
                UUID(request.user_id),
                limit=request.limit,
                offset=request.offset,
            )
        response = pb.ListSubscriptionsResponse()
        for row in found:
            one = response.subscriptions.add(
                id=str(row.id), creator_id=str(row.creator_id), status=row.status
            )
            set_instant(one.subscribed_at, row.subscribed_at)
            set_instant(one.cancelled_at, row.cancelled_at)
        return response


def _subscription(row: Row[Any]) -> pb.Subscription:
    return pb.Subscription(
        id=str(row.id),
        subscriber_id=str(row.subscriber_id),
        creator_id=str(row.creator_id),
        status=row.status,
    )
