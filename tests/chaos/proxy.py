"""A TCP proxy before the database's socket, which can fall silent without closing anything."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path


class Proxy:
    """Forwards until told otherwise. Use it as `async with`.

    `silence()` swallows whatever comes over the connections of now, for ever, and over those that are
    made until `heal()`: a peer that is gone without a word, as behind a firewall that forgot it.
    """

    def __init__(self, socket: Path) -> None:
        self._socket = socket
        self._server: asyncio.Server | None = None
        self._silent = False
        self._open: set[asyncio.Event] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()
        self.port = 0

    async def __aenter__(self) -> Proxy:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for writer in self._writers:
            writer.close()

    def silence(self) -> int:
        """Nothing more comes through; returns how many connections it struck."""
        self._silent = True
        struck = len(self._open)
        for silent in self._open:
            silent.set()
        self._open.clear()
        return struck

    def heal(self) -> None:
        """New connections come through again; those that fell silent stay so."""
        self._silent = False

    def forget(self) -> None:
        """Ends everything, as if the server had noticed at last."""
        for writer in self._writers:
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        silent = asyncio.Event()
        if self._silent:
            return  # accepted, and never answered
        self._open.add(silent)
        there, back = await asyncio.open_unix_connection(str(self._socket))
        self._writers.add(back)
        for source, sink in ((reader, back), (there, writer)):
            task = asyncio.create_task(self._pump(source, sink, silent))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    @staticmethod
    async def _pump(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter, silent: asyncio.Event
    ) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65536):
                if silent.is_set():
                    continue  # read, so that the sender's kernel is content, and dropped
                writer.write(data)
                await writer.drain()
        if not silent.is_set():
            writer.close()
