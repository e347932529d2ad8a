"""A connection to a mail server for those who live in the event loop: blocking calls in threads."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from datetime import datetime
from typing import TypeVar

from distill_grpc.sources.addresses import is_public
from distill_grpc.sources.base import Json, PlatformError, SourceFailure
from distill_grpc.sources.http import HttpClient
from distill_grpc.sources.mail_client import MailClient, Server
from distill_grpc.sources.mail_failures import failure_of

Value = TypeVar("Value")

PORTS = {"implicit": 993, "starttls": 143, "none": 143}
COMMAND_SECONDS = 60.0  # for one command with everything that it brings, however slowly
_OPEN_SECONDS = 45.0
_AT_ONCE = 16  # connections of this process


class Postman:
    """Opens sessions; one for all accounts of a process."""

    def __init__(self, http: HttpClient, *, command_seconds: float = COMMAND_SECONDS) -> None:
        self._http = http
        self._seconds = command_seconds
        self._threads = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="distill-mail")
        self._places = asyncio.Semaphore(_AT_ONCE)
        self._tls = http.tls_context or ssl.create_default_context()

    @asynccontextmanager
    async def session(
        self,
        credentials: Mapping[str, Json],
        settings: Mapping[str, Json],
        now: datetime,
        *,
        waiting: bool = False,
    ) -> AsyncIterator[Session]:
        """A session that is signed in. Raises a `SourceFailure`.

        One that mostly waits (`waiting`) takes no place from those that are at work.
        """
        async with contextlib.nullcontext() if waiting else self._places:
            session = Session(self._threads, now, self._seconds)
            try:
                await session.open(await self._server(credentials, settings), credentials)
                yield session
            finally:
                await session.close()

    def close(self) -> None:
        """Waits for no thread: those that are left end with their sockets."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _server(
        self, credentials: Mapping[str, Json], settings: Mapping[str, Json]
    ) -> Server:
        host, tls = str(credentials["host"]), str(settings.get("tls", "implicit"))
        addresses = await self._http.addresses_of(host)
        if tls == "none" and any(map(is_public, addresses)):
            # Whoever wants this by mistake would send a password over the internet in the open.
            raise PlatformError(
                "Without encryption only servers of the own network are read.",
                reason="tls_required",
                permanent=True,
            )
        port = int(credentials.get("port") or PORTS[tls])
        texts = [str(address) for address in addresses]
        return Server(host=host, addresses=texts, port=port, tls=tls, context=self._tls)


class Session:
    """One connection. Every call has an end of its own, after which the connection is dropped."""

    def __init__(self, threads: ThreadPoolExecutor, now: datetime, seconds: float) -> None:
        self._threads = threads
        self._now = now
        self._seconds = seconds
        self._client: MailClient | None = None
        self.broken = False

    async def open(self, server: Server, credentials: Mapping[str, Json]) -> None:
        """Connects and signs in. Raises a `SourceFailure`."""

        def opened(client: MailClient) -> None:
            self._client = client
            if self.broken:
                client.break_off()

        await self._run(lambda: MailClient(server, opened), _OPEN_SECONDS, signing_in=False)
        await self.call(
            lambda client: client.sign_in(
                str(credentials["username"]),
                password=str(credentials.get("password") or ""),
                access_token=str(credentials.get("access_token") or ""),
            ),
            seconds=_OPEN_SECONDS,  # servers answer wrong passwords slowly
            signing_in=True,
        )

    async def call(
        self,
        work: Callable[[MailClient], Value],
        *,
        seconds: float | None = None,
        signing_in: bool = False,
    ) -> Value:
        """What `work` returns, called in a thread. Raises a `SourceFailure`."""
        client = self._client
        if client is None or self.broken:
            raise PlatformError("The mail server broke off.", reason="broken_off")
        return await self._run(
            lambda: work(client), seconds or self._seconds, signing_in=signing_in
        )

    async def until_told(self, seconds: float) -> bool:
        """Waits until the server tells of news in the folder that is open, or for so long.

        A server that has fallen silent for good is noticed at the end. Raises a `SourceFailure`.
        """
        loop = asyncio.get_running_loop()
        readable = asyncio.Event()
        await self.call(lambda client: client.start_idle())
        number = await self.call(lambda client: client.fileno())
        loop.add_reader(number, readable.set)
        try:
            async with asyncio.timeout(seconds):
                await readable.wait()
        except TimeoutError:
            pass
        except asyncio.CancelledError:
            self.drop()
            raise
        finally:
            loop.remove_reader(number)
        return await self.call(lambda client: client.end_idle())

    def drop(self) -> None:
        """Ends the connection at once, whatever is going on."""
        self.broken = True
        if self._client is not None:
            self._client.break_off()

    async def close(self) -> None:
        """Ends the connection politely where it is in order."""
        client = self._client
        if client is None:
            return
        try:
            async with asyncio.timeout(5.0):
                await self._in_thread(client.close)
        except (TimeoutError, RuntimeError):
            self.drop()

    async def _run(self, work: Callable[[], Value], seconds: float, *, signing_in: bool) -> Value:
        try:
            async with asyncio.timeout(seconds):
                return await self._in_thread(work)
        except asyncio.CancelledError:
            self.drop()
            raise
        except Exception as error:
            failure = failure_of(error, self._now, signing_in=signing_in)
            if _ends_the_connection(failure, signing_in=signing_in):
                self.drop()
            raise failure from error

    async def _in_thread(self, work: Callable[[], Value]) -> Value:
        future = asyncio.get_running_loop().run_in_executor(self._threads, work)
        try:
            return await asyncio.shield(future)
        except BaseException:
            # Nobody waits any more: what the thread still raises is nobody's concern.
            future.add_done_callback(lambda done: done.cancelled() or done.exception())
            raise


def _ends_the_connection(failure: SourceFailure, *, signing_in: bool) -> bool:
    """Whether the connection is of no use after it; a folder's refusal leaves it in order."""
    return signing_in or failure.reason not in {"gone", "no_right", "refused"}
