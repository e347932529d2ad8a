"""Attacks on the form, the header and the signature of a token: none may be accepted."""

from __future__ import annotations

import hashlib
import hmac
import json

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from distill_grpc.auth import InvalidToken, TokenVerifier, base64url
from tests.unit.auth.conftest import Acceptance, Refusal
from tests.unit.auth.forging import (
    NOW,
    Signer,
    good_claims,
    resigned_parts,
    signing_input,
)


async def test_a_good_token_is_accepted(signer: Signer, accepted: Acceptance) -> None:
    caller = await accepted(signer.sign(good_claims()))
    assert caller.user_id == "user_1"
    assert caller.email == "user@example.com"
    assert caller.credits_available
    assert caller.expires_at.timestamp() == NOW + 50
    assert not caller.local


@pytest.mark.parametrize(
    "algorithm",
    ["none", "None", "NONE", "nOnE", "", "rs256", "RS256 ", "RS384", "RS512", "PS256", "ES256",
     "HS256", "EdDSA", None, 256, True, ["RS256"], {"RS256": 1}],
)  # fmt: skip
async def test_no_other_algorithm_is_accepted(
    algorithm: object, signer: Signer, refused: Refusal
) -> None:
    header = signer.header(alg=algorithm)
    assert await refused(signer.sign(good_claims(), header)) == "algorithm"
    unsigned = signing_input(header, good_claims()).decode()
    assert await refused(f"{unsigned}.") == "not_three_parts"
    assert await refused(f"{unsigned}.AA") == "algorithm"


async def test_a_header_without_an_algorithm_is_refused(signer: Signer, refused: Refusal) -> None:
    header = signer.header()
    del header["alg"]
    assert await refused(signer.sign(good_claims(), header)) == "algorithm"


@pytest.mark.parametrize("newline", [b"", b"\n"])
@pytest.mark.parametrize("claimed", ["HS256", "RS256"])
@pytest.mark.parametrize("form", ["pem", "der", "jwk"])
async def test_the_public_key_is_no_shared_secret(
    form: str, claimed: str, newline: bytes, signer: Signer, refused: Refusal
) -> None:
    public = {
        "pem": signer.public.public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        ).strip(),
        "der": signer.public.public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        ),
        "jwk": json.dumps(signer.jwk()).encode(),
    }[form]
    header = signer.header(alg=claimed)
    mac = hmac.digest(public + newline, signing_input(header, good_claims()), hashlib.sha256)
    reason = await refused(resigned_parts(header, good_claims(), mac))
    assert reason == ("signature" if claimed == "RS256" else "algorithm")


async def test_other_signatures_under_the_name_rs256_are_refused(
    signer: Signer, refused: Refusal
) -> None:
    header = signer.header()
    text = signing_input(header, good_claims())
    curve = ec.generate_private_key(ec.SECP256R1())
    pss = padding.PSS(mgf=padding.MGF1(hashes.SHA256()), salt_length=32)
    for signature in (
        signer.private.sign(text, padding.PKCS1v15(), hashes.SHA384()),
        signer.private.sign(text, padding.PKCS1v15(), hashes.SHA512()),
        signer.private.sign(text, pss, hashes.SHA256()),
        curve.sign(text, ec.ECDSA(hashes.SHA256())),
        bytes(256),
        b"\xff" * 256,
        b"\x00",
    ):
        assert await refused(resigned_parts(header, good_claims(), signature)) == "signature"


async def test_another_key_under_our_key_id_is_refused(stranger: Signer, refused: Refusal) -> None:
    assert await refused(stranger.sign(good_claims())) == "signature"


@pytest.mark.parametrize(
    "kid",
    ["other", "../../../../dev/null", "' OR 1=1 --", "a\x00b", "ins_1 ", "INS_1", "k" * 4000],
)
async def test_a_foreign_key_id_is_unknown(kid: str, signer: Signer, refused: Refusal) -> None:
    assert await refused(signer.sign(good_claims(), signer.header(kid=kid))) == "key_unknown"


