"""What a well-signed token must say."""

from __future__ import annotations

import pytest

from distill_grpc.auth import InvalidToken, TokenVerifier
from tests.unit.auth.conftest import Acceptance, Refusal
from tests.unit.auth.forging import ISS, NOW, Signer, good_claims, without


@pytest.mark.parametrize("off", [-4, 4])
async def test_clocks_may_differ_by_four_seconds(
    off: int, signer: Signer, accepted: Acceptance
) -> None:
    await accepted(signer.sign(good_claims(exp=NOW - 4)))
    await accepted(signer.sign(good_claims(nbf=NOW + 4)))
    await accepted(signer.sign(good_claims(iat=NOW + 4)))
    await accepted(signer.sign(good_claims(exp=NOW + 0.5, iat=NOW - 0.5)), now=NOW + off)


@pytest.mark.parametrize(
    ("claims", "reason"),
    [
        ({"exp": NOW - 6}, "expired"),
        ({"exp": NOW - 5}, "expired"),
        ({"exp": 0}, "expired"),
        ({"nbf": NOW + 6}, "not_yet_valid"),
        ({"iat": NOW + 6}, "not_yet_valid"),
        ({"iat": NOW + 6, "nbf": NOW - 60}, "not_yet_valid"),
    ],
)
async def test_clocks_may_not_differ_by_more(
    claims: dict[str, object], reason: str, signer: Signer, refused: Refusal
) -> None:
    assert await refused(signer.sign(good_claims(**claims))) == reason


@pytest.mark.parametrize("name", ["exp", "iat", "nbf"])
@pytest.mark.parametrize(
    "value", [str(NOW + 50), "", None, True, False, 1e308, -1, -1e308, 10**30, 253402300800, [], {}]
)
async def test_an_instant_must_be_a_sensible_number(
    name: str, value: object, signer: Signer, refused: Refusal
) -> None:
    assert await refused(signer.sign(good_claims(**{name: value}))) == name


async def test_an_instant_beyond_a_float_is_refused(signer: Signer, refused: Refusal) -> None:
    claims = b'{"iss":"%s","sub":"u","email":null,"iat":1,"exp":1e999}' % ISS.encode()
    assert await refused(signer.sign(claims)) == "exp"


@pytest.mark.parametrize("name", ["exp", "iat", "email"])
async def test_required_claims_must_be_there(name: str, signer: Signer, refused: Refusal) -> None:
    assert (await refused(signer.sign(without(good_claims(), name)))).startswith(name)


async def test_nbf_may_be_missing(signer: Signer, accepted: Acceptance) -> None:
    await accepted(signer.sign(without(good_claims(), "nbf")))


@pytest.mark.parametrize(
    "iss",
    ["", ISS + "/", ISS[:-1], ISS + ".evil.test", ISS.upper(), "https://clerk.other.test",
     [ISS], [ISS, ISS], {"a": ISS}, 1, None, True],
)  # fmt: skip
async def test_the_issuer_matches_exactly(iss: object, signer: Signer, refused: Refusal) -> None:
    assert await refused(signer.sign(good_claims(iss=iss))) == "issuer"


async def test_a_missing_issuer_is_refused_where_one_is_required(
    signer: Signer, refused: Refusal
) -> None:
    assert await refused(signer.sign(without(good_claims(), "iss"))) == "issuer"


async def test_without_a_required_issuer_any_will_do(
    signer: Signer, accepted: Acceptance, refused: Refusal
) -> None:
    caller = await accepted(signer.sign(good_claims(iss="https://x.test")), iss=None)
    assert caller.issuer == "https://x.test"
    caller = await accepted(signer.sign(without(good_claims(), "iss")), iss=None)
    assert caller.issuer == ""
    assert await refused(signer.sign(good_claims(iss=["https://x.test"])), iss=None) == "issuer"


@pytest.mark.parametrize("told", ["distill", ["distill"], ["other", "distill"]])
async def test_the_audience_may_be_one_or_a_list(
    told: object, signer: Signer, accepted: Acceptance
) -> None:
    await accepted(signer.sign(good_claims(aud=told)), audience="distill")


