"""What a command says when it cannot do what it was asked."""

from __future__ import annotations

import typer


class Failure(typer.TyperException):
    """Ends a command with one line on stderr: what is wrong, and what helps.

    Exit code 1: it did not work; 2: it was asked for in a wrong way.
    """

    def __init__(self, message: str, *, exit_code: int = 1) -> None:
        super().__init__(" ".join(message.split()))
        self.exit_code = exit_code


def last_line(error: BaseException) -> str:
    """The line of a database error that tells most: its last, but for libpq's question."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    lines = [line for line in lines if not line.startswith("Is the server running")] or lines
    return lines[-1] if lines else type(error).__name__
