"""A whole service whose internet is this machine: one address of it is public, the others are not."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from functools import partial
from html import escape
from urllib.parse import unquote

import pytest

from distill_grpc.app import parts
from distill_grpc.sources.http import HttpClient
from tests.databases import fresh_database
from tests.servers.dns import DnsLookup, DnsServer
from tests.service import Service, start_service
from tests.unit.sources_http.raw_server import (
    PRIVATE,
    PUBLIC,
    Exchange,
    Script,
    Server,
    public_or_test,
)

FEED = (
    '<rss version="2.0"><channel><title>Public</title><item><guid>{0}</guid><title>{0}</title>'
    "</item></channel></rss>"
)


@dataclass
class Internet:
    """A public server, and a canary on the same port of every private address of this machine."""

    names: DnsServer
    public: Server
    canary: Server
    targets: list[str] = field(default_factory=list)  # what the public server leads to, by number

    def lead_to(self, way: str, target: str) -> str:
        """A public address that leads to `target`: `redirect-301` … or `page`."""
        self.targets.append(target)
        return self.public.url(f"/{way}/{len(self.targets) - 1}")


async def _canary(exchange: Exchange) -> None:
    await exchange.answer(FEED.format("SEKRET"))


def _script(internet: list[Internet]) -> Script:
    async def answer(exchange: Exchange) -> None:
        way, _, number = exchange.path.strip("/").partition("/")
        close = ["Connection: close"]  # the next request looks the name up again
        if way.startswith("redirect-"):
            target = internet[0].targets[int(number)]
            status = int(way.removeprefix("redirect-"))
            await exchange.answer(status=f"{status} Moved", headers=[f"Location: {target}", *close])
        elif way == "page":
            link = escape(internet[0].targets[int(number)])
            kind = "application/rss+xml"
            page = f'<html><head><link rel="alternate" type="{kind}" href="{link}"></head></html>'
            await exchange.answer(page, headers=["Content-Type: text/html", *close])
        else:
            body = FEED.format(unquote(exchange.path))
            await exchange.answer(body, headers=["Content-Type: application/rss+xml", *close])

    return answer


@pytest.fixture(scope="module")
async def internet() -> AsyncIterator[Internet]:
    """See `Internet`."""
    late: list[Internet] = []
    public = Server(_script(late), 0)
    await public.start([PUBLIC], None)
    canary = Server(_canary, public.port)
    await canary.start(PRIVATE, None)
    async with DnsServer() as names:
        late.append(Internet(names, public, canary))
        yield late[0]
    await public.stop()
    await canary.stop()


@pytest.fixture(scope="module")
async def guarded(
    postgres: str, tmp_path_factory: pytest.TempPathFactory, internet: Internet
) -> AsyncIterator[Service]:
    """Everything as in production but the name server, and that `PUBLIC` counts as public."""
    patch = pytest.MonkeyPatch()
    client = partial(
        HttpClient, resolver=DnsLookup(internet.names, PRIVATE), allowed=public_or_test
    )
    patch.setattr(parts, "HttpClient", client)
    with fresh_database(postgres) as address:
        async with start_service(
            address, tmp_path_factory.mktemp("guarded"), mock=False, sync_min_interval="1s"
        ) as service:
            assert not service.settings.allow_private_addresses
            yield service
    patch.undo()
