"""Connections: the accounts that a user lets Distill read (operator's interface, /connections)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import structlog
from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from distill_grpc import clock
from distill_grpc.errors import DistillError, ErrorReason, invalid_argument
from distill_grpc.feed import ingesting
from distill_grpc.feed.budgets import spending_for
from distill_grpc.feed.outcomes import reason_of
from distill_grpc.feed.pushing import Pushing
from distill_grpc.feed.store import connections, pushes, watches
from distill_grpc.feed.store import tokens as token_store
from distill_grpc.feed.tokens import TokenKeeper, Usable, for_source, token_name
from distill_grpc.sources import oauth
from distill_grpc.sources.base import (
    Account,
    InvalidConnection,
    PlatformError,
    Source,
    SourceFailure,
    TokenExpired,
)
from distill_grpc.sources.oauth import Tokens

log = structlog.get_logger()

# Seconds that a platform gets to say whose account it is; a caller waits for this.
IDENTIFY_TIMEOUT = 25.0
# How often connecting begins anew where the same user changes the same connection meanwhile.
_ATTEMPTS = 3


@dataclass(frozen=True, slots=True)
class Connected:
    """A connection and its parts."""

    row: Row[Any]
    parts: Sequence[Row[Any]]
    pushed: Sequence[Row[Any]] = ()  # the endpoints that its platform may push to


@dataclass(frozen=True, slots=True, kw_only=True)
class _Checked:
    """What the platform has confirmed and only has to be stored."""

    known: Row[Any] | None  # what was connected before
    keeps: bool  # the credentials that it had
    own: Mapping[str, Any] = field(repr=False)
    settings: Mapping[str, Any]
    account: Account
    tokens: Tokens | None


async def connect(
    engine: AsyncEngine,
    user_id: str,
    *,
    source: Source,
    credentials: Mapping[str, Any] | None,
    settings: Mapping[str, Any] | None,
    tokens: TokenKeeper,
    now: Callable[[], datetime] = clock.utc_now,
    pushing: Pushing | None = None,
) -> Connected:
    """Asks the platform whose account it is, and stores the connection; what is None stays as it was.

    An active watch becomes due at once. Parts that the settings no longer name are forgotten; those
    that failed get a new chance. Raises INVALID_ARGUMENT naming each wrong credential or setting,
    and what the platform said: NO_PLATFORM_AUTH, TOKEN_EXPIRED, RATE_LIMITED, PLATFORM_ERROR.
    Nothing is stored then.
    """
    wish = _Wish(user_id, source, credentials, settings, tokens, pushing)
    for _ in range(_ATTEMPTS):
        async with engine.connect() as connection:
            known = await connections.get_connection(connection, user_id, source.info.name)
        with spending_for(user_id):
            checked = await wish.check(known)
        async with engine.begin() as connection:
            stored = await wish.store(connection, checked, clock.whole_seconds(now()))
        if stored is not None:
            return stored
    raise DistillError(ErrorReason.UNAVAILABLE, "The connection is being changed by another call.")


async def connect_centrally(
    engine: AsyncEngine, user_id: str, sources: Mapping[str, Source], tokens: TokenKeeper
) -> None:
    """Connects what the central token service has for a user who has connected nothing.

    Then a user who signed in there needs no call but `POST /watch`. Never raises what a platform or
    the service says: a source that fails stays unconnected.
    """
    central = [s for s in sources.values() if tokens.is_central(s.info, {})]
    if not central:
        return
    async with engine.connect() as connection:
        if await connections.has_connection(connection, user_id, sources):
            return

    async def attempt(source: Source) -> None:
        try:
            await connect(
                engine, user_id, source=source, credentials=None, settings=None, tokens=tokens
            )
        except DistillError as error:
            log.info("not_connected_centrally", source=source.info.name, why=error.code)

    await asyncio.gather(*map(attempt, central))


@dataclass(frozen=True, slots=True)
class _Wish:
    """What a user wants to be connected."""

    user_id: str
    source: Source
    credentials: Mapping[str, Any] | None = field(repr=False)
    settings: Mapping[str, Any] | None
    tokens: TokenKeeper
    pushing: Pushing | None

    async def check(self, known: Row[Any] | None) -> _Checked:
        """What the platform says to it; raises what `connect` does."""
        try:
            async with asyncio.timeout(IDENTIFY_TIMEOUT):
                return await self._ask(known)
        except InvalidConnection as wrong:
            raise invalid_argument(wrong.details) from None
        except TimeoutError:
            slow = PlatformError("The platform did not answer in time.", reason="slow")
            raise _told(slow) from None
        except SourceFailure as failure:
            raise _told(failure) from None

    async def _ask(self, known: Row[Any] | None) -> _Checked:
        source, tokens, info = self.source, self.tokens, self.source.info
        kept = self._kept(known)
        own = tokens.vault.open_credentials(kept) if kept is not None else self.credentials or {}
        settings = self.settings
        if settings is None:
            settings = known.settings if known is not None else {}
        lacking = oauth.check_renewal(info.oauth, own) if kept is None else {}
        if lacking or own.get(token_name(info)) or not tokens.is_renewable(info, own):
            _check(source, for_source(info, own), settings, lacking)  # before anybody is asked
        if kept is not None:
            usable = Usable(await tokens.current(info, kept))
        else:
            usable = await tokens.begin(info, self.user_id, own)
        source.check(for_source(info, usable.credentials), settings)
        try:
            account = await self._identify(usable, settings)
        except TokenExpired:
            renewed = await self._renew(kept, own, usable)
            if renewed is None:
                raise
            usable = renewed
            account = await self._identify(usable, settings)
        return _Checked(
            known=known,
            keeps=kept is not None,
            own=own,
            settings=settings,
            account=account,
            tokens=usable.tokens,
        )

    async def _identify(self, usable: Usable, settings: Mapping[str, Any]) -> Account:
        credentials = for_source(self.source.info, usable.credentials)
        identify_user = getattr(self.source, "identify_user", None)
        if identify_user is None:
            return await self.source.identify(credentials, settings)
        account: Account = await identify_user(self.user_id, credentials, settings)
        return account

    def _kept(self, known: Row[Any] | None) -> Row[Any] | None:
        """The connection whose credentials stay, also where the same ones are sent again.

        Tokens that came from them since are then still the newest.
        """
        if known is None or self.credentials is None:
            return known
        try:
            same = self.tokens.vault.open_credentials(known) == self.credentials
        except DistillError:  # no key opens them: these take their place
            return None
        return known if same else None

    async def _renew(
        self, kept: Row[Any] | None, own: Mapping[str, Any], usable: Usable
    ) -> Usable | None:
        """Other credentials in the place of expired ones; None where there are none to be had."""
        info = self.source.info
        if kept is not None:
            found = await self.tokens.renewed(info, kept, usable.credentials)
            return None if found is None else Usable(found)
        if usable.tokens is not None or not self.tokens.is_renewable(info, own):
            return None
        return await self.tokens.begin(info, self.user_id, own, renew=True)

    async def store(
        self, connection: AsyncConnection, checked: _Checked, now: datetime
    ) -> Connected | None:
        """Stores the connection; None where it was changed since it was looked at."""
        user_id, source, name = self.user_id, self.source, self.source.info.name
        # Before what hangs on it. One that begins meanwhile syncs by itself.
        watch = await watches.get_watch(connection, user_id, lock=True)
        there = await connections.get_connection(connection, user_id, name, lock=True)
        if self._taken_over(there) != self._taken_over(checked.known):
            return None
        await connections.upsert_connection(connection, **self._row(checked, now))
        await self._store_tokens(connection, checked)
        parts = source.parts(checked.settings)
        if parts:
            await connections.delete_parts_except(connection, user_id, name, parts)
            for part in parts:
                await connections.upsert_part(connection, user_id, name, part, first_seen_at=now)
        await connections.forgive_parts(connection, user_id, name)
        if self.pushing is not None:
            await self.pushing.follow_account(connection, user_id, source, checked.own, now)
        if watch is not None:
            await watches.make_due(connection, user_id, now)
        return await get(connection, user_id, name)

    def _taken_over(self, row: Row[Any] | None) -> tuple[Any, Any]:
        """What of a connection this call leaves as it is, and has looked at."""
        credentials = row.credentials if row is not None else None
        settings = row.settings if row is not None else {}
        return (
            credentials if self.credentials is None else None,
            settings if self.settings is None else None,
        )

    def _row(self, checked: _Checked, now: datetime) -> dict[str, Any]:
        user_id, info, own, account = self.user_id, self.source.info, checked.own, checked.account
        scopes = account.scopes
        if scopes is None and checked.tokens is not None:
            scopes = checked.tokens.scopes
        renewable = self.tokens.is_renewable(info, own)
        return {
            "user_id": user_id,
            "source": info.name,
            "credentials": self.tokens.vault.seal_credentials(user_id, info.name, own)
            if own
            else None,
            "settings": checked.settings,
            "account": ingesting.plain(account.name, 500) or None,
            "account_id": ingesting.plain(account.id, 500) or None,
            "scopes": None if scopes is None else _names(scopes),
            "missing_scopes": _names(account.missing_scopes),
            # Of tokens that are renewed without the user, nobody has to know the end.
            "expires_at": None if renewable else account.expires_at,
            "connected_at": now,
        }

    async def _store_tokens(self, connection: AsyncConnection, checked: _Checked) -> None:
        info, own, tokens = self.source.info, checked.own, checked.tokens
        if not checked.keeps:
            await token_store.delete_tokens(connection, self.user_id, info.name)
        if tokens is not None:
            central = self.tokens.is_central(info, own)
            await token_store.upsert_tokens(
                connection,
                self.user_id,
                info.name,
                sealed=self.tokens.seal(info, self.user_id, own, tokens),
                good_until=self.tokens.good_until(tokens, central=central),
            )


async def get(connection: AsyncConnection, user_id: str, source: str) -> Connected:
    """One connection of the user; raises NOT_FOUND."""
    row = await connections.get_connection(connection, user_id, source)
    if row is None:
        raise _not_connected(source)
    return Connected(
        row,
        await connections.list_parts(connection, user_id, source),
        await pushes.list_of_user(connection, user_id, source),
    )


async def list_all(connection: AsyncConnection, user_id: str) -> list[Connected]:
    """All connections of the user, by name."""
    rows = await connections.list_connections(connection, user_id)
    parts = await connections.list_parts(connection, user_id)
    pushed = await pushes.list_of_user(connection, user_id)
    return [
        Connected(
            row,
            [part for part in parts if part.source == row.source],
            [endpoint for endpoint in pushed if endpoint.source == row.source],
        )
        for row in rows
    ]


async def disconnect(
    connection: AsyncConnection, user_id: str, source: str, *, now: datetime
) -> None:
    """Deletes credentials, tokens and sync state at once; items stay. Raises NOT_FOUND.

    Its platform's pushes are taken no more, and hubs are told so.
    """
    if not await connections.delete_connection(connection, user_id, source):
        raise _not_connected(source)
    await pushes.delete_of_account(connection, user_id, source)
    await pushes.leave_orphans(connection, user_id, source, now)


def _check(
    source: Source,
    credentials: Mapping[str, Any],
    settings: Mapping[str, Any],
    lacking: Mapping[str, str],
) -> None:
    """Raises `InvalidConnection` with what is `lacking` and everything that the source refuses."""
    details = dict(lacking)
    try:
        source.check(credentials, settings)
    except InvalidConnection as wrong:
        details |= wrong.details
    if details:
        raise InvalidConnection(details)


def _names(scopes: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(ingesting.plain(scope, 200) for scope in scopes[:100]))


def _told(failure: SourceFailure) -> DistillError:
    """What a platform's answer means to the caller."""
    return DistillError(
        reason_of(failure),
        failure.message,
        details={"reason": failure.reason} if failure.reason else None,
        retry_after=failure.retry_at,
    )


def _not_connected(source: str) -> DistillError:
    return DistillError(ErrorReason.NOT_FOUND, f"The source {source!r} is not connected.")
