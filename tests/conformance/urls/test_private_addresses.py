"""No address that a user gives leads into the private network, however it is written or led to."""

from __future__ import annotations

import itertools
import socket

import pytest

from tests.conformance.urls.conftest import Internet
from tests.conformance.urls.entrances import ENTRANCES, Entrance
from tests.servers.private_urls import FORMS
from tests.service import Service
from tests.unit.sources_http.raw_server import PRIVATE, PUBLIC

_numbers = itertools.count(1)
REDIRECTS = ("redirect-301", "redirect-302", "redirect-307", "redirect-308")
# Not of this machine: nobody would see a hit, so what is told must say that none was tried.
ELSEWHERE = (
    "10.0.0.1", "172.16.0.1", "192.168.1.1", "100.64.0.1", "169.254.169.254", "[fd00:ec2::254]",
    "[::ffff:169.254.169.254]", "[64:ff9b::a9fe:a9fe]", "[2002:a9fe:a9fe::]", "[fe80::1]", "[fc00::1]",
    "224.0.0.1", "255.255.255.255", "192.0.0.192", "168.63.129.16", "198.18.0.1", "0.0.0.0",
    "[ff02::1]", "[2001:db8::1]", "2852039166", "0xa9fea9fe", "0251.0376.0251.0376",
)  # fmt: skip


@pytest.fixture(params=ENTRANCES)
def entrance(request: pytest.FixtureRequest) -> Entrance:
    """Each way in, by its name."""
    return ENTRANCES[request.param]


@pytest.fixture
def user() -> str:
    """A user whom no other test knows."""
    return f"urls-{next(_numbers)}"


def test_there_are_enough_forms() -> None:
    assert len(FORMS) + len(ELSEWHERE) >= 230
    assert len(set(FORMS)) == len(FORMS)


async def test_a_public_address_is_fetched(
    guarded: Service, internet: Internet, entrance: Entrance, user: str
) -> None:
    """Else nothing below would prove anything."""
    internet.names.set("public.test", [PUBLIC])
    urls = [internet.public.url("/feed/a"), internet.public.url("/feed/b", host="public.test")]
    urls += [internet.lead_to(way, urls[0]) for way in (*REDIRECTS, "page")]
    assert await entrance(guarded, user, urls) == dict.fromkeys(urls)


@pytest.mark.parametrize("way", ["direct", *REDIRECTS, "page"])
async def test_no_form_of_a_private_address_is_reached(
    guarded: Service, internet: Internet, entrance: Entrance, user: str, way: str
) -> None:
    internet.names.set("public.test", [PUBLIC])
    urls = {}
    for form in (*FORMS, *ELSEWHERE):
        target = f"http://{form}:{internet.canary.port}/feed"
        if way == "direct":
            urls[form] = target
        elif form.isprintable():  # no header and no page carries the others
            urls[form] = internet.lead_to(way, target)
    assert len(urls) >= 220
    told = await entrance(guarded, user, list(urls.values()))
    assert internet.canary.connections == 0
    fetched = [form for form, url in urls.items() if told[url] is None]
    assert fetched == []
    # That an address is private is said, and nothing of what is there.
    private = "127.0.0.1", "169.254.169.254", "[64:ff9b::a9fe:a9fe]"
    assert len({told[urls[form]] for form in private}) == 1


async def test_an_open_port_and_a_closed_one_are_told_alike(
    guarded: Service, internet: Internet, entrance: Entrance, user: str
) -> None:
    internet.names.set("private.test", [PRIVATE[0]])
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        ports = internet.canary.port, closed.getsockname()[1]
        for host in ("127.0.0.1", "[::1]", "localhost", "private.test", "[::ffff:127.0.0.1]"):
            urls = [f"http://{host}:{port}/feed" for port in ports]
            both = [*urls, *(internet.lead_to("redirect-302", url) for url in urls)]
            told = await entrance(guarded, user, both)
            assert told[both[0]] == told[both[1]] is not None
            assert told[both[2]] == told[both[3]] is not None
            assert all(str(port) not in str(one) for one in told.values() for port in ports)
    assert internet.canary.connections == 0


REBINDINGS = {
    "public, then private": ([PUBLIC], ["127.0.0.1"]),
    "public, then private of the other family": ([PUBLIC], ["::1"]),
    "public, then mapped": ([PUBLIC], ["::ffff:127.0.0.1"]),
    "public, then NAT64": ([PUBLIC], ["64:ff9b::7f00:1"]),
    "public, then this network": ([PUBLIC], ["0.0.0.0"]),
    "both from then on": ([PUBLIC], [PUBLIC, "127.0.0.1"]),
    "both families from then on": ([PUBLIC], [PUBLIC, "::1"]),
    "private among twenty": ([PUBLIC], [*(f"8.8.8.{n}" for n in range(19)), "127.0.0.1"]),
    "to and fro": ([PUBLIC], ["127.0.0.1"], [PUBLIC], ["127.0.0.1"], [PUBLIC], ["::1"]),
    "private first": (["127.0.0.1"], [PUBLIC], ["127.0.0.1"]),
}


@pytest.mark.parametrize("kept", [False, True], ids=["asked again", "a redirect that was kept"])
@pytest.mark.parametrize("name", REBINDINGS)
async def test_a_name_that_changes_its_address_leads_nowhere(
    guarded: Service,
    internet: Internet,
    entrance: Entrance,
    user: str,
    name: str,
    kept: bool,
) -> None:
    host = f"rebind-{next(_numbers)}.test"
    entries = REBINDINGS[name]
    internet.names.set(host, *entries)
    url = internet.public.url(f"/feed/{host}", host=host)
    if kept:
        url = internet.lead_to("redirect-301", url)
    times = len(entries) + 1
    fetched = [(await entrance(guarded, user, [url]))[url] is None for _ in range(times)]
    assert internet.names.asked.count(host) >= len(entries)
    assert internet.canary.connections == 0
    # Fetched where the answer was public and nothing else.
    public = [entry == [PUBLIC] for entry in entries]
    assert fetched[: len(public)] == public or kept
    assert not fetched[-1]
    assert any(fetched)


async def test_the_canary_sings_where_the_operator_opened_the_network(
    guarded: Service, internet: Internet
) -> None:
    """It would have been heard: the same request without the guard reaches it."""
    before = internet.canary.connections
    for host in PRIVATE:
        async with guarded.http.get(internet.canary.url("/feed", host=host)) as answer:
            assert "SEKRET" in await answer.text()
    assert internet.canary.connections == before + len(PRIVATE)
    internet.canary.connections = before
