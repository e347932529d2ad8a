"""Forged tokens, and good ones in wrong places, at every door: none opens anything."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from multidict import CIMultiDict
from structlog.typing import EventDict

from distill_grpc.proto.distill.v1.discovery_service_pb2 import GetMetadataRequest
from distill_grpc.proto.distill.v1.discovery_service_pb2_grpc import DiscoveryServiceStub
from tests.conformance.asking import EVERY_DOOR, AnyDoor
from tests.conformance.attacks import PARTY, Attack, Issuer, attacks
from tests.databases import fresh_database
from tests.service import Service, start_service
from tests.unit.auth.forging import Signer, without
from tests.unit.auth.jwks_server import JwksServer

Json = Any

CLERK = "https://clerk.example.test"
REFUSED = (401, "authentication_failed")


@dataclass
class Besieged:
    """A service that trusts a Clerk instance, and everything an attacker has."""

    service: Service
    keys: JwksServer  # the instance's own
    trap: JwksServer  # where nothing of ours may ever ask
    issuer: Issuer
    stranger: Signer


@pytest.fixture(scope="module")
async def besieged(
    postgres: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Besieged]:
    signer, stranger = Signer("ins_2abc"), Signer("ins_2abc")
    keys, trap = JwksServer(), JwksServer()
    keys.publish(signer)
    trap.publish(stranger)
    await keys.start()
    await trap.start()
    with fresh_database(postgres) as address:
        async with start_service(
            address,
            tmp_path_factory.mktemp("besieged"),
            mock=True,
            worker=False,
            jwt_jwks_url=keys.url,
            jwt_issuer=CLERK,
            jwt_authorized_parties=PARTY,
        ) as service:
            issuer = Issuer(CLERK, signer, party=PARTY, checks_party=True)
            yield Besieged(service, keys, trap, issuer, stranger)
    await keys.stop()
    await trap.stop()


async def knock(
    service: Service, door: AnyDoor, headers: Json, query: str = ""
) -> tuple[int, str, str]:
    """Asks for `/metadata` with these headers as they are: HTTP status, error code, all of it."""
    if door == "grpc":
        metadata = tuple((name.lower(), value) for name, value in headers)
        try:
            stub: Any = DiscoveryServiceStub(service.channel)
            await stub.GetMetadata(GetMetadataRequest(), metadata=metadata, timeout=20)
        except grpc.aio.AioRpcError as error:
            refused = error.code() is grpc.StatusCode.UNAUTHENTICATED
            told = (*REFUSED,) if refused else (500, error.code().name)
            return (*told, error.details() or "")
        return 200, "", ""
    address = f"{await service.address(door)}/metadata?{query}"
    async with service.http.get(address, headers=CIMultiDict(headers)) as response:
        text = await response.text()
        body = await response.json() if response.content_type == "application/json" else {}
        return response.status, body.get("error", ""), text


@pytest.mark.parametrize("door", EVERY_DOOR)
async def test_no_attack_on_a_remote_issuer_opens_a_door(
    besieged: Besieged, door: AnyDoor, log_lines: list[EventDict]
) -> None:
    service = besieged.service
    good = besieged.issuer.token()
    assert (await knock(service, door, [("Authorization", f"Bearer {good}")]))[0] == 200
    fetches = besieged.keys.fetches
    table = list(attacks(besieged.issuer, besieged.stranger, besieged.trap.url))
    assert len(table) >= 290
    await assert_all_refused(service, door, table)
    assert besieged.trap.fetches == 0  # no address in a token is ever asked
    assert besieged.keys.fetches <= fetches + 1  # and made-up key ids buy one look at most
    reasons = {line["why"] for line in log_lines if line["event"] == "token_refused"}
    assert reasons >= {"algorithm", "signature", "key_unknown", "issuer", "authorized_party"}
    assert reasons >= {"expired", "not_yet_valid", "session_pending", "user_id_is_not_sub"}


@pytest.mark.parametrize("door", EVERY_DOOR)
async def test_no_attack_on_the_local_issuer_opens_a_door(
    idle: Service, besieged: Besieged, door: AnyDoor
) -> None:
    signer, stranger = Signer(idle.issuer.kid), Signer(idle.issuer.kid)
    signer.private = own_key(idle)
    signer.public = signer.private.public_key()
    issuer = Issuer("distill-local", signer)
    bearer = [("Authorization", f"Bearer {issuer.token()}")]
    assert (await knock(idle, door, bearer))[0] == 200
    await assert_all_refused(idle, door, list(attacks(issuer, stranger, besieged.trap.url)))
    assert besieged.trap.fetches == 0


def own_key(service: Service) -> rsa.RSAPrivateKey:
    """The key with which a service signs tokens itself."""
    pem = Path(service.settings.data_dir, "keys", "token-signing.pem").read_bytes()
    key = serialization.load_pem_private_key(pem, password=None)
    assert isinstance(key, rsa.RSAPrivateKey)
    return key


async def assert_all_refused(service: Service, door: AnyDoor, table: list[Attack]) -> None:
    told = set()
    for attack in table:
        if door == "grpc" and attack.rest_only:
            continue
        status, code, text = await knock(service, door, attack.headers, attack.query)
        if attack.query:  # an unknown parameter is refused before anyone asks who it is
            assert (status, code) in {REFUSED, (400, "invalid_argument")}, attack.name
            continue
        assert (status, code) == REFUSED, (attack.name, text)
        told.add(text)
    assert len(told) == 1  # all in the same words: why, stands in the log only


@pytest.mark.parametrize("door", EVERY_DOOR)
async def test_what_an_honest_token_may_look_like_is_accepted(
    besieged: Besieged, door: AnyDoor
) -> None:
    issuer, now = besieged.issuer, int(time.time())
    signer = issuer.signer
    honest = {
        "Clerk's session token": issuer.token(signer.header(oiat=now - 60, cat="cl_B7d4")),
        "of a JWT template": signer.sign(without(issuer.claims(), "sid", "v", "fva", "sts")),
        "by subject alone": signer.sign(without(issuer.claims(), "user_id")),
        "with an organisation": issuer.token(o={"id": "org_1", "rol": "admin", "per": "a,b"}),
        "impersonated": issuer.token(act={"iss": "https://dashboard", "sub": "user_admin"}),
        "without an address": issuer.token(email=None),
        "with an audience for others": issuer.token(aud=["a", "b"]),
        "no type": signer.sign(issuer.claims(), without(signer.header(), "typ")),
        "with keys for others": issuer.token(signer.header(jku=f"{besieged.trap.url}/jwks.json")),
        "four seconds old": issuer.token(exp=now - 3),
        "four seconds young": issuer.token(iat=now + 4, nbf=now + 4),
    }
    for name, token in honest.items():
        for scheme in ("Bearer", "bearer", "BEARER"):
            status, _, text = await knock(
                besieged.service, door, [("Authorization", f"{scheme} {token}")]
            )
            assert status == 200, (name, text)
    assert besieged.trap.fetches == 0


@pytest.mark.parametrize("door", EVERY_DOOR)
async def test_clocks_that_differ_by_six_seconds_are_too_far_apart(
    besieged: Besieged, door: AnyDoor
) -> None:
    for change in ({"exp": -6}, {"iat": 7}, {"nbf": 7}):
        now = int(time.time())
        token = besieged.issuer.token(**{name: now + by for name, by in change.items()})
        headers = [("Authorization", f"Bearer {token}")]
        assert (await knock(besieged.service, door, headers))[:2] == REFUSED, change


async def test_a_thousand_unknown_key_ids_are_one_look_at_the_keys(besieged: Besieged) -> None:
    before = besieged.keys.fetches
    places = asyncio.Semaphore(50)

    async def one(number: int) -> None:
        header = besieged.issuer.signer.header(kid=f"ins_{number}")
        headers = [("Authorization", f"Bearer {besieged.issuer.token(header)}")]
        async with places:
            door = EVERY_DOOR[number % len(EVERY_DOOR)]
            assert (await knock(besieged.service, door, headers))[:2] == REFUSED

    await asyncio.gather(*(one(number) for number in range(1000)))
    assert besieged.keys.fetches <= before + 1


@pytest.mark.parametrize("door", EVERY_DOOR)
async def test_a_token_of_the_local_issuer_is_none_of_the_remote_one(
    besieged: Besieged, door: AnyDoor
) -> None:
    headers = [("Authorization", f"Bearer {besieged.service.token()}")]
    assert (await knock(besieged.service, door, headers))[:2] == REFUSED


@pytest.mark.parametrize("size", [8193, 20_000, 1_000_000])
@pytest.mark.parametrize("door", EVERY_DOOR)
async def test_a_token_that_is_too_long_is_refused_and_others_go_on(
    besieged: Besieged, door: AnyDoor, size: int
) -> None:
    good = besieged.issuer.token()
    headers = [("Authorization", f"Bearer {good}{'A' * (size - len(good))}")]
    try:
        status, _, _ = await knock(besieged.service, door, headers)
    except (aiohttp.ClientError, ConnectionError):
        status = 431  # the door closed while it was still coming
    assert status in {401, 431} or door == "grpc"
    assert status != 200
    assert (await knock(besieged.service, door, [("Authorization", f"Bearer {good}")]))[0] == 200
