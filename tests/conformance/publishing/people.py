"""Accounts of the publishing platform, and calls as them."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any

import orjson

from tests.conformance.calls import PASSWORD
from tests.service import Answer, Door, Service

Json = Any
_numbers = itertools.count(1)


@dataclass
class Person:
    """An account, logged in; calls are made as it."""

    service: Service
    id: str
    name: str
    token: str
    door: Door = "local"
    headers: dict[str, str] = field(default_factory=dict)

    async def call(self, method: str, path: str, json: Json = None, **more: Any) -> Answer:
        """Calls `/api/v1` + `path`."""
        headers = {"Authorization": f"Bearer {self.token}", **more.pop("headers", {})}
        if json is not None:  # in UTF-8, and as a stream: posts may be large
            headers["Content-Type"] = "application/json"
            more["data"] = BytesIO(orjson.dumps(json))
        door = more.pop("door", self.door)
        return await self.service.call(
            method, f"/api/v1{path}", user=None, headers=headers, door=door, **more
        )

    async def post(self, *, publish: bool = True, **changes: Json) -> str:
        """Writes a post; its id."""
        told = {"title": f"Post {next(_numbers)}", "content": "Some *text*.", **changes}
        answer = await self.call("POST", "/posts", told)
        assert answer.status == 201, answer.text
        post_id = str(answer.body["id"])
        if publish:
            assert (await self.call("POST", f"/posts/{post_id}/publish")).status == 200
        return post_id

    async def comment(self, post_id: str, parent: str | None = None) -> str:
        """Writes a comment like no other; its id."""
        told = {"content": f"Comment {next(_numbers)}."}
        if parent is not None:
            told["parent_comment_id"] = parent
        answer = await self.call("POST", f"/posts/{post_id}/comments", told)
        assert answer.status == 201, answer.text
        return str(answer.body["id"])


async def person(service: Service, role: str = "creator", *, door: Door = "local") -> Person:
    """Registers somebody new and logs in."""
    name = f"person-{next(_numbers)}"
    told = {"email": f"{name}@example.com", "password": PASSWORD, "username": name, "role": role}
    answer = await service.call("POST", "/api/v1/users/register", told, user=None, door=door)
    assert answer.status == 201, answer.text
    given = {"email": told["email"], "password": PASSWORD}
    login = await service.call("POST", "/api/v1/users/login", given, user=None, door=door)
    assert login.status == 200, login.text
    return Person(service, str(answer.body["id"]), name, str(login.body["access_token"]), door)


async def as_nobody(
    service: Service, method: str, path: str, json: Json = None, *, door: Door = "local"
) -> Answer:
    """Calls `/api/v1` + `path` without a token."""
    return await service.call(method, f"/api/v1{path}", json, user=None, door=door)
