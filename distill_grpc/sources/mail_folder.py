"""Reads one folder: what came since the last time, what is gone, and what was overlooked.

New messages are those with a UID above the last one; `n:*` also names the last one itself, which is
dropped. Where older ones are wanted than before, those come with them. Once a day everything of the last
days is compared, because servers lose single messages on the way. Whatever is read is opened with
EXAMINE and fetched with PEEK: no message counts as seen by it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import structlog

from distill_grpc.sources.base import Item, Page, SourceFailure
from distill_grpc.sources.mail_items import (
    MAX_MESSAGE,
    arrived_at,
    identity,
    item_of,
    size_of,
)
from distill_grpc.sources.mail_session import COMMAND_SECONDS, Session
from distill_grpc.sources.mail_state import FolderState
from distill_grpc.sources.sandbox import Sandbox, SandboxFailure

_log = structlog.get_logger()

_META_AT_ONCE = 500  # messages whose sizes and dates are asked for at once
_AT_ONCE = 50  # messages of a page
_BYTES_AT_ONCE = 4 * 1024 * 1024
_SLOWEST = 100_000  # bytes a second, which a server must reach on the whole
_HEAD = 64 * 1024  # bytes read of a message that is too large
_COMPARED = timedelta(days=3)
_GIVEN_UP_AFTER = 2  # reads that broke off at the same message
_MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
_EMPTY: Mapping[str, Any] = {
    **dict.fromkeys(("subject", "from", "date", "message_id", "thread"), ""),
    **dict.fromkeys(("in_reply_to", "list_id", "text", "folded"), ""),
    "to": [],
    "attachments": [],
    "kind": "mail",
}


@dataclass(slots=True, kw_only=True)
class FolderRead:
    """One read of one folder; `elsewhere` are messages that other folders hold or have just given."""

    session: Session
    parser: Sandbox
    folder: str
    state: FolderState
    since: datetime
    now: datetime
    elsewhere: set[str]

    async def pages(self) -> AsyncIterator[Page]:
        """The pages, oldest messages first. Raises a `SourceFailure` where the folder fails."""
        box = await self.session.call(lambda client: client.examine(self.folder))
        validity = box.get("UIDVALIDITY", 0)
        if self.state.uidvalidity != validity or not validity:
            self.state = self.state.renumbered(validity)
        state = self.state
        today = self.now.date().isoformat()
        compared = state.checked == today
        todo = await self._new(box)
        if state.last_uid and int(self.since.timestamp()) < state.floor:
            todo = sorted({*todo, *await self._older()})
        if not compared and state.last_uid:
            todo = sorted({*todo, *await self._overlooked()})
        same = (state.exists, state.uidnext) == (box.get("EXISTS"), box.get("UIDNEXT"))
        gone = {} if same and compared else await self._gone()
        brought = False
        for some in _chunked(todo, _META_AT_ONCE):
            async for page in self._read(some):
                brought |= bool(page.items)
                yield page
                if page.failure is not None:
                    return
        state.uidnext, state.exists = box.get("UIDNEXT", 0), box.get("EXISTS", 0)
        state.last_uid = max([state.last_uid, state.uidnext - 1, *todo])
        state.checked, state.old, state.older_uid = today, frozenset(), 0
        since = int(self.since.timestamp())
        state.floor = min(state.floor or since, since)
        for uid in gone:
            state.known.pop(uid, None)
        still = set(state.known.values()) | self.elsewhere
        deleted = [id_ for id_ in dict.fromkeys(gone.values()) if id_ and id_ not in still]
        yield Page(
            part=self.folder,
            cursor=state.to_json(),
            title=self.folder,
            deleted=deleted,
            unchanged=not brought and not deleted,
        )

    async def _new(self, box: Mapping[str, int]) -> list[int]:
        first = self.state.last_uid + 1
        if not box.get("EXISTS", 1) or 0 < box.get("UIDNEXT", 0) <= first:
            return []
        young = _day(self.since - timedelta(days=1))  # dates have no zone here
        found = await self.session.call(lambda c: c.search(f"UID {first}:* SINCE {young}"))
        return [uid for uid in found if uid >= first]

    async def _older(self) -> list[int]:
        """Messages that were too old when the folder was read, and are wanted now."""
        state = self.state
        young = _day(self.since - timedelta(days=1))
        found = await self.session.call(lambda c: c.search(f"SINCE {young}"))
        return [u for u in found if state.older_uid < u <= state.last_uid and u not in state.known]

    async def _overlooked(self) -> list[int]:
        """Young messages below the last UID that were never looked at."""
        state = self.state
        young = _day(max(self.now - _COMPARED, self.since - timedelta(days=1)))
        found = await self.session.call(lambda c: c.search(f"SINCE {young}"))
        lowest = state.lowest_known()
        missed = [u for u in found if lowest < u <= state.last_uid and u not in state.known]
        if missed:
            _log.info("mail_overlooked", count=len(missed))
        return missed

    async def _gone(self) -> dict[int, str]:
        """Known messages that the folder no longer holds."""
        known = self.state.known
        if not known:
            return {}
        wanted = f"UID {min(known)}:{max(known)}"
        there = set(await self.session.call(lambda client: client.search(wanted)))
        return {uid: id_ for uid, id_ in known.items() if uid not in there}

    async def _read(self, uids: Sequence[int]) -> AsyncIterator[Page]:
        wanted = "(UID INTERNALDATE RFC822.SIZE{})"
        gmail = await self.session.call(lambda c: "X-GM-EXT-1" in c.client.capabilities)
        items = wanted.format(" X-GM-THRID" if gmail else "")
        told = await self.session.call(lambda client: client.fetch_items(uids, items))
        metas = {uid: meta for uid, (meta, _) in sorted(told.items())}
        young = {uid: meta for uid, meta in metas.items() if _is_young(meta, self.since)}
        for chunk in self._chunks(young):
            before = self.state.to_json()
            try:
                found = await self._items(chunk, young)
            except SourceFailure as failure:
                self.state = FolderState.from_json(before)
                self.state.stumble(chunk)
                yield Page(part=self.folder, cursor=self.state.to_json(), failure=failure)
                return
            yield Page(
                part=self.folder,
                items=found,
                cursor=self.state.to_json(),
                title=self.folder,
                last=False,
            )

    def _chunks(self, metas: Mapping[int, bytes]) -> Iterator[list[int]]:
        """Messages that are fetched together; one by one after a read that broke off."""
        chunk: list[int] = []
        size = 0
        for uid, meta in metas.items():
            alone = uid <= self.state.alone_until
            if chunk and (alone or len(chunk) >= _AT_ONCE or size + size_of(meta) > _BYTES_AT_ONCE):
                yield chunk
                chunk, size = [], 0
            chunk.append(uid)
            size += size_of(meta)
        if chunk:
            yield chunk

    async def _items(self, uids: list[int], metas: Mapping[int, bytes]) -> list[Item]:
        state = self.state
        if uids == [state.stumbled_at] and state.stumbled >= _GIVEN_UP_AFTER:
            _log.warning("mail_given_up", folder=self.folder, uid=uids[0])
            id_ = identity(f"{state.uidvalidity} {uids[0]} {self.folder}".encode())
            return self._learned(uids[0], id_, {**_EMPTY, "failure": "not_sent"}, metas)
        large = [uid for uid in uids if size_of(metas[uid]) > MAX_MESSAGE]
        whole = [uid for uid in uids if uid not in large]
        documents = await self._documents(whole, "BODY.PEEK[]", sum(map(size_of, metas.values())))
        heads = await self._documents(large, f"BODY.PEEK[]<0.{_HEAD}>", _HEAD * len(large))
        found: list[Item] = []
        for uid, document in sorted({**documents, **heads}.items()):
            id_ = identity(document + (metas[uid] if uid in heads else b""))
            message = await self._parsed(document, only_head=uid in heads)
            if uid in heads:
                message["failure"] = "too_large"
            found += self._learned(uid, id_, message, metas)
        return found

    async def _documents(self, uids: list[int], what: str, size: int) -> dict[int, bytes]:
        if not uids:
            return {}
        told = await self.session.call(
            lambda client: client.fetch_items(uids, f"(UID {what})"),
            seconds=COMMAND_SECONDS + size / _SLOWEST,
        )
        # A message that vanished meanwhile has no body; an empty one is one all the same.
        return {uid: body for uid, (_, body) in told.items() if body is not None}

    def _learned(
        self, uid: int, id_: str, message: Mapping[str, Any], metas: Mapping[int, bytes]
    ) -> list[Item]:
        """The item of a message, where it is not known already."""
        known = id_ in self.elsewhere or id_ in self.state.old or id_ in self.state.known.values()
        self.state.learn(uid, id_)
        if known:
            return []
        self.elsewhere.add(id_)
        if failure := message.get("failure"):
            _log.warning("mail_not_read", folder=self.folder, uid=uid, reason=failure)
        return [item_of(message, id_=id_, folder=self.folder, told=metas[uid], now=self.now)]

    async def _parsed(self, document: bytes, *, only_head: bool = False) -> dict[str, Any]:
        try:
            whole: dict[str, Any] = await self.parser.run({"only_head": only_head}, document)
        except SandboxFailure as failure:
            _log.warning("mail_not_parsed", reason=failure.reason, size=len(document))
        else:
            return whole
        if only_head:
            return {**_EMPTY, "failure": "parser_failed"}
        head = await self._parsed(document[:_HEAD], only_head=True)
        return {**head, "failure": "parser_failed"}


def _is_young(meta: bytes, since: datetime) -> bool:
    arrived = arrived_at(meta)
    return arrived is None or arrived >= since


def _chunked(uids: Sequence[int], size: int) -> Iterator[Sequence[int]]:
    return (uids[start : start + size] for start in range(0, len(uids), size))


def _day(instant: datetime) -> str:
    return f"{instant.day}-{_MONTHS[instant.month - 1]}-{instant.year}"
