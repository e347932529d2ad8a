"""Where a call comes from, as far as those who carried it can be believed.

Each door appends the address that spoke to it to `x-forwarded-for` and hands the whole on. Read from
the right, the first that is no trusted proxy is the client: what stands left of it, it made up.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from urllib.parse import unquote

Network = IPv4Network | IPv6Network

FORWARDED_FOR = "x-forwarded-for"
_PEER = re.compile(r"ipv4:(?P<v4>[0-9.]+):\d+|ipv6:\[(?P<v6>[^\]]+)\]:\d+")


def client_address(chain: Sequence[str], trusted: Sequence[Network]) -> str:
    """The client's address of a chain, nearest last; empty where nobody said one."""
    found = ""
    for text in reversed(chain):
        address = _parse(text)
        if address is None:
            break
        found = str(address)
        if not any(address in network for network in trusted if network.version == address.version):
            break
    return found


def forwarded(metadata_value: str | None) -> list[str]:
    """The addresses of an `x-forwarded-for`, nearest last."""
    return [part.strip() for part in (metadata_value or "").split(",") if part.strip()]


def peer_address(peer: str) -> str:
    """The address of a gRPC peer such as `ipv4:10.0.0.1:5000`; empty for sockets without one."""
    match = _PEER.fullmatch(unquote(peer))
    return (match["v4"] or match["v6"].partition("%")[0]) if match else ""


def _parse(text: str) -> IPv4Address | IPv6Address | None:
    try:
        address = ip_address(text)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address
