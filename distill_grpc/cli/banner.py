"""What `distill serve` prints when everything runs."""

from __future__ import annotations

import shlex
import shutil
import sys
from datetime import timedelta
from importlib import metadata
from pathlib import Path

from distill_grpc.cli import ports
from distill_grpc.cli.tokens import issue
from distill_grpc.settings import Settings

# Who the ready-made token, and the commands without one, speak for.
USER_ID, EMAIL = "you", "you@example.com"
FEED = "https://planetpython.org/rss20.xml"


def banner(settings: Settings, *, with_token: bool) -> str:
    """Addresses, three commands to try next, and a token for them, or how to get one."""
    url = f"http://{ports.reachable(settings.http_address)}"
    return f"""
Distill {metadata.version("distill")} is running. Ctrl-C stops it.{_mock(settings)}

  REST  {url}
  Docs  {url}/docs
  gRPC  {ports.reachable(settings.grpc_address)}

{_token(settings, with_token=with_token)}
Three commands to try next:

  {_curl(f"-X PUT '{url}/connections/rss'", body=f'{{"settings": {{"feeds": ["{FEED}"]}}}}')}
  {_curl(f"-X POST '{url}/watch'", body="{}")}
  {_curl(f"'{url}/content/recent?hours=168'")}
"""


def _mock(settings: Settings) -> str:
    return "\nMock mode: platforms are played, nothing is fetched." if settings.mock else ""


def _token(settings: Settings, *, with_token: bool) -> str:
    if not settings.local_issuer:
        return f"""Tokens come from the issuer behind {settings.jwt_jwks_url}:

  export TOKEN=<a token of it>
"""
    if not with_token:  # what is no terminal may be a log that others read
        return f"""In another terminal, a token for the user `{USER_ID}` that is good for an hour:

  export TOKEN=$({_command(settings)} token --user-id {USER_ID} --email {EMAIL})
"""
    token = issue(settings.data_dir, user_id=USER_ID, email=EMAIL, expires_in=timedelta(hours=24))
    return f"""In another terminal, a token for the user `{USER_ID}` that is good for 24 hours:

  export TOKEN={token}
"""


def _command(settings: Settings) -> str:
    """This `distill`, for a shell in any folder."""
    own = Path(sys.executable).with_name("distill")
    found = shutil.which("distill")
    if found is not None and Path(found) == own:
        command = "distill"
    elif own.exists():
        command = shlex.quote(str(own))
    else:
        command = f"{shlex.quote(sys.executable)} -m distill_grpc"
    folder = settings.data_dir.expanduser().absolute()
    return f"DISTILL_DATA_DIR={shlex.quote(str(folder))} {command}"


def _curl(call: str, *, body: str = "") -> str:
    data = f" -H 'Content-Type: application/json' -d '{body}'" if body else ""
    return f'curl -s -H "Authorization: Bearer $TOKEN"{data} {call}'
