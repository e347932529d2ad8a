"""PostService: proto to domain and back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncEngine

from distill_grpc import clock
from distill_grpc.errors import DistillError, ErrorReason
from distill_grpc.proto.distill.publishing.v1 import post_service_pb2 as pb
from distill_grpc.publishing import accounts, posts
from distill_grpc.publishing.analytics import POST_VIEW, EventRecorder
from distill_grpc.publishing.stats import MOST
from distill_grpc.publishing.store.posts import ViewedPost
from distill_grpc.publishing.threads import BoundedThreads
from distill_grpc.rpc.call import HTTP_METHOD, Call
from distill_grpc.rpc.instants import read_instant, set_instant

# How often one change of a post is rendered while others change the content under it.
RENDERINGS = 3


@dataclass(frozen=True, slots=True)
class PostServicer:
    """Posts and their publication. Reads need no transaction: `reads` is in autocommit."""

    engine: AsyncEngine
    reads: AsyncEngine
    threads: BoundedThreads
    events: EventRecorder

    async def create_post(self, request: pb.CreatePostRequest, call: Call) -> pb.Post:
        """See the contract."""
        content_format = pb.Post.ContentFormat.Name(request.content_format)
        content = await self._rendered(call, request.content, content_format)
        scheduled = request.HasField("scheduled_at")
        async with self.engine.begin() as connection:
            post = await posts.create(
                connection,
                call.caller,
                title=request.title,
                content=content,
                scheduled_at=(
                    read_instant("scheduled_at", request.scheduled_at) if scheduled else None
                ),
                now=clock.utc_now(),
            )
        call.answer_with(201)
        response = pb.Post(
            id=str(post.id),
            creator_id=str(post.creator_id),
            title=post.title,
            status=post.status,
        )
        set_instant(response.created_at, post.created_at)
        set_instant(response.scheduled_at, post.scheduled_at)
        return response

    async def get_post(self, request: pb.GetPostRequest, call: Call) -> pb.Post:
        """See the contract."""
        viewer = accounts.id_of(call.authenticated)
        async with self.reads.connect() as connection:
            post = await posts.get(connection, viewer, UUID(request.id))
        response = _whole(post, published=True)
        if post.status == posts.PUBLISHED:
            response.view_count = min(post.view_count, MOST)
            # Who asks by HEAD whether there is a post has not read it.
            if viewer != post.creator_id and call.metadata.get(HTTP_METHOD) != "HEAD":
                self.events.record(POST_VIEW, post.id, viewer)
        return response

    async def update_post(self, request: pb.UpdatePostRequest, call: Call) -> pb.Post:
        """See the contract."""
        post_id = UUID(request.id)
        for _ in range(RENDERINGS):
            changes = await self._changes(request, call, post_id)
            try:
                async with self.engine.begin() as connection:
                    post = await posts.update(
                        connection, call.caller, post_id, changes, now=clock.utc_now()
                    )
            except posts.ContentChanged:
                continue
            response = _whole(post, published=False)
            set_instant(response.updated_at, post.updated_at)
            return response
        raise DistillError(
            ErrorReason.CONFLICT, "The content of the post keeps being changed; try again."
        )

    async def publish_post(self, request: pb.PublishPostRequest, call: Call) -> pb.Post:
        """See the contract."""
        async with self.engine.begin() as connection:
            post = await posts.publish(
                connection, call.caller, UUID(request.id), now=clock.utc_now()
            )
        return _whole(post, published=True)

    async def list_posts(self, request: pb.ListPostsRequest, call: Call) -> pb.ListPostsResponse:
        """See the contract."""
        async with self.engine.connect() as connection:
            found = await posts.list_by(
                connection,
                accounts.id_of(call.authenticated),
                UUID(request.creator_id),
                status=pb.Post.Status.Name(request.status) if request.HasField("status") else None,
                limit=request.limit,
                offset=request.offset,
            )
        response = pb.ListPostsResponse()
        for row in found:
            post = response.posts.add(id=str(row.id), title=row.title, status=row.status)
            set_instant(post.published_at, row.published_at)
        return response

    async def _changes(
        self, request: pb.UpdatePostRequest, call: Call, post_id: UUID
    ) -> posts.Changes:
        content = None
        if request.HasField("content") or request.HasField("content_format"):
            content = await self._changed_content(request, call, post_id)
        return posts.Changes(
            title=request.title if request.HasField("title") else None,
            content=content,
            names_text=request.HasField("content"),
            names_format=request.HasField("content_format"),
            status=pb.Post.Status.Name(request.status) if request.HasField("status") else None,
            scheduled_at=(
                read_instant("scheduled_at", request.scheduled_at)
                if request.HasField("scheduled_at")
                else None
            ),
            unschedule=request.unschedule,
        )

    async def _changed_content(
        self, request: pb.UpdatePostRequest, call: Call, post_id: UUID
    ) -> posts.Content:
        """The new content; text or format are the present ones where only the other is named."""
        async with self.engine.connect() as connection:
            post = await posts.own(connection, call.caller, post_id, lock=False)
        text = request.content if request.HasField("content") else post.content
        content_format = post.content_format
        if request.HasField("content_format"):
            content_format = pb.Post.ContentFormat.Name(request.content_format)
        return await self.threads.run_for(call.caller.user_id, posts.render, text, content_format)

    async def _rendered(self, call: Call, text: str, content_format: str) -> posts.Content:
        # Who may not write gets no work done.
        async with self.engine.connect() as connection:
            await accounts.require(connection, call.caller, creator=True)
        return await self.threads.run_for(call.caller.user_id, posts.render, text, content_format)


def _whole(row: Row[Any] | ViewedPost, *, published: bool) -> pb.Post:
    post = pb.Post(
        id=str(row.id),
        creator_id=str(row.creator_id),
        title=row.title,
        content=row.content,
        status=row.status,
        content_format=row.content_format,
        content_html=row.content_html,
        slug=row.slug,
    )
    set_instant(post.scheduled_at, row.scheduled_at)
    if published:
        set_instant(post.published_at, row.published_at)
    return post
