"""Functions that the sandbox's tests run inside it."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any


def act(header: dict[str, Any], document: bytes) -> Any:
    """Does what the header says, for better or worse."""
    match header["do"]:
        case "length":
            return {"length": len(document), "pid": os.getpid()}
        case "environment":
            return sorted(os.environ)
        case "print":
            print("this must not get between the frames")
            os.write(1, b"nor this")
            return "fine"
        case "sleep":
            time.sleep(60)
        case "spin":
            while True:
                pass
        case "eat":
            return len([bytes(1_000_000) for _ in range(10_000)])
        case "recurse":
            return act(header, document)
        case "raise":
            raise ValueError("no")
        case "exit":
            os._exit(3)
        case "shout":
            return "x" * 70_000_000
        case "write":
            with Path(header["path"]).open("wb") as file:
                return file.write(document)
        case "halves":
            return "\ud800"
        case "leave":
            sys.exit(0)
    return None
