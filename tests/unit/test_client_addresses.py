"""Whom to believe about where a call comes from."""

from __future__ import annotations

from ipaddress import ip_network

import pytest

from distill_grpc.rpc.addresses import client_address, forwarded, peer_address

TRUSTED = [ip_network("10.0.0.0/8"), ip_network("::1"), ip_network("fd00::/8")]


@pytest.mark.parametrize(
    ("chain", "found"),
    [
        ([], ""),
        (["203.0.113.7"], "203.0.113.7"),
        (["198.51.100.1", "203.0.113.7"], "203.0.113.7"),  # a client that claims something
        (["203.0.113.7", "10.0.0.1"], "203.0.113.7"),
        (["6.6.6.6", "203.0.113.7", "10.1.1.1", "10.0.0.1"], "203.0.113.7"),
        (["10.0.0.2", "10.0.0.1"], "10.0.0.2"),  # proxies only: the farthest
        (["203.0.113.7", "unknown", "10.0.0.1"], "10.0.0.1"),
        (["2001:db8::7", "::1"], "2001:db8::7"),
        (["203.0.113.7", "::ffff:10.0.0.1"], "203.0.113.7"),
        (["203.0.113.7", "garbage"], ""),
    ],
)
def test_the_nearest_that_is_no_trusted_proxy_is_the_client(chain: list[str], found: str) -> None:
    assert client_address(chain, TRUSTED) == found


def test_without_trusted_proxies_nobody_is_believed() -> None:
    assert client_address(["203.0.113.7", "10.0.0.1"], []) == "10.0.0.1"


def test_chains_and_peers_are_read() -> None:
    assert forwarded("a, b,, c ") == ["a", "b", "c"]
    assert forwarded(None) == []
    assert peer_address("ipv4:10.0.0.1:5000") == "10.0.0.1"
    assert peer_address("ipv6:%5B::1%5D:5000") == "::1"
    assert peer_address("ipv6:[fe80::1%25eth0]:5000") == "fe80::1"
    assert peer_address("unix:/run/distill.sock") == ""
