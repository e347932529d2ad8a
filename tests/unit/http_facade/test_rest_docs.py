"""The page at /docs."""

from __future__ import annotations

import base64
import hashlib
import re

from tests.unit.http_facade.rest_door import Door


async def test_the_root_leads_to_the_docs(door: Door) -> None:
    reply = await door.ask("GET", "/")
    assert (reply.status, reply.headers["Location"]) == (302, "/docs")


async def test_the_page_needs_nothing_from_elsewhere_and_its_policy_allows_only_itself(
    door: Door,
) -> None:
    reply = await door.ask("GET", "/docs")
    page = reply.raw.decode()
    assert reply.headers["Content-Type"] == "text/html; charset=utf-8"
    assert not re.search(r"""(src|href|action)=["']?(https?:)?//""", page)
    assert "@import" not in page
    assert not re.search(r"\burl\(", page)
    policy = reply.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none';")
    assert "unsafe" not in policy
    for tag in ("script", "style"):
        (body,) = re.findall(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(body.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy


async def test_the_page_writes_no_markup_from_data(door: Door) -> None:
    page = (await door.ask("GET", "/docs")).raw.decode()
    for risky in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("):
        assert risky not in page
    assert " style=" not in page
    assert not re.search(r"\son\w+=", page)


async def test_every_field_of_the_page_has_a_label(door: Door) -> None:
    page = (await door.ask("GET", "/docs")).raw.decode()
    html = page.partition("<script>")[0]
    labelled = set(re.findall(r'<label for="([^"]+)"', html))
    assert set(re.findall(r'<input id="([^"]+)"', html)) == labelled
    assert '<html lang="en">' in html
    assert "<main" in html
