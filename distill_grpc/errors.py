"""The one error that the core raises, and the five failures of a source.

The catalogue (gRPC code, HTTP status, text) stands on `ErrorReason` in the protos; this module gives
it to Python code. Rules raise, `rpc/error_translation.py` turns what was raised into an answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from distill_grpc.proto import contract
from distill_grpc.proto.distill.v1.errors_pb2 import ErrorReason

__all__ = ["DistillError", "ErrorReason", "invalid_argument"]


class DistillError(Exception):
    """An error that the caller is told about.

    `message` replaces the catalogue's text; `details` are public facts by name (for
    `INVALID_ARGUMENT`: field → rule); `retry_after` is the instant from which trying again helps.
    """

    def __init__(
        self,
        reason: int,
        message: str | None = None,
        *,
        details: Mapping[str, str] | None = None,
        retry_after: datetime | None = None,
        action_url: str | None = None,
    ) -> None:
        self.reason = reason
        self.rules = contract.error_rules(reason)
        self.message = message or str(self.rules.message)
        self.details = dict(details or {})
        self.retry_after = retry_after
        self.action_url = action_url
        super().__init__(self.message)

    @property
    def code(self) -> str:
        """The code as REST prints it, such as `not_watching`."""
        return contract.error_code(self.reason)


def invalid_argument(details: Mapping[str, str]) -> DistillError:
    """The error for input that breaks rules: `details` maps each field to its rule."""
    text = "; ".join(f"{field}: {rule}" for field, rule in details.items())
    return DistillError(ErrorReason.INVALID_ARGUMENT, f"Invalid request: {text}", details=details)
