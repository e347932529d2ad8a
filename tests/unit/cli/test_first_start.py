"""A start in which a child never comes up ends soon, with one clear line."""

from __future__ import annotations

import asyncio
import os
import sys
import time

from distill_grpc.cli.supervisor import FAULT, Program, Supervisor


async def started(code: str) -> str | None:
    """What a supervisor with its usual patience says of a child that runs this code."""
    supervisor = Supervisor(
        [Program("worker", (sys.executable, "-c", code))],
        environment=os.environ,
        stop=asyncio.Event(),
        kill=asyncio.Event(),
    )
    return await asyncio.wait_for(supervisor.run(), 30)


async def test_a_fault_of_the_code_is_not_tried_again() -> None:
    assert await started(f"raise SystemExit({FAULT})") == (
        "the worker failed at its start; its log stands above"
    )


async def test_what_may_pass_is_tried_three_times_in_a_few_seconds() -> None:
    began = time.monotonic()
    assert await started("raise SystemExit(1)") == (
        "the worker did not get ready 3 times (exit code 1 at last); its log stands above"
    )
    assert time.monotonic() - began < 15
