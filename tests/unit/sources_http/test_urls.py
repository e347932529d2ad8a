from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distill_grpc.sources.base import PlatformError
from distill_grpc.sources.urls import follow, origin, parse


@pytest.mark.parametrize(
    "text",
    [
        "",
        "feed",
        "/feed",
        "//example.com/feed",
        "http://",
        "http:///feed",
        "http:example.com",
        "ftp://example.com/",
        "file:///etc/passwd",
        "gopher://example.com/",
        "javascript:alert(1)",
        "data:text/plain,x",
        "http://example.com:0/",
        "http://example.com:65536/",
        "http://example.com:-1/",
        "http://example.com:x/",
        "http://user@example.com/",
        "http://user:secret@example.com/",
        "http://:secret@example.com/",
        "http://example.com\\@evil.test/",
        "http://evil.test\\.example.com/",
        "http://example.com/\r\nX-Injected: 1",
        "http://example.com/\nx",
        "http://example.com/\tx",
        "http://example.com\x00.evil.test/",
        "\x01http://example.com/",
        "http://exa mple.com/",
        "http://exam%70le.com/",
        "http://exam%00ple.com/",
        "http://127.1/",
        "http://2130706433/",
        "http://0177.0.0.1/",
        "http://1.2.3.4.5/",
        "http://1.2.3.256/",
        "http://[::1",
        "http://[::1%25lo]/",
        "http://[fe80::1%eth0]/",
        "http://example.com/" + "a" * 8192,
        "http://1.1.1.1 &@2.2.2.2# @3.3.3.3/",
        "http://\udc80.test/",
    ],
)
def test_an_unusable_address_is_refused_for_good(text: str):
    with pytest.raises(PlatformError) as raised:
        parse(text)
    assert raised.value.reason == "invalid_url"
    assert raised.value.permanent


@pytest.mark.parametrize(
    ("text", "sent"),
    [
        ("http://Example.COM", "http://example.com"),
        ("HTTPS://example.com/Feed?q=1&q=2#part", "https://example.com/Feed?q=1&q=2"),
        ("http://example.com:8080/a b", "http://example.com:8080/a%20b"),
        ("http://bücher.test/ü", "http://xn--bcher-kva.test/%C3%BC"),
        ("http://under_score.test/", "http://under_score.test/"),
        ("http://example.com/a%2Fb?u=http%3A%2F%2Fx", "http://example.com/a%2Fb?u=http://x"),
        ("http://[2606:4700::1]:81/", "http://[2606:4700::1]:81/"),
    ],
)
def test_a_usable_address_is_normalised(text: str, sent: str):
    assert str(parse(text)) == sent


@pytest.mark.parametrize(
    ("location", "target"),
    [
        ("https://other.test/x", "https://other.test/x"),
        ("/new", "http://example.com/new"),
        ("new?x=1", "http://example.com/a/new?x=1"),
        ("//other.test/x", "http://other.test/x"),
        ("?page=2", "http://example.com/a/b?page=2"),
        (" /padded ", "http://example.com/padded"),
        ("/part#part", "http://example.com/part"),
        ("/é", "http://example.com/%C3%A9"),
        ("/\udce9", "http://example.com/%E9"),
        ("http:/one-slash", "http://example.com/one-slash"),
    ],
)
def test_a_location_is_relative_to_where_it_was_met(location: str, target: str):
    assert str(follow(parse("http://example.com/a/b?c=d"), location)) == target


@pytest.mark.parametrize(
    "location",
    [
        "file:///etc/passwd",
        "javascript:x",
        "https:",
        "http://u:p@x.test/",
        "http://x.test:0/",
        "\\\\evil.test\\x",
        "/" + "x" * 9000,
        "http://[::1",
        "http://127.1/",
        "http://\udc80.test/",
    ],
)
def test_a_bad_location_is_the_servers_fault_and_may_be_mended(location: str):
    with pytest.raises(PlatformError) as raised:
        follow(parse("http://example.com/"), location)
    assert raised.value.reason == "invalid_url"
    assert not raised.value.permanent


def test_an_origin_is_scheme_host_and_port():
    assert origin(parse("http://a.test/x")) == origin(parse("http://A.test:80/y?z"))
    for other in ("https://a.test/", "http://b.test/", "http://a.test:81/"):
        assert origin(parse(other)) != origin(parse("http://a.test/"))


@given(st.text(max_size=60) | st.text(max_size=30).map(lambda rest: f"http://{rest}"))
def test_any_text_is_an_address_or_refused(text: str):
    try:
        url = parse(text)
    except PlatformError:
        return
    assert url.scheme in {"http", "https"}
    assert url.raw_host
    assert not {"\r", "\n", " "} & set(str(url))
