"""Verifies bearer tokens: the only place where a request becomes a caller."""

from __future__ import annotations

import hashlib
import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from jwt.algorithms import RSAAlgorithm

from distill_grpc.auth import claims, compact
from distill_grpc.auth.claims import Caller, Validity
from distill_grpc.auth.compact import SignedToken
from distill_grpc.auth.errors import InvalidToken

_RS256 = RSAAlgorithm(RSAAlgorithm.SHA256)


class KeySource(Protocol):
    """Where an issuer's public keys come from."""

    async def key(self, kid: str) -> RSAPublicKey | None:
        """The key of that id, or None. Raises `KeysUnavailable` where nobody can tell.

        As long as a key is trusted and unchanged, the same object is returned.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustedIssuer:
    """An issuer whose tokens are accepted, and what they must say. The algorithm is RS256 for all."""

    keys: KeySource
    iss: str | None  # the exact `iss`; None: any that no other trusted issuer claims, or none
    audience: str | None = None  # must be in `aud`; None: not checked
    authorized_parties: frozenset[str] = frozenset()  # `azp` must be one; empty: not checked
    subject_is_user: bool = True  # `sub` names the user: stands in for `user_id`, or equals it
    local: bool = False


@dataclass(frozen=True, slots=True)
class _Verified:
    caller: Caller
    validity: Validity
    issuer: TrustedIssuer
    kid: str
    key: RSAPublicKey


class TokenVerifier:
    """Verifies tokens of several issuers; remembers those that were good until they expire."""

    def __init__(
        self, issuers: Sequence[TrustedIssuer], *, leeway: float = 5.0, cache_size: int = 10_000
    ) -> None:
        """Takes issuers that differ in `iss`; ValueError where two claim the same.

        `leeway` is the clock difference to bear, in seconds; `cache_size` says how many good tokens
        are remembered, so that their signatures are not computed again.
        """
        self._issuers = {issuer.iss: issuer for issuer in issuers}
        if len(self._issuers) != len(issuers):
            raise ValueError("two trusted issuers claim the same iss")
        self._leeway = leeway
        self._cache_size = cache_size
        self._verified: OrderedDict[bytes, _Verified] = OrderedDict()

    async def verify(self, authorization: str | None, *, now: float | None = None) -> Caller:
        """The caller of a request with this `Authorization` value, such as `Bearer eyJ…`.

        `now` is in seconds since the epoch. Raises `InvalidToken`, or `KeysUnavailable` where the
        issuer's keys cannot be had.
        """
        moment = time.time() if now is None else now
        token = compact.bearer_token(authorization)
        digest = hashlib.sha256(token.encode("ascii")).digest()
        known = await self._recall(digest)
        if known is None:
            known = await self._verify(compact.read(token), moment)
            self._remember(digest, known)
        known.validity.check(moment, self._leeway)
        return known.caller

    async def _verify(self, token: SignedToken, now: float) -> _Verified:
        issuer = self._issuer_of(token)
        key = await issuer.keys.key(token.kid)
        if key is None:
            raise InvalidToken("key_unknown")
        if not _RS256.verify(token.signing_input, key, token.signature):
            raise InvalidToken("signature")
        validity = claims.validity(token.claims)
        validity.check(now, self._leeway)
        return _Verified(_caller(token, issuer, validity), validity, issuer, token.kid, key)

    def _issuer_of(self, token: SignedToken) -> TrustedIssuer:
        """The issuer that the token names. Its keys alone decide; no other's are tried."""
        iss = token.claims.get("iss")
        if "iss" in token.claims and not isinstance(iss, str):
            raise InvalidToken("issuer")
        issuer = self._issuers.get(iss) or self._issuers.get(None)
        if issuer is None:
            raise InvalidToken("issuer")
        return issuer

    async def _recall(self, digest: bytes) -> _Verified | None:
        known = self._verified.get(digest)
        if known is None:
            return None
        # A key that was withdrawn takes the tokens with it, remembered or not.
        if await known.issuer.keys.key(known.kid) is not known.key:
            self._verified.pop(digest, None)
            return None
        if digest in self._verified:
            self._verified.move_to_end(digest)
        return known

    def _remember(self, digest: bytes, verified: _Verified) -> None:
        self._verified[digest] = verified
        while len(self._verified) > self._cache_size:
            self._verified.popitem(last=False)


def _caller(token: SignedToken, issuer: TrustedIssuer, validity: Validity) -> Caller:
    told = token.claims
    if issuer.audience is not None:
        claims.check_audience(told, issuer.audience)
    if issuer.authorized_parties:
        claims.check_party(told, issuer.authorized_parties)
    claims.check_session(told)
    return Caller(
        user_id=claims.user_id(told, subject_is_user=issuer.subject_is_user),
        email=claims.email(told),
        credits_available=claims.credits_available(told),
        issuer=told.get("iss", ""),
        local=issuer.local,
        expires_at=claims.instant(validity.ends),
    )
