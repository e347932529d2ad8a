"""Which addresses a user-given URL may lead to, checked where the connection is made.

The rule is held against the *resolved* address, never against the text of the URL: `127.1`,
`0x7f000001` and a name whose record says `127.0.0.1` all end here. A name is looked up once, every
address of the answer is checked, and exactly these addresses are connected to, so that a second
answer of the name server ("DNS rebinding") has nobody to convince.

The tables are written out instead of asking `ipaddress.is_global`, which says True for NAT64 and
6to4 forms of 127.0.0.1, for IPv4-compatible addresses and for multicast.
"""

from __future__ import annotations

import asyncio
import re
import socket
import threading
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from urllib.parse import unquote

from aiohttp.abc import AbstractResolver, ResolveResult

_NUMBERS = re.compile(
    r"(?:0x[0-9a-f]*|[0-9]+)(?:\.(?:0x[0-9a-f]*|[0-9]+)){0,3}", re.IGNORECASE | re.ASCII
)

# What is wrong with a setting that names a refused address.
PRIVATE = "must not be a private address"

Address = IPv4Address | IPv6Address
Rule = Callable[[Address], bool]  # True: this address may be connected to
Lookup = Callable[[str], Awaitable[Sequence[str]]]  # a name → its addresses; OSError: none

# IANA's IPv4 special-purpose registry (RFC 6890), where not globally reachable or not unicast.
_NOT_PUBLIC_4 = tuple(
    map(
        IPv4Network,
        (
            "0.0.0.0/8",  # this network
            "10.0.0.0/8",  # private
            "100.64.0.0/10",  # carrier-grade NAT
            "127.0.0.0/8",  # loopback
            "168.63.129.16/32",  # Azure's host agent: looks public, answers virtual machines only
            "169.254.0.0/16",  # link-local, where clouds keep their metadata
            "172.16.0.0/12",  # private
            "192.0.0.0/24",  # IETF protocol assignments
            "192.0.2.0/24",  # documentation
            "192.88.99.0/24",  # 6to4 relays, withdrawn
            "192.168.0.0/16",  # private
            "198.18.0.0/15",  # benchmarks
            "198.51.100.0/24",  # documentation
            "203.0.113.0/24",  # documentation
            "224.0.0.0/4",  # multicast
            "240.0.0.0/4",  # reserved, broadcast
        ),
    )
)
# Of IPv6 only this block is unicast that the world can reach (RFC 4291, section 2.4) …
_GLOBAL_UNICAST_6 = IPv6Network("2000::/3")
# … except for these parts of it.
_NOT_PUBLIC_6 = tuple(
    map(
        IPv6Network,
        (
            "2001::/23",  # IETF protocol assignments: Teredo, benchmarks, ORCHID
            "2001:db8::/32",  # documentation
            "3fff::/20",  # documentation
        ),
    )
)
# Forms that carry an IPv4 address, and how many bits from the right it stands.
_CARRIES_IPV4 = (
    (IPv6Network("64:ff9b::/96"), 0),  # NAT64 (RFC 6052)
    (IPv6Network("2002::/16"), 80),  # 6to4 (RFC 3056)
    (IPv6Network("::ffff:0:0/96"), 0),  # mapped (RFC 4291)
)


def is_public(address: Address) -> bool:
    """Whether the address is a host on the public internet, also when wrapped in IPv6."""
    if isinstance(address, IPv4Address):
        return not any(address in network for network in _NOT_PUBLIC_4)
    for network, shift in _CARRIES_IPV4:
        if address in network:
            return is_public(IPv4Address(int(address) >> shift & 0xFFFFFFFF))
    if address not in _GLOBAL_UNICAST_6:
        return False
    return not any(address in network for network in _NOT_PUBLIC_6)


def written(host: str) -> Address | None:
    """The address that a host of a URL or of a mail server is, in any form that is taken for one.

    Such as `127.1`, `2130706433`, `0x7f.1`, `[fe80::1%eth0]`; None for a name.
    """
    bare = host.removeprefix("[").removesuffix("]").removesuffix(".")
    with suppress(ValueError):
        return ip_address(unquote(bare).partition("%")[0])
    with suppress(OSError, ValueError):
        # The forms of old, as the system takes them when it looks up a name.
        if _NUMBERS.fullmatch(bare):
            return IPv4Address(socket.inet_aton(bare))
    return None


def anything(_address: Address) -> bool:
    """The rule of an operator who lets users reach the private network."""
    return True


class AddressRefusedError(OSError):
    """The rule refuses an address. An OSError, so that aiohttp treats it as a failed connection."""


class GuardedResolver(AbstractResolver):
    """Resolves a name once and answers with checked addresses, or raises `AddressRefusedError`.

    One refused address refuses the name: a public name has no business at private addresses.
    """

    def __init__(self, lookup: Lookup, allowed: Rule) -> None:
        self._lookup = lookup
        self._allowed = allowed

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """The addresses of `host`; `OSError` where there are none."""
        addresses = [ip_address(text) for text in await self._lookup(host)]
        if not all(map(self._allowed, addresses)):
            raise AddressRefusedError
        results = [
            ResolveResult(
                hostname=host,
                host=str(address),
                port=port,
                family=socket.AF_INET if address.version == 4 else socket.AF_INET6,
                proto=0,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for address in addresses
        ]
        wanted = [r for r in results if family in {socket.AF_UNSPEC, r["family"]}]
        if not wanted:
            raise OSError("the name has no address")
        return wanted

    async def close(self) -> None:
        """Holds nothing."""


def guarded_socket(allowed: Rule) -> Callable[..., socket.socket]:
    """A factory for aiohttp's connector that refuses to make a socket for a refused address.

    The last wall before a connection, and the one that catches addresses standing in the URL
    itself, which never see a resolver.
    """

    def make(info: tuple[int, int, int, str, tuple[str, int]]) -> socket.socket:
        family, kind, protocol, _, target = info
        if not allowed(ip_address(target[0])):
            raise AddressRefusedError
        return socket.socket(family, kind, protocol)

    return make


class SystemLookup:
    """The system's name resolution, in threads of its own.

    The event loop's shared threads are few: a handful of names whose servers never answer would
    stall everything else that runs there. These threads are daemons, so that a hanging lookup
    does not hold up the end of the process either.
    """

    def __init__(self, side_by_side: int = 64) -> None:
        self._slots = asyncio.Semaphore(side_by_side)

    async def __call__(self, host: str) -> Sequence[str]:
        """The addresses of `host`, in the system's order of preference; `OSError` without any."""
        await self._slots.acquire()
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Sequence[str]] = loop.create_future()

        def settle(found: Sequence[str], error: OSError | None) -> None:
            self._slots.release()  # only now: a cancelled caller's thread is still at work
            if answer.done():
                return
            if error is None:
                answer.set_result(found)
            else:
                answer.set_exception(error)

        def work() -> None:
            found: Sequence[str] = ()
            error: OSError | None = None
            try:
                infos = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
                found = tuple(dict.fromkeys(str(info[4][0]) for info in infos))
            except OSError as failure:
                error = failure
            except UnicodeError:
                error = OSError("not a name that can be looked up")
            with suppress(RuntimeError):  # the loop has ended: nobody waits any more
                loop.call_soon_threadsafe(settle, found, error)

        threading.Thread(target=work, name="distill-dns", daemon=True).start()
        return await answer
