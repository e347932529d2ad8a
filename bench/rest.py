"""REST: the newest 100 items of a random user out of a million, with everything on."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from bench import database, load, rounds, stacks
from bench.load import Request, Tool
from bench.stacks import ENVOY, REMOTE, SERVE, TWIN, Bench, Stack
from distill_grpc.auth import LocalIssuer

PATH = "/content/recent?hours=168&limit=100"
_PAIRS = ((SERVE, ENVOY, 1.5), (SERVE, TWIN, 2.0), (REMOTE, ENVOY, 0.95), (SERVE, REMOTE, None))


def run(bench: Bench, *, tool: Tool, count: int, seconds: float) -> dict[str, Any]:
    """Measures every stack that is there, `count` rounds in turn; returns the results."""
    requests = _requests(bench)
    file = load.write(bench.folder / "requests-rest", requests)
    left_out: dict[str, str] = {}
    with contextlib.ExitStack() as opened:
        found = _start(bench, opened, left_out)
        _check_answers(found, requests[41])
        seen = rounds.run(
            found,
            lambda stack: load.put(tool, stack.origin, file, seconds=seconds),
            rounds=count,
            seconds=seconds,
        )
    ratios = [seen.ratio(this, that, aim=aim) for this, that, aim in _PAIRS]
    return {
        "what": f"GET {PATH}, {database.USERS * database.ITEMS_OF_USER} items of {database.USERS} users",
        "load": {"tool": tool, "connections": load.CONNECTIONS, "seconds": seconds},
        "rounds": count,
        "targets": {name: seen.target(name) for name in found},
        "ratios": [ratio.to_json() for ratio in ratios if ratio is not None],
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


def _requests(bench: Bench) -> Sequence[Request]:
    """A request of each user."""
    folder = bench.folder / "distill"
    folder.mkdir(parents=True, exist_ok=True)
    issuer = LocalIssuer.load(folder)
    names = [database.user(number) for number in range(1, database.USERS + 1)]
    return [
        Request(
            PATH,
            issuer.issue(user_id=name, email=f"{name}@example.com", expires_in=timedelta(hours=12)),
        )
        for name in names
    ]


def _check_answers(found: Mapping[str, Stack], request: Request) -> None:
    """All must answer the same; only the clock and the opaque page token may differ."""
    answers = {}
    for name, stack in found.items():
        body = rounds.answer(stack, request)
        assert len(body["data"]) == 100, f"{name} answers {len(body['data'])} items"
        body["metadata"] |= {"query_time": "", "next_page_token": ""}
        answers[name] = body
    rounds.check_same(answers)
