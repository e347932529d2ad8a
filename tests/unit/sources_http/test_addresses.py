from __future__ import annotations

import asyncio
import socket
import threading
from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distill_grpc.sources.addresses import (
    AddressRefusedError,
    GuardedResolver,
    SystemLookup,
    guarded_socket,
    is_public,
)


def words(text: str) -> list[str]:
    return text.split()


PRIVATE_4 = words("""
    0.0.0.0 0.1.2.3 10.0.0.0 10.255.255.255 100.64.0.1 100.100.100.200 100.127.255.255 127.0.0.1
    127.255.255.254 168.63.129.16 169.254.0.1 169.254.169.254 169.254.170.2 172.16.0.1 172.31.255.255
    192.0.0.1 192.0.0.8 192.0.0.9 192.0.0.192 192.0.2.1 192.88.99.1 192.168.0.1 192.168.255.255
    198.18.0.1 198.19.255.255 198.51.100.1 203.0.113.255 224.0.0.1 239.255.255.250 240.0.0.1
    255.255.255.255
""")
PUBLIC_4 = words("""
    1.1.1.1 8.8.8.8 9.255.255.255 11.0.0.0 100.63.255.255 100.128.0.0 126.255.255.255 128.0.0.1
    140.82.121.4 168.63.129.15 169.253.255.255 172.15.255.255 172.32.0.0 191.255.255.255 192.0.1.1
    192.167.255.255 198.17.255.255 198.20.0.0 223.255.255.255
""")
PRIVATE_6 = words("""
    :: ::1 ::2 ::ffff:0:0 64:ff9b:1::1 64:ff9b:1::808:808 100::1 2001::1 2001:2::1 2001:10::1 2001:20::1
    2001:db8::1 3fff::1 3fff:fff:ffff::1 5f00::1 fc00::1 fd00::1 fd00:ec2::254 fd20:ce::254 fe80::1
    fe80::1%eth0 febf::1 fec0::1 ff00::1 ff02::1 ff0e::1 4000::1 1fff::1 ::127.0.0.1 ::8.8.8.8
    2001:0:4136:e378:8000:63bf:3fff:fdd2
""")
PUBLIC_6 = words("""
    2001:200::1 2001:4860:4860::8888 2606:4700:4700::1111 2a00:1450:4001:830::200e 2400::1 3ffe::1
    3fff:1000::1
""")


@pytest.mark.parametrize("text", PRIVATE_4 + PRIVATE_6)
def test_an_address_that_is_no_public_host_is_refused(text: str):
    assert not is_public(ip_address(text))


@pytest.mark.parametrize("text", PUBLIC_4 + PUBLIC_6)
def test_a_public_address_is_allowed(text: str):
    assert is_public(ip_address(text))


def wrapped(address: IPv4Address) -> list[IPv6Address]:
    value = int(address)
    return [
        IPv6Address((0xFFFF << 32) | value),  # mapped
        IPv6Address((0x0064FF9B << 96) | value),  # NAT64
        IPv6Address((0x2002 << 112) | (value << 80) | 1),  # 6to4
    ]


@given(st.ip_addresses(v=4))
def test_wrapping_an_ipv4_address_changes_nothing(address: IPv4Address):
    assert {is_public(form) for form in wrapped(address)} == {is_public(address)}


@given(st.ip_addresses(v=4))
def test_withdrawn_wrappings_are_refused_whatever_they_carry(address: IPv4Address):
    value = int(address)
    compatible = IPv6Address(value)
    teredo = IPv6Address((0x20010000 << 96) | (0x08080808 << 64) | (value ^ 0xFFFFFFFF))
    translated = IPv6Address((0xFFFF << 48) | value)  # ::ffff:0:a.b.c.d (RFC 2765)
    assert not any(map(is_public, (compatible, teredo, translated)))


@given(st.ip_addresses())
def test_nothing_that_python_calls_private_passes(address: IPv4Address | IPv6Address):
    # Python is the second opinion; its own holes are the reason for the tables.
    if address.is_loopback or address.is_link_local or address.is_multicast:
        assert not is_public(address)


async def test_a_name_with_one_private_address_is_refused_whole():
    async def lookup(host: str) -> list[str]:
        return ["8.8.8.8", "2606:4700::1", "10.0.0.1"]

    with pytest.raises(AddressRefusedError):
        await GuardedResolver(lookup, is_public).resolve("mixed.test", 80)


async def test_a_private_address_among_twenty_is_found():
    async def lookup(host: str) -> list[str]:
        return [f"8.8.8.{n}" for n in range(19)] + ["::1"]

    with pytest.raises(AddressRefusedError):
        await GuardedResolver(lookup, is_public).resolve("many.test", 80)


async def test_checked_addresses_are_handed_over_as_they_are():
    async def lookup(host: str) -> list[str]:
        return ["8.8.8.8", "2606:4700:0:0::1"]

    results = await GuardedResolver(lookup, is_public).resolve("a.test", 443)
    assert [(r["host"], r["port"], r["family"]) for r in results] == [
        ("8.8.8.8", 443, socket.AF_INET),
        ("2606:4700::1", 443, socket.AF_INET6),
    ]
    assert all(r["flags"] & socket.AI_NUMERICHOST for r in results)
    only_4 = await GuardedResolver(lookup, is_public).resolve("a.test", 443, socket.AF_INET)
    assert [r["host"] for r in only_4] == ["8.8.8.8"]


async def test_a_name_without_addresses_is_an_error():
    async def lookup(host: str) -> list[str]:
        return []

    with pytest.raises(OSError, match="no address"):
        await GuardedResolver(lookup, is_public).resolve("empty.test", 80)


def test_no_socket_is_made_for_a_refused_address():
    make = guarded_socket(is_public)
    with pytest.raises(AddressRefusedError):
        make((socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 80)))
    with make((socket.AF_INET, socket.SOCK_STREAM, 6, "", ("8.8.8.8", 80))) as made:
        assert made.family == socket.AF_INET


@pytest.mark.parametrize("host", ["127.1", "0x7f000001", "0177.0.0.1", "2130706433", "localhost"])
async def test_the_system_lookup_gives_the_real_address(host: str):
    assert "127.0.0.1" in await SystemLookup()(host)


@pytest.mark.parametrize("host", ["nothing.invalid", "a" * 70 + ".test", "a..b"])
async def test_the_system_lookup_fails_with_an_os_error(host: str):
    with pytest.raises(OSError):
        await SystemLookup()(host)


async def test_a_cancelled_lookup_frees_its_place_when_its_thread_ends():
    lookup = SystemLookup(side_by_side=1)
    task = asyncio.create_task(lookup("127.0.0.1"))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await asyncio.wait_for(lookup("127.0.0.1"), 5) == ("127.0.0.1",)
    assert not [t for t in threading.enumerate() if t.name == "distill-dns" and not t.daemon]