@pytest.mark.parametrize(
    "told",
    ["other", "distil", "distill ", "DISTILL", "", [], ["other"], [["distill"]], ["distill", 1],
     {"distill": 1}, None, 1],
)  # fmt: skip
async def test_a_foreign_audience_is_refused(
    told: object, signer: Signer, refused: Refusal
) -> None:
    assert await refused(signer.sign(good_claims(aud=told)), audience="distill") == "audience"


async def test_a_missing_audience_is_refused_only_where_one_is_required(
    signer: Signer, refused: Refusal, accepted: Acceptance
) -> None:
    assert await refused(signer.sign(good_claims()), audience="distill") == "audience"
    await accepted(signer.sign(good_claims(aud="whoever")))


PARTIES = frozenset({"https://app.example.test", "http://localhost:3000"})


async def test_an_authorized_party_is_accepted(signer: Signer, accepted: Acceptance) -> None:
    for party in PARTIES:
        await accepted(signer.sign(good_claims(azp=party)), authorized_parties=PARTIES)
    await accepted(signer.sign(good_claims(azp="https://elsewhere.test")))


@pytest.mark.parametrize(
    "party",
    ["https://evil.test", "HTTPS://APP.EXAMPLE.TEST", "https://app.example.test/",
     "https://app.example.test:444", "http://localhost:3001", "", None, 1,
     ["https://app.example.test"]],
)  # fmt: skip
async def test_a_foreign_party_is_refused(party: object, signer: Signer, refused: Refusal) -> None:
    token = signer.sign(good_claims(azp=party))
    assert await refused(token, authorized_parties=PARTIES) == "authorized_party"


async def test_a_missing_party_is_refused_where_parties_are_listed(
    signer: Signer, refused: Refusal
) -> None:
    reason = await refused(signer.sign(good_claims()), authorized_parties=PARTIES)
    assert reason == "authorized_party"


async def test_a_pending_session_is_refused(
    signer: Signer, refused: Refusal, accepted: Acceptance
) -> None:
    assert await refused(signer.sign(good_claims(sts="pending"))) == "session_pending"
    await accepted(signer.sign(good_claims(sts="active")))


async def test_the_subject_stands_in_for_a_missing_user_id(
    signer: Signer, accepted: Acceptance
) -> None:
    caller = await accepted(signer.sign(without(good_claims(sub="user_2"), "user_id")))
    assert caller.user_id == "user_2"


async def test_a_user_id_alone_is_enough(signer: Signer, accepted: Acceptance) -> None:
    assert (await accepted(signer.sign(without(good_claims(), "sub")))).user_id == "user_1"


async def test_a_user_id_that_is_not_the_subject_is_refused(
    signer: Signer, refused: Refusal, accepted: Acceptance
) -> None:
    token = signer.sign(good_claims(sub="user_2"))
    assert await refused(token) == "user_id_is_not_sub"
    # An issuer whose subjects are something else is asked for user_id alone.
    assert (await accepted(token, subject_is_user=False)).user_id == "user_1"
    only_subject = signer.sign(without(good_claims(), "user_id"))
    assert await refused(only_subject, subject_is_user=False) == "user_id"


async def test_a_token_of_nobody_is_refused(signer: Signer, refused: Refusal) -> None:
    assert await refused(signer.sign(without(good_claims(), "sub", "user_id"))) == "user_id"


@pytest.mark.parametrize("name", ["user_id", "sub"])
@pytest.mark.parametrize(
    "value",
    ["", " ", " a", "a ", "a\nb", "a\x00", "\x7f", "a\u202eb", "\ud800", "u" * 256, 1, None, True,
     ["user_1"], {"id": "user_1"}],
)  # fmt: skip
async def test_an_identity_is_a_plain_name(
    name: str, value: object, signer: Signer, refused: Refusal
) -> None:
    assert await refused(signer.sign(good_claims(**{name: value}))) == name


async def test_identities_may_be_long_and_of_any_script(
    signer: Signer, accepted: Acceptance
) -> None:
    for name in ("u" * 255, "Μαρία", "user|with:odd/signs", "a b"):
        caller = await accepted(signer.sign(good_claims(user_id=name, sub=name)))
        assert caller.user_id == name


