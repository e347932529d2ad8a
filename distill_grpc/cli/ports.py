"""Whether an address is free: serving processes share theirs, so that nobody else would tell."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager

from distill_grpc.cli.failure import Failure


def split(address: str) -> tuple[str, int]:
    """Host and port of `host:port`; an IPv6 host stands in brackets."""
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)


def claim(address: str, variable: str) -> str:
    """The address, which is free; port 0 becomes one that is. `Failure` where it is not."""
    return claim_all({variable: address})[variable]


def claim_all(addresses: Mapping[str, str]) -> dict[str, str]:
    """The address of each variable as `claim` gives it; two port 0 become two different ones."""
    with ExitStack() as held:
        return {
            variable: held.enter_context(_bound(address, variable))
            for variable, address in addresses.items()
        }


@contextmanager
def _bound(address: str, variable: str) -> Iterator[str]:
    """Holds the address, so that the system draws its port for nobody else.

    Bound without SO_REUSEPORT: with it, two instances would silently share their callers.
    """
    host, port = split(address)
    try:
        family, kind, protocol, _, target = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except socket.gaierror:
        raise Failure(f"{variable}: the host of {address!r} is not known", exit_code=2) from None
    with socket.socket(family, kind, protocol) as probe:
        # Connections that are being forgotten (TIME_WAIT) are nobody's.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(target)
        except OSError as error:
            raise Failure(_why(error, address, variable)) from None
        yield f"{address.rpartition(':')[0]}:{probe.getsockname()[1]}"


def _why(error: OSError, address: str, variable: str) -> str:
    port = split(address)[1]
    match error.errno:
        case errno.EADDRINUSE:
            return (
                f"{address} is taken by another program, perhaps another Distill; "
                f"stop it, or choose another address with {variable}"
            )
        case errno.EACCES:
            return f"port {port} is reserved for root; choose one from 1024 up with {variable}"
        case errno.EADDRNOTAVAIL:
            return f"{address} is no address of this machine; choose another with {variable}"
        case _:
            return f"{address} cannot be used: {error.strerror}; choose another with {variable}"


def reachable(address: str) -> str:
    """The address as a program on this machine calls it: any-address becomes loopback."""
    host, port = split(address)
    host = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(host, host)  # noqa: S104 -- compared
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
