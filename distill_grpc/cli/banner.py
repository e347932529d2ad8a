"""What `distill serve` prints when everything runs."""

from __future__ import annotations

from datetime import timedelta
from importlib import metadata

from distill_grpc.cli import ports
from distill_grpc.cli.tokens import issue
from distill_grpc.settings import Settings

# Who the ready-made token, and the commands without one, speak for.
USER_ID, EMAIL = "you", "you@example.com"
FEED = "https://planetpython.org/rss20.xml"


def banner(settings: Settings) -> str:
    """Addresses, a token, and three commands to try next."""
    url = f"http://{ports.reachable(settings.http_address)}"
    return f"""
Distill {metadata.version("distill")} is running. Ctrl-C stops it.

  REST  {url}
  Docs  {url}/docs
  gRPC  {ports.reachable(settings.grpc_address)}

{_token(settings)}
Three commands to try next:

  {_curl(f"-X PUT {url}/connections/rss", body=f'{{"settings": {{"feeds": ["{FEED}"]}}}}')}
  {_curl(f"-X POST {url}/watch", body="{}")}
  {_curl(f"{url}/content/recent?hours=168")}
"""


def _token(settings: Settings) -> str:
    if not settings.local_issuer:
        return f"""Tokens come from the issuer behind {settings.jwt_jwks_url}:

  export TOKEN=<a token of it>
"""
    token = issue(settings.data_dir, user_id=USER_ID, email=EMAIL, expires_in=timedelta(hours=24))
    return f"""In another terminal, a token for the user `{USER_ID}` that is good for 24 hours:

  export TOKEN={token}
"""


def _curl(call: str, *, body: str = "") -> str:
    data = f" -H 'Content-Type: application/json' -d '{body}'" if body else ""
    return f'curl -s -H "Authorization: Bearer $TOKEN"{data} {call}'
