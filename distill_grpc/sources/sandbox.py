"""Parses what strangers wrote in processes of their own, under limits.

A document that makes a parser hang, eat memory or crash costs one child process and fails alone. The
children are few, long-lived and started when first needed; they inherit no secrets from the
environment and end with their parent, however it ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import Mapping
from typing import Any

import structlog

from distill_grpc.sources.sandbox_worker import LENGTH

_log = structlog.get_logger()

_START_TIMEOUT = 30.0  # seconds; a busy machine may take long to start Python
_END_TIMEOUT = 2.0  # seconds for a child to end by itself
_MAX_ANSWER = 64 * 1024 * 1024  # bytes
_DOCUMENTS_PER_CHILD = 500  # then it is replaced, so that what parsers leak goes with it
_ENVIRONMENT = ("PATH", "PYTHONPATH", "PYTHONHOME", "LANG", "LC_ALL", "LC_CTYPE", "TMPDIR")


class SandboxFailure(Exception):  # noqa: N818 -- as in `base.py`
    """The document could not be parsed; `reason` is `timeout`, `died`, `too_large` or `error`."""

    def __init__(self, reason: str, detail: str = "") -> None:
        self.reason = reason
        super().__init__(f"{reason}: {detail}" if detail else reason)


class Sandbox:
    """Calls one function in child processes.

    `target` names it as `module:function`; it takes a JSON object and the document's bytes and
    returns something JSON-safe. `seconds` of wall time and of CPU time are allowed for a document,
    `memory` bytes of address space for a child; at most `size` children run at once.
    """

    def __init__(
        self,
        target: str,
        *,
        size: int = 2,
        seconds: float = 5.0,
        memory: int = 512 * 1024 * 1024,
    ) -> None:
        self._target = target
        self._seconds = seconds
        self._memory = memory
        self._size = size
        self._places = asyncio.Semaphore(size)
        self._idle: list[_Child] = []
        self._busy: set[_Child] = set()
        self._closed = False

    async def run(self, header: Mapping[str, Any], document: bytes) -> Any:
        """What the function returned. Raises `SandboxFailure`; other calls are not affected."""
        async with self._places:
            if self._closed:
                raise SandboxFailure("died", "the sandbox is closed")
            child = self._idle.pop() if self._idle else _Child()
            self._busy.add(child)
            try:
                answer = await self._ask(child, header, document)
                reusable = "ok" in answer and child.documents < _DOCUMENTS_PER_CHILD
            except BaseException:
                await child.kill()
                raise
            finally:
                self._busy.discard(child)
            if reusable and not self._closed:
                self._idle.append(child)
            else:
                await child.end()
        if "ok" not in answer:
            raise SandboxFailure("error", str(answer.get("error")))
        return answer["ok"]

    async def close(self) -> None:
        """Ends every child. May be called twice."""
        self._closed = True
        for child in self._busy:
            child.stop()  # the call that waits for it cleans up
        # Once every place was had, no call is left.
        for _ in range(self._size):
            await self._places.acquire()
        for _ in range(self._size):
            self._places.release()
        idle, self._idle = self._idle, []
        await asyncio.gather(*(child.end() for child in idle))

    async def _ask(self, child: _Child, header: Mapping[str, Any], document: bytes) -> Any:
        try:
            if not child.running:
                async with asyncio.timeout(_START_TIMEOUT):
                    await child.start(self._target, self._memory, int(self._seconds))
            if self._closed:
                raise SandboxFailure("died", "the sandbox is closed")
            async with asyncio.timeout(self._seconds):
                return await child.ask(header, document)
        except TimeoutError:
            _log.warning("parser_killed", target=self._target, size=len(document))
            raise SandboxFailure("timeout") from None
        except (asyncio.IncompleteReadError, ConnectionError):
            _log.warning("parser_died", target=self._target, size=len(document))
            raise SandboxFailure("died") from None


class _Child:
    """One child process."""

    def __init__(self) -> None:
        self.documents = 0
        self._process: asyncio.subprocess.Process | None = None

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.returncode is None

    async def start(self, target: str, memory: int, cpu: int) -> None:
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-B", "-m", "distill_grpc.sources.sandbox_worker"),
            *(target, str(memory), str(cpu)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            env={name: os.environ[name] for name in _ENVIRONMENT if name in os.environ},
        )
        await self._answer()  # the child says when it is ready

    async def ask(self, header: Mapping[str, Any], document: bytes) -> Any:
        _, stdin = self._pipes()
        for frame in (json.dumps(dict(header)).encode(), document):
            stdin.write(LENGTH.pack(len(frame)))
            stdin.write(frame)
        await stdin.drain()
        self.documents += 1
        return await self._answer()

    async def end(self) -> None:
        """Lets the child end by itself, and kills it where it does not."""
        if self._process is None:
            return
        _, stdin = self._pipes()
        stdin.close()
        try:
            async with asyncio.timeout(_END_TIMEOUT):
                await self._process.wait()
        except TimeoutError:
            pass
        await self.kill()

    def stop(self) -> None:
        """Kills the child without waiting for its end."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()

    async def kill(self) -> None:
        """Kills the child; nothing of it is left afterwards."""
        if self._process is None:
            return
        self.stop()
        stdout, stdin = self._pipes()
        stdin.close()
        # The event loop notices the end only once everything that was written is read.
        while await stdout.read(1 << 20):
            pass
        await self._process.wait()
        with contextlib.suppress(ConnectionError):
            await stdin.wait_closed()

    async def _answer(self) -> Any:
        stdout, _ = self._pipes()
        (length,) = LENGTH.unpack(await stdout.readexactly(LENGTH.size))
        if length > _MAX_ANSWER:
            raise SandboxFailure("too_large")
        return json.loads(await stdout.readexactly(length))

    def _pipes(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        process = self._process
        if process is None or process.stdout is None or process.stdin is None:
            raise RuntimeError("the child was not started")
        return process.stdout, process.stdin
