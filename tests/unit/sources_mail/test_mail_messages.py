"""How messages are read: recorded ones, broken ones, and whatever anybody may send."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distill_grpc.sources import mail_items, mail_messages, mail_text
from tests.conformance.sources.rules import check_items
from tests.servers.fixtures import fixtures_dir
from tests.unit.sources_mail.mail_reading import NOW, Mailbox, mail

TOLD = b'(UID 1 INTERNALDATE "10-Jan-2024 09:00:00 +0100" RFC822.SIZE 100)'


def read(document: bytes) -> dict[str, Any]:
    """What is read of a message; its item keeps every rule."""
    message = mail_messages.read({}, document)
    id_ = mail_items.identity(document)
    item = mail_items.item_of(message, id_=id_, folder="INBOX", told=TOLD, now=NOW)
    check_items([item], now=NOW)
    return message | {"item": item}


def multipart(kind: str, *parts: bytes) -> bytes:
    inner = b"".join(b"--x\r\n" + part + b"\r\n" for part in parts)
    return (
        f"MIME-Version: 1.0\r\nContent-Type: {kind}; boundary=x\r\n\r\n".encode()
        + inner
        + b"--x--\r\n"
    )


def part(kind: str, body: str, more: str = "") -> bytes:
    return f"Content-Type: {kind}; charset=utf-8\r\n{more}\r\n{body}".encode()


def test_plain_text_goes_before_html() -> None:
    plain = "The meeting is on Thursday at nine, in the small room on the second floor."
    html = part("text/html", f"<p>{plain}</p><script>alert(1)</script>")
    assert (
        read(multipart("multipart/alternative", part("text/plain", plain), html))["text"] == plain
    )


def test_html_goes_before_a_text_that_only_points_at_it() -> None:
    html = "<p>" + "All the news of the week, told at length. " * 5 + "</p>"
    stub = part("text/plain", "Your mail program shows no HTML.")
    said = read(multipart("multipart/alternative", stub, part("text/html", html)))["text"]
    assert said.startswith("All the news of the week")


def test_newsletters_are_readable() -> None:
    filling = "&#847;&zwnj;&nbsp;" * 40
    html = (
        f"<html><head><style>p {{}}</style></head><body>{filling}<table><tr><td><h1>Week 12</h1>"
        "</td></tr><tr><td><p>Fish &amp; chips</p><img src='https://t.example/pixel.gif'></td></tr>"
        "</table></body></html>"
    )
    message = read(mail(html, kind="text/html; charset=utf-8", List_Id="News <news.a.example>"))
    assert message["text"].split() == ["Week", "12", "Fish", "&", "chips"]
    assert message["kind"] == "newsletter"
    assert message["item"].tags == ("news.a.example",)


def test_quotations_and_signatures_are_folded() -> None:
    body = (
        "Yes, let us do that.\n\nOn Mon, 8 Jan 2024 at 10:00, Okoro <o@b.example> wrote:\n"
        "> Shall we?\n> I would.\n\n-- \nMara\n+1 555\n"
    )
    message = read(mail(body))
    assert message["text"] == "Yes, let us do that.\n\n[2 quoted lines]"
    assert "Shall we?" in message["folded"]
    assert "+1 555" in message["folded"]


def test_short_quotations_with_answers_stay() -> None:
    message = read(mail("> Shall we?\nYes.\n> When?\nNow.\n"))
    assert message["text"] == "> Shall we?\nYes.\n> When?\nNow."


def test_a_message_that_only_quotes_says_what_it_quotes() -> None:
    assert read(mail("> one\n> two\n> three\n> four\n"))["text"].startswith("> one")
    html = "<blockquote><p>laid out oddly</p></blockquote>"
    assert read(mail(html, kind="text/html"))["text"] == "laid out oddly"


def test_quotations_in_html_are_folded() -> None:
    html = "<p>Yes.</p><p>On Monday Okoro wrote:</p><blockquote><p>Shall we?</p></blockquote>"
    message = read(mail(html, kind="text/html; charset=utf-8"))
    assert message["text"] == "Yes.\n\n[1 quoted lines]"
    assert message["folded"] == "Shall we?"


def test_flowed_text_is_put_together() -> None:
    message = read(mail("One long \nline.\nNext.", kind="text/plain; format=flowed"))
    assert message["text"] == "One long line.\nNext."
    assert mail_text.unflowed("a \nb", delete_space=True) == "ab"


def test_threads_are_what_their_first_message_is() -> None:
    first = read(mail(id_="1@a"))
    answer = read(mail(id_="2@a", In_Reply_To="<1@a>", References="<1@a>"))
    third = read(mail(id_="3@a", In_Reply_To="<2@a>", References="<1@a> <2@a>"))
    assert {m["item"].thread_id for m in (first, answer, third)} == {"1@a"}


def test_gmail_names_the_thread_itself() -> None:
    told = TOLD.replace(b"UID 1", b"X-GM-THRID 1266894439832287888 UID 1")
    message = mail_messages.read({}, mail(id_="1@a"))
    item = mail_items.item_of(message, id_="x", folder="INBOX", told=told, now=NOW)
    assert item.thread_id == "1266894439832287888"


@pytest.mark.parametrize(
    ("raw", "read_as"),
    [
        ("=?utf-8?q?Gr=C3=BC=C3=9Fe?= aus =?iso-8859-1?q?K=F6ln?=", "Grüße aus Köln"),
        ("=?utf-8?b?4pyT?=", "✓"),
        ("Grüße", "Grüße"),
        ("=?no-such?q?abc?=", "abc"),
        ("=?utf-8?b?###?=", ""),
        ("=?utf-8?q?a=0Ab=00c?=", "a bc"),
        ("=?unknown-8bit?q?=E4?=", "ä"),
        ("plain =?", "plain =?"),
    ],
)
def test_subjects_are_decoded(raw: str, read_as: str) -> None:
    subject = read(mail(subject=raw))["subject"]
    assert subject == read_as or (not read_as and subject in {"", raw})


def test_attachments_are_named_and_not_read() -> None:
    attached = part(
        "application/pdf",
        base64.b64encode(b"%PDF" * 100).decode(),
        "Content-Disposition: attachment; filename*=utf-8''Pl%C3%A4ne.pdf\r\n"
        "Content-Transfer-Encoding: base64\r\n",
    )
    forwarded = b"Content-Type: message/rfc822\r\n\r\nSubject: inner\r\n\r\nsecret"
    message = read(multipart("multipart/mixed", part("text/plain", "See."), attached, forwarded))
    assert [a["name"] for a in message["attachments"]] == ["Pläne.pdf", "inner"]
    assert message["attachments"][0]["size"] == pytest.approx(400, abs=5)
    assert message["item"].content == "See.\n\nAttached: Pläne.pdf, inner"


def test_too_many_parts_are_a_failure_with_a_reason() -> None:
    document = multipart("multipart/mixed", *[part("text/plain", "x")] * 101)
    message = read(document)
    assert message["failure"] == "too_many_parts"
    assert "more than 100 parts" in message["item"].content
    assert not read(multipart("multipart/mixed", *[part("text/plain", "x")] * 99)).get("failure")


@pytest.mark.parametrize("depth", [22, 200, 5_000])
def test_parts_nested_too_deeply_are_a_failure_with_a_reason(depth: int) -> None:
    head = b"Subject: deep\r\n"
    levels = (
        b'Content-Type: multipart/mixed; boundary="b%d"\r\n\r\n--b%d\r\n' % (n, n)
        for n in range(depth)
    )
    message = read(head + b"".join(levels) + b"\r\nhello")
    assert message["failure"] == "too_deep"
    assert message["subject"] == "deep"


def test_instants_are_the_servers() -> None:
    document = mail(Date="Thu, 01 Jan 2099 00:00:00 +0000")
    assert read(document)["item"].published_at.isoformat() == "2024-01-10T08:00:00+00:00"
    assert mail_items.arrived_at(b'INTERNALDATE " 1-Feb-2024 23:59:60 -0130"') is not None
    for broken in (b"", b'INTERNALDATE "31-Feb-2024 00:00:00 +0000"', b'INTERNALDATE "x"'):
        assert mail_items.arrived_at(broken) is None


def recorded() -> list[Any]:
    folder = fixtures_dir() / "mail"
    return sorted(folder.rglob("*.eml"))


def test_every_recorded_message_is_read() -> None:
    paths = recorded()
    assert len(paths) > 100
    for path in paths:
        message = read(path.read_bytes())
        assert not message.get("failure"), path.name
    readable = [p for p in paths if read(p.read_bytes())["text"]]
    assert len(readable) > 0.85 * len(paths)


async def test_every_recorded_message_is_served_by_a_real_server(mailbox: Mailbox) -> None:
    paths = recorded()
    distinct = {path.read_bytes().replace(b"\r\n", b"\n") for path in paths}
    with mailbox.server.mailbox(mailbox.user) as client:
        for path in paths:
            document = path.read_bytes().replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
            status, why = client.append("INBOX", "", '"10-Jan-2024 09:00:00 +0000"', document)
            assert status == "OK", (path.name, why)
    pages = await mailbox.read()
    assert not [page.failure for page in pages if page.failure]
    assert len(mailbox.items) == len(distinct)
    assert not [item for item in mailbox.items.values() if "failure" in item.raw]


HEADERS = st.sampled_from(
    ["Subject", "From", "To", "Content-Type", "Content-Transfer-Encoding", "Content-Disposition",
     "Message-ID", "References", "List-Id", "Date", "MIME-Version"]
)  # fmt: skip
VALUES = st.one_of(
    st.binary(max_size=60),
    st.sampled_from(
        [b"multipart/mixed; boundary=x", b"multipart/alternative; boundary=x", b"text/html",
         b"message/rfc822", b"base64", b"quoted-printable", b"x-uuencode", b"text/plain; charset=utf-7",
         b"=?utf-8?b?/w==?=", b"attachment; filename*=x''%ff", b"text/plain; charset*=a'b'c; format=flowed",
         b"attachment; filename*0*=a; filename*2=b", b"<a@b> <", b"a@b, <", b"\"", b"multipart/"]
    ),
)  # fmt: skip
BODIES = st.lists(
    st.one_of(
        st.binary(max_size=80), st.sampled_from([b"--x", b"--x--", b"> q", b"-- ", b"<p>", b""])
    ),
    max_size=15,
)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(HEADERS, VALUES), max_size=12), BODIES)
def test_no_message_makes_reading_fail(headers: list[tuple[str, bytes]], body: list[bytes]) -> None:
    head = b"".join(name.encode() + b": " + value + b"\r\n" for name, value in headers)
    read(head + b"\r\n" + b"\r\n".join(body))


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=400))
def test_no_bytes_make_reading_fail(document: bytes) -> None:
    read(document)


LINES = st.lists(
    st.sampled_from(["", "word{}", "> quoted{}", "-- ", "-----Original Message-----", "  > a{}"]),
    max_size=25,
)


@given(LINES)
def test_folding_loses_no_word(lines: list[str]) -> None:
    numbered = [line.format(n) for n, line in enumerate(lines)]
    own, folded = mail_text.fold("\n".join(numbered))
    kept = set((own + "\n" + folded).split())
    assert kept >= {word for line in numbered for word in line.split() if word[-1].isdigit()}


async def test_a_message_that_the_parser_dies_of_is_a_failure_with_a_reason(
    mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    from distill_grpc.sources.sandbox import SandboxFailure

    true_run = mailbox.source._parser.run

    async def run(header: Any, document: bytes) -> Any:
        if b"poison" in document and not header["only_head"]:
            raise SandboxFailure("died")
        return await true_run(header, document)

    monkeypatch.setattr(mailbox.source._parser, "run", run)
    mailbox.deliver(mail("poison", subject="bad"))
    mailbox.deliver(mail(subject="good"))
    await mailbox.read()
    assert mailbox.titles() == ["bad", "good"]
    (bad,) = [item for item in mailbox.items.values() if item.title == "bad"]
    assert bad.raw["failure"] == "parser_failed"
