"""The seam for platforms that push: how a push is proven, and how our address is.

A source that is told of news has one of three attributes beside those of `Source`: `webhooks` where the
user enters an address at the platform, for the whole account; `websub` where its parts are feeds that
hubs push (`sources/websub.py`); `hints` where the platform tells over a connection of ours that stays
open, for users who set `idle` to true. What is told is never read for its content: it only says that a
sync is worth it.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from distill_grpc.sources.base import Json, Source
    from distill_grpc.sources.websub import WebSub


class Forged(Exception):  # noqa: N818 -- an answer to whoever pushed, not a fault
    """A push that its signature does not prove."""


@dataclass(frozen=True, slots=True)
class Push:
    """A push that was proven."""

    id: str  # the same when it is delivered again
    news: bool = True  # False: it says nothing about the account, such as a first greeting


@dataclass(frozen=True, slots=True)
class Answer:
    """What a platform is answered with."""

    content_type: str
    body: bytes


class Webhooks(Protocol):
    """How a platform pushes for a whole account."""

    secret: str  # the credential that signs, by its name among the source's credentials

    def receive(self, secret: str, headers: Mapping[str, str], body: bytes) -> Push:
        """The push; raises `Forged`. Names of headers are in lower case."""
        ...

    def respond(self, secret: str, token: str) -> Answer | None:
        """The answer to a challenge of the platform; None where it never asks."""
        ...


def webhooks_of(source: Source) -> Webhooks | None:
    """How the platform of a source pushes for an account, if it does."""
    found: Webhooks | None = getattr(source, "webhooks", None)
    return found


def websub_of(source: Source) -> WebSub | None:
    """How the parts of a source are pushed by hubs, if they are."""
    found: WebSub | None = getattr(source, "websub", None)
    return found


class Hints(Protocol):
    """Names a part whenever its platform tells of news; does not end by itself.

    Raises a `SourceFailure`, with the reason `no_hints` where the platform tells nothing.
    """

    def __call__(
        self, credentials: Mapping[str, Json], settings: Mapping[str, Json], /
    ) -> AsyncGenerator[str, None]:
        """The names, as they come."""
        ...


def hints_of(source: Source) -> Hints | None:
    """How a source is told over a connection of ours, if it is."""
    found: Hints | None = getattr(source, "hints", None)
    return found


def same(given: str, expected: str) -> bool:
    """Compares signatures in a time that says nothing about where they differ."""
    return hmac.compare_digest(given.encode("utf-8", "replace"), expected.encode())


def digest(body: bytes) -> str:
    """The identity of a push whose platform gives it none."""
    return hashlib.sha256(body).hexdigest()
