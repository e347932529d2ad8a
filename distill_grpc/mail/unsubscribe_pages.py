"""What the link in a mail leads to: a page that asks, and one that says it is done.

Looking changes nothing, as programs look at links too (RFC 8058, 3.2). They load nothing and run nothing.
"""

from __future__ import annotations

from html import escape

PAGE_TYPE = "text/html; charset=utf-8"


def question(said: str, action: str = "") -> bytes:
    """A page with a button that sends a `POST` to `action`, relative to the page; "": to itself."""
    where = f' action="{escape(action)}"' if action else ""
    return _page(
        said,
        f'<form method="post"{where}><button type="submit" name="List-Unsubscribe" '
        'value="One-Click">No more mails</button></form>',
    )


def done(said: str) -> bytes:
    """A page that only says something."""
    return _page(said, "")


def _page(said: str, more: str) -> bytes:
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width"><title>Subscription</title></head>'
        f"<body><p>{escape(said)}</p>{more}</body></html>"
    ).encode()
