"""Text from outside: safe to store, readable for people."""

from __future__ import annotations

import re
import time
from html.parser import HTMLParser

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distill_grpc.sources import text
from tests.conformance.sources.rules import UNWANTED

ENGLAND = "\U0001f3f4\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f"  # its flag


@pytest.mark.parametrize(
    ("given_text", "expected"),
    [
        ("a\x00b\x1bc\x7fd\x9b", "abcd"),
        ("a\r\nb\rc\u2028d\x85e\tf", "a\nb\nc\nd\ne\tf"),
        ("\ud83d\ude00 \ud83d x \ude00", "😀 \ufffd x \ufffd"),
        ("a\u202eb\u2066c\ufeffd\u200be", "abcde"),
        ("ignore\U000e0041\U000e0042 me", "ignore me"),
        (f"{ENGLAND}\U000e0041 \U0001f3f4\U000e0067", f"{ENGLAND} \U0001f3f4"),
        (
            "👩\u200d💻 \u0645\u06cc\u200c\u062e\u0648 שלום",
            "👩\u200d💻 \u0645\u06cc\u200c\u062e\u0648 שלום",
        ),
    ],
)
def test_clean_takes_out_what_nobody_can_read(given_text: str, expected: str) -> None:
    assert text.clean(given_text) == expected


@given(st.text(alphabet=st.characters(exclude_categories=[]), max_size=200))
def test_cleaned_text_is_clean_and_stays_so(given_text: str) -> None:
    cleaned = text.clean(given_text)
    assert not UNWANTED.search(cleaned)
    assert text.clean(cleaned) == cleaned
    cleaned.encode()  # no lone surrogates


def test_lists_without_end_are_not_indented_without_end() -> None:
    assert len(text.text_of("<ul><li>x" * 3_000)) < 200_000


@pytest.mark.parametrize(
    ("markup", "expected"),
    [
        ("<p>One</p><p>Two</p>", "One\n\nTwo"),
        ("One<br>two<br/><br>three", "One\ntwo\n\nthree"),
        ("<ul><li>a</li><li>b<ul><li>c</li></ul></li></ul>d", "- a\n- b\n  - c\n\nd"),
        ("<ol start=3><li>a<li>b</ol>", "1. a\n2. b"),
        ("<ul><li><p>a</p></li><li><p>b</p></li></ul>", "- a\n- b"),
        ("<h2>Head</h2>text", "Head\n\ntext"),
        ("a <b> bold </b> word", "a bold word"),
        ("  many \n\n  blanks\t ", "many blanks"),
        ("<pre>  x = 1\n\n    y</pre>after", "  x = 1\n\n    y\n\nafter".strip()),
        ("5 &lt; 6 &amp;&amp; 7 &#62; 6 &eacute; &hearts;", "5 < 6 && 7 > 6 é ♥"),
        ("see <a href='https://x.example/'>the page</a>.", "see the page."),
        ("<table><tr><td>a</td><td>b</td></tr><tr><td>c</td></tr></table>", "a b\nc"),
        ("<img src=x alt='A cat' title='Meow'>", "A cat Meow"),
        ("<p>text</p><img src=x alt='A cat'>", "text"),
        ("<style>p{}</style><script>x()</script><title>t</title>ok", "ok"),
        ("<svg><text>no</text></svg><math><mi>x</mi></math>ok", "ok"),
        ("<!-- no -->yes<![CDATA[maybe]]>", "yes"),
        ("<blockquote><p>said</p></blockquote>then", "said\n\nthen"),
        ("a\x00<p>b\x01</p>", "a\n\nb"),
        ("", ""),
        ("<p></p><div> </div>", ""),
    ],
)
def test_html_reads_as_a_person_would_read_it(markup: str, expected: str) -> None:
    assert text.html_to_text(markup) == expected


PAGE = "https://site.example/post/"


