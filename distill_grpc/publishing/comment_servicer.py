"""CommentService: proto to domain and back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncEngine

from distill_grpc import clock
from distill_grpc.proto.distill.publishing.v1 import comment_service_pb2 as pb
from distill_grpc.publishing import accounts, comments
from distill_grpc.publishing.store.comments import ListedComment
from distill_grpc.publishing.threads import BoundedThreads
from distill_grpc.rpc.call import Call
from distill_grpc.rpc.instants import set_instant


@dataclass(frozen=True, slots=True)
class CommentServicer:
    """Comments on posts. Lists need no transaction: `reads` is in autocommit."""

    engine: AsyncEngine
    reads: AsyncEngine
    threads: BoundedThreads

    async def create_comment(self, request: pb.CreateCommentRequest, call: Call) -> pb.Comment:
        """See the contract."""
        written = await self.threads.run_for(call.caller.user_id, comments.render, request.content)
        replies = request.HasField("parent_comment_id")
        async with self.engine.begin() as connection:
            comment = await comments.create(
                connection,
                call.caller,
                UUID(request.post_id),
                written=written,
                parent_id=UUID(request.parent_comment_id) if replies else None,
                now=clock.utc_now(),
            )
        call.answer_with(201)
        response = pb.Comment()
        _fill(response, comment)
        response.post_id = str(comment.post_id)
        return response

    async def list_comments(
        self, request: pb.ListCommentsRequest, call: Call
    ) -> pb.ListCommentsResponse:
        """See the contract."""
        async with self.reads.connect() as connection:
            found = await comments.list_of(
                connection,
                accounts.id_of(call.authenticated),
                UUID(request.post_id),
                limit=request.limit,
                offset=request.offset,
            )
        response = pb.ListCommentsResponse()
        for row in found:
            comment = response.comments.add()
            _fill(comment, row)
            comment.content_html = row.content_html
        return response

    async def delete_comment(
        self, request: pb.DeleteCommentRequest, call: Call
    ) -> pb.DeleteCommentResponse:
        """See the contract."""
        comment_id = UUID(request.comment_id)
        async with self.engine.begin() as connection:
            await comments.delete(
                connection, call.caller, UUID(request.post_id), comment_id, now=clock.utc_now()
            )
        return pb.DeleteCommentResponse(id=str(comment_id), status=pb.DeleteCommentResponse.deleted)


def _fill(comment: pb.Comment, row: Row[Any] | ListedComment) -> None:
    comment.id = str(row.id)
    comment.content = row.content
    set_instant(comment.created_at, row.created_at)
    if row.parent_comment_id is not None:
        comment.parent_comment_id = str(row.parent_comment_id)
    if row.deleted_at is None:
        comment.user_id = str(row.author_id)
    else:
        comment.deleted = True
