"""Writes messages, and reads mailboxes as the core does: keeping what was read from read to read."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from distill_grpc.sources.base import FetchRequest, Item, Page, SourceFailure
from distill_grpc.sources.email import EmailSource
from tests.conformance.sources.rules import check_pages
from tests.servers.dovecot import PASSWORD, Dovecot

NOW = datetime(2024, 1, 10, 10, 0, tzinfo=UTC)


def mail(
    body: str = "Hello",
    *,
    subject: str = "News",
    id_: str = "",
    sender: str = "Mara <mara@a.example>",
    kind: str = "text/plain; charset=utf-8",
    **headers: str,
) -> bytes:
    """A message; a header's name is written with `_` for `-`."""
    head = {"From": sender, "To": "me@b.example", "Subject": subject, "Content-Type": kind}
    head |= {"Message-ID": f"<{id_}>"} if id_ else {}
    head |= {name.replace("_", "-"): value for name, value in headers.items()}
    lines = "".join(f"{name}: {value}\r\n" for name, value in head.items())
    return (lines + "\r\n" + body.replace("\n", "\r\n")).encode()


@dataclass
class Reader:
    """One connection to a mail server."""

    source: EmailSource
    credentials: dict[str, Any]
    settings: dict[str, Any]
    now: datetime = NOW
    days: float = 7
    cursors: dict[str, Any] = field(default_factory=dict)
    items: dict[str, Item] = field(default_factory=dict)
    deleted: list[str] = field(default_factory=list)
    failure: SourceFailure | None = None

    async def read(self, *, pages: int | None = None) -> list[Page]:
        """One fetch; `pages`: the process dies after so many were stored."""
        request = FetchRequest(
            credentials=self.credentials,
            settings=self.settings,
            cursors=json.loads(json.dumps(self.cursors)),
            since={},
            default_since=self.now - timedelta(days=self.days),
            skip=frozenset(),
            now=self.now,
        )
        seen: list[Page] = []
        self.failure = None
        fetch = self.source.fetch(request)
        try:
            async for page in fetch:
                seen.append(page)
                for item in page.items:
                    self.items[item.platform_id] = item
                for id_ in page.deleted:
                    assert self.items.pop(id_, None) is not None
                    self.deleted.append(id_)
                if page.cursor is not None:
                    self.cursors[page.part] = page.cursor
                if len(seen) == pages:
                    break
        except SourceFailure as failure:
            self.failure = failure
        finally:
            await fetch.aclose()  # type: ignore[attr-defined]
        check_pages(seen, parts=self.source.parts(self.settings), now=self.now)
        return seen

    def titles(self) -> list[str]:
        return sorted(item.title for item in self.items.values())


class Mailbox(Reader):
    """A mailbox of the real server and its reader."""

    def __init__(self, server: Dovecot, user: str, source: EmailSource) -> None:
        credentials = {"host": "127.0.0.1", "port": server.port, "username": user}
        super().__init__(source, {**credentials, "password": PASSWORD}, {"tls": "none"})
        self.server = server
        self.user = user

    def deliver(self, message: bytes, *, folder: str = "INBOX", hours: float = 1.0) -> None:
        """Brings a message, so many hours before `NOW`."""
        at = NOW - timedelta(hours=hours)
        self.server.deliver(self.user, message, folder=folder, at=at)