@pytest.mark.parametrize("base", ["", PAGE])
@pytest.mark.parametrize(
    ("markup", "expected"),
    [
        (
            'nine euros.<sup id="fnref:1"><a href="#fn:1" class="footnote-ref">1</a></sup> The rest',
            "nine euros. The rest",
        ),
        (f'nine euros.<sup><a href="{PAGE}#fn1">[12]</a></sup> The', "nine euros. The"),
        ('one.<sup><a href="#a">1</a>, <a href="#b">2</a></sup> Two', "one. Two"),
        ('one<sup><a href="#a"><span>[</span>a<span>]</span></a></sup>.', "one."),
        ('<p>one<sup><a href="#a">*</a></sup></p><p>two</p>', "one\n\ntwo"),
        ("10<sup>2</sup>, H<sub>2</sub>O", "102, H2O"),
        ('m<sup><a href="https://wiki.example/square">2</a></sup>', "m2"),
        ('the <a href="https://site.example/other/#c5">5</a> answers', "the 5 answers"),
        ('the 4<sup><a href="#a">th</a></sup> of May', "the 4th of May"),
        ('read <a href="#end">the end</a>', "read the end"),
    ],
)
def test_marks_of_footnotes_are_no_text(markup: str, expected: str, base: str) -> None:
    assert text.html_to_text(markup, base) == expected


def test_a_link_to_a_note_on_the_page_is_no_text_where_the_page_is_known() -> None:
    note = '<p>one.<a href="#fn1"><sup>1</sup></a> Two</p><p>note <a href="#r1">↩\ufe0e</a></p>'
    assert text.html_to_text(note, PAGE) == "one. Two\n\nnote"
    assert text.html_to_text('So it is.<a href="#fn2">2</a>', f"{PAGE}#top") == "So it is."
    assert text.html_to_text('See section <a href="#s2">2</a>.', PAGE) == "See section 2."


@pytest.mark.parametrize(
    ("given_text", "expected"),
    [
        ("Tom &amp; Jerry", "Tom & Jerry"),
        ("a < b and c > d", "a < b and c > d"),
        ("<b>Bold</b> claim", "Bold claim"),
        ("x <3 y", "x <3 y"),
        ("one\n\n\n\ntwo  three", "one\n\ntwo three"),
    ],
)
def test_readable_takes_html_and_plain_text(given_text: str, expected: str) -> None:
    assert text.readable(given_text) == expected


ATTACKS = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "<a href='javascript:alert(1)'>x</a>",
    "<a href='jav   ascript:alert(1)'>x</a>",
    "<a href='java\tscript:alert(1)'>x</a>",
    "<a href='\x01javascript:alert(1)'>x</a>",
    "<a href='data:text/html,<script>alert(1)</script>'>x</a>",
    "<a href='vbscript:x'>x</a>",
    "<svg onload=alert(1)><a xlink:href='javascript:x'>x</a></svg>",
    "<math><mtext><table><mglyph><style><img src=x onerror=alert(1)>",
    "<iframe srcdoc='<script>alert(1)</script>'></iframe>",
    "<form action='javascript:x'><button formaction='javascript:x'>b</button></form>",
    "<p style='background:url(javascript:x)'>x</p>",
    "<noscript><p title='</noscript><img src=x onerror=alert(1)>'>",
    "<template><script>alert(1)</script></template>",
    "<textarea></textarea><script>alert(1)</script>",
    "<base href='https://evil.example/'><a href='x'>x</a>",
    "<meta http-equiv=refresh content='0;url=javascript:x'>",
    "<xmp><script>alert(1)</script></xmp>",
    "<plaintext><script>alert(1)</script>",
    "<div><div><div id=x class=y onclick=z>",
]


