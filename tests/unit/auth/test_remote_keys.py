"""A remote issuer's keys over a real socket: rotation, outage, and floods of made-up key ids."""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from collections.abc import AsyncIterator

import pytest

from distill_grpc.auth import (
    InvalidToken,
    JwksKeys,
    KeysUnavailable,
    TokenVerifier,
    TrustedIssuer,
    jwk,
    jwks,
)
from tests.unit.auth.forging import ISS, NOW, Signer, good_claims
from tests.unit.auth.jwks_server import JwksServer


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def server(signer: Signer) -> AsyncIterator[JwksServer]:
    server = JwksServer()
    server.publish(signer)
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
async def keys(server: JwksServer, clock: Clock) -> AsyncIterator[JwksKeys]:
    keys = JwksKeys(server.url, clock=clock)
    yield keys
    await keys.close()


@pytest.fixture(scope="module")
def newer() -> Signer:
    return Signer("ins_2")


async def verify(verifier: TokenVerifier, signer: Signer, jti: str = "") -> str:
    header = f"Bearer {signer.sign(good_claims(jti=jti))}"
    return (await verifier.verify(header, now=NOW)).user_id


@pytest.fixture
def verifier(keys: JwksKeys) -> TokenVerifier:
    return TokenVerifier([TrustedIssuer(iss=ISS, keys=keys)])


async def settle(server: JwksServer, fetches: int) -> None:
    """Waits until a refresh in the background has come back."""
    for _ in range(200):
        if server.fetches >= fetches:
            break
        await asyncio.sleep(0.005)
    await asyncio.sleep(0.05)
    assert server.fetches == fetches


async def test_the_first_token_fetches_the_keys_once(
    server: JwksServer, verifier: TokenVerifier, signer: Signer
) -> None:
    assert server.fetches == 0
    found = await asyncio.gather(*(verify(verifier, signer, str(n)) for n in range(20)))
    assert found == ["user_1"] * 20
    assert server.fetches == 1


async def test_a_thousand_unknown_key_ids_cause_one_fetch_in_thirty_seconds(
    server: JwksServer, keys: JwksKeys, clock: Clock, signer: Signer
) -> None:
    server.delay = 0.02
    await keys.key(signer.kid)
    assert await asyncio.gather(*(keys.key(f"a{n}") for n in range(500))) == [None] * 500
    for n in range(500):
        assert await keys.key(f"b{n}") is None
    assert server.fetches == 2  # the first one was for an honest token
    clock.now += 29.9
    assert await keys.key("c") is None
    assert server.fetches == 2
    clock.now += 0.2
    assert await asyncio.gather(*(keys.key(f"d{n}") for n in range(500))) == [None] * 500
    assert server.fetches == 3
    assert await keys.key(signer.kid) is not None


async def test_a_flood_at_a_cold_start_is_one_fetch_too(server: JwksServer, keys: JwksKeys) -> None:
    for n in range(1000):
        assert await keys.key(f"x{n}") is None
    assert server.fetches == 1


async def test_an_id_that_was_looked_for_in_vain_is_remembered_as_missing(
    server: JwksServer, keys: JwksKeys, clock: Clock
) -> None:
    assert await keys.key("gone") is None
    clock.now += 31
    assert await keys.key("gone") is None
    assert server.fetches == 1
    assert await keys.key("another") is None
    assert server.fetches == 2
    clock.now += 301
    assert await keys.key("gone") is None
    assert server.fetches == 3


async def test_missing_ids_do_not_fill_the_memory(keys: JwksKeys, clock: Clock) -> None:
    for n in range(140):
        assert await keys.key(f"m{n}") is None
        clock.now += 31
    assert len(keys._missing) == jwks.MISSING_MAX


async def test_a_rotated_key_is_accepted_at_once_and_the_old_one_until_it_is_removed(
    server: JwksServer, verifier: TokenVerifier, clock: Clock, signer: Signer, newer: Signer
) -> None:
    old_token = f"Bearer {signer.sign(good_claims())}"
    await verifier.verify(old_token, now=NOW)
    server.publish(signer, newer)
    started = time.monotonic()
    assert await verify(verifier, newer) == "user_1"
    assert time.monotonic() - started < 1.0
    assert server.fetches == 2
    await verifier.verify(old_token, now=NOW)
    server.publish(newer)
    clock.now += 301
    await verifier.verify(old_token, now=NOW)  # still, while the refresh goes on behind it
    await settle(server, 3)
    with pytest.raises(InvalidToken) as caught:
        await verifier.verify(old_token, now=NOW)
    assert caught.value.reason == "key_unknown"
    assert await verify(verifier, newer) == "user_1"


