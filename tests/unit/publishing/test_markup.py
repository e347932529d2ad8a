"""Whatever people write, what is shown holds nothing that runs."""

from __future__ import annotations

import re
import time
from html.parser import HTMLParser

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distill_grpc.publishing import markup

# Payloads after OWASP's cheat sheet and DOMPurify's tests, by what they try.
HOSTILE = [
    "<script>alert(1)</script>",
    "<scr<script>ipt>alert(1)</scr</script>ipt>",
    "<SCRIPT SRC=//evil.example/x.js></SCRIPT>",
    "<img src=x onerror=alert(1)>",
    "<img src='https://a.example/x.png' onload=alert(1) style='position:fixed'>",
    "<svg onload=alert(1)>",
    "<svg><script>alert(1)</script></svg>",
    "<svg><a xlink:href='javascript:alert(1)'><text>x</text></a></svg>",
    "<svg><set attributeName=href to=javascript:alert(1)></svg>",
    "<math><mi xlink:href='javascript:alert(1)'>x</mi></math>",
    "<math><mtext><table><mglyph><style><img src=x onerror=alert(1)>",
    "<a href='javascript:alert(1)'>x</a>",
    "<a href=' &#14; javascript:alert(1)'>x</a>",
    "<a href='jav&#x09;ascript:alert(1)'>x</a>",
    "<a href='java   script:alert(1)'>x</a>",
    "<a href='JaVaScRiPt:alert(1)'>x</a>",
    "<a href='vbscript:msgbox(1)'>x</a>",
    "<a href='data:text/html,<script>alert(1)</script>'>x</a>",
    "<a href='//evil.example'>x</a>",
    "<a href='/api/v1/posts'>x</a>",
    "<a href='https:\\\\evil.example'>x</a>",
    "<a href='https://a.example' onclick=alert(1) target=_blank>x</a>",
    "<img src='data:image/svg+xml,<svg onload=alert(1)>'>",
    "<iframe src='https://evil.example'></iframe>",
    "<iframe srcdoc='<script>alert(1)</script>'></iframe>",
    "<object data='x.swf'></object><embed src='x.swf'>",
    "<form action='https://evil.example'><input name=a><button formaction=javascript:alert(1)>",
    "<style>*{background:url(javascript:alert(1))}</style>",
    "<link rel=stylesheet href='https://evil.example/x.css'>",
    "<meta http-equiv=refresh content='0;url=https://evil.example'>",
    "<base href='https://evil.example/'>",
    "<body onload=alert(1)>",
    "<details open ontoggle=alert(1)>x</details>",
    "<video><source onerror=alert(1)></video>",
    "<audio src=x onerror=alert(1)>",
    "<p id=x name=y class=z data-a=b>clobber</p>",
    "<noscript><p title='</noscript><img src=x onerror=alert(1)>'>",
    "<template><script>alert(1)</script></template>",
    "<textarea><script>alert(1)</script></textarea>",
    "<xmp><script>alert(1)</script></xmp>",
    "<!--<img src='--><img src=x onerror=alert(1)//'>",
    "<![CDATA[<script>alert(1)</script>]]>",
    "<a href=\"https://a.example/\"onmouseover=alert(1)\">x</a>",
    "<marquee onstart=alert(1)>x</marquee>",
    "[x](javascript:alert(1))",
    "[x](JAVASCRIPT:alert(1))",
    "[x](data:text/html;base64,PHNjcmlwdD4=)",
    "[x](<javascript:alert(1)>)",
    "[x]: javascript:alert(1)\n\n[x]",
    "![x](javascript:alert(1))",
    "![x\"onerror=alert(1)](https://a.example/x.png)",
    "<javascript:alert(1)>",
    "[x](https://a.example \"onmouseover=alert(1)\")",
    "`<script>alert(1)</script>`",
    "```html\n<script>alert(1)</script>\n```",
    "\u202e<script>alert(1)</script>",
    "<" * 500,
    "[" * 2000,
    "*" * 2000 + "a",
    "> " * 90,
]  # fmt: skip
ADDRESS = re.compile(r"(https?://|mailto:)\S+", re.IGNORECASE)
POST_TAGS, COMMENT_TAGS = markup._POST_TAGS, markup._COMMENT_TAGS


class Auditor(HTMLParser):
    """Reads HTML again, as somebody else, and remembers what is not allowed."""

    def __init__(self, tags: set[str]) -> None:
        super().__init__(convert_charrefs=True)
        self.tags = tags
        self.faults: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in self.tags:
            self.faults.append(f"<{tag}>")
        for name, value in attrs:
            if name.startswith("on") or name in {"style", "class", "id", "srcset", "target"}:
                self.faults.append(f"{tag}.{name}")
            if name in {"href", "src"} and not ADDRESS.fullmatch(value or ""):
                self.faults.append(f"{tag}.{name}={value}")
        if tag == "a" and "nofollow" not in (dict(attrs).get("rel") or ""):
            self.faults.append("a without rel")

    def handle_comment(self, data: str) -> None:
        self.faults.append(f"<!--{data}-->")


