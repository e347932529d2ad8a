"""The two ways in which a token is not accepted."""

from __future__ import annotations


class InvalidToken(Exception):  # noqa: N818 -- an answer to the caller, not a fault of the code
    """The token is not accepted (401).

    `reason` is a short machine word for the log and is never shown to the caller.
    """

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__("Invalid or expired authentication token")


class KeysUnavailable(Exception):  # noqa: N818 -- names what is away, as `unavailable` does
    """The issuer's keys cannot be had and none are cached: it is not the token's fault (503)."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__("The token issuer's keys are temporarily unavailable")
