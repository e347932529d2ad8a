"""The seam for a summariser. It writes; what it writes about was chosen before."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """An item as a summariser sees it."""

    id: str
    source: str
    author: str
    title: str
    text: str
    url: str
    published_at: datetime
    engagement: float = 0.0  # the platform's own numbers, summed; 0 where it tells none
    language: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """Something said, and the ids of the documents that it rests on."""

    text: str
    document_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class DigestRequest:
    """What to digest: the documents of the period, and who asks."""

    documents: Sequence[Document]
    mentions: tuple[str, ...] = ()  # names by which the user may be mentioned
    max_highlights: int = 7


@dataclass(frozen=True, slots=True, kw_only=True)
class Digest:
    """What is said about the documents."""

    highlights: Sequence[Statement]
    sections: dict[str, Statement] = field(default_factory=dict)
    model: str
    confidence: float  # share of the sentences that rest on a cited document, 0 to 1


class Summariser(Protocol):
    """Writes digests."""

    name: str

    async def digest(self, request: DigestRequest) -> Digest:
        """A digest of at least one document; every statement cites documents of the request."""
        ...
