"""The table of forged requests: none of them may open anything, at any door.

Each is made from a good request of one issuer, whose key the forger has, by breaking one rule; so a
rule that is not checked lets its forgery in.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from base64 import b64encode
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding

from distill_grpc.auth import base64url
from tests.unit.auth.forging import Signer, resigned_parts, signing_input, without

Json = Any

PARTY = "https://app.example.test"


@dataclass(frozen=True)
class Attack:
    """A request that must be refused with 401."""

    name: str
    headers: tuple[tuple[str, str], ...]
    query: str = ""  # of the REST address; gRPC has none
    rest_only: bool = False  # a gRPC client cannot send it


@dataclass(frozen=True)
class Issuer:
    """An issuer that a service trusts, and the forger's grip on it."""

    iss: str
    signer: Signer
    party: str | None = None  # the `azp` that it writes
    checks_party: bool = False
    subject_is_user: bool = True

    def claims(self, **changes: Json) -> dict[str, Json]:
        """Good claims of now, as Clerk's session tokens have them."""
        now = int(time.time())
        told = {
            "iss": self.iss,
            "sub": "user_mallory",
            "user_id": "user_mallory",
            "email": "mallory@example.com",
            "credits_available": True,
            "iat": now - 10,
            "nbf": now - 15,
            "exp": now + 600,
            "sid": "sess_1",
            "v": 2,
            "fva": [7, -1],
            "sts": "active",
        }
        if self.party:
            told["azp"] = self.party
        return {**told, **changes}

    def token(self, header: Json = None, **changes: Json) -> str:
        """A token signed with the issuer's key."""
        return self.signer.sign(self.claims(**changes), header)


def attacks(issuer: Issuer, stranger: Signer, trap: str) -> Iterator[Attack]:
    """All of them. `stranger` is a key that nobody trusts; `trap` an address nobody may ask."""
    for name, token in forgeries(issuer, stranger, trap):
        yield Attack(name, (("Authorization", f"Bearer {token}"),))
    yield from _elsewhere(issuer.token())


def forgeries(issuer: Issuer, stranger: Signer, trap: str) -> Iterator[tuple[str, str]]:
    """What is wrong, and the token."""
    yield from _algorithms(issuer, stranger)
    yield from _keys(issuer, stranger, trap)
    yield from _headers(issuer)
    yield from _forms(issuer)
    yield from _instants(issuer)
    yield from _names(issuer, stranger)


def _algorithms(issuer: Issuer, stranger: Signer) -> Iterator[tuple[str, str]]:
    signer, claims = issuer.signer, issuer.claims()
    odd: list[Json] = ["none", "None", "NONE", "nOnE", "", "rs256", "RS256 ", "RS384", "RS512"]
    odd += ["PS256", "PS512", "ES256", "HS256", "EdDSA", None, 256, True, ["RS256"], {"RS256": 1}]
    for alg in odd:
        header = signer.header(alg=alg)
        unsigned = signing_input(header, claims).decode()
        yield f"alg {alg!r}, well signed", signer.sign(claims, header)
        yield f"alg {alg!r}, unsigned", f"{unsigned}."
        yield f"alg {alg!r}, cut", unsigned
        yield f"alg {alg!r}, one byte", f"{unsigned}.AA"
    yield "no alg", signer.sign(claims, without(signer.header(), "alg"))
    subject = serialization.PublicFormat.SubjectPublicKeyInfo
    public = {
        "PEM": signer.public.public_bytes(serialization.Encoding.PEM, subject).strip(),
        "DER": signer.public.public_bytes(serialization.Encoding.DER, subject),
        "JWK": json.dumps(signer.jwk()).encode(),
        "n": signer.jwk()["n"].encode(),
        "nothing": b"",
    }
    for form, secret in public.items():
        for newline in (b"", b"\n"):
            for alg, digest in (("HS256", hashlib.sha256), ("HS512", hashlib.sha512)):
                header = signer.header(alg=alg)
                mac = hmac.digest(secret + newline, signing_input(header, claims), digest)
                yield f"{alg} with {form}{newline!r}", resigned_parts(header, claims, mac)
    header = signer.header()
    text = signing_input(header, claims)
    curve = ec.generate_private_key(ec.SECP256R1())
    pss = padding.PSS(mgf=padding.MGF1(hashes.SHA256()), salt_length=32)
    number = int.from_bytes(signer.private.sign(text, padding.PKCS1v15(), hashes.SHA256()), "big")
    modulus = signer.public.public_numbers().n
    for name, signature in {
        "SHA-384": signer.private.sign(text, padding.PKCS1v15(), hashes.SHA384()),
        "SHA-512": signer.private.sign(text, padding.PKCS1v15(), hashes.SHA512()),
        "PSS": signer.private.sign(text, pss, hashes.SHA256()),
        "ECDSA": curve.sign(text, ec.ECDSA(hashes.SHA256())),
        "another key": stranger.private.sign(text, padding.PKCS1v15(), hashes.SHA256()),
        "zeros": bytes(256),
        "ones": b"\xff" * 256,
        "the modulus": modulus.to_bytes(256, "big"),
        "a number too large by the modulus": (number + modulus).to_bytes(257, "big"),
        "a zero before": b"\x00" + number.to_bytes(256, "big"),
        "a zero behind": number.to_bytes(256, "big") + b"\x00",
        "a byte less": number.to_bytes(256, "big")[:-1],
        "one bit": (number ^ 1).to_bytes(256, "big"),
    }.items():
        yield f"signature: {name}", resigned_parts(header, claims, signature)