def faults(html: str, tags: set[str]) -> list[str]:
    auditor = Auditor(tags)
    auditor.feed(html)
    auditor.close()
    return auditor.faults


def test_the_auditor_finds_what_is_not_allowed() -> None:
    found = faults("<script></script><a href=javascript:x onclick=y><!-- z -->", POST_TAGS)
    assert len(found) == 5


@pytest.mark.parametrize("payload", HOSTILE)
@pytest.mark.parametrize("content_format", ["markdown", "html"])
def test_nothing_hostile_is_left_in_a_post(payload: str, content_format: str) -> None:
    html = markup.post_html(payload, content_format)
    assert faults(html, POST_TAGS) == []
    assert markup.post_html(html, "html") == html  # what is safe stays as it is


@pytest.mark.parametrize("payload", HOSTILE)
def test_nothing_hostile_is_left_in_a_comment(payload: str) -> None:
    assert faults(markup.comment_html(payload), COMMENT_TAGS) == []


PIECES = st.lists(st.sampled_from(HOSTILE[:52]) | st.text(max_size=8), max_size=5).map("".join)


@settings(max_examples=150, deadline=None)
@given(PIECES)
def test_no_mixture_of_them_is_either(text: str) -> None:
    for content_format in ("markdown", "html"):
        assert faults(markup.post_html(text, content_format), POST_TAGS) == []
    assert faults(markup.comment_html(text), COMMENT_TAGS) == []


def test_what_people_mean_is_shown() -> None:
    post = markup.post_html(
        "# A\n\n|a|b|\n|-|-|\n|1|2|\n\n~~x~~ ![i](https://a.example/i.png)", "markdown"
    )
    for part in ("<h1>A</h1>", "<td>1</td>", "<s>x</s>", 'src="https://a.example/i.png"'):
        assert part in post
    comment = markup.comment_html("*a* **b** `c` <https://a.example> [d](https://d.example)\n<b>e")
    assert comment == (
        "<p><em>a</em> <strong>b</strong> <code>c</code>"
        ' <a href="https://a.example" rel="noopener noreferrer nofollow ugc">https://a.example</a>'
        ' <a href="https://d.example" rel="noopener noreferrer nofollow ugc">d</a><br>'
        "\n&lt;b&gt;e</p>\n"
    )


def test_a_link_in_a_comment_has_an_address_and_nothing_else() -> None:
    html = markup.comment_html('[x](https://a.example "Free!")')
    assert html == (
        '<p><a href="https://a.example" rel="noopener noreferrer nofollow ugc">x</a></p>\n'
    )


def test_links_are_counted_however_they_are_written() -> None:
    assert markup.count_links("https://a.b HTTP://a.b www.a.b <mailto:a@b> [x](https://c.d)") == 5
    assert markup.count_links("httpd is no link, nor is a@b.example") == 0


@pytest.mark.parametrize(
    "text", ["[" * 500_000, "![" * 250_000, "*a _b " * 80_000, "a\n\n" * 170_000]
)
def test_a_text_that_takes_too_long_is_given_up(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(markup, "BUDGET", 0.2)
    begin = time.thread_time()
    with pytest.raises(markup.TooComplex):
        markup.post_html(text, "markdown")
    assert time.thread_time() - begin < 3


@pytest.mark.parametrize("depth", [9, 12, 20, 48, 49, 50, 97, 98, 99, 100, 101, 400])
@pytest.mark.parametrize("kind", ["list", "quote", "both"])
def test_deeply_nested_markdown_is_shown_whole_or_refused(kind: str, depth: int) -> None:
    quoted, listed = "> " * depth, "".join("  " * n + f"- item{n}\n" for n in range(depth))
    both = "".join("> " * n + f"- item{n}\n" for n in range(depth))
    text = {"list": listed, "quote": f"{quoted}item{depth - 1}", "both": both}[kind] + "\n\nafter"
    try:
        html = markup.post_html(text, "markdown")
    except markup.TooComplex:
        assert depth > 40
    else:
        said = re.findall(r"item\d+|after", html)
        assert said == re.findall(r"item\d+|after", text)


def test_html_of_too_many_tags_is_given_up() -> None:
    with pytest.raises(markup.TooComplex):
        markup.post_html("<a><b>" * 80_000, "html")


def test_a_comment_never_takes_long() -> None:
    for piece in ("[", "*a ", "[](", "*_", "`a``", "<a"):
        begin = time.thread_time()
        markup.comment_html((piece * 10_000)[:10_000])
        assert time.thread_time() - begin < 2
