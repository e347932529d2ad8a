"""The publishing platform: reading a post, reading a thread, logging in; against a FastAPI twin."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import jwt

from bench import load, rounds, stacks
from bench import publishing_database as data
from bench.load import Request, Tool
from bench.stacks import SERVE, TWIN, Bench, Stack
from distill_grpc.auth import LocalIssuer

READERS = 1_000
_LIFTED = {"DISTILL_LOGINS_PER_MINUTE": "100000"}


def run(bench: Bench, *, tool: Tool, count: int, seconds: float) -> dict[str, Any]:
    """Measures one kind of call after the other, `count` rounds each; returns the results."""
    calls = _calls(bench)
    # A login is nearly all hashing: more connections would only wait, and be refused at last.
    connections = dict.fromkeys(calls, load.CONNECTIONS) | {"login": 4 * bench.cores}
    left_out: dict[str, str] = {}
    targets: dict[str, Any] = {}
    ratios: list[dict[str, Any]] = []
    with contextlib.ExitStack() as opened:
        found = _start(bench, opened, left_out)
        for kind, requests in calls.items():
            _check_answers(found, requests[41])
            print(f" {kind}:", flush=True)
            file = load.write(bench.folder / f"requests-{kind}", requests)

            def put(stack: Stack, kind: str = kind, file: Path = file) -> load.Load:
                return load.put(
                    tool, stack.origin, file, seconds=seconds, connections=connections[kind]
                )

            seen = rounds.run(found, put, rounds=count, seconds=seconds)
            targets |= {f"{kind}, {name}": seen.target(name) for name in found}
            if ratio := seen.ratio(SERVE, TWIN, what=f"{kind}, "):
                ratios.append(ratio.to_json())
    return {
        "what": f"{data.POSTS} posts, {data.THREADS} threads of {data.COMMENTS} comments, of which "
        f"50 are read, {data.ACCOUNTS} accounts",
        "load": {"tool": tool, "connections": connections, "seconds": seconds},
        "rounds": count,
        "targets": targets,
        "ratios": ratios,
        "left_out": left_out,
    }


def _start(
    bench: Bench, opened: contextlib.ExitStack, left_out: dict[str, str]
) -> dict[str, Stack]:
    found = [opened.enter_context(stacks.serve(bench, env=_LIFTED))]
    if bench.peers.exists():
        found.append(opened.enter_context(stacks.twin(bench, "publishing_twin")))
    else:
        left_out[TWIN] = f"{bench.peers} is not there; `make bench` installs it"
    return {stack.name: stack for stack in found}


def _calls(bench: Bench) -> dict[str, Sequence[Request]]:
    """The requests of each kind. Who reads is a reader who is logged in."""
    folder = bench.folder / "distill"
    folder.mkdir(parents=True, exist_ok=True)
    issuer = LocalIssuer.load(folder)
    readers = [
        issuer.issue(
            user_id=str(_id("user", number)),
            email=_email(number),
            expires_in=timedelta(hours=12),
            claims={"role": "reader"},
        )
        for number in range(data.CREATORS + 1, data.CREATORS + 1 + READERS)
    ]

    def path(number: int) -> str:
        return f"/api/v1/posts/{_id('post', number)}"

    return {
        "post": [
            Request(path(number), readers[number % READERS]) for number in range(1, data.POSTS + 1)
        ],
        "thread": [
            Request(f"{path(1 + number % data.THREADS)}/comments?limit=50", reader)
            for number, reader in enumerate(readers)
        ],
        "login": [
            Request("/api/v1/users/login", body=_login(number))
            for number in range(1, data.ACCOUNTS + 1)
        ],
    }


def _id(kind: str, number: int) -> UUID:
    """As the filling makes it."""
    return UUID(hashlib.md5(f"{kind} {number}".encode(), usedforsecurity=False).hexdigest())


def _email(number: int) -> str:
    return f"user{number}@example.com"


def _login(number: int) -> str:
    return json.dumps({"email": _email(number), "password": data.PASSWORD})


def _check_answers(found: Mapping[str, Stack], request: Request) -> None:
    """All must answer the same; of a token only the instants and its own id may differ."""
    answers = {}
    # Distill last: its answer counts as a view, which the others would then show.
    for name, stack in reversed(found.items()):
        body = rounds.answer(stack, request)
        if isinstance(body, list):
            assert len(body) == 50, f"{name} answers {len(body)} comments"
            body = {"comments": body}
        if "access_token" in body:
            token = body.pop("access_token")
            claims = jwt.decode(token, options={"verify_signature": False})
            body["life"] = claims["exp"] - claims["iat"]
            body["claims"] = claims | {"iat": 0, "exp": 0, "jti": ""}
            body["header"] = jwt.get_unverified_header(token)
        answers[name] = body
    rounds.check_same(answers)
