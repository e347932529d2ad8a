"""A remote issuer's public keys: fetched when first needed, kept fresh, and kept through outages.

Whoever can send a request can make up key ids, so an unknown id buys at most one fetch in
`MISS_COOLDOWN`; and a failed or useless answer never drops keys that are still good.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

import aiohttp
import structlog
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from distill_grpc.auth import jwk, strict_json
from distill_grpc.auth.errors import KeysUnavailable

MAX_BYTES = 65_536
TIMEOUT = 2.0  # seconds for one fetch
REFRESH_AFTER = 300.0  # seconds after which a set is fetched anew, while the old one serves
MISS_COOLDOWN = 30.0  # seconds between two fetches for the sake of unknown key ids
MISSING_FOR = 300.0  # seconds for which an id that a fresh set lacked causes no further fetch
MISSING_MAX = 128
MAX_AGE = 86_400.0  # seconds for which a set serves where no fetch succeeds
_FIRST_RETRY = 1.0  # seconds; doubles with each failure up to MISS_COOLDOWN

# Thumbprints of keys whose private half anyone can read: the signing key in the test fixtures of
# Clerk's JavaScript SDK. A set that carries one is a test set, whoever serves it.
PUBLISHED_KEYS = frozenset({"_IwxpBR6gTbK0cznmQ-MSg_0IgQjk4aRfIw8XURVwkk"})

Fetch = Callable[[str], Awaitable[bytes]]

_log = structlog.get_logger()


async def http_fetch(url: str) -> bytes:
    """The body at `url`; follows no redirect, no proxy of the environment and no cookie.

    The address is the operator's, so private ones are allowed. Raises `aiohttp.ClientError`,
    TimeoutError after `TIMEOUT`, and ValueError where the answer is not 200 or over `MAX_BYTES`.
    """
    async with (
        aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=TIMEOUT),
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,
        ) as session,
        session.get(url, allow_redirects=False, headers={"Accept": "application/json"}) as response,
    ):
        if response.status != 200:
            raise ValueError(f"status {response.status}")
        body = bytearray()
        async for chunk in response.content.iter_chunked(16_384):
            body += chunk
            if len(body) > MAX_BYTES:
                raise ValueError(f"over {MAX_BYTES} bytes")
        return bytes(body)


def read_keys(
    body: bytes, *, refused: frozenset[str] = PUBLISHED_KEYS
) -> tuple[dict[str, RSAPublicKey], list[str]]:
    """The usable keys of a JWK set by id, and why each of the others is none.

    `refused` are thumbprints of keys that must not be trusted. Raises ValueError where the body is
    no JWK set.
    """
    entries = strict_json.parse_object(body).get("keys")
    if not isinstance(entries, list):
        raise ValueError("no list of keys")  # noqa: TRY004 -- one error for all that is malformed
    keys: dict[str, RSAPublicKey] = {}
    problems: list[str] = []
    for entry in entries:
        try:
            kid, key = _read_key(entry)
            if kid in keys:
                raise ValueError("its id stands twice")
            if jwk.thumbprint(key) in refused:
                raise ValueError("its private half is public knowledge")
            keys[kid] = key
        except ValueError as error:
            problems.append(str(error))
    return keys, problems


class JwksKeys:
    """The keys at a JWKS address. For one event loop."""

    def __init__(
        self,
        url: str,
        *,
        fetch: Fetch = http_fetch,
        refused: frozenset[str] = PUBLISHED_KEYS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`clock` counts seconds and never goes back. Nothing is fetched before the first `key`."""
        self._url = url
        self._fetch = fetch
        self._refused = refused
        self._clock = clock
        self._keys: dict[str, RSAPublicKey] = {}
        self._fetched_at: float | None = None
        self._failures = 0
        self._failed_at = 0.0
        self._missed_at: float | None = None
        self._missing: OrderedDict[str, float] = OrderedDict()
        self._refreshing: asyncio.Task[None] | None = None

    async def key(self, kid: str) -> RSAPublicKey | None:
        """The key of that id, or None where the issuer has none. Raises `KeysUnavailable`.

        Waits for a fetch only where no set is at hand or the id may be new.
        """
        if self._usable():
            if self._older_than(REFRESH_AFTER) and self._may_retry():
                self._start_refresh()
            found = self._keys.get(kid)
            if found is not None or not self._worth_a_fetch(kid):
                return found
        elif not self._may_retry():
            raise KeysUnavailable("jwks_unreachable")
        if self._refreshing is None:
            self._missed_at = self._clock()
        await asyncio.wait([self._start_refresh()])  # a caller that gives up leaves it running
        if not self._usable():
            raise KeysUnavailable("jwks_unreachable")
        found = self._keys.get(kid)
        if found is not None:
            self._missed_at = None  # the id was real: it uses up nobody's fetch
        elif not self._failures:
            self._remember_missing(kid)
        return found

    async def close(self) -> None:
        """Ends a fetch that is under way."""
        task = self._refreshing
        if task is not None:
            task.cancel()
            await asyncio.wait([task])  # those who wait for it are told that it failed

    def _usable(self) -> bool:
        return self._fetched_at is not None and not self._older_than(MAX_AGE)

    def _older_than(self, seconds: float) -> bool:
        return self._fetched_at is not None and self._clock() - self._fetched_at >= seconds

    def _may_retry(self) -> bool:
        """Whether the last failure is long enough ago; a fetch under way may always be joined."""
        if self._refreshing is not None or not self._failures:
            return True
        pause = min(MISS_COOLDOWN, _FIRST_RETRY * 2.0 ** min(self._failures - 1, 10))
        return self._clock() - self._failed_at >= pause

    def _worth_a_fetch(self, kid: str) -> bool:
        now = self._clock()
        absent_until = self._missing.get(kid)
        if absent_until is not None and now < absent_until:
            return False
        if self._refreshing is not None or self._missed_at is None:
            return True
        return now - self._missed_at >= MISS_COOLDOWN

    def _remember_missing(self, kid: str) -> None:
        self._missing[kid] = self._clock() + MISSING_FOR
        self._missing.move_to_end(kid)
        while len(self._missing) > MISSING_MAX:
            self._missing.popitem(last=False)

    def _start_refresh(self) -> asyncio.Task[None]:
        """The one fetch: whoever comes while it is under way shares it."""
        if self._refreshing is None:
            self._refreshing = asyncio.create_task(self._refresh(), name="jwks refresh")
        return self._refreshing

    async def _refresh(self) -> None:
        host = urlsplit(self._url).hostname
        try:
            async with asyncio.timeout(TIMEOUT):
                body = await self._fetch(self._url)
            if len(body) > MAX_BYTES:
                raise ValueError(f"over {MAX_BYTES} bytes")
            keys, problems = read_keys(body, refused=self._refused)
            if problems:
                _log.warning("jwks_keys_refused", host=host, problems=sorted(set(problems)))
            if not keys:
                raise ValueError("no usable key")
        except Exception as error:  # whatever it is, keys that are still good must survive it
            self._failures += 1
            self._failed_at = self._clock()
            reason = str(error) if type(error) is ValueError else type(error).__name__
            _log.warning("jwks_fetch_failed", host=host, reason=reason, failures=self._failures)
        else:
            self._adopt(keys)
        finally:
            self._refreshing = None

    def _adopt(self, keys: dict[str, RSAPublicKey]) -> None:
        # An unchanged key stays the same object: remembered tokens hang on it.
        self._keys = {kid: _same(self._keys.get(kid), key) for kid, key in keys.items()}
        self._fetched_at = self._clock()
        self._failures = 0


def _same(old: RSAPublicKey | None, new: RSAPublicKey) -> RSAPublicKey:
    unchanged = old is not None and old.public_numbers() == new.public_numbers()
    return old if old is not None and unchanged else new


def _read_key(entry: object) -> tuple[str, RSAPublicKey]:
    if not isinstance(entry, dict):
        raise ValueError("not an object")  # noqa: TRY004 -- one error for all that is malformed
    kid = entry.get("kid")
    if not isinstance(kid, str) or not kid:
        raise ValueError("has no id")
    return kid, jwk.from_jwk(entry)