def _keys(issuer: Issuer, stranger: Signer, trap: str) -> Iterator[tuple[str, str]]:
    claims, header = issuer.claims(), issuer.signer.header
    yield "another key under the same id", stranger.sign(claims, header())
    names = ("other", "../../../../dev/null", "' OR 1=1 --", "a\x00b", "k" * 3000, f"{trap}/k.pem")
    for kid in (*names, f"{issuer.signer.kid} ", None, 1, "", True, [issuer.signer.kid], {"a": 1}):
        yield f"kid {str(kid)[:20]!r}", issuer.signer.sign(claims, header(kid=kid))
    yield "no kid", issuer.signer.sign(claims, without(header(), "kid"))
    own: Mapping[str, Json] = {
        "jku": f"{trap}/jwks.json",
        "x5u": f"{trap}/cert.pem",
        "x5c": [b64encode(b"0" * 300).decode()],
        "jwk": stranger.jwk(),
        "x5t": "AAAA",
    }
    for name, value in own.items():
        yield f"a key of its own: {name}", stranger.sign(claims, header(**{name: value}))
        changed = {**without(header(), "kid"), name: value}
        yield f"a key of its own and no id: {name}", stranger.sign(claims, changed)
        yield f"an unknown id and {name}", stranger.sign(claims, header(kid="new", **{name: value}))


def _headers(issuer: Issuer) -> Iterator[tuple[str, str]]:
    signer, claims = issuer.signer, issuer.claims()
    changes: list[Json] = [{"crit": ["exp"]}, {"crit": []}, {"crit": None}, {"crit": ["unknown"]}]
    changes += [{"b64": False}, {"b64": True}, {"crit": ["b64"], "b64": False}, {"typ": "JWE"}]
    changes += [{"typ": "at+jwt"}, {"typ": None}, {"typ": ["JWT"]}]
    for change in changes:
        yield f"header {change}", signer.sign(claims, signer.header(**change))
    kid = json.dumps(signer.kid).encode()
    for text in (
        b'{"alg":"none","alg":"RS256","kid":' + kid + b"}",
        b'{"alg":"RS256","alg":"none","kid":' + kid + b"}",
        b'{"alg":"RS256","kid":"x","kid":' + kid + b"}",
        b'{"alg":"RS256","kid":' + kid + b',"x":NaN}',
        b'{"alg":"RS256","kid":' + kid,
        b'["RS256"]',
        b"null",
        b"\xff\xfe",
        b'\xef\xbb\xbf{"alg":"RS256","kid":' + kid + b"}",
    ):
        yield f"header {text[:30]!r}", signer.sign(claims, text)


def _forms(issuer: Issuer) -> Iterator[tuple[str, str]]:
    token = issuer.token()
    head, body, signature = token.split(".")
    for name, text in {
        "a word": "garbage",
        "two parts": f"{head}.{body}",
        "an empty signature": f"{head}.{body}.",
        "no claims": f"{head}..{signature}",
        "no header": f".{body}.{signature}",
        "four parts": f"{token}.{signature}",
        "five parts, as a JWE": f"{head}.{body}.{signature}.{signature}.{signature}",
        "dots": "...",
        "padding": f"{token}=",
        "padding twice": f"{token}==",
        "padding in the middle": token.replace(".", "=.", 1),
        "plus": f"{head}.{body}.{signature[:-1]}+",
        "slash": f"{head}.{body}.{signature[:-1]}/",
        "a longer signature": f"{token}AAAA",
        "a shorter signature": token[:-4],
        "swapped": f"{body}.{head}.{signature}",
    }.items():
        yield f"form: {name}", text
    claims = [b'{"user_id":"a","user_id":"b"}', b'{"exp":NaN}', b"[]", b"0", b"{", b"\xc3\x28"]
    claims += [b"[" * 2500 + b"]" * 2500, b'{"a":' * 850 + b"1" + b"}" * 850]
    claims.append(json.dumps(issuer.claims()).replace('"email"', '"sub": "b", "email"').encode())
    claims.append(json.dumps([issuer.claims()]).encode())
    for text in claims:
        yield f"claims {text[:24]!r}", issuer.signer.sign(text)
    changed = base64url.encode(json.dumps(issuer.claims(sub="admin", user_id="admin")).encode())
    yield "claims changed after signing", f"{head}.{changed}.{signature}"