@pytest.mark.parametrize("kid", [None, 1, "", True, ["ins_1"], {"ins_1": 1}])
async def test_a_key_id_that_is_no_name_is_refused(
    kid: object, signer: Signer, refused: Refusal
) -> None:
    assert await refused(signer.sign(good_claims(), signer.header(kid=kid))) == "key_id"


async def test_keys_in_the_header_are_not_used(
    signer: Signer, stranger: Signer, refused: Refusal, accepted: Acceptance
) -> None:
    own_keys = {
        "jku": "http://127.0.0.1:9/jwks.json",
        "x5u": "http://127.0.0.1:9/cert.pem",
        "x5c": ["MIIB"],
        "jwk": stranger.jwk(),
    }
    for name, value in own_keys.items():
        header = signer.header(**{name: value})
        assert await refused(stranger.sign(good_claims(), header)) == "signature"
        # An honest token that carries them for others is still honest.
        await accepted(signer.sign(good_claims(), header))


async def test_an_unknown_harmless_header_field_is_tolerated(
    signer: Signer, accepted: Acceptance
) -> None:
    await accepted(signer.sign(good_claims(), signer.header(oiat=NOW - 60, cat="cl_B7d4")))


@pytest.mark.parametrize(
    "extension",
    [{"crit": ["exp"]}, {"crit": []}, {"crit": None}, {"b64": False}, {"b64": True},
     {"crit": ["b64"], "b64": False}],
)  # fmt: skip
async def test_extensions_that_change_the_meaning_are_refused(
    extension: dict[str, object], signer: Signer, refused: Refusal
) -> None:
    assert await refused(signer.sign(good_claims(), signer.header(**extension))) == "extension"


@pytest.mark.parametrize("kind", ["JWE", "at+jwt", "", None, 1, ["JWT"]])
async def test_another_type_is_refused(kind: object, signer: Signer, refused: Refusal) -> None:
    assert await refused(signer.sign(good_claims(), signer.header(typ=kind))) == "type"


async def test_the_type_may_be_left_out(signer: Signer, accepted: Acceptance) -> None:
    header = signer.header()
    del header["typ"]
    await accepted(signer.sign(good_claims(), header))


async def test_a_token_has_exactly_three_parts(signer: Signer, refused: Refusal) -> None:
    token = signer.sign(good_claims())
    header, claims, signature = token.split(".")
    for text in (
        f"{header}.{claims}",
        f"{header}.{claims}.",
        f"{header}..{signature}",
        f".{claims}.{signature}",
        f"{token}.",
        f"{token}.{signature}",
        f"{token}.{signature}.{signature}",
        header,
        "...",
    ):
        assert await refused(text) == "not_three_parts"


async def test_only_the_one_spelling_of_base64url_is_accepted(
    signer: Signer, refused: Refusal
) -> None:
    token = signer.sign(good_claims())
    head, _, signature = token.rpartition(".")
    raw = base64url.decode(signature)
    last = signature[-1]
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    same_bytes = alphabet[alphabet.index(last) ^ 1]  # differs in bits that no byte uses
    for spelling in (
        f"{signature}=",
        f"{signature}==",
        f"{signature[:-1]}{same_bytes}",
        f"{signature}AAA",
        f"{signature[:-1]}+",
        f"{signature[:-1]}/",
        f"{signature[:-1]}~",
    ):
        assert await refused(f"{head}.{spelling}") == "not_base64url"
    assert len(raw) == 256
    assert await refused(f"{token.replace('.', '=.', 1)}") == "not_base64url"


