"""What the refusals of mail servers mean: RFC 5530's words, and what servers say without them."""

from __future__ import annotations

import imaplib
import re
import ssl
from datetime import datetime, timedelta

from distill_grpc.sources.base import (
    NoPlatformAuth,
    PlatformError,
    RateLimited,
    SourceFailure,
    TokenExpired,
)
from distill_grpc.sources.http_failures import MESSAGES

_CODE = re.compile(r"\[([A-Z-]+)")
_LIMITS = re.compile(r"too many|simultaneous|bandwidth|rate limit|throttl", re.IGNORECASE)
_PASSING = re.compile(r"temporar|unavailable|internal error|system error|try again", re.IGNORECASE)
_NO_FOLDER = re.compile(r"doesn't exist|does not exist|unknown mailbox|no such", re.IGNORECASE)
_REFUSED_TOKEN = re.compile(r'"status"\s*:\s*"40[01]"')
_PAUSE = timedelta(minutes=15)  # servers name no instant

_AUTH = frozenset(
    {"AUTHENTICATIONFAILED", "AUTHORIZATIONFAILED", "PRIVACYREQUIRED", "CONTACTADMIN"}
)
_THEIRS = frozenset({"UNAVAILABLE", "SERVERBUG", "INUSE", "CORRUPTION", "ALERT"})
_LIMIT_CODES = frozenset({"LIMIT", "OVERQUOTA"})


def failure_of(error: BaseException, now: datetime, *, signing_in: bool) -> SourceFailure:
    """The failure behind what `mail_client` raises; a server's own words stand in no message.

    They may name a port's or a private host's state, and may repeat what was sent.
    """
    if isinstance(error, SourceFailure):
        return error
    if isinstance(error, TimeoutError):
        return _failure("timeout", "The mail server did not answer in time.")
    if isinstance(error, ssl.SSLError):
        return _failure("tls", MESSAGES["tls"].replace("The server", "The mail server"))
    if isinstance(error, imaplib.IMAP4.error):
        return _refusal(error, now, signing_in=signing_in)
    if isinstance(error, OSError):
        return _failure("connect", "The mail server could not be reached.")
    return _failure("protocol", "The mail server broke the rules of IMAP.")


def _refusal(error: imaplib.IMAP4.error, now: datetime, *, signing_in: bool) -> SourceFailure:
    said = str(error)
    match = _CODE.search(said)
    code = match[1] if match else ""
    if code in _LIMIT_CODES or (not code and _LIMITS.search(said)):
        return RateLimited(
            "The mail server asks to wait.", reason="too_many_requests", retry_at=now + _PAUSE
        )
    if code in _THEIRS or isinstance(error, imaplib.IMAP4.abort):
        return _failure("broken_off", "The mail server broke off.")
    if signing_in or code in _AUTH:
        return _refused_sign_in(said, code)
    return _refused_folder(said, code)


def _refused_sign_in(said: str, code: str) -> SourceFailure:
    if code == "EXPIRED" or _REFUSED_TOKEN.search(said):
        return TokenExpired("The mail server says that the access has expired.", reason="expired")
    if code not in _AUTH and _PASSING.search(said):
        return _failure("unavailable", "The mail server cannot check the password now.")
    # Not tried again by itself: a server may lock an account after a few wrong passwords.
    return NoPlatformAuth(
        "The mail server refuses the user name or the password.", reason="refused", permanent=True
    )


def _refused_folder(said: str, code: str) -> SourceFailure:
    if code == "NOPERM":
        return NoPlatformAuth("The mail server refuses access to this folder.", reason="no_right")
    if code == "NONEXISTENT" or _NO_FOLDER.search(said):
        return PlatformError(
            "There is no such folder in the account.", reason="gone", permanent=True
        )
    return _failure("refused", "The mail server refuses the request.")


def _failure(reason: str, message: str) -> PlatformError:
    return PlatformError(message, reason=reason)
