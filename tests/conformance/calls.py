"""A good request for every RPC of the contract, and the state in which it succeeds."""

from __future__ import annotations

import base64
import hmac
from collections.abc import Callable, Mapping
from typing import Any
from uuid import UUID

import grpc
from google.protobuf.message import Message

from distill_grpc import clock
from distill_grpc.proto import contract
from distill_grpc.proto.distill.publishing.v1 import audience_service_pb2 as audience
from distill_grpc.proto.distill.publishing.v1 import comment_service_pb2 as comments
from distill_grpc.proto.distill.publishing.v1 import post_service_pb2 as posts
from distill_grpc.proto.distill.publishing.v1 import subscription_service_pb2 as subscriptions
from distill_grpc.proto.distill.publishing.v1 import user_service_pb2 as users
from distill_grpc.proto.distill.v1 import connection_service_pb2 as connection
from distill_grpc.proto.distill.v1 import content_service_pb2 as content
from distill_grpc.proto.distill.v1 import digest_service_pb2 as digest
from distill_grpc.proto.distill.v1 import discovery_service_pb2 as discovery
from distill_grpc.proto.distill.v1 import preference_service_pb2 as preference
from distill_grpc.proto.distill.v1 import sync_service_pb2 as sync
from distill_grpc.proto.distill.v1 import tag_service_pb2 as tag
from distill_grpc.proto.distill.v1 import watch_service_pb2 as watch
from distill_grpc.proto.distill.v1 import webhook_service_pb2 as webhook

Stub = Any


# What signs the pushes of a user's X account.
CONSUMER_SECRET = "consumer-secret"


def requests(job_id: str, key: str = "key") -> Mapping[str, Message]:
    """By wire name, in an order in which a new user can make them.

    `job_id` is a sync of theirs, `key` belongs to the webhook of their X account. The secret of a feed
    is known once it was made, and that of a mail to its reader: they stand as `unknown`.
    """
    put = connection.PutConnectionRequest(source="rss")
    put.settings.update({"pages": 1})
    today = clock.utc_now().date().isoformat()
    return {
        "/distill.v1.DiscoveryService/GetApi": discovery.GetApiRequest(),
        "/distill.v1.DiscoveryService/GetCapabilities": discovery.GetCapabilitiesRequest(),
        "/distill.v1.DiscoveryService/GetHealth": discovery.GetHealthRequest(),
        "/distill.v1.DiscoveryService/GetJwks": discovery.GetJwksRequest(),
        "/distill.v1.ConnectionService/PutConnection": put,
        "/distill.v1.WebhookService/VerifyWebhook": webhook.VerifyWebhookRequest(
            source="x", key=key, crc_token="token"
        ),
        "/distill.v1.WebhookService/ReceiveWebhook": webhook.ReceiveWebhookRequest(
            source="x", key=key, body={"content_type": "application/json", "data": b"{}"}
        ),
        "/distill.v1.ConnectionService/ListConnections": connection.ListConnectionsRequest(),
        "/distill.v1.ConnectionService/GetConnection": connection.GetConnectionRequest(
            source="rss"
        ),
        "/distill.v1.WatchService/Watch": watch.WatchRequest(options={"backfill_days": 3}),
        "/distill.v1.DiscoveryService/GetMetadata": discovery.GetMetadataRequest(),
        "/distill.v1.SyncService/Sync": sync.SyncRequest(force=True, types=["content/recent"]),
        "/distill.v1.SyncService/GetSyncJob": sync.GetSyncJobRequest(job_id=job_id),
        "/distill.v1.ContentService/ListRecent": content.ListRecentRequest(hours=168, limit=500),
        "/distill.v1.ContentService/Search": content.SearchRequest(query="story", limit=10),
        "/distill.v1.ContentService/Ask": content.AskRequest(question="What is the story about?"),
        "/distill.v1.ContentService/SearchStream": content.SearchStreamRequest(query="story"),
        "/distill.v1.ContentService/AskStream": content.AskStreamRequest(
            question="What is the story about?"
        ),
        "/distill.v1.ContentService/GetSummary": content.GetSummaryRequest(period=today),
        "/distill.v1.ContentService/RegenerateSummary": content.RegenerateSummaryRequest(
            period=today
        ),
        "/distill.v1.PreferenceService/GetPreferences": preference.GetPreferencesRequest(),
        "/distill.v1.PreferenceService/UpdatePreferences": preference.UpdatePreferencesRequest(
            length="short", tags=["release"], digest_hour=7, tz="Europe/Berlin"
        ),
        "/distill.v1.TagService/GetTagVocabulary": tag.GetTagVocabularyRequest(),
        "/distill.v1.TagService/UpdateTagVocabulary": tag.UpdateTagVocabularyRequest(
            tags=[tag.VocabularyTag(name="Kubernetes", aliases=["k8s"])]
        ),
        "/distill.v1.DigestService/CreateDigestFeed": digest.CreateDigestFeedRequest(),
        "/distill.v1.DigestService/GetDigestFeed": digest.GetDigestFeedRequest(
            token="unknown", file="feed.atom"
        ),
        "/distill.v1.DigestService/DeleteDigestFeed": digest.DeleteDigestFeedRequest(),
        "/distill.v1.DigestService/ShowDigestUnsubscription": (
            digest.ShowDigestUnsubscriptionRequest(token="unknown")
        ),
        "/distill.v1.DigestService/ConfirmDigestUnsubscription": (
            digest.ConfirmDigestUnsubscriptionRequest(token="unknown")
        ),
        "/distill.v1.DigestService/StopDigestMails": digest.StopDigestMailsRequest(token="unknown"),
        "/distill.v1.ConnectionService/DeleteConnection": connection.DeleteConnectionRequest(
            source="rss"
        ),
        "/distill.v1.WatchService/Unwatch": watch.UnwatchRequest(),
    }


