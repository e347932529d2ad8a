"""Signatures of pushes: what the platforms publish is taken, and nothing that differs by one bit."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Callable

import orjson
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from distill_grpc.sources import websub
from distill_grpc.sources.github_webhooks import GithubWebhooks
from distill_grpc.sources.pushes import Forged, Push
from distill_grpc.sources.x_webhooks import XWebhooks

# docs.github.com, "Testing the webhook payload validation".
SECRET = "It's a Secret to Everybody"
BODY = b"Hello, World!"
SIGNATURE = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"

Receive = Callable[[str, dict[str, str], bytes], Push]


def github(secret: str, body: bytes) -> dict[str, str]:
    return {"x-hub-signature-256": "sha256=" + hmac.digest(secret.encode(), body, "sha256").hex()}


def hub(secret: str, body: bytes) -> dict[str, str]:
    return {"x-hub-signature": "sha512=" + hmac.digest(secret.encode(), body, "sha512").hex()}


def x(secret: str, body: bytes) -> dict[str, str]:
    signed = base64.b64encode(hmac.digest(secret.encode(), body, "sha256")).decode()
    return {"x-twitter-webhooks-signature": f"sha256={signed}"}


PLATFORMS: dict[str, tuple[Receive, Callable[[str, bytes], dict[str, str]]]] = {
    "github": (GithubWebhooks().receive, github),
    "websub": (websub.receive, hub),
    "x": (XWebhooks().receive, x),
}
each_platform = pytest.mark.parametrize(
    ("receive", "sign"), PLATFORMS.values(), ids=PLATFORMS.keys()
)


def test_githubs_published_example_is_taken() -> None:
    headers = {"x-hub-signature-256": SIGNATURE, "x-github-delivery": "72d3162e-cc78-11e3"}
    assert GithubWebhooks().receive(SECRET, headers, BODY) == Push("72d3162e-cc78-11e3")


@pytest.mark.parametrize(
    "given",
    [
        "",
        SIGNATURE.removeprefix("sha256="),
        SIGNATURE.upper(),
        "sha256=" + SIGNATURE.removeprefix("sha256=").upper(),
        "SHA256=" + SIGNATURE.removeprefix("sha256="),
        SIGNATURE[:-1],
        SIGNATURE + "0",
        SIGNATURE + " ",
        f"{SIGNATURE},{SIGNATURE}",
        "sha1=" + hmac.digest(SECRET.encode(), BODY, "sha1").hex(),
        "sha256=",
        "sha256=é",
    ],
)
def test_githubs_signature_in_any_other_form_is_refused(given: str) -> None:
    with pytest.raises(Forged):
        GithubWebhooks().receive(SECRET, {"x-hub-signature-256": given}, BODY)


def test_githubs_older_header_does_not_count() -> None:
    sha1 = "sha1=" + hmac.digest(SECRET.encode(), BODY, "sha1").hex()
    with pytest.raises(Forged):
        GithubWebhooks().receive(SECRET, {"x-hub-signature": sha1}, BODY)
    with pytest.raises(Forged):
        GithubWebhooks().receive(SECRET, {"x-hub-signature": SIGNATURE}, BODY)


def test_githubs_greeting_is_no_news() -> None:
    headers = {**github(SECRET, BODY), "x-github-event": "ping", "x-github-delivery": "a-1"}
    assert GithubWebhooks().receive(SECRET, headers, BODY) == Push("a-1", news=False)


@pytest.mark.parametrize("given", [None, "", "a" * 101, "a b", "a\x00", "é"])
def test_a_delivery_without_a_usable_id_is_known_by_its_body(given: str | None) -> None:
    headers = github(SECRET, BODY) | ({} if given is None else {"x-github-delivery": given})
    assert GithubWebhooks().receive(SECRET, headers, BODY).id == hashlib.sha256(BODY).hexdigest()


@pytest.mark.parametrize("method", ["sha1", "sha256", "sha384", "sha512"])
def test_hubs_may_sign_by_any_method_of_the_recommendation(method: str) -> None:
    headers = {"x-hub-signature": f"{method}={hmac.digest(b's', BODY, method).hex()}"}
    assert websub.receive("s", headers, BODY).news


@pytest.mark.parametrize("method", ["", "md5", "SHA256", "sha224", "sha3_256", "sha256 "])
def test_hubs_may_sign_by_no_other_method(method: str) -> None:
    signature = hmac.digest(b"s", BODY, "md5" if method == "md5" else "sha256").hex()
    with pytest.raises(Forged):
        websub.receive("s", {"x-hub-signature": f"{method}={signature}"}, BODY)


bodies = st.binary(max_size=300).map(lambda inner: b'{"a":"' + inner.hex().encode() + b'"}')


@each_platform
@given(body=bodies, secret=st.text(min_size=1, max_size=50))
def test_what_is_signed_is_taken_and_known_again(
    receive: Receive, sign: Callable[[str, bytes], dict[str, str]], body: bytes, secret: str
) -> None:
    assume(secret.encode("utf-8", "ignore").decode() == secret)
    assert receive(secret, sign(secret, body), body) == receive(secret, sign(secret, body), body)


@each_platform
@given(data=st.data(), body=bodies)
def test_one_flipped_bit_anywhere_is_refused(
    receive: Receive, sign: Callable[[str, bytes], dict[str, str]], data: st.DataObject, body: bytes
) -> None:
    headers = sign("secret", body)
    place = data.draw(st.integers(0, len(body) * 8 - 1))
    changed = bytearray(body)
    changed[place // 8] ^= 1 << place % 8
    with pytest.raises(Forged):
        receive("secret", headers, bytes(changed))
    (name, signature), *_ = headers.items()
    place = data.draw(st.integers(0, len(signature) * 7 - 1))
    letters = bytearray(signature.encode())
    letters[place // 7] ^= 1 << place % 7
    with pytest.raises(Forged):
        receive("secret", {name: letters.decode()}, body)


@each_platform
@given(body=bodies, given=st.text(max_size=100))
def test_nothing_but_the_signature_is_taken(
    receive: Receive, sign: Callable[[str, bytes], dict[str, str]], body: bytes, given: str
) -> None:
    ((name, _),) = sign("secret", body).items()
    for headers in ({}, {name: given}, {name.upper(): given}, sign("Secret", body)):
        with pytest.raises(Forged):
            receive("secret", headers, body)


def test_xs_check_is_answered_as_its_documentation_says() -> None:
    answer = XWebhooks().respond("secret", "challenge_string")
    assert answer is not None
    assert answer.content_type == "application/json"
    expected = base64.b64encode(hmac.digest(b"secret", b"challenge_string", "sha256")).decode()
    assert orjson.loads(answer.body) == {"response_token": f"sha256={expected}"}


@given(body=st.dictionaries(st.text(max_size=5), st.text(max_size=20), max_size=3))
def test_xs_check_signs_nothing_that_would_be_taken_for_a_push(body: dict[str, str]) -> None:
    text = orjson.dumps(body).decode()
    assert XWebhooks().respond("secret", text) is None


@given(token=st.text(alphabet="abcXYZ019+/=_.~-", min_size=1, max_size=100))
def test_what_xs_check_signs_is_refused_as_a_push(token: str) -> None:
    answer = XWebhooks().respond("secret", token)
    assert answer is not None
    signature = orjson.loads(answer.body)["response_token"]
    with pytest.raises(Forged):
        XWebhooks().receive("secret", {"x-twitter-webhooks-signature": signature}, token.encode())
