"""`/webhooks/{source}/{key}`: any body, proven by its signature; questions of platforms, answered."""

from __future__ import annotations

import asyncio
import base64
import hmac
import json
from io import BytesIO
from typing import Any

import pytest
from structlog.typing import EventDict

from tests.conformance.calls import CONSUMER_SECRET, signature
from tests.conformance.conftest import PUBLIC_URL
from tests.conformance.seeds import INSTANT, assert_error
from tests.conformance.users import watch
from tests.service import DOORS, Answer, Door, Service

Json = Any

each_door = pytest.mark.parametrize("door", DOORS)

# docs.github.com, "Testing the webhook payload validation".
SECRET = "It's a Secret to Everybody"
BODY = b"Hello, World!"
SIGNED = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"


async def connected(
    service: Service, user: str, source: str, credentials: Json, door: Door = "local"
) -> Json:
    """The connection after it was made."""
    path, body = f"/connections/{source}", {"credentials": credentials}
    made = await service.call("PUT", path, body, user=user, door=door)
    assert made.status == 200, made.text
    return made.body


async def github(service: Service, user: str, door: Door = "local") -> str:
    """The path of the webhook of a user's GitHub account."""
    made = await connected(service, user, "github", {"webhook_secret": SECRET}, door)
    return str(made["webhook"]["url"]).removeprefix(PUBLIC_URL)


async def push(
    service: Service, path: str, door: Door, body: bytes | BytesIO = BODY, **headers: str
) -> Answer:
    sent = {"X-Hub-Signature-256": SIGNED, "X-GitHub-Delivery": "d-1"}
    sent |= {name.replace("_", "-"): value for name, value in headers.items()}
    sent = {name: value for name, value in sent.items() if value}
    return await service.call("POST", path, data=body, user=None, door=door, headers=sent)


async def webhook(service: Service, user: str, source: str = "github") -> Json:
    return (await service.call("GET", f"/connections/{source}", user=user)).body["webhook"]


@each_door
async def test_an_account_with_a_secret_shows_the_address_to_enter(
    idle: Service, user: str, door: Door
) -> None:
    made = await connected(idle, user, "github", {"webhook_secret": SECRET}, door)
    assert set(made["webhook"]) == {"state", "url"}
    assert made["webhook"]["state"] == "pending"
    key = made["webhook"]["url"].removeprefix(f"{PUBLIC_URL}/webhooks/github/")
    assert len(base64.urlsafe_b64decode(key + "==")) >= 16
    assert SECRET not in json.dumps(made)
    without = await connected(idle, f"{user}-2", "github", {"token": "t"}, door)
    assert "webhook" not in without


@each_door
async def test_githubs_published_example_is_taken_whatever_its_type(
    idle: Service, user: str, door: Door
) -> None:
    path = await github(idle, user, door)
    for kind in ("application/json", "application/x-www-form-urlencoded", "text/plain", "a/b;c"):
        answer = await push(idle, path, door, Content_Type=kind)
        assert (answer.status, answer.text) == (200, "")
    shown = await webhook(idle, user)
    assert shown["state"] == "active"
    assert INSTANT.fullmatch(shown["last_delivery"])


@each_door
@pytest.mark.parametrize("body", [b"\x00\xff\r\n", b"", b" ", b"{", b'{"a": 1, "a": 2}'])
async def test_the_signature_covers_the_very_bytes(
    idle: Service, user: str, door: Door, body: bytes
) -> None:
    path = await github(idle, user, door)
    signed = "sha256=" + hmac.digest(SECRET.encode(), body, "sha256").hex()
    answer = await push(idle, path, door, body, X_Hub_Signature_256=signed)
    assert (answer.status, answer.text) == (200, "")
    assert (await webhook(idle, user))["state"] == "active"


@each_door
@pytest.mark.parametrize(
    "headers",
    [
        {"X_Hub_Signature_256": ""},
        {"X_Hub_Signature_256": SIGNED.upper()},
        {"X_Hub_Signature_256": SIGNED[:-1]},
        {"X_Hub_Signature_256": "", "X_Hub_Signature": SIGNED},
        {"X_Hub_Signature_256": "é"},
    ],
)
async def test_a_push_that_is_not_proven_is_refused(
    idle: Service, user: str, door: Door, headers: dict[str, str]
) -> None:
    path = await github(idle, user, door)
    assert_error(await push(idle, path, door, **headers), "authentication_failed")
    assert await webhook(idle, user) == {"state": "pending", "url": PUBLIC_URL + path}


