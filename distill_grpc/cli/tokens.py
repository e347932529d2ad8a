"""`distill token`: tokens of the local issuer."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer

from distill_grpc import settings
from distill_grpc.cli.failure import Failure

# A hundred years, in seconds: an expiry beyond it is a slip, and overflows calendars.
_LONGEST = 100 * 365 * 86_400


def add_commands(app: typer.Typer) -> None:
    """Adds `token`."""
    app.command("token")(token)


def token(
    user_id: Annotated[str, typer.Option(help="The user that the token speaks for.")],
    email: Annotated[str, typer.Option(help="The user's e-mail address.")],
    credits_available: Annotated[
        bool, typer.Option("--credits/--no-credits", help="Whether the user has credits.")
    ] = True,
    expires_in: Annotated[
        int,
        typer.Option(
            min=-_LONGEST,
            max=_LONGEST,
            show_default=True,
            metavar="SECONDS",
            help="Until it expires; negative: it has expired already, for trying errors.",
        ),
    ] = 3600,
) -> None:
    """Print a token signed by the local issuer, and nothing else."""
    typer.echo(
        issue(
            settings.load().data_dir,
            user_id=user_id,
            email=email,
            credits_available=credits_available,
            expires_in=timedelta(seconds=expires_in),
        )
    )


def issue(
    data_dir: Path,
    *,
    user_id: str,
    email: str,
    credits_available: bool = True,
    expires_in: timedelta,
) -> str:
    """A token of the local issuer; `Failure` where there can be none."""
    from distill_grpc.auth.local import LocalIssuer
    from distill_grpc.key_files import KeyFileError

    try:
        return LocalIssuer.load(data_dir).issue(
            user_id=user_id,
            email=email,
            credits_available=credits_available,
            expires_in=expires_in,
        )
    except (KeyFileError, ValueError) as error:
        raise Failure(str(error)) from None
    except OSError as error:
        raise Failure(f"{error.filename or data_dir}: {error.strerror}") from None


def has_keys(data_dir: Path) -> bool:
    """True where the local issuer has a key, so that a token of it may be of use."""
    return (data_dir / "keys" / "token-signing.pem").is_file()
