"""REST: the newest 100 items of a random user out of a million, with everything on."""

from __future__ import annotations

import contextlib
import json
import urllib.request
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from bench import database, load, processes, stacks
from bench.load import Load, Tool
from bench.measuring import Ratio, Spread, in_turn
from bench.stacks import ENVOY, REMOTE, SERVE, TWIN, Bench, Stack
from distill_grpc.auth import LocalIssuer

PATH = "/content/recent?hours=168&limit=100"


def run(bench: Bench, *, tool: Tool, rounds: int, seconds: float) -> dict[str, Any]:
    """Measures every stack that is there, in turn; returns the results."""
    tokens = _tokens(bench)
    left_out: dict[str, str] = {}
    with contextlib.ExitStack() as opened:
        found = _start(bench, opened, left_out)
        _check_answers(found, tokens.read_text().split()[41])
        seen: dict[str, list[Load]] = {name: [] for name in found}
        cpu: dict[str, list[float]] = {name: [] for name in found}
        for number in range(-1, rounds):  # the first round warms up: caches, plans, tokens
            for name in in_turn(list(found), number):
                used = processes.cpu_seconds(found[name].processes)
                each = load.put(tool, found[name].origin, PATH, tokens, seconds=seconds)
                used = processes.cpu_seconds(found[name].processes) - used
                if number >= 0:
                    seen[name].append(each)
                    cpu[name].append(used / (each.rate * seconds) * 1e6)
                print(f"  round {number + 1}: {name}: {each.rate:.0f}/s", flush=True)
    return {
        "what": f"GET {PATH}, {database.USERS * database.ITEMS_OF_USER} items of {database.USERS} users",
        "load": {"tool": tool, "connections": load.CONNECTIONS, "seconds": seconds},
        "rounds": rounds,
        "targets": {name: _target(seen[name], cpu[name]) for name in found},
        "ratios": [ratio.to_json() for ratio in _ratios(seen)],
        "left_out": left_out,
    }


def _start(
    bench: Bench, opened: contextlib.ExitStack, left_out: dict[str, str]
) -> dict[str, Stack]:
    found = [opened.enter_context(stacks.serve(bench))]
    cores = opened.enter_context(stacks.cores(bench))
    found.append(opened.enter_context(stacks.remote(bench, cores)))
    if bench.envoy is not None:
        found.append(opened.enter_context(stacks.envoy(bench, cores)))
    else:
        left_out[ENVOY] = f"no Envoy beside {bench.peers}; `make bench` installs it"
    if bench.peers.exists():
        found.append(opened.enter_context(stacks.twin(bench)))
    else:
        left_out[TWIN] = f"{bench.peers} is not there; `make bench` installs it"
    return {stack.name: stack for stack in found}


def _tokens(bench: Bench) -> Path:
    """A file with a token for each user, a line each."""
    folder = bench.folder / "distill"
    folder.mkdir(parents=True, exist_ok=True)
    issuer = LocalIssuer.load(folder)
    names = [database.user(number) for number in range(1, database.USERS + 1)]
    lines = [
        issuer.issue(user_id=name, email=f"{name}@example.com", expires_in=timedelta(hours=12))
        for name in names
    ]
    path = bench.folder / "tokens"
    path.write_text("\n".join(lines) + "\n")
    path.chmod(0o600)
    return path


def _check_answers(found: Mapping[str, Stack], token: str) -> None:
    """All must answer the same; only the clock and the opaque page token may differ."""
    answers = {}
    for name, stack in found.items():
        request = urllib.request.Request(
            stack.origin + PATH, headers={"Authorization": f"Bearer {token}"}
        )
        with urllib.request.urlopen(request, timeout=30) as response:
            body = json.load(response)
        assert len(body["data"]) == 100, f"{name} answers {len(body['data'])} items"
        body["metadata"] |= {"query_time": "", "next_page_token": ""}
        answers[name] = body
    first = answers[SERVE]
    for name, body in answers.items():
        wrong = [part for part in first if body[part] != first[part]]
        if wrong:
            raise RuntimeError(
                f"{name} answers otherwise than {SERVE} in {wrong}: {_near(first, body)}"
            )


def _near(first: Any, second: Any) -> str:
    for part in first:
        if first[part] == second[part]:
            continue
        if isinstance(first[part], list):
            pairs = zip(first[part], second[part], strict=False)
            return str(next(((a, b) for a, b in pairs if a != b), "lengths"))
        return f"{first[part]} / {second[part]}"
    return ""


def _target(seen: Sequence[Load], cpu: Sequence[float]) -> dict[str, Any]:
    rate = Spread.of([each.rate for each in seen])
    return {
        "per_second": {"median": rate.median, "least": rate.least, "most": rate.most},
        "p50_ms": Spread.of([each.p50_ms for each in seen]).median,
        "p99_ms": Spread.of([each.p99_ms for each in seen]).median,
        "cpu_us": Spread.of(cpu).median,
    }


def _ratios(seen: Mapping[str, Sequence[Load]]) -> list[Ratio]:
    pairs = [(SERVE, ENVOY, 1.5), (SERVE, TWIN, 2.0), (REMOTE, ENVOY, 0.95), (SERVE, REMOTE, None)]
    return [
        Ratio.of(
            f"{this} / {that}",
            [each.rate for each in seen[this]],
            [each.rate for each in seen[that]],
            aim=aim,
        )
        for this, that, aim in pairs
        if this in seen and that in seen
    ]
