"""The seam for a source: what it is given, what it yields, and the ways in which it fails.

A source knows no database, no settings of the service and no clock: everything comes in the request.
It reads an *account*, which consists of *parts* (feeds, folders, endpoints) that are read, resumed
and failing independently of each other.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

Json = Any


@dataclass(frozen=True, slots=True, kw_only=True)
class OAuthFlow:
    """How a platform renews an access token (RFC 6749, section 6).

    The credentials then hold `refresh_token`, `client_id` and, for confidential clients,
    `client_secret` beside the access token.
    """

    # None: credentials name it as `token_url`, because many platforms can be meant.
    token_url: str | None
    client_auth: str = "body"  # or `basic`: how the client's id and secret are sent
    token_name: str = "access_token"  # noqa: S105 -- its name among the source's credentials


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceInfo:
    """What a source says about itself; feeds `/api`, `/capabilities` and `/metadata`."""

    name: str  # in paths and parameters, such as `rss`
    title: str  # for people, such as `RSS, Atom and JSON feeds`
    description: str  # what is collected
    oauth_scopes: tuple[str, ...] = ()
    token_type: str = "none"  # noqa: S105 -- `none`, `api_key`, `password` or `OAuth2`
    refresh_supported: bool = False
    credentials: Mapping[str, str] = field(default_factory=dict)  # name → what it is
    settings: Mapping[str, str] = field(default_factory=dict)
    limits: tuple[str, ...] = ()  # the platform's limits that are kept to, in words
    oauth: OAuthFlow | None = None  # how its tokens are renewed, where they can be


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One piece of content, ready to be stored: text is sanitised, instants are UTC."""

    platform_id: str  # the platform's own id; unique within the source for a user
    published_at: datetime | None  # None: the platform does not tell; the core takes its clock's
    content: str  # plain text that a person would read
    author: str = ""
    title: str = ""
    url: str = ""
    kind: str = "article"
    thread_id: str = ""
    metrics: Mapping[str, float] = field(default_factory=dict)
    tags: tuple[str, ...] = ()  # the platform's own categories
    language: str = ""  # BCP 47 where told
    raw: Json = None  # what the platform sent; 64-bit ids as strings
    backdated: bool = False  # appeared late in a known part: stored, but not announced


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """What was read in one go: stored together with its cursor in one transaction.

    A page without items still moves the cursor. A page with a `failure` says that this part failed
    (its items, if any, are stored); the walk goes on with the other parts.
    """

    part: str  # which part of the account, such as a feed's address
    items: Sequence[Item] = ()
    cursor: Json = None  # where the next fetch of the part resumes; None leaves it as it is
    failure: SourceFailure | None = None
    title: str | None = None  # the part's title, where it has one
    url: str | None = None  # the part's address in use, where it differs from its name
    min_interval: float = 0.0  # seconds that the platform wants between reads (TTL, max-age)
    last: bool = True  # False: more pages of this part follow in this fetch
    unchanged: bool = False  # the platform said that nothing is new (304, same bytes)
    # Seconds until the part may be asked: it was not, so that nothing is known of it; the page says
    # nothing else.
    waiting: float = 0.0
    deleted: Sequence[str] = ()  # platform ids of items that are gone at the platform
    ended: bool = (
        False  # the part belongs to the account no more, such as a channel left: forget it
    )
    gap: bool = False  # something between the last read and this one cannot be had any more
    # The WebSub hub that pushes the part, and the part's address there; empty: none does, None: not
    # told this time.
    hub: str | None = None
    topic: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchRequest:
    """Everything a fetch needs to know."""

    credentials: Mapping[str, Json]
    settings: Mapping[str, Json]
    cursors: Mapping[str, Json]  # by part; a part without one is read for the first time
    since: Mapping[str, datetime]  # by part: older items are not wanted
    default_since: datetime  # for parts that `since` does not know
    skip: frozenset[str]  # parts that must not be contacted now
    now: datetime
    # A part that is read for the first time and has nothing as young as wanted may show this many of
    # its newest items all the same, where reading them costs no further request.
    quiet_part_shows: int = 0
    user: str = ""  # for whom, as far as a budget that users share must know
    account: str = ""  # the account's name, as `identify` told it

    def left(self, wanted: Collection[str]) -> list[str]:
        """Known parts that are wanted no more; each is told as a page that `ended`."""
        return [part for part in {**self.cursors, **self.since} if part not in wanted]


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """Who an account belongs to, as its platform tells when it is connected."""

    name: str = ""  # for people, such as a login or an address; empty where nobody tells
    id: str = ""  # the platform's own id
    scopes: tuple[str, ...] | None = (
        None  # what the credentials may do; None: the platform is silent
    )
    missing_scopes: tuple[str, ...] = ()  # wanted and not granted: some parts cannot be read
    expires_at: datetime | None = None  # when the credentials end by themselves


class Source(Protocol):
    """A platform that Distill can read.

    One that has an address of its own may tell it as `root`, for `distill doctor`; one that holds
    something open has `close()`; one whose accounts are this service's own users has
    `identify_user(user, credentials, settings)`, which is called in the place of `identify`.
    """

    info: SourceInfo

    def check(self, credentials: Mapping[str, Json], settings: Mapping[str, Json]) -> None:
        """Raises `InvalidConnection` where a value is wrong; touches no network."""
        ...

    async def identify(
        self, credentials: Mapping[str, Json], settings: Mapping[str, Json]
    ) -> Account:
        """Asks the platform who this is, when an account is connected.

        Raises a `SourceFailure` where the credentials are refused, `InvalidConnection` where
        the platform shows that a value is wrong. A source without credentials asks nobody.
        """
        ...

    def parts(self, settings: Mapping[str, Json]) -> tuple[str, ...]:
        """The parts that these settings name; empty where only the platform knows."""
        ...

    def fetch(self, request: FetchRequest) -> AsyncIterator[Page]:
        """Reads what is new; raises a `SourceFailure` where the account as a whole fails."""
        ...


class InvalidConnection(Exception):  # noqa: N818 -- an answer to the user, not a fault
    """Credentials or settings that cannot work: field → rule, such as `settings.feeds[0]`."""

    def __init__(self, details: Mapping[str, str]) -> None:
        self.details = dict(details)
        super().__init__("; ".join(f"{k}: {v}" for k, v in self.details.items()))


class SourceFailure(Exception):  # noqa: N818 -- `failure` is the word of the whole code base
    """Base of the ways in which an account, or a part of it, fails.

    `permanent`: only the user can mend it, so it is not tried again by itself.
    `retry_at`: the platform named the instant before which it must not be asked again.
    """

    code = "platform_error"

    def __init__(
        self,
        message: str,
        *,
        reason: str = "",
        permanent: bool = False,
        retry_at: datetime | None = None,
    ) -> None:
        self.message = message
        self.reason = reason  # a short machine-readable word, such as `not_a_feed`
        self.permanent = permanent
        self.retry_at = retry_at
        super().__init__(message)


class NoPlatformAuth(SourceFailure):
    """The platform refuses the credentials, or none are there."""

    code = "no_platform_auth"


class TokenExpired(SourceFailure):
    """The token has expired and could not be refreshed."""

    code = "token_expired"


class RateLimited(SourceFailure):
    """The platform said stop; `retry_at` says until when."""

    code = "rate_limited"


class PlatformError(SourceFailure):
    """The platform failed, or answered with something that cannot be understood."""

    code = "platform_error"
