"""Operators' addresses may be private; that opens these origins to their sources, and nothing else."""

from __future__ import annotations

import pytest

from distill_grpc.sources.base import PlatformError
from distill_grpc.sources.http import HttpClient
from tests.servers.feeds import Answer, FeedServer


async def test_the_operator_s_origin_is_reached_wherever_it_lies() -> None:
    async with FeedServer() as server, HttpClient(allow_private_addresses=False) as http:
        address = server.serve("/api/v3/user", Answer(body=b"{}"))
        trusting = http.trusting(server.url("/api/v3"))
        assert (await trusting.get(address)).status == 200


async def test_users_addresses_stay_guarded_even_where_they_name_the_operator_s_origin() -> None:
    async with FeedServer() as server, HttpClient(allow_private_addresses=False) as http:
        address = server.serve("/feed.xml", Answer(body=b"x"))
        trusting = http.trusting(address)
        await trusting.get(address)
        with pytest.raises(PlatformError) as refused:
            await http.get(address)
        assert refused.value.reason == "private_address"
        assert len(server.ledger) == 1


async def test_no_other_private_origin_is_opened() -> None:
    async with (
        FeedServer() as server,
        FeedServer() as other,
        HttpClient(allow_private_addresses=False) as http,
    ):
        trusting = http.trusting(server.url("/"))
        with pytest.raises(PlatformError) as refused:
            await trusting.get(other.serve("/feed.xml", Answer(body=b"x")))
        assert refused.value.reason == "private_address"
        assert other.ledger == []


async def test_a_redirect_of_the_operator_s_origin_leads_to_no_private_address() -> None:
    async with (
        FeedServer() as server,
        FeedServer() as other,
        HttpClient(allow_private_addresses=False) as http,
    ):
        leads = other.serve("/secret", Answer(body=b"x"))
        address = server.serve("/moved", Answer(status=302, location=leads))
        with pytest.raises(PlatformError) as refused:
            await http.trusting(address).get(address)
        assert refused.value.reason == "private_address"
        assert other.ledger == []


async def test_what_is_no_address_is_refused_at_once() -> None:
    async with HttpClient(allow_private_addresses=False) as http:
        with pytest.raises(ValueError, match="not a usable"):
            http.trusting("ftp://host/")
