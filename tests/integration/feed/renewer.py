"""A process whose tasks all find the same token expired; prints the tokens that they got."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

from distill_grpc.db.engine import create_engine
from distill_grpc.encryption import Keyring
from distill_grpc.feed.store import connections
from distill_grpc.sources.base import OAuthFlow, SourceInfo
from distill_grpc.sources.http import HttpClient
from tests.integration.feed.world import keeper


async def renew(order: dict[str, Any]) -> list[str]:
    engine = create_engine(order["database_url"], pool_size=4, pool_timeout=30)
    http = HttpClient(allow_private_addresses=True)
    tokens = keeper(engine, Keyring([bytes.fromhex(order["key"])]), http)
    flow = OAuthFlow(token_url=order["token_url"])
    info = SourceInfo(name="oauth", title="OAuth", description="Plays.", oauth=flow)
    async with engine.connect() as connection:
        row = await connections.get_connection(connection, order["user"], "oauth")
    assert row is not None
    asked = (tokens.renewed(info, row, {"access_token": "old"}) for _ in range(order["askers"]))
    found = [str(one and one["access_token"]) for one in await asyncio.gather(*asked)]
    await http.close()
    await engine.dispose()
    return found


if __name__ == "__main__":
    print(json.dumps(asyncio.run(renew(json.loads(sys.argv[1])))))
