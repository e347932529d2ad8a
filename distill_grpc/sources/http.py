"""The way out to platforms: every source's HTTP goes through `HttpClient`.

It fetches addresses that strangers wrote down, from servers that nobody vouches for. Therefore:
public addresses only (`addresses.py`), every redirect checked like a first address, limits on time,
speed, size after decoding and connections to one host, no cookies, no proxy from the environment.

A status of the platform never raises; failing to get an answer at all raises `PlatformError` with
one of the reasons of `http_failures.MESSAGES`.
"""

from __future__ import annotations

import asyncio
import copy
import re
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from ipaddress import ip_address
from types import MappingProxyType, TracebackType
from urllib.parse import urlsplit

import aiohttp
import structlog
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from distill_grpc import clock
from distill_grpc.sources import addresses, bodies, decoding, freshness, urls
from distill_grpc.sources.base import PlatformError
from distill_grpc.sources.http_failures import CAUSES, failure, reason_of
from distill_grpc.sources.http_pools import CONNECT_TIMEOUT, Places, Sessions

_log = structlog.get_logger()

NO_HEADERS: Mapping[str, str] = MappingProxyType({})
DEFAULT_USER_AGENT = "Distill/0.1 (+https://distill.dev)"

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
# Never sent to another origin, even where a source passes them as ordinary headers.
_SECRET_HEADERS = frozenset({"authorization", "cookie", "proxy-authorization"})
_SURROGATES = re.compile(r"[\ud800-\udfff]")  # what Python makes of bytes that are no UTF-8
_FORBIDDEN_IN_HEADER = re.compile(r"[\r\n\x00\ud800-\udfff]")
_API_PLACES = 16


@dataclass(frozen=True, slots=True)
class Redirect:
    """A redirect that was followed."""

    status: int
    url: str  # where it led


@dataclass(frozen=True, slots=True)
class Response:
    """What a platform answered.

    For a status of 400 and above `body` is what could be read of it, and may be cut: what a failing
    platform says in its status and headers must not be lost to the state of its error page.
    """

    url: str  # the final address
    status: int
    headers: Mapping[str, str]  # case-insensitive
    body: bytes  # decoded
    redirects: tuple[Redirect, ...]  # in order
    date: datetime  # the server's `Date`, else our clock
    retry_at: datetime | None  # from `Retry-After`: from now to 24 hours later, by our clock
    max_age: float | None  # seconds of freshness left, from `Cache-Control`, `Age` and `Expires`


@dataclass(frozen=True, slots=True)
class _Answer:
    """The answer of one hop; the body of a redirect to be followed is not read."""

    status: int
    headers: CIMultiDictProxy[str]
    body: bytes
    location: str | None = None


