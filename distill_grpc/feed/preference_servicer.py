"""PreferenceService: proto to domain and back."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from sqlalchemy.ext.asyncio import AsyncEngine

from distill_grpc import clock
from distill_grpc.feed import preferring
from distill_grpc.feed.store import preferences
from distill_grpc.proto.distill.v1 import preference_service_pb2 as pb
from distill_grpc.rpc.call import Call
from distill_grpc.rpc.instants import set_instant

# Fields that take their default where they are left out.
_OPTIONAL = (
    "language",
    "length",
    "digest_hour",
    "tz",
    "mail",
    "daily",
    "weekly",
    "tags_by_model",
    "daily_llm_tokens",
)


@dataclass(frozen=True, slots=True)
class PreferenceServicer:
    """Reads and replaces preferences."""

    engine: AsyncEngine
    sources: Collection[str]

    async def get_preferences(
        self, _request: pb.GetPreferencesRequest, call: Call
    ) -> pb.Preferences:
        """See the contract."""
        async with self.engine.connect() as connection:
            row = await preferences.get_preferences(connection, call.caller.user_id)
        return _preferences(preferring.DEFAULTS if row is None else row._mapping)

    async def update_preferences(
        self, request: pb.UpdatePreferencesRequest, call: Call
    ) -> pb.Preferences:
        """See the contract."""
        wanted: dict[str, Any] = {
            "sections": [
                {
                    "name": section.name,
                    "words": list(section.words),
                    "tags": list(section.tags),
                    "sources": list(section.sources),
                }
                for section in request.sections
            ],
            "tags": list(request.tags),
            "sources": list(request.sources),
            "authors": list(request.authors),
            "names": list(request.names),
        }
        for name in _OPTIONAL:
            if request.HasField(name):
                wanted[name] = getattr(request, name)
        async with self.engine.begin() as connection:
            row = await preferring.update(
                connection,
                call.caller,
                wanted,
                known_sources=self.sources,
                now=clock.utc_now(),
            )
        return _preferences(row._mapping)


def _preferences(values: Any) -> pb.Preferences:
    told = pb.Preferences(
        length=values["length"],
        tags=values["tags"],
        sources=values["sources"],
        authors=values["authors"],
        names=values["names"],
        tz=values["tz"],
        mail=values["mail"],
        daily=values["daily"],
        weekly=values["weekly"],
        tags_by_model=values["tags_by_model"],
    )
    for section in values["sections"]:
        told.sections.add(**section)
    for name in ("language", "digest_hour", "daily_llm_tokens"):
        if values[name] is not None:
            setattr(told, name, values[name])
    set_instant(told.next_digest_at, values.get("next_digest_at"))
    set_instant(told.next_weekly_at, values.get("next_weekly_at"))
    return told
