"""What is kept of a mail folder between two reads: its cursor."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from distill_grpc.sources.base import Json

_MAX_KNOWN = 2_000  # messages; of older ones nobody notices that they are gone


@dataclasses.dataclass(slots=True)
class FolderState:
    """Numbers are the server's (RFC 9051, 2.3.1); messages are known by UID and identity."""

    owner: str = ""  # whose folder it is, as `owner_of` says it
    uidvalidity: int = 0  # 0: the folder was never read, or the server numbers nothing for good
    uidnext: int = 0  # as it was when the last read began
    exists: int = 0
    last_uid: int = 0  # every message up to here was looked at
    floor: int = 0  # epoch seconds: older messages were not wanted; 0: not known
    older_uid: int = 0  # while older ones are fetched later: those up to here were looked at
    checked: str = ""  # the UTC day of the last comparison of everything young
    known: dict[int, str] = dataclasses.field(default_factory=dict)  # "": not read for good
    old: frozenset[str] = frozenset()  # identities from before the folder was numbered anew
    stumbled_at: int = 0  # the message at which the last read broke off …
    stumbled: int = 0  # … and how often it did
    alone_until: int = 0  # messages up to here are fetched one by one

    def renumbered(self, uidvalidity: int) -> FolderState:
        """All UIDs are void (RFC 9051, 2.3.1.1): the window is read again, and recognised."""
        old = self.old | {identity for identity in self.known.values() if identity}
        return FolderState(owner=self.owner, floor=self.floor, uidvalidity=uidvalidity, old=old)

    def learn(self, uid: int, identity: str) -> None:
        """A message was looked at."""
        self.known[uid] = identity
        if self.older_uid < uid <= self.last_uid:
            self.older_uid = uid
        self.last_uid = max(self.last_uid, uid)
        if uid == self.stumbled_at:
            self.stumbled_at = self.stumbled = 0

    def stumble(self, uids: Sequence[int]) -> None:
        """The connection ended at one of these messages, which were fetched together."""
        self.stumbled = self.stumbled + 1 if uids[0] == self.stumbled_at else int(len(uids) == 1)
        self.stumbled_at = uids[0]
        self.alone_until = max(self.alone_until, uids[-1])

    def lowest_known(self) -> int:
        """Below this UID nothing is known any more; 0 where everything is."""
        return min(self.known) if len(self.known) >= _MAX_KNOWN else 0

    def to_json(self) -> Json:
        """The cursor, without what is empty."""
        self.known = dict(sorted(self.known.items())[-_MAX_KNOWN:])
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        values["known"] = {str(uid): identity for uid, identity in self.known.items()}
        values["old"] = sorted(self.old)[-_MAX_KNOWN:]
        return {name: value for name, value in values.items() if value}

    @classmethod
    def of(cls, owner: str, cursor: Json) -> FolderState:
        """The state out of an account's cursor; another account's folder says nothing of this one."""
        state = cls.from_json(cursor)
        return state if state.owner == owner else cls(owner)

    @classmethod
    def from_json(cls, cursor: Json) -> FolderState:
        """The state out of a cursor; what cannot be understood counts as unknown."""
        given: Mapping[str, Any] = cursor if isinstance(cursor, Mapping) else {}
        state = cls(old=frozenset(_texts(given.get("old"))))
        for field in dataclasses.fields(cls):
            value = given.get(field.name)
            if isinstance(value, int) and not isinstance(value, bool) and field.type == "int":
                setattr(state, field.name, value)
        checked, known = given.get("checked"), given.get("known")
        state.checked = checked if isinstance(checked, str) else ""
        owner = given.get("owner")
        state.owner = owner if isinstance(owner, str) else ""
        pairs = known.items() if isinstance(known, Mapping) else ()
        state.known = {int(u): i for u, i in pairs if str(u).isdigit() and isinstance(i, str)}
        return state

    def identities(self) -> frozenset[str]:
        """The messages that are known."""
        return frozenset(filter(None, self.known.values()))


def owner_of(credentials: Mapping[str, Json]) -> str:
    """What stands for a mailbox where neither its server nor its user may be seen.

    Names of servers have no case, those of users may have one (RFC 5321, 2.4).
    """
    whose = f"{str(credentials['host']).lower().rstrip('.')} {credentials['username']}"
    return hashlib.sha256(f"email {whose}".encode("utf-8", "replace")).hexdigest()[:16]


def _texts(value: Json) -> list[str]:
    return [entry for entry in value if isinstance(entry, str)] if isinstance(value, list) else []
