"""Limits on guessing passwords and on making accounts. Where nobody can count, nobody gets in."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import timedelta
from ipaddress import IPv6Address, ip_address

from distill_grpc import clock
from distill_grpc.errors import DistillError, ErrorReason
from distill_grpc.ratelimit import CallLimiter

LOGINS_PER_ACCOUNT = 5  # a minute

_SOON = clock.parse_duration("5s")


@dataclass(frozen=True, slots=True)
class Limits:
    """The counters, each with its own limit and window."""

    logins_per_account: CallLimiter
    logins_per_address: CallLimiter
    registrations_per_address: CallLimiter

    async def login(self, email_key: str, address: str) -> None:
        """Counts an attempt; raises RATE_LIMITED, or UNAVAILABLE where nobody can count."""
        await _count(self.logins_per_address, network(address), "logins")
        account = hashlib.sha256(email_key.encode()).hexdigest()[:32]
        await _count(self.logins_per_account, account, "logins")

    async def registration(self, address: str) -> None:
        """Counts an attempt, whatever becomes of it; raises as `login`.

        One that fails tells that a name is taken: no more names can be asked for than accounts made.
        """
        await _count(self.registrations_per_address, network(address), "registrations")


def network(address: str) -> str:
    """Who is behind an address: of IPv6 the /64, which one household or machine has."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return "unknown"
    if isinstance(parsed, IPv6Address):
        if parsed.ipv4_mapped:
            return str(parsed.ipv4_mapped)
        return f"{IPv6Address(int(parsed) >> 64 << 64)}/64"
    return str(parsed)


async def _count(limiter: CallLimiter, key: str, what: str) -> None:
    verdict = await limiter.hit(key)
    now = clock.utc_now()
    if limiter.degraded is not None:
        raise DistillError(ErrorReason.UNAVAILABLE, retry_after=now + _SOON)
    if not verdict.allowed:
        raise DistillError(
            ErrorReason.RATE_LIMITED,
            f"Too many {what}. Try again later.",
            retry_after=now + timedelta(seconds=verdict.retry_after),
        )