class HttpClient:
    """Fetches from the internet; one for all sources of a process, closed at its end.

    `timeout`: seconds for a request with all its redirects, without the wait for one of the
    `per_host` places, which takes at most `queue_timeout`. `max_bytes`: of a decoded body.
    `resolver` looks names up in the system's stead; `allowed` is the rule for addresses, which
    `allow_private_addresses` lifts; `tls` trusts other authorities than the system's.
    """

    def __init__(
        self,
        *,
        allow_private_addresses: bool,
        now: Callable[[], datetime] = clock.utc_now,
        user_agent: str = DEFAULT_USER_AGENT,
        timeout: float = 20.0,
        max_bytes: int = 15 * 1024 * 1024,
        per_host: int = 2,
        queue_timeout: float = 60.0,
        resolver: addresses.Lookup | None = None,
        allowed: addresses.Rule = addresses.is_public,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._now = now
        self._timeout = timeout
        self._max_bytes = max_bytes
        self._places = Places(per_host, queue_timeout)
        self._allowed = addresses.anything if allow_private_addresses else allowed
        self._lookup = resolver or addresses.SystemLookup()
        self._tls = tls
        self._own_headers = {"User-Agent": user_agent, "Accept-Encoding": decoding.ACCEPT_ENCODING}
        self._sessions = Sessions()
        self._trusted: frozenset[tuple[str, str, int]] = frozenset()

    async def __aenter__(self) -> HttpClient:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Closes every connection; a closed client cannot be used again."""
        await self._sessions.close()

    def trusting(self, *addresses: str) -> HttpClient:
        """This client, for one who may reach the origins of these addresses wherever they lie.

        They are the operator's, whose API roots may be private; whatever else they lead to is
        guarded as ever. It shares everything with this client and is closed with it. Raises
        ValueError for what is no address.
        """
        trusting = copy.copy(self)
        try:
            trusting._trusted = frozenset(urls.origin(urls.parse(text)) for text in addresses)
        except PlatformError as error:
            raise ValueError(error.message) from None
        return trusting

    def at_api(self) -> HttpClient:
        """This client with more places at a host, for APIs, which serve many accounts at once.

        Who asks for one account asks one thing after the other. Everything else is shared with this
        client, and closed with it.
        """
        at_api = copy.copy(self)
        at_api._places = Places(_API_PLACES, self._places.patience)
        return at_api

    @property
    def tls_context(self) -> ssl.SSLContext | None:
        """The authorities trusted in the system's stead, for those who speak other protocols."""
        return self._tls

    def refuses(self, host: str) -> bool:
        """Whether a host is written as an address that must not be connected to; names never are."""
        address = addresses.written(host)
        return address is not None and not self._allowed(address)

    def refuses_url(self, url: str) -> bool:
        """As `refuses`, of the host of an http or https address."""
        try:
            parsed = urls.parse(url)
        except PlatformError:
            return self.refuses(urlsplit(url).hostname or "")
        return urls.origin(parsed) not in self._trusted and self.refuses(parsed.raw_host or "")

    async def addresses_of(self, host: str) -> list[addresses.Address]:
        """The checked addresses of a host, for those who speak other protocols than HTTP.

        They must connect to exactly these. Raises `PlatformError` (`dns`, `private_address`).
        """
        resolver = addresses.GuardedResolver(self._lookup, self._allowed)
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT):
                found = await resolver.resolve(host)
        except addresses.AddressRefusedError:
            raise failure("private_address") from None
        except OSError as error:  # TimeoutError is one
            raise failure("dns") from error
        return [ip_address(result["host"]) for result in found]

    async def get(
        self,
        url: str,
        *,
        headers: Mapping[str, str] = NO_HEADERS,
        max_bytes: int | None = None,
        max_redirects: int = 5,
        same_origin_headers: Mapping[str, str] = NO_HEADERS,
    ) -> Response:
        """Fetches `url`, following redirects. Raises `PlatformError`.

        `same_origin_headers` (tokens, keys) go to the origin of `url` only: from the first redirect
        to another origin on they are left out, also where a later one leads back.
        """
        return await self.request(
            "GET",
            url,
            headers=headers,
            max_bytes=max_bytes,
            max_redirects=max_redirects,
            same_origin_headers=same_origin_headers,
        )

    async def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] = NO_HEADERS,
        body: bytes | None = None,
        max_bytes: int | None = None,
        max_redirects: int = 5,
        same_origin_headers: Mapping[str, str] = NO_HEADERS,
    ) -> Response:
        """Sends a request of any method. Raises `PlatformError`.

        Redirects are followed for GET and HEAD; for other methods the redirect is the answer.
        """
        target = urls.parse(url)
        sent = self._headers(headers, same_origin_headers)
        secret = _SECRET_HEADERS | {name.lower() for name in same_origin_headers}
        limit = self._max_bytes if max_bytes is None else max_bytes
        redirects: list[Redirect] = []
        seconds = self._timeout
        while True:
            async with self._places.hold(target.raw_host or ""):
                started = asyncio.get_running_loop().time()
                answer = await self._exchange(
                    method, target, headers=sent, body=body, limit=limit, seconds=seconds
                )
                seconds -= asyncio.get_running_loop().time() - started
            if answer.location is None:
                return self._response(target, answer, redirects)
            if len(redirects) >= max_redirects:
                raise failure("too_many_redirects")
            came_from, target = target, urls.follow(target, answer.location)
            redirects.append(Redirect(answer.status, str(target)))
            if urls.origin(target) != urls.origin(came_from):
                sent = CIMultiDict((k, v) for k, v in sent.items() if k.lower() not in secret)

    async def _exchange(
        self,
        method: str,
        url: URL,
        *,
        headers: CIMultiDict[str],
        body: bytes | None,
        limit: int,
        seconds: float,
    ) -> _Answer:
        """One request and its answer, with all that can go wrong made a `PlatformError`."""
        try:
            async with (
                asyncio.timeout(seconds),
                self._open(url).request(
                    method, url, headers=headers, data=body, allow_redirects=False
                ) as answer,
            ):
                if method in {"GET", "HEAD"} and answer.status in _REDIRECTS:
                    location = answer.headers.get("Location")
                    if location is not None:
                        return _Answer(answer.status, answer.headers, b"", location)
                content = await bodies.read(answer, limit)
                return _Answer(answer.status, answer.headers, content)
        except CAUSES as error:
            reason = reason_of(error)
            _log.debug("http_failed", host=url.host, reason=reason, cause=type(error).__name__)
            raise failure(reason) from error

    def _open(self, url: URL) -> aiohttp.ClientSession:
        if urls.origin(url) in self._trusted:
            return self._sessions.get("trusted", self._lookup, addresses.anything, self._tls)
        return self._sessions.get("guarded", self._lookup, self._allowed, self._tls)

    def _headers(self, *given: Mapping[str, str]) -> CIMultiDict[str]:
        headers: CIMultiDict[str] = CIMultiDict()
        for more in (*given, self._own_headers):
            headers.update(more)
        if any(_FORBIDDEN_IN_HEADER.search(name + value) for name, value in headers.items()):
            raise failure("protocol", "A header of the request holds forbidden characters.")
        return headers

    def _response(self, url: URL, answer: _Answer, redirects: list[Redirect]) -> Response:
        now = self._now()
        headers = _readable(answer.headers)
        _log.debug("http_fetched", host=url.host, status=answer.status, size=len(answer.body))
        return Response(
            url=str(url),
            status=answer.status,
            headers=headers,
            body=answer.body,
            redirects=tuple(redirects),
            date=freshness.server_date(headers, now),
            retry_at=freshness.retry_at(headers, now),
            max_age=freshness.max_age(headers, now),
        )


def _readable(headers: CIMultiDictProxy[str]) -> CIMultiDictProxy[str]:
    """The headers without lone surrogates, which can be neither stored nor sent back."""
    return CIMultiDictProxy(CIMultiDict((k, _readable_value(v)) for k, v in headers.items()))


def _readable_value(value: str) -> str:
    if not _SURROGATES.search(value):
        return value
    return value.encode("utf-8", "surrogateescape").decode("latin-1")