@pytest.mark.parametrize(
    ("told", "email"),
    [("a@b.test", "a@b.test"), (None, None), ("", None), ("m" * 320, "m" * 320)],
)
async def test_an_email_may_be_null(
    told: object, email: str | None, signer: Signer, accepted: Acceptance
) -> None:
    assert (await accepted(signer.sign(good_claims(email=told)))).email == email


@pytest.mark.parametrize(
    "told", ["m" * 321, "a@b.test\r\nBcc: c@d.test", "a\x00@b.test", 1, True, ["a@b.test"], {}]
)
async def test_an_email_is_one_plain_line(told: object, signer: Signer, refused: Refusal) -> None:
    assert await refused(signer.sign(good_claims(email=told))) == "email"


@pytest.mark.parametrize("told", [False, None, 1, "true", "True", 0, [], {}, [True]])
async def test_only_the_literal_true_means_credits(
    told: object, signer: Signer, accepted: Acceptance
) -> None:
    assert not (await accepted(signer.sign(good_claims(credits_available=told)))).credits_available
    missing = signer.sign(without(good_claims(), "credits_available"))
    assert not (await accepted(missing)).credits_available


async def test_each_issuer_is_checked_with_its_own_keys_only(
    signer: Signer, stranger: Signer
) -> None:
    other = "https://clerk.other.test"
    verifier = TokenVerifier([signer.trusted(), stranger.trusted(iss=other)])
    assert (await verifier.verify(f"Bearer {signer.sign(good_claims())}", now=NOW)).issuer == ISS
    good = stranger.sign(good_claims(iss=other))
    assert (await verifier.verify(f"Bearer {good}", now=NOW)).issuer == other
    for token in (stranger.sign(good_claims()), signer.sign(good_claims(iss=other))):
        with pytest.raises(InvalidToken) as caught:
            await verifier.verify(f"Bearer {token}", now=NOW)
        assert caught.value.reason == "signature"


async def test_an_issuer_without_a_name_cannot_speak_for_one_with_a_name(
    signer: Signer, stranger: Signer
) -> None:
    verifier = TokenVerifier([signer.trusted(), stranger.trusted(iss=None)])
    with pytest.raises(InvalidToken) as caught:
        await verifier.verify(f"Bearer {stranger.sign(good_claims())}", now=NOW)
    assert caught.value.reason == "signature"


def test_two_issuers_may_not_claim_one_name(signer: Signer, stranger: Signer) -> None:
    with pytest.raises(ValueError, match="same iss"):
        TokenVerifier([signer.trusted(), stranger.trusted()])


async def test_a_remembered_token_still_expires(signer: Signer) -> None:
    verifier = TokenVerifier([signer.trusted()])
    header = f"Bearer {signer.sign(good_claims())}"
    for now in (NOW, NOW + 54):
        await verifier.verify(header, now=now)
    with pytest.raises(InvalidToken) as caught:
        await verifier.verify(header, now=NOW + 55)
    assert caught.value.reason == "expired"
    with pytest.raises(InvalidToken) as caught:
        await verifier.verify(header, now=NOW - 16)
    assert caught.value.reason == "not_yet_valid"


async def test_a_remembered_token_goes_with_its_key(signer: Signer) -> None:
    keys = Signer()
    verifier = TokenVerifier([keys.trusted()])
    header = f"Bearer {keys.sign(good_claims())}"
    await verifier.verify(header, now=NOW)
    keys.public = signer.public  # another key now stands under the same id
    with pytest.raises(InvalidToken) as caught:
        await verifier.verify(header, now=NOW)
    assert caught.value.reason == "signature"
    keys.kid = "another"
    with pytest.raises(InvalidToken) as caught:
        await verifier.verify(header, now=NOW)
    assert caught.value.reason == "key_unknown"


async def test_memory_is_bounded_and_forgetting_changes_nothing(signer: Signer) -> None:
    verifier = TokenVerifier([signer.trusted()], cache_size=3)
    headers = [f"Bearer {signer.sign(good_claims(jti=str(n)))}" for n in range(8)]
    for header in headers * 2:
        assert (await verifier.verify(header, now=NOW)).user_id == "user_1"
    unremembering = TokenVerifier([signer.trusted()], cache_size=0)
    for _ in range(2):
        assert (await unremembering.verify(headers[0], now=NOW)).user_id == "user_1"