async def test_two_rotations_in_a_row_need_no_pause(
    server: JwksServer, verifier: TokenVerifier, signer: Signer, newer: Signer
) -> None:
    newest = Signer("ins_3")
    for new in (signer, newer, newest):
        server.publish(new)
        assert await verify(verifier, new) == "user_1"
    assert server.fetches == 3


async def test_keys_are_refreshed_behind_the_callers(
    server: JwksServer, keys: JwksKeys, clock: Clock, signer: Signer
) -> None:
    first = await keys.key(signer.kid)
    clock.now += 299
    assert await keys.key(signer.kid) is first
    assert server.fetches == 1
    clock.now += 2
    server.delay = 0.5
    started = time.monotonic()
    assert await keys.key(signer.kid) is first
    assert time.monotonic() - started < 0.4
    await settle(server, 2)
    await asyncio.sleep(0.5)
    assert await keys.key(signer.kid) is first  # unchanged, so remembered tokens stay good


@pytest.mark.parametrize("how", ["status", "nonsense", "empty", "no_keys", "huge", "redirect"])
async def test_an_outage_leaves_good_keys_alone(
    how: str,
    server: JwksServer,
    verifier: TokenVerifier,
    clock: Clock,
    signer: Signer,
    newer: Signer,
) -> None:
    await verify(verifier, signer)
    match how:
        case "status":
            server.status = 503
        case "nonsense":
            server.body = b"<html>maintenance</html>"
        case "empty":
            server.body = b""
        case "no_keys":
            server.entries = []
        case "huge":
            server.body = json.dumps({"keys": [newer.jwk()], "pad": "x" * 65_536}).encode()
        case "redirect":
            server.redirect_to = server.url + "?elsewhere"
    clock.now += 301
    for n in range(5):
        assert await verify(verifier, signer, str(n)) == "user_1"
    await settle(server, 2)
    clock.now += 23 * 3600
    assert await verify(verifier, signer, "late") == "user_1"
    await settle(server, 3)
    clock.now += 3600
    with pytest.raises(KeysUnavailable):
        await verify(verifier, signer, "too late")
    server.status, server.body, server.redirect_to = 200, None, None
    server.publish(signer)
    clock.now += 31
    assert await verify(verifier, signer, "back") == "user_1"


async def test_without_keys_it_is_not_the_tokens_fault(
    server: JwksServer, verifier: TokenVerifier, clock: Clock, signer: Signer
) -> None:
    await server.stop()
    for n in range(3):
        with pytest.raises(KeysUnavailable):
            await verify(verifier, signer, str(n))


async def test_failures_are_retried_after_pauses_that_grow(
    server: JwksServer, verifier: TokenVerifier, clock: Clock, signer: Signer
) -> None:
    server.status = 500
    fetched_at = []
    for _ in range(1300):
        before = server.fetches
        with pytest.raises(KeysUnavailable):
            await verify(verifier, signer)
        if server.fetches > before:
            fetched_at.append(clock.now)
        clock.now += 0.1
    pauses = [round(b - a) for a, b in itertools.pairwise(fetched_at)]
    assert pauses == [1, 2, 4, 8, 16, 30, 30, 30]
    server.status = 200
    clock.now += 31
    assert await verify(verifier, signer) == "user_1"


async def test_a_hanging_server_costs_two_seconds_for_all_together(
    server: JwksServer, verifier: TokenVerifier, signer: Signer
) -> None:
    server.delay = 30
    started = time.monotonic()
    answers = await asyncio.gather(
        *(verify(verifier, signer, str(n)) for n in range(10)), return_exceptions=True
    )
    assert all(isinstance(each, KeysUnavailable) for each in answers)
    assert 1.5 < time.monotonic() - started < 8
    assert server.fetches == 1


