"""Usable credentials for a connection: its own, renewed in time, or the central token service's.

Tokens are renewed by one process at a time, under the lock of the row that keeps them: whoever waited
finds the new ones there. The new pair is committed before anybody uses it, because a platform that
rotates refresh tokens forgets the old one. Nothing here is ever logged.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any
from weakref import WeakValueDictionary

import orjson
import structlog
from prometheus_client import Counter
from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from distill_grpc import clock
from distill_grpc.db.engine import is_timeout, is_unavailable
from distill_grpc.feed.sealing import Vault
from distill_grpc.feed.store import tokens as store
from distill_grpc.sources import oauth
from distill_grpc.sources.base import (
    NoPlatformAuth,
    PlatformError,
    SourceFailure,
    SourceInfo,
    TokenExpired,
)
from distill_grpc.sources.http import HttpClient
from distill_grpc.sources.oauth import Tokens
from distill_grpc.sources.token_service import TokenService

log = structlog.get_logger()

RENEWALS = Counter(
    "distill_token_renewals_total", "Tokens renewed or handed out, by source.", ["source", "how"]
)

# A token that ends this soon is renewed first: a read takes time.
MARGIN = timedelta(minutes=2)
# Tokens without an end are asked for again after this long, so that a revocation is noticed.
LONGEST_KEPT = timedelta(hours=1)
# A renewal holds a lock that others wait for.
RENEWAL_TIMEOUT = timedelta(seconds=10)
# Pauses before storing a renewed pair again where the database went away in that moment.
_STORE_AGAIN = (0.2, 0.5, 1.0, 2.0, 4.0)


@dataclass(frozen=True, slots=True)
class Usable:
    """What a source is given, and the tokens among it that the connection must keep, if any."""

    credentials: Mapping[str, Any] = field(repr=False)
    tokens: Tokens | None = None


@dataclass(frozen=True, slots=True)
class _Account:
    """A user's account at a source, with the credentials that the user gave."""

    info: SourceInfo
    user_id: str
    own: Mapping[str, Any] = field(repr=False)

    @property
    def key(self) -> tuple[str, str]:
        return self.user_id, self.info.name


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenKeeper:
    """Keeps the tokens of connections usable.

    A renewal holds a connection for the length of a request; `patient` has a pool for that.
    `http` may reach the operator's token endpoints; `guarded` is for those that users name.
    """

    engine: AsyncEngine
    patient: AsyncEngine
    vault: Vault
    http: HttpClient
    guarded: HttpClient
    service: TokenService | None = None
    now: Callable[[], datetime] = clock.utc_now
    _renewing: WeakValueDictionary[tuple[str, str], asyncio.Lock] = field(
        default_factory=WeakValueDictionary
    )

    def is_central(self, info: SourceInfo, own: Mapping[str, Any]) -> bool:
        """Whether the central token service is the one to ask."""
        return self.service is not None and not own and takes_tokens(info)

    def is_renewable(self, info: SourceInfo, own: Mapping[str, Any]) -> bool:
        """Whether an expired token is no end."""
        return self.is_central(info, own) or oauth.can_renew(info.oauth, own)

    async def begin(
        self, info: SourceInfo, user_id: str, own: Mapping[str, Any], *, renew: bool = False
    ) -> Usable:
        """Usable credentials for an account that is not connected yet; stores nothing.

        With `renew`, a token that is there is not good any more. Raises a `SourceFailure`.
        """
        lacking = renew or not own.get(token_name(info))
        if not self.is_renewable(info, own) or not (self.is_central(info, own) or lacking):
            return Usable(own)
        tokens = await self._ask(_Account(info, user_id, own), own)
        return Usable({**own, **tokens.values}, tokens)

    async def current(self, info: SourceInfo, row: Row[Any]) -> Mapping[str, Any]:
        """Credentials of a connection that are good now. Raises a `SourceFailure`."""
        account = _Account(info, row.user_id, self.vault.open_credentials(row))
        if not self.is_renewable(info, account.own):
            return account.own
        async with self.engine.connect() as connection:
            kept = await store.get_tokens(connection, row.user_id, row.source)
        tokens = self._opened(account, kept)
        if tokens and self._lasts(kept):
            return {**account.own, **tokens}
        if not tokens and account.own.get(token_name(info)):
            return account.own  # never renewed, and nobody told when it ends
        return await self._renewed(account, used=None)

    async def renewed(
        self, info: SourceInfo, row: Row[Any], used: Mapping[str, Any]
    ) -> Mapping[str, Any] | None:
        """Other credentials than those that were `used` and refused; None where there are none.

        Raises a `SourceFailure` where the renewal failed.
        """
        account = _Account(info, row.user_id, self.vault.open_credentials(row))
        if not self.is_renewable(info, account.own):
            return None
        return await self._renewed(account, used=used.get(token_name(info)))

    def seal(self, info: SourceInfo, user_id: str, own: Mapping[str, Any], tokens: Tokens) -> bytes:
        """What is kept of tokens, for the row of this connection."""
        return self.vault.seal_tokens(
            user_id, info.name, {"of": _digest(own), "values": dict(tokens.values)}
        )

    def good_until(self, tokens: Tokens, *, central: bool) -> datetime | None:
        """From when on others are asked for; None: when these are refused."""
        now = self.now()
        if tokens.expires_at is None:
            return now + LONGEST_KEPT if central else None
        return tokens.expires_at - min(MARGIN, (tokens.expires_at - now) / 2)

    async def _renewed(self, account: _Account, *, used: Any) -> Mapping[str, Any]:
        name = token_name(account.info)
        tokens: Tokens | None = None
        seen = 0
        # One asks the database in the name of all in this process.
        async with self._renewing.setdefault(account.key, asyncio.Lock()):
            async with self.engine.begin() as connection:
                await store.make_row(connection, *account.key)
            try:
                async with self.patient.begin() as connection:
                    kept = await store.lock_tokens(
                        connection, *account.key, at_most=2 * RENEWAL_TIMEOUT
                    )
                    if kept is None:
                        raise NoPlatformAuth("The account is no longer connected.")
                    seen = kept.version
                    known = self._opened(account, kept)
                    there = known.get(name)
                    if there and there != used and self._lasts(kept):
                        return {**account.own, **known}  # somebody else was first
                    newest = {**account.own, **known}
                    tokens = await self._ask(account, newest)
                    tokens = replace(tokens, values={**known, **tokens.values})
                    if tokens.values[name] == used:
                        raise TokenExpired("The token was refused, and there is no other.")
                    await self._store(connection, account, tokens, seen)
            except Exception as error:
                if tokens is None or not (is_unavailable(error) or is_timeout(error)):
                    raise
                await self._store_again(account, tokens, seen)
        return {**account.own, **tokens.values}

    async def _ask(self, account: _Account, newest: Mapping[str, Any]) -> Tokens:
        info = account.info
        central = self.is_central(info, account.own)
        how = "central" if central else "refresh"
        try:
            async with asyncio.timeout(RENEWAL_TIMEOUT.total_seconds()):
                if central:
                    assert self.service is not None  # noqa: S101 -- `is_central` looked
                    tokens = await self.service.get_tokens(
                        info.name, account.user_id, token_name=token_name(info), now=self.now()
                    )
                else:
                    assert info.oauth is not None  # noqa: S101 -- `can_renew` looked
                    http = self.guarded if info.oauth.token_url is None else self.http
                    tokens = await oauth.renew(http, info.oauth, newest, now=self.now())
        except TimeoutError:
            raise PlatformError("The token could not be renewed in time.", reason="slow") from None
        except SourceFailure as failure:
            RENEWALS.labels(info.name, f"{how}_failed").inc()
            log.warning("access_not_renewed", source=info.name, how=how, why=failure.code)
            raise
        RENEWALS.labels(info.name, how).inc()
        log.info("access_renewed", source=info.name, how=how)
        return tokens

    async def _store(
        self, connection: AsyncConnection, account: _Account, tokens: Tokens, seen: int
    ) -> None:
        info, own = account.info, account.own
        await store.update_tokens(
            connection,
            *account.key,
            sealed=self.seal(info, account.user_id, own, tokens),
            good_until=self.good_until(tokens, central=self.is_central(info, own)),
            seen=seen,
        )

    async def _store_again(self, account: _Account, tokens: Tokens, seen: int) -> None:
        """Stores a renewed pair that the database did not take, or took without saying so."""
        for pause in (*_STORE_AGAIN, None):
            try:
                async with self.engine.begin() as connection:
                    await self._store(connection, account, tokens, seen)
            except Exception as error:
                if pause is None or not (is_unavailable(error) or is_timeout(error)):
                    raise
                await asyncio.sleep(pause)
            else:
                return

    def _opened(self, account: _Account, kept: Row[Any] | None) -> Mapping[str, Any]:
        """Kept tokens, unless they are of credentials that the user has replaced since."""
        if kept is None:
            return {}
        opened = self.vault.open_tokens(*account.key, kept.tokens)
        values: Mapping[str, Any] = opened.get("values", {})
        return values if opened.get("of") == _digest(account.own) else {}

    def _lasts(self, kept: Row[Any] | None) -> bool:
        if kept is None:
            return False
        return kept.good_until is None or kept.good_until > self.now()


def token_name(info: SourceInfo) -> str:
    """The name of the access token among a source's credentials."""
    if info.oauth is not None:
        return info.oauth.token_name
    return "token" if "token" in info.credentials else "access_token"


def for_source(info: SourceInfo, credentials: Mapping[str, Any]) -> Mapping[str, Any]:
    """Credentials as the source knows them: what only a renewal needs is not its business."""
    return {
        name: value
        for name, value in credentials.items()
        if name in info.credentials or info.oauth is None or name not in oauth.RENEWAL
    }


def takes_tokens(info: SourceInfo) -> bool:
    """Whether a source takes access tokens, which the central token service can hand out."""
    # A flow without an address of its own is one of many providers: nobody else knows which.
    named = info.oauth is not None and info.oauth.token_url is not None
    return named or info.token_type == "OAuth2"  # noqa: S105 -- a kind of credential


def _digest(own: Mapping[str, Any]) -> str:
    return hashlib.sha256(orjson.dumps(own, option=orjson.OPT_SORT_KEYS)).hexdigest()[:32]
