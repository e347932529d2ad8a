"""`distill doctor`: looks at everything that Distill needs, and says what to mend."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import typer

from distill_grpc import logs
from distill_grpc import settings as settings_module
from distill_grpc.cli import checks
from distill_grpc.cli.checks import Finding
from distill_grpc.cli.embedding_check import embeddings
from distill_grpc.cli.failure import last_line
from distill_grpc.cli.options import Json, print_json
from distill_grpc.cli.showing import console, plain, rows, state
from distill_grpc.settings import Settings, SettingsError

Check = Callable[[Settings], Awaitable[Finding]]


def add_commands(app: typer.Typer) -> None:
    """Adds `doctor`."""
    app.command("doctor")(doctor)


def doctor(as_json: Json = False) -> None:
    """Check settings, database, keys, platforms and models. Exit code 1 where one fails."""
    with logs.silenced():
        findings = asyncio.run(examine())
    if as_json:
        print_json(
            [
                {"check": name, "state": found.state, "found": found.text, "mend": found.mend}
                for name, found in findings
            ]
        )
    else:
        table = rows("", "check", "found")
        for name, found in findings:
            text = found.text + (f"; {found.mend}" if found.mend else "")
            table.add_row(state(found.state), plain(name), plain(text))
        console().print(table)
    if any(found.state == "fail" for _, found in findings):
        raise typer.Exit(1)


async def examine() -> list[tuple[str, Finding]]:
    """Every check's name and finding; the first that fails to load settings ends it."""
    try:
        settings = settings_module.load()
    except SettingsError as error:
        return [("settings", Finding("fail", str(error), "set it to an allowed value"))]
    wanted: list[tuple[str, Check]] = [
        ("settings", checks.environment),
        ("data directory", checks.data_directory),
        ("database", checks.database),
        ("signing key", checks.signing_key),
        ("encryption keys", checks.encryption_keys),
        ("REST address", checks.http_address),
        ("gRPC address", checks.grpc_address),
        ("sources", checks.sources),
        ("platforms", checks.platforms),
        ("token service", checks.token_service),
        ("issuer's keys", checks.jwks),
        ("Redis", checks.redis),
        ("summariser", checks.summariser),
        ("embeddings", embeddings),
    ]
    return [(name, await _examined(check, settings)) for name, check in wanted]


async def _examined(check: Check, settings: Settings) -> Finding:
    try:
        async with asyncio.timeout(60):
            return await check(settings)
    except TimeoutError:
        return Finding("fail", "the check took too long")
    except Exception as error:
        return Finding("fail", f"{type(error).__name__}: {last_line(error)}")
