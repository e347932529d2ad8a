"""Nothing private is reached, whatever the address looks like and however it is led to."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from contextlib import suppress

import pytest
from raw_server import PRIVATE, PUBLIC, Exchange, Names, Server

from distill_grpc.sources.addresses import is_public
from distill_grpc.sources.base import PlatformError
from distill_grpc.sources.http import HttpClient
from tests.servers.private_urls import FORMS

REFUSALS = {"private_address", "invalid_url", "dns"}


async def leak(exchange: Exchange) -> None:
    await exchange.answer("SEKRET")


@pytest.fixture
async def canary(serve) -> Server:
    """Listens on every private loopback address; nobody may come."""
    return await serve(leak, hosts=PRIVATE)


class NumericNames(Names):
    """As the system's lookup, which understands numbers in every base, without asking a server."""

    async def __call__(self, host: str) -> Sequence[str]:
        if host.rstrip(".") == "localhost":
            return PRIVATE
        try:
            infos = socket.getaddrinfo(host, None, flags=socket.AI_NUMERICHOST)
        except (OSError, UnicodeError):
            return await super().__call__(host)
        return [str(info[4][0]) for info in infos]


@pytest.fixture
def names() -> Names:
    names = NumericNames()
    names.set("public.test", [PUBLIC])
    return names


def test_there_are_enough_forms():
    assert len(FORMS) >= 200


async def refused(client: HttpClient, url: str) -> PlatformError:
    with pytest.raises(PlatformError) as raised:
        await client.get(url)
    assert raised.value.reason in REFUSALS, url
    return raised.value


async def test_no_form_of_loopback_is_reached(canary: Server, client: HttpClient):
    for form in FORMS:
        for url in (f"http://{form}:{canary.port}/", f"http:////{form}:{canary.port}/"):
            await refused(client, url)
    assert canary.connections == 0


async def test_the_system_lookup_leads_to_no_private_address_either(canary: Server, clients):
    client = clients(resolver=None)
    for host in ("localhost", "0x7f000001", "0x7f.1", "0x0", "127.0x0.1", "127.1", "[::1]"):
        await refused(client, canary.url(host=host) if host[0] != "[" else canary.url(host="::1"))
    assert canary.connections == 0


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_no_redirect_leads_to_loopback(
    serve, canary: Server, client: HttpClient, status: int
):
    forms = [form for form in FORMS if form.isprintable()]

    async def script(exchange: Exchange) -> None:
        form = forms[int(exchange.path.removeprefix("/"))]
        await exchange.redirect(f"http://{form}:{canary.port}/", status)

    server = await serve(script)
    for number, _ in enumerate(forms):
        await refused(client, server.url(f"/{number}"))
    assert len(server.requests) == len(forms)
    assert canary.connections == 0


async def test_a_redirect_is_checked_at_every_hop(serve, canary: Server, client: HttpClient):
    async def script(exchange: Exchange) -> None:
        hop = int(exchange.path.removeprefix("/"))
        target = f"/{hop + 1}" if hop < 4 else canary.url(host=PRIVATE[0])
        await exchange.redirect(target)

    server = await serve(script)
    assert (await refused(client, server.url("/0"))).reason == "private_address"
    assert (len(server.requests), canary.connections) == (5, 0)


async def test_a_name_that_changes_its_address_gains_nothing(
    serve, client: HttpClient, names: Names, unused_port: int
):
    async def script(exchange: Exchange) -> None:
        await exchange.answer("public", headers=["Connection: close"])

    server = await serve(script, port=unused_port)
    canary = await serve(leak, hosts=PRIVATE, port=unused_port)
    names.set("rebind.test", [PUBLIC], [PRIVATE[0]])
    assert (await client.get(server.url(host="rebind.test"))).body == b"public"
    assert names.asked == ["rebind.test"]  # one lookup: what was checked is what was connected to
    assert (await refused(client, server.url(host="rebind.test"))).reason == "private_address"
    assert (server.connections, canary.connections) == (1, 0)


