"""What `/capabilities` does not say of the sources that come with Distill, and a person has to know.

Nothing here is needed: a source that is not known here is connected by its options' full names.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What is known of one source."""

    # Sets of credentials that are enough to connect it; a person is asked for the first one first.
    credentials: Sequence[Sequence[str]] = ()
    # Settings without which no credentials are needed.
    only_with: str = ""
    lists: Mapping[str, str] = field(default_factory=dict)  # settings that are lists → the singular
    # What is read where a list was never given.
    defaults: Mapping[str, Sequence[str]] = field(default_factory=dict)


SOURCES: Mapping[str, Known] = {
    "rss": Known(lists={"feeds": "feed"}),
    "github": Known(
        credentials=(("token",),),
        lists={"include": "include", "repositories": "repository"},
        defaults={"include": ("notifications", "received_events")},
    ),
    "youtube": Known(credentials=(("access_token",), ("api_key",)), lists={"channels": "channel"}),
    "x": Known(
        credentials=(("access_token",),),
        lists={"timelines": "timeline"},
        defaults={"timelines": ("home", "mentions")},
    ),
    "email": Known(
        credentials=(("host", "username", "password"),),
        lists={"folders": "folder"},
        defaults={"folders": ("INBOX",)},
    ),
    "creators": Known(
        credentials=(("access_token",),), only_with="url", lists={"creators": "creator"}
    ),
}
# Credentials that are no secrets.
OPEN = {"host", "port", "username", "client_id", "token_url"}


def known(source: str) -> Known:
    """What is known of a source; nothing of one that does not come with Distill."""
    return SOURCES.get(source, Known())


def with_credentials(source: str) -> str:
    """The commands that give a source credentials anew, such as `distill connect x --access-token -`."""
    commands = (" ".join(_option(name) for name in names) for names in known(source).credentials)
    return " or ".join(f"`distill connect {source} {options}`" for options in commands) or (
        f"`distill connect {source} --credential NAME`"
    )


def reading(source: str, settings: Mapping[str, Any]) -> list[str]:
    """What the lists among a connection's settings have it read, a line for each."""
    told = []
    for name in known(source).lists:
        if name == "feeds" or not isinstance(there := settings.get(name), list):
            continue
        line = f"now reading {name}: {', '.join(map(str, there))}"
        if name == "creators":
            line += "; not the others whom you follow"
        if name == "channels" and settings.get("subscriptions"):
            line += "; and the subscriptions"
        elif name == "channels":
            line += "; not the subscriptions (--subscriptions true reads them too)"
        told.append(line)
    return told


def _option(name: str) -> str:
    option = f"--{name.replace('_', '-')}"
    return f"{option} {name.upper()}" if name in OPEN else f"{option} -"
