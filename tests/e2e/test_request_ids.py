"""One id leads from a creator's request through gateway, core, job and worker to the mail."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import aiohttp

from tests.e2e.serving import Served, serve
from tests.servers.smtp import mail_server

REQUEST_ID = "publication-4711"


async def test_the_id_of_a_publication_stands_in_every_log_line_and_in_the_mail(
    tmp_path: Path,
) -> None:
    async with (
        mail_server() as mails,
        serve(
            tmp_path, DISTILL_SMTP_URL=f"smtp://127.0.0.1:{mails.port}", DISTILL_LOG_FORMAT="json"
        ) as served,
        aiohttp.ClientSession(f"{served.url}/api/v1/") as session,
    ):
        creator, ada = await person(session, "ada", "creator")
        _, bob = await person(session, "bob", "reader")
        await ask(session, bob, f"creators/{creator}/subscribe")
        draft = {"title": "The ferry", "content": "It stops at the old pier."}
        post = await ask(session, ada, "posts", draft)
        ids = {"X-Request-Id": REQUEST_ID}
        await ask(session, ada | ids, f"posts/{post['id']}/publish")
        async with asyncio.timeout(30):
            while not mails.messages:
                await asyncio.sleep(0.05)
        (message,) = mails.messages
        assert message["X-Request-Id"] == REQUEST_ID
    logged = [line["event"] for line in lines(served) if line.get("request_id") == REQUEST_ID]
    assert logged == ["rpc", "http_request", "post_announced", "mail_sent"]


def lines(served: Served) -> list[dict[str, Any]]:
    return [json.loads(line) for line in served.log if line.startswith("{")]


async def person(
    session: aiohttp.ClientSession, name: str, role: str
) -> tuple[str, dict[str, str]]:
    account = {"email": f"{name}@example.org", "password": "correct horse battery"}
    made = await ask(session, {}, "users/register", {**account, "username": name, "role": role})
    login = await ask(session, {}, "users/login", account)
    return made["id"], {"Authorization": f"Bearer {login['access_token']}"}


async def ask(
    session: aiohttp.ClientSession, headers: dict[str, str], path: str, body: object = None
) -> Any:
    async with session.post(path, json=body, headers=headers) as answer:
        assert answer.ok, await answer.text()
        return await answer.json()
