"""Items as those read them who weigh and word: digests, answers, tags."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from distill_grpc.llm.base import Document


def document(row: Any, published_at: datetime, **more: Any) -> Document:
    """The document of a row of `items`, with what else is known of it."""
    return Document(
        id=str(row.id),
        source=row.source,
        author=row.author,
        title=row.title,
        text=row.content,
        url=row.url,
        published_at=published_at,
        **more,
    )
