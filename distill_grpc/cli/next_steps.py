"""What a person can do next about a connection that does not do well, in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from distill_grpc.cli.known_sources import with_credentials
from distill_grpc.cli.showing import count, when

# By the error's code, where the account is tried again by itself; `{new}` are the commands that take
# new credentials.
_TRIED_AGAIN = {
    "no_platform_auth": "the platform refuses access; it is tried again by itself; if it stays so, {new} "
    "takes new credentials in the place of all it has",
    "token_expired": "the token has expired; {new} takes a new one in the place of all its credentials",
    "rate_limited": "nothing to do: it is read again {later}",
    "platform_error": "the platform is at fault; it is tried again by itself",
    "internal_error": "the service's log has the details",
}
# And where it waits for its user.
_WAITS = {
    "no_platform_auth": "the platform refuses the credentials; make new ones there, then {new}, which "
    "takes the place of all it has",
    "token_expired": "the token has expired and cannot be renewed; {new} takes a new one in the place of "
    "all its credentials",
}


def next_steps(connection: Mapping[str, Any]) -> Iterator[str]:
    """One line for each thing that somebody should see to."""
    source = connection["source"]
    new = with_credentials(source)
    ended = [p for p in connection.get("parts") or [] if p.get("state") == "action_required"]
    if ended:
        yield _about_ended(source, ended)
    if connection.get("error") not in {None, *(part.get("error") for part in ended)}:
        yield from _after_error(connection, waits=not ended)
    missing = connection.get("missing_scopes") or []
    if missing:
        yield f"the token lacks {', '.join(map(str, missing))}; some of it is not read"
    if "credentials_expire" in (connection.get("warnings") or []):
        ends = when(connection.get("expires_at"))
        yield f"the credentials end on {ends}; {new} takes new ones in the place of all it has"
    if any(part.get("gap_until") for part in connection.get("parts") or []):
        yield "something is missing that the platform no longer gives; newer items are complete"


def _about_ended(source: str, ended: Sequence[Mapping[str, Any]]) -> str:
    name = ended[0]["name"]
    told = name if len(ended) == 1 else f"{name} and {count(len(ended) - 1, 'more part')}"
    told += " will not be read again by itself; "
    if source == "rss":
        told += f"`distill disconnect rss --feed {name}` takes it out; "
    return told + f"`distill connect {source}` tries once more"


def _after_error(connection: Mapping[str, Any], *, waits: bool) -> Iterator[str]:
    """`waits`: an account that needs its user does so as a whole, not for parts of it."""
    source, error = connection["source"], str(connection["error"])
    if source == "rss" and error == "no_platform_auth":
        yield "the feed's server refuses access, and feeds take no credentials; it is tried again by itself"
        return
    if waits and connection["state"] == "action_required":
        step = _WAITS.get(error)
        if step is None or connection.get("has_credentials") is False:
            step = "nothing is read until you have seen to what it says; then `distill connect {source}`"
    else:
        step = _TRIED_AGAIN.get(error)
    if step is not None:
        retry = connection.get("retry_after")
        later = f"after {when(retry)}" if retry else "later"
        yield step.format(source=source, new=with_credentials(source), later=later)