def _instants(issuer: Issuer) -> Iterator[tuple[str, str]]:
    now = int(time.time())
    odd: list[Json] = [str(now + 600), "", None, True, 1e308, -1, 10**30, 253402300800, [], {}]
    for name in ("exp", "iat", "nbf"):
        for value in odd:
            yield f"{name} {value!r}", issuer.token(**{name: value})
    yield "no exp", issuer.signer.sign(without(issuer.claims(), "exp"))
    yield "no iat", issuer.signer.sign(without(issuer.claims(), "iat"))
    yield "expired", issuer.token(exp=now - 60)
    yield "expired six seconds ago", issuer.token(exp=now - 6)
    yield "not yet valid", issuer.token(nbf=now + 300)
    yield "issued in the future", issuer.token(iat=now + 300)


def _names(issuer: Issuer, stranger: Signer) -> Iterator[tuple[str, str]]:
    iss = issuer.iss
    odd: list[Json] = ["", f"{iss}/", iss[:-1], f"{iss}.evil.test", iss.upper(), f" {iss}", [iss]]
    for value in [*odd, [iss, iss], {"a": iss}, 1, None, True, "https://clerk.other.test"]:
        yield f"iss {value!r}", issuer.token(iss=value)
    yield "no iss", issuer.signer.sign(without(issuer.claims(), "iss"))
    yield (
        "another instance, well signed by its own key",
        stranger.sign(issuer.claims(iss="https://clerk.other.test"), stranger.header()),
    )
    if issuer.checks_party:
        parties: list[Json] = ["https://evil.test", PARTY.upper(), f"{PARTY}/", f"{PARTY}:444"]
        for value in [*parties, "", None, 1, [PARTY]]:
            yield f"azp {value!r}", issuer.token(azp=value)
        yield "no azp", issuer.signer.sign(without(issuer.claims(), "azp"))
    yield "a session with tasks to finish", issuer.token(sts="pending")
    for value in ("", " ", " a", "a\nb", "a\x00", "a\u202eb", "u" * 256, 1, None, True, ["u"], {}):
        yield f"user_id {str(value)[:20]!r}", issuer.token(user_id=value, sub=value)
    yield "another user_id than sub", issuer.token(user_id="user_admin")
    yield "nobody", issuer.signer.sign(without(issuer.claims(), "sub", "user_id"))
    yield "no email", issuer.signer.sign(without(issuer.claims(), "email"))
    for value in (1, True, ["a@b.test"], "a@b.test\r\nBcc: c@d.test", "m" * 321):
        yield f"email {str(value)[:20]!r}", issuer.token(email=value)


def _elsewhere(good: str) -> Iterator[Attack]:
    """A good token where none belongs, or beside another."""
    bearer = f"Bearer {good}"
    for name, value in {
        "no scheme": good,
        "two spaces": f"Bearer  {good}",
        "two tokens": f"{bearer} {good}",
        "a list": f"{bearer}, {bearer}",
        "a comma": f"{bearer},",
        "quotes": f'Bearer "{good}"',
        "glued": f"Bearer{good}",
        "another scheme": f"Token {good}",
        "Basic": f"Basic {good}",
        "Basic with a password": "Basic " + b64encode(f"user:{good}".encode()).decode(),
        "a scheme alone": "Bearer",
        "a named token": f"Bearer token={good}",
    }.items():
        yield Attack(f"authorization: {name}", (("Authorization", value),))
    yield Attack("authorization: a tab", (("Authorization", f"Bearer\t{good}"),), rest_only=True)
    yield Attack("twice the same", (("Authorization", bearer), ("Authorization", bearer)))
    yield Attack("good, then bad", (("Authorization", bearer), ("Authorization", "Bearer a.b.c")))
    yield Attack("bad, then good", (("Authorization", "Bearer a.b.c"), ("Authorization", bearer)))
    for name in (
        "X-Authorization",
        "Proxy-Authorization",
        "X-Forwarded-Authorization",
        "Grpc-Metadata-Authorization",
        "X-Access-Token",
        "Authorization_",
    ):
        yield Attack(f"in {name}", ((name, bearer),))
    yield Attack("in a cookie", (("Cookie", f"__session={good}; authorization={good}"),))
    yield Attack("names in headers", (("X-User-Id", "user_mallory"), ("user_id", "user_mallory")))
    yield Attack("inside", (("X-Internal", "1"), ("X-Distill-User", "user_mallory")))
    for name in ("token", "access_token", "authorization", "jwt"):
        yield Attack(f"in the query as {name}", (), query=f"{name}={good}", rest_only=True)
