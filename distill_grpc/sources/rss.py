"""RSS, Atom, RDF and JSON feeds: what is new in the feeds that a user names.

A part is a feed's address as the user gave it: a feed itself, or a page that names its feed. No
credentials, no scopes, no quota; feeds are asked conditionally and not more often than they and their
servers want (`ttl`, `sy:updatePeriod`, `max-age`, `Retry-After`). Every feed fails alone.
"""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import structlog

from distill_grpc.sources import text
from distill_grpc.sources.addresses import PRIVATE
from distill_grpc.sources.base import (
    Account,
    FetchRequest,
    InvalidConnection,
    Json,
    NoPlatformAuth,
    Page,
    PlatformError,
    RateLimited,
    SourceFailure,
    SourceInfo,
)
from distill_grpc.sources.feed_items import items_of
from distill_grpc.sources.feed_state import FeedState
from distill_grpc.sources.http import Response
from distill_grpc.sources.registry import SourceContext
from distill_grpc.sources.sandbox import Sandbox, SandboxFailure
from distill_grpc.sources.websub import WebSub

_log = structlog.get_logger()

MAX_FEEDS = 500

_AT_ONCE = 8  # feeds of one account
_ITEMS_PER_PAGE = 200
_LONGEST_PAUSE = 86_400  # seconds
_ACCEPT = (
    "application/atom+xml, application/rss+xml, application/feed+json, "
    "application/xml;q=0.9, text/xml;q=0.9, text/html;q=0.6, */*;q=0.5"
)
# An address found in a page or by redirects that fails in one of these ways is given up for the
# address as given.
_LOST = frozenset({"not_found", "gone", "not_a_feed", "dns", "private_address", "invalid_url"})

INFO = SourceInfo(
    name="rss",
    title="RSS, Atom and JSON feeds",
    description="New entries of the feeds that the user names, or of the feeds that named pages have.",
    settings={
        "feeds": f"Addresses of feeds, or of pages that name their feed: 1 to {MAX_FEEDS} distinct "
        "http or https addresses"
    },
    limits=(
        "A feed is read as rarely as its ttl, update period or max-age asks, at least once a day",
        "A server that answers 429 or 503 with Retry-After is left alone until then",
        "At most 15 MB a document, 20 seconds a request, 2 requests at once to a host",
    ),
)


