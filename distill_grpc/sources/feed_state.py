"""What is kept of a feed between two reads: its cursor."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from distill_grpc.sources.base import Json
from distill_grpc.sources.feed_items import FeedMemory
from distill_grpc.sources.http import Redirect

_PERMANENT = frozenset({301, 308})
_TIMES_BEFORE_MOVED = 3
_MAX_VALIDATOR = 1_000  # characters; longer ones are not sent back


@dataclasses.dataclass(frozen=True, slots=True)
class FeedState:
    """Everything known of a feed; validators and hash are those of the last body that was parsed."""

    address: str = ""  # where it is asked for; empty: at the address as given
    etag: str = ""
    last_modified: str = ""
    body_hash: str = ""
    since: int | None = None  # epoch seconds; older entries of that body were left out
    pause: int = 0  # seconds between reads that the feed itself asks for
    moved_to: str = ""  # where permanent redirects led the last times
    moved_times: int = 0
    memory: FeedMemory = dataclasses.field(default_factory=FeedMemory)

    def conditions(self) -> dict[str, str]:
        """The headers that ask for changes only (RFC 9110, 13.1)."""
        headers = {"If-None-Match": self.etag, "If-Modified-Since": self.last_modified}
        return {name: value for name, value in headers.items() if value}

    def with_validators(self, headers: Mapping[str, str]) -> FeedState:
        """With the validators of an answer."""
        etag, modified = headers.get("ETag", ""), headers.get("Last-Modified", "")
        return dataclasses.replace(
            self,
            etag=etag if len(etag) <= _MAX_VALIDATOR else "",
            last_modified=modified if len(modified) <= _MAX_VALIDATOR else "",
        )

    def refreshed(self, headers: Mapping[str, str]) -> FeedState:
        """With the validators that a 304 names; those that it does not name stay (RFC 9111, 4.3.4)."""
        named = {"ETag": self.etag, "Last-Modified": self.last_modified}
        return self.with_validators({k: headers.get(k) or v for k, v in named.items()})

    def after_redirects(self, redirects: Sequence[Redirect]) -> FeedState:
        """With the new address, once permanent redirects led to it three times in a row."""
        target = ""
        for redirect in redirects:
            if redirect.status not in _PERMANENT:
                break
            target = redirect.url
        times = self.moved_times + 1 if target and target == self.moved_to else int(bool(target))
        if times >= _TIMES_BEFORE_MOVED:
            return dataclasses.replace(self, address=target, moved_to="", moved_times=0)
        return dataclasses.replace(self, moved_to=target, moved_times=times)

    def at(self, address: str) -> FeedState:
        """For asking elsewhere: what was remembered of the entries stays, the validators go."""
        return FeedState(address=address, memory=self.memory)

    def to_json(self) -> Json:
        """The cursor, without what is empty."""
        values = dataclasses.asdict(self)
        values |= values.pop("memory")
        return {name: value for name, value in values.items() if value not in ("", None, (), {}, 0)}

    @classmethod
    def from_json(cls, cursor: Json) -> FeedState:
        """The state out of a cursor; what cannot be understood counts as unknown."""
        if not isinstance(cursor, Mapping):
            return cls()
        memory = _known_fields(FeedMemory, cursor)
        return cls(**_known_fields(cls, cursor), memory=FeedMemory(**memory))


def _known_fields(kind: Any, cursor: Mapping[str, Any]) -> dict[str, Any]:
    values = {}
    for name, empty in _EMPTY[kind].items():
        value = cursor.get(name)
        if isinstance(empty, tuple) and isinstance(value, list):
            value = tuple(key for key in value if isinstance(key, str))
        if isinstance(empty, dict) and isinstance(value, dict):
            value = {k: v for k, v in value.items() if isinstance(v, int)}
        expected = int if empty is None else type(empty)
        if isinstance(value, expected) and not isinstance(value, bool):
            values[name] = value
    return values


_EMPTY: Mapping[Any, Mapping[str, Any]] = {
    FeedMemory: {"known": (), "shared": (), "first_seen": {}, "newest": None},
    FeedState: {
        "address": "",
        "etag": "",
        "last_modified": "",
        "body_hash": "",
        "since": None,
        "pause": 0,
        "moved_to": "",
        "moved_times": 0,
    },
}
