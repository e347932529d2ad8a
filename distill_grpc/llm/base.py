"""The seam for a summariser: what it is given, what it gives, and who pays.

What a digest is about is chosen by code (`planning.py`), whoever writes it. A summariser only words
what was chosen, and says for every statement which documents it rests on and why they are there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol


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
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnSection:
    """A section that the user defined: stories with one of the words or tags, from the sources.

    What is empty does not restrict; words and tags are alternatives, the sources hold in any case.
    """

    name: str
    words: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """Something said, the ids of the documents that it rests on, and why these were chosen."""

    text: str
    document_ids: tuple[str, ...]
    why: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class DigestRequest:
    """What to digest: the documents of the period, who asks, and what they care for."""

    documents: Sequence[Document]
    mentions: tuple[str, ...] = ()  # names by which the user may be mentioned
    max_highlights: int = 7
    limit: int = 300  # characters of a highlight
    language: str = ""  # of several tellings of a story, the one in this language is preferred
    tags: tuple[str, ...] = ()  # that the user cares for
    sources: tuple[str, ...] = ()  # that the user cares for
    authors: tuple[str, ...] = ()  # … and those that they read: names, or hosts of sites
    sections: tuple[OwnSection, ...] = ()
    seconds: float = 25.0  # after which whoever asks has gone
    # What documents mean, by id, as far as it is known: vectors of length 1 of one model.
    meanings: Mapping[str, Sequence[float]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Digest:
    """What is said about the documents."""

    highlights: Sequence[Statement]
    sections: dict[str, Statement] = field(default_factory=dict)
    model: str
    confidence: float  # share of the sentences that rest on a cited document, 0 to 1


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens that a model counted, and what they cost in millionths of a US dollar."""

    prompt: int = 0
    completion: int = 0
    cost: int = 0

    @property
    def tokens(self) -> int:
        """All of them."""
        return self.prompt + self.completion


class Purse(Protocol):
    """What one user may spend, and what was written for them before."""

    async def reserve(self, tokens: int) -> bool:
        """Sets tokens of today's budget aside; False where so many are not left.

        Raises where the user has no credits: then nothing may be spent at all.
        """
        ...

    async def settle(self, reserved: int, spent: Usage) -> None:
        """Puts what was really spent in the place of a reservation."""
        ...

    async def recall(self, keys: Sequence[str]) -> Mapping[str, Any]:
        """What is remembered under these keys, as far as it is."""
        ...

    async def remember(self, entries: Mapping[str, Any]) -> None:
        """Keeps JSON values, so that nothing is written twice."""
        ...


class Summariser(Protocol):
    """Writes digests."""

    name: str

    async def digest(self, request: DigestRequest, purse: Purse | None = None, /) -> Digest:
        """A digest of at least one document; every statement cites documents of the request.

        Without a purse nothing may be spent.
        """
        ...
