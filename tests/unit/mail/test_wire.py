"""Messages as bytes: what is ASCII is never encoded, what is not never leaves its lines."""

from __future__ import annotations

from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default

import pytest

from distill_grpc.mail.headers import address
from distill_grpc.mail.wire import as_bytes


def written(name: str, value: object) -> tuple[list[bytes], str]:
    """The lines of a header, and what a mail program reads in them."""
    message = EmailMessage()
    message[name] = value
    content = as_bytes(message)
    head = content.partition(b"\r\n\r\n")[0]
    return head.split(b"\r\n"), str(message_from_bytes(content, policy=default)[name])


@pytest.mark.parametrize("length", [1, 60, 61, 78, 200, 900])
@pytest.mark.parametrize("name", ["List-Unsubscribe", "Message-ID", "X-Request-Id"])
def test_a_long_word_stands_on_one_line_as_it_is(name: str, length: int) -> None:
    value = f"<{'t' * length}@host.example>"
    assert written(name, value) == ([f"{name}: {value}".encode()], value)


def test_a_word_that_fits_on_no_line_with_its_name_stands_below_it() -> None:
    value = f"<https://{'t' * 985}>"
    lines, _ = written("List-Unsubscribe", value)
    assert lines == [b"List-Unsubscribe:", f" {value}".encode()]


@pytest.mark.parametrize(
    "value",
    [
        "word " * 60 + "end",
        "two  spaces  here " * 10 + "end",
        f"{'w' * 70} {'v' * 200} {'x' * 70} y",
        "w" * 2000,  # no line is that long: encoded
        "\u00fcber " * 60 + "alles",
        f"{'w' * 300} \u00fcber",
        "",
    ],
)
def test_a_subject_is_read_as_it_was_written_from_lines_that_are_allowed(value: str) -> None:
    lines, read = written("Subject", value)
    assert read == value
    assert max(map(len, lines)) <= 998
    assert all(line.isascii() and line.strip() for line in lines)


@pytest.mark.parametrize("name", ["", "Ada", 'Ada "A", L.' * 20, "J\u00f6rg A. B"])
def test_an_address_is_never_encoded_whatever_its_name_is(name: str) -> None:
    spec = f"{'a' * 64}@{'b' * 60}.{'c' * 60}.example"
    lines, read = written("From", address(spec, name))
    assert any(spec.encode() in line for line in lines)
    assert read == str(address(spec, name))


def test_a_domain_is_spelled_as_dns_spells_it_and_what_is_no_address_is_none() -> None:
    assert str(address("a@b\u00fccher.example")) == "a@xn--bcher-kva.example"
    for wrong in (
        "",
        "a",
        "a@",
        "a@\u00fc..example",
        "a@" + "\u00fc" * 80,
        "\u00e4@b.example",
    ):
        assert address(wrong) is None, wrong
