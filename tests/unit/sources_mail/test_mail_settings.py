"""Which credentials and settings a mailbox may have, and how each wrong one is named."""

from __future__ import annotations

from typing import Any

import pytest

from distill_grpc.sources.base import InvalidConnection
from distill_grpc.sources.email import EmailSource
from distill_grpc.sources.http import HttpClient
from distill_grpc.sources.registry import SourceContext

GOOD = {"host": "imap.a.example", "username": "mara@a.example", "password": "p w"}


@pytest.mark.parametrize(
    ("credentials", "settings", "wrong"),
    [
        ({"host": None}, {}, {"credentials.host"}),
        ({"host": "a b"}, {}, {"credentials.host"}),
        ({"host": "imap://a.example"}, {}, {"credentials.host"}),
        ({"host": "a.example\r\nX"}, {}, {"credentials.host"}),
        ({"host": "-a"}, {}, {"credentials.host"}),
        ({"port": 0}, {}, {"credentials.port"}),
        ({"port": 65_536}, {}, {"credentials.port"}),
        ({"port": "imap"}, {}, {"credentials.port"}),
        ({"port": True}, {}, {"credentials.port"}),
        ({"port": 9.5}, {}, {"credentials.port"}),
        ({"username": ""}, {}, {"credentials.username"}),
        ({"username": "a\r\nb"}, {}, {"credentials.username"}),
        ({"password": "a\0b"}, {}, {"credentials.password"}),
        ({"password": None}, {}, {"credentials.password"}),
        ({"access_token": "t"}, {}, {"credentials.password"}),
        ({"token_url": "file:///etc/passwd"}, {}, {"credentials.token_url"}),
        ({}, {"folders": []}, {"settings.folders"}),
        ({}, {"folders": "INBOX"}, {"settings.folders"}),
        ({}, {"folders": ["INBOX", "a\nb"]}, {"settings.folders[1]"}),
        ({}, {"folders": ["INBOX", "INBOX"]}, {"settings.folders[1]"}),
        ({}, {"folders": ["Inbox", "a", "INBOX"]}, {"settings.folders[2]"}),
        ({}, {"tls": "maybe"}, {"settings.tls"}),
        ({}, {"tls": ["none"]}, {"settings.tls"}),
    ],
)
async def test_each_wrong_field_is_named(
    source: EmailSource, credentials: dict[str, Any], settings: dict[str, Any], wrong: set[str]
) -> None:
    given = {k: v for k, v in {**GOOD, **credentials}.items() if v is not None}
    with pytest.raises(InvalidConnection) as refused:
        source.check(given, settings)
    assert refused.value.details.keys() == wrong


@pytest.mark.parametrize(
    ("credentials", "settings"),
    [
        ({}, {}),
        ({"port": 143}, {"tls": "starttls"}),
        ({"port": "993"}, {"tls": "implicit", "folders": ["INBOX", "Entwürfe"]}),
        ({"host": "192.0.2.1"}, {"tls": "none"}),
        ({"host": "2001:db8::1"}, {}),
    ],
)
async def test_good_values_are_accepted(
    source: EmailSource, credentials: dict[str, Any], settings: dict[str, Any]
) -> None:
    source.check({**GOOD, **credentials}, settings)


async def test_a_token_stands_in_the_passwords_stead(source: EmailSource) -> None:
    source.check({"host": "a.example", "username": "u", "access_token": "t"}, {})


async def test_two_secrets_are_one_too_many_and_none_too_few(source: EmailSource) -> None:
    with pytest.raises(InvalidConnection) as both:
        source.check({**GOOD, "access_token": "t"}, {})
    assert "one of them only" in both.value.details["credentials.password"]
    with pytest.raises(InvalidConnection) as neither:
        source.check({"host": "a.example", "username": "u"}, {})
    assert "must be given" in neither.value.details["credentials.password"]


async def test_folders_other_than_the_inbox_are_told_apart_by_case(source: EmailSource) -> None:
    source.check(GOOD, {"folders": ["INBOX", "Work", "work", "Work/Inbox", "Work/INBOX"]})


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "10.1", "2130706433", "::1", "fe80::1", "169.254.1.1"]
)
async def test_private_addresses_are_refused_by_their_field(host: str) -> None:
    async with HttpClient(allow_private_addresses=False) as http:
        guarded = EmailSource(SourceContext(http=http))
        bracketed = f"[{host}]" if ":" in host else host
        with pytest.raises(InvalidConnection) as refused:
            guarded.check({**GOOD, "host": host, "token_url": f"https://{bracketed}/token"}, {})
        assert refused.value.details == {
            "credentials.host": "must not be a private address",
            "credentials.token_url": "must not be a private address",
        }
        guarded.check({**GOOD, "host": "localhost", "token_url": "https://a.example/token"}, {})
        await guarded.close()
