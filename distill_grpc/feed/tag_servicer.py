"""TagService: proto to domain and back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncEngine

from distill_grpc import clock
from distill_grpc.feed import tagging
from distill_grpc.feed.tag_matching import Tag
from distill_grpc.jobs.queue import JobQueue
from distill_grpc.proto.distill.v1 import tag_service_pb2 as pb
from distill_grpc.rpc.call import Call


@dataclass(frozen=True, slots=True)
class TagServicer:
    """Reads and replaces vocabularies."""

    engine: AsyncEngine
    queue: JobQueue

    async def get_tag_vocabulary(
        self, _request: pb.GetTagVocabularyRequest, call: Call
    ) -> pb.TagVocabulary:
        """See the contract."""
        async with self.engine.connect() as connection:
            return _told(await tagging.list_tags(connection, call.caller.user_id))

    async def update_tag_vocabulary(
        self, request: pb.UpdateTagVocabularyRequest, call: Call
    ) -> pb.TagVocabulary:
        """See the contract."""
        wanted = [Tag(tag.name.strip(), tuple(map(str.strip, tag.aliases))) for tag in request.tags]
        async with self.engine.begin() as connection:
            kept = await tagging.replace_vocabulary(
                connection, self.queue, call.caller, wanted, clock.utc_now()
            )
        return _told(kept)


def _told(tags: Sequence[Tag]) -> pb.TagVocabulary:
    told = pb.TagVocabulary()
    for tag in tags:
        told.tags.add(name=tag.name, aliases=tag.aliases)
    return told