@each_door
async def test_an_unknown_address_is_not_found(idle: Service, user: str, door: Door) -> None:
    path = await github(idle, user, door)
    key = path.rpartition("/")[2]
    for unknown in (f"/webhooks/github/{key[:-1]}", f"/webhooks/x/{key}", "/webhooks/email/a"):
        assert_error(await push(idle, unknown, door), "not_found")
    assert_error(await push(idle, "/webhooks/nowhere/a", door), "not_found")
    asked = await idle.call("GET", path, user=None, door=door)
    told = assert_error(asked, "invalid_argument", details={"hub.mode"})
    assert told["message"].endswith("hub.mode: must be given, or crc_token in its place")
    for query in ("crc_token=a", "hub.mode=subscribe&hub.topic=t&hub.challenge=c"):
        answer = await idle.call("GET", f"{path}?{query}", user=None, door=door)
        assert_error(answer, "not_found")


@each_door
async def test_a_body_that_is_too_large_is_refused(idle: Service, user: str, door: Door) -> None:
    path = await github(idle, user, door)
    answer = await push(idle, path, door, BytesIO(b"x" * ((1 << 20) + 1)))
    assert_error(answer, "payload_too_large")


@each_door
async def test_xs_check_is_answered_with_whatever_it_adds(
    idle: Service, user: str, door: Door
) -> None:
    made = await connected(idle, user, "x", {"consumer_secret": CONSUMER_SECRET}, door)
    path = made["webhook"]["url"].removeprefix(PUBLIC_URL)
    answer = await idle.call("GET", f"{path}?crc_token=abc-_.%3D&nonce=xyz", user=None, door=door)
    expected = hmac.digest(CONSUMER_SECRET.encode(), b"abc-_.=", "sha256")
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.body == {"response_token": f"sha256={base64.b64encode(expected).decode()}"}
    assert (await webhook(idle, user, "x"))["state"] == "active"
    head = await idle.call("HEAD", f"{path}?crc_token=abc", user=None, door=door)
    assert (head.status, head.text) == (200, "")
    taken = await idle.call(
        "POST", path, data=b"{}", user=None, door=door, headers=signature(b"{}")
    )
    assert (taken.status, taken.text) == (200, "")
    too_long = await idle.call("GET", f"{path}?crc_token={'a' * 501}", user=None, door=door)
    assert_error(too_long, "invalid_argument", details={"crc_token"})


@each_door
async def test_a_hubs_question_is_read_out_of_its_query(
    idle: Service, user: str, door: Door
) -> None:
    path = await github(idle, user, door)
    wrong = await idle.call(
        "GET", f"{path}?hub.mode=subscribe&hub.lease_seconds=soon", user=None, door=door
    )
    assert_error(wrong, "invalid_argument", details={"hub.lease_seconds"})
    twice = await idle.call("GET", f"{path}?hub.mode=a&hub.mode=b", user=None, door=door)
    assert_error(twice, "invalid_argument", details={"hub.mode"})


async def test_a_push_makes_the_next_sync_due(shared: Service, user: str) -> None:
    path = await github(shared, user)
    await watch(shared, user)
    await shared.synced(user)
    before = (await shared.call("GET", "/metadata", user=user)).body["user_status"]
    assert (await push(shared, path, "local", X_GitHub_Delivery="d-9")).status == 200
    for _ in range(400):
        after = (await shared.call("GET", "/metadata", user=user)).body["user_status"]
        if after["last_sync"] != before["last_sync"]:
            break
        await asyncio.sleep(0.05)
    assert after["last_sync"] > before["last_sync"]


async def test_nobody_elses_webhook_is_shown(idle: Service, user: str) -> None:
    path = await github(idle, user)
    await connected(idle, f"{user}-2", "github", {"webhook_secret": "other"})
    for shown in ("/connections", "/connections/github", "/metadata"):
        answer = await idle.call("GET", shown, user=f"{user}-2")
        assert path.rpartition("/")[2] not in answer.text


async def test_no_log_line_tells_an_address_or_a_secret(
    idle: Service, user: str, log_lines: list[EventDict]
) -> None:
    path = await github(idle, user)
    await push(idle, path, "local")
    await push(idle, path, "local", X_Hub_Signature_256="sha256=00")
    await push(idle, path + "x", "remote")
    written = repr(log_lines)
    assert "/webhooks/{source}/{key}" in written
    assert path.rpartition("/")[2] not in written
    assert SECRET not in written
