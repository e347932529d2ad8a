"""Plays GitHub, YouTube, X and a mail server for many accounts; counts what is asked and served.

The same fakes that the tests use, with their limits: `/seen` tells the requests, the ids served, and
how often a limit was broken, since it was last asked; `/news` makes something new happen everywhere.
"""

from __future__ import annotations

import asyncio
import sys
from datetime import UTC, datetime, timedelta

from aiohttp import web

from tests.servers.github import GithubServer, stamp
from tests.servers.imap import ScriptedImap
from tests.servers.x import XServer
from tests.servers.x_world import XWorld
from tests.servers.youtube import YoutubeServer

BACKLOG = 20  # of each kind, that an account has when it is first read
CHANNELS = 3


def now() -> datetime:
    """The platforms' clock."""
    return datetime.now(UTC)


class Platforms:
    """All of them, with the same content for everybody."""

    def __init__(self, accounts: int) -> None:
        self.github, self.youtube = GithubServer(now), YoutubeServer(now)
        self.x, self.mail = XServer(XWorld(now(), runs=True)), ScriptedImap()
        # Hosts of their own, as a worker asks each by a few requests at once only; all of 127.0.0.0/8
        # is this machine on Linux.
        if sys.platform == "linux":
            self.github.host, self.youtube.host, self.x.host = "127.0.0.2", "127.0.0.3", "127.0.0.4"
        self.github.poll_interval = 0  # rounds follow each other faster than GitHub likes
        for number in range(accounts):
            self.github.add_account(f"token-{number}")
            self.youtube.keys.add(f"key-{number}")
            self.x.tokens.add(f"token-{number}")
            self.x.users[f"token-{number}"] = str(1_000 + number)
        self.channels = [self.youtube.add_channel(f"Channel {n}") for n in range(CHANNELS)]
        self._uid = 0
        self._commands = 0
        for number in range(BACKLOG):
            self.happen(now() - timedelta(hours=BACKLOG - number))

    def happen(self, at: datetime) -> None:
        """One thing of each kind."""
        self.github.add_thread(f"Thread of {at}", updated_at=stamp(at))
        self.github.add_event(created_at=stamp(at))
        for channel in self.channels:
            self.youtube.add_video(channel, f"Video of {at}", published=at, added=at, updated=at)
        self.x.world.publish(f"Post of {at}", at=at)
        self._uid += 1
        self.mail.messages[self._uid] = (
            f"From: a@a.example\r\nSubject: Mail {self._uid}\r\nMessage-ID: <{self._uid}@a>\r\n\r\nHello"
        ).encode()
        self.mail.dates[self._uid] = at.strftime("%d-%b-%Y %H:%M:%S +0000")

    def seen(self) -> dict[str, object]:
        """What happened since the last look."""
        commands = len(self.mail.commands) - self._commands
        self._commands += commands
        counts = {
            "github": len(self.github.ledger),
            "youtube": len(self.youtube.ledger),
            "x": len(self.x.ledger),
            "email": commands,
        }
        told = [*self.github.violations, *self.youtube.violations]
        refused = sum(asked.status in {403, 429} for asked in self.github.ledger)
        broken = len(told) + self.x.violations + refused
        for server in (self.github, self.youtube, self.x):
            server.ledger.clear()
        self.github.violations.clear()
        self.youtube.violations.clear()
        self.x.violations = 0
        return {"requests": counts, "violations": broken, "told": told[:5]}


async def main(port: int, accounts: int) -> None:
    """Serves until it is ended."""
    platforms = Platforms(accounts)
    async with platforms.github, platforms.youtube, platforms.x, platforms.mail:

        async def seen(_request: web.Request) -> web.Response:
            return web.json_response(platforms.seen())

        async def news(_request: web.Request) -> web.Response:
            platforms.happen(now())
            return web.json_response({})

        async def addresses(_request: web.Request) -> web.Response:
            found = {"github": platforms.github.origin, "youtube": platforms.youtube.root}
            found |= {"x": platforms.x.url}
            told = {**found, "email": platforms.mail.port, "channels": platforms.channels}
            return web.json_response(told)

        app = web.Application()
        app.router.add_get("/seen", seen)
        app.router.add_get("/news", news)
        app.router.add_get("/addresses", addresses)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port).start()
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2])))
