"""Call counts of a whole fleet, in Redis; while Redis is away, each machine counts for itself."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import cast

import structlog
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from distill_grpc.ratelimit import window as rule
from distill_grpc.ratelimit.local import LocalCallLimiter
from distill_grpc.ratelimit.window import CallLimiter, Verdict

TIMEOUT = 0.5  # seconds for one answer of Redis
RETRY_AFTER = 2.0  # seconds after a failure before Redis is asked again
_CONNECTIONS = 8  # an answer takes a fraction of a millisecond
_MICROSECOND = 1_000_000  # in a second
_PREFIX = "rate_limit"

# A hash of span → count, kept to the rule of `window.py` by Redis' own clock: machines differ.
_SCRIPT = """
local limit, length, spans = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
local current = math.floor(now / length)
local stored = redis.call('HGETALL', KEYS[1])
local total, counts = 0, {}
for i = 1, #stored, 2 do
  local span, count = tonumber(stored[i]), tonumber(stored[i + 1])
  if span <= current - spans or span > current + 1 then
    redis.call('HDEL', KEYS[1], stored[i])
  else
    total = total + count
    counts[span] = count
  end
end
if total < limit then
  redis.call('HINCRBY', KEYS[1], string.format('%.0f', current), 1)
  redis.call('PEXPIRE', KEYS[1], math.ceil(length * (spans + 1) / 1000))
  return {1, limit - total - 1, 0}
end
local span = current - spans
while total >= limit do
  span = span + 1
  total = total - (counts[span] or 0)
end
return {0, 0, (span + spans) * length - now}
"""

_log = structlog.get_logger()


class RedisCallLimiter:
    """At most `limit` calls of a key in any window, counted by all that share the Redis database."""

    def __init__(
        self,
        url: str,
        *,
        limit: int,
        window: float = 60.0,
        name: str = "",
        timeout: float = TIMEOUT,
        fallback: CallLimiter | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Connects on first use. `url` is `redis://`, `rediss://` or `unix://`.

        `name` keeps limits of different things apart in one Redis database.

        `timeout` is what a call may cost, in seconds, when Redis goes away. `fallback` counts while
        it is away (unset: in this process), and is closed with this one. Raises ValueError for a
        wrong address or numbers out of range.
        """
        rule.check(limit, window)
        self._limit = limit
        self._prefix = f"{_PREFIX}/{name}:" if name else f"{_PREFIX}:"
        self._span = rule.span_length(window, _MICROSECOND)
        self._fallback = fallback or LocalCallLimiter(None, limit=limit, window=window)
        self._clock = clock
        self._ask_again_at = 0.0
        self._degraded: str | None = None
        self._timeout = timeout
        self._asking: set[asyncio.Task[Verdict]] = set()
        pool = BlockingConnectionPool.from_url(
            url,
            max_connections=_CONNECTIONS,
            timeout=timeout,
            socket_timeout=timeout,
            socket_connect_timeout=timeout,
            retry=Retry(NoBackoff(), 0),
            # One integer array comes back: nothing needs a newer protocol or a longer handshake.
            protocol=2,
            driver_info=None,
        )
        self._redis = Redis.from_pool(pool)
        self._script = self._redis.register_script(_SCRIPT)

    @property
    def degraded(self) -> str | None:
        """What is missing while Redis is away; None while it counts."""
        return self._degraded

    async def hit(self, key: str) -> Verdict:
        """Counts a call of `key`, if it is accepted; where Redis fails, in the fallback."""
        if self._degraded is not None and self._clock() < self._ask_again_at:
            return await self._fallback.hit(key)
        # Set before asking: while one call tries, the others do not wait with it.
        self._ask_again_at = self._clock() + RETRY_AFTER
        try:
            verdict = await self._ask_in_time(key)
        except (RedisError, OSError, TimeoutError) as error:
            self._fail(error)
            return await self._fallback.hit(key)
        if self._degraded is not None:
            self._degraded = None
            _log.info("call_limit_redis_is_back")
        return verdict

    async def close(self) -> None:
        """Closes the connections and the fallback."""
        if self._asking:
            await asyncio.wait(self._asking, timeout=4 * self._timeout)
        await self._redis.aclose()
        await self._fallback.close()

    async def _ask_in_time(self, key: str) -> Verdict:
        # What comes late is left to the client's own timeouts: cancelled in the middle of a
        # handshake, it would lose its socket.
        task = asyncio.create_task(self._ask(key))
        self._asking.add(task)
        task.add_done_callback(self._answered)
        await asyncio.wait([task], timeout=self._timeout)
        if not task.done():
            raise TimeoutError
        return task.result()

    def _answered(self, task: asyncio.Task[Verdict]) -> None:
        self._asking.discard(task)
        if not task.cancelled():
            task.exception()  # looked at, so that one that nobody waits for any more is not reported

    async def _ask(self, key: str) -> Verdict:
        answer = await self._script(
            keys=[self._prefix + key], args=[self._limit, self._span, rule.SPANS]
        )
        allowed, remaining, wait = cast("list[int]", answer)
        if allowed:
            return Verdict(allowed=True, remaining=remaining, retry_after=0.0)
        return Verdict(
            allowed=False, remaining=0, retry_after=max(1.0, wait / _MICROSECOND + 0.001)
        )

    def _fail(self, error: Exception) -> None:
        self._ask_again_at = self._clock() + RETRY_AFTER
        if self._degraded is None:
            # The text of the error may hold the address, and that the password.
            _log.warning("call_limit_redis_is_away", error=type(error).__name__)
        self._degraded = "Redis cannot be reached: calls are counted per machine"