PASSWORD = "correct horse battery"
NOBODY = str(UUID(int=7))


def publishing_requests(
    *,
    name: str = "somebody",
    user: str = NOBODY,
    creator: str = NOBODY,
    post: str = NOBODY,
    comment: str = NOBODY,
) -> Mapping[str, Message]:
    """By wire name, what `user` asks of the publishing platform with these ids in hand."""
    package = "/distill.publishing.v1"
    return {
        f"{package}.UserService/Register": users.RegisterRequest(
            email=f"{name}@example.com", password=PASSWORD, username=name, role=users.User.creator
        ),
        f"{package}.UserService/Login": users.LoginRequest(
            email=f"{name}@example.com", password=PASSWORD
        ),
        f"{package}.UserService/GetUser": users.GetUserRequest(id=creator),
        f"{package}.UserService/UpdateUser": users.UpdateUserRequest(id=user, bio="About me."),
        f"{package}.PostService/CreatePost": posts.CreatePostRequest(title="T", content="C"),
        f"{package}.PostService/GetPost": posts.GetPostRequest(id=post),
        f"{package}.PostService/UpdatePost": posts.UpdatePostRequest(id=post, title="Changed"),
        f"{package}.PostService/PublishPost": posts.PublishPostRequest(id=post),
        f"{package}.PostService/ListPosts": posts.ListPostsRequest(creator_id=creator),
        f"{package}.CommentService/CreateComment": comments.CreateCommentRequest(
            post_id=post, content=f"A comment of {name}."
        ),
        f"{package}.CommentService/ListComments": comments.ListCommentsRequest(post_id=post),
        f"{package}.CommentService/DeleteComment": comments.DeleteCommentRequest(
            post_id=post, comment_id=comment
        ),
        f"{package}.SubscriptionService/Subscribe": subscriptions.SubscribeRequest(
            creator_id=creator
        ),
        f"{package}.SubscriptionService/Unsubscribe": subscriptions.UnsubscribeRequest(
            creator_id=creator
        ),
        f"{package}.SubscriptionService/ListSubscriptions": subscriptions.ListSubscriptionsRequest(
            user_id=user
        ),
        f"{package}.AudienceService/GetRssFeed": audience.GetRssFeedRequest(creator_id=creator),
        f"{package}.AudienceService/GetAtomFeed": audience.GetAtomFeedRequest(creator_id=creator),
        f"{package}.AudienceService/GetJsonFeed": audience.GetJsonFeedRequest(creator_id=creator),
        f"{package}.AudienceService/ShowUnsubscription": audience.ShowUnsubscriptionRequest(
            token="unknown"
        ),
        f"{package}.AudienceService/EndSubscription": audience.EndSubscriptionRequest(
            token="unknown"
        ),
        f"{package}.AudienceService/GetStats": audience.GetStatsRequest(creator_id=creator),
    }


def any_request(rpc: contract.Rpc) -> Message:
    """A request of that RPC that breaks no rule, whoever makes it."""
    return {**requests("sync_a"), **publishing_requests()}[rpc.full_name]


def path_of(rpc: contract.Rpc) -> str:
    """The path of an RPC with something good in each variable."""
    path = rpc.path
    fields = rpc.descriptor.input_type.fields_by_name
    known = {"period": "daily", "job_id": "sync_a", "source": "rss", "key": "key"}
    known |= {"token": "unknown", "file": "feed.atom"}
    for name in rpc.path_fields:
        value = NOBODY if contract.rules(fields[name]).string.uuid else known[name]
        path = path.replace(f"{{{name}}}", value)
    return path


def signature(body: bytes = b"{}") -> dict[str, str]:
    """The metadata that prove a push of X."""
    signed = hmac.digest(CONSUMER_SECRET.encode(), body, "sha256")
    return {"x-twitter-webhooks-signature": f"sha256={base64.b64encode(signed).decode()}"}


async def received(call: Any) -> list[Message]:
    """Every message that a call is answered with."""
    if isinstance(call, grpc.aio.UnaryStreamCall):
        return [event async for event in call]
    return [await call]


def method(channel: Any, rpc: contract.Rpc) -> Callable[..., Any]:
    """The method of the generated stub, as another program would call it."""
    module = __import__(
        f"distill_grpc.proto.{rpc.service.file.name.removesuffix('.proto').replace('/', '.')}_pb2_grpc",
        fromlist=["*"],
    )
    stub = getattr(module, f"{rpc.service.name}Stub")(channel)
    found: Callable[..., Any] = getattr(stub, rpc.name)
    return found
