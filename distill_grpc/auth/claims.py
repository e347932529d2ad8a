"""What the claims of a token must say, once its signature has been found good (RFC 7519; seed 002)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from distill_grpc.auth.errors import InvalidToken

MAX_USER_ID = 255
MAX_EMAIL = 320
_LATEST = 253_402_300_799  # the last second of the year 9999, where datetime ends


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls, as the token says."""

    user_id: str
    email: str | None
    credits_available: bool
    issuer: str  # the token's `iss`; empty where it has none and none is required
    local: bool  # signed by this instance's own issuer
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Validity:
    """The seconds since the epoch between which a token holds, without leeway."""

    starts: float
    ends: float

    def check(self, now: float, leeway: float) -> None:
        """Raises `InvalidToken` where `now` lies outside."""
        if now >= self.ends + leeway:
            raise InvalidToken("expired")
        if now < self.starts - leeway:
            raise InvalidToken("not_yet_valid")


def validity(claims: Mapping[str, Any]) -> Validity:
    """`exp` and `iat`, which are required, and `nbf`. Raises `InvalidToken`."""
    issued, ends = _instant(claims, "iat"), _instant(claims, "exp")
    starts = max(issued, _instant(claims, "nbf")) if "nbf" in claims else issued
    return Validity(starts=starts, ends=ends)


def check_audience(claims: Mapping[str, Any], audience: str) -> None:
    """Raises `InvalidToken` unless `aud` is, or as a list of strings contains, `audience`."""
    told = claims.get("aud")
    listed = [told] if isinstance(told, str) else told
    if not isinstance(listed, list) or not all(isinstance(each, str) for each in listed):
        raise InvalidToken("audience")
    if audience not in listed:
        raise InvalidToken("audience")


def check_party(claims: Mapping[str, Any], parties: frozenset[str]) -> None:
    """Raises `InvalidToken` unless `azp` is one of `parties`; a missing one is foreign too."""
    party = claims.get("azp")
    if not isinstance(party, str) or party not in parties:
        raise InvalidToken("authorized_party")


def check_session(claims: Mapping[str, Any]) -> None:
    """Raises `InvalidToken` for a Clerk session that still has tasks to finish."""
    if claims.get("sts") == "pending":
        raise InvalidToken("session_pending")


def user_id(claims: Mapping[str, Any], *, subject_is_user: bool) -> str:
    """The caller's identity: `user_id`, or where there is none, `sub`; never two different ones."""
    if not subject_is_user:
        return _identity(claims, "user_id")
    found = {_identity(claims, name) for name in ("user_id", "sub") if name in claims}
    if len(found) != 1:
        raise InvalidToken("user_id" if not found else "user_id_is_not_sub")
    return found.pop()


def email(claims: Mapping[str, Any]) -> str | None:
    """`email`, which must be there, but may be null or empty. Raises `InvalidToken`."""
    if "email" not in claims:
        raise InvalidToken("email_missing")
    address = claims["email"]
    if not is_email(address):
        raise InvalidToken("email")
    return address or None


def credits_available(claims: Mapping[str, Any]) -> bool:
    """Whether the token says literally `true`; anything else is no."""
    return claims.get("credits_available") is True


def instant(seconds: float) -> datetime:
    """Seconds since the epoch as an instant in UTC."""
    return datetime.fromtimestamp(seconds, UTC)


def is_identity(value: object) -> bool:
    """Whether this can be a user id: 1 to 255 printable characters, no space around them."""
    if not isinstance(value, str) or not 1 <= len(value) <= MAX_USER_ID:
        return False
    return value.isprintable() and value == value.strip()


def is_email(value: object) -> bool:
    """Whether this can stand in `email`: null, or up to 320 printable characters."""
    if value is None:
        return True
    return isinstance(value, str) and len(value) <= MAX_EMAIL and value.isprintable()


def _identity(claims: Mapping[str, Any], name: str) -> str:
    value = claims.get(name)
    if not is_identity(value):
        raise InvalidToken(name)
    return str(value)


def _instant(claims: Mapping[str, Any], name: str) -> float:
    value = claims.get(name)
    # bool is an int to Python, and JSON's 1e999 is infinity; the range leaves both infinities out.
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= _LATEST:
        raise InvalidToken(name)
    return value
