"""`/docs`: one page without outside parts, which reads `/openapi.json` and tries calls."""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from importlib import resources

from http_facade.answers import REVALIDATED, Answer

_ASSETS = resources.files("http_facade").joinpath("assets")
_KINDS = ("html", "css", "js")


async def redirect() -> Answer:
    """Sends `/` to `/docs`."""
    return Answer(302, headers={"Location": "/docs"})


async def page() -> Answer:
    """The page; its policy lets exactly its own script and style run."""
    html, policy = _built()
    headers = {"Content-Security-Policy": policy, "Cache-Control": REVALIDATED}
    return Answer(200, html, headers, content_type="text/html; charset=utf-8")


@cache
def _built() -> tuple[bytes, str]:
    html, css, js = (_ASSETS.joinpath(f"docs.{kind}").read_text("utf-8") for kind in _KINDS)
    policy = "; ".join(
        [
            "default-src 'none'",
            f"script-src {_hash(js)}",
            f"style-src {_hash(css)}",
            "connect-src 'self'",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        ]
    )
    return html.replace("/*style*/", css).replace("/*script*/", js).encode(), policy


def _hash(text: str) -> str:
    """A source that names one inline script or style (CSP level 3, 2.3.1)."""
    digest = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode('ascii')}'"
