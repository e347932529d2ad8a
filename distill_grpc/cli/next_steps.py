"""What a person can do next about a connection that does not do well, in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from distill_grpc.cli.showing import when

# By the error's code; `{again}` is the command that connects the account again.
_AFTER_ERROR = {
    "no_platform_auth": "the platform refuses the credentials; make new ones there, then `{again}`",
    "token_expired": "the token has expired and cannot be renewed; `{again}` takes a new one",
    "rate_limited": "nothing to do: it is read again {later}",
    "platform_error": "the platform is at fault; it is tried again by itself",
    "internal_error": "the service's log has the details",
}


def next_steps(connection: Mapping[str, Any]) -> Iterator[str]:
    """One line for each thing that somebody should see to."""
    source = connection["source"]
    again = f"distill connect {source}"
    error = connection.get("error")
    if error in _AFTER_ERROR:
        later = f"after {when(connection.get('retry_after'))}"
        if not connection.get("retry_after"):
            later = "later"
        yield _AFTER_ERROR[error].format(again=again, later=later)
    missing = connection.get("missing_scopes") or []
    if missing:
        yield f"the token lacks {', '.join(map(str, missing))}; some of it is not read"
    if "credentials_expire" in (connection.get("warnings") or []):
        ends = when(connection.get("expires_at"))
        yield f"the credentials end on {ends}; `{again}` takes new ones"
    if any(part.get("gap_until") for part in connection.get("parts") or []):
        yield "something is missing that the platform no longer gives; newer items are complete"
