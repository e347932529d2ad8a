"""A platform that misbehaves on purpose and remembers everything: feeds over HTTP.

Its ledger holds every document that it ever served, by the hash of its bytes, and every request with
the process that made it, so that an auditor can say exactly what a reader must have and must not have
done. What goes wrong is drawn from a seed.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from random import Random
from types import TracebackType
from xml.sax.saxutils import escape

from aiohttp import web

# The faults that a request can meet; each leaves nothing behind once it is over.
FAULTS = (
    "429",
    "429_date",
    "500",
    "503_retry",
    "timeout",
    "slow",
    "reset",
    "cut",
    "truncated",
    "garbage",
    "page",
    "bad_gzip",
)
PAUSE = 2  # seconds that a 429 asks for
AGENT = "chaos/"


@dataclass
class Entry:
    """Something published. A native id names it for ever; its version grows with every edit."""

    id: str
    published: datetime
    version: int = 1


@dataclass
class Feed:
    """A feed of one user, and what it has said about being asked again."""

    path: str
    owner: str
    random: Random
    entries: dict[str, Entry] = field(default_factory=dict)
    tagged: bool = True  # answers with an ETag
    shuffled: bool = False  # entries stand in another order each time
    count: int = 0
    closed_until: float = 0.0  # by the platform's own clock: not to be asked before
    # Ids of entries that were taken away: a reader may have seen them, or not.
    deleted: set[str] = field(default_factory=set)

    @property
    def is_json(self) -> bool:
        return self.path.endswith(".json")


@dataclass(frozen=True)
class Document:
    """What a complete answer said: versions by native id."""

    path: str
    versions: Mapping[str, int]


@dataclass
class Asked:
    """A request: by which process, from when to when (seconds, monotonic), and its outcome."""

    path: str
    owner: str
    agent: str
    begun: float
    ended: float = 0.0
    outcome: str = ""


class Platform:
    """Feeds on the loopback interface. Use it as `async with`.

    `faults` gives the probability of each fault; `skew` is how wrong the platform's clock is.
    """

    def __init__(self, seed: int, *, faults: Mapping[str, float] | None = None) -> None:
        self.random = Random(f"platform {seed}")
        self.faults = dict(faults or {})
        self.skew = timedelta(seconds=self.random.choice((-90, 0, 0, 90)))
        self.feeds: dict[str, Feed] = {}
        self.documents: dict[str, Document] = {}
        self.ledger: list[Asked] = []
        self.served: list[tuple[str, str, int]] = []  # (path, id, version), in order
        self.violations: list[str] = []
        self.delay = 0.0  # seconds before every answer
        self.met: dict[str, int] = {}  # faults that were met, by name
        self._runner: web.AppRunner | None = None
        self._port = 0

    async def __aenter__(self) -> Platform:
        app = web.Application()
        app.router.add_get("/{path:.*}", self._handle)
        self._runner = web.AppRunner(
            app, handle_signals=False, handler_cancellation=True, shutdown_timeout=0.1
        )
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self._port = self._runner.addresses[0][1]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    def now(self) -> datetime:
        """The platform's own clock."""
        return datetime.now(UTC) + self.skew

    def url(self, path: str) -> str:
        """The address of a path."""
        return f"http://127.0.0.1:{self._port}{path}"

    def add_feed(self, owner: str, number: int) -> Feed:
        """One more feed, empty; its kind and manners follow from the seed."""
        path = f"/{owner}/{number}.{self.random.choice(('xml', 'xml', 'json'))}"
        feed = Feed(path, owner, Random(self.random.random()))
        feed.tagged = self.random.random() < 0.6
        feed.shuffled = self.random.random() < 0.4
        self.feeds[path] = feed
        return feed

    # What people do on the platform.

    def publish(self, feed: Feed, *, late: bool = False) -> Entry:
        """One more entry. Several share an instant now and then; a late one is older than others."""
        feed.count += 1
        now = datetime.now(UTC).replace(microsecond=0)
        latest = max((e.published for e in feed.entries.values()), default=now)
        if late:
            at = now - timedelta(seconds=self.random.randint(60, 36_000))
        elif self.random.random() < 0.4:
            at = latest
        else:
            at = now
        entry = Entry(f"T-{feed.owner}-{feed.path.strip('/').replace('/', '-')}-{feed.count}", at)
        feed.entries[entry.id] = entry
        return entry

    def edit(self, feed: Feed) -> None:
        """Changes an entry."""
        if feed.entries:
            self.random.choice(list(feed.entries.values())).version += 1

    def delete(self, feed: Feed) -> None:
        """Takes an entry away."""
        if feed.entries:
            gone = self.random.choice(list(feed.entries))
            del feed.entries[gone]
            feed.deleted.add(gone)

    def stir(self, feed: Feed) -> None:
        """Anything of that."""
        deed = self.random.random()
        if deed < 0.6:
            self.publish(feed, late=deed < 0.1)
        elif deed < 0.9:
            self.edit(feed)
        else:
            self.delete(feed)

    def asked(self, owner: str) -> list[Asked]:
        """The requests for feeds of a user."""
        return [asked for asked in self.ledger if asked.owner == owner]

    # What readers meet.

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        feed = self.feeds.get(request.path)
        if feed is None:
            return web.Response(status=404)
        agent = request.headers.get("User-Agent", "")
        asked = Asked(feed.path, feed.owner, agent, time.monotonic())
        self.ledger.append(asked)
        self._check(feed, agent)
        try:
            await asyncio.sleep(self.delay)
            asked.outcome = self._draw(feed)
            return await self._answer(request, feed, asked)
        except ConnectionError:  # the reader hung up, or was killed
            return web.Response(status=500)
        finally:
            asked.ended = time.monotonic()

    def _check(self, feed: Feed, agent: str) -> None:
        now = self.now().timestamp()
        if agent.startswith(AGENT) and now < feed.closed_until:
            early = feed.closed_until - now
            self.violations.append(f"{feed.path} was asked {early:.2f} s before its Retry-After")

    def _draw(self, feed: Feed) -> str:
        for name, chance in self.faults.items():
            if feed.random.random() < chance:
                self.met[name] = self.met.get(name, 0) + 1
                return name
        return "well"

    async def _answer(self, request: web.Request, feed: Feed, asked: Asked) -> web.StreamResponse:
        match asked.outcome:
            case "429" | "429_date" | "503_retry":
                return self._closed(feed, asked.outcome)
            case "500":
                return web.Response(status=500, text="<html>oops</html>")
            case "timeout":
                await asyncio.sleep(60)
            case "garbage":
                return web.Response(body=feed.random.randbytes(2_000), content_type="text/xml")
            case "page":
                return web.Response(text="<html><p>Down for maintenance", content_type="text/html")
            case "reset":
                assert request.transport is not None
                request.transport.abort()
                return web.Response(status=500)
        body, versions = self._document(feed)
        kind = "application/feed+json" if feed.is_json else "application/rss+xml"
        headers = {"Content-Type": kind, "Date": format_datetime(self.now(), usegmt=True)}
        if asked.outcome == "bad_gzip":
            return web.Response(
                body=b"\x1f\x8b" + body, headers={**headers, "Content-Encoding": "gzip"}
            )
        if asked.outcome == "truncated":
            return web.Response(body=body[: feed.random.randrange(len(body))], headers=headers)
        # From here on whoever got all of it has seen what it says.
        self.documents[hashlib.sha256(body).hexdigest()[:32]] = Document(feed.path, versions)
        if feed.tagged and not feed.shuffled:
            headers["ETag"] = f'"{hashlib.sha256(body).hexdigest()[:16]}"'
            if request.headers.get("If-None-Match") == headers["ETag"]:
                return web.Response(status=304, headers=headers)
        if asked.outcome in {"slow", "cut"}:
            return await self._dribble(request, body, headers, cut=asked.outcome == "cut")
        self.served += [(feed.path, id_, version) for id_, version in versions.items()]
        return web.Response(body=body, headers=headers)

    def _closed(self, feed: Feed, how: str) -> web.Response:
        now = self.now()
        if how == "429_date":
            # A date has whole seconds, and so has the `Date` that it is measured from.
            until = now.replace(microsecond=0) + timedelta(seconds=PAUSE)
            wait = format_datetime(until, usegmt=True)
        else:
            until, wait = now + timedelta(seconds=PAUSE), str(PAUSE)
        feed.closed_until = until.timestamp()
        return web.Response(
            status=503 if how == "503_retry" else 429,
            headers={"Retry-After": wait, "Date": format_datetime(now, usegmt=True)},
        )

    async def _dribble(
        self, request: web.Request, body: bytes, headers: dict[str, str], *, cut: bool
    ) -> web.StreamResponse:
        response = web.StreamResponse(headers=headers)
        response.content_length = len(body)
        await response.prepare(request)
        half = len(body) // 2
        await response.write(body[:half])
        await asyncio.sleep(0.2)
        if cut:
            assert request.transport is not None
            request.transport.abort()
            return response
        await response.write(body[half:])
        return response

    def _document(self, feed: Feed) -> tuple[bytes, dict[str, int]]:
        entries = sorted(feed.entries.values(), key=lambda e: e.published, reverse=True)
        if feed.shuffled:
            feed.random.shuffle(entries)
            # Some entries stand there twice.
            entries += feed.random.sample(entries, k=min(2, len(entries)))
        versions = {entry.id: entry.version for entry in entries}
        write = _json_feed if feed.is_json else _rss
        return write(feed, entries), versions


def _text(entry: Entry) -> str:
    return f"{entry.id} says something in version v{entry.version}."


def _rss(feed: Feed, entries: list[Entry]) -> bytes:
    items = "".join(
        f'<item><guid isPermaLink="false">{escape(e.id)}</guid><title>{escape(e.id)}</title>'
        f"<pubDate>{format_datetime(e.published, usegmt=True)}</pubDate>"
        f"<description>{escape(_text(e))}</description></item>"
        for e in entries
    )
    return (
        f'<?xml version="1.0" encoding="utf-8"?><rss version="2.0"><channel><title>{feed.path}</title>'
        f"<link>http://example.com{feed.path}</link><description>x</description>{items}</channel></rss>"
    ).encode()


def _json_feed(feed: Feed, entries: list[Entry]) -> bytes:
    return json.dumps(
        {
            "version": "https://jsonfeed.org/version/1.1",
            "title": feed.path,
            "items": [
                {
                    "id": e.id,
                    "title": e.id,
                    "content_text": _text(e),
                    "date_published": e.published.isoformat(),
                }
                for e in entries
            ],
        }
    ).encode()