class _Seen(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: list[tuple[str, str]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes.extend((name, value or "") for name, value in attrs)


def assert_safe(markup: str) -> None:
    seen = _Seen()
    seen.feed(markup)
    forbidden = {"script", "style", "iframe", "svg", "math", "form", "object", "base", "meta"}
    assert not seen.tags & (forbidden | {"template", "noscript", "textarea", "button", "input"})
    for name, value in seen.attributes:
        assert not name.startswith("on")
        assert name not in {"style", "srcdoc", "id", "class", "formaction", "srcset"}
        if name in {"href", "src"}:
            assert re.match(r"(https?|mailto):", value), value


@pytest.mark.parametrize("base", ["", "https://blog.example/a/"])
@pytest.mark.parametrize("attack", ATTACKS)
def test_attacks_leave_nothing_behind(attack: str, base: str) -> None:
    safe = text.sanitise_html(attack, base)
    assert_safe(safe)
    assert text.sanitise_html(safe, base) == safe
    assert "evil" not in safe


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.sampled_from([*ATTACKS, "<p>", "</p>", "<b>", "</a>", "'", '"', ">", "&lt;", "x"]))
)
def test_mixed_attacks_leave_nothing_behind(pieces: list[str]) -> None:
    safe = text.sanitise_html("".join(pieces))
    assert_safe(safe)
    assert text.sanitise_html(safe) == safe


@pytest.mark.parametrize(
    "piece",
    [
        "<div>",
        "<b>",
        "<table>",
        "<p><b>",
        "<li>",
        "<p>",
        "</p>",
        "<b></b>",
        "<sup><a href='#fn'>1",
        "<sup><sup><a href='https://a.example/#fn'>1</a>",
        "&",
        "<",
        "<a ",
        "<!--",
    ],
)
def test_bad_markup_costs_little_time(piece: str) -> None:
    started = time.process_time()
    text.html_to_text(piece * (200_000 // len(piece)))
    assert time.process_time() - started < 2


def test_html_is_capped_and_stays_whole() -> None:
    safe = text.sanitise_html("<p>é<b>word</b></p>" * 20_000, max_bytes=10_000)
    assert 8_000 < len(safe.encode()) <= 10_000
    assert text.sanitise_html(safe) == safe
    nested = text.sanitise_html("<blockquote>" * 200 + "x" * 9_000, max_bytes=3_000)
    assert len(nested.encode()) <= 3_000


def test_links_become_absolute_or_go() -> None:
    markup = "<a href='/a?b=1&amp;c=2'>x</a><a href='mailto:a@b.example'>y</a><img src='../i.png'>"
    with_base = text.sanitise_html(markup, "https://blog.example/x/y")
    assert 'href="https://blog.example/a?b=1&amp;c=2"' in with_base
    assert 'src="https://blog.example/i.png"' in with_base
    without = text.sanitise_html(markup)
    assert "/a?b" not in without
    assert "mailto:a@b.example" in without


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("/a", "https://blog.example/a"),
        ("b c", "https://blog.example/x/b%20c"),
        ("//cdn.example/d", "https://cdn.example/d"),
        ("http://other.example/", "http://other.example/"),
        ("", ""),
        ("javascript:alert(1)", ""),
        ("mailto:a@b.example", ""),
        ("http://[bad/", ""),
        ("ftp://blog.example/", ""),
    ],
)
def test_absolute_url(url: str, expected: str) -> None:
    assert text.absolute_url(url, "https://blog.example/x/y") == expected


def test_shortening_marks_the_cut() -> None:
    assert text.shorten("abc", 3) == "abc"
    assert text.shorten("abcd", 3) == "ab…"
    assert text.one_line(" a \n b\t", 10) == "a b"


def test_an_address_that_the_sanitiser_cannot_read_costs_only_relative_links() -> None:
    markup = '<p>Words <a href="/there">there</a> and <a href="https://a.example/">here</a></p>'
    safe = text.sanitise_html(markup, "https://<blog.example/1?a=1&b=2")
    assert "Words" in safe
    assert "/there" not in safe
    assert 'href="https://a.example/"' in safe
