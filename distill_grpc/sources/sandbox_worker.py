"""The child's side of the sandbox: reads a document, calls one function, writes its answer.

Run as `python -m distill_grpc.sources.sandbox_worker module:function MEMORY CPU` by `sandbox.py`.
Frames are a length (4 bytes, big-endian) and that many bytes. A request is two frames: JSON, then
the document; an answer is one frame of JSON: `{"ok": …}` or `{"error": "<exception's class>"}`.
Ends when its input ends, so that it never outlives a parent that was killed.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import struct
import sys
from typing import Any, BinaryIO

try:
    import resource
except ImportError:  # not a POSIX system: the parent's clock is the only limit
    resource = None  # type: ignore[assignment]  # the name is checked before each use

LENGTH = struct.Struct(">I")


def main(target: str, memory: int, cpu: int) -> None:
    """Serves `target` (`module:function`) until the input ends.

    `memory`: bytes of address space; `cpu`: seconds for one document.
    """
    # Ctrl-C reaches the whole process group; the parent decides when its children end.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    requests = sys.stdin.buffer
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints must not get between the frames
    module, _, name = target.partition(":")
    function = getattr(importlib.import_module(module), name)
    _limit_process(memory)
    _write(answers, {"ok": None})
    while (header := _read(requests)) is not None:
        document = _read(requests)
        if document is None:
            return
        _limit_next_document(cpu)
        try:
            answer = {"ok": function(json.loads(header), document)}
        except MemoryError:
            # The rest of the memory's state is unknown: answer and start afresh.
            _write(answers, {"error": "MemoryError"})
            return
        except Exception as error:  # whatever a parser stumbles over is the document's fault
            answer = {"error": type(error).__name__}
        _write(answers, answer)


def _read(stream: BinaryIO) -> bytes | None:
    head = stream.read(LENGTH.size)
    if len(head) < LENGTH.size:
        return None
    (length,) = LENGTH.unpack(head)
    body = stream.read(length)
    return body if len(body) == length else None


def _write(stream: BinaryIO, answer: Any) -> None:
    body = json.dumps(answer, ensure_ascii=False).encode("utf-8", "replace")
    try:
        stream.write(LENGTH.pack(len(body)) + body)
        stream.flush()
    except BrokenPipeError:
        os._exit(0)  # nobody is there to read it; closing the pipe would only fail again


def _limit_process(memory: int) -> None:
    if resource is None:
        return
    for kind, value in (
        (resource.RLIMIT_AS, memory),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, 0),
    ):
        _set_limit(kind, value)


def _limit_next_document(cpu: int) -> None:
    if resource is not None:
        usage = resource.getrusage(resource.RUSAGE_SELF)
        _set_limit(resource.RLIMIT_CPU, int(usage.ru_utime + usage.ru_stime) + cpu + 1)


def _set_limit(kind: int, soft: int) -> None:
    _, hard = resource.getrlimit(kind)
    if hard != resource.RLIM_INFINITY:
        soft = min(soft, hard)
    try:
        resource.setrlimit(kind, (soft, hard))
    except (OSError, ValueError):
        return  # not every system knows every limit (macOS: address space)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
