"""Makes safe HTML of what people wrote (Markdown or HTML), whatever they wrote.

The allow-list decides: no scripts, styles, forms, frames, SVG or MathML; links and images lead to
absolute `http`, `https` and `mailto` addresses only. All of it takes time that the event loop has
not: call it in a thread.
"""

from __future__ import annotations

import re
import time
from collections.abc import MutableMapping

import nh3
from markdown_it import MarkdownIt
from markdown_it.rules_block import StateBlock
from markdown_it.rules_inline import StateInline

from distill_grpc.publishing import html_costs

# Of HTML made from one post, in bytes: what one answer may hold beside the content itself.
MAX_HTML = 2 * 1024 * 1024
# Seconds of a thread's own time that reading one text may take: some texts take quadratic time.
BUDGET = 5.0
# Of Markdown, in levels (a list has two): the parser leaves out what is nested deeper than its limit.
DEEPEST = 98

# fmt: off
_POST_TAGS = {
    "a", "abbr", "b", "blockquote", "br", "caption", "code", "col", "colgroup", "dd", "del",
    "details", "dfn", "div", "dl", "dt", "em", "figcaption", "figure", "h1", "h2", "h3", "h4",
    "h5", "h6", "hr", "i", "img", "ins", "kbd", "li", "mark", "ol", "p", "pre", "q", "s",
    "samp", "small", "span", "strong", "sub", "summary", "sup", "table", "tbody", "td", "tfoot",
    "th", "thead", "tr", "u", "ul", "var",
}
# fmt: on
_POST_ATTRIBUTES = {
    "*": {"lang", "title"},
    "a": {"href", "title"},
    "abbr": {"title"},
    "img": {"src", "alt", "title", "width", "height"},
    "ol": {"start"},
    "td": {"colspan", "rowspan"},
    "th": {"colspan", "rowspan", "scope"},
}
_COMMENT_TAGS = {"a", "br", "code", "em", "p", "strong"}
_COMMENT_ATTRIBUTES: dict[str, set[str]] = {"*": set(), "a": {"href"}}
_SCHEMES = {"http", "https", "mailto"}
_ADDRESS = re.compile(r"(https?://|mailto:)[^\s\\\x00-\x20]+", re.IGNORECASE)
_LINK = re.compile(r"https?://|www\.|mailto:", re.IGNORECASE)

_posts = MarkdownIt("commonmark", {"html": True, "maxNesting": DEEPEST + 2}).enable(
    ["table", "strikethrough"]
)
_comments = MarkdownIt("zero", {"html": False, "breaks": True, "maxNesting": 10}).enable(
    [
        "autolink",
        "backticks",
        "balance_pairs",
        "emphasis",
        "escape",
        "fragments_join",
        "link",
        "newline",
    ]
)


class TooComplex(Exception):  # noqa: N818 -- what is wrong with the text
    """The text takes more time to read than anybody may take, or is nested too deeply."""


def _check_block(state: StateBlock, _start: int, _end: int, _silent: bool) -> bool:
    _check_time(state.env)
    if state.level >= DEEPEST:
        raise TooComplex
    return False


def _check_inline(state: StateInline, _silent: bool) -> bool:
    _check_time(state.env)
    return False


def _check_time(env: MutableMapping[str, float]) -> None:
    if time.thread_time() > env["until"]:
        raise TooComplex


# The first rule asked at every place of a text: it never matches, but it can give up.
for _parser in (_posts, _comments):
    _parser.block.ruler.before("table", "budget", _check_block)
    _parser.inline.ruler.before("text", "budget", _check_inline)
    _parser.enable("budget")


def _read(parser: MarkdownIt, content: str) -> str:
    html: str = parser.render(content, {"until": time.thread_time() + BUDGET})
    return html


def post_html(content: str, content_format: str) -> str:
    """The HTML to show for a post; `content_format` is `markdown` or `html`. Raises `TooComplex`."""
    html = _read(_posts, content) if content_format == "markdown" else content
    if html_costs.is_costly(html):
        raise TooComplex
    return nh3.clean(
        html,
        tags=_POST_TAGS,
        attributes=_POST_ATTRIBUTES,
        attribute_filter=_absolute,
        url_schemes=_SCHEMES,
        link_rel="noopener noreferrer nofollow",
    )


def comment_html(content: str) -> str:
    """The HTML to show for a comment: paragraphs, line breaks, emphasis, code and links.

    Raises `TooComplex`.
    """
    return nh3.clean(
        _read(_comments, content),
        tags=_COMMENT_TAGS,
        attributes=_COMMENT_ATTRIBUTES,
        attribute_filter=_absolute,
        url_schemes=_SCHEMES,
        link_rel="noopener noreferrer nofollow ugc",
    )


def count_links(content: str) -> int:
    """How many addresses a text holds, whether they become links or not."""
    return len(_LINK.findall(content))


def _absolute(_tag: str, attribute: str, value: str) -> str | None:
    if attribute in {"href", "src"} and not _ADDRESS.fullmatch(value):
        return None
    return value
