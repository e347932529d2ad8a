"""Tables of the feed. Every user-owned table leads its primary key with `user_id`.

Instants are `timestamptz`; those that the seeds print are stored in whole seconds.
"""

from __future__ import annotations

from distill_grpc.feed.models.accounts import (
    Connection,
    ConnectionPart,
    PlatformBudget,
    PlatformToken,
    PushDelivery,
    PushEndpoint,
    PushHub,
    Watch,
)
from distill_grpc.feed.models.collected import (
    SEARCH_VECTOR,
    Embedding,
    EmbeddingState,
    Item,
    SyncRun,
    SyncRunSource,
    TagVocabulary,
)
from distill_grpc.feed.models.digests import (
    DigestMail,
    LlmMemory,
    LlmUsage,
    Preferences,
    ServiceState,
    Summary,
    Turn,
)

__all__ = [
    "SEARCH_VECTOR",
    "Connection",
    "ConnectionPart",
    "DigestMail",
    "Embedding",
    "EmbeddingState",
    "Item",
    "LlmMemory",
    "LlmUsage",
    "PlatformBudget",
    "PlatformToken",
    "Preferences",
    "PushDelivery",
    "PushEndpoint",
    "PushHub",
    "ServiceState",
    "Summary",
    "SyncRun",
    "SyncRunSource",
    "TagVocabulary",
    "Turn",
    "Watch",
]