class RssSource:
    """Reads feeds; a document may keep the parser busy for `parser_seconds`."""

    info = INFO

    def __init__(self, context: SourceContext, *, parser_seconds: float = 5.0) -> None:
        self._http = context.http
        self.websub = WebSub(context.http)
        self._parser = Sandbox("distill_grpc.sources.feed_documents:read", seconds=parser_seconds)

    def check(self, credentials: Mapping[str, Json], settings: Mapping[str, Json]) -> None:
        """Raises `InvalidConnection` unless `settings.feeds` is a list of feed addresses."""
        details = {f"credentials.{name}": "is not known; feeds need none" for name in credentials}
        details |= {f"settings.{name}": "is not known" for name in settings if name != "feeds"}
        details |= check_feeds(settings.get("feeds"))
        for place, feed in enumerate(() if "settings.feeds" in details else settings["feeds"]):
            if (field := f"settings.feeds[{place}]") not in details and self._http.refuses_url(
                feed
            ):
                details[field] = PRIVATE
        if details:
            raise InvalidConnection(details)

    async def identify(
        self,
        credentials: Mapping[str, Json],  # noqa: ARG002 -- the seam's
        settings: Mapping[str, Json],  # noqa: ARG002 -- the seam's
    ) -> Account:
        """Nobody's: feeds are public."""
        return Account()

    def parts(self, settings: Mapping[str, Json]) -> tuple[str, ...]:
        """The addresses as given."""
        return tuple(settings.get("feeds") or ())

    async def fetch(self, request: FetchRequest) -> AsyncIterator[Page]:
        """Reads the feeds side by side and yields their pages as they come, a feed's in order.

        A feed's pages are stored with the cursor of the last one: a feed that was left in the middle
        is read again whole. A truncated document gives its complete entries and a failure.
        """
        wanted = [part for part in self.parts(request.settings) if part not in request.skip]
        waiting = iter(wanted)
        done: asyncio.Queue[list[Page]] = asyncio.Queue(maxsize=_AT_ONCE)

        async def work() -> None:
            for part in waiting:
                await done.put(await self._pages(part, request))

        workers = [asyncio.create_task(work()) for _ in range(min(_AT_ONCE, len(wanted)))]
        try:
            for _ in wanted:
                for page in await done.get():
                    yield page
        finally:
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)

    async def close(self) -> None:
        """Ends the parsers."""
        await self._parser.close()

    async def _pages(self, part: str, request: FetchRequest) -> list[Page]:
        state = FeedState.from_json(request.cursors.get(part))
        since = request.since.get(part, request.default_since)
        if state.since is not None and since.timestamp() < state.since:
            # Older entries are wanted than those that were looked at: read it as if it had changed.
            state = state.at(state.address)
        try:
            return await self._read(part, state, request)
        except SourceFailure as failure:
            return [Page(part=part, failure=failure)]
        except Exception:
            # A fault of ours in one feed must not keep the others from being read.
            _log.exception("feed_failed", part=part)
            return [Page(part=part, failure=_failure("internal", "The feed could not be read."))]

    async def _read(self, part: str, state: FeedState, request: FetchRequest) -> list[Page]:
        try:
            response = await self._ask(state.address or part, state)
            if response.status != 304:
                _check_status(response, part)
                return await self._read_body(part, state, response, request)
        except PlatformError as failure:
            if state.address and failure.reason in _LOST:
                return await self._read(part, state.at(""), request)
            raise
        if not state.conditions():
            raise _failure("protocol", "The server says `not modified`, but was not asked that.")
        state = state.refreshed(response.headers).after_redirects(response.redirects)
        return [_unchanged(part, state, response)]

    async def _ask(self, address: str, state: FeedState) -> Response:
        return await self._http.get(address, headers={"Accept": _ACCEPT} | state.conditions())

    async def _read_body(
        self, part: str, state: FeedState, response: Response, request: FetchRequest
    ) -> list[Page]:
        body_hash = hashlib.sha256(response.body).hexdigest()[:32]
        if body_hash == state.body_hash:
            state = state.with_validators(response.headers).after_redirects(response.redirects)
            return [_unchanged(part, state, response)]
        since = request.since.get(part, request.default_since)
        oldest = int(since.timestamp())
        document = await self._parse(response, oldest)
        if document["kind"] == "page":
            return await self._read_found(part, state, response, document["feeds"], request)
        if document["kind"] != "feed":
            raise _failure(document["kind"], _NOT_A_FEED[document["kind"]])
        items, memory = items_of(
            document, part=part, memory=state.memory, since=since, now=request.now
        )
        if not items and not state.body_hash and request.quiet_part_shows and document["entries"]:
            # Nothing young in a feed that was just connected: a quiet blog is not an empty one.
            oldest = _newest(document["entries"], request.quiet_part_shows)
            since = datetime.fromtimestamp(oldest, UTC)
            document = await self._parse(response, oldest)
            items, memory = items_of(
                document, part=part, memory=state.memory, since=since, now=request.now
            )
        if document["truncated"]:
            broken = _failure("truncated", "The feed breaks off in the middle.")
            return list(_in_pages(Page(part=part, failure=broken), items))
        state = dataclasses.replace(
            state.with_validators(response.headers).after_redirects(response.redirects),
            body_hash=body_hash,
            since=oldest,
            pause=min(document["ttl"], _LONGEST_PAUSE),
            memory=memory,
        )
        hub, topic = self.websub.find(response.headers, document, response.url)
        last = Page(
            part=part,
            cursor=state.to_json(),
            title=document["title"] or None,
            url=state.address or None,
            min_interval=_pause(state, response),
            failure=_gone("The feed says that it has ended.") if document["expired"] else None,
            hub=hub,
            topic=topic,
        )
        return list(_in_pages(last, items))

    async def _read_found(
        self,
        part: str,
        state: FeedState,
        response: Response,
        feeds: list[str],
        request: FetchRequest,
    ) -> list[Page]:
        """Reads the first feed that a page names."""
        if not feeds or state.address:
            # A page that a page named is no feed either.
            raise _failure("not_a_feed", _NOT_A_FEED["page"])
        found = state.at(feeds[0])
        if feeds[0] == response.url:
            raise _failure("not_a_feed", _NOT_A_FEED["page"])
        answer = await self._ask(found.address, found)
        _check_status(answer, part)
        return await self._read_body(part, found, answer, request)

    async def _parse(self, response: Response, oldest: int) -> dict[str, Any]:
        header = {
            "url": response.url,
            "content_type": response.headers.get("Content-Type", ""),
            "oldest": oldest,
        }
        try:
            document: dict[str, Any] = await self._parser.run(header, response.body)
        except SandboxFailure as failure:
            _log.warning("feed_not_parsed", url=response.url, reason=failure.reason)
            raise _failure("parser_failed", "The feed could not be parsed.") from failure
        return document


