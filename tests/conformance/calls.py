"""A good request for every RPC of the contract, and the state in which it succeeds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from google.protobuf.message import Message

from distill_grpc import clock
from distill_grpc.proto import contract
from distill_grpc.proto.distill.v1 import connection_service_pb2 as connection
from distill_grpc.proto.distill.v1 import content_service_pb2 as content
from distill_grpc.proto.distill.v1 import digest_service_pb2 as digest
from distill_grpc.proto.distill.v1 import discovery_service_pb2 as discovery
from distill_grpc.proto.distill.v1 import preference_service_pb2 as preference
from distill_grpc.proto.distill.v1 import sync_service_pb2 as sync
from distill_grpc.proto.distill.v1 import watch_service_pb2 as watch

Stub = Any


def requests(job_id: str) -> Mapping[str, Message]:
    """By wire name, in an order in which a new user can make them; `job_id` is a sync of theirs.

    The secret of a feed is known once it was made, and that of a mail to its reader: they stand as
    `unknown`.
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
        "/distill.v1.ContentService/GetSummary": content.GetSummaryRequest(period=today),
        "/distill.v1.ContentService/RegenerateSummary": content.RegenerateSummaryRequest(
            period=today
        ),
        "/distill.v1.PreferenceService/GetPreferences": preference.GetPreferencesRequest(),
        "/distill.v1.PreferenceService/UpdatePreferences": preference.UpdatePreferencesRequest(
            length="short", tags=["release"], digest_hour=7, tz="Europe/Berlin"
        ),
        "/distill.v1.DigestService/CreateDigestFeed": digest.CreateDigestFeedRequest(),
        "/distill.v1.DigestService/GetDigestFeed": digest.GetDigestFeedRequest(
            token="unknown", file="feed.atom"
        ),
        "/distill.v1.DigestService/DeleteDigestFeed": digest.DeleteDigestFeedRequest(),
        "/distill.v1.DigestService/Unsubscribe": digest.UnsubscribeRequest(token="unknown"),
        "/distill.v1.ConnectionService/DeleteConnection": connection.DeleteConnectionRequest(
            source="rss"
        ),
        "/distill.v1.WatchService/Unwatch": watch.UnwatchRequest(),
    }


def method(channel: Any, rpc: contract.Rpc) -> Callable[..., Any]:
    """The method of the generated stub, as another program would call it."""
    module = __import__(
        f"distill_grpc.proto.{rpc.service.file.name.removesuffix('.proto').replace('/', '.')}_pb2_grpc",
        fromlist=["*"],
    )
    stub = getattr(module, f"{rpc.service.name}Stub")(channel)
    found: Callable[..., Any] = getattr(stub, rpc.name)
    return found
