"""What the sanitiser takes long for is found without the sanitiser, in whatever it is hidden."""

from __future__ import annotations

import re
import time

import nh3
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distill_grpc.publishing import html_costs, markup

NAMES = re.findall(
    r"\S+",
    "ul ol li dl dd dt p div span blockquote details summary table tbody tr td th caption b i a h1 h2 "
    "pre section select option svg style textarea form button ruby rt template object x-y br",
)
TAGS = [f"<{end}{name}>" for name in NAMES for end in ("", "/")]
ODDITIES = [
    *(
        "<!--",
        "-->",
        "<!-->",
        "<!x",
        "</ x",
        "<?",
        "<![CDATA[",
        "]]>",
        ">",
        "<",
        "</>",
        "x",
        "<p/>",
    ),
    *('<a title="', "<a title='", '">', "'>", '"', "<a ", "<b title=x>", "<b x=", "<li a=1>"),
]


def deepest(html: str) -> int:
    """How deep well-formed HTML is nested."""
    depth = most = 0
    for end in re.findall(r"<(/?)(?!br|hr|img|input|wbr|col\b)[a-z]", html):
        depth += -1 if end else 1
        most = max(most, depth)
    return most


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(TAGS + ODDITIES), min_size=1, max_size=7).map("".join))
def test_nothing_that_nests_deeper_each_time_is_taken_for_cheap(piece: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(html_costs, "MAX_OPEN", 5_000)
        patch.setattr(html_costs, "MAX_FORMATTING", 5_000)
        text = piece * 300
        if not html_costs.is_costly(text):
            everything = {*NAMES, "colgroup", "col", "html", "head", "body"}
            everything -= {"style"}
            shown = nh3.clean(text, tags=everything, clean_content_tags=set(), attributes={})
            assert deepest(shown) < 150, shown[:500]


@pytest.mark.parametrize(
    "piece",
    [
        *("<ul><li>", "<ol><li>", "<dl><dd>", "<details><summary>", "<blockquote>", "<li><dd>"),
        *("<div>", "<rt>", "<ul><!--</ul>-->", "<ul><table><td></ul></table>", "<a><b>"),
        *('<ul title="</ul>">', "<ul><textarea></ul></textarea>", "<ul><svg></ul></svg>"),
        "<form><table><td></form></td></table></form>",
    ],
)
def test_deep_nesting_is_refused_at_once_and_what_is_taken_is_cheap(piece: str) -> None:
    refused = piece * (49_999 // piece.count("<"))
    begin = time.thread_time()
    with pytest.raises(markup.TooComplex):
        markup.post_html(refused, "html")
    markup.post_html(piece * 300, "html")
    assert time.thread_time() - begin < 1


@pytest.mark.parametrize(
    "text",
    [
        "<p>" + "".join(f"<b a{n}>" for n in range(700)) + "</p>" + "<p>x</p>" * 700,
        "<a " + " ".join(f"a{n}" for n in range(80_000)) + ">",
        "<br>" * 60_000,
    ],
    ids=["formatting that is opened again", "attributes", "tags"],
)
def test_other_floods_are_refused_at_once(text: str) -> None:
    begin = time.thread_time()
    with pytest.raises(markup.TooComplex):
        markup.post_html(text, "html")
    assert time.thread_time() - begin < 0.5


@pytest.mark.parametrize(
    "text",
    [
        "<ul>"
        + "<li>item <b>bold</b> <a href='https://a.example/?a>b' title='a > b'>x</a>" * 8_000,
        "<table>" + "<tr><td>1<td>2<td>3" * 10_000 + "</table>",
        "<style>p > a { color: red }</style><!-- <p> -->" + "<p>One<p><em>Two</em></p>" * 9_000,
        "<dl>" + "<dt>a<dd><p>b" * 15_000 + "</dl>",
        "<div><ul><li>a<li>b</ul><h2>c</h2></div>\n" * 5_000,
        "<svg><path/><g></g></svg>" + "<p>x</p>" * 3_000,
        "<p>x</p>" * 24_000 + "a < b",
    ],
)
def test_long_texts_of_people_are_taken(text: str) -> None:
    assert not html_costs.is_costly(text)
