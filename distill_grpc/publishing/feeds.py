"""A creator's posts as a feed, and the addresses that leave this service."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from distill_grpc.publishing import accounts
from distill_grpc.publishing.store import posts as store
from distill_grpc.syndication import TYPES, Entry, Feed, write

ENTRIES = 30
# Bytes of HTML in one document, as they are written there; the newest posts that fit stand in it, the
# newest always.
LARGEST = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where the world reaches this service (no slash at the end), and the hub of its feeds."""

    public_url: str
    hub: str | None = None

    def feed(self, creator_id: UUID, kind: str) -> str:
        """A creator's feed, `kind` being one of `syndication.TYPES`."""
        return f"{self.public_url}/api/v1/creators/{creator_id}/feed.{kind}"

    def post(self, post_id: UUID) -> str:
        """A post."""
        return f"{self.public_url}/api/v1/posts/{post_id}"

    def unsubscribe(self, token: str) -> str:
        """The page that ends a subscription."""
        return f"{self.public_url}/api/v1/unsubscribe/{token}"


async def read(
    connection: AsyncConnection, addresses: Addresses, creator_id: UUID, kind: str
) -> tuple[bytes, str]:
    """A creator's feed and its content type; raises NOT_FOUND where there is no such creator."""
    creator = await accounts.require_creator(connection, creator_id)
    entries: list[Entry] = []
    size = 0
    for row in await store.list_published(connection, creator_id, ENTRIES):
        size += len(escape(row.content_html, quote=False).encode())
        if entries and size > LARGEST:
            break
        entries.append(
            Entry(
                id=f"urn:uuid:{row.id}",
                title=row.title,
                url=addresses.post(row.id),
                html=row.content_html,
                published=row.published_at,
                updated=max(row.updated_at, row.published_at),
            )
        )
    feed = Feed(
        id=f"urn:uuid:{creator.id}",
        title=creator.username,
        description=creator.bio or f"Posts by {creator.username}",
        author=creator.username,
        address=addresses.feed(creator.id, kind),
        updated=max((entry.updated for entry in entries), default=creator.created_at),
        entries=entries,
        hub=addresses.hub,
    )
    return write(feed, kind), TYPES[kind]