async def test_a_name_that_alternates_never_reaches_the_private_side(
    serve, client: HttpClient, names: Names, unused_port: int
):
    async def script(exchange: Exchange) -> None:
        await exchange.answer("public", headers=["Connection: close"])

    server = await serve(script, port=unused_port)
    canary = await serve(leak, hosts=PRIVATE, port=unused_port)
    for number in range(20):
        name = f"flip{number}.test"
        names.set(name, *([[PUBLIC], [PRIVATE[0]], [PUBLIC, PRIVATE[0]]] * 2))
        for _ in range(6):
            with suppress(PlatformError):
                assert (await client.get(server.url(host=name))).body == b"public"
    assert server.connections == 40
    assert canary.connections == 0


async def test_an_open_connection_serves_its_own_name_only(
    serve, client: HttpClient, names: Names, unused_port: int
):
    async def script(exchange: Exchange) -> None:
        await exchange.answer(exchange.headers["host"])

    server = await serve(script, port=unused_port)
    canary = await serve(leak, hosts=PRIVATE, port=unused_port)
    names.set("private.test", [PRIVATE[0]])
    for _ in range(2):
        await client.get(server.url(host="public.test"))
        await refused(client, server.url(host="private.test"))
    assert (server.connections, canary.connections) == (1, 0)


@pytest.mark.parametrize("first", [True, False])
async def test_a_private_address_beside_a_public_one_is_refused(
    serve, client: HttpClient, names: Names, first: bool
):
    server = await serve(leak)
    names.set("mixed.test", [PRIVATE[0], PUBLIC] if first else [PUBLIC, PRIVATE[0]])
    await refused(client, server.url(host="mixed.test"))
    assert server.connections == 0


async def test_an_open_and_a_closed_private_port_look_the_same(
    serve, canary: Server, client: HttpClient, names: Names
):
    names.set("private.test", [PRIVATE[0]])
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        ports = canary.port, closed.getsockname()[1]
        for host in (PRIVATE[0], "private.test"):
            for scheme in ("http", "https"):
                answers = [
                    await refused(
                        client, f"{scheme}://{host if ':' not in host else '[::1]'}:{port}/"
                    )
                    for port in ports
                ]
                assert len({(a.reason, a.message, a.permanent, a.retry_at) for a in answers}) == 1
                assert all(host not in a.message and "port" not in a.message for a in answers)
    assert canary.connections == 0


@pytest.mark.parametrize("variable", ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"])
async def test_no_proxy_of_the_environment_is_used(
    serve, canary: Server, clients, monkeypatch: pytest.MonkeyPatch, variable: str
):
    monkeypatch.setenv(variable, canary.url(host=PRIVATE[0]))
    server = await serve(leak)
    assert (await clients().get(server.url())).status == 200
    assert (len(server.requests), canary.connections) == (1, 0)


async def test_an_operator_can_open_the_private_network(canary: Server):
    async with HttpClient(allow_private_addresses=True) as client:
        for host in PRIVATE:
            assert (await client.get(canary.url(host=host))).body == b"SEKRET"
        assert (await client.get(canary.url(host="localhost"))).body == b"SEKRET"


async def test_without_the_operators_word_the_private_network_is_closed(canary: Server):
    async with HttpClient(allow_private_addresses=False) as client:
        for host in (*PRIVATE, "localhost"):
            assert (await refused(client, canary.url(host=host))).reason == "private_address"
    assert canary.connections == 0


@pytest.mark.parametrize("host", [form.strip("[]") for form in FORMS])
async def test_other_protocols_get_no_private_address_either(host: str) -> None:
    async with HttpClient(allow_private_addresses=False) as client:
        try:
            found = await client.addresses_of(host)
        except PlatformError as refused:
            reason, found = refused.reason, []
        else:
            reason = "dns"
    assert reason in REFUSALS
    # The system reads some numbers in octal: what counts is where that leads.
    assert all(map(is_public, found))


async def test_other_protocols_get_all_checked_addresses() -> None:
    async def lookup(host: str) -> Sequence[str]:
        return {
            "good.test": ["93.184.216.34", "2606:4700::1"],
            "mixed.test": ["93.184.216.34", "::1"],
        }[host]

    async with HttpClient(allow_private_addresses=False, resolver=lookup) as client:
        found = [str(address) for address in await client.addresses_of("good.test")]
        assert found == ["93.184.216.34", "2606:4700::1"]
        with pytest.raises(PlatformError) as refused:
            await client.addresses_of("mixed.test")
    assert refused.value.reason == "private_address"
