from __future__ import annotations

import json
import stat
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from distill_grpc.auth import InvalidToken, LocalIssuer, TokenVerifier, jwk
from distill_grpc.key_files import KeyFileError

MINUTE = timedelta(minutes=1)
KEY = Path("keys") / "token-signing.pem"


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="module")
def issuer(data_dir: Path) -> LocalIssuer:
    return LocalIssuer.load(data_dir)


async def test_its_tokens_open_the_instance(issuer: LocalIssuer) -> None:
    verifier = TokenVerifier([issuer.trusted()])
    token = issuer.issue(user_id="user_1", email="u@example.com", expires_in=MINUTE)
    caller = await verifier.verify(f"Bearer {token}")
    assert (caller.user_id, caller.email, caller.credits_available) == (
        "user_1",
        "u@example.com",
        True,
    )
    assert caller.local
    assert caller.issuer == "distill-local"
    poor = issuer.issue(user_id="u", email=None, credits_available=False, expires_in=MINUTE)
    caller = await verifier.verify(f"Bearer {poor}")
    assert caller.email is None
    assert not caller.credits_available


async def test_a_negative_life_gives_an_expired_token(issuer: LocalIssuer) -> None:
    token = issuer.issue(user_id="u", email=None, expires_in=-MINUTE)
    with pytest.raises(InvalidToken) as caught:
        await TokenVerifier([issuer.trusted()]).verify(f"Bearer {token}")
    assert caught.value.reason == "expired"


def test_another_library_reads_its_tokens_with_the_published_keys(issuer: LocalIssuer) -> None:
    now = datetime.now(UTC).replace(microsecond=0)
    token = issuer.issue(
        user_id="user_1", email="u@x.test", expires_in=MINUTE, now=now, claims={"role": "creator"}
    )
    published = jwt.PyJWKSet.from_dict({"keys": issuer.jwks()})
    key = published[jwt.get_unverified_header(token)["kid"]]
    claims = jwt.decode(token, key, algorithms=["RS256"], issuer="distill-local")
    assert claims.pop("jti")
    assert claims == {
        "iss": "distill-local",
        "sub": "user_1",
        "user_id": "user_1",
        "email": "u@x.test",
        "credits_available": True,
        "role": "creator",
        "iat": int(now.timestamp()),
        "exp": int(now.timestamp()) + 60,
    }


def test_the_published_key_has_exactly_the_public_fields(issuer: LocalIssuer) -> None:
    (published,) = issuer.jwks()
    assert set(published) == {"kty", "use", "alg", "kid", "n", "e"}
    assert published["kid"] == jwk.thumbprint(jwk.from_jwk(published)) == issuer.kid
    assert json.loads(json.dumps(published)) == published


def test_the_thumbprint_is_that_of_the_standard() -> None:
    # RFC 7638, section 3.1
    modulus = (
        "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWK"
        "RXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMic"
        "AtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3"
        "XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw"
    )
    key = jwk.from_jwk({"kty": "RSA", "e": "AQAB", "n": modulus})
    assert jwk.thumbprint(key) == "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"


@pytest.mark.parametrize("user_id", ["", " ", "u" * 256, "a\nb", "a\x00"])
def test_it_signs_no_user_that_the_verifier_would_refuse(issuer: LocalIssuer, user_id: str) -> None:
    with pytest.raises(ValueError, match="user id"):
        issuer.issue(user_id=user_id, email=None, expires_in=MINUTE)


def test_it_signs_no_email_that_the_verifier_would_refuse(issuer: LocalIssuer) -> None:
    with pytest.raises(ValueError, match="email"):
        issuer.issue(user_id="u", email="a\r\nb", expires_in=MINUTE)


@pytest.mark.parametrize("claim", ["sub", "user_id", "exp", "iss", "credits_available", "nbf"])
def test_further_claims_cannot_replace_its_own(issuer: LocalIssuer, claim: str) -> None:
    with pytest.raises(ValueError, match=claim):
        issuer.issue(user_id="u", email=None, expires_in=MINUTE, claims={claim: "x"})


def test_the_key_is_private_and_survives_a_restart(issuer: LocalIssuer, data_dir: Path) -> None:
    path = data_dir / KEY
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert LocalIssuer.load(data_dir).kid == issuer.kid
    assert [each.name for each in path.parent.iterdir()] == [path.name]  # nothing left lying about


def test_a_key_that_others_can_read_is_closed_to_them(tmp_path: Path) -> None:
    kid = LocalIssuer.load(tmp_path).kid
    (tmp_path / KEY).chmod(0o644)
    assert LocalIssuer.load(tmp_path).kid == kid
    assert stat.S_IMODE((tmp_path / KEY).stat().st_mode) == 0o600


def test_instances_have_keys_of_their_own(issuer: LocalIssuer, tmp_path: Path) -> None:
    assert LocalIssuer.load(tmp_path).kid != issuer.kid


def test_processes_that_start_at_once_agree_on_one_key(tmp_path: Path) -> None:
    program = (
        "import sys, pathlib; from distill_grpc.auth import LocalIssuer; sys.stdin.read();"
        "print(LocalIssuer.load(pathlib.Path(sys.argv[1])).kid)"
    )
    starters = [
        subprocess.Popen(
            [sys.executable, "-c", program, str(tmp_path / "new" / "data")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    for each in starters:
        assert each.stdin is not None
        each.stdin.close()  # go
        each.stdin = None
    kids = {each.communicate(timeout=60)[0].strip() for each in starters}
    assert len(kids) == 1
    assert kids != {""}


def _pem(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "it is empty"),
        (b"not a key", "no PEM private key"),
        (b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "no PEM private key"),
        (_pem(ec.generate_private_key(ec.SECP256R1())), "RSA key of at least 2048 bits"),
        (_pem(rsa.generate_private_key(65537, 1024)), "RSA key of at least 2048 bits"),
        (b"x" * 70_000, "too large"),
    ],
)
def test_a_broken_key_file_is_told_in_one_line(tmp_path: Path, content: bytes, says: str) -> None:
    (tmp_path / "keys").mkdir()
    (tmp_path / KEY).write_bytes(content)
    with pytest.raises(KeyFileError, match=says) as caught:
        LocalIssuer.load(tmp_path)
    assert str(tmp_path / KEY) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert (tmp_path / KEY).read_bytes() == content  # never overwritten


def test_an_encrypted_key_file_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "keys").mkdir()
    (tmp_path / KEY).write_bytes(
        rsa.generate_private_key(65537, 2048).private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        )
    )
    with pytest.raises(KeyFileError, match="no PEM private key"):
        LocalIssuer.load(tmp_path)


def test_a_place_where_no_key_can_be_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("a file where the directory should be")
    with pytest.raises(KeyFileError, match="cannot be used"):
        LocalIssuer.load(tmp_path)
    (tmp_path / "other" / KEY).mkdir(parents=True)
    with pytest.raises(KeyFileError, match="cannot be used"):
        LocalIssuer.load(tmp_path / "other")


def test_a_key_file_that_cannot_be_opened_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "keys").mkdir()
    (tmp_path / KEY).symlink_to(tmp_path / KEY)
    with pytest.raises(KeyFileError, match="symbolic links"):
        LocalIssuer.load(tmp_path)