def check_feeds(feeds: Json) -> dict[str, str]:
    """What is wrong with a list of feed addresses: field → rule."""
    if not isinstance(feeds, list) or not feeds:
        return {"settings.feeds": "must be a list of at least one http or https address"}
    if len(feeds) > MAX_FEEDS:
        return {"settings.feeds": f"must have at most {MAX_FEEDS} addresses"}
    details: dict[str, str] = {}
    places: dict[Json, int] = {}
    for place, feed in enumerate(feeds):
        field = f"settings.feeds[{place}]"
        if not isinstance(feed, str) or not text.is_web_url(feed):
            details[field] = (
                f"must be an http or https address of at most {text.MAX_URL} characters"
            )
        elif "@" in feed.split("/")[2]:
            details[field] = "must not contain a user name or password"
        elif places.setdefault(feed, place) != place:
            details[field] = f"repeats settings.feeds[{places[feed]}]"
    return details


_NOT_A_FEED: Mapping[str, str] = {
    "page": "This is a page that names no feed.",
    "empty": "The server's answer is empty.",
    "malformed": "The feed's JSON cannot be read.",
    "not_a_feed": "This is neither a feed nor a page that names one.",
}


def _check_status(response: Response, part: str) -> None:
    """Raises unless there is a document to read."""
    status = response.status
    if status == 200:
        return
    if status == 403 and response.headers.get("cf-mitigated", "").lower() == "challenge":
        raise _failure("challenge", "The server lets only people with a browser pass.")
    if status in {401, 403}:
        raise NoPlatformAuth(f"The feed's server refuses access ({status}).", reason="refused")
    if status == 404:
        raise _failure("not_found", "There is no feed at this address (404).")
    if status == 410:
        raise _gone("The feed is gone for good (410).")
    if status == 429 or (status == 503 and response.retry_at is not None):
        raise RateLimited(
            f"The feed's server asks to wait ({status}).",
            reason="too_many_requests" if status == 429 else "unavailable",
            retry_at=response.retry_at,
        )
    reason = "server_error" if status >= 500 else "unexpected_status"
    _log.debug("feed_status", part=part, status=status)
    raise _failure(reason, f"The feed's server answered with the status {status}.")


def _newest(entries: Sequence[Mapping[str, Any]], count: int) -> int:
    """The instant (epoch seconds) of the oldest of the `count` newest entries."""
    instants = sorted((e["published"] or 0 for e in entries), reverse=True)
    return int(instants[:count][-1])


def _failure(reason: str, message: str) -> PlatformError:
    return PlatformError(message, reason=reason)


def _gone(message: str) -> PlatformError:
    return PlatformError(message, reason="gone", permanent=True)


def _unchanged(part: str, state: FeedState, response: Response) -> Page:
    return Page(
        part=part,
        cursor=state.to_json(),
        url=state.address or None,
        min_interval=_pause(state, response),
        unchanged=True,
    )


def _pause(state: FeedState, response: Response) -> float:
    """Seconds until the feed may have changed, as it says itself or as its server says."""
    return float(min(max(state.pause, response.max_age or 0.0), _LONGEST_PAUSE))


def _in_pages(last: Page, items: list[Any]) -> Iterator[Page]:
    """The items over several pages, of which only the last one carries cursor and failure."""
    while len(items) > _ITEMS_PER_PAGE:
        yield Page(part=last.part, items=items[:_ITEMS_PER_PAGE], title=last.title, last=False)
        items = items[_ITEMS_PER_PAGE:]
    yield dataclasses.replace(last, items=items)