async def test_a_caller_that_gives_up_does_not_stop_the_fetch_for_others(
    server: JwksServer, keys: JwksKeys, signer: Signer
) -> None:
    server.delay = 0.1
    impatient = asyncio.create_task(keys.key(signer.kid))
    patient = asyncio.create_task(keys.key(signer.kid))
    await asyncio.sleep(0.02)
    impatient.cancel()
    assert await patient is not None
    assert server.fetches == 1
    assert impatient.cancelled()


async def test_closing_ends_a_fetch_and_tells_those_who_wait(
    server: JwksServer, keys: JwksKeys, signer: Signer
) -> None:
    server.delay = 30
    waiting = asyncio.create_task(keys.key(signer.kid))
    await asyncio.sleep(0.05)
    await keys.close()
    with pytest.raises(KeysUnavailable):
        await waiting


async def test_a_header_with_key_addresses_causes_no_fetch(
    server: JwksServer, verifier: TokenVerifier, signer: Signer
) -> None:
    other = JwksServer()
    other.publish(signer)
    await other.start()
    try:
        for name in ("jku", "x5u"):
            header = signer.header(**{name: other.url})
            await verifier.verify(f"Bearer {signer.sign(good_claims(), header)}", now=NOW)
        assert other.fetches == 0
        assert server.fetches == 1
    finally:
        await other.stop()


async def test_only_sound_rsa_keys_are_taken(
    server: JwksServer, keys: JwksKeys, signer: Signer
) -> None:
    weak, other = Signer("weak", bits=1024), Signer("other")
    private = {**other.jwk(kid="private"), "d": "AQAB"}
    server.entries = [
        None, 1, "key", [], {},
        {"kty": "oct", "kid": "secret", "k": "AAAA"},
        {"kty": "EC", "kid": "curve", "crv": "P-256", "x": "AA", "y": "AA"},
        weak.jwk(), private,
        other.jwk(kid="enc", use="enc"),
        other.jwk(kid="ops", key_ops=["encrypt"]),
        other.jwk(kid="odd_ops", key_ops=5),
        other.jwk(kid="rs512", alg="RS512"),
        other.jwk(kid="hs256", alg="HS256"),
        other.jwk(kid=""), other.jwk(kid=None), other.jwk(kid=7),
        other.jwk(kid="no_n", n=""), other.jwk(kid="num_n", n=5), other.jwk(kid="pad_n", n="AA=="),
        other.jwk(kid="huge_n", n="_" * 2000),
        other.jwk(kid="even_e", e="Ag"), other.jwk(kid="one_e", e="AQ"), other.jwk(kid="big_e", e="_" * 40),
        signer.jwk(),
        other.jwk(kid=signer.kid),  # the first of two with one id counts
    ]  # fmt: skip
    found = await keys.key(signer.kid)
    assert found is not None
    assert found.public_numbers() == signer.public.public_numbers()
    assert list(keys._keys) == [signer.kid]


async def test_keys_may_leave_out_use_and_algorithm(
    server: JwksServer, keys: JwksKeys, signer: Signer
) -> None:
    entry = signer.jwk(key_ops=["verify"])
    del entry["use"], entry["alg"]
    server.entries = [entry]
    assert await keys.key(signer.kid) is not None


async def test_a_key_whose_private_half_is_public_is_not_trusted(
    server: JwksServer, clock: Clock, signer: Signer, newer: Signer
) -> None:
    server.publish(signer, newer)
    known = frozenset({jwk.thumbprint(newer.public)})
    keys = JwksKeys(server.url, refused=known, clock=clock)
    assert await keys.key(newer.kid) is None
    assert await keys.key(signer.kid) is not None
    await keys.close()
    assert "_IwxpBR6gTbK0cznmQ-MSg_0IgQjk4aRfIw8XURVwkk" in jwks.PUBLISHED_KEYS


async def test_the_environments_proxy_is_not_used(
    server: JwksServer, keys: JwksKeys, signer: Signer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    assert await keys.key(signer.kid) is not None


async def test_a_compressed_body_is_measured_unpacked(
    server: JwksServer, keys: JwksKeys, clock: Clock, signer: Signer
) -> None:
    server.gzip = True
    server.body = json.dumps({"keys": [signer.jwk()], "pad": "x" * 1_000_000}).encode()
    with pytest.raises(KeysUnavailable):
        await keys.key(signer.kid)
    server.body = None
    clock.now += 2
    assert await keys.key(signer.kid) is not None
