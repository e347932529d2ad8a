"""An IMAP server that a test scripts: for answers that no decent server gives."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from types import TracebackType

Reply = Callable[["Talk", str], Awaitable[None]]


@dataclass
class Talk:
    """One connection: the tag of the command that is being answered, and where to write."""

    writer: asyncio.StreamWriter
    reader: asyncio.StreamReader
    tag: str = ""
    messages: dict[int, bytes] = field(default_factory=dict)  # of the folder that is open

    async def say(self, *lines: str | bytes) -> None:
        """Lines of the server's; `{tag}` stands for the command's tag."""
        for line in lines:
            raw = line.replace("{tag}", self.tag).encode() if isinstance(line, str) else line
            self.writer.write(raw + b"\r\n")
        await self.writer.drain()

    async def raw(self, data: bytes) -> None:
        """Bytes as they are."""
        self.writer.write(data)
        await self.writer.drain()

    def hang_up(self) -> None:
        """Ends the connection."""
        self.writer.close()

    async def sleep(self) -> None:
        """Never answers again."""
        await asyncio.Event().wait()


@dataclass
class ScriptedImap:
    """Answers each command by the first script whose pattern fits it, else like a decent server.

    `messages` are what a decent server holds: UID → bytes. Use it as `async with`.
    """

    messages: dict[int, bytes] = field(default_factory=dict)
    greeting: str | None = "* OK ready"
    capabilities: str = "IMAP4rev1 UIDPLUS"
    uidvalidity: int | None = 7
    date: str = "10-Jan-2024 09:00:00 +0000"  # of messages that `dates` does not know
    dates: dict[int, str] = field(default_factory=dict)
    folders: dict[str, dict[int, bytes]] = field(default_factory=dict)  # beside INBOX
    commands: list[str] = field(default_factory=list)
    connections: int = 0
    port: int = 0
    _scripts: list[tuple[re.Pattern[str], Reply]] = field(default_factory=list)
    _server: asyncio.Server | None = None
    _talks: set[asyncio.Task[None]] = field(default_factory=set)
    _writers: list[asyncio.StreamWriter] = field(default_factory=list)

    def on(self, pattern: str, reply: Reply) -> None:
        """From now on commands that contain `pattern` are answered by `reply`."""
        self._scripts.insert(0, (re.compile(pattern), reply))

    def forget_scripts(self) -> None:
        """From now on it is a decent server."""
        self._scripts.clear()

    async def __aenter__(self) -> ScriptedImap:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._server is not None
        self._server.close()
        for talk in self._talks:
            talk.cancel()
        await asyncio.gather(*self._talks, return_exceptions=True)
        for writer in self._writers:
            writer.transport.abort()  # what a client never took would keep it open for good
        await asyncio.sleep(0)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._talks.add(task)
        self._writers.append(writer)
        self.connections += 1
        talk = Talk(writer, reader)
        try:
            if self.greeting is None:
                await talk.sleep()
            await talk.say(self.greeting or "")
            while line := await reader.readline():
                talk.tag, _, command = line.decode().strip().partition(" ")
                self.commands.append(command)
                for pattern, reply in self._scripts:
                    if pattern.search(command):
                        await reply(talk, command)
                        break
                else:
                    await self._decently(talk, command)
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.close()
            self._talks.discard(task)

    async def _decently(self, talk: Talk, command: str) -> None:
        name = command.split(maxsplit=1)[0].upper() if command else ""
        if name == "CAPABILITY":
            await talk.say(f"* CAPABILITY {self.capabilities}")
        elif name == "EXAMINE":
            talk.messages = self.folders.get(command.split()[1].strip('"'), self.messages)
            nextuid = max(talk.messages, default=0) + 1
            validity = [] if self.uidvalidity is None else [
                f"* OK [UIDVALIDITY {self.uidvalidity}] valid"]  # fmt: skip
            await talk.say(
                f"* {len(talk.messages)} EXISTS", *validity, f"* OK [UIDNEXT {nextuid}] next"
            )
        elif command.startswith("UID SEARCH"):
            await talk.say("* SEARCH " + " ".join(map(str, self._found(talk.messages, command))))
        elif command.startswith("UID FETCH"):
            await self._fetch(talk, command)
        elif name == "LOGOUT":
            await talk.say("* BYE")
        await talk.say("{tag} OK done")

    @staticmethod
    def _found(messages: dict[int, bytes], command: str) -> list[int]:
        match = re.search(r"UID SEARCH UID (\d+):(\*|\d+)", command)
        if match is None:
            return sorted(messages)
        least = int(match[1])
        if match[2] != "*":
            return [uid for uid in sorted(messages) if least <= uid <= int(match[2])]
        # RFC 9051, 6.4.8: `n:*` is the range between n and the last message, in any order.
        last = max(messages, default=0)
        return [u for u in sorted(messages) if min(least, last) <= u <= max(least, last)]

    async def _fetch(self, talk: Talk, command: str) -> None:
        uids = [int(uid) for uid in command.split()[2].split(",")]
        for number, uid in enumerate(uids, 1):
            body = talk.messages.get(uid)
            if body is None:
                continue
            if "BODY.PEEK" in command:
                await talk.raw(b"* %d FETCH (UID %d BODY[] {%d}\r\n" % (number, uid, len(body)))
                await talk.raw(body + b")\r\n")
            else:
                date = self.dates.get(uid, self.date)
                told = f'(UID {uid} INTERNALDATE "{date}" RFC822.SIZE {len(body)})'
                await talk.say(f"* {number} FETCH {told}")
