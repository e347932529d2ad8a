"""Markdown from outside as text that a person would read."""

from __future__ import annotations

from markdown_it import MarkdownIt

from distill_grpc.sources import text

_MAX = 40_000  # characters; what stands behind is cut off
# The parser is quadratic in these; ordinary texts of that length have a few hundred of them.
_COSTLY = "[]*_<`~|"
_MAX_COSTLY = 3_000

_PARSER = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])


def to_text(body: str, base_url: str = "") -> str:
    """The text without its marks: paragraphs, lists, no comments, HTML reduced to what it says.

    Text that is made to be expensive to parse is taken as it is.
    """
    body = text.clean(body[:_MAX])
    if sum(body.count(mark) for mark in _COSTLY) > _MAX_COSTLY:
        return text.plain_text(body)
    return text.html_to_text(_PARSER.render(body), base_url)
