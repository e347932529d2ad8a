"""A digest as text and HTML: every statement shows what it rests on, and nothing of others acts."""

from __future__ import annotations

from datetime import date
from types import SimpleNamespace
from typing import Any

from distill_grpc.feed import digest_pages


def item(**fields: str) -> dict[str, str]:
    told = {"id": "1", "source": "email", "author": "Ada", "url": "", "title": "Lunch\r\nat noon"}
    return {**told, **fields}


def digest(*items: dict[str, str], period: str = "daily") -> Any:
    content = {"highlights": [{"text": "Lunch is at noon.", "items": list(items)}], "sections": {}}
    return SimpleNamespace(
        user_id="u",
        period=period,
        date=date(2026, 11, 23),
        tz="UTC",
        content=content,
        items_processed=2,
        model="textrank",
    )


def test_what_is_nowhere_on_the_web_is_named() -> None:
    row = digest(item(), item(author="", title="<b>Menu</b>"), item(url="javascript:alert(1)"))
    assert "* Lunch is at noon.\n  Lunch at noon (Ada, email)\n  <b>Menu</b> (email)\n" in (
        digest_pages.as_text(row)
    )
    page = digest_pages.as_html(row)
    assert "<br>Lunch at noon (Ada, email)<br>&lt;b&gt;Menu&lt;/b&gt; (email)" in page
    assert "javascript" not in page


def test_what_is_on_the_web_is_linked_and_the_rest_left_out() -> None:
    row = digest(item(), item(url="https://e.example/?a=1&b=2", title="The menu"))
    assert "* Lunch is at noon.\n  https://e.example/?a=1&b=2\n\n" in digest_pages.as_text(row)
    page = digest_pages.as_html(row)
    assert '<br><a href="https://e.example/?a=1&amp;b=2">The menu</a></p>' in page
    assert "Ada" not in page


def test_a_week_is_called_by_its_days_and_is_another_digest_than_its_monday() -> None:
    week, monday = digest(period="weekly"), digest()
    assert digest_pages.title(week) == "Your weekly digest of 2026-11-23 to 2026-11-29"
    assert digest_pages.title(monday) == "Your digest of 2026-11-23"
    assert digest_pages.identity(week) != digest_pages.identity(monday)