async def test_every_changed_bit_of_the_signature_is_noticed(
    signer: Signer, refused: Refusal
) -> None:
    header, claims, signature = signer.sign(good_claims()).split(".")
    raw = bytearray(base64url.decode(signature))
    for bit in range(0, len(raw) * 8, 61):
        changed = bytearray(raw)
        changed[bit // 8] ^= 1 << bit % 8
        assert await refused(f"{header}.{claims}.{base64url.encode(changed)}") == "signature"
    for changed in (raw[:-1], b"\x00" + raw, raw + b"\x00"):
        assert await refused(f"{header}.{claims}.{base64url.encode(changed)}") == "signature"


@pytest.mark.parametrize(
    "text",
    [
        b'{"alg":"RS256","alg":"RS256","kid":"ins_1"}',
        b'{"alg":"none","alg":"RS256","kid":"ins_1"}',
        b'{"alg":"RS256","kid":"ins_1","kid":"ins_1"}',
        b'{"alg":"RS256","kid":"ins_1","x":NaN}',
        b'{"alg":"RS256","kid":"ins_1"',
        b'["RS256"]',
        b'"RS256"',
        b"null",
        b"\xff\xfe",
        b'\xef\xbb\xbf{"alg":"RS256","kid":"ins_1"}',
        '{"alg":"RS256","kid":"ins_1"}'.encode("utf-16"),
    ],
)
async def test_a_header_that_parsers_read_differently_is_refused(
    text: bytes, signer: Signer, refused: Refusal
) -> None:
    assert await refused(signer.sign(good_claims(), text)) == "header_not_json"


@pytest.mark.parametrize(
    "text",
    [
        b'{"user_id":"a","user_id":"b"}',
        b'{"exp":1,"o":{"id":1,"id":2}}',
        b'{"exp":NaN}',
        b'{"exp":Infinity}',
        b'{"exp":-Infinity}',
        b"[]",
        b"0",
        b"{",
        b"\xc3\x28",
        b"[" * 2500 + b"]" * 2500,
        b'{"exp":' + b"9" * 5000 + b"}",
    ],
)
async def test_claims_that_are_no_clean_json_are_refused(
    text: bytes, signer: Signer, refused: Refusal
) -> None:
    assert await refused(signer.sign(text)) == "claims_not_json"


async def test_deep_claims_end_as_an_ordinary_refusal(signer: Signer, refused: Refusal) -> None:
    deep = b'{"a":' * 850 + b"1" + b"}" * 850
    assert await refused(signer.sign(deep)) in {"claims_not_json", "issuer"}


async def test_a_token_over_8_kilobytes_is_refused_unread(
    signer: Signer, refused: Refusal, accepted: Acceptance
) -> None:
    fixed = len(signer.sign(good_claims(x="")))
    longest = signer.sign(good_claims(x="x" * ((8192 - fixed) // 4 * 3)))
    assert 8180 <= len(longest) <= 8192
    await accepted(longest)
    assert await refused(longest + "A" * (8193 - len(longest))) == "too_large"
    for size in (1_000_000, 50_000_000):
        assert await refused("A" * size) == "too_large"


async def test_bearer_is_one_word_one_space_one_token(signer: Signer) -> None:
    verifier = TokenVerifier([signer.trusted()])
    token = signer.sign(good_claims())
    for scheme in ("Bearer", "bearer", "BEARER", "bEaReR"):
        assert (await verifier.verify(f"{scheme} {token}", now=NOW)).user_id == "user_1"
    for value in (
        f"Bearer  {token}", f"Bearer\t{token}", f" Bearer {token}", f"Bearer {token} ",
        f"Bearer {token}\n", f"Bearer {token}, Bearer {token}", f"Bearer {token} {token}",
        f"Bearer{token}", f"Basic {token}", f"Token {token}", token, "Bearer", "Bearer ",
        f"Bearer {token[:-1]}é", f"Bearer {token}\x00", f"\u212aearer {token}",
    ):  # fmt: skip
        with pytest.raises(InvalidToken) as caught:
            await verifier.verify(value, now=NOW)
        assert caught.value.reason == "not_bearer"
    for missing in (None, ""):
        with pytest.raises(InvalidToken) as caught:
            await verifier.verify(missing, now=NOW)
        assert caught.value.reason == "missing"


async def test_malformed_tokens_touch_no_key(signer: Signer, refused: Refusal) -> None:
    asked = len(signer.asked)
    for token in ("a.b.c", "", "....", signer.sign(good_claims(), signer.header(alg="none"))):
        if token:
            await refused(token)
    assert len(signer.asked) == asked


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(value=st.one_of(st.text(max_size=80), st.from_regex(r"[Bb]earer [\w.=-]{0,60}")))
async def test_no_text_at_all_raises_anything_but_invalid_token(value: str, signer: Signer) -> None:
    with pytest.raises(InvalidToken):
        await TokenVerifier([signer.trusted()]).verify(value, now=NOW)
