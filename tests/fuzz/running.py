"""One run of schemathesis over the OpenAPI document that a service serves about itself."""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from tests.e2e.serving import Served, serve

ROOT = Path(__file__).resolve().parents[2]
SCHEMATHESIS = Path(sys.executable).parent / "schemathesis"
# A request may keep rules that JSON Schema cannot say (a source of this instance, a time zone that
# exists, `since` before `until`), so a refusal of one that fits its schema is no fault.
LEFT_OUT = "positive_data_acceptance"
_SERVED = re.compile(r'^distill_http_requests_total\{.*status="(\d+)".*\} (\S+)$', re.MULTILINE)
# What a request must never leave in the log.
_FAULT = re.compile(r"Traceback|http_request_failed|call_failed|transport_stuck|core_call_failed")


@dataclass(frozen=True)
class Figures:
    """What a run did and found."""

    seed: int
    operations: int
    cases: int
    answers: dict[str, int]  # by status, as the service counted them
    failures: list[dict[str, Any]]  # schemathesis' own, one for each kind
    errors: list[Any]  # what kept it from testing
    faults: list[str]  # lines of the service's log
    seconds: float
    text: str  # what schemathesis printed

    @property
    def calls(self) -> int:
        """Requests that the service answered."""
        return sum(self.answers.values())

    @property
    def found(self) -> list[str]:
        """What is wrong, in words; empty where nothing is."""
        return [
            *(f"{one['title']}: {', '.join(one['operations'])}" for one in self.failures),
            *(f"not tested: {one}" for one in self.errors),
            *(f"in the log: {line.strip()}" for line in self.faults),
            *(f"{n} answers of {status}" for status, n in self.answers.items() if status == "500"),
        ]


async def fuzz(
    folder: Path, *, examples: int, seed: int, tell: Callable[[str], None] | None = None
) -> Figures:
    """Starts a service of its own in mock mode in `folder` and asks it up to `examples` questions
    of each operation and phase. `tell` gets each line that schemathesis prints."""
    async with serve(folder, DISTILL_MOCK="1", DISTILL_API_CALLS_PER_MINUTE="1000000") as served:
        token = await _creator(served)
        report = folder / "report.json"
        text = await _run(served, token, report, examples=examples, seed=seed, tell=tell)
        answers = await _answers(served)
    told = json.loads(report.read_text()) if report.exists() else {}
    return Figures(
        seed=seed,
        operations=told.get("operations", {}).get("tested", 0),
        cases=told.get("test_cases", {}).get("generated", 0),
        answers=answers,
        failures=told.get("failures", []),
        errors=told.get("errors", []) if told else ["schemathesis wrote no report"],
        faults=[line for line in served.log if _FAULT.search(line)],
        seconds=told.get("running_time", 0.0),
        text=text,
    )


async def _creator(served: Served) -> str:
    """The token of a creator, which opens both surfaces."""
    known = {"email": "fuzz@example.com", "password": "correct horse battery"}
    async with aiohttp.ClientSession(f"{served.url}/") as http:
        new = known | {"username": "fuzz", "role": "creator"}
        async with http.post("api/v1/users/register", json=new) as made:
            assert made.status == 201, await made.text()
        async with http.post("api/v1/users/login", json=known) as answer:
            token: str = (await answer.json())["access_token"]
    return token


async def _run(
    served: Served,
    token: str,
    report: Path,
    *,
    examples: int,
    seed: int,
    tell: Callable[[str], None] | None,
) -> str:
    process = await asyncio.create_subprocess_exec(
        SCHEMATHESIS,
        "run",
        f"{served.url}/openapi.json",
        *("--header", f"Authorization: Bearer {token}"),
        *("--exclude-checks", LEFT_OUT),
        *("--phases", "examples,coverage,fuzzing,stateful"),
        # Two threads of it trip over each other: Python 3.11 reads source code in one at a time only
        # ("AST constructor recursion depth mismatch").
        *("--max-examples", str(examples), "--seed", str(seed), "--workers", "1"),
        *("--continue-on-failure", "--no-color", "--generation-database", "none"),
        *("--request-timeout", "30", "--warnings", "off"),
        *("--report", "json", "--report-json-path", report),
        cwd=report.parent,
        env=os.environ | {"SCHEMATHESIS_HOOKS": "tests.fuzz.checks", "PYTHONPATH": str(ROOT)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        limit=64 << 20,  # of a line: an error may hold a whole made-up request
    )
    assert process.stdout is not None
    lines = []
    async for raw in process.stdout:
        line = raw.decode(errors="replace").rstrip().replace(token, "TOKEN")
        lines.append(line)
        if tell is not None:
            tell(line)
    await process.wait()
    return "\n".join(lines)


async def _answers(served: Served) -> dict[str, int]:
    async with aiohttp.ClientSession() as http, http.get(f"{served.url}/metrics") as response:
        text = await response.text()
    found: dict[str, int] = {}
    for status, number in _SERVED.findall(text):
        found[status] = found.get(status, 0) + int(float(number))
    return dict(sorted(found.items()))
